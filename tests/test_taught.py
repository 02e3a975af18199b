"""Derivations of the modules that people have: every line against the values that `jax.grad` gives.

The reference is the program of the tensor as it was written, with loops unrolled, gates stacked and
heads reshaped; the block is text, read back and evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import nn
from symgrad.core.expr import name_of
from tests.notation.blocks import read_block
from tests.notation.library import parsed_block
from tests.notation.running import evaluate_block

SIZES = {"n": 3, "b": 2, "T": 4, "d": 5, "c": 3, "h": 2, "k": 4, "p": 3}
DOUBLE: dict[str, Any] = {"dtype": sg.float64}


def symbols(text: str) -> Any:
    return sg.symbols(text, sg.float64)


def labels(text: str) -> Any:
    return sg.symbols(text, sg.int64)


def lines(derivation: Any) -> list[str]:
    return [" ".join(row.split()) for row in derivation.unicode.split("\n")]


def numbers(shape: Any) -> list[int]:
    return [s if isinstance(s, int) else int(s.value(SIZES)) for s in shape]


def as_printed(derivation: Any, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of inputs, or gradients, by the names that they have in the block."""
    found = dict(values)
    shown = {name_of(x) for x in derivation.inputs}
    for name in [x for x in found if f"{x}₁" in shown]:  # a parameter called like a size
        found[f"{name}₁"] = found.pop(name)
    for leaf, (axis, parts) in derivation.source.parts.items():
        if name_of(leaf) in found:
            ends = np.cumsum([part_size(derivation, x, axis) for x in parts])[:-1]
            pieces = np.split(found.pop(name_of(leaf)), ends, axis)
            found.update((name_of(x), piece) for x, piece in zip(parts, pieces, strict=True))
    for leaf, stored in derivation.source.stored.items():
        flat = numbers([s for row in stored.axes for s in row])
        if name_of(leaf) in found:
            here = found[name_of(leaf)].reshape(flat)
            rest = [k for k in range(len(flat)) if k not in stored.order]  # of size 1
            shape = [flat[k] for k in stored.order]
            found[name_of(leaf)] = here.transpose([*stored.order, *rest]).reshape(shape)
    return found


def part_size(derivation: Any, part: Any, axis: int) -> int:
    stored = derivation.source.stored.get(part)
    row = (part.shape[axis],) if stored is None else stored.axes[axis]
    return int(np.prod(numbers(row)))


def check(out: sg.Tensor, wrt: Any = None) -> list[str]:
    """The lines of the derivation, once all of them are right."""
    derivation = sg.derive(out, wrt)
    program = sg.compile([out])
    rng = np.random.default_rng(1)
    values: dict[str, np.ndarray] = {}
    for leaf in program.inputs:
        shape = numbers(leaf.shape)
        whole = leaf.dtype.kind in "iu"
        values[name_of(leaf)] = rng.integers(0, 3, shape) if whole else rng.normal(size=shape)
    seed = rng.normal(size=numbers(out.shape)) if out.shape else np.ones(())
    floats = {k: a for k, a in values.items() if a.dtype.kind == "f"}
    with jax.enable_x64(True):

        def loss(given: dict[str, Any]) -> Any:
            rest = {**values, **given}
            arrays = [jnp.asarray(rest[name_of(x)]) for x in program.inputs]
            return (jax.tree.leaves(program.executable.function(*arrays))[0] * seed).sum()

        value, grads = jax.value_and_grad(loss)({k: jnp.asarray(a) for k, a in floats.items()})
    expected = as_printed(derivation, {k: np.asarray(g) for k, g in grads.items()})
    given = as_printed(derivation, values)
    block = read_block(derivation.unicode)
    if out.shape:
        given[next(iter(block.adjoints))] = seed
    for found in (evaluate_block(block, given, SIZES), parsed_block(block, given, SIZES)):
        if not out.shape:
            np.testing.assert_allclose(found["L"], value, rtol=1e-10)
        seen = 0
        for name, line in found.items():
            if name.startswith("∂L/∂"):
                wanted = expected[name.removeprefix("∂L/∂")]
                scale = 1e-10 * max(1.0, float(abs(wanted).max()))
                np.testing.assert_allclose(line, wanted, rtol=1e-10, atol=scale, err_msg=name)
                seen += 1
        assert seen
    assert max((step.error for step in derivation.steps), default=0) < 1e-5
    return lines(derivation)


# ------------------------------------------------------------------------ heads


