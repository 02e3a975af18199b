"""The table of public functions; importing this package fills it."""

from symgrad.functional import elementwise, losses, shape
from symgrad.functional.table import FUNCTIONS, Function

__all__ = ["FUNCTIONS", "Function", "elementwise", "losses", "shape"]
