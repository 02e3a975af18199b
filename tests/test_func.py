"""Functions of functions against ``torch.func``: values, shapes, containers, nesting, errors."""

import warnings
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.recording.execute import _patterns

torch = pytest.importorskip("torch")


def of(t):
    """The transformations of a library, and its functional names."""
    return t.func, t.nn.functional


def x3(t):
    return t.tensor([0.5, -1.0, 2.0])


def batch(t):
    return t.arange(12.0).reshape(4, 3) / 7 - 0.6


def weights(t):
    return {"w": t.arange(6.0).reshape(2, 3) / 5, "b": t.tensor([0.1, -0.2])}


def loss(t):
    def of_one(params, x, y):
        z = t.nn.functional.linear(x, params["w"], params["b"])
        return t.nn.functional.cross_entropy(z.tanh(), y)

    return of_one


def fresh_net(t: Any) -> Any:
    made = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.Tanh(), t.nn.Linear(4, 2))
    with t.no_grad():
        for k, p in enumerate(made.parameters()):
            p.copy_((t.arange(float(p.numel())).reshape(p.shape) + k).sin())
    return made


NETS: dict[str, Any] = {}


def net(t: Any) -> Any:
    """One net per library: PyTorch's vmap refuses the draws of a new one."""
    if t.__name__ not in NETS:
        NETS[t.__name__] = fresh_net(t)
    return NETS[t.__name__]


def state(module):
    return {name: p.detach() for name, p in module.named_parameters()}


def pulled(made, *seeds):
    """The value and aux of a vjp, and what it gives for every seed."""
    return made[0], *made[2:], *(made[1](seed) for seed in seeds)


def ensemble(t):
    params, buffers = t.func.stack_module_state([net(t), fresh_net(t)])

    def one(p, b, x):
        return t.func.functional_call(net(t), (p, b), (x,))

    return t.vmap(one, (0, 0, None))(params, buffers, batch(t))


