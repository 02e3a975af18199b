"""Recurrent networks: PyTorch's names, values, gradients and packed sequences."""

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(5)

KINDS = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "bias": False}),
    ("GRU", {}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    ("LSTM", {"proj_size": 2, "num_layers": 2}),
    ("GRU", {"num_layers": 3, "dropout": 0.5, "bias": False}),
]


def pair(name, *args, **options):
    """The same network in both libraries, in float64."""
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(*args, dtype=torch.float64, **options)
    ours = getattr(nn, name)(*args, dtype=sg.float64, **options)
    assert repr(ours) == repr(theirs)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: sg.tensor(v.numpy()) for k, v in state.items()})
    return ours, theirs


def flat(made):
    """All tensors of nested tuples."""
    if isinstance(made, (tuple, list)):
        return [t for part in made if part is not None for t in flat(part)]
    return [made]


def same(found, wanted, ours, theirs, inputs=()):
    found, wanted = flat(found), flat(wanted)
    assert len(found) == len(wanted)
    total = reference = 0
    for a, b in zip(found, wanted, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-9, 1e-11)
        if b.is_floating_point():
            total, reference = total + (a * a).sum(), reference + (b * b).sum()
    total.backward()
    reference.backward()
    leaves = [*zip(ours.parameters(), theirs.parameters(), strict=True), *inputs]
    for a, b in leaves:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-8, 1e-10)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_sequences(name, options):
    ours, theirs = pair(name, 3, 4, **options)
    ours.eval(), theirs.eval()
    x = RNG.standard_normal((5, 2, 3))
    a, b = sg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    same(ours(a), theirs(b), ours, theirs, [(a, b)])


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_a_state_to_begin_with_and_no_batch_axis(name):
    ours, theirs = pair(name, 3, 4, 2)
    for shape, lead in (((5, 2, 3), (2, 2)), ((5, 3), (2,))):
        x = RNG.standard_normal(shape)
        state = [RNG.standard_normal((*lead, 4)) for _ in range(2 if name == "LSTM" else 1)]
        first = [sg.tensor(s, requires_grad=True) for s in state]
        second = [torch.tensor(s, requires_grad=True) for s in state]
        for p in [*ours.parameters(), *theirs.parameters()]:
            p.grad = None
        same(
            ours(sg.tensor(x), tuple(first) if len(first) > 1 else first[0]),
            theirs(torch.tensor(x), tuple(second) if len(second) > 1 else second[0]),
            ours, theirs, list(zip(first, second, strict=True)),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_single_steps(name):
    ours, theirs = pair(name, 3, 4)
    for shape in ((2, 3), (3,)):
        x = RNG.standard_normal(shape)
        found, wanted = ours(sg.tensor(x)), theirs(torch.tensor(x))
        for p in [*ours.parameters(), *theirs.parameters()]:
            p.grad = None
        same(ours(sg.tensor(x), found), theirs(torch.tensor(x), wanted), ours, theirs)


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
@pytest.mark.parametrize("enforced", [True, False])
def test_packed_sequences(name, enforced):
    ours, theirs = pair(name, 3, 4, 2, bidirectional=True)
    lengths = [5, 3, 2] if enforced else [2, 5, 3]
    x = RNG.standard_normal((5, 3, 3))
    one, two = nn.utils.rnn, torch.nn.utils.rnn
    a = one.pack_padded_sequence(sg.tensor(x), lengths, enforce_sorted=enforced)
    b = two.pack_padded_sequence(torch.tensor(x), lengths, enforce_sorted=enforced)
    for mine, reference in zip(a, b, strict=True):
        assert (mine is None) == (reference is None)
        if mine is not None:
            np.testing.assert_allclose(mine.numpy(), reference.numpy())
    (found, state), (wanted, expected) = ours(a), theirs(b)
    for options in ({}, {"batch_first": True, "padding_value": -1.0, "total_length": 7}):
        mine = one.pad_packed_sequence(found, **options)
        reference = two.pad_packed_sequence(wanted, **options)
        for u, v in zip(mine, reference, strict=True):
            np.testing.assert_allclose(u.detach().numpy(), v.detach().numpy(), 1e-9, 1e-11)
    same([found.data, state], [wanted.data, expected], ours, theirs)


def test_sequences_of_different_lengths():
    parts = [RNG.standard_normal((n, 2)) for n in (3, 1, 4)]
    one, two = nn.utils.rnn, torch.nn.utils.rnn
    for options in ({}, {"batch_first": True, "padding_value": 9.0}, {"padding_side": "left"}):
        found = one.pad_sequence([sg.tensor(p) for p in parts], **options)
        wanted = two.pad_sequence([torch.tensor(p) for p in parts], **options)
        np.testing.assert_allclose(found.numpy(), wanted.numpy())
    packed = one.pack_sequence([sg.tensor(p) for p in parts], enforce_sorted=False)
    for part, back in zip(parts, one.unpack_sequence(packed), strict=True):
        np.testing.assert_allclose(back.numpy(), part)


def test_second_order_of_a_gru():
    ours, theirs = pair("GRU", 2, 3)
    x = RNG.standard_normal((3, 2, 2))
    a, b = sg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (first,) = sg.autograd.grad((ours(a)[0] ** 2).sum(), [a], create_graph=True)
    (second,) = torch.autograd.grad((theirs(b)[0] ** 2).sum(), [b], create_graph=True)
    same([first], [second], ours, theirs, [(a, b)])


def test_what_does_not_fit_is_refused():
    net = nn.GRU(3, 4)
    with pytest.raises(RuntimeError, match="Expected 3, got 2"):
        net(sg.randn(5, 2, 2))
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        net(sg.randn(5, 2, 3), sg.randn(1, 3, 4))
    with pytest.raises(ValueError, match="2D or 3D"):
        net(sg.randn(3))
    with pytest.raises(ValueError, match="only supported for LSTM"):
        nn.GRU(3, 4, proj_size=2)
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        nn.utils.rnn.pack_padded_sequence(sg.randn(5, 2, 3), [3, 5])


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_the_batch_may_be_a_letter(name):
    ours, _ = pair(name, 3, 4, 2, bidirectional=True)

    class Total(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ours

        def forward(self, x):
            return self.net(x)[0].sum()

    whole = Total()
    traced = sg.trace(whole, x=sg.spec("5,n,3", sg.float64))
    x = RNG.standard_normal((5, 2, 3))
    values = {k: p.detach().numpy() for k, p in whole.named_parameters()}
    with jax.enable_x64(True):
        found = float(traced.jax(values, x))
    assert found == pytest.approx(whole(sg.tensor(x)).item(), rel=1e-9)
