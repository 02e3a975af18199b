"""Matrix functions under PyTorch's names: ``symgrad.linalg``."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.functional.table import FUNCTIONS
from symgrad.tensors.calls import call
from symgrad.tensors.limits import finfo
from symgrad.tensors.tensor import Tensor

Slogdet = namedtuple("slogdet", ["sign", "logabsdet"])  # noqa: PYI024 - PyTorch's name
Eigh = namedtuple("linalg_eigh", ["eigenvalues", "eigenvectors"])  # noqa: PYI024
QR = namedtuple("linalg_qr", ["Q", "R"])  # noqa: PYI024
SVD = namedtuple("linalg_svd", ["U", "S", "Vh"])  # noqa: PYI024


def _row(name: str, *args: Any) -> Any:
    return call(FUNCTIONS[name], args, {})


def inv(A: Tensor) -> Tensor:
    """A⁻¹ of square matrices ``(…, n, n)``."""
    return _row("inverse", A)


def det(A: Tensor) -> Tensor:
    """det A of ``(…, n, n)``."""
    return _row("det", A)


def solve(A: Tensor, B: Tensor) -> Tensor:
    """X with A X = B; B is ``(…, n, k)`` or a vector."""
    return _row("linalg_solve", A, B)


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L Lᵀ = A, for positive definite A; Lᵀ where ``upper``."""
    return _row("cholesky", A.mT).mT if upper else _row("cholesky", A)


def slogdet(A: Tensor) -> Slogdet:
    """(sign of det A, log |det A|)."""
    return Slogdet(_row("slogdet_0", A), _row("slogdet_1", A))


def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """(eigenvalues rising, eigenvectors as columns) of symmetric A, of which a triangle is read."""
    A = A.mT if UPLO.upper() == "U" else A
    return Eigh(_row("eigh_0", A), _row("eigh_1", A))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of symmetric A, rising."""
    return eigh(A, UPLO)[0]


def qr(A: Tensor, mode: str = "reduced") -> QR:
    """(Q, R) with A = Q R: "reduced", "complete" (square Q), or "r" (an empty Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    q, r = _row("qr_0", A), _row("qr_1", A)
    if mode == "r":
        return QR(Tensor.from_value(np.zeros(0, A.dtype.numpy), A.dtype), r)
    rows, columns = A.shape[-2:]
    if mode == "complete" and rows > columns:
        q = call(FUNCTIONS["cat"], ([q, _complement(q)], -1), {})
        below = r.new_zeros((*r.shape[:-2], rows - columns, columns))
        r = call(FUNCTIONS["cat"], ([r, below], -2), {})
    return QR(q, r)


def _complement(q: Tensor) -> Tensor:
    """Orthonormal columns orthogonal to those of q: constants, for no derivative is unique there."""
    whole = np.linalg.svd(np.asarray(arrays.to_numpy(q.detach().array())), full_matrices=True)[0]
    return Tensor.from_value(np.ascontiguousarray(whole[..., q.shape[-1] :]), q.dtype)


def svd(A: Tensor, full_matrices: bool = True) -> SVD:
    """(U, singular values falling, Vᵀ); U and V square, or reduced where not ``full_matrices``."""
    u, s, vh = _row("svd_0", A), _row("svd_1", A), _row("svd_2", A)
    rows, columns = A.shape[-2:]
    if full_matrices and rows != columns:
        if rows > columns:
            u = call(FUNCTIONS["cat"], ([u, _complement(u)], -1), {})
        else:
            vh = call(FUNCTIONS["cat"], ([vh, _complement(vh.mT).mT], -2), {})
    return SVD(u, s, vh)


def svdvals(A: Tensor) -> Tensor:
    """Singular values, falling."""
    return _row("svd_1", A)


def _axes(x: Tensor, dim: Any) -> tuple[int, ...]:
    listed = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % max(x.ndim, 1) for d in listed)


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The 2-norm of all entries; ``ord`` of a vector, or of the matrices that ``dim`` names."""
    A = A if dtype is None else A.to(dtype)
    if ord is None:
        return _row("norm", A, 2, dim, keepdim)
    if dim is None and A.ndim == 2:
        dim = (0, 1)
    if dim is not None and not isinstance(dim, int) and len(dim) == 2:
        return matrix_norm(A, ord, dim, keepdim)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: ord={ord!r} is a norm of matrices; give two axes as dim")
    return _row("norm", A, ord, dim, keepdim)


def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) along ``dim``."""
    return _row("norm", x if dtype is None else x.to(dtype), ord, dim, keepdim)


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
        return _row("norm", A, 2, (rows, columns), keepdim)
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
    return call(FUNCTIONS["linalg_vecdot"], (x, y), {"dim": dim})


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along an axis of size 3."""
    return _row("cross", input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of matrices, as the last axis."""
    return _row("diagonal", A, offset, dim1, dim2)


def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudoinverse V diag(1/σ) Uᵀ over the singular values above the tolerance."""
    if 0 in A.shape:
        return A.mT
    values = svdvals(A).detach()
    rtol = rcond if rtol is None else rtol
    if rtol is None:
        rtol = 0.0 if atol is not None else max(A.shape[-2:]) * finfo(A.dtype).eps
    limit = values.amax(-1, keepdim=True) * _last(rtol)
    limit = limit if atol is None else limit.maximum(limit * 0 + _last(atol))
    rank = (values > limit).sum(-1)
    full = min(A.shape[-2:])
    if bool((rank == full).all()):
        tall = A.shape[-2] >= A.shape[-1]
        if A.shape[-2] == A.shape[-1]:
            return inv(A)
        return solve(A.mT @ A, A.mT) if tall else solve(A @ A.mT, A).mT
    u, s, vh = svd(A, full_matrices=False)
    kept = values > limit
    inverse = (
        (s.masked_fill(kept.logical_not(), 1.0)).reciprocal().masked_fill(kept.logical_not(), 0.0)
    )
    return (vh.mT * inverse.unsqueeze(-2)) @ u.mT


def _last(v: Any) -> Any:
    return v.unsqueeze(-1) if isinstance(v, Tensor) else v


def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices."""
    first, *rest = tensors
    for t in rest:
        first = first @ t
    return first


def matrix_power(A: Tensor, n: int) -> Tensor:
    """Aⁿ; negative n for powers of the inverse."""
    base = inv(A) if n < 0 else A
    result = base @ inv(base) if n == 0 else base
    for _ in range(abs(n) - 1):
        result = result @ base
    return result
