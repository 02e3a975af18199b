"""Products as flat networks: factors with exponents whose axes carry labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from symgrad.core.build import CONTRACTION, ONE, SUM, contract, factors_at, power
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of
from symgrad.core.sizes import Monomial, Size

Exponent = Fraction | float
Factor = tuple[Expr, Exponent, Labels]
WIDEST = 12
"""Factors up to which a product is opened into its user."""


@dataclass(slots=True)
class Network:
    """A product: coefficient, factors with exponents and labels, sizes of all labels."""

    coefficient: Monomial
    factors: list[tuple[Expr, Exponent, Labels]]
    sizes: dict[int, Size]
    rank: int

    def fresh(self) -> int:
        """A label that is not in use."""
        return max([self.rank - 1, *self.sizes]) + 1

    def powers(self) -> dict[tuple[Expr, Labels], Exponent]:
        """The exponent of each base at its labels."""
        found: dict[tuple[Expr, Labels], Exponent] = {}
        for e, p, ls in self.factors:
            found[e, ls] = found.get((e, ls), Fraction(0)) + p
        return found

    def label(self, size: Size) -> int:
        """A new label of this size."""
        made = self.fresh()
        self.sizes[made] = size
        return made


def network_of(node: Expr) -> Network:
    """The product that a node is, with all products inside it opened."""
    rank = len(node.shape)
    found = Network(ONE, [], dict(enumerate(node.shape)), rank)
    stack: list[tuple[Expr, Exponent, tuple[int, ...]]] = [(node, Fraction(1), tuple(range(rank)))]
    while stack:
        e, p, place = stack.pop()
        whole = isinstance(p, Fraction) and p.denominator == 1
        if e.op is SUM and len(e.args) == 1 and (whole or e.params[0][0][0].number > 0):
            c, inner = e.params[0][0]
            if isinstance(p, Fraction):
                found.coefficient = found.coefficient * c**p
                stack.append((e.args[0], p, tuple(place[x] if x >= 0 else -1 for x in inner)))
                continue
        if e.op.name == "power":
            q = e.params[2][0]
            if p == 1 or whole or q == Fraction(1, 2):
                stack.append((e.args[0], p * q, place))
                continue
        if e.op is CONTRACTION and _opens(e, p, whole, node):
            for label, s in zip(place, e.shape, strict=True):
                if label >= 0:
                    found.sizes.setdefault(label, s)
            stack += [(a, p, ls) for a, ls in factors_at(e, place, found.label)[::-1]]
            continue
        found.factors.append((e, p, place))
    return found


def _opens(e: Expr, p: Exponent, whole: bool, node: Expr) -> bool:
    """May this product be dissolved?  Under a root only where every factor is at least 0."""
    if e is node:
        return True
    if p == 1:
        return len(e.args) <= WIDEST
    if e.sums:
        return False
    return whole or all(at_least_zero(a) for a in e.args)


def at_least_zero(e: Expr) -> bool:
    """Is no entry negative, by declaration or by the function that made it?"""
    if e.op is SYMBOL:
        return "positive" in facts_of(e)
    if e.op.name == "power":
        return e.params[2][0] == Fraction(1, 2)
    return e.op.name in ("exp", "abs", "sigmoid", "softmax", "softplus", "cosh")


def product_of(net: Network, shape: Sequence[Size], dtype: Any) -> Expr:
    """The node of a network: equal bases merged into one power."""
    factors: list[Expr] = []
    rows: list[Labels] = []
    for (e, labels), p in net.powers().items():
        if not p:
            continue
        whole = isinstance(p, Fraction) and p.denominator == 1 and 0 < p <= 8
        times = int(p) if whole else 1
        factors += [e if whole else power(e, p)] * times
        rows += [labels] * times
    made = contract(factors, rows, range(net.rank), net.sizes, dtype)
    return made if net.coefficient.is_one else net.coefficient * made


def with_totals(net: Network) -> Network:
    """The product with what has no axis of the result, aᵀx, as one factor for each total."""
    groups: list[tuple[set[int], list[int]]] = []
    for k, (_, _, ls) in enumerate(net.factors):
        met = [g for g in groups if any(x in g[0] for x in ls if x >= net.rank)]
        groups = [g for g in groups if g not in met]
        groups.append(({*ls}.union(*(g[0] for g in met)), [*(j for g in met for j in g[1]), k]))
    totals = [(ls, ks) for ls, ks in groups if len(ks) > 1 and all(x >= net.rank for x in ls)]
    if not totals:
        return net
    gone = {k for _, ks in totals for k in ks}
    made = Network(net.coefficient, [], {}, net.rank)
    made.factors = [f for k, f in enumerate(net.factors) if k not in gone]
    made.sizes = {x: s for x, s in net.sizes.items() if not any(x in ls for ls, _ in totals)}
    for ls, ks in totals:
        place = {x: j for j, x in enumerate(sorted(ls))}
        factors = [
            (e, p, tuple(place[x] for x in row))
            for e, p, row in map(net.factors.__getitem__, sorted(ks))
        ]
        sizes = {place[x]: net.sizes[x] for x in ls}
        total = product_of(Network(ONE, factors, sizes, 0), (), factors[0][0].dtype)
        made.factors.append((total, Fraction(1), ()))
    return made


__all__ = [
    "Exponent",
    "Factor",
    "Network",
    "at_least_zero",
    "network_of",
    "product_of",
    "with_totals",
]
