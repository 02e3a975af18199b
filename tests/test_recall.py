"""A chain of layers as one record: nothing that anybody can look at is different."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim
from symgrad.nn.recalling import ATTEMPTS
from symgrad.recording.record import Record

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3)).astype(np.float32)
Y = RNG.normal(size=(5, 2)).astype(np.float32)


def chain() -> nn.Sequential:
    """Two linear layers; it knows what it records after one call."""
    sg.manual_seed(1)
    made = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for _ in range(2):
        made(sg.tensor(X))
    return made


def is_recalled(t: sg.Tensor) -> bool:
    """Does the tensor show one record for all layers?"""
    node = t._storage.node
    return type(node) is Record and node.recalled is not None


def one_by_one(model: nn.Sequential, x: sg.Tensor) -> sg.Tensor:
    """The layers, each called by itself."""
    for layer in model:
        x = layer(x)
    return x


def test_a_chain_that_returns_is_one_record_with_equal_numbers():
    model = chain()
    for k in range(3):
        x = sg.tensor(X + k)
        got, wanted = model(x), one_by_one(model, x)
        assert is_recalled(got)
        assert not is_recalled(wanted)
        for t in (got, wanted):
            t.pow(2).sum().backward()
        twice = [p.grad.numpy() for p in model.parameters()]
        model.zero_grad()
        one_by_one(model, x).pow(2).sum().backward()
        for p, g in zip(model.parameters(), twice, strict=True):
            np.testing.assert_allclose(g, 2 * p.grad.numpy(), rtol=1e-5)
        model.zero_grad()
        np.testing.assert_allclose(
            got.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-6
        )


def test_looking_below_finds_the_layers():
    model, x = chain(), sg.tensor(X)
    got, wanted = model(x), one_by_one(model, x)
    assert str(got.formula()) == str(wanted.formula())
    assert is_recalled(model(x))
    got = model(x)
    found = [got.grad_fn.name(), got.grad_fn.next_functions[1][0].name()]
    assert found == ["AddmmBackward0", wanted.grad_fn.next_functions[1][0].name()]
    assert not is_recalled(got)  # the operations have been made
    got.sum().backward()
    first = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    wanted.sum().backward()
    for p, g in zip(model.parameters(), first, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-6)


def test_used_up_before_and_after_it_was_unrolled():
    model, x = chain(), sg.tensor(X)
    got = model(x)
    got.sum().backward()
    assert is_recalled(got)
    assert got.grad_fn.next_functions
    assert not is_recalled(got)
    with pytest.raises(RuntimeError, match="second time"):
        got.sum().backward()


@pytest.mark.parametrize("place", [1, 2])
def test_a_weight_that_is_kept_must_not_change(place):
    model, x = chain(), sg.tensor(X)
    model(x).sum().backward()
    model.zero_grad()
    loss = model(x).sum()
    with sg.no_grad():
        model[0].weight.add_(1) if place == 1 else model[2].weight.add_(1)
    if place == 1:  # x has no gradient: the first layer keeps x alone
        loss.backward()
        return
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_result_may_change_where_nothing_keeps_it():
    model, x = chain(), sg.tensor(X)
    y = model(x)
    y.add_(1)
    y.sum().backward()
    ends = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    for _ in range(3):
        y = ends(x)
    assert is_recalled(y)
    loss = y.sum()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


CHANGES = {
    "attribute": lambda m: setattr(m[1], "negative_slope", 0.5),
    "layer": lambda m: m.__setitem__(1, nn.ReLU()),
    "append": lambda m: m.append(nn.Sigmoid()),
    "insert": lambda m: m.insert(0, nn.Tanh()),
    "pop": lambda m: m.pop(2),
    "del": lambda m: m.__delitem__(1),
    "parameter": lambda m: setattr(m[0], "weight", nn.Parameter(sg.ones(4, 3))),
    "data": lambda m: setattr(m[0].weight, "data", sg.ones(4, 3)),
    "bias": lambda m: setattr(m[0], "bias", None),
    "table": lambda m: m[0]._parameters.__setitem__("weight", nn.Parameter(sg.ones(4, 3))),
    "forward": lambda m: setattr(m[1], "forward", lambda x: x * 0),
    "frozen": lambda m: m[0].weight.requires_grad_(False),
    "hook": lambda m: m[1].register_forward_hook(lambda _m, _x, y: y + 1),
    "pre-hook": lambda m: m[1].register_forward_pre_hook(lambda _m, x: (x[0] + 1,)),
    "double": lambda m: m.double(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_is_seen(what):
    model = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 2))
    x = sg.tensor(X)
    for _ in range(3):
        model(x)
    assert is_recalled(model(x))
    CHANGES[what](model)
    if what == "double":
        x = x.double()
    for _ in range(4):
        got = model(x)
        wanted = one_by_one(model, x)
        np.testing.assert_allclose(
            got.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-6
        )
        got.sum().backward()
        first = [p.grad if p.grad is None else p.grad.numpy() for p in model.parameters()]
        model.zero_grad()
        wanted.sum().backward()
        for p, g in zip(model.parameters(), first, strict=True):
            if g is None:
                assert p.grad is None
            else:
                np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-6)
        model.zero_grad()


def test_modes_are_seen():
    model, x = chain(), sg.tensor(X)
    with sg.no_grad():
        y = model(x)
    assert not y.requires_grad
    assert model(x).requires_grad
    with sg.inference_mode():
        assert not model(x).requires_grad
    with sg.autograd.set_detect_anomaly(True):
        assert not is_recalled(model(x))
    with sg.autocast("cpu", dtype=sg.bfloat16):
        assert model(x).dtype is one_by_one(model, x).dtype is sg.bfloat16
    x.requires_grad_()
    model(x).sum().backward()
    got = x.grad.numpy().copy()
    x.grad = None
    one_by_one(model, x).sum().backward()
    np.testing.assert_allclose(got, x.grad.numpy(), rtol=1e-6)


def test_layers_that_do_more_are_called():
    class Loud(nn.Linear):
        calls = 0

        def forward(self, x):
            Loud.calls += 1
            return super().forward(x)

    model = nn.Sequential(Loud(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.ReLU(inplace=True))
    for _ in range(5):
        y = model(sg.tensor(X))
        assert not is_recalled(y)
    assert Loud.calls == 5
    assert model[2].num_batches_tracked.item() == 5
    assert not np.array_equal(model(sg.tensor(X)).detach(), model(sg.tensor(X)).detach())


def test_a_chain_that_changes_all_the_time_is_left_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU())
    x = sg.tensor(X)
    for k in range(4 * ATTEMPTS):
        model[1].negative_slope = k / 100
        model(x), model(x), model(x)
    assert not is_recalled(model(x))


def test_copies_and_states_know_nothing_of_it():
    model = chain()
    twin = copy.deepcopy(model)
    with sg.no_grad():
        twin[0].weight.zero_()
    x = sg.tensor(X)
    for _ in range(4):
        np.testing.assert_allclose(
            twin(x).detach().numpy(), one_by_one(twin, x).detach().numpy(), rtol=1e-6
        )
    assert not np.allclose(twin(x).detach(), model(x).detach())
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert "_recall" not in repr(model)


def test_second_derivatives_and_hooks_on_the_result():
    model, x = chain(), sg.tensor(X, requires_grad=True)
    for _ in range(3):
        model(x)
    seen = []

    def penalty(y):
        (g,) = sg.autograd.grad(y.sum(), x, create_graph=True)
        return g.pow(2).sum()

    a = model(x)
    assert is_recalled(a)
    a.register_hook(lambda g: seen.append(g.shape))
    a.retain_grad()
    (penalty(a) + a.sum()).backward()
    got = [p.grad.numpy().copy() for p in model.parameters()]
    assert seen
    assert tuple(a.grad.shape) == (5, 2)
    model.zero_grad()
    b = one_by_one(model, x)
    (penalty(b) + b.sum()).backward()
    for p, g in zip(model.parameters(), got, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-6)


def test_training_reaches_the_same_weights():
    def trained(call):
        sg.manual_seed(3)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        kept = []
        for k in range(12):
            optimizer.zero_grad()
            loss = (call(model, sg.tensor(X)) - sg.tensor(Y)).pow(2).mean()
            loss.backward()
            optimizer.step()
            if k % 3 == 0:  # other things are in use in these steps
                kept.append(loss)
        return [p.detach().numpy() for p in model.parameters()], [t.item() for t in kept]

    for a, b in zip(trained(lambda m, x: m(x)), trained(one_by_one), strict=True):
        for p, q in zip(a, b, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-5)


def test_views_and_memory_of_the_user():
    model = chain()
    memory = X.copy()
    x = sg.from_numpy(memory)
    loss = model(x).sum()
    wanted = one_by_one(model, sg.tensor(X)).sum().item()
    memory[:] = 0
    np.testing.assert_allclose(loss.item(), wanted, rtol=1e-5)
    big = sg.tensor(np.concatenate([X, X]))
    for half in (big[:5], big[5:]):
        np.testing.assert_allclose(model(half).sum().item(), wanted, rtol=1e-5)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    t = sg.tensor(RNG.normal(size=(2, 2, 3)).astype(np.float32))
    for _ in range(3):
        y = flat(t)
    assert is_recalled(y)
    t.add_(1)  # the product keeps a view of it
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_nothing_stays_alive():
    model, x = chain(), sg.tensor(X)
    for _ in range(20):
        y = model(x)
    del y
    gc.collect()
    assert sum(type(o) is Record for o in gc.get_objects()) < 2000
