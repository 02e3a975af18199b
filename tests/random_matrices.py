"""Steps of random programs: functions of well-conditioned matrices."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import constant, delta, product
from symgrad.ops import cofactors, decomposition, factor, matrix
from symgrad.ops.banded import tridiagonal_solve
from tests.random_programs import Array, Node, Plan, Program


def _turned(x: Any) -> Any:
    return jnp.swapaxes(x, -1, -2)


def _matrix(program: Program, definite: bool) -> int:
    """A Aᵀ + I, or a matrix at least as tall as wide."""

    def fits(node: Node) -> bool:
        rows = node.value.shape[-2:]
        return node.value.ndim in (2, 3) and max(rows) <= 3 and (definite or rows[0] >= rows[1])

    shape = (program.size(3), program.size(2))
    k = program.bounded(program.operand(fits, shape))
    if not definite:
        return k
    size = program.nodes[k].expr.shape[-2]
    eye = delta(size, dtypes.float64)
    extent = program.nodes[k].value.shape[-2]
    return program.emit("A Aᵀ + I", lambda a: a @ matrix.transposed(a) + eye,
                        lambda a: a @ _turned(a) + jnp.eye(extent), k)  # fmt: skip


def _of_matrix(name: str, build: Callable[..., Any], function: Callable[..., Any]) -> Plan:
    def plan(program: Program) -> None:
        program.emit(name, build, function, _matrix(program, definite=True))

    return plan


def _right(program: Program, a: int, vectors: bool) -> int:
    shape = program.nodes[a].expr.shape
    columns = program.size(2)

    def fits(node: Node) -> bool:
        mine = node.expr.shape
        if vectors and mine == shape[:-1]:
            return True
        return len(mine) == len(shape) and mine[-2] == shape[-1] and mine[:-2] == shape[:-2]

    return program.bounded(program.operand(fits, (*shape[:-1], columns)))


def _solve(program: Program) -> None:
    a = _matrix(program, definite=True)
    b = _right(program, a, vectors=True)

    def function(x: Any, y: Any) -> Any:
        return (
            jnp.linalg.solve(x, y[..., None])[..., 0] if y.ndim < x.ndim else jnp.linalg.solve(x, y)
        )

    program.emit("solve", matrix.solve, function, a, b)


def _triangular_solve(program: Program) -> None:
    a = _matrix(program, definite=True)
    b = _right(program, a, vectors=False)
    low, unit = bool(program.choose(2)), bool(program.choose(2))
    program.emit(
        f"triangular_solve {low} {unit}",
        lambda x, y: matrix.triangular_solve(x, y, lower=low, unit=unit),
        lambda x, y: jax.lax.linalg.triangular_solve(
            x, y, left_side=True, lower=low, unit_diagonal=unit
        ),
        a, b,
    )  # fmt: skip


def _eigh(program: Program) -> None:
    a = _matrix(program, definite=True)
    which = program.choose(2)

    def build(x: Any) -> Any:
        found = decomposition.eigh(x)
        return product(found[1], found[1]) if which else found[0]

    def function(x: Any) -> Any:
        values, vectors = jnp.linalg.eigh(x)
        return vectors * vectors if which else values

    def clear(x: Array) -> bool:
        gaps = np.diff(np.linalg.eigvalsh(x), axis=-1)
        return not gaps.size or bool(gaps.min() > 0.3)

    program.emit(f"eigh [{which}]", build, function, a, clear=clear)


def _svd(program: Program) -> None:
    a = _matrix(program, definite=False)
    which = program.choose(3)

    def build(x: Any) -> Any:
        found = decomposition.svd(x)[which]
        return found if which == 1 else product(found, found)

    def function(x: Any) -> Any:
        found = jnp.linalg.svd(x, full_matrices=False)[which]
        return found if which == 1 else found * found

    def clear(x: Array) -> bool:
        s = np.linalg.svd(x, compute_uv=False)
        return bool(s.min() > 0.3 and all((s[..., j] - s[..., j + 1]).min() > 0.3
                                          for j, _ in pairwise(range(s.shape[-1]))))  # fmt: skip

    program.emit(f"svd [{which}]", build, function, a, clear=clear)


def _same_reflections(x: Array) -> bool:
    """No diagonal entry of R is small, and no column is zero but for rounding below its first entry."""
    packed, taus = np.linalg.qr(
        x, mode="raw"
    )  # tau = 1 + |first entry| / length, 0 without a mirror
    rows, count = x.shape[-2], min(x.shape[-2:])
    diagonal = np.abs(np.diagonal(packed, axis1=-2, axis2=-1))[..., :count]
    mirrors = taus[..., : min(count, rows - 1)]
    return bool(
        diagonal.min() > 0.3 and (not mirrors.size or 0 < mirrors.min() <= mirrors.max() < 1.99)
    )


def _qr(program: Program) -> None:
    a = _matrix(program, definite=False)
    which = program.choose(2)
    program.emit(
        f"qr [{which}]", lambda x: decomposition.qr(x)[which], lambda x: jnp.linalg.qr(x)[which], a,
        clear=_same_reflections,
    )  # fmt: skip


def _same_pivots(x: Array) -> bool:
    """No pivot is small, and none is close to the next candidate."""
    packed, _, _ = map(np.asarray, jax.lax.linalg.lu(x))
    rows, columns = packed.shape[-2:]
    below = np.tril(packed, -1)[..., : min(rows, columns)]
    pivots = np.abs(np.diagonal(packed, axis1=-2, axis2=-1))
    return bool(np.abs(below).max() < 0.95 and pivots.min() > 0.2)


def _lu(program: Program) -> None:
    a = _matrix(program, definite=False)
    program.emit("lu", lambda x: factor.lu(x)[0], lambda x: jax.lax.linalg.lu(x)[0], a,
                 clear=_same_pivots)  # fmt: skip


def _pivot_permutation(program: Program) -> None:
    a = _matrix(program, definite=False)
    rows = program.nodes[a].expr.shape[-2]
    program.emit(
        "pivot_permutation", lambda x: factor.permutation(factor.lu(x)[1], rows),
        lambda x: jax.lax.linalg.lu(x)[2].astype(jnp.int64), a, clear=_same_pivots,
    )  # fmt: skip


def _pinv(program: Program) -> None:
    a = _matrix(program, definite=False)
    if program.choose(2):  # wide
        a = program.emit("transpose", matrix.transposed, _turned, a)

    def build(x: Any) -> Any:
        return factor.pinv(x, constant(0.01, x.dtype, (*x.shape[:-2], 1)))

    program.emit(
        "pinv", build, lambda x: jnp.linalg.pinv(x, rtol=1e-3), a,
        clear=lambda x: bool(np.linalg.svd(x, compute_uv=False).min() > 0.3),
    )  # fmt: skip


def _matrix_exp(program: Program) -> None:
    def fits(node: Node) -> bool:
        rows = node.value.shape[-2:]
        return node.value.ndim in (2, 3) and rows[0] == rows[1] <= 3

    size = program.size(program.pick((2, 3)))
    a = program.bounded(program.operand(fits, (size, size)))
    program.emit("matrix_exp", factor.matrix_exp, jax.scipy.linalg.expm, a)


def _tridiagonal_solve(program: Program) -> None:
    """Rows that the middle diagonal dominates: 4 + |m| against two of at most 1."""
    b = program.bounded(
        program.operand(
            lambda node: node.value.ndim in (2, 3) and isinstance(node.expr.shape[-2], int),
            (program.pick((2, 3, 4)), 2),
        )
    )
    shape = program.nodes[b].expr.shape[:-1]

    def diagonal() -> int:
        return program.operand(lambda node: node.expr.shape == shape, shape)

    low, up = (program.bounded(diagonal(), 1.0) for _ in range(2))
    middle = program.emit("4 + square", lambda x: x * x + 4, lambda x: x * x + 4,
                          program.bounded(diagonal()))  # fmt: skip

    def function(low: Any, middle: Any, up: Any, right: Any) -> Any:
        n = middle.shape[-1]
        first, last = jnp.arange(n) == 0, jnp.arange(n) == n - 1
        whole = (
            middle[..., None] * jnp.eye(n)
            + jnp.where(first, 0, low)[..., None] * jnp.eye(n, k=-1)
            + jnp.where(last, 0, up)[..., None] * jnp.eye(n, k=1)
        )
        return jnp.linalg.solve(whole, right)

    program.emit("tridiagonal_solve", tridiagonal_solve, function, low, middle, up, b)


MATRIX_STEPS: dict[str, Plan] = {
    "inv": _of_matrix("inv", matrix.inv, jnp.linalg.inv),
    "det": _of_matrix("det", matrix.det, jnp.linalg.det),
    "adjugate": _of_matrix(
        "adjugate",
        cofactors.adjugate,
        lambda a: jnp.linalg.det(a)[..., None, None] * jnp.linalg.inv(a),
    ),
    "logdet": _of_matrix("logdet", matrix.logdet, lambda a: jnp.linalg.slogdet(a)[1]),
    "slogdet": _of_matrix(
        "slogdet", lambda a: matrix.slogdet(a)[1], lambda a: jnp.linalg.slogdet(a)[1]
    ),
    "cholesky": _of_matrix("cholesky", matrix.cholesky, jnp.linalg.cholesky),
    "solve": _solve,
    "triangular_solve": _triangular_solve,
    "eigh": _eigh,
    "svd": _svd,
    "qr": _qr,
    "lu": _lu,
    "pivot_permutation": _pivot_permutation,
    "pinv": _pinv,
    "matrix_exp": _matrix_exp,
    "tridiagonal_solve": _tridiagonal_solve,
}
