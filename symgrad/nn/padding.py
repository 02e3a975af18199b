"""Layers that put a border around signals, images and volumes."""

from __future__ import annotations

from typing import Any

from symgrad.nn import functional as F
from symgrad.nn.module import Module
from symgrad.tensors.tensor import Tensor


class _Pad(Module):
    """One width for all sides, or (left, right, top, bottom, …)."""

    _rank = 0
    _mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        sides = 2 * self._rank
        self.padding = (padding,) * sides if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        """The input with a border."""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """Widths."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """The input with a border of ``value``."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """Widths and value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """``value`` around signals ``(N, C, L)``."""

    _rank = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around images ``(N, C, H, W)``: one width, or (left, right, top, bottom)."""

    _rank = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around volumes ``(N, C, D, H, W)``."""

    _rank = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad1d(_ZeroPad, ConstantPad1d):
    """0 around signals."""


class ZeroPad2d(_ZeroPad, ConstantPad2d):
    """0 around images.

    >>> ZeroPad2d(1)
    ZeroPad2d((1, 1, 1, 1))
    """


class ZeroPad3d(_ZeroPad, ConstantPad3d):
    """0 around volumes."""


class ReflectionPad1d(_Pad):
    """Signals mirrored at their ends, without the ends."""

    _rank, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images mirrored at their edges, without the edges."""

    _rank, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes mirrored at their sides, without the sides."""

    _rank, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The ends of signals repeated."""

    _rank, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The edges of images repeated."""

    _rank, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The sides of volumes repeated."""

    _rank, _mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Signals continued from their other end."""

    _rank, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """Images continued from their other side."""

    _rank, _mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes continued from their other side."""

    _rank, _mode = 3, "circular"
