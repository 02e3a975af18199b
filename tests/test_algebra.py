"""Formulas to read: each law and each form on an example, and its value at random points."""

import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import name_of
from symgrad.core.traverse import leaves, substitute, topological
from symgrad.derivation.python_form import namespace
from symgrad.evaluate import evaluate
from symgrad.simplify.algebra import Normal
from symgrad.simplify.forms import FORMS

f64 = sg.float64
x, y, z = (sg.symbol(w, "n", f64) for w in "xyz")
s, t = (sg.symbol(w, "", f64) for w in "st")
r = sg.symbol("r", "", f64, "positive")
A, B, C = (sg.symbol(w, "n,n", f64) for w in "ABC")
S = sg.symbol("S", "n,n", f64, "symmetric")
p = sg.symbol("p", "n", f64, "prob")
q = sg.symbol("q", "n", f64, "sign")
k = sg.symbol("k", "n", f64, "onehot")
X = sg.symbol("X", "n,m", f64)
W, w = sg.symbol("W", "m,m", f64), sg.symbol("w", "m", f64)
n = x.shape[0]
inv, det = sg.linalg.inv, sg.linalg.det


def jacobian(f, at):
    """The Jacobian with both sides flattened."""
    return sg.func.jacrev(f)(at).reshape(at.numel(), at.numel())


