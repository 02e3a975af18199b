"""Losses of the public surface, as compositions."""

from __future__ import annotations

from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, contract, product, reduce_sum
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial, monomial, shape_text, size_product, size_text
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.promotion import promoted
from symgrad.functional.shape import last_axes, log_softmax
from symgrad.functional.table import public
from symgrad.ops.axis import along
from symgrad.ops.complex import magnitude
from symgrad.ops.elementwise import where as choose
from symgrad.ops.index import onehot


def reduced(e: Expr, reduction: str) -> Expr:
    """``"mean"``, ``"sum"`` or ``"none"`` of a loss per entry."""
    if reduction == "none":
        return e
    total = reduce_sum(e, range(e.ndim))
    if reduction == "sum":
        return total
    if reduction == "mean":
        return total / monomial(size_product(e.shape))
    raise ValueError(f"{reduction} is not a valid value for reduction")


@public(saves=(0, 1), method=False, wide=True, real=True)
def mse_loss(a: Expr, target: Expr, reduction: str = "mean") -> Expr:
    """(a − target)²."""
    a, target = promoted(a, target)
    off = a - target
    return reduced(off * off, reduction)


@public(saves=(0, 1), method=False, wide=True)
def l1_loss(a: Expr, target: Expr, reduction: str = "mean") -> Expr:
    """|a − target|."""
    a, target = promoted(a, target)
    return reduced(magnitude(a - target), reduction)


@public(saves=(0, 1), method=False, wide=True)
def smooth_l1_loss(a: Expr, target: Expr, reduction: str = "mean", beta: float = 1.0) -> Expr:
    """½ d² / β where |d| < β, else |d| − ½ β."""
    if beta < 0:
        raise ShapeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    a, target = promoted(a, target)
    off = a - target
    size = apply("abs", off)
    if beta == 0:
        return reduced(size, reduction)
    near = apply("lt", size, constant(beta, a.dtype))
    return reduced(choose(near, off * off * (0.5 / beta), size - 0.5 * beta), reduction)


@public(saves=(0, 1), method=False, wide=True)
def huber_loss(a: Expr, target: Expr, reduction: str = "mean", delta: float = 1.0) -> Expr:
    """½ d² where |d| < δ, else δ (|d| − ½ δ)."""
    if delta <= 0:
        raise ShapeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    a, target = promoted(a, target)
    off = a - target
    size = apply("abs", off)
    near = apply("lt", size, constant(delta, a.dtype))
    return reduced(choose(near, off * off * 0.5, (size - 0.5 * delta) * delta), reduction)


@public("binary_cross_entropy_with_logits", saves=(0, 1), method=False, wide=True)
def bce_with_logits(
    a: Expr,
    target: Expr,
    weight: Expr | None = None,
    reduction: str = "mean",
    pos_weight: Expr | None = None,
) -> Expr:
    """softplus(a) − target a, finite for every logit."""
    if a.shape != target.shape:
        raise ShapeError(
            f"Target size ({size_text(target.shape)}) must be the same as input size "
            f"({size_text(a.shape)})",
            "Give both the same axes, with squeeze(-1) or unsqueeze(-1).",
        )
    a, target = promoted(a, target)
    if pos_weight is None:
        each = apply("softplus", a) - product(target, a)
    else:
        positive = product(pos_weight, target, apply("softplus", -a))
        each = positive + product(1 - target, apply("softplus", a))
    return reduced(each if weight is None else product(each, weight), reduction)


@public(saves=(0, 1), method=False, wide=True)
def binary_cross_entropy(
    a: Expr, target: Expr, weight: Expr | None = None, reduction: str = "mean"
) -> Expr:
    """−(t log a + (1 − t) log(1 − a)); logarithms are cut at −100 as in PyTorch."""
    if a.shape != target.shape:
        raise ShapeError(
            f"Using a target size ({size_text(target.shape)}) that is different to the input size "
            f"({size_text(a.shape)}) is deprecated. Please ensure they have the same size.",
            "Give both the same axes, with squeeze(-1) or unsqueeze(-1).",
        )
    low = constant(-100, a.dtype)
    each = -(
        product(target, apply("maximum", apply("log", a), low))
        + product(1 - target, apply("maximum", apply("log", 1 - a), low))
    )
    return reduced(each if weight is None else product(each, weight), reduction)


