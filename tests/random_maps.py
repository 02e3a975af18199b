"""Steps of random programs: elementwise operations, products, sums and moves of axes.

Every elementwise operation of the table is drawn by itself: in jnp it is the function named in
``MAPS``, one of the same name, or its row's own JAX form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import symgrad.ops  # noqa: F401  (fills the table)
from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_shapes,
    broadcast_to,
    cast,
    constant,
    contract,
    delta,
    elementwise,
    permute,
    product,
    reduce_sum,
    scale,
    squeeze,
    unsqueeze,
)
from symgrad.core.expr import Expr
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import monomial, size_product
from symgrad.errors import ShapeError
from symgrad.ops.axis import along
from tests.op_rows import ROWS
from tests.random_programs import (
    CLEAR,
    MOST_ENTRIES,
    Array,
    Node,
    Plan,
    Program,
    RefusedError,
    extent_of,
)

MAPS: dict[str, Callable[..., Any]] = {
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "erfinv": jax.scipy.special.erfinv,
    "lgamma": jax.scipy.special.gammaln,
    "relu": jax.nn.relu,
    "detach": jax.lax.stop_gradient,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
}


def _named(op: Op) -> Callable[..., Any]:
    """The function in jnp: from the table above, of the same name, or the row's JAX form."""
    if op.name in MAPS:
        return MAPS[op.name]
    if hasattr(jnp, op.name):
        return getattr(jnp, op.name)
    text = re.sub(r"\{(\d+)\}", r"a[\1]", op.template.form("jax"))
    return eval(f"lambda *a: {text}", {"jax": jax, "jnp": jnp})


def _whole(x: Array) -> bool:
    return bool(np.abs(x - np.round(x)).min() > CLEAR)


def _differ(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).min() > CLEAR)


def _quotient(a: Array, b: Array) -> bool:
    return bool(np.abs(b).min() > 0.1) and _whole(a / b)


SMOOTH: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(("floor", "ceil", "trunc"), _whole),
    "round": lambda x: _whole(x + 0.5),
    **{
        name: lambda x: bool(np.abs(x).min() > CLEAR) for name in ("abs", "sign", "relu", "signbit")
    },
    **dict.fromkeys(("maximum", "minimum", "gt", "ge", "lt", "le", "eq", "ne"), _differ),
    **dict.fromkeys(("remainder", "fmod", "floor_divide"), _quotient),
    **{  # near 0 JAX's derivatives of the quotient lose the digits that ours keep
        name: lambda x: bool(np.abs(x).min() > 0.1)
        for name in OPS
        if name.endswith(("_ratio", "_ratio_slope"))
    },
    "atan2": lambda a, b: bool(np.hypot(a, b).min() > 0.2 and np.abs(b).min() > CLEAR),
}
"""Where a function of one or two arguments has derivatives."""


def _joined(program: Program, *places: int) -> Callable[[Node], bool]:
    """Does a value broadcast with these, to a modest size?"""
    shapes = [program.nodes[k].expr.shape for k in places]

    def fits(node: Node) -> bool:
        try:
            broadcast_shapes([*shapes, node.expr.shape])
        except ShapeError:
            return False
        together = np.broadcast_shapes(
            node.value.shape, *[program.nodes[k].value.shape for k in places]
        )
        return int(np.prod(together)) <= MOST_ENTRIES

    return fits


def _condition(program: Program, k: int) -> None:
    """A value compared with a number."""
    name = program.pick(("gt", "ge", "lt", "le", "ne", "eq"))
    number = program.pick((Fraction(1, 8), Fraction(-1, 4)))
    program.emit(
        f"{name} {number}", lambda x: elementwise(name, x, constant(number, x.dtype)),
        lambda x: MAPS[name](x, float(number)), k,
        clear=lambda x: _differ(x, np.asarray(float(number))),
    )  # fmt: skip


def _operands(program: Program, kinds: Sequence[str]) -> list[int]:
    """Values that broadcast with each other; a condition is asked where there is none."""
    found: list[int] = []
    for kind in kinds:
        fits = _joined(program, *found)
        first = program.nodes[found[-1]].expr.shape if found else None
        if kind == "b" and not (program.choose(3) and any(
            n.kind == "b" and fits(n) for n in program.nodes
        )):  # fmt: skip
            _condition(program, program.operand(fits, first))
        found.append(program.operand(fits, first, kind))
    return found


