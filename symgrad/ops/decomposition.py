"""Decompositions of matrices, real and complex: eigenvalues of Hermitian ones, QR and SVD.

Equal eigenvalues and equal singular values give inf or NaN where the derivative does not exist.
Complex vectors are determined but for a phase each: derivatives are those of functions that the
phases do not change, as PyTorch's.

Source: Walter and Lehmann, "Walter's QR" (2010); Seeger et al., "Auto-differentiating linear
algebra" (2017) for eigh; Wan and Zhang (2019) for the SVD of complex matrices.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from symgrad.core.build import cast, elementwise, matmul, power, product, scale, unsqueeze
from symgrad.core.dtypes import real_of
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS
from symgrad.core.sizes import Size, shape_text
from symgrad.errors import ShapeError
from symgrad.ops.join import tril, triu
from symgrad.ops.matrix import (
    Inferred,
    Several,
    adjoint,
    diagonal,
    floating,
    identity,
    linalg,
    several,
    solved,
    square,
    times,
)
from symgrad.ops.outputs import projections


def _eigh_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    return (a.shape[:-1], real_of(a.dtype)), (a.shape, a.dtype)


def _gaps(values: Expr) -> Expr:
    """F[i, j] = 1/(wⱼ − wᵢ), 0 on the diagonal; infinite where two values agree."""
    r = values.ndim
    eye = identity(unsqueeze(values, [r]), values.shape[-1])
    apart = unsqueeze(values, [r - 1]) - unsqueeze(values, [r]) + eye
    return power(apart, -1) - eye


def _eigh_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = V (diag(w̄) + F ⊙ ½ (VᴴV̄ − V̄ᴴV)) Vᴴ, which is Hermitian as A is."""
    values, vectors = projections(node)
    gw, gv = adjoints
    t = adjoint(vectors)
    parts: list[Expr] = []
    if gw is not None:
        parts.append(cast(diagonal(gw), t.dtype))
    if gv is not None:
        turned = matmul(t, gv)
        skew = scale(Fraction(1, 2), turned - adjoint(turned))
        parts.append(product(cast(_gaps(values), t.dtype), skew))
    if not parts:
        return (None,)
    inner = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return (times(vectors, inner, t),)


several("eigh", _eigh_outputs, _eigh_vjp, linalg("eigh", jax_more=", symmetrize_input=False"))


def eigh(a: Expr) -> tuple[Expr, ...]:
    """(w, V), w rising, with A V = V diag(w); only the lower triangle of ``a`` is read."""
    square(a, "linalg.eigh")
    return projections(apply(OPS["eigh"], (a,)))


def smaller(a: Expr, what: str) -> Size:
    """The smaller of the sizes of the last two axes."""
    rows, columns = a.shape[-2:]
    if rows == columns:
        return rows
    if isinstance(rows, int) and isinstance(columns, int):
        return min(rows, columns)
    raise ShapeError(
        f"{what}: which of the sizes {rows} and {columns} is smaller is not known. Give the "
        "matrix numbers as its sizes."
    )


def _real_part(e: Expr) -> Expr:
    return cast(elementwise("real", e), e.dtype) if e.dtype.is_complex else e


def _qr_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    k = smaller(a, "linalg.qr")
    front, (rows, columns) = a.shape[:-2], a.shape[-2:]
    return ((*front, rows, k), a.dtype), ((*front, k, columns), a.dtype)


