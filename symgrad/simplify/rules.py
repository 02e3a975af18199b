"""The rewrite rules, each a named value and its own test.

Groups: STABLE (before and after differentiation; formulas show the result) and MACHINE (just
before lowering; formulas keep the textbook's form).
"""

from __future__ import annotations

from symgrad.core import dtypes
from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    cast,
    constant_value,
    contract,
    elementwise,
    linear,
    power,
    product,
    reduce_sum,
    scale,
    terms_of,
)
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Monomial, letter
from symgrad.core.traverse import leaves
from symgrad.ops.axis import along, expanded
from symgrad.ops.index import ONEHOT, onehot
from symgrad.simplify.engine import Procedure, Rule, sample
from symgrad.simplify.gammas import GAMMAS
from symgrad.simplify.limits import LIMITS
from symgrad.simplify.logarithms import LOGARITHMS
from symgrad.simplify.products import PRODUCTS
from symgrad.simplify.ratios import RATIO_RULES
from symgrad.simplify.small import SMALL
from symgrad.simplify.sums import SUMS


def _sum_exp(x: Expr) -> Expr:
    return reduce_sum(elementwise("exp", x), [len(x.shape) - 1])


def _normalised(x: Expr) -> Expr:
    return product(elementwise("exp", x), expanded(1 / _sum_exp(x), -1, x.shape))


def logistic_power(node: Expr) -> Expr | None:
    """(1 + exp(x))⁻ᵖ = σ(−x)ᵖ for p > 1."""
    if node.params[2][0] >= -1:
        return None
    inner = node.args[0]
    for e in inner.args:
        if e.op.name == "exp" and 1 + e is inner:
            return power(elementwise("sigmoid", -e.args[0]), -node.params[2][0])
    return None


def _power_example() -> tuple[Expr, Expr]:
    x = sample("x")
    return power(1 + elementwise("exp", x), -2), power(elementwise("sigmoid", -x), 2)


def logistic_ratio(node: Expr) -> Expr | None:
    """exp(x) σ(−x) = σ(x) among the factors of a product."""
    factors = list(zip(node.args, node.params[0], strict=True))
    for j, (first, labels) in enumerate(factors):
        if first.op.name != "exp":
            continue
        for k, (second, others) in enumerate(factors):
            opposite = second.op.name == "sigmoid" and second.args[0] is -first.args[0]
            if opposite and others == labels:
                kept = [f for i, f in enumerate(factors) if i not in (j, k)]
                kept.append((elementwise("sigmoid", first.args[0]), labels))
                args, rows = zip(*kept, strict=True)
                return node.op.build(args, (rows, *node.params[1:]))  # type: ignore[misc]
    return None


def _ratio_example() -> tuple[Expr, Expr]:
    x, y = sample("x"), sample("y")
    return product(y, elementwise("exp", x), elementwise("sigmoid", -x)), product(
        y, elementwise("sigmoid", x)
    )


def onehot_cast(node: Expr) -> Expr | None:
    """One-hot rows in another type are one-hot rows of that type."""
    if node.args[0].op is not ONEHOT:
        return None
    inner = node.args[0]
    return onehot(inner.args[0], inner.params[0], node.dtype)


def onehot_rows(node: Expr) -> Expr | None:
    """Σⱼ Y[i, j] = 1 of one-hot rows whose classes are valid, as a factor."""
    rows = node.params[0]
    for k, (a, ls) in enumerate(zip(node.args, rows, strict=True)):
        others = {x for j, row in enumerate(rows) if j != k for x in row}
        inner = a.args[0] if a.op.name == "detach" else a
        if inner.op is not ONEHOT or ls[-1] < node.ndim or ls[-1] in (*others, *ls[:-1]):
            continue
        kept = [(e, row) for j, (e, row) in enumerate(zip(node.args, rows, strict=True)) if j != k]
        sizes = {x: s for x, s in zip(ls[:-1], a.shape[:-1], strict=True)
                 if x >= 0 and x not in others}  # fmt: skip
        sizes |= dict(enumerate(node.shape))
        return contract([e for e, _ in kept], [row for _, row in kept], range(node.ndim), sizes,
                        node.dtype)  # fmt: skip
    return None