WRITTEN = [
    (lambda: sg.grad(sg.norm(x) ** 2, x), "2 * x"),
    (lambda: sg.grad(sg.norm(x - y), x), "(x - y) / norm(x - y)"),
    (lambda: (s * t) / t, "s"),
    (lambda: x / s / s, "x / s ** 2"),
    (lambda: sg.abs(x) * sg.sign(x), "x"),
    (lambda: sg.abs(x) ** 2, "x ** 2"),
    (lambda: sg.abs(r) * x, "r * x"),
    (lambda: s * sg.tanh(-x), "-s * tanh(x)"),
    (lambda: sg.cos(-2 * x) - sg.tanh(-x) ** 2, "cos(2 * x) - tanh(x) ** 2"),
    (lambda: sg.diag(A - sg.outer(x, y)), "diag(A) - x * y"),
    (lambda: 0.5 * A - 0.5 * n * B, "0.5 * (A - n * B)"),
    (lambda: q.sum() * sg.sigmoid(x) + s - sg.sigmoid(-x), None),  # s is not 1
    (lambda: s - sg.sigmoid(-x), "s - sigmoid(-x)"),
    (
        lambda: sg.func.jacrev(lambda w: sg.kron(x, w))(w),
        "kron(x[:, None], eye(m))",
    ),
    (
        lambda: sg.func.jacrev(lambda X: (X @ W).reshape(-1))(X),
        "(W.T[:, None, :] * eye(n)[:, None, :, None]).reshape(m * n, n, m)",
    ),
    (lambda: A @ inv(A) @ x, "x"),
    (lambda: inv(inv(A)) @ x, "A @ x"),
    (lambda: det(inv(A)) * s, "s / det(A)"),
    (lambda: inv(A.T), "inv(A).T"),
    (lambda: S.T @ x + S @ x, "2 * (S @ x)"),
    (lambda: sg.grad(sg.linalg.slogdet(A)[1], A), "inv(A).T"),
    (lambda: S - S.T, None),
    (lambda: inv(S).T @ x - inv(S) @ y, "solve(S, x - y)"),
    (lambda: x * p.sum(), "x"),
    (lambda: (X @ X.T + B).T @ x, None),
    (lambda: sg.mean(x), "mean(x)"),
    (lambda: sg.mean(X, 0), "mean(X, axis=0)"),
    (lambda: sg.outer(x, y), "outer(x, y)"),
    (lambda: sg.trace(A @ B @ C), None),
    (lambda: sg.sum(A @ B @ C @ x), None),
    (lambda: sg.exp(x) / sg.exp(x).sum() * s / r, None),
    (lambda: sg.eye(n, dtype=f64) * x, "diag(x)"),
    (lambda: sg.eye(n, dtype=f64) * r, "r * eye(n)"),
    (lambda: sg.sqrt(r * r) * x, "r * x"),
    (lambda: x / (y * z), None),
    (lambda: A / (x * s)[:, None] / y, None),
    (lambda: (A * B / x) @ y, None),
    (lambda: x[:, None] / A, None),
    (lambda: (A / x) @ B, None),
    (lambda: x / A @ y, None),
    (lambda: jacobian(sg.sin, X), "diag(vec(cos(X)))"),
    (lambda: jacobian(lambda at: at * X, X), None),
    (lambda: jacobian(lambda at: A @ at, B), None),
    (lambda: jacobian(lambda at: A @ at @ C, B), "kron(A, C.T)"),
    (lambda: jacobian(inv, A), "-kron(inv(A), inv(A).T)"),
    (lambda: jacobian(lambda at: at, A), "eye(n**2)"),
    (lambda: sg.grad((sg.relu(x) ** 2).sum(), x), "2 * relu(x)"),
    (lambda: q**2 * x + q**3 * y, "q * y + x"),
    (lambda: (sg.exp(x) - sg.exp(-x)) / (sg.exp(x) + sg.exp(-x)), "tanh(x)"),
    (lambda: ((sg.exp(x) - sg.exp(-x)) / (sg.exp(x) + sg.exp(-x))) ** 3, "tanh(x) ** 3"),
    (lambda: ((sg.exp(-x) - sg.exp(x)) / (sg.exp(x) + sg.exp(-x)) ** 2) * y, None),
    (lambda: sg.sinh(A) ** 2 / sg.cosh(A) ** 3, "tanh(A) ** 2 / cosh(A)"),
    (lambda: sg.sinh(A) / sg.cosh(A.T), None),
    (lambda: sg.cos(x) ** 2 * y / sg.sin(x), "cos(x) / tan(x) * y"),
    (lambda: sg.cos(x) ** 2 * sg.tan(x) * y, "sin(x) * cos(x) * y"),
    (lambda: sg.where(x > 0, 1.0, 0.0) ** 3 * y, None),
    (lambda: (sg.gt(A, B).double() * sg.gt(A, B)) @ x, None),
    (lambda: sg.grad(sg.log(sg.cosh(x)).sum(), x), "tanh(x)"),
    (lambda: sg.sqrt(sg.cosh(x) ** 2) * y, "cosh(x) * y"),
    (lambda: sg.exp(y) - sg.exp(y) * x * x, "exp(y) * (1 - x ** 2)"),
    (lambda: (2 - 4 * x**2 / (1 + x**2)) / (1 + x**2), "2 * ((1 - x ** 2) / (x ** 2 + 1) ** 2)"),
    (lambda: (x - sg.mean(x)).sum() * y + z, "z"),
    (lambda: (X - X.mean(0)).sum(0).sum() * y + z, "z"),
    (lambda: sg.diag(x) + B.T - B.T, "diag(x)"),
    (lambda: (x @ A @ x) * y / (x @ A @ x), "y"),
    (lambda: (x @ A @ x) * y / (x @ A.T @ x), "y"),
    (lambda: (A * A).sum() * y / (A * A.T).sum() ** 2, None),
    (lambda: (A * B).sum(0) * x / (A * B).sum(1) ** 2, None),
    (lambda: (A * B).sum(1) * x / (A * B).sum(1), "x"),
    (lambda: (A * B).sum(1) * x / ((A * B) ** 2).sum(1) * (x @ y), None),
    (lambda: ((A * B.T) ** 2).sum(0) * x / ((A.T * B) ** 2).sum(1) ** 1.5, None),
    (lambda: (x @ x) * y * (x @ x) ** -1.5, "y / norm(x)"),
    (lambda: (x @ A @ y) * (x @ A @ y) * z / (x @ A @ y), None),
    (lambda: A @ (B / 2 + C / 2) @ A / 4, None),
    (lambda: x * (y / n + z / n) ** 2, None),
    (lambda: n / (x * s) ** 2, "n / (x * s) ** 2"),
    (lambda: (x * s) ** 3 * y[:, None], None),
    (lambda: sg.outer(A @ x, y) / s, "outer(A @ x / s, y)"),
    (lambda: sg.outer(y, A @ x).T * s, None),
    (lambda: sg.outer(A @ x, A @ x) * s, "s * outer(A @ x, A @ x)"),
    (lambda: sg.linalg.slogdet(sg.kron(A, W))[1], None),
    (lambda: inv(sg.kron(A, W)), "kron(inv(A), inv(W))"),
    (lambda: inv(sg.kron(A, W)).T, "kron(inv(A).T, inv(W).T)"),
    (lambda: sg.kron(A, W).T @ sg.kron(x, w), None),
    (lambda: sg.kron(A, W) + sg.kron(B, W.T) - sg.kron(C, W), "kron(A - C, W) + kron(B, W.T)"),
    (lambda: sg.kron(W, A) + sg.kron(W, B.T), "kron(W, A + B.T)"),
    (lambda: sg.func.jacrev(lambda at: sg.linalg.solve(A, at))(x), "inv(A)"),
    (lambda: sg.func.jacrev(lambda at: sg.linalg.solve(A.T, B @ at))(x), None),
    (lambda: sg.flip(sg.flip(A, (0,)).T, (0, 1)).T, None),
    (lambda: sg.flip(sg.flip(X, (0, 1)), (1, 0)), "X"),
    (lambda: sg.flip(x, (0,))[:, None] * X, None),
    (lambda: sg.grad((z.detach() * x).sum(), x), "z"),
    (lambda: sg.diagonal(sg.outer(A @ x, B @ x)), None),
    (lambda: sg.diagonal(A @ B - sg.outer(x, y)), None),
    (lambda: inv(sg.diag(r * x)) @ A, None),
    (lambda: inv(sg.diag(x) @ sg.diag(y)), "diag(1 / (x * y))"),
    (lambda: inv(sg.diag(x) * A.T * sg.eye(n, dtype=f64)), None),
    (lambda: inv(sg.diag(A @ x)), "diag(1 / (A @ x))"),
    (lambda: inv(sg.eye(n, dtype=f64) * r), None),
    (lambda: sg.linalg.slogdet(sg.diag(A @ x))[1], None),
    (lambda: sg.sign(x) / sg.abs(x) * y, "y / x"),
    (lambda: sg.sign(A) / sg.abs(A.T) ** 3, None),
    (lambda: sg.sign(x) / sg.abs(x) ** 2 * y, None),
    (lambda: k * x / (k @ x) * y, "k * y"),
    (lambda: k[:, None] * A / (k @ x), None),
    (lambda: k * x * y / (k @ x) - k * y, None),
    (lambda: k * y / (k @ x), None),
    (lambda: sg.diag(r / x**2) + A, "diag(r / x ** 2) + A"),
    (lambda: jacobian(lambda at: at / sg.norm(at), X), None),
    (lambda: jacobian(lambda at: (at * X.detach()).sum() ** 2 * at, X), None),
    (lambda: sg.func.hessian(lambda at: sg.norm(at) ** 3)(X).reshape(X.numel(), X.numel()), None),
    (lambda: sg.clamp(A, min=0) * sg.where(A > 0, 1.0, 0.0), None),
    (lambda: sg.relu(A) * (A.T > 0), None),
    (lambda: sg.clamp(A.T, min=0) * (A > 0), None),
    (lambda: sg.maximum(A, s) * (A > 0), None),
    (lambda: sg.where(sg.ge(A, s), A, sg.maximum(A, s)), "maximum(A, s)"),
    (
        lambda: sg.where(x > 0, x * sg.cos(sg.where(x > 0, x, 1.0)), 0.0),
        "where(x > 0, x * cos(x), 0)",
    ),
    (
        lambda: sg.where(A > 0, A * sg.where(A > 0, C, A) + sg.where(A.T > 0, B, C), A * (A > 0)),
        "where(A > 0, C * A + where(A.T > 0, B, C), 0)",
    ),
    (lambda: sg.where(x > 0, y, A @ sg.where(x > 0, y, z)), None),
    (lambda: sg.grad((2.0**x).sum(), x), "log(2 * 1) * pow(2, x)"),
    (lambda: sg.where(x > 0, y, sg.where(x > 0, z, y)) * s, "s * y"),
    (lambda: sg.where(sg.eq(x, 2.0) & (x > 0), 1.0, y), None),
    (lambda: sg.where(x > 0, (sg.where(x > 0, y, z) * A).sum(1), z), None),
    (lambda: sg.where(x > 0, z, sg.flip(sg.where(x > 0, y, z), (0,))), None),
    (lambda: sg.where(A > 0, sg.where(A > 0, x, A), sg.where(A > 0, C, x[:, None])), None),
    (lambda: sg.where(sg.ge(A.T, s), A.T, sg.maximum(A, s)), None),
    (lambda: sg.where(sg.ge(A, s), A, sg.maximum(A, t)), None),
    (lambda: sg.where(sg.ge(A.T, s), A, sg.maximum(A.T, s)), None),
    (lambda: sg.where(x[:, None] >= s, x[:, None] + 0 * A, sg.maximum(x, s)), None),
    (lambda: sg.grad((z * sg.relu(1 - q * x)).sum(), x), None),
    (lambda: z * (A - A.T > 0), None),
    (lambda: z * (s - A.T > 0.5), None),
    (lambda: z * (2 * A - x + 1 <= s), None),
    (lambda: ((X - X.mean(0)) ** 2).mean(0), "mean((X - mean(X, axis=0)) ** 2, axis=0)"),
    (lambda: ((X @ X.T) * A).mean() * s, None),
    (lambda: (A * B * C).mean(1) * 2, "2 * mean(C * A * B, axis=1)"),
    (lambda: (x * y * z).sum() / (n * n), None),
    (lambda: (A * B.T).mean() * x, None),
    (lambda: (x[:, None] * y * A).sum(1) / n, None),
    (lambda: sg.norm(A @ X @ W) * X, "norm(A @ X @ W) * X"),
    (lambda: X / sg.norm(X @ X.T @ A.T), "X / norm(A @ X @ X.T)"),
    (lambda: s / sg.norm(A @ x) + sg.norm(A @ x) ** 2, "norm(A @ x) ** 2 + s / norm(A @ x)"),
    (lambda: sg.sqrt(sg.trace(A @ A)) * x, None),
    (lambda: sg.sqrt((x @ x) * (y @ y) + (x @ A @ A.T @ y)) * x, None),
    (lambda: -(x**2) / y**2, "-((x / y) ** 2)"),
    (lambda: (sg.sqrt(sg.exp(x)) - sg.exp(y)) / sg.sqrt(sg.exp(x) + r), None),
    (lambda: sg.sqrt(sg.exp(x) + r) / sg.sqrt(sg.exp(y) + r), "sqrt((exp(x) + r) / (exp(y) + r))"),
    (lambda: X / sg.sqrt((X**2).mean(0)), "X / sqrt(mean(X ** 2, axis=0))"),
    (lambda: n**0.5 * X / sg.sqrt((X**2).sum(0) + s), None),
    (lambda: sg.sigmoid(r * x) * (r * x * y + s), "sigmoid(r * x) * (y * (r * x) + s)"),
    (lambda: sg.sigmoid(A * r).T * (r * A * B), None),
    (lambda: (x - y) * (y - x) * z, "-((y - x) ** 2 * z)"),
    (lambda: (A - B) * (B.T - A.T) / (A.T - B.T), None),
    (lambda: A.T @ (A @ x) ** 3, "A.T @ (A @ x) ** 3"),
    (lambda: (A @ x) ** 4 * y, None),
    (lambda: sg.exp(-r * A), "exp(-r * A)"),
    (lambda: -(inv(A) @ X @ X.T @ inv(A)).T, None),
    (lambda: inv(A) @ X @ W @ X.T @ inv(A), "inv(A) @ X @ W @ X.T @ inv(A)"),
    (lambda: 2 * sg.linalg.slogdet(A)[1] * inv(A).T, "2 * logdet(A) * inv(A).T"),
    (lambda: sg.grad(sg.mean(r**3) ** (1 / 3), r), None),
    (lambda: sg.grad((r**s).sum(), r), "s * pow(r, s - 1)"),
    (lambda: sg.grad((r**s).sum(), r) * r, "pow(r, s) * s"),
    (lambda: sg.grad(((r / sg.exp(t)) ** s).sum(), t), None),
    (lambda: sg.where(s * x == 0, 0.0, s * x * y), "s * (x * y)"),
    (lambda: sg.where(A.T == 0, 0 * A, A * B), None),
    (
        lambda: (x - x.mean()) ** 2 * 3 / n - 3 / n**2 * ((x - x.mean()) ** 2).sum(),
        "3/n * ((x - mean(x)) ** 2 - mean((x - mean(x)) ** 2))",
    ),
    (
        lambda: -((x - y) / sg.sqrt((x - y) ** 2 + r) @ A),
        "A.T @ ((y - x) / sqrt((y - x) ** 2 + r))",
    ),
    (lambda: sg.grad((x * (B @ x)) @ y, x), "B.T @ (x * y) + y * (B @ x)"),
    (lambda: (x @ y) * (x / s) - (x @ y) ** 2 * (z / s**2), "x @ y / s * (x - x @ y / s * z)"),
]

