"""Reductions of what several positions write to one place, and searches in sorted entries."""

from __future__ import annotations

from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_shapes,
    broadcast_to,
    cast,
    constant,
    ones,
    permute,
    reduce_sum,
)
from symgrad.core.build import elementwise as apply
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import shape_text
from symgrad.errors import AxisSizeError, DTypeError, ShapeError
from symgrad.functional.promotion import promoted
from symgrad.functional.shape import axis_of
from symgrad.functional.table import public
from symgrad.ops import sequence, structure
from symgrad.ops.axis import along
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import gather, scatter_add, scatter_extreme, take
from symgrad.ops.join import arange, concatenate

# ------------------------------------------------------------------ several writes to one place


def _product_of_writes(part: Expr, index: Expr, axis: int, size: Any) -> Expr:
    """Π of the writes to each place, 1 without one; as large as places times writes."""
    order = [k for k in range(part.ndim) if k != axis + part.ndim] + [axis + part.ndim]
    at, values = permute(index, order), permute(part, order)
    turn = insert_axes(arange(size, dtypes.int64), [1])
    here = apply("eq", insert_axes(at, [at.ndim - 1]), turn)
    factors = choose(here, insert_axes(values, [at.ndim - 1]), constant(1, part.dtype))
    found = sequence.prod(factors, -1)
    return permute(found, [order.index(k) for k in range(part.ndim)])


def _reduced(name: str, part: Expr, index: Expr, axis: int, size: Any) -> Expr:
    if name == "prod":
        return _product_of_writes(part, index, axis, size)
    if name in ("amax", "amin"):
        return scatter_extreme(f"scatter_{name}", part, index, axis, size)
    total = scatter_add(part, index, axis, size)
    if name == "sum":
        return total
    count = scatter_add(ones(part.shape, part.dtype), index, axis, size)
    count = apply("maximum", count, constant(1, count.dtype))
    return total / count if part.dtype.differentiable else apply("floor_divide", total, count)


@public("scatter_reduce", grad_fn="ScatterReduceBackward0", saves=(0, 2))
def scatter_reduce(
    a: Expr, dim: int, index: Expr, src: Expr, reduce: str, *, include_self: bool = True
) -> Expr:
    """``a`` with the sum, prod, mean, amax or amin of what ``src`` writes where ``gather`` reads.

    ``include_self``: the entry that was there is one of them.
    """
    reduce = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    if src.dtype is not a.dtype:
        raise DTypeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {a.dtype} and {src.dtype}"
        )
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        whole, at, new = (e if e.ndim else insert_axes(e, [0]) for e in (a, index, src))
        return structure.reshape(
            scatter_reduce(whole, 0, at, new, reduce, include_self=include_self), ()
        )
    if 0 in index.shape:
        return a
    if any(
        isinstance(n, int) and isinstance(m, int) and n > m
        for k in range(a.ndim)
        for e in ((src,) if k == axis else (src, a))
        for n, m in [(index.shape[k], e.shape[k])]
    ):
        raise ShapeError(
            f"Expected index {shape_text(index.shape)} to be no larger than self "
            f"{shape_text(a.shape)} apart from dimension {axis} and to be no larger size than src "
            f"{shape_text(src.shape)}"
        )
    part = structure.slice_axes(src, [slice(0, s, 1) for s in index.shape])
    region = [slice(None) if k == axis else slice(0, s, 1) for k, s in enumerate(index.shape)]
    old = structure.slice_axes(a, region)
    size, place = a.shape[axis], axis - a.ndim
    if include_self:
        own = insert_axes(arange(size, dtypes.int64), range(1, -place))
        index = concatenate([cast(index, dtypes.int64), broadcast_to(own, old.shape)], place)
        made = _reduced(reduce, concatenate([part, old], place), index, place, size)
    else:
        hits = scatter_add(ones(index.shape, dtypes.int64), index, place, size)
        made = choose(cast(hits, dtypes.bool_), _reduced(reduce, part, index, place, size), old)
    if made.shape == a.shape:
        return made
    spec = tuple(None if s == n else (0, s, 1) for s, n in zip(made.shape, a.shape, strict=True))
    inside = structure.place(constant(1, dtypes.bool_, made.shape), spec, a.shape)
    return choose(inside, structure.place(made, spec, a.shape), a)


