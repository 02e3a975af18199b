"""Two more functions of matrices: the triangular factors of elimination, and the exponential.

Source: Giles (2008) for LU of square matrices; the columns (rows) that a wide (tall) matrix has
beside them are solutions of triangular systems.  Van Loan, "Computing integrals involving the
matrix exponential" (1978): the derivative of exp is a block of the exponential of a block matrix.
"""

from __future__ import annotations

from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_to,
    cast,
    constant,
    matmul,
    product,
    reduce_sum,
    scale,
    unsqueeze,
    zeros,
)
from symgrad.core.build import elementwise as maps
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size
from symgrad.errors import ShapeError
from symgrad.ops.complex import magnitude
from symgrad.ops.decomposition import smaller
from symgrad.ops.elementwise import where
from symgrad.ops.gather import gather
from symgrad.ops.join import arange, concatenate, tril, triu
from symgrad.ops.matrix import adjoint, floating, identity, several, square, transposed
from symgrad.ops.matrix import triangular_solve as solve_triangle
from symgrad.ops.outputs import projections
from symgrad.ops.row import COMPLEX, HOLOMORPHIC, Template, form, like
from symgrad.ops.sequence import argsort
from symgrad.ops.structure import slice_axis

Inferred = tuple[Shape, DType]

# ------------------------------------------------------------------ elimination


def _lu_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    return (a.shape, a.dtype), ((*a.shape[:-2], smaller(a, "linalg.lu")), dtypes.int32)


def _lu_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> tuple[Expr | None]:
    """PᵀĀ = L⁻ᴴ (tril(Lᴴ L̄, −1) + triu(Ū Uᴴ)) U⁻ᴴ of the leading square block.

    Columns beyond it are U₂ = L⁻¹ B₂, rows below it L₂ = B₂ U⁻¹.
    """
    g = adjoints[0]
    if g is None:
        return (None,)
    packed, pivots = projections(node)
    rows, columns = packed.shape[-2:]
    k = smaller(packed, "linalg.lu")
    lower, upper = unpacked(packed)
    first, left = slice_axis(upper, -1, 0, k), slice_axis(lower, -2, 0, k)
    core = slice_axis(slice_axis(g, -1, 0, k), -2, 0, k)
    adjoint_of_lower, adjoint_of_upper = tril(core, -1), triu(core)
    beyond: Expr | None = None
    if columns != k:
        beyond = solve_triangle(adjoint(left), slice_axis(g, -1, k, None), False, True)
        over = matmul(beyond, adjoint(slice_axis(upper, -1, k, None)))
        adjoint_of_lower = adjoint_of_lower - tril(over, -1)
    elif rows != k:
        beyond = adjoint(solve_triangle(first, adjoint(slice_axis(g, -2, k, None)), False))
        below = slice_axis(lower, -2, k, None)
        adjoint_of_upper = adjoint_of_upper - triu(matmul(adjoint(below), beyond))
    inner = tril(matmul(adjoint(left), adjoint_of_lower), -1)
    inner = inner + triu(matmul(adjoint_of_upper, adjoint(first)))
    inner = solve_triangle(adjoint(left), inner, False, True)
    found = adjoint(solve_triangle(first, adjoint(inner), False))
    if beyond is not None:
        found = concatenate([found, beyond], -1 if columns != k else -2)
    back = argsort(permutation(pivots, rows))
    back = broadcast_to(unsqueeze(back, [back.ndim]), (*back.shape, columns))
    return (gather(found, back, -2),)


several(
    "lu", _lu_outputs, _lu_vjp,
    form("jax.lax.linalg.lu({0})[:2]",
         "(lambda f: (f[0], f[1].astype(np.int32)))(scipy.linalg.lu_factor({0}))"),
)  # fmt: skip


def lu(a: Expr) -> tuple[Expr, ...]:
    """(L and U in one matrix, pivots): row i was exchanged with row pivots[i], both from 0."""
    if a.ndim < 2:
        raise ShapeError("linalg.lu: The input tensor must have at least 2 dimensions.")
    floating(a, "linalg.lu")
    if 0 in a.shape:  # nothing to eliminate
        pivots = (*a.shape[:-2], smaller(a, "linalg.lu"))
        return a, constant(0, dtypes.int32, pivots)
    return projections(apply(OPS["lu"], (a,)))


def unpacked(packed: Expr) -> tuple[Expr, Expr]:
    """(L with ones on its diagonal, U) of both in one matrix."""
    k = smaller(packed, "linalg.lu")
    below = tril(slice_axis(packed, -1, 0, k), -1)
    ones = identity(slice_axis(slice_axis(packed, -1, 0, k), -2, 0, k))
    rest = packed.shape[-2]
    if rest != k:
        nothing = slice_axis(below, -2, k, None)
        ones = concatenate([ones, zeros(nothing.shape, packed.dtype)], -2)
    return below + ones, triu(slice_axis(packed, -2, 0, k))


