"""Values of many matrices, one for every head of every example: ``S[i,l] = Q[i,l] K[i,l]ᵀ``.

The axes that all factors of a product share are indices, the last two axes are those of matrices;
a Σ runs over what the factors share beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from symgrad.core.build import CONTRACTION, ONE, SUM, Term, contract
from symgrad.core.expr import SYMBOL, Expr, apply, name_of, symbol
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import topological
from symgrad.derivation import notation
from symgrad.derivation.formula import form_of
from symgrad.derivation.index_form import unnamed
from symgrad.derivation.matrix_form import sum_form
from symgrad.derivation.notation import Form, Slot
from symgrad.derivation.one_step import prefixed
from symgrad.derivation.order import ordered_terms
from symgrad.derivation.parts import OF_LABELS, relabelled, rows_of
from symgrad.derivation.split import batched_axes
from symgrad.derivation.tidy import GIVEN, WITHIN, Lines
from symgrad.errors import NotationError


def heads_first(order: Sequence[Expr]) -> dict[Expr, list[int]]:
    """Values that are written with other axes: those that products share first, none of size 1."""
    shared: dict[Expr, set[int]] = {}
    for e in order:
        for k in batched_axes(e):
            shared.setdefault(e, set()).add(k)
            for a, row in zip(e.args, e.params[0], strict=True):
                shared.setdefault(a, set()).add(row.index(k))
    found: dict[Expr, list[int]] = {}
    for e in order:
        if e.op.family in OF_LABELS and (e in shared or 1 in e.shape):
            first = shared.get(e, set())
            axes = sorted(range(e.ndim), key=lambda k: (k not in first, k))
            axes = [k for k in axes if e.shape[k] != 1]
            if axes != list(range(e.ndim)):
                found[e] = axes
    return found


def with_axes(e: Expr, axes: Sequence[int]) -> Expr:
    """The value with these of its axes; the others have size 1."""
    labels = [-1 if size == 1 else k for k, size in enumerate(e.shape)]
    return contract([e], [labels], axes, dict(enumerate(e.shape)), e.dtype)


class _Heads:
    """Expressions at places of some of their axes, over symbols for the entries of names."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.places: dict[str, Form] = {}
        self.counts: dict[Size, int] = {}

    def slot(self, size: Size) -> Form:
        """A letter for an index."""
        number = self.counts[size] = self.counts.get(size, -1) + 1
        return Form("slot", (), Slot(size, number))

    def entry(self, leaf: Expr, at: Mapping[int, Form]) -> Expr:
        """A symbol for ``leaf`` at places of axes."""
        if not at:
            return leaf
        if max(at) >= len(at):
            raise unnamed("matrices at an axis behind theirs", leaf)
        items = [at[k] for k in range(len(at))]
        word = f"‹{len(self.places)}›"
        base = self.lines.named(leaf) or notation.name(name_of(leaf))
        self.places[word] = Form("index", (base, *items))
        shape = tuple(s for k, s in enumerate(leaf.shape) if k not in at)
        return symbol(word, shape, leaf.dtype)

    def inner(self, e: Expr, at: Mapping[int, Form]) -> Expr | None:
        """The expression without the axes that are at places; None where one is needed as a whole."""
        made: dict[tuple[Expr, tuple[int, ...]], Expr] = {}
        table = [(e, tuple(at))]
        slots: dict[tuple[Expr, tuple[int, ...]], dict[int, Form]] = {table[0]: dict(at)}
        while table:
            key = table[-1]
            x, axes = key
            if key in made:
                table.pop()
                continue
            here = slots[key]
            if not axes:
                made[key] = x
                continue
            if x.op is SYMBOL or x in self.lines.shown:
                made[key] = self.entry(x, here)
                continue
            below = self._arguments(x, here)
            if below is None:
                return None
            keys = []
            for a, places in below:
                keys.append((a, tuple(places)))
                if slots.setdefault(keys[-1], places) != places:
                    return None
            waiting = [k for k in keys if k not in made]
            if waiting:
                table += waiting
                continue
            made[key] = self._rebuilt(x, axes, [made[k] for k in keys])
        return made[e, tuple(at)]

    def _arguments(
        self, x: Expr, at: Mapping[int, Form]
    ) -> list[tuple[Expr, dict[int, Form]]] | None:
        if x.op.family in OF_LABELS:
            return [
                (a, {k: at[label] for k, label in enumerate(row) if label in at})
                for a, row in zip(x.args, rows_of(x), strict=True)
            ]
        if x.op.name == "softmax" and x.ndim + x.params[0] not in at:
            return [(x.args[0], dict(at))]
        return None

    def _rebuilt(self, x: Expr, axes: Sequence[int], args: Sequence[Expr]) -> Expr:
        kept = [k for k in range(x.ndim) if k not in axes]
        if x.op.family not in OF_LABELS:
            axis = kept.index(x.ndim + x.params[0]) - len(kept)
            return apply(x.op, tuple(args), (axis,))
        number = {k: n for n, k in enumerate(kept)}
        rows = [
            [number.get(label, label if label < 0 else label - len(axes))
             for label in row if label not in axes]
            for row in rows_of(x)
        ]  # fmt: skip
        return relabelled(x, args, rows, [x.shape[k] for k in kept])


