"""The gradient in a symmetric matrix, counted in its independent entries: 2 G − G ⊙ I on request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg
from tests.notation import evaluate_block, read_block


def likelihood(S: Any) -> Any:
    C = sg.symbol("C", "d,d", sg.float32, "symmetric")
    return -(sg.logdet(S) + sg.trace(sg.linalg.inv(S) @ C)) / 2


def bilinear(S: Any) -> Any:
    a, b = sg.symbols("a:d  b:d")
    return a @ S @ b


def squares(S: Any) -> Any:
    return (S**3).sum()


VALUES = {
    "likelihood": (likelihood, "G = ½ S⁻¹ (C − S) S⁻¹"),
    "bilinear": (bilinear, "G = ½ (a bᵀ + b aᵀ)"),
    "squares": (squares, "G = 3 (S ⊙ S)"),
}


def draw(d: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    A, C = rng.normal(size=(d, d)), rng.normal(size=(d, d))
    return {
        "S": A @ A.T + np.eye(d),
        "C": C + C.T,
        "a": rng.normal(size=d),
        "b": rng.normal(size=d),
    }


def plain(which: str, a: dict[str, Any]) -> float:
    """The value with NumPy."""
    S = a["S"]
    if which == "likelihood":
        return -(np.linalg.slogdet(S)[1] + np.trace(np.linalg.solve(S, a["C"]))) / 2
    return float(a["a"] @ S @ a["b"]) if which == "bilinear" else float((S**3).sum())


def by_entries(which: str, a: dict[str, Any], step: float = 1e-5) -> np.ndarray:
    """Differences in each entry i ≤ j, which stands at (i, j) and (j, i)."""
    found = np.zeros_like(a["S"])
    for i in range(len(found)):
        for j in range(i + 1):
            move = np.zeros_like(found)
            move[i, j] = move[j, i] = step
            above, below = ({**a, "S": a["S"] + s * move} for s in (1, -1))
            slope = (plain(which, above) - plain(which, below)) / (2 * step)
            found[i, j] = found[j, i] = slope
    return found


@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("which", VALUES)
def test_the_printed_gradient_is_that_of_the_entries(which: str, d: int) -> None:
    make, line = VALUES[which]
    S = sg.symbol("S", "d,d", sg.float32, "spd")
    L, values = make(S), draw(d)
    derivation = sg.derive(L, S, independent=True)
    text = derivation.unicode
    assert "independent entries [i,j] with i ≤ j: 2 G − G ⊙ I" in text
    assert "⟨A,B⟩" not in text
    rows = [" ".join(row.split()) for row in text.split("\n")]
    assert line in rows
    assert "∂L/∂S = 2 G − G ⊙ I(d)" in rows
    expected = by_entries(which, values)
    for block in (text, derivation.ascii):
        found = evaluate_block(read_block(block), values, {"d": d})
        name = "∂L/∂S" if block is text else "dL/dS"
        assert found[name] == pytest.approx(expected, rel=1e-7, abs=1e-7)
    printed = sg.grad(L, S, independent=True)
    names = [x for x in ("C", "a", "b") if x in str(L.formula())]
    run = sg.compile(printed)
    there = {x: np.asarray(values[x], np.float32) for x in ("S", *names)}
    assert np.asarray(run(**there)) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_what_is_not_symmetric_keeps_its_gradient() -> None:
    S = sg.symbol("S", "d,d")
    for L in (likelihood(S), bilinear(S)):
        assert sg.derive(L, S, independent=True).unicode == sg.derive(L, S).unicode
        asked, usual = (sg.grad(L, S, independent=x).formula().unicode for x in (True, False))
        assert asked == usual


def test_it_is_only_on_request() -> None:
    S = sg.symbol("S", "d,d", sg.float32, "spd")
    assert "I(d)" not in sg.derive(likelihood(S), S).unicode


def test_a_value_without_curvature_has_no_step() -> None:
    S = sg.symbol("S", "d,d")
    assert "S⁺" not in sg.derive(bilinear(S), S, newton=S).unicode
