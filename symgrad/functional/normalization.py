"""Normalisation over the batch and by the root mean square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core.build import constant, contract, power, product, reduce_sum
from symgrad.core.dtypes import real_of
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial, size_product
from symgrad.errors import ShapeError
from symgrad.functional.promotion import floating
from symgrad.functional.shape import axis_of, last_axes
from symgrad.functional.table import public
from symgrad.ops.convolution import window
from symgrad.ops.window import window_sum


def _spread(e: Expr, axes: Sequence[int], like: Expr) -> Expr:
    """``e``, whose axes are ``axes`` of ``like``, repeated along the others."""
    return contract([e], [list(axes)], range(like.ndim), dict(enumerate(like.shape)), e.dtype)


def _scaled(e: Expr, weight: Expr | None, bias: Expr | None, axes: Sequence[int]) -> Expr:
    """``e ⊙ γ + β`` with γ and β on ``axes``."""
    if weight is not None:
        e = product(e, _spread(weight, axes, e))
    return e if bias is None else e + _spread(bias, axes, e)


def channel_moments(a: Expr, channel: int = 1) -> tuple[Expr, Expr]:
    """Mean and biased variance of each channel, shape ``(C,)``."""
    axis_of(channel, a.ndim)
    axes = [k for k in range(a.ndim) if k != channel]
    count = monomial(size_product(tuple(a.shape[k] for k in axes)))
    mean = reduce_sum(a, axes) / count
    off = a - _spread(mean, [channel], a)
    return mean, reduce_sum(off * off, axes) / count


@public(method=False, grad_fn="NativeBatchNormBackward0", saves=(0,), wide=True, real=True)
def batch_norm_train(
    a: Expr, weight: Expr | None = None, bias: Expr | None = None, eps: float = 1e-5
) -> Expr:
    """(a − μ) / √(s² + ε) γ + β with the batch's own μ and s², channels on axis 1."""
    mean, variance = channel_moments(a)
    return _normalised(a, mean, variance, weight, bias, eps)


@public(part=True, grad_fn="NativeBatchNormBackward0", saves=(0, 1, 2), wide=True, real=True)
def batch_norm_eval(
    a: Expr,
    mean: Expr,
    variance: Expr,
    weight: Expr | None = None,
    bias: Expr | None = None,
    eps: float = 1e-5,
) -> Expr:
    """(a − μ) / √(s² + ε) γ + β with given μ and s², channels on axis 1."""
    return _normalised(a, mean, variance, weight, bias, eps)


def _normalised(
    a: Expr, mean: Expr, variance: Expr, weight: Expr | None, bias: Expr | None, eps: float
) -> Expr:
    if a.ndim == 1 and mean.shape == (0,):  # no channels: nothing to normalise
        return a
    if a.ndim < 2:
        raise ShapeError(
            f"the input has {a.ndim} dimension{'s' * (a.ndim != 1)}, but channels are dimension 1.",
            "Give (N, C) or (N, C, …); one example alone is x[None].",
        )
    off = a - _spread(mean, [1], a)
    return _scaled(product(off, _spread((variance + eps) ** -0.5, [1], a)), weight, bias, [1])


@public(method=False, grad_fn="MeanBackward1", wide=True)
def batch_mean(a: Expr) -> Expr:
    """The mean of each channel (axis 1)."""
    return channel_moments(a)[0]


@public(part=True, grad_fn="VarBackward0", wide=True)
def batch_variance(a: Expr) -> Expr:
    """The unbiased variance of each channel (axis 1)."""
    count = monomial(size_product(tuple(a.shape[k] for k in range(a.ndim) if k != 1)))
    total = constant(count, a.dtype)
    return channel_moments(a)[1] * (total / (total - 1))


@public(method=False, grad_fn="MulBackward0", saves=(0,), wide=True)
def rms_norm(
    a: Expr, normalized_shape: Any, weight: Expr | None = None, eps: float | None = None
) -> Expr:
    """a / √(mean a² + ε) γ over the last axes; ε is the dtype's spacing at 1 if not given."""
    axes = last_axes(a, normalized_shape)
    kept = [k for k in range(a.ndim) if k not in axes]
    size = monomial(size_product(tuple(a.shape[k] for k in axes)))
    small = _SPACING[real_of(a.dtype).name] if eps is None else eps
    scale = (reduce_sum(a * a, axes) / size + small) ** -0.5
    return _scaled(product(a, _spread(scale, kept, a)), weight, None, axes)


_SPACING = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@public(saves=(0,), method=False, wide=True)
def local_response_norm(
    input: Expr, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Expr:
    """``x / (k + α · mean of x² over size neighbouring channels)^β`` (Krizhevsky et al., 2012)."""
    if input.ndim < 3:
        raise ShapeError(
            f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)"
        )
    input = floating(input)
    rank = input.ndim - 1
    around = [(size // 2, (size - 1) // 2), *[(0, 0)] * (rank - 1)]
    how = window(rank, None, around)
    sums = window_sum(input * input, (size, *(1,) * (rank - 1)), how)
    return input * power(sums * (alpha / size) + k, -beta)
