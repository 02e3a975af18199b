"""Every function with a trailing underscore against PyTorch's: values, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.tensors.surface import ALIASES, COMPARISONS, IN_PLACE

torch = pytest.importorskip("torch")

NAMES = sorted({*IN_PLACE, *(alias for alias, name in ALIASES.items() if name in IN_PLACE)})
WHOLE = {n for n in NAMES if n.startswith("bitwise") or n in ("gcd", "lcm")}
FLOATS = np.array([[0.25, -0.5, 0.75], [0.5, 0.125, -0.25]])


def arguments(name, t, a):
    """What stands after the tensor in a call of this name."""
    row = t.tensor(FLOATS[0].copy())
    at = t.tensor([[0, 1, 0], [1, 0, 1]])
    ints = t.tensor([[1, 2, 3], [2, 1, 4]])
    two = t.tensor(FLOATS[::-1].copy())
    given = {
        "cumsum": (1,), "cumprod": (1,), "clamp": (-0.3, 0.3), "clip": (-0.3, 0.3),
        "clamp_min": (0.1,), "clamp_max": (0.1,), "masked_fill": (two > 0, 3.0),
        "masked_scatter": (two > 0, two * 2), "lerp": (two, 0.5),
        "addcmul": (two, two), "addcdiv": (two, two), "scatter": (0, at, two),
        "scatter_add": (0, at, two), "index_add": (0, t.tensor([1, 0]), two), "logit": (0.2,),
        "index_fill": (1, t.tensor([0, 2]), 5.0), "addmm": (two, t.ones(3, 3, dtype=t.float64)),
        "addmv": (two, row), "addr": (t.ones(2, dtype=t.float64), row), "float_power": (2,),
        "addbmm": (two[None], t.ones(1, 3, 3, dtype=t.float64)),
        "baddbmm": (two[None], t.ones(1, 3, 3, dtype=t.float64)),
    }  # fmt: skip
    if name in given:
        return given[name]
    binary = {"add", "sub", "mul", "div", "pow", "floor_divide", "remainder", "fmod", "atan2", "gt",
              "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or", "logical_xor", "hypot",
              "heaviside", "xlogy", "ldexp", "copysign"}  # fmt: skip
    if ALIASES.get(name, name) in binary:
        return (two,)
    return (ints,) if name in WHOLE and name != "bitwise_not" else ()


def outcome(name, t):
    """The value in place; its gradient, or an error."""
    if name in WHOLE:
        y = t.tensor([[6, 4, 3], [2, 1, 8]])
        return [getattr(y, f"{name}_")(*arguments(name, t, y)).numpy(), None]
    x = t.tensor(FLOATS + (1.5 if name in ("acosh", "arccosh") else 0))
    x.requires_grad_()
    y = x * 1
    if name == "baddbmm":
        y = y[None]
    if name == "addmv":
        y = y[:, 0] * 1
    assert getattr(y, f"{name}_")(*arguments(name, t, y)) is y
    try:
        y.sum().backward()
    except RuntimeError:
        return [y.detach().numpy(), RuntimeError]
    gradient = None if x.grad is None else x.grad.numpy(force=True)
    return [y.detach().numpy(), gradient]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_as_there(name):
    there, here = outcome(name, torch), outcome(name, sg)
    np.testing.assert_allclose(there[0], here[0], 1e-9, 1e-12)
    assert there[0].dtype == here[0].dtype
    truth = ALIASES.get(name, name) in COMPARISONS or name.startswith("logical")
    if isinstance(there[1], np.ndarray) and not truth:  # a truth value has no gradient
        np.testing.assert_allclose(there[1], here[1], 1e-9, 1e-12)


@pytest.mark.parametrize("t", [torch, sg])
def test_the_other_operand_of_a_product_is_saved(t):
    x, w = (t.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    y = x * 1
    y.mul_(w)
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 2.0]
    y = x * 1
    y.mul_(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


FILLS = {
    "a number": lambda t, y: y.fill_(3.0),
    "zero": lambda t, y: y.zero_(),
    "a tensor": lambda t, y: y.fill_(t.tensor(2.0)),
    "a part": lambda t, y: y[0:2].fill_(7.0),
    "all through a view": lambda t, y: y.view(-1).fill_(7.0),
    "zero through a view": lambda t, y: y.view(3, 1).zero_(),
    "a copy": lambda t, y: y.copy_(t.zeros(3)),
    "a copy of one": lambda t, y: y.copy_(t.tensor([4.0])),
}


@pytest.mark.parametrize("name", FILLS)
def test_what_is_overwritten_is_tracked_still(name):
    found = []
    for t in (torch, sg):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = x * 2
        FILLS[name](t, y)
        (y * y).sum().backward()
        found.append((y.tolist(), y.requires_grad, x.grad.tolist()))
        if "view" not in name and name != "a part":
            found[-1] += (y.grad_fn.name().split("::")[-1],)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", FILLS)
def test_a_saved_value_is_not_overwritten(name):
    for t in (torch, sg):
        y = t.tensor([1.0, 2.0, 3.0], requires_grad=True) * 2
        z = y * y
        FILLS[name](t, y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()


def test_a_leaf_is_not_overwritten():
    for fill in FILLS.values():
        with pytest.raises(RuntimeError, match="leaf"):
            fill(sg, sg.ones(3, requires_grad=True))
    with sg.no_grad():
        assert sg.ones(3, requires_grad=True).fill_(2.0).is_leaf


def test_counts_are_not_tracked():
    assert not sg.histc(sg.ones(3, requires_grad=True) * 2, 4).requires_grad
