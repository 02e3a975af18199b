"""Integer data in formulas: one-hot rows δ[yᵢ, j].

A gather is a contraction with a one-hot factor; it prints as ``Y`` (or as an index) and is lowered
to indexing and scatter-add, never to a dense matrix where that can be avoided.
"""

from __future__ import annotations

from typing import Any

from symgrad_codegen.template import COMPARE, Template

from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import Op
from symgrad.core.sizes import Shape, Size
from symgrad.errors import DTypeError
from symgrad.ops.structure import dtype_text


def _infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Shape, DType]:
    if args[0].dtype.kind not in "iu":
        raise DTypeError(f"one-hot rows need integer indices, not {args[0].dtype}")
    return (*args[0].shape, params[0]), params[1]


def _template(node: Expr) -> Template:
    """({0}[..., None] == arange(k)).astype(dtype); the size comes as operand 1."""
    jax, numpy = dtype_text(node.dtype)
    return Template(
        (
            ("jax", f"jax.nn.one_hot({{0}}, {{1}}, dtype={jax})"),
            ("numpy", f"({{0}}[..., None] == np.arange({{1}})).astype({numpy})"),
        ),
        90,
        (COMPARE + 1, 0),
    )


ONEHOT = Op("onehot", "index", infer=_infer, template=_template, text="onehot",
            python="onehot",
            size_operands=lambda node: (node.params[0],))  # fmt: skip


def onehot(indices: Expr, size: Size, dtype: DType) -> Expr:
    """Rows of the identity: ``result[…, j] = 1[indices[…] = j]``; zero rows outside the range."""
    return apply(ONEHOT, (indices,), (size, dtype))
