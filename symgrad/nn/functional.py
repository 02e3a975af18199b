"""The functions behind layers and losses, in the signatures of ``torch.nn.functional``.

Every formula is a row of :mod:`symgrad.functional`; what stands here translates PyTorch's
arguments (``inplace``, the two old reduction flags, ``training``) into the row's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.autograd import no_grad
from symgrad.core.dtypes import DType
from symgrad.functional import activation, margin, normalization
from symgrad.nn.attending import *  # noqa: F403 - a function of this namespace
from symgrad.nn.dropping import *  # noqa: F403 - dropout of this namespace
from symgrad.nn.dropping import dropout
from symgrad.nn.embeddings import *  # noqa: F403 - the tables of this namespace
from symgrad.nn.losses import *  # noqa: F403 - the losses of this namespace
from symgrad.nn.spatial import *  # noqa: F403 - the rest of this namespace
from symgrad.nn.spatial import row as _row
from symgrad.tensors import creation
from symgrad.tensors.tensor import Tensor

_ROOMS = (activation, margin, normalization)  # importing them fills the table


# ------------------------------------------------------------------ activations


def _activation(name: str) -> Callable[..., Tensor]:
    """The row as ``f(input, *options, inplace=False)``."""
    run = _row(name)

    def function(input: Tensor, *options: Any, inplace: bool = False, **named: Any) -> Tensor:
        if options and isinstance(options[-1], bool):
            *options, inplace = options  # type: ignore[assignment]
        result = run(input, *options, **named)
        return input.copy_(result) if inplace else result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = run.__doc__
    return function


relu = _activation("relu")
relu6 = _activation("relu6")
silu = _activation("silu")
mish = _activation("mish")
elu = _activation("elu")
celu = _activation("celu")
selu = _activation("selu")
leaky_relu = _activation("leaky_relu")
hardtanh = _activation("hardtanh")
hardsigmoid = _activation("hardsigmoid")
hardswish = _activation("hardswish")
prelu = _activation("prelu")
threshold = _activation("threshold")
softsign = _row("softsign")
tanhshrink = _row("tanhshrink")
softshrink = _row("softshrink")
hardshrink = _row("hardshrink")
glu = _row("glu")
bilinear = _row("bilinear")
pdist = _row("pdist")
pairwise_distance = _row("pairwise_distance")
tanh = _row("tanh")
sigmoid = _row("sigmoid")
logsigmoid = _row("logsigmoid")
gelu = _row("gelu")
softplus = _row("softplus")


def _axis(input: Tensor, dim: int | None, name: str) -> int:
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if input.ndim in {0, 1, 3} else 1


def _along(name: str) -> Callable[..., Tensor]:
    run = _row(name)

    def function(
        input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None
    ) -> Tensor:
        del _stacklevel
        return run(input if dtype is None else input.to(dtype), _axis(input, dim, name))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = run.__doc__
    return function


softmax = _along("softmax")
log_softmax = _along("log_softmax")
softmin = _along("softmin")

# ------------------------------------------------------------------ layers

_linear = _row("linear")
_layer_norm = _row("layer_norm")
_cosine_similarity = _row("cosine_similarity")
rms_norm = _row("rms_norm")
_batch_norm_train = _row("batch_norm_train")
_batch_norm_eval = _row("batch_norm_eval")
_batch_mean = _row("batch_mean")
_batch_variance = _row("batch_variance")


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x Wᵀ + b``: x ``(…, in)``, W ``(out, in)``, b ``(out,)``."""
    return _linear(input, weight) if bias is None else _linear(input, weight, bias)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x − μ) / √(s² + ε) ⊙ γ + β`` over the last axes."""
    return _layer_norm(input, tuple(normalized_shape), weight, bias, eps)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel (axis 1); in training the running statistics move in place."""
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("running_mean and running_var must be defined in evaluation mode")
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    known = input.ndim > 1 and all(type(s) is int for s in input.shape)
    if known and input.numel() == input.shape[1]:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{list(input.shape)}"
        )
    if running_mean is not None and running_var is not None:
        with no_grad():
            seen = input.detach()
            for running, batch in (
                (running_mean, _batch_mean(seen)),
                (running_var, _batch_variance(seen)),
            ):
                running.copy_(running * (1 - momentum) + batch.to(running.dtype) * momentum)
    return _batch_norm_train(input, weight, bias, eps)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample: x ``(N, C, …)``."""
    if not use_input_stats:
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    count, channels, *rest = (int(s) for s in input.shape)
    if math.prod(rest) <= 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size "
            f"{[count, channels, *rest]}"
        )
    if running_mean is not None and running_var is not None:
        axes = list(range(2, input.ndim))
        with no_grad():
            seen = input.detach()
            for running, found in (
                (running_mean, seen.mean(axes).mean(0)),
                (running_var, seen.var(axes).mean(0)),
            ):
                running.copy_(running * (1 - momentum) + found.to(running.dtype) * momentum)
    return group_norm(input, channels, weight, bias, eps)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each group of channels: x ``(N, C, …)``."""
    count, channels, *rest = (int(s) for s in input.shape)
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(input.shape)} and num_groups={num_groups}"
        )
    size = channels // num_groups * math.prod(rest)
    flat = input.reshape(count, num_groups, size)
    result = _layer_norm(flat, (size,), None, None, eps).reshape(count, channels, *rest)
    place = [1, channels, *(1 for _ in rest)]
    if weight is not None:
        result = result * weight.reshape(place)
    return result if bias is None else result + bias.reshape(place)


# ------------------------------------------------------------------ distances, attention


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(‖x‖ₚ, ε)`` along ``dim``."""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x · y / (max(‖x‖, ε) max(‖y‖, ε))`` along ``dim``."""
    return _cosine_similarity(x1, x2, dim, eps)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """``softmax(Q Kᵀ / √d + mask) V``: Q ``(…, t, d)``, K ``(…, s, d)``, V ``(…, s, e)``.

    A boolean mask is True where a position may be seen.
    """
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    dtype = query.dtype
    if dtype.itemsize == 2:  # what is left after softmax is small
        query, key = query.float(), key.float()
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        rows, columns = (int(s) for s in scores.shape[-2:])
        attn_mask = Tensor.from_value(
            np.tril(np.ones((rows, columns), np.bool_)), creation.CAST_DTYPES["bool"]
        )
    if attn_mask is not None:
        if attn_mask.dtype.kind == "b":
            scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
        else:
            scores = scores + attn_mask
    return dropout(softmax(scores, -1).to(dtype), dropout_p, dropout_p > 0) @ value
