"""Convolutions, their adjoints and padding: PyTorch's values and gradients to second order."""

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad import nn
from symgrad.core.sizes import parse_size
from symgrad.nn import functional as F

torch = pytest.importorskip("torch")
from tests.against_torch import both, drawn  # noqa: E402 - needs torch

TF = torch.nn.functional
OPTIONS = {
    "plain": ({}, 1),
    "stride": ({"stride": 2, "padding": 1}, 1),
    "a stride that leaves a rest": ({"stride": 3}, 1),
    "dilation": ({"dilation": 2, "padding": 2}, 1),
    "groups": ({"groups": 2, "stride": 2, "padding": 1}, 2),
    "same": ({"padding": "same", "dilation": 2}, 1),
    "valid": ({"padding": "valid"}, 1),
    "wide padding": ({"padding": 4}, 1),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions(name, rank):
    options, groups = OPTIONS[name]
    sizes, taps = (8, 7, 6)[:rank], (3, 2, 3)[:rank]
    arrays = [drawn(2, 4, *sizes), drawn(6, 4 // groups, *taps), drawn(6)]
    ours, theirs = getattr(F, f"conv{rank}d"), getattr(TF, f"conv{rank}d")
    both(lambda *t: ours(*t, **options), lambda *t: theirs(*t, **options), arrays)


TRANSPOSED = {
    "plain": ({}, 1),
    "stride": ({"stride": 2, "padding": 1, "output_padding": 1}, 1),
    "dilation": ({"dilation": 2}, 1),
    "groups": ({"groups": 2, "stride": 3}, 2),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(name, rank):
    options, groups = TRANSPOSED[name]
    sizes, taps = (4, 3, 3)[:rank], (3, 2, 3)[:rank]
    arrays = [drawn(2, 4, *sizes), drawn(4, 6 // groups, *taps), drawn(6)]
    ours, theirs = getattr(F, f"conv_transpose{rank}d"), getattr(TF, f"conv_transpose{rank}d")
    both(lambda *t: ours(*t, **options), lambda *t: theirs(*t, **options), arrays)


def test_one_image_without_a_batch_axis():
    both(F.conv2d, TF.conv2d, [drawn(3, 5, 5), drawn(2, 3, 3, 3), drawn(2)])
    both(F.conv_transpose1d, TF.conv_transpose1d, [drawn(3, 5), drawn(3, 2, 3)])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("widths", [(2, 1, 0, 0), (1, 0, 2, 3), (0, 2, 1, 1), (-1, 2, 1, -1)])
def test_padding_modes(mode, widths):
    if mode == "replicate" and min(widths) < 0 and len(widths) == 4:
        widths = (1, 2, 1, 0)  # PyTorch's replicate refuses to cut here
    both(lambda x: F.pad(x, widths, mode), lambda x: TF.pad(x, widths, mode), [drawn(2, 3, 5, 6)])


PAIRS = [
    ("Conv1d", (4, 6, 3), {"padding": 1}, (2, 4, 7)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": 2, "groups": 2, "bias": False}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, 3), {"padding": 2, "padding_mode": "reflect"}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, 3), {"padding": "same", "padding_mode": "circular"}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, 3), {"padding": 1, "padding_mode": "replicate"}, (2, 4, 7, 6)),
    ("Conv3d", (2, 3, 2), {"dilation": 2}, (1, 2, 4, 5, 4)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2}, (2, 4, 7)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "output_padding": 1, "padding": 1}, (2, 4, 3, 3)),
    ("ConvTranspose3d", (2, 4, 2), {"groups": 2}, (1, 2, 3, 3, 3)),
]


@pytest.mark.parametrize(("name", "args", "options", "shape"), PAIRS)
def test_layers(name, args, options, shape):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **options)
    ours = getattr(nn, name)(*args, **options)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: sg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x = drawn(*shape).astype(np.float32)
    given, reference = sg.tensor(x), torch.tensor(x)
    value, expected = ours(given), theirs(reference)
    np.testing.assert_allclose(value.detach().numpy(), expected.detach().numpy(), 1e-5, 1e-5)
    (value**2).sum().backward()
    (expected**2).sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-4, 1e-3)


def test_a_layer_begins_within_pytorchs_bounds():
    layer = nn.Conv2d(8, 64, 3)
    bound = 1 / np.sqrt(8 * 9)
    for p in layer.parameters():
        values = p.detach().numpy()
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.9 * bound
        assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.3)


def test_output_size_of_a_transposed_layer():
    layer = nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1)
    assert layer(sg.randn(1, 2, 4, 4), output_size=(8, 7)).shape == (1, 2, 8, 7)
    with pytest.raises(ValueError, match="valid sizes"):
        layer(sg.randn(1, 2, 4, 4), output_size=(9, 7))


def test_what_does_not_fit_is_refused():
    image = sg.randn(1, 3, 5, 5)
    with pytest.raises(RuntimeError, match="to have 4 channels, but got 3"):
        F.conv2d(image, sg.randn(2, 4, 3, 3))
    with pytest.raises(RuntimeError, match="can't be greater than actual input size"):
        F.conv2d(image, sg.randn(2, 3, 7, 3))
    with pytest.raises(RuntimeError, match="Expected 3D"):
        F.conv2d(sg.randn(5, 5), sg.randn(2, 3, 3, 3))
    with pytest.raises(RuntimeError, match="same"):
        F.conv2d(image, sg.randn(2, 3, 3, 3), padding="same", stride=2)
    with pytest.raises(ValueError, match="divisible by groups"):
        nn.Conv2d(3, 4, 3, groups=2)


def test_sizes_may_be_letters():
    x, w = sg.symbols("x:n,3,h,v  w:4,3,3,3")
    same = F.conv2d(x, w, padding=1)
    assert [str(s) for s in same.shape] == ["n", "4", "h", "v"]
    step = sg.compile([same, *sg.grad((same**2).sum(), [x, w])])
    one, two = drawn(2, 3, 6, 5).astype(np.float32), drawn(4, 3, 3, 3).astype(np.float32)
    found = step(one, two)
    a, b = (torch.tensor(v, requires_grad=True) for v in (one, two))
    expected = TF.conv2d(a, b, padding=1)
    slopes = torch.autograd.grad((expected**2).sum(), [a, b])
    for mine, theirs in zip(found, [expected, *slopes], strict=True):
        np.testing.assert_allclose(np.asarray(mine), theirs.detach().numpy(), 1e-3, 1e-3)
    assert "jax.lax.conv_general_dilated" in step.source
    assert F.conv2d(x, w).shape[-1] == parse_size("v-2")
    assert F.conv2d(x, w, stride=2).shape[-1] == parse_size("⌊(v-3)/2⌋ + 1")


def test_the_formula_names_the_convolution():
    x, w = sg.symbols("x:n,3,8,8  w:4,3,3,3")
    assert "w[l,j,k,a] x[i,j,r + k,t + a]" in str(F.conv2d(x, w).sum().formula())


def test_an_axis_of_size_one_moves_like_any_other():
    """The batch of one-channel images stands where channels stand in the gradient of the filters."""
    both(F.conv2d, TF.conv2d, [drawn(3, 1, 5, 5), drawn(2, 1, 3, 3)])
    x = sg.symbol("x", (5, 1, 3))
    found = sg.compile([sg.softmax(x.transpose(0, 1), 0), sg.softmax(x.permute(1, 2, 0).tanh(), 0)])
    one = drawn(5, 1, 3).astype(np.float32)
    for made in found(one):
        np.testing.assert_allclose(np.asarray(made), 1.0)
    assert [np.asarray(m).shape for m in found(one)] == [(1, 5, 3), (1, 3, 5)]


def test_a_traced_network_of_convolutions_runs_and_every_line_has_a_formula():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, y):
            return F.cross_entropy(self.net(x), y)

    whole = Loss()
    traced = sg.trace(whole, x="n,1,8,8", y=sg.spec("n", sg.int64))
    x, y = drawn(5, 1, 8, 8).astype(np.float32), np.arange(5) % 3
    values = {k: p.detach().numpy() for k, p in whole.named_parameters()}
    found = jax.grad(traced.jax)(values, x, y)
    whole(sg.tensor(x), sg.tensor(y)).backward()
    for name, p in whole.named_parameters():
        np.testing.assert_allclose(np.asarray(found[name]), p.grad.numpy(), 1e-4, 1e-5)
    assert "maxpool(" in traced.derive().unicode
