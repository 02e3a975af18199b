"""The part of ``torch.nn.functional`` that moves windows over signals, images and volumes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from symgrad.functional import FUNCTIONS
from symgrad.functional.convolution import each
from symgrad.tensors.surface import function_of
from symgrad.tensors.tensor import Tensor


def row(name: str) -> Callable[..., Any]:
    """The public function of this name, as it stands in the table."""
    return function_of(FUNCTIONS[name])


pad = row("pad")
conv1d = row("conv1d")
conv2d = row("conv2d")
conv3d = row("conv3d")
conv_transpose1d = row("conv_transpose1d")
conv_transpose2d = row("conv_transpose2d")
conv_transpose3d = row("conv_transpose3d")
avg_pool1d = row("avg_pool1d")
avg_pool2d = row("avg_pool2d")
avg_pool3d = row("avg_pool3d")
adaptive_avg_pool1d = row("adaptive_avg_pool1d")
adaptive_avg_pool2d = row("adaptive_avg_pool2d")
adaptive_avg_pool3d = row("adaptive_avg_pool3d")
lp_pool1d = row("lp_pool1d")
lp_pool2d = row("lp_pool2d")
lp_pool3d = row("lp_pool3d")
unfold = row("im2col")
fold = row("col2im")
interpolate = row("interpolate")
pixel_shuffle = row("pixel_shuffle")
pixel_unshuffle = row("pixel_unshuffle")
channel_shuffle = row("channel_shuffle")
local_response_norm = row("local_response_norm")


def _with_indices(name: str) -> Callable[..., Any]:
    """The row, and with ``return_indices`` also where the largest entries are."""
    values, places = row(name), row(f"{name}_indices")

    def function(input: Tensor, *options: Any, return_indices: bool = False, **named: Any) -> Any:
        """The largest entries; with ``return_indices`` (entries, their places)."""
        if (name.startswith("max") and len(options) == 6) or (
            name.startswith("adaptive") and len(options) == 2
        ):
            *options, return_indices = options  # type: ignore[assignment]
        made = values(input, *options, **named)
        return (made, places(input, *options, **named)) if return_indices else made

    function.__name__ = function.__qualname__ = name
    return function


max_pool1d = _with_indices("max_pool1d")
max_pool2d = _with_indices("max_pool2d")
max_pool3d = _with_indices("max_pool3d")
adaptive_max_pool1d = _with_indices("adaptive_max_pool1d")
adaptive_max_pool2d = _with_indices("adaptive_max_pool2d")
adaptive_max_pool3d = _with_indices("adaptive_max_pool3d")


def _unpooled(rank: int) -> Callable[..., Tensor]:
    run = row(f"max_unpool{rank}d_to")

    def function(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:  # fmt: skip
        """Zeros, with the entries at the places where max pooling found them."""
        lengths = each(kernel_size, rank, "max_unpool")
        strides = each(stride, rank, "max_unpool") if stride is not None else lengths
        pads = each(padding, rank, "max_unpool")
        sizes = [int(s) for s in input.shape[-rank:]]
        if output_size is None:
            wanted = [
                (size - 1) * s - 2 * p + k
                for size, k, s, p in zip(sizes, lengths, strides, pads, strict=True)
            ]
        else:
            wanted = [int(s) for s in output_size][-rank:]
        return run(input, indices, tuple(wanted))

    function.__name__ = function.__qualname__ = f"max_unpool{rank}d"
    return function


max_unpool1d = _unpooled(1)
max_unpool2d = _unpooled(2)
max_unpool3d = _unpooled(3)


_grid_sample = row("grid_sample")


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """Images ``(N, C, …)`` read at the places ``grid`` ``(N, …, rank)``, −1 … 1 from edge to edge."""
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since "
            "1.3.0. Please specify align_corners=True if the old behavior is desired.",
            stacklevel=2,
        )
    return _grid_sample(input, grid, mode, padding_mode, align_corners)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """The old name of interpolate."""
    return interpolate(input, size, scale_factor, mode, align_corners)


__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "grid_sample",
    "interpolate",
    "local_response_norm",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
    "upsample",
]
