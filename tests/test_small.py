"""What is small beside what it is taken from: values and slopes of programs against 60 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import symgrad as sg

mp.mp.dps = 60
NEAR = [1e-15, -1e-15, 1e-9, -1e-5, 1e-3, 0.04, -0.11, 0.3, -0.45, 0.499, 0.501, 0.7]
Row = tuple[Callable[..., Any], Callable[..., Any], list[float]]
ROWS: dict[str, Row] = {
    "compound interest": (lambda x: (1 + x) ** 20 - 1, lambda x: (1 + x) ** 20 - 1, NEAR),
    "complement": (lambda x: 1 - (1 - x) ** 7, lambda x: 1 - (1 - x) ** 7, [*NEAR, 1.5, 3.0]),
    "discount": (lambda x: 1 - (1 + x) ** -30, lambda x: 1 - (1 + x) ** -30, NEAR),
    "root": (lambda x: 1 - sg.sqrt(1 - x), lambda x: 1 - mp.sqrt(1 - x), NEAR),
    "reciprocal": (lambda x: 1 - 1 / (1 + x), lambda x: 1 - 1 / (1 + x), NEAR),
    "powers": (lambda x: (x + 1) ** 0.3 - x**0.3, lambda x: (x + 1) ** mp.mpf("0.3") - x ** mp.mpf("0.3"),
               [1e-3, 0.7, 5.0, 1e5, 1e9, 1e15]),
    "logarithm": (lambda x: x - sg.log(1 + x), lambda x: x - mp.log(1 + x), NEAR),
    "exponential": (lambda x: sg.exp(x) - 1 - x, lambda x: mp.exp(x) - 1 - x, [*NEAR, -20.0, 30.0]),
    "sine": (lambda x: x - sg.sin(x), lambda x: x - mp.sin(x), [*NEAR[2:], 2.0]),
    "sine of a multiple": (lambda x: sg.sin(3 * x) - 3 * x + 1, lambda x: mp.sin(3 * x) - 3 * x + 1, NEAR),
    "tangent": (lambda x: sg.tan(x) - x, lambda x: mp.tan(x) - x, NEAR[2:]),
    "hyperbolic tangent": (lambda x: x - sg.tanh(x), lambda x: x - mp.tanh(x), [*NEAR[2:], 9.0]),
    "hyperbolic sine": (lambda x: sg.sinh(x) - x, lambda x: mp.sinh(x) - x, [*NEAR[2:], 9.0]),
    "arctangent": (lambda x: x - sg.atan(x), lambda x: x - mp.atan(x), [*NEAR[2:], 40.0]),
    "cosines": (lambda x: sg.cos(2 * x) - sg.cos(x), lambda x: mp.cos(2 * x) - mp.cos(x), NEAR),
    "log Γ": (lambda x: sg.lgamma(x + 0.5) - sg.lgamma(x), lambda x: mp.loggamma(x + mp.mpf(0.5)) - mp.loggamma(x),
              [0.2, 3.0, 11.9, 12.1, 50.0, 1e4, 1e9, 1e15]),
    "log binomial": (lambda x: sg.lgamma(x + 1) - sg.lgamma(x - 2), lambda x: mp.loggamma(x + 1) - mp.loggamma(x - 2),
                     [3.5, 13.9, 14.1, 1e3, 1e12]),
    "digamma": (lambda x: sg.digamma(x + 2) - sg.digamma(x), lambda x: mp.digamma(x + 2) - mp.digamma(x),
                [0.3, 11.5, 12.5, 1e3, 1e8]),
    "interest over its rate": (lambda x: ((1 + x / 12) ** 120 - 1) / x, lambda x: ((1 + x / 12) ** 120 - 1) / x,
                               [1e-14, 1e-6, 0.05, 1.0, 5.9, 7.0]),
    "annuity": (lambda x: (1 - (1 + x) ** -30) / x, lambda x: (1 - (1 + x) ** -30) / x, [1e-14, 1e-6, 0.05, 2.0]),
    "geometric series": (lambda x: (1 - sg.exp(10 * x)) / (1 - sg.exp(x)),
                         lambda x: (1 - mp.exp(10 * x)) / (1 - mp.exp(x)), [-80.0, -1.0, -1e-9, 1e-12, 0.9, 1.1, 60.0]),
    "limit of e": (lambda x: (1 + x) ** (1 / x), lambda x: (1 + x) ** (1 / x), [-0.5, 1e-12, 1e-6, 0.1, 1.0, 1e6]),
    "length less one": (lambda x: sg.sqrt(1 + x * x) - 1, lambda x: mp.sqrt(1 + x * x) - 1, [1e-10, 1e-3, -1.0, 3.0]),
    "log cosh": (lambda x: sg.log(sg.cosh(x + 1)) - sg.log(sg.cosh(x)),
                 lambda x: mp.log(mp.cosh(x + 1)) - mp.log(mp.cosh(x)), [-20.0, 0.5, 20.0, 300.0]),
    "both signs": (lambda x: sg.log(sg.sigmoid(x)) - sg.log(1 - sg.sigmoid(x)), lambda x: x, [1e-9, -3.0, 700.0]),
}  # fmt: skip


@pytest.mark.parametrize("which", ROWS)
def test_value_and_slope_keep_their_digits(which: str) -> None:
    typed, exact, points = ROWS[which]
    x = sg.symbol("x", "n", sg.float64)
    value = typed(x)
    run = sg.compile([value, sg.grad(value.sum(), x)])
    found = [np.asarray(v) for v in run(x=np.array(points))]
    for k, at in enumerate(points):
        point = mp.mpf(at)
        slope = mp.diff(exact, point, h=abs(point) * mp.mpf(10) ** -25)
        assert found[0][k] == pytest.approx(float(exact(point)), rel=2e-13), at
        assert found[1][k] == pytest.approx(float(slope), rel=5e-12), at


def both(value: Any, x: Any, **arrays: Any) -> list[np.ndarray]:
    run = sg.compile([value, sg.grad(value, x)])
    return [np.asarray(v) for v in run(x=np.array(arrays.pop("at")), **arrays)]


def test_sums_that_overflow_or_cancel_together() -> None:
    x, y = sg.symbol("x", "n", sg.float64), sg.symbol("y", "n", sg.float64)
    for shift in (0.0, 1000.0, -1000.0):
        at, other = np.array([shift, shift + 1]), np.array([shift, shift - 1])
        value, slope = both(sg.exp(x).sum() / sg.exp(y).sum(), x, at=at, y=other)
        assert value == pytest.approx(np.e, rel=1e-12)
        assert slope == pytest.approx(np.e * np.array([1, np.e]) / (1 + np.e), rel=1e-12)
    mean = sg.sigmoid(x).mean()
    value, slope = both(sg.log(mean / (1 - mean)), x, at=[40.0, 50.0])
    assert value == pytest.approx(40.69310178166073, rel=1e-14)
    assert slope == pytest.approx([0.9999546021312976, 4.5397868702434395e-05], rel=1e-12)
    distance = (x * x).sum() + (y * y).sum() - 2 * (x * y).sum()
    value, slope = both(distance, x, at=[1e8, 2e8], y=np.array([1e8 + 1, 2e8 - 1]))
    assert (value, list(slope)) == (2.0, [-2.0, 2.0])
    value, slope = both(sg.sqrt(1 + x * x).sum() - 1, x, at=[1e200])
    assert (value, slope[0]) == (1e200, 1.0)


def test_a_divergence_of_distributions_that_do_not_meet() -> None:
    x, y = sg.symbol("x", "n", sg.float64), sg.symbol("y", "n", sg.float64)
    p, q = sg.softmax(x, -1), sg.softmax(y, -1)
    divergence = ((p * sg.log(2 * p / (p + q))).sum() + (q * sg.log(2 * q / (p + q))).sum()) / 2
    value, slope = both(divergence, x, at=[800.0, 0.0, 1.0], y=np.array([0.0, 800.0, 1.0]))
    assert value == pytest.approx(np.log(2), rel=1e-14)
    assert slope == pytest.approx(np.zeros(3), abs=1e-300)


def test_products_of_probabilities() -> None:
    x = sg.symbol("x", "n", sg.float64)
    run = sg.compile([sg.log(x.prod()), 1 - (1 - x).prod(), sg.grad(1 - (1 - x).prod(), x)])
    log, any_of, slope = (np.asarray(v) for v in run(x=np.array([1e-200, 1e-150, 3e-18])))
    assert log == pytest.approx(-350 * np.log(10) + np.log(3e-18), rel=1e-14)
    assert any_of == pytest.approx(3e-18, rel=1e-14)
    assert slope == pytest.approx(np.ones(3))
    log, any_of, slope = (np.asarray(v) for v in run(x=np.array([-2.0, -3.0, 0.25])))
    assert (log, any_of) == (pytest.approx(np.log(1.5)), pytest.approx(1 - 9.0))
    assert slope == pytest.approx([4 * 0.75, 3 * 0.75, 12.0])
    assert np.isnan(run(x=np.array([-2.0, 3.0]))[0])
    assert np.asarray(run(x=np.array([0.0, 3.0]))[0]) == -np.inf
