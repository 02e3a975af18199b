"""Simplification: named rewrite rules, applied jointly over everything compiled together."""

from collections.abc import Sequence

from symgrad.core.expr import Expr
from symgrad.simplify.engine import Procedure, Rule, Step, rewrite
from symgrad.simplify.rules import ALL_RULES, GROUPS, MACHINE

__all__ = ["ALL_RULES", "GROUPS", "MACHINE", "Procedure", "Rule", "Step", "rewrite", "simplify"]


def simplify(roots: Sequence[Expr]) -> list[Expr]:
    """``roots`` after the stabilising rules, jointly."""
    return rewrite(roots, GROUPS)[0]
