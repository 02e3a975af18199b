"""Values that are written without being tracked into a tensor that is: its derivative stays.

``with no_grad(): y.clamp_(0, 1)`` changes the numbers that later operations read; the gradient with
respect to y goes on to what y was made of, as if nothing had happened.
"""

from __future__ import annotations

from symgrad_codegen.template import POSTFIX, Template

from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.functional.table import Function

_CARRIED = Op(
    "carried", "call", infer=lambda args, params: (args[1].shape, args[1].dtype),
    vjp=lambda node, g: (g, None), text="carried",
    template=Template((("jax", "[{*}][1]"), ("numpy", "[{*}][1]")), POSTFIX),
)  # fmt: skip
# No formula is written with it, and no program of the user's.
del OPS["carried"]


def _carried(old: Expr, new: Expr) -> Expr:
    return apply(_CARRIED, (old, new), ())


CARRIED = Function("carried", _carried, "CopyBackwards", part=True)
"""The row of such a write: what was there, what is there now."""

__all__ = ["CARRIED"]
