"""Functions whose result depends on order: extremes with positions, products, sorting, quantiles.

A PyTorch function with several results is several rows here (``sort`` is ``sort_values`` and
``argsort``); equal sub-expressions are one node, so nothing is computed twice.
"""

from __future__ import annotations

from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import cast, power, reduce_sum
from symgrad.core.build import permute as permute_axes
from symgrad.core.build import squeeze as drop_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial
from symgrad.errors import RangeError, ShapeError
from symgrad.functional.promotion import only_floating
from symgrad.functional.shape import axes_of, axis_of
from symgrad.functional.table import public
from symgrad.ops import decomposition, sequence, structure
from symgrad.ops.axis import along
from symgrad.ops.complex import magnitude, squared
from symgrad.ops.gather import gather


def _whole(a: Expr, op: str) -> Expr:
    return along(op, structure.reshape(a, (-1,)), -1)


@public("max_all", grad_fn="MaxBackward1", saves=(0,), part=True)
def max_all(a: Expr) -> Expr:
    """The largest entry."""
    return _whole(a, "amax")


@public("min_all", grad_fn="MinBackward1", saves=(0,), part=True)
def min_all(a: Expr) -> Expr:
    """The smallest entry."""
    return _whole(a, "amin")


def _picked(a: Expr, op: str, dim: int, keepdim: bool) -> Expr:
    """The entry at the first extreme: only it receives the gradient."""
    if a.ndim == 0:
        return a
    axis = axis_of(dim, a.ndim) - a.ndim
    at = insert_axes(along(op, a, axis), [axis + a.ndim])
    found = gather(a, at, axis)
    return found if keepdim else drop_axes(found, [axis + a.ndim])


@public("max_values", grad_fn="MaxBackward0", part=True)
def max_values(a: Expr, dim: int, keepdim: bool = False) -> Expr:
    """The largest along ``dim``."""
    return _picked(a, "argmax", dim, keepdim)


@public("min_values", grad_fn="MinBackward0", part=True)
def min_values(a: Expr, dim: int, keepdim: bool = False) -> Expr:
    """The smallest along ``dim``."""
    return _picked(a, "argmin", dim, keepdim)