@public("index_reduce", grad_fn="IndexReduceBackward0", saves=(0, 3))
def index_reduce(
    a: Expr, dim: int, index: Expr, source: Expr, reduce: str, *, include_self: bool = True
) -> Expr:
    """``a`` with the prod, mean, amax or amin of the slices of ``source`` written at ``index``."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin, got {reduce}"
        )
    if index.ndim > 1:
        raise AxisSizeError(
            f"index_reduce_(): Index is supposed to be a vector, but got dim: {index.ndim}"
        )
    axis = axis_of(dim, a.ndim)
    row = index if index.ndim else insert_axes(index, [0])
    if not a.ndim:
        places = structure.reshape(row, ()) if not source.ndim else row
    else:
        source = source if source.ndim else insert_axes(source, [0])
        if source.shape[axis] != row.shape[0] or source.ndim != a.ndim:
            raise AxisSizeError(
                f"index_reduce_(): Number of indices ({row.shape[0]}) should be equal to "
                f"self.size(dim): ({shape_text(source.shape)}) for dim: {axis}"
            )
        places = broadcast_to(insert_axes(row, range(1, a.ndim - axis)), source.shape)
    return scatter_reduce(a, dim, places, source, reduce, include_self=include_self)


@public(grad_fn="MaskedScatterBackward0")
def masked_scatter(a: Expr, mask: Expr, source: Expr) -> Expr:
    """``a`` with the entries of ``source``, one after the other, where the mask is true."""
    if mask.dtype is not dtypes.bool_:
        raise DTypeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}"
        )
    if source.dtype is not a.dtype:
        raise DTypeError(
            f"masked_scatter: expected self and source to have same dtypes but got {a.dtype} and "
            f"{source.dtype}"
        )
    shape = broadcast_shapes([a.shape, mask.shape], (a, mask))
    a, mask = broadcast_to(a, shape), broadcast_to(mask, shape)
    if 0 in source.shape or 0 in shape:
        return a
    flat = structure.reshape(mask, (-1,))
    place = along("cumsum", cast(flat, dtypes.int64), -1) - 1
    place = choose(flat, place, constant(0, dtypes.int64))
    found = take(structure.reshape(source, (-1,)), place, -1)
    return choose(mask, structure.reshape(found, shape), a)


# ------------------------------------------------------------------ places in sorted entries


@public(method=False)
def searchsorted(
    sorted_sequence: Expr,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Expr | None = None,
) -> Expr:
    """How many sorted entries of the last axis lie below each value (``right``: or are equal)."""
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right', got {side}")
    if right and side == "left":
        raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites")
    lines = sorted_sequence
    if sorter is not None:
        if sorter.shape != lines.shape:
            raise ShapeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                f"{shape_text(lines.shape)} and {shape_text(sorter.shape)}"
            )
        lines = gather(lines, sorter, -1)
    if not lines.ndim:
        raise ShapeError("torch.searchsorted(): boundaries tensor should have positive dimension")
    values, lines = promoted(values, lines)
    if lines.ndim > 1 and lines.shape[:-1] != values.shape[:-1]:
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            f"dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {shape_text(lines.shape)} and input value tensor "
            f"{shape_text(values.shape)}"
        )
    relation = "gt" if right or side == "right" else "ge"
    others = lines if lines.ndim == 1 else insert_axes(lines, [lines.ndim - 1])
    beyond = apply(relation, others, insert_axes(values, [values.ndim]))
    below = cast(apply("logical_not", beyond), dtypes.int32 if out_int32 else dtypes.int64)
    return reduce_sum(below, [below.ndim - 1])


@public(method=False)
def bucketize(
    input: Any, boundaries: Expr, *, out_int32: bool = False, right: bool = False
) -> Expr:
    """The number of the interval between sorted boundaries that each entry lies in."""
    if boundaries.ndim != 1:
        raise ShapeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
