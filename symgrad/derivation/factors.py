"""What the terms of a sum share, written once in front of it, entry by entry or as matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    SUM,
    contract,
    linear,
    relabelling,
    scale,
    terms_of,
)
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import ONE, Monomial
from symgrad.derivation.order import Written, ordered_terms

Factor = tuple[Expr, Labels]


def factored(e: Expr, written: Written) -> Expr:
    """What all terms of a sum, or of a sum in a product, carry entry by entry, in front of it.

    The coefficients become whole with it: γ a / s − γ b / (n s) is (γ / (n s)) (n a − b).
    """
    rank = e.ndim
    natural = tuple(range(rank))
    rows = list(zip(e.args, e.params[0], strict=True)) if e.op is CONTRACTION else [(e, natural)]
    sums = [
        k for k, (a, ls) in enumerate(rows) if a.op is SUM and ls == natural and len(a.args) > 1
    ]
    if len(sums) != 1 or (e.op is CONTRACTION and e.sums):
        return e
    terms: list[tuple[Monomial, list[Factor]]] = []
    for c, a, ls in ordered_terms(rows[sums[0]][0], written):
        inside, factors = _entrywise(a, ls)
        terms.append((c * inside, factors))
    shared = Counter(terms[0][1])
    for _, factors in terms[1:]:
        shared &= Counter(factors)
    if not shared or all(not ls for _, ls in shared):
        return e
    if any(a.op is DELTA for _, factors in terms for a, _ in factors):  # no G ⊙ (2 − I)
        return e
    sizes = dict(enumerate(e.shape))
    front = _least([c for c, _ in terms])
    inner: list[tuple[Monomial, Expr, Labels]] = []
    for c, factors in terms:
        rest = list((Counter(factors) - shared).elements())
        used = sorted({x for _, ls in rest for x in ls if x >= 0})
        place = {x: j for j, x in enumerate(used)}
        labels = [tuple(place[x] if x >= 0 else -1 for x in ls) for _, ls in rest]
        extents = {place[x]: sizes[x] for x in used}
        made = contract([a for a, _ in rest], labels, range(len(used)), extents, e.dtype)
        inner.append((c / front, made, tuple(used)))
    bracket = linear(inner, e.shape, e.dtype)
    written.note(bracket, [a for _, a, _ in inner])
    outer = [(bracket, natural), *shared.elements(),
             *(row for k, row in enumerate(rows) if k != sums[0])]  # fmt: skip
    whole = contract([a for a, _ in outer], [ls for _, ls in outer], natural, sizes, e.dtype)
    return whole if front.is_one else scale(front, whole)


def _entrywise(e: Expr, place: Labels) -> tuple[Monomial, list[Factor]]:
    """Coefficient and factors of a term at the labels of the sum, products in it opened."""
    coefficient, found, stack = ONE, list[Factor](), [(e, place)]
    while stack:
        a, at = stack.pop()
        if a.op is SUM and len(a.args) == 1:
            c, a, ls = terms_of(a)[0]
            coefficient = coefficient * c
            stack.append((a, _placed(at, ls)))
        elif a.op is CONTRACTION and a.args and not a.sums:
            stack += [(x, _placed(at, ls)) for x, ls in zip(a.args, a.params[0], strict=True)]
        else:
            found.append((a, at))
    return coefficient, found


def _placed(at: Labels, labels: Labels) -> Labels:
    return tuple(at[x] if x >= 0 else -1 for x in labels)


def sandwiched(e: Expr, symmetric: Callable[[Expr], bool]) -> Expr:
    """A⁻¹ M A⁻¹ + c A⁻¹ as A⁻¹ (M + c A) A⁻¹; also where all inverses stand transposed."""
    if e.op is not SUM or len(e.args) != 2 or e.ndim != 2:
        return e
    for (c, a, natural), (k, b, ls) in (terms_of(e), terms_of(e)[::-1]):
        turn = relabelling(b)
        inverse = b if turn is None else b.args[0]
        if inverse.op.name != "inv" or a.op is not CONTRACTION or natural != (0, 1):
            continue
        place = ls if turn is None else _placed(ls, turn)
        either = symmetric(inverse)
        ends: dict[int, Labels] = {}
        inner: list[Factor] = []
        for m, labels in zip(a.args, a.params[0], strict=True):
            side = next((x for x in (0, 1) if x in labels), -1)
            whole = m is inverse and side >= 0 and side not in ends
            if whole and (either or labels.index(side) == place.index(side)):
                ends[side] = labels
            else:
                inner.append((m, labels))
        if len(ends) != 2 or not inner:
            continue
        at = [ends[x][1 - ends[x].index(x)] for x in (0, 1)]
        middle = contract([m for m, _ in inner], [r for _, r in inner], at, dtype=e.dtype)
        front = _least([c, k])
        rows = [(c / front, middle, (0, 1)), (k / front, inverse.args[0], place)]
        bracket = linear(rows, middle.shape, e.dtype)
        labels = [ends[0], tuple(at), ends[1]]
        return scale(front, contract([inverse, bracket, inverse], labels, (0, 1), dtype=e.dtype))
    return e


def _least(coefficients: list[Monomial]) -> Monomial:
    """What all coefficients share: the least power of each letter, 1 / n, and equal numbers."""
    letters = {x for c in coefficients for x, _ in c.powers}
    powers = [dict(c.powers) for c in coefficients]
    least = [(x, min(p.get(x, 0) for p in powers)) for x in sorted(letters)]
    first = coefficients[0].number
    same = all(abs(c.number) == abs(first) for c in coefficients)
    signs = {c.number < 0 for c in coefficients}
    number = (first if len(signs) == 1 else abs(first)) if same else Fraction(1)
    return Monomial(number, tuple((x, p) for x, p in least if p))


__all__ = ["Factor", "factored", "sandwiched"]
