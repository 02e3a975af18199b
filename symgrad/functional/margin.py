"""Losses of distances, margins and counts, as compositions."""

from __future__ import annotations

import math

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, product, reduce_sum
from symgrad.core.build import elementwise as apply
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial, shape_text
from symgrad.errors import ShapeError
from symgrad.functional.elementwise import clamp_min, minimum
from symgrad.functional.losses import reduced
from symgrad.functional.order import norm
from symgrad.functional.promotion import floating, promoted
from symgrad.functional.shape import axis_of
from symgrad.functional.table import public
from symgrad.ops import sequence
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import gather, take
from symgrad.ops.index import onehot
from symgrad.ops.join import arange


def _is(e: Expr, number: int) -> Expr:
    return apply("eq", e, constant(number, e.dtype))


# ------------------------------------------------------------------ distances


@public(grad_fn="NormBackward1", saves=(0, 1), method=False, wide=True)
def pairwise_distance(
    x1: Expr, x2: Expr, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Expr:
    """‖x₁ − x₂ + ε‖ₚ along the last axis."""
    return norm(floating(x1 - x2) + eps, p, -1, keepdim)


@public(saves=(0,), method=False, wide=True, real=True)
def pdist(a: Expr, p: float = 2.0) -> Expr:
    """Distances between the rows of a matrix: of every pair i < j once."""
    if a.ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {a.ndim}D")
    rows = a.shape[0]
    if not isinstance(rows, int):
        raise ShapeError(f"pdist: the number of rows of {shape_text(a.shape)} needs to be known")
    k = arange(rows * (rows - 1) // 2, dtypes.float64)
    before = (4.0 * rows * (rows - 1) - 7 - 8 * k) ** 0.5 * 0.5 - 0.5
    first = rows - 2 - apply("floor", before)
    left = rows - first
    second = k + first + 1 - rows * (rows - 1) / 2 + product(left, left - 1) * 0.5
    i, j = (take(a, cast(e, dtypes.int64), 0) for e in (first, second))
    return norm(i - j, p, -1)


@public(method=False, saves=(0,), wide=True)
def hinge_embedding_loss(
    a: Expr, target: Expr, margin: float = 1.0, reduction: str = "mean"
) -> Expr:
    """a where the target is 1, max(0, margin − a) where it is −1 (both where it is neither)."""
    zero = constant(0, a.dtype)
    far = choose(_is(target, 1), zero, clamp_min(margin - a, 0))
    return reduced(choose(_is(target, -1), zero, a) + far, reduction)


@public(method=False, saves=(0, 1, 2), wide=True)
def margin_ranking_loss(
    a: Expr, b: Expr, target: Expr, margin: float = 0, reduction: str = "mean"
) -> Expr:
    """max(0, −target (a − b) + margin)."""
    if not a.ndim == b.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {shape_text(a.shape)}, input2: {shape_text(b.shape)}, target: "
            f"{shape_text(target.shape)}"
        )
    a, b, target = promoted(a, b, target, at_least_float=True)
    return reduced(clamp_min(margin - product(target, a - b), 0), reduction)


@public(grad_fn="SumBackward1", saves=(0, 1), method=False, wide=True)
def cosine_similarity(x1: Expr, x2: Expr, dim: int = 1, eps: float = 1e-8) -> Expr:
    """x · y / (max(‖x‖, ε) max(‖y‖, ε)) along ``dim``."""
    x1, x2 = promoted(x1, x2, at_least_float=True)
    rank = max(x1.ndim, x2.ndim)
    axis = axis_of(dim, rank)
    dot = reduce_sum(product(x1, x2), [axis])
    return dot / product(*(clamp_min(norm(x, 2, axis - rank), eps) for x in (x1, x2)))


@public(method=False, saves=(0, 1, 2), wide=True)
def cosine_embedding_loss(
    a: Expr, b: Expr, target: Expr, margin: float = 0, reduction: str = "mean"
) -> Expr:
    """1 − cos(a, b) where the target is 1, max(0, cos(a, b) − margin) where it is −1."""
    if a.shape != b.shape or target.ndim + 1 != a.ndim:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors of one shape, "
            f"but found inputs with sizes {shape_text(a.shape)} and {shape_text(b.shape)}"
        )
    a, b = promoted(a, b, at_least_float=True)
    last = [a.ndim - 1]
    sizes = [reduce_sum(product(x, x), last) + 1e-12 for x in (a, b)]
    cosine = reduce_sum(product(a, b), last) / product(*sizes) ** 0.5
    zero = constant(0, cosine.dtype)
    near = choose(_is(target, 1), 1 - cosine, zero)
    return reduced(near + choose(_is(target, -1), clamp_min(cosine - margin, 0), zero), reduction)


