"""The value of a product of labelled factors, two at a time in the cheapest order.

Slices of δ are never formed where one of their labels is summed: they cut, or place, what stands
at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.core.build import DELTA, contract, scale, zeros
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial, Size
from symgrad.lower.pairs import extent_of, kept_labels, path_of
from symgrad.ops.structure import is_selection, place, slice_axis
from symgrad.structured.terms import Factor

Made = tuple[list[Factor], Factor]
"""Factors, and their product."""


def product_of(
    coefficient: Monomial,
    factors: Sequence[Factor],
    sizes: dict[int, Size],
    out: Sequence[int],
    dtype: DType,
    mirror: Mapping[int, int] | None = None,
    known: list[Made] | None = None,
) -> Expr:
    """``coefficient · Σ Π factors`` with its axes at ``out``, summed over all other ``sizes``.

    ``mirror`` says which column belongs to which row: a product that is the same from both sides is
    made from one.  ``known`` are such sides, and this one's are added: ``J diag(p) Jᵀ − (J p)(J p)ᵀ``
    makes J once.
    """
    sizes = dict(sizes)
    rest = _renamed(factors, sizes, out)
    found = _selected(rest, sizes, set(out))
    if found is None:
        return zeros(tuple(sizes[x] for x in out), dtype)
    rest = found
    eyes = [f for f in rest if f[0].op is DELTA or is_selection(f[0])]
    bare = [f for f in rest if f not in eyes]
    keep = set(out) | {x for _, ls in eyes for x in ls if x >= 0}
    carried = {x for _, ls in rest for x in ls} | set(out)
    for x, size in sizes.items():
        if x not in carried:
            coefficient = coefficient * size
    made = _ordered(bare, sizes, keep, mirror or {}, [] if known is None else known)
    if eyes and len(made) > 1:
        made = [_multiplied(made, _outer(made, [], keep), sizes)]
    found = [*made, *eyes]
    shape = {x: sizes[x] for x in out}
    whole = contract([e for e, _ in found], [ls for _, ls in found], list(out), shape, dtype)
    return scale(coefficient, whole)


def _renamed(factors: Sequence[Factor], sizes: dict[int, Size], out: Sequence[int]) -> list[Factor]:
    """A δ with a summed label renames it; the others stay."""
    name: dict[int, int] = {}

    def root(x: int) -> int:
        while x in name:
            x = name[x]
        return x

    stay: list[Factor] = []
    for e, ls in factors:
        if e.op is not DELTA:
            stay.append((e, ls))
            continue
        a, b = root(ls[0]), root(ls[1])
        if a == b:
            continue
        gone = b if b not in out else a
        if gone in out:
            stay.append((e, ls))
            continue
        name[gone] = a if gone == b else b
        sizes.pop(gone, None)
    moved = [(e, tuple(root(x) if x >= 0 else -1 for x in ls)) for e, ls in stay]
    return [f for f in moved if f[0].op is not DELTA or f[1][0] != f[1][1]]


def _selected(factors: list[Factor], sizes: dict[int, Size], out: set[int]) -> list[Factor] | None:
    """Selections with a summed label are used up as slices and placings; None for an empty sum."""
    changed = True
    while changed:
        changed = False
        met = _met(factors)
        if met is None:
            return None
        factors = met
        for k, (s, (row, column)) in [
            (k, f) for k, f in enumerate(factors) if is_selection(f[0])
        ]:  # fmt: skip
            others = factors[:k] + factors[k + 1 :]
            part = s.params[0][0]
            size = s.args[0].shape[0]
            at_column = [f for f in others if column in f[1]]
            at_row = [f for f in others if row in f[1]]
            if column not in out and not any(
                is_selection(f[0]) and f[1][1] == column for f in at_column
            ):
                factors = [f for f in others if f not in at_column]
                factors += [_cut(f, column, row, part) for f in at_column]
                sizes.pop(column, None)
            elif row >= 0 and row not in out and not any(is_selection(f[0]) for f in at_row):
                factors = [f for f in others if f not in at_row]
                factors.append(_placed(at_row, row, column, part, size, sizes, s.dtype))
                sizes.pop(row, None)
            else:
                continue
            changed = True
            break
    return factors


def _met(factors: list[Factor]) -> list[Factor] | None:
    """Selections between the same labels: equal ones are one, shifted ones meet nowhere (None)."""
    seen: dict[tuple[int, ...], Expr] = {}
    kept: list[Factor] = []
    for e, ls in factors:
        known = seen.get(ls) if is_selection(e) else None
        if known is e:
            continue
        if known is not None:
            start, _, step = e.params[0][0]
            first, _, stride = known.params[0][0]
            if step == stride and isinstance(start, int) and isinstance(first, int):
                return None
        if is_selection(e):
            seen[ls] = e
        kept.append((e, ls))
    return kept


def _cut(factor: Factor, column: int, row: int, part: tuple[Size, Size, int]) -> Factor:
    """What stands at the column, sliced: its axis is now the row's."""
    e, ls = factor
    axes = [k for k, x in enumerate(ls) if x == column]
    if is_selection(e):
        return _composed(e, ls, row, part)
    for k in axes:
        e = slice_axis(e, k - e.ndim, *part)
    return e, tuple(row if x == column else x for x in ls)