def _qr_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = (Q̄ + Q sym(M)) R⁻ᴴ with M = R R̄ᴴ − Q̄ᴴ Q, its lower triangle mirrored."""
    q, r = projections(node)
    gq, gr = adjoints
    if q.shape[-1] != r.shape[-1]:
        raise ShapeError(
            f"the derivative of qr needs at least as many rows as columns, not {q.shape[-2]} by "
            f"{r.shape[-1]}"
        )
    parts: list[Expr] = []
    if gr is not None:
        parts.append(matmul(r, adjoint(gr)))
    if gq is not None:
        parts.append(scale(-1, matmul(adjoint(gq), q)))
    if not parts:
        return (None,)
    m = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    lower = tril(m, -1)
    mirrored = lower + adjoint(lower) + _real_part(tril(triu(m)))
    right = matmul(q, mirrored)
    if gq is not None:
        right = gq + right
    back = solved("triangular_solve", r, adjoint(right), False)
    return (adjoint(back),)


several("qr", _qr_outputs, _qr_vjp, linalg("qr"))


def qr(a: Expr) -> tuple[Expr, ...]:
    """(Q, R), reduced, with A = Q R, QᴴQ = I and R upper triangular."""
    if a.ndim < 2:
        raise ShapeError(f"linalg.qr: The input tensor must have at least 2 dimensions, not "
                         f"{shape_text(a.shape)}")  # fmt: skip
    floating(a, "linalg.qr")
    return projections(apply(OPS["qr"], (a,)))


def _svd_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    k = smaller(a, "linalg.svd")
    front, (rows, columns) = a.shape[:-2], a.shape[-2:]
    return (
        ((*front, rows, k), a.dtype), ((*front, k), real_of(a.dtype)),
        ((*front, k, columns), a.dtype),
    )  # fmt: skip


def _svd_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = U (diag(s̄) + E ⊙ skew terms) Vᴴ + the parts outside the spans of U and V.

    With K = skew(Uᴴ Ū), J = skew(Vᴴ V̄) and E[i, j] = 1/(sⱼ² − sᵢ²):
    ``U [(K ⊙ E) S + S (J ⊙ E) + diag(s̄)] Vᴴ``, ``(I − U Uᴴ) Ū S⁻¹ Vᴴ``, ``U S⁻¹ V̄ᴴ (I − V Vᴴ)``.
    Of complex matrices K and J have a diagonal, J's is −K's, and ``U diag(K) (2 S)⁻¹ Vᴴ`` is added.
    """
    u, s, vt = projections(node)
    gu, gs, gvt = adjoints
    rows, columns = node.args[0].shape[-2:]
    gaps = cast(_gaps(product(s, s)), u.dtype)
    as_row, as_column = (cast(unsqueeze(s, [s.ndim - k]), u.dtype) for k in (1, 0))
    inner: list[Expr] = []
    outer: list[Expr] = []
    if gs is not None:
        inner.append(cast(diagonal(gs), u.dtype))
    if gu is not None:
        k = matmul(adjoint(u), gu)
        skew = k - adjoint(k)
        inner.append(product(product(skew, gaps), as_row))
        if gvt is not None and u.dtype.is_complex:
            inner.append(product(tril(triu(skew)), power(2 * as_row, -1)))
        if rows != s.shape[-1]:
            outside = gu - matmul(u, k)
            outer.append(matmul(product(outside, power(as_row, -1)), vt))
    if gvt is not None:
        j = matmul(vt, adjoint(gvt))
        inner.append(product(as_column, product(j - adjoint(j), gaps)))
        if columns != s.shape[-1]:
            outside = gvt - matmul(adjoint(j), vt)
            outer.append(matmul(u, product(power(as_column, -1), outside)))
    if not inner:
        return (None,)
    total = inner[0]
    for part in inner[1:]:
        total = total + part
    result = times(u, total, vt)
    for part in outer:
        result = result + part
    return (result,)


several("svd", _svd_outputs, _svd_vjp, linalg("svd", more=", full_matrices=False"))


def svd(a: Expr) -> tuple[Expr, ...]:
    """(U, s, Vᴴ), reduced, with A = U diag(s) Vᴴ and s falling."""
    if a.ndim < 2:
        raise ShapeError(f"linalg.svd: The input tensor must have at least 2 dimensions, not "
                         f"{shape_text(a.shape)}")  # fmt: skip
    floating(a, "linalg.svd")
    return projections(apply(OPS["svd"], (a,)))


__all__ = ["eigh", "qr", "smaller", "svd"]
