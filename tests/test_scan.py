"""Scans: one node whatever the number of steps, one run forward and one back, loops as short as can be."""

from __future__ import annotations

import numpy as np
import pytest
from symgrad_codegen.compile import compiled, numpy_function

import symgrad as sg
from symgrad import nn
from symgrad.autodiff import gradient
from symgrad.core import dtypes
from symgrad.core.build import elementwise, matmul, product, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import letter
from symgrad.core.traverse import topological
from symgrad.errors import ShapeError
from symgrad.evaluate import evaluate
from symgrad.lower import lower
from symgrad.ops.scan import SCAN, Body
from symgrad.scanning import scan
from symgrad.simplify import simplify

RNG = np.random.default_rng(0)
T, N = letter("T"), letter("n")


def plain(steps=T):
    """An RNN whose step multiplies its inputs too: loss, and symbols x, h, W, U."""
    x, h = symbol("x", (steps, N, 3), dtypes.float64), symbol("h", (N, 2), dtypes.float64)
    w, u = symbol("W", (2, 2), dtypes.float64), symbol("U", (2, 3), dtypes.float64)

    def step(s: Expr, now: Expr) -> tuple[list[Expr], list[Expr]]:
        new = elementwise("tanh", matmul(s, w.T) + matmul(now, u.T))
        return [new], [product(new, new)]

    (last,), (states,), (squares,) = scan(step, {"h": h}, {"x": x})
    loss = reduce_sum(product(states, squares), [0, 1, 2]) + reduce_sum(last, [0, 1])
    return loss, (x, h, w, u)


def values(count):
    return [RNG.standard_normal(s) for s in ((count, 4, 3), (4, 2), (2, 2), (2, 3))]


def scans(roots) -> list[Expr]:
    return [e for e in topological(roots) if e.op is SCAN]


def test_only_what_needs_the_last_step_stays_in_the_loop():
    loss, _ = plain()
    (node,) = scans([loss])
    body: Body = node.params[0]
    assert body.outputs == ()  # squares are computed after it
    (product_with_state,) = [e for e in topological(body.results) if e.op.name == "contraction"]
    assert body.fixed[0] in product_with_state.args  # and the inputs times U before it


def test_a_gradient_runs_the_loop_once_forward_and_once_back():
    loss, symbols = plain()
    found = [loss, *gradient(loss, symbols)]
    forward, back = scans(found)
    assert [forward.params[1], back.params[1]] == [False, True]
    program = lower("f", symbols, [(f"y{k}", e) for k, e in enumerate(simplify(found))])
    assert compiled(program).source.count("jax.lax.scan(") == 2


def test_equal_loops_are_one_node_whatever_was_built_before():
    loss, symbols = plain()
    slopes = gradient(loss, symbols)
    for _ in range(60):
        again, _ = plain()
        assert again is loss
        found = gradient(again, symbols)
        assert all(a is b for a, b in zip(found, slopes, strict=True))


def test_sums_over_the_steps_are_products_outside_of_the_loop():
    loss, symbols = plain()
    by_w = gradient(loss, symbols)[2]
    assert by_w.shape == (2, 2)
    for node in scans([by_w]):
        assert all(len(e.shape) == 2 and e.shape[0] == N for e in node.params[0].results)


def test_graph_and_source_have_one_length_for_every_number_of_steps():
    lengths = set()
    for steps in (3, 3000):
        loss, symbols = plain(steps)
        found = simplify([loss, *gradient(loss, symbols)])
        program = lower("f", symbols, [(f"y{k}", e) for k, e in enumerate(found)])
        lengths.add((len(topological(found)), len(compiled(program).source.splitlines())))
    assert len(lengths) == 1


def test_one_program_serves_every_number_of_steps_in_jax_and_numpy():
    loss, symbols = plain()
    found = [loss, *gradient(loss, symbols)]
    program = lower("f", symbols, [(f"y{k}", e) for k, e in enumerate(found)])
    for count in (1, 2, 7):
        given = values(count)
        expected = evaluate(found, dict(zip(symbols, given, strict=True)))
        for made in (compiled(program)(*given), numpy_function(program)(*given)):
            for a, b in zip(made, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_equal_loops_over_equal_operands_are_one_node():
    assert scans([plain()[0]]) == scans([plain()[0]])


def test_the_body_is_simplified():
    x, h = symbol("x", (T, N), dtypes.float64), symbol("h", (N,), dtypes.float64)
    (last,), _, _ = scan(
        lambda s, now: ([elementwise("log", 1 + elementwise("exp", s + now))], []),
        {"h": h},
        {"x": x},
    )
    (node,) = scans(simplify([last]))
    assert "softplus" in {e.op.name for e in topological(node.params[0].results)}
    (value,) = evaluate(simplify([last]), {x: np.full((2, 1), 1e4), h: np.zeros(1)})
    np.testing.assert_allclose(value, [2e4])


def test_errors_say_what_is_wrong():
    x, h = symbol("x", (T, 3), dtypes.float64), symbol("h", (3,), dtypes.float64)
    with pytest.raises(ShapeError, match=r"scan: h is 3 torch.float64 before a step, but scalar"):
        scan(lambda s, now: ([reduce_sum(s, [0])], []), {"h": h}, {"x": x})
    with pytest.raises(ShapeError, match="one number of steps"):
        scan(lambda s, a, b: ([s], []), {"h": h}, {"x": x, "y": symbol("y", (5,), dtypes.float64)})


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_loop_in_a_batch_and_twice_differentiated(kind):
    net = getattr(nn, kind)(3, 2).double().requires_grad_(False)
    x = sg.tensor(RNG.standard_normal((4, 5, 3)))
    one = lambda e: net(e)[0].sin().sum()  # noqa: E731
    found = sg.vmap(one)(x)
    expected = [one(x[k]).item() for k in range(4)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    batch = sg.vmap(sg.func.grad(one))(x)
    np.testing.assert_allclose(batch[1].numpy(), sg.func.grad(one)(x[1]).numpy(), rtol=1e-8)
    small = sg.tensor(RNG.standard_normal((2, 3)))
    second = sg.func.hessian(one)(small).numpy().reshape(6, 6)
    np.testing.assert_allclose(second, second.T, atol=1e-9)
    step = 1e-5
    for at in ((0, 1), (1, 2)):
        ends = []
        for sign in (1, -1):
            moved = small.numpy().copy()
            moved[at] += sign * step
            ends.append(sg.func.grad(one)(sg.tensor(moved)).numpy())
        numeric = ((ends[0] - ends[1]) / (2 * step)).ravel()
        np.testing.assert_allclose(second[at[0] * 3 + at[1]], numeric, atol=1e-6)


def test_the_derivation_of_a_loop_has_one_length_for_every_number_of_steps():
    net = nn.RNN(3, 2)
    texts = [
        str(sg.derive((net(sg.symbol("x", f"{steps},3"))[0] ** 2).sum())).splitlines()
        for steps in (4, 400, "T")
    ]
    assert len({len(t) for t in texts}) == 1
    assert any(row.startswith("h[t]") and "Wh h[t−1]" in row for row in texts[-1])
