"""Forms of fractions and choices: over one denominator, a divisor into a bracket, a choice by a sign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    constant,
    constant_value,
    contract,
    elementwise,
    is_zero,
    linear,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of
from symgrad.core.numbers import plus
from symgrad.core.sizes import Monomial
from symgrad.simplify.laws import flat_sum, is_step
from symgrad.simplify.networks import Exponent, Factor, Network, network_of, product_of
from symgrad.simplify.opening import Terms, networks, opened, summed

MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
ORDERED = {"gt": 1, "ge": 1, "lt": -1, "le": -1}


def over_one(e: Expr) -> Iterator[Expr]:
    """a + b / s = (a s + b) / s for a sum s, multiplied out: 1 − r / (r + c) = c / (r + c)."""
    if e.op is not SUM or len(e.args) < 2:
        return
    terms = networks(e)
    divisors = {(f, ls): None for net in terms for f, p, ls in net.factors
                if f.op is SUM and len(f.args) > 1 and p == -1 and all(x < e.ndim for x in ls)}  # fmt: skip
    for s, ls in divisors:
        above: Terms = []
        for net in terms:
            rest = [f for f in net.factors if f[:2] != (s, Fraction(-1)) or f[2] != ls]
            made = Network(net.coefficient, rest, dict(net.sizes), net.rank)
            if len(rest) < len(net.factors):
                above.append(made)
            else:
                rest.append((s, Fraction(1), ls))
                above += opened(made, len(rest) - 1)
        whole = Network(ONE, [(s, Fraction(-1), ls)], dict(enumerate(e.shape)), e.ndim)
        total = summed(above, e)
        total = _flat(total) if total.op is SUM and total.args else total
        whole.factors.append((total, Fraction(1), tuple(range(e.ndim))))
        yield product_of(whole, e.shape, e.dtype)


def divisor_inside(e: Expr) -> Iterator[Expr]:
    """1 / (a (b / a + c)) = 1 / (b + a c), where a term of the bracket is divided by a."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    for k, (s, p, place) in enumerate(net.factors):
        if s.op is not SUM or len(s.args) < 2 or not p < 0:
            continue
        inside = networks(s)
        for j, (a, q, at) in enumerate(net.factors):
            if j == k or q > p or not {*at} <= {*place}:
                continue
            row = tuple(place.index(x) for x in at)
            if not any(f is a and r < 0 and ls == row for t in inside for f, r, ls in t.factors):
                continue
            for t in inside:
                t.factors.append((a, Fraction(1), row))
            made = Network(net.coefficient, list(net.factors), dict(net.sizes), net.rank)
            made.factors[k] = (summed(inside, s), p, place)
            made.factors[j] = (a, q - p, at)
            made.factors = [f for f in made.factors if f[1]]
            yield product_of(made, e.shape, e.dtype)
            break


def by_denominator(e: Expr) -> Iterator[Expr]:
    """(1 / s − d / s²) a + (1 / s + d / s²) b = (a + b) / s − d (a − b) / s², brackets opened."""
    if e.op is not SUM or len(e.args) < 2 or (e.ndim and any(-1 in ls for _, _, ls in terms_of(e))):
        return
    terms: Terms = []
    whole = networks(e)
    for net in whole:
        at = next((k for k, (s, p, _) in enumerate(net.factors)
                   if p == 1 and s.op is SUM and len(s.args) > 1 and _has_divisor(s)), None)  # fmt: skip
        terms += [net] if at is None else opened(net, at)
    groups: dict[frozenset[Factor], Terms] = {}
    for net in terms:
        _one_of_each(net)
        key = frozenset(f for f in net.factors if f[0].op is SUM or f[1] < 0)
        groups.setdefault(key, []).append(net)
    if len(terms) == len(whole) or len(groups) == len(terms):
        return
    natural = tuple(range(e.ndim))
    found: Terms = []
    for key, members in groups.items():
        if any(x >= e.ndim for _, _, ls in key for x in ls):
            return
        for net in members:
            net.factors = [f for f in net.factors if f not in key]
        inside = (summed(members, e), Fraction(1), natural)
        found.append(Network(ONE, [*key, inside], dict(enumerate(e.shape)), e.ndim))
    yield summed(found, e)


