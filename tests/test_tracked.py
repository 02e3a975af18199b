"""Graphs that return are recognised without a walk, and every error of the walk stays."""

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn
from symgrad.recording import tracked


@pytest.fixture(autouse=True)
def fresh():
    tracked._known.clear()


def met(count):
    """How many graphs are recognised by now."""
    assert sum(map(len, tracked._known.values())) == count


def test_a_loop_is_walked_once(monkeypatch):
    walks = []
    walk = tracked.tracked_nodes
    monkeypatch.setattr(
        "symgrad.recording.gradients.tracked_nodes", lambda n: walks.append(n) or walk(n)
    )
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = sg.randn(4, 2)
    grads = []
    for _ in range(4):
        model.zero_grad()
        model(x).sum().backward()
        grads.append([p.grad.tolist() for p in model.parameters()])
    assert len(walks) == 1
    for first, last in zip(grads[0], grads[-1], strict=True):
        np.testing.assert_allclose(first, last, rtol=1e-5)
    met(1)


SECOND = "second time"
CHANGED = "modified by an inplace operation"


def met_before(function, count=1):
    for _ in range(3):
        function()[-1].backward()
    met(count)
    return function()


def test_a_graph_is_used_once():
    w = sg.ones(2, requires_grad=True)
    (loss,) = met_before(lambda: ((w * w).sum(),))
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match=SECOND):
        loss.backward()


def result():
    w = sg.ones(2, requires_grad=True)

    def function():
        y = w.exp()
        return y, y.sum()

    return function, lambda y: y


def operand():
    w = sg.ones(2, requires_grad=True)

    def function():
        y = w * 3
        return y, (y * y).sum()

    return function, lambda y: y


def parameter():
    w = sg.ones(2, requires_grad=True)
    return lambda: (w, (w * w).sum()), lambda y: y


def data():
    w, n = sg.ones(3, requires_grad=True), sg.ones(3)
    return lambda: (n, (w * n).sum()), lambda y: y


def base_of_a_view():
    w, n = sg.ones(3, requires_grad=True), sg.ones(2, 3)
    return lambda: (n, (w * n.t()[:, 0]).sum()), lambda y: y


def base_of_a_tracked_view():
    w = sg.ones(4, requires_grad=True)

    def function():
        y = w * 3
        v = y.view(2, 2)
        return y, (v * v).sum()

    return function, lambda y: y


def memory_of_the_user():
    w, n = sg.ones(3, requires_grad=True), sg.from_numpy(np.ones(3, np.float32))
    return lambda: (n, (w * n).sum()), lambda y: y


@pytest.mark.parametrize(
    "case",
    [result, operand, parameter, data, base_of_a_view, base_of_a_tracked_view, memory_of_the_user],
)
def test_what_changed_in_place_is_seen(case):
    function, chosen = case()
    changed, loss = met_before(function, case is not memory_of_the_user)
    with sg.no_grad():
        chosen(changed).add_(1)
    with pytest.raises(RuntimeError, match=CHANGED):
        loss.backward()
    function()[-1].backward()


def test_one_leaf_twice_is_another_graph_than_two_leaves():
    v, w = sg.full((2,), 3.0, requires_grad=True), sg.ones(2, requires_grad=True)

    def function(a, b):
        return ((a * b).sum(),)

    met_before(lambda: function(v, w))
    v.grad = w.grad = None
    function(v, v)[0].backward()
    assert v.grad.tolist() == [6, 6]
    assert w.grad is None
    met(2)


def test_hooks_and_retained_gradients_are_met_by_the_walk():
    w = sg.ones(2, requires_grad=True)
    seen = []

    def function(hooked):
        y = w * 2
        if hooked:
            y.register_hook(seen.append)
            y.retain_grad()
        return y, (y * y).sum()

    met_before(lambda: function(hooked=False))
    y, loss = function(hooked=True)
    loss.backward()
    assert [g.tolist() for g in seen] == [[4, 4]]
    assert y.grad.tolist() == [4, 4]


def test_a_branch_that_became_constant_is_another_graph():
    v, w = sg.full((2,), 3.0, requires_grad=True), sg.ones(2, requires_grad=True)
    met_before(lambda: ((v * w).sum(),))
    w.requires_grad_(False)
    v.grad = w.grad = None
    (v * w).sum().backward()
    assert v.grad.tolist() == [1, 1]
    assert w.grad is None


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_with_a_bias_keeps_its_factors(bias):
    """The second layer keeps its input and weight, the bias is not kept, as in PyTorch."""
    x = sg.tensor(np.ones((2, 3), np.float32))
    images = sg.tensor(np.ones((1, 2, 5, 5), np.float32))
    for layer, given in ((nn.Linear(3, 4, bias=bias), x), (nn.Conv2d(2, 3, 3, bias=bias), images)):
        y = layer(given)
        with sg.no_grad():
            layer.weight.add_(1)
        y.sum().backward()  # the input has no derivative
        y = layer(given)
        given.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
        tracked = given.detach().clone().requires_grad_()
        y = layer(tracked)
        with sg.no_grad():
            layer.weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
