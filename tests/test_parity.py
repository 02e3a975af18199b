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
