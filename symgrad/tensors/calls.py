"""Calling a public function: tensors become operands of a record, everything else is static."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core.dtypes import DType, dtype_of_numpy
from symgrad.errors import DTypeError
from symgrad.functional.table import Function
from symgrad.recording.record import PLAIN, SLOT, freeze, modes, note
from symgrad.recording.settle import DEEP, settle
from symgrad.tensors.reading import Reading
from symgrad.tensors.storage import Size


def as_operand(v: Any) -> Any:
    """A foreign array as a tensor; numbers stay numbers."""
    if isinstance(v, np.ndarray) or arrays.is_jax_array(v):
        dtype = dtype_of_numpy(v.dtype)
        if dtype is None:
            raise DTypeError(f"arrays of dtype {v.dtype} have no tensor type")
        return Reading.base.from_value(v, dtype)
    return v


def _slot(v: Any, operands: list[Any]) -> Any:
    """One argument of a call: tensors leave a slot, everything else is static."""
    if isinstance(v, Reading):
        operands.append(v.node())
        return SLOT
    if v is None or isinstance(v, (int, float, str, DType)):
        return v
    if isinstance(v, (list, tuple)) and not isinstance(v, Size):
        return tuple([_slot(x, operands) for x in v])
    if isinstance(v, np.ndarray) or arrays.is_jax_array(v):
        return _slot(as_operand(v), operands)
    return freeze(v)


def call(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Record a call of a public function on tensors and static arguments."""
    if modes.autocast is not None:
        return modes.autocast(call, function, args, kwargs)
    operands: list[Any] = []
    positional: list[Any] = []
    plain = not kwargs and len(args) < len(PLAIN)
    for a in args:
        if isinstance(a, Reading):
            operands.append(a.node())
            positional.append(SLOT)
        else:
            positional.append(_slot(a, operands))
            plain = False
    if plain:
        statics = PLAIN[len(operands)]
    else:
        keywords = tuple([(k, _slot(v, operands)) for k, v in kwargs.items()]) if kwargs else ()
        statics = (*positional, keywords)
    record = note(function, statics, tuple(operands), plain)
    if record.depth >= DEEP and not record.tracked:
        settle(record)
    return Reading.base.from_node(record)
