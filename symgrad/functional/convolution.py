"""Convolutions of signals, images and volumes, in PyTorch's signatures."""

from __future__ import annotations

from typing import Any

from symgrad.core.build import permute, squeeze, unsqueeze
from symgrad.core.expr import Expr
from symgrad.core.sizes import (
    Monomial,
    Shape,
    Size,
    monomial,
    normal_size,
    shape_text,
    size_product,
    size_quotient,
    size_total,
)
from symgrad.errors import RangeError, ShapeError
from symgrad.functional.table import public
from symgrad.ops.convolution import convolution, spread, turned_around, window
from symgrad.ops.structure import reshape


def each(value: Any, rank: int, what: str, least: int | None = None) -> tuple[Any, ...]:
    """One number per axis, or letter: an int for all of them, or as many as there are axes.

    Raises TypeError for what is no whole number, RangeError below ``least``.
    """
    listed = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(listed) not in (1, rank):
        raise ShapeError(f"{what}: expected one number or {rank}, but got {listed}")
    for number in listed:
        if isinstance(number, Monomial):
            continue
        if not hasattr(number, "__index__"):
            raise TypeError(f"{what} must be int or tuple of ints, not {type(number).__name__}")
        if least is not None and number < least:
            raise RangeError(f"{what} should be at least {least}, but got {number}")
    return listed * rank if len(listed) == 1 else listed


def _batched(a: Expr, rank: int, name: str) -> tuple[Expr, bool]:
    """The input with a batch axis, and whether it had one."""
    if a.ndim == rank + 2:
        return a, True
    if a.ndim == rank + 1:
        return unsqueeze(a, [0]), False
    raise ShapeError(
        f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got "
        f"input of size {shape_text(a.shape)}"
    )


def _finished(made: Expr, bias: Expr | None, batched: bool, name: str) -> Expr:
    if bias is not None:
        if bias.shape != (made.shape[1],):
            raise ShapeError(
                f"{name}: expected bias to be 1-dimensional with {made.shape[1]} elements, but got "
                f"bias of size {shape_text(bias.shape)} instead"
            )
        made = unsqueeze(bias, range(1, made.ndim - 1)) + made
    return made if batched else squeeze(made, [0])


def margins(
    padding: Any, taps: Shape, strides: Shape, dilation: Shape, name: str
) -> list[tuple[Size, Size]]:
    """(before, after) per axis; "valid" is none, "same" keeps the size (one more after)."""
    if padding == "valid":
        return [(0, 0)] * len(taps)
    if padding == "same":
        if set(strides) != {1}:
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        reach = [size_total(spread(k, d), -1) for d, k in zip(dilation, taps, strict=True)]
        halves = [size_quotient(r, 2) for r in reach]
        return [(h, size_total(r, -h)) for r, h in zip(reach, halves, strict=True)]
    if isinstance(padding, str):
        raise RangeError(
            f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}"
        )
    return [(p, p) for p in each(padding, len(taps), f"{name}: padding", 0)]


def _conv(rank: int) -> None:
    name = f"conv{rank}d"

    def build(
        input: Expr, weight: Expr, bias: Expr | None = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Expr:  # fmt: skip
        a, batched = _batched(input, rank, name)
        strides = each(stride, rank, f"{name}: stride", 1)
        apart = each(dilation, rank, f"{name}: dilation", 1)
        around = margins(padding, weight.shape[2:], strides, apart, name)
        how = window(rank, strides, around, None, apart)
        return _finished(convolution(a, weight, how, groups), bias, batched, name)

    build.__doc__ = (
        f"Filters over the last {rank} axes: x ``(N, C, …)``, W ``(O, C / groups, k, …)``, result "
        "``(N, O, …)``."
    )
    build.__name__ = name
    public(grad_fn="ConvolutionBackward0", saves=((0, 1),), method=False)(build)


def _conv_transpose(rank: int) -> None:
    name = f"conv_transpose{rank}d"

    def build(
        input: Expr, weight: Expr, bias: Expr | None = None, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Expr:  # fmt: skip
        a, batched = _batched(input, rank, name)
        w = weight
        if w.ndim != rank + 2:
            raise ShapeError(f"{name}: expected {rank + 2}D weight, but got {shape_text(w.shape)}")
        strides = each(stride, rank, f"{name}: stride", 1)
        apart = each(dilation, rank, f"{name}: dilation", 1)
        more = each(output_padding, rank, f"{name}: output_padding", 0)
        pads = each(padding, rank, f"{name}: padding", 0)
        for s, d, m in zip(strides, apart, more, strict=True):
            if all(isinstance(x, int) for x in (s, d, m)) and m >= max(s, d):
                raise RuntimeError(
                    f"output padding must be smaller than either stride or dilation, but got "
                    f"output_padding: {list(more)} stride: {list(strides)} dilation: {list(apart)}"
                )
        reach = [size_total(spread(k, d), -1) for d, k in zip(apart, w.shape[2:], strict=True)]
        around = [(size_total(r, -p), size_total(r, -p, m))
                  for r, p, m in zip(reach, pads, more, strict=True)]  # fmt: skip
        w = turned_around(w, rank)
        channels, filters, *taps = w.shape
        part = normal_size(monomial(channels) / groups)
        split = permute(reshape(w, (groups, part, filters, *taps)), (0, 2, 1, *range(3, rank + 3)))
        turned = reshape(split, (size_product((groups, filters)), part, *taps))
        made = convolution(a, turned, window(rank, None, around, strides, apart), groups)
        return _finished(made, bias, batched, name)

    build.__doc__ = (
        f"The adjoint of conv{rank}d, as a map of its own (entries apart, filters turned around): "
        "x ``(N, C, …)``, W ``(C, O / groups, k, …)``."
    )
    build.__name__ = name
    public(grad_fn="ConvolutionBackward0", saves=((0, 1),), method=False)(build)


for _rank in (1, 2, 3):
    _conv(_rank)
    _conv_transpose(_rank)
