"""Texts of Jacobians and Hessians: what they say, read back, is the map."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import name_of
from symgrad.core.traverse import leaves
from symgrad.errors import NotationError
from symgrad.evaluate import evaluate
from tests.test_structured import Case, _shape

SIZES = {"n": 4, "d": 3, "k": 2, "m": 5, "r": 2}
F = sg.nn.functional


def _softmax_regression(X: Any, W: Any, Y: Any) -> Any:
    Z = X @ W.T
    return (sg.logsumexp(Z, 1) - (Y * Z).sum(1)).sum()


def _two_layers(X: Any, W: Any, V: Any, Y: Any) -> Any:
    Z = sg.tanh(X @ W.T) @ V.T
    return (sg.logsumexp(Z, 1) - (Y * Z).sum(1)).sum()


def _normalised(x: Any, c: Any) -> Any:
    r = x - x.mean()
    return r / sg.sqrt((r * r).mean() + c)


def _student(X: Any, w: Any, y: Any, c: Any) -> Any:
    return (c + 1) / 2 * sg.log(1 + (X @ w - y) ** 2 / c).sum()


CASES = {
    "softmax regression": Case(
        "X:n,d W:k,d Y:n,k", _softmax_regression, (1, 1),
        "Σᵢ (diag(P[i,:]) − P[i,:] P[i,:]ᵀ) ⊗ (X[i,:] X[i,:]ᵀ)"
        "   where Z = X Wᵀ, P = softmax(Z)   (vec by rows)",
    ),
    "Poisson regression of matrices": Case(
        "X:n,d W:k,d Y:n,k", lambda X, W, Y: (sg.exp(X @ W.T) - Y * (X @ W.T)).sum(), (1, 1),
        "Σᵢ diag(H[i,:]) ⊗ (X[i,:] X[i,:]ᵀ)   where Z = X Wᵀ, H = exp(Z)   (vec by rows)",
    ),
    "masked factorisation": Case(
        "M:n,m T:n,m U:n,r V:m,r", lambda M, T, U, V: (M * (T - U @ V.T) ** 2).sum(), (2, 2),
        "2 Σᵢ diag(M[:,i]) ⊗ (V[i,:] V[i,:]ᵀ)   (vec by rows)",
    ),
    "factorisation, across": Case(
        "T:n,m U:n,r V:m,r", lambda T, U, V: ((T - U @ V.T) ** 2).sum(), (1, 2),
    ),
    "ridge of a matrix": Case(
        "X:n,d W:k,d Y:n,k c", lambda X, W, Y, c: ((X @ W.T - Y) ** 2).sum() + c * (W * W).sum(),
        (1, 1), "2 I(k) ⊗ (c I(d) + Xᵀ X)   (vec by rows)",
    ),
    "norm of a matrix": Case(
        "W:k,d", lambda W: (W * W).sum() ** 2, (0, 0),
        "4 a (I(k) ⊗ I(d)) + 8 vec(W) vec(W)ᵀ   where a = tr(Wᵀ W)   (vec by rows)",
    ),
    "autoencoder": Case("X:n,d W:k,d", lambda X, W: ((X @ W.T @ W - X) ** 2).sum(), (1, 1)),
    "first layer": Case(
        "X:n,d W:k,d v:k y:n", lambda X, W, v, y: ((sg.tanh(X @ W.T) @ v - y) ** 2).sum(), (1, 1),
    ),
    "two layers, first": Case("X:n,d W:m,d V:k,m Y:n,k", _two_layers, (1, 1)),
    "two layers, across": Case("X:n,d W:m,d V:k,m Y:n,k", _two_layers, (1, 2)),
    "two layers, last": Case(
        "X:n,d W:m,d V:k,m Y:n,k", _two_layers, (2, 2),
        "Σᵢ (diag(P[i,:]) − P[i,:] P[i,:]ᵀ) ⊗ (H[i,:] H[i,:]ᵀ)"
        "   where Z₁ = X Wᵀ, H = tanh(Z₁), Z₂ = H Vᵀ, P = softmax(Z₂)   (vec by rows)",
    ),
    "Student's": Case("X:n,d w:d y:n c", _student, (1, 1)),
    "squared hinge": Case(
        "X:n,d w:d y:n", lambda X, w, y: (sg.relu(1 - y * (X @ w)) ** 2).sum(), (1, 1),
    ),
    "entropy": Case("x:n b:n", lambda x, b: (x * sg.log(x / b)).sum(), (0, 0), "diag(1 ⊘ x)"),
    "barrier": Case(
        "x:n", lambda x: -sg.log(x).sum() - sg.log(2 - x).sum(), (0, 0),
        "diag(1 ⊘ (x ⊙ x) + 1 ⊘ (r ⊙ r))   where r = 2 − x",
    ),
    "pairs": Case("x:n", lambda x: ((x[:, None] - x[None, :]) ** 4).sum(), (0, 0)),
    "kernel": Case(
        "x:n b:n", lambda x, b: sg.exp(-((x[:, None] - b[None, :]) ** 2)).sum(), (0, 0),
        "diag(Σᵢ (4 A − 2)[:,i] ⊙ H[:,i])   where R[i,j] = x[i] − b[j], A = R ⊙ R, H = exp(−A)",
    ),
    "variance": Case(
        "x:n", lambda x: ((x - x.mean()) ** 2).mean(), (0, 0), "(2/n) I(n) − (2/n²) 1 1ᵀ"
    ),
    "length": Case("x:n", sg.norm, (0, 0), "(1 / √a) I(n) − (1 / a^(3/2)) x xᵀ   where a = xᵀ x"),
    "softmax of a layer": Case(
        "W:k,d w:d", lambda W, w: sg.softmax(W @ w, 0), (0,),
        "(diag(p) − p pᵀ) ⊗ wᵀ   where z = W w, p = softmax(z)   (vec by rows)",
    ),
    "layer": Case(
        "W:k,d w:d", lambda W, w: sg.tanh(W @ w), (0,),
        "diag(1 − h ⊙ h) ⊗ wᵀ   where z = W w, h = tanh(z)   (vec by rows)",
    ),
    "outer product": Case(
        "x:n", lambda x: sg.outer(x, x), (0,), "I(n) ⊗ x + x ⊗ I(n)   (vec by rows)"
    ),
    "solved": Case("A:n,n b:n", sg.linalg.solve, (0,), "−A⁻¹ ⊗ (bᵀ A⁻ᵀ)   (vec by rows)"),
    "normalised": Case("x:n c", _normalised, (0,)),
    "gate": Case(
        "x:n", lambda x: x * sg.sigmoid(x), (0,), "diag(p + p ⊙ x ⊙ (1 − p))   where p = σ(x)"
    ),
    "mean under a softmax": Case(
        "x:n b:n", lambda x, b: sg.softmax(x, 0) @ b, (0, 0),
        "2 pᵀ b p pᵀ + diag(p ⊙ (b − pᵀ b)) − (p ⊙ b) pᵀ − p (p ⊙ b)ᵀ   where p = softmax(x)",
    ),
    "quartic": Case(
        "x:n b:n", lambda x, b: (x @ x) ** 2 * (b @ x), (0, 0),
        "4 a b xᵀ + 4 a x bᵀ + 8 c x xᵀ + 4 xᵀ b xᵀ x I(n)   where a = xᵀ x, c = bᵀ x",
    ),
    "cosine": Case("x:n b:n", lambda x, b: (x @ b) / sg.norm(x), (0, 0)),
    "Rayleigh's quotient": Case(
        "A:n,n x:n", lambda A, x: (x @ (A @ x + A.T @ x)) / (x @ x), (1, 1)
    ),
    "entropy of a softmax": Case(
        "x:n", lambda x: -(sg.softmax(x, 0) * sg.log(sg.softmax(x, 0))).sum(), (0, 0),
    ),
    "chain": Case(
        "x:n", lambda x: ((x[1:] - x[:-1]) ** 2).sum(), (0, 0),
        "[i,j] = 2 1[i = j] 1[i ≥ 1] + 2 1[i = j] 1[i < n − 1] − 2 1[i = j + 1] − 2 1[j = i + 1]",
    ),
    "chain with weights": Case(
        "x:n w:n", lambda x, w: (w[1:] * (x[1:] - x[:-1]) ** 2).sum(), (0, 0),
        "[i,j] = 2 w[i] 1[i = j] 1[i ≥ 1] + 2 w[i + 1] 1[i = j] 1[i < n − 1]"
        " − 2 w[i + 1] 1[j = i + 1] − 2 w[j + 1] 1[i = j + 1]",
    ),
    "Rosenbrock": Case(
        "x:n", lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(), (0, 0),
        "[i,j] = 200 1[i = j] 1[i ≥ 1] + (1200 x[i]² + 2 − 400 x[i + 1]) 1[i = j] 1[i < n − 1]"
        " − 400 x[i] 1[j = i + 1] − 400 x[j] 1[i = j + 1]",
    ),
    "second differences": Case(
        "x:n", lambda x: ((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2).sum(), (0, 0),
    ),
    "total variation": Case(
        "x:n c", lambda x, c: sg.sqrt((x[1:] - x[:-1]) ** 2 + c).sum(), (0, 0),
    ),
    "neighbours": Case(
        "x:n", lambda x: (x[1:] * x[:-1]).sum(), (0, 0), "[i,j] = 1[i = j + 1] + 1[j = i + 1]",
    ),
    "neighbours in exponents": Case("x:n", lambda x: sg.exp(x[1:] * x[:-1]).sum(), (0, 0)),
    "the first three": Case(
        "x:n", lambda x: (x[:3] ** 4).sum(), (0, 0), "[i,j] = 12 x[i]² 1[i = j] 1[i < 3]",
    ),
    "two entries": Case("x:n", lambda x: x[0] ** 2 * x[1], (0, 0)),
    "rows of a matrix": Case("X:n,d", lambda X: ((X[1:] - X[:-1]) ** 2).sum(), (0, 0)),
    "autoregression": Case(
        "x:n c", lambda x, c: ((x[1:] - c * x[:-1]) ** 2).sum(), (0, 0),
    ),
    "autoregression, its weights": Case(
        "X:n,d w:d y:n", lambda X, w, y: ((y[1:] - X[1:] @ w) ** 2).sum(), (1, 1),
        "2 Aᵀ A   where A[j,i] = X[j + 1,i] for j < n − 1",
    ),
    "differences": Case("x:n", lambda x: sg.tanh(x[1:] - x[:-1]), (0,)),
    "logarithms of ratios": Case("x:n", lambda x: sg.log(x[1:] / x[:-1]), (0,)),
    "both sides": Case("A:n,n X:n,d", lambda A, X: A @ X @ X.T, (1,)),
}  # fmt: skip


def _asked(case: Case) -> tuple[Any, dict[str, sg.Tensor]]:
    found = sg.symbols(case.symbols, sg.float64)
    listed = list(found) if isinstance(found, tuple) else [found]
    value = case.function(*listed)
    wrt = [listed[k] for k in dict.fromkeys(case.wrt)]
    if value.ndim:
        made = sg.jacobian(value, wrt[0])
    else:
        made = sg.hessian(value, wrt) if len(wrt) > 1 else sg.hessian(value, wrt[0])
    if len(wrt) > 1:
        made = made[0, 1]
    return made, {name_of(t.expr()): t for t in listed}


def _values(name: str, symbols: dict[str, sg.Tensor]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values = {w: rng.random(_shape(t, SIZES)) + 0.3 for w, t in symbols.items()}
    if name == "solved":
        values["A"] += 3 * np.eye(4)
    return values


@pytest.mark.parametrize("name", CASES)
def test_it_reads_back_as_the_map(name: str) -> None:
    made, symbols = _asked(CASES[name])
    text = made.formula()
    assert CASES[name].text in (None, text.unicode)
    feeds = {symbols[w].expr(): v for w, v in _values(name, symbols).items()}

    def value(e: Any) -> Any:
        return evaluate([e], {x: feeds[x] for x in leaves([e])}, SIZES)[0]

    dense = value(made.dense().expr())
    ranges = {text.letters[s.data]: s.data.size for s in text.indices}
    given = {**symbols, **{s: sg.symbol("size_" + s, s).shape[0] for s in SIZES}}
    for spelled in (text.unicode, text.ascii):
        read = value(sg.parse_formula(spelled, given, ranges, list(ranges)).expr())
        np.testing.assert_allclose(np.reshape(read, dense.shape), dense, rtol=1e-10, atol=1e-12)


def test_latex_says_the_indices_and_the_layout() -> None:
    across = _asked(CASES["factorisation, across"])[0].formula().latex()
    assert across.startswith(r"\left[i,k,j,a\right] = 2 {\mathbf{U}}_{[i,a]}")
    ridge = _asked(CASES["ridge of a matrix"])[0].formula().latex()
    assert ridge.startswith(r"2 \mathbf{I}_{k} \otimes \left(c \, \mathbf{I}_{d} + \mathbf{X}")
    assert ridge.endswith(r"\quad\text{(vec by rows)}")
    names = _asked(CASES["layer"])[0].formula().latex()
    assert r"\mathbf{h} = \tanh\left(\mathbf{z}\right)" in names


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_that_of_jax(name: str) -> None:
    made, symbols = _asked(CASES[name])
    case = CASES[name]
    with jax.enable_x64(True):
        table = _values(name, symbols)
        values = list(table.values())
        value = case.function(*symbols.values())
        forward = sg.compile([value])
        order = [x.params[0] for x in forward.inputs]

        def function(*args: Any) -> Any:
            full = dict(zip(symbols, values, strict=True))
            for k, a in zip(dict.fromkeys(case.wrt), args, strict=True):
                full[list(symbols)[k]] = a
            return forward.executable.function(*(full[w] for w in order))

        at = [values[k] for k in dict.fromkeys(case.wrt)]
        if value.ndim:
            want = jax.jacobian(function)(*at)
        else:
            want = jax.hessian(function, range(len(at)))(*at)[0][-1]
        dense = made.dense().expr()
        feeds = {symbols[w].expr(): v for w, v in table.items()}
        found = evaluate([dense], {x: feeds[x] for x in leaves([dense])}, SIZES)[0]
        np.testing.assert_allclose(found, np.asarray(want), 1e-8, 1e-9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a x   where a = b, b = a", "each of a, b is defined by the others"),
        ("a x   where a", "a name and what it stands for is needed"),
        ("a x   where a = xᵀ c", "c is not known here"),
        ("a x   where b = xᵀ x", "a is not known here"),
    ],
)
def test_definitions_that_say_nothing_are_refused(text: str, says: str) -> None:
    with pytest.raises(NotationError, match=re.escape(says)):
        sg.parse_formula(text, [sg.symbol("x", "n")])


def test_definitions_may_stand_in_any_order() -> None:
    x, A = sg.symbol("x", "n"), sg.symbol("A", "n,n")
    read = sg.parse_formula("a x   where a = bᵀ y, y = x, b = A x", [x, A])
    assert read.formula().unicode == sg.parse_formula("(A x)ᵀ x x", [x, A]).formula().unicode
