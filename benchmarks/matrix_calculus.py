"""Known derivative formulas: does ``.formula().python()`` equal JAX, and is it as short?

Each case's function is built with symgrad on symbols whose sizes are letters, differentiated, and
its printed Python evaluated at three choices of sizes.  A case is right when all agree to 1e-9.  Columns:
operations at most 1.0 and 1.5 times the known formula's; work (flops) and peak memory at most the
known formula's, with every letter 1000.

    python benchmarks/matrix_calculus.py [FOLDER] [--verbose] [--only TEXT]
"""

from __future__ import annotations

import argparse
import ast
import importlib
import operator
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _work import work

import symgrad as sg
from symgrad.derivation.python_form import namespace

FOLDER = Path(__file__).resolve().parents[1] / "../shared/corpus/matrix_calculus"
F = sg.nn.functional
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow, ast.MatMult: operator.matmul,
    ast.FloorDiv: operator.floordiv, ast.Gt: operator.gt, ast.Lt: operator.lt,
    ast.GtE: operator.ge, ast.LtE: operator.le, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
COLUMNS = ("cases", "right", "<=1.0", "<=1.5", "flops", "memory")
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction with NumPy's keywords."""

    def reduced(a: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return function(a) if axis is None else function(a, dim=axis, keepdim=keepdims)

    return reduced


def logsumexp(a: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Over one axis, or all."""
    return sg.logsumexp(a, tuple(range(a.ndim)) if axis is None else axis, keepdim=keepdims)


def correlate(x: Any, w: Any) -> Any:
    """N-D valid cross-correlation."""
    return CONV[x.ndim](x[None, None], w[None, None])[0, 0]


def convolve(x: Any, w: Any) -> Any:
    """N-D full convolution."""
    padding = tuple(s - 1 for s in w.shape)
    flipped = sg.flip(w, tuple(range(w.ndim)))
    return CONV[x.ndim](x[None, None], flipped[None, None], padding=padding)[0, 0]


SAME = [
    "trace",
    "exp",
    "log",
    "tanh",
    "sigmoid",
    "relu",
    "diag",
    "outer",
    "kron",
    "where",
    "sqrt",
    "abs",
    "sign",
    "sin",
    "cos",
    "tril",
]
FUNCTIONS: dict[str, Any] = {
    **{word: getattr(sg, word) for word in SAME},
    "sum": reduction(sg.sum), "mean": reduction(sg.mean), "logsumexp": logsumexp,
    "norm": sg.norm, "softmax": lambda a: sg.softmax(a, -1),
    "inv": sg.linalg.inv, "det": sg.linalg.det, "solve": sg.linalg.solve,
    "cholesky": sg.linalg.cholesky, "logdet": lambda a: sg.linalg.slogdet(a)[1],
    "maximum": lambda a, b: sg.clamp(a, min=b) if isinstance(b, (int, float)) else sg.maximum(a, b),
    "vec": lambda a: a.reshape(-1), "correlate": correlate, "convolve": convolve,
    "eye": lambda n: sg.eye(n, dtype=sg.float64),
    "ones": lambda *s: sg.ones(*s, dtype=sg.float64),
    "zeros": lambda *s: sg.zeros(*s, dtype=sg.float64),
}  # fmt: skip


def build(node: ast.AST, scope: dict[str, Any]) -> Any:
    """The value of a corpus expression, by a walk over its syntax."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=word):
            return scope[word] if word in scope else FUNCTIONS[word]
        case ast.BinOp(left=left, op=op, right=right):
            return BINARY[type(op)](build(left, scope), build(right, scope))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return BINARY[type(op)](build(left, scope), build(right, scope))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -build(operand, scope)
        case ast.Attribute(value=value, attr="T"):
            inner = build(value, scope)
            return inner.T if inner.ndim == 2 else inner
        case ast.Call(func=func, args=args, keywords=keywords):
            given = {str(k.arg): build(k.value, scope) for k in keywords}
            return build(func, scope)(*(build(a, scope) for a in args), **given)
        case _:
            raise ValueError(f"unexpected syntax {ast.dump(node)[:60]}")


def derived(case: dict[str, Any]) -> str:
    """The Python text of symgrad's derivative of a case."""
    scope: dict[str, Any] = {
        letter: sg.symbol("size_" + letter, letter).shape[0] for letter in case["dims"]
    }
    for word, spec in case["variables"].items():
        sizes = ",".join(str(s) for s in spec["shape"])
        scope[word] = sg.symbol(word, sizes, sg.float64, spec["domain"])
    tree = ast.parse(case["function"], mode="eval").body
    x = scope[case["wrt"]]

    def f(at: Any) -> Any:
        return build(tree, {**scope, case["wrt"]: at})

    kind, flat = case["kind"], case["layout"] == "flat"
    if kind == "gradient":
        found = sg.grad(f(x), x)
    elif kind == "hvp":
        found = sg.grad((sg.grad(f(x), x) * scope[case["direction"]]).sum(), x)
    elif kind == "jacobian":
        found = sg.func.jacrev(f)(x)
        found = found.reshape(f(x).numel(), x.numel()) if flat else found
    else:
        found = sg.func.hessian(f)(x)
        found = found.reshape(x.numel(), x.numel()) if flat else found
    return found.formula().python()


def judged(lib: Any, case: dict[str, Any], text: str) -> str:
    """Empty when the text is right at every size, else the reason."""
    code = compile(text, "<formula>", "eval")
    third = {letter: size + 2 for letter, size in case["dims"].items()}
    for seed, dims in enumerate((case["dims"], case["dims_alt"], third)):
        env = lib.sample_env(case, dims, np.random.default_rng(seed))
        want = np.asarray(lib.derivative(jax, lib.jax_namespace(), case, env, dims))
        try:
            got = eval(code, {**namespace(), **dims, **env})  # noqa: S307
        except Exception as problem:
            return f"text fails: {type(problem).__name__}: {problem}"
        if np.shape(got) != want.shape:
            return f"wrong shape: {np.shape(got)} for {want.shape}"
        if not lib.close(got, want, 1e-9):
            return f"wrong value at {dims}"
    return ""


def late(*_: Any) -> None:
    """The alarm of a case that takes too long."""
    raise TimeoutError("over the time limit")


def leaner(lib: Any, case: dict[str, Any], text: str) -> tuple[bool, bool]:
    """Does the text take at most the work, and the memory, of the known formula?"""
    sizes = dict.fromkeys(case["dims"], 1000)
    names = {word: lib.concrete_shape(spec, sizes) for word, spec in case["variables"].items()}
    found, known = work(text, names, sizes), work(case["formula"], names, sizes)
    less = [a <= 1.005 * b + 8 for a, b in zip(found, known, strict=True)]
    return less[0], less[1]


def attempt(lib: Any, case: dict[str, Any], limit: int) -> tuple[str, float, str]:
    """(reason of failure or empty, length ratio, text)."""
    text = ""
    signal.alarm(limit)
    try:
        text = derived(case)
        reason = judged(lib, case, text)
        ops = lib.count_ops(text, consts=case["dims"])["total"]
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}", float("inf"), text
    finally:
        signal.alarm(0)
    return reason, max(ops, 1) / max(case["complexity"], 1), text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--verbose", action="store_true", help="list failing and long cases")
    parser.add_argument("--only", default="", help="cases whose id or topic contains this")
    parser.add_argument("--limit", type=int, default=20, help="seconds for one case")
    options = parser.parse_args()
    if not (options.folder / "cases.json").exists():
        print(f"no corpus at {options.folder}: nothing measured")
        return
    sys.path.insert(0, str(options.folder))
    lib = importlib.import_module("corpus_lib")
    jax.config.update("jax_enable_x64", True)
    signal.signal(signal.SIGALRM, late)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    for case in lib.load_cases(options.folder / "cases.json"):
        if options.only not in case["id"] and options.only not in case["topic"]:
            continue
        reason, ratio, text = attempt(lib, case, options.limit)
        lean = leaner(lib, case, text) if not reason else (False, False)
        row = {"cases": 1, "right": not reason, "<=1.0": not reason and ratio <= 1,
               "<=1.5": not reason and ratio <= 1.5, "flops": lean[0], "memory": lean[1]}  # fmt: skip
        table[case["topic"]].update(row)
        table["all"].update(row)
        if reason:
            reasons[reason.split(":")[0].split(" at ")[0]] += 1
        if options.verbose and (reason or ratio > 1):
            print(f"{case['id']}  {reason[:160] or f'ratio {ratio:.2f}'}\n    {case['function']}")
            print(f"    {text[:200]}\n    {case['formula'][:200]}", flush=True)
    topics = [t for t in table if t != "all"] + ["all"] * ("all" in table)
    print(f"{'topic':28}" + "".join(f"{h:>8}" for h in COLUMNS))
    for topic in topics:
        columns = (table[topic][h] for h in COLUMNS)
        print(f"{topic:28}" + "".join(f"{c:8d}" for c in columns))
    for reason, number in reasons.most_common():
        print(f"{number:5d}  {reason}")


if __name__ == "__main__":
    main()