def _composed(
    e: Expr, ls: tuple[int, ...], row: int, part: tuple[Size, Size, int]
) -> Factor:  # fmt: skip
    """A slice of a selection's rows is a selection."""
    rows = slice_axis(e, 0, *part)
    start, _, step = e.params[0][0]
    first, last, stride = part
    if isinstance(start, int) and isinstance(first, int) and isinstance(last, int):
        low, high = start + step * first, start + step * (last - 1) + 1
        rows = slice_axis(e.args[0], 0, low, high, step * stride)
    return rows, (row, ls[1])


def _placed(
    factors: Sequence[Factor],
    row: int,
    column: int,
    part: tuple[Size, Size, int],
    size: Size,
    sizes: dict[int, Size],
    dtype: DType,
) -> Factor:
    """The product of what stands at the row, written into zeros along the column."""
    every = dict.fromkeys(x for _, ls in factors for x in ls if x >= 0)
    rest = [x for x in every if x != row]
    out = [*rest, row]
    shape = {x: sizes[x] for x in out}
    whole = contract([e for e, _ in factors], [ls for _, ls in factors], out, shape, dtype)
    return place(whole, (part,), (size,)), (*rest, column)


def _ordered(
    factors: list[Factor],
    sizes: dict[int, Size],
    keep: set[int],
    mirror: Mapping[int, int],
    known: list[Made],
) -> list[Factor]:
    """Factors whose product is that of all, two at the most, made in a cheap order."""
    if len(factors) < 3:
        return factors
    path, cost = _path(factors, sizes, keep)
    halves = _halves(factors, mirror)
    if halves is not None:
        left, middle, renamed = halves
        outside = {x for _, ls in middle for x in ls} | keep
        rest, spent = list(middle), 0.0
        sides: list[Made] = []
        for part in _joined(left, renamed):
            half, inner = _half(part, renamed, outside, sizes, known)
            rest += [half, (half[0], tuple(renamed.get(x, x) for x in half[1]))]
            spent += inner
            sides.append((part, half))
        if len(rest) < 3:
            known += sides
            return rest
        turned, rest_cost = _path(rest, sizes, keep)
        if spent + rest_cost <= cost:
            known += sides
            factors, path = rest, turned
    for step in path:
        inside = [factors[k] for k in step]
        factors = [f for k, f in enumerate(factors) if k not in step]
        if not factors:
            return inside  # multiplied where the order of the axes is known
        factors.append(_multiplied(inside, _outer(inside, factors, keep), sizes))
    return factors


def _half(
    part: list[Factor],
    renamed: Mapping[int, int],
    outside: set[int],
    sizes: dict[int, Size],
    known: list[Made],
) -> tuple[Factor, float]:
    """The product of the factors of one side, and what it costs."""
    every = dict.fromkeys(x for _, ls in part for x in ls if x >= 0)
    images = {renamed.get(x, x) for x in every}
    labels = [x for x in every if x in outside | images or renamed.get(x, x) in outside]
    rest = part
    for inside, (e, row) in known:
        there = _within(inside, row, rest, {*labels})
        if there is not None:
            rest = [*_without(rest, there[0]), (e, there[1])]
    cost = _path(rest, sizes, {*labels})[1] if len(rest) > 1 else 0.0
    made = _multiplied(_ordered(rest, sizes, {*labels}, {}, []), labels, sizes)
    return made, cost