FORMED = {
    "two sides of an order": (lambda: z * (1 - x > 0), "(x < 1) * z"),
    "common side of Kronecker products": (
        lambda: sg.kron(A, W) - sg.kron(A, W.T),
        "kron(A, W - W.T)",
    ),
    "open one sum": (lambda: A @ (x + y) - A @ x, "A @ y"),
    "take all common factors out": (lambda: x * s / r - y * s / r, "s / r * (x - y)"),
    "choice by a sign": (
        lambda: sg.grad((z * sg.maximum(x, y)).sum(), x),
        "0.5 * ((sign(x - y) + 1) * z)",
    ),
    "logistic function of both signs": (
        lambda: sg.grad((sg.clamp(x, min=0) + sg.log(1 + sg.exp(-sg.abs(x)))).sum(), x),
        "sigmoid(x)",
    ),
    "slope of the logistic function without a sign": (
        lambda: sg.sigmoid(q * x) * (1 - sg.sigmoid(q * x)),
        "sigmoid(x) * (1 - sigmoid(x))",
    ),
    "common number of some terms": (
        lambda: sg.grad(3 * (x @ A @ z) - 3 * (x @ B @ y) + x @ z, x),
        "3 * (A @ z - B @ y) + z",
    ),
    "common number of a bracket": (
        lambda: s * (4 * sg.outer(x, y) + 2 * A),
        "2 * s * (2 * outer(x, y) + A)",
    ),
    "a bracket that is there": (
        lambda: sg.grad((x @ (y - s * z)) ** 2 / 2 + x @ y - s * (x @ z), x),
        "(x @ (y - s * z) + 1) * (y - s * z)",
    ),
    "one logarithm": (
        lambda: sg.grad(x @ sg.log(sg.exp(y) + r) - x @ sg.log(sg.exp(z) + r), x),
        "log((exp(y) + r) / (exp(z) + r))",
    ),
    "together by denominator": (
        lambda: sg.func.hessian(lambda at: sg.log(sg.exp(at) + sg.exp(-at)).sum())(x),
        "diag(1 - tanh(x) ** 2)",
    ),
    "proper fraction": (
        lambda: z * (x**2 - y + r) / (x**2 + r),
        "(1 - y / (x ** 2 + r)) * z",
    ),
    "quotient of sums": (
        lambda: z * (sg.exp(x) ** 2 - y**2) / (sg.exp(x) - y),
        "(exp(x) + y) * z",
    ),
    "over one denominator": (lambda: 1 - x**2 / (x**2 + r), None),
    "divisor into a bracket": (lambda: x / (r * (x**2 / r + 1)), None),
    "root of a product": (lambda: ((x @ x) * (y @ y)) ** 1.5 / (y @ y) * z, None),
    "take a common factor out": (lambda: A @ x * s + A @ y * s, "s * (A @ (x + y))"),
    "open all sums, then factor": (
        lambda: (x + y) * (x - y) + y * (x + y) - x * y,
        "x ** 2",
    ),
    "square of the other function": (
        lambda: (sg.cos(x) / sg.sin(x)) ** 2 * y + y - sg.sinh(z) ** 2 + sg.cosh(z) ** 2,
        "y / sin(x) ** 2 + 1",
    ),
    "sign into a difference": (lambda: -(A @ (x - y)), "A @ (y - x)"),
    "logistic function of the other sign": (lambda: 1 - sg.sigmoid(-x), "sigmoid(x)"),
    "logistic slope of the other sign": (
        lambda: sg.sigmoid(-x) * (1 - sg.sigmoid(-x)),
        "sigmoid(x) * (1 - sigmoid(x))",
    ),
    "one choice": (
        lambda: sg.where(x > 0, y, z) * y + sg.where(x > 0, z, y) * z,
        None,
    ),
    "determinant and inverse of a product": (lambda: det(A @ B) / det(B), "det(A)"),
}
NONE = [
    (lambda: det(A * A), "det(A ** 2)"),
    (lambda: det(A * B) / det(B), None),
    (lambda: sg.where(x > 0, y, z) * sg.where(x > 0, x, z) + sg.where(x > 0, x, y) * z, None),
    (lambda: sg.where(A > 0, B, C) * C + sg.where(A > 0, B, C).T * sg.where(A > 0, A, B), None),
    (lambda: sg.where((x * x).sum() - 4 > A, A, B), None),
]
"""What looks like one of these and is none."""


