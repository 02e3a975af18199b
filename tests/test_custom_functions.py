"""``autograd.Function`` and the rest of ``autograd`` as programs use them: what PyTorch gives, or its errors."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from tests.test_uses import check, torch


def square(t):
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    return Square


def apart(t):
    class Apart(t.autograd.Function):
        @staticmethod
        def forward(x, k):
            return x * k, x.argsort()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.k = inputs[1]
            ctx.mark_non_differentiable(output[1])

        @staticmethod
        def backward(ctx, g, _):
            return g * ctx.k, None

    return Apart


def doubled(t):
    class Doubled(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    return Doubled


def halves(t):
    class Halves(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            y = x * 1
            ctx.mark_non_differentiable(y)
            return x * 2, x * 3, y

        @staticmethod
        def backward(ctx, a, b, _):
            return a * 2 if b is None else a * 100

    return Halves


def wrong(t, given):
    class Wrong(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        if given is not None:

            @staticmethod
            def backward(ctx, g):
                return given(g)

    return Wrong


def leaf(t):
    return t.tensor([1.0, 3.0, 2.0], requires_grad=True)


def of_context(t):
    x = leaf(t)
    y, order = apart(t).apply(x, 4)
    y.sum().backward()
    return y.detach(), order, order.requires_grad, x.grad


def of_dirty(t):
    x = leaf(t)
    y = x * 1
    z = doubled(t).apply(y)
    (z * z).sum().backward()
    return z is y, y.detach(), x.grad


def of_halves(t):
    x = leaf(t)
    a, _, y = halves(t).apply(x)
    a.sum().backward()
    return x.grad, y.requires_grad


def of_wrong(given):
    def use(t):
        x = leaf(t)
        wrong(t, given).apply(x).sum().backward()
        return x.grad

    return use


def unused(t):
    x, y = leaf(t), leaf(t)
    return t.autograd.grad((x * x).sum(), [x, y], materialize_grads=True)


def batched(t):
    x, y = leaf(t), leaf(t)
    seeds = t.eye(3)
    return t.autograd.grad(x * x * y, [x, y], seeds, is_grads_batched=True)


def modes(t):
    x = leaf(t)

    @t.no_grad()
    def steps():
        for _ in range(2):
            yield t.is_grad_enabled()

    between = [(inside, t.is_grad_enabled()) for inside in steps()]
    with t.inference_mode():
        inside = t.is_inference_mode_enabled(), (x * 2).requires_grad
        with t.inference_mode(False):
            nested = t.is_inference_mode_enabled()
    return between, inside, nested, t.is_inference_mode_enabled(), (x * 2).requires_grad


def decorated(t):
    def tells():
        return t.is_grad_enabled(), t.is_inference_mode_enabled()

    switches = [t.inference_mode(False), t.inference_mode(), t.inference_mode, t.no_grad,
                t.no_grad(), t.enable_grad(), t.set_grad_enabled(False)]  # fmt: skip
    return [(switch(tells)(), tells()) for switch in switches]


def leads_to(t):
    x = leaf(t)
    return (x * 2).grad_fn.next_functions[0][0].variable is x


def many(t):
    a, b = (t.ones(2, 2, dtype=t.float64, requires_grad=True) for _ in range(2))
    return t.autograd.gradcheck(lambda a, b: (a @ b, a * 2), (a, b), eps=1e-6, atol=1e-4)


def twice(t):
    x = t.tensor([0.5, 1.5], dtype=t.float64, requires_grad=True)
    return t.autograd.gradgradcheck(lambda x: (x**3).sin().sum(), (x,))


def mistaken(t):
    x = t.tensor([0.5, 1.5], dtype=t.float64, requires_grad=True)
    return t.autograd.gradcheck(wrong(t, lambda g: g).apply, (x,))


USES = {
    "a context of its own": of_context, "changed in place": of_dirty,
    "a leaf changed in place": lambda t: doubled(t).apply(leaf(t)),
    "absent gradients": of_halves, "two gradients for one": of_wrong(lambda g: (g, g)),
    "the wrong shape": of_wrong(lambda g: g[:1].repeat(7)), "no backward": of_wrong(None),
    "None behind": of_wrong(lambda g: (g, None)), "zeros for what is not used": unused,
    "gradients for a batch": batched, "modes": modes, "switches as decorators": decorated, "what a node leads to": leads_to,
    "gradcheck of two outputs": many, "gradgradcheck": twice, "a wrong derivative": mistaken,
    "variables": lambda t: t.autograd.Variable(t.ones(2), requires_grad=True),
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
def test_autograd_is_pytorchs(name):
    def read(t):
        found = USES[name](t)
        repr(found)  # derivatives are computed when they are read
        return found

    check(read)


def test_a_second_derivative_of_a_function():
    for t in (torch, sg):
        x = leaf(t)
        (g,) = t.autograd.grad(square(t).apply(x).sum(), x, create_graph=True)
        (h,) = t.autograd.grad((g * g).sum(), x)
        assert h.tolist() == [8.0, 24.0, 16.0]
        assert t.autograd.function.once_differentiable


def with_values(t):
    class Values(t.autograd.Function):
        """A sine whose backward reads numbers, with NumPy and with a condition."""

        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return t.from_numpy(np.sin(x.detach().numpy())) * y, x * 2

        @staticmethod
        def backward(ctx, g, h):
            x, y = ctx.saved_tensors
            slope = t.from_numpy(g.detach().numpy() * np.cos(x.detach().numpy()))
            down = t.from_numpy(np.sin(x.detach().numpy())) * g if ctx.needs_input_grad[1] else None
            return slope * y.detach() + (h * 2 if h.sum() > 0 else h), down

    return Values


def in_a_model(t):
    x = leaf(t)
    total = 0.0
    grads = []
    for k in range(3):
        h = x * (k + 1)
        for _ in range(2):
            h, side = with_values(t).apply(h.cos(), h + 1)
            h = h + side.detach()
        total = total + (h * h).sum()
        grads.append(t.autograd.grad((h * h).sum(), x, retain_graph=True)[0])
    total.backward()
    return grads, x.grad


def both_outputs(t):
    x, y = leaf(t), t.ones(3)
    a, b = with_values(t).apply(x, y)
    kept = b * 1
    kept.retain_grad()
    (a.sum() + (kept * 3).sum()).backward()
    return x.grad, kept.grad


def hooked(t):
    x = leaf(t)
    seen = []
    y = x * 2
    y.register_hook(lambda g: g * 3)
    a, _ = with_values(t).apply(y, y)
    a.register_hook(lambda g: seen.append(g.tolist()))
    found = t.autograd.grad(a.sum(), [x, y])
    return found, seen


def again(t):
    class Cube(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g if x.sum() > 0 else g

    x = leaf(t)
    y = Cube.apply(x) * x
    (g,) = t.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = t.autograd.grad((g * g).sum(), x)
    return g.detach(), h


@pytest.mark.parametrize("use", [in_a_model, both_outputs, hooked, again])
def test_a_backward_that_reads_values(use):
    def near(t):
        return [np.round(np.asarray(leaf_of, float), 3).tolist() for leaf_of in flat(use(t))]

    assert near(sg) == near(torch)


def flat(found):
    if isinstance(found, (tuple, list)):
        return [v for part in found for v in flat(part)]
    return [found.detach().numpy() if hasattr(found, "detach") else found]


def test_hooks_are_called_in_grad_too():
    for t in (torch, sg):
        x = leaf(t)
        y = x * 2
        y.register_hook(lambda g: g * 3)
        y.retain_grad()
        (g,) = t.autograd.grad((y * y).sum(), x)
        assert g.tolist() == [24.0, 72.0, 48.0]
