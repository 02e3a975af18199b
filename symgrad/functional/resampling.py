"""Windows as columns, other sizes of images, channels for pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, elementwise, permute, product, squeeze, unsqueeze
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial, normal_size, shape_text, size_product, whole_number
from symgrad.errors import ShapeError
from symgrad.functional.convolution import each
from symgrad.functional.pooling import adaptive_mean, along_matrix, whole_sizes
from symgrad.functional.shape import axis_of
from symgrad.functional.table import public
from symgrad.ops.gather import put_add, take
from symgrad.ops.join import arange
from symgrad.ops.structure import pad, reshape

# ------------------------------------------------------------------ windows as columns


def _grid(rows: int, row_step: int, columns: int, column_step: int) -> Expr:
    """``i · row_step + j · column_step`` as a matrix of positions."""
    i, j = arange(rows, dtypes.int64), arange(columns, dtypes.int64)
    return unsqueeze(i * row_step, [1]) + unsqueeze(j * column_step, [0])


def _windows(v: Any, dimension: int, size: int, step: int) -> Any:
    if not v.ndim:
        return _windows(v.reshape(1), 0, size, step)[0]
    windows = np.lib.stride_tricks.sliding_window_view(v, size, dimension)
    return windows[(slice(None),) * (dimension % v.ndim) + (slice(None, None, step),)]


@public(view=_windows)
def unfold(a: Expr, dimension: int, size: int, step: int) -> Expr:
    """All windows of ``size`` along an axis, ``step`` apart, as a new last axis."""
    if a.ndim == 0:
        return reshape(unfold(reshape(a, (1,)), axis_of(dimension, 0), size, step), (size,))
    axis = axis_of(dimension, a.ndim)
    length = a.shape[axis]
    if not isinstance(length, int) or not 0 <= size <= length:
        raise ShapeError(
            f"maximum size for tensor at dimension {dimension} is {length} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    made = take(a, _grid((length - size) // step + 1, step, size, 1), axis)
    return permute(made, [k for k in range(made.ndim) if k != axis + 1] + [axis + 1])


def overlapped(frames: Expr, step: int, length: int) -> Expr:
    """Windows ``(…, count, size)``, ``step`` apart, added up over ``length``: the adjoint of unfold."""
    places = _grid(
        whole_number(frames.shape[-2], "overlap"),
        step,
        whole_number(frames.shape[-1], "overlap"),
        1,
    )
    return put_add(frames, places, -1, length)


def _blocks(
    sizes: Sequence[int], kernel_size: Any, dilation: Any, padding: Any, stride: Any, name: str
) -> tuple[list[Expr], list[int], tuple[int, ...], tuple[int, ...]]:
    """Positions (taps × places) along both padded axes; places, kernel and padding."""
    kernel = each(kernel_size, 2, f"{name}: kernel_size", 1)
    apart = each(dilation, 2, f"{name}: dilation", 1)
    pads = each(padding, 2, f"{name}: padding", 0)
    strides = each(stride, 2, f"{name}: stride", 1)
    places = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, d, p, s in zip(sizes, kernel, apart, pads, strides, strict=True)
    ]
    if min(places) < 1:
        raise ShapeError(
            f"{name}: with spatial size {tuple(sizes)}, kernel_size={kernel}, dilation={apart}, "
            f"padding={pads}, stride={strides} the array of sliding blocks has shape "
            f"{tuple(places)}, which is too small"
        )
    grids = [_grid(k, d, n, s) for k, d, n, s in zip(kernel, apart, places, strides, strict=True)]
    return grids, places, kernel, pads


@public("im2col", grad_fn="Im2ColBackward0", part=True)
def im2col(
    input: Expr, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Expr:
    """Blocks of images ``(N, C, H, W)`` as columns ``(N, C · k · k, places)``."""
    sizes = whole_sizes(input, 2, "unfold")
    grids, places, kernel, pads = _blocks(sizes, kernel_size, dilation, padding, stride, "unfold")
    a = input if input.ndim == 4 else unsqueeze(input, [0])
    a = take(take(pad(a, [(p, p) for p in pads]), grids[1], 3), grids[0], 2)
    a = permute(a, (0, 1, 2, 4, 3, 5))
    shape = (a.shape[0], size_product((a.shape[1], *kernel)), math.prod(places))
    made = reshape(a, shape)
    return made if input.ndim == 4 else squeeze(made, [0])


@public("col2im", grad_fn="Col2ImBackward0", part=True)
def col2im(
    input: Expr, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Expr:  # fmt: skip
    """Columns ``(N, C · k · k, places)`` added up as images: the adjoint of im2col."""
    sizes = each(output_size, 2, "fold")
    grids, places, kernel, pads = _blocks(sizes, kernel_size, dilation, padding, stride, "fold")
    a = input if input.ndim == 3 else unsqueeze(input, [0])
    if a.ndim != 3 or a.shape[2] != math.prod(places):
        raise ShapeError(
            f"fold: expected size of input's dimension 2 to match the calculated number of "
            f"sliding blocks {places[0]} * {places[1]} = {math.prod(places)}, but got "
            f"{shape_text(input.shape)}"
        )
    channels = normal_size(monomial(a.shape[1]) / math.prod(kernel))
    a = reshape(a, (a.shape[0], channels, *kernel, *places))
    a = permute(a, (0, 1, 2, 4, 3, 5))
    wide = [size + 2 * p for size, p in zip(sizes, pads, strict=True)]
    a = put_add(put_add(a, grids[1], -1, wide[1]), grids[0], -2, wide[0])
    made = pad(a, [(-p, -p) for p in pads])
    return made if input.ndim == 3 else squeeze(made, [0])


# ------------------------------------------------------------------ other sizes


def _source(
    size: int, wanted: int, factor: float | None, corners: bool, half: bool, dtype: DType
) -> Expr:
    """Where each of the ``wanted`` pixels lies among ``size`` pixels."""
    i = arange(wanted, dtype)
    if corners:
        return i * ((size - 1) / (wanted - 1) if wanted > 1 else 0.0)
    scale = size / wanted if factor is None else 1 / factor
    return i * scale + (0.5 * scale - 0.5) if half else i * scale


def _hat(source: Expr, size: int) -> Expr:
    """The matrix of linear interpolation: ``max(0, 1 − |s − j|)``."""
    zero, last = (constant(v, source.dtype, source.shape) for v in (0, size - 1))
    inside = elementwise("minimum", elementwise("maximum", source, zero), last)
    j = arange(size, source.dtype)
    away = elementwise("abs", unsqueeze(inside, [1]) - unsqueeze(j, [0]))
    return elementwise("relu", 1 - away)


def _cubic(source: Expr, size: int) -> Expr:
    """The matrix of cubic interpolation (Keys, 1981, a = −3/4); the edges are repeated."""
    whole = elementwise("floor", source)
    rest = source - whole
    j = unsqueeze(arange(size, source.dtype), [0])
    zero, last = (constant(v, source.dtype, source.shape) for v in (0, size - 1))
    total: Expr | None = None
    for step in (-1, 0, 1, 2):
        d = rest + 1 if step == -1 else rest if step == 0 else step - rest
        if step in (0, 1):
            weight = product(1.25 * d - 2.25, product(d, d)) + 1
        else:
            weight = product(product(-0.75 * d + 3.75, d) - 6, d) + 3
        place = elementwise("minimum", elementwise("maximum", whole + step, zero), last)
        hit = cast(elementwise("eq", unsqueeze(place, [1]), j), source.dtype)
        part = product(unsqueeze(weight, [1]), hit)
        total = part if total is None else total + part
    assert total is not None
    return total


LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
MODES = ("nearest", "nearest-exact", *LINEAR, "bicubic", "area")


@public(grad_fn="UpsampleBackward0", method=False, real=True)
def interpolate(
    input: Expr, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Expr:  # fmt: skip
    """Images ``(N, C, …)`` at another size: each axis is one small matrix, or a choice of pixels."""
    rank = input.ndim - 2
    sizes = whole_sizes(input, rank, "interpolate")
    if mode not in MODES or antialias:
        asked = f"{mode!r}" + (" with antialias" if antialias else "")
        raise NotImplementedError(f"interpolate(mode={asked}): there are {', '.join(MODES)}")
    if (size is None) == (scale_factor is None):
        raise ValueError("only one of size or scale_factor should be defined")
    fixed = {**LINEAR, "bicubic": 2}.get(mode, rank)
    if fixed != rank:
        raise NotImplementedError(
            f"Got {input.ndim}D input, but {mode} mode needs {fixed + 2}D input"
        )
    if align_corners is not None and mode not in (*LINEAR, "bicubic"):
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    factors: Sequence[float | None] = [None] * rank
    if size is not None:
        wanted = [int(s) for s in _several(size, rank, "size")]
    else:
        listed = [float(f) for f in _several(scale_factor, rank, "scale_factor")]
        wanted = [math.floor(s * f) for s, f in zip(sizes, listed, strict=True)]
        factors = factors if recompute_scale_factor else listed
    if min(wanted) < 1:
        raise ShapeError(f"interpolate: the output size {wanted} should be greater than 0")
    if mode == "area":
        return adaptive_mean(input, list(zip(sizes, wanted, strict=True)))
    whole = input.dtype
    if not whole.differentiable and not mode.startswith("nearest"):
        input = cast(input, dtypes.float32)
    exact = dtypes.float64 if input.dtype is dtypes.float64 else dtypes.float32
    for k, (before, after, factor) in enumerate(zip(sizes, wanted, factors, strict=True)):
        if mode in ("nearest", "nearest-exact"):
            input = _nearest(input, k + 2, before, after, factor, mode == "nearest-exact")
            continue
        if before == after and (factor is None or factor == 1):
            continue
        source = _source(before, after, factor, bool(align_corners), True, exact)
        matrix = (_cubic if mode == "bicubic" else _hat)(source, before)
        input = along_matrix(input, cast(matrix, input.dtype), k + 2)
    return input if input.dtype is whole else cast(elementwise("round", input), whole)


def _several(value: Any, rank: int, name: str) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        return (value,) * rank
    if len(value) != rank:
        raise ValueError(f"{name} shape must match number of spatial dimensions: {rank}")
    return tuple(value)


def _nearest(
    a: Expr, axis: int, before: int, after: int, factor: float | None, middle: bool
) -> Expr:
    """The pixel that covers each new one's corner, or (``middle``) its centre."""
    if before == after and factor in (None, 1):
        return a
    whole = _source(before, after, factor, False, False, dtypes.float32)
    if middle:
        whole = whole + (0.5 * (before / after if factor is None else 1 / factor))
    place = cast(elementwise("floor", whole), dtypes.int64)
    last = constant(before - 1, dtypes.int64, (after,))
    return take(a, elementwise("minimum", place, last), axis)


