"""Expr → Program: layout, order, inlining and names of the generated source."""

from symgrad.lower.program import lower
from symgrad.lower.state import Line

__all__ = ["Line", "lower"]
