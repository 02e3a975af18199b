"""The corpus' language of expressions on symgrad's tensors: its functions, and a case's derivative."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import symgrad as sg
from symgrad.core.facts import FACTS
from symgrad.derivation.formula import Formula

F = sg.nn.functional
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow, ast.MatMult: operator.matmul,
    ast.FloorDiv: operator.floordiv, ast.Gt: operator.gt, ast.Lt: operator.lt,
    ast.GtE: operator.ge, ast.LtE: operator.le, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
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


def larger(a: Any, b: Any) -> Any:
    """The larger of two tensors, or of a tensor and a number."""
    if not isinstance(a, sg.Tensor):
        a, b = b, a
    return sg.maximum(a, b) if isinstance(b, sg.Tensor) else sg.clamp(a, min=b)


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
    "maximum": larger, "sqrt": lambda a: sg.sqrt(a) if isinstance(a, sg.Tensor) else a**0.5,
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


def sizes_of(case: dict[str, Any]) -> dict[str, Any]:
    """The sizes of a case by their letters."""
    return {letter: sg.symbol("size_" + letter, letter).shape[0] for letter in case["dims"]}


def derived(case: dict[str, Any]) -> tuple[Formula, dict[str, Any]]:
    """symgrad's derivative of a case, and the tensors of its variables."""
    scope = sizes_of(case)
    for word, spec in case["variables"].items():
        sizes = ",".join(str(s) for s in spec["shape"])
        facts = [spec["domain"]] if spec["domain"] in FACTS else []
        scope[word] = sg.symbol(word, sizes, sg.float64, *facts)
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
    tensors = {word: scope[word] for word in case["variables"]}
    return found.formula(), tensors
