"""Pooling, windows as columns and other sizes of images: PyTorch's values and gradients."""

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn
from symgrad.core.sizes import letter
from symgrad.nn import functional as F

torch = pytest.importorskip("torch")
from tests.against_torch import both, drawn  # noqa: E402 - needs torch

TF = torch.nn.functional
SIGNAL, IMAGE, VOLUME = drawn(2, 3, 9), drawn(2, 3, 8, 7), drawn(1, 2, 6, 5, 7)
DATA = {1: SIGNAL, 2: IMAGE, 3: VOLUME}

MAX = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "stride": 1, "dilation": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]


@pytest.mark.parametrize("options", MAX)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pooling(rank, options):
    ours, theirs = getattr(F, f"max_pool{rank}d"), getattr(TF, f"max_pool{rank}d")
    both(lambda x: ours(x, **options), lambda x: theirs(x, **options), [DATA[rank]])
    ties = np.random.default_rng(0).integers(0, 2, DATA[rank].shape).astype(float)
    both(lambda x: ours(x, **options), lambda x: theirs(x, **options), [ties])
    _, found = ours(sg.tensor(ties), return_indices=True, **options)
    _, wanted = theirs(torch.tensor(ties), return_indices=True, **options)
    assert (found.numpy() == wanted.numpy()).all()


def test_unpooling():
    value, places = F.max_pool2d(sg.tensor(IMAGE), 2, return_indices=True)
    first, second = TF.max_pool2d(torch.tensor(IMAGE), 2, return_indices=True)
    found = F.max_unpool2d(value, places, 2, output_size=IMAGE.shape)
    wanted = TF.max_unpool2d(first, second, 2, output_size=IMAGE.shape)
    np.testing.assert_allclose(found.numpy(), wanted.numpy())


AVERAGE = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True, "count_include_pad": False},
]


@pytest.mark.parametrize("options", AVERAGE)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_pooling(rank, options):
    ours, theirs = getattr(F, f"avg_pool{rank}d"), getattr(TF, f"avg_pool{rank}d")
    both(lambda x: ours(x, **options), lambda x: theirs(x, **options), [DATA[rank]])


def test_a_divisor_of_ones_own():
    options = {"kernel_size": 2, "divisor_override": 3}
    both(lambda x: F.avg_pool2d(x, **options), lambda x: TF.avg_pool2d(x, **options), [IMAGE])


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("wanted", [1, 2, 3, 5, (4, 7), (None, 3)])
def test_adaptive_pooling(kind, wanted):
    ours, theirs = (getattr(f, f"adaptive_{kind}_pool2d") for f in (F, TF))
    both(lambda x: ours(x, wanted), lambda x: theirs(x, wanted), [IMAGE])
    if kind == "max":
        found = ours(sg.tensor(IMAGE), wanted, return_indices=True)[1]
        expected = theirs(torch.tensor(IMAGE), wanted, return_indices=True)[1]
        assert (found.numpy() == expected.numpy()).all()


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pooling_of_signals_and_volumes(kind, rank):
    ours, theirs = (getattr(f, f"adaptive_{kind}_pool{rank}d") for f in (F, TF))
    both(lambda x: ours(x, 4), lambda x: theirs(x, 4), [DATA[rank]])


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2}])
def test_power_pooling(options):
    positive = np.abs(IMAGE) + 0.1
    both(
        lambda x: F.lp_pool2d(x, 3, **options), lambda x: TF.lp_pool2d(x, 3, **options), [positive]
    )
    both(lambda x: F.lp_pool1d(x, 2.0, 3), lambda x: TF.lp_pool1d(x, 2.0, 3), [np.abs(SIGNAL) + 1])


COLUMNS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": 2, "padding": 1},
    {"kernel_size": 2, "dilation": (2, 3)},
]


@pytest.mark.parametrize("options", COLUMNS)
def test_windows_as_columns_and_back(options):
    both(lambda x: F.unfold(x, **options), lambda x: TF.unfold(x, **options), [IMAGE])
    columns = TF.unfold(torch.tensor(IMAGE), **options).numpy()
    both(lambda x: F.fold(x, (8, 7), **options), lambda x: TF.fold(x, (8, 7), **options), [columns])


