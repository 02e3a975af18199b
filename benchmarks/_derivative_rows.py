"""Rows of benchmarks/structured.py: Jacobians, Hessians and Newton steps.

Imported when threads are decided; see `_harness.settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import symgrad as sg

F = sg.nn.functional
Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One function: its arrays, three ways, and what is asked of plain / ours.

    `ours` gets the symbols by name and returns the tensors to compile; `view` is what of the plain
    result the others give.  `kinds`: inputs that are positive, or indices below a number.
    Without ``plain`` (its arrays are too large) a row is compared with the one of a tenth of its
    size, ``ten_times``.
    """

    shapes: Mapping[str, tuple[int, ...]]
    plain: Callable[..., Any] | None
    expert: Callable[..., Any]
    ours: Callable[..., Any]
    at_least: float
    tolerance: float = 1e-9
    view: Callable[[Any], Any] = np.asarray
    kinds: Mapping[str, str | int] = field(default_factory=dict[str, "str | int"])
    ten_times: str = ""


def _logistic(X: Any, w: Any, y: Any) -> Any:
    z = X @ w
    return (jax.nn.softplus(z) - y * z).sum() + 0.5 * (w @ w)


def _logistic_expert(X: Any, w: Any, y: Any) -> Any:
    p = jax.nn.sigmoid(X @ w)
    return (X.T * (p * (1 - p))) @ X + jnp.eye(w.shape[0], dtype=X.dtype)


def _logistic_loss(X: Any, w: Any, y: Any) -> Any:
    z = X @ w
    return (F.softplus(z) - y * z).sum() + 0.5 * (w @ w)


def _logistic_product(X: Any, w: Any, y: Any, v: Any) -> Any:
    p = jax.nn.sigmoid(X @ w)
    return X.T @ (p * (1 - p) * (X @ v)) + v


def _logistic_trace(X: Any, w: Any, y: Any) -> Any:
    p = jax.nn.sigmoid(X @ w)
    return (p * (1 - p)) @ (X * X).sum(1) + w.shape[0]


def _softmax_product(s: Any, v: Any) -> Any:
    p = jax.nn.softmax(s)
    return p * (v - p @ v)


def _product_diagonal(x: Any) -> Any:
    h = jnp.tanh(x)
    return h + x * (1 - h * h)


def _chain_bands(x: Any) -> Any:
    d = 2 * jnp.ones_like(x)
    d = d.at[:-1].add(12 * x[:-1] ** 2 - 4 * x[1:]).at[1:].add(2)
    e = -4 * x[:-1]
    return jnp.concatenate([d, e])


def _chain_ours(x: Any) -> Any:
    bands = sg.hessian(_chain(x), x).bands()
    return [sg.cat([bands[0], bands[1][:-1]])]


def _factors(T: Any, U: Any, V: Any) -> Any:
    return ((T - U @ V.T) ** 2).sum()


def _factors_expanded(T: Any, U: Any, V: Any) -> Any:
    n = U.shape[0]
    eye = jnp.eye(n, dtype=U.dtype)
    return eye[:, None, :, None] * (2 * (V.T @ V))[None, :, None, :]


def _factors_product(T: Any, U: Any, V: Any, D: Any, E: Any) -> Any:
    h = jax.hessian(_factors, (1, 2))(T, U, V)
    return [sum(jnp.einsum("iajb,jb->ia", b, v) for b, v in zip(row, (D, E), strict=True))
            for row in h]  # fmt: skip


def _factors_product_expert(T: Any, U: Any, V: Any, D: Any, E: Any) -> Any:
    R = T - U @ V.T
    in_U = D @ (V.T @ V) + U @ (E.T @ V) - R @ E
    in_V = E @ (U.T @ U) + V @ (D.T @ U) - R.T @ D
    return [2 * in_U, 2 * in_V]


def _newton_factors(T: Any, U: Any, V: Any) -> Any:
    g = jax.grad(_factors, 1)(T, U, V)
    h = jax.hessian(_factors, 1)(T, U, V).reshape(U.size, U.size)
    return U - jnp.linalg.solve(h, g.reshape(-1)).reshape(U.shape)


