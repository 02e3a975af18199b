"""One family per file, one row per op; importing this package fills the table of ops."""

from symgrad.ops import (
    axis,
    banded,
    bits,
    convolution,
    elementwise,
    factor,
    gather,
    index,
    join,
    matrix,
    outputs,
    random,
    scan,
    sequence,
    structure,
    window,
)

__all__ = [
    "axis",
    "banded",
    "bits",
    "convolution",
    "elementwise",
    "factor",
    "gather",
    "index",
    "join",
    "matrix",
    "outputs",
    "random",
    "scan",
    "sequence",
    "structure",
    "window",
]
