"""Matrix functions under PyTorch's names: ``symgrad.linalg``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from symgrad.calls import call
from symgrad.functional.table import FUNCTIONS
from symgrad.tensor import Tensor

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


def cholesky(A: Tensor) -> Tensor:
    """L with L Lᵀ = A, for positive definite A."""
    return _row("cholesky", A)


def slogdet(A: Tensor) -> Slogdet:
    """(sign of det A, log |det A|)."""
    return Slogdet(_row("slogdet_0", A), _row("slogdet_1", A))


def eigh(A: Tensor) -> Eigh:
    """(eigenvalues rising, eigenvectors as columns) of symmetric A."""
    return Eigh(_row("eigh_0", A), _row("eigh_1", A))


def eigvalsh(A: Tensor) -> Tensor:
    """Eigenvalues of symmetric A, rising."""
    return _row("eigh_0", A)


def qr(A: Tensor) -> QR:
    """(Q, R) with A = Q R, reduced."""
    return QR(_row("qr_0", A), _row("qr_1", A))


def svd(A: Tensor, full_matrices: bool = False) -> SVD:
    """(U, singular values falling, Vᵀ), reduced.

    Deviation from PyTorch: ``full_matrices`` is False by default and cannot be True.
    """
    if full_matrices:
        raise NotImplementedError("svd(full_matrices=True); the reduced form is there")
    return SVD(_row("svd_0", A), _row("svd_1", A), _row("svd_2", A))


def svdvals(A: Tensor) -> Tensor:
    """Singular values, falling."""
    return _row("svd_1", A)


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The 2-norm of all entries, or the vector norm ``ord`` along ``dim``."""
    if isinstance(dim, tuple) and len(dim) == 2 and ord not in (None, "fro"):
        raise NotImplementedError(f"linalg.norm(ord={ord!r}) of matrices; 'fro' is there")
    if dim is None and A.ndim > 1 and ord not in (None, "fro"):
        raise NotImplementedError(f"linalg.norm(ord={ord!r}) of matrices; 'fro' is there")
    return _row("norm", A, 2 if ord in (None, "fro") else ord, dim, keepdim)


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) along ``dim``."""
    return _row("norm", x, ord, dim, keepdim)


def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The Frobenius norm of matrices."""
    return norm(A, ord, dim, keepdim)


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
