"""Train a classifier of handwritten digits and read everything it computes.

    python examples/digits.py [--device cuda] [--epochs 40] [--out digits-run]

The model is a plain Python function.  This script prints the derivation of every gradient, trains,
writes the programs, the formulas, the learning curve and the weights, and then doubts itself: the
gradients are compared with finite differences, and the written JAX file is run in a process that
cannot import symgrad.  It ends with the accuracy on digits it has never seen.
"""

# %% What we need
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import safetensors.numpy
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import optim

mpl.use("Agg")  # pictures go to files: no window, no display needed
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
parser.add_argument("--epochs", type=int, default=40, help="passes over the data (default: 40)")
parser.add_argument("--out", type=Path, default=Path("digits-run"), help="where the files go")
options = parser.parse_args()

HIDDEN, BATCH, RATE = 128, 64, 2e-3
REQUIRED = {"accuracy": 0.97, "finite differences": 1e-6, "standalone file": 1e-5}
started = time.perf_counter()
rng = np.random.default_rng(0)
options.out.mkdir(parents=True, exist_ok=True)

# %% The data: 1797 pictures of 8×8 pixels; a quarter of them is kept for the test
pictures, digits = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    pictures, digits, test_size=0.25, random_state=0, stratify=digits
)
mean, spread = x_train.mean(axis=0), x_train.std(axis=0) + 1e-6
x_train = ((x_train - mean) / spread).clip(-4, 4).astype(np.float32)
x_test = ((x_test - mean) / spread).clip(-4, 4).astype(np.float32)
y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
print(f"{len(x_train)} digits to learn from, {len(x_test)} to be tested on")


# %% The model: a Python function of its parameters, and nothing else
def logits(params: dict[str, Any], x: Any) -> Any:
    """One score per class."""
    h = sg.tanh(x @ params["W1"] + params["b1"])
    return h @ params["W2"] + params["b2"]


def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
    """The mean cross-entropy of a batch."""
    return F.cross_entropy(logits(params, x), y)


sizes = {"W1": "d,h", "b1": "h", "W2": "h,k", "b2": "k"}
params = {
    "W1": rng.normal(scale=64**-0.5, size=(64, HIDDEN)).astype(np.float32),
    "b1": np.zeros(HIDDEN, np.float32),
    "W2": rng.normal(scale=HIDDEN**-0.5, size=(HIDDEN, 10)).astype(np.float32),
    "b2": np.zeros(10, np.float32),
}

# %% Its derivation: the loss is run once on symbols
f = sg.trace(loss, params=sizes, x="n,d", y=sg.spec("n", sg.int64))
scores = sg.trace(logits, params=sizes, x="n,d").compile()
value_and_gradients = f.compile(gradients=True)
print(f"\nThe loss and its gradients\n\n{f.derive()}\n")

# %% The same derivation as a LaTeX document, and as programs that stand alone
DOCUMENT = r"""\documentclass{article}
\usepackage[a4paper, margin=2cm]{geometry}
\usepackage{amsmath, amssymb}
\begin{document}
\[
%s
\]
\end{document}
"""
step = f.training_step(optim.Adam, lr=RATE, device=options.device)
for name, text in {
    "derivation.tex": DOCUMENT % f.derive().latex(),
    "step_jax.py": step.source,
    "step_numpy.py": step.source_for("numpy"),
    "loss_jax.py": value_and_gradients.source,
    "loss_numpy.py": value_and_gradients.source_for("numpy"),
}.items():
    (options.out / name).write_text(text, encoding="utf-8")

# %% A first doubt: are the gradients right?  Finite differences say so, in float64
CHECKED = 100  # entries of each parameter; all 9,610 would only take longer


def worst_relative_error() -> float:
    """The largest difference to central differences, relative to the gradient's largest entry."""
    doubles = {name: sg.spec(size, sg.float64) for name, size in sizes.items()}
    f64 = sg.trace(loss, params=doubles, x=sg.spec("n,d", sg.float64), y=sg.spec("n", sg.int64))
    value, both = f64.compile(), f64.compile(gradients=True)
    data = x_train[:BATCH].astype(np.float64), y_train[:BATCH]
    point = {name: p.astype(np.float64) for name, p in params.items()}
    _, gradients = both(point, *data)
    worst, small = 0.0, 1e-5
    for name, p in point.items():
        exact = np.asarray(gradients[name]).ravel()
        entries = p.reshape(-1)  # a view: what is changed here is changed in `point`
        for k in rng.choice(entries.size, min(CHECKED, entries.size), replace=False):
            at = entries[k]
            entries[k] = at + small
            above = float(value(point, *data))
            entries[k] = at - small
            below = float(value(point, *data))
            entries[k] = at
            error = abs((above - below) / (2 * small) - exact[k]) / abs(exact).max()
            worst = max(worst, error)
    return worst


