"""Laws of products in normal form, each a row of :data:`LAWS`: what cancels, and what facts decide.

What may change a value is said in the row's ``states``; these forms are read and not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from symgrad.core import dtypes
from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    ONE,
    SUM,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    scale,
    single_term,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of
from symgrad.core.sizes import Monomial
from symgrad.lower.terms import common_content
from symgrad.simplify.networks import Network, network_of


@dataclass(frozen=True, slots=True)
class Law:
    """A rule of the normal form: ``step(network)`` changes it in place, and says whether it did."""

    name: str
    step: Callable[[Network], bool]
    states: str = ""


def _sign_of_absolute(net: Network) -> bool:
    """|x| sign(x) = x, sign(x) / |x| = 1 / x, x sign(x) = |x|, |x|² = x²."""
    for k, (e, p, ls) in enumerate(net.factors):
        if e.op.name == "sign" and p == 1:
            x = e.args[0]
            for j, (other, q, row) in enumerate(net.factors):
                whole = isinstance(q, Fraction) and q.denominator == 1
                of = other.op.name == "abs" and other.args[0] is x and row == ls
                if of and whole and q < 0 and q % 2:
                    net.factors[k] = (x, q, ls)
                    del net.factors[j]
                    return True
                bare = of and q == 1
                odd = whole and q > 0
                if row != ls or not (bare or (other is x and odd)):
                    continue
                net.factors[k] = (x if bare else elementwise("abs", x), Fraction(1), ls)
                rest = Fraction(0) if bare else q - 1
                net.factors[j : j + 1] = [(x, rest, row)] if rest else []
                return True
        if e.op.name != "abs":
            continue
        x = e.args[0]
        same = [j for j, f in enumerate(net.factors) if f[0] is e and f[2] == ls and f[1] == 1]
        if isinstance(p, Fraction) and p.denominator == 1 and p.numerator % 2 == 0:
            net.factors[k] = (x, p, ls)
            return True
        if len(same) >= 2:
            for j in same[:2]:
                net.factors[j] = (x, Fraction(1), ls)
            return True
    return False


def _inverse_meets(net: Network) -> bool:
    """A⁻¹ A = I, Qᵀ Q = I of a matrix declared orthogonal."""
    for k, (e, p, ls) in enumerate(net.factors):
        own = e.op is SYMBOL and "orthogonal" in facts_of(e)
        if p != 1 or not (own or e.op.name == "inv"):
            continue
        for j, (other, q, row) in enumerate(net.factors):
            if j == k or q != 1 or other is not (e if own else e.args[0]):
                continue
            for mine, theirs in ((0, 0), (1, 1)) if own else ((1, 0), (0, 1)):
                bound = ls[mine]
                uses = sum(f[2].count(bound) for f in net.factors)
                if bound == row[theirs] and bound >= net.rank and uses == 2:
                    low, high = sorted((ls[1 - mine], row[1 - theirs]))
                    net.factors[k] = (_eye(e), Fraction(1), (low, high))
                    del net.factors[j]
                    del net.sizes[bound]
                    if high >= net.rank and high != low:
                        del net.factors[k - (j < k)]
                        net.factors = [(a, r, tuple(low if x == high else x for x in at))
                                       for a, r, at in net.factors]  # fmt: skip
                        del net.sizes[high]
                    return True
    return False


def _eye(e: Expr) -> Expr:
    return DELTA.build((), (e.shape[0], e.dtype))  # type: ignore[misc]


def one_label(net: Network) -> bool:
    """1[i = j] a[j] = 1[i = j] a[i]."""
    for e, p, ls in net.factors:
        if e.op is DELTA and p == 1 and 0 <= min(ls) < max(ls):
            low, high = min(ls), max(ls)
            if any(f[0] is not e and high in f[2] for f in net.factors):
                net.factors = [
                    (a, q, row if a is e else tuple(low if x == high else x for x in row))
                    for a, q, row in net.factors
                ]
                return True
    return False


def _total_of_probabilities(net: Network) -> bool:
    """Σ y = 1 over the last axis of probabilities."""
    for k, (e, p, ls) in enumerate(net.factors):
        sure = e.op is SYMBOL and {"prob", "onehot"} & {*facts_of(e)}
        if p != 1 or not ls or not (sure or (e.op.name == "softmax" and e.params[0] == -1)):
            continue
        last = ls[-1]
        alone = sum(f[2].count(last) for f in net.factors) == 1
        if alone and last >= net.rank:
            del net.factors[k]
            del net.sizes[last]
            for x in ls[:-1]:
                if x >= net.rank and not any(x in f[2] for f in net.factors):
                    net.coefficient = net.coefficient * net.sizes.pop(x)
            return True
    return False


def at_its_axes(e: Expr) -> bool:
    """Has an elementwise function its first argument at the axes that it has itself?"""
    first = e.args[0].shape
    return first == e.shape and e.params[0][0] == tuple(
        -1 if s == 1 else k for k, s in enumerate(first)
    )


def is_step(e: Expr, x: Expr) -> bool:
    """Is it 1[x > 0] or 1[x ≥ 0]?"""
    if e.op.name != "cast" or e.args[0].op.name not in ("gt", "ge") or not at_its_axes(e.args[0]):
        return False
    above, below = e.args[0].args
    number = constant_value(below)
    return above is x and number is not None and number.is_zero


def _positive_part(e: Expr) -> bool:
    """Is it relu(x), or max(x, 0) over the axes of x?"""
    if e.op.name != "maximum":
        return e.op.name == "relu"
    number = constant_value(e.args[1])
    return number is not None and number.is_zero and at_its_axes(e)


def _step_of_relu(net: Network) -> bool:
    """1[x > 0] relu(x) = relu(x), and so max(x, 0)."""
    for e, p, ls in net.factors:
        if not _positive_part(e) or not p > 0:
            continue
        rest = [f for f in net.factors if f[2] != ls or not is_step(f[0], e.args[0])]
        if len(rest) < len(net.factors):
            net.factors = rest
            return True
    return False


def _powers_of_two_values(net: Network) -> bool:
    """y² = 1 of what is −1 or 1 by declaration, y² = y of what is 0 or 1, as 1[x > 0] is."""
    for (e, ls), p in net.powers().items():
        facts = {*facts_of(e)} if e.op is SYMBOL else set[str]()
        if e.op.name == "cast" and e.args[0].dtype is dtypes.bool_:
            facts = {"binary"}
        whole = isinstance(p, Fraction) and p.denominator == 1
        if not whole or not facts & {"sign", "binary", "onehot"} or p in (0, 1):
            continue
        if "sign" not in facts and p < 0:
            continue
        left = p % 2 if "sign" in facts else Fraction(1)
        if not left and any(x >= net.rank for x in ls):  # a sum over the axes of what goes
            continue
        net.factors = [f for f in net.factors if f[0] is not e or f[2] != ls]
        net.factors += [(e, Fraction(1), ls)] if left else []
        return True
    return False


def _one_of_many(net: Network) -> bool:
    """y ⊙ x / (yᵀ x) = y where one entry of y is 1 and the others are 0, by declaration."""
    for k, (e, p, ls) in enumerate(net.factors):
        if (
            p != -1
            or ls
            or e.op is not CONTRACTION
            or len(e.args) != 2
            or e.params[0] != ((0,), (0,))
        ):
            continue
        for y, x in (e.args, e.args[::-1]):
            if y.op is not SYMBOL or "onehot" not in facts_of(y):
                continue
            at = [row for f, q, row in net.factors if f is y and q == 1 and row[0] < net.rank]
            for j, (f, q, row) in enumerate(net.factors):
                if f is x and q == 1 and row in at:
                    net.factors = [r for i, r in enumerate(net.factors) if i not in (j, k)]
                    return True
    return False


def flat_sum(rows: Sequence[tuple[Monomial | int | Fraction, Expr]]) -> Expr:
    """Σ c e with the terms of each in one sum, so that opposite terms cancel."""
    terms: list[tuple[Monomial, Expr, Labels]] = []
    for c, e in rows:
        front = c if isinstance(c, Monomial) else Monomial(Fraction(c))
        inner = terms_of(e) if e.op is SUM and e.args else [(ONE, e, tuple(range(e.ndim)))]
        terms += [(front * k, a, ls) for k, a, ls in inner]
    return linear(terms, rows[0][1].shape, rows[0][1].dtype)


def _in_place_of(
    net: Network, first: Expr, second: Expr, ls: Labels, made: Expr, over: bool = True
) -> bool:
    """``made`` for ``first / second``, or for their product, as often as that stands in a product."""
    powers = net.powers()
    p, q = powers.get((first, ls), Fraction(0)), powers.get((second, ls), Fraction(0))
    if not (isinstance(p, Fraction) and isinstance(q, Fraction)) or (p * q >= 0) is over:
        return False
    times = int(min(abs(p), abs(q))) * (1 if p > 0 else -1)
    if not times:
        return False
    powers |= {(first, ls): p - times, (second, ls): q + (times if over else -times)}
    if _turned(made.args[0]):
        net.coefficient = net.coefficient * (-1) ** times
        made = elementwise(made.op.name, scale(-1, made.args[0]))
    net.factors = [(e, r, row) for (e, row), r in powers.items() if r]
    net.factors.append((made, Fraction(times), ls))
    return True


def _turned(e: Expr) -> bool:
    term = single_term(e)
    return term is not None and term[0].number < 0


def _hyperbolic(net: Network) -> bool:
    """(eᵘ − eᵛ) / (eᵘ + eᵛ) = tanh((u − v) / 2)."""
    for e, _, ls in net.factors:
        if e.op is not SUM or len(e.args) != 2 or any(a.op.name != "exp" for a in e.args):
            continue
        (c, a, at), (d, b, other) = terms_of(e)
        if c != -d or at != other or at != tuple(range(e.ndim)):
            continue
        for sign, m in ((1, c), (-1, d)):
            total = linear([(m, a, at), (m, b, at)], e.shape, e.dtype)
            gap = flat_sum([(Fraction(sign, 2), a.args[0]), (Fraction(-sign, 2), b.args[0])])
            if _in_place_of(net, e, total, ls, elementwise("tanh", gap)):
                return True
    return False


TANGENTS = (("sin", "cos", "tan"), ("sinh", "cosh", "tanh"))
"""f / g = h of one argument."""


def _tangent(net: Network) -> bool:
    """sin x / cos x = tan x, cosh x / sinh x = 1 / tanh x, cos x tan x = sin x."""
    for e, _, ls in net.factors:
        for above, below, ratio in TANGENTS:
            if e.op.name not in (above, ratio):
                continue
            f, g, h = (elementwise(word, e.args[0]) for word in (above, below, ratio))
            if _in_place_of(net, f, g, ls, h) or _in_place_of(net, h, g, ls, f, over=False):
                return True
    return False


def _opposite_sums(net: Network) -> bool:
    """(x − y)(y − x) = −(x − y)²."""
    sums = [(k, *f) for k, f in enumerate(net.factors)
            if f[0].op is SUM and len(f[0].args) > 1 and f[1] in (-2, -1, 1, 2)]  # fmt: skip
    for n, (k, e, p, ls) in enumerate(sums):
        for j, other, q, row in sums[n + 1 :]:
            if other.shape != e.shape or row != ls or len(other.args) != len(e.args):
                continue
            if linear([(-c, a, at) for c, a, at in terms_of(other)], e.shape, e.dtype) is e:
                net.coefficient = net.coefficient * (-1) ** int(q)
                net.factors[k] = e, p + q, ls
                del net.factors[j]
                net.factors = [f for f in net.factors if f[1]]
                return True
    return False


def _total_of_centred(net: Network) -> bool:
    """Σ (x − mean x) = 0: a factor whose sum over an axis that nothing else carries cancels."""
    for e, p, ls in net.factors:
        if e.op is not SUM or len(e.args) < 2 or p != 1:
            continue
        for axis, x in enumerate(ls):
            if x < net.rank or sum(f[2].count(x) for f in net.factors) != 1:
                continue
            rest = [k for k in range(e.ndim) if k != axis]
            place = {k: j for j, k in enumerate(rest)}
            shape = tuple(e.shape[k] for k in rest)
            parts: list[tuple[Monomial, Expr, Labels]] = []
            for c, a, row in terms_of(e):
                if axis not in row:
                    parts.append((c * e.shape[axis], a, tuple(place.get(y, -1) for y in row)))
                    continue
                kept = [y for y in row if y >= 0 and y != axis]  # -1: an axis of size 1
                at = {y: k for k, y in enumerate([*kept, axis])}
                made = contract([a], [tuple(at.get(y, -1) for y in row)], range(len(kept)),
                                dtype=e.dtype)  # fmt: skip
                parts.append((c, made, tuple(place[y] for y in kept)))
            total = constant_value(linear(parts, shape, e.dtype))
            if total is not None and total.is_zero:
                net.coefficient = Monomial(Fraction(0))
                return False
    return False


def _power_meets_base(net: Network) -> bool:
    """xᵖ⁻¹ x = xᵖ for an exponent that is an expression; x may be a product, x / s."""
    for e, p, ls in net.factors:
        if e.op.name != "pow" or p != 1 or not at_its_axes(e):
            continue
        base, above = e.args
        more = flat_sum([(1, above), (1, constant(1, above.dtype, above.shape))])
        if above.op is not SUM or (more.op is SUM and len(more.args) >= len(above.args)):
            continue
        inner = network_of(base)
        if inner.coefficient != 1 or any(x >= inner.rank for x in inner.sizes):
            continue
        rest = list(net.factors)
        parts = [(a, q, tuple(ls[x] if x >= 0 else -1 for x in row)) for a, q, row in inner.factors]
        if any(f not in rest for f in parts):
            continue
        for f in parts:
            rest.remove(f)
        rest[rest.index((e, p, ls))] = elementwise("pow", base, more), p, ls
        net.factors = rest
        return True
    return False


def _number_of_a_sum(net: Network) -> bool:
    """(a x + a y)ᵏ = aᵏ (x + y)ᵏ for a number a that all terms have."""
    for k, (e, p, ls) in enumerate(net.factors):
        if e.op is not SUM or len(e.args) < 2 or not isinstance(p, Fraction) or p.denominator != 1:
            continue
        shared = common_content([c for c, _, _ in terms_of(e)])
        if not shared.is_one:
            net.coefficient = net.coefficient * shared**p
            net.factors[k] = linear([(c / shared, a, row) for c, a, row in terms_of(e)],
                                    e.shape, e.dtype), p, ls  # fmt: skip
            return True
    return False


LAWS: tuple[Law, ...] = (
    Law("number of a sum", _number_of_a_sum),
    Law("step and positive part", _step_of_relu),
    Law("powers of two values", _powers_of_two_values, "holds for declared signs"),
    Law("one of many", _one_of_many, "holds for declared choices"),
    Law("opposite sums", _opposite_sums),
    Law("hyperbolic tangent", _hyperbolic, "finite where exp overflows"),
    Law("tangents", _tangent, "finite where cosh overflows"),
    Law("total of what is centred", _total_of_centred),
    Law("power meets its base", _power_meets_base, "finite at 0"),
    Law("absolute value and sign", _sign_of_absolute),
    Law("inverse meets its matrix", _inverse_meets, "finite where the matrix is singular"),
    Law("one label for equal axes", one_label),
    Law("probabilities sum to one", _total_of_probabilities, "holds for declared probabilities"),
)


__all__ = ["LAWS", "Law", "at_its_axes", "flat_sum", "is_step", "one_label"]