def _newton_factors_expert(T: Any, U: Any, V: Any) -> Any:
    c = jax.scipy.linalg.cho_factor(V.T @ V)
    return jax.scipy.linalg.cho_solve(c, (T @ V).T).T


def _newton_factors_ours(T: Any, U: Any, V: Any) -> Any:
    loss = _factors(T, U, V)
    return [U - sg.hessian(loss, U).solve(sg.grad(loss, U))]


def _separable(x: Any) -> Any:
    return (x**4 + x**2).sum()


def _newton_plain(f: Callable[..., Any], place: int) -> Callable[..., Any]:
    def step(*args: Any) -> Any:
        g, h = jax.grad(f, place)(*args), jax.hessian(f, place)(*args)
        return args[place] - jnp.linalg.solve(h, g)

    return step


def _ridge(X: Any, w: Any, y: Any) -> Any:
    r = X @ w - y
    return (r**2).sum() + 0.3 * (w @ w)


def _ridge_expert(X: Any, w: Any, y: Any) -> Any:
    n = X.shape[0]
    inner = X @ X.T + 0.3 * jnp.eye(n, dtype=X.dtype)
    return X.T @ jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(inner), y)


def _ridge_ours(X: Any, w: Any, y: Any) -> Any:
    loss = _ridge(X, w, y)
    return [w - sg.hessian(loss, w).solve(sg.grad(loss, w))]


LAYERS = 10


def _net_plain(W: Any, x: Any) -> Any:
    def f(v: Any) -> Any:
        for k in range(LAYERS):
            v = jax.nn.relu(W[k] @ v)
        return v

    return jax.jacobian(f)(x)


def _net_expert(W: Any, x: Any) -> Any:
    J = None
    for k in range(LAYERS):
        z = W[k] @ x
        on = (z > 0).astype(x.dtype)
        x = z * on
        J = on[:, None] * (W[k] if J is None else W[k] @ J)
    return J


def _net_ours(W: Any, x: Any) -> Any:
    v = x
    for k in range(LAYERS):
        v = sg.relu(W[k] @ v)
    return [sg.jacobian(v, x).dense()]


def _net_loss(first: Any, W: Any, x: Any) -> Any:
    v = jax.nn.relu(first @ x)
    for k in range(LAYERS - 2):
        v = jax.nn.relu(W[k] @ v)
    z = W[LAYERS - 2] @ v
    return jax.nn.logsumexp(z) - z[0]


def _net_hessian_expert(first: Any, W: Any, x: Any) -> Any:
    z = first @ x
    J = jnp.diag((z > 0).astype(x.dtype))
    v = jax.nn.relu(z)
    for k in range(LAYERS - 2):
        z = W[k] @ v
        on = (z > 0).astype(x.dtype)
        v, J = z * on, on[:, None] * (W[k] @ J)
    J = W[LAYERS - 2] @ J
    p = jax.nn.softmax(W[LAYERS - 2] @ v)
    u = J.T @ p
    M = (J.T * p) @ J - u[:, None] * u
    return M[:, None, :, None] * (x[:, None] * x)[None, :, None, :]


def _net_hessian_ours(first: Any, W: Any, x: Any) -> Any:
    v = sg.relu(first @ x)
    for k in range(LAYERS - 2):
        v = sg.relu(W[k] @ v)
    z = W[LAYERS - 2] @ v
    return [sg.hessian(sg.logsumexp(z, -1) - z[0], first).dense()]


def _batch_loss(first: Any, W: Any, X: Any) -> Any:
    V = jax.nn.relu(X @ first.T)
    for k in range(LAYERS - 2):
        V = jax.nn.relu(V @ W[k].T)
    Z = V @ W[LAYERS - 2].T
    return (jax.nn.logsumexp(Z, -1) - Z[:, 0]).sum()


def _batch_hessian_expert(first: Any, W: Any, X: Any) -> Any:
    Z = X @ first.T
    V = jax.nn.relu(Z)
    J = (Z > 0).astype(X.dtype)[:, :, None] * jnp.eye(X.shape[1], dtype=X.dtype)
    for k in range(LAYERS - 2):
        Z = V @ W[k].T
        on = (Z > 0).astype(X.dtype)
        V, J = Z * on, on[:, :, None] * (W[k] @ J)
    J = W[LAYERS - 2] @ J
    p = jax.nn.softmax(V @ W[LAYERS - 2].T)
    u = (p[:, None, :] @ J)[:, 0]
    M = (J.mT * p[:, None, :]) @ J - u[:, :, None] * u[:, None, :]
    return jnp.einsum("bik,bj,bl->ijkl", M, X, X)