def test_every_form_has_an_example():
    assert set(FORMED) == {rule.name for rule in FORMS}


@pytest.mark.parametrize("name", FORMED)
def test_each_form_is_equal_and_applies(name):
    e = Normal().of([FORMED[name][0]().expr()])[0]
    rule = next(rule for rule in FORMS if rule.name == name)
    found = [f for node in topological([e]) for f in rule.of(node) if f is not node]
    assert found


FORMS_OF_FORMS = 80
"""Forms tried of one expression."""


def drawn(rng):
    """Values of the symbols."""
    values = {w: rng.normal(size=4) for w in "xyz"} | {w: rng.normal(size=(4, 4)) for w in "ABC"}
    values |= {"s": np.array(1.7), "t": np.array(-0.6), "r": np.array(0.8)}
    values |= {"S": values["A"] + values["A"].T, "p": np.array([0.1, 0.2, 0.3, 0.4])}
    values |= {"X": rng.normal(size=(4, 3)), "q": np.array([1.0, -1.0, -1.0, 1.0])}
    values |= {"k": np.array([0.0, 0.0, 1.0, 0.0])}
    return values | {"W": rng.normal(size=(3, 3)), "w": rng.normal(size=3)}


LENGTH = sg.norm(x)
SEARCHED = [
    lambda: sg.grad(sg.sin(sg.maximum(A.T, B)).sum(), B),
    lambda: sg.grad(sg.sin(sg.minimum(A, B.T)).sum(), B),
    lambda: sg.where(sg.gt(A - B, x[:, None]), A, C) + sg.where(sg.gt(1 - A, B.T), A, C),
    lambda: sg.eye(n, dtype=f64) + (sg.outer(x, x) - sg.outer(x, x) / LENGTH) / LENGTH,
    lambda: (y - x / LENGTH**2 + x / LENGTH) / LENGTH + z / LENGTH**3,
    lambda: (s / (s + t) - s / (s + t) ** 2) / (s + t) + s * (s + t),
    lambda: (x / (x + y) ** 2 - z) / (x + y) ** 2 + z / (x + y) ** 3,
    lambda: sg.hessian(sg.exp(sg.norm(x)), x).dense(),
    lambda: sg.hessian(sg.tanh(1 / (x @ x)), x).dense(),
    lambda: sg.hessian(sg.log(1 + (x @ x) / (y @ y)), x).dense(),
]


