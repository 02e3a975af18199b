"""How the lines of loops read: steps from 1, states before them, adjoints of states, sums over steps."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn
from symgrad.evaluate import evaluate
from tests.own_derivations import recurrence


def lines(derivation: object) -> list[str]:
    return [" ".join(row.split()) for row in str(derivation).split("\n")]


def squared(net: nn.Module, shape: str = "T,3", to: str = "T,4", *states: sg.Tensor) -> list[str]:
    x, y = sg.symbol("x", shape), sg.symbol("y", to)
    return lines(sg.derive(((net(x, *states)[0] - y) ** 2).sum() / 2))


def test_a_layer_of_the_library_reads_as_the_textbook() -> None:
    assert squared(nn.RNN(3, 4)) == [
        "sizes x: (1…T)×3 y: (1…T)×4 Wx: 4×3 Wh: 4×4 bx: 4 bh: 4 h: (0…T)×4",
        "indices t = 1…T",
        "given h[0] = 0, δ[T+1] = 0",
        "h[t] = tanh(Wx x[t] + Wh h[t−1] + bx + bh) for t = 1,…,T",
        "L = ½ Σₜ (h[t] − y[t])ᵀ (h[t] − y[t])",
        "g[t] = h[t] − y[t] + Whᵀ δ[t+1] for t = T,…,1",
        "δ[t] = g[t] ⊙ (1 − h[t] ⊙ h[t]) for t = T,…,1",
        "∂L/∂Wx = Σₜ δ[t] x[t]ᵀ",
        "∂L/∂Wh = Σₜ δ[t] h[t−1]ᵀ",
        "∂L/∂bx = Σₜ δ[t]",
        "∂L/∂bh = Σₜ δ[t]",
    ]


@pytest.mark.parametrize("steps", [4, 400])
def test_numbers_of_steps_read_as_letters_do(steps: int) -> None:
    """Also where other sizes are the same number."""
    found = squared(nn.RNN(3, 4), f"{steps},3", f"{steps},4")
    text = "\n".join(squared(nn.RNN(3, 4)))
    expected = text.replace("T+1", str(steps + 1)).replace("T", str(steps))
    assert found == expected.split("\n")


def test_two_layers_pass_what_their_states_receive() -> None:
    found = squared(nn.RNN(3, 4, num_layers=2))
    assert "h₂[t] = tanh(Wx₂ h₁[t] + Wh₂ h₂[t−1] + bx₂ + bh₂) for t = 1,…,T" in found
    assert "g₁[t] = Wx₂ᵀ δ[t] + Wh₁ᵀ δ₁[t+1] for t = T,…,1" in found
    assert "∂L/∂Wh₁ = Σₜ δ₁[t] h₁[t−1]ᵀ" in found


def test_steps_that_make_matrices_have_capitals() -> None:
    found = squared(nn.RNN(3, 4), "T,n,3", "T,n,4")
    assert "L = ½ Σₜ tr((H[t] − y[t])ᵀ (H[t] − y[t]))" in found
    assert any(row.startswith("G[t] = H[t] − y[t] + ") for row in found)


def test_a_first_state_with_a_name_of_its_own_is_said() -> None:
    s = sg.symbol("s", "1,n,4")
    found = squared(nn.RNN(3, 4), "T,n,3", "T,n,4", s)
    assert next(row for row in found if "s[0" in row).endswith("= s[0,:,:]")
    assert any(row.startswith("given H[0] = ") for row in found)


def test_a_state_that_is_read_as_a_whole_is_0_before_its_steps() -> None:
    found = squared(nn.RNN(3, 4, bidirectional=True), "T,3", "T,8")
    assert "h₁ = 0 outside its range" in found[2]
    assert "h₂[t] = tanh(Wx₂ x[t] + Wh₂ h₂[t+1] + bx₂ + bh₂) for t = T,…,1" in found


def test_latex_and_html_of_a_loop() -> None:
    derivation = recurrence()
    assert r"\quad\text{for } t = T,\dots,1" in derivation.latex()
    assert "for t = 1,…,T" in derivation.html()
    assert "t = 1..T" in derivation.ascii
    assert max(step.error for step in derivation.steps) < 1e-6


def test_a_line_of_a_loop_is_read_back() -> None:
    x, h, Wx, Wh, b = sg.symbols("x:T,d  h:T+1,m  Wx:m,d  Wh:m,m  b:m", sg.float64)
    rng = np.random.default_rng(0)
    sizes = {"T": 4, "d": 2, "m": 3}
    values = {
        "x": rng.normal(size=(4, 2)), "h": rng.normal(size=(5, 3)),
        "Wx": rng.normal(size=(3, 2)), "Wh": rng.normal(size=(3, 3)), "b": rng.normal(size=3),
    }  # fmt: skip
    line = "h[t] = tanh(Wx x[t] + Wh h[t−1] + b)   for t = 1,…,T"
    found = sg.parse_formula(line, [x, h, Wx, Wh, b], {"t": "1…T"}).expr()
    feeds = {t.expr(): values[w] for w, t in zip(values, (x, h, Wx, Wh, b), strict=True)}
    expected = np.tanh(
        values["x"] @ values["Wx"].T + values["h"][:-1] @ values["Wh"].T + values["b"]
    )
    np.testing.assert_allclose(evaluate([found], feeds, sizes)[0], expected)
