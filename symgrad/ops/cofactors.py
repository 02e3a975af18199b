"""The adjugate adj(A) = det(A) A⁻¹, transposed the cofactors; a singular A has one too.

Programs compute the derivative of a determinant with it.  Leading axes are batches.
"""

from __future__ import annotations

from symgrad.core.build import matmul, product, reduce_sum, unsqueeze
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.ops.matrix import det, inv, same_matrix, square, transposed
from symgrad.ops.row import form


def _adjugate_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """Ā = det(A) (tr(Gᵀ A⁻¹) A⁻ᵀ − A⁻ᵀ G A⁻ᵀ): of an invertible A."""
    (a,) = node.args
    inverse = inv(a)
    trace = reduce_sum(product(g, inverse), [g.ndim - 2, g.ndim - 1])
    up = transposed(inverse)
    along = product(unsqueeze(trace, [g.ndim - 2, g.ndim - 1]), up)
    weight = unsqueeze(det(a), [a.ndim - 2, a.ndim - 1])
    return (product(weight, along - matmul(matmul(up, g), up)),)


Op(
    "adjugate", "matrix", infer=same_matrix, vjp=_adjugate_vjp, text="adj", python="adj",
    template=form(
        "jax.grad(lambda a: jnp.linalg.det(a).sum())({0}).mT",
        "(lambda u, s, v: (np.linalg.det(u) * np.linalg.det(v))[..., None, None] * "
        "((v.mT * np.where(np.eye(s.shape[-1], dtype=bool), 1, s[..., None, :])"
        ".prod(-1)[..., None, :]) @ u.mT))(*np.linalg.svd({0}))",
    ),
    domain="positive definite",
)  # fmt: skip


def adjugate(a: Expr) -> Expr:
    """adj(A), with A adj(A) = det(A) I; its derivative is that of an invertible A."""
    square(a, "adjugate")
    return apply(OPS["adjugate"], (a,))


__all__ = ["adjugate"]
