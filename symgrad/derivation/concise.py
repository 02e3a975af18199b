"""The shortest way found to write an expression."""

from __future__ import annotations

from symgrad.core.expr import Expr
from symgrad.simplify.algebra import Normal


def concise(e: Expr) -> Expr:
    """An expression equal to ``e`` that takes fewer operations to write."""
    return Normal().of([e])[0]
