"""What the library costs around the arithmetic: recording, recognising, a graph met for the first time.

    python benchmarks/overhead.py [--repetitions 15] [--json FILE] [--check]

- an operation recorded: tracked, one of PyTorch's names or an operator, shape and dtype known
- a graph of 50 operations that was met before: recorded, recognised, run and read
- a graph of ten operations that is new: recorded, evaluated by NumPy, read; then one whose
  operations are new, too (shapes that nobody has used); then its second time, which compiles it
- ten operations and ``.item()``, on tensors of n × n numbers, against PyTorch's eager loop

Wall time, and processor time beside it, which other programs disturb less; limits hold for the
smaller of the two medians.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import _harness
import numpy as np

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
OPERATION = 3e-6
NEW_GRAPH = 5e-3
TINY, LARGE = 4.0, 1.2
SIZES = {2: TINY, 64: None, 512: LARGE, 1024: LARGE}
"""Sides of the tensors of the eager-style loop, and the largest ratio to PyTorch's time."""
COUNT = 2_000
"""How many times small work is repeated between two looks at a clock."""


def operations(x: Any, y: Any) -> Iterator[Callable[[Any], Any]]:
    """What people write, one operation each, again and again."""
    return itertools.cycle([
        lambda t: t * y,
        lambda t: t + 1,
        lambda t: t.tanh(),
        lambda t: t - x,
        lambda t: t.relu(),
        lambda t: 0.5 * t,
        lambda t: t.sin(),
        lambda t: t + y,
        lambda t: t.exp(),
        lambda t: -t,
    ])  # fmt: skip


def chain(count: int, x: Any, y: Any) -> Any:
    """``count`` operations, each on the result of the one before."""
    t = x
    for operation in itertools.islice(operations(x, y), count):
        t = operation(t)
    return t


def dense(x: Any, y: Any) -> float:
    """Ten operations in two lines and a number read, as in a loop that prints."""
    t = (x * y + 1).tanh() - x
    return ((0.5 * t.relu()).sigmoid() + y).mean().item()


def waves(x: Any, y: Any) -> float:
    """The same with a sine, which XLA by itself computes one number after another on the CPU."""
    t = (x * y + 1).tanh() - x
    return ((0.5 * t.relu()).sin() + y).mean().item()


def pair(library: Any, side: int) -> tuple[Any, Any]:
    """Two tensors of random numbers."""
    rng = np.random.default_rng(side)
    x, y = (rng.standard_normal((side, side), np.float32) for _ in range(2))
    return library.tensor(x), library.tensor(y)


def new_graphs(sg: Any, shapes: bool) -> Iterator[Callable[[], float]]:
    """Readings of graphs of ten operations that nobody has seen: each has its own order of them.

    With ``shapes`` each has a shape of its own, too: no operation was met before.
    """
    unary = ["tanh", "sin", "exp", "sigmoid", "relu", "abs", "cos", "square"]
    for k, words in enumerate(itertools.permutations(unary, 4)):
        x, y = (sg.tensor(np.ones((2, 3 + k * shapes), np.float32)) for _ in range(2))

        def read(words: tuple[str, ...] = words, x: Any = x, y: Any = y) -> float:
            t = x * y
            for word in words:
                t = getattr(t, word)() + x
            return t.sum().item()

        yield read


def repeated(work: Callable[[], object], count: int) -> Callable[[], None]:
    """The same work several times."""

    def run() -> None:
        for _ in range(count):
            work()

    return run


@dataclass
class Report:
    """What was found so far, measured with both clocks."""

    repetitions: int
    figures: list[dict[str, object]] = field(default_factory=list)
    limits: list[_harness.Limit] = field(default_factory=list)

    def measured(
        self,
        contenders: Mapping[str, Callable[[], object]],
        units: int = 1,
        between: Callable[[], object] = lambda: None,
    ) -> dict[str, _harness.Times]:
        """The times by the name of the clock."""
        return {
            name: _harness.interleaved(contenders, self.repetitions, units, clock, between)
            for name, clock in CLOCKS.items()
        }

    def row(
        self, what: str, times: dict[str, _harness.Spread], at_most: float | None = None
    ) -> list[str]:
        """Note seconds and their limit; the line of the table."""
        medians = {clock: t.median for clock, t in times.items()}
        self.figures.append({"what": what, **medians, "at most": at_most})
        if at_most is not None:
            least = min(medians.values())
            self.limits.append(_harness.Limit(what, least / at_most, 1.0))
        shown = "" if at_most is None else _harness.duration(at_most)
        return [what, *map(_harness.duration, medians.values()), shown]