def _batch_hessian_ours(first: Any, W: Any, X: Any) -> Any:
    V = sg.relu(X @ first.T)
    for k in range(LAYERS - 2):
        V = sg.relu(V @ W[k].T)
    Z = V @ W[LAYERS - 2].T
    return [sg.hessian((sg.logsumexp(Z, -1) - Z[:, 0]).sum(), first).dense()]


def _chain(x: Any) -> Any:
    return ((x[1:] - x[:-1] ** 2) ** 2).sum() + (x**2).sum()


def _chain_expert(x: Any, v: Any) -> Any:
    r = x[1:] - x[:-1] ** 2
    d = 2 * jnp.ones_like(x)
    d = d.at[:-1].add(8 * x[:-1] ** 2 - 4 * r).at[1:].add(2)
    e = -4 * x[:-1]
    return (d * v).at[:-1].add(e * v[1:]).at[1:].add(e * v[:-1])


def _newton_chain_expert(x: Any) -> Any:
    bands = _chain_bands(x)
    d, e = bands[: x.shape[0]], bands[x.shape[0] :]
    zero = jnp.zeros(1, x.dtype)
    low, up = jnp.concatenate([zero, e]), jnp.concatenate([e, zero])
    g = jax.grad(_chain)(x)
    return x - jax.lax.linalg.tridiagonal_solve(low, d, up, g[:, None])[:, 0]


def _softmax_jacobian_expert(s: Any) -> Any:
    p = jax.nn.softmax(s)
    return jnp.diag(p) - jnp.outer(p, p)


def _layer_plain(A: Any, x: Any) -> Any:
    return jax.jacobian(lambda v: jnp.tanh(A @ v))(x)


