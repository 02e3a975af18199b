"""Normalisation: ``(x − mean) / √(variance + ε)`` over a choice of axes, then scale and shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from symgrad.autograd import no_grad
from symgrad.core import dtypes
from symgrad.nn import functional as F
from symgrad.nn import init
from symgrad.nn.module import Module
from symgrad.recording.record import modes
from symgrad.tensors import creation
from symgrad.tensors.tensor import Parameter, Tensor


def _shape_of(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, int):
        return (normalized_shape,)
    return tuple(int(s) for s in normalized_shape)


class LayerNorm(Module):
    """``(x − μ) / √(s² + ε) ⊙ γ + β`` over the last axes, for each position by itself.

    >>> LayerNorm(16)
    LayerNorm((16,), eps=1e-05, elementwise_affine=True, bias=True)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        place = {"device": device, "dtype": dtype}
        weight = bias_value = None
        if elementwise_affine:
            weight = Parameter(creation.ones(self.normalized_shape, **place))
            if bias:
                bias_value = Parameter(creation.zeros(self.normalized_shape, **place))
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias_value)

    def reset_parameters(self) -> None:
        """γ = 1, β = 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over the last axes."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Shape, ε, affine."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """``x / √(mean x² + ε) ⊙ γ`` over the last axes (Zhang and Sennrich, 2019)."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = None
        if elementwise_affine:
            weight = Parameter(creation.ones(self.normalized_shape, device=device, dtype=dtype))
        self.register_parameter("weight", weight)

    def forward(self, input: Tensor) -> Tensor:
        """Divide by the root mean square of the last axes."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Shape, ε, affine."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalise each group of channels: x ``(N, C, …)`` with C in ``num_groups`` groups.

    >>> GroupNorm(2, 4)
    GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError("num_channels must be divisible by num_groups")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        place = {"device": device, "dtype": dtype}
        shift = affine and bias
        weight = Parameter(creation.ones((num_channels,), **place)) if affine else None
        self.register_parameter("weight", weight)
        self.register_parameter(
            "bias", Parameter(creation.zeros((num_channels,), **place)) if shift else None
        )

    def forward(self, input: Tensor) -> Tensor:
        """Normalise within each group."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Groups, channels, ε, affine."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


def _count(batches: Tensor) -> None:
    """One more; a number at once, for nobody may read it for long."""
    with no_grad():
        if modes.capture is None:
            batches.fill_(batches.item() + 1)
        else:
            batches.add_(1)


class _BatchNorm(Module):
    """Normalise each channel (axis 1) over all other axes.

    While training the batch's mean and biased variance are used, and the running ones move by
    ``r ← (1 − m) r + m batch`` (with the unbiased variance); in evaluation the running ones are.
    """

    _version = 2
    _ranks: tuple[int, ...] = ()
    _said = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        place = {"device": device, "dtype": dtype}
        size = (num_features,)
        shift = affine and bias
        self.register_parameter(
            "weight", Parameter(creation.ones(size, **place)) if affine else None
        )
        self.register_parameter("bias", Parameter(creation.zeros(size, **place)) if shift else None)
        mean = variance = count = None
        if track_running_stats:
            mean, variance = creation.zeros(size, **place), creation.ones(size, **place)
            count = creation.zeros((), dtype=dtypes.int64, device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            with no_grad():
                self.running_mean.zero_()
                self.running_var.fill_(1)
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """γ = 1, β = 0, running statistics as at the beginning."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel."""
        if input.ndim not in self._ranks:
            raise ValueError(f"expected {self._said} input (got {input.ndim}D input)")
        share = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            _count(self.num_batches_tracked)
            if self.momentum is None:
                share = 1.0 / float(self.num_batches_tracked)
        batch = self.training or self.running_mean is None
        tracked = not self.training or self.track_running_stats
        if self.training and all(isinstance(s, int) for s in input.shape):
            values = math.prod(input.shape) // max(input.shape[1], 1)
            if values <= 1:
                raise ValueError(
                    f"Expected more than 1 value per channel when training, got input size "
                    f"{tuple(int(s) for s in input.shape)}"
                )
        return F.batch_norm(
            input,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            batch,
            share,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Channels and options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class LocalResponseNorm(Module):
    """``x / (k + α · mean of x² over size neighbouring channels)^β`` (Krizhevsky et al., 2012)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        """Divided by what the neighbours hold."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The neighbourhood and the constants."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class _InstanceNorm(_BatchNorm):
    """Normalise each channel of each sample over the other axes."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of each sample."""
        if input.ndim not in self._ranks:
            raise ValueError(f"expected {self._said} input (got {input.ndim}D input)")
        alone = input.ndim == min(self._ranks)
        made = F.instance_norm(
            input.unsqueeze(0) if alone else input, self.running_mean, self.running_var,
            self.weight, self.bias, self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return made.squeeze(0) if alone else made


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each signal ``(N, C, L)`` (Ulyanov et al., 2016)."""

    _ranks = (2, 3)
    _said = "2D or 3D"


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each image ``(N, C, H, W)``."""

    _ranks = (3, 4)
    _said = "3D or 4D"


class InstanceNorm3d(_InstanceNorm):
    """Normalise each channel of each volume ``(N, C, D, H, W)``."""

    _ranks = (4, 5)
    _said = "4D or 5D"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``(N, C)`` or ``(N, C, L)`` (Ioffe and Szegedy, 2015).

    >>> BatchNorm1d(3)
    BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    _ranks = (2, 3)
    _said = "2D or 3D"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of ``(N, C, H, W)``."""

    _ranks = (4,)
    _said = "4D"


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``(N, C, D, H, W)``."""

    _ranks = (5,)
    _said = "5D"