@public(grad_fn="NllLossBackward0", saves=(0, 1), method=False, wide=True)
def cross_entropy(
    a: Expr,
    target: Expr,
    weight: Expr | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    masked: bool = False,
) -> Expr:
    """logsumexp(z) − z[y] for classes on axis 1 (or the last of a vector), or soft labels.

    ``masked``: some targets are ``ignore_index``, so they are counted; otherwise all count.
    """
    axis = 1 if a.ndim > 1 else 0
    if target.dtype.differentiable and target.ndim == a.ndim:
        _check_probabilities(a, target)
        return _soft_labels(a, target, weight, reduction, label_smoothing, axis)
    _check_classes(a, target, axis)
    z = _classes_last(a, axis)
    hot = onehot(target, z.shape[-1], a.dtype)
    plain = weight is None and not label_smoothing and not masked
    if plain and target.ndim <= 1 and reduction != "none":
        each = along("logsumexp", z) - reduce_sum(product(z, hot), [z.ndim - 1])
        return reduced(each, reduction)
    return _weighted(z, hot, target, weight, ignore_index, reduction, label_smoothing)


def _check_probabilities(a: Expr, target: Expr) -> None:
    both = zip(a.shape, target.shape, strict=True)
    if any(isinstance(s, int) and isinstance(t, int) and s != t for s, t in both):
        raise ShapeError(
            f"the target's probabilities are {shape_text(target.shape)}, but the logits are "
            f"{shape_text(a.shape)}",
            "Give one probability for each logit, or integers without the axis of classes.",
        )


def _check_classes(a: Expr, target: Expr, axis: int) -> None:
    expected = a.shape[:axis] + a.shape[axis + 1 :]
    if target.shape == expected:
        if target.dtype not in (dtypes.int64, dtypes.uint8):
            raise DTypeError(
                f"expected target dtype to be Long or Byte, but got {target.dtype.name}",
                "Convert it with target.long(), or give probabilities of the logits' own shape.",
            )
        return
    if a.ndim == 2 and target.ndim == 1 and not any(
        isinstance(s, Monomial) for s in (*a.shape, *target.shape)
    ):  # fmt: skip
        raise ShapeError(
            f"Expected input batch_size ({a.shape[0]}) to match target batch_size "
            f"({target.shape[0]}).",
            f"Give one integer target for each of the {a.shape[0]} rows of logits.",
        )
    raise ShapeError(
        f"the logits are {shape_text(a.shape)} with classes on axis {axis}, so "
        f"the target should be {shape_text(expected)} integers, not "
        f"{shape_text(target.shape)} {target.dtype.name}",
        "Give integers of the logits' shape without the axis of classes, or probabilities of the "
        "logits' own shape.",
    )


def _classes_last(a: Expr, axis: int) -> Expr:
    labels = list(range(a.ndim))
    order = [k for k in labels if k != axis] + [axis]
    return contract([a], [labels], order, dict(enumerate(a.shape)), a.dtype)


