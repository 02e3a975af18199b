"""Matrix functions under PyTorch's names: ``symgrad.linalg``."""

from __future__ import annotations

import math
from typing import Any

from symgrad.errors import LinAlgError, ShapeError
from symgrad.tensors.creation import eye, ones_like, zeros
from symgrad.tensors.factors import (
    LUFactorsInfo,
    failing_minor,
    linalg_qr,
    linalg_svd,
    lu_factors,
    pinv,
    singular_values,
    svdvals,
    tolerance,
    zero_pivot,
)
from symgrad.tensors.factors import matrix_power as repeated_product
from symgrad.tensors.factors import slogdet as signed_logdet
from symgrad.tensors.several import pair, row
from symgrad.tensors.tensor import Tensor

Eigh = pair("linalg_eigh", ("eigenvalues", "eigenvectors"))
LU = pair("linalg_lu", ("P", "L", "U"))
LstSq = pair("linalg_lstsq", ("solution", "residuals", "rank", "singular_values"))
CholeskyInfo = pair("linalg_cholesky_ex", ("L", "info"))
InverseInfo = pair("linalg_inv_ex", ("inverse", "info"))
SolveInfo = pair("linalg_solve_ex", ("result", "info"))
qr, svd, slogdet, matrix_power = linalg_qr, linalg_svd, signed_logdet, repeated_product


def inv(A: Tensor) -> Tensor:
    """A⁻¹ of square matrices ``(…, n, n)``."""
    return row("inverse", A)


def det(A: Tensor) -> Tensor:
    """det A of ``(…, n, n)``."""
    return row("det", A)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (X A = B where not ``left``); B is ``(…, n, k)`` or a vector."""
    return row("linalg_solve", A, B) if left else row("linalg_solve", A.mT, B.mT).mT


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L Lᴴ = A, for positive definite A; Lᴴ where ``upper``."""
    return row("cholesky", A.mH).mH if upper else row("cholesky", A)


def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues rising, eigenvectors as columns) of Hermitian A, of which a triangle is read."""
    A = A.mH if UPLO.upper() == "U" else A
    return Eigh(row("eigh_0", A), row("eigh_1", A))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian A, rising."""
    return eigh(A, UPLO)[0]


def _axes(x: Tensor, dim: Any) -> tuple[int, ...]:
    listed = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % max(x.ndim, 1) for d in listed)


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The 2-norm of all entries; ``ord`` of a vector, or of the matrices that ``dim`` names."""
    A = A if dtype is None else A.to(dtype)
    if ord is None:
        return row("norm", A, 2, dim, keepdim)
    if dim is None and A.ndim == 2:
        dim = (0, 1)
    if dim is not None and not isinstance(dim, int) and len(dim) == 2:
        return matrix_norm(A, ord, dim, keepdim)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: ord={ord!r} is a norm of matrices; give two axes as dim")
    return row("norm", A, ord, dim, keepdim)


def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) along ``dim``."""
    return row("norm", x if dtype is None else x.to(dtype), ord, dim, keepdim)


