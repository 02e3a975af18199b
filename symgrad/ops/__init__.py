"""One family per file, one row per op; importing this package fills the table of ops."""

from symgrad.ops import axis, elementwise, index

__all__ = ["axis", "elementwise", "index"]
