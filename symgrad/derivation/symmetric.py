"""Declared symmetry in backward lines: no transposes of what is symmetric, gradients among symmetric."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    contract,
    delta,
    linear,
    power,
    scale,
    single_term,
    terms_of,
)
from symgrad.core.expr import Expr, Labels, facts_of
from symgrad.core.facts import SYMMETRIC, among_symmetric
from symgrad.core.sizes import Monomial, monomial
from symgrad.core.traverse import topological
from symgrad.derivation.factors import factored, gathered, sandwiched
from symgrad.derivation.order import Written
from symgrad.derivation.tidy import opened, replaced
from symgrad.simplify.algebra import Normal


@dataclass(slots=True)
class Symmetries:
    """The normal forms of a derivation, whose lines are ordered as ``written``."""

    written: Written
    normal: Normal = field(default_factory=Normal)

    def symmetric(self, e: Expr) -> Expr:
        """Without the transposes of what is symmetric, and sums of probabilities, where some are.

        Numbers stand in front: ``1 / (2 r)²`` is a quarter of ``1 / r²``.
        """
        order = topological([e])
        scaled = {x: made for x in order if (made := _coefficient_out(x)) is not None}
        if scaled:
            e = replaced(e, scaled, self.written)
            order = topological([e])
        for x in order:
            if not SYMMETRIC.isdisjoint(facts_of(x)) or (x.op is CONTRACTION and _sums_rows(x)):
                return self.normal.of([e])[0]
        return e

    def tidied(self, e: Expr) -> Expr:
        """An adjoint or a gradient with what its terms share in front."""
        made = sandwiched(e, self.normal.symmetry.holds)
        return factored(gathered(made, self.normal.symmetry.holds, self.written), self.written)

    def within_symmetric(self, leaf: Expr, e: Expr) -> Expr:
        """The gradient among symmetric matrices, ½ (G + Gᵀ), for what is declared symmetric."""
        if leaf.ndim != 2 or not among_symmetric(leaf):
            return e
        terms = opened(e)
        turned = [(c, a, tuple([1 - x if x >= 0 else x for x in ls])) for c, a, ls in terms]
        one, other = self.normal.of([linear(t, e.shape, e.dtype) for t in (terms, turned)])
        if one in (other, self.renumbered(other)):
            return e
        half = [(c * Fraction(1, 2), a, ls) for c, a, ls in (*terms, *turned)]
        return self.normal.of([linear(half, e.shape, e.dtype)])[0]

    def renumbered(self, e: Expr) -> Expr:
        """The same sum with the labels of symmetric factors read in the other order."""
        rows: list[tuple[Monomial, Expr, Labels]] = []
        holds = self.normal.symmetry.holds
        for c, a, ls in opened(e):
            if a.op is CONTRACTION and len(a.args) > 1:
                labels = [place[::-1] if holds(x) else place
                          for x, place in zip(a.args, a.params[0], strict=True)]  # fmt: skip
                a = contract(a.args, labels, range(a.ndim), dict(enumerate(a.shape)), a.dtype)
            rows.append((c, a, ls))
        return Normal().of([linear(rows, e.shape, e.dtype)])[0]

    def facts(self, e: Expr) -> tuple[str, ...]:
        """What is known of the value of a line."""
        if e.op.name == "softmax" and e.params[0] == -1:
            return ("prob",)
        term = single_term(e)
        return ("symmetric",) if self.normal.symmetry.holds(term[1] if term else e) else ()


def _coefficient_out(node: Expr) -> Expr | None:
    """``(c x)ᵖ`` as ``cᵖ xᵖ``, for a whole number p."""
    if node.op.name != "power" or node.args[0].op is not SUM or len(node.args[0].args) != 1:
        return None
    p = node.params[2][0]
    c, x, ls = terms_of(node.args[0])[0]
    if p.denominator != 1 or ls != tuple(range(node.ndim)) or x.shape != node.shape:
        return None
    return scale(c**p, power(x, p))


def _sums_rows(node: Expr) -> bool:
    """Does a product sum probabilities over their last axis, where nothing else stands?"""
    rows = node.params[0]
    for a, ls in zip(node.args, rows, strict=True):
        probabilities = "prob" in facts_of(a) and ls[-1] >= node.ndim
        if probabilities and sum(row.count(ls[-1]) for row in rows) == 1:
            return True
    return False


def in_entries(g: Expr) -> Expr:
    """``2 G − G ⊙ I``: the derivatives in the entries i ≤ j, each of which stands at two places."""
    d = g.shape[0]
    diagonal = contract([g, delta(d, g.dtype)], [(0, 1)] * 2, (0, 1), {0: d, 1: d}, g.dtype)
    return linear([(monomial(2), g, (0, 1)), (-ONE, diagonal, (0, 1))], g.shape, g.dtype)


__all__ = ["Symmetries", "in_entries"]
