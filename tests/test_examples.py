"""The examples run as a user runs them, and leave behind what they say."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    "curve.png",
    "derivation.tex",
    "loss_jax.py",
    "loss_numpy.py",
    "step_jax.py",
    "step_numpy.py",
    "weights.safetensors",
}


def run_digits(folder, *options, **environment):
    """The main job in a folder of its own."""
    for name in ("sklearn", "matplotlib", "rich"):
        pytest.importorskip(name)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "codegen")])
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "digits.py", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run as the README has it: (what it printed, its folder)."""
    folder = tmp_path_factory.mktemp("digits")
    done = run_digits(folder, PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder / "digits-run"


def figure(printed, before):
    """The number after some words."""
    return float(re.search(re.escape(before) + r"\s*([0-9.e+-]+)", printed)[1])


def test_it_reaches_its_accuracy_and_believes_its_gradients(run):
    printed, _ = run
    assert figure(printed, "test accuracy of the trained model:") >= 97
    assert figure(printed, "against finite differences:") < 1e-6
    assert figure(printed, "differs by at most") < 1e-5


def test_it_prints_the_derivation_of_every_gradient(run):
    printed, _ = run
    for name in ("W₁", "b₁", "W₂", "b₂"):
        assert re.search(rf"^∂L/∂{name} = ", printed, re.MULTILINE)


def test_it_leaves_what_it_says(run):
    printed, folder = run
    assert {p.name for p in folder.iterdir()} == FILES
    assert all(name in printed for name in FILES)
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_latex_is_a_document_whose_every_line_can_be_set(run):
    mathtext = pytest.importorskip("matplotlib.mathtext")
    text = (run[1] / "derivation.tex").read_text(encoding="utf-8")
    assert text.isascii()
    assert text.startswith("\\documentclass")
    for word in set(re.findall(r"\\begin\{(\w+)\}", text)):
        assert text.count(f"\\begin{{{word}}}") == text.count(f"\\end{{{word}}}") == 1
    body = text.split("\\begin{aligned}\n")[1].split("\n\\end{aligned}")[0]
    lines = body.split(" \\\\\n")
    assert len(lines) == 12
    for line in lines:
        left, equals, right = line.partition(" &= ")
        assert equals
        mathtext.MathTextParser("path").parse(f"${left} = {right}$")


def sources(folder, name):
    """The one function in a written file."""
    found = runpy.run_path(str(folder / name))
    return found["loss" if name.startswith("loss") else "loss_step"]


def test_the_sources_agree_with_each_other(run):
    folder = run[1]
    rng = np.random.default_rng(0)
    shapes = {"W1": (5, 4), "W2": (4, 3), "b1": (4,), "b2": (3,)}
    params = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    data = {"x": rng.normal(size=(6, 5)).astype(np.float32), "y": rng.integers(0, 3, 6)}
    slots = {
        f"{slot}_{k}": np.full_like(p, 0.1)
        for k, p in params.items()
        for slot in ("exp_avg", "exp_avg_sq")
    }
    count = {"t": np.asarray(3, np.int32), "eta": np.asarray(0.01, np.float32)}
    for kind, given in {"loss": {}, "step": {**slots, **count}}.items():
        by_jax = sources(folder, f"{kind}_jax.py")(**params, **given, **data)
        by_numpy = sources(folder, f"{kind}_numpy.py")(**params, **given, **data)
        assert len(by_jax) == len(by_numpy) == (5 if kind == "loss" else 14)
        for a, b in zip(by_jax, by_numpy, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["loss_jax.py", "loss_numpy.py", "step_jax.py", "step_numpy.py"])
def test_the_sources_import_nothing_of_ours(run, name):
    text = (run[1] / name).read_text(encoding="utf-8")
    assert "symgrad" not in text


def test_the_weights_are_the_trained_ones(run):
    numpy_files = pytest.importorskip("safetensors.numpy")
    datasets = pytest.importorskip("sklearn.datasets")
    weights = numpy_files.load_file(run[1] / "weights.safetensors")
    x, y = datasets.load_digits(return_X_y=True)
    x = ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)).clip(-4, 4)
    h = np.tanh(x @ weights["W1"] + weights["b1"])
    assert ((h @ weights["W2"] + weights["b2"]).argmax(axis=1) == y).mean() > 0.98


@pytest.mark.slow
def test_too_little_training_fails_also_where_the_console_is_ascii(tmp_path):
    done = run_digits(
        tmp_path, "--epochs", "1", "--out", "elsewhere", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert done.returncode == 1
    assert "not good enough: the accuracy" in done.stderr
    assert "dL/dW1" in done.stdout
    assert {p.name for p in (tmp_path / "elsewhere").iterdir()} == FILES
