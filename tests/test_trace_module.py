"""A module is a traced function of its parameters."""

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
Y = np.linspace(0, 1, 4, dtype=np.float32)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 5)
        self.b = nn.Linear(5, 1)

    def forward(self, x, y):
        return (self.b(sg.tanh(self.a(x))).squeeze(-1) - y).pow(2).mean()


@pytest.fixture(scope="module")
def model():
    sg.manual_seed(0)
    return Model()


@pytest.fixture(scope="module")
def f(model):
    return sg.trace(model, x="n,d", y="n")


def test_the_derivation_names_parameters_and_keeps_letters(f):
    lines = str(f.derive()).splitlines()
    assert lines[0] == "sizes    x: n×d   y: n   b₁: 5   W₁: 5×d   b₂: scalar   W₂: 5"
    assert lines[2] == "layout   b₂ stored as 1;   W₂ stored as 1×5"
    assert lines[3].split() == ["Z", "=", "x", "W₁ᵀ", "+", "b₁"]
    assert lines[-1].split() == ["∂L/∂W₁", "=", "δZᵀ", "x"]
    assert f.name == "Model"
    assert str(f.grad("params.b.bias").formula())


def test_values_and_gradients_are_the_modules(f, model):
    params = dict(model.named_parameters())
    expected = model(sg.tensor(X), sg.tensor(Y))
    model.zero_grad()
    expected.backward()
    np.testing.assert_allclose(f.compile()(params, X, Y), expected.item(), rtol=1e-6)
    value, slopes = f.compile(gradients=True)(params, x=X, y=Y)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    arrays = {k: np.array(p.detach().numpy()) for k, p in params.items()}
    others = jax.grad(f.jax)(arrays, X, Y)
    assert set(slopes) == set(params)
    for name, p in params.items():
        np.testing.assert_allclose(slopes[name], p.grad.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(others[name], p.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_it_trains(f, model):
    step = f.training_step(optim.Adam, lr=0.05)
    params, state = step.init(
        {k: np.array(p.detach().numpy()) for k, p in model.named_parameters()}
    )
    values = []
    for _ in range(20):
        params, state, value = step(params, state, X, Y)
        values.append(float(value))
    assert values[-1] < values[0] / 2


def test_sizes_that_do_not_fit(f, model):
    params = dict(model.named_parameters())
    with pytest.raises(sg.ShapeError, match=r"x has shape \(4, 2\), declared n×d, but d is 3"):
        f.compile()(params, X[:, :2], Y)
    with pytest.raises(sg.ShapeError, match=r"cannot be multiplied|differ"):
        sg.trace(model, x="n,4", y="n")
    with pytest.raises(TypeError, match="no argument is called z"):
        sg.trace(model, x="n,3", y="n", z="n")


def test_buffers_are_an_argument_without_gradients():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    net[1].running_mean.fill_(0.5)
    f = sg.trace(net, input="n,d")
    found = f.compile()(dict(net.named_parameters()), dict(net.named_buffers()), X)
    np.testing.assert_allclose(found, net(sg.tensor(X)).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert "running_mean" not in "".join(
        line.split("=")[0] for line in str(f.derive()).splitlines() if line.startswith("∂")
    )


def test_it_takes_the_state_dict(f, model):
    state = model.state_dict()
    expected = model(sg.tensor(X), sg.tensor(Y)).item()
    np.testing.assert_allclose(f.compile()(state, X, Y), expected, rtol=1e-6)
    value, slopes = f.compile(gradients=True)(state, X, Y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert list(slopes) == sorted(state)
    np.testing.assert_allclose(f(state, X, Y), expected, rtol=1e-6)
    jitted = jax.jit(f.jax)({k: v.numpy() for k, v in state.items()}, X, Y)
    np.testing.assert_allclose(jitted, expected, rtol=1e-6)
    step = f.training_step(optim.SGD, lr=0.1)
    params, memory = step.init(state)
    *_, value = step(params, memory, X, Y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
