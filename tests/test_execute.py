"""Execution: cold graphs by NumPy, then compiled; pending tensors, liveness, memory."""

import gc
import threading

import numpy as np
import pytest
from symgrad_codegen.compile import cache_info, clear_cache

import symgrad as sg
from symgrad import nn


def program(x):
    return (sg.tanh(x @ x.T) * x.sum(1)).softmax(-1)


def test_cold_and_compiled_agree():
    rng = np.random.default_rng(0)
    first = None
    for _ in range(3):
        x = sg.from_numpy(rng.standard_normal((3, 3)))
        value = program(x).numpy()
        if first is None:
            first = value
        expected = np.tanh(x.numpy() @ x.numpy().T) * x.numpy().sum(1)
        expected = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
        np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_reading_one_value_never_changes_another():
    x = sg.ones(3, requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    assert z.item() == 12
    assert y.tolist() == [2, 2, 2]
    z.backward()
    assert x.grad.tolist() == [8, 8, 8]


def test_python_numbers_keep_their_types():
    x = sg.tensor([3])
    assert (x * 1).dtype is sg.int64
    assert (x * 1.0).dtype is sg.float32
    assert (x * True).dtype is sg.int64


def test_batches_at_different_places_share_one_program():
    data = sg.arange(40.0).view(20, 2)
    w = sg.ones(2, requires_grad=True)
    for start in range(0, 20, 4):
        w.grad = None
        batch = data[start : start + 4]
        (batch @ w).sum().backward()
        assert w.grad.tolist() == data.numpy()[start : start + 4].sum(0).tolist()


def test_long_updates_without_reading_stay_bounded():
    total = sg.zeros(2)
    for _ in range(3000):
        total.add_(1)
    assert total.tolist() == [3000, 3000]
    assert total._storage.node.depth <= 201


def test_threads_record_and_run_at_once():
    results = {}

    def work(k):
        x = sg.full((4,), float(k), requires_grad=True)
        with sg.no_grad() if k % 2 else sg.enable_grad():
            y = (x * x).sum()
        results[k] = (y.item(), y.requires_grad)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: (4.0 * k * k, k % 2 == 0) for k in range(8)}


def test_dropped_graphs_are_freed():
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        x = sg.ones(3, requires_grad=True)
        (x * x).sum().backward()
        x.grad.tolist()
    del x
    gc.collect()
    assert len(gc.get_objects()) - before < 4000


@pytest.mark.parametrize("steps", [6])
def test_the_training_loop_leaves_everything_readable(steps):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((4, 3)).astype(np.float32)
    data = rng.standard_normal((8, 4)).astype(np.float32)
    classes = rng.integers(0, 3, 8)
    seen = []
    for t in (sg, torch):
        layer = t.nn.Linear(4, 3)
        with t.no_grad():
            layer.weight.copy_(t.tensor(weights.T.copy()))
            layer.bias.zero_()
        optimizer = t.optim.Adam(layer.parameters(), lr=0.05)
        x, y = t.tensor(data), t.tensor(classes)
        log = []
        for _ in range(steps):
            optimizer.zero_grad()
            logits = layer(x)
            loss = t.nn.functional.cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            log.append((loss.item(), logits.sum().item(), layer.weight.grad.norm().item()))
        seen.append(np.array(log))
    np.testing.assert_allclose(*seen, rtol=2e-4, atol=1e-5)


# ------------------------------------------------------------------ values in one array


def stepped(rounds=3):
    """A model after some steps of a loop, with what the last one left."""
    sg.manual_seed(0)
    model = sg.nn.Sequential(sg.nn.Linear(2, 3), sg.nn.Tanh(), sg.nn.Linear(3, 1))
    optimizer = sg.optim.SGD(model.parameters(), lr=0.5)
    x = sg.linspace(-1, 1, 8).reshape(4, 2)
    for _ in range(rounds):
        before = [p.detach().clone().numpy() for p in model.parameters()]
        optimizer.zero_grad()
        out = model(x)
        loss = (out**2).mean()
        loss.backward()
        optimizer.step()
    return model, before, x, out, loss


def expected(before, x):
    import jax

    def f(w1, b1, w2, b2):
        out = jax.numpy.tanh(x @ w1.T + b1) @ w2.T + b2
        return (out**2).mean(), out

    (loss, out), grads = jax.value_and_grad(f, argnums=(0, 1, 2, 3), has_aux=True)(*before)
    return loss, out, grads


