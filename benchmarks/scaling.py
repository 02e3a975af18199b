"""How the cost grows with the graph: 10,000 and 100,000 elementwise nodes, as a chain and a tree.

    python benchmarks/scaling.py [--repetitions 1] [--json FILE] [--check]

Each case builds its expression, differentiates it, lowers value and gradient to a program and
writes the source, in a process of its own: neither tables nor garbage of another case are there.
Processor time, with the garbage collector as the user has it. The limits are the seconds of the
large graph and its ratio to the small one (10 would be linear).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import _harness

SMALL, LARGE = 10_000, 100_000
STAGES = ("build", "gradient", "lower", "source")
AT_MOST, SECONDS = 12.0, 30.0


def chain(x: Any, count: int) -> Any:
    """``count`` functions, each of the one before."""
    from symgrad.ops.elementwise import apply

    e = x
    for k in range(count):
        e = apply("tanh", e) if k % 2 else apply("sin", e) * 1.01
    return e


def balanced(x: Any, count: int) -> Any:
    """A tree of sums and functions over ``count / 2`` leaves."""
    from symgrad.ops.elementwise import apply

    layer = [x * (1 + k / count) for k in range(count // 2)]
    while len(layer) > 1:
        odd = [layer[-1]] if len(layer) % 2 else []
        layer = [apply("tanh", a + b) for a, b in zip(layer[::2], layer[1::2], strict=False)] + odd
    return layer[0]


GRAPHS: dict[str, Callable[[Any, int], Any]] = {"chain": chain, "balanced": balanced}


def stages(graph: str, count: int) -> dict[str, float]:
    """Seconds of each stage, in this process."""
    from symgrad_codegen.source import source

    import symgrad  # noqa: F401 - fills the tables of operations
    from symgrad.autodiff import gradient
    from symgrad.core import dtypes
    from symgrad.core.build import reduce_sum
    from symgrad.core.expr import symbol
    from symgrad.core.sizes import letter
    from symgrad.lower import lower

    x = symbol("x", (letter("n"),), dtypes.float64)
    seconds: dict[str, float] = {}
    clock = time.process_time

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        began = clock()
        made = work()
        seconds[stage] = clock() - began
        return made

    total = timed("build", lambda: reduce_sum(GRAPHS[graph](x, count), [0]))
    (slope,) = timed("gradient", lambda: gradient(total, [x]))
    program = timed("lower", lambda: lower("f", [x], [("value", total), ("slope", slope)]))
    timed("source", lambda: source(program))
    return seconds


def alone(graph: str, count: int, core: int | None) -> dict[str, float]:
    """The same in a fresh process."""
    words = [sys.executable, __file__, "--graph", graph, "--nodes", str(count)]
    words += [] if core is None else ["--core", str(core)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Measure and print."""
    parser = _harness.options(__doc__, repetitions=1)
    parser.add_argument("--graph", choices=GRAPHS, help="this case only, in this process, as JSON")
    parser.add_argument("--nodes", type=int, default=SMALL, help="the nodes of that case")
    arguments = parser.parse_args()
    setting = _harness.settle(arguments)
    if arguments.graph:
        print(json.dumps(stages(arguments.graph, arguments.nodes)))
        return 0
    print(setting)
    rows: list[list[str]] = []
    figures: list[dict[str, object]] = []
    limits: list[_harness.Limit] = []
    for graph in GRAPHS:
        totals: dict[int, float] = {}
        for count in (SMALL, LARGE):
            runs = [alone(graph, count, arguments.core) for _ in range(arguments.repetitions)]
            seconds = {s: statistics.median(run[s] for run in runs) for s in STAGES}
            totals[count] = sum(seconds.values())
            cells = [_harness.duration(seconds[s]) for s in STAGES]
            ratio = f"{totals[count] / totals[SMALL]:.1f}" if count == LARGE else ""
            rows.append([f"{graph} {count:,}", *cells, _harness.duration(totals[count]), ratio])
            figures.append({"graph": graph, "nodes": count, "cpu seconds": seconds})
        limits.append(_harness.Limit(f"{graph}: seconds", totals[LARGE], SECONDS))
        ratio = totals[LARGE] / totals[SMALL]
        limits.append(_harness.Limit(f"{graph}: {LARGE:,} / {SMALL:,}", ratio, AT_MOST))
    print("\n" + _harness.table(["CPU time", *STAGES, "total", "ratio"], rows))
    return _harness.finish(arguments, setting, figures, limits, {})


if __name__ == "__main__":
    sys.exit(main())