def _rows_example() -> tuple[Expr, Expr]:
    w, y = sample("w"), sample("y", dtypes.int64)
    Y = onehot(y, letter("k"), dtypes.float64)
    return contract([w, Y], [[0], [0, 1]], [0]), w


ONEHOT_ROWS = Procedure(
    "row sums of one-hot rows", onehot_rows, _rows_example, heads=(CONTRACTION.name,),
    needs=("onehot",),
)  # fmt: skip


def _onehot_example() -> tuple[Expr, Expr]:
    y, size = sample("y", dtypes.int64), letter("k")
    left = cast(onehot(y, size, dtypes.int64), dtypes.float64)
    return left, onehot(y, size, dtypes.float64)


STABLE: tuple[Rule | Procedure, ...] = (
    Rule(
        "softplus",
        lambda x: elementwise("log", 1 + elementwise("exp", x)),
        lambda x: elementwise("softplus", x),
        edges=(-1e4, 1e4),
        states="finite where exp overflows",
    ),
    Rule(
        "softplus of log1p",
        lambda x: elementwise("log1p", elementwise("exp", x)),
        lambda x: elementwise("softplus", x),
        edges=(-1e4, 1e4),
        states="finite where exp overflows",
    ),
    Rule(
        "logistic function",
        lambda x: 1 / (1 + elementwise("exp", -x)),
        lambda x: elementwise("sigmoid", x),
        edges=(-1e4, 1e4),
    ),
    Rule(
        "logistic function of the other sign",
        lambda x: 1 / (1 + elementwise("exp", x)),
        lambda x: elementwise("sigmoid", -x),
        edges=(-1e4, 1e4),
    ),
    Rule(
        "logistic ratio",
        lambda x: product(elementwise("exp", x), 1 / (1 + elementwise("exp", x))),
        lambda x: elementwise("sigmoid", x),
        edges=(-1e4, 1e4),
        states="finite where exp overflows",
    ),
    Procedure(
        "power of the logistic function",
        logistic_power,
        _power_example,
        edges=(-1e4, 1e4),
        heads=("power",),
        needs=("exp",),
    ),
    Procedure(
        "logistic ratio within a product",
        logistic_ratio,
        _ratio_example,
        edges=(-1e4, 1e4),
        states="finite where exp overflows",
        heads=(CONTRACTION.name,),
        needs=("exp",),
    ),
    Procedure(
        "one-hot rows in another type",
        onehot_cast,
        _onehot_example,
        heads=("cast",),
        needs=("onehot",),
    ),
    ONEHOT_ROWS,
    Rule(
        "log of the logistic function",
        lambda x: elementwise("log", elementwise("sigmoid", x)),
        lambda x: -elementwise("softplus", -x),
        edges=(-1e4, 1e4),
        states="finite where the function underflows to 0",
    ),
    Rule(
        "log of its complement",
        lambda x: elementwise("log", 1 - elementwise("sigmoid", x)),
        lambda x: -elementwise("softplus", x),
        edges=(-1e4, 1e4),
        states="finite where the function rounds to 1",
    ),
    Rule(
        "softmax",
        _normalised,
        lambda x: along("softmax", x),
        rank=2,
        edges=(-1e4, 1e4),
        states="finite where exp overflows",
    ),
    Rule(
        "logsumexp",
        lambda x: elementwise("log", _sum_exp(x)),
        lambda x: along("logsumexp", x),
        rank=2,
        edges=(-1e4, 1e4),
        states="finite where exp overflows",
    ),
    Rule(
        "log of softmax",
        lambda x: elementwise("log", along("softmax", x)),
        lambda x: x - expanded(along("logsumexp", x), -1, x.shape),
        rank=2,
        edges=(-1e4, 1e4),
        states="finite where softmax underflows to 0",
    ),
)


