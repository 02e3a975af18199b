"""Numerically dangerous expressions: are value and derivatives right to the stated tolerance?

Each case is an expression as a user types it, with a reference of 25 digits for its value, gradient
or second derivative.  ``symbols`` compiles value and derivatives of the typed expression jointly;
``tensors`` runs forward and ``backward`` on tensors with values; ``jax`` is plain JAX.

    python benchmarks/stability.py [FOLDER] [--only TEXT] [--verbose] [--ways symbols tensors jax]
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "codegen")]

import symgrad as sg  # noqa: E402 - found by the paths above
from symgrad.nn import functional as F  # noqa: E402 - found by the paths above

FOLDER = ROOT / "../shared/corpus/stability"
RENAMED = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctanh": "atanh",
           "arctan2": "atan2", "power": "pow"}  # fmt: skip
SAME = [
    "exp", "log", "log1p", "expm1", "sqrt", "abs", "square", "sin", "cos", "tan", "sinh", "cosh",
    "tanh", "erf", "erfc", "sigmoid", "matmul", "prod", "diagonal",
]  # fmt: skip
SPLITS = ("all", "must", "stretch", "float64", "float32")


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction with NumPy's keywords."""

    def reduced(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        dims = tuple(range(x.ndim)) if axis is None else axis
        return function(x, dims, keepdims) if dims != () else x

    return reduced


def larger(a: Any, b: Any) -> Any:
    """The larger of two; a number is a bound."""
    return sg.maximum(a, b) if isinstance(b, sg.Tensor) else sg.clamp(a, min=b)


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two; a number is a bound."""
    return sg.minimum(a, b) if isinstance(b, sg.Tensor) else sg.clamp(a, max=b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """The choice; numbers take the other side's dtype."""
    if not isinstance(a, sg.Tensor) and not isinstance(b, sg.Tensor):
        return a * condition.to(DTYPE[0]) + b * (~condition).to(DTYPE[0])
    return sg.where(condition, a, b)


DTYPE: list[Any] = [sg.float64]
NAMESPACE: dict[str, Any] = {
    **{name: getattr(sg, name) for name in SAME},
    **{name: getattr(sg, other) for name, other in RENAMED.items()},
    "relu": F.relu, "softmax": lambda x, axis=-1: sg.softmax(x, axis),
    "maximum": larger, "minimum": smaller, "logaddexp": sg.logaddexp,
    "sum": reduction(lambda x, d, k: sg.sum(x, d, keepdim=k)),
    "mean": reduction(lambda x, d, k: sg.mean(x, d, keepdim=k)),
    "var": reduction(lambda x, d, k: sg.var(x, d, correction=0, keepdim=k)),
    "std": reduction(lambda x, d, k: sg.std(x, d, correction=0, keepdim=k)),
    "max": reduction(lambda x, d, k: sg.amax(x, d, keepdim=k)),
    "min": reduction(lambda x, d, k: sg.amin(x, d, keepdim=k)),
    "norm": reduction(lambda x, d, k: sg.linalg.vector_norm(x, dim=d, keepdim=k)),
    "where": where, "clip": sg.clamp, "transpose": lambda x: x.mT,
    "det": sg.linalg.det, "inv": sg.linalg.inv, "cholesky": sg.linalg.cholesky,
    "inf": math.inf, "nan": math.nan, "pi": math.pi,
}  # fmt: skip


def build(case: dict[str, Any], env: dict[str, Any]) -> Any:
    """The typed expression; x != x keeps its meaning for tensors."""
    DTYPE[0] = getattr(sg, case["dtype"])
    return eval(case["expr"], {"__builtins__": {}, **NAMESPACE}, env)  # noqa: S307 - our own


def by_symbols(case: dict[str, Any], harness: Any) -> dict[str, Any]:
    """Value, gradient and second derivative compiled together from symbols without values."""
    variables, constants = harness.inputs(case)
    arrays = {**variables, **constants}
    dtype = {k: sg.bool if a.dtype == bool else getattr(sg, case["dtype"])
             for k, a in arrays.items()}  # fmt: skip
    made = {k: sg.symbol(k, a.shape, dtype[k]) for k, a in arrays.items()}
    value = build(case, made)
    wanted = [made[k] for k in case["wrt"]]
    check = case["check"]
    outputs = [value] if check in ("value", "both") else []
    if check in ("grad", "both"):
        outputs += sg.grad(value.sum(), wanted)
    if check == "grad2":
        (first,) = sg.grad(value.sum(), wanted[:1])
        outputs += sg.grad(first.sum(), wanted[:1])
    run = sg.compile(outputs)
    used = {s.params[0] for s in run.inputs}
    found = run(**{k: a for k, a in arrays.items() if k in used})
    found = found if isinstance(found, (list, tuple)) else [found]
    return packed(case, [np.asarray(a) for a in found])


def by_tensors(case: dict[str, Any], harness: Any) -> dict[str, Any]:
    """Forward and backward on tensors with values."""
    variables, constants = harness.inputs(case)
    made = {k: sg.tensor(a, requires_grad=True) for k, a in variables.items()}
    value = build(case, {**made, **{k: sg.tensor(a) for k, a in constants.items()}})
    wanted = [made[k] for k in case["wrt"]]
    check = case["check"]
    found = [value] if check in ("value", "both") else []
    if check in ("grad", "both"):
        found += [sg.zeros_like(x) if g is None else g for x, g in
                  zip(wanted, sg.autograd.grad(value.sum(), wanted, allow_unused=True),
                      strict=True)]  # fmt: skip
    if check == "grad2":
        (first,) = sg.autograd.grad(value.sum(), wanted[:1], create_graph=True)
        found += sg.autograd.grad(first.sum(), wanted[:1])
    return packed(case, [t.detach().numpy() for t in found])


def packed(case: dict[str, Any], found: list[np.ndarray]) -> dict[str, Any]:
    """The results as the harness names them."""
    rest = list(found)
    out: dict[str, Any] = {}
    if case["check"] in ("value", "both"):
        out["value"] = rest.pop(0)
    if case["check"] in ("grad", "both"):
        out["grad"] = dict(zip(case["wrt"], rest, strict=True))
    if case["check"] == "grad2":
        out["grad2"] = rest.pop(0)
    return out


WAYS: dict[str, Callable[[dict[str, Any], Any], dict[str, Any]]] = {
    "symbols": by_symbols,
    "tensors": by_tensors,
    "jax": lambda case, harness: harness.JaxAdapter().run(case),
}


def main() -> None:
    """Prints the table, and every case that fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", default=FOLDER)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--ways", nargs="*", default=["symbols", "tensors"], choices=list(WAYS))
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.folder))
    harness = importlib.import_module("run")
    cases = json.loads((Path(asked.folder) / "cases.json").read_text())
    cases = [c for c in cases if asked.only in c["id"]]
    for way in asked.ways:
        total: Counter[str] = Counter()
        right: Counter[str] = Counter()
        for case in cases:
            try:
                with np.errstate(all="ignore"):
                    out = WAYS[way](case, harness)
                result = harness.check(case, out)
                note = " ".join(
                    f"{k[:-4]} {result[k]:.1e}" for k in sorted(result) if k.endswith("_err")
                )
            except Exception as error:
                out, result = None, {"pass": False}
                note = f"{type(error).__name__}: {error}"[:150]
            kinds = ("all", case["difficulty"], case["dtype"], "group " + case["group"])
            total.update(kinds)
            if result["pass"]:
                right.update(kinds)
                continue
            print(f"{way:8s} {case['id']:32s} {case['difficulty']:8s} {case['expr']}   {note}")
            if asked.verbose and out is not None:
                print("    at  ", case["vars"], "\n    got ", out, "\n    want", case["ref"])
        for kind in (*SPLITS, *sorted(k for k in total if k.startswith("group"))):
            print(f"{way:8s} {kind:16s} {right[kind]:4d} of {total[kind]:4d}")


if __name__ == "__main__":
    main()
