"""Costs in size letters: counted by hand, and as XLA counts."""

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import NotationError

sympy = pytest.importorskip("sympy")

n, d, k = (sympy.Symbol(w, integer=True, positive=True) for w in "ndk")
X, w, y, W, A = sg.symbols("X:n,d  w:d  y:n  W:d,k  A:d,d")
LOSS = ((X @ w - y) ** 2).mean()


@pytest.mark.parametrize(("t", "flops", "traffic", "peak"), [
    (X @ W, 2 * n * d * k, 4 * (n * d + d * k + n * k), 4 * (n * d + d * k + n * k)),
    (X.T @ y, 2 * n * d, 4 * (n * d + n + d), 4 * (n * d + n + d)),
    (sg.exp(X), n * d, 8 * n * d, 8 * n * d),
    (sg.exp(sg.exp(sg.exp(y))), 3 * n, 24 * n, 12 * n),  # the first value is gone by the third
    (X.sum(), n * d, 4 * n * d + 4, 4 * n * d + 4),
    (X + 2 * y[:, None], 2 * n * d, 4 * (2 * n * d + n), 4 * (2 * n * d + n)),
    (LOSS, 2 * n * d + 3 * n + 1, 4 * (n * d + d + n) + 12 * n + 4 * n + 12,
     4 * (n * d + d + 3 * n)),
    (sg.linalg.solve(A, w), sympy.Rational(2, 3) * d**3 + 2 * d**2, 4 * (d**2 + 2 * d),
     4 * (d**2 + 2 * d)),
])  # fmt: skip
def test_counts_by_hand(t, flops, traffic, peak):
    found = sg.cost(t).value
    assert sympy.expand(found.flops - flops) == 0
    assert sympy.expand(found.traffic - traffic) == 0
    assert sympy.expand(found.peak - peak) == 0


def test_the_gradient_shares_the_value_and_the_hessian_is_quadratic():
    found = sg.cost(LOSS, w)
    assert sympy.expand(found.gradient.flops - (4 * n * d + d + 3 * n + 1)) == 0
    assert sympy.expand(found.hessian.flops - (2 * n * d**2 + d**2)) == 0
    (warning,) = found.warnings
    assert warning.startswith("warning   the dense Hessian has d**2 entries, quadratic in w")
    assert str(found).splitlines()[-1] == warning
    assert sg.cost(LOSS).gradient is None


def test_xla_counts_the_same_products():
    sizes = {"n": 64, "d": 48, "k": 32}
    arrays = [np.ones((64, 48), np.float32), np.ones((48, 32), np.float32)]
    analysis = jax.jit(lambda a, b: a @ b).lower(*arrays).compile().cost_analysis()
    assert sg.cost(X @ W).value.at(**sizes)[0] == analysis["flops"]


def test_what_has_no_count():
    with pytest.raises(NotationError, match="how many operations sort takes is not known"):
        sg.cost(w.sort().values)
