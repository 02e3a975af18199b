"""Training loops of many shapes: the numbers of PyTorch, whatever is held, read or left unread.

A step computes loss, gradients and update in one program that uses up old parameters; these loops
hold on to what such a program might wrongly use up, skip or compute too late.
"""

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 6)
SHAPES = ((5, 4), (5,), (3, 5), (3,))
WEIGHTS = [0.5 * RNG.standard_normal(shape).astype(np.float32) for shape in SHAPES]


def model_of(lib):
    model = lib.nn.Sequential(lib.nn.Linear(4, 5), lib.nn.Tanh(), lib.nn.Linear(5, 3))
    with lib.no_grad():
        for p, w in zip(model.parameters(), WEIGHTS, strict=True):
            p.copy_(lib.tensor(w))
    return model, lib.tensor(X), lib.tensor(Y)


def numbers(tensors):
    return [t.detach().numpy().copy() for t in tensors]


def two_optimizers(lib):
    model, x, y = model_of(lib)
    params = list(model.parameters())
    first = lib.optim.SGD(params[:2], lr=0.1)
    second = lib.optim.Adam(params[2:], lr=0.01)
    for _ in range(4):
        loss = lib.nn.functional.cross_entropy(model(x), y)
        first.zero_grad()
        second.zero_grad()
        loss.backward()
        first.step()
        second.step()
        yield [loss, *params, *(p.grad for p in params)]


def accumulated(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        for half in (slice(0, 3), slice(3, 6)):
            lib.nn.functional.cross_entropy(model(x[half]), y[half]).backward()
        optimizer.step()
        yield [*model.parameters(), *(p.grad for p in model.parameters())]


def zeros_stay(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad(set_to_none=False)
        lib.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        yield list(model.parameters())


def gradients_changed(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.Adam(model.parameters(), lr=0.05)
    for k in range(4):
        optimizer.zero_grad()
        lib.nn.functional.cross_entropy(model(x), y).backward()
        norm = lib.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        if k % 2:
            for p in model.parameters():
                p.grad.mul_(0.5)
        optimizer.step()
        yield [norm, *model.parameters()]


def some_gradients_read(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    kept = []
    for k in range(4):
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        if k % 2:
            kept.append(model[0].weight.grad)
            loss.item()
        optimizer.step()
        kept.append(model[2].bias.grad)
    yield [*kept, *model.parameters()]


def old_values_held(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.5)
    held = []
    for _ in range(4):
        held.append(model(x))  # unread until the end: of the parameters of that time
        held.append(model[0].weight * 1)
        optimizer.zero_grad()
        lib.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    yield held


def averaged_weights(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.5)
    average = [p.detach().clone() for p in model.parameters()]
    for _ in range(5):
        optimizer.zero_grad()
        lib.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        with lib.no_grad():
            for a, p in zip(average, model.parameters(), strict=True):
                a.mul_(0.9).add_(p, alpha=0.1)
    yield average


def tied(lib):
    model, x, _ = model_of(lib)
    weight = model[0].weight
    optimizer = lib.optim.Adam([weight], lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        ((lib.tanh(x @ weight.t()) @ weight) - x).pow(2).mean().backward()
        optimizer.step()
        yield [weight, weight.grad]


def alternating(lib):
    """Two models against each other; one sees the other's output detached."""
    maker, x, _ = model_of(lib)
    judge = lib.nn.Linear(3, 1)
    with lib.no_grad():
        judge.weight.copy_(lib.tensor(WEIGHTS[2][:1, :3]))
        judge.bias.zero_()
    one = lib.optim.Adam(maker.parameters(), lr=0.02)
    two = lib.optim.SGD(judge.parameters(), lr=0.1)
    for _ in range(4):
        made = maker(x)
        two.zero_grad()
        judge(made.detach()).pow(2).mean().backward()
        two.step()
        one.zero_grad()
        (judge(made) - 1).pow(2).mean().backward()
        one.step()
        yield [made, *maker.parameters(), *judge.parameters()]


def closures(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(4):
        yield [optimizer.step(closure), *model.parameters()]


def second_order(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    params = list(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(model(x), y)
        slopes = lib.autograd.grad(loss, params, create_graph=True)
        (loss + 0.1 * sum((s * s).sum() for s in slopes)).backward()
        optimizer.step()
        yield [loss, *params]


def schedules_and_groups(lib):
    model, x, y = model_of(lib)
    optimizer = lib.optim.AdamW(
        [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}], lr=0.01
    )
    schedule = lib.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    for k in range(5):
        optimizer.zero_grad()
        lib.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
        if k == 2:
            optimizer.param_groups[0]["weight_decay"] = 0.3
        yield list(model.parameters())


def memory_shared_with_numpy(lib):
    model, _, y = model_of(lib)
    data = X.copy()
    x = lib.from_numpy(data)
    view = model[2].bias.detach().numpy()
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(model(x), y)
        data *= 0.9  # after the forward pass: seen by the next one
        if lib is torch:  # which computed eagerly but keeps the memory for its backward pass
            loss = lib.nn.functional.cross_entropy(model(lib.tensor(data / np.float32(0.9))), y)
        loss.backward()
        optimizer.step()
        yield [loss, *model.parameters(), lib.tensor(view)]


LOOPS = [
    two_optimizers, accumulated, zeros_stay, gradients_changed, some_gradients_read,
    old_values_held, averaged_weights, tied, alternating, closures, second_order,
    schedules_and_groups, memory_shared_with_numpy,
]  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_numbers_are_those_of_torch(loop):
    ours = [numbers(found) for found in loop(sg)]
    theirs = [numbers(found) for found in loop(torch)]
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for place, (mine, expected) in enumerate(zip(a, b, strict=True)):
            np.testing.assert_allclose(
                mine, expected, rtol=2e-4, atol=2e-5, err_msg=f"{loop.__name__} {step} {place}"
            )


@pytest.mark.parametrize("loop", LOOPS)
def test_left_unread_until_the_end(loop):
    """The same, but nothing is read before all steps are recorded or done."""
    ours = [[t.detach().clone() for t in found] for found in loop(sg)]
    theirs = [[t.detach().clone() for t in found] for found in loop(torch)]
    for a, b in zip(ours, theirs, strict=True):
        for mine, expected in zip(numbers(a), numbers(b), strict=True):
            np.testing.assert_allclose(mine, expected, rtol=2e-4, atol=2e-5)


def test_a_second_backward_after_a_step_is_refused():
    model, x, y = model_of(sg)
    optimizer = sg.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = sg.nn.functional.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
