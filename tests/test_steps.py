"""Steps of derivations: each is there, says what was done, and was checked; wrong ones are noticed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad.core.build import scale
from symgrad.derivation.steps import Checker, steps_of
from symgrad.errors import DerivativeError, UnboundError
from tests.test_golden import PRINTED, attention, layer_norm
from tests.test_read_back import PROGRAMS, SYMBOLIC, symbols_of


@pytest.mark.parametrize("which", [*PROGRAMS, *(f"golden {p}" for p in PRINTED)])
def test_every_step_is_right(which: str) -> None:
    if which.startswith("golden "):
        derivation = PRINTED[which.removeprefix("golden ")].derive()
    else:
        derivation = sg.derive(PROGRAMS[which][1](SYMBOLIC, *symbols_of(which).values()))
    steps = derivation.steps
    assert any(step.rule.startswith("chain rule") for step in steps)
    assert max(step.error for step in steps) < 1e-6


def test_attention_says_why_the_sum_is_short() -> None:
    (step,) = [s for s in attention().steps if s.rule == "a sum that has a name"]
    assert (step.before, step.after) == ("Σⱼ δP[i,j] P[i,j]", "Σₖ δO[i,k] O[i,k]")
    assert set(step.because) == {"δP = δO Vᵀ", "O = P V"}
    assert step.cost == "m n → n p"


def test_rewrites_have_their_rules_names() -> None:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    steps = sg.derive(-(y * sg.log(sg.sigmoid(X @ w))).sum(), w).steps
    assert steps[0].rule == "log of the logistic function"
    assert (steps[0].before, steps[0].after) == ("log(σ(X w))", "−softplus(−X w)")


def test_a_wrong_step_is_noticed() -> None:
    derivation = layer_norm(by_hand=False)
    lines = derivation.source
    check = Checker(lines, derivation.inputs)
    for use in lines.uses:
        assert check.chain(use) < 1e-6
        assert check.chain(replace(use, part=scale(2, use.part))) > 0.1
    assert max(s.error for s in steps_of(lines, derivation.inputs)) < 1e-6


def test_the_derivation_stops_at_named_values() -> None:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    z = sg.name(X @ w, "z")
    loss = ((sg.tanh(z) - y) ** 2).mean()
    for stop in ("z", z):
        text = sg.derive(loss, stop_at=[stop]).unicode
        assert "∂L/∂z = (2/n) (r ⊙ (1 − h ⊙ h))" in text
        assert "X" not in text
    with pytest.raises(KeyError, match="nothing is called u"):
        sg.derive(loss, stop_at=["u"])


def test_what_lies_behind_a_stop_has_no_gradient() -> None:
    X, w, v = sg.symbols("X:n,d  w:d  v:n")
    z = sg.name(X @ w, "z")
    for stop in ("z", z):
        with pytest.raises(DerivativeError, match="w is behind the stop at z"):
            sg.derive(z @ z, w, stop_at=[stop])
    for further in ("newton", "stationary"):
        with pytest.raises(DerivativeError, match="w is behind the stop at z"):
            sg.derive(z @ z, stop_at=["z"], **{further: w})
    assert "∂L/∂w" not in sg.derive(z @ z + w @ w, stop_at=["z"]).unicode
    for text in (sg.derive(z @ z, z), sg.derive(z @ z, [z], stop_at=[z])):
        assert text.unicode.splitlines()[-1] == "∂L/∂z = 2 z"
    u = X @ w
    assert sg.derive(u @ u, u).unicode.splitlines()[-1] == "∂L/∂V₁ = 2 V₁"
    for wrong in ({"wrt": 2 * v}, {"stop_at": [2 * v]}):
        with pytest.raises(DerivativeError, match="not computed from 2 v"):
            sg.derive(z @ z, **wrong)


def texts() -> dict[str, Any]:
    derivation = attention()
    return {"lines": derivation, "steps": derivation.steps}


def test_markdown_and_html_hold_every_line() -> None:
    derivation = attention()
    assert derivation.html().count("<tr>") == len(derivation.unicode.split("\n"))
    assert derivation.steps.html().count("<tr>") == len(derivation.steps) + 1
    assert len(derivation.steps.markdown().split("\n")) == len(derivation.steps) + 2
    assert derivation.latex() in derivation.markdown()
    assert "<b>" not in sg.derive(sg.symbol("<b>", "n").sum()).html()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_the_latex_compiles(tmp_path: Path) -> None:
    body = "\n".join(f"\\[{x.latex()}\\]" for x in texts().values())
    (tmp_path / "a.tex").write_text(
        "\\documentclass{article}\\usepackage{amsmath,amssymb}\\begin{document}\n"
        f"{body}\n\\end{{document}}\n"
    )
    subprocess.run(
        ["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True
    )


def test_the_steps_of_a_network_are_those_of_its_parts() -> None:
    x, y = sg.symbol("x", "n,4"), sg.symbol("y", "n", sg.int64)
    W, V, U = sg.symbols("W:4,4  V:4,4  U:4,4")
    h = x
    for weight in (W, V, U):
        h = sg.tanh(h @ weight)
    derivation = sg.derive(F.cross_entropy(h, y), [W, V, U])
    assert "m = 3" in derivation.unicode
    assert max(step.error for step in derivation.steps) < 1e-6


@pytest.mark.parametrize("domain", ["spd", "diagonal"])
def test_a_function_of_one_half_of_a_symmetric_matrix_is_checked_within_them(domain: str) -> None:
    A = sg.symbol("A", "n,n", sg.float64, domain)
    steps = sg.derive(sg.name(sg.linalg.cholesky(A).sin().sum(), "L"), A).steps
    assert len(steps) > 0
    assert max(s.error for s in steps) < 1e-7


def test_what_is_asked_of_a_derivation_and_is_not_there() -> None:
    X, w = sg.symbols("X:n,d  w:d")
    model = sg.nn.Sequential(sg.nn.Linear(3, 4))
    with pytest.raises(TypeError, match="output must be a Tensor, not Sequential"):
        sg.derive(model)
    derivation = sg.derive((X @ w).sum(), w)
    assert str(derivation.grad(w)) == str(derivation.grad("w"))
    with pytest.raises(
        UnboundError, match=r"at\(\): d has no value. Give every letter: at\(d=…, n=…\)"
    ):
        sg.cost(X @ w).value.at(n=3)
    assert sg.cost(X @ w).value.at(n=3, d=2)[0] == 12
