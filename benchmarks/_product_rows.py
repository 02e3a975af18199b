"""Rows of benchmarks/structured.py: products, matrix identities and norms that need no large array.

Imported when threads are decided; see `_harness.settle`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from _derivative_rows import Row

import symgrad as sg

F = sg.nn.functional


# ------------------------------------------------------------------ losses of small networks


def _example_loss(W: Any, v: Any, x: Any, t: Any) -> Any:
    return 0.5 * (jnp.tanh(W @ x) @ v - t) ** 2


def _norms_plain(W: Any, v: Any, X: Any, t: Any) -> Any:
    def losses(W: Any) -> Any:
        return 0.5 * (jnp.tanh(X @ W.T) @ v - t) ** 2

    return (jax.jacobian(losses)(W) ** 2).sum((1, 2))


def _norms_vmapped(W: Any, v: Any, X: Any, t: Any) -> Any:
    each = jax.vmap(jax.grad(_example_loss), (None, None, 0, 0))(W, v, X, t)
    return (each**2).sum((1, 2))


def _norms_expert(W: Any, v: Any, X: Any, t: Any) -> Any:
    h = jnp.tanh(X @ W.T)
    back = (h @ v - t)[:, None] * v * (1 - h * h)
    return (back**2).sum(1) * (X**2).sum(1)


def _norms_ours(W: Any, v: Any, X: Any, t: Any) -> Any:
    losses = 0.5 * (sg.tanh(X @ W.T) @ v - t) ** 2
    return [(sg.jacobian(losses, W).dense() ** 2).sum((1, 2))]


def _network(W: Any, b: Any, v: Any, x: Any) -> Any:
    return jnp.tanh(W @ x + b) @ v


def _laplacian_plain(W: Any, b: Any, v: Any, X: Any) -> Any:
    def at(x: Any) -> Any:
        return jnp.trace(jax.hessian(_network, 3)(W, b, v, x))

    return jax.vmap(at)(X)


def _laplacian_expert(W: Any, b: Any, v: Any, X: Any) -> Any:
    h = jnp.tanh(X @ W.T + b)
    return (-2 * h * (1 - h * h)) @ (v * (W**2).sum(1))


def _laplacian_ours(W: Any, b: Any, v: Any, X: Any) -> Any:
    u = sg.tanh(X @ W.T + b) @ v
    return [sg.hessian(u.sum(), X).diag().sum(1)]


def _mlp(A: Any, B: Any, X: Any, T: Any) -> Any:
    return ((jnp.tanh(X @ A) @ B - T) ** 2).sum()


def _mlp_expert(A: Any, B: Any, X: Any, T: Any) -> Any:
    h = jnp.tanh(X @ A)
    r = 2 * (h @ B - T)
    return X.T @ ((r @ B.T) * (1 - h * h)), h.T @ r


def _mlp_ours(A: Any, B: Any, X: Any, T: Any) -> Any:
    return sg.grad(((sg.tanh(X @ A) @ B - T) ** 2).sum(), [A, B])


# ------------------------------------------------------------------ matrices


def _woodbury_expert(d: Any, U: Any) -> Any:
    scaled = U / d[:, None]
    inner = jnp.eye(U.shape[1], dtype=U.dtype) + U.T @ scaled
    c = jax.scipy.linalg.cho_factor(inner)
    return jnp.diag(1 / d) - scaled @ jax.scipy.linalg.cho_solve(c, scaled.T)


def _woodbury_solve_expert(d: Any, U: Any, b: Any) -> Any:
    inner = jnp.eye(U.shape[1], dtype=U.dtype) + U.T @ (U / d[:, None])
    c = jax.scipy.linalg.cho_factor(inner)
    return (b - U @ jax.scipy.linalg.cho_solve(c, U.T @ (b / d))) / d


def _sylvester_expert(d: Any, U: Any, V: Any) -> Any:
    inner = jnp.eye(U.shape[1], dtype=U.dtype) + V @ (U / d[:, None])
    return jnp.log(d).sum() + jnp.linalg.slogdet(inner)[1]


def _distances(X: Any) -> Any:
    return ((X[:, None, :] - X[None, :, :]) ** 2).sum()


def _chain_plain(A: Any, B: Any, C: Any, x: Any, y: Any) -> Any:
    return jax.grad(lambda v: 0.5 * ((A @ B @ C @ v - y) ** 2).sum())(x)


def _chain_loss_plain(A: Any, B: Any, C: Any, x: Any, y: Any) -> Any:
    return jax.grad(lambda v: 0.5 * (((A @ B @ C) @ v - y) ** 2).sum())(x)


def _chain_expert(A: Any, B: Any, C: Any, x: Any, y: Any) -> Any:
    r = A @ (B @ (C @ x)) - y
    return ((r @ A) @ B) @ C


def _chain_ours(A: Any, B: Any, C: Any, x: Any, y: Any) -> Any:
    return [sg.grad(0.5 * (((A @ B @ C) @ x - y) ** 2).sum(), x)]


def _covariance(X: Any, size: Any, noise: Any, xp: Any) -> Any:
    apart = ((X[:, None, :] - X[None, :, :]) ** 2).sum(-1)
    return xp.exp(-0.5 * apart / size**2) + xp.diag(noise)


def _process_plain(X: Any, y: Any, size: Any, noise: Any) -> Any:
    K = _covariance(X, size, noise, jnp)
    return 0.5 * (y @ jnp.linalg.inv(K) @ y + jnp.linalg.slogdet(K)[1])


def _process_expert(X: Any, y: Any, size: Any, noise: Any) -> Any:
    L = jnp.linalg.cholesky(_covariance(X, size, noise, jnp), symmetrize_input=False)
    z = jax.scipy.linalg.solve_triangular(L, y, lower=True)
    return 0.5 * (z @ z) + jnp.log(jnp.diagonal(L)).sum()


def _process_ours(X: Any, y: Any, size: Any, noise: Any) -> Any:
    K = _covariance(X, size, noise, sg)
    return [0.5 * (y @ sg.linalg.inv(K) @ y + sg.linalg.slogdet(K)[1])]


PRODUCTS: dict[str, Row] = {
    "per-example gradient norms, 200 examples, 100×100": Row(
        {"W": (100, 100), "v": (100,), "X": (200, 100), "t": (200,)},
        _norms_plain, _norms_expert, _norms_ours, 40,
    ),
    "the same norms, plain: vmap of grad": Row(
        {"W": (100, 100), "v": (100,), "X": (200, 100), "t": (200,)},
        _norms_vmapped, _norms_expert, _norms_ours, 1,
    ),
    "Laplacian in a PINN, 50 inputs, 64 units, 500 points": Row(
        {"W": (64, 50), "b": (64,), "v": (64,), "X": (500, 50)},
        _laplacian_plain, _laplacian_expert, _laplacian_ours, 40,
    ),
    "Woodbury inverse, all entries, n=1000, k=5": Row(
        {"d": (1000,), "U": (1000, 5)},
        lambda d, U: jnp.linalg.inv(jnp.diag(d) + U @ U.T), _woodbury_expert,
        lambda d, U: [sg.linalg.inv(sg.diag(d) + U @ U.T)], 1, kinds={"d": "positive"},
    ),
    "Woodbury inverse times a vector, n=1000, k=5": Row(
        {"d": (1000,), "U": (1000, 5), "b": (1000,)},
        lambda d, U, b: jnp.linalg.inv(jnp.diag(d) + U @ U.T) @ b, _woodbury_solve_expert,
        lambda d, U, b: [sg.linalg.inv(sg.diag(d) + U @ U.T) @ b], 200, kinds={"d": "positive"},
    ),
    "Sylvester log det, n=1000, k=5": Row(
        {"d": (1000,), "U": (1000, 5), "V": (5, 1000)},
        lambda d, U, V: jnp.linalg.slogdet(jnp.diag(d) + U @ V)[1], _sylvester_expert,
        lambda d, U, V: [sg.linalg.slogdet(sg.diag(d) + U @ V)[1]], 200, kinds={"d": "positive"},
    ),
    "gradient of all squared distances, n=1000, d=10": Row(
        {"X": (1000, 10)}, jax.grad(_distances), lambda X: 4 * (X.shape[0] * X - X.sum(0)),
        lambda X: [sg.grad(_distances(X), X)], 300,
    ),
    "matrix chain A B C x, gradient, n=600": Row(
        {"A": (600, 600), "B": (600, 600), "C": (600, 600), "x": (600,), "y": (600,)},
        _chain_loss_plain, _chain_expert, _chain_ours, 15,
    ),
    "tr(A B), A 1500×100": Row(
        {"A": (1500, 100), "B": (100, 1500)}, lambda A, B: jnp.trace(A @ B),
        lambda A, B: (A * B.T).sum(), lambda A, B: [(A @ B).diagonal().sum()], 20,
    ),
    "one-hot product, 1000 rows of 2000×20": Row(
        {"y": (1000,), "W": (2000, 20)},
        lambda y, W: jax.nn.one_hot(y, W.shape[0], dtype=W.dtype) @ W, lambda y, W: W[y],
        lambda y, W: [F.one_hot(y, W.shape[0]).to(W.dtype) @ W], 20, kinds={"y": 2000},
    ),
    "Gaussian-process likelihood, n=500": Row(
        {"X": (500, 3), "y": (500,), "size": (), "noise": (500,)},
        _process_plain, _process_expert, _process_ours, 2.5, kinds={"noise": "positive"},
    ),
    "gradient of a plain MLP, 100-200-10, 100 examples": Row(
        {"A": (100, 200), "B": (200, 10), "X": (100, 100), "T": (100, 10)},
        jax.grad(_mlp, (0, 1)), _mlp_expert, _mlp_ours, 0.95,
    ),
}  # fmt: skip
