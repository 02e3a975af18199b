"""Jacobians and Hessians as objects, against `jax.hessian` and `jax.jacobian` of the forward program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.core.traverse import topological
from symgrad.tracing.symbolic import Compiled
from symgrad.transforms.operators import Blocks

F = sg.nn.functional
Sizes = Mapping[str, int]
N = {"n": 7, "d": 4, "m": 5, "k": 3, "h": 2}
SQUARE = {"n": 3, "d": 3, "m": 3, "k": 3, "h": 3}
WIDE = {"n": 4, "d": 6, "m": 3, "k": 5, "h": 6}


@dataclass(frozen=True)
class Case:
    """A function of symbols, what it is differentiated for, and what its object prints as."""

    symbols: str
    function: Callable[..., sg.Tensor]
    wrt: tuple[int, ...]
    text: str | None = None
    solves: bool = True
    sizes: tuple[Sizes, ...] = (N, WIDE)


def _logistic(X: Any, w: Any, y: Any) -> Any:
    z = X @ w
    return (F.softplus(z) - y * z).sum() + 0.35 * (w @ w)


def _factors(T: Any, U: Any, V: Any) -> Any:
    return ((T - U @ V.T) ** 2).sum()


def _net(X: Any, W: Any, G: Any) -> Any:
    return (sg.tanh(X @ W.T) @ G.T).exp().sum()


def _chain(x: Any) -> Any:
    return ((x[1:] - x[:-1] ** 2) ** 2).sum() + (x**2).sum()


HESSIANS: dict[str, Case] = {
    "quadratic": Case("A:n,n x:n", lambda A, x: x @ A @ x, (1, 1), "A + Aᵀ"),
    "least squares": Case(
        "X:n,d w:d y:n", lambda X, w, y: ((X @ w - y) ** 2).mean(), (1, 1), "(2/n) Xᵀ X", False
    ),
    "logistic": Case(
        "X:n,d w:d y:n", _logistic, (1, 1),
        "Xᵀ diag(p ⊙ (1 − p)) X + 0.7 I(d)   where z = X w, p = σ(z)",
    ),
    "logarithm of squares": Case(
        "X:n,d w:d y:n", lambda X, w, y: sg.log(1 + (X @ w - y) ** 2).sum(), (1, 1),
        "2 Xᵀ diag((1 − a) ⊘ (r₂ ⊙ r₂)) X   where r₁ = X w − y, a = r₁ ⊙ r₁, r₂ = 1 + a", False,
    ),
    "log cosh": Case(
        "X:n,d w:d y:n", lambda X, w, y: sg.log(sg.cosh(X @ w - y)).sum(), (1, 1),
        "Xᵀ diag(1 − tanh(z) ⊙ tanh(z)) X   where z = X w − y", False,
    ),
    "bell": Case(
        "X:n,d w:d y:n", lambda X, w, y: (1 - (-((X @ w - y) ** 2) / 2).exp()).sum(), (1, 1),
        "Xᵀ diag(h ⊙ (1 − a)) X   where r = X w − y, a = r ⊙ r, h = exp(−½ a)", False,
    ),
    "entropy": Case("x:n", lambda x: (x.exp() * x).sum(), (0, 0), "diag(2 a + a ⊙ x)   where a = exp(x)"),
    "logarithm of a form": Case(
        "A:n,n x:n", lambda A, x: sg.log(1 + (x @ A @ x).exp()), (1, 1),
        "p (1 − p) (A + Aᵀ) x xᵀ (A + Aᵀ) + p (A + Aᵀ)   where p = σ(xᵀ A x)",
    ),
    "separable": Case("x:n", lambda x: (x**4 + x.exp()).sum(), (0, 0)),
    "quartic": Case("x:n", lambda x: (x**4).sum(), (0, 0), "12 diag(x ⊙ x)"),
    "log of sum": Case(
        "x:n", lambda x: sg.logsumexp(x, -1), (0, 0), "diag(p) − p pᵀ   where p = softmax(x)", False
    ),
    "log of sum and ridge": Case("x:n", lambda x: sg.logsumexp(x, -1) + (x * x).sum(), (0, 0)),
    "softmax regression": Case(
        "X:n,d w:d", lambda X, w: sg.logsumexp(X @ w, -1), (1, 1),
        "Xᵀ diag(p) X − Xᵀ p pᵀ X   where z = X w, p = softmax(z)", False,
    ),
    "factors, U": Case("T:n,m U:n,k V:m,k", _factors, (1, 1), "2 I(n) ⊗ (Vᵀ V)   (vec by rows)",
                       True, (N, SQUARE)),
    "factors, V": Case("T:n,m U:n,k V:m,k", _factors, (2, 2), "2 I(m) ⊗ (Uᵀ U)   (vec by rows)",
                       True, (N, SQUARE)),
    "factors, across": Case("T:n,m U:n,k V:m,k", _factors, (1, 2), None, False),
    "factors and ridge": Case(
        "T:n,m U:n,k V:m,k", lambda T, U, V: _factors(T, U, V) + 0.1 * (U * U).sum(), (1, 1),
    ),
    "exponential factors": Case("U:n,k V:m,k", lambda U, V: (U @ V.T).exp().sum(), (0, 0), None,
                                True, (N, SQUARE)),
    "two sides": Case("A:n,n U:n,k C:k,k", lambda A, U, C: (U.T @ A @ U * C).sum(), (1, 1)),
    "two layers, one": Case("X:n,d W:h,d G:k,h", _net, (1, 1), None, False),
    "two layers, across": Case("X:n,d W:h,d G:k,h", _net, (1, 2), None, False),
    "chain": Case("x:9", _chain, (0, 0), None, True, ({},)),
    "steps of a chain": Case(
        "x:9", lambda x: (sg.sin(x[::2]) ** 2).sum() + (x[1::2] * x[:-1:2]).sum() + (x**4).sum(),
        (0, 0), None, True, ({},),
    ),
    "determinant": Case("A:n,n", sg.linalg.det, (0, 0), None, False, (SQUARE,)),
    "not there": Case("x:n y:n", lambda x, y: (x * x).sum(), (0, 1), "0", False),
}  # fmt: skip

JACOBIANS: dict[str, Case] = {
    "softmax": Case(
        "s:n", lambda s: sg.softmax(s, -1), (0,), "diag(p) − p pᵀ   where p = softmax(s)", False
    ),
    "elementwise": Case("s:n", lambda s: s * s, (0,), "2 diag(s)"),
    "identity": Case("s:n", lambda s: 3.0 * s, (0,), "3 I(n)"),
    "affine": Case("A:m,n x:n", lambda A, x: A @ x, (1,), "A", False),
    "layer": Case("A:m,n x:n", lambda A, x: sg.tanh(A @ x), (1,), None, False),
    "both sides": Case("B:n,n U:n,k C:k,k", lambda B, U, C: B @ U @ C, (1,),
                       "B ⊗ Cᵀ   (vec by rows)"),
    "elementwise matrix": Case("U:n,k", lambda U: U * U, (0,), "2 diag(vec(U))   (vec by rows)"),
    "rows": Case("U:n,k", lambda U: sg.softmax(U, -1), (0,), None, False),
    "transpose": Case("U:n,k", lambda U: U.T, (0,), None, False),
    "square": Case("A:n,n", lambda A: A @ A, (0,)),
    "inverse": Case("A:n,n", sg.linalg.inv, (0,)),
    "cut": Case("x:9", lambda x: x[2:7] * x[4:9], (0,), None, False, ({},)),
    "flat": Case("U:4,3", lambda U: (U * U).reshape(12), (0,), None, False, ({},)),
    "gathered": Case("x:9", lambda x: x.cumsum(0).exp(), (0,), None, True, ({},)),
}  # fmt: skip


def _shape(t: sg.Tensor, sizes: Sizes) -> tuple[int, ...]:
    return tuple(s if isinstance(s, int) else int(s.value(sizes)) for s in t.shape)


class Asked:
    """An object, its answers by one compiled program, and the reference."""

    def __init__(self, case: Case, sizes: Sizes, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        found = sg.symbols(case.symbols, sg.float64)
        self.symbols = list(found) if isinstance(found, tuple) else [found]
        self.value = case.function(*self.symbols)
        wrt = [self.symbols[k] for k in case.wrt]
        self.object = (
            sg.jacobian(self.value, wrt[0]) if self.value.ndim else
            sg.hessian(self.value, wrt[0] if wrt[0] is wrt[1] else wrt)
        )  # fmt: skip
        if isinstance(self.object, Blocks):
            self.object = self.object[0, 1]
        self.values = [rng.normal(size=_shape(t, sizes)) for t in self.symbols]
        self.rows = _shape_of(self.object.map.out_shape, sizes)
        self.columns = _shape_of(self.object.map.in_shape, sizes)
        self.v, self.u = rng.normal(size=self.columns), rng.normal(size=self.rows)
        forward = Compiled([self.value], self.symbols).executable.function

        def function(*args: Any) -> Any:
            full = list(self.values)
            for k, a in zip(dict.fromkeys(case.wrt), args, strict=True):
                full[k] = a
            return forward(*full)

        places = list(dict.fromkeys(case.wrt))
        at = [jnp.asarray(self.values[k]) for k in places]
        if self.value.ndim:
            self.reference = np.asarray(jax.jit(jax.jacobian(function))(*at))
        else:
            whole = jax.jit(jax.hessian(function, range(len(places))))(*at)
            self.reference = np.asarray(whole[0][-1])
        self.matrix = self.reference.reshape(self.u.size, self.v.size)

    def answers(
        self, *tensors: sg.Tensor, more: Mapping[sg.Tensor, Any] | None = None
    ) -> list[Any]:
        given = more or {}
        program = Compiled(tensors, [*self.symbols, *given])
        found = program(*self.values, *given.values())
        return [np.asarray(a) for a in (found if isinstance(found, (tuple, list)) else [found])]


def _shape_of(shape: Any, sizes: Sizes) -> tuple[int, ...]:
    return tuple(s if isinstance(s, int) else int(s.value(sizes)) for s in shape)


def _close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


ALL = {**HESSIANS, **JACOBIANS}
RUNS = [(name, k) for name, case in ALL.items() for k in range(len(case.sizes))]


@pytest.mark.parametrize(("name", "which"), RUNS)
def test_against_jax(name: str, which: int) -> None:
    case = ALL[name]
    with jax.enable_x64(True):
        asked = Asked(case, case.sizes[which])
        h = asked.object
        v = sg.symbol("v_", h.map.in_shape, sg.float64)
        u = sg.symbol("u_", h.map.out_shape, sg.float64)
        more = {v: asked.v, u: asked.u}
        asks = {"dense": h.dense(), "forth": h.matvec(v), "back": h.rmatvec(u), "T": h.T.matvec(u)}
        if h.map.out_shape == h.map.in_shape:
            asks |= {"diagonal": h.diag(), "trace": h.trace()}
        if case.solves:
            asks |= {"solved": h.solve(u), "log": h.logdet()}
        found = dict(zip(asks, asked.answers(*asks.values(), more=more), strict=True))
        matrix, forth, back = asked.matrix, asked.v.ravel(), asked.u.ravel()
        _close(found["dense"], asked.reference)
        _close(found["forth"].ravel(), matrix @ forth)
        _close(found["back"].ravel(), matrix.T @ back)
        _close(found["T"].ravel(), matrix.T @ back)
        if "trace" in found:
            _close(found["diagonal"].ravel(), np.diag(matrix))
            _close(found["trace"], np.trace(matrix))
        if case.solves:
            _close(matrix @ found["solved"].ravel(), back)
            sign, size = np.linalg.slogdet(matrix)
            _close(found["log"], size if sign > 0 else np.nan)


@pytest.mark.parametrize("name", [n for n, c in ALL.items() if c.text is not None])
def test_text(name: str) -> None:
    case = ALL[name]
    found = sg.symbols(case.symbols, sg.float64)
    listed = list(found) if isinstance(found, tuple) else [found]
    value = case.function(*listed)
    wrt = [listed[k] for k in case.wrt]
    h = sg.jacobian(value, wrt[0]) if value.ndim else sg.hessian(value, wrt[0])
    if case.wrt == (0, 1):
        h = sg.hessian(value, wrt)[0, 1]
    assert h.formula().unicode == case.text


# ------------------------------------------------------------------------ how systems are solved


def _ridge() -> tuple[Any, Any]:
    X, w, y = sg.symbols("X:n,d  w:d  y:n", sg.float64)
    weight = sg.symbol("λ", "", sg.float64, "positive")
    z = X @ w
    return sg.hessian((F.softplus(z) - y * z).sum() + weight / 2 * (w @ w), w), w


def test_a_positive_definite_system_is_solved_by_cholesky() -> None:
    h, w = _ridge()
    source = sg.compile([h.solve(w)]).source
    assert "cholesky" in source
    assert "inv(" not in source
    assert "linalg.solve(" not in source
    assert h.way() == "Cholesky (positive definite) of d×d"


def test_few_samples_are_solved_by_woodbury() -> None:
    h, w = _ridge()
    sizes = {"n": 5, "d": 40}
    assert h.way(sizes) == ("Woodbury, as n < d: diagonal, and Cholesky (positive definite) of n×n")
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        values = {"X": rng.normal(size=(5, 40)), "w": rng.normal(size=40), "λ": 0.7}
        few = sg.compile([h.solve(w, sizes), h.logdet(sizes)])
        many = sg.compile([h.solve(w), h.logdet()])
        for a, b in zip(few(**values), many(**values), strict=True):
            _close(a, b)
        assert _largest(few, values) <= 5 * 40


def _largest(program: Any, values: Mapping[str, Any]) -> int:
    """The most entries of any array that a program makes."""
    given = [values[x.params[0]] for x in program.inputs]
    found = [jax.make_jaxpr(program.executable.function)(*given).jaxpr]
    most = 0
    while found:
        for equation in found.pop().eqns:
            most = max([most, *(v.aval.size for v in equation.outvars)])
            found += [p.jaxpr for p in equation.params.values() if hasattr(p, "jaxpr")]
    return most


def test_factorisation_makes_nothing_of_the_size_of_its_hessian() -> None:
    T, U, V = sg.symbols("T:n,m  U:n,k  V:m,k", sg.float64)
    h = sg.hessian(((T - U @ V.T) ** 2).sum(), U)
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        values = {"U": rng.normal(size=(60, 4)), "V": rng.normal(size=(9, 4))}
        for asked in (h.solve(U), h.matvec(U), h.logdet(), h.trace(), h.diag()):
            program = Compiled([asked], [U, V])
            assert _largest(program, values) <= 60 * 9
    assert h.way() == "Cholesky (positive definite) of k×k"


def test_newton_on_one_factor_is_alternating_least_squares() -> None:
    T, U, V = sg.symbols("T:n,m  U:n,k  V:m,k", sg.float64)
    loss = ((T - U @ V.T) ** 2).sum()
    step = U - sg.hessian(loss, U).solve(sg.grad(loss, U))
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        t, u, v = (rng.normal(size=s) for s in ((7, 5), (7, 3), (5, 3)))
        _close(sg.compile([step])(T=t, U=u, V=v), t @ v @ np.linalg.inv(v.T @ v))


WAYS = {
    "diagonal": (lambda x, A: (x**4).sum(), "a division by the diagonal"),
    "number": (lambda x, A: (x * x).sum(), "a division by the number in front"),
    "one column": (
        lambda x, A: sg.logsumexp(x, -1) + (x**4).sum(),
        "Woodbury, as 1 < 6: diagonal, and LU (sign not known) of 1×1",
    ),
    "several": (
        lambda x, A: sg.logsumexp(A[:3] @ x, -1) + (x**4).sum(),
        "Woodbury, as 4 < 6: diagonal, and LU (sign not known) of 4×4",
    ),
    "dense": (lambda x, A: ((A @ x) ** 4).sum() + sg.logsumexp(A @ x, -1) * x.sum(),
              "LU (sign not known) of 6×6"),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_values_are_solved_too(name: str) -> None:
    function, way = WAYS[name]
    sg.manual_seed(3)
    x, A = sg.randn(6, dtype=sg.float64), sg.randn(6, 6, dtype=sg.float64)
    h = sg.hessian(function(x, A), x)
    assert h.way() == way
    b = sg.randn(6, dtype=sg.float64)
    dense = h.dense().numpy()
    _close(dense @ h.solve(b).numpy(), b.numpy())
    sign, size = np.linalg.slogdet(dense)
    _close(h.logdet().item(), size if sign > 0 else np.nan)


def test_hessian_vector_products() -> None:
    X, w, v = sg.symbols("X:n,d  w:d  v:d", sg.float64)
    loss = sg.tanh(X @ w).exp().sum()
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        values = {"X": rng.normal(size=(5, 3)), "w": rng.normal(size=3), "v": rng.normal(size=3)}
        product, matrix = sg.compile([sg.hvp(loss, w, v), sg.hessian(loss, w).dense()])(**values)
        _close(product, matrix @ values["v"])


def test_blocks_of_several_variables() -> None:
    U, V = sg.symbols("U:4,2  V:3,2", sg.float64)
    h = sg.hessian((U @ V.T).exp().sum() + (U**2).sum(), [U, V])
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        u, v = rng.normal(size=(4, 2)), rng.normal(size=(3, 2))

        def function(a: Any, b: Any) -> Any:
            return jnp.exp(a @ b.T).sum() + (a**2).sum()

        whole = jax.hessian(function, (0, 1))(u, v)
        rows = [[np.asarray(b).reshape(s, t) for b, t in zip(row, (8, 6), strict=True)]
                for row, s in zip(whole, (8, 6), strict=True)]  # fmt: skip
        matrix = np.block(rows)
        program = sg.compile([h.matrix(), *h.matvec([U, V]), *h.rmatvec([U, V]), h.trace()])
        dense, p, q, r, s, trace = program(U=u, V=v)
        both = np.concatenate([u.ravel(), v.ravel()])
        _close(dense, matrix)
        _close(np.concatenate([np.ravel(p), np.ravel(q)]), matrix @ both)
        _close(np.concatenate([np.ravel(r), np.ravel(s)]), matrix.T @ both)
        _close(trace, np.trace(matrix))


CHAINS: dict[str, Any] = {
    "neighbours": (_chain, [-1, 0, 1]),
    "none": (lambda x: (x**4).sum(), [0]),
    "second neighbours": (
        lambda x: ((x[2:] - 2 * x[1:-1] + x[:-2]) ** 4).sum() + (x**2).sum(), [-2, -1, 0, 1, 2],
    ),
    "cut twice": (lambda x: (x[1:][2:] * x[:-1][:-2]).exp().sum() + (x**2).sum(), [-3, 0, 3]),
    "pairs": (lambda x: (x[::2].exp() * x[1::2]).sum() + (x**2).sum(), [-1, 0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_banded(name: str) -> None:
    function, offsets = CHAINS[name]
    x = sg.symbol("x", "12", sg.float64)
    h = sg.hessian(function(x), x)
    bands = h.bands()
    assert sorted(bands) == offsets
    sg.manual_seed(0)
    value = sg.randn(12, dtype=sg.float64)
    H = sg.hessian(function(value), value)
    dense = H.dense().numpy()
    rebuilt = np.zeros_like(dense)
    for k, v in H.bands().items():
        rebuilt += np.diag(v.numpy()[max(0, -k) : 12 - max(0, k)], k)
    _close(rebuilt, dense)
    b = sg.randn(12, dtype=sg.float64)
    _close(dense @ H.solve(b).numpy(), b.numpy())
    long = sg.symbol("x", "300", sg.float64)
    h = sg.hessian(function(long), long)
    asked = [*h.bands().values(), h.matvec(long), h.diag(), h.trace()]
    if set(offsets) <= {-1, 0, 1}:
        asked.append(h.solve(long))
    with jax.enable_x64(True):
        assert _largest(Compiled(asked, [long]), {"x": np.ones(300)}) <= 300


@pytest.mark.parametrize(
    "name", [name for name in CHAINS if name != "pairs"]
)  # a step needs a number
def test_chains_of_any_length_are_banded(name: str) -> None:
    function, offsets = CHAINS[name]
    x = sg.symbol("x", "n", sg.float64)
    h = sg.hessian(function(x), x)
    assert sorted(h.bands()) == offsets
    asked = [h.dense(), *(v for _, v in sorted(h.bands().items())), h.solve(x)]
    program = sg.compile(asked)
    assert ("tridiagonal_solve" in program.source) == (offsets == [-1, 0, 1])
    for n in (5, 9):
        value = np.random.default_rng(n).normal(size=n)
        dense, *bands, solution = map(np.asarray, program(x=value))
        rebuilt = sum(np.diag(v[max(0, -k) : n - max(0, k)], k)
                      for k, v in zip(offsets, bands, strict=True))  # fmt: skip
        _close(rebuilt, dense)
        _close(dense @ solution, value)


@pytest.mark.parametrize("size", ["n", "6"])
def test_the_slope_of_a_solve_with_three_diagonals(size: str) -> None:
    x = sg.symbol("x", size, sg.float64)
    h = sg.hessian(_chain(x), x)
    slope = sg.compile([sg.grad((h.solve(x) ** 2).sum(), x)])
    assert "tridiagonal_solve" in slope.source
    value = np.random.default_rng(3).normal(size=6)

    def at(z: np.ndarray) -> float:
        here = sg.symbol("x", "6", sg.float64)
        dense = sg.compile([sg.hessian(_chain(here), here).dense()])(x=z)
        return float((np.linalg.solve(np.asarray(dense), z) ** 2).sum())

    step = 1e-6 * np.eye(6)
    numeric = [(at(value + e) - at(value - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(np.asarray(slope(x=value)).ravel(), numeric, 1e-5, 1e-7)


# ------------------------------------------------------------------------ handed out, and compiled


def test_scipy_solves_with_it() -> None:
    linalg = pytest.importorskip("scipy.sparse.linalg")
    sg.manual_seed(0)
    T, U, V = (sg.randn(*s, dtype=sg.float64) for s in ((6, 5), (6, 3), (5, 3)))
    h = sg.hessian(((T - U @ V.T) ** 2).sum() + (U**2).sum(), U)
    handed = h.as_linear_operator()
    b = sg.randn(6, 3, dtype=sg.float64)
    found, failed = linalg.cg(handed, b.numpy().ravel(), rtol=1e-13)
    assert not failed
    np.testing.assert_allclose(found, h.solve(b).numpy().ravel(), rtol=1e-8)
    J = sg.jacobian(U @ V.T, U).as_linear_operator()
    assert J.shape == (30, 18)
    dense = sg.jacobian(U @ V.T, U).matrix().numpy()
    _close(J.T @ np.ones(30), dense.T @ np.ones(30))


def test_symbols_are_handed_out_with_their_values() -> None:
    X, w = sg.symbols("X:n,d w:d", sg.float64)
    h = sg.hessian(F.softplus(X @ w).sum(), w)
    with pytest.raises(TypeError, match="the value of X is missing"):
        h.as_linear_operator(w=np.ones(3))
    x = np.random.default_rng(0).normal(size=(5, 3))
    p = 1 / (1 + np.exp(-x @ np.ones(3)))
    handed = h.as_linear_operator(X=x, w=np.ones(3))
    _close(handed @ np.ones(3), x.T @ (p * (1 - p) * (x @ np.ones(3))))


def test_traced_functions_have_them() -> None:
    f = sg.trace(lambda X, w: F.softplus(X @ w).sum(), X="n,d", w="d")
    assert f.hessian("w").formula().unicode == ("Xᵀ diag(p ⊙ (1 − p)) X   where z = X w, p = σ(z)")
    assert f.hessian("X", "w")[1, 1].shape == f.hessian("w").shape
    g = sg.trace(lambda s: sg.softmax(s, -1), s="n")
    assert g.jacobian("s").formula().unicode == "diag(p) − p pᵀ   where p = softmax(s)"


def test_newton_as_a_compiled_step() -> None:
    sg.manual_seed(0)
    X = sg.randn(20, 4, dtype=sg.float64)
    y = (sg.rand(20) > 0.5).double()
    w = sg.nn.Parameter(sg.zeros(4, dtype=sg.float64))

    @sg.compile
    def step(X: Any, y: Any) -> Any:
        z = X @ w
        loss = (F.softplus(z) - y * z).sum() + 0.1 * (w @ w)
        (g,) = sg.autograd.grad(loss, [w], create_graph=True)
        move = sg.hessian(loss, w).solve(g)
        with sg.no_grad():
            w.sub_(move)
        return (g * g).sum()

    sizes = [step(X, y).item() for _ in range(7)]
    assert sizes[-1] < 1e-25 < sizes[0]


def test_products_with_vectors_make_no_matrix_of_parameters() -> None:
    X, W, G = sg.symbols("X:n,d  W:h,d  G:k,h", sg.float64)
    loss = sg.logsumexp(sg.tanh(X @ W.T) @ G.T, -1).sum()
    h = sg.hessian(loss, W)
    with jax.enable_x64(True):
        values = {"X": np.ones((30, 20)), "W": np.ones((25, 20)), "G": np.ones((15, 25))}
        for asked in (h.matvec(W), h.rmatvec(W), sg.hvp(loss, W, W)):
            assert _largest(Compiled([asked], [X, W, G]), values) <= 30 * 25


def test_the_hessian_of_a_linear_function_times_a_vector_is_zero():
    w, a, v = sg.symbols("w:d  a:d  v:d", sg.float64)
    found = sg.hvp((a * w).sum(), w, v)
    assert (found.shape, str(found.formula())) == ((sg.symbol("d", "d").shape[0],), "0")
    x = sg.tensor([1.0, 2.0], requires_grad=True)
    assert sg.hvp((3 * x).sum(), x, sg.ones(2)).tolist() == [0.0, 0.0]


def test_diagonals_beside_a_matrix_print_as_such():
    X, w, y, a = sg.symbols("X:n,d  w:d  y:n  a:d")
    assert str(sg.jacobian(sg.tanh(X @ w), w)).startswith("diag(1 − h ⊙ h) X   where")
    assert str(sg.jacobian(sg.exp(X.T @ y), y)).startswith("diag(")
    assert str(sg.jacobian(y * (X @ (a * w)), w)) == "diag(y) X diag(a)"


def test_terms_share_the_factors_of_an_axis():
    """(J diag(p) Jᵀ − u uᵀ) ⊗ x xᵀ: the entries of the large tensor are made once."""
    W, M, x = sg.symbols("W:4,3  M:4,4  x:3", sg.float64)
    z = M @ sg.tanh(W @ x)
    h = sg.hessian(sg.logsumexp(z, -1), W)
    program = Compiled([h.dense()], [W, M, x])
    rng = np.random.default_rng(4)
    values = [rng.standard_normal(s) for s in ((4, 3), (4, 4), (3,))]

    def loss(w: Any, m: Any, v: Any) -> Any:
        return jax.nn.logsumexp(m @ jnp.tanh(w @ v))

    with jax.enable_x64(True):
        expected = jax.hessian(loss)(*values)
    np.testing.assert_allclose(program(*values), expected, rtol=1e-9, atol=1e-12)
    large = [e for e in topological([h.dense().expr()]) if e.ndim == 4]
    assert len(large) == 1
