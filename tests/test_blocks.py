"""Hessians of several variables: solve and log det by Schur complements, against NumPy's whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.core.traverse import topological
from symgrad.errors import ShapeError
from symgrad.tracing.symbolic import Compiled
from symgrad.transforms.operators import Blocks

Shapes = dict[str, tuple[int, ...]]


def _random_effects(m: Any, u: Any, w: Any, X: Any, y: Any) -> Any:
    """An intercept for each row, and slopes: a diagonal block beside a dense one."""
    return ((X @ w + u - y) ** 2).sum() + m.exp(u).sum() + 0.3 * (w @ w)


def _factors(m: Any, U: Any, V: Any, T: Any) -> Any:
    return ((T - U @ V.T) ** 2).sum() + 0.5 * (U**2).sum() + 0.5 * (V**2).sum()


def _apart(m: Any, u: Any, v: Any, w: Any, X: Any) -> Any:
    """Two diagonals that meet only through w."""
    z = X @ w
    return ((u - z) ** 2).sum() + ((v - z**2) ** 2).sum() + (u**4).sum() + (v**2).sum() + w @ w


def _dense(m: Any, a: Any, b: Any, X: Any) -> Any:
    return (m.tanh(X @ a) * (X @ b) ** 2).sum() + (a @ a) * (b @ b)


CASES: dict[str, tuple[Callable[..., Any], Shapes, int, str]] = {
    "a diagonal and slopes": (
        _random_effects, {"u": (9,), "w": (3,), "X": (9, 3), "y": (9,)}, 2,
        "u: a division by the diagonal; then w: the Schur complement by LU (sign not known)",
    ),
    "Kronecker": (
        _factors, {"U": (5, 2), "V": (4, 2), "T": (5, 4)}, 2,
        ("U: Cholesky (positive definite) of 2×2; then V: the Schur complement by LU "
        "(sign not known)"),
    ),
    "two diagonals": (
        _apart, {"u": (6,), "v": (6,), "w": (2,), "X": (6, 2)}, 3,
        ("u: a division by the diagonal; then v: a division by the number in front; then w: the "
        "Schur complement by LU (sign not known)"),
    ),
    "no structure": (
        _dense, {"a": (3,), "b": (3,), "X": (5, 3)}, 2, "a, b: all blocks by LU (sign not known)",
    ),
}  # fmt: skip


def _made(name: str) -> tuple[Blocks, dict[str, Any], list[Any], Any]:
    """The blocks, their symbols, random values and the whole Hessian by JAX."""
    function, shapes, count, _ = CASES[name]
    symbols = {n: sg.symbol(n, ",".join(map(str, s)), sg.float64) for n, s in shapes.items()}
    blocks = sg.hessian(function(sg, *symbols.values()), list(symbols.values())[:count])
    rng = np.random.default_rng(2)
    values = [rng.standard_normal(s) for s in shapes.values()]
    sizes = np.cumsum([v.size for v in values[:count]])

    def flat(x: Any) -> Any:
        parts = jnp.split(x, sizes[:-1])
        own = [p.reshape(v.shape) for p, v in zip(parts, values, strict=False)]
        return function(jnp, *own, *values[count:])

    with jax.enable_x64(True):
        whole = jax.hessian(flat)(jnp.concatenate([jnp.ravel(v) for v in values[:count]]))
    return blocks, symbols, values, np.asarray(whole)


@pytest.mark.parametrize("name", CASES)
def test_solve_is_that_of_the_whole_matrix(name: str) -> None:
    blocks, symbols, values, whole = _made(name)
    count, way = CASES[name][2:]
    wanted = [np.random.default_rng(k).standard_normal(v.shape) for k, v in enumerate(values)]
    right = [
        sg.symbol(f"r{k}", ",".join(map(str, v.shape)), sg.float64)
        for k, v in enumerate(values[:count])
    ]
    found = Compiled(blocks.solve(right), [*symbols.values(), *right])(*values, *wanted[:count])
    flat = np.concatenate([np.ravel(b) for b in wanted[:count]])
    expected = np.linalg.solve(whole, flat)
    np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in found]), expected, rtol=1e-8)
    assert blocks.way() == way


@pytest.mark.parametrize("name", CASES)
def test_the_determinant_is_that_of_the_whole_matrix(name: str) -> None:
    blocks, symbols, values, whole = _made(name)
    sign, size = np.linalg.slogdet(whole)
    found = Compiled([blocks.logdet()], list(symbols.values()))(*values)
    np.testing.assert_allclose(found, size if sign > 0 else np.nan, rtol=1e-9)


def test_nothing_of_the_size_of_a_diagonal_block_is_factored():
    blocks, *_ = _made("a diagonal and slopes")
    found = blocks.solve([sg.symbol("r", "9", sg.float64), sg.symbol("s", "3", sg.float64)])
    nodes = topological([t.expr() for t in found])
    assert {x.args[0].shape for x in nodes if x.op.family == "matrix"} == {(3, 3)}


def test_recorded_values_are_solved_with():
    a = sg.tensor([1.0, 2.0], dtype=sg.float64, requires_grad=True)
    b = sg.tensor([3.0], dtype=sg.float64, requires_grad=True)
    h = sg.hessian((a**4).sum() + b[0] ** 2 * a.sum(), [a, b])
    right = [sg.tensor([1.0, 0.0], dtype=sg.float64), sg.tensor([2.0], dtype=sg.float64)]
    x, y = h.solve(right)
    whole = np.array([[12.0, 0, 6], [0, 48, 6], [6, 6, 6]])
    expected = np.linalg.solve(whole, [1.0, 0, 2])
    np.testing.assert_allclose([*x.tolist(), *y.tolist()], expected, rtol=1e-9)


def test_a_right_hand_side_of_another_shape_is_an_error():
    blocks, *_ = _made("no structure")
    with pytest.raises(ShapeError, match="right-hand side"):
        blocks.solve([sg.symbol("r", "4", sg.float64), sg.symbol("s", "3", sg.float64)])
