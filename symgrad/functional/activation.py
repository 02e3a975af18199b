"""Activations beyond the common ones, as compositions."""

from __future__ import annotations

from symgrad.core.build import cast, constant, contract, product
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.core.sizes import shape_text
from symgrad.errors import ShapeError
from symgrad.functional.elementwise import clamp
from symgrad.functional.promotion import floating
from symgrad.functional.shape import axis_of, softmax
from symgrad.functional.table import public
from symgrad.ops.complex import magnitude
from symgrad.ops.elementwise import where as choose
from symgrad.ops.structure import slice_axis


def between(a: Expr, low: float, high: float) -> Expr:
    """``min(max(a, low), high)``; its derivative is 0 at the bounds and beyond."""
    below, above = constant(low, a.dtype), constant(high, a.dtype)
    inside = choose(apply("lt", a, above), a, above)
    return choose(apply("gt", a, below), inside, below)


@public(method=False, saves=(0,))
def hardtanh(a: Expr, min_val: float = -1.0, max_val: float = 1.0) -> Expr:
    """min(max(a, low), high)."""
    return between(a, min_val, max_val)


@public(method=False, grad_fn="HardtanhBackward0", saves=(0,))
def relu6(a: Expr) -> Expr:
    """min(max(a, 0), 6)."""
    return between(a, 0, 6)


@public(method=False, saves=(0,), wide=True)
def hardsigmoid(a: Expr) -> Expr:
    """min(max(a/6 + 1/2, 0), 1)."""
    return between(a + 3, 0, 6) / 6


@public(method=False, saves=(0,), wide=True)
def hardswish(a: Expr) -> Expr:
    """a min(max(a + 3, 0), 6) / 6."""
    return product(a, between(a + 3, 0, 6)) / 6


@public(method=False, saves=(0,), wide=True)
def celu(a: Expr, alpha: float = 1.0) -> Expr:
    """a where positive, else α (e^(a/α) − 1)."""
    zero = constant(0, a.dtype)
    negative = choose(apply("gt", a, zero), zero, a)
    return choose(apply("gt", a, zero), a, apply("expm1", negative / alpha) * alpha)


@public(method=False, saves=(0, 1))
def prelu(a: Expr, weight: Expr) -> Expr:
    """a where positive, else w a; one w, or one for each channel (axis 1)."""
    count = weight.shape[0] if weight.ndim else 1
    if count != 1 and (a.ndim < 2 or a.shape[1] != count):
        raise ShapeError(
            f"prelu: {count} slopes need an input with {count} channels on axis 1, not shape "
            f"{shape_text(a.shape)}"
        )
    labels = [1 if count != 1 else -1] * weight.ndim
    slope = contract([weight], [labels], range(a.ndim), dict(enumerate(a.shape)), a.dtype)
    return choose(apply("gt", a, constant(0, a.dtype)), a, product(slope, a))


@public(method=False, grad_fn="DivBackward0", saves=(0,), wide=True)
def softsign(a: Expr) -> Expr:
    """a / (1 + |a|)."""
    a = floating(a)
    return product(a, cast(1 / (1 + magnitude(a)), a.dtype))


@public(method=False, grad_fn="SubBackward0", saves=(0,), wide=True)
def tanhshrink(a: Expr) -> Expr:
    """a − tanh(a)."""
    a = floating(a)
    return a - apply("tanh", a)


@public(method=False, grad_fn="SoftmaxBackward0", saves=("result",), wide=True)
def softmin(a: Expr, dim: int) -> Expr:
    """softmax(−a) along ``dim``."""
    return softmax(-a, dim)


@public(method=False, saves=(0,), wide=True, real=True)
def glu(a: Expr, dim: int = -1) -> Expr:
    """b σ(c) of the halves b and c of an axis (Dauphin et al., 2017)."""
    if not a.ndim:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = axis_of(dim, a.ndim)
    size = a.shape[axis]
    if not isinstance(size, int) or size % 2:
        raise ShapeError(
            f"Halving dimension must be even, but dimension {axis} is size {size}",
            "Make it a number twice as large as the result shall have.",
        )
    first, gate = (slice_axis(a, axis, k, k + size // 2) for k in (0, size // 2))
    return product(first, apply("sigmoid", gate))


@public(method=False, saves=(0,))
def threshold(a: Expr, threshold: float, value: float) -> Expr:
    """a above a threshold, else ``value``."""
    above = apply("gt", a, constant(threshold, a.dtype))
    return choose(above, a, constant(value, a.dtype))


@public(method=False, saves=(0,))
def softshrink(a: Expr, lambd: float = 0.5) -> Expr:
    """a − min(max(a, −λ), λ)."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return a - clamp(a, -lambd, lambd)


@public(method=False, saves=(0,))
def hardshrink(a: Expr, lambd: float = 0.5) -> Expr:
    """a where |a| > λ, else 0."""
    small = apply("le", apply("abs", a), constant(lambd, a.dtype))
    return choose(small, constant(0, a.dtype), a)


@public(method=False, saves=(0, 1, 2), wide=True)
def bilinear(x1: Expr, x2: Expr, weight: Expr, bias: Expr | None = None) -> Expr:
    """x₁ᵀ Wₖ x₂ + bₖ: x₁ ``(…, m)``, x₂ ``(…, n)``, W ``(k, m, n)``, b ``(k,)``."""
    if weight.ndim != 3 or x1.shape[:-1] != x2.shape[:-1] or (
        (x1.shape[-1], x2.shape[-1]) != weight.shape[1:]
    ):  # fmt: skip
        raise ShapeError(
            f"bilinear(): input1 {shape_text(x1.shape)}, input2 {shape_text(x2.shape)} and weight "
            f"{shape_text(weight.shape)} do not fit",
            "Give inputs (…, m) and (…, n) with the same batch, and a weight (k, m, n).",
        )
    n = x1.ndim - 1
    lead = list(range(n))
    made = contract(
        [x1, weight, x2], [[*lead, n], [n + 2, n, n + 1], [*lead, n + 1]], [*lead, n + 2]
    )
    return made if bias is None else made + bias
