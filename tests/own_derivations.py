"""Golden derivations of our own, as programs, with what `jax.grad` says about their lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import symgrad as sg
from symgrad.functional.table import FUNCTIONS
from symgrad.tensors.surface import function_of
from tests.golden_cases import RNN, Arrays, Case, gradients

_RNN = function_of(FUNCTIONS["rnn_layer"])


def case(
    name: str, shapes: Mapping[str, str], loss: Callable[[Arrays], Any], wanted: str,
    symmetric: str = "",
) -> Case:  # fmt: skip
    """Inputs drawn for `shapes` (a letter per axis; none: a positive scalar), `loss` by JAX."""
    letters = dict.fromkeys(c for shape in shapes.values() for c in shape)

    def draw(rng: np.random.Generator, sizes: Mapping[str, int]) -> Arrays:
        found: Arrays = {}
        for word, shape in shapes.items():
            value = rng.normal(size=[sizes[c] for c in shape]) if shape else rng.uniform(0.5, 1.5)
            if word in symmetric:
                value = value @ value.T / len(value) + np.eye(len(value))
            found[word] = value
        return found

    def reference(a: Arrays, sizes: Mapping[str, int]) -> Arrays:
        return {"L": loss(a), **gradients(loss, a, *wanted.split())}

    distinct = {c: 5 - k for k, c in enumerate(letters)}
    return Case(name, draw, reference, (distinct, dict.fromkeys(letters, 3)), frozenset(symmetric))


def _pca(a: Arrays) -> Any:
    return ((a["X"] - a["X"] @ a["W"] @ a["W"].T) ** 2).sum()


def pca() -> Any:
    X, W = sg.symbols("X:n,d  W:d,k")
    return sg.derive(((X - X @ W @ W.T) ** 2).sum(), W)


def _ridge(a: Arrays) -> Any:
    r = a["X"] @ a["w"] - a["y"]
    return (r @ r + a["λ"] * a["w"] @ a["w"]) / 2


def ridge() -> Any:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    weight = sg.symbol("λ", "", sg.float32, "positive")
    return sg.derive((((X @ w - y) ** 2).sum() + weight * (w @ w)) / 2, w)


def _poisson(a: Arrays) -> Any:
    z = a["X"] @ a["w"]
    return (jnp.exp(z) - a["y"] * z).sum()


def poisson() -> Any:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    z = X @ w
    return sg.derive((sg.exp(z) - y * z).sum(), w)


def _kernel(a: Arrays) -> Any:
    r = a["K"] @ a["α"] - a["y"]
    return (r @ r + a["λ"] * a["α"] @ a["K"] @ a["α"]) / 2


def kernel() -> Any:
    K = sg.symbol("K", "n,n", sg.float32, "symmetric")
    weights, y = sg.symbols("α:n  y:n")
    weight = sg.symbol("λ", "", sg.float32, "positive")
    r = K @ weights - y
    return sg.derive((r @ r + weight * (weights @ K @ weights)) / 2, weights)


def _process(a: Arrays) -> Any:
    return (a["y"] @ jnp.linalg.solve(a["K"], a["y"]) + jnp.linalg.slogdet(a["K"])[1]) / 2


def process() -> Any:
    K = sg.symbol("K", "n,n", sg.float32, "spd")
    y = sg.symbol("y", "n")
    weights = sg.name(sg.linalg.inv(K) @ y, "α")
    return sg.derive((y @ weights + sg.logdet(K)) / 2, K)


def _divergence(a: Arrays) -> Any:
    r = a["u"] - a["m"]
    logs = jnp.linalg.slogdet(a["B"])[1] - jnp.linalg.slogdet(a["A"])[1]
    return (jnp.trace(jnp.linalg.solve(a["B"], a["A"]))
            + r @ jnp.linalg.solve(a["B"], r) + logs) / 2  # fmt: skip


def divergence() -> Any:
    A, B = (sg.symbol(c, "d,d", sg.float32, "spd") for c in "AB")
    m, u = sg.symbols("m:d  u:d")
    r, precision = u - m, sg.linalg.inv(B)
    logs = sg.logdet(B) - sg.logdet(A)
    return sg.derive((sg.trace(precision @ A) + r @ (precision @ r) + logs) / 2, [m, A])


def _residual(a: Arrays) -> Any:
    H = a["X"] + jnp.tanh(a["X"] @ a["W"])
    return ((H + jnp.tanh(H @ a["V"]) - a["T"]) ** 2).sum() / 2


def residual() -> Any:
    X, W, V, T = sg.symbols("X:n,d  W:d,d  V:d,d  T:n,d")
    H = X + sg.tanh(X @ W)
    return sg.derive(((H + sg.tanh(H @ V) - T) ** 2).sum() / 2, [W, V])


def _contrastive(a: Arrays) -> Any:
    S = a["A"] @ a["B"].T / a["τ"]
    return (jax.nn.logsumexp(S, axis=1) - jnp.diagonal(S)).mean()


def contrastive() -> Any:
    A, B = sg.symbols("A:n,d  B:n,d")
    temperature = sg.symbol("τ", "", sg.float32, "positive")
    S = sg.name(A @ B.T / temperature, "S")
    return sg.derive((sg.logsumexp(S, -1) - sg.diagonal(S)).mean(), [A, B])


def recurrence() -> Any:
    x, h0, y, Wx, Wh, b = sg.symbols("x:T,d  h0:m  y:T,m  Wx:m,d  Wh:m,m  b:m")
    states = _RNN(x, h0, Wx, Wh, b)
    return sg.derive(((states - y) ** 2).sum() / 2, [Wx, Wh, b, h0])


OWN: dict[str, tuple[Case, Callable[[], Any]]] = {
    "pca": (case("pca", {"X": "nd", "W": "dk"}, _pca, "W"), pca),
    "ridge": (case("ridge", {"X": "nd", "w": "d", "y": "n", "λ": ""}, _ridge, "w"), ridge),
    "poisson": (case("poisson", {"X": "nd", "w": "d", "y": "n"}, _poisson, "w"), poisson),
    "kernel ridge": (
        case("kernel", {"K": "nn", "α": "n", "y": "n", "λ": ""}, _kernel, "α", "K"), kernel
    ),
    "gaussian process": (case("process", {"K": "nn", "y": "n"}, _process, "K", "K"), process),
    "divergence": (
        case("divergence", {"A": "dd", "B": "dd", "m": "d", "u": "d"}, _divergence, "m A", "ABC"),
        divergence,
    ),
    "residual": (
        case("residual", {"X": "nd", "W": "dd", "V": "dd", "T": "nd"}, _residual, "W V"), residual
    ),
    "recurrence": (RNN, recurrence),
    "contrastive": (
        case("contrastive", {"A": "nd", "B": "nd", "τ": ""}, _contrastive, "A B"), contrastive
    ),
}  # fmt: skip
"""Name → (case, derivation)."""
