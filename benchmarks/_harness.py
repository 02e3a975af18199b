"""Fair timing on one core: pinned, threads stated, contenders interleaved, medians and ratios.

Call `settle` before importing jax, torch or symgrad: threads are decided when they start.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
READS_THREADS = {"jax", "jaxlib", "torch", "symgrad"}


def options(description: str | None, repetitions: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=repetitions, help="interleaved rounds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--core", type=int, help="the core to pin to; the last one allowed if absent"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--check", action="store_true", help="fail where a ratio is over its limit")
    return parser


def settle(arguments: argparse.Namespace) -> str:
    """Pin the process to one core, one thread each; returns a line that says so.

    Raises RuntimeError if a library that reads these settings is imported already.
    """
    early = READS_THREADS & sys.modules.keys()
    if early:
        raise RuntimeError(f"{sorted(early)} were imported before threads were decided")
    os.environ.update(THREADS)
    os.environ["JAX_PLATFORMS"] = "cpu" if arguments.device == "cpu" else "cuda,cpu"
    for folder in (ROOT, ROOT / "codegen"):
        sys.path.insert(0, str(folder))
    core = arguments.core
    if hasattr(os, "sched_setaffinity"):
        core = max(os.sched_getaffinity(0)) if core is None else core
        os.sched_setaffinity(0, {core})
    gc.enable()
    return (
        f"Python {platform.python_version()}, {platform.machine()}, device {arguments.device}, "
        f"pinned to core {core}, one thread each, garbage collector on, load "
        f"{os.getloadavg()[0]:.1f}"
    )


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Median and quartiles of some values."""
        if len(values) < 2:
            return Spread(values[0], values[0], values[0])
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(statistics.median(values), low, high)


@dataclass
class Times:
    """Seconds per unit of every contender, one entry per round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str) -> Spread:
        """What one unit takes."""
        return Spread.of(self.seconds[name])

    def ratio(self, name: str, to: str) -> Spread:
        """Round by round `name` / `to`, so that what slows a whole round cancels."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return Spread.of([a / b for a, b in pairs])


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    repetitions: int,
    units: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    between: Callable[[], object] = lambda: None,
) -> Times:
    """Time every contender once per round, in an order that turns; one warm-up round is dropped.

    **Arguments:**

    - `units`: how many units of work one call does; times are per unit.
    - `between`: called before every timing, untimed.
    """
    names = list(contenders)
    times = Times({name: [] for name in names})
    for round_ in range(repetitions + 1):
        turn = round_ % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            between()
            began = clock()
            contenders[name]()
            taken = (clock() - began) / units
            if round_:
                times.seconds[name].append(taken)
    return times


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text, first column to the left, the others to the right."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]

    def line(row: Sequence[str]) -> str:
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join([line(cells[0]), "  ".join("-" * w for w in widths), *map(line, cells[1:])])


@dataclass(frozen=True)
class Limit:
    """A ratio that must not be exceeded."""

    what: str
    ratio: float
    at_most: float


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def spread(ratio: Spread) -> str:
    """A ratio and its quartiles."""
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def finish(
    arguments: argparse.Namespace,
    setting: str,
    figures: list[dict[str, object]],
    limits: Sequence[Limit],
    absent: Mapping[str, str],
) -> int:
    """Print limits and absences, write the JSON, and return the exit code."""
    if limits:
        rows = [
            [limit.what, f"{limit.ratio:.3f}", f"{limit.at_most:.2f}",
             "ok" if limit.ratio <= limit.at_most else "OVER"]
            for limit in limits
        ]  # fmt: skip
        print("\n" + table(["limit", "ratio", "at most", ""], rows))
    for what, why in absent.items():
        print(f"\nnot measured: {what}: {why}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"setting": setting, "figures": figures, "absent": dict(absent)}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    over = any(limit.ratio > limit.at_most for limit in limits)
    return int(arguments.check and (over or bool(absent)))
