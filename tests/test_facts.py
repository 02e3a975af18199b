"""Declared properties of symbols: what may be declared, what formulas make of it, values checked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import name_of
from symgrad.core.facts import FACTS, refuted
from symgrad.derivation.python_form import namespace
from symgrad.errors import LinAlgError, RangeError

f64 = sg.float64
A = np.random.default_rng(0).normal(size=(3, 3))
EYE = np.eye(3)
HAVE = {
    "real": A, "positive": A**2 + 0.1, "nonzero": A, "sign": np.sign(A), "binary": EYE,
    "onehot": EYE, "prob": np.full((2, 4), 0.25), "symmetric": A + A.T, "spd": A @ A.T + EYE,
    "diagonal": EYE, "orthogonal": np.linalg.qr(A)[0], "invertible": A,
}  # fmt: skip
LACK = {
    "real": [1j * EYE], "positive": [EYE, -A**2], "nonzero": [EYE], "sign": [EYE], "binary": [2 * EYE],
    "onehot": [np.ones((2, 3)), np.zeros((2, 3))], "prob": [np.ones((2, 3)), A / A.sum(1)[:, None]],
    "symmetric": [A, np.nan * A], "spd": [-EYE, A @ A.T + EYE + np.triu(A)], "diagonal": [A],
    "orthogonal": [A, 2 * EYE], "invertible": [np.ones((3, 3)), np.nan * A],
}  # fmt: skip


@pytest.mark.parametrize("fact", FACTS)
def test_values_have_it_or_not(fact: str):
    assert not refuted([fact], HAVE[fact])
    assert not refuted(["real", fact], HAVE[fact].astype(np.float32))
    assert all(refuted([fact], value) == fact for value in LACK[fact])
    assert not refuted([fact], HAVE[fact][:0, :0])


@pytest.mark.parametrize(
    ("sizes", "fact", "message"),
    [
        ("n,n", "ortogonal", "'ortogonal' is not a property that is known: real, positive"),
        ("n,m", "symmetric", "shape n×m: 'symmetric' is said of square matrices"),
        ("n", "spd", "'spd' is said of square matrices"),
        ("", "prob", "'prob' is said of rows"),
    ],
)
def test_what_cannot_be_declared(sizes: str, fact: str, message: str):
    with pytest.raises(RangeError, match=message):
        sg.symbol("S", sizes, f64, fact)


def test_values_are_checked_where_that_is_asked_for():
    x, S = sg.symbol("x", "n", f64), sg.symbol("S", "n,n", f64, "symmetric")
    unchecked, checked = sg.compile([x @ S @ x]), sg.compile([x @ S @ x], validate=True)
    assert checked(np.ones(3), A + A.T) == unchecked(np.ones(3), A + A.T)
    assert np.isfinite(unchecked(np.ones(3), A))
    with pytest.raises(RangeError, match="S was declared 'symmetric', but the value given is not"):
        checked(np.ones(3), A)

    def energy(x, S):
        return x @ sg.linalg.solve(S, x)

    f = sg.trace(energy, x=sg.spec("n", f64), S=sg.spec("n,n", f64, "spd"))
    run = f.compile(validate=True)
    np.testing.assert_allclose(run(np.ones(3), HAVE["spd"]), f(np.ones(3), HAVE["spd"]))
    with pytest.raises(RangeError, match="energy: S was declared 'spd'"):
        run(np.ones(3), A + A.T - 9 * EYE)
    with pytest.raises(RangeError, match="energy: S was declared 'spd'"):
        run(x=np.ones(3), S=A)


Q, B = sg.symbol("Q", "n,n", f64, "orthogonal"), sg.symbol("B", "n,n", f64, "diagonal")
Y, P = sg.symbol("Y", "n,n", f64, "symmetric"), sg.symbol("P", "n,n", f64, "spd")
u, v, lam = *sg.symbols("u:n v:n", f64), sg.symbol("lam", "", f64)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: Q.T @ Q @ u, "u"),
        (lambda: Q @ Q.T @ Q @ u, "Q @ u"),
        (lambda: sg.trace(Q @ Q.T), "n"),
        (lambda: Q @ Q @ u, "Q @ (Q @ u)"),
        (lambda: Q.T @ B @ Q @ u, "Q.T @ (B @ (Q @ u))"),
        (lambda: sg.linalg.inv(Q) @ u, "Q.T @ u"),
        (lambda: sg.linalg.inv(Q @ B @ Q.T) @ u, None),
        (lambda: sg.grad(sg.linalg.slogdet(Q)[1], Q), "Q"),
        (lambda: sg.grad(((Q @ u - v) ** 2).sum(), u), "2 * (u - Q.T @ v)"),
        (lambda: sg.grad(u @ B @ u, u), "2 * (B @ u)"),
        (lambda: sg.grad(sg.linalg.slogdet(B)[1], B), "inv(B)"),
    ],
)
def test_formulas_use_what_is_declared(made, text):
    formula = made().formula()
    found = formula.python()
    assert text in (None, found)
    values = {"Q": HAVE["orthogonal"], "B": np.diag([1.0, 2.0, 3.0])}
    values |= {"u": np.arange(1.0, 4), "v": np.array([0.3, -1.0, 2.0])}
    program = sg.compile([made()])
    want = program(*[values[name_of(leaf)] for leaf in program.inputs])
    np.testing.assert_allclose(eval(found, {**namespace(), **values, "n": 3}), want, 1e-12)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: sg.hessian(u @ Y @ u, u), "2 Y"),
        (lambda: sg.hessian((u @ Y @ u) ** 2, u), "8 Y u uᵀ Y + 4 uᵀ Y u Y"),
        (lambda: sg.hessian(u @ P @ u + lam * (u @ u), u), "2 P + 2 lam I(n)"),
        (lambda: sg.hessian(u @ B @ u, u), "2 B"),
        (lambda: sg.hessian((Q @ u) @ (Q @ u), u), "2 I(n)"),
        (lambda: sg.hessian(u @ u + u.sum() ** 2, u), "2 1 1ᵀ + 2 I(n)"),
        (lambda: sg.jacobian(u.sum() * v, u), "v 1ᵀ"),
    ],
)
def test_hessians_use_what_is_declared(made, text):
    assert str(made().formula()) == text


def test_a_hessian_in_the_declared_matrix_itself_is_that_of_all_matrices():
    rng = np.random.default_rng(1)
    value, direction = HAVE["spd"], rng.normal(size=(3, 3))
    D = sg.symbol("D", "n,n", f64)
    H = sg.hessian(sg.linalg.slogdet(P)[1], P)
    inverse = np.linalg.inv(value)
    np.testing.assert_allclose(
        sg.compile([H.matvec(D)])(P=value, D=direction),
        -inverse.T @ direction.T @ inverse.T, 1e-10,
    )  # fmt: skip


def test_what_is_declared_of_a_variable_does_not_hold_while_it_moves():
    p, b = sg.symbol("p", "n", f64, "prob"), sg.symbol("b", "n", f64, "sign")
    beside = u @ Y @ u
    for x in (p, b):
        H = sg.hessian((x * x).sum() ** 2 * x.sum() * beside, x)
        values = {"u": np.arange(1.0, 4), "Y": HAVE["symmetric"], "p": np.array([0.2, 0.3, 0.5])}
        values["b"] = np.array([1.0, -1.0, 1.0])
        program = sg.compile([H.dense()])
        got = program(*[values[name_of(leaf)] for leaf in program.inputs])
        with jax.enable_x64(True):
            front = values["u"] @ values["Y"] @ values["u"]
            at = jnp.asarray(values[name_of(x.expr())])
            want = jax.hessian(lambda x: (x * x).sum() ** 2 * x.sum() * front)(at)  # noqa: B023
        np.testing.assert_allclose(got, want, 1e-10)


def test_a_map_that_is_zero_cannot_be_solved():
    with pytest.raises(LinAlgError, match="the map is 0"):
        sg.hessian(v @ v, u).solve(v)