@public(method=False, saves=(0, 1, 2), wide=True)
def triplet_margin_loss(
    anchor: Expr,
    positive: Expr,
    negative: Expr,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Expr:
    """max(0, ‖a − p‖ − ‖a − n‖ + margin); ``swap``: the smaller of ‖a − n‖ and ‖p − n‖."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return triplet_margin(pairwise_distance(anchor, positive, p, eps), far, margin, reduction)


@public(method=False)
def triplet_margin(near: Expr, far: Expr, margin: float, reduction: str) -> Expr:
    """max(0, near − far + margin) of two distances."""
    return reduced(clamp_min(near - far + margin, 0), reduction)


# ------------------------------------------------------------------ classes


@public(method=False, saves=(0, 1), wide=True)
def soft_margin_loss(a: Expr, target: Expr, reduction: str = "mean") -> Expr:
    """log(1 + exp(−target a))."""
    a, target = promoted(a, target)
    return reduced(apply("softplus", -product(target, a)), reduction)


@public(method=False, saves=(0, 1), wide=True)
def multi_margin_loss(
    a: Expr,
    target: Expr,
    p: int = 1,
    margin: float = 1.0,
    weight: Expr | None = None,
    reduction: str = "mean",
) -> Expr:
    """(1/C) Σ_{j ≠ y} w[y] max(0, margin − a[y] + a[j])ᵖ over the last axis."""
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported, got {p}")
    if a.ndim > 2 or target.shape not in (a.shape[:-1], (1,) * (2 - a.ndim)):
        raise ShapeError(
            f"multi_margin_loss: inconsistent target size: {shape_text(target.shape)} for scores "
            f"{shape_text(a.shape)}",
            "Give one class number for each row of scores.",
        )
    a = a if a.ndim else insert_axes(a, [0])
    row = target if target.ndim == a.ndim else insert_axes(target, [target.ndim])
    over = clamp_min(margin - gather(a, row, -1) + a, 0)
    over = over if p == 1 else product(over, over)
    hot = onehot(row, a.shape[-1], a.dtype)
    hot = reduce_sum(hot, [row.ndim - 1])
    last = [a.ndim - 1]
    each = reduce_sum(product(over, 1 - hot), last) / monomial(a.shape[-1])
    if weight is not None:
        each = product(each, reduce_sum(product(hot, weight), last))
    return reduced(each, reduction)


@public(method=False, saves=(0, 1), wide=True)
def multilabel_margin_loss(a: Expr, target: Expr, reduction: str = "mean") -> Expr:
    """(1/C) Σ max(0, 1 − a[y] + a[j]) over the labels y in front of the first −1 and the other j."""
    if a.ndim > 2 or target.shape != a.shape:
        raise ShapeError(
            f"multilabel_margin_loss: inconsistent target size: {shape_text(target.shape)} for "
            f"input of size: {shape_text(a.shape)}",
            "Give the class numbers of each row, then −1 up to its length.",
        )
    if not a.ndim:
        return multilabel_margin_loss(insert_axes(a, [0]), insert_axes(target, [0]), reduction)
    k = a.ndim - 1
    zero = constant(0, target.dtype)
    labelled = sequence.cumprod(cast(apply("ge", target, zero), target.dtype), -1)
    listed = cast(labelled, dtypes.bool_)
    place = choose(listed, target, zero)
    hot = product(
        onehot(place, a.shape[-1], a.dtype), insert_axes(cast(labelled, a.dtype), [k + 1])
    )
    wanted = cast(cast(reduce_sum(hot, [k]), dtypes.bool_), a.dtype)
    over = clamp_min(1 - insert_axes(gather(a, place, -1), [k + 1]) + insert_axes(a, [k]), 0)
    counted = product(insert_axes(cast(labelled, a.dtype), [k + 1]), insert_axes(1 - wanted, [k]))
    each = reduce_sum(product(over, counted), [k, k + 1]) / monomial(a.shape[-1])
    return reduced(each, reduction)


@public(method=False, saves=(0, 1), wide=True)
def multilabel_soft_margin_loss(
    a: Expr, target: Expr, weight: Expr | None = None, reduction: str = "mean"
) -> Expr:
    """The mean over the last axis of −(t log σ(a) + (1 − t) log σ(−a))."""
    a, target = promoted(a, target)
    each = product(target, apply("softplus", -a)) + product(1 - target, apply("softplus", a))
    each = each if weight is None else product(each, weight)
    return reduced(reduce_sum(each, [a.ndim - 1]) / monomial(a.shape[-1]), reduction)


# ------------------------------------------------------------------ likelihoods


@public(method=False, saves=(0, 1), wide=True)
def poisson_nll_loss(
    a: Expr,
    target: Expr,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Expr:
    """eᵃ − t a (``log_input``), or a − t log(a + ε); ``full`` adds Stirling's log t!."""
    a, target = promoted(a, target, at_least_float=True)
    if log_input:
        each = apply("exp", a) - product(target, a)
    else:
        each = a - product(target, apply("log", a + eps))
    if full:
        several = apply("gt", target, constant(1, a.dtype))
        safe = choose(several, target, constant(1, a.dtype))
        logs = apply("log", safe)
        stirling = product(safe, logs) - safe + 0.5 * (logs + math.log(2 * math.pi))
        each = each + choose(several, stirling, constant(0, a.dtype))
    return reduced(each, reduction)


@public(method=False, saves=(0, 1, 2), wide=True)
def gaussian_nll_loss(
    a: Expr,
    target: Expr,
    var: Expr,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Expr:
    """½ (log v + (a − t)² / v), v = max(var, ε) whose gradient passes; ``full`` adds ½ log 2π."""
    if var.shape != a.shape and var.shape == a.shape[:-1]:
        var = insert_axes(var, [var.ndim])
    elif var.shape != a.shape and (
        a.ndim != var.ndim
        or sum(int(s) for r, s in zip(a.shape, var.shape, strict=True) if r != s) != 1  # type: ignore[arg-type]
    ):
        raise ValueError("var is of incorrect size")
    held = apply("detach", apply("maximum", var, constant(eps, var.dtype)))
    v = held + (var - apply("detach", var))
    off = a - target
    each = 0.5 * (apply("log", v) + product(off, off) / v)
    return reduced(each + 0.5 * math.log(2 * math.pi) if full else each, reduction)
