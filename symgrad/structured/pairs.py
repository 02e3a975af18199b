"""Symmetric maps over one axis as they are read: ``s (a bᵀ + b aᵀ)``, sums in ``a bᵀ`` multiplied out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    add,
    contract,
    factors_at,
    is_zero,
    scale,
    single_term,
    terms_of,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.facts import is_symmetric
from symgrad.core.sizes import Monomial
from symgrad.derivation.concise import concise
from symgrad.ops.structure import is_selection
from symgrad.structured.operator import LinearMap
from symgrad.structured.terms import Factor, Term

MOST = 12
"""So many products ``a bᵀ`` are multiplied out."""
Part = tuple[Monomial, Expr, Expr]
"""A number, a scalar and a vector."""


def is_paired(m: LinearMap) -> bool:
    """Does every ``a bᵀ`` stand beside ``b aᵀ``?"""
    fronts: dict[tuple[Expr, Expr], set[object]] = {}
    for t in m.terms:
        sides = _sides(t, m)
        if sides is not None:
            a, b, front = sides
            fronts.setdefault((a, b), set()).add((t.coefficient, front))
    return all(fronts.get((b, a)) == found for (a, b), found in fronts.items())


def paired(m: LinearMap) -> LinearMap | None:
    """The map with sums in products ``a bᵀ`` multiplied out; None where that leaves one alone."""
    terms: list[Term | tuple[Expr, Expr]] = []  # in the order of the map
    found: dict[tuple[Expr, Expr], list[Expr]] = {}
    for t in m.terms:
        sides = _sides(t, m)
        if sides is None:
            terms.append(t)
            continue
        rows, columns = map(_parts, sides[:2])
        if len(rows) * len(columns) > MOST:
            return None
        for c, s, a in rows:
            for d, u, b in columns:
                front = contract([s, u, sides[2]], [(), (), ()], [], {}, m.expr.dtype)
                if (a, b) not in found:
                    terms.append((a, b))
                found.setdefault((a, b), []).append(scale(t.coefficient * c * d, front))
    totals = {pair: concise(add(fronts)) for pair, fronts in found.items()}
    totals = {pair: e for pair, e in totals.items() if not is_zero(e)}
    if any(totals.get((b, a)) is not e for (a, b), e in totals.items()):
        return None
    sizes = dict(enumerate(m.expr.shape))
    made: list[Term] = []
    for row in terms:
        if isinstance(row, Term):
            made.append(row)
        elif row in totals:
            (a, b), e = row, totals[row]
            term = single_term(e)
            c, e = (ONE, e) if term is None else term[:2]
            made.append(Term(c, ((a, (0,)), (b, (1,)), (e, ())), sizes))
    dense = LinearMap(m.expr, 1, m.values, made).dense()
    return LinearMap(dense, 1, m.values, made)


def _sides(t: Term, m: LinearMap) -> tuple[Expr, Expr, Expr] | None:
    """a, b and a scalar of a term ``s a bᵀ``; None for any other term."""
    if t.pairs() or any(is_selection(e) or min(ls, default=0) < 0 for e, ls in t.factors):
        return None
    groups = [_reached(t.factors, x) for x in (0, 1)]
    if set(groups[0]) & set(groups[1]) or not all(groups):
        return None
    groups.append([f for f in t.factors if f not in groups[0] and f not in groups[1]])
    dtype = m.expr.dtype
    a, b, s = (_product(fs, out, t, dtype) for fs, out in zip(groups, ([0], [1], []), strict=True))
    return a, b, s


def _product(factors: list[Factor], out: list[int], t: Term, dtype: DType) -> Expr:
    """The product; ``A x`` and ``xᵀ A`` of a symmetric A are one."""
    sizes = {x: t.sizes[x] for x in out}
    rows = [
        sorted(ls, key=lambda x: (x not in out, x)) if is_symmetric(e) else ls for e, ls in factors
    ]
    return contract([e for e, _ in factors], rows, out, sizes, dtype)


def _reached(factors: Iterable[Factor], label: int) -> list[Factor]:
    """The factors that share an index with ``label``, one after the other."""
    found: list[Factor] = []
    labels, rest = {label}, list(factors)
    while near := [f for f in rest if labels & {*f[1]}]:
        found += near
        labels.update(x for _, ls in near for x in ls)
        rest = [f for f in rest if f not in near]
    return found


def _parts(v: Expr) -> list[Part]:
    """A vector as a sum of scalars times vectors."""
    labels = count(1)
    work: list[tuple[Monomial, list[Factor]]] = [(ONE, [(v, (0,))])]
    found: list[Part] = []
    while work:
        c, factors = work.pop()
        k = next((k for k, (e, ls) in enumerate(factors)
                  if (e.op is SUM and 0 in ls) or (e.op is CONTRACTION and e.args)), None)  # fmt: skip
        if k is None:
            here = _reached(factors, 0)
            rest = [f for f in factors if f not in here]
            vector = contract(
                [e for e, _ in here], [ls for _, ls in here], [0], {0: v.shape[0]}, v.dtype
            )
            scalar = contract([e for e, _ in rest], [ls for _, ls in rest], [], {}, v.dtype)
            found.append((c, scalar, vector))
            continue
        e, at = factors.pop(k)
        if e.op is CONTRACTION:
            work.append((c, [*factors, *factors_at(e, at, lambda _: next(labels))]))
            continue
        for d, a, ls in reversed(terms_of(e)):
            inner = tuple(at[x] if x >= 0 else -1 for x in ls)
            work.append((c * d, [*factors, (a, inner)]))
    return found


__all__ = ["is_paired", "paired"]
