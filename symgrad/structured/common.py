"""Factors that terms share over axes of their own: ``(a − b) ⊗ c`` in place of ``a ⊗ c − b ⊗ c``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.core.build import linear
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.sizes import ONE
from symgrad.ops.structure import is_selection
from symgrad.structured.products import Made, product_of
from symgrad.structured.terms import Factor, Term


def collected(
    terms: Sequence[Term], rank: int, dtype: DType, mirror: Mapping[int, int], known: list[Made]
) -> list[Term]:
    """The terms, those with common factors that alone carry an axis as one term.

    ``mirror`` says which column belongs to which row; ``known`` are products made before.
    """
    groups: list[list[Term]] = []
    for t in terms:
        mine = _shape_of(t, rank)
        like = next((g for g in groups if mine and _shape_of(g[0], rank) == mine), None)
        if like is None:
            groups.append([t])
        else:
            like.append(t)
    return [g[0] if len(g) == 1 else _joined(g, rank, dtype, mirror, known) for g in groups]


def _own(t: Term, rank: int) -> list[Factor]:
    """The factors that alone carry one of the axes of the result, which no δ touches."""
    found: list[Factor] = []
    structural = {x for e, ls in t.factors for x in ls if is_selection(e)}
    structural |= {x for pair in t.pairs() for x in pair}
    for e, ls in t.others():
        axes = [x for x in ls if 0 <= x < rank]
        others = {x for f, row in t.factors if (f, row) != (e, ls) for x in row}
        if axes and not {*axes} & (others | structural):
            found.append((e, ls))
    return sorted(found, key=lambda f: (f[0].digest, f[1]))


def _shape_of(t: Term, rank: int) -> tuple[object, ...]:
    """What two terms must agree in: their own factors, and the axes of all others."""
    own = _own(t, rank)
    number: dict[int, int] = {}
    rows = [
        (e.digest, *(x if x < rank else number.setdefault(x, rank + len(number)) for x in ls))
        for e, ls in own
    ]
    rest = [f for f in t.factors if f not in own]
    axes = sorted({x for _, ls in rest for x in ls if 0 <= x < rank})
    inside = {x for _, ls in rest for x in ls}
    if not own or not rest or any(x not in inside for x in number):
        return ()
    return (tuple(rows), tuple(axes))


def _joined(
    group: Sequence[Term], rank: int, dtype: DType, mirror: Mapping[int, int], known: list[Made]
) -> Term:
    """Terms of one shape: the sum of what they differ in, times what they share."""
    first = group[0]
    own = _own(first, rank)
    bound = list(dict.fromkeys(x for _, ls in own for x in ls if x >= rank))
    axes = _shape_of(first, rank)[1]
    out: list[int] = []
    parts: list[Expr] = []
    for t in group:
        mine = _own(t, rank)
        labels = list(dict.fromkeys(x for _, ls in mine for x in ls if x >= rank))
        rest = [f for f in t.factors if f not in mine]
        kept = [*labels, *axes]  # type: ignore[misc]
        inside = {x for _, ls in rest for x in ls if x >= 0} | {*kept}
        sizes = {x: s for x, s in t.sizes.items() if x in inside}
        here = {x: y for x, y in mirror.items() if x in kept and y in kept}
        parts.append(product_of(t.coefficient, rest, sizes, kept, dtype, here, known))
        out = out or [*bound, *axes]  # type: ignore[misc]
    natural = tuple(range(len(out)))
    total = linear([(ONE, p, natural) for p in parts], parts[0].shape, dtype)
    held = {x: first.sizes[x] for x in (*range(rank), *out)}
    return Term(ONE, (*own, (total, tuple(out))), held)


__all__ = ["collected"]
