"""Steps of random programs that people type and rules rewrite: each is one text, in symgrad and in jnp.

``x`` and ``y`` are two values of one shape (x also negated, doubled or moved), ``p`` and ``q`` are
positive.  Every rewrite rule has a text here that it rewrites.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, elementwise, reduce_sum, scale
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial
from symgrad.ops.axis import expanded
from symgrad.ops.index import onehot as onehot_of
from tests.random_maps import MAPS
from tests.random_programs import CLEAR, Plan, Program, RefusedError

TEXTS = """
log(1 + exp(x))
log1p(exp(x))
1 / (1 + exp(-x))
1 / (1 + exp(x))
exp(x) / (1 + exp(x))
(1 + exp(x)) ** -2
y * exp(x) * sigmoid(-x)
exp(x) * sigmoid(-x)
log(sigmoid(x))
log(1 - sigmoid(x))
exp(x) / spread(total(exp(x)), x)
log(total(exp(x)))
log(exp(x) / spread(total(exp(x)), x))
y * softplus(-x) + (1 - y) * softplus(x)
-y * log(sigmoid(x)) - (1 - y) * log(1 - sigmoid(x))
exp(x) + exp(-x)
exp(x) - exp(-x)
sigmoid(x) - 1
sigmoid(x) - 1 / 2
erf(x) - 1
erf(x) + 1
erfc(x) - 1
erfc(x) - 2
tanh(x) + 1
tanh(x) - 1
1 - tanh(x)
exp(x) - 1
expm1(x) + 1
cosh(x) - 1
cos(x) - 1
cos(x) + 1
1 - tanh(x) ** 2
1 - sin(x) ** 2
1 - cos(x) ** 2
cosh(x) ** 2 - 1
1 - sigmoid(x) ** 2
1 - above(x)
(p + 1) ** 0.5 - p ** 0.5
(p + 1) ** -0.5 - p ** -0.5
1 / (p + 1) - 1 / p
sin(x + y) - sin(x)
cos(x + 1) - cos(x)
tan(x / 4 + 0.1) - tan(x / 4)
atan(x + y) - atan(x)
exp(x + y) - exp(x)
log(p + 1) - log(p)
log(p) - log(q)
sigmoid(x + y) - sigmoid(x)
erf(x + y) - erf(x)
erf(x) - erf(y)
erfc(x) - erfc(y)
x * x - y * y
(x + y) ** 2 - x ** 2
softplus(x + 1) - softplus(x)
minimum(x, y) - log1p(exp(-abs(x - y)))
exp(-x * x) * x * x
hypot(x, p) - x
(x * x + p) ** 0.5 - x
maximum(x, y) + log1p(exp(-abs(x - y)))
mean(x * x) - mean(x) ** 2
log(sigmoid(x) * exp(y))
log(p * q)
log(x + (x * x + 1) ** 0.5)
log(exp(x) + exp(y))
log(exp(x) + exp(y) + exp(-x))
log(0.25 * exp(x) + 0.75 * exp(y))
log(total(sigmoid(y) * exp(x)))
sinh(x) / cosh(x)
sin(x) / cos(x / 8)
exp(x) * y * sigmoid(-x) * sigmoid(x)
exp(x) * exp(y)
exp(x) / exp(y)
(1 + x * x) ** 0.5 / (1 + x * x)
p ** 1.5 * p ** 0.5
hypot(x, p) ** 2
expm1(x) * sigmoid(-x)
p * log(p)
exp(x) / (exp(x) + exp(y))
exp(x) / (exp(x) + exp(y)) ** 2
total(exp(x) * y) / total(exp(x))
(2 * exp(x)) ** -1
(3 * p) ** 0.5
1 / (2 + 3 * exp(x))
exp(x) / (exp(x) + 7.5)
(x * x + p * p) ** 0.5
total(p * p) ** 0.5
x / spread(total(x * x + 0.1) ** 0.5, x)
above(x) * exp(-x)
number(onehot(x))
""".strip().splitlines()
MOVED = ("x", "x", "(-x)", "(2 * x)", "(x + 1)")
"""What the text says instead of x."""


def _total(e: Expr) -> Expr:
    return reduce_sum(e, [e.ndim - 1])


def _mean(e: Expr) -> Expr:
    return scale(monomial(e.shape[-1]) ** -1, _total(e))


def _above(e: Expr) -> Expr:
    return cast(elementwise("gt", e, constant(0, e.dtype)), e.dtype)


NUMERIC: dict[str, Callable[..., Any]] = {
    **MAPS,
    "atan": jnp.arctan,
    "total": lambda x: jnp.sum(x, -1), "mean": lambda x: jnp.mean(x, -1),
    "spread": lambda s, x: jnp.broadcast_to(s[..., None], x.shape),
    "above": lambda x: (x > 0).astype(x.dtype),
    "onehot": lambda x: jax.nn.one_hot((x > 0).astype(int), 2, dtype=int),
    "number": lambda x: x.astype(jnp.float64),
    **{word: getattr(jnp, word) for word in (
        "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "hypot",
        "maximum", "minimum", "abs",
    )},
}  # fmt: skip
SYMBOLIC: dict[str, Callable[..., Any]] = {
    **{word: partial(elementwise, word) for word in NUMERIC},
    "total": _total, "mean": _mean, "above": _above,
    "spread": lambda s, x: expanded(s, -1, x.shape),
    "onehot": lambda x: onehot_of(cast(_above(x), dtypes.int64), 2, dtypes.int64),
    "number": lambda x: cast(x, dtypes.float64),
}  # fmt: skip


def _step(text: str) -> Plan:
    words = set(re.findall(r"[a-z]\w*", text))
    names = [w for w in "xypq" if w in words]

    def plan(program: Program) -> None:
        axes = 1 if words & {"total", "mean"} else 0
        first = program.operand(lambda node: node.value.ndim >= axes, program.shape() or (3,))
        shape = program.nodes[first].expr.shape
        used = [first, *(
            program.operand(lambda node: node.expr.shape == shape, shape) for _ in names[1:]
        )]  # fmt: skip
        for at, word in enumerate(names):
            used[at] = program.within(used[at], "positive" if word in "pq" else "real")
        typed = re.sub(r"\bx\b", program.pick(MOVED), text)

        values = [program.nodes[k].value for k in used]
        distances: list[float] = []

        def said(scope: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
            return lambda *given: eval(typed, {**scope, **dict(zip(names, given, strict=True))})

        with jax.enable_x64(True):
            said({**NUMERIC, **_measured(distances)})(*values)
        if min(distances, default=1.0) < CLEAR:
            raise RefusedError
        program.emit(typed, said(SYMBOLIC), said(NUMERIC), *used)

    return plan


def _measured(distances: list[float]) -> dict[str, Callable[..., Any]]:
    """The functions with a kink, which note how far from it they are asked."""

    def noting(word: str) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            distances.append(float(np.abs(given[0] - (given[1] if given[1:] else 0)).min()))
            return NUMERIC[word](*given)

        return noted

    return {word: noting(word) for word in ("above", "onehot", "abs", "maximum", "minimum")}


PATTERN_STEPS: dict[str, Plan] = {text: _step(text) for text in TEXTS}