# ------------------------------------------------------------------ channels for pixels


def _images(a: Expr, name: str) -> None:
    if a.ndim < 3:
        raise ShapeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {a.ndim} "
            "dimension(s)"
        )


@public(method=False)
def pixel_shuffle(input: Expr, upscale_factor: int) -> Expr:
    """``(…, C r², H, W)`` as ``(…, C, H r, W r)``."""
    _images(input, "pixel_shuffle")
    r = upscale_factor
    *lead, channels, height, width = input.shape
    if isinstance(channels, int) and channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    c = normal_size(monomial(channels) / (r * r))
    n = len(lead)
    split = reshape(input, (*lead, c, r, r, height, width))
    moved = permute(split, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(moved, (*lead, c, size_product((height, r)), size_product((width, r))))


@public(method=False)
def pixel_unshuffle(input: Expr, downscale_factor: int) -> Expr:
    """``(…, C, H r, W r)`` as ``(…, C r², H, W)``."""
    _images(input, "pixel_unshuffle")
    r = downscale_factor
    *lead, channels, height, width = input.shape
    if any(isinstance(s, int) and s % r for s in (height, width)):
        raise ShapeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but "
            f"input of size {shape_text(input.shape)} and {r} do not fit"
        )
    h, w = normal_size(monomial(height) / r), normal_size(monomial(width) / r)
    n = len(lead)
    split = reshape(input, (*lead, channels, h, r, w, r))
    moved = permute(split, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(moved, (*lead, size_product((channels, r, r)), h, w))


@public(method=False)
def channel_shuffle(input: Expr, groups: int) -> Expr:
    """Channels of ``groups`` blocks taken in turn."""
    count, channels, *rest = input.shape
    if isinstance(channels, int) and channels % groups:
        raise ShapeError(f"Number of channels must be divisible by groups. Got {channels} channels "
                         f"and {groups} groups.")  # fmt: skip
    part = normal_size(monomial(channels) / groups)
    split = reshape(input, (count, groups, part, *rest))
    return reshape(permute(split, (0, 2, 1, *range(3, split.ndim))), input.shape)