PROGRAMS = {
    "grad": lambda t: t.func.grad(lambda x: (x**3).sum())(x3(t)),
    "third derivative": lambda t: t.func.grad(t.func.grad(t.func.grad(lambda x: x.sin())))(
        t.tensor(0.7)
    ),
    "grad of two arguments": lambda t: t.func.grad(lambda a, b: (a * b.exp()).sum(), (0, 1))(
        x3(t), x3(t)
    ),
    "grad for the second": lambda t: t.func.grad(lambda a, b: (a * b.exp()).sum(), 1)(x3(t), x3(t)),
    "grad of a tuple of one": lambda t: t.func.grad(lambda a: a.exp().sum(), (0,))(x3(t)),
    "grad of a dict": lambda t: t.func.grad(loss(t))(weights(t), batch(t), t.tensor([0, 1, 1, 0])),
    "grad of what is not used": lambda t: t.func.grad(lambda a, b: a.sum(), 1)(x3(t), x3(t)),
    "grad and value": lambda t: t.func.grad_and_value(lambda x: x.square().sum())(x3(t)),
    "grad with aux": lambda t: t.func.grad(lambda x: (x.square().sum(), x + 1), has_aux=True)(
        x3(t)
    ),
    "grad and value with aux": lambda t: t.func.grad_and_value(
        lambda x: (x.square().sum(), {"y": x + 1}), has_aux=True
    )(x3(t)),
    "vjp": lambda t: pulled(t.func.vjp(lambda x: x.sin() * x[0], x3(t)), t.ones(3), x3(t)),
    "vjp of two": lambda t: pulled(t.func.vjp(lambda a, b: a * b, x3(t), x3(t)), t.ones(3)),
    "vjp of several results": lambda t: pulled(
        t.func.vjp(lambda x: (x.exp(), x.sum()), x3(t)), (t.ones(3), t.tensor(2.0))
    ),
    "vjp with aux": lambda t: pulled(
        t.func.vjp(lambda x: (x.exp(), x.sum()), x3(t), has_aux=True), t.ones(3)
    ),
    "jvp": lambda t: t.func.jvp(lambda x: x.sin() * x[0], (x3(t),), (t.ones(3),)),
    "jvp of two": lambda t: t.func.jvp(lambda a, b: a * b, (x3(t), x3(t)), (t.ones(3), x3(t))),
    "jvp of several results": lambda t: t.func.jvp(
        lambda x: (x.exp(), x.sum()), (x3(t),), (t.ones(3),)
    ),
    "jvp of jvp": lambda t: t.func.jvp(
        lambda x: t.func.jvp(lambda y: (y**4).sum(), (x,), (t.ones(3),))[1], (x3(t),), (t.ones(3),)
    ),
    "linearize": lambda t: pulled(t.func.linearize(lambda x: x.sin() * x[0], x3(t)), x3(t)),
    "linearize of several": lambda t: t.func.linearize(
        lambda a, b: {"p": a * b, "q": a.sum()}, x3(t), x3(t)
    )[1](t.ones(3), x3(t)),
    "jacrev": lambda t: t.func.jacrev(lambda x: x.sin() * x[0])(x3(t)),
    "jacrev of a matrix": lambda t: t.func.jacrev(lambda a: a @ a.T)(batch(t)),
    "jacrev of a scalar": lambda t: t.func.jacrev(lambda a: a.square().sum())(batch(t)),
    "jacrev of a constant": lambda t: t.func.jacrev(lambda a: t.ones(2))(x3(t)),
    "jacrev of two": lambda t: t.func.jacrev(lambda a, b: a * b, (0, 1))(x3(t), x3(t)),
    "jacrev of several results": lambda t: t.func.jacrev(lambda a: {"p": a * a, "q": a.sum()})(
        x3(t)
    ),
    "jacrev of a dict": lambda t: t.func.jacrev(
        lambda p: t.nn.functional.linear(batch(t), p["w"], p["b"]).softmax(-1)
    )(weights(t)),
    "jacrev with aux": lambda t: t.func.jacrev(lambda a: (a * a, a + 1), has_aux=True)(x3(t)),
    "jacfwd": lambda t: t.func.jacfwd(lambda x: x.sin() * x[0])(x3(t)),
    "jacfwd of jacrev": lambda t: t.func.jacfwd(t.func.jacrev(lambda x: (x**3).prod()))(x3(t)),
    "hessian": lambda t: t.func.hessian(lambda x: x.prod() + x.exp().sum())(x3(t)),
    "hessian of two": lambda t: t.func.hessian(lambda a, b: (a * b).prod(), (0, 1))(x3(t), x3(t)),
    "hessian of a net": lambda t: t.func.hessian(
        lambda p: t.func.functional_call(net(t), p, (batch(t),)).square().mean()
    )(state(net(t)))["0.weight"]["2.bias"],
    "vmap": lambda t: t.vmap(lambda x: x.sin().sum())(batch(t)),
    "vmap of two": lambda t: t.vmap(lambda a, b: a @ b)(batch(t), batch(t)),
    "vmap in_dims": lambda t: t.vmap(lambda a, b: a @ b, in_dims=(0, None))(batch(t), x3(t)),
    "vmap another axis": lambda t: t.vmap(lambda a: a.cumsum(0), in_dims=1)(batch(t)),
    "vmap last axis": lambda t: t.vmap(lambda a: a.cumsum(0), in_dims=-1, out_dims=-1)(batch(t)),
    "vmap out_dims": lambda t: t.vmap(lambda a: (a * 2, a.sum()), out_dims=(1, 0))(batch(t)),
    "vmap of a dict": lambda t: t.vmap(
        lambda p: p["a"] + p["b"].sum(), in_dims=({"a": 0, "b": None},)
    )({"a": batch(t), "b": x3(t)}),
    "vmap of results in a dict": lambda t: t.vmap(lambda x: {"p": x, "q": [x.sum()]})(batch(t)),
    "vmap of a constant": lambda t: t.vmap(lambda x: t.ones(2) * 3)(batch(t)),
    "vmap of vmap": lambda t: t.vmap(t.vmap(lambda a, b: a * b, (0, None)), (0, 0))(
        batch(t), t.arange(4.0)
    ),
    "all pairs": lambda t: t.vmap(
        lambda a: t.vmap(lambda b: (a - b).square().sum())(batch(t))
    )(batch(t)),
    "vmap of a closure": lambda t: t.vmap(net(t))(batch(t)),
    "vmap of shapes": lambda t: t.vmap(
        lambda x: t.cat([x.reshape(1, 3), x.flip(0)[None]]).T[1:].flatten()
    )(batch(t)),
    "vmap of order": lambda t: t.vmap(lambda x: (x.sort()[0], x.argmax(), x.topk(2)[1]))(batch(t)),
    "vmap of picking": lambda t: t.vmap(lambda x, k: (x[0], t.index_select(x, 0, k)))(
        batch(t), t.tensor([[0, 2], [1, 1], [2, 0], [0, 0]])
    ),
    "vmap of matrices": lambda t: t.vmap(
        lambda a: t.linalg.inv(a @ a.T + t.eye(2)) @ a
    )(t.arange(12.0).reshape(2, 2, 3) / 5),
    "vmap of softmax and norm": lambda t: t.vmap(
        lambda x: t.nn.functional.layer_norm(x.softmax(-1), (3,))
    )(batch(t)),
    "gradients of every example": lambda t: t.vmap(t.func.grad(loss(t)), (None, 0, 0))(
        weights(t), batch(t), t.tensor([0, 1, 1, 0])
    ),
    "gradients of every image": lambda t: t.vmap(
        t.func.grad(
            lambda w, x: t.nn.functional.conv2d(x, w, padding=1, groups=2).relu().sum().sin()
        ),
        (None, 0),
    )(t.arange(36.0).reshape(4, 1, 3, 3) / 20 - 1, t.arange(200.0).reshape(4, 2, 5, 5).cos()),
    "filters of every example": lambda t: t.vmap(t.nn.functional.conv1d)(
        t.arange(24.0).reshape(2, 1, 2, 6), t.arange(24.0).reshape(2, 3, 2, 2).sin()
    ),
    "jacobian of every example": lambda t: t.vmap(t.func.jacrev(lambda x: x.sin() * x.sum()))(
        batch(t)
    ),
    "hessian of every example": lambda t: t.vmap(t.func.hessian(lambda x: x.prod()))(batch(t)),
    "jvp of every example": lambda t: t.vmap(
        lambda x, v: t.func.jvp(lambda y: y.sin(), (x,), (v,))[1]
    )(batch(t), batch(t)),
    "gradient of vmap": lambda t: t.func.grad(
        lambda x: t.vmap(lambda v: v.sin().sum())(x).square().sum()
    )(batch(t)),
    "functional call": lambda t: t.func.functional_call(net(t), state(net(t)), (batch(t),)),
    "an ensemble": ensemble,
    "jacobian": lambda t: t.autograd.functional.jacobian(lambda a: a.exp() @ a, x3(t)),
    "jacobian of two": lambda t: t.autograd.functional.jacobian(
        lambda a, b: (a * b, b.sum()), (x3(t), x3(t))
    ),
    "hessian by autograd": lambda t: t.autograd.functional.hessian(lambda a: a.prod(), x3(t)),
    "hessian of two by autograd": lambda t: t.autograd.functional.hessian(
        lambda a, b: (a * b).prod(), (x3(t), x3(t))
    ),
    "vjp by autograd": lambda t: t.autograd.functional.vjp(
        lambda a, b: a * b, (x3(t), x3(t)), t.ones(3)
    ),
    "jvp by autograd": lambda t: t.autograd.functional.jvp(lambda a: a.sin(), x3(t), t.ones(3)),
    "hvp": lambda t: t.autograd.functional.hvp(lambda a: (a**3).prod(), x3(t), t.ones(3)),
    "vhp of two": lambda t: t.autograd.functional.vhp(
        lambda a, b: (a**2 * b).prod(), (x3(t), x3(t)), (t.ones(3), x3(t))
    ),
}  # fmt: skip


