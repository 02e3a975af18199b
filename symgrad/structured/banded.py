"""Bands of a square matrix over one axis: what stands beside the main diagonal, offset by offset."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.core.build import add
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, size_total
from symgrad.ops.structure import is_selection, place
from symgrad.structured.products import product_of
from symgrad.structured.terms import Factor, Term

Place = tuple[int, int]
"""Start and step: entry s of a shorter axis is entry start + step s."""


def bands_of(terms: Sequence[Term], size: Size, dtype: DType) -> dict[int, Expr] | None:
    """offset → vector ``v`` of that length with ``A[i, i + offset] = v[i]`` (0 outside).

    None for what is not banded.
    """
    found: dict[int, list[Expr]] = {}
    for t in terms:
        one = _band(t, size, dtype)
        if one is None:
            return None
        found.setdefault(one[0], []).append(one[1])
    return {offset: add(parts) for offset, parts in sorted(found.items())}


def _band(t: Term, size: Size, dtype: DType) -> tuple[int, Expr] | None:
    """(offset, entries at their rows) of a term, or None."""
    chains = [f for f in t.factors if is_selection(f[0])]
    if any(len({x for x in ls if x >= 0}) > 1 for e, ls in t.others() if not is_selection(e)):
        return None
    if t.pairs() == [(0, 1)]:
        return 0, _along(t, [f for f in t.factors if f[1] != (0, 1)], 0, dtype)
    if t.pairs():
        return None
    at = {0: _place_of(0, chains), 1: _place_of(1, chains)}
    row, column = at[0], at[1]
    if row is None or column is None or row[0] != column[0]:
        return None
    base, (start, step) = row
    first, stride = column[1]
    if base < 2 or step != stride:
        return None
    values = product_of(t.coefficient, t.factors, t.sizes, [base], dtype)
    length = t.sizes[base]
    if isinstance(length, int):
        stop = start + step * (length - 1) + 1 if length else start
    elif step == 1:
        stop = size_total(start, length)
    else:
        return None
    return first - start, place(values, ((start, stop, step),), (size,))


def _along(t: Term, factors: Sequence[Factor], row: int, dtype: DType) -> Expr:
    moved = [(e, tuple(row if x == 1 else x for x in ls)) for e, ls in factors]
    sizes = {x: s for x, s in t.sizes.items() if x != 1}
    return product_of(t.coefficient, moved, sizes, [row], dtype)


def _place_of(label: int, chains: Sequence[Factor]) -> tuple[int, Place] | None:
    """The label that a row or column is selected by in the end, and how."""
    start, step = 0, 1
    rest = list(chains)
    while True:
        near = [f for f in rest if f[1][1] == label]
        if not near:
            return label, (start, step)
        if len(near) > 1:
            return None
        ((e, ls),) = near
        rest.remove((e, ls))
        first, _, stride = e.params[0][0]
        if not isinstance(first, int):
            return None
        # entry s of the shorter axis is first + stride s of this one, and so on to the outermost
        start, step, label = start + step * first, step * stride, ls[0]
