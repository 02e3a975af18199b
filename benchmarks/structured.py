"""Structured derivatives: JAX as a plain user writes it, JAX as an expert does, and ours, derived.

Every row is one function, jitted three times over the same arrays, on one pinned core, in float32
and float64. `plain` is `jax.hessian`, `jax.jacobian` or `jax.grad` of the function as written;
`expert` what somebody who knows the answer writes by hand; `ours` the program that symgrad derives.
All three agree before anything is timed.

    python benchmarks/structured.py --repetitions 15 --check

JAX hands a program of more than about a thousand operations to another thread, which on one core
takes about 10 µs a call, for everybody alike; ``--inline`` measures without that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from _harness import Limit, Times, duration, finish, interleaved, options, settle, table

PARSER = options(__doc__, 15)
PARSER.add_argument("--only", default="", help="rows whose name matches this pattern")
PARSER.add_argument("--dtype", choices=["float32", "float64"], help="one dtype only")
PARSER.add_argument(
    "--inline", action="store_true", help="programs run in the thread that calls them"
)
ARGUMENTS = PARSER.parse_args()
SETTING = settle(ARGUMENTS)

import jax  # noqa: E402  threads are decided first
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from _derivative_rows import DERIVATIVES, Row  # noqa: E402
from _product_rows import PRODUCTS  # noqa: E402

import symgrad as sg  # noqa: E402
from symgrad.tracing.symbolic import Compiled  # noqa: E402

jax.config.update("jax_cpu_enable_async_dispatch", not ARGUMENTS.inline)

Arrays = Mapping[str, Any]
ROWS: dict[str, Row] = {**DERIVATIVES, **PRODUCTS}


def inputs(row: Row, dtype: str) -> dict[str, Any]:
    """Random arrays, the same for everybody."""
    rng = np.random.default_rng(0)
    found = {}
    for name, shape in row.shapes.items():
        kind = row.kinds.get(name)
        if isinstance(kind, int):
            found[name] = jnp.asarray(rng.integers(0, kind, shape))
            continue
        values = rng.normal(size=shape)
        if len(shape) == 3:
            values *= np.sqrt(2 / shape[-1])
        found[name] = jnp.asarray(np.abs(values) + 0.5 if kind else values, dtype)
    return found


def symbol(row: Row, name: str, dtype: str) -> Any:
    """The symbol of an input, with what is declared of it."""
    sizes = ",".join(map(str, row.shapes[name]))
    kind = row.kinds.get(name)
    if isinstance(kind, int):
        return sg.symbol(name, sizes, sg.int64)
    return sg.symbol(name, sizes, getattr(sg, dtype), *([kind] if kind else []))


def contenders(row: Row, arrays: Arrays, dtype: str) -> dict[str, Callable[[], Any]]:
    """Three jitted functions of no arguments that wait for their value."""
    symbols = {n: symbol(row, n, dtype) for n in arrays}
    program = Compiled(row.ours(**symbols), list(symbols.values()))
    ours = jax.jit(program.executable.function)
    values = list(arrays.values())
    calls = {"expert": jax.jit(row.expert), "ours": ours}
    if row.plain is not None:
        calls = {"plain": jax.jit(row.plain), **calls}
    return {name: _waiting(f, values) for name, f in calls.items()}


def _waiting(f: Callable[..., Any], values: list[Any]) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(f(*values))


def flat(found: Any) -> Any:
    """All numbers of a result in one array."""
    return np.concatenate([np.ravel(part) for part in jax.tree.leaves(found)])


def agree(name: str, row: Row) -> None:
    """All three say the same in float64, or AssertionError."""
    with jax.enable_x64(True):
        runs = contenders(row, inputs(row, "float64"), "float64")
        results = {who: run() for who, run in runs.items()}
    if "plain" in results:
        results["plain"] = jax.tree.map(row.view, results["plain"])
    results = {who: flat(found) for who, found in results.items()}
    reference = next(iter(results.values()))
    scale = float(np.abs(reference).max()) or 1.0
    for who, found in results.items():
        worst = float(np.abs(found - reference).max()) / scale
        assert worst <= row.tolerance, f"{name}: {who} is off by {worst:.1e}"


def times_of(run: Callable[[], Any]) -> int:
    """How many calls one timing takes, so that it lasts about 2 ms."""
    run()
    began = time.perf_counter()
    for _ in range(5):
        run()
    taken = (time.perf_counter() - began) / 5
    return max(1, min(200, int(2e-3 / taken)))


def repeated(run: Callable[[], Any], count: int) -> Callable[[], None]:
    """``count`` calls."""

    def several() -> None:
        for _ in range(count):
            run()

    return several


def main() -> int:
    """Time all rows and print the table."""
    print(SETTING)
    rows = {name: row for name, row in ROWS.items() if re.search(ARGUMENTS.only, name)}
    for name, row in rows.items():
        agree(name, row)
    figures: list[dict[str, object]] = []
    limits: list[Limit] = []
    for dtype in [ARGUMENTS.dtype] if ARGUMENTS.dtype else ["float32", "float64"]:
        shown: list[list[str]] = []
        taken: dict[str, float] = {}
        for name, row in rows.items():
            with jax.enable_x64(dtype == "float64"):
                runs = contenders(row, inputs(row, dtype), dtype)
                counts = {k: times_of(run) for k, run in runs.items()}
                found = interleaved(
                    {k: repeated(run, counts[k]) for k, run in runs.items()}, ARGUMENTS.repetitions
                )
            each = {k: found.time(k).median / counts[k] for k in runs}
            taken[name] = each["ours"]
            to_expert = _ratio(found, counts, "ours", "expert")
            limits.append(Limit(f"{name}, {dtype}: ours/expert", to_expert, 1.1))
            won, asked = "", ""
            if row.plain is not None:
                to_plain = _ratio(found, counts, "plain", "ours")
                limits.append(Limit(f"{name}, {dtype}: asked/found", row.at_least / to_plain, 1.0))
                won, asked = f"×{to_plain:.3g}", f"×{row.at_least:g}"
            if row.ten_times in taken:
                grown = each["ours"] / taken[row.ten_times]
                limits.append(Limit(f"{name}, {dtype}: time for 10 n / time for n", grown, 12.0))
                won, asked = f"{grown:.3g} for 10 n", "linear"
            times = [duration(each[k]) if k in each else "" for k in ("plain", "expert", "ours")]
            shown.append([name, *times, won, asked, f"{to_expert:.2f}"])
            figures.append({"row": name, "dtype": dtype, **each, "ours/expert": to_expert})
        head = [dtype, "plain", "expert", "ours", "plain/ours", "asked", "ours/expert"]
        print("\n" + table(head, shown), flush=True)
    return finish(ARGUMENTS, SETTING, figures, limits, {})


def _ratio(found: Times, counts: Mapping[str, int], above: str, below: str) -> float:
    """The median ratio of two contenders for one call."""
    return found.ratio(above, below).median * counts[below] / counts[above]


if __name__ == "__main__":
    raise SystemExit(main())
