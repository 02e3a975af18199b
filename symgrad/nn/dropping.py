"""Dropout: masks drawn anew for every call, and drawn again in compiled steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.errors import TraceError
from symgrad.random import stream_of
from symgrad.recording.record import modes
from symgrad.tensors.storage import device_name, jax_device
from symgrad.tensors.tensor import Tensor


def _mask(shape: tuple[Any, ...], p: float, like: Tensor) -> Tensor:
    """0 with probability p, else 1 / (1 − p)."""
    if not all(isinstance(s, int) for s in shape):
        raise TraceError(
            f"dropout: a mask of shape {shape} cannot be drawn while tracing; trace the module in "
            "evaluation mode, or with sizes as numbers"
        )
    kind: Any = like.dtype.numpy
    where = device_name(like.device)

    def draw() -> Any:
        kept = stream_of(None).random(shape) >= p
        mask = np.where(kept, 1 / max(1 - p, 1e-30), 0).astype(kind)
        return mask if where == "cpu" else arrays.to_device(mask, jax_device(where))

    made = Tensor.from_value(draw(), like.dtype, where)
    if modes.capture is not None:
        modes.capture.draws_again(made.node(), draw)
    return made


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``x m / (1 − p)``, m = 0 with probability p; the identity out of training."""
    return _dropout(input, p, training, inplace, tuple(input.shape))


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels: x ``(N, C, L)`` or ``(C, L)``."""
    shape = tuple(input.shape)
    return _dropout(input, p, training, inplace, (*shape[:-1], 1))


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole maps: x ``(N, C, H, W)``."""
    shape = tuple(input.shape)
    return _dropout(input, p, training, inplace, shape[:2] + (1,) * (len(shape) - 2))


dropout3d = dropout2d


def _dropout(input: Tensor, p: float, training: bool, inplace: bool, shape: Any) -> Tensor:
    if p < 0 or p > 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    result = input * _mask(shape, p, input)
    return input.copy_(result) if inplace else result


__all__ = ["dropout", "dropout1d", "dropout2d", "dropout3d"]
