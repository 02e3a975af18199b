"""Records: what a tensor operation notes down, deep chains, gradients of whole graphs."""

import gc

import pytest

import symgrad as sg


class Clip(sg.autograd.Function):
    """tanh with a gradient that is half of the true one."""

    @staticmethod
    def forward(ctx, x, scale):
        y = sg.tanh(x * scale)
        ctx.scale = scale
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y) * (ctx.scale / 2), None


class Polar(sg.autograd.Function):
    """Two outputs: r cos φ and r sin φ."""

    @staticmethod
    def forward(ctx, r, phi):
        ctx.save_for_backward(r, phi)
        return r * phi.cos(), r * phi.sin()

    @staticmethod
    def backward(ctx, gx, gy):
        r, phi = ctx.saved_tensors
        return gx * phi.cos() + gy * phi.sin(), r * (gy * phi.cos() - gx * phi.sin())


class Masked(sg.autograd.Function):
    """Keeps one tensor as an attribute, and saves nothing where another could be."""

    @staticmethod
    def forward(ctx, x):
        ctx.mask = x > 0
        ctx.save_for_backward(None, x)
        return x * ctx.mask

    @staticmethod
    def backward(ctx, g):
        nothing, x = ctx.saved_tensors
        assert nothing is None
        return g * ctx.mask * x


class Unsaved(sg.autograd.Function):
    """Its backward makes a tensor of its own."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * sg.tensor([2.0])


def test_a_function_of_the_user_has_its_own_derivative():
    for _ in range(3):  # evaluated, compiled, from the cache
        x = sg.tensor([0.3, -0.2], requires_grad=True)
        Clip.apply(x * 2, 3.0).sum().backward()
        expected = 3 * (1 - sg.tanh(sg.tensor([1.8, -1.2])) ** 2)
        assert sg.allclose(x.grad, expected, atol=1e-6)


def test_a_function_with_two_outputs():
    r = sg.tensor(2.0, requires_grad=True)
    phi = sg.tensor(0.5, requires_grad=True)
    x, y = Polar.apply(r, phi)
    (x * 3 + y).backward()
    r2 = sg.tensor(2.0, requires_grad=True)
    phi2 = sg.tensor(0.5, requires_grad=True)
    (r2 * phi2.cos() * 3 + r2 * phi2.sin()).backward()
    assert r.grad.item() == pytest.approx(r2.grad.item())
    assert phi.grad.item() == pytest.approx(phi2.grad.item())


def test_a_function_keeps_tensors_as_attributes():
    for numbers in ([3.0, -2.0], [-3.0, 5.0]):
        x = sg.tensor(numbers, requires_grad=True)
        Masked.apply(x).sum().backward()
        assert x.grad.tolist() == [max(v, 0) for v in numbers]


def test_a_function_without_what_it_needs_says_so():
    x = sg.ones(1, requires_grad=True)
    Unsaved.apply(x).sum().backward()
    assert x.grad.item() == 2.0
    with pytest.raises(sg.DerivativeError, match="save_for_backward"):
        sg.func.grad(lambda x: Unsaved.apply(x).sum())(sg.ones(1)).item()


def test_a_function_is_differentiated_again():
    x = sg.tensor(0.4, requires_grad=True)
    (slope,) = sg.autograd.grad(Clip.apply(x, 1.0), x, create_graph=True)
    (second,) = sg.autograd.grad(slope, x)
    y = sg.tanh(sg.tensor(0.4)).item()
    # slope = (1 − y²)/2, and the derivative of y is the user's again
    assert second.item() == pytest.approx(-y * (1 - y * y) / 2, rel=1e-5)


def test_deep_chains_need_no_recursion():
    x = sg.ones(2, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1
    del y
    gc.collect()
    y = x
    for _ in range(2_000):
        y = y * 1.0001
    y.sum().backward()
    assert x.grad[0].item() == pytest.approx(1.0001**2000, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: sg.ones(2, 3) @ sg.ones(2, 3), RuntimeError, "2"),
        (lambda: sg.ones(2) + sg.ones(3), RuntimeError, "3"),
        (lambda: sg.cat([sg.ones(2, 3), sg.ones(2, 2)]), RuntimeError, "2"),
        (lambda: sg.ones(2).sum(3), IndexError, "Dimension out of range"),
        (lambda: sg.tensor([1, 2]).requires_grad_(), RuntimeError, "floating point"),
        (lambda: sg.ones(2, requires_grad=True).backward(), RuntimeError, "scalar"),
        (lambda: sg.ones(1).backward(), RuntimeError, "does not require grad"),
        (lambda: sg.ones(2, requires_grad=True).add_(1), RuntimeError, "leaf"),
        (lambda: sg.dot(sg.ones(2, 2), sg.ones(2)), RuntimeError, "1D"),
    ],
)
def test_errors_appear_at_the_line_that_makes_them(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