def by_heads(lines: Lines) -> None:
    """Matrices at indices, where a line is written so; the others keep their form."""
    for d in lines.definitions:
        if d.kind in (GIVEN, WITHIN) or d.form is None or not d.form[1]:
            continue
        if not _wide(d.expr) or not any(map(_product, topological([d.expr]))):
            continue
        d.form = _form(lines, d.expr) or d.form


def _wide(e: Expr) -> bool:
    """Does it have, or read, more than two axes?"""
    return e.ndim > 2 or any(x.op is SYMBOL and x.ndim > 2 for x in topological([e]))


Row = tuple[Monomial, Form, tuple[Slot, ...]]
"""A coefficient, a form, and the letters that it is summed over."""


def _product(e: Expr) -> bool:
    return e.op is CONTRACTION and e.sums and len(e.args) > 1


def _form(lines: Lines, e: Expr) -> tuple[Form, tuple[Form, ...]] | None:
    heads = _Heads(lines)
    left = [heads.slot(s) for s in e.shape[:-2]]
    at = dict(enumerate(left))
    natural = tuple(range(e.ndim))
    rows: list[Row] = []
    try:
        for c, a, labels in _terms(e, lines):
            if labels != natural and labels != natural[-1:]:
                return None
            found = _term(lines, heads, a, at if labels == natural else {})
            if found is None:
                return None
            rows.append((c * found[0], *found[1:]))
    except NotationError:
        return None
    totals = rows[0][2]
    if totals and all(row[2] == totals for row in rows):
        return _summed(sum_form([(c, form) for c, form, _ in rows]), totals), tuple(left)
    return sum_form([(c, _summed(form, slots)) for c, form, slots in rows]), tuple(left)


def _terms(e: Expr, lines: Lines) -> Iterator[Term]:
    """The terms of a sum in the order they are written, those of sums within it among them."""
    natural = tuple(range(e.ndim))
    stack: list[Term] = [(ONE, e, natural)]
    while stack:
        c, a, labels = stack.pop()
        if a.op is SUM and a.args and labels == natural:
            found = ordered_terms(a, lines.written)[::-1]
            stack += [(c * k, inner, row) for k, inner, row in found]
        else:
            yield c, a, labels


def _summed(form: Form, totals: tuple[Slot, ...]) -> Form:
    if not totals:
        return form
    c, form = (form.data, form.items[0]) if form.kind == "scale" else (ONE, form)
    return notation.scaled(c, Form("total", (form,), totals))


def _term(lines: Lines, heads: _Heads, e: Expr, at: Mapping[int, Form]) -> Row | None:
    """One term: a Σ over what its factors share, until they are matrices."""
    totals: list[Slot] = []
    full, places = e, dict(at)
    chosen, extent = _shared(e, set(at)) if e.op is CONTRACTION and e.sums else ([], {})
    if chosen is None:
        return None
    if chosen:
        full = contract(e.args, e.params[0], [*chosen, *range(e.ndim)], extent, e.dtype)
        places = {k + len(chosen): form for k, form in at.items()}
        taken = heads.counts.copy()
        for k, x in enumerate(chosen):
            places[k] = heads.slot(extent[x])
            totals.append(places[k].data)
        heads.counts = taken  # another Σ may have its letters
    inner = heads.inner(full, places)
    if inner is None:
        return None
    form, indices = form_of(inner, lines.written, lines.named)
    if indices or _by_rows(form):
        return None
    return ONE, prefixed(form, heads.places), tuple(totals)


def _shared(e: Expr, fixed: set[int]) -> tuple[list[int] | None, dict[int, Size]]:
    """Summed labels of several factors at which all factors are matrices; None where none are."""
    rows = e.params[0]
    extent = {x: a.shape[k] for a, row in zip(e.args, rows, strict=True)
              for k, x in enumerate(row) if x >= 0}  # fmt: skip
    chosen: list[int] = []
    while True:
        large = [row for row in rows
                 if sum(x >= 0 and x not in fixed and x not in chosen for x in row) > 2]  # fmt: skip
        if not large:
            return chosen, extent
        first = {
            x: min(row.index(x) for row in large if x in row)
            for row in large for x in row
            if x >= e.ndim and x not in chosen and sum(x in r for r in rows) > 1
        }  # fmt: skip
        if not first:
            return None, extent
        chosen.append(min(first, key=first.__getitem__))


def _by_rows(form: Form) -> bool:
    """Does it take rows of matrices, which index form says better?"""
    stack = [form]
    while stack:
        part = stack.pop()
        if part.kind == "all":
            return True
        stack += part.items
    return False


__all__ = ["by_heads", "heads_first", "with_axes"]