def _weighted(
    z: Expr,
    hot: Expr,
    target: Expr,
    weight: Expr | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Expr:
    each = along("logsumexp", z) - reduce_sum(product(z, hot), [z.ndim - 1])
    counted = cast(apply("ne", target, constant(ignore_index, target.dtype)), z.dtype)
    last = z.ndim - 1
    shares = counted
    if weight is not None:
        shares = product(counted, reduce_sum(product(hot, weight), [last]))
    each = product(each, shares)
    if smoothing:
        logs = log_softmax(z, -1)
        logs = product(logs, weight) if weight is not None else logs
        uniform = product(-reduce_sum(logs, [last]), counted) / monomial(z.shape[-1])
        each = each * (1 - smoothing) + uniform * smoothing
    if reduction != "mean":
        return reduced(each, reduction)
    axes = range(each.ndim)
    return reduce_sum(each, axes) / reduce_sum(shares, axes)


def _soft_labels(
    a: Expr, target: Expr, weight: Expr | None, reduction: str, smoothing: float, axis: int
) -> Expr:
    z, labels = _classes_last(a, axis), _classes_last(target, axis)
    if smoothing:
        labels = labels * (1 - smoothing) + constant(smoothing, a.dtype) / monomial(z.shape[-1])
    if weight is not None:
        labels = product(labels, weight)
    logs = log_softmax(z, -1)
    each = -reduce_sum(product(labels, logs), [z.ndim - 1])
    if reduction == "mean":
        return reduce_sum(each, range(each.ndim)) / monomial(size_product(each.shape))
    return reduced(each, reduction)


@public(saves=(1,), method=False, wide=True)
def nll_loss(
    a: Expr,
    target: Expr,
    weight: Expr | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Expr:
    """−a[y] for log-probabilities with classes on axis 1."""
    axis = 1 if a.ndim > 1 else 0
    _check_classes(a, target, axis)
    logs = _classes_last(a, axis)
    hot = onehot(target, logs.shape[-1], a.dtype)
    last = logs.ndim - 1
    shares = cast(apply("ne", target, constant(ignore_index, target.dtype)), a.dtype)
    if weight is not None:
        shares = product(shares, reduce_sum(product(hot, weight), [last]))
    each = product(-reduce_sum(product(logs, hot), [last]), shares)
    if reduction != "mean":
        return reduced(each, reduction)
    axes = range(each.ndim)
    return reduce_sum(each, axes) / reduce_sum(shares, axes)


@public(saves=(0, 1), method=False, wide=True, real=True)
def kl_div(a: Expr, target: Expr, reduction: str = "mean", log_target: bool = False) -> Expr:
    """target (log target − a); 0 where the target is 0."""
    if log_target:
        each = product(apply("exp", target), target - a)
    else:
        zero = constant(0, target.dtype)
        safe = choose(apply("gt", target, zero), target, constant(1, target.dtype))
        each = product(target, apply("log", safe)) - product(target, a)
    if reduction == "batchmean":
        return reduce_sum(each, range(each.ndim)) / monomial(a.shape[0])
    return reduced(each, reduction)


@public("one_hot", method=False)
def one_hot(a: Expr, num_classes: int = -1) -> Expr:
    """Rows of the identity, as integers."""
    return onehot(a, num_classes, a.dtype)


@public(grad_fn="NativeLayerNormBackward0", method=False, saves=(0,), wide=True, real=True)
def layer_norm(
    a: Expr,
    normalized_shape: Any,
    weight: Expr | None = None,
    bias: Expr | None = None,
    eps: float = 1e-5,
) -> Expr:
    """(a − mean) / √(var + ε) · γ + β over the last axes."""
    axes = last_axes(a, normalized_shape)
    n = monomial(size_product(tuple(a.shape[k] for k in axes)))
    labels = [k for k in range(a.ndim) if k not in axes]
    full = dict(enumerate(a.shape))

    def spread(e: Expr) -> Expr:
        return contract([e], [labels], range(a.ndim), full, e.dtype)

    off = a - spread(reduce_sum(a, axes) / n)
    scale = (reduce_sum(off * off, axes) / n + eps) ** 0.5
    result = product(off, spread(1 / scale))
    result = result if weight is None else product(result, weight)
    return result if bias is None else result + bias


@public(method=False, saves=(0, 1))
def embedding(indices: Expr, weight: Expr, padding_idx: int | None = None) -> Expr:
    """Rows of ``weight``."""
    hot = onehot(indices, weight.shape[0], weight.dtype)
    k = indices.ndim
    return contract([hot, weight], [range(k + 1), [k, k + 1]], [*range(k), k + 1])


__all__ = ["Any", "reduced"]
