"""Indexing as compositions: slices, integer tensors, and writing what was indexed.

A basic index is a static tuple with an entry per axis: ``("i", k)`` takes an entry, ``("s", start,
stop, step)`` a slice, ``("n",)`` makes a new axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import (
    add,
    broadcast_shapes,
    broadcast_to,
    cast,
    constant,
    scale,
)
from symgrad.core.build import elementwise as apply
from symgrad.core.build import permute as permute_axes
from symgrad.core.build import squeeze as drop_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, size_product
from symgrad.errors import AxisError, ShapeError
from symgrad.functional.scattering import scatter_reduce
from symgrad.functional.shape import axis_of
from symgrad.functional.table import public
from symgrad.ops import join, structure
from symgrad.ops.axis import along
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import gather as gather_along
from symgrad.ops.gather import put_add, scatter_extreme
from symgrad.ops.gather import scatter_add as scattered
from symgrad.ops.gather import take as take_rows

Entries = Sequence[tuple[Any, ...]]


def _parts(a: Expr, entries: Entries) -> list[slice]:
    """The slices of the axes of ``a``; an entry is a slice of one."""
    parts: list[slice] = []
    for kind, *rest in entries:
        if kind == "n":
            continue
        size = a.shape[len(parts)]
        if kind == "s":
            parts.append(slice(*rest))
            continue
        k = rest[0]
        if isinstance(size, int):
            if not -size <= k < size:
                raise AxisError(
                    f"index {k} is out of bounds for dimension {len(parts)} with size {size}"
                )
            k %= size
        parts.append(slice(k, k + 1, 1))
    return parts


def _numpy_index(v: Any, entries: Entries) -> Any:
    spelled = {"n": lambda: None, "i": lambda k: k, "s": slice}
    # an entry in every place keeps a view where all axes are taken away
    return v[(*(spelled[kind](*rest) for kind, *rest in entries), ...)]  # type: ignore[operator]


@public("basic_index", grad_fn="SliceBackward0", view=_numpy_index, part=True)
def basic_index(a: Expr, entries: Entries) -> Expr:
    """``a[…]`` with numbers, slices and None."""
    a, entries = _from_behind(a, entries)
    cut = structure.slice_axes(a, _parts(a, entries))
    gone: list[int] = []
    axis = 0
    for kind, *_ in entries:
        if kind == "i":
            gone.append(axis)
        axis += kind != "n"
    new = drop_axes(cut, gone) if gone else cut
    place = 0
    fresh: list[int] = []
    for kind, *_ in entries:
        if kind == "n":
            fresh.append(place)
        place += kind != "i"
    return insert_axes(new, fresh) if fresh else new


def _from_behind(a: Expr, entries: Entries) -> tuple[Expr, Entries]:
    """Along an axis whose size is a letter, −1 is the first of the axis turned round."""
    axis, made = 0, list[Any]()
    for entry in entries:
        kind, *where = entry
        if kind == "i" and where[0] < 0 and axis < a.ndim and not isinstance(a.shape[axis], int):
            a, entry = along("flip", a, axis), ("i", -1 - where[0])
        made.append(entry)
        axis += kind != "n"
    return a, tuple(made)


@public("basic_put", grad_fn="CopySlices", part=True)
def basic_put(a: Expr, new: Expr, entries: Entries) -> Expr:
    """``a`` with ``new`` written where ``basic_index`` reads."""
    parts = _parts(a, entries)
    taken = structure.slice_axes(a, parts).shape
    piece = structure.reshape(new, taken)
    spec = []
    for k in range(a.ndim):
        part = parts[k] if k < len(parts) else None
        spec.append(
            None
            if part is None
            else slice(part.start, part.stop, part.step or 1).indices(
                a.shape[k]  # type: ignore[arg-type]
            )
        )
    spec = [None if p is None else (p[0], max(p[0], p[1]), p[2]) for p in spec]
    if all(p is None for p in spec):
        return cast(piece, a.dtype)
    inside = structure.place(constant(1, dtypes.bool_, taken), tuple(spec), a.shape)
    return choose(inside, structure.place(cast(piece, a.dtype), tuple(spec), a.shape), a)


class _Rows:
    """``a`` with its indexed axes merged in front, so that an index is a row number."""

    def __init__(self, a: Expr, dims: Sequence[int], indices: Sequence[Expr]) -> None:
        self.shape = broadcast_shapes([i.shape for i in indices], indices)
        self.dims = list(dims)
        self.rest = [k for k in range(a.ndim) if k not in self.dims]
        self.order = [*self.dims, *self.rest]
        self.sizes = [a.shape[k] for k in self.dims]
        self.kept = tuple(a.shape[k] for k in self.rest)
        self.count = size_product(tuple(self.sizes))
        row: Expr | None = None
        for index, size in zip(indices, self.sizes, strict=True):
            whole = broadcast_to(cast(index, dtypes.int64), self.shape)
            if len(self.dims) > 1:
                wrapped = whole + constant(size, dtypes.int64)
                whole = choose(apply("lt", whole, constant(0, dtypes.int64)), wrapped, whole)
                row = whole if row is None else add([scale(size, row), whole])
            else:
                row = whole
        assert row is not None
        self.row = row
        # the axes of the index stand where the first of neighbouring indexed axes stood
        neighbours = self.dims == list(range(self.dims[0], self.dims[0] + len(self.dims)))
        self.at = self.dims[0] if neighbours else 0

    def of(self, a: Expr) -> Expr:
        """(rows, rest…)."""
        return structure.reshape(permute_axes(a, self.order), (self.count, *self.kept))

    def back(self, rows: Expr) -> Expr:
        """The rows in the shape of ``a`` again."""
        wide = structure.reshape(rows, (*self.sizes, *self.kept))
        order = [self.order.index(k) for k in range(len(self.order))]
        return permute_axes(wide, order)

    def placed(self, picked: Expr) -> Expr:
        """(index axes…, rest…) → the order of the result."""
        width = len(self.shape)
        front = [width + k for k in range(self.at)]
        order = [*front, *range(width), *range(width + self.at, picked.ndim)]
        return permute_axes(picked, order)

    def unplaced(self, result: Expr) -> Expr:
        """The inverse of ``placed``."""
        width = len(self.shape)
        order = [*range(self.at, self.at + width), *range(self.at),
                 *range(self.at + width, result.ndim)]  # fmt: skip
        return permute_axes(result, order)

    @property
    def result_shape(self) -> tuple[Any, ...]:
        """Shape of the indexed tensor."""
        return (*self.kept[: self.at], *self.shape, *self.kept[self.at :])


@public("index", part=True)
def index(a: Expr, dims: Sequence[int], *indices: Expr) -> Expr:
    """``a[…, i, j, …]`` with integer tensors at the axes ``dims``."""
    rows = _Rows(a, dims, indices)
    return rows.placed(take_rows(rows.of(a), rows.row, -1 - len(rows.kept)))


@public("index_put_at", grad_fn="IndexPutBackward0", part=True)
def index_put(a: Expr, new: Expr, accumulate: bool, dims: Sequence[int], *indices: Expr) -> Expr:
    """``a`` with ``new`` written (or added) where ``index`` reads; of several, the last counts."""
    rows = _Rows(a, dims, indices)
    piece = rows.unplaced(broadcast_to(cast(new, a.dtype), rows.result_shape))
    axis = -1 - len(rows.kept)
    base = rows.of(a)
    if accumulate:
        return rows.back(base + put_add(piece, rows.row, axis, rows.count))
    total = size_product(rows.shape)
    flat = structure.reshape(rows.row, (total,))
    negative = apply("lt", flat, constant(0, dtypes.int64))
    flat = choose(negative, flat + constant(rows.count, dtypes.int64), flat)
    return rows.back(_overwritten(base, flat, structure.reshape(piece, (total, *rows.kept))))


def _overwritten(base: Expr, row: Expr, piece: Expr) -> Expr:
    """Rows of ``base`` replaced; where a row is written several times, the last write counts."""
    count = base.shape[0]
    last = structure.reshape(_last_write(row, 0, count), (-1, *(1,) * (piece.ndim - 1)))
    written = put_add(choose(last, piece, constant(0, piece.dtype)), row, -piece.ndim, count)
    hit = put_add(constant(1, dtypes.int64, row.shape), row, -1, count)
    mask = structure.reshape(cast(hit, dtypes.bool_), (count, *(1,) * (base.ndim - 1)))
    return choose(mask, written, base)


@public()
def index_select(a: Expr, dim: int, index: Expr) -> Expr:
    """Entries ``index`` along ``dim``."""
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        return structure.reshape(take_rows(insert_axes(a, [0]), index, -1), ())
    row = insert_axes(index, [0]) if index.ndim == 0 else index
    return take_rows(a, row, axis - a.ndim)


@public()
def take(a: Expr, index: Expr) -> Expr:
    """Entries of the flattened tensor."""
    return take_rows(structure.reshape(a, (-1,)), index, -1)


@public()
def gather(a: Expr, dim: int, index: Expr, *, sparse_grad: bool = False) -> Expr:
    """``result[i][j] = a[index[i][j]][j]``."""
    axis = axis_of(dim, a.ndim)
    if not a.ndim or not index.ndim or 0 in index.shape:
        return _gathered(a, axis, index)
    parts = [None if k == axis else slice(0, s, 1) for k, s in enumerate(index.shape)]
    return gather_along(structure.slice_axes(a, parts), index, axis - a.ndim)


def _gathered(a: Expr, axis: int, index: Expr) -> Expr:
    """``gather`` of numbers without axes, and of no positions."""
    if 0 in index.shape:
        return constant(0, a.dtype, index.shape)
    row, position = (e if e.ndim else insert_axes(e, [0]) for e in (a, index))
    return structure.reshape(gather_along(row, position, axis - row.ndim), index.shape)


@public()
def take_along_dim(a: Expr, indices: Expr, dim: int | None = None) -> Expr:
    """Entries along ``dim`` (of all in a row, without one) at the positions of another tensor."""
    if dim is None:
        return gather_along(structure.reshape(a, (-1,)), structure.reshape(indices, (-1,)), -1)
    axis = axis_of(dim, a.ndim)
    kept = broadcast_shapes(
        [(*e.shape[:axis], 1, *e.shape[axis + 1 :]) for e in (a, indices)], (a, indices)
    )
    first, second = (
        broadcast_to(e, (*kept[:axis], e.shape[axis], *kept[axis + 1 :])) for e in (a, indices)
    )
    return gather_along(first, second, axis - a.ndim)


def _rowed(*parts: Any) -> list[Any]:
    """Numbers without axes as rows of one."""
    return [insert_axes(e, [0]) if isinstance(e, Expr) and not e.ndim else e for e in parts]


def _widened(e: Expr, shape: Sequence[Any], axis: int) -> Expr:
    """``e`` with zeros behind, in ``shape`` apart from ``axis``."""
    widths = [(0, 0) if k == axis else (0, n - m)  # type: ignore[operator]
              for k, (n, m) in enumerate(zip(shape, e.shape, strict=True))]  # fmt: skip
    return structure.pad(e, widths)


def _spread(part: Expr, index: Expr, axis: int, like: Expr) -> Expr:
    """``part`` added into zeros of the shape of ``like`` at the positions of ``index``."""
    return _widened(scattered(part, index, axis - like.ndim, like.shape[axis]), like.shape, axis)


@public()
def scatter_add(a: Expr, dim: int, index: Expr, src: Expr) -> Expr:
    """``a`` with ``src`` added where ``gather`` reads."""
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        return structure.reshape(scatter_add(*_rowed(a), 0, *_rowed(index, src)), ())
    if 0 in index.shape:
        return a
    part = structure.slice_axes(src, [slice(0, s, 1) for s in index.shape])
    return a + _spread(part, index, axis, a)


@public()
def scatter(a: Expr, dim: int, index: Expr, src: Any, *, reduce: str | None = None) -> Expr:
    """``a`` with ``src`` written (``reduce``: added, multiplied) where ``gather`` reads."""
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        made = scatter(*_rowed(a), 0, *_rowed(index, src), reduce=reduce)
        return structure.reshape(made, ())
    if 0 in index.shape:
        return a
    if not isinstance(src, Expr):
        src = constant(src, a.dtype, index.shape)
    part = cast(structure.slice_axes(src, [slice(0, s, 1) for s in index.shape]), a.dtype)
    if reduce == "add":
        return a + _spread(part, index, axis, a)
    if reduce == "multiply":
        return scatter_reduce(a, dim, index, part, "prod")
    last = _last_write(index, axis, a.shape[axis])
    hits = _spread(cast(last, dtypes.int64), index, axis, a)
    written = _spread(choose(last, part, constant(0, a.dtype)), index, axis, a)
    return choose(cast(hits, dtypes.bool_), written, a)


def _last_write(index: Expr, axis: int, size: Size) -> Expr:
    """Which writes to ``size`` places no later one of the same line hides."""
    place = axis - index.ndim
    turn = insert_axes(join.arange(index.shape[axis], dtypes.int64), range(1, -place))
    turn = broadcast_to(turn, index.shape)
    latest = scatter_extreme("scatter_amax", turn, index, place, size)
    return apply("eq", gather_along(latest, index, place), turn)


@public()
def index_add(a: Expr, dim: int, index: Expr, source: Expr, *, alpha: Any = 1) -> Expr:
    """``a`` with slices of ``source`` added at ``index``."""
    axis = axis_of(dim, a.ndim)
    if not a.ndim:
        row, places, added = _rowed(a, index, source)
        return structure.reshape(index_add(row, 0, places, added, alpha=alpha), ())
    (index,) = _rowed(index)
    size = a.shape[axis]
    if a.dtype is dtypes.bool_:
        added = put_add(cast(source, dtypes.int64), index, axis - a.ndim, size)
        return apply("logical_or", a, cast(added, dtypes.bool_)) if alpha else a
    return a + put_add(source * alpha if alpha != 1 else source, index, axis - a.ndim, size)


@public(
    "select",
    grad_fn="SelectBackward0",
    view=lambda v, dim, index: v[(slice(None),) * (dim % v.ndim) + (index, ...)],
)
def select(a: Expr, dim: int, index: int) -> Expr:
    """Entry ``index`` along ``dim``."""
    axis = axis_of(dim, a.ndim)
    return basic_index(a, (*(("s", None, None, 1),) * axis, ("i", index)))


@public(
    "narrow",
    grad_fn="SliceBackward0",
    view=lambda v, dim, start, length: v[
        (slice(None),) * (dim % v.ndim) + (slice(start, start + length),)
    ],
)
def narrow(a: Expr, dim: int, start: int, length: int) -> Expr:
    """``length`` entries along ``dim`` from ``start``."""
    if isinstance(start, Expr):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    axis = axis_of(dim, a.ndim)
    size = a.shape[axis]
    if length < 0:
        raise ShapeError("narrow(): length must be non-negative.")
    if isinstance(size, int) and start + length > size:
        raise ShapeError(
            f"start ({start}) + length ({length}) exceeds dimension size ({size}).",
            f"Take at most {size} - start entries.",
        )
    return structure.slice_axis(a, axis, start, start + length)


__all__ = ["Entries", "basic_index", "basic_put", "index", "index_put"]