def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """Norms of matrices: "fro", "nuc", ±1 and ±∞ (sums of columns, rows), ±2 (singular values)."""
    A = A if dtype is None else A.to(dtype)
    rows, columns = _axes(A, dim)
    if ord == "fro":
        return row("norm", A, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(A.movedim((rows, columns), (-2, -1)))
        found = (
            values.sum(-1) if ord == "nuc" else getattr(values, "amax" if ord > 0 else "amin")(-1)
        )
    elif ord in (1, -1, math.inf, -math.inf):
        summed, kept = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = A.abs().sum(summed, keepdim=True)
        found = getattr(sums, "amax" if ord > 0 else "amin")(kept, keepdim=True)
        found = found.squeeze((rows, columns))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    for axis in sorted((rows, columns)) if keepdim else ():
        found = found.unsqueeze(axis)
    return found


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Σ x y along ``dim``."""
    return row("linalg_vecdot", x, y, dim=dim)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along an axis of size 3."""
    return row("cross", input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of matrices, as the last axis."""
    return row("diagonal", A, offset, dim1, dim2)


def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices."""
    first, *rest = tensors
    if not rest:
        raise ShapeError("multi_dot(): expected at least 2 tensors but got 1")
    for t in rest:
        first = first @ t
    return first


def matrix_exp(A: Tensor) -> Tensor:
    """I + A + A²/2 + A³/6 + …"""
    return row("matrix_exp", A)


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B (X A = B where not ``left``); one triangle of A is read."""
    return row("linalg_solve_triangular", A, B, upper=upper, left=left, unitriangular=unitriangular)


def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P L U."""
    lu_factors(A, pivot)
    return LU(*(row(f"linalg_lu_{k}", A) for k in range(3)))


def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(L and U in one matrix, pivots from 1)."""
    return lu_factors(A, pivot)


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """``lu_factor`` and the number of the first zero pivot, 0 where there is none."""
    found = lu_factors(A, pivot)
    return LUFactorsInfo(*found, _checked(zero_pivot(found[0]), check_errors, "lu_factor_ex"))


def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X with A X = B from the factors of A; Aᴴ where ``adjoint``, X A where not ``left``."""
    return row("lu_solve", B, LU, pivots, left=left, adjoint=adjoint)


def _checked(info: Tensor, wanted: bool, name: str) -> Tensor:
    if wanted and bool(info.ne(0).any()):
        raise LinAlgError(f"linalg.{name}: the matrix is singular or not positive definite; "
                          f"info is {info.tolist()}")  # fmt: skip
    return info


def _regular(A: Tensor, info: Tensor) -> Tensor:
    """A, with the identity in place of matrices that have no inverse."""
    bad = info.ne(0).unsqueeze(-1).unsqueeze(-1)
    return row("where", bad, eye(A.shape[-1], dtype=A.dtype), A)


def _infinite(found: Tensor, info: Tensor, axes: int) -> Tensor:
    for _ in range(axes):
        info = info.unsqueeze(-1)
    return found.masked_fill(info.ne(0), math.inf)


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, order of the first leading minor that is not positive, else 0)."""
    info = _checked(failing_minor(A), check_errors, "cholesky_ex")
    return CholeskyInfo(cholesky(_regular(A, info), upper=upper), info)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(A⁻¹, number of the first zero pivot, else 0); a singular matrix gives ∞."""
    info = _checked(zero_pivot(lu_factors(A)[0]), check_errors, "inv_ex")
    return InverseInfo(_infinite(inv(_regular(A, info)), info, 2), info)


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(X with A X = B, number of the first zero pivot, else 0); a singular matrix gives ∞."""
    info = _checked(zero_pivot(lu_factors(A)[0]), check_errors, "solve_ex")
    found = solve(_regular(A, info), B, left=left)
    return SolveInfo(_infinite(found, info, found.ndim - info.ndim), info)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """‖A‖ ‖A⁻¹‖ in the norm ``p``; ∞ of singular matrices."""
    if p in (None, 2, -2):
        values = svdvals(A)
        if 0 in A.shape[-2:]:
            return values.sum(-1)
        first, last = values.select(-1, 0), values.select(-1, -1)
        return last / first if p == -2 else first / last
    inverse, info = inv_ex(A)
    return _infinite(matrix_norm(A, p) * matrix_norm(inverse, p), info, 0)


def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are above the tolerance."""
    values = singular_values(A, hermitian).detach()
    if 0 in A.shape[-2:]:
        return values.gt(0).sum(-1)
    limit = tolerance(A, values, atol if tol is None else tol, rtol if tol is None else 0.0)
    return values.gt(limit).sum(-1)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers 0 … N − 1 of the entries, as rows."""
    if N is not None and N <= 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 1, not {N}")
    x = x if x.ndim else x.reshape(1)
    width = x.shape[-1] if N is None else N
    shape = tuple(x.shape)
    first = ones_like(x).to((x.sum() if x.dtype.kind in "bui" else x).dtype).unsqueeze(-1)
    more = x.unsqueeze(-1).expand((*shape, width - 1)).cumprod(-1)
    return row("cat", [first, more], -1)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map between the axes from ``ind`` on and those before."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    before, after = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(before) != math.prod(after):
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {math.prod(after)} != {math.prod(before)}"
        )
    return inv(A.reshape((math.prod(before), math.prod(after)))).reshape((*after, *before))


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B; the axes ``dims`` of A are put last."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = tuple(A.shape[B.ndim :])
    if math.prod(shape) != math.prod(B.shape):
        raise ShapeError("Expected self to satisfy the requirement prod(self.shape[other.ndim:]) "
                         f"== prod(other.shape), but got {shape} and {tuple(B.shape)}")  # fmt: skip
    n = math.prod(shape)
    return solve(A.reshape((n, n)), B.reshape((n,))).reshape(shape)


def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """(X with least ‖A X − B‖, squared residuals, rank, singular values).

    Of several solutions the shortest.  The last three are empty where PyTorch leaves them empty.
    """
    driver = driver or "gelsy"
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, "
                           f"gelsd, gelss), not {driver}")  # fmt: skip
    vector = B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]
    right = B.unsqueeze(-1) if vector else B
    rows, columns = A.shape[-2:]
    rank = matrix_rank(A, rtol=rcond)
    full = bool(rank.eq(min(rows, columns)).all())
    if 0 in A.shape or not (full or driver == "gels"):
        x = pinv(A, rcond) @ right
    elif rows >= columns:
        q, r = qr(A)
        x = solve_triangular(r, q.mH @ right, upper=True)
    else:
        q, r = qr(A.mH)
        x = q @ solve_triangular(r.mH, right, upper=False)
    missing = A.abs().reshape(-1).narrow(0, 0, 0)
    residuals = missing
    if rows > columns and full and driver != "gelsy":
        residuals = (A @ x - right).abs().square().sum(-2)
        residuals = residuals.squeeze(-1) if vector else residuals
    return LstSq(
        x.squeeze(-1) if vector else x,
        residuals,
        zeros(0, dtype=rank.dtype) if driver == "gels" else rank,
        svdvals(A) if driver in ("gelsd", "gelss") else missing,
    )
