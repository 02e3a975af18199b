"""Storage: views, writes through them, memory shared with NumPy, versions; against PyTorch."""

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")


def both(program):
    """The same program on both libraries gives the same numbers and the same text."""
    ours, theirs = program(sg), program(torch)
    for a, b in zip(ours, theirs, strict=True):
        assert a.tolist() == b.tolist()
        assert repr(a) == repr(b)


WRITES = {
    "number": lambda t, v: v.__setitem__((0, 1), 7.0),
    "slice": lambda t, v: v.__setitem__(slice(1, None), -1.0),
    "row": lambda t, v: v.__setitem__(1, t.tensor([9.0, 8.0, 7.0, 6.0])),
    "step": lambda t, v: v.__setitem__((slice(None), slice(None, None, 2)), 5.0),
    "mask": lambda t, v: v.__setitem__(v > 4, 0.0),
    "positions": lambda t, v: v.__setitem__(([0, 2], [1, 3]), t.tensor([50.0, 60.0])),
    "whole": lambda t, v: v.mul_(2).add_(1),
    "part": lambda t, v: v[1].add_(10),
    "transposed": lambda t, v: v.t()[0].sub_(3),
    "selected": lambda t, v: v.select(1, 2).zero_(),
    "narrowed": lambda t, v: v.narrow(0, 1, 2).fill_(4),
    "permuted": lambda t, v: v.permute(1, 0).__setitem__(3, 2.0),
    "unsqueezed": lambda t, v: v.unsqueeze(0).transpose(1, 2)[0, 1].neg_(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_write_through_a_view_reaches_the_base(write):
    def program(t):
        base = t.arange(12.0)
        other = base[3:6]
        view = base.view(3, 4)
        write(t, view)
        return base, view, other

    both(program)


READS = {
    "last": lambda t, g: g[-1],
    "column": lambda t, g: g[..., 0],
    "new axes": lambda t, g: g[None, :, None],
    "step": lambda t, g: g[::2, 1:],
    "list": lambda t, g: g[[2, 0]],
    "two lists": lambda t, g: g[[0, 1], [1, 2]],
    "matrix of positions": lambda t, g: g[t.tensor([[0, 1], [2, -1]])],
    "list and slice": lambda t, g: g[:, [2, 0]],
    "list and number": lambda t, g: g[1, [2, 0]],
    "mask": lambda t, g: g[g % 20 == 0],
    "mask of rows": lambda t, g: g[t.tensor([True, False, True])],
    "zero-size": lambda t, g: g[3:],
}


@pytest.mark.parametrize("known", [True, False], ids=["known", "pending"])
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_reads(read, known):
    def program(t):
        grid = t.tensor([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
        return (read(t, grid if known else grid + 0),)

    both(program)


def test_gradients_flow_through_views_and_writes():
    def program(t):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        buffer = t.zeros(2, 3)
        buffer[1] = x * 2
        buffer[0, 1:] = x[:2] ** 2
        (buffer * t.arange(6.0).view(2, 3)).sum().backward()
        return (x.grad,)

    both(program)


def test_numpy_memory_is_shared_both_ways():
    source = np.zeros((2, 3), np.float32)
    t = sg.from_numpy(source)
    t[0, 1] = 5
    t.t()[2].add_(1)
    assert source.tolist() == [[0, 5, 1], [0, 0, 1]]
    source[1, 0] = 8
    assert t[1, 0].item() == 8
    assert (t * 2).sum().item() == 30
    view = t.t().numpy()
    view[0, 0] = -1
    assert t[0, 0].item() == -1
    assert source[0, 0] == -1


def test_numpy_memory_in_any_order():
    source = np.arange(6.0).reshape(2, 3).T[::-1]
    t = sg.from_numpy(source)
    assert t.tolist() == source.tolist()
    assert t[1:].numpy().tolist() == source[1:].tolist()
    t[0, 1] = 50
    assert source[0, 1] == 50
    assert sg.arange(6).flip(0).detach().numpy().tolist() == [5, 4, 3, 2, 1, 0]


def test_a_record_keeps_the_value_it_read():
    source = np.ones(3, np.float32)
    t = sg.from_numpy(source)
    later = t * 2
    source[:] = 100
    assert later.tolist() == [2, 2, 2]
    u = sg.ones(3)
    later = u * 2
    u.add_(5)
    assert later.tolist() == [2, 2, 2]


def test_layout():
    def program(t):
        x = t.zeros(2, 3, 4)
        views = [x, x.transpose(0, 2), x[1:, ::2], x.permute(1, 0, 2)[2], x[:, 0].unsqueeze(1)]
        return [(v.stride(), v.is_contiguous(), v.storage_offset()) for v in views]

    assert program(sg) == program(torch)


def test_view_asks_for_compatible_strides():
    x = sg.arange(6).view(2, 3).t()
    with pytest.raises(RuntimeError, match="not compatible"):
        x.view(6)
    assert x.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: sg.zeros(3)[5], IndexError, "out of bounds"),
        (lambda: sg.zeros(2, 2)[0, 0, 0], IndexError, "too many indices"),
        (lambda: sg.zeros(3)[[4]], IndexError, "out of bounds"),
        (lambda: sg.zeros(3)[::-1], ValueError, "greater than zero"),
        (lambda: sg.zeros(3)[1.5], TypeError, "valid indices"),
        (lambda: sg.zeros(3)[sg.tensor([True])], IndexError, "mask"),
        (lambda: sg.zeros(1).expand(3).add_(1), RuntimeError, "clone"),
        (lambda: sg.zeros(6).view(4), RuntimeError, "invalid for input of size 6"),
    ],
)
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_a_saved_value_changed_through_a_view_is_found():
    x = sg.ones(3, requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    y[0] = 7
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_data_that_is_set_to_itself_is_not_outdated():
    def program(t):
        net = t.nn.Linear(1, 1).to(t.device("cpu"))
        net.weight.data = net.weight.data
        net(t.ones(2, 1)).sum().backward()
        return [net.weight.grad]

    both(program)
