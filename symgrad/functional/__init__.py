"""The table of public functions; importing this package fills it."""

from symgrad.functional import (
    alignment,
    arrange,
    bags,
    bits,
    complex,
    convolution,
    elementwise,
    fourier,
    indexing,
    joining,
    losses,
    matrices,
    order,
    padding,
    pooling,
    recurrent,
    resampling,
    scalar,
    scattering,
    shape,
    short_time,
    special,
    statistics,
)
from symgrad.functional.table import FUNCTIONS, Function

__all__ = [
    "FUNCTIONS", "Function", "alignment", "arrange", "bags", "bits", "complex", "convolution",
    "elementwise", "fourier", "indexing", "joining", "losses", "matrices", "order", "padding", "pooling", "recurrent", "resampling",
    "scalar", "scattering", "shape", "short_time", "special", "statistics",
]  # fmt: skip
