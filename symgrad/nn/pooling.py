"""Pooling layers: the largest entry or the mean of each window, and windows as columns."""

from __future__ import annotations

from typing import Any

from symgrad.nn import functional as F
from symgrad.nn.module import Module
from symgrad.tensors.tensor import Tensor


class _MaxPool(Module):
    _rank = 0

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """The largest entries; with ``return_indices`` also their places."""
        return getattr(F, f"max_pool{self._rank}d")(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """How the window moves."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest entry of each window of signals ``(N, C, L)``."""

    _rank = 1


class MaxPool2d(_MaxPool):
    """The largest entry of each window of images ``(N, C, H, W)``; the first takes the gradient.

    >>> MaxPool2d(2)
    MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    """

    _rank = 2


class MaxPool3d(_MaxPool):
    """The largest entry of each window of volumes ``(N, C, D, H, W)``."""

    _rank = 3


class _MaxUnpool(Module):
    _rank = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()

        def each(value: Any) -> Any:
            return tuple(value) if isinstance(value, (tuple, list)) else (value,) * self._rank

        self.kernel_size = each(kernel_size)
        self.stride = each(kernel_size if stride is None else stride)
        self.padding = each(padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """Zeros with the entries at their places."""
        return getattr(F, f"max_unpool{self._rank}d")(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        """The window of the pooling."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The partial inverse of MaxPool1d."""

    _rank = 1


class MaxUnpool2d(_MaxUnpool):
    """The partial inverse of MaxPool2d."""

    _rank = 2


class MaxUnpool3d(_MaxUnpool):
    """The partial inverse of MaxPool3d."""

    _rank = 3


class _AvgPool(Module):
    _rank = 0

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return getattr(F, f"avg_pool{self._rank}d")(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """How the window moves."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of signals ``(N, C, L)``."""

    _rank = 1

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        for name in ("kernel_size", "stride", "padding"):
            value = getattr(self, name)
            setattr(self, name, tuple(value) if isinstance(value, (tuple, list)) else (value,))


class AvgPool2d(_AvgPool):
    """The mean of each window of images ``(N, C, H, W)``.

    >>> AvgPool2d(2)
    AvgPool2d(kernel_size=2, stride=2, padding=0)
    """

    _rank = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of volumes ``(N, C, D, H, W)``."""

    _rank = 3


class _Adaptive(Module):
    _word = ""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        """One value for each part."""
        return getattr(F, self._word)(input, self.output_size)

    def extra_repr(self) -> str:
        """The number of parts."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """The means of ``output_size`` parts of signals ``(N, C, L)``."""

    _word = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_Adaptive):
    """The means of ``output_size`` parts of images ``(N, C, H, W)``.

    >>> AdaptiveAvgPool2d((1, 1))
    AdaptiveAvgPool2d(output_size=(1, 1))
    """

    _word = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_Adaptive):
    """The means of ``output_size`` parts of volumes ``(N, C, D, H, W)``."""

    _word = "adaptive_avg_pool3d"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """The largest entries; with ``return_indices`` also their places."""
        return getattr(F, self._word)(input, self.output_size, return_indices=self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The largest entries of ``output_size`` parts of signals ``(N, C, L)``."""

    _word = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The largest entries of ``output_size`` parts of images ``(N, C, H, W)``."""

    _word = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMax):
    """The largest entries of ``output_size`` parts of volumes ``(N, C, D, H, W)``."""

    _word = "adaptive_max_pool3d"


class _LPPool(Module):
    _rank = 0

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """``(Σ xᵖ)^(1/p)``."""
        return getattr(F, f"lp_pool{self._rank}d")(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self) -> str:
        """The power and the window."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """``(Σ xᵖ)^(1/p)`` of each window of signals."""

    _rank = 1


class LPPool2d(_LPPool):
    """``(Σ xᵖ)^(1/p)`` of each window of images."""

    _rank = 2


class LPPool3d(_LPPool):
    """``(Σ xᵖ)^(1/p)`` of each window of volumes."""

    _rank = 3


class Unfold(Module):
    """Blocks of images ``(N, C, H, W)`` as columns ``(N, C · k · k, places)``."""

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """The columns."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """How the blocks lie."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Unfold):
    """Columns added up as images of ``output_size``: the adjoint of Unfold."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
        stride: Any = 1,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """The images."""
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        """Sizes of the images and how the blocks lie."""
        return f"output_size={self.output_size}, {super().extra_repr()}"
