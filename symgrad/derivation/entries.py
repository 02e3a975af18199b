"""Entries of what is neither a product, a sum nor elementwise: slices, positions, windows.

``ENTRIES[op](walk, e, at)`` is the index form of ``e[at]``; the walk gives the entries of arguments,
``walk.entry(e, at)``, and binds summed letters, ``walk.bound(sizes, at)``.  An operation without a
row is a call with its parameters, :func:`generic`: there always is a form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from symgrad.core.build import is_zero
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.sizes import (
    ONE,
    Size,
    size_product,
    size_total,
)
from symgrad.derivation.form import OUTSIDE
from symgrad.derivation.notation import Form, Slot, Step, call, product, run, scaled, slots_of
from symgrad.derivation.ranges import summed
from symgrad.derivation.shifts import affine, equal, indicator, whole, within
from symgrad.ops.convolution import Window, spread, turned_around
from symgrad.ops.structure import blocks

At = tuple[Form, ...]


class Walk(Protocol):
    """What a row needs of the index form that it is part of."""

    def entry(self, e: Expr, at: At) -> Step:
        """``e[at]``."""
        ...

    def outside(self, e: Expr, at: At, mark: str = OUTSIDE) -> Step:
        """``e[at]`` where the indices may leave the range of ``e``, which is a name; no mark: a call."""
        ...

    def bound(self, sizes: Sequence[Size], at: At) -> list[Slot]:
        """Letters for a Σ over ``sizes``."""
        ...


# ------------------------------------------------------------------ arithmetic of indices


def total(slots: Sequence[Slot], factors: Sequence[Form]) -> Form:
    """``Σ factors``."""
    body = product(list(factors))
    if not slots:
        return body
    front, body = (body.data, body.items[0]) if body.kind == "scale" else (ONE, body)
    return scaled(front, summed(body, slots))


def indices(shape: Sequence[Size], found: Sequence[Slot]) -> At:
    """The letters of a shape; an axis of size 1 is read at 0."""
    rest = iter(slots(found))
    return tuple(whole(0) if s == 1 else next(rest) for s in shape)


def slots(found: Sequence[Slot]) -> list[Form]:
    """Letters as forms."""
    return [Form("slot", (), s) for s in found]


# ------------------------------------------------------------------ one axis


def _flip(walk: Walk, e: Expr, at: At) -> Step:
    k = e.ndim + e.params[0]
    inner, last = e.args[0], size_total(e.shape[k], -1)
    if inner.op.name == "cumsum" and inner.params == e.params:  # sums from the end
        found = walk.bound([e.shape[k]], at)
        (index,) = slots(found)
        place = (*at[:k], affine([(-1, index)], last), *at[k + 1 :])
        value = yield walk.entry(inner.args[0], place)
        return total(found, [value, indicator(index, "≥", at[k])])
    return (yield walk.entry(inner, (*at[:k], affine([(-1, at[k])], last), *at[k + 1 :])))


def _cumsum(walk: Walk, e: Expr, at: At) -> Step:
    k = e.ndim + e.params[0]
    found = walk.bound([e.shape[k]], at)
    (index,) = slots(found)
    inner = yield walk.entry(e.args[0], (*at[:k], index, *at[k + 1 :]))
    return total(found, [inner, indicator(index, "≤", at[k])])


def _triangle(sign: str) -> Callable[[Walk, Expr, At], Step]:
    def rule(walk: Walk, e: Expr, at: At) -> Step:
        inner = yield walk.entry(e.args[0], at)
        row = affine([(1, at[-2])], e.params[0])
        return product([inner, indicator(at[-1], sign, row)])

    return rule


def _arange(walk: Walk, e: Expr, at: At) -> Step:
    return at[0]
    yield


def _delay(walk: Walk, e: Expr, at: At) -> Step:
    """The entry of the step before; 0 outside of the range, where the first one stands."""
    axis, reverse = e.params
    k = e.ndim + axis
    moved = (*at[:k], affine([(1, at[k])], 1 if reverse else -1), *at[k + 1 :])
    value = yield walk.outside(e.args[0], moved)
    if is_zero(e.args[1]):
        return value
    first = yield walk.entry(e.args[1], (*at[:k], *at[k + 1 :]))
    place = affine([], e.shape[k] - 1) if reverse and isinstance(e.shape[k], int) else (
        Form("sum", (whole(e.shape[k]), whole(1)), (ONE, -ONE)) if reverse else whole(0))  # fmt: skip
    first = product([first, indicator(at[k], "=", place)])
    value = product([value, indicator(at[k], "≠", place)])
    return Form("sum", (value, first), (ONE, ONE))


# ------------------------------------------------------------------ slices


def _parts(e: Expr, count: int) -> list[Any]:
    spec = e.params[0]
    return [None] * (count - len(spec)) + list(spec)


def _slice(walk: Walk, e: Expr, at: At) -> Step:
    moved: list[Form] = []
    for index, part in zip(at, _parts(e, e.ndim), strict=True):
        moved.append(index if part is None else affine([(part[2], index)], part[0]))
    return (yield walk.entry(e.args[0], tuple(moved)))


def _place(walk: Walk, e: Expr, at: At) -> Step:
    """Entries that are written: ``Σₖ A[k] 1[i = s k + start]``; one that is there for all i is
    ``A[i] 1[i < n − 1]``.
    """
    parts, inner = _parts(e, e.ndim), e.args[0]
    moving = [k for k, p in enumerate(parts) if p is not None and inner.shape[k] != 1]
    found = walk.bound([inner.shape[k] for k in moving], at)
    letters = dict(zip(moving, slots(found), strict=True))
    place: list[Form] = []
    marks: list[Form] = []
    for k, part in enumerate(parts):
        if part is None:
            place.append(at[k])
            continue
        place.append(letters.get(k, whole(0)))
        source = [(part[2], letters[k])] if k in letters else []
        marks.append(equal(at[k], affine(source, part[0])))
    entry = yield walk.entry(inner, tuple(place))
    for k in moving:  # Σₗ A[l] 1[i = l + c] = A[i − c], with A = 0 outside its range
        start, _, step = parts[k] or (0, 0, 1)
        moved = (
            run(_read_at(entry, letters[k], affine([(1, at[k])], -start))) if step == 1 else None
        )
        if moved is None:
            within = yield _within(walk, e, at, parts, moving)
            return total(found, [entry, *marks]) if within is None else within
        entry = moved
    fixed = [m for k, m in zip([k for k, p in enumerate(parts) if p is not None], marks, strict=True)
             if k not in moving]  # fmt: skip
    return product([entry, *fixed])


def _within(walk: Walk, e: Expr, at: At, parts: list[Any], moving: list[int]) -> Step:
    """``A[i − start]`` where it is written; None where entries lie apart."""
    (inner,), place, marks = e.args, list(at), list[Form]()
    for k, part in enumerate(parts):
        if part is None:
            continue
        start, _, step = part
        if k not in moving:
            place[k] = whole(0)
            marks.append(equal(at[k], whole(start)))
            continue
        if step != 1:
            return None
        place[k] = affine([(1, at[k])], -start)
        marks += within(at[k], start, inner.shape[k])
    entry = yield walk.entry(inner, tuple(place))
    return product([entry, *marks])


def _read_at(form: Form, letter: Form, at: Form) -> Step:
    """What vanishes where its letter leaves its range, read there; None if it need not vanish."""
    if form.kind == "index" and form.items[0].kind == "name" and letter in form.items[1:]:
        places = tuple(at if x == letter else x for x in form.items[1:])
        if any(letter.data in slots_of([x]) for x in places):
            return None
        if any(k in (form.data or ()) for k, x in enumerate(form.items[1:]) if x == letter):
            return None  # the axis is longer than the range of the letter: nothing vanishes
        marks = frozenset(form.data or ()) | {OUTSIDE}
        if at.kind == "slot" and at.data.size != letter.data.size:
            marks |= {k for k, x in enumerate(form.items[1:]) if x == letter}
        return Form("index", (form.items[0], *places), marks)
    if letter.data not in slots_of([form]):
        return None
    if form.kind in ("scale", "total", "sum"):
        items: list[Form] = []
        for item in form.items:
            moved = yield _read_at(item, letter, at)
            if moved is None:
                return None
            items.append(moved)
        return Form(form.kind, tuple(items), form.data)
    if form.kind != "product":
        return None
    items = []
    for item in form.items:
        moved = item
        if letter.data in slots_of([item]):
            moved = yield _read_at(item, letter, at)
        if moved is None:
            return None
        items.append(moved)
    return Form("product", tuple(items), form.data)


# ------------------------------------------------------------------ integer positions


def _take(walk: Walk, e: Expr, at: At) -> Step:
    inner, index = e.args
    k = inner.ndim + e.params[0]
    where = yield walk.entry(index, at[k : k + index.ndim])
    return (yield walk.entry(inner, (*at[:k], where, *at[k + index.ndim :])))


def _put_add(walk: Walk, e: Expr, at: At) -> Step:
    inner, index = e.args
    k = e.ndim + e.params[0]
    found = walk.bound([s for s in index.shape if s != 1], at)
    letters = indices(index.shape, found)
    where = yield walk.entry(index, letters)
    entry = yield walk.entry(inner, (*at[:k], *letters, *at[k + 1 :]))
    return total(found, [entry, indicator(where, "=", at[k])])


def _gather(walk: Walk, e: Expr, at: At) -> Step:
    k = e.ndim + e.params[0]
    where = yield walk.entry(e.args[1], at)
    return (yield walk.entry(e.args[0], (*at[:k], where, *at[k + 1 :])))


def _scatter_add(walk: Walk, e: Expr, at: At) -> Step:
    inner, index = e.args
    k = e.ndim + e.params[0]
    if inner.op.name == index.op.name == "reshape" and k == e.ndim - 1:  # several axes as one
        before, after = inner.args[0], index.args[0]
        if before.shape == after.shape and before.shape[:k] == inner.shape[:k]:
            sizes = before.shape[k:]
            found = walk.bound([s for s in sizes if s != 1], at)
            place = (*at[:k], *indices(sizes, found))
            where = yield walk.entry(after, place)
            entry = yield walk.entry(before, place)
            return total(found, [entry, indicator(where, "=", at[k])])
    found = walk.bound([s for s in inner.shape[k : k + 1] if s != 1], at)
    place = (*at[:k], *indices(inner.shape[k : k + 1], found), *at[k + 1 :])
    where = yield walk.entry(index, place)
    entry = yield walk.entry(inner, place)
    return total(found, [entry, indicator(where, "=", at[k])])


def _reshape(walk: Walk, e: Expr, at: At) -> Step:
    """An entry of axes that were one: ``x[…,w p + o]``; else of the call."""
    (x,) = e.args
    place: list[Form] = [whole(0)] * x.ndim
    for ins, outs in blocks(x.shape, e.shape):
        if len(ins) != 1 or not (x.op is SYMBOL or x.op.name in ENTRIES):
            return (yield walk.outside(e, at, ""))
        stride: Size = 1
        terms: list[tuple[Size, Form]] = []
        for k in reversed(outs):
            terms.append((stride, at[k]))
            stride = size_product((stride, e.shape[k]))
        place[ins[0]] = affine(terms[::-1])
    return (yield walk.entry(x, tuple(place)))


# ------------------------------------------------------------------ windows


def _moved(how: Window, k: int, place: Form, tap: Form) -> tuple[list[tuple[Size, Form]], Size]:
    """Where a window looks in the spread-out input: ``s p + d k − before``."""
    return [(how.strides[k], place), (how.dilation[k], tap)], -how.padding[k][0]


def _leaves(how: Window, k: int, size: Size, length: Size, places: Size) -> bool:
    """May the window look outside the entries?"""
    before, after = how.padding[k]
    return before != 0 or after != 0


def _window_entries(
    walk: Walk, e: Expr, x: Expr, how: Window, taps: Sequence[Form], at: At, front: At
) -> Step:
    """The entry of ``x`` that a window sees, and the marks and letters that say where."""
    rank = how.rank
    where: list[Form] = []
    marks: list[Form] = []
    found: list[Slot] = []
    outside = False
    for k in range(rank):
        terms, constant = _moved(how, k, at[k - rank], taps[k])
        size = x.shape[k - rank]
        if how.base[k] == 1:
            where.append(affine(terms, constant))
            outside = outside or _leaves(how, k, size, 0, 0)
            continue
        (slot,) = walk.bound([size], (*at, *front, *taps, *slots(found)))
        found.append(slot)
        index = Form("slot", (), slot)
        where.append(index)
        marks.append(indicator(affine([(how.base[k], index)]), "=", affine(terms, constant)))
    place = (*front, *where)
    entry = yield (walk.outside(x, place) if outside else walk.entry(x, place))
    return entry, marks, found


def _window_sum(walk: Walk, e: Expr, at: At) -> Step:
    lengths, how = e.params
    front = at[: e.ndim - how.rank]
    if set(how.strides) == {1} and set(how.base) != {1}:  # the adjoint of windows that move on
        found, rest = _letters(walk, [*e.args[0].shape[-how.rank :], *lengths], at)
        places, between = rest[: how.rank], rest[how.rank :]
        marks = _reached(how, lengths, places, between, at)
        entry = yield walk.entry(e.args[0], (*front, *places))
        return total(found, [entry, *marks])
    taps = walk.bound(lengths, at)
    entry, marks, more = yield _window_entries(walk, e, e.args[0], how, slots(taps), at, front)
    return total([*taps, *more], [entry, *marks])


def _unflipped(w: Expr, rank: int) -> Expr | None:
    """The filters before each of them was turned around; None where they were not."""
    turned = turned_around(w, rank)
    return None if "flip" in (turned.op.name, *(a.op.name for a in turned.args)) else turned


def _letters(walk: Walk, sizes: Sequence[Size], at: At) -> tuple[list[Slot], list[Form]]:
    """Letters for sizes, and an index for each: 0 where the size is 1."""
    found = walk.bound([s for s in sizes if s != 1], at)
    rest = iter(slots(found))
    return found, [whole(0) if s == 1 else next(rest) for s in sizes]


def _convolution(walk: Walk, e: Expr, at: At) -> Step:
    how, groups = e.params
    if groups != 1:
        return (yield generic(walk, e, at))
    x, w = e.args
    rank = how.rank
    turned = _unflipped(w, rank)
    if turned is not None and set(how.strides) == {1}:
        return (yield _adjoint(walk, e, turned, at))
    found, (channel, *taps) = _letters(walk, [x.shape[1], *w.shape[2:]], at)
    entry, marks, more = yield _window_entries(walk, e, x, how, taps, at, (at[0], channel))
    filters = yield walk.entry(w, (at[1], channel, *taps))
    return total([*found, *more], [filters, entry, *marks])


def _adjoint(walk: Walk, e: Expr, w: Expr, at: At) -> Step:
    """Σ g[u] W[k] 1[p = s u + d k − before]: what a convolution's input receives."""
    how, _ = e.params
    g = e.args[0]
    rank = how.rank
    found, (channel, *rest) = _letters(walk, [g.shape[1], *g.shape[2:], *w.shape[2:]], at)
    places, taps = rest[:rank], rest[rank:]
    marks = _reached(how, w.shape[2:], places, taps, at)
    entry = yield walk.entry(g, (at[0], channel, *places))
    filters = yield walk.entry(w, (at[1], channel, *taps))
    return total(found, [entry, filters, *marks])