DERIVATIVES: dict[str, Row] = {
    "Hessian of xᵀAx, n=300": Row(
        {"A": (300, 300), "x": (300,)},
        lambda A, x: jax.hessian(lambda v: v @ A @ v)(x),
        lambda A, x: A + A.T,
        lambda A, x: [sg.hessian(x @ A @ x, x).dense()],
        8,
    ),
    "Hessian of logistic, 1000 rows, d=300": Row(
        {"X": (1000, 300), "w": (300,), "y": (1000,)},
        lambda X, w, y: jax.hessian(lambda v: _logistic(X, v, y))(w),
        _logistic_expert,
        lambda X, w, y: [sg.hessian(_logistic_loss(X, w, y), w).dense()], 1.8,
    ),
    "matrix factorisation k=5, n=100, expanded": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5)},
        jax.hessian(_factors, 1), _factors_expanded,
        lambda T, U, V: [sg.hessian(_factors(T, U, V), U).dense()], 60,
    ),
    "matrix factorisation k=5, n=100, H v": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5), "D": (100, 5)},
        lambda T, U, V, D: jnp.einsum("iajb,jb->ia", jax.hessian(_factors, 1)(T, U, V), D),
        lambda T, U, V, D: 2 * (D @ (V.T @ V)),
        lambda T, U, V, D: [sg.hessian(_factors(T, U, V), U).matvec(D)], 500,
    ),
    "matrix factorisation k=5, n=100, H v, H in U and V": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5), "D": (100, 5), "E": (100, 5)},
        _factors_product, _factors_product_expert,
        lambda T, U, V, D, E: sg.hessian(_factors(T, U, V), [U, V]).matvec([D, E]), 500,
    ),
    "Newton step, matrix factorisation": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5)},
        _newton_factors, _newton_factors_expert, _newton_factors_ours, 150, 1e-8,
    ),
    "Newton step, separable, n=1000": Row(
        {"x": (1000,)},
        _newton_plain(_separable, 0),
        lambda x: x - (4 * x**3 + 2 * x) / (12 * x**2 + 2),
        lambda x: [x - sg.hessian(_separable(x), x).solve(sg.grad(_separable(x), x))], 300, 1e-8,
    ),
    "Newton step, ridge, n=50, d=1000": Row(
        {"X": (50, 1000), "w": (1000,), "y": (50,)},
        _newton_plain(_ridge, 1), _ridge_expert, _ridge_ours, 50, 1e-7,
    ),
    "softmax Jacobian times a vector, n=2000": Row(
        {"s": (2000,), "v": (2000,)},
        lambda s, v: jax.jacobian(jax.nn.softmax)(s) @ v, _softmax_product,
        lambda s, v: [sg.jacobian(sg.softmax(s, -1), s).matvec(v)], 30,
    ),
    "softmax Jacobian, dense, n=500": Row(
        {"s": (500,)},
        jax.jacobian(jax.nn.softmax), _softmax_jacobian_expert,
        lambda s: [sg.jacobian(sg.softmax(s, -1), s).dense()], 1,
    ),
    "elementwise Jacobian as diagonal, n=2000": Row(
        {"x": (2000,)},
        jax.jacobian(lambda v: jnp.tanh(v) * v), _product_diagonal,
        lambda x: [sg.jacobian(sg.tanh(x) * x, x).diag()], 10, view=np.diagonal,
    ),
    "10-layer ReLU net n=20, Jacobian": Row(
        {"W": (LAYERS, 20, 20), "x": (20,)}, _net_plain, _net_expert, _net_ours, 0.95,
    ),
    "10-layer ReLU net n=20, Hessian of the first layer": Row(
        {"first": (20, 20), "W": (LAYERS - 1, 20, 20), "x": (20,)},
        jax.hessian(_net_loss), _net_hessian_expert, _net_hessian_ours, 9,
    ),
    "10-layer ReLU net n=20, Hessian of the first layer, 50 examples": Row(
        {"first": (20, 20), "W": (LAYERS - 1, 20, 20), "X": (50, 20)},
        jax.hessian(_batch_loss), _batch_hessian_expert, _batch_hessian_ours, 9,
    ),
    "layer tanh(A x), Jacobian, n=300": Row(
        {"A": (300, 300), "x": (300,)}, _layer_plain,
        lambda A, x: (1 - jnp.tanh(A @ x) ** 2)[:, None] * A,
        lambda A, x: [sg.jacobian(sg.tanh(A @ x), x).dense()], 1,
    ),
    "chain objective n=2000, H v": Row(
        {"x": (2000,), "v": (2000,)},
        lambda x, v: jax.jvp(jax.grad(_chain), (x,), (v,))[1], _chain_expert,
        lambda x, v: [sg.hessian(_chain(x), x).matvec(v)], 0.95,
    ),
    "chain objective n=3000, bands of the Hessian": Row(
        {"x": (3000,)}, jax.hessian(_chain), _chain_bands, _chain_ours, 100,
        view=lambda h: np.concatenate([np.diagonal(h), np.diagonal(h, 1)]),
    ),
    "bands of the chain's Hessian, n=20000": Row(
        {"x": (20_000,)}, None, _chain_bands, _chain_ours, 0,
    ),
    "bands of the chain's Hessian, n=200000": Row(
        {"x": (200_000,)}, None, _chain_bands, _chain_ours, 0,
        ten_times="bands of the chain's Hessian, n=20000",
    ),
    "Newton step, chain objective, n=1000": Row(
        {"x": (1000,)}, _newton_plain(_chain, 0), _newton_chain_expert,
        lambda x: [x - sg.hessian(_chain(x), x).solve(sg.grad(_chain(x), x))], 100, 1e-7,
    ),
    "Hessian-vector product, logistic": Row(
        {"X": (300, 50), "w": (50,), "y": (300,), "v": (50,)},
        lambda X, w, y, v: jax.jvp(jax.grad(lambda u: _logistic(X, u, y)), (w,), (v,))[1],
        _logistic_product,
        lambda X, w, y, v: [sg.hvp(_logistic_loss(X, w, y), w, v)], 0.95,
    ),
    "trace of the Hessian of logistic": Row(
        {"X": (300, 50), "w": (50,), "y": (300,)},
        lambda X, w, y: jnp.trace(jax.hessian(lambda u: _logistic(X, u, y))(w)), _logistic_trace,
        lambda X, w, y: [sg.hessian(_logistic_loss(X, w, y), w).trace()], 1,
    ),
}  # fmt: skip
