"""Lines at one step: the entries ``x[t]`` and ``h[t − 1]`` that they read, and sums Σₜ over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    apply_map,
    contract,
    is_zero,
    linear,
    product,
    squeeze,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import substitute, topological
from symgrad.derivation import notation
from symgrad.derivation.form import OUTSIDE
from symgrad.derivation.formula import form_of
from symgrad.derivation.index_form import ALL, unnamed
from symgrad.derivation.matrix_form import sum_form
from symgrad.derivation.notation import Form, Step, run
from symgrad.derivation.opaque import is_result, of_every_step
from symgrad.derivation.order import Written
from symgrad.derivation.shifts import affine, indicator, whole
from symgrad.derivation.tidy import (
    GIVEN,
    WITHIN,
    Lines,
    flat,
)
from symgrad.derivation.times import BEFORE, step_slot
from symgrad.errors import NotationError


class OneStep:
    """Entries of lines at one step.

    ``places`` are the names that stand for entries of a line within a step, ``X[t]`` or
    ``X[t − 1]``.
    """

    def __init__(self, lines: Lines, size: Size) -> None:
        self.lines, self.size = lines, size
        self.places: dict[str, Form] = {}
        self.now = Form("slot", (), step_slot(size))
        below = Form("sum", (whole(size), whole(1)), (ONE, -ONE))
        self.ends = (whole(0), whole(size - 1) if isinstance(size, int) else below)

    def entry(self, leaf: Expr, at: Form, mark: str | None = None, axis: int = 0) -> Expr:
        """A symbol for the entry of a line at a step: those of this step first, names last.

        The steps of data may be another axis than the first, ``x[:,t]``.
        """
        word = f"‹{len(self.places)}›"
        before = (ALL,) * axis
        marks = None if mark is None else frozenset({mark})
        self.places[word] = Form("index", (notation.name(name_of(leaf)), *before, at), marks)
        self.lines.entered.add((leaf, axis))
        shape = (*leaf.shape[:axis], *leaf.shape[axis + 1 :])
        return symbol(word, shape, leaf.dtype, number=NOW - (mark is not None))

    def of(self, e: Expr, row: Sequence[int], label: int, table: Mapping[Expr, Expr]) -> Expr:
        """An operand at one step, which is the ``label`` among those of its axes."""
        if label not in row:
            return e
        return table[e] if row[0] == label else self.entry(e, self.now, axis=row.index(label))

    def beside(self, reverse: bool) -> Form:
        """``t − 1``; reverse: ``t + 1``."""
        return affine([(1, self.now)], 1 if reverse else -1)

    def delayed(self, leaf: Expr, first: Expr, reverse: bool) -> Expr:
        """The entry of a line a step before; ``first`` is given there.

        Where the line is read as a whole it is 0 there, and ``first`` added.
        """
        made = (d.symbol for d in self.lines.definitions if d.expr is first)
        first = next(made, first) if first.args else first
        if leaf not in self.lines.apart:
            if self.lines.starts.setdefault((leaf, reverse), first) is not first:
                raise unnamed("delay", leaf)
            return self.entry(leaf, self.beside(reverse), BEFORE)
        e = self.entry(leaf, self.beside(reverse), OUTSIDE)
        if is_zero(first):
            return e
        word = f"‹{len(self.places)}›"
        self.places[word] = indicator(self.now, "=", self.ends[reverse])
        return e + product(symbol(word, (), e.dtype, number=NOW), first)

    def slice(self, e: Expr) -> Expr | None:
        """The entry of lines, of lines a step before, of what is elementwise of both; else None."""
        needed, queue = set[Expr](), [e]
        while queue:
            x = queue.pop()
            if x in needed:
                continue
            needed.add(x)
            if x.op is SYMBOL or x.op.name == "delay":
                continue
            if _at_one_step(x) is not None:
                continue
            if not _elementwise(x):
                return None
            queue += [a for a, row in zip(x.args, _rows(x), strict=True) if row[:1] == (0,)]
        table: dict[Expr, Expr] = {}
        for x in topological([e]):
            if x not in needed:
                continue
            if x.op is SYMBOL:
                table[x] = self.entry(x, self.now)
            elif x.op.name == "delay":
                axis, reverse = x.params
                if x.args[0].op is not SYMBOL or axis != -x.ndim:
                    return None
                table[x] = self.delayed(x.args[0], x.args[1], reverse)
            elif (step := _at_one_step(x)) is not None:
                word = f"‹{len(self.places)}›"
                self.places[word] = indicator(self.now, "=", whole(step))
                only = symbol(word, (), x.dtype, number=NOW)
                table[x] = product(only, squeeze(x.args[0], [0]))
            else:
                rows = zip(x.args, _rows(x), strict=True)
                table[x] = _one_step(x, [self.of(a, row, 0, table) for a, row in rows])
        return table[e]

    def form(self, e: Expr) -> tuple[Form, tuple[Form, ...]]:
        """The form of an expression over entries, and the indices of its line."""
        form, at = form_of(_as_read(e, self.lines.written), self.lines.written, self.lines.named)
        return prefixed(form, self.places), (self.now, *at)


NOW = -50
"""The number of symbols for entries of this step; those of the step before have one less."""


def _as_read(e: Expr, written: Written) -> Expr:
    """Sums in sums opened; first what a step reads, then what the last one left, then constants."""
    changed: dict[Expr, Expr] = {}
    for node in topological([e]):
        if node.op is not SUM or len(node.args) < 2:
            continue
        (old,) = substitute([node], changed)
        new = flat(old)
        ranks = {a: _newest(a) for a in new.args}
        if None not in ranks.values() and len({*ranks.values()}) > 1:
            turn = sorted((ranks[a], c.number < 0, a.params[3] if a.op is SYMBOL else 0, k)
                          for k, (c, a, _) in enumerate(terms_of(new)))  # fmt: skip
            lead = next((row for row in turn if not row[1]), turn[0])
            turn.sort(key=lambda row: row is not lead)
            written.note(new, [new.args[k] for *_, k in turn])
        changed[node] = new
    return substitute([e], changed)[0]


def _newest(e: Expr) -> int | None:
    """0: of this step; 1: of the step before; 2: the same in all steps; None: a number."""
    numbers = [x.params[3] for x in topological([e]) if x.op is SYMBOL]
    if not numbers:
        return None
    return 0 if NOW in numbers else 1 if NOW - 1 in numbers else 2


def by_steps(lines: Lines, sizes: set[Size]) -> None:
    """Step by step what reads the results of steps, or is read so; sums over the steps as Σₜ."""
    stacks = {d.symbol for d in lines.definitions if of_every_step(d.expr)}
    for d in reversed(lines.definitions):
        if is_result(d.expr) or d.kind in (GIVEN, WITHIN):
            continue
        read = stacks.isdisjoint(topological([d.expr]))
        if read and (d.symbol, 0) not in lines.entered:
            continue
        made = _total(lines, d.expr, sizes)
        if made is None and d.expr.ndim and d.expr.shape[0] in sizes:
            made = _one(lines, d.expr)
        d.form = made or d.form


def _one(lines: Lines, e: Expr) -> tuple[Form, tuple[Form, ...]] | None:
    """The form of what is elementwise along the steps, at one step."""
    step = OneStep(lines, e.shape[0])
    try:
        inner = step.slice(e)
        return None if inner is None else step.form(inner)
    except NotationError:
        return None


def _total(lines: Lines, e: Expr, sizes: set[Size]) -> tuple[Form, tuple[Form, ...]] | None:
    """``Σₜ δ[t] h[t − 1]ᵀ``: a sum over steps, alone or among others, of products of one step."""
    natural = tuple(range(e.ndim))
    terms = terms_of(e) if e.op is SUM else [(ONE, e, natural)]
    found = [_total_of(lines, a, sizes) if ls == natural else None for _, a, ls in terms]
    if not any(found):
        return None
    rows: list[tuple[Monomial, Form]] = []
    for (c, a, ls), form in zip(terms, found, strict=True):
        if form is None:
            form, at = form_of(a, lines.written, lines.named)
            if at or ls != natural:
                return None
        rows.append((c, form))
    return sum_form(rows), ()


def _total_of(lines: Lines, e: Expr, steps: set[Size]) -> Form | None:
    if e.op is not CONTRACTION or not e.sums:
        return None
    rows = [tuple(row) for row in e.params[0]]
    first = [row[0] for row in rows if row and row[0] >= e.ndim and _size_at(e, row[0]) in steps]
    x = next((x for x in first if all(x in row for row in rows) and _has_steps(e, rows, x)), None)
    if x is None:
        return None
    step = OneStep(lines, _size_at(e, x))
    try:
        table: dict[Expr, Expr] = {}
        for a, row in zip(e.args, rows, strict=True):
            if row[0] == x and a not in table:
                entry = step.slice(a)
                if entry is None:
                    return None
                table[a] = entry
        whole = [step.of(a, row, x, table) for a, row in zip(e.args, rows, strict=True)]
        rows = [tuple(k for k in row if k != x) for row in rows]
        sizes = dict(enumerate(e.shape))
        inner = contract(whole, rows, range(e.ndim), sizes, e.dtype)
        form, at = step.form(inner)
    except NotationError:
        return None
    if len(at) > 1:
        return None
    c, form = (form.data, form.items[0]) if form.kind == "scale" else (ONE, form)
    return notation.scaled(c, Form("total", (form,), (step.now.data,)))


def _at_one_step(e: Expr) -> Size | None:
    """The step at which alone something is, if it is placed there among zeros."""
    if e.op.name != "place" or e.args[0].shape[0] != 1:
        return None
    spec = e.params[0]
    return spec[0][0] if len(spec) == e.ndim and not any(spec[1:]) else None


def _size_at(e: Expr, label: int) -> Size:
    """The size of a label of a product."""
    rows = zip(e.args, e.params[0], strict=True)
    return next(a.shape[row.index(label)] for a, row in rows if label in row)


def _rows(e: Expr) -> Sequence[Sequence[int]]:
    return [row for _, row in e.params[0]] if e.op is SUM else e.params[0]


def _elementwise(e: Expr) -> bool:
    """Does it keep the first axis of every argument that has it?"""
    if e.op.family not in ("map", "sum", "contraction") or not e.ndim or not e.args:
        return False
    return _has_steps(e, _rows(e), 0)


def _has_steps(e: Expr, rows: Sequence[Sequence[int]], label: int) -> bool:
    """Is a label the first axis of every operand that has it, or some axis of a name?"""
    pairs = [(a, row) for a, row in zip(e.args, rows, strict=True) if label in row]
    return bool(pairs) and all(
        label not in row[1:] or (a.op is SYMBOL and row.count(label) == 1) for a, row in pairs
    )


def _one_step(e: Expr, args: Sequence[Expr]) -> Expr:
    """An elementwise node without its first axis, over arguments without theirs."""
    rows = [tuple(row) for row in _rows(e)]
    rows = [tuple(x - (x > 0) for x in row if x != 0) for row in rows]
    shape = e.shape[1:]
    if e.op is SUM:
        terms = zip((c for c, _ in e.params[0]), args, rows, strict=True)
        return linear(list(terms), shape, e.dtype)
    if e.op is CONTRACTION:
        return contract(args, rows, range(len(shape)), dict(enumerate(shape)), e.dtype)
    return apply_map(e.op, args, rows, shape, e.params[2])


def stacked(
    e: Expr, size: Size, stacks: Mapping[Expr, Expr], same: Mapping[Expr, Expr]
) -> Expr | None:
    """An expression of one step for all steps; None where an operation is not elementwise in them."""
    table = dict(stacks)
    for x in topological([e], table.__contains__):
        if x in table or not any(a in table for a in x.args):
            continue
        if x.op.family not in ("map", "sum", "contraction"):
            return None
        rows = [
            (0, *(k + (k >= 0) for k in row)) if a in table else tuple(k + (k >= 0) for k in row)
            for a, row in zip(x.args, _rows(x), strict=True)
        ]
        args = [table.get(a, same.get(a, a)) for a in x.args]
        shape = (size, *x.shape)
        if x.op is SUM:
            terms = zip((c for c, _ in x.params[0]), args, rows, strict=True)
            table[x] = linear(list(terms), shape, x.dtype)
        elif x.op is CONTRACTION:
            table[x] = contract(args, rows, range(len(shape)), dict(enumerate(shape)), x.dtype)
        else:
            table[x] = apply_map(x.op, args, rows, shape, x.params[2])
    return table.get(e)


def prefixed(form: Form, places: Mapping[str, Form]) -> Form:
    """The form with names as what they stand for, their indices behind those of that."""
    return run(_prefixed(form, places))


def _prefixed(form: Form, places: Mapping[str, Form]) -> Step:
    if form.kind == "name" and form.data in places:
        return places[form.data]
    items: list[Form] = []
    if form.kind == "index" and form.items[0].kind == "name" and form.items[0].data in places:
        place = places[form.items[0].data]
        for item in form.items[1:]:
            items.append((yield _prefixed(item, places)))
        front = iter(items)
        filled = [next(front, x) if x.kind == "all" else x for x in place.items]
        whole_axes = [k for k, x in enumerate(place.items[1:]) if x.kind == "all"]
        moved = [*whole_axes, *range(len(place.items) - 1, len(place.items) + len(items))]
        marks = {moved[k] if isinstance(k, int) else k for k in form.data or ()}
        return Form("index", (*filled, *front), frozenset(marks | {*(place.data or ())}) or None)
    for item in form.items:
        items.append((yield _prefixed(item, places)))
    return Form(form.kind, tuple(items), form.data) if items else form


__all__ = ["OneStep", "by_steps", "prefixed", "stacked"]