def same(ours, theirs, what):
    if isinstance(theirs, (tuple, list)):
        assert isinstance(ours, (tuple, list)), what
        assert len(ours) == len(theirs), what
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, what)
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), what
        for key in theirs:
            same(ours[key], theirs[key], what)
    else:
        assert tuple(ours.shape) == tuple(theirs.shape), what
        assert str(ours.dtype) == str(theirs.dtype), what
        assert ours.requires_grad == theirs.requires_grad, what
        np.testing.assert_allclose(
            ours.detach().numpy(), theirs.detach().numpy(), rtol=2e-4, atol=2e-5
        )


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_in_pytorch(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PROGRAMS[name](torch)
    same(PROGRAMS[name](sg), theirs, name)


def test_derivatives_reach_what_the_function_closes_over():
    def run(t):
        module, x = fresh_net(t), batch(t).requires_grad_()
        t.vmap(lambda v: module(v).square().sum())(x).sum().backward()
        found = [p.grad for p in module.parameters()] + [x.grad]
        jac = t.func.jacrev(module)(x[0].detach())
        module.zero_grad()
        jac.square().sum().backward()
        return found, [p.grad for p in list(module.parameters())[:3]]

    ours, theirs = run(sg), run(torch)
    same([g.detach() for g in ours[0]], theirs[0], "vmap")
    same([g.detach() for g in ours[1]], theirs[1], "jacrev")


def test_a_gradient_of_a_gradient_penalty_trains():
    def run(t):
        module, x = fresh_net(t), batch(t)
        slope = t.vmap(t.func.grad(lambda v: module(v).sum()))(x)
        (slope.norm(dim=1) - 1).square().mean().backward()
        return [p.grad for p in list(module.parameters())[:3]]

    same([g.detach() for g in run(sg)], run(torch), "penalty")


def test_grad_works_under_no_grad_and_leaves_no_trace():
    x = x3(sg).requires_grad_()
    with sg.no_grad():
        found = sg.func.grad(lambda v: v.square().sum())(x)
    assert found.tolist() == [1.0, -2.0, 4.0]
    assert x.grad is None
    plain = sg.func.grad(lambda v: v.square().sum())(x3(sg))
    assert not plain.requires_grad


def test_formulas_of_a_batch_are_formulas():
    x, w = sg.symbols("X:n,d w:d")
    made = sg.vmap(sg.func.grad(lambda v: (v @ w).tanh()))(x)
    assert str(made.formula()) == "(1 − tanh(X w) ⊙ tanh(X w)) wᵀ"


def test_a_loop_of_calls_reuses_its_program():
    module = net(sg)
    sizes = []
    for k in range(5):
        x = sg.tensor([[k, 0.5, 2.0 * k]] * 4)
        made = sg.vmap(sg.func.grad(lambda v: module(v).square().sum()))(x)
        made.tolist()
        sizes.append(len(_patterns))
    assert sizes[-1] == sizes[1]


def test_no_program_grows_with_the_number_of_examples():
    def size(count):
        made = sg.vmap(sg.func.grad(lambda v: (v.sin() * v).sum()))(sg.symbol("x", f"{count},3"))
        return sg.compile(made).source.count("\n")

    assert size(3) == size(300)


WRONG = {
    "not a scalar": lambda t: t.func.grad(lambda x: x)(x3(t)),
    "not a tensor": lambda t: t.func.grad(lambda x: 3.0)(x3(t)),
    "argnum": lambda t: t.func.grad(lambda x: x.sum(), 2)(x3(t)),
    "aux": lambda t: t.func.grad(lambda x: x.sum(), has_aux=True)(x3(t)),
    "cotangent": lambda t: t.func.vjp(lambda x: x, x3(t))[1]((x3(t), x3(t))),
    "sizes": lambda t: t.vmap(lambda a, b: a)(t.ones(3), t.ones(4)),
    "in_dim": lambda t: t.vmap(lambda a: a, in_dims=2)(t.ones(3)),
    "structure": lambda t: t.vmap(lambda a, b: a, in_dims=(0,))(t.ones(3), t.ones(3)),
    "item": lambda t: t.vmap(lambda a: a * a.item())(t.ones(3)),
    "if": lambda t: t.vmap(lambda a: a if a > 0 else -a)(t.ones(3)),
    "draw": lambda t: t.vmap(lambda a: a + t.rand(2))(t.ones(3)),
    "dropout": lambda t: t.vmap(lambda a: t.nn.functional.dropout(a, 0.5))(t.ones(3, 2)),
    "randomness": lambda t: t.vmap(lambda a: a, randomness="some")(t.ones(3)),
    "result": lambda t: t.vmap(lambda a: 3)(t.ones(3)),
    "missing name": lambda t: t.func.functional_call(net(t), {}, (batch(t),), strict=True),
    "hessian of a vector": lambda t: t.autograd.functional.hessian(lambda a: a, x3(t)),
    "no vector": lambda t: t.autograd.functional.vjp(lambda a: a, x3(t)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_pytorch_refuses(name):
    with pytest.raises((RuntimeError, ValueError)):
        WRONG[name](torch)
    with pytest.raises((RuntimeError, ValueError)):
        WRONG[name](sg)


def test_functional_call_restores_the_module_after_an_error():
    module = net(sg)
    before = {name: id(p) for name, p in module.named_parameters()}
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\): nope"):
        sg.func.functional_call(module, {"nope": sg.ones(2)}, (batch(sg),))
    with pytest.raises(sg.ShapeError):
        sg.func.functional_call(module, {"0.weight": sg.ones(4, 5)}, (batch(sg),))
    assert {name: id(p) for name, p in module.named_parameters()} == before


def test_tied_weights_are_replaced_together():
    class Tied(sg.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = sg.nn.Linear(2, 2, bias=False)
            self.b = sg.nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    x = sg.tensor([[1.0, 2.0]])
    new = {"a.weight": sg.eye(2) * 3}
    assert sg.func.functional_call(Tied(), new, x).tolist() == [[9.0, 18.0]]


def test_one_draw_for_all_examples_where_asked_for():
    made = sg.vmap(lambda a: a * sg.rand(2), randomness="same")(sg.ones(3, 2))
    assert made[0].tolist() == made[1].tolist() == made[2].tolist()
    assert sg.rand(2).shape == (2,)
    with pytest.raises(RuntimeError, match="draw a batch outside"):
        sg.vmap(lambda a: a * sg.rand(2), randomness="different")(sg.ones(3, 2))


def test_changes_in_place_stay_inside():
    def program(t):
        def f(x):
            b = t.zeros(3) + 0 * x
            b += x
            b[0] = 5.0
            return b

        return t.vmap(f)(t.arange(6.0).reshape(2, 3))

    same(program(sg), program(torch), "in place")
    norm = sg.nn.BatchNorm1d(3)
    buffer = sg.zeros(3)
    x = sg.ones(4, 5, 3)
    for change in (norm, lambda v: buffer.add_(v[0]).sum(), lambda v: v.mul_(2)):
        with pytest.raises(RuntimeError, match="changes a tensor of shape"):
            sg.vmap(change)(x)
    assert norm.running_mean.tolist() == [0.0] * 3
    assert buffer.tolist() == [0.0] * 3
    assert tuple(sg.vmap(norm.eval())(x).shape) == (4, 5, 3)


class Cubed(sg.autograd.Function):
    """x³ with a derivative that is wrong on purpose, so that it can be told from ours."""

    @staticmethod
    def forward(ctx, x, w):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, w)
        return x**3 * w

    @staticmethod
    def backward(ctx, g):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, w = ctx.saved_tensors
        return 10 * g * x * w, (g * x).sum()


def test_functions_by_the_user_over_a_batch():
    x = batch(sg).requires_grad_()
    w = sg.tensor(2.0, requires_grad=True)
    made = sg.vmap(lambda v: Cubed.apply(v, w).sum())(x)
    assert made.tolist() == pytest.approx((x**3 * w).sum(1).tolist(), rel=1e-5)
    made.sum().backward()
    assert x.grad is not None
    assert w.grad is not None
    same(x.grad, 20 * x.detach(), "x")
    same(w.grad, x.detach().sum(), "w")
    inside = sg.vmap(sg.func.grad(lambda v: Cubed.apply(v, w.detach()).sum()))(x.detach())
    same(inside, 20 * x.detach(), "inside")
    twice = sg.vmap(sg.vmap(lambda v: Cubed.apply(v, w)))(x)
    same(sg.autograd.grad(twice.sum(), [x])[0], 20 * x.detach(), "twice")
    rows = sg.func.jacrev(lambda v: Cubed.apply(v, w.detach()))(x[0].detach())
    same(rows, sg.diag(20 * x[0].detach()), "rows")
