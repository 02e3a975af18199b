"""Formulas that have a name in books: is the printed gradient JAX's, and as short as the book's?

Each row is a function of matrix calculus, statistics or learning, written once for symbols and for
JAX arrays, with the known formula of its gradient in the first argument.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad.derivation.python_form import namespace
from symgrad.evaluate import evaluate

SYMBOLIC = SimpleNamespace(
    exp=sg.exp, log=sg.log, tanh=sg.tanh, sqrt=sg.sqrt, sin=sg.sin, cos=sg.cos, abs=sg.abs,
    sigmoid=sg.sigmoid, softplus=F.softplus, inv=sg.linalg.inv, det=sg.linalg.det,
    logdet=lambda a: sg.linalg.slogdet(a)[1], trace=sg.trace, norm=sg.norm, outer=sg.outer,
    sum=lambda a, axis=None: a.sum() if axis is None else a.sum(axis),
    mean=lambda a, axis=None: a.mean() if axis is None else a.mean(axis),
    softmax=lambda a: sg.softmax(a, -1), logsumexp=lambda a: sg.logsumexp(a, -1), diag=sg.diag,
    eye=lambda like: sg.eye(like.shape[0], dtype=sg.float64),
)  # fmt: skip
NUMERIC = SimpleNamespace(
    exp=jnp.exp, log=jnp.log, tanh=jnp.tanh, sqrt=jnp.sqrt, sin=jnp.sin, cos=jnp.cos, abs=jnp.abs,
    sigmoid=jax.nn.sigmoid, softplus=jax.nn.softplus, inv=jnp.linalg.inv, det=jnp.linalg.det,
    logdet=lambda a: jnp.linalg.slogdet(a)[1], trace=jnp.trace, outer=jnp.outer,
    norm=lambda a: jnp.sqrt(jnp.sum(a * a)), sum=jnp.sum, mean=jnp.mean, diag=jnp.diag,
    softmax=lambda a: jax.nn.softmax(a, -1), logsumexp=lambda a: jax.nn.logsumexp(a, -1),
    eye=lambda like: jnp.eye(like.shape[0]),
)  # fmt: skip
SIZES = {"n": 4, "d": 3, "k": 5, "m": 2}
Row = tuple[str, Callable[..., Any], str]
ROWS: dict[str, Row] = {
    # linear and quadratic forms
    "sum of a product": ("x:n A:m,n b:m", lambda m, x, A, b: b @ (A @ x), "b @ A"),
    "square of a linear form": ("x:n a:n", lambda m, x, a: (a @ x) ** 2, "2 * (a @ x) * a"),
    "product of forms": ("x:n a:n b:n", lambda m, x, a, b: (a @ x) * (b @ x),
                         "b @ x * a + a @ x * b"),
    "quadratic": ("x:n A:n,n b:n", lambda m, x, A, b: x @ A @ x + b @ x, "(A + A.T) @ x + b"),
    "energy": ("x:n S:n,n:symmetric b:n", lambda m, x, S, b: 0.5 * (x @ S @ x) - b @ x, "S @ x - b"),
    "fourth power": ("x:n S:n,n:symmetric", lambda m, x, S: (x @ S @ x) ** 2,
                     "4 * (x @ S @ x) * (S @ x)"),
    "Rayleigh": ("x:n S:n,n:symmetric", lambda m, x, S: (x @ S @ x) / (x @ x),
                 "2 * (S @ x - x @ S @ x / (x @ x) * x) / (x @ x)"),
    "distance": ("x:n y:n S:n,n:spd", lambda m, x, y, S: (x - y) @ m.inv(S) @ (x - y),
                 "2 * inv(S) @ (x - y)"),
    "bilinear in a matrix": ("A:n,d x:n y:d", lambda m, A, x, y: x @ A @ y, "outer(x, y)"),
    "squared bilinear": ("A:n,d x:n y:d", lambda m, A, x, y: (x @ A @ y) ** 2,
                         "2 * (x @ A @ y) * outer(x, y)"),
    "norm of a product": ("A:n,d x:d", lambda m, A, x: m.norm(A @ x) ** 2, "2 * outer(A @ x, x)"),
    # traces
    "trace of two": ("A:n,d B:d,n", lambda m, A, B: m.trace(A @ B), "B.T"),
    "trace of a Gram matrix": ("A:n,d B:d,d", lambda m, A, B: m.trace(A @ B @ A.T), "A @ (B + B.T)"),
    "weighted Gram": ("A:n,d S:n,n:symmetric", lambda m, A, S: m.trace(A.T @ S @ A), "2 * S @ A"),
    "inverse in a trace": ("A:n,n:spd B:n,n", lambda m, A, B: m.trace(m.inv(A) @ B),
                           "-inv(A) @ B.T @ inv(A)"),
    "whitened scatter": ("S:n,n:spd C:n,n:symmetric", lambda m, S, C: m.trace(m.inv(S) @ C),
                         "-inv(S) @ C @ inv(S)"),
    "Frobenius residual": ("X:d,k A:n,d B:n,k", lambda m, X, A, B: m.norm(A @ X - B) ** 2,
                           "2 * A.T @ (A @ X - B)"),
    "two-sided residual": ("X:d,k A:n,d B:k,m C:n,m",
                           lambda m, X, A, B, C: 0.5 * m.norm(A @ X @ B - C) ** 2,
                           "A.T @ (A @ X @ B - C) @ B.T"),
    "orthogonality penalty": ("W:n,d", lambda m, W: m.norm(W.T @ W - m.eye(W.T)) ** 2,
                              "4 * W @ (W.T @ W - eye(d))"),
    # determinants and likelihoods
    "log determinant": ("A:n,n:spd", lambda m, A: m.logdet(A), "inv(A)"),
    "log determinant of a Gram matrix": ("A:n,d", lambda m, A: m.logdet(A.T @ A),
                                         "2 * A @ inv(A.T @ A)"),
    "determinant": ("A:n,n", lambda m, A: m.det(A), "det(A) * inv(A).T"),
    "ridge of a log determinant": ("c:= A:n,n:spd", lambda m, c, A: m.logdet(A + c * m.eye(A)),
                                   "trace(inv(A + c * eye(n)))"),
    "Gaussian precision": ("P:n,n:spd C:n,n:symmetric",
                           lambda m, P, C: m.trace(C @ P) - m.logdet(P), "C - inv(P)"),
    "Gaussian covariance": ("S:n,n:spd C:n,n:symmetric",
                            lambda m, S, C: m.logdet(S) + m.trace(m.inv(S) @ C),
                            "inv(S) - inv(S) @ C @ inv(S)"),
    "Gaussian mean": ("u:n x:n S:n,n:spd", lambda m, u, x, S: 0.5 * ((x - u) @ m.inv(S) @ (x - u)),
                      "inv(S) @ (u - x)"),
    "exponential family": ("t:n x:n", lambda m, t, x: m.sum(m.exp(t) - x * t), "exp(t) - x"),
    "Poisson regression": ("w:d X:n,d y:n", lambda m, w, X, y: m.sum(m.exp(X @ w) - y * (X @ w)),
                           "X.T @ (exp(X @ w) - y)"),
    "gamma deviance": ("u:n y:n", lambda m, u, y: m.sum(y / u + m.log(u)),
                       "(1 - y / u) / u"),
    "least squares, weighted": ("w:d X:n,d y:n c:n",
                                lambda m, w, X, y, c: 0.5 * m.sum(c * (X @ w - y) ** 2),
                                "X.T @ (c * (X @ w - y))"),
    "ridge": ("w:d X:n,d y:n c:=", lambda m, w, X, y, c: m.norm(X @ w - y) ** 2 + c * m.norm(w) ** 2,
              "2 * (X.T @ (X @ w - y) + c * w)"),
    "variance": ("x:n", lambda m, x: m.mean((x - m.mean(x)) ** 2), "2 / n * (x - mean(x))"),
    "covariance with a vector": ("x:n y:n", lambda m, x, y: m.mean((x - m.mean(x)) * (y - m.mean(y))),
                                 "(y - mean(y)) / n"),
    "Fisher's ratio": ("w:n B:n,n:symmetric S:n,n:spd",
                       lambda m, w, B, S: (w @ B @ w) / (w @ S @ w),
                       "2 * (B @ w - w @ B @ w / (w @ S @ w) * (S @ w)) / (w @ S @ w)"),
    # learning
    "logistic regression": ("w:d X:n,d y:n",
                            lambda m, w, X, y: m.sum(m.softplus(X @ w) - y * (X @ w)),
                            "X.T @ (sigmoid(X @ w) - y)"),
    "logistic, signs": ("w:d X:n,d y:n", lambda m, w, X, y: m.sum(m.softplus(-y * (X @ w))),
                        "-X.T @ (y * sigmoid(-y * (X @ w)))"),
    "exponential loss": ("w:d X:n,d y:n", lambda m, w, X, y: m.sum(m.exp(-y * (X @ w))),
                         "-X.T @ (y * exp(-y * (X @ w)))"),
    "softmax regression": ("W:d,k X:n,d Y:n,k",
                           lambda m, W, X, Y: m.sum(m.logsumexp(X @ W)) - m.sum(Y * (X @ W)),
                           "X.T @ (softmax(X @ W) - Y)"),
    "entropy": ("z:n", lambda m, z: -m.sum(z * m.log(z)), "-log(z) - 1"),
    "free energy": ("z:n", lambda m, z: m.logsumexp(z), "softmax(z)"),
    "attention of one query": ("q:d K:n,d v:n", lambda m, q, K, v: m.softmax(K @ q) @ v,
                               "K.T @ (softmax(K @ q) * (v - v @ softmax(K @ q)))"),
    "one hidden layer": ("W:n,d x:d v:n", lambda m, W, x, v: v @ m.tanh(W @ x),
                         "outer(v * (1 - tanh(W @ x) ** 2), x)"),
    "linear autoencoder": ("W:d,m X:n,d V:m,d", lambda m, W, X, V: m.norm(X - X @ W @ V) ** 2,
                           "-2 * X.T @ (X - X @ W @ V) @ V.T"),
    "matrix factors": ("U:n,m V:k,m R:n,k", lambda m, U, V, R: 0.5 * m.norm(U @ V.T - R) ** 2,
                       "(U @ V.T - R) @ V"),
    "masked factors": ("U:n,m V:k,m R:n,k C:n,k",
                       lambda m, U, V, R, C: 0.5 * m.sum(C * (U @ V.T - R) ** 2),
                       "(C * (U @ V.T - R)) @ V"),
    "Gaussian kernel": ("x:n y:n c:=", lambda m, x, y, c: m.exp(-c * m.norm(x - y) ** 2),
                        "2 * c * exp(-c * norm(x - y) ** 2) * (y - x)"),
    "smooth length": ("x:n c:=", lambda m, x, c: m.sqrt(x @ x + c), "x / sqrt(x @ x + c)"),
    "cubes of lengths": ("x:n", lambda m, x: m.sum(m.abs(x) ** 3), "3 * x * abs(x)"),
    "skew sine": ("x:n A:n,n", lambda m, x, A: m.sum(m.sin(A @ x)), "A.T @ cos(A @ x)"),
}  # fmt: skip


def counted(text: str) -> int:
    """Operations of a formula read as a graph: operators and calls, moves of axes free."""
    free = {"diag", "eye", "ones", "zeros", "vec", "tril", "broadcast_to", "diagonal"}
    seen: set[str] = set()
    for node in ast.walk(ast.parse(text, mode="eval")):
        if not any(isinstance(x, ast.Name) and x.id not in SIZES for x in ast.walk(node)):
            continue
        word = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare)) or (
            isinstance(node, ast.Call) and word not in free
        ):
            seen.add(ast.dump(node))
    return len(seen)


@cache
def found(which: str) -> tuple[Any, dict[str, Any], dict[str, np.ndarray]]:
    """The formula of the gradient, the symbols, and values for them."""
    spec, function, _ = ROWS[which]
    rng = np.random.default_rng(len(which))
    symbols: dict[str, Any] = {}
    values: dict[str, np.ndarray] = {}
    for word in spec.split():
        name, sizes, *facts = word.replace(":=", ":").split(":")
        symbols[name] = sg.symbol(name, sizes, sg.float64, *facts)
        shape = [SIZES[s] for s in sizes.split(",") if s]
        value = rng.uniform(0.3, 1.5, shape)
        if facts:
            value = (value + value.T) / 2 + (3 * np.eye(shape[0]) if "spd" in facts else 0)
        values[name] = value
    first, *_ = symbols.values()
    slope = sg.grad(function(SYMBOLIC, *symbols.values()), first)
    return slope.formula(), symbols, values


@pytest.mark.parametrize("which", ROWS)
def test_the_gradient_is_that_of_jax_and_reads_back(which: str):
    formula, symbols, values = found(which)
    with jax.enable_x64(True):
        given = [jnp.asarray(v) for v in values.values()]
        function = ROWS[which][1]
        want = np.asarray(jax.grad(lambda x: function(NUMERIC, x, *given[1:]))(given[0]))
    got = eval(formula.python(), {**namespace(), **SIZES, **values})
    np.testing.assert_allclose(got, want, 1e-9, 1e-9)
    ranges = {formula.letters[x.data]: x.data.size for x in formula.indices}
    for text in (formula.unicode, formula.ascii):
        e = sg.parse_formula(text, symbols, ranges, list(ranges)).expr()
        feeds = {s.expr(): values[w] for w, s in symbols.items()}
        np.testing.assert_allclose(evaluate([e], feeds, SIZES)[0], want, 1e-9, 1e-9)
    known = eval(ROWS[which][2], {**namespace(), **SIZES, **values})
    np.testing.assert_allclose(known, want, 1e-9, 1e-9)


@pytest.mark.parametrize("which", ROWS)
def test_the_gradient_is_nearly_as_short_as_the_known_formula(which: str):
    text = found(which)[0].python()
    assert counted(text) <= 1.5 * max(counted(ROWS[which][2]), 1), text


def test_three_quarters_are_as_short():
    short = [counted(found(w)[0].python()) <= max(counted(row[2]), 1) for w, row in ROWS.items()]
    assert sum(short) >= 0.75 * len(short)
