"""Quotients whose parts vanish together, or overflow together: ((1 + u)ᵖ − 1) / u, Σ eˣ / Σ eʸ."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    constant,
    constant_value,
    contract,
    elementwise,
    operands,
    power,
    product,
    reduce_sum,
    scale,
    terms_of,
)
from symgrad.core.expr import Expr
from symgrad.simplify.engine import Procedure, sample
from symgrad.simplify.products import multiple_of, pairwise, power_of
from symgrad.simplify.small import either, near, without
from symgrad.simplify.sums import cancels, open_terms


def _increment(a: Expr, b: Expr) -> Expr | None:
    """(1 + k x)ᵖ − 1, as it is computed, over x: by the ratios of its two functions."""
    x, p = power_of(b)
    if a.op.name != "where" or p != -1:
        return None
    there, close, far = operands(a)
    if close.op.name != "expm1" or close.args[0].op is not SUM or len(close.args[0].args) != 1:
        return None
    t = close.args[0]
    (c, inner, _) = terms_of(t)[0]
    if inner.op.name != "log1p" or inner.args[0].op.name != "where":
        return None
    s = inner.args[0]
    condition, u, _ = operands(s)
    k = multiple_of(u, x) if condition is there else None
    if k is None:
        return None
    close = product(elementwise("expm1_ratio", t), elementwise("log1p_ratio", s))
    other = elementwise("where", there, constant(1, x.dtype, x.shape), x)
    return elementwise("where", there, scale(c * k, close), product(far, power(other, -1)))


def _exponentials(a: Expr, b: Expr) -> Expr | None:
    """(exp(k x) − 1) / (exp(x) − 1) near 0 by the ratios of both to their arguments."""
    base, p = power_of(b)
    if a.op.name != "expm1" or base.op.name != "expm1" or p != -1:
        return None
    x = base.args[0]
    k = multiple_of(a.args[0], x)
    if k is None or k.is_one or x.op is SUM or x.op.name == "where":
        return None
    small = near(x, Fraction(1))
    inner, outer = either(small, x, 0, 1)
    close = [elementwise("expm1_ratio", e) for e in (scale(k, inner), inner)]
    far = [elementwise("expm1", e) for e in (scale(k, outer), outer)]
    return elementwise("where", small, scale(k, product(close[0], power(close[1], -1))),
                       product(far[0], power(far[1], -1)))  # fmt: skip


def _is_total(e: Expr) -> bool:
    return e.op is CONTRACTION and bool(e.sums) and len(e.args) == 1 and e.args[0].op.name == "exp"


def _totals(a: Expr, b: Expr) -> Expr | None:
    """Σ exp(x) / Σ exp(y) = exp(log Σ exp(x) − log Σ exp(y))."""
    base, p = power_of(b)
    if p != -1 or a is base or not (_is_total(a) and _is_total(base)):
        return None
    return elementwise("exp", elementwise("log", a) - elementwise("log", base))


def limit_of_powers(node: Expr) -> Expr | None:
    """(1 + u)^(k / u) = exp(k log(1 + u) / u)."""
    w, v = operands(node)
    u = cancels(w, constant(1, w.dtype, w.shape))
    c, e = (terms_of(v)[0][0], v.args[0]) if v.op is SUM and len(v.args) == 1 else (ONE, v)
    x, p = power_of(e)
    k = None if u is None or p != -1 or x.shape != node.shape else multiple_of(u, x)
    if k is None or u is None or constant_value(u) is not None:
        return None
    return elementwise("exp", scale(c * k, elementwise("log1p_ratio", u)))


def complement_of_mean(node: Expr) -> Expr | None:
    """c − c mean(σ(x)) = c mean(σ(−x))."""
    terms = open_terms(node)
    for j, (a, e, ls) in enumerate(terms):
        single = e.op is CONTRACTION and e.sums and len(e.args) == 1
        if not single or e.args[0].op.name != "sigmoid":
            continue
        inner, labels = e.args[0], e.params[0][0]
        count = ONE
        for k, x in enumerate(labels):
            count = count * inner.shape[k] if x >= e.ndim else count
        for k, (d, one, _) in enumerate(terms):
            size = constant_value(one)
            if k == j or size is None or d * size != -a * count:
                continue
            other = contract([elementwise("sigmoid", -inner.args[0])], [labels], range(e.ndim),
                             dict(enumerate(e.shape)), e.dtype)  # fmt: skip
            return without(node, terms, (j, k), (-a, other, ls))
    return None


# ------------------------------------------------------------------ examples


def _example(typed: Expr, step: Callable[[Expr], Expr | None]) -> Callable[[], tuple[Expr, Expr]]:
    def example() -> tuple[Expr, Expr]:
        made = step(typed)
        assert made is not None
        return typed, made

    return example


def _increment_example() -> Expr:
    x = sample("x")
    small = elementwise("lt", elementwise("abs", x), constant(Fraction(1, 2), x.dtype))
    inner = elementwise("where", small, x, constant(0, x.dtype, x.shape))
    outer = elementwise("where", small, constant(2, x.dtype, x.shape), 1 + x)
    close = elementwise("expm1", 5 * elementwise("log1p", inner))
    whole = elementwise("where", small, close, power(outer, 5) - 1)
    return product(whole, power(x, -1))


_X, _Y = sample("x"), sample("y")
_INCREMENT = _increment_example()
_EXPM1 = product(elementwise("expm1", 3 * _X), power(elementwise("expm1", _X), -1))
_TOTALS = product(
    reduce_sum(elementwise("exp", _X), [0]), power(reduce_sum(elementwise("exp", _Y), [0]), -1)
)
_LIMIT = elementwise("pow", 1 + _X, power(_X, -1))
_MEAN = 1 - scale(_X.shape[0] ** -1, reduce_sum(elementwise("sigmoid", _X), [0]))
RATIO_RULES: tuple[Procedure, ...] = (
    Procedure("increment of a power", pairwise(_increment), _example(_INCREMENT, pairwise(_increment)),
              domain="positive", heads=(CONTRACTION.name,), needs=("where",)),
    Procedure("expm1 over expm1", pairwise(_exponentials), _example(_EXPM1, pairwise(_exponentials)),
              heads=(CONTRACTION.name,), needs=("expm1",)),
    Procedure("ratio of sums of exponentials", pairwise(_totals), _example(_TOTALS, pairwise(_totals)),
              heads=(CONTRACTION.name,), needs=("power",)),
    Procedure("power that tends to e", limit_of_powers, _example(_LIMIT, limit_of_powers),
              domain="positive", heads=("pow",), needs=("power",)),
    Procedure("complement of a mean", complement_of_mean, _example(_MEAN, complement_of_mean),
              edges=(-1e4, 1e4), heads=(SUM.name,), needs=(CONTRACTION.name,)),
)  # fmt: skip

__all__ = ["RATIO_RULES"]