def _one_of_each(net: Network) -> None:
    """Divisors, and sums, that a product has more than once become one power each."""
    powers: dict[tuple[Expr, Labels, bool], Exponent] = {}
    rest: list[Factor] = []
    for e, p, ls in net.factors:
        if e.op is SUM or p < 0:
            powers[e, ls, p < 0] = powers.get((e, ls, p < 0), 0) + p
        else:
            rest.append((e, p, ls))
    net.factors = [*rest, *((e, p, ls) for (e, ls, _), p in powers.items())]


def _has_divisor(e: Expr) -> bool:
    return any(p < 0 for net in networks(e) for _, p, _ in net.factors)


def proper_fraction(e: Expr) -> Iterator[Expr]:
    """(s + a) / s = 1 + a / s, where the numerator has terms of the denominator."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    sums = [f for f in net.factors if f[0].op is SUM and len(f[0].args) > 1]
    for s, p, ls in sums:
        for top, q, row in sums:
            if p != -1 or q != 1 or row != ls:
                continue
            above = _flat(top)
            for ratio in {c / d for c, a, at in terms_of(above) for d, b, to in terms_of(s)
                          if a is b and at == to}:  # fmt: skip
                rest = flat_sum([(1, above), (-ratio, s)])
                if rest.op is SUM and len(rest.args) > 1 + len(above.args) - len(s.args):
                    continue
                inner = Network(ONE, [(rest, Fraction(1), tuple(range(s.ndim))),
                                      (s, Fraction(-1), tuple(range(s.ndim)))],
                                dict(enumerate(s.shape)), s.ndim)  # fmt: skip
                whole = flat_sum([(ratio, constant(1, s.dtype, s.shape)),
                                  (1, product_of(inner, s.shape, s.dtype))])  # fmt: skip
                made = Network(net.coefficient, list(net.factors), dict(net.sizes), net.rank)
                made.factors.remove((s, p, ls))
                made.factors[made.factors.index((top, q, row))] = (whole, Fraction(1), ls)
                yield product_of(made, e.shape, e.dtype)


DIVIDED = 6
"""Terms of a quotient of sums at most."""

Powers = frozenset[Factor]
Polynomial = dict[Powers, Monomial]
"""Coefficients of products of powers."""


def quotient_of_sums(e: Expr) -> Iterator[Expr]:
    """(a² − b²) / (a − b) = a + b, where a sum divides another without a remainder."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    sums = [f for f in net.factors if f[0].op is SUM and len(f[0].args) > 1]
    for below in sums:
        for above in sums:
            if below[1] != -1 or above[1] != 1 or below[2] != above[2]:
                continue
            s, top = below[0], _flat(above[0])
            terms = _quotient(_polynomial(top), _polynomial(s))
            if not terms or len(terms) >= len(top.args) + len(s.args):
                continue
            made = Network(net.coefficient, list(net.factors), dict(net.sizes), net.rank)
            made.factors.remove(below)
            sizes = dict(enumerate(s.shape))
            parts = [Network(c, [*key], dict(sizes), s.ndim) for key, c in terms.items()]
            made.factors[made.factors.index(above)] = summed(parts, s), Fraction(1), above[2]
            yield product_of(made, e.shape, e.dtype)


def _polynomial(e: Expr) -> Polynomial:
    """A sum of products of entries; empty where a term sums over an axis, or has a size in front."""
    found: Polynomial = {}
    for net in networks(e):
        if net.coefficient.powers or any(x >= e.ndim for _, _, ls in net.factors for x in ls):
            return {}
        _merge(found, _times(frozenset(), net.factors), net.coefficient)
    return found


def _merge(into: Polynomial, key: Powers, c: Monomial) -> None:
    total = plus(c.number, into.pop(key).number) if key in into else c.number
    if total:
        into[key] = Monomial(total)


def _times(key: Powers, factors: Iterable[Factor], sign: int = 1) -> Powers:
    """A product of powers times or over others."""
    powers = {(a, ls): p for a, p, ls in key}
    for a, p, ls in factors:
        powers[a, ls] = powers.get((a, ls), 0) + sign * p
    return frozenset((a, p, ls) for (a, ls), p in powers.items() if p)