@pytest.mark.parametrize("given", [(0, 2, 1), (1, 3, 2), (-1, 4, 3)])
def test_windows_along_one_axis(given):
    both(lambda x: x.unfold(*given), lambda x: x.unfold(*given), [drawn(5, 6, 7)])


SIZES = [
    *[({"scale_factor": 2, "mode": m}, 2) for m in ("nearest", "nearest-exact", "bilinear", "bicubic")],
    *[({"size": (5, 10), "mode": m}, 2) for m in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")],
    ({"size": (5, 10), "mode": "bilinear", "align_corners": True}, 2),
    ({"size": (1, 3), "mode": "bicubic", "align_corners": True}, 2),
    ({"scale_factor": 1.7, "mode": "nearest"}, 2),
    ({"scale_factor": (0.6, 1.3), "mode": "bilinear"}, 2),
    ({"scale_factor": 0.7, "mode": "bilinear", "recompute_scale_factor": True}, 2),
    ({"size": 13, "mode": "linear"}, 1),
    ({"size": (4, 6, 5), "mode": "trilinear", "align_corners": True}, 3),
    ({"scale_factor": 2}, 3),
]  # fmt: skip


@pytest.mark.parametrize(("options", "rank"), SIZES)
def test_other_sizes(options, rank):
    # PyTorch keeps the scale of float64 images in float64, too
    both(
        lambda x: F.interpolate(x, **options), lambda x: TF.interpolate(x, **options), [DATA[rank]]
    )


def test_channels_for_pixels():
    x = drawn(2, 8, 3, 5)
    both(lambda x: F.pixel_shuffle(x, 2), lambda x: TF.pixel_shuffle(x, 2), [x])
    y = drawn(2, 3, 4, 6)
    both(lambda x: F.pixel_unshuffle(x, 2), lambda x: TF.pixel_unshuffle(x, 2), [y])
    both(lambda x: F.channel_shuffle(x, 4), lambda x: TF.channel_shuffle(x, 4), [x])


def test_normalisation_over_neighbours_and_samples():
    options = {"alpha": 0.5, "beta": 0.75, "k": 2.0}
    x = drawn(2, 7, 4, 3)
    for size in (3, 4):
        both(
            lambda x, size=size: F.local_response_norm(x, size, **options),
            lambda x, size=size: TF.local_response_norm(x, size, **options),
            [x],
        )
    both(
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        lambda x, w, b: TF.instance_norm(x, weight=w, bias=b),
        [x, drawn(7), drawn(7)], 1e-8,
    )  # fmt: skip


LAYERS = [
    ("MaxPool1d", (3, 2), {}, 1), ("MaxPool2d", (2,), {}, 2), ("MaxPool3d", (2,), {}, 3),
    ("AvgPool1d", (3,), {}, 1), ("AvgPool2d", ((2, 3),), {}, 2), ("AvgPool3d", (2,), {}, 3),
    ("AdaptiveAvgPool1d", (4,), {}, 1), ("AdaptiveAvgPool2d", ((2, 3),), {}, 2),
    ("AdaptiveMaxPool2d", (3,), {}, 2), ("LPPool2d", (2, 2), {}, 2), ("Unfold", (2,), {}, 2),
    ("ZeroPad1d", (1,), {}, 1), ("ZeroPad2d", ((1, 0, 2, 1),), {}, 2), ("ZeroPad3d", (1,), {}, 3),
    ("ConstantPad1d", (2, 0.5), {}, 1), ("ReflectionPad1d", (2,), {}, 1),
    ("ReflectionPad2d", (1,), {}, 2), ("ReplicationPad2d", ((1, 2, 0, 1),), {}, 2),
    ("ReplicationPad3d", (1,), {}, 3), ("CircularPad2d", (2,), {}, 2),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, 2), ("Upsample", ((5, 6),), {}, 2),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, 2), ("PixelUnshuffle", (1,), {}, 2),
    ("UpsamplingNearest2d", (), {"size": 5}, 2), ("PixelShuffle", (1,), {}, 2),
    ("ChannelShuffle", (3,), {}, 2), ("LocalResponseNorm", (2,), {}, 2),
    ("InstanceNorm1d", (3,), {}, 1), ("InstanceNorm2d", (3,), {"affine": True}, 2),
    ("InstanceNorm2d", (3,), {"track_running_stats": True}, 2), ("InstanceNorm3d", (2,), {}, 3),
    ("Fold", ((4, 4), 2), {}, 0), ("Dropout1d", (0.0,), {}, 1), ("Dropout3d", (0.0,), {}, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options", "rank"), LAYERS)
def test_layers(name, args, options, rank):
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs)
    x = (DATA[rank] if rank else drawn(2, 8, 9)).astype(np.float32)
    for _ in range(2):
        found, wanted = ours(sg.tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), 1e-5, 1e-5)
        ours.eval(), theirs.eval()