def alone(sg: Any, report: Report) -> Iterator[list[str]]:
    """The lines of the first table."""
    for tracked in (False, True):
        x, y = pair(sg, 2)
        x.requires_grad_(tracked)
        work = repeated(functools.partial(chain, 50, x, y), COUNT // 50)
        times = report.measured({"": work}, COUNT)
        what = "operation recorded" + (", tracked" if tracked else "")
        yield report.row(what, {c: t.time("") for c, t in times.items()}, OPERATION)

    x, y = pair(sg, 2)
    contenders = {
        "read": repeated(lambda: chain(50, x, y).sum().item(), COUNT // 50),
        "record": repeated(lambda: chain(50, x, y).sum(), COUNT // 50),
    }
    times = report.measured(contenders, COUNT // 50)
    whole = {c: t.time("read") for c, t in times.items()}
    yield report.row("graph of 50 met before: recorded and read", whole)
    reading: dict[str, _harness.Spread] = {}
    for clock, t in times.items():
        pairs = zip(t.seconds["read"], t.seconds["record"], strict=True)
        reading[clock] = _harness.Spread.of([a - b for a, b in pairs])
    yield report.row("graph of 50 met before: the reading alone", reading)

    for shapes, word in ((False, "graph of 10"), (True, "graph of 10 new operations")):
        supply = new_graphs(sg, shapes)
        times = report.measured({"": repeated(lambda s=supply: next(s)(), 5)}, 5)
        first = {c: t.time("") for c, t in times.items()}
        yield report.row(f"{word} met for the first time", first, NEW_GRAPH)

    current: list[Callable[[], float]] = []  # of new operations, as the last ones

    def once() -> None:
        current[:] = [next(supply)]
        current[0]()

    times = report.measured({"": lambda: [read() for read in current]}, between=once)
    second = {c: t.time("") for c, t in times.items()}
    yield report.row("graph of 10 met for the second time: compiled", second)


def against(sg: Any, torch: Any, report: Report) -> Iterator[list[str]]:
    """The lines of the second table."""
    for work, (side, at_most) in itertools.product((dense, waves), SIZES.items()):
        count = max(1, COUNT // 10 // max(1, side // 16) ** 2)
        contenders = {
            library.__name__: repeated(functools.partial(work, *pair(library, side)), count)
            for library in (sg, torch)
        }
        what = f"{work.__name__}, {side} × {side}"
        cells: list[str] = []
        ratios: list[float] = []
        for clock, t in report.measured(contenders, count).items():
            ratio = t.ratio("symgrad", "torch")
            ratios.append(ratio.median)
            cells += [_harness.duration(t.time(name).median) for name in contenders]
            cells.append(_harness.spread(ratio))
            report.figures.append({"what": what, "clock": clock, "ratio": ratio.median})
        yield [what, *cells, "" if at_most is None else f"{at_most:.1f}"]
        if at_most is not None:
            report.limits.append(_harness.Limit(f"{what}: / torch", min(ratios), at_most))


def main() -> int:
    """Measure and print."""
    arguments = _harness.options(__doc__, repetitions=15).parse_args()
    setting = _harness.settle(arguments)
    print(setting)

    import symgrad as sg

    report = Report(arguments.repetitions)
    print("\n" + _harness.table(["", *CLOCKS, "at most"], list(alone(sg, report))))
    absent: dict[str, str] = {}
    try:
        import torch
    except ImportError as why:
        absent["ten operations and item() against PyTorch"] = str(why)
    else:
        torch.set_num_threads(1)
        head = [f"{word} {clock}" for clock in CLOCKS for word in ("symgrad", "torch", "ratio")]
        head = ["ten operations and item()", *head, "at most"]
        print("\n" + _harness.table(head, list(against(sg, torch, report))))
    return _harness.finish(arguments, setting, report.figures, report.limits, absent)


if __name__ == "__main__":
    sys.exit(main())
