"""Known derivative formulas: is symgrad's right, as short, as cheap; does it read back and typeset?

Each case's function is built with symgrad on symbols whose sizes are letters, and differentiated.
Columns, all of them counts of cases:

    right      the printed Python equals JAX to 1e-9 in float64, at three choices of sizes
    <=1.0 ...  operations of that text at most 1.0 and 1.5 times the known formula's
    flops      floating-point operations at most the known formula's as written: polynomials in
               the letters (_work.py), at a tall and at a wide setting
    memory     the same for the numbers that are alive at once
    parsed     the printed formula, in Unicode and in ASCII, read back and evaluated, is the same
    latex      its LaTeX compiles, by KaTeX and pdfLaTeX where they are installed

    python benchmarks/matrix_calculus.py [FOLDER] [--verbose] [--topic T] [--only TEXT] [--limit N]
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "codegen")]

import jax  # noqa: E402 - after the paths above
import numpy as np  # noqa: E402
from _corpus import derived, sizes_of  # noqa: E402
from _typeset import katex, pdflatex  # noqa: E402
from _work import Work, letters  # noqa: E402

import symgrad as sg  # noqa: E402
from symgrad.core.traverse import leaves  # noqa: E402
from symgrad.derivation.formula import Formula  # noqa: E402
from symgrad.derivation.python_form import namespace  # noqa: E402
from symgrad.evaluate import evaluate  # noqa: E402

FOLDER = ROOT / "../shared/corpus/matrix_calculus"
COLUMNS = ("cases", "right", "<=1.0", "<=1.5", "flops", "memory", "parsed", "latex")
SPANS = ((1000, 10), (10, 1000), (1000, 900))
"""Sizes of the first and the last letter: tall, wide, and where a wide setting is impossible."""


@dataclass
class Result:
    """What was found of one case: its texts, and a remark where a column fails."""

    text: str = ""
    latex: str = ""
    ratio: float = float("inf")
    remarks: dict[str, str] = field(default_factory=dict[str, str])


def wrong(got: Any, want: np.ndarray, lib: Any) -> str:
    """Empty where a value is right to 1e-9, else the reason."""
    if np.shape(got) != want.shape:
        return f"wrong shape: {np.shape(got)} for {want.shape}"
    return "" if lib.close(got, want, 1e-9) else "wrong value"


def judged(lib: Any, case: dict[str, Any], formula: Formula, tensors: Mapping[str, Any]) -> Result:
    """The texts of a formula evaluated at every size."""
    found = Result(formula.python())
    code = compile(found.text, "<formula>", "eval")
    try:
        found.latex = formula.latex()
    except Exception as problem:
        found.remarks["latex"] = f"{type(problem).__name__}: {problem}"
    read: list[Any] = []
    for spelling in ("unicode", "ascii"):
        try:
            spelled = getattr(formula, spelling)
            ranges = {formula.letters[x.data]: x.data.size for x in formula.indices}
            names = {**sizes_of(case), **tensors}
            read.append(sg.parse_formula(spelled, names, ranges, list(ranges)).expr())
        except Exception as problem:
            found.remarks.setdefault("parsed", f"{type(problem).__name__}: {problem}")
    third = {letter: size + 2 for letter, size in case["dims"].items()}
    for seed, dims in enumerate((case["dims"], case["dims_alt"], third)):
        env = lib.sample_env(case, dims, np.random.default_rng(seed))
        want = np.asarray(lib.derivative(jax, lib.jax_namespace(), case, env, dims))
        try:
            reason = wrong(eval(code, {**namespace(), **dims, **env}), want, lib)  # noqa: S307
        except Exception as problem:
            reason = f"text fails: {type(problem).__name__}: {problem}"
        if reason:
            found.remarks.setdefault("right", reason)
        feeds = {tensors[word].expr(): value for word, value in env.items()}
        for e in read:
            here = {leaf: v for leaf, v in feeds.items() if leaf in leaves([e])}
            reason = wrong(evaluate([e], here, dims)[0], want, lib)
            if reason:
                found.remarks.setdefault("parsed", f"{reason}: {formula.unicode}")
    ops = lib.count_ops(found.text, consts=case["dims"])["total"]
    found.ratio = max(ops, 1) / max(case["complexity"], 1)
    return found


def leaner(lib: Any, case: dict[str, Any], found: Result) -> None:
    """Remarks where the text takes more work or memory than the known formula."""
    words = list(case["dims"])
    table = letters(words)
    names = {w: lib.concrete_shape(spec, table) for w, spec in case["variables"].items()}
    ours, known = (Work(text, names, table) for text in (found.text, case["formula"]))
    settings = [
        {
            w: round(first * (last / first) ** (k / max(len(words) - 1, 1)))
            for k, w in enumerate(words)
        }
        for first, last in SPANS
    ]
    fits = [s for s in settings if all(
        size > 0 for spec in case["variables"].values() for size in lib.concrete_shape(spec, s)
    )]  # fmt: skip
    fits = [s for s in fits if known.at(s)[0] >= 0]  # a window fits its axis
    for sizes in fits[:2]:
        for column, a, b in zip(("flops", "memory"), ours.at(sizes), known.at(sizes), strict=True):
            if a > b * (1 + 1e-12):
                found.remarks.setdefault(column, f"{a:.6g} for {b:.6g} at {sizes}")


def with_imports(text: str, env: Any, dims: Any, functions: Any) -> Any:
    """The value of a corpus expression; JAX imports modules while it is evaluated."""
    return eval(text, {**functions, **dims, **env})  # noqa: S307


def late(*_: Any) -> None:
    """The alarm of a case that takes too long."""
    raise TimeoutError("over the time limit")


def attempt(lib: Any, case: dict[str, Any], seconds: int) -> Result:
    """All that is found of one case."""
    found = Result()
    signal.alarm(seconds)
    try:
        found = judged(lib, case, *derived(case))
        leaner(lib, case, found)
    except Exception as problem:
        reason = f"{type(problem).__name__}: {problem}"
        if not found.text:
            found.remarks.update(dict.fromkeys(("right", "parsed", "latex"), reason))
        found.remarks.update(dict.fromkeys(("flops", "memory"), reason))
    finally:
        signal.alarm(0)
    if found.ratio > 1:
        found.remarks["<=1.0"] = f"{found.ratio:.2f} of the known length"
    if found.ratio > 1.5:
        found.remarks["<=1.5"] = ""
    return found


def typeset(results: list[Result], folder: Path | None) -> str:
    """Remarks where LaTeX does not compile; what was used."""
    used: list[str] = []
    results = [r for r in results if r.latex]
    texts = [r.latex for r in results]
    for word, said in (("KaTeX", katex(texts, folder)), ("pdfLaTeX", pdflatex(texts))):
        if said is None:
            continue
        used.append(word)
        for result, problem in zip(results, said, strict=True):
            if problem:
                result.remarks.setdefault("latex", f"{word}: {problem}")
    return f"LaTeX by {' and '.join(used)}" if used else "LaTeX not compiled: no KaTeX, no pdfLaTeX"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--verbose", action="store_true", help="say what each column misses")
    parser.add_argument("--topic", default="", help="cases whose topic contains this")
    parser.add_argument("--only", default="", help="cases whose id contains this")
    parser.add_argument("--limit", type=int, help="so many cases")
    parser.add_argument("--seconds", type=int, default=30, help="for one case")
    parser.add_argument("--katex", type=Path, help="a folder in which `npm install katex` was run")
    options = parser.parse_args()
    if not (options.folder / "cases.json").exists():
        print(f"no corpus at {options.folder}: nothing measured")
        return
    sys.path.insert(0, str(options.folder))
    lib: Any = importlib.import_module("corpus_lib")
    lib.evaluate = with_imports
    jax.config.update("jax_enable_x64", True)
    signal.signal(signal.SIGALRM, late)
    cases = [c for c in lib.load_cases(options.folder / "cases.json")
             if options.only in c["id"] and options.topic in c["topic"]][: options.limit]  # fmt: skip
    start = time.perf_counter()
    results: list[Result] = []
    for k, case in enumerate(cases):
        if sys.stderr.isatty():
            print(f"\r{k + 1}/{len(cases)} {case['id']:40}", end="", file=sys.stderr, flush=True)
        results.append(attempt(lib, case, options.seconds))
    used = typeset(results, options.katex)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for case, found in zip(cases, results, strict=True):
        row = {h: h not in found.remarks for h in COLUMNS}
        table[case["topic"]].update(row)
        table["all"].update(row)
        if options.verbose and found.remarks:
            print(
                f"\n{case['id']}\n    {case['function']}\n    {found.text}\n    {case['formula']}"
            )
            for column, remark in found.remarks.items():
                print(f"  {column}: {remark[:300]}")
    print(f"\n{'topic':24}" + "".join(f"{h:>8}" for h in COLUMNS))
    for topic in sorted(table, key=lambda t: t == "all"):
        print(f"{topic:24}" + "".join(f"{table[topic][h]:8d}" for h in COLUMNS))
    if cases:
        total = table["all"]
        print(f"{'%':24}" + "".join(f"{100 * total[h] / len(cases):8.1f}" for h in COLUMNS))
    print(f"{used}; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
