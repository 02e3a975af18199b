"""Structured derivatives as a researcher uses them: Gauss-Newton, Gaussian processes, Newton steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg


def _symbols(text: str) -> Any:
    return sg.symbols(text, sg.float64)


def _drawn(**shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {k: rng.standard_normal(s) if s else np.abs(rng.standard_normal()) + 0.3
            for k, s in shapes.items()}  # fmt: skip


def test_a_damped_step_of_gauss_and_newton():
    W, v, X, t = _symbols("W:5,3  v:5  X:20,3  t:20")
    lam = sg.symbol("lam", "", sg.float64, "positive")
    r = sg.tanh(X @ W.T) @ v - t
    J = sg.jacobian(r, W)
    damped = (J.T @ J).shifted(lam)
    assert damped.way() == "Cholesky (positive definite) of 15×15"
    assert str(damped).startswith("lam (I(5) ⊗ I(3)) + Σᵢ (")
    asked = [W - damped.solve(J.T @ r), damped @ W, damped.diag(), damped.logdet()]
    feeds = _drawn(W=(5, 3), v=(5,), X=(20, 3), t=(20,), lam=())

    def residual(W: Any) -> Any:
        return jnp.tanh(feeds["X"] @ W.T) @ feeds["v"] - feeds["t"]

    with jax.enable_x64(True):
        j = np.asarray(jax.jacobian(residual)(feeds["W"])).reshape(20, 15)
        g = j.T @ np.asarray(residual(feeds["W"]))
    m = j.T @ j + feeds["lam"] * np.eye(15)
    w = feeds["W"].ravel()
    expected = [w - np.linalg.solve(m, g), m @ w, np.diag(m), np.linalg.slogdet(m)[1]]
    for found, value in zip(sg.compile(asked)(**feeds), expected, strict=True):
        np.testing.assert_allclose(np.ravel(found), np.ravel(value), rtol=1e-9, atol=1e-10)


def test_maps_compose_over_recorded_values():
    A, x = sg.tensor(_drawn(A=(6, 3))["A"]), sg.tensor(_drawn(x=(3,))["x"])
    J = sg.jacobian(sg.tanh(A @ x), x)
    gram = J.T @ J
    assert str(gram).startswith("Aᵀ diag(r ⊙ r) A   where")
    dense = J.dense().numpy()
    shifted = gram.shifted(sg.tensor(0.5, dtype=sg.float64))
    expected = np.linalg.solve(dense.T @ dense + 0.5 * np.eye(3), x.numpy())
    np.testing.assert_allclose(shifted.solve(x).numpy(), expected, rtol=1e-10)
    with pytest.raises(TypeError, match="maps from the same call"):
        assert sg.jacobian(A @ x, x).T @ J
    with pytest.raises(sg.errors.ShapeError, match="do not fit"):
        assert J @ J


def test_the_likelihood_of_a_gaussian_reads_as_in_books():
    K = sg.symbol("K", "n,n", sg.float64, "spd")
    y = sg.symbol("y", "n", sg.float64)
    text = str(sg.derive(0.5 * sg.linalg.slogdet(K)[1] + 0.5 * y @ sg.linalg.solve(K, y), [K, y]))
    assert "L     = ½ (log(|det(K)|) + yᵀ K⁻¹ y)" in text
    assert "∂L/∂K = ½ (K⁻¹ − K⁻¹ y yᵀ K⁻¹)" in text
    assert "∂L/∂y = K⁻¹ y" in text


def _process(xp: Any, X: Any, y: Any, ell: Any, s: Any, eye: Any) -> Any:
    K = xp.exp(-0.5 * ((X[:, None, :] - X[None, :, :]) ** 2).sum(-1) / ell**2) + s**2 * eye
    return 0.5 * y @ xp.linalg.solve(K, y) + 0.5 * xp.linalg.slogdet(K)[1]


def test_a_gaussian_process_is_factored_once():
    X, y = _symbols("X:30,2  y:30")
    ell, s = (sg.symbol(k, "", sg.float64, "positive") for k in ("ell", "s"))
    loss = _process(sg, X, y, ell, s, sg.eye(30, dtype=sg.float64))
    program = sg.compile([loss, *sg.grad(loss, [ell, s])])
    assert program.source.count("linalg.cholesky(") == 1
    assert "inv(" not in program.source
    assert "linalg.solve(" not in program.source
    feeds = _drawn(X=(30, 2), y=(30,), ell=(), s=())

    def value(ell: Any, s: Any) -> Any:
        return _process(jnp, feeds["X"], feeds["y"], ell, s, jnp.eye(30))

    with jax.enable_x64(True):
        expected, slopes = jax.value_and_grad(value, (0, 1))(feeds["ell"], feeds["s"])
    found = program(**feeds)
    for a, b in zip(found, [expected, *slopes], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_second_derivatives_of_a_process_have_a_formula():
    X, y = _symbols("X:30,2  y:30")
    ell, s = (sg.symbol(k, "", sg.float64, "positive") for k in ("ell", "s"))
    loss = _process(sg, X, y, ell, s, sg.eye(30, dtype=sg.float64))
    text = str(sg.hessian(loss, [ell, s]))
    assert "(s² I(30) + exp(Z))⁻¹" in text
    assert "project" not in text


def test_values_that_are_known_need_not_be_given():
    x = sg.symbol("x", "3", sg.float64)
    a = sg.tensor([1.0, 2.0, 3.0], dtype=sg.float64)
    program = sg.compile((a * x).sum())
    np.testing.assert_allclose(program(np.ones(3)), 6.0)
    with pytest.raises(TypeError, match="the value of x is missing"):
        program()


def test_the_identity_is_differentiated_as_any_tensor():
    t = sg.eye(3).requires_grad_()
    (t * 2).sum().backward()
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.numpy(), np.full((3, 3), 2.0))


def test_a_diagonal_matrix_has_a_form():
    d, U = _symbols("d:n  U:n,5")
    assert str((sg.diag(d) + U @ U.T).formula()) == "diag(d) + U Uᵀ"
