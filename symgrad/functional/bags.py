"""Rows of a table summed in bags, and images read at places between their pixels."""

from __future__ import annotations

import math
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import broadcast_to, cast, constant, ones, product, reduce_sum
from symgrad.core.build import elementwise as apply
from symgrad.core.build import squeeze as drop_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import shape_text
from symgrad.errors import ShapeError
from symgrad.functional.losses import embedding
from symgrad.functional.table import public
from symgrad.ops import structure
from symgrad.ops.axis import along
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import gather, put_add
from symgrad.ops.join import arange

# ------------------------------------------------------------------ bags


@public(part=True, grad_fn="EmbeddingBagBackward0", saves=(0, 1))
def embedding_bag_of(
    indices: Expr,
    weight: Expr,
    offsets: Expr,
    mode: str = "mean",
    per_sample_weights: Expr | None = None,
    padding_idx: int | None = None,
) -> Expr:
    """Sum, mean or max of the rows of each bag: bag b begins at ``offsets[b]``; 0 where empty."""
    bags = offsets.shape[0]
    turn = insert_axes(arange(indices.shape[0], dtypes.int64), [1])
    begun = apply("ge", turn, insert_axes(cast(offsets, dtypes.int64), [0]))
    bag = reduce_sum(cast(begun, dtypes.int64), [1]) - 1
    rows = embedding(indices, weight)
    count = ones(indices.shape, weight.dtype)
    if padding_idx is not None:
        counted = apply("ne", indices, constant(padding_idx % int(weight.shape[0]), indices.dtype))  # type: ignore[arg-type]
        count = cast(counted, weight.dtype)
    if mode == "max":
        return _largest(rows, bag, cast(count, dtypes.bool_), bags)
    share = count if per_sample_weights is None else product(count, per_sample_weights)
    total = put_add(product(rows, insert_axes(share, [1])), bag, -2, bags)
    if mode == "sum":
        return total
    members = apply("maximum", put_add(count, bag, -1, bags), constant(1, weight.dtype))
    return total / insert_axes(members, [1])


def _largest(rows: Expr, bag: Expr, counted: Expr, bags: Any) -> Expr:
    """The largest entry of each bag; the first takes the gradient."""
    inside = apply("eq", insert_axes(bag, [0]), insert_axes(arange(bags, dtypes.int64), [1]))
    inside = apply("logical_and", inside, insert_axes(counted, [0]))
    seen = insert_axes(inside, [2])
    every = choose(seen, insert_axes(rows, [0]), constant(-math.inf, rows.dtype))
    first = insert_axes(along("argmax", apply("detach", every), -2), [1])
    found = drop_axes(gather(every, first, -2), [1])
    full = cast(reduce_sum(cast(inside, dtypes.int64), [1]), dtypes.bool_)
    return choose(insert_axes(full, [1]), found, constant(0, rows.dtype))


# ------------------------------------------------------------------ images between pixels


def _reflected(x: Expr, low: float, high: float) -> Expr:
    """``x`` thrown back at both ends until it lies between them."""
    if low == high:
        return constant(0, x.dtype, x.shape)
    span = constant(high - low, x.dtype)
    away = apply("abs", x - low)
    rest = apply("fmod", away, span)
    even = apply("eq", apply("fmod", apply("floor", away / span), constant(2, x.dtype)),
                 constant(0, x.dtype))  # fmt: skip
    return choose(even, rest + low, span - rest + low)


def _inside(x: Expr, size: int, padding_mode: str, align_corners: bool) -> Expr:
    """Places beyond the edge, as the padding has them."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        ends = (0, size - 1) if align_corners else (-0.5, size - 0.5)
        x = _reflected(x, *ends)
    low, high = constant(0, x.dtype), constant(size - 1, x.dtype)
    x = choose(apply("gt", x, low), x, low)
    return choose(apply("lt", x, high), x, high)


def _cubic_shares(t: Expr) -> list[Expr]:
    """Keys' weights (1981, a = −3/4) of the four pixels around, t behind the second."""
    shares: list[Expr] = []
    for d in (t + 1, t, 1 - t, 2 - t):
        near = len(shares) in (1, 2)
        shares.append(
            product(1.25 * d - 2.25, product(d, d)) + 1
            if near
            else product(product(-0.75 * d + 3.75, d) - 6, d) + 3
        )
    return shares


