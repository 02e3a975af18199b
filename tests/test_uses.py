"""Small uses of tensors, each run with PyTorch and here: the same text, or an error of the same kind."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn

torch = pytest.importorskip("torch")


def outcome(use, t):
    """What a use prints, or the names of the classes of its error."""
    try:
        return re.sub(r"\s+", " ", repr(use(t)))
    except Exception as problem:  # noqa: BLE001 - the kind is what is compared
        return [kind.__name__ for kind in type(problem).__mro__]


def check(use):
    there, here = outcome(use, torch), outcome(use, sg)
    assert (there[0] in here) if isinstance(there, list) else there == here


def in_place(use):
    """A use that changes what it is given, and gives it back."""

    def run(t):
        x = t.arange(6.0).reshape(2, 3) * 1
        return use(t, x), x, x.shape

    return run


def shared(t):
    a = np.arange(3.0)
    x = t.from_dlpack(a)
    a[0] = 7
    b = np.from_dlpack(x)
    x.add_(1)
    y = t.from_dlpack(x)
    y[2] = 50
    return x, a, b


def relaid(t):
    x = t.arange(6.0).reshape(2, 3)
    before = x.view(-1)
    x.t_()
    after = x[0]
    x[0, 1] = 50
    x.unsqueeze_(0)
    x[0, 2, 0] = -1
    return x, before, after


def tracked(t):
    x = t.ones(3, requires_grad=True)
    y = x * 2
    y.unsqueeze_(0)
    (y * y).sum().backward()
    return x.grad, y.shape, y.detach_().is_leaf


def copies(t):
    x = t.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    twin, shown = copy.deepcopy(x), copy.copy(x)
    twin.grad[0] = 100
    with t.no_grad():
        shown[0] = 5
    return x, x.grad, twin, twin.grad, shown


def marked(t):
    p = t.nn.Parameter(t.ones(2)) if t is torch else nn.Parameter(t.ones(2))
    p.no_decay = True
    return p.no_decay, copy.deepcopy(p).no_decay, hasattr(p, "other")


USES = {
    "dlpack": shared,
    "dlpack of what is tracked": lambda t: np.from_dlpack(t.ones(2, requires_grad=True)),
    "where dlpack lies": lambda t: tuple(map(int, t.ones(2).__dlpack_device__())),
    "a capsule": lambda t: t.from_dlpack(t.to_dlpack(t.tensor([1.0, 2.0]))),
    "asarray": lambda t: [t.asarray([1.0, 2.0]), t.asarray(3, dtype=t.float64)],
    "asarray tracked": lambda t: t.asarray([1.0], requires_grad=True),
    "frombuffer": lambda t: t.frombuffer(bytearray(b"\x01\x02\x03"), dtype=t.uint8, offset=1),
    "frombuffer of nothing": lambda t: t.frombuffer(bytearray(), dtype=t.uint8),
    "a function of NumPy": lambda t: np.sin(t.tensor([1.0])),
    "first constructors": lambda t: [
        t.FloatTensor([1, 2]), t.LongTensor(2).shape, t.Tensor([[1, 2]]), t.Tensor(2, 3).shape,
        t.Tensor().shape, t.BoolTensor([True]), t.Tensor(t.Size([2, 2])).shape,
    ],
    "laid out anew": relaid,
    "laid out anew, tracked": tracked,
    "a leaf laid out anew": lambda t: t.ones(2, requires_grad=True).unsqueeze_(0),
    "copies": copies,
    "an attribute": marked,
    "new ones": lambda t: [
        t.tensor([1], dtype=t.int8).new_tensor([3.7]), t.tensor([1.0]).new_empty(2).shape,
        t.tensor([1.0]).new_full((2,), 3),
    ],
    "a diagonal": lambda t: [
        t.zeros(3, 3).fill_diagonal_(2), t.zeros(7, 3).fill_diagonal_(1, wrap=True),
    ],
    "a diagonal of a line": lambda t: t.zeros(3).fill_diagonal_(2),
    "index_copy_": lambda t: t.zeros(3, 2).index_copy_(0, t.tensor([2, 0]), t.ones(2, 2)),
    "index_copy_ beyond the axes": lambda t: t.zeros(3, 2).index_copy_(
        5, t.tensor([0]), t.ones(3, 1)
    ),
    "keywords in place": lambda t: [
        t.zeros(2).add_(other=1), t.ones(2).cumsum_(axis=0), t.ones(2).pow_(exponent=2),
        t.zeros(2).random_(**{"from": 3, "to": 4}), t.zeros(2).uniform_(**{"from": 0, "to": 0}),
    ],
    "a bound of another name": lambda t: t.zeros(2).uniform_(low=5, high=6),
    "masked_scatter_": lambda t: t.zeros(3).masked_scatter_(
        t.tensor([True, False, True]), t.tensor([1.0, 2.0])
    ),
    "attributes": in_place(lambda t, x: [
        x.is_cpu, x.itemsize, x.nbytes, x.get_device(), x.is_signed(), x.is_same_size(x), +x,
        x.is_sparse, x.is_quantized, x.untyped_storage().nbytes(), x.ndimension(), x.is_meta,
        x[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr(), x.type(),
    ]),
    "formats of memory": lambda t: [
        t.channels_last, t.preserve_format, t.ones(2).clone(memory_format=t.contiguous_format),
        t.ones(1, 1, 2, 2).to(memory_format=t.channels_last),
    ],
    "sizes": lambda t: [t.Size([2]) * 2, (1, *t.Size([2]))],
    "mT of a line": lambda t: t.ones(2).mT,
    "losses in a list": lambda t: t.tensor([t.tensor([1.5]), t.tensor(2.5)]),
    "i as a real number": lambda t: t.tensor([1j], dtype=t.float32),
    "too large": lambda t: t.tensor(300, dtype=t.uint8),
    "too large in a list": lambda t: t.tensor([2**40], dtype=t.int32),
    "below zero": lambda t: t.tensor([-1], dtype=t.uint8),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:__array_wrap__")
@pytest.mark.parametrize("name", USES)
def test_the_same_there_and_here(name):
    check(USES[name])


def test_draws_have_their_distributions():
    sg.manual_seed(0)
    means = {"exponential_": (2.0, 0.5), "bernoulli_": (0.3, 0.3), "geometric_": (0.5, 2.0),
             "log_normal_": (0.0, np.exp(0.5), 1.0)}  # fmt: skip
    for name, (first, mean, *rest) in means.items():
        drawn = getattr(sg.zeros(20_000), name)(first, *rest)
        assert abs(drawn.mean().item() - mean) < 0.05
    assert sorted(set(sg.zeros(100, dtype=sg.int64).random_(3, 6).tolist())) == [3, 4, 5]
    assert abs(sg.zeros(20_001).cauchy_(1.0).median().item() - 1) < 0.05
    with pytest.raises(RuntimeError):
        sg.zeros(2).bernoulli_(2.0)


X = lambda t: t.arange(6.0).reshape(2, 3)  # noqa: E731 - an argument of every use below

KEYWORDS = {
    **{f"{name} over an axis": lambda t, n=name: [
        getattr(X(t), n)(axis=1, keepdims=True), getattr(t, n)(X(t), axis=0),
        getattr(t, n)(x=X(t), dim=0),
    ] for name in ("sum", "mean", "prod", "amax", "std", "any", "argmax", "logsumexp", "max",
                   "median")},
    **{f"{name} along an axis": lambda t, n=name: [
        getattr(X(t), n)(axis=-1), getattr(t, n)(input=X(t), axis=0),
    ] for name in ("softmax", "cumsum", "sort", "unbind", "squeeze", "unsqueeze", "argsort")},
    "joined along an axis": lambda t: [t.cat([X(t)] * 2, axis=1), t.stack([X(t)] * 2, axis=1)],
    "operands by name": lambda t: [
        t.add(input=X(t), other=X(t), alpha=2), t.matmul(input=X(t), other=X(t).T),
        t.mm(input=X(t), mat2=X(t).T), t.pow(X(t), exponent=2), t.softmax(input=X(t), dim=0),
    ],
    "views by name": lambda t: [
        X(t).transpose(dim0=0, dim1=1), X(t).unsqueeze(dim=-1), X(t).narrow(dim=1, start=0, length=2),
        X(t).select(dim=0, index=1), X(t).view(3, 2), X(t).diagonal(offset=1),
    ],
    "out": lambda t: [t.add(X(t), 1, out=o) is o for o in [t.empty(2, 3)]],
    "out of another shape": lambda t: t.exp(t.zeros(2), out=t.empty(0)),
    "out of several": lambda t: list(
        t.max(X(t), 0, out=(t.empty(3), t.empty(3, dtype=t.int64)))
    ),
    "out of what is tracked": lambda t: t.exp(t.ones(2, requires_grad=True), out=t.empty(2)),
    "variance of one entry": lambda t: [t.tensor([1.5]).std(), t.ones(2, 1).var(1)],
    "variance with more taken off": lambda t: t.tensor([1.5, 2.0]).var(correction=2),
    "mv of matrices": lambda t: t.mv(t.ones(2, 2), t.ones(2, 2)),
    "vdot of matrices": lambda t: t.vdot(t.ones(2, 2), t.ones(2, 2)),
    "the largest of none": lambda t: t.zeros(3, 0).amax(1),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:std:UserWarning", "ignore:var:UserWarning")
@pytest.mark.parametrize("name", KEYWORDS)
def test_keywords_are_those_of_pytorch(name):
    check(KEYWORDS[name])


NUMBERS = {
    "ends in tensors": lambda t: [
        t.linspace(t.tensor(0.0), t.tensor(1), 3), t.logspace(t.tensor(0.0), 2, 3),
        t.linspace(t.tensor(0), 9, 4, dtype=t.int64),
    ],
    "a mask taken from 1": lambda t: 1 - t.tensor([True]),
    "a truth value taken away": lambda t: t.ones(2) - True,
    "masks taken from numbers": lambda t: t.ones(2) - t.tensor([True, False]),
    "a square of truth values": lambda t: t.tensor([True, False]) ** 2,
    "an order of i": lambda t: t.ones(2) < 2j, "full of i": lambda t: t.full((2,), 2j, dtype=t.float32),
    "filled with i": lambda t: t.ones(2).fill_(2j),
    "filled with much": lambda t: t.zeros(2, dtype=t.uint8).fill_(300),
    "written with much": lambda t: t.zeros(2, dtype=t.int8).__setitem__(0, 500),
    "the largest": lambda t: t.full((2,), 255, dtype=t.uint8),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_a_dtype_takes(name):
    check(NUMBERS[name])


WRITES = [
    "x.view(6, 4)[0, 0] = 9", "x.T[0, 0, 1] = 9", "x.permute(2, 0, 1)[0] = 9", "x[..., 1].fill_(3)",
    "x.diagonal(0, 0, 1).zero_()", "x[0].diagonal(1).fill_(7)", "x[0][:3, :3].diagonal().add_(5)",
    "x.unsqueeze(0)[0, 1, 2, 3] = -5", "x.narrow(2, 1, 2).mul_(2)", "x.movedim(0, 2)[0, 0, 0] = 31",
    "x.expand(1, 2, 3, 4)[0, 0, 0, 0] = 6", "x.expand_as(x)[0, 0] = 6", "x.view_as(x)[0, 0, 1] = 41",
    "x.unflatten(2, (2, 2))[0, 0, 1, 1] = 51", "x.detach()[1, 1, 1] = 11", "x.data[0, 2, 1] = 91",
    "x.real[0, 2, 2] = 101", "x.positive()[0, 0] = 9", "t.atleast_3d(x)[0] = 3",
    "x.broadcast_to(2, 3, 4)[0, 0] = 4", "x.mT[0, 3, 0] = 71", "x.flatten(1)[0, 0] = 5",
    "x.view(-1)[2:5] = t.tensor([1.0, 2.0, 3.0])", "x[:, 1:2].squeeze(1).fill_(4)",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of habits that it will drop
@pytest.mark.parametrize("write", WRITES)
def test_writes_through_views_are_seen(write):
    def use(t):
        x = t.arange(24.0).reshape(2, 3, 4)
        exec(write, {"x": x, "t": t})
        w = t.arange(24.0).reshape(2, 3, 4).requires_grad_()
        y = w * 1
        exec(write, {"x": y, "t": t})
        (y * y).sum().backward()
        return x, w.grad

    check(use)


def untracked_write(t):
    x = t.tensor([0.5, 2.0, -1.0], requires_grad=True)
    y = x * 3
    with t.no_grad():
        y.clamp_(0, 2)
        y[0] += 1
    (y * y).sum().backward()
    return y.detach(), y.requires_grad, x.grad


def parts(t):
    z = t.zeros(2, dtype=t.complex64)
    z.real.fill_(3)
    z.imag[0] = 9
    return z


def windows(t):
    return sg.arange(4.0).unfold(0, 2, 1).zero_()


INDICES = {
    "False": False, "True": True, "bytes": "t.tensor([1, 0], dtype=t.uint8)",
    "one truth value": "t.tensor(True)", "a list of lists": [[0], [1]], "one list of a list": [[0, 1]],
    "a mask too long": "t.tensor([True, False, True])",
    "positions that do not fit": "(t.tensor([0, 1]), t.tensor([0, 1, 2]))",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", INDICES)
def test_what_stands_in_brackets(name):
    def use(t):
        at = INDICES[name]
        at = eval(at, {"t": t}) if isinstance(at, str) else at
        x = t.arange(24.0).reshape(2, 3, 4).requires_grad_()
        y = x * 2
        y[at] = y[at] * 3
        (y[at] ** 2).sum().backward()
        return y.detach(), x.grad

    check(use)


@pytest.mark.parametrize(
    "use", [untracked_write, parts, lambda t: t.zeros(2, 3)[0].view_as(t.ones(3, 1))]
)
def test_memory_is_shared(use):
    check(use)


def test_no_write_is_lost():
    with pytest.raises(RuntimeError, match="single memory location"):
        windows(sg)


def test_gradients_of_several_outputs_that_use_different_inputs():
    a, b = (sg.ones(2, requires_grad=True) for _ in range(2))
    found = sg.autograd.grad([(a * 2).sum(), (b * 3).sum()], [a, b])
    assert [g.tolist() for g in found] == [[2.0, 2.0], [3.0, 3.0]]
    seeds = [sg.ones(2), sg.tensor([1.0, 3.0])]
    found = sg.autograd.grad([a * 2, a * b], [a, b], grad_outputs=seeds)
    assert [g.tolist() for g in found] == [[3.0, 5.0], [1.0, 3.0]]
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        sg.autograd.grad([(a * 2).sum(), (a * 3).sum()], [a, b])
    assert sg.autograd.grad([(a * 2).sum()], [a, b], allow_unused=True)[1] is None


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, float("inf")])
def test_distances_of_points_with_one_coordinate(p: float):
    x = sg.tensor([[1.0], [2.0], [2.0]], requires_grad=True)
    found = sg.cdist(x, x, p)
    assert found.tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    found.sum().backward()
    assert x.grad.tolist() == [[-4.0], [2.0], [2.0]]
