"""Activations beyond the common ones, as compositions."""

from __future__ import annotations

from symgrad.core.build import constant, contract, product
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.core.sizes import shape_text
from symgrad.errors import ShapeError
from symgrad.functional.shape import softmax
from symgrad.functional.table import public
from symgrad.ops.elementwise import where as choose


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


@public(method=False, saves=(0,))
def hardsigmoid(a: Expr) -> Expr:
    """min(max(a/6 + 1/2, 0), 1)."""
    return between(a + 3, 0, 6) / 6


@public(method=False, saves=(0,))
def hardswish(a: Expr) -> Expr:
    """a min(max(a + 3, 0), 6) / 6."""
    return product(a, between(a + 3, 0, 6)) / 6


@public(method=False, saves=(0,))
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


@public(method=False, grad_fn="DivBackward0", saves=(0,))
def softsign(a: Expr) -> Expr:
    """a / (1 + |a|)."""
    return a / (1 + apply("abs", a))


@public(method=False, grad_fn="SubBackward0", saves=(0,))
def tanhshrink(a: Expr) -> Expr:
    """a − tanh(a)."""
    return a - apply("tanh", a)


@public(method=False, grad_fn="SoftmaxBackward0", saves=("result",))
def softmin(a: Expr, dim: int) -> Expr:
    """softmax(−a) along ``dim``."""
    return softmax(-a, dim)
