"""Dangerous expressions as people type them, value and gradient to 12 digits against mpmath.

The corpus with its stated tolerances is run by `benchmarks/stability.py`.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F

NAMES = ("exp", "log", "tanh", "sqrt", "cosh", "cos", "sin", "erf")
EXPONENTIALS = {
    "log(1+exp(x-3))": [-700, -40, 0, 3, 50, 800],
    "1/((1+exp(-x))*(1+exp(x)))": [-600, -40, 0, 2, 40, 600],
    "log(1+exp(-x))+log(1+exp(x))": [-800, -1, 0, 5, 900],
    "(exp(x)-exp(-x))/(exp(x)+exp(-x))": [-400, -1, 1e-9, 3, 20, 300],
    "(exp(2*x)-1)/(exp(2*x)+1)": [-300, -1, 1e-9, 3, 300],
    "2/(1+exp(-2*x))-1": [-300, -1, 1e-9, 3, 20],
    "1-tanh(x)": [-3, 0, 5, 30, 300],
    "1-tanh(x)**2": [-300, -30, 0, 5, 30, 300],
    "log(1-tanh(x))": [-3, 0, 5, 30, 300],
    "log((1+tanh(x))/(1-tanh(x)))": [-300, -3, 1e-9, 5, 300],
    "log(1-tanh(x)*tanh(x))/2": [-300, -3, 1e-5, 5, 300],
    "exp(x)/(exp(x)+7.5)": [-700, 0, 2, 30, 900],
    "log(0.3*exp(-x*x/2)+0.7*exp(-(x-5)*(x-5)/2))": [-60, 0, 2.5, 5, 60],
    "x/(1+exp(-x))": [-700, -40, 0, 40, 700],
    "x*tanh(log(1+exp(x)))": [-600, -40, 0, 40, 700],
    "log(exp(x)/(exp(x)+exp(-x)))": [-500, -1, 0, 30, 500],
    "exp(x)/(1+exp(x))**2": [-500, -1, 0, 30, 500],
    "exp(-x)/(1+exp(-x))**2": [-500, -1, 0, 30, 500],
    "log((exp(x)+exp(-x))/2)": [-800, -1, 1e-4, 1, 800],
    "-(1-1/(1+exp(-x)))**2*log(1/(1+exp(-x)))": [-100, -1, 0, 40, 100],
    "exp(-exp(-x))": [-5, 0, 5, 50],
    "1-exp(-exp(x))": [-500, -40, 0, 3],
    "log(1-exp(-exp(x)))": [-500, -40, 0, 3],
    "log(1-exp(-x))": [1e-12, 1, 50, 600],
    "log(1/(1+exp(-(x+1)))-1/(1+exp(-x)))": [-500, -1, 0, 30, 300],
    "log(1+exp(x+1e-6))-log(1+exp(x))": [-300, -30, 0, 20, 300],
    "log(1+exp(x-40))-log(1+exp(x))": [-300, -30, 0, 20, 300],
}
CANCELLATIONS = {
    "sqrt(1+x**2)-1": [1e-9, 1e-3, 1, 1e8],
    "sqrt(1+x**2)-x": [-3, 1e-3, 1, 1e6, 1e10],
    "1/sqrt(x)-1/sqrt(x+1)": [1e-3, 1, 1e8, 1e14],
    "1/x-1/(x+1)": [1e-3, 1, 1e8, 1e14],
    "log(x+1)-log(x)": [1e-3, 1, 1e8, 1e14],
    "log((x+1)/x)": [1e-3, 1, 1e8, 1e14],
    "cosh(x)-1": [1e-9, 1e-3, 1, 30],
    "exp(x+1e-9)-exp(x)": [-3, 0, 5],
    "(x+1)**2-x**2": [1e-3, 1, 1e9],
    "sin(x+1e-8)-sin(x)": [0.3, 1, 2],
    "0.5*(log(1+x)-log(1-x))": [1e-12, 0.3, 0.9],
    "log(x+sqrt(1+x*x))": [1e-9, 0.3, 10, 1e9],
    "log(x+sqrt(x*x-1))": [1.0000000001, 1.001, 1.1, 10, 1e9],
    "0.5*log((1+x)/(1-x))": [-0.9999999, -1e-12, 1e-15, 0.5, 0.999999],
    "sin(x)/x": [-1e-9, 1e-12, 1e-5, 0.3, 0.9, 1.5],
    "sin(3*x)/(3*x)": [1e-12, 1e-5, 0.25, 0.5],
    "(exp(x)-1)/x": [-700, -1, -1e-9, 1e-12, 1e-5, 1, 600],
    "log(1+x)/x": [-0.99, -1e-9, 1e-12, 1e-5, 0.1, 0.2, 1, 1e9],
    "(1-cos(x))/(x*x)": [1e-10, 1e-6, 1e-3, 0.3, 2],
    "sqrt(x*x+9)": [1e-200, 1, 1e200],
    "-(x*log(x)+(1-x)*log(1-x))": [1e-300, 1e-20, 1e-5, 0.4, 0.9],
    "log(x/(1-x))": [1e-300, 1e-20, 0.4, 0.9],
    "0.5*(1-erf(x))": [-3, 1, 5, 20],
}
CASES = {**EXPONENTIALS, **CANCELLATIONS}


def typed(text: str, names: dict[str, Any], x: Any) -> Any:
    return eval(text, {**names, "x": x})


def reference(text: str, at: float) -> tuple[float, float]:
    """Value and slope with digits enough for what cancels; the step is half of them."""
    names = {name: getattr(mp, name) for name in NAMES}
    with mp.workdps(1500):
        x = mp.mpf(float(at))
        step = mp.mpf(10) ** -700 * max(abs(x), mp.mpf(10) ** -20)
        low, middle, high = (typed(text, names, x + k * step) for k in (-1, 0, 1))
        return float(middle), float((high - low) / (2 * step))


def found(text: str, points: list[float]) -> tuple[np.ndarray, np.ndarray]:
    x = sg.symbol("x", (len(points),), sg.float64)
    y = typed(text, {name: getattr(sg, name) for name in NAMES}, x)
    run = sg.compile([y, sg.grad(y.sum(), x)])
    value, slope = (np.asarray(a) for a in run(x=np.array(points, float)))
    return value, slope


@pytest.mark.parametrize("text", CASES)
def test_value_and_gradient_have_twelve_digits(text: str) -> None:
    value, slope = found(text, CASES[text])
    for at, *pair in zip(CASES[text], value, slope, strict=True):
        for got, want in zip(pair, reference(text, at), strict=True):
            assert math.isclose(got, want, rel_tol=1e-12, abs_tol=3e-308), at


def test_the_comparison_has_teeth() -> None:
    want, _ = reference("1-tanh(x)", 30.0)
    assert not math.isclose(1 - math.tanh(30.0), want, rel_tol=1e-12, abs_tol=3e-308)


@pytest.mark.parametrize("text", ["sqrt((x*x).sum())", "sqrt((x*x).mean())", "x.std(correction=0)"])
def test_a_length_has_the_slope_0_at_0(text: str) -> None:
    x = sg.symbol("x", (3,), sg.float64)
    slope = sg.compile([sg.grad(eval(text, {"sqrt": sg.sqrt, "x": x}), x)])
    assert not np.asarray(slope(x=np.zeros(3))).any()


SOFTPLUS = {
    "relu": lambda x: F.relu(x) + sg.log1p(sg.exp(-abs(x))),
    "clamp": lambda x: sg.clamp(x, min=0) + sg.log(1 + sg.exp(-abs(x))),
    "a choice": lambda x: sg.where(x > 0, x, 0.0) + sg.log1p(sg.exp(-abs(x))),
    "the smaller of two": lambda x: x - sg.clamp(x, max=0) + sg.log1p(sg.exp(-abs(x))),
}


@pytest.mark.parametrize("how", SOFTPLUS)
def test_a_kink_that_the_whole_does_not_have_leaves_no_trace(how: str) -> None:
    x = sg.symbol("x", (4,), sg.float64)
    slope = sg.compile([sg.grad(SOFTPLUS[how](x).sum(), x)])
    at = np.array([-800.0, -1.0, 0.0, 1.0])
    want = [float(1 / (1 + mp.exp(-a))) for a in at]
    np.testing.assert_allclose(np.asarray(slope(x=at)), want, rtol=1e-12, atol=3e-308)


def test_a_row_of_which_nothing_is_kept_sends_nothing_back() -> None:
    x, v = sg.symbol("x", (2, 3), sg.float64), sg.symbol("v", (3, 2), sg.float64)
    mask, row = sg.symbol("mask", (2, 3), sg.bool), sg.symbol("row", (2, 1), sg.bool)
    weights = sg.softmax(sg.where(mask, x, -math.inf), -1)
    total = sg.where(row, weights @ v, 0.0).sum()
    run = sg.compile([total, *sg.grad(total, [x, v])])
    kept = np.array([[True, False, True], [False, False, False]])
    found = run(x=np.ones((2, 3)), v=np.arange(6.0).reshape(3, 2), mask=kept,
                row=kept.any(1, keepdims=True))  # fmt: skip
    assert all(np.isfinite(np.asarray(a)).all() for a in found)
    np.testing.assert_allclose(np.asarray(found[2]), [[0.5, 0.5], [0, 0], [0.5, 0.5]])


FAR = {
    "gelu by tanh": (lambda x: 0.5 * x * (1 + sg.tanh(0.8 * (x + 0.044715 * x**3))), 1e150,
                     [0.0, 1.0]),
    "a bump": (lambda x: sg.where(x > 0, sg.exp(-1 / x), 0.0), 1e-200, [0.0, 0.0]),
    "a polynomial under a bell": (lambda x: x**4 * sg.exp(-x * x), 1e100, [0.0, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize("which", FAR)
def test_what_vanishes_beats_what_overflows(which: str) -> None:
    function, size, want = FAR[which]
    x = sg.symbol("x", (2,), sg.float64)
    slope = sg.compile([sg.grad(function(x).sum(), x)])
    np.testing.assert_array_equal(np.asarray(slope(x=np.array([-size, size]))), want)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_determinant_of_a_singular_matrix_has_its_cofactors(n: int) -> None:
    A = np.random.default_rng(n).normal(size=(n, n))
    A[:, -1] = 2 * A[:, 0]
    want = np.array([[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(A, i, 0), j, 1))
                      for j in range(n)] for i in range(n)])  # fmt: skip
    M = sg.symbol("M", (n, n), sg.float64)
    found = sg.compile([sg.grad(sg.linalg.det(M), M)])
    np.testing.assert_allclose(np.asarray(found(M=A)), want, rtol=1e-9, atol=1e-12)
    t = sg.tensor(A, requires_grad=True)
    sg.linalg.det(t).backward()
    np.testing.assert_allclose(t.grad.numpy(), want, rtol=1e-9, atol=1e-12)


def test_a_divergence_counts_nothing_where_there_is_no_mass() -> None:
    p, q = sg.symbol("p", (3,), sg.float64), sg.symbol("q", (3,), sg.float64)
    run = sg.compile([(q * (sg.log(q) - sg.log(p))).sum()])
    found = run(p=np.array([0.25, 0.25, 0.5]), q=np.array([0.0, 0.5, 0.5]))
    assert math.isclose(float(np.asarray(found)), math.log(2) / 2)


def test_formulas_keep_what_was_typed() -> None:
    x = sg.symbols("x:n")
    assert (1 - sg.tanh(x) ** 2).formula().unicode == "1 − tanh(x) ⊙ tanh(x)"
    assert sg.log(1 + x).formula().unicode == "log(1 + x)"
