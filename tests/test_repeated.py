"""Repeated layers are stated once, and the statement says the right numbers for every layer.

A block with an index is unrolled as text (``N[l]`` becomes ``Nx1``, ``Nx2``, …) and read by the
independent reader.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import nn
from symgrad.core.expr import Expr, name_of
from symgrad.evaluate import evaluate
from tests.golden_cases import BLOCK
from tests.notation import evaluate_block, read_block


class Block(nn.Module):
    """A pre-norm transformer block with one head."""

    def __init__(self, d: int, p: int, h: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v = (nn.Linear(d, p, bias=False) for _ in range(3))
        self.o = nn.Linear(p, d, bias=False)
        self.up, self.down = nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x: Any) -> Any:
        n = self.ln1(x)
        x = x + self.o(F.scaled_dot_product_attention(self.q(n), self.k(n), self.v(n)))
        return x + self.down(F.relu(self.up(self.ln2(x))))


class Transformer(nn.Module):
    def __init__(self, layers: int, words: int = 7, d: int = 4, p: int = 3, h: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, d)
        self.blocks = nn.ModuleList([Block(d, p, h) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, words)

    def forward(self, t: Any) -> Any:
        x = self.embedding(t)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Stack(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(layers)])
        self.head = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = sg.tanh(layer(x))
        return self.head(x)


def transformer(layers: int) -> tuple[Any, Any]:
    net = Transformer(layers)
    t, y = sg.symbol("t", "n", sg.int64), sg.symbol("y", "n", sg.int64)
    return F.cross_entropy(net(t), y), net


def stack(layers: int) -> tuple[Any, Any]:
    net = Stack(layers)
    return (net(sg.symbol("x", "n,4")) ** 2).sum(), net


MAKERS = {"transformer": transformer, "stack": stack}


def unrolled(text: str) -> str:
    """The block with every layer written out."""
    stated = re.search(r" +l = 1…m, m = (\d+)", text)
    assert stated is not None
    count = int(stated[1])
    text = text.replace(stated[0], "")
    rows = [row for line in text.split("\n") for row in line.split(" ;   ")]
    names = set(re.findall(r"([^\s\[\](),]+)\[(?:l|m)(?: \+ 1)?[\],]", text))

    def at(row: str, k: int) -> str:
        def place(m: re.Match[str]) -> str:
            where = m[2].replace("m", str(count)).replace("l", str(k))
            number = sum(int(x) for x in where.split(" + "))
            return f"{m[1]}x{number}" + (f"[{m[3][1:]}]" if m[3] else "")

        return re.sub(r"([^\s\[\](),−]+)\[((?:l|m|1)(?: \+ 1)?)((?:,[^\]]*)?)\]",
                      lambda m: place(m) if m[1] in names else m[0], row)  # fmt: skip

    sizes = re.split(r"\s{2,}", rows[0])
    own = [entry for entry in sizes[1:] if "[l]" in entry]
    plain = [entry for entry in sizes[1:] if "[l]" not in entry]
    plain += [at(entry, k) for k in range(1, count + 1) for entry in own]
    header = ["sizes    " + "   ".join(plain), rows[1].rstrip()]
    forward: list[str] = []
    backward: list[str] = []
    done: list[str] = []
    for row in rows[2:]:
        if "[l" not in row:
            done += [at(r, k) for k in range(1, count + 1) for r in forward]
            done += [at(r, k) for k in range(count, 0, -1) for r in backward]
            forward, backward = [], []
            done.append(at(row, 0))
        elif row.startswith(("δ", "∂", "r[")):
            backward.append(row)
        else:
            forward.append(row)
    done += [at(r, k) for k in range(count, 0, -1) for r in backward]
    lines = [r for r in header if r.split()[1:]] + done
    return "\n".join(lines)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("which", MAKERS)
def test_the_layer_stated_once_is_every_layer(which: str, layers: int) -> None:
    loss, net = MAKERS[which](layers + 1 if which == "stack" else layers)
    text = sg.derive(loss).unicode
    assert f"m = {layers + 1 if which == 'stack' else layers}" in text
    wanted = list(net.parameters())
    gradients = [sg.grad(loss, p) for p in wanted]
    rng = np.random.default_rng(2)
    e = loss.expr()
    feeds: dict[Expr, np.ndarray] = {}
    for leaf in [x for x in leaves_of([e, *(g.expr() for g in gradients)]) if x not in feeds]:
        shape = [s if isinstance(s, int) else 6 for s in leaf.shape]
        whole = leaf.dtype.kind in "iu"
        feeds[leaf] = rng.integers(0, 3, shape) if whole else rng.normal(size=shape)
    by_name = {name_of(leaf): value for leaf, value in feeds.items()}
    block = read_block(unrolled(text))
    given = {name: by_name[spelled(name)] for name in block.sizes}
    found = evaluate_block(block, given, {"n": 6}, BLOCK_FUNCTIONS)
    values = evaluate([e, *(g.expr() for g in gradients)], feeds, {"n": 6})
    np.testing.assert_allclose(found["L"], values[0], rtol=1e-4)
    for p, value in zip(wanted, values[1:], strict=True):
        word = unspelled(name_of(p.expr()), block)
        np.testing.assert_allclose(found[f"∂L/∂{word}"], value, rtol=1e-3, atol=1e-4, err_msg=word)


def leaves_of(roots: list[Expr]) -> list[Expr]:
    stack, seen = list(roots), dict[Expr, None]()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            stack.extend(node.args)
    return [e for e in seen if e.op.name == "symbol"]


DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def spelled(name: str) -> str:
    """``Wqx2`` → ``Wq₂``, the name of that weight in the network."""
    m = re.fullmatch(r"(.+)x(\d+)", name)
    if m is None:
        return name
    return m[1] + ("_" if m[1][-1].isdigit() else "") + m[2].translate(DIGITS)


def unspelled(name: str, block: Any) -> str:
    return next(word for word in block.sizes if spelled(word) == name)


def norm(x: Any, *rest: Any) -> np.ndarray:
    *vectors, small = rest
    weight, bias = [*vectors, 1.0, 0.0][:2] if vectors else (1.0, 0.0)
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + small) * weight + bias


def norm_back(x: Any, weight: Any, small: Any, seed: Any) -> np.ndarray:
    given = BLOCK.functions()
    return given["LN′"](x, weight, small, seed)


BLOCK_FUNCTIONS = {"LN": norm, "LN′": norm_back}


def test_a_transformer_of_any_depth_is_one_text_of_at_most_45_lines() -> None:
    made = [transformer(layers) for layers in (2, 12, 48)]
    texts = [sg.derive(loss).unicode for loss, _ in made]
    assert len(texts[1].split("\n")) <= 45
    same = {re.sub(r"m = \d+", "m = …", text) for text in texts}
    assert len(same) == 1


def test_a_planted_error_in_the_layer_is_noticed() -> None:
    loss, net = stack(3)
    text = sg.derive(loss).unicode
    assert "δX[l]    = δZ[l] W[l]" in text
    block = read_block(unrolled(text.replace("δX[l]    = δZ[l] W[l]", "δX[l]    = 2 δZ[l] W[l]")))
    right = read_block(unrolled(text))
    rng = np.random.default_rng(3)
    shapes = {
        name: [6 if s == "n" else int(s) for s in shape] for name, shape in block.sizes.items()
    }
    given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    one, other = (evaluate_block(b, given, {"n": 6}) for b in (block, right))
    assert not np.allclose(one["∂L/∂Wx1"], other["∂L/∂Wx1"])
    np.testing.assert_allclose(one["∂L/∂Wx3"], other["∂L/∂Wx3"])
    del net


def test_layers_of_different_kinds_are_written_out() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    text = sg.derive((net(sg.symbol("x", "n,4")) ** 2).sum()).unicode
    assert "[l" not in text
    assert "∂L/∂W₃" in text
