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
    assert "sg.hvp(value, w, v) is a product with it in 4*d*n + d operations" in warning
    assert "sg.hessian(…) an object with .matvec and .solve" in warning
    assert str(found).splitlines()[-1] == warning
    assert sg.cost(LOSS).gradient is None


def test_the_operations_of_a_hessian_vector_product_are_those_of_hvp():
    v = sg.symbol("v", "d")
    product = sg.cost(sg.hvp(LOSS, w, v)).value.flops
    assert f"product with it in {product} operations" in sg.cost(LOSS, w).warnings[0]


def test_orders_are_compared_and_the_reason_is_said():
    (found,) = sg.cost(A @ A.T @ w).value.orders
    cheap, dear = found.compared
    assert found.product == "A Aᵀ w"
    assert (cheap.text, cheap.flops, cheap.chosen) == ("A (Aᵀ w)", 4 * d**2, True)
    assert (dear.text, dear.chosen) == ("(A Aᵀ) w", False)
    assert sympy.expand(dear.flops - (2 * d**3 + 2 * d**2)) == 0
    assert found.reason == "no order takes fewer operations where every letter is 64"
    assert str(found) == (
        "order     A Aᵀ w: A (Aᵀ w) 4*d**2 (chosen), (A Aᵀ) w 2*d**3 + 2*d**2; " + found.reason
    )
    assert str(found) in str(sg.cost(A @ A.T @ w))
    assert sg.cost(X @ w).value.orders == ()


def test_every_order_of_four_factors_and_the_ends_of_more():
    (four,) = sg.cost(X @ A @ X.T @ y).value.orders
    assert len(four.compared) == 5  # Catalan
    assert [o.chosen for o in four.compared] == [True, False, False, False, False]
    (many,) = sg.cost(A @ A @ A @ A @ A @ w).value.orders
    assert [o.chosen for o in many.compared] == [True, False]
    assert sympy.expand(many.compared[0].flops - 10 * d**2) == 0


def test_an_order_that_is_kept_says_so():
    P, Q, R = sg.symbols("P:8,6  Q:6,5  R:5,7")
    (found,) = sg.cost(P @ (Q @ R)).value.orders
    cheapest, written = found.compared
    assert (cheapest.flops, written.flops, written.chosen) == (1040, 1092, True)
    assert found.reason == "as written: (P Q) R takes more than half as many"


def test_what_compiled_objects_cost():
    assert sg.compile(X @ W).cost.flops == 2 * n * d * k
    assert sg.compile(A @ A.T @ w).cost.orders[0].compared[0].chosen
    traced = sg.trace(lambda X, w, y: ((X @ w - y) ** 2).mean(), X="n,d", w="d", y="n")
    assert traced.compile().cost.flops == sg.cost(LOSS).value.flops
    both = traced.compile(gradients=True).cost.flops
    assert sympy.expand(both - sg.cost(LOSS, [X, w, y]).gradient.flops) == 0
    step = sg.compile(lambda a, b: a @ b)
    with pytest.raises(sg.errors.TraceError, match="has not run yet"):
        step.cost  # noqa: B018
    step(sg.ones(8, 4), sg.ones(4, 3))
    assert step.cost.flops == 2 * 8 * 4 * 3


def test_xla_counts_the_same_products():
    sizes = {"n": 64, "d": 48, "k": 32}
    arrays = [np.ones((64, 48), np.float32), np.ones((48, 32), np.float32)]
    analysis = jax.jit(lambda a, b: a @ b).lower(*arrays).compile().cost_analysis()
    assert sg.cost(X @ W).value.at(**sizes)[0] == analysis["flops"]


def test_what_has_no_count():
    with pytest.raises(NotationError, match="how many operations sort takes is not known"):
        sg.cost(w.sort().values)