@public(method=False, grad_fn="GridSampler2DBackward0", saves=(0, 1))
def grid_sample(
    input: Expr,
    grid: Expr,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Expr:
    """Images ``(N, C, …)`` read at the places ``grid`` ``(N, …, rank)``, −1 … 1 from edge to edge."""
    rank = input.ndim - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if rank not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != rank or (
        grid.shape[0] != input.shape[0]
    ):  # fmt: skip
        raise ShapeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions and "
            f"batch size, but got input with sizes {shape_text(input.shape)} and grid with sizes "
            f"{shape_text(grid.shape)}",
            "Give images (N, C, H, W) and places (N, H', W', 2).",
        )
    if mode == "bicubic" and rank != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    sizes = [s for s in input.shape[2:] if isinstance(s, int)]
    if len(sizes) < rank:
        raise ShapeError("grid_sample needs numbers as the sizes of images")
    corners = bool(align_corners)
    taps: list[list[tuple[Expr, Expr | None]]] = []
    for k, size in enumerate(sizes):
        place = structure.select(grid, -1, rank - 1 - k)
        x = (place + 1) * ((size - 1) / 2) if corners else ((place + 1) * size - 1) * 0.5
        taps.append(_taps(x, size, mode, padding_mode, corners))
    flat = structure.reshape(input, (*input.shape[:2], math.prod(sizes)))
    total: Expr | None = None
    picked: list[tuple[Expr | None, list[Expr]]] = [(None, [])]
    for axis_taps in taps:
        picked = [(_times(share, s), [*at, p]) for share, at in picked for p, s in axis_taps]
    for share, at in picked:
        part = _read(flat, at, sizes)
        part = part if share is None else product(part, insert_axes(share, [1]))
        total = part if total is None else total + part
    assert total is not None
    return total


def _times(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return b if a is None else a
    return product(a, b)


def _taps(
    x: Expr, size: int, mode: str, padding_mode: str, corners: bool
) -> list[tuple[Expr, Expr | None]]:
    """Pixels along one axis and their shares."""
    if mode == "bicubic":
        whole = apply("floor", x)
        places = [_inside(whole + k, size, padding_mode, corners) for k in (-1, 0, 1, 2)]
        return list(zip(places, _cubic_shares(x - whole), strict=True))
    x = _inside(x, size, padding_mode, corners)
    if mode == "nearest":
        return [(apply("round", x), None)]
    whole = apply("floor", x)
    return [(whole, whole + 1 - x), (whole + 1, x - whole)]


def _read(flat: Expr, at: list[Expr], sizes: list[int]) -> Expr:
    """Pixels ``(N, C, …)`` at whole places, 0 beyond the edge."""
    inside: Expr | None = None
    place: Expr | None = None
    for x, size in zip(at, sizes, strict=True):
        low, high = constant(0, x.dtype), constant(size - 1, x.dtype)
        here = apply("logical_and", apply("ge", x, low), apply("le", x, high))
        inside = here if inside is None else apply("logical_and", inside, here)
        index = cast(choose(here, x, low), dtypes.int64)
        place = index if place is None else place * size + index
    assert inside is not None
    assert place is not None
    lines = structure.reshape(place, (place.shape[0], 1, -1))
    lines = broadcast_to(lines, (*flat.shape[:2], lines.shape[2]))
    found = structure.reshape(gather(flat, lines, -1), (*flat.shape[:2], *place.shape[1:]))
    return choose(insert_axes(inside, [1]), found, constant(0, flat.dtype))
