"""A Jacobian ``E[out…, in…]`` as a sum of products of labelled factors, with every δ in sight.

A δ between an output axis and an input axis is the structure itself: a diagonal, or a factor I of
a Kronecker product.  A slice of δ is a selection: a diagonal of ones beside the main one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    ONE,
    SUM,
    constant_value,
    contract,
    delta,
    factors_at,
    terms_of,
)
from symgrad.core.expr import Expr
from symgrad.core.numbers import plus
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import topological
from symgrad.ops.structure import is_selection, slice_axis

Factor = tuple[Expr, tuple[int, ...]]
MANY = 200
"""More terms than this are not opened: the tensor stays one dense term."""


@dataclass(frozen=True)
class Term:
    """``coefficient · Π factors``, summed over every label that is not below ``rank``."""

    coefficient: Monomial
    factors: tuple[Factor, ...]
    sizes: dict[int, Size]

    def pairs(self) -> list[tuple[int, int]]:
        """Labels that a δ joins."""
        return [(ls[0], ls[1]) for e, ls in self.factors if e.op is DELTA]

    def others(self) -> list[Factor]:
        """The factors that are no δ."""
        return [(e, ls) for e, ls in self.factors if e.op is not DELTA]


def structural_nodes(roots: Sequence[Expr]) -> set[Expr]:
    """The nodes from which a δ is reached through products, sums, slices and placings only."""
    found: set[Expr] = set()
    for node in topological(roots):
        if node.op is DELTA or (
            (node.op in (CONTRACTION, SUM) or node.op.name in ("slice", "place"))
            and any(a in found for a in node.args)
        ):
            found.add(node)
    return found


def selection(size: Size, part: tuple[Size, Size, int], dtype: object) -> Expr:
    """``S[i, j] = 1[j = start + step i]`` for a slice of an axis of this size."""
    return slice_axis(delta(size, dtype), 0, *part)  # type: ignore[arg-type]


def opened(e: Expr, outputs: int, values: Collection[Expr] = ()) -> list[Term]:
    """The terms of ``e``, whose first ``outputs`` axes are the rows; like terms are merged.

    ``values`` are what the function itself computes: they stay whole.
    """
    rank = e.ndim
    special = structural_nodes([e])
    done: list[Term] = []
    work: list[tuple[Monomial, list[Factor], dict[int, Size]]] = [
        (ONE, [(e, tuple(range(rank)))], dict(enumerate(e.shape)))
    ]
    while work:
        coefficient, factors, sizes = work.pop()
        place = _next(factors, special, values, rank)
        if place is None:
            done.append(_resolved(coefficient, factors, sizes, rank))
            continue
        node, labels = factors[place]
        rest = factors[:place] + factors[place + 1 :]
        if node.op is SUM:
            if len(work) + len(done) + len(node.args) > MANY:
                return [Term(ONE, ((e, tuple(range(rank))),), dict(enumerate(e.shape)))]
            for c, a, ls in reversed(terms_of(node)):
                inner = tuple(labels[x] if x >= 0 else -1 for x in ls)
                work.append((coefficient * c, [*rest, (a, inner)], sizes))
            continue
        sizes = dict(sizes)
        made = _entered(node, labels, sizes)
        work.append((coefficient, [*rest, *made], sizes))
    return _merged(done, e, rank)


def _next(
    factors: Sequence[Factor], special: set[Expr], values: Collection[Expr], rank: int
) -> int | None:
    """The first factor to open: one with a δ inside, or one that reaches an axis of E."""
    for k, (node, labels) in enumerate(factors):
        if node.op is DELTA or is_selection(node):
            continue
        if node in special:
            return k
        if node.op is SUM and (len(node.args) <= 1 or len(factors) == 1):
            return k
        if node in values:
            continue
        outside = any(0 <= x < rank for x in labels)
        if node.op is CONTRACTION:
            if outside or len(node.args) <= 1 or not node.sums:
                return k
        elif node.op is SUM and outside and _falls_apart(node):
            return k
    return None


def _falls_apart(node: Expr) -> bool:
    """Is a term of a sum of lower rank than the sum: without one of its axes, or a product?"""
    if node.ndim < 2:
        return False
    return any(
        constant_value(a) is None and (len(set(ls) - {-1}) < node.ndim or a.sums)
        for _, a, ls in terms_of(node)
    )


def _entered(node: Expr, labels: Sequence[int], sizes: dict[int, Size]) -> list[Factor]:
    """The factors of a product, a slice or a placing at these labels."""
    if node.op is CONTRACTION:
        return factors_at(node, labels, lambda size: _fresh(sizes, size))
    inner = node.args[0]
    spec = node.params[0]
    row = list(labels)
    made: list[Factor] = []
    for k, part in enumerate(spec):
        axis = inner.ndim - len(spec) + k
        if part is None:
            continue
        bound = _fresh(sizes, inner.shape[axis])
        slices = node.op.name == "slice"
        long = inner.shape[axis] if slices else node.shape[axis]
        pair = (labels[axis], bound) if slices else (bound, labels[axis])
        made.append((selection(long, part, node.dtype), pair))
        row[axis] = bound
    return [(inner, tuple(row)), *made]


def _fresh(sizes: dict[int, Size], size: Size) -> int:
    label = max([-1, *sizes]) + 1
    sizes[label] = size
    return label


def _resolved(
    coefficient: Monomial, factors: Sequence[Factor], sizes: dict[int, Size], rank: int
) -> Term:
    """Every δ with a summed label becomes a renaming; labels of size 1 go away."""
    name: dict[int, int] = {}

    def root(x: int) -> int:
        while x in name:
            x = name[x]
        return x

    kept: list[tuple[int, int, Expr]] = []
    rest: list[Factor] = []
    for e, ls in factors:
        if e.op is not DELTA:
            rest.append((e, ls))
            continue
        a, b = (root(x) if x >= 0 else -1 for x in ls)
        if a == b or a < 0 or b < 0:
            continue
        low, high = sorted((a, b))
        if high >= rank:
            name[high] = low
        else:
            kept.append((low, high, e))
    moved = [(e, tuple(root(x) if x >= 0 else -1 for x in ls)) for e, ls in rest]
    moved = [
        (e, tuple(-1 if x >= 0 and e.shape[k] == 1 else x for k, x in enumerate(ls)))
        for e, ls in moved
    ]
    pairs = dict.fromkeys((root(a), root(b), e) for a, b, e in kept)
    moved += [(e, (a, b)) for a, b, e in pairs if a != b]
    carried = {x for _, ls in moved for x in ls}
    for x, size in sizes.items():
        if x >= rank and x not in carried and x not in name:
            coefficient = coefficient * size
    live = {x: s for x, s in sizes.items() if x < rank or x in carried}
    return Term(coefficient, tuple(moved), live)


def _merged(terms: Sequence[Term], e: Expr, rank: int) -> list[Term]:
    """Like terms together, opposite ones gone."""
    found: dict[tuple[Expr, object], Term] = {}
    for t in terms:
        if t.coefficient.is_zero:
            continue
        value = contract(
            [f for f, _ in t.factors], [ls for _, ls in t.factors], range(rank), t.sizes, e.dtype
        )
        key = (value, t.coefficient.powers)  # 2/n and 6/n² are two terms
        known = found.get(key)
        if known is None:
            found[key] = t
            continue
        number = plus(known.coefficient.number, t.coefficient.number)
        total = Monomial(number, t.coefficient.powers)
        if total.is_zero:
            del found[key]
        else:
            found[key] = Term(total, t.factors, t.sizes)
    return list(found.values())
