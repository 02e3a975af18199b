"""Convolution layers: a bank of filters moved over signals, images or volumes."""

from __future__ import annotations

import math
from typing import Any

from symgrad.functional.convolution import each, margins
from symgrad.nn import functional as F
from symgrad.nn import init
from symgrad.nn.module import Module
from symgrad.tensors import creation
from symgrad.tensors.tensor import Parameter, Tensor

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """W ``(O, C / groups, k, …)`` and b ``(O,)`` begin as U(−1/√f, 1/√f), f the fan-in."""

    rank = 0
    transposed = False

    def _prepare(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        output_padding: Any, dilation: Any, groups: int, bias: bool, padding_mode: str,
        device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}"
                )
            if padding == "same" and set(each(stride, self.rank, "stride")) != {1}:
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {_MODES}, but got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = each(kernel_size, self.rank, "kernel_size")
        self.stride = each(stride, self.rank, "stride")
        self.padding: Any = (
            padding if isinstance(padding, str) else each(padding, self.rank, "padding")
        )
        self.dilation = each(dilation, self.rank, "dilation")
        self.output_padding = each(output_padding, self.rank, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        pair = (out_channels, in_channels // groups)
        if self.transposed:
            pair = (in_channels, out_channels // groups)
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(creation.empty((*pair, *self.kernel_size), **place))
        if bias:
            self.bias = Parameter(creation.empty((out_channels,), **place))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan = math.prod(int(s) for s in self.weight.shape[1:])
            if fan:
                init.uniform_(self.bias, -1 / math.sqrt(fan), 1 / math.sqrt(fan))

    def extra_repr(self) -> str:
        """Channels, sizes and what is not the default."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        ones, none = (1,) * self.rank, (0,) * self.rank
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_Convolution):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._prepare(in_channels, out_channels, kernel_size, stride, padding, 0, dilation,
                      groups, bias, padding_mode, device, dtype)  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The filters over the input."""
        function = getattr(F, f"conv{self.rank}d")
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            around = margins(padding, self.kernel_size, self.stride, self.dilation, "padding")
            widths = [w for pair in reversed(around) for w in pair]  # the last axis first
            input = F.pad(input, widths, self.padding_mode)
            padding = 0
        return function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_Conv):
    """Filters over signals ``(N, C, L)``: ``y[n, o, p] = b[o] + Σ x[n, c, s p + d k] W[o, c, k]``.

    >>> Conv1d(2, 4, 3)
    Conv1d(2, 4, kernel_size=(3,), stride=(1,))
    """

    rank = 1


class Conv2d(_Conv):
    """Filters over images ``(N, C, H, W)``.

    >>> Conv2d(3, 6, 3, padding=1)
    Conv2d(3, 6, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    rank = 2


class Conv3d(_Conv):
    """Filters over volumes ``(N, C, D, H, W)``."""

    rank = 3


class _ConvTranspose(_Convolution):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError('Only "zeros" padding mode is supported for ' + type(self).__name__)
        self._prepare(in_channels, out_channels, kernel_size, stride, padding, output_padding,
                      dilation, groups, bias, padding_mode, device, dtype)  # fmt: skip

    def _more(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives ``output_size``."""
        if output_size is None:
            return self.output_padding
        wanted = [int(s) for s in output_size][-self.rank :]
        found: list[int] = []
        for k, size in enumerate(wanted):
            base = (int(input.shape[k - self.rank]) - 1) * self.stride[k] - 2 * self.padding[k]
            base += self.dilation[k] * (self.kernel_size[k] - 1) + 1
            if not base <= size < base + self.stride[k]:
                raise ValueError(
                    f"requested an output size of {wanted}, but valid sizes of axis {k} range from "
                    f"{base} to {base + self.stride[k] - 1}"
                )
            found.append(size - base)
        return tuple(found)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The adjoint of the convolution with the same options."""
        function = getattr(F, f"conv_transpose{self.rank}d")
        return function(input, self.weight, self.bias, self.stride, self.padding,
                        self._more(input, output_size), self.groups, self.dilation)  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of Conv1d as a layer: x ``(N, C, L)``, W ``(C, O / groups, k)``."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of Conv2d as a layer: x ``(N, C, H, W)``, W ``(C, O / groups, k, k)``.

    >>> ConvTranspose2d(4, 2, 2, stride=2)
    ConvTranspose2d(4, 2, kernel_size=(2, 2), stride=(2, 2))
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of Conv3d as a layer: x ``(N, C, D, H, W)``."""

    rank = 3
