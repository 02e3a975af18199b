"""The public functions against PyTorch's: a bounded part of ``python -m tests.parity``."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")
driver = pytest.importorskip("tests.parity.driver")

CLOSED = [t for t in driver.targets() if t.title not in driver.open_titles()]
WANTED = (torch.float64, torch.int64)


@pytest.mark.parametrize("target", CLOSED, ids=lambda t: t.title)
def test_equal(target):
    found = driver.check(target, 2 if target.tier == "A" else 1, WANTED)
    assert not found.missing
    assert not found.wrong


NARROW = (torch.float16, torch.bfloat16, torch.int32, torch.uint8, torch.bool)
DIFFERENT = {
    "einsum": "of one operand PyTorch sums whole numbers in int64, of two in their own dtype",
    "nn.functional.interpolate|bilinear": "PyTorch's bytes come of weights of 16 bits, ±1",
    "nn.functional.batch_norm": "a gradient that is zero but for rounding, less of it here",
    "nn.functional.normalize": "a gradient that overflows float16 in PyTorch",
    "nn.functional.instance_norm": "a gradient that is a difference, off by as much in PyTorch",
    "linalg.vector_norm": "a gradient that is wrong in PyTorch's float16",
    "nn.functional.layer_norm": "zero but for rounding: 1e-7 here, 2e-4 in PyTorch's float16",
    "sort": "the gradient of entries that are equal in float16",
    "topk": "the gradient of entries that are equal in bfloat16",
    "meshgrid|variadic_tensors": "a gradient that is a difference of large float16 numbers",
}
"""Functions that differ from PyTorch in a narrow dtype → why."""


@pytest.mark.parametrize(
    "target",
    [t for t in CLOSED if t.tier == "A" and t.title not in DIFFERENT],
    ids=lambda t: t.title,
)
def test_narrow_dtypes(target):
    assert not driver.check(target, 2, NARROW).wrong


BIG = {
    "mean": lambda t, x: x.abs().mean(1),
    "std": lambda t, x: x.std(1),
    "norm": lambda t, x: x.norm(dim=1),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, (1000,)),
    "rms_norm": lambda t, x: t.nn.functional.rms_norm(x, (1000,)),
    "group_norm": lambda t, x: t.nn.functional.group_norm(x.reshape(1, 4, 1000), 2),
    "batch_norm": lambda t, x: t.nn.functional.batch_norm(x, None, None, training=True),
    "normalize": lambda t, x: t.nn.functional.normalize(x),
    "softmax": lambda t, x: t.softmax(x / 300, 1),
    "cumsum": lambda t, x: (x / 30).cumsum(1),
    "cosine_similarity": lambda t, x: t.nn.functional.cosine_similarity(x, x + 1, 1),
    "addcmul": lambda t, x: t.addcmul(x, x / 100, x / 100, value=0.5),
    "cross_entropy": lambda t, x: t.nn.functional.cross_entropy(x / 300, t.zeros(4, dtype=t.int64)),
    "attention": lambda t, x: t.nn.functional.scaled_dot_product_attention(
        x[None] / 9, x[None] / 9, x[None]
    ),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("function", BIG.values(), ids=BIG)
def test_halves_are_computed_in_float32(function, dtype):
    """Squares and sums on the way are larger than float16 holds; the result is rounded once."""
    kind = getattr(torch, dtype)
    rows = torch.from_numpy(300 * np.random.default_rng(0).standard_normal((4, 1000))).to(kind)
    exact, theirs = (function(torch, x).double().numpy() for x in (rows.double(), rows))
    spacing = float(torch.finfo(kind).eps) * np.abs(exact).max()
    for _ in range(2):  # evaluated by NumPy, then compiled
        x = sg.tensor(rows.float().numpy()).to(getattr(sg, dtype))
        ours = function(sg, x).double().numpy()
        off = np.abs(ours - exact).max() / spacing
        assert off <= max(1.1, 2 * np.abs(theirs - exact).max() / spacing)


def test_a_difference_is_seen():
    """The comparison fails where a value, a dtype, a gradient or a shape is wrong."""
    target = next(t for t in driver.targets() if t.title == "sin")
    info = driver.info_of(target)
    sample = next(driver.samples(info, torch.float64, 1))
    for wrong in (
        sg.cos,
        lambda x: sg.sin(x).float(),
        lambda x: sg.sin(x.detach()),
        lambda x: sg.sin(x)[None],
        lambda x: sg.sin(x.detach()) + (x - x.detach()),
    ):
        assert driver.compare(info, wrong, sample, torch.float64, True) is not None
    assert driver.compare(info, sg.sin, sample, torch.float64, True) is None


def test_a_leaf_that_was_read_as_numpy_keeps_its_gradient():
    x = sg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    x.detach().numpy()
    (g,) = sg.autograd.grad((y * x).sum(), [x])
    np.testing.assert_allclose(g.numpy(), [3.0, 12.0])
