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


def gathered(e: Expr, symmetric: Callable[[Expr], bool], written: Written) -> Expr:
    """A x + λ A y as A (x + λ y), for names x and y: one product with a matrix, not one for each."""
    if e.op is not SUM or len(e.args) < 2 or not e.ndim:
        return e
    rows: list[tuple[Monomial, Expr, Expr]] = []
    inner = range(1, e.ndim)
    for c, a, ls in terms_of(e):
        inside, factors = _entrywise(a, ls)
        numbers = [x for x, at in factors if not at]
        whole = [x for x, at in factors if at == tuple(range(e.ndim))]
        if len(numbers) + len(whole) < len(factors) or len(whole) != 1:
            return e
        (a,) = whole
        if a.op is not CONTRACTION or not a.sums:
            return e
        pairs = list(zip(a.args, a.params[0], strict=True))
        numbers += [x for x, at in pairs if not at]
        pairs = [(x, tuple(at)) for x, at in pairs if at]
        matrix = [(x, at) for x, at in pairs if x.ndim == 2 and 0 in at and e.ndim in at]
        rest = [(x, at) for x, at in pairs if (x, at) not in matrix]
        if len(matrix) != 1 or len(rest) != 1 or rest[0][0].args:
            return e
        ((p, at), (q, beside)) = *matrix, *rest
        if beside != (e.ndim, *inner) or (at != (0, e.ndim) and not symmetric(p)):
            return e
        made = contract([*numbers, q], [*([()] * len(numbers)), range(q.ndim)], range(q.ndim),
                        dict(enumerate(q.shape)), e.dtype)  # fmt: skip
        rows.append((c * inside, p, made))
    if len({p for _, p, _ in rows}) != 1 or len({q.shape for *_, q in rows}) != 1:
        return e
    front = _least([c for c, *_ in rows])
    _, matrix, first = rows[0]
    bracket = linear(
        [(c / front, q, tuple(range(q.ndim))) for c, _, q in rows], first.shape, e.dtype
    )
    written.note(bracket, sorted((q for *_, q in rows), key=lambda q: len(q.args)))
    labels = [(0, e.ndim), (e.ndim, *inner)]
    return scale(front, contract([matrix, bracket], labels, range(e.ndim), dtype=e.dtype))


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


__all__ = ["Factor", "factored", "gathered", "sandwiched"]