def _quotient(top: Polynomial, s: Polynomial) -> Polynomial:
    """Long division by the term that leads in the order of the factors; empty with a remainder."""
    order = list(dict.fromkeys((a, ls) for key in (*s, *top) for a, _, ls in key))

    def leading(p: Polynomial) -> Powers:
        rows = {key: {(a, ls): q for a, q, ls in key} for key in p}
        return max(p, key=lambda key: [rows[key].get(x, 0) for x in order])

    rest, found = dict(top), Polynomial()
    first = leading(s) if s else None
    while rest and first is not None:
        at = leading(rest)
        factor, c = _times(at, first, -1), rest[at] / s[first]
        if len(found) == DIVIDED or factor in found:
            return {}
        found[factor] = c
        for key, d in s.items():
            _merge(rest, _times(factor, key), -(c * d))
    return found


def root_of_a_product(e: Expr) -> Iterator[Expr]:
    """(a b)^(3/2) = a b √(a b), 1 / (a b) = 1 / a · 1 / b: the whole part of a power is opened."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    for k, (a, p, place) in enumerate(net.factors):
        whole = Fraction(int(p))
        parts = _apart(a) if whole and p != 1 else []
        if len(parts) > 1:
            made = Network(net.coefficient, list(net.factors), dict(net.sizes), net.rank)
            made.factors[k] = (a, p - whole, place)
            made.factors += [(f, whole, tuple(place[x] if x >= 0 else -1 for x in ls))
                             for f, ls in parts]  # fmt: skip
            made.factors = [f for f in made.factors if f[1]]
            yield product_of(made, e.shape, e.dtype)


def _apart(e: Expr) -> list[tuple[Expr, Labels]]:
    """The parts of a product that share no summed label, at their labels."""
    if e.op is not CONTRACTION:
        return []
    groups: list[tuple[set[int], list[tuple[Expr, Labels]]]] = []
    for row in zip(e.args, e.params[0], strict=True):
        bound = {x for x in row[1] if x >= e.ndim}
        met = [g for g in groups if g[0] & bound]
        groups = [g for g in groups if g not in met]
        groups.append((bound.union(*(g[0] for g in met)), [r for g in met for r in g[1]] + [row]))
    found: list[tuple[Expr, Labels]] = []
    for bound, rows in groups:
        out = tuple(sorted({x for _, ls in rows for x in ls if x >= 0} - bound))
        made = contract([a for a, _ in rows], [ls for _, ls in rows], out, dtype=e.dtype)
        found.append((made, out))
    return found


def _flat(e: Expr) -> Expr:
    """A sum with the sums among its terms opened."""
    rows: list[Term] = []
    for c, a, ls in terms_of(e):
        inner = terms_of(a) if a.op is SUM and a.args else [(ONE, a, tuple(range(a.ndim)))]
        rows += [(c * d, b, tuple(ls[x] if x >= 0 else -1 for x in at)) for d, b, at in inner]
    return linear(rows, e.shape, e.dtype)


def sides_of_order(e: Expr) -> Iterator[Expr]:
    """a − b > 0 as a > b, with a number on the right: 1 − u > 0 as u < 1."""
    word = e.op.name
    if word not in MIRRORED or any(a.dtype.kind != "f" for a in e.args) or e.args[0].op is not SUM:
        return
    if e.args[0].shape != e.shape or e.params[0][0] != tuple(range(e.ndim)):
        return
    gap = flat_sum([(1, e.args[0]), (-1, _sides(e)[1])])
    terms = terms_of(gap) if gap.op is SUM else []
    above = linear([t for t in terms if t[0].number > 0], gap.shape, gap.dtype)
    below = linear([(-c, a, ls) for c, a, ls in terms if c.number < 0], gap.shape, gap.dtype)
    if is_zero(above) or is_zero(below):
        return
    number = constant_value(above)
    if number is None:
        number = constant_value(below)
        yield elementwise(word, above, below if number is None else constant(number, gap.dtype))
    else:
        yield elementwise(MIRRORED[word], below, constant(number, gap.dtype))


def _sides(test: Expr) -> tuple[Expr, ...]:
    """The operands of a comparison over its axes."""
    natural, sizes = tuple(range(test.ndim)), dict(enumerate(test.shape))
    return tuple(
        a if ls == natural else contract([a], [ls], natural, sizes, a.dtype)
        for a, ls in zip(test.args, test.params[0], strict=True)
    )


def choice_by_sign(e: Expr) -> Iterator[Expr]:
    """a 1[x > y] + ½ (a + b) 1[x = y] + b 1[x < y] = ½ (a + b) + ½ (a − b) sign(x − y)."""
    if e.op is not SUM or len(e.args) < 2:
        return
    natural = tuple(range(e.ndim))
    sides: dict[tuple[Expr, ...], dict[int, Terms]] = {}
    rest: list[Network] = []
    for net in networks(_flat(e)):
        found = [k for k, (f, p, ls) in enumerate(net.factors) if p == 1 and ls == natural
                 and f.op.name == "cast" and f.args[0].op.name in ("gt", "lt", "eq")]  # fmt: skip
        if len(found) != 1:
            rest.append(net)
            continue
        test = net.factors[found[0]][0].args[0]
        if any(a.shape != e.shape for a in test.args):
            return
        side = ORDERED.get(test.op.name, 0)
        pair = _sides(test)
        if pair[::-1] in sides:
            side, pair = -side, pair[::-1]
        left = [f for k, f in enumerate(net.factors) if k not in found]
        kept = Network(net.coefficient, left, dict(net.sizes), net.rank)
        sides.setdefault(pair, {}).setdefault(side, []).append(kept)
    if len(sides) != 1:
        return
    ((x, y), chosen), *_ = sides.items()
    a, middle, b = (summed(chosen.get(k, []), e) for k in (1, 0, -1))
    half = Fraction(1, 2)
    if flat_sum([(half, a), (half, b)]) is not flat_sum([(1, middle)]):
        return
    sign = elementwise("sign", flat_sum([(1, x), (-1, y)]))
    gap = flat_sum([(half, a), (-half, b)])
    turned = Network(ONE, [(gap, Fraction(1), natural), (sign, Fraction(1), natural)],
                     dict(enumerate(e.shape)), e.ndim)  # fmt: skip
    yield flat_sum([(1, summed([*rest, turned], e)), (1, middle)])


def logistic_choice(e: Expr) -> Iterator[Expr]:
    """1[x ≥ 0] − sign(x) σ(−|x|) = σ(x), at 0 the slope of the smooth function that it is of."""
    if e.op is not SUM or len(e.args) < 2:
        return
    whole = _flat(e)
    terms = terms_of(whole) if whole.op is SUM else []
    for j, (c, a, at) in enumerate(terms):
        net = network_of(a)
        if len(net.factors) != 2 or net.coefficient != 1:
            continue
        by_name = {
            f.op.name: f for f, p, ls in net.factors if p == 1 and ls == tuple(range(a.ndim))
        }
        if {*by_name} != {"sign", "sigmoid"}:
            continue
        x = by_name["sign"].args[0]
        if by_name["sigmoid"].args[0] is not -elementwise("abs", x):
            continue
        for k, (d, b, other) in enumerate(terms):
            if d == -c and other == at and is_step(b, x):
                kept = [t for i, t in enumerate(terms) if i not in (j, k)]
                yield linear([*kept, (d, elementwise("sigmoid", x), at)], e.shape, e.dtype)


def sign_out(e: Expr) -> Iterator[Expr]:
    """σ(y u) (1 − σ(y u)) = σ(u) (1 − σ(u)) for a declared sign y: the slope is even."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    for a, p, place in net.factors:
        if a.op.name != "sigmoid":
            continue
        inner = network_of(a.args[0])
        kept = [f for f in inner.factors if f[0].op is not SYMBOL or "sign" not in facts_of(f[0])]
        if len(kept) == len(inner.factors) or not kept:
            continue
        bare = Network(inner.coefficient, kept, inner.sizes, inner.rank)
        even = elementwise("sigmoid", product_of(bare, a.shape, a.dtype))
        table = {a: even, 1 - a: 1 - even}
        if not any(f is not a and f in table and (q, ls) == (p, place) for f, q, ls in net.factors):
            continue
        made = Network(net.coefficient, [(table.get(f, f), q, ls) for f, q, ls in net.factors],
                       dict(net.sizes), net.rank)  # fmt: skip
        yield product_of(made, e.shape, e.dtype)


__all__ = [
    "by_denominator",
    "choice_by_sign",
    "divisor_inside",
    "logistic_choice",
    "over_one",
    "proper_fraction",
    "quotient_of_sums",
    "root_of_a_product",
    "sides_of_order",
    "sign_out",
]