Parts = tuple[Monomial, Expr | None, Expr, Labels]


def _weighted_softplus(term: tuple[Monomial, Expr, Labels]) -> Parts | None:
    """c · A ⊙ softplus(x) as (c, A, x, labels); A is None for a bare softplus."""
    c, e, labels = term
    if e.op.name == "softplus":
        return c, None, e.args[0], labels
    if e.op is CONTRACTION and not e.sums:
        found = [k for k, a in enumerate(e.args) if a.op.name == "softplus"]
        natural = tuple(range(len(e.shape)))
        if len(found) == 1 and e.params[0][found[0]] == natural:
            k = found[0]
            others = [a for j, a in enumerate(e.args) if j != k]
            rows = [ls for j, ls in enumerate(e.params[0]) if j != k]
            rest = contract(others, rows, natural, dict(enumerate(e.shape)), e.dtype)
            return c, rest, e.args[k].args[0], labels
    return None


def binary_cross_entropy(node: Expr) -> Expr | None:
    """A ⊙ softplus(−z) + (1 − A) ⊙ softplus(z) = softplus(z) − A ⊙ z, under one coefficient."""
    if len(node.args) < 2:
        return None
    terms = terms_of(node)
    natural = tuple(range(len(node.shape)))
    parts = [_weighted_softplus(t) for t in terms]
    for j, first in enumerate(parts):
        if first is None or first[1] is None or first[3] != natural:
            continue
        for k, second in enumerate(parts):
            if second is None or second[1] is None or second[3] != natural or j == k:
                continue
            if first[0] != second[0] or scale(-1, first[2]) is not second[2]:
                continue
            whole = _flat_sum(first[1], second[1])
            if constant_value(whole) != 1 or not _is_opposite(first[2]):
                continue
            if set(leaves([first[1]])) & set(leaves([first[2]])):
                continue  # σ(z) softplus(−z) + … would cancel
            z = second[2]
            merged = elementwise("softplus", z) - product(first[1], z)
            rest = [t for i, t in enumerate(terms) if i not in (j, k)]
            if not rest:
                return scale(first[0], merged)
            return linear([*rest, (first[0], merged, natural)], node.shape, node.dtype)
    return None


def _flat_sum(a: Expr, b: Expr) -> Expr:
    """a + b with the terms of both in one sum, so that opposite terms cancel."""
    natural = tuple(range(len(a.shape)))
    terms = []
    for e in (a, b):
        terms += terms_of(e) if e.op is SUM and e.args else [(ONE, e, natural)]
    return linear(terms, a.shape, a.dtype)


def _is_opposite(e: Expr) -> bool:
    """Is this the one of ±z with the minus sign in front?"""
    return e.op is SUM and len(e.args) == 1 and e.params[0][0][0].number < 0


def _bce_example() -> tuple[Expr, Expr]:
    z, y = sample("z"), sample("y")
    typed = product(y, elementwise("softplus", -z)) + product(1 - y, elementwise("softplus", z))
    return typed, elementwise("softplus", z) - product(y, z)


BINARY: tuple[Rule | Procedure, ...] = (
    Procedure(
        "binary cross-entropy",
        binary_cross_entropy,
        _bce_example,
        edges=(-1e4, 1e4),
        states="one softplus instead of two; exact",
        heads=(SUM.name,),
        needs=("softplus",),
    ),
)

GROUPS: tuple[tuple[Rule | Procedure, ...], ...] = (STABLE, BINARY)
"""The passes that formulas and programs share, in order."""

MACHINE: tuple[Rule | Procedure, ...] = (
    *SUMS, *SMALL, *GAMMAS, *RATIO_RULES, *LOGARITHMS, *PRODUCTS, *LIMITS,
)  # fmt: skip
"""What programs compute with, before differentiation and after it."""

ALL_RULES: tuple[Rule | Procedure, ...] = (*STABLE, *BINARY, *MACHINE)

__all__ = ["ALL_RULES", "BINARY", "GROUPS", "MACHINE", "STABLE"]
