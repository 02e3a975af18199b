"""Matrix functions of the public surface; results of several are rows of their own."""

from __future__ import annotations

from typing import Any

from symgrad.core.build import matmul
from symgrad.core.expr import Expr
from symgrad.functional.table import public
from symgrad.ops import join, matrix, structure


@public(saves=("result",))
def inverse(a: Expr) -> Expr:
    """A⁻¹."""
    return matrix.inv(a)


@public(saves=(0, "result"))
def det(a: Expr) -> Expr:
    """det A."""
    return matrix.det(a)


@public(saves=(0,))
def logdet(a: Expr) -> Expr:
    """log det A; NaN where det A is negative."""
    return matrix.logdet(a)


@public("linalg_solve", grad_fn="LinalgSolveExBackward0", saves=(0, "result"), method=False)
def linalg_solve(a: Expr, b: Expr) -> Expr:
    """X with A X = B."""
    return matrix.solve(a, b)


@public(saves=("result",))
def cholesky(a: Expr) -> Expr:
    """L with L Lᵀ = A."""
    return matrix.cholesky(a)


def _results(name: str, build: Any, count: int, title: str) -> None:
    for k in range(count):

        def one(a: Expr, _k: int = k) -> Expr:
            return build(a)[_k]

        one.__doc__ = f"Result {k} of {name}."
        public(f"{name}_{k}", grad_fn=title, method=False)(one)


_results("slogdet", matrix.slogdet, 2, "LinalgSlogdetBackward0")
_results("eigh", matrix.eigh, 2, "LinalgEighBackward0")


def _qr(a: Expr) -> tuple[Expr, ...]:
    """Of a wide matrix [X Y]: Q U = X, R = [U QᵀY]."""
    if a.ndim < 2:
        return matrix.qr(a)
    rows, columns = a.shape[-2:]
    if not (isinstance(rows, int) and isinstance(columns, int) and 0 < rows < columns):
        return matrix.qr(a)
    q, square = matrix.qr(structure.slice_axis(a, -1, 0, rows))
    rest = matmul(matrix.transposed(q), structure.slice_axis(a, -1, rows, columns))
    return q, join.concatenate([square, rest], -1)


_results("qr", _qr, 2, "LinalgQrBackward0")
_results("svd", matrix.svd, 3, "LinalgSvdBackward0")