@public(saves=(0, "result"), wide=True)
def prod(
    a: Expr, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Expr:
    """Π over ``dim``."""
    if dtype is not None:
        a = cast(a, dtype)
    elif a.dtype.kind in "bui":
        a = cast(a, dtypes.int64)
    if dim is None:
        return sequence.prod(structure.reshape(a, (-1,)), -1)
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        return a
    found = sequence.prod(a, axis - a.ndim)
    return insert_axes(found, [axis]) if keepdim else found


@public(saves=(0,), wide=True)
def cumprod(a: Expr, dim: int, *, dtype: DType | None = None) -> Expr:
    """Running products along ``dim``."""
    a = cast(a, dtype if dtype is not None else dtypes.int64 if a.dtype.kind in "bui" else a.dtype)
    axis = axis_of(dim, a.ndim)
    return sequence.cumprod(a, axis - a.ndim) if a.ndim else a


@public("sort_values", grad_fn="SortBackward0", part=True)
def sort_values(a: Expr, dim: int = -1, descending: bool = False) -> Expr:
    """The entries in order."""
    return a if a.ndim == 0 else sequence.sort(a, axis_of(dim, a.ndim) - a.ndim, descending)[0]


@public()
def argsort(a: Expr, dim: int = -1, descending: bool = False, stable: bool = False) -> Expr:
    """The positions that sort."""
    if a.ndim == 0:
        return cast(a * 0, dtypes.int64)
    return sequence.argsort(a, axis_of(dim, a.ndim) - a.ndim, descending)


@public("topk_values", grad_fn="TopkBackward0", part=True)
def topk_values(a: Expr, k: int, dim: int = -1, largest: bool = True) -> Expr:
    """The k largest."""
    return _topk(a, k, dim, largest)[0]


@public("topk_indices", part=True)
def topk_indices(a: Expr, k: int, dim: int = -1, largest: bool = True) -> Expr:
    """Positions of the k largest."""
    return _topk(a, k, dim, largest)[1]


def _topk(a: Expr, k: int, dim: int, largest: bool) -> tuple[Expr, ...]:
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        found = sequence.topk(insert_axes(a, [0]), k, -1, largest)
        return tuple(structure.reshape(f, (-1,) if k == 0 else ()) for f in found)
    return sequence.topk(a, k, axis - a.ndim, largest)


@public("median_all", grad_fn="MedianBackward0", part=True)
def median_all(a: Expr) -> Expr:
    """The lower median of all entries."""
    flat = structure.reshape(a, (-1,))
    return _nth(flat, -1, _middle(flat.shape[0]))[0]


@public("median_values", grad_fn="MedianBackward0", part=True)
def median_values(a: Expr, dim: int, keepdim: bool = False) -> Expr:
    """The lower median along ``dim``."""
    return _median(a, dim, keepdim)[0]


@public("median_indices", part=True)
def median_indices(a: Expr, dim: int, keepdim: bool = False) -> Expr:
    """Position of the lower median along ``dim``."""
    return _median(a, dim, keepdim)[1]


def _middle(size: Any) -> int:
    if not isinstance(size, int) or not size:
        raise ShapeError(f"median of an axis of size {size}: it needs a positive number as size")
    return (size - 1) // 2


def _median(a: Expr, dim: int, keepdim: bool) -> list[Expr]:
    axis = axis_of(dim, a.ndim)
    found = _nth(a, axis - a.ndim, _middle(a.shape[axis]))
    return [insert_axes(e, [axis]) if keepdim else e for e in found]


def _nth(a: Expr, axis: int, k: int) -> list[Expr]:
    return [structure.select(e, axis, k) for e in sequence.sort(a, axis)]


def _nuclear(a: Expr, dim: Any, keepdim: bool) -> Expr:
    """Σ of the singular values of matrices."""
    axes = axes_of(dim, a.ndim)
    if len(axes) != 2:
        raise ShapeError(
            "norm: the nuclear norm needs 2 dimensions", "Name the two axes of the matrices."
        )
    lead = [k for k in range(a.ndim) if k not in axes]
    found = reduce_sum(decomposition.svd(permute_axes(a, [*lead, *axes]))[1], [len(lead)])
    return insert_axes(found, sorted(axes)) if keepdim else found


@public(grad_fn="LinalgVectorNormBackward0", saves=("result",), wide=True)
def norm(
    a: Expr, p: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Expr:
    """(Σ |a|ᵖ)^(1/p) along ``dim``; ∞ and −∞ for the extremes of |a|, 0 counts."""
    from_dtype = cast(a, dtype) if dtype is not None else a
    only_floating(from_dtype, "norm")
    if isinstance(p, str) and p not in ("nuc", "fro"):
        raise RangeError(f"norm: Order {p} not supported.", "Give a number, 'fro' or 'nuc'.")
    if p == "nuc":
        return _nuclear(from_dtype, dim, keepdim)
    axes = axes_of(dim, a.ndim)
    if not axes:
        return magnitude(from_dtype)
    size = magnitude(from_dtype)
    if p != 0 and all(a.shape[x] == 1 for x in axes):
        result = reduce_sum(size, axes)
    elif p in (float("inf"), float("-inf")):
        result = size
        for axis in sorted(axes, reverse=True):
            result = along("amax" if p > 0 else "amin", result, axis)
    elif p == 0:
        result = reduce_sum(cast(cast(size, dtypes.bool_), size.dtype), axes)
    elif p == 1:
        result = reduce_sum(size, axes)
    elif p in (2, "fro"):
        result = reduce_sum(squared(from_dtype), axes) ** 0.5
    else:
        exponent = monomial(p).number
        result = power(reduce_sum(power(size, exponent), axes), 1 / exponent)
    return insert_axes(result, sorted(axes)) if keepdim else result


@public(method=False, real=True)
def cdist(
    a: Expr,
    b: Expr,
    p: float = 2.0,
    compute_mode: Any = None,
) -> Expr:
    """Distances between the rows of two matrices."""
    del compute_mode  # one way here: the differences
    gap = insert_axes(a, [a.ndim - 1]) - insert_axes(b, [b.ndim - 2])
    return norm(gap, p, -1)


@public(wide=True)
def dist(a: Expr, b: Expr, p: float = 2) -> Expr:
    """The p-norm of a − b."""
    return norm(a - b, p)