fd_error = worst_relative_error()
print(f"worst relative error of the gradients against finite differences: {fd_error:.1e}")


# %% A second doubt: does the written file really stand alone?
ALONE = """
import runpy, sys
sys.modules["symgrad"] = sys.modules["symgrad_codegen"] = None  # importing them now fails
import numpy as np
source, given, found = sys.argv[1:]
loss = runpy.run_path(source)["loss"]
np.savez(found, *loss(**np.load(given)))
"""


def difference_alone() -> float:
    """The largest difference between loss_jax.py, run on its own, and what runs here."""
    data = {"x": x_train[:BATCH], "y": y_train[:BATCH]}
    value, gradients = value_and_gradients(params, **data)
    here = [value, *(gradients[name] for name in ("W1", "b1", "W2", "b2"))]
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npz")
        np.savez(given, **params, **data)
        subprocess.run(
            [sys.executable, "-c", ALONE, options.out / "loss_jax.py", given, found],
            check=True,
            # A GPU is shared with this process, which may hold most of its memory.
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        with np.load(found) as there:
            pairs = zip(here, there.values(), strict=True)
            return max(float(abs(np.asarray(a) - b).max()) for a, b in pairs)


alone_error = difference_alone()
print(f"loss_jax.py, run without symgrad, differs by at most {alone_error:.1e}\n")


# %% Training: one executable per step holds loss, gradients and update
def accuracy(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> float:
    """The part of the pictures whose highest score is the right one."""
    return float((np.asarray(scores(params, x)).argmax(axis=1) == y).mean())


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The training data once, in a new order."""
    order = rng.permutation(len(x_train))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield x_train[chosen], y_train[chosen]


progress = Progress(
    TextColumn("epoch {task.completed}/{task.total}"),
    BarColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.description}"),
    disable=not sys.stdout.isatty(),
)
curve = []
trained, state = step.init(params)
with progress:
    task = progress.add_task("", total=options.epochs)
    for epoch in range(1, options.epochs + 1):
        step.lr = RATE * (1 - (epoch - 1) / options.epochs)  # no new program is made for this
        values = []
        for x, y in batches():
            trained, state, value = step(trained, state, x, y)
            values.append(value)
        curve.append((np.mean(values), accuracy(trained, x_test, y_test)))
        said = f"loss {curve[-1][0]:.4f}   test accuracy {curve[-1][1]:.4f}"
        progress.update(task, advance=1, description=said)
        if progress.disable and (epoch % 5 == 0 or epoch in {1, options.epochs}):
            print(f"epoch {epoch:3}   {said}")

# %% What is left of it: the weights and the learning curve
safetensors.numpy.save_file(
    {name: np.asarray(p) for name, p in trained.items()}, options.out / "weights.safetensors"
)
epochs = range(1, options.epochs + 1)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.semilogy(epochs, [value for value, _ in curve], color="tab:blue", label="training loss")
axes.set(xlabel="epoch", ylabel="training loss", title="Handwritten digits, 64-128-10 network")
right = axes.twinx()
right.plot(epochs, [a for _, a in curve], color="tab:orange", label="test accuracy")
right.set_ylabel("test accuracy")
figure.legend(loc="outside lower center", ncols=2)
figure.savefig(options.out / "curve.png", dpi=150)
plt.close(figure)

# %% The end: what was reached, and whether that is enough
reached = accuracy(trained, x_test, y_test)
print(f"\nwritten to {options.out}: {', '.join(sorted(p.name for p in options.out.iterdir()))}")
print(f"time {time.perf_counter() - started:.1f} s")
print(f"test accuracy of the trained model: {100 * reached:.2f} %")
failed = [
    *(["the accuracy"] if reached < REQUIRED["accuracy"] else []),
    *(["the finite differences"] if fd_error > REQUIRED["finite differences"] else []),
    *(["the standalone file"] if alone_error > REQUIRED["standalone file"] else []),
]
if failed:
    sys.exit(f"not good enough: {', '.join(failed)}")
