"""Functions that only move numbers: reshape, flatten, cat, stack, repeat, pad, roll, triangles.

A row with a ``view`` shares memory with its operand; the column is the NumPy function that makes
the same view, which knows strides and offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import broadcast_to, cast, contract, reduce_sum
from symgrad.core.build import elementwise as apply
from symgrad.core.build import permute as permute_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, size_product, whole_number
from symgrad.errors import ShapeError
from symgrad.functional.promotion import promoted
from symgrad.functional.shape import axes_of, axis_of, expand
from symgrad.functional.table import public
from symgrad.ops import join, structure


def listed(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def _reshape_view(v: Any, *shape: Any) -> Any:
    return np.reshape(v, listed(shape), copy=False)


def _flatten_view(v: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    shape: Any = flattened(v.shape, start_dim, end_dim)
    return np.reshape(v, shape, copy=False)


def flattened(shape: Sequence[Size], start: int, end: int) -> tuple[Size, ...]:
    """The shape with axes start … end made one."""
    rank = len(shape)
    if rank == 0:
        return (1,)
    first, last = axis_of(start, rank), axis_of(end, rank)
    if first > last:
        raise ShapeError("flatten() has invalid args: start_dim cannot come after end_dim")
    return (*shape[:first], size_product(tuple(shape[first : last + 1])), *shape[last + 1 :])


@public(grad_fn="ViewBackward0", view=_reshape_view)
def reshape(a: Expr, *shape: Any) -> Expr:
    """The same numbers in another shape; one size may be −1."""
    return structure.reshape(a, listed(shape))


@public(view=_reshape_view)
def view(a: Expr, *shape: Any) -> Expr:
    """The same memory in another shape."""
    return structure.reshape(a, listed(shape))


@public(grad_fn="ViewBackward0", view=_flatten_view)
def flatten(a: Expr, start_dim: int = 0, end_dim: int = -1) -> Expr:
    """Axes start_dim … end_dim made one."""
    return structure.reshape(a, flattened(a.shape, start_dim, end_dim))


@public(grad_fn="ViewBackward0", view=lambda v: np.reshape(v, -1, copy=False))
def ravel(a: Expr) -> Expr:
    """All axes made one."""
    return structure.reshape(a, (-1,))


def _unflatten(shape: Sequence[Size], dim: int, sizes: Sequence[Size]) -> tuple[Size, ...]:
    axis = axis_of(dim, len(shape))
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


def _unflatten_view(v: Any, dim: int, sizes: Any) -> Any:
    axis = dim % v.ndim
    return np.reshape(v, (*v.shape[:axis], *sizes, *v.shape[axis + 1 :]), copy=False)


@public(grad_fn="ViewBackward0", view=_unflatten_view)
def unflatten(a: Expr, dim: int, sizes: Any) -> Expr:
    """One axis split into several."""
    axis = axis_of(dim, a.ndim)
    parts = list(sizes)
    if -1 in parts:
        known = size_product(tuple(s for s in parts if s != -1))
        parts[parts.index(-1)] = a.shape[axis] // known  # type: ignore[operator]
    return structure.reshape(a, _unflatten(a.shape, dim, parts))


@public(grad_fn="PermuteBackward0", view=np.moveaxis)
def movedim(a: Expr, source: Any, destination: Any) -> Expr:
    """Axes moved to other places."""
    given = (source,) if isinstance(source, int) else source
    wanted = (destination,) if isinstance(destination, int) else destination
    moved = [axis_of(s, a.ndim) for s in given]
    order = [k for k in range(a.ndim) if k not in moved]
    for place, axis in sorted(zip((axis_of(d, a.ndim) for d in wanted), moved, strict=True)):
        order.insert(place, axis)
    return permute_axes(a, order)


@public()
def cat(tensors: Sequence[Expr], dim: int = 0) -> Expr:
    """The tensors one after the other."""
    parts = [t for t in tensors if t.shape != (0,)] or list(tensors[:1])
    if not parts:
        raise ShapeError(
            "expected a non-empty list of Tensors", "Give cat a list of at least one tensor."
        )
    if any(t.ndim == 0 for t in parts):
        raise ShapeError(
            "zero-dimensional tensor (at position 0) cannot be concatenated",
            "Use stack, or unsqueeze(0) first.",
        )
    axis = axis_of(dim, parts[0].ndim)
    return join.concatenate(promoted(*parts), axis - parts[0].ndim)


@public()
def stack(tensors: Sequence[Expr], dim: int = 0) -> Expr:
    """The tensors along a new axis."""
    if not tensors:
        raise ShapeError(
            "stack expects a non-empty TensorList", "Give stack a list of at least one tensor."
        )
    first = tensors[0].shape
    for k, t in enumerate(tensors):
        if t.shape != first:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(t.shape)} at entry {k}",
                "Use cat to join tensors of different sizes along an axis that they have.",
            )
    axis = axis_of(dim, len(first) + 1)
    parts = [insert_axes(t, [axis]) for t in promoted(*tensors)]
    return join.concatenate(parts, axis - len(first) - 1)


@public(grad_fn="CatBackward0")
def hstack(tensors: Sequence[Expr]) -> Expr:
    """Along the second axis, or the first of vectors."""
    parts = [structure.reshape(t, (1,)) if t.ndim == 0 else t for t in tensors]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


@public(grad_fn="CatBackward0")
def vstack(tensors: Sequence[Expr]) -> Expr:
    """As rows."""
    return cat([structure.reshape(t, (1, -1)) if t.ndim < 2 else t for t in tensors], 0)


@public()
def repeat(a: Expr, *sizes: Any) -> Expr:
    """Copies along every axis."""
    times = listed(sizes)
    if len(times) < a.ndim:
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor",
            f"Give {a.ndim} numbers of repeats or more; 1 leaves an axis as it is.",
        )
    shape = (1,) * (len(times) - a.ndim) + tuple(a.shape)
    split = insert_axes(structure.reshape(a, shape), range(0, 2 * len(shape), 2))
    wide = broadcast_to(split, tuple(x for t, s in zip(times, shape, strict=True) for x in (t, s)))
    return structure.reshape(
        wide, tuple(size_product((t, s)) for t, s in zip(times, shape, strict=True))
    )


@public(grad_fn="RepeatBackward0")
def tile(a: Expr, *dims: Any) -> Expr:
    """Copies along the last axes."""
    times = listed(dims)
    return repeat(a, (1,) * (a.ndim - len(times)) + tuple(times))


@public()
def repeat_interleave(
    a: Expr, repeats: int, dim: int | None = None, *, output_size: int | None = None
) -> Expr:
    """Each entry several times."""
    del output_size  # for the caller's orientation: it is known here
    if dim is None:
        a, dim = structure.reshape(a, (-1,)), 0
    axis = axis_of(dim, a.ndim)
    wide = insert_axes(a, [axis + 1])
    shape = [*wide.shape]
    shape[axis + 1] = repeats
    result = (*a.shape[:axis], size_product((a.shape[axis], repeats)), *a.shape[axis + 1 :])
    return structure.reshape(broadcast_to(wide, tuple(shape)), result)


@public("broadcast_to", grad_fn="ExpandBackward0", view=lambda v, *s: np.broadcast_to(v, listed(s)))
def spread_to(a: Expr, *shape: Any) -> Expr:
    """Size-1 axes repeated."""
    return expand(a, *listed(shape))


@public()
def expand_as(a: Expr, other: Expr) -> Expr:
    """In the shape of another tensor."""
    return broadcast_to(a, other.shape)


@public(grad_fn="ViewBackward0")
def view_as(a: Expr, other: Expr) -> Expr:
    """The numbers in the shape of another tensor."""
    return structure.reshape(a, other.shape)


@public()
def reshape_as(a: Expr, other: Expr) -> Expr:
    """The numbers in the shape of another tensor."""
    return structure.reshape(a, other.shape)


@public()
def roll(a: Expr, shifts: Any, dims: Any = None) -> Expr:
    """Entries moved around."""
    if dims is None:
        return structure.reshape(roll(structure.reshape(a, (-1,)), shifts, 0), a.shape)
    moves = zip((shifts,) if isinstance(shifts, int) else shifts,
                (dims,) if isinstance(dims, int) else dims, strict=True)  # fmt: skip
    for shift, dim in moves:
        axis = axis_of(dim, a.ndim)
        n = whole_number(a.shape[axis], "roll")
        cut = -shift % n if n else 0
        if cut:
            a = join.concatenate(
                [structure.slice_axis(a, axis, cut, n), structure.slice_axis(a, axis, 0, cut)],
                axis - a.ndim,
            )
    return a


@public()
def tril(a: Expr, diagonal: int = 0) -> Expr:
    """The lower triangle of matrices."""
    return join.tril(a, diagonal)


@public()
def triu(a: Expr, diagonal: int = 0) -> Expr:
    """The upper triangle of matrices."""
    return join.triu(a, diagonal)


@public(view=lambda v, offset=0, dim1=0, dim2=1: np.diagonal(v, offset, dim1, dim2))
def diagonal(a: Expr, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Expr:
    """The diagonal of matrices, as the last axis."""
    j, k = axis_of(dim1, a.ndim), axis_of(dim2, a.ndim)
    if j == k:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    order = [x for x in range(a.ndim) if x not in (j, k)] + [j, k]
    a = permute_axes(a, order)
    rows, columns = a.shape[-2:]
    if offset or rows != columns:
        rows, columns = whole_number(rows, "diagonal"), whole_number(columns, "diagonal")
        top, left = max(-offset, 0), max(offset, 0)
        length = max(min(rows - top, columns - left), 0)
        a = structure.slice_axis(a, -2, top, top + length)
        a = structure.slice_axis(a, -1, left, left + length)
    lead = list(range(a.ndim - 2))
    return contract([a], [[*lead, a.ndim, a.ndim]], [*lead, a.ndim])


@public()
def diag(a: Expr, diagonal: int = 0) -> Expr:
    """The diagonal of a matrix, or a matrix with this diagonal."""
    if a.ndim not in (1, 2):
        raise ShapeError(
            f"diag(): Supports 1D or 2D tensors. Got {a.ndim}D", "Use diagonal() for batches."
        )
    if a.ndim == 2:
        return FUNCTION_DIAGONAL(a, diagonal)
    made = contract([a], [[0]], [0, 0])
    if not diagonal:
        return made
    before, after = (0, diagonal) if diagonal > 0 else (-diagonal, 0)
    return structure.pad(made, [(before, after), (after, before)])


FUNCTION_DIAGONAL = diagonal


@public()
def diag_embed(a: Expr, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Expr:
    """Matrices with these diagonals, their axes at ``dim1`` and ``dim2``."""
    axes = list(range(a.ndim))
    made = contract([a], [axes], [*axes, a.ndim - 1])
    if offset:
        before, after = (0, offset) if offset > 0 else (-offset, 0)
        made = structure.pad(made, [(before, after), (after, before)])
    first, second = axis_of(dim1, made.ndim), axis_of(dim2, made.ndim)
    if (first, second) == (made.ndim - 2, made.ndim - 1):
        return made
    order = list(range(made.ndim - 2))
    for place, axis in sorted([(first, made.ndim - 2), (second, made.ndim - 1)]):
        order.insert(place, axis)
    return permute_axes(made, order)


def _one_size_per_letter(parts: Sequence[Expr], rows: Sequence[Sequence[int]]) -> None:
    sizes: dict[int, Any] = {}
    for k, (t, row) in enumerate(zip(parts, rows, strict=True)):
        for letter, size in zip(row, t.shape, strict=True):
            known = sizes.setdefault(letter, size)
            if known == 1:
                sizes[letter] = size
            elif size not in (1, known):
                word = chr(letter) if letter >= 0 else "..."
                raise ShapeError(
                    f"einsum(): subscript {word} has size {size} for operand {k} which does not "
                    f"broadcast with previously seen size {known}",
                    "Give the axes different letters, or sizes that agree.",
                )


@public(grad_fn="ViewBackward0")
def einsum(equation: str, *operands: Any) -> Expr:
    """Σ of products by letters: ``"bij,bjk->bik"``."""
    parts = list(listed(operands))
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(parts):
        raise ShapeError(
            f"einsum(): {len(terms)} subscripts for {len(parts)} operands",
            "Write one group of letters per tensor, with commas between them.",
        )
    spread = max((t.ndim - len(w.replace("...", "")) for t, w in zip(parts, terms, strict=True)
                  if "..." in w), default=0)  # fmt: skip
    rows: list[list[int]] = []
    for t, word in zip(parts, terms, strict=True):
        head, dots, tail = word.partition("...")
        room = t.ndim - len(head) - len(tail)
        if (room and not dots) or room < 0:
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({len(head) + len(tail)}) "
                f"does not match the number of dimensions ({t.ndim}) for operand "
                f"{len(rows)} and no ellipsis was given",
                f"Write {t.ndim} letters in place of {word!r}, or use an ellipsis (...).",
            )
        middle = [-1000 + k for k in range(spread - room, spread)]
        rows.append([*map(ord, head), *middle, *map(ord, tail)])
    if not arrow:
        counted = [c for c in left if c.isalpha()]
        ending = sorted(c for c in set(counted) if counted.count(c) == 1)
        right = ("..." if spread else "") + "".join(ending)
    head, dots, tail = right.partition("...")
    out = [*map(ord, head), *([-1000 + k for k in range(spread)] if dots else []), *map(ord, tail)]
    if strange := [chr(x) for x in out if x >= 0 and not any(x in r for r in rows)]:
        raise ShapeError(
            f"einsum(): output subscript {strange[0]} does not appear in the equation for any "
            "input operand"
        )
    if len(set(out)) != len(out):
        raise ShapeError(f"einsum(): an output subscript appears more than once in {right!r}")
    table = {x: k for k, x in enumerate(dict.fromkeys([x for r in [*rows, out] for x in r]))}
    _one_size_per_letter(parts, rows)
    return contract(promoted(*parts), [[table[x] for x in r] for r in rows],
                    [table[x] for x in out])  # fmt: skip


def reduce_sum_keeping(a: Expr, axis: int) -> Expr:
    """Σ over one axis, which stays with size 1."""
    return insert_axes(reduce_sum(a, [axis]), [axis])


@public(grad_fn="ViewBackward0", method=False, saves=("cross",))
def tensordot(a: Expr, b: Expr, dims: Any = 2, out: None = None) -> Expr:
    """Σ over the last ``dims`` axes of a and the first of b, or over two lists of axes."""
    del out
    if isinstance(dims, int):
        first, second = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        first, second = ([axis_of(k, e.ndim) for k in listed((axes,))]
                         for axes, e in zip(dims, (a, b), strict=True))  # fmt: skip
    rows = [list(range(a.ndim)), list(range(a.ndim, a.ndim + b.ndim))]
    for j, k in zip(first, second, strict=True):
        if a.shape[j] != b.shape[k] and 1 not in (a.shape[j], b.shape[k]):
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {a.shape[j]} in dim {j} "
                f"and second has size {b.shape[k]} in dim {k}",
                "Name axes of the same size.",
            )
        rows[1][k] = j
        a = reduce_sum_keeping(a, j) if b.shape[k] == 1 else a
        b = reduce_sum_keeping(b, k) if a.shape[j] == 1 else b
    out_labels = [k for k in rows[0] if k not in first] + [k for k in rows[1] if k >= a.ndim]
    return contract(promoted(a, b), rows, out_labels)


@public(grad_fn="UnsafeViewBackward0")
def kron(a: Expr, b: Expr) -> Expr:
    """The Kronecker product of two matrices or vectors."""
    a, b = promoted(a, b)
    rank = max(a.ndim, b.ndim)
    a = structure.reshape(a, (1,) * (rank - a.ndim) + tuple(a.shape))
    b = structure.reshape(b, (1,) * (rank - b.ndim) + tuple(b.shape))
    made = contract([a, b], [[2 * k for k in range(rank)], [2 * k + 1 for k in range(rank)]],
                    range(2 * rank))  # fmt: skip
    shape = tuple(size_product((x, y)) for x, y in zip(a.shape, b.shape, strict=True))
    return structure.reshape(made, shape)


@public(grad_fn="SubBackward0")
def diff(
    a: Expr, n: int = 1, dim: int = -1, prepend: Expr | None = None, append: Expr | None = None
) -> Expr:
    """Differences of neighbours, n times; ``prepend`` and ``append`` are joined first."""
    axis = axis_of(dim, a.ndim)
    joined = [e for e in (prepend, a, append) if e is not None] if n else [a]
    a = cat(joined, dim) if len(joined) > 1 else a
    for _ in range(n):
        later = structure.slice_axis(a, axis, 1, None)
        earlier = structure.slice_axis(a, axis, None, -1)
        a = apply("logical_xor", later, earlier) if a.dtype is dtypes.bool_ else later - earlier
    return a


@public()
def count_nonzero(a: Expr, dim: Any = None) -> Expr:
    """How many entries are not zero."""
    from_zero = cast(cast(a, dtypes.bool_), dtypes.int64)
    return reduce_sum(from_zero, axes_of(dim, a.ndim))


@public("detach", method=False, view=lambda v: v, tracks=False)
def detach(a: Expr) -> Expr:
    """The same memory, without tracking."""
    return a
