"""Differences of log Γ and of its derivative at arguments a number apart.

log Γ(v + g) − log Γ(v) is of the order of g log v, while both grow as v log v: for large v it is
computed from Stirling's series, in which what is large cancels before it is computed.

Source: NIST Digital Library of Mathematical Functions, 5.11.
"""

from __future__ import annotations

from fractions import Fraction

from symgrad.core.build import (
    SUM,
    constant,
    constant_value,
    elementwise,
    linear,
    power,
    product,
    scale,
)
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial
from symgrad.simplify.engine import Procedure, sample
from symgrad.simplify.small import beside_tangent, either, without
from symgrad.simplify.sums import cancels, open_terms

STIRLING = [Fraction(1, 12), Fraction(-1, 360), Fraction(1, 1260), Fraction(-1, 1680),
            Fraction(1, 1188), Fraction(-691, 360360)]  # fmt: skip
"""log Γ(z) = (z − ½) log z − z + ½ log 2π + Σ cₖ z^(1 − 2k)."""
DIGAMMA = [Fraction(-1, 12), Fraction(1, 120), Fraction(-1, 252), Fraction(1, 240),
           Fraction(-1, 132), Fraction(691, 32760)]  # fmt: skip
"""ψ(z) = log z − 1 / (2 z) + Σ cₖ z^(−2k)."""
LARGE = 12


def _series(z: Expr, c: list[Fraction], first: int) -> Expr:
    terms = [(Monomial(ck), power(z, -(first + 2 * k)), tuple(range(z.ndim)))
             for k, ck in enumerate(c)]  # fmt: skip
    return linear(terms, z.shape, z.dtype)


def _log_gamma(v: Expr, g: Fraction | float) -> Expr:
    t = scale(Monomial(g), power(v, -1))
    front = scale(Monomial(g), elementwise("log", v)) + product(v, beside_tangent("log1p", t))
    middle = scale(Monomial(g - Fraction(1, 2)), elementwise("log1p", t))
    return front + middle + (_series(v + g, STIRLING, 1) - _series(v, STIRLING, 1))


def _digamma(v: Expr, g: Fraction | float) -> Expr:
    t = scale(Monomial(g), power(v, -1))
    half = scale(Monomial(g / Fraction(2)), product(power(v, -1), power(v + g, -1)))
    return elementwise("log1p", t) + half + (_series(v + g, DIGAMMA, 2) - _series(v, DIGAMMA, 2))


ROWS = {"lgamma": _log_gamma, "polygamma": _digamma}


def difference(node: Expr) -> Expr | None:
    """f(v + g) − f(v) for a number g and f = log Γ, ψ."""
    terms = open_terms(node)
    rows = [(k, c, e, ls) for k, (c, e, ls) in enumerate(terms)
            if e.op.name == "lgamma" or (e.op.name == "polygamma" and e.params[2] == (0,))]  # fmt: skip
    for j, a, e, ls in rows:
        for k, b, f, place in rows:
            if j == k or a != -b or ls != place or e.op is not f.op or _chosen(f.args[0]):
                continue
            u, v = e.args[0], f.args[0]
            gap = cancels(u, v)
            size = None if gap is None else constant_value(gap)
            if size is None or size.powers or size.number <= 0 or size.number > LARGE:
                continue
            large = elementwise("gt", v, constant(LARGE, v.dtype))
            high, low = either(large, v, LARGE, LARGE)
            name = e.op.name
            typed = [elementwise(name, x, statics=e.params[2]) for x in (low + size.number, low)]
            made = elementwise("where", large, ROWS[name](high, size.number), typed[0] - typed[1])
            return without(node, terms, (j, k), (a, made, ls))
    return None


def _chosen(e: Expr) -> bool:
    return e.op.name == "where" or (e.op is SUM and any(a.op.name == "where" for a in e.args))


def _example(name: str, statics: tuple[int, ...]) -> tuple[Expr, Expr]:
    x = sample("x")
    typed = elementwise(name, x + Fraction(1, 2), statics=statics) - elementwise(
        name, x, statics=statics
    )
    made = difference(typed)
    assert made is not None
    return typed, made


GAMMAS: tuple[Procedure, ...] = tuple(
    Procedure(f"difference of {name}", difference, lambda n=name, s=statics: _example(n, s),
              domain="positive", heads=(SUM.name,), needs=(name,))
    for name, statics in (("lgamma", ()), ("polygamma", (0,)))
)  # fmt: skip

__all__ = ["GAMMAS"]
