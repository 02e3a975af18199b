"""Factorisations of matrices under PyTorch's first names, and what ``linalg`` makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.tensors.limits import finfo
from symgrad.tensors.several import pair, row
from symgrad.tensors.tensor import Tensor

Slogdet = pair("slogdet", ("sign", "logabsdet"))
QR = pair("linalg_qr", ("Q", "R"))
SVD = pair("linalg_svd", ("U", "S", "Vh"))
LUFactors = pair("linalg_lu_factor", ("LU", "pivots"))
LUFactorsInfo = pair("linalg_lu_factor_ex", ("LU", "pivots", "info"))
_PLAIN_QR, _PLAIN_SVD = pair("qr", ("Q", "R")), pair("svd", ("U", "S", "V"))
_SOLVED = pair("triangular_solve", ("solution", "cloned_coefficient"))


def slogdet(A: Tensor) -> Any:
    """(sign of det A, log |det A|)."""
    return Slogdet(row("slogdet_0", A), row("slogdet_1", A))


def linalg_qr(A: Tensor, mode: str = "reduced") -> Any:
    """(Q, R) with A = Q R: "reduced", "complete" (square Q), or "r" (an empty Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    q, r = row("qr_0", A), row("qr_1", A)
    if mode == "r":
        return QR(Tensor.from_value(np.zeros(0, A.dtype.numpy), A.dtype), r)
    rows, columns = A.shape[-2:]
    if mode == "complete" and rows > columns:
        q = row("cat", [q, _complement(q)], -1)
        below = r.new_zeros((*r.shape[:-2], rows - columns, columns))
        r = row("cat", [r, below], -2)
    return QR(q, r)


def _complement(q: Tensor) -> Tensor:
    """Orthonormal columns orthogonal to those of q: constants, for no derivative is unique there."""
    whole = np.linalg.svd(np.asarray(arrays.to_numpy(q.detach().array())), full_matrices=True)[0]
    return Tensor.from_value(np.ascontiguousarray(whole[..., q.shape[-1] :]), q.dtype)


def linalg_svd(A: Tensor, full_matrices: bool = True) -> Any:
    """(U, singular values falling, Vᴴ); U and V square, or reduced where not ``full_matrices``."""
    u, s, vh = row("svd_0", A), row("svd_1", A), row("svd_2", A)
    rows, columns = A.shape[-2:]
    if full_matrices and rows != columns:
        if rows > columns:
            u = row("cat", [u, _complement(u)], -1)
        else:
            vh = row("cat", [vh, _complement(vh.mH).mH], -2)
    return SVD(u, s, vh)


def svdvals(A: Tensor) -> Tensor:
    """Singular values, falling."""
    return row("svd_1", A)


def singular_values(A: Tensor, hermitian: bool) -> Tensor:
    """The singular values; of a Hermitian matrix, of which a triangle is read, |eigenvalues|."""
    return row("eigh_0", A).abs() if hermitian else svdvals(A)


def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudoinverse V diag(1/σ) Uᴴ over the singular values above the tolerance."""
    if 0 in A.shape:
        return A.mH
    values = singular_values(A, hermitian).detach()
    limit = tolerance(A, values, atol, rcond if rtol is None else rtol)
    return row("linalg_pinv", A, limit, hermitian)


def tolerance(A: Tensor, values: Tensor, atol: Any, rtol: Any) -> Tensor:
    """What a singular value must exceed: the larger of ``atol`` and ``rtol`` of the largest one."""
    if rtol is None:
        rtol = 0.0 if atol is not None else max(A.shape[-2:]) * finfo(A.dtype).eps
    limit = values.amax(-1, keepdim=True) * _last(rtol)
    return limit if atol is None else limit.maximum(limit * 0 + _last(atol))


def _last(v: Any) -> Any:
    return v.unsqueeze(-1) if isinstance(v, Tensor) else v


def matrix_power(A: Tensor, n: int) -> Tensor:
    """Aⁿ; negative n for powers of the inverse."""
    base = row("inverse", A) if n < 0 else A
    result = base @ row("inverse", base) if n == 0 else base
    for _ in range(abs(n) - 1):
        result = result @ base
    return result


def qr(input: Tensor, some: bool = True) -> Any:
    """(Q, R) with A = Q R; Q is square where not ``some``."""
    return _PLAIN_QR(*linalg_qr(input, "reduced" if some else "complete"))


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, singular values falling, V); U and V square where not ``some``."""
    u, s, vh = linalg_svd(input, full_matrices=not (some and compute_uv))
    return _PLAIN_SVD(u, s, vh.mH) if compute_uv else _PLAIN_SVD(u * 0, s, vh.mH * 0)


def pinverse(input: Tensor, rcond: Any = 1e-15) -> Tensor:
    """The pseudoinverse, over the singular values above ``rcond`` of the largest."""
    return pinv(input, rcond)


def lu_factors(A: Tensor, pivot: bool = True) -> Any:
    """(L and U in one matrix, pivots from 1)."""
    if not pivot:
        raise RuntimeError(
            "linalg.lu_factor: LU without pivoting is not implemented on the CPU; use pivot=True"
        )
    return LUFactors(row("linalg_lu_factor_0", A), row("linalg_lu_factor_1", A))


def zero_pivot(factors: Tensor) -> Tensor:
    """The number (from 1) of the first zero on the diagonal of U, 0 where there is none."""
    zeros = np.diagonal(_values(factors), axis1=-2, axis2=-1) == 0
    found = np.where(zeros.any(-1), zeros.argmax(-1) + 1 if zeros.shape[-1] else 0, 0)
    return _info(found)


def _values(t: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(arrays.to_numpy(t.detach().array()))


def _info(found: Any) -> Tensor:
    return Tensor.from_value(np.asarray(found, np.int32), dtypes.int32)


def lu(input: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """(L and U in one matrix, pivots from 1), and the first zero pivot where asked."""
    found = lu_factors(input, pivot)
    return LUFactorsInfo(*found, zero_pivot(found[0])) if get_infos else found


def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """(X with A X = b, A), of which a triangle is read."""
    matrix = A.mT if transpose else A
    found = row("linalg_solve_triangular", matrix, b, upper=upper != transpose,
                unitriangular=unitriangular)  # fmt: skip
    return _SOLVED(found, A.clone())


def failing_minor(A: Tensor) -> Tensor:
    """The order of the first leading minor that is not positive, 0 of positive definite matrices."""
    values = _values(A)
    orders = np.zeros(values.shape[:-2], np.int32)
    for at in np.ndindex(orders.shape):
        matrix = values[at]
        orders[at] = next(
            (k for k in range(1, len(matrix) + 1) if not _definite(matrix[:k, :k])), 0
        ) * (not _definite(matrix))  # fmt: skip
    return _info(orders)


def _definite(matrix: np.ndarray[Any, Any]) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def install() -> dict[str, Callable[..., Any]]:
    """Give Tensor the methods; return the functions by name."""
    functions = (slogdet, matrix_power, qr, svd, pinverse, lu, triangular_solve)
    for f in functions:
        setattr(Tensor, f.__name__, f)
    return {f.__name__: f for f in functions}
