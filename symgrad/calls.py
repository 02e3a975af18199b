"""Calling a public function: tensors become operands of a record, everything else is static."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core.dtypes import DType, dtype_of_numpy
from symgrad.errors import DTypeError
from symgrad.functional.table import Function
from symgrad.reading import Reading
from symgrad.record import SLOT, freeze, modes, note
from symgrad.storage import Size


def as_operand(v: Any) -> Any:
    """A foreign array as a tensor; numbers stay numbers."""
    if isinstance(v, np.ndarray) or arrays.is_jax_array(v):
        dtype = dtype_of_numpy(v.dtype)
        if dtype is None:
            raise DTypeError(f"arrays of dtype {v.dtype} have no tensor type")
        return Reading.base.from_value(v, dtype)
    return v


def _slot(v: Any, operands: list[Any], tensors: list[Any]) -> Any:
    """One argument of a call: tensors leave a slot, everything else is static."""
    if isinstance(v, Reading):
        operands.append(v.node())
        tensors.append(v)
        return SLOT
    if v is None or isinstance(v, (int, float, str, DType)):
        return v
    if isinstance(v, (list, tuple)) and not isinstance(v, Size):
        return tuple([_slot(x, operands, tensors) for x in v])
    if isinstance(v, np.ndarray) or arrays.is_jax_array(v):
        return _slot(as_operand(v), operands, tensors)
    return freeze(v)


def call(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Record a call of a public function on tensors and static arguments."""
    if modes.autocast is not None:
        return modes.autocast(call, function, args, kwargs)
    operands: list[Any] = []
    tensors: list[Any] = []
    positional = [_slot(a, operands, tensors) for a in args]
    keywords = (
        tuple([(k, _slot(v, operands, tensors)) for k, v in kwargs.items()]) if kwargs else ()
    )
    record = note(function, (*positional, keywords), tuple(operands))
    made = Reading.base.from_node(record)
    if record.tracked and function.saves:
        record.saved = _saved(function, record, made, tensors)
    return made


def _saved(function: Function, record: Any, made: Any, tensors: list[Any]) -> tuple[Any, ...]:
    """(storage, version, shape, name) of everything the derivative reads."""
    kept: list[Any] = []
    result = False
    for k in function.saves:
        if k == "result":
            result = True
        elif k == "cross":
            pair = tensors[-2:]
            if len(pair) == 2:
                kept += [a for a, b in (pair, pair[::-1]) if b.requires_grad]
        elif isinstance(k, int) and k < len(tensors):
            kept.append(tensors[k])
    saved = [(weakref.ref(t._storage), t._storage.version, t.shape, function.name) for t in kept]
    if result:
        saved.append((weakref.ref(made._storage), 0, record.shape, function.name))
    # An operation with a derivative of its own frees its graph even where it keeps no tensor.
    return tuple(saved) or ((_nothing, 0, (), function.name),)


def _nothing() -> None:
    """A storage that is gone."""
