"""Sizes, dtypes and bounds that are given to functions which make tensors, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core import dtypes
from symgrad.core.dtypes import DType
from symgrad.core.sizes import Monomial
from symgrad.errors import DTypeError, RangeError, ShapeError
from symgrad.functional.promotion import default_dtype
from symgrad.tensors.limits import iinfo

PYTHON_DTYPES = {float: dtypes.float64, int: dtypes.int64, bool: dtypes.bool_}
"""Python's types that PyTorch takes as dtypes."""


def shape_of(sizes: Sequence[Any], name: str = "size") -> tuple[Any, ...]:
    """Sizes, listed or in one tuple: whole numbers from 0, or letters."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    return tuple(s if isinstance(s, Monomial) else size_of(s, name) for s in sizes)


def size_of(size: Any, name: str = "size") -> int:
    """One size; TypeError for what is no whole number, ShapeError below 0."""
    if not hasattr(size, "__index__"):
        raise TypeError(f"argument {name!r} must be tuple of ints, not {type(size).__name__}")
    found = int(size)
    if found < 0:
        raise ShapeError(f"{name} {found}: a dimension size must be non-negative")
    return found


def dtype_of(dtype: Any, default: DType | None = None) -> DType:
    """A dtype, or one of Python's types for it; ``default`` (or the default dtype) for None."""
    if dtype is None:
        return default or default_dtype()
    if isinstance(dtype, DType):
        return dtype
    try:
        return PYTHON_DTYPES[dtype]
    except (KeyError, TypeError):
        raise TypeError(
            f"argument 'dtype' must be a dtype such as float32, not {dtype!r}"
        ) from None


def drawn_dtype(dtype: Any, name: str) -> DType:
    """A floating-point dtype."""
    found = dtype_of(dtype)
    if not found.differentiable:
        raise DTypeError(
            f'"{name}" not implemented for {found}',
            "Draw floating-point numbers, or whole ones with randint().",
        )
    return found


def fitting(number: Any, dtype: DType) -> Any:
    """A number that is written into a tensor; DTypeError for one that its dtype cannot hold."""
    turned = isinstance(number, complex) and not dtype.is_complex and dtype is not dtypes.bool_
    large = False
    if isinstance(number, int) and dtype.kind in "iu":
        large = not -int(iinfo(dtype).max) - 1 <= number <= iinfo(dtype).max
    if turned or large:
        raise DTypeError(
            f"value cannot be converted to type {dtype.name} without overflow",
            f"{number} is complex: make the tensor complex first, with .cfloat()."
            if turned
            else "",
        )
    return number


def in_order(low: Any, high: Any, name: str) -> None:
    """RangeError where there is nothing between two bounds."""
    if not low < high:
        raise RangeError(f"{name} expects 'from' to be less than 'to', but got {low} >= {high}")


__all__ = ["drawn_dtype", "dtype_of", "fitting", "in_order", "shape_of", "size_of"]
