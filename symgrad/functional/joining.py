"""More moves: turned, joined as columns, shuffled between axes, written into a slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, contract, reduce_sum
from symgrad.core.build import permute as permute_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import whole_number
from symgrad.errors import ShapeError
from symgrad.functional.arrange import cat, diag, diagonal, listed, stack
from symgrad.functional.indexing import basic_put
from symgrad.functional.order import sort_values
from symgrad.functional.padding import pad as pad_with
from symgrad.functional.promotion import promoted
from symgrad.functional.shape import axis_of, flip, transpose
from symgrad.functional.table import public
from symgrad.ops import structure
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import put_add


@public()
def fliplr(a: Expr) -> Expr:
    """Columns reversed."""
    if a.ndim < 2:
        raise ShapeError("Input must be >= 2-d.", "Use flip(0) of a vector.")
    return flip(a, 1)


@public()
def flipud(a: Expr) -> Expr:
    """Rows reversed."""
    if not a.ndim:
        raise ShapeError("Input must be >= 1-d.", "Give it at least one axis.")
    return flip(a, 0)


@public()
def rot90(a: Expr, k: int = 1, dims: Sequence[int] = (0, 1)) -> Expr:
    """Turned by k right angles in the plane of two axes."""
    first, second = dims
    if k % 4 == 0:
        return a
    if k % 4 == 2:
        return flip(a, (first, second))
    if k % 4 == 1:
        return transpose(flip(a, second), first, second)
    return transpose(flip(a, first), first, second)


@public(method=False)
def column_stack(tensors: Sequence[Expr]) -> Expr:
    """Vectors as columns, matrices beside each other."""
    return cat([structure.reshape(t, (-1, 1)) if t.ndim < 2 else t for t in tensors], 1)


@public(method=False)
def dstack(tensors: Sequence[Expr]) -> Expr:
    """Along the third axis."""
    return cat([atleast_3d(t) for t in tensors], 2)


@public(grad_fn="UnsqueezeBackward0", view=np.atleast_3d)
def atleast_3d(a: Expr) -> Expr:
    """With at least three axes."""
    if a.ndim >= 3:
        return a
    axes = {0: [0, 1, 2], 1: [0, 2], 2: [2]}[a.ndim]
    return insert_axes(a, axes)


@public()
def diagflat(a: Expr, offset: int = 0) -> Expr:
    """A matrix with all entries on a diagonal."""
    return diag(structure.reshape(a, (-1,)), offset)


@public(method=False)
def block_diag(*tensors: Any) -> Expr:
    """Matrices along the diagonal, zeros elsewhere."""
    parts = [structure.reshape(t, (1, -1)) if t.ndim < 2 else t for t in promoted(*listed(tensors))]
    width = sum(int(p.shape[1]) for p in parts)  # type: ignore[arg-type]
    rows: list[Expr] = []
    before = 0
    for p in parts:
        after = width - before - int(p.shape[1])  # type: ignore[arg-type]
        rows.append(structure.pad(p, [(0, 0), (before, after)]))
        before += int(p.shape[1])  # type: ignore[arg-type]
    return cat(rows, 0)


@public(grad_fn="ConstantPadNdBackward0", method=False)
def constant_pad_nd(a: Expr, pad: Any, value: Any = 0) -> Expr:
    """``value`` around the last axes."""
    return pad_with(a, pad, "constant", value)


@public()
def select_scatter(a: Expr, src: Expr, dim: int, index: int) -> Expr:
    """``a`` with ``src`` written where ``select`` reads."""
    axis = axis_of(dim, a.ndim)
    return basic_put(a, src, (*(("s", None, None, 1),) * axis, ("i", index)))


@public()
def slice_scatter(
    a: Expr, src: Expr, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Expr:
    """``a`` with ``src`` written into a slice along ``dim``."""
    axis = axis_of(dim, a.ndim)
    return basic_put(a, src, (*(("s", None, None, 1),) * axis, ("s", start, end, step)))


@public()
def diagonal_scatter(a: Expr, src: Expr, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Expr:
    """``a`` with ``src`` on a diagonal of two axes."""
    first, second = axis_of(dim1, a.ndim), axis_of(dim2, a.ndim)
    order = [k for k in range(a.ndim) if k not in (first, second)] + [first, second]
    moved = permute_axes(a, order)
    rows, columns = (whole_number(s, "diagonal_scatter") for s in moved.shape[-2:])
    wanted = diagonal(a, offset, dim1, dim2).shape
    if src.shape != wanted:
        raise ShapeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(wanted)}"
        )

    def placed(values: Expr) -> Expr:
        axes = list(range(values.ndim))
        square = contract([values], [axes], [*axes, values.ndim - 1])
        top, left = max(-offset, 0), max(offset, 0)
        n = whole_number(values.shape[-1], "diagonal_scatter")
        ends = [(top, rows - top - n), (left, columns - left - n)]
        return structure.pad(square, [(0, 0)] * (values.ndim - 1) + ends)

    hole = placed(constant(1, dtypes.bool_, src.shape))
    made = choose(hole, placed(cast(src, a.dtype)), moved)
    return permute_axes(made, [order.index(k) for k in range(a.ndim)])


@public()
def msort(a: Expr) -> Expr:
    """In order along the first axis."""
    return sort_values(a, 0)


@public()
def index_fill(a: Expr, dim: int, index: Expr, value: Any) -> Expr:
    """``value`` at the positions ``index`` along ``dim``."""
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        return constant(value, a.dtype) if not isinstance(value, Expr) else value
    size = a.shape[axis]
    hit = reduce_any(index if index.ndim else insert_axes(index, [0]), size)
    mask = structure.reshape(hit, tuple(size if k == axis else 1 for k in range(a.ndim)))
    filled = value if isinstance(value, Expr) else constant(value, a.dtype)
    return choose(mask, promoted(a, filled)[1] if filled.dtype is not a.dtype else filled, a)


def reduce_any(index: Expr, size: Any) -> Expr:
    """Which positions of an axis occur in ``index``."""
    count = put_add(constant(1, dtypes.int64, index.shape), index, -1, size)
    return cast(count, dtypes.bool_)


@public()
def sum_to_size(a: Expr, *size: Any) -> Expr:
    """Σ over what broadcasting would repeat."""
    wanted = listed(size)
    extra = a.ndim - len(wanted)
    if a.dtype.kind in "bui" and (not wanted or tuple(a.shape) != tuple(wanted)):
        a = cast(a, dtypes.int64)
    if extra:
        a = reduce_sum(a, range(extra))
    gone = [k for k, s in enumerate(wanted) if s == 1 and a.shape[k] != 1]
    return insert_axes(reduce_sum(a, gone), gone) if gone else a


@public(grad_fn="AddmvBackward0", saves=("cross",))
def addmv(a: Expr, mat: Expr, vec: Expr, *, beta: Any = 1, alpha: Any = 1) -> Expr:
    """β a + α M v."""
    return _scaled(a, beta) + (mat @ vec) * alpha


@public(saves=("cross",))
def addr(a: Expr, vec1: Expr, vec2: Expr, *, beta: Any = 1, alpha: Any = 1) -> Expr:
    """β a + α u vᵀ."""
    return _scaled(a, beta) + contract([vec1, vec2], [[0], [1]], [0, 1]) * alpha


@public(saves=("cross",))
def baddbmm(a: Expr, batch1: Expr, batch2: Expr, *, beta: Any = 1, alpha: Any = 1) -> Expr:
    """β a + α A B, for each of a batch."""
    return _scaled(a, beta) + (batch1 @ batch2) * alpha


@public(saves=("cross",))
def addbmm(a: Expr, batch1: Expr, batch2: Expr, *, beta: Any = 1, alpha: Any = 1) -> Expr:
    """β a + α Σ A B over a batch."""
    return _scaled(a, beta) + reduce_sum(batch1 @ batch2, [0]) * alpha


def _scaled(a: Expr, beta: Any) -> Expr:
    """β a; nothing of ``a`` counts where β is 0, not even NaN."""
    return constant(0, a.dtype, a.shape) if beta == 0 else a * beta if beta != 1 else a


@public("linalg_vecdot", part=True, saves=("cross",))
def vecdot(a: Expr, b: Expr, *, dim: int = -1) -> Expr:
    """Σ a b along ``dim``."""
    both = a * b
    return reduce_sum(both, [axis_of(dim, both.ndim)])


@public(saves=("cross",))
def cross(a: Expr, b: Expr, dim: int | None = None) -> Expr:
    """The vector product along an axis of size 3."""
    a, b = promoted(a, b)
    axis = (next((k for k, s in enumerate(a.shape) if s == 3), 0) if dim is None
            else axis_of(dim, max(a.ndim, b.ndim)))  # fmt: skip
    sizes = [e.shape[axis - max(a.ndim, b.ndim)] for e in (a, b)]
    if sizes != [3, 3]:
        raise ShapeError(
            f"cross: inputs dimension {axis} must have length 3. Got {sizes[0]} and {sizes[1]}"
        )

    def entry(e: Expr, k: int) -> Expr:
        return structure.select(e, axis - max(a.ndim, b.ndim), k)

    parts = [entry(a, (k + 1) % 3) * entry(b, (k + 2) % 3)
             - entry(a, (k + 2) % 3) * entry(b, (k + 1) % 3) for k in range(3)]  # fmt: skip
    return stack(parts, axis)
