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
from symgrad.record import PLAIN, SLOT, freeze, modes, note
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
    statics = PLAIN[len(args)] if not kwargs and len(args) < len(PLAIN) else None
    for a in args:
        if not isinstance(a, Reading):
            statics = None
            break
        operands.append(a.node())
        tensors.append(a)
    plain = statics is not None
    if statics is None:
        operands, tensors = [], []
        positional = [_slot(a, operands, tensors) for a in args]
        keywords = (
            tuple([(k, _slot(v, operands, tensors)) for k, v in kwargs.items()]) if kwargs else ()
        )
        statics = (*positional, keywords)
    record = note(function, statics, tuple(operands), plain)
    made = Reading.base.from_node(record)
    if record.tracked and function.saves:
        record.saved = _saved(function, made, tensors)
    return made


def _saved(function: Function, made: Any, tensors: list[Any]) -> tuple[Any, ...]:
    """(storage, version) of everything the derivative reads."""
    saved: list[Any] = []
    for k in function.saves:
        if k == "result":
            saved.append((weakref.ref(made._storage), 0))
        elif k == "cross":
            pair = tensors[-2:]
            if len(pair) == 2:
                saved += [_held(a) for a, b in (pair, pair[::-1]) if b.requires_grad]
        elif isinstance(k, int) and k < len(tensors):
            saved.append(_held(tensors[k]))
    # An operation with a derivative of its own frees its graph even where it keeps no tensor.
    return tuple(saved) or ((_nothing, 0),)


def _held(t: Any) -> tuple[Any, int]:
    storage = t._storage
    return weakref.ref(storage), storage.version


def _nothing() -> None:
    """A storage that is gone."""
