"""PyTorch's type promotion for operands: tensors, 0-d tensors, Python numbers (weakest)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import cast, constant
from symgrad.core.dtypes import DType, complex_of, promote
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial
from symgrad.errors import DTypeError

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
_DEFAULT = [dtypes.float32]


def default_dtype() -> DType:
    """The dtype of Python floats: float32 unless ``set_default_dtype`` changed it."""
    return _DEFAULT[0]


def set_default_dtype(dtype: DType) -> None:
    """The dtype of Python floats from now on."""
    if not dtype.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, not {dtype}")
    _DEFAULT[0] = dtype


def dtype_of_number(value: Any) -> DType:
    """The dtype a Python number has by itself."""
    if isinstance(value, bool):
        return dtypes.bool_
    if isinstance(value, int):
        return dtypes.int64
    if isinstance(value, complex):
        return complex_of(default_dtype())
    return default_dtype()


def result_dtype(operands: Sequence[Any]) -> DType:
    """The common dtype: tensors with axes first, then 0-d tensors, then numbers, by category."""
    groups: list[DType | None] = [None, None, None]
    for value in operands:
        if isinstance(value, Expr):
            group = 0 if value.shape else 1
            kind = value.dtype
        else:
            group = 2
            kind = dtype_of_number(value)
        known = groups[group]
        groups[group] = kind if known is None else promote(known, kind)
    result: DType | None = None
    for kind in groups:
        if kind is None:
            continue
        if result is None:
            result = kind
        elif _CATEGORY[kind.kind] > _CATEGORY[result.kind]:
            result = complex_of(result) if result.is_floating_point else kind
    assert result is not None
    return result


def promoted(*operands: Any, at_least_float: bool = False) -> list[Expr]:
    """The operands as expressions of their common dtype."""
    dtype = result_dtype(operands)
    if at_least_float and not dtype.differentiable:
        dtype = default_dtype()
    return [
        cast(v, dtype) if isinstance(v, Expr) else constant(_number(v), dtype) for v in operands
    ]


def floating(e: Expr | Monomial) -> Expr:
    """Integers and sizes become the default floating dtype."""
    if isinstance(e, Monomial):
        return constant(e, default_dtype())
    return e if e.dtype.differentiable else cast(e, default_dtype())


def only_floating(e: Expr, name: str) -> None:
    """DTypeError for integers and truth values."""
    if not e.dtype.differentiable:
        raise DTypeError(
            f'"{name}" not implemented for {e.dtype}: expected a floating-point tensor',
            "Cast it first, for example with .float().",
        )


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value
