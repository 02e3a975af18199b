"""Matrices whose axes are pairs of axes, as flat Jacobians are: A ⊗ B and diag(vec A), by rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from symgrad.core.build import CONTRACTION, DELTA, contract, flat_factors
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import size_product

Pair = tuple[int, int]
Row = tuple[Expr, Labels]


def paired(e: Expr) -> Expr | None:
    """The product over (i, j, k, l) that ``e`` shows as a matrix of (i j) rows and (k l) columns."""
    if e.op.name != "reshape":
        return None
    inner = e.args[0]
    if inner.op is not CONTRACTION or len(inner.shape) != 4:
        return None
    flat = size_product(inner.shape[:2]), size_product(inner.shape[2:])
    return inner if e.shape == flat else None


def identity_pairs(e: Expr) -> Expr | None:
    """A where ``e`` is diag(vec A): the product over (i, j) that stands beside 1[i = k] 1[j = l].

    A product without factors is all ones: ``e`` is an identity.
    """
    inner = paired(e)
    if inner is None:
        return None
    factors = list(zip(inner.args, inner.params[0], strict=True))
    eyes = {tuple(sorted(ls)) for a, ls in factors if a.op is DELTA}
    if eyes != {(0, 2), (1, 3)} or inner.sums:
        return None
    first: dict[int, int] = {0: 0, 1: 1, 2: 0, 3: 1, -1: -1}
    rest = [(a, tuple(first[x] for x in ls)) for a, ls in factors if a.op is not DELTA]
    sizes = dict(enumerate(inner.shape[:2]))
    return contract([a for a, _ in rest], [ls for _, ls in rest], (0, 1), sizes, e.dtype)


def kronecker(e: Expr) -> tuple[Expr, Expr] | None:
    """A, B where ``e`` is A ⊗ B: the factors over (i, k) and those over (j, l).

    One of them may be a vector, as a matrix of one column or row.
    """
    whole = paired(e)
    for inner in _with_a_vector(e) if whole is None else [whole]:
        sides = _apart(inner, (0, 2), (1, 3))
        if sides is not None:
            return sides
    return None


def _with_a_vector(e: Expr) -> Iterator[Expr]:
    """The product over four axes, where one that is not of a pair stands with one of size 1."""
    inner = e.args[0] if e.op.name == "reshape" else e
    if inner is e or inner.op is not CONTRACTION or len(inner.shape) != 3 or e.ndim != 2:
        return
    first, middle, last = inner.shape
    tall = e.shape == (size_product((first, middle)), last)
    if not tall and e.shape != (first, size_product((middle, last))):
        return
    for places in ((0, 1, 2), (0, 1, 3)) if tall else ((0, 2, 3), (1, 2, 3)):
        rows: list[Labels] = list(inner.params[0])
        table: dict[int, int] = {-1: -1, **dict(enumerate(places))}
        labels = [tuple(table.get(x, x + 1) for x in row) for row in rows]
        sizes = dict.fromkeys(range(4), 1) | dict(zip(places, inner.shape, strict=True))
        yield contract(inner.args, labels, range(4), sizes, e.dtype)


def vector_of(side: Expr) -> tuple[Expr, bool] | None:
    """x where a matrix is its column, or row: which of them."""
    if side.shape[1] == 1:
        return contract([side], [(0, -1)], (0,)), False
    return (contract([side], [(-1, 0)], (0,)), True) if side.shape[0] == 1 else None


def _apart(inner: Expr, one: Pair, two: Pair) -> tuple[Expr, Expr] | None:
    """The factors over one pair of axes and those over the other; None where some have of both."""
    mine: list[Row] = []
    theirs: list[Row] = []
    for axes, rows in components(inner):
        if axes <= {*one}:
            mine += rows
        elif axes <= {*two}:
            theirs += rows
        else:
            return None
    return _side(inner, mine, one), _side(inner, theirs, two)


def components(inner: Expr) -> Iterator[tuple[set[int], list[Row]]]:
    """The factors in groups that share summed labels, those of products in it too, with their axes."""
    rows: list[Row] = flat_factors(inner)
    while rows:
        group = [rows.pop(0)]
        for _, ls in group:
            bound = {x for x in ls if x >= inner.ndim}
            group += [r for r in rows if bound & {*r[1]}]
            rows = [r for r in rows if not bound & {*r[1]}]
        yield {x for _, ls in group for x in ls if 0 <= x < inner.ndim}, group


def _side(inner: Expr, factors: Sequence[tuple[Expr, Labels]], pair: Pair) -> Expr:
    place = {pair[0]: 0, pair[1]: 1, -1: -1}
    rows = [tuple(place.get(x, x + 4) for x in ls) for _, ls in factors]
    sizes = {k: inner.shape[x] for k, x in enumerate(pair)}
    return contract([a for a, _ in factors], rows, (0, 1), sizes, inner.dtype)


__all__ = ["components", "identity_pairs", "kronecker", "paired", "vector_of"]
