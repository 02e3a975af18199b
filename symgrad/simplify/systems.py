"""Linear systems in formulas: one matrix of right sides, and the inverse where they are all units."""

from __future__ import annotations

from symgrad.core.build import DELTA, contract, permute, relabelling
from symgrad.core.expr import Expr
from symgrad.ops.matrix import inv, solved


def system(e: Expr) -> Expr:
    """``A⁻¹ b`` of many columns b along a batch axis as ``A⁻¹ B``; of the identity, ``A⁻¹``."""
    a, b = e.args
    if a.ndim == 2 and b.ndim == 3 and b.shape[-1] == 1:
        rows = contract([b], [[1, 0, -1]], range(2), dtype=b.dtype)
        made = system(solved(e.op.name, a, rows, *e.params))
        return contract([made], [[1, 0]], range(3), dict(enumerate(e.shape)), e.dtype)
    if e.op.name != "solve" or b.op is not DELTA or a.ndim != 2:
        return e
    return permute(inv(a.args[0]), (1, 0)) if relabelling(a) == (1, 0) else inv(a)


__all__ = ["system"]
