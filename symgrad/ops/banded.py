"""Systems with three diagonals, in time and memory of their length."""

from __future__ import annotations

from typing import Any

from symgrad.core.build import broadcast_shapes, broadcast_to, product, reduce_sum, scale, unsqueeze
from symgrad.core.build import squeeze as squeezed
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, shape_text, size_total
from symgrad.errors import ShapeError
from symgrad.ops.row import form
from symgrad.ops.structure import place, slice_axis


def _infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Shape, DType]:
    return args[3].shape, args[3].dtype


def _shifted(e: Expr, by: int) -> Expr:
    """Row i is row i + by of ``e``, 0 outside."""
    n, columns = e.shape[-2:]
    start, stop = max(by, 0), size_total(n, min(by, 0))
    there = (start - by, size_total(stop, -by), 1)
    return place(slice_axis(e, -2, start, stop), (there, None), (n, columns))


def _moved(e: Expr, by: int) -> Expr:
    """An off-diagonal as that of the transpose: its entries one place on."""
    return squeezed(_shifted(unsqueeze(e, [e.ndim]), by), [e.ndim])


def _vjp(node: Expr, g: Expr) -> tuple[Expr, ...]:
    """B̄ = A⁻ᵀ Ḡ; the three diagonals of −B̄ Xᵀ."""
    low, middle, up, _ = node.args
    back = tridiagonal_solve(_moved(up, -1), middle, _moved(low, 1), g)
    parts = [
        scale(-1, reduce_sum(product(back, x), [g.ndim - 1]))
        for x in (_shifted(node, -1), node, _shifted(node, 1))
    ]
    return (*parts, back)


_NUMPY = (
    "(lambda a, d, c, b, n: np.linalg.solve(d[..., None] * np.eye(n) + a[..., None] * "
    "np.eye(n, k=-1) + c[..., None] * np.eye(n, k=1), b))({0}, {1}, {2}, {3}, {1}.shape[-1])"
)
_JAX = "jax.lax.linalg.tridiagonal_solve({0}.at[..., 0].set(0), {1}, {2}.at[..., -1].set(0), {3})"

Op("tridiagonal_solve", "matrix", infer=_infer, vjp=_vjp, template=form(_JAX, _NUMPY, 4),
   text="tridiagonal_solve", latex=r"\operatorname{tridiagonal\_solve}",
   python="tridiagonal_solve", domain="positive definite")  # fmt: skip


def tridiagonal_solve(low: Expr, middle: Expr, up: Expr, b: Expr) -> Expr:
    """X with A X = B, ``A[i, i−1] = low[i]``, ``A[i, i] = middle[i]``, ``A[i, i+1] = up[i]``.

    ``low[0]`` and the last entry of ``up`` are not read.  B is a matrix; axes in front are a batch.
    """
    if b.ndim < 2 or any(not e.ndim or e.shape[-1] != b.shape[-2] for e in (low, middle, up)):
        raise ShapeError(
            f"tridiagonal_solve: three diagonals of one length and a matrix with as many rows, not "
            f"{', '.join(shape_text(e.shape) for e in (low, middle, up, b))}"
        )
    front = broadcast_shapes([low.shape[:-1], middle.shape[:-1], up.shape[:-1], b.shape[:-2]])
    diagonals = [broadcast_to(e, (*front, e.shape[-1])) for e in (low, middle, up)]
    return apply(OPS["tridiagonal_solve"], (*diagonals, broadcast_to(b, (*front, *b.shape[-2:]))))


__all__ = ["tridiagonal_solve"]