def _map(op: Op) -> Plan:
    domains = [domain for _, domain in ROWS[op.name].args]
    kinds = ["b" if d == "bool" else "f" for d in domains]
    function = _named(op)
    if all(d.startswith("below ") for d in domains):
        return _of_integers(op, function, [int(d.removeprefix("below ")) for d in domains])

    def plan(program: Program) -> None:
        places = [
            k if kind == "b" else program.within(k, domain)
            for k, kind, domain in zip(_operands(program, kinds), kinds, domains, strict=True)
        ]
        program.emit(op.name, lambda *e: elementwise(op, *e), function, *places,
                     clear=SMOOTH.get(op.name))  # fmt: skip

    return plan


def _of_integers(op: Op, function: Callable[..., Any], limits: Sequence[int]) -> Plan:
    """A function of whole numbers, on new leaves."""

    def plan(program: Program) -> None:
        shape = program.shape()
        places = [program.new(shape, dtypes.int64, below) for below in limits]
        program.emit(op.name, lambda *e: elementwise(op, *e), function, *places)

    return plan


POWERS = ("power", "flat_power", "zero_power")
"""Powers that differ at 0 alone."""


def _power(name: str) -> Plan:
    def plan(program: Program) -> None:
        p = Fraction(*program.pick(((1, 2), (-1, 1), (-1, 2), (-2, 1), (5, 2), (-3, 1))))
        k = program.within(program.operand(), "positive")

        def build(x: Expr) -> Expr:
            return x**p if name == "power" else elementwise(name, x, statics=(p,))

        program.emit(f"{name} {p}", build, lambda x: x ** float(p), k)

    return plan


def _polygamma(program: Program) -> None:
    order = program.choose(2)
    k = program.within(program.operand(), "positive")
    program.emit(
        f"polygamma {order}", lambda x: elementwise("polygamma", x, statics=(order,)),
        lambda x: jax.scipy.special.polygamma(order, x) if order else jax.scipy.special.digamma(x),
        k,
    )  # fmt: skip


def _cast(program: Program) -> None:
    """A float32 leaf, or the indicator of a condition: what has no rounding of its own."""
    if program.choose(2):
        k = program.operand(kind=program.pick("bi"))
    else:
        k = program.new(program.shape(), dtypes.float32)
    program.emit("cast", lambda x: cast(x, dtypes.float64), lambda x: x.astype(jnp.float64), k)


def _one(program: Program, name: str, k: int) -> int:
    """A map of one argument."""
    return program.emit(name, lambda x: elementwise(name, x), _named(OPS[name]), k)


def _plus(program: Program, c: int, k: int) -> int:
    return program.emit(f"{c} +", lambda x: c + x, lambda x: c + x, k)


def _minus(program: Program, k: int) -> int:
    return program.emit("-", lambda x: -x, lambda x: -x, k)


def _over(program: Program, a: int, b: int) -> int:
    return program.emit("/", lambda x, y: x / y, lambda x, y: x / y, a, b)


def _times(program: Program, a: int, b: int) -> int:
    return program.emit("*", product, lambda x, y: x * y, a, b)


def _exp_sum(program: Program, k: int) -> tuple[int, int]:
    """(exp, its sum along the last axis, which stays)."""
    e = _one(program, "exp", k)
    return e, program.emit(
        "sum -1", lambda x: unsqueeze(reduce_sum(x, [x.ndim - 1]), [x.ndim - 1]),
        lambda x: jnp.sum(x, axis=-1, keepdims=True), e,
    )  # fmt: skip


def _logistic(program: Program) -> None:
    """Spellings that simplification replaces by softplus and the logistic function."""
    x = program.bounded(program.operand())
    which = program.choose(7)
    if which == 0:
        _one(program, "log", _plus(program, 1, _one(program, "exp", x)))
    elif which == 1:
        _one(program, "log1p", _one(program, "exp", x))
    elif which == 2:
        e = _one(program, "exp", _minus(program, x))
        program.emit("1 /", lambda y: 1 / y, lambda y: 1 / y, _plus(program, 1, e))
    elif which == 3:
        e = _one(program, "exp", x)
        _over(program, e, _plus(program, 1, e))
    elif which == 4:
        _one(program, "log", _one(program, "sigmoid", x))
    elif which == 5:
        s = _minus(program, _one(program, "sigmoid", x))
        _one(program, "log", _plus(program, 1, s))
    else:
        y = program.bounded(program.operand(_joined(program, x)))
        first = _times(program, y, _one(program, "softplus", _minus(program, x)))
        other = _plus(program, 1, _minus(program, y))
        second = _times(program, other, _one(program, "softplus", x))
        program.emit("+", lambda a, b: a + b, lambda a, b: a + b, first, second)