def heads(q: Any, k: Any, v: Any, h: int) -> Any:
    b, n, d = q.shape
    q, k, v = (x.reshape(b, n, h, d // h).transpose(1, 2) for x in (q, k, v))
    P = F.softmax(q @ k.transpose(-1, -2) / (d // h) ** 0.5, -1)
    return (P @ v).transpose(1, 2).reshape(b, n, d)


def attention_by_hand() -> list[str]:
    X, Wq, Wk, Wv, Wo = symbols("X:b,n,6 Wq:6,6 Wk:6,6 Wv:6,6 Wo:6,6")
    return check(heads(X @ Wq.T, X @ Wk.T, X @ Wv.T, 2) @ Wo.T)


def test_heads_are_an_index() -> None:
    found = attention_by_hand()
    assert found[-19:] == [
        "Q[i,a] = X[i] Wq[a]ᵀ",
        "K[i,a] = X[i] Wk[a]ᵀ",
        "S[i,a] = (1/√3) Q[i,a] K[i,a]ᵀ",
        "P = softmax(S)",
        "V[i,a] = X[i] Wv[a]ᵀ",
        "O[i,a] = P[i,a] V[i,a]",
        "Y[i] = Σₐ O[i,a] Wo[a]ᵀ",
        "∂L/∂Wo[a] = Σᵢ δY[i]ᵀ O[i,a]",
        "δO[i,a] = δY[i] Wo[a]",
        "δP[i,a] = δO[i,a] V[i,a]ᵀ",
        "r[i,a,j] = Σₗ δO[i,a,j,l] O[i,a,j,l]",
        "δS[i,a,j,k] = P[i,a,j,k] (δP[i,a,j,k] − r[i,a,j])",
        "δQ[i,a] = (1/√3) δS[i,a] K[i,a]",
        "∂L/∂Wq[a] = Σᵢ δQ[i,a]ᵀ X[i]",
        "δK[i,a] = (1/√3) δS[i,a]ᵀ Q[i,a]",
        "∂L/∂Wk[a] = Σᵢ δK[i,a]ᵀ X[i]",
        "δV[i,a] = P[i,a]ᵀ δO[i,a]",
        "∂L/∂Wv[a] = Σᵢ δV[i,a]ᵀ X[i]",
        "∂L/∂X[i] = Σₐ (δQ[i,a] Wq[a] + δK[i,a] Wk[a] + δV[i,a] Wv[a])",
    ]
    assert "layout Wq, Wk, Wv stored as (2·3)×6; Wo stored as 6×(2·3)" in found


def test_heads_of_the_module_have_weights_of_their_own() -> None:
    x = symbols("x:b,n,6")
    found = check(
        nn.MultiheadAttention(6, 2, batch_first=True, **DOUBLE)(x, x, x, need_weights=False)[0]
    )
    assert "Q[i,l] = x[i] Wq[l]ᵀ + bq[l]" in found
    assert not any("reshape" in row or "in_proj_weight[" in row for row in found)


def test_heads_of_letters() -> None:
    X, W, V, s = symbols("X:b,n,k  W:h*p,k  V:k,h*p  s:h,p")
    b, n, _ = X.shape
    h, p = s.shape
    split = sg.tanh((X @ W.T).reshape(b, n, h, p) + s)
    found = check((split.reshape(b, n, h * p) @ V.T).sum())
    assert not any("reshape" in row for row in found)


@pytest.mark.parametrize("first", [False, True])
def test_an_encoder_layer(first: bool) -> None:
    net = nn.TransformerEncoderLayer(
        6, 2, 8, dropout=0.0, batch_first=True, norm_first=first, **DOUBLE
    )
    derivation = sg.derive(net(symbols("x:b,n,6")))
    assert not any("reshape" in row for row in lines(derivation))
    assert len(lines(derivation)) < 50


# ------------------------------------------------------------------------ loops


def by_hand(steps: int, loss: Callable[..., Any]) -> list[str]:
    x, y, u, s, W, U = symbols(f"x:{steps},3 y:{steps},4 u:4 s:4 W:3,4 U:4,4")
    h, states = s, []
    for t in range(steps):
        h = sg.tanh(x[t] @ W + h @ U)
        states.append(h)
    return check(loss(states, y, u), [W, U, s])


LOSSES: dict[str, Callable[..., Any]] = {
    "added up": lambda hs, y, u: sum(((h - y[t]) ** 2).sum() / 2 for t, h in enumerate(hs)),
    "stacked": lambda hs, y, u: ((sg.stack(hs) - y) ** 2).sum() / 2,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("steps", [3, 6])
def test_a_loop_is_stated_once(loss: str, steps: int) -> None:
    found = by_hand(steps, LOSSES[loss])
    assert f"h[t] = tanh(Wᵀ x[t] + Uᵀ h[t−1]) for t = 1,…,{steps}" in found
    assert f"δ[t] = g[t] ⊙ (1 − h[t] ⊙ h[t]) for t = {steps},…,1" in found
    assert "∂L/∂W = Σₜ x[t] δ[t]ᵀ" in found
    assert "∂L/∂U = Σₜ h[t−1] δ[t]ᵀ" in found


def test_the_last_state_alone_starts_the_adjoint() -> None:
    found = by_hand(5, lambda hs, y, u: ((hs[-1] - u) ** 2).sum() / 2)
    assert any(row.startswith("g[t] = ") and "1[t = 5]" in row for row in found)


def test_two_steps_are_two_lines() -> None:
    assert not any(" for t = " in row for row in by_hand(2, LOSSES["added up"]))


def test_a_loop_over_a_cell() -> None:
    cell, (x, y) = nn.RNNCell(3, 4, **DOUBLE), symbols("x:5,n,3 y:n,4")
    h = sg.zeros(x.shape[1], 4, **DOUBLE)
    for t in range(5):
        h = cell(x[t], h)
    found = check(((h - y) ** 2).sum())
    assert "H[t] = tanh(x[t] Wxᵀ + H[t−1] Whᵀ + bx + bh) for t = 1,…,5" in found


# ------------------------------------------------------------------------ gates


def test_the_gates_of_an_lstm_have_names() -> None:
    x, y = symbols("x:T,3 y:T,4")
    found = check(((nn.LSTM(3, 4, **DOUBLE)(x)[0] - y) ** 2).sum() / 2)
    for row in (
        "i[t] = σ(Wxi x[t] + Whi h[t−1] + bxi + bhi) for t = 1,…,T",
        "f[t] = σ(Wxf x[t] + Whf h[t−1] + bxf + bhf) for t = 1,…,T",
        "g[t] = tanh(Wxg x[t] + Whg h[t−1] + bxg + bhg) for t = 1,…,T",
        "o[t] = σ(Wxo x[t] + Who h[t−1] + bxo + bho) for t = 1,…,T",
        "h[t] = o[t] ⊙ tanh(c[t]) for t = 1,…,T",
        "∂L/∂Wxi = Σₜ δi[t] x[t]ᵀ",
        "∂L/∂Who = Σₜ δo[t] h[t−1]ᵀ",
    ):
        assert row in found
    assert not any(" + 4]" in row or " + 8]" in row for row in found)


def test_the_gates_of_a_gru_have_names() -> None:
    x, y = symbols("x:T,3 y:T,4")
    found = check(((nn.GRU(3, 4, **DOUBLE)(x)[0] - y) ** 2).sum() / 2)
    assert "n[t] = tanh(Wxn x[t] + r[t] ⊙ (Whn h[t−1] + bhn) + bxn) for t = 1,…,T" in found
    assert "h[t] = n[t] + z[t] ⊙ (h[t−1] − n[t]) for t = 1,…,T" in found


def test_a_loop_over_a_cell_with_gates() -> None:
    cell, (x, y) = nn.LSTMCell(3, 4, **DOUBLE), symbols("x:5,n,3 y:n,4")
    h, c = (sg.zeros(x.shape[1], 4, **DOUBLE) for _ in "hc")
    for t in range(5):
        h, c = cell(x[t], (h, c))
    found = check(((h - y) ** 2).sum())
    assert any(row.startswith("i[t] = σ(x[t] Wxiᵀ + ") for row in found)
    assert len(found) < 40


class Classifier(nn.Module):
    def __init__(self, rnn: Any, layers: int) -> None:
        super().__init__()
        self.rnn = rnn(3, 4, num_layers=layers, batch_first=True, **DOUBLE)
        self.fc = nn.Linear(4, 5, **DOUBLE)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("rnn", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_classifier_of_sequences(rnn: Any, layers: int) -> None:
    x, y = symbols("x:n,T,3"), labels("y:n")
    found = check(F.cross_entropy(Classifier(rnn, layers)(x), y))
    assert not any("−t" in row for row in found)
    assert any("1[t = T]" in row for row in found)