def _without(factors: Sequence[Factor], some: Sequence[Factor]) -> list[Factor]:
    """The factors that are left when each of these is taken once: a square has two."""
    left = list(factors)
    for f in some:
        left.remove(f)
    return left


def _within(
    inside: Sequence[Factor], row: tuple[int, ...], factors: Sequence[Factor], keep: set[int]
) -> tuple[list[Factor], tuple[int, ...]] | None:
    """Those of ``factors`` that are a product with axes ``row``, and what these are called there."""
    place = dict(factors)
    table = {-1: -1}
    found: list[Factor] = []
    for e, ls in inside:
        there = place.get(e)
        if there is None or any(
            table.setdefault(x, y) != y for x, y in zip(ls, there, strict=True)
        ):
            return None
        found.append((e, there))
    if len({*table.values()}) < len(table) or len({*found}) < len(found):
        return None
    bound = {table[x] for _, ls in inside for x in ls} - {-1, *(table[x] for x in row)}
    others = {x for _, ls in _without(factors, found) for x in ls}
    if bound & (others | keep):
        return None
    return found, tuple(table[x] for x in row)


def _joined(left: Sequence[Factor], renamed: Mapping[int, int]) -> list[list[Factor]]:
    """The factors of one side in groups that share a label of that side."""
    groups: list[list[Factor]] = []
    for f in left:
        mine = {x for x in f[1] if x in renamed}
        near = [g for g in groups if any(mine & set(ls) for _, ls in g)]
        groups = [g for g in groups if g not in near] + [[*(h for g in near for h in g), f]]
    return groups


def _path(
    factors: Sequence[Factor], sizes: dict[int, Size], keep: set[int]
) -> tuple[Sequence[Sequence[int]], float]:
    labels = tuple(ls for _, ls in factors)
    numbers = tuple(sorted((x, extent_of(s, {})) for x, s in sizes.items()))
    return path_of(labels, frozenset(keep), numbers)


def _halves(
    factors: Sequence[Factor], mirror: Mapping[int, int]
) -> tuple[list[Factor], list[Factor], dict[int, int]] | None:
    """(factors of the rows, those in the middle, row labels → column labels).

    None unless the columns mirror the rows through more than one factor.
    """
    renamed = dict(mirror)
    shared = set[int]()  # labels that both sides have by one name
    left: list[Factor] = []
    rest = list(factors)
    found = True
    while found:
        found = False
        for e, ls in rest:
            if not any(x in renamed for x in ls):
                continue
            match = _image(e, ls, rest, renamed, shared)
            if match is None:
                continue
            rest.remove((e, ls))
            rest.remove((e, match))
            left.append((e, ls))
            pairs = list(zip(ls, match, strict=True))
            renamed.update({x: y for x, y in pairs if x != y})
            shared.update(x for x, y in pairs if x == y)
            found = True
            break
    return (left, rest, renamed) if len(left) > 1 else None


def _image(
    e: Expr,
    ls: tuple[int, ...],
    rest: Sequence[Factor],
    renamed: Mapping[int, int],
    shared: set[int],
) -> tuple[int, ...] | None:
    """Labels of another factor that is this one seen from the columns."""
    taken = {*renamed.values(), *renamed, *shared}

    def fits(x: int, y: int) -> bool:
        if x in renamed:
            return renamed[x] == y
        return x == y or not {x, y} & taken

    for other, labels in rest:
        if other is e and labels != ls and all(map(fits, ls, labels)):
            pairs = {*zip(ls, labels, strict=True)}
            if len(pairs) == len({*ls}) == len({*labels}):  # one to one
                return labels
    return None


def _outer(inside: Sequence[Factor], outside: Sequence[Factor], keep: set[int]) -> list[int]:
    """Labels of a partial product that are still needed."""
    needed = keep | {x for _, ls in outside for x in ls}
    return list(kept_labels([ls for _, ls in inside], needed))


def _multiplied(
    inside: Sequence[Factor], out: list[int], sizes: dict[int, Size]
) -> Factor:  # fmt: skip
    shape = {x: sizes[x] for x in out}
    e = contract([f for f, _ in inside], [ls for _, ls in inside], out, shape)
    return e, tuple(out)


__all__ = ["product_of"]
