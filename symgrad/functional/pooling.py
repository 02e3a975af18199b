"""Pooling: the largest entry or the mean of each window of the last axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_to,
    cast,
    constant,
    contract,
    elementwise,
    ones,
    permute,
    power,
    product,
    reduce_sum,
    squeeze,
    unsqueeze,
)
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, shape_text, size_product, whole_number
from symgrad.errors import AxisSizeError, DTypeError, ShapeError
from symgrad.functional.convolution import each
from symgrad.functional.table import public
from symgrad.ops.axis import along
from symgrad.ops.convolution import Window, window
from symgrad.ops.elementwise import apply
from symgrad.ops.gather import gather, take
from symgrad.ops.join import arange
from symgrad.ops.structure import reshape
from symgrad.ops.window import put_back, take_at, window_argmax, window_max, window_sum


def whole_sizes(a: Expr, rank: int, name: str) -> list[int]:
    """The last ``rank`` sizes as numbers.

    Raises ShapeError where there are fewer axes, or one of these sizes is a letter.
    """
    _enough(a, rank, name)
    sizes = [s for s in a.shape[a.ndim - rank :] if isinstance(s, int)]
    if len(sizes) < rank:
        raise ShapeError(
            f"{name}: the last {rank} axes of {shape_text(a.shape)} need numbers as their sizes"
        )
    return sizes


def _enough(a: Expr, rank: int, name: str) -> None:
    if a.ndim < rank + 1:
        raise AxisSizeError(
            f"{name}: Expected {rank + 1}D or {rank + 2}D (batch mode) tensor, but got input of "
            f"size {shape_text(a.shape)}"
        )


def _movement(
    a: Expr, rank: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, name: str,
) -> tuple[tuple[Any, ...], Window]:  # fmt: skip
    """Lengths of the window and how it moves; ``ceil_mode`` lets the last one hang over."""
    lengths = each(kernel_size, rank, f"{name}: kernel_size", 1)
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    strides = lengths if empty else each(stride, rank, f"{name}: stride", 1)
    pads = each(padding, rank, f"{name}: padding")
    apart = each(dilation, rank, f"{name}: dilation", 1)
    _enough(a, rank, name)
    sizes = a.shape[a.ndim - rank :]
    rows = list(zip(sizes, lengths, strides, pads, apart, strict=True))
    if any(not isinstance(x, int) for row in rows for x in row):
        if ceil_mode:
            raise ShapeError(f"{name}: ceil_mode needs numbers as sizes")
        return lengths, window(rank, strides, [(p, p) for p in pads], None, apart)
    around: list[tuple[int, int]] = []
    for size, k, s, p, d in rows:
        if p < 0 or 2 * p > (k - 1) * d + 1:
            raise RuntimeError(
                f"{name}: pad should be at most half of effective kernel size, but got pad={p}, "
                f"kernel_size={k} and dilation={d}"
            )
        room = size + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= size + p:
            count -= 1
        if count < 1:
            raise ShapeError(
                f"{name}: input of size {shape_text(a.shape)} is too small for the window "
                f"{list(lengths)}: Output size is too small"
            )
        around.append((p, (count - 1) * s + d * (k - 1) + 1 - size - p if ceil_mode else p))
    return lengths, window(rank, strides, around, None, apart)


# ------------------------------------------------------------------ largest entries


def _max_pool(rank: int, indices: bool) -> None:
    def build(
        input: Expr, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Expr:  # fmt: skip
        name = f"max_pool{rank}d"
        found = _movement(input, rank, kernel_size, stride, padding, dilation, ceil_mode, name)
        return (window_argmax if indices else window_max)(input, *found)

    build.__doc__ = (
        f"Where each window of the last {rank} axes, taken as one, has its first largest entry."
        if indices
        else f"The largest entry of each window of the last {rank} axes; the first takes the "
        "gradient."
    )
    build.__name__ = f"max_pool{rank}d" + ("_indices" if indices else "")
    public(grad_fn=f"MaxPool{rank}DWithIndicesBackward0", saves=(0,), method=False, part=indices)(
        build
    )


def _places(size: int, wanted: int) -> tuple[Expr, Expr]:
    """First and past-the-last entry of each of the ``wanted`` parts of an axis."""
    i = arange(wanted, dtypes.int64)
    whole = constant(wanted, dtypes.int64, (wanted,))
    first = elementwise("floor_divide", i * size, whole)
    return first, elementwise("floor_divide", i * size + (size + wanted - 1), whole)


def _wanted(a: Expr, rank: int, output_size: Any, name: str) -> list[tuple[int, int]]:
    """(size, wanted size) of each axis; None keeps a size."""
    sizes = whole_sizes(a, rank, name)
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    if len(given) != rank:
        raise ShapeError(f"{name}: output_size must have {rank} elements, but got {list(given)}")
    return [(s, s if w is None else int(w)) for s, w in zip(sizes, given, strict=True)]


def _even(pairs: Sequence[tuple[int, int]]) -> bool:
    return all(w and size % w == 0 for size, w in pairs)


def _parts(a: Expr, pairs: Sequence[tuple[int, int]]) -> Expr:
    """The entries of each part as a last axis; short parts repeat their last entries."""
    rank = len(pairs)
    lead = a.ndim - rank
    for k, (size, wanted) in enumerate(pairs):
        first, past = _places(size, wanted)
        longest = max(-(-(i + 1) * size // wanted) - i * size // wanted for i in range(wanted))
        reach = unsqueeze(first, [1]) + unsqueeze(arange(longest, dtypes.int64), [0])
        a = take(a, elementwise("minimum", reach, unsqueeze(past, [1]) - 1), lead + 2 * k)
    order = [*range(lead), *range(lead, a.ndim, 2), *range(lead + 1, a.ndim, 2)]
    moved = permute(a, order)
    return reshape(moved, (*moved.shape[: lead + rank], -1))


def _adaptive_indices(a: Expr, pairs: Sequence[tuple[int, int]]) -> Expr:
    """Where each part has its first largest entry, in the last axes taken as one."""
    sizes = tuple(size for size, _ in pairs)
    parts = _parts(a, pairs)
    first = unsqueeze(along("argmax", parts, -1), [parts.ndim - 1])
    numbers = _parts(reshape(arange(math.prod(sizes), dtypes.int64), sizes), pairs)
    return squeeze(gather(broadcast_to(numbers, parts.shape), first, -1), [parts.ndim - 1])


def _adaptive_max(rank: int, indices: bool) -> None:
    def build(input: Expr, output_size: Any) -> Expr:
        pairs = _wanted(input, rank, output_size, f"adaptive_max_pool{rank}d")
        if _even(pairs):
            lengths = tuple(size // wanted for size, wanted in pairs)
            return (window_argmax if indices else window_max)(input, lengths, window(rank, lengths))
        found = _adaptive_indices(input, pairs)
        return found if indices else take_at(input, found, rank)

    build.__name__ = f"adaptive_max_pool{rank}d" + ("_indices" if indices else "")
    build.__doc__ = (
        f"Where each of ``output_size`` parts of the last {rank} axes has its largest entry."
        if indices
        else f"The largest entry of each of ``output_size`` parts of the last {rank} axes."
    )
    public(grad_fn=f"AdaptiveMaxPool{rank}DBackward0", saves=(0,), method=False, part=indices)(
        build
    )


def _max_unpool(rank: int) -> None:
    def build(input: Expr, indices: Expr, output_size: Any) -> Expr:
        sizes = tuple(output_size)
        added = put_back(input, indices, sizes)
        writes = put_back(ones(input.shape, input.dtype), indices, sizes)
        # windows that overlap write one entry several times; PyTorch's gradient counts each
        once = added / elementwise("maximum", writes, constant(1, input.dtype))
        return elementwise("detach", once) + (added - elementwise("detach", added))

    build.__name__ = f"max_unpool{rank}d_to"
    build.__doc__ = "Zeros with the entries where the pooling found them."
    public(grad_fn=f"MaxUnpool{rank}DBackward0", saves=(1,), part=True)(build)


# ------------------------------------------------------------------ means


def _counted(pad: Size, p: Size) -> bool:
    """Is all of the padding within the ``p`` that counts?"""
    return pad == p or (isinstance(pad, int) and (not pad or (isinstance(p, int) and pad <= p)))


def _counts(a: Expr, lengths: Sequence[Any], how: Window, pads: Sequence[Any]) -> Expr | Size:
    """How many entries each window sees, ``pads`` of padding counted."""
    rank = len(lengths)
    total: Expr | Size = 1
    for k, (n, s, p) in enumerate(zip(lengths, how.strides, pads, strict=True)):
        if all(_counted(pad, p) for pad in how.padding[k]):
            total = size_product((n, total)) if not isinstance(total, Expr) else total * n
            continue
        size = whole_number(a.shape[k - rank], "pooling")
        before, after = (whole_number(pad, "pooling") for pad in how.padding[k])
        move = window(1, (s,), [(before - p, after - p)])
        count = window_sum(ones((size + 2 * p,), a.dtype), (n,), move)
        spread = reshape(count, (*count.shape, *(1,) * (rank - 1 - k)))
        total = product(total, spread) if isinstance(total, Expr) else spread * total
    return total


def _avg_pool(rank: int) -> None:
    def build(
        input: Expr, kernel_size: Any, stride: Any = None, padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Expr:  # fmt: skip
        name = f"avg_pool{rank}d"
        lengths, how = _movement(input, rank, kernel_size, stride, padding, 1, ceil_mode, name)
        if not (input.dtype.differentiable or input.dtype is dtypes.int64):
            raise DTypeError(
                f'"{name}" not implemented for {input.dtype}', "Cast it with .float()."
            )
        if divisor_override is not None and not divisor_override:
            raise RuntimeError("divisor must be not zero")
        sums = window_sum(input, lengths, how)
        pads = each(padding, rank, name) if count_include_pad else (0,) * rank
        count = divisor_override or _counts(input, lengths, how, pads)
        if not input.dtype.differentiable:  # whole numbers are cut towards 0
            by = count if isinstance(count, Expr) else constant(count, input.dtype)
            least = apply("floor_divide", apply("abs", sums), apply("abs", by))
            return product(apply("sign", sums), apply("sign", by), least)
        return product(sums, power(count, -1)) if isinstance(count, Expr) else sums / count

    build.__name__ = f"avg_pool{rank}d"
    build.__doc__ = f"The mean of each window of the last {rank} axes."
    public(grad_fn=f"AvgPool{rank}DBackward0", method=False, wide=True)(build)


def _shares(size: int, wanted: int, a: Expr) -> Expr:
    """The matrix (wanted, size) whose rows average the parts of an axis."""
    first, past = _places(size, wanted)
    j = unsqueeze(arange(size, dtypes.int64), [0])
    inside = elementwise(
        "logical_and",
        elementwise("ge", j, unsqueeze(first, [1])),
        elementwise("lt", j, unsqueeze(past, [1])),
    )
    count = cast(unsqueeze(past, [1]) - unsqueeze(first, [1]), a.dtype)
    return product(cast(inside, a.dtype), power(count, -1))


def adaptive_mean(a: Expr, pairs: Sequence[tuple[int, int]]) -> Expr:
    """The mean of each part of the last axes: (size, number of parts) for each of them."""
    rank = len(pairs)
    if all(wanted == 1 for _, wanted in pairs):
        axes = range(a.ndim - rank, a.ndim)
        total = reduce_sum(a, axes) / math.prod(size for size, _ in pairs)
        return unsqueeze(total, axes)
    if _even(pairs):
        lengths = tuple(size // wanted for size, wanted in pairs)
        return window_sum(a, lengths, window(rank, lengths)) / math.prod(lengths)
    for k, (size, wanted) in enumerate(pairs):
        if size != wanted:
            a = along_matrix(a, _shares(size, wanted, a), a.ndim - rank + k)
    return a


def along_matrix(a: Expr, matrix: Expr, axis: int) -> Expr:
    """``result[…, i, …] = Σⱼ M[i, j] a[…, j, …]``."""
    labels = list(range(a.ndim))
    out = [a.ndim if k == axis else k for k in labels]
    return contract([a, matrix], [labels, [a.ndim, axis]], out)


def _adaptive_avg(rank: int) -> None:
    def build(input: Expr, output_size: Any) -> Expr:
        name = f"adaptive_avg_pool{rank}d"
        return adaptive_mean(input, _wanted(input, rank, output_size, name))

    build.__name__ = f"adaptive_avg_pool{rank}d"
    build.__doc__ = f"The mean of each of ``output_size`` parts of the last {rank} axes."
    grad_fn = "MeanBackward1" if rank == 1 else f"AdaptiveAvgPool{rank}DBackward0"
    public(grad_fn=grad_fn, method=False, wide=True, real=True)(build)


def _lp_pool(rank: int) -> None:
    def build(
        input: Expr, norm_type: float, kernel_size: Any, stride: Any = None,
        ceil_mode: bool = False,
    ) -> Expr:  # fmt: skip
        name = f"lp_pool{rank}d"
        lengths, how = _movement(input, rank, kernel_size, stride, 0, 1, ceil_mode, name)
        sums = window_sum(power(input, norm_type), lengths, how)
        if ceil_mode:  # PyTorch scales the mean of what is there to a whole window
            count = _counts(input, lengths, how, (0,) * rank)
            if isinstance(count, Expr):
                sums = product(sums * size_product(lengths), power(count, -1))
        return power(elementwise("relu", sums), 1 / norm_type)

    build.__name__ = f"lp_pool{rank}d"
    build.__doc__ = f"``(Σ xᵖ)^(1/p)`` of each window of the last {rank} axes."
    public(grad_fn="PowBackward0", saves=(0,), method=False, wide=True)(build)


for _rank in (1, 2, 3):
    for _indices in (False, True):
        _max_pool(_rank, _indices)
        _adaptive_max(_rank, _indices)
    _avg_pool(_rank)
    _adaptive_avg(_rank)
    _lp_pool(_rank)
    _max_unpool(_rank)