def _normalized(program: Program) -> None:
    """Spellings that simplification replaces by softmax and logsumexp."""
    x = program.bounded(program.operand(lambda n: n.value.ndim > 0, (program.size(3),)))
    which = program.choose(3)
    if which == 0:
        _over(program, *_exp_sum(program, x))
    elif which == 1:
        _one(program, "log", _exp_sum(program, x)[1])
    else:
        s = program.emit("softmax -1", lambda y: along("softmax", y), jax.nn.softmax, x)
        _one(program, "log", s)


def _compare_integers(program: Program) -> None:
    name = program.pick(("eq", "ne", "gt", "ge", "lt", "le"))
    a = program.operand(kind="i")
    b = program.operand(_joined(program, a), kind="i")
    program.emit(name, lambda x, y: elementwise(name, x, y), MAPS[name], a, b)


# ------------------------------------------------------------------ the kinds


def _sum(program: Program) -> None:
    a, b = (program.bounded(k, 8) for k in _operands(program, "ff"))
    c, d = (program.pick((1, -1, 2, Fraction(-1, 3), 0.7)) for _ in range(2))
    program.emit(f"{c} a + {d} b + 1", lambda x, y: c * x + d * y + 1,
                 lambda x, y: float(c) * x + float(d) * y + 1, a, b)  # fmt: skip


def _product(program: Program) -> None:
    kinds = "ff" if program.choose(3) else "fff"
    places = [program.bounded(k) for k in _operands(program, kinds)]

    def multiplied(*factors: Any) -> Any:
        total = factors[0]
        for f in factors[1:]:
            total = total * f
        return total

    program.emit("product", product, multiplied, *places)


def _quotient_of(program: Program) -> None:
    a, b = _operands(program, "ff")
    a, b = program.bounded(a), program.within(b, "positive")
    program.emit("/", lambda x, y: x / y, lambda x, y: x / y, a, b)


def _matmul(program: Program) -> None:
    a = program.bounded(program.operand(lambda n: n.value.ndim >= 1, program.shape()))
    shape = program.nodes[a].expr.shape
    if not shape:
        raise RefusedError

    def fits(node: Node) -> bool:
        if node.value.ndim == 0 or node.value.ndim + len(shape) > 5:
            return False
        if node.expr.shape[-2 if node.value.ndim > 1 else -1] != shape[-1]:
            return False
        try:
            broadcast_shapes([shape[:-2], node.expr.shape[:-2]])
        except ShapeError:
            return False
        return True

    b = program.bounded(program.operand(fits, (shape[-1], program.size(program.pick((2, 3))))))
    program.emit("@", lambda x, y: x @ y, lambda x, y: x @ y, a, b)


def _contract(program: Program) -> None:
    """A product of one to three factors over labels drawn at random."""
    places = [program.bounded(program.operand()) for _ in range(1 + program.choose(3))]
    sizes: dict[int, Any] = {}
    rows: list[list[int]] = []
    for k in places:
        row: list[int] = []
        for size in program.nodes[k].expr.shape:
            same = [x for x, s in sizes.items() if s == size]
            label = len(sizes) if not same or not program.choose(3) else program.pick(same)
            sizes[label] = size
            row.append(label)
        rows.append(row)
    if len(sizes) > 8:
        raise RefusedError
    out: list[int] = []
    for label in sizes:
        if program.choose(2):
            out.insert(program.choose(len(out) + 1), label)
    twice = program.pick(out) if out and len(out) < 3 and not program.choose(4) else None
    result = out if twice is None else [*out, twice]
    spelled = [*(chr(97 + x) for x in sizes)]
    equation = (
        ",".join("".join(spelled[x] for x in row) for row in rows)
        + "->" + "".join(spelled[x] for x in out)
    )  # fmt: skip

    def summed(*factors: Any) -> Any:
        plain = jnp.einsum(equation, *factors)
        if twice is None:
            return plain
        at = out.index(twice)
        extent = plain.shape[at]
        eye = jnp.eye(extent).reshape(
            [extent if x == at else 1 for x in range(plain.ndim)] + [extent]
        )
        return plain[..., None] * eye

    program.emit(
        f"contract {equation} {twice}", lambda *e: contract(e, rows, result), summed, *places
    )


