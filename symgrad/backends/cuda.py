"""Hints for products on GPUs."""

from __future__ import annotations

from symgrad.cuda import is_available


class _Matmul:
    """Hints for products of matrices."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Matmul()


def is_built() -> bool:
    """Can JAX use GPUs here?"""
    return is_available()


__all__ = ["is_built", "matmul"]
