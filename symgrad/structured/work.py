"""How much work an expression is, to choose between ways: multiplications and entries written."""

from __future__ import annotations

import math

from symgrad.core.build import CONTRACTION
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size
from symgrad.core.traverse import topological
from symgrad.lower.pairs import extent_of


def work_of(e: Expr) -> float:
    """Every node once: a product all its labels, a matrix function its cube, else its entries."""
    total = 0.0
    for node in topological([e]):
        if not node.args:
            continue
        sizes: dict[int, Size] = dict(enumerate(node.shape))
        if node.op is CONTRACTION:
            for a, labels in zip(node.args, node.params[0], strict=True):
                sizes.update({x: a.shape[k] for k, x in enumerate(labels) if x >= 0})
        extents = [extent_of(s, {}) for s in sizes.values()]
        if node.op.family == "matrix" and extents:
            extents.append(extents[-1])
        total += math.prod(extents)
    return total
