"""Choices and limits: the larger of two with its correction, 0 · ∞ as 0, the cofactors of a matrix.

What is typed is right in the reals; in floating point one side of it is not finite, or a derivative
has a kink that the whole does not have.
"""

from __future__ import annotations

from collections.abc import Callable

from symgrad.core import dtypes
from symgrad.core.build import (
    CONTRACTION,
    SUM,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    operands,
    product,
    unsqueeze,
    zeros,
)
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import Size, letter
from symgrad.core.traverse import leaves
from symgrad.ops.cofactors import adjugate
from symgrad.ops.matrix import det, inv
from symgrad.simplify.engine import Procedure, sample
from symgrad.simplify.products import Factor, open_factors, with_factors
from symgrad.simplify.sums import open_terms

Pair = tuple[Expr, Expr]

# ------------------------------------------------------------------ the larger of two


def _nought(e: Expr) -> Expr:
    return zeros(e.shape, e.dtype)


def _chosen_of_two(e: Expr) -> tuple[bool, Expr, Expr] | None:
    """where(x > y, x, y), a bound among them, as (is it the larger one?, x, y)."""
    condition, first, second = operands(e)
    if condition.op.name not in ("gt", "ge", "lt", "le") or first.shape != e.shape:
        return None
    larger = condition.op.name in ("gt", "ge")
    bound = second.args[0] if second.op.name == "detach" else second
    if bound.op.name in ("maximum", "minimum"):
        _, bound = operands(bound)
    left, right = operands(condition)
    same = bound is right or constant_value(bound) == constant_value(right) != None  # noqa: E711
    return (larger, first, bound) if left is first and same else None


def _larger_of(e: Expr) -> tuple[int, Expr, Expr] | None:
    """e as max(x, y), or with −1 in front as −max(x, y)."""
    if e.op.name == "relu":
        return 1, e.args[0], _nought(e)
    if e.op.name == "where":
        found = _chosen_of_two(e)
    elif e.op.name in ("maximum", "minimum"):
        found = e.op.name == "maximum", *operands(e)
    else:
        return None
    if found is None:
        return None
    larger, x, y = found
    if constant_value(y) == 0:
        y = _nought(e)
    return (1, x, y) if larger else (-1, -x, -y)


def larger_with_correction(node: Expr) -> Expr | None:
    """max(x, y) + log(1 + exp(−|x − y|)) = log(exp x + exp y); with max(x, 0), softplus."""
    terms = open_terms(node)
    pluses = [(k, c, e.args[0], ls) for k, (c, e, ls) in enumerate(terms)
              if e.op.name == "softplus"]  # fmt: skip
    sizes = [(k, c, -u, ls) for k, c, u, ls in pluses if (-u).op.name == "abs"]
    if not sizes:
        return None
    for j, (a, e, ls) in enumerate(terms):
        found = _larger_of(e)
        if found is None:
            continue
        sign, x, y = found
        for k, c, size, place in sizes:
            if c != a * sign or place != ls or size.args[0] not in (x - y, y - x):
                continue
            made = (
                elementwise("softplus", x) if constant_value(y) == 0
                else elementwise("logaddexp", x, y)
            )  # fmt: skip
            rest = [t for i, t in enumerate(terms) if i not in (j, k)]
            return linear([*rest, (c, made, ls)], node.shape, node.dtype)
    return None


def _larger_example(word: str) -> Callable[[], Pair]:
    def example() -> Pair:
        x, y = sample("x"), sample("y")
        gap = elementwise("softplus", -elementwise("abs", x - y))
        if word == "maximum":
            return elementwise(word, x, y) + gap, elementwise("logaddexp", x, y)
        return elementwise(word, x, y) - gap, -elementwise("logaddexp", -x, -y)

    return example


# ------------------------------------------------------------------ choices beside what is infinite

SINGULAR = frozenset({"power", "exp", "log", "tan", "softmax", "inverse_length", "zero_power"})


def chosen(node: Expr) -> Expr | None:
    """1[c] f = where(c, f, 0) for an f that may be infinite where c is false.

    Every factor that varies no further than c and f goes with f.
    """
    factors = open_factors(node)
    casts = [k for k, (a, _) in enumerate(factors) if _is_choice(a)]
    for j in casts:
        a, ls = factors[j]
        for b, other in factors:
            risky = b.op.name in SINGULAR and (b.op.name != "power" or b.params[2][0] < 0)
            first, second = {*ls} - {-1}, {*other} - {-1}
            if not risky or not (first <= second or second <= first):
                continue
            wide = sorted(first | second)
            inside = [k for k, (_, row) in enumerate(factors)
                      if k not in casts and {*row} - {-1} <= {*wide}]  # fmt: skip
            place = {x: i for i, x in enumerate(wide)}
            sizes = {place[x]: e.shape[i] for k in (j, *inside)
                     for e, row in (factors[k],) for i, x in enumerate(row) if x >= 0}  # fmt: skip

            def at(
                rows: list[int], of: list[Expr],
                place: dict[int, int] = place, sizes: dict[int, Size] = sizes,
                factors: list[Factor] = factors,
            ) -> Expr:  # fmt: skip
                labels = [[place.get(x, -1) for x in factors[k][1]] for k in rows]
                return contract(of, labels, range(len(place)), sizes, of[0].dtype)

            whole = at(inside, [factors[k][0] for k in inside])
            made = elementwise("where", at([j], [a.args[0]]), whole, _nought(whole))
            rest = [f for k, f in enumerate(factors) if k not in (j, *inside)]
            return with_factors(node, [*rest, (made, tuple(wide))])
    return None


