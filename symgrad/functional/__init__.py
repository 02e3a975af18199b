"""The table of public functions; importing this package fills it."""

from symgrad.functional import (
    arrange,
    elementwise,
    indexing,
    losses,
    matrices,
    order,
    scalar,
    shape,
)
from symgrad.functional.table import FUNCTIONS, Function

__all__ = [
    "FUNCTIONS", "Function", "arrange", "elementwise", "indexing", "losses", "matrices", "order",
    "scalar", "shape",
]  # fmt: skip
