"""Matrix functions of the public surface; results of several are rows of their own."""

from __future__ import annotations

from typing import Any

from symgrad.core.build import broadcast_shapes, broadcast_to, cast, constant, matmul, unsqueeze
from symgrad.core.dtypes import real_of
from symgrad.core.expr import Expr
from symgrad.functional.table import public
from symgrad.ops import decomposition, factor, join, matrix, structure
from symgrad.ops.gather import gather
from symgrad.ops.index import onehot
from symgrad.ops.sequence import argsort


@public(grad_fn="LinalgInvExBackward0", saves=("result",))
def inverse(a: Expr) -> Expr:
    """A⁻¹."""
    return matrix.inv(a)


@public(grad_fn="LinalgDetBackward0", saves=(0, "result"))
def det(a: Expr) -> Expr:
    """det A."""
    return matrix.det(a)


@public(grad_fn="WhereBackward0", saves=(0,))
def logdet(a: Expr) -> Expr:
    """log det A; NaN where det A is negative."""
    return matrix.logdet(a)


@public("linalg_solve", grad_fn="LinalgSolveExBackward0", saves=(0, "result"), part=True)
def linalg_solve(a: Expr, b: Expr) -> Expr:
    """X with A X = B."""
    return matrix.solve(a, b)


@public(saves=("result",))
def cholesky(a: Expr, upper: bool = False) -> Expr:
    """L with L Lᴴ = A; Lᴴ where ``upper``, read from the upper triangle."""
    found = matrix.cholesky(matrix.adjoint(a) if upper else a)
    return matrix.adjoint(found) if upper else found


def _results(name: str, build: Any, count: int, title: str) -> None:
    for k in range(count):

        def one(a: Expr, _k: int = k) -> Expr:
            return build(a)[_k]

        one.__doc__ = f"Result {k} of {name}."
        public(f"{name}_{k}", grad_fn=title, part=True)(one)


@public(saves=(0, "result"))
def matrix_exp(a: Expr) -> Expr:
    """I + A + A²/2 + A³/6 + …"""
    return factor.matrix_exp(a)


@public("linalg_solve_triangular", saves=(0, "result"), part=True)
def solve_triangular(
    a: Expr, b: Expr, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Expr:
    """X with A X = B (X A = B where not ``left``); one triangle of A is read."""
    if left:
        return matrix.triangular_solve(a, b, not upper, unitriangular)
    turned = matrix.transposed
    return turned(matrix.triangular_solve(turned(a), turned(b), upper, unitriangular))


@public(saves=(0, "result"))
def cholesky_solve(b: Expr, a: Expr, upper: bool = False) -> Expr:
    """X with L Lᴴ X = B; the factor is Lᴴ where ``upper``."""
    lower, over = (matrix.adjoint(a), a) if upper else (a, matrix.adjoint(a))
    return matrix.triangular_solve(over, matrix.triangular_solve(lower, b), False)


@public(saves=(0, "result"))
def cholesky_inverse(a: Expr, upper: bool = False) -> Expr:
    """(L Lᴴ)⁻¹; the factor is Lᴴ where ``upper``."""
    matrix.square(a, "cholesky_inverse")
    return cholesky_solve(matrix.identity(a), a, upper)


@public(saves=(1, "result"))
def lu_solve(b: Expr, a: Expr, pivots: Expr, *, left: bool = True, adjoint: bool = False) -> Expr:
    """X with A X = B from the factors of A; Aᴴ where ``adjoint``, X A where not ``left``."""
    turned = matrix.adjoint
    if not left:
        return turned(lu_solve(turned(b), a, pivots, adjoint=not adjoint))
    matrix.square(a, "linalg.lu_solve")
    order = factor.permutation(pivots - constant(1, pivots.dtype), a.shape[-1])
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
    b = broadcast_to(b, (*batch, *b.shape[-2:]))
    if adjoint:
        found = matrix.triangular_solve(turned(a), b)
        found = matrix.triangular_solve(turned(a), found, False, True)
        return _reordered(found, argsort(order))
    found = matrix.triangular_solve(a, _reordered(b, order), True, True)
    return matrix.triangular_solve(a, found, False)


def _reordered(b: Expr, order: Expr) -> Expr:
    """The rows of b in this order."""
    return gather(b, broadcast_to(unsqueeze(order, [order.ndim]), b.shape), -2)


def _lu(a: Expr) -> tuple[Expr, ...]:
    packed, pivots = factor.lu(a)
    lower, upper = factor.unpacked(packed)
    order = factor.permutation(pivots, a.shape[-2])
    rows = cast(onehot(order, a.shape[-2], real_of(a.dtype)), a.dtype)
    return matrix.transposed(rows), lower, upper


def _lu_factor(a: Expr) -> tuple[Expr, ...]:
    packed, pivots = factor.lu(a)
    return packed, pivots + constant(1, pivots.dtype)


_results("linalg_lu", _lu, 3, "LinalgLuBackward0")
_results("linalg_lu_factor", _lu_factor, 2, "LinalgLuFactorExBackward0")
_results("slogdet", matrix.slogdet, 2, "LinalgSlogdetBackward0")
_results("eigh", decomposition.eigh, 2, "LinalgEighBackward0")


@public("linalg_pinv", saves=(0, "result"), part=True)
def pinv(a: Expr, limit: Expr, hermitian: bool) -> Expr:
    """The pseudoinverse over the singular values above a limit."""
    return factor.pinv(a, limit, hermitian)


def _qr(a: Expr) -> tuple[Expr, ...]:
    """Of a wide matrix [X Y]: Q U = X, R = [U QᴴY]."""
    if a.ndim < 2:
        return decomposition.qr(a)
    rows, columns = a.shape[-2:]
    if not (isinstance(rows, int) and isinstance(columns, int) and rows < columns):
        return decomposition.qr(a)
    if not rows:
        return constant(0, a.dtype, (*a.shape[:-2], 0, 0)), a
    q, square = decomposition.qr(structure.slice_axis(a, -1, 0, rows))
    rest = matmul(matrix.adjoint(q), structure.slice_axis(a, -1, rows, columns))
    return q, join.concatenate([square, rest], -1)


_results("qr", _qr, 2, "LinalgQrBackward0")
_results("svd", decomposition.svd, 3, "LinalgSvdBackward0")
