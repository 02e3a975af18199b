"""``python -m tests.parity [--tier A] [--limit 8] [--dtypes …] [name …]``: the table, tier by tier."""

from __future__ import annotations

import argparse
import time
from collections import Counter

import torch

from tests.parity.driver import OPEN, WANTED, Found, check, targets


def main() -> None:
    """Print what is missing and what differs, then the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity")
    parser.add_argument("--tier", choices=["A", "B"])
    parser.add_argument("--limit", type=int, default=8, help="samples per dtype")
    parser.add_argument("--dtypes", nargs="+", default=[str(d)[6:] for d in WANTED])
    parser.add_argument("--write", action="store_true", help="note what is open in open.txt")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    wanted = tuple(getattr(torch, name) for name in options.dtypes)
    results: list[Found] = []
    for target in targets():
        if options.tier and target.tier != options.tier:
            continue
        if options.names and not {target.title, target.name} & set(options.names):
            continue
        start = time.perf_counter()
        found = check(target, options.limit, wanted)
        seconds = time.perf_counter() - start
        results.append(found)
        if found.state != "equal" or seconds > 5 or options.names:
            word = f"{target.tier}{target.weight} {target.title}: {found.state}"
            print(f"{word} ({found.equal} agree, {seconds:.1f} s)", flush=True)
            for reason, times in found.wrong.items():
                print(f"    {times} × {reason}", flush=True)
    if options.write:
        lines = [f"{f.target.title} {f.state} {next(iter(f.wrong), '')}".strip()
                 for f in results if f.state != "equal"]  # fmt: skip
        OPEN.write_text("\n".join(lines) + "\n")
    for tier in ("A", "B"):
        part = [f for f in results if f.target.tier == tier]
        if part:
            counts = Counter(f.state for f in part)
            weights: Counter[str] = Counter()
            for f in part:
                weights[f.state] += f.target.weight
            listed = ", ".join(f"{k} {n} (weight {weights[k]})" for k, n in counts.items())
            print(f"tier {tier}: {len(part)} entries, {listed}")


if __name__ == "__main__":
    main()