def _delta(program: Program) -> None:
    """Factors δ: a matrix plus c I, its trace, its diagonal."""
    k = program.operand(lambda n: n.value.ndim >= 2 and n.expr.shape[-1] == n.expr.shape[-2])
    size = program.nodes[k].expr.shape[-1]
    eye = delta(size, dtypes.float64)
    extent = program.nodes[k].value.shape[-1]
    rank = program.nodes[k].value.ndim
    name, build, function = program.pick([
        ("+ 2 I", lambda x: x + 2 * eye, lambda x: x + 2 * jnp.eye(extent)),
        ("I *", lambda x: product(x, eye), lambda x: x * jnp.eye(extent)),
        ("trace", lambda x: contract([x, eye], [range(rank), (rank - 2, rank - 1)], range(rank - 2)),
         lambda x: jnp.trace(x, axis1=-2, axis2=-1)),
        ("diagonal", lambda x: contract([x, eye], [range(rank), (rank - 1, rank - 2)], range(rank - 1)),
         lambda x: jnp.diagonal(x, axis1=-2, axis2=-1)),
    ])  # fmt: skip
    program.emit(name, build, function, program.bounded(k, 8))


def _reduce(program: Program) -> None:
    k = program.bounded(program.operand(lambda n: n.value.ndim > 0, program.shape()), 8)
    node = program.nodes[k]
    axes = tuple(x for x in range(node.value.ndim) if program.choose(2))
    mean = bool(program.choose(2))
    count = size_product(tuple(node.expr.shape[x] for x in axes))

    def build(x: Any) -> Any:
        total = reduce_sum(x, axes)
        return scale(monomial(count) ** -1, total) if mean else total

    reduce = jnp.mean if mean else jnp.sum
    program.emit(f"{'mean' if mean else 'sum'} {axes}", build,
                 (lambda x: reduce(x, axis=axes)) if axes else (lambda x: x), k)  # fmt: skip


def _move(program: Program) -> None:
    """Axes in another order, size-1 axes inserted or dropped, broadcasting."""
    k = program.operand()
    node = program.nodes[k]
    rank = node.value.ndim
    which = program.choose(4)
    if which == 0:
        order = list(range(rank))
        for x in range(rank):
            y = x + program.choose(rank - x)
            order[x], order[y] = order[y], order[x]
        program.emit(f"permute {order}", lambda x: permute(x, order),
                     lambda x: jnp.transpose(x, order), k)  # fmt: skip
    elif which == 1:
        at = program.choose(rank + 1)
        program.emit(f"unsqueeze {at}", lambda x: unsqueeze(x, [at]),
                     lambda x: jnp.expand_dims(x, at), k)  # fmt: skip
    elif which == 2:
        at = program.pick([x for x, s in enumerate(node.expr.shape) if s == 1])
        program.emit(f"squeeze {at}", lambda x: squeeze(x, [at]), lambda x: jnp.squeeze(x, at), k)
    else:
        full = tuple(program.size(program.pick((2, 3))) if s == 1 else s for s in node.expr.shape)
        full = (program.size(2), *full) if rank < 3 else full
        extents = tuple(map(extent_of, full))
        program.emit(f"broadcast {full}", lambda x: broadcast_to(x, full),
                     lambda x: jnp.broadcast_to(x, extents), k)  # fmt: skip


MAP_STEPS: dict[str, Plan] = {
    **{
        name: _map(op)
        for name, op in OPS.items()
        if op.family == "map" and name not in (*POWERS, "polygamma", "cast")
    },
    **{name: _power(name) for name in POWERS},
    "polygamma": _polygamma,
    "cast": _cast,
    "logistic forms": _logistic,
    "normalized forms": _normalized,
    "compare integers": _compare_integers,
    "sum_of_terms": _sum,
    "product": _product,
    "quotient": _quotient_of,
    "matmul": _matmul,
    "contraction": _contract,
    "delta": _delta,
    "reduce": _reduce,
    "move axes": _move,
}
