"""A step that returns is one call; whatever else is in use then is what it was for the general way."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim
from symgrad.recording import execute

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh():
    execute._patterns.clear()
    execute._recent.clear()


def replays():
    """How many situations of graphs are written out."""
    return sum(len(found) for p in execute._patterns.values() for found in p.replays.values())


class Net(nn.Module):
    """Two layers; what lies between them may be kept."""

    def __init__(self, width):
        super().__init__()
        sg.manual_seed(2)
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 1)

    def forward(self, x):
        self.between = self.first(x).tanh()
        return self.last(self.between)

    def weights(self):
        return [np.asarray(p.detach()) for p in self.parameters()]


def between(weights):
    """What the layer between gives with these weights."""
    w, b = weights[:2]
    return np.tanh(X @ w.T + b)


@pytest.mark.parametrize("width", [4, 3000])
def test_what_is_kept_now_and_then_is_what_it_was(width):
    """Small weights lie in one array, large ones are used up by the step."""
    model = Net(width)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x = sg.tensor(X)
    for k in range(24):
        before = model.weights() if k % 4 == 3 else None
        optimizer.zero_grad()
        loss = model(x).square().mean()
        kept = model.between if before is not None else None
        model.between = None
        other = model.first(x * 2).sum() if k % 8 == 7 else None
        loss.backward()
        optimizer.step()
        if before is not None:
            assert kept._storage.node.value is not None  # computed with the step
            np.testing.assert_allclose(kept.detach().numpy(), between(before), rtol=2e-5, atol=1e-6)
        if other is not None:
            w, b = before[:2]
            np.testing.assert_allclose(other.item(), (2 * X @ w.T + b).sum(), rtol=1e-3, atol=1e-3)
        del kept, other
    assert replays() >= 2


def test_nothing_is_computed_that_nobody_keeps():
    model = Net(4)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x = sg.tensor(X)

    def step(keep):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        kept = model.between
        model.between = None
        if not keep:
            kept = None
        loss.backward()
        optimizer.step()
        return kept, loss

    for keep in (True, False) * 4:
        step(keep)
    (pattern,) = [p for p in execute._patterns.values() if p.replays[True]]
    sizes = {c.plan.size for c in pattern.choices.values() if c.written}
    assert len(sizes) == 2
    assert max(sizes) - min(sizes) == 6 * 4


def test_other_memory_goes_the_general_way():
    model = Net(4)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    twin = Net(4)
    second = optim.SGD(twin.parameters(), lr=0.01)
    x = sg.tensor(X)
    for k in range(12):
        for m, o in ((model, optimizer), (twin, second)):
            o.zero_grad()
            m(x).square().mean().backward()
            o.step()
        if k % 3 == 2:  # one from the array of all, then back into it
            with sg.no_grad():
                for m in (model, twin):
                    m.first.bias.mul_(0.5)
        if k == 7:
            shared = model.first.weight.detach().numpy()
            shared[:] = twin.first.weight.detach().numpy()
    for p, q in zip(model.weights(), twin.weights(), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-5)


def test_a_batch_of_numpy_is_read_anew():
    model = Net(4)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    losses = []
    for k in range(8):
        optimizer.zero_grad()
        loss = model(sg.tensor(X * k)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    w, b, v, c = model.weights()
    wanted = [np.square(np.tanh(X * k @ w.T + b) @ v.T + c).mean() for k in range(8)]
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
