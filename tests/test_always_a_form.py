"""`sg.derive` of any network has a form for every line, and every form says what the line is.

Each printed line is read twice, by the independent reader and by the library's parser, and compared
with the value of the expression behind it; whether that expression is the derivative is asked
elsewhere (`test_func.py`, `test_recurrent.py`, `test_convolution.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import nn
from symgrad.core.expr import Expr, name_of
from symgrad.derivation.ascii import to_ascii
from symgrad.evaluate import evaluate
from tests.notation import evaluate_block, read_block
from tests.notation.library import parsed_block

SIZES = {"n": 2, "d": 3, "c": 4, "f": 1, "b": 6, "k": 5}


def convolutions() -> tuple[Any, Any]:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )
    x, y = sg.symbol("x", "n,1,4,4"), sg.symbol("y", "n", sg.int64)
    return F.cross_entropy(net(x), y), net


def convolution_layer(stride: int, padding: int) -> Any:
    x, w, bias = sg.symbol("X", "n,c,4,3"), sg.symbol("W", "f,c,2,2"), sg.symbol("β", "f")
    return F.conv2d(x, w, bias, stride=stride, padding=padding)


def unrolled(kind: Callable[..., Any]) -> tuple[Any, Any]:
    net = kind(3, 2, batch_first=True)
    return (net(sg.symbol("x", "n,3,3"))[0] ** 2).sum(), net


def embedding() -> tuple[Any, Any]:
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    return (net(sg.symbol("t", "n,3", sg.int64)) ** 2).sum(), net


def sums_along() -> Any:
    x = sg.symbol("x", "n,d")
    return (sg.cumsum(x * x, 0) * sg.flip(x, [1])).sum()


def joined() -> Any:
    x, y = sg.symbols("x:n,3  y:n,2")
    return (sg.cat([x * x, y], 1)[:, 1:4] ** 2).sum()


def upsampled() -> tuple[Any, Any]:
    net = nn.Conv2d(1, 1, 2)
    x = sg.symbol("x", "n,1,3,3")
    return (F.avg_pool2d(F.interpolate(net(x), scale_factor=2), 2) ** 2).sum(), net


def batched() -> Any:
    x, w = sg.symbols("x:b,n,d  w:d,k")
    return sg.tanh(x @ w).sum()


def triangular() -> Any:
    x = sg.symbol("x", "d,d")
    return (sg.tril(x) @ x).sum()


def looked_up() -> Any:
    x, y = sg.symbol("x", "n,4"), sg.symbol("y", "n,2", sg.int64)
    return (sg.gather(x, 1, y) ** 2).sum() + (x[:, 1] * x[:, 3]).sum()


NETS: dict[str, Callable[[], Any]] = {
    "convolutions": convolutions,
    "convolution layer": lambda: convolution_layer(1, 0),
    "convolution with strides": lambda: convolution_layer(2, 1),
    "RNN": lambda: unrolled(nn.RNN),
    "LSTM": lambda: unrolled(nn.LSTM),
    "GRU": lambda: unrolled(nn.GRU),
    "embedding": embedding,
    "sums along": sums_along,
    "joined": joined,
    "upsampled": upsampled,
    "batched": batched,
    "triangular": triangular,
    "looked up": looked_up,
}


def values_of(derivation: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random inputs and the value of every line, by the expressions behind the lines."""
    rng = np.random.default_rng(5)
    feeds: dict[Expr, np.ndarray] = {}
    given = [d for d in derivation.source.definitions if d.kind == "given"]
    for leaf in [*derivation.inputs, *(d.symbol for d in given)]:
        shape = [s if isinstance(s, int) else s.value(SIZES) for s in leaf.shape]
        whole = leaf.dtype.kind in "iu"
        feeds[leaf] = rng.integers(0, 4, shape) if whole else rng.normal(size=shape)
    inputs = {name_of(leaf): value for leaf, value in feeds.items()}
    found: dict[str, np.ndarray] = {}
    shown = {x.definition.symbol for x in derivation.lines}
    lines = [x.definition for x in derivation.lines if x.definition.expr.op.name == "onehot"]
    lines += [x for x in derivation.source.definitions if x.kind != "given"]
    for d in [*lines, *(made for _, made in derivation.source.asides)]:
        feeds[d.symbol] = value = evaluate([d.expr], feeds, SIZES)[0]
        if d.symbol in shown:
            found[name_of(d.symbol)] = value
    return inputs, found


@pytest.mark.parametrize("spelling", ["unicode", "ascii"])
@pytest.mark.parametrize("which", NETS)
def test_every_line_says_what_it_is(which: str, spelling: str) -> None:
    made = NETS[which]()
    derivation = sg.derive(made[0] if isinstance(made, tuple) else made)
    inputs, expected = values_of(derivation)
    spelled = to_ascii if spelling == "ascii" else str
    block = read_block(getattr(derivation, spelling))
    given = {spelled(name): value for name, value in inputs.items()}
    for found in (evaluate_block(block, given, SIZES), parsed_block(block, given, SIZES)):
        assert set(found) == set(map(spelled, expected))
        for name, value in expected.items():
            line = found[spelled(name)]
            assert line.shape == value.shape, name
            np.testing.assert_allclose(line, value, rtol=2e-5, atol=2e-5, err_msg=name)
