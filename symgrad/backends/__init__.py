"""What programs ask of PyTorch's backends: which are there, and hints for speed.

The hints allow something and require nothing; the compiler decides, so they are noted and change
nothing.
"""

from __future__ import annotations

import os

from symgrad.backends import cuda, cudnn, mps

_NOTED: dict[str, object] = {"precision": "highest", "threads": os.cpu_count() or 1}


def set_float32_matmul_precision(precision: str) -> None:
    """Allow faster products of float32: "highest", "high" or "medium"."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current matmul "
            "precision stays"
        )
    _NOTED["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What :func:`set_float32_matmul_precision` was given."""
    return str(_NOTED["precision"])


def set_num_threads(number: int) -> None:
    """How many threads an operation may use on the CPU; the compiler has its own."""
    if number < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    _NOTED["threads"] = number


def get_num_threads() -> int:
    """What :func:`set_num_threads` was given; the number of cores before."""
    return int(str(_NOTED["threads"]))


__all__ = [
    "cuda",
    "cudnn",
    "get_float32_matmul_precision",
    "get_num_threads",
    "mps",
    "set_float32_matmul_precision",
    "set_num_threads",
]
