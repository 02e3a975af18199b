"""Simplification: named rewrite rules, applied jointly over everything compiled together."""

from collections.abc import Collection, Sequence

from symgrad.core.expr import Expr
from symgrad.simplify.engine import Procedure, Rule, Step, rewrite
from symgrad.simplify.rules import ALL_RULES, GROUPS, MACHINE

__all__ = [
    "ALL_RULES",
    "GROUPS",
    "MACHINE",
    "Procedure",
    "Rule",
    "Step",
    "rewrite",
    "simplify",
    "stabilised",
]

PASSES = 4
"""How often what the rules made is looked at again."""
_MACHINE = frozenset(rule.name for rule in MACHINE)


def simplify(roots: Sequence[Expr]) -> list[Expr]:
    """``roots`` after the stabilising rules, jointly."""
    return rewrite(roots, GROUPS)[0]


def stabilised(roots: Sequence[Expr], kept: Collection[Expr] = ()) -> list[Expr]:
    """``roots`` as they are computed, jointly: without cancellation, overflow and 0 · ∞.

    What is in ``kept`` stays as it is, with all that it is made of.
    """
    groups = (*GROUPS, MACHINE)
    settled = [set(kept) for _ in groups]
    found = list(roots)
    for _ in range(1 + PASSES):
        found, steps = rewrite(found, groups, settled=settled)
        if not any(s.rule in _MACHINE for s in steps):
            break
    return found
