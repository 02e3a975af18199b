"""Losses with a margin, as compositions."""

from __future__ import annotations

from symgrad.core.build import constant
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.functional.losses import reduced
from symgrad.functional.table import public
from symgrad.ops.elementwise import where as choose


@public(method=False, grad_fn="MeanBackward0", saves=(0,))
def hinge_embedding_loss(
    a: Expr, target: Expr, margin: float = 1.0, reduction: str = "mean"
) -> Expr:
    """a where the target is 1, max(0, margin − a) where it is −1."""
    one = constant(1, target.dtype)
    each = choose(apply("eq", target, one), a, apply("relu", margin - a))
    return reduced(each, reduction)
