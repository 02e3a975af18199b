"""What it costs to get from a Python function to a lowered program with all gradients.

    python benchmarks/derive.py [--repetitions 15] [--json FILE] [--check]

Ours: `sg.trace`, differentiate, simplify, lower, generate the source, and have JAX trace and lower
that. Against it: `jax.jit(...).lower` of the hand-written function under `jax.value_and_grad`.
Processor time, median of warm rounds: JAX has its operations traced already, but every round has
fresh function objects, and a constant in the loss that no round before it had, so that neither side
finds the answer in a cache. A second column is our share before JAX sees anything.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import _harness
import numpy as np
from train_step import BASE, PROBLEMS, Problem

OURS, ALONE = "symgrad", "symgrad without JAX"
AT_MOST = 1.0


def scales() -> Callable[[], float]:
    """Numbers that no one had before."""
    counter = itertools.count(1)
    return lambda: 1.0 + next(counter) / 1024


def arrays(problem: Problem) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Parameters by name, inputs and labels."""
    (w1, b1), (w2, b2) = problem.weights()
    x, y = problem.data()
    return {"W1": w1, "b1": b1, "W2": w2, "b2": b2}, x, y if problem.binary else y.astype(np.int64)


def hand_written(problem: Problem) -> Callable[[], Any]:
    """JAX's own derivative of the function as a JAX user writes it."""
    import jax
    import jax.numpy as jnp
    import optax

    fresh = scales()
    params, x, y = arrays(problem)

    def once() -> Any:
        scale = fresh()

        def loss(params: Any, x: Any, y: Any) -> Any:
            h = jnp.tanh(x @ params["W1"] + params["b1"])
            z = h @ params["W2"] + params["b2"]
            if problem.binary:
                return scale * optax.sigmoid_binary_cross_entropy(z, y).mean()
            return scale * optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

        return jax.jit(jax.value_and_grad(loss)).lower(params, x, y)

    return once


def symgrad(problem: Problem, *, with_jax: bool) -> Callable[[], Any]:
    """Ours, with sizes as letters."""
    import symgrad as sg
    import symgrad.nn.functional as F

    fresh = scales()
    params, x, y = arrays(problem)

    def once() -> Any:
        scale = fresh()

        def loss(params: Any, x: Any, y: Any) -> Any:
            h = sg.tanh(x @ params["W1"] + params["b1"])
            z = h @ params["W2"] + params["b2"]
            if problem.binary:
                return scale * F.binary_cross_entropy_with_logits(z, y)
            return scale * F.cross_entropy(z, y)

        f = sg.trace(
            loss,
            params={"W1": "d,h", "b1": "h", "W2": "h,k", "b2": "k"},
            x="n,d",
            y="n,k" if problem.binary else sg.spec("n", sg.int64),
        )
        compiled = f.compile(
            gradients=True
        )  # value and all gradients; the source exists from here on
        return compiled.lower(params, x, y) if with_jax else compiled.source

    return once


def main() -> int:
    """Measure and print."""
    arguments = _harness.options(__doc__, repetitions=15).parse_args()
    setting = _harness.settle(arguments)
    print(setting)
    rows: list[list[str]] = []
    figures: list[dict[str, object]] = []
    limits: list[_harness.Limit] = []
    absent: dict[str, str] = {}
    for problem in PROBLEMS:
        runs = {BASE: hand_written(problem)}
        try:
            ours = symgrad(problem, with_jax=True)
            ours()
            runs |= {OURS: ours, ALONE: symgrad(problem, with_jax=False)}
        except Exception as error:  # a column that cannot run is reported as such
            absent[f"{problem.name}, {OURS}"] = f"{type(error).__name__}: {error}"
        times = _harness.interleaved(
            runs, arguments.repetitions, clock=time.process_time, between=gc.collect
        )
        row = [problem.name, _harness.duration(times.time(BASE).median)]
        for name in (OURS, ALONE):
            row.append(_harness.spread(times.ratio(name, BASE)) if name in runs else "-")
        rows.append(row)
        figures += [
            {"model": problem.name, "column": name, "cpu seconds": times.time(name).median,
             "ratio": times.ratio(name, BASE).median}
            for name in runs
        ]  # fmt: skip
        if OURS in runs:
            ratio = times.ratio(OURS, BASE).median
            limits.append(_harness.Limit(f"{problem.name}: {OURS} / {BASE}", ratio, AT_MOST))
    print("\n" + _harness.table(["CPU time", BASE, f"{OURS} /", f"{ALONE} /"], rows))
    return _harness.finish(arguments, setting, figures, limits, absent)


if __name__ == "__main__":
    sys.exit(main())
