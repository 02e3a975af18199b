"""What is small beside what it is taken from: (1 + u)ᵖ − 1, f(x) − x, 1 − Π (1 − x).

Each is computed near where it vanishes by a form that has no difference, and as typed elsewhere.

Source: Higham, *Accuracy and Stability of Numerical Algorithms* (2002), 1.14; Beebe, *The
Mathematical-Function Computation Handbook* (2017), 10.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import factorial

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    power,
    product,
    reduce_sum,
    scale,
)
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial
from symgrad.ops.axis import along, expanded
from symgrad.simplify.engine import Procedure, sample
from symgrad.simplify.sums import HALF, cancels, gap_of, open_terms

Coefficients = list[Fraction]
Pair = tuple[Expr, Expr]


def near(e: Expr, bound: Fraction) -> Expr:
    """Is |e| below a bound?"""
    return elementwise("lt", elementwise("abs", e), constant(bound, e.dtype))


def either(small: Expr, e: Expr, then: float, otherwise: float) -> tuple[Expr, Expr]:
    """What both sides of a choice may read: e where it is theirs, else a harmless number."""
    first, second = (constant(x, e.dtype, e.shape) for x in (then, otherwise))
    return elementwise("where", small, e, first), elementwise("where", small, second, e)


def without(node: Expr, terms: list[Term], gone: tuple[int, ...], made: Term) -> Expr:
    """A sum with one term in place of several."""
    rest = [t for k, t in enumerate(terms) if k not in gone]
    return linear([*rest, made], node.shape, node.dtype)


# ------------------------------------------------------------------ powers

KNOWN = frozenset({HALF, -HALF, Fraction(-1), Fraction(2)})
"""Exponents whose differences have a form without a choice."""


def _power_less_one(w: Expr, g: Expr, p: Fraction | float) -> Expr:
    """(1 + g)ᵖ − 1 with w = 1 + g."""
    if p == HALF:
        return product(g, power(power(w, HALF) + 1, -1))
    if p == -1:
        return product(-g, power(w, -1))
    small = near(g, HALF)
    inner, _ = either(small, g, 0, 1)
    _, outer = either(small, w, 1, 2)
    close = elementwise("expm1", scale(Monomial(p), elementwise("log1p", inner)))
    return elementwise("where", small, close, power(outer, p) - 1)


def _powers(e: Expr) -> tuple[Expr, Fraction | float] | None:
    return (e.args[0], e.params[2][0]) if e.op.name == "power" else None


def less_one(node: Expr) -> Expr | None:
    """c (1 + g)ᵖ − c."""
    terms = open_terms(node)
    for j, (c, e, ls) in enumerate(terms):
        found = _powers(e)
        if found is None or found[1] == -HALF or found[0].op is not SUM:
            continue
        g = cancels(found[0], constant(1, e.dtype, e.shape))
        for k, (d, one, _) in enumerate(terms):
            size = constant_value(one)
            if g is not None and k != j and size is not None and d * size == -c:
                return without(node, terms, (j, k), (c, _power_less_one(found[0], g, found[1]), ls))
    return None


def difference_of_powers(node: Expr) -> Expr | None:
    """c (uᵖ − vᵖ) = c vᵖ ((1 + g / v)ᵖ − 1) for a gap g of u and v that is small beside v."""
    terms = open_terms(node)
    found = [(k, c, *pair, ls) for k, (c, e, ls) in enumerate(terms)
             if (pair := _powers(e)) is not None and pair[1] not in KNOWN]  # fmt: skip
    for j, a, u, p, ls in found:
        for k, b, v, q, place in found:
            if j == k or a != -b or a.number < 0 or p != q or ls != place:
                continue
            g = cancels(u, v)
            if g is None:
                continue
            ratio = product(g, power(v, -1))
            small = near(ratio, HALF)
            inner, _ = either(small, ratio, 0, 1)
            base, second = either(small, v, 1, 1)
            _, first = either(small, u, 1, 1)
            close = elementwise("expm1", scale(Monomial(p), elementwise("log1p", inner)))
            made = elementwise("where", small, product(power(base, p), close),
                               power(first, p) - power(second, p))  # fmt: skip
            return without(node, terms, (j, k), (a, made, ls))
    return None


# ------------------------------------------------------------------ a function beside its tangent


def _by_equation(sign: int, order: int) -> Coefficients:
    """The coefficients of t with t′ = 1 + sign t²: tan, tanh."""
    t = [Fraction(0), Fraction(1)]
    while len(t) <= order:
        n = len(t) - 1
        square = sum((t[i] * t[n - i] for i in range(n + 1)), Fraction(0))
        t.append(sign * square / (n + 1))
    return t


def _odd(order: int, c: Callable[[int], Fraction]) -> Coefficients:
    return [c(k) if k % 2 else Fraction(0) for k in range(order + 1)]


SERIES: dict[str, tuple[Fraction, Coefficients]] = {
    "expm1": (HALF, [Fraction(0), *(Fraction(1, factorial(k)) for k in range(1, 17))]),
    "log1p": (Fraction(1, 10), [Fraction(0), *(Fraction((-1) ** (k + 1), k) for k in range(1, 18))]),
    "sin": (HALF, _odd(19, lambda k: Fraction((-1) ** (k // 2), factorial(k)))),
    "sinh": (HALF, _odd(19, lambda k: Fraction(1, factorial(k)))),
    "atan": (Fraction(1, 5), _odd(25, lambda k: Fraction((-1) ** (k // 2), k))),
    "atanh": (Fraction(1, 5), _odd(25, lambda k: Fraction(1, k))),
    "tan": (Fraction(1, 5), _by_equation(1, 23)),
    "tanh": (Fraction(1, 5), _by_equation(-1, 23)),
}  # fmt: skip
"""f with f(0) = 0 and f′(0) = 1: how near 0 its series is used, and its coefficients."""


def beside_tangent(name: str, x: Expr) -> Expr:
    """f(x) − x."""
    bound, c = SERIES[name]
    small = near(x, bound)
    inner, outer = either(small, x, 0, 1)
    step = 2 if not c[2] else 1
    t = product(inner, inner) if step == 2 else inner
    total = constant(c[-1], x.dtype, x.shape)
    first = next(k for k in range(2, len(c)) if c[k])
    for k in range(len(c) - 1 - step, first - 1, -step):
        total = product(t, total) + c[k]
    close = product(*[inner] * first, total)
    return elementwise("where", small, close, elementwise(name, outer) - outer)


def _tangent(name: str) -> Callable[[Expr], Expr | None]:
    def step(node: Expr) -> Expr | None:
        terms = open_terms(node)
        for j, (c, e, ls) in enumerate(terms):
            if e.op.name != name or e.shape != node.shape or e.args[0].op.name == "where":
                continue
            x = e.args[0]
            rest = linear([t for k, t in enumerate(terms) if k != j], node.shape, node.dtype)
            left = gap_of(rest, scale(-c, x))
            if _count(left) > _count(rest) - _count(x):
                continue
            return linear([(ONE, left, tuple(range(node.ndim))), (c, beside_tangent(name, x), ls)],
                          node.shape, node.dtype)  # fmt: skip
        return None

    return step


def _count(e: Expr) -> int:
    return len(e.args) if e.op is SUM else 1


# ------------------------------------------------------------------ squares, products, logistic pairs


def square_of_difference(node: Expr) -> Expr | None:
    """c (Σ u² + Σ v² ± 2 Σ u v) = c Σ (u ± v)², entry by entry or summed."""
    terms = open_terms(node)
    pairs = [(k, c, e, ls) for k, (c, e, ls) in enumerate(terms)
             if e.op is CONTRACTION and len(e.args) == 2 and e.params[0][0] == e.params[0][1]]  # fmt: skip
    for k, c, e, ls in pairs:
        u, v = e.args
        if u is v or sorted(e.params[0][0]) != list(range(u.ndim)):
            continue
        squares = [(j, a) for j, a, f, place in pairs
                   if place == ls and f.params[0] == e.params[0] and f.args in ((u, u), (v, v))]  # fmt: skip
        if len(squares) != 2 or squares[0][1] != squares[1][1] or c not in (
            2 * squares[0][1], -2 * squares[0][1]
        ):  # fmt: skip
            continue
        whole = u + v if c == 2 * squares[0][1] else gap_of(u, v)
        made = contract(
            [whole, whole], e.params[0], range(e.ndim), dict(enumerate(e.shape)), e.dtype
        )
        gone = (k, *(j for j, _ in squares))
        rest = [t for i, t in enumerate(terms) if i not in gone]
        return linear([*rest, (squares[0][1], made, ls)], node.shape, node.dtype)
    return None


def complement_of_product(node: Expr) -> Expr | None:
    """c Π (1 + g) − c = c (exp Σ log(1 + g) − 1)."""
    terms = open_terms(node)
    for j, (c, e, ls) in enumerate(terms):
        if e.op.name != "prod" or e.args[0].op is not SUM:
            continue
        w = e.args[0]
        g = cancels(w, constant(1, w.dtype, w.shape))
        for k, (d, one, _) in enumerate(terms):
            size = constant_value(one)
            if g is None or k == j or size is None or d * size != -c:
                continue
            axis = e.params[0]
            small = near(along("amax", elementwise("abs", g), axis), HALF)
            wide = elementwise("cast", small, statics=(w.dtype,))
            there = elementwise("gt", expanded(wide, axis, w.shape), constant(0, w.dtype))
            inner, _ = either(there, g, 0, 1)
            _, outer = either(there, w, 1, 2)
            sums = reduce_sum(elementwise("log1p", inner), [w.ndim + axis if axis < 0 else axis])
            made = elementwise("where", small, elementwise("expm1", sums),
                               along("prod", outer, axis) - 1)  # fmt: skip
            return without(node, terms, (j, k), (c, made, ls))
    return None


def log_of_entries(node: Expr) -> Expr | None:
    """log Π x = Σ log |x| + log Π sign(x)."""
    inside = node.args[0]
    if inside.op.name != "prod" or inside.args[0].op.name == "sign":
        return None
    x, axis = inside.args[0], inside.params[0]
    sums = reduce_sum(
        elementwise("log", elementwise("abs", x)), [x.ndim + axis if axis < 0 else axis]
    )
    return sums + elementwise("log", along("prod", elementwise("sign", x), axis))


def softplus_pair(node: Expr) -> Expr | None:
    """softplus(x) − softplus(−x) = x."""
    terms = open_terms(node)
    rows = [(k, c, e.args[0], ls) for k, (c, e, ls) in enumerate(terms) if e.op.name == "softplus"]
    for j, a, x, ls in rows:
        for k, b, y, place in rows:
            if j < k and a == -b and ls == place and y is -x:
                return without(node, terms, (j, k), (a, x, ls))
    return None


# ------------------------------------------------------------------ examples


def _example(typed: Expr, step: Callable[[Expr], Expr | None]) -> Callable[[], Pair]:
    def example() -> Pair:
        made = step(typed)
        assert made is not None
        return typed, made

    return example


_X, _Y = sample("x"), sample("y")
_EXPANDED = reduce_sum(_X * _X, [0]) + reduce_sum(_Y * _Y, [0]) - 2 * reduce_sum(_X * _Y, [0])
SMALL: tuple[Procedure, ...] = (
    *(Procedure(f"power {p} less one", less_one, _example(power(1 + _X, p) - 1, less_one),
                domain="positive", heads=(SUM.name,), needs=("power",))
      for p in (Fraction(5), HALF, Fraction(-1), Fraction(1, 3))),
    Procedure("difference of powers", difference_of_powers,
              _example(power(1 + _X, Fraction(1, 3)) - power(_X, Fraction(1, 3)), difference_of_powers),
              domain="positive", heads=(SUM.name,), needs=("power",)),
    *(Procedure(f"{name} beside its tangent", _tangent(name),
                _example(elementwise(name, _X) - _X, _tangent(name)),
                domain="unit" if name in ("atanh", "log1p") else "real", heads=(SUM.name,),
                needs=(name,)) for name in SERIES),
    Procedure("square of a difference", square_of_difference,
              _example(_EXPANDED, square_of_difference), heads=(SUM.name,), needs=(CONTRACTION.name,)),
    Procedure("complement of a product", complement_of_product,
              _example(along("prod", 1 - _X, -1) - 1, complement_of_product),
              heads=(SUM.name,), needs=("prod",)),
    Procedure("log of a product of entries", log_of_entries,
              _example(elementwise("log", along("prod", _X, -1)), log_of_entries),
              domain="positive", heads=("log",), needs=("prod",)),
    Procedure("softplus of both signs", softplus_pair,
              _example(elementwise("softplus", _X) - elementwise("softplus", -_X), softplus_pair),
              edges=(-1e4, 1e4), heads=(SUM.name,), needs=("softplus",)),
)  # fmt: skip

__all__ = ["SMALL", "beside_tangent", "either", "near", "without"]
