"""Special functions and guarded products with logarithms, as compositions."""

from __future__ import annotations

import math
from typing import Any

from symgrad.core.build import cast, constant, product, scale
from symgrad.core.build import elementwise as apply
from symgrad.core.dtypes import complex128, float64
from symgrad.core.expr import Expr
from symgrad.functional.elementwise import no_truth_values
from symgrad.functional.promotion import floating, promoted, result_dtype
from symgrad.functional.table import public
from symgrad.ops.elementwise import where as choose


def _guarded(a: Any, b: Any, op: str) -> Expr:
    """a · op(b), 0 where a is 0, NaN where b is."""
    a, b = promoted(a, b, at_least_float=True)
    zero = constant(0, a.dtype)
    nothing = apply("logical_and", apply("eq", a, zero), apply("logical_not", apply("isnan", b)))
    safe = choose(nothing, constant(1, b.dtype), b)
    return choose(nothing, zero, product(a, apply(op, safe)))


@public(saves=(0, 1), real=True)
def xlogy(a: Any, b: Any) -> Expr:
    """a log b, and 0 where a is 0."""
    return _guarded(a, b, "log")


@public(saves=(0, 1), method=False, real=True)
def xlog1py(a: Any, b: Any) -> Expr:
    """a log(1 + b), and 0 where a is 0."""
    return _guarded(a, b, "log1p")


@public(saves=(0,), method=False)
def entr(a: Expr) -> Expr:
    """−a log a; 0 at 0, −∞ below."""
    a = floating(a)
    zero, one = constant(0, a.dtype), constant(1, a.dtype)
    positive = apply("gt", a, zero)
    safe = choose(positive, a, one)
    below = choose(apply("lt", a, zero), constant(-math.inf, a.dtype), zero)
    value = choose(positive, -product(safe, apply("log", safe)), below)
    return choose(apply("isnan", a), a, value)


@public(saves=(0,), method=False)
def ndtr(a: Expr) -> Expr:
    """Φ(a), the normal distribution function."""
    a = floating(a)
    return scale(0.5, apply("erfc", scale(-math.sqrt(0.5), a)))


for _name in ("log_ndtr", "i0e", "i1", "i1e", "i0"):

    def _special(a: Expr, _op: str = _name) -> Expr:
        return apply(_op, floating(a))

    _special.__doc__ = f"{_name}, elementwise."
    public(_name, saves=(0,), method=_name == "i0")(_special)


@public(saves=(0,), method=False)
def ndtri(a: Expr) -> Expr:
    """Φ⁻¹(a)."""
    return scale(math.sqrt(2), apply("erfinv", floating(a) * 2 - 1))


@public(saves=(0,))
def digamma(a: Expr) -> Expr:
    """d log Γ(a) / da."""
    return apply("polygamma", floating(a), statics=(0,))


@public(saves=(1,), method=False)
def polygamma(n: int, a: Expr) -> Expr:
    """The n-th derivative of digamma."""
    return apply("polygamma", floating(a), statics=(n,))


@public(saves=(0,))
def sinc(a: Expr) -> Expr:
    """sin(π a) / (π a), 1 at 0."""
    a = scale(math.pi, floating(a))
    zero = apply("eq", a, constant(0, a.dtype))
    safe = choose(zero, constant(1, a.dtype), a)
    near = 1 - a * a / 6  # the series: its derivatives at 0 are those of the function
    return choose(zero, near, apply("sin", safe) / safe)


@public(saves=(0, 1))
def logaddexp2(a: Expr, b: Expr) -> Expr:
    """log₂(2ᵃ + 2ᵇ)."""
    a, b = promoted(a, b)
    larger = apply("maximum", a, b)
    gap = scale(-math.log(2), apply("abs", a - b))
    return larger + scale(1 / math.log(2), apply("softplus", gap))


@public()
def float_power(a: Any, b: Any) -> Expr:
    """aᵇ in double precision."""
    dtype = complex128 if result_dtype((a, b)).is_complex else float64
    first, second = (cast(e, dtype) if isinstance(e, Expr) else constant(e, dtype) for e in (a, b))
    return apply("pow", first, second)


@public(view=lambda v: v)
def positive(a: Expr) -> Expr:
    """a."""
    return a


def _infinite(a: Expr, relation: str) -> Expr:
    side = apply(relation, a, constant(0, a.dtype))
    return apply("logical_and", apply("isinf", a), side)


@public()
def isposinf(a: Expr) -> Expr:
    """Is it +∞?"""
    return _infinite(a, "gt")


@public()
def isneginf(a: Expr) -> Expr:
    """Is it −∞?"""
    return _infinite(a, "lt")


@public()
def rsub(a: Any, b: Any, *, alpha: Any = 1) -> Expr:
    """b − alpha · a."""
    no_truth_values(a, b)
    a, b = promoted(a, b)
    return b - a * alpha


def _ignoring_nan(op: str) -> Any:
    def build(a: Expr, b: Expr) -> Expr:
        a, b = promoted(a, b)
        if not a.dtype.differentiable:
            return apply(op, a, b)
        first, second = (apply("isnan", e) for e in (a, b))
        relation = "ge" if op == "maximum" else "le"
        takes_first = apply("logical_or", second, apply(relation, a, b))
        takes_first = apply("logical_and", takes_first, apply("logical_not", first))
        return choose(takes_first, a, b)

    build.__doc__ = f"The {op} of two tensors, the other where one is NaN."
    return build


public("fmax", saves=(0, 1))(_ignoring_nan("maximum"))
public("fmin", saves=(0, 1))(_ignoring_nan("minimum"))


@public()
def ldexp(a: Any, b: Any) -> Expr:
    """a · 2ᵇ."""
    a, b = promoted(a, b, at_least_float=True)
    return product(a, apply("exp", scale(math.log(2), b)))
