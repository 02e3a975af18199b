"""Deferred loops: few programs, PyTorch's numbers, memory that goes when its tensor goes."""

import gc
import weakref

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim
from symgrad.recording import execute
from symgrad.recording.settle import DEEP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((16, 4), np.float32)
Y = RNG.integers(0, 3, 16)
WEIGHTS = [0.5 * RNG.standard_normal(shape, np.float32) for shape in ((8, 4), (8,), (3, 8), (3,))]
STEPS = 10


def build(nn, tensor, no_grad):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    with no_grad():
        for p, w in zip(model.parameters(), WEIGHTS, strict=True):
            p.copy_(tensor(w))
    return model


def eager(library, lr=0.05, steps=STEPS):
    model = build(library.nn, library.tensor, library.no_grad)
    optimizer = library.optim.Adam(model.parameters(), lr=lr)
    x, y = library.tensor(X), library.tensor(Y)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = library.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_loop_needs_few_programs():
    execute._patterns.clear()
    losses = eager(sg)
    assert len(execute._patterns) <= 3
    assert losses[-1] < losses[0]
    known = set(execute._patterns)
    eager(sg, steps=3)
    assert len(execute._patterns) <= 3
    assert set(execute._patterns) >= known


def test_losses_are_those_of_torch():
    torch = pytest.importorskip("torch")
    np.testing.assert_allclose(eager(sg), eager(torch), rtol=0, atol=1e-5)


def compiled_step(lr=0.05):
    model = build(nn, sg.tensor, sg.no_grad)
    optimizer = optim.Adam(model.parameters(), lr=lr)

    @sg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, optimizer


def test_compiled_steps_are_the_loop():
    step, _ = compiled_step()
    x, y = sg.tensor(X), sg.tensor(Y)
    losses = [step(x, y).item() for _ in range(STEPS)]
    np.testing.assert_allclose(losses, eager(sg), rtol=0, atol=1e-6)


def test_another_rate_needs_no_other_program():
    step, optimizer = compiled_step()
    x, y = sg.tensor(X), sg.tensor(Y)
    first = [step(x, y).item() for _ in range(3)]
    variant = step._last
    optimizer.param_groups[0]["lr"] = 0.0
    still = [step(x, y).item() for _ in range(3)]
    assert step._last is variant
    assert sum(map(len, step._variants.values())) == 1
    assert still[0] < first[-1]
    assert still == pytest.approx([still[0]] * 3, abs=1e-7)


def test_another_rate_in_the_loop_needs_no_other_program():
    eager(sg, lr=0.05)
    known = len(execute._patterns)
    slow, fast = eager(sg, lr=0.001), eager(sg, lr=0.1)
    assert len(execute._patterns) == known
    assert fast[-1] < slow[-1]


def test_a_temporary_dies_with_its_name():
    x = sg.tensor(X)
    gc.collect()
    gc.disable()
    try:
        for read in (False, True):
            t = sg.tanh(x * 2)
            total = t.sum()
            if read:
                assert np.isfinite(total.item())
            gone = weakref.ref(t)
            node = weakref.ref(t.node())
            del t
            assert gone() is None
            del total
            assert node() is None
    finally:
        gc.enable()


def test_many_updates_stay_bounded():
    t = sg.zeros(3)
    deepest = 0
    with sg.no_grad():
        for _ in range(2000):
            t.add_(1)
            deepest = max(deepest, t.node().depth)
    assert deepest <= DEEP
    assert t.tolist() == [2000, 2000, 2000]


def test_many_updates_of_a_parameter_stay_bounded():
    p = sg.zeros(3, requires_grad=True)
    deepest = 0
    with sg.no_grad():
        for _ in range(2000):
            p.mul_(0.5).add_(1)
            deepest = max(deepest, p._storage.node.depth)
    assert deepest <= DEEP
    assert p.tolist() == [2, 2, 2]
    assert p.is_leaf