def test_small_values_of_a_step_come_in_one_array():
    model, before, x, out, loss = stepped()
    assert type(out._storage.node.value) is tuple
    assert type(loss._storage.node.value) is tuple
    true_loss, true_out, true_grads = expected(before, x.numpy())
    np.testing.assert_allclose(loss.item(), true_loss, rtol=1e-5)
    np.testing.assert_allclose(out.detach().numpy(), true_out, rtol=1e-5)
    for p, g, old in zip(model.parameters(), true_grads, before, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(p.detach().numpy(), old - 0.5 * g, rtol=1e-5, atol=1e-7)


def test_values_in_one_array_are_operands_of_later_graphs():
    model, before, x, out, loss = stepped()
    true_loss, true_out, true_grads = expected(before, x.numpy())
    later = out * 2 + loss
    for _ in range(3):  # cold, compiled, compiled again
        np.testing.assert_allclose(
            (out * 2 + loss).detach().numpy(), 2 * true_out + true_loss, rtol=1e-5
        )
    np.testing.assert_allclose(later.detach().numpy(), 2 * true_out + true_loss, rtol=1e-5)
    first = next(model.parameters())
    first.grad.mul_(0.5)
    np.testing.assert_allclose(first.grad.numpy(), 0.5 * true_grads[0], rtol=1e-5, atol=1e-7)
    halved = sg.compile(lambda t: t / 2)
    np.testing.assert_allclose(halved(out.detach()).numpy(), true_out / 2, rtol=1e-5)


def test_large_values_of_a_step_come_alone():
    layer = sg.nn.Linear(100, 100)
    optimizer = sg.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        out = layer(sg.ones(2, 100))
        out.sum().backward()
        optimizer.step()
    whole = layer.weight._grad[0]
    kinds = [type(v) for v in whole.value]
    assert kinds[0] is not tuple
    assert kinds[1] is tuple
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.full((100, 100), 2.0))
    np.testing.assert_array_equal(layer.bias.grad.numpy(), np.full(100, 2.0))


def test_data_made_ready_once_is_not_compiled_into_the_first_step_of_a_big_model():
    layers = [m for _ in range(70) for m in (nn.Linear(4, 4), nn.Tanh())]
    model = nn.Sequential(*layers)
    optimizer = sg.optim.SGD(model.parameters(), lr=0.1)
    x = (sg.arange(32.0).reshape(8, 4) - 16) / 16
    y = x.flip(0)
    clear_cache()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (model(x) - y).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert cache_info()[0] == 1


def test_a_long_graph_without_derivatives_is_evaluated_at_first():
    x = sg.arange(600.0) * 2
    clear_cache()
    rows = sg.stack([x[k : k + 5] for k in range(500)])
    assert rows[499].tolist() == [998.0, 1000.0, 1002.0, 1004.0, 1006.0]
    assert cache_info()[0] == 0


def test_running_statistics_are_computed_with_the_step():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = sg.optim.SGD(model.parameters(), lr=0.1)
    x = sg.randn(8, 3)
    expected = np.zeros(4)
    clear_cache()
    for _ in range(150):
        optimizer.zero_grad()
        hidden = model[0](x)
        loss = model[2](model[1](hidden)).square().mean()
        loss.backward()
        optimizer.step()
        expected = 0.9 * expected + 0.1 * hidden.detach().numpy().mean(0)
        node = model[1].running_mean._storage.node
        assert node.value is not None
        assert node.depth == 1
    np.testing.assert_allclose(model[1].running_mean.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert model[1].num_batches_tracked.item() == 150
    assert cache_info()[0] == 1


def test_a_loop_that_updates_its_weights_itself_is_one_program_a_step():
    sg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = sg.randn(8, 3), sg.randn(8, 1)
    clear_cache()
    first = last = None
    for _ in range(120):  # nothing is read
        loss = (model(x) - y).square().mean()
        loss.backward()
        with sg.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
        model.zero_grad()
        first, last = first if first is not None else loss, loss
    assert last.item() < first.item() / 2
    assert cache_info()[0] <= 2
    assert all(p._storage.node.depth <= 1 or p._storage.node.value is None
               for p in model.parameters())  # fmt: skip


def test_weights_that_are_clipped_are_part_of_the_next_step():
    model = nn.Linear(3, 1)
    optimizer = sg.optim.SGD(model.parameters(), lr=5.0)
    x = sg.randn(8, 3)
    clear_cache()
    for _ in range(6):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        for p in model.parameters():
            p.data.clamp_(-0.01, 0.01)
    assert cache_info()[0] <= 2
    assert max(p.abs().max().item() for p in model.parameters()) <= 0.01


def test_a_sine_of_many_numbers_is_computed_several_at_a_time() -> None:
    numbers = np.linspace(-30, 30, 8192, dtype=np.float32)
    w = sg.tensor(numbers, requires_grad=True)
    for _ in range(3):  # by NumPy, then compiled
        w.grad = None
        loss = (w.sin() * w.cos()).sum()
        loss.backward()
        np.testing.assert_allclose(w.grad.numpy(), np.cos(2 * numbers.astype(float)), atol=3e-7)
    large, small = (
        sg.trace(lambda t: (t.sin() + t.cos()).sum(), t=sg.spec(n)).compile().source
        for n in (8192, 100)
    )
    assert "sine(t, quarters=1)" in large
    assert "jnp.cos(t)" in small
    assert "sine" not in small


@pytest.mark.parametrize("name", ["cummin", "cummax"])
def test_the_gradient_of_a_running_extreme_goes_where_it_stands(name):
    accumulate = getattr(np, "minimum" if name == "cummin" else "maximum").accumulate
    for given in np.random.default_rng(3).uniform(0.4, 1.5, (40, 3, 3)):
        x = sg.tensor(given, requires_grad=True)
        for _ in range(2):  # by NumPy, then compiled
            x.grad = None
            getattr((x.square() + 0.5) * 0.5, name)(1)[0].sum().backward()
            chosen = accumulate(given, 1)[:, :, None] == given[:, None, :]
            np.testing.assert_allclose(x.grad.numpy(), chosen.sum(1) * given)