def _permutation_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return (*args[0].shape[:-1], params[0]), dtypes.int64


Op("pivot_permutation", "matrix", infer=_permutation_infer,
   template=form(
       "jax.lax.linalg.lu_pivots_to_permutation({0}, {1}).astype(jnp.int64)",
       "np.apply_along_axis(lambda p: scipy.linalg.lapack.dlaswp("
       "np.arange(float({1}))[:, None], p)[:, 0].astype(np.int64), -1, {0})", 2),
   text="permutation", size_operands=lambda node: (node.params[0],),
   traits=frozenset({"nondifferentiable"}))  # fmt: skip


def permutation(pivots: Expr, size: Size) -> Expr:
    """The order of rows after exchanging row i with row pivots[i], one after the other."""
    if 0 in pivots.shape:  # nothing is exchanged
        return broadcast_to(arange(size, dtypes.int64), (*pivots.shape[:-1], size))
    return apply(OPS["pivot_permutation"], (pivots,), (size,))


# ------------------------------------------------------------------ the pseudoinverse


def _pinv_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    a = args[0]
    return (*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype


def _pinv_template(node: Expr) -> Template:
    def text(xp: str) -> str:
        inverse = f"{xp}.where(abs(s) > t, 1 / {xp}.where(abs(s) > t, s, 1), 0)[..., None, :]"
        end = ".swapaxes(-1, -2)" + ".conj()" * node.dtype.is_complex
        if node.params[0]:
            more = ", symmetrize_input=False" if xp == "jnp" else ""
            return (f"(lambda s, v, t: (v * {inverse}) @ v{end})"
                    f"(*{xp}.linalg.eigh({{0}}{more}), {{1}})")  # fmt: skip
        return (f"(lambda u, s, v, t: (v{end} * {inverse}) @ u{end})"
                f"(*{xp}.linalg.svd({{0}}, full_matrices=False), {{1}})")  # fmt: skip

    return form(text("jnp"), text("np"), 2)


def _pinv_vjp(node: Expr, g: Expr) -> tuple[Expr, None]:
    """−Pᴴ Ḡ Pᴴ + (I − A P) Ḡᴴ P Pᴴ + Pᴴ P Ḡᴴ (I − P A), where the rank does not change."""
    a, _ = node.args
    up, back = adjoint(node), adjoint(g)
    left = matmul(matmul(back, node), up)
    right = matmul(up, matmul(node, back))
    found = scale(-1, matmul(matmul(up, g), up)) + left - matmul(a, matmul(node, left))
    return found + right - matmul(matmul(right, node), a), None


Op("pinv", "matrix", infer=_pinv_infer, vjp=_pinv_vjp, template=_pinv_template, text="pinv",
   traits=COMPLEX, latex=r"\operatorname{pinv}", python="pinv")  # fmt: skip


def pinv(a: Expr, limit: Expr, hermitian: bool = False) -> Expr:
    """V diag(1/σ) Uᴴ over the singular values above ``limit``, which has an axis of size 1 last.

    ``hermitian`` reads the lower triangle of Hermitian matrices only.
    """
    floating(a, "linalg.pinv")
    return apply(OPS["pinv"], (a, limit), (hermitian,))


# ------------------------------------------------------------------ the exponential


def _exponential_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """exp [[Aᵀ, Ḡ], [0, Aᵀ]] = [[exp Aᵀ, Ā], [0, exp Aᵀ]], with Ḡ of size 1, for Ā is linear in it."""
    n = node.shape[-1]
    size = maps("detach", reduce_sum(magnitude(g), [g.ndim - 2, g.ndim - 1]))
    size = where(maps("eq", size, like(0, size)), like(1, size), size)
    size = cast(unsqueeze(size, [g.ndim - 2, g.ndim - 1]), g.dtype)
    g = g / size
    a = broadcast_to(transposed(node.args[0]), g.shape)
    above = concatenate([a, g], -1)
    below = concatenate([zeros(g.shape, g.dtype), a], -1)
    whole = apply(OPS["matrix_exp"], (concatenate([above, below], -2),))
    return (product(size, slice_axis(slice_axis(whole, -2, 0, n), -1, n, None)),)


Op("matrix_exp", "matrix", infer=lambda args, params: (args[0].shape, args[0].dtype),
   vjp=_exponential_vjp, template=form("jax.scipy.linalg.expm({0})", "scipy.linalg.expm({0})"),
   text="exp", latex=r"\exp", python="matrix_exp", traits=HOLOMORPHIC, domain="positive definite")  # fmt: skip


def matrix_exp(a: Expr) -> Expr:
    """I + A + A²/2 + A³/6 + … of batches of square matrices."""
    square(a, "linalg.matrix_exp")
    return apply(OPS["matrix_exp"], (a,))


__all__ = ["lu", "matrix_exp", "permutation", "pinv", "unpacked"]