def _is_choice(e: Expr) -> bool:
    return e.op.name == "cast" and e.args[0].dtype is dtypes.bool_


def _chosen_example() -> Pair:
    x = sample("x")
    above = elementwise("gt", x, constant(0, x.dtype))
    e = elementwise("exp", -x)
    typed = product(elementwise("cast", above, statics=(x.dtype,)), e)
    return typed, elementwise("where", above, e, _nought(x))


# ------------------------------------------------------------------ what vanishes beside what grows


def _vanishes(e: Expr) -> bool:
    """Is it 0 sooner than any power of its argument is ∞: exp(u), σ(u), cosh(u)⁻ᵖ?"""
    if e.op.name == "power":
        return e.params[2][0] < 0 and e.args[0].op.name == "cosh"
    return e.op.name in ("exp", "sigmoid")


DEPTH = 3
"""Products within products up to which the factors of one are looked for."""
BOUNDED = frozenset({"sigmoid", "tanh", "sin", "cos", "erf", "softmax", "sign", "cast"})
FASTER = frozenset({"exp", "expm1", "sinh", "cosh", "prod", "sigmoid"})


def _grows(e: Expr) -> bool:
    """May it be infinite where its arguments are not?"""
    if e.op.name == "power":
        return e.params[2][0] < 0 or e.args[0].op.name not in BOUNDED
    if e.op is CONTRACTION:
        return not e.sums and len(e.args) > len(set(e.args))
    return False


def _fast(e: Expr) -> bool:
    """May it grow as fast as an exponential: exp(x), (1 + exp(x))⁻ᵖ?"""
    base = e.args[0] if e.op.name == "power" else e
    below = base.args if base.op is SUM else (base,)
    return any(x.op.name in FASTER for x in below)


def vanishing(node: Expr) -> Expr | None:
    """f g = f where(f ≠ 0, g, 0) for an f that vanishes sooner than g grows."""
    if node.sums or not (any(map(_grows, node.args)) or len(node.args) > len(set(node.args))):
        return None
    factors = open_factors(node, DEPTH)
    natural = tuple(range(node.ndim))
    small = [(f, ls) for f, ls in factors if _vanishes(f) and ls == natural]
    rest = [x for x in factors if x not in small]
    if not small or any(_fast(g) for g, _ in rest):
        return None
    twice = [e for k, (e, row) in enumerate(rest)
             if (e, row) in rest[:k] and e.op.name not in BOUNDED]  # fmt: skip
    growing = [e for e, ls in rest if ls == natural and (_grows(e) or e in twice)]
    if not growing or set(leaves([f for f, _ in small])).isdisjoint(leaves(growing)):
        return None
    f, g = (contract([e for e, _ in part], [row for _, row in part], natural,
                     dict(enumerate(node.shape)), node.dtype) for part in (small, rest))  # fmt: skip
    there = elementwise("ne", f, constant(0, f.dtype))
    return product(f, elementwise("where", there, g, _nought(g)))


def _vanishing_example() -> Pair:
    x = sample("x")
    f, g = elementwise("exp", -(x * x)), x * x
    there = elementwise("ne", f, constant(0, f.dtype))
    return product(f, g), product(f, elementwise("where", there, g, _nought(g)))


# ------------------------------------------------------------------ determinants


def cofactors(node: Expr) -> Expr | None:
    """det(A) A⁻¹ = adj(A), which a singular A has too."""
    factors = open_factors(node)
    for j, (a, ls) in enumerate(factors):
        if a.op.name != "det":
            continue
        for k, (b, row) in enumerate(factors):
            if b.op.name == "inv" and b.args == a.args and row[:-2] == ls:
                rest = [f for i, f in enumerate(factors) if i not in (j, k)]
                return with_factors(node, [*rest, (adjugate(*a.args), row)])
    return None


def _cofactors_example() -> Pair:
    A = symbol("A", (letter("n"), letter("n")), dtypes.float64, number=-1)
    typed = product(unsqueeze(det(A), [0, 1]), inv(A))
    return typed, adjugate(A)


LIMITS: tuple[Procedure, ...] = (
    *(Procedure(f"{word} of two, with its correction", larger_with_correction,
                _larger_example(word), edges=(-1e4, 1e4), heads=(SUM.name,), needs=("softplus",))
      for word in ("maximum", "minimum")),
    Procedure("choice beside what may be infinite", chosen, _chosen_example,
              heads=(CONTRACTION.name,), needs=("cast",)),
    Procedure("what vanishes beside what grows", vanishing, _vanishing_example,
              edges=(-1e200, 1e200), states="finite where the other factor overflows",
              heads=(CONTRACTION.name,)),
    Procedure("adjugate matrix", cofactors, _cofactors_example,
              heads=(CONTRACTION.name,), needs=("det",)),
)  # fmt: skip

__all__ = ["LIMITS"]