def _reached(
    how: Window, lengths: Sequence[Size], places: Sequence[Form], taps: Sequence[Form], at: At
) -> list[Form]:
    """``1[p = s u + d k − before]``: the entries that a window at u reached, read backwards."""
    marks: list[Form] = []
    for k, length in enumerate(lengths):
        constant = size_total(how.padding[k][0], 1, -spread(length, how.dilation[k]))
        source = affine([(how.base[k], places[k]), (how.dilation[k], taps[k])], constant)
        marks.append(indicator(at[k - how.rank], "=", source))
    return marks


Rule = Callable[[Walk, Expr, At], Step]
ENTRIES: dict[str, Rule] = {
    "flip": _flip, "cumsum": _cumsum, "tril": _triangle("≤"), "triu": _triangle("≥"),
    "arange": _arange, "slice": _slice, "place": _place, "take": _take, "put_add": _put_add,
    "gather": _gather, "scatter_add": _scatter_add, "window_sum": _window_sum,
    "convolution": _convolution, "delay": _delay, "reshape": _reshape,
}  # fmt: skip
"""Operation → its entries in index form."""


# ------------------------------------------------------------------ calls


def generic(walk: Walk, e: Expr, at: At) -> Step:
    """The entry of a call over named arguments."""
    return (yield walk.outside(e, at))


__all__ = [
    "ENTRIES",
    "Walk",
    "affine",
    "call",
    "generic",
    "whole",
]
