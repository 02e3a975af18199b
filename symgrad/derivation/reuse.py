"""Sums and products of backward lines that an earlier line has computed: found, and read by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from symgrad.core.build import CONTRACTION, contract, factors_at, permute, scale, single_term
from symgrad.core.expr import Expr
from symgrad.core.sizes import ONE, Monomial, Size
from symgrad.derivation.factors import Factor
from symgrad.derivation.tidy import (
    ADJOINT,
    FORWARD,
    GIVEN,
    GRADIENT,
    WITHIN,
    Change,
    Lines,
    opened,
    replaced,
)


def reuse(lines: Lines) -> None:
    """Sums that an earlier line has computed under another name, found and replaced.

    Σⱼ P[i,j] δP[i,j] with δP = δO Vᵀ contains Σⱼ P[i,j] V[j,k], which is O: the sum becomes
    Σₖ δO[i,k] O[i,k].
    """
    known: dict[Expr, Expr] = {}
    opened: dict[Expr, Expr] = {}
    for line in lines.definitions:
        if line.kind in (ADJOINT, WITHIN):
            found = _reused(line.expr, opened, known)
            if found is not None and found[0] is not line.expr:
                new, why, cost = found
                lines.changes.append(
                    Change("a sum that has a name", line, line.expr, new, why, cost)
                )
                line.expr = new
            opened[line.symbol] = line.expr
        if line.kind != GIVEN:
            known.setdefault(line.expr, line.symbol)


def named_products(lines: Lines, finish: Callable[[Expr], Expr]) -> None:
    """Products of two factors that a forward line has computed, by its name: K⁻¹ y yᵀ K⁻¹ is α αᵀ.

    ``finish`` brings a product into normal form.
    """
    rows = [(line, [a for _, a, _ in opened(line.expr) if a.op is CONTRACTION and len(a.args) > 2])
            for line in lines.definitions if line.kind in (ADJOINT, GRADIENT)]  # fmt: skip
    known = {finish(d.expr): d.symbol for d in lines.definitions
             if d.kind == FORWARD and d.expr.op is CONTRACTION and d.expr.sums
             and any(products for _, products in rows)}  # fmt: skip
    for line, products in rows if known else ():
        table = {a: made for a in products if (made := _by_names(a, known, finish)) is not a}
        if table:
            new = replaced(line.expr, table, lines.written)
            lines.changes.append(Change("a product that has a name", line, line.expr, new))
            line.expr = new


def _by_names(e: Expr, known: Mapping[Expr, Expr], finish: Callable[[Expr], Expr]) -> Expr:
    """A product with pairs of its factors replaced by the names of their products."""
    factors: list[Factor] = list(zip(e.args, e.params[0], strict=True))
    for label in sorted({x for _, ls in factors for x in ls if x >= e.ndim}):
        pair = [f for f in factors if label in f[1]]
        rest = [f for f in factors if label not in f[1]]
        kept = sorted({x for _, ls in pair for x in ls} - {label})
        if len(pair) != 2 or -1 in kept or not rest:
            continue
        made = contract([a for a, _ in pair], [ls for _, ls in pair], kept, dtype=e.dtype)
        hit = known.get(finish(made))
        if hit is not None:
            factors = [*rest, (hit, tuple(kept))]
    if len(factors) == len(e.args):
        return e
    return contract([a for a, _ in factors], [ls for _, ls in factors], range(e.ndim))


Found = tuple[Expr, tuple[tuple[Expr, Expr], ...], str]


def _reused(e: Expr, opened: Mapping[Expr, Expr], known: Mapping[Expr, Expr]) -> Found | None:
    term = single_term(e)
    c, body = (term[0], term[1]) if term is not None else (ONE, e)
    if body.op is not CONTRACTION or not body.sums or len(body.args) > 2:
        return None
    if term is not None and term[2] != tuple(range(e.ndim)):
        return None
    for k, a in enumerate(body.args):
        inner = opened.get(a)
        if inner is None or inner.op is not CONTRACTION:
            continue
        new = _regrouped(body, k, inner, known)
        if new is not None:
            made, hit, cost = new
            why = ((body.args[k], inner), hit)
            return (made if c.is_one else scale(c, made)), why, cost
    return None


def _regrouped(
    body: Expr, k: int, inner: Expr, known: Mapping[Expr, Expr]
) -> tuple[Expr, tuple[Expr, Expr], str] | None:
    """``body`` with its factor ``k`` opened, where a group of factors has a name."""
    numbers = count(1 + max(x for ls in body.params[0] for x in ls))
    pairs = zip(body.args, body.params[0], strict=True)
    factors: list[Factor] = [f for j, f in enumerate(pairs) if j != k]
    factors += factors_at(inner, body.params[0][k], lambda _: next(numbers))
    rank = body.ndim
    sizes: dict[int, Size] = {x: a.shape[j] for a, ls in factors for j, x in enumerate(ls)}
    for label in sorted({x for _, ls in factors for x in ls if x >= rank}):
        group = [f for f in factors if label in f[1]]
        rest = [f for f in factors if label not in f[1]]
        if not group or not rest:
            continue
        outside = {x for _, ls in rest for x in ls} | set(range(rank))
        kept = sorted({x for _, ls in group for x in ls if x in outside and x >= 0})
        hit = _named(group, kept, known)
        if hit is None:
            continue
        whole = [*rest, hit]
        new = contract([a for a, _ in whole], [ls for _, ls in whole], range(rank))
        counts = _counts(whole, sizes)
        before = _counts(list(zip(body.args, body.params[0], strict=True)), {})
        letters = counts.powers or before.powers
        if new is not body and (letters or counts.number <= before.number):
            expr = next(e for e, s in known.items() if s is hit[0])
            return new, (hit[0], expr), f"{before} → {counts}"
    return None


def _named(group: list[Factor], kept: list[int], known: Mapping[Expr, Expr]) -> Factor | None:
    made = contract([a for a, _ in group], [ls for _, ls in group], kept)
    if made in known:
        return known[made], tuple(kept)
    if len(kept) == 2 and (turned := permute(made, (1, 0))) in known:
        return known[turned], (kept[1], kept[0])
    return None


def _counts(factors: list[Factor], sizes: Mapping[int, Size]) -> Monomial:
    """How many products a sum takes; where letters cannot tell, a value that exists is worth it."""
    extents = dict(sizes) or {x: a.shape[j] for a, ls in factors for j, x in enumerate(ls)}
    total = Monomial(ONE.number)
    for x in {x for _, ls in factors for x in ls if x >= 0}:
        total = total * extents[x]
    return total


__all__ = ["named_products", "reuse"]