def test_whole_channels_are_dropped():
    sg.manual_seed(0)
    kept = nn.Dropout1d(0.5)(sg.ones(20, 30, 4)).numpy()
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert (kept == kept[:, :, :1]).all()


def test_what_does_not_fit_is_refused():
    image = sg.randn(1, 3, 4, 4)
    with pytest.raises(RuntimeError, match="at most half"):
        F.max_pool2d(image, 2, padding=2)
    with pytest.raises(RuntimeError, match="too small"):
        F.avg_pool2d(image, 5)
    with pytest.raises(ValueError, match="only one of size or scale_factor"):
        F.interpolate(image)
    with pytest.raises(NotImplementedError, match="antialias"):
        F.interpolate(image, 2, mode="bilinear", antialias=True)
    with pytest.raises(RuntimeError, match="divisible by the square"):
        F.pixel_shuffle(image, 2)


@pytest.mark.parametrize("options", [{}, {"padding": 1}])
def test_means_of_whole_numbers_are_cut_towards_zero(options):
    data = np.random.default_rng(0).integers(-99, 99, (1, 2, 14))
    data[0, 0] = 1  # 7 of 7 is one, not a little less
    for _ in range(2):
        ours = sg.nn.functional.avg_pool1d(sg.tensor(data), 7, **options)
        theirs = torch.nn.functional.avg_pool1d(torch.tensor(data), 7, **options)
        assert ours.tolist() == theirs.tolist()
    data = np.full((1, 7, 7), 49)
    assert sg.nn.functional.avg_pool2d(sg.tensor(data), 7).tolist() == [[[49]]]


def test_windows_and_sizes_may_be_letters() -> None:
    x = sg.symbol("x", "n,c,h")
    mean = F.avg_pool1d(x, letter("a"), letter("s"), letter("q"))
    assert str(mean.shape[-1]) == "⌊(h+2*q-a)/s⌋+1"
    lines = sg.derive(sg.name(mean, "y"), x).unicode.split("\n")
    assert lines[-2:] == [
        "y[i,j,u] = (1/a) Σᵣ x[i,j,s u + r − q]",
        "∂L/∂x[i,j,p] = (1/a) Σᵤ Σᵣ δy[i,j,u] 1[p = s u + r − q]",
    ]
    strided = F.avg_pool1d(x, 3, 2, 1)
    run = sg.compile([strided, sg.grad((strided**2).sum(), x)])
    for h in (4, 5, 8):
        one = np.random.default_rng(h).normal(size=(2, 3, h)).astype(np.float32)
        a = torch.tensor(one, requires_grad=True)
        expected = TF.avg_pool1d(a, 3, 2, 1)
        (slope,) = torch.autograd.grad((expected**2).sum(), a)
        for mine, theirs in zip(run(one), (expected, slope), strict=True):
            np.testing.assert_allclose(np.asarray(mine), theirs.detach().numpy(), 1e-5, 1e-5)