@pytest.mark.parametrize("value", [*(v for v, _ in (*WRITTEN, *FORMED.values(), *NONE)), *SEARCHED])
def test_forms_of_forms_are_equal(value):
    """All that a search for a shorter text meets first has the value that it began with."""
    made = value()
    e = made.expr() if callable(made.expr) else made.expr
    values = drawn(np.random.default_rng(5))
    letters = {"n": 4, "m": 3}

    def at(node):
        inputs = {leaf: values[name_of(leaf)] for leaf in leaves([node])}
        return evaluate([node], inputs, letters)[0]

    want = at(e)
    normal = Normal()
    queue, seen = [normal.of([e])[0]], set()
    while queue and len(seen) < FORMS_OF_FORMS:
        whole = queue.pop(0)
        for node in topological([whole])[::-1]:
            for rule in FORMS:
                for form in rule.of(node):
                    other = normal.of(substitute([whole], {node: form}))[0]
                    if other not in seen:
                        seen.add(other)
                        queue.append(other)
                        np.testing.assert_allclose(
                            at(other), want, rtol=1e-9, atol=1e-11, err_msg=rule.name
                        )


@pytest.mark.parametrize(("value", "text"), [*WRITTEN, *FORMED.values(), *NONE])
def test_normal_form(value, text):
    found = value().formula().python()
    assert text in (None, found)
    rng = np.random.default_rng(3)
    values = drawn(rng)
    letters = {"n": 4, "m": 3}
    inputs = [sg.tensor(v, dtype=f64, requires_grad=True) for v in values.values()]
    scope = dict(zip(values, inputs, strict=True)) | {"n": 4}
    code = value.__code__
    concrete = type(value)(code, {**globals(), **scope}, "value")()
    np.testing.assert_allclose(
        eval(found, {**namespace(), **letters, **values}),
        concrete.detach().numpy(),
        rtol=1e-9,
        atol=1e-12,
    )


def test_a_total_over_an_axis_beside_one_of_size_1():
    """The law of centred sums looked its label −1 up."""
    R, b = sg.symbol("R", "n,m", f64), sg.symbol("b", "n,1", f64)
    assert (R - b).sum(0).formula().python() == "sum(R - b, axis=0)"
