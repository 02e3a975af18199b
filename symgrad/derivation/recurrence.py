"""Lines of a loop: what a step makes, stated once, with the index of the step.

Every result of a scan that some line reads has a line, ``H[t] = tanh(A[t] + H[t − 1] Wᵀ)``; lines of
one scan stand together.  A state that begins with zeros is 0 outside its range; the loop runs down
where a line reads ``[t + 1]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    add,
    apply_map,
    contract,
    is_zero,
    linear,
    ones,
    product,
    reduce_sum,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.sizes import Size
from symgrad.core.traverse import substitute, topological
from symgrad.derivation import notation
from symgrad.derivation.entries import OUTSIDE, affine, indicator, whole
from symgrad.derivation.formula import form_of
from symgrad.derivation.notation import Form, Slot, Step, run
from symgrad.derivation.opaque import is_result
from symgrad.derivation.tidy import ADJOINT, FORWARD, GRADIENT, Definition, Lines, replaced
from symgrad.errors import NotationError
from symgrad.ops.outputs import project
from symgrad.ops.scan import operands_of, steps_of

Named = Callable[[Expr, str], Expr]
"""(an expression, "forward" or "adjoint") → a new symbol for its value."""


def counts(d: Definition) -> bool:
    """Does a line say what every step of a scan makes?"""
    return is_result(d.expr) and d.expr.params[0] >= len(d.expr.args[0].params[0].states)


class Together:
    """The adjoints of lines, those of one scan together: its sweep takes all of them at once."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self.definitions = definitions
        self.first: dict[Expr, int] = {}
        for k, d in enumerate(definitions):
            if is_result(d.expr):
                self.first.setdefault(d.expr.args[0], k)
        self.waiting: dict[Expr, list[tuple[Definition, Expr]]] = {}

    def _key(self, line: Definition) -> Expr:
        return line.expr.args[0] if is_result(line.expr) else line.symbol

    def add(self, line: Definition, seed: Expr) -> None:
        """The adjoint of a line."""
        self.waiting.setdefault(self._key(line), []).append((line, seed))

    def ready(self, k: int) -> list[tuple[Definition, Expr]]:
        """The lines whose sweep is due at line ``k``; several are one, Σ ⟨line, adjoint⟩."""
        key = self._key(self.definitions[k])
        found = self.waiting.pop(key, []) if self.first.get(key, k) == k else []
        if len(found) < 2:
            return found
        parts = [reduce_sum(product(d.expr, g), range(d.expr.ndim)) for d, g in found]
        whole = Definition(self.definitions[k].symbol, add(parts), FORWARD)
        return [(whole, ones((), whole.expr.dtype))]


def loops(lines: Lines, named: Named) -> None:
    """Give the results of scans that lines read lines of their own, together, with their forms."""
    if not any(is_result(e) for e in topological(d.expr for d in lines.definitions)):
        return
    _apart(lines, named)
    for node in dict.fromkeys(d.expr.args[0] for d in lines.definitions if is_result(d.expr)):
        _Loop(lines, node, named).state()
    stacks = {d.symbol for d in lines.definitions if counts(d)}
    for d in lines.definitions:
        if d.kind in (ADJOINT, GRADIENT) and d.form is None:
            d.form = _total(lines, d.expr, stacks)


def _total(lines: Lines, e: Expr, stacks: set[Expr]) -> tuple[Form, tuple[Form, ...]] | None:
    """``Σₜ δ[t] H[t − 1]ᵀ``: a sum over steps that has no matrix form, of products of one step."""
    if e.op is not CONTRACTION or not e.sums or stacks.isdisjoint(topological([e])):
        return None
    rows = [tuple(row) for row in e.params[0]]
    x = next(iter(rows[0]), -1)
    if x < e.ndim or any(row[:1] != (x,) or x in row[1:] for row in rows):
        return None
    try:
        if len(rows) > 1 and not form_of(e, lines.written, lines.named)[1]:
            return None
        step = _Step(lines, e.args[0].shape[0])
        parts = [step.slice(a) for a in e.args]
        whole = [a for a in parts if a is not None]
        if len(whole) < len(parts):
            return None
        sizes = dict(enumerate(e.shape))
        inner = contract(whole, [row[1:] for row in rows], range(e.ndim), sizes, e.dtype)
        form, at = step.form(inner)
    except NotationError:
        return None
    if len(at) > 1:
        return None
    c, form = (form.data, form.items[0]) if form.kind == "scale" else (ONE, form)
    return notation.scaled(c, Form("total", (form,), (step.now.data,))), ()


def _apart(lines: Lines, named: Named) -> None:
    """Every result of a scan is the whole of one line, those of one scan in a row."""
    table: dict[Expr, Expr] = {}
    queue = lines.definitions[::-1]
    done: list[Definition] = []
    while queue:
        d = queue.pop()
        e = replaced(d.expr, table, lines.written)
        inner = next((x for x in topological([e]) if is_result(x) and x is not e), None)
        if inner is not None:
            queue.append(d)
            later = next(
                (x for x in queue if replaced(x.expr, table, lines.written) is inner), None
            )
            if later is not None and later.kind != GRADIENT:
                queue.remove(later)
                queue.append(later)
            else:
                kind = FORWARD if d.kind == FORWARD else ADJOINT
                queue.append(Definition(named(inner, kind), inner, kind))
            continue
        if e is not d.expr:
            d.expr, d.form = e, None
        if is_result(e):
            table.setdefault(e, d.symbol)
        done.append(d)
    first: dict[Expr, int] = {}
    for k, d in enumerate(done):
        if is_result(d.expr):
            first.setdefault(d.expr.args[0], k)
    order = sorted(
        range(len(done)),
        key=lambda k: first.get(done[k].expr.args[0], k) if is_result(done[k].expr) else k,
    )
    lines.definitions = [done[k] for k in order]


class _Step:
    """Entries of lines at one step.

    ``places`` are the names that stand for entries of a line within a step, ``X[t]`` or
    ``X[t − 1]``.
    """

    def __init__(self, lines: Lines, size: Size) -> None:
        self.lines, self.size = lines, size
        self.places: dict[str, Form] = {}
        self.now = Form("slot", (), Slot(size, 0))
        below = Form("sum", (whole(size), whole(1)), (ONE, -ONE))
        self.ends = (whole(0), whole(size - 1) if isinstance(size, int) else below)

    def entry(self, leaf: Expr, at: Form) -> Expr:
        """A symbol for the entry of a line at a step."""
        mark = None if at in (self.now, *self.ends) else OUTSIDE
        word = f"‹{len(self.places)}›"
        self.places[word] = Form("index", (notation.name(name_of(leaf)), at), mark)
        return symbol(word, leaf.shape[1:], leaf.dtype, number=-50)

    def beside(self, reverse: bool) -> Form:
        """``t − 1``; reverse: ``t + 1``."""
        return affine([(1, self.now)], 1 if reverse else -1)

    def delayed(self, leaf: Expr, first: Expr, reverse: bool) -> Expr:
        """The entry of a line a step before: 0 outside of its range, where ``first`` stands."""
        e = self.entry(leaf, self.beside(reverse))
        if is_zero(first):
            return e
        word = f"‹{len(self.places)}›"
        self.places[word] = indicator(self.now, "=", self.ends[reverse])
        return e + product(symbol(word, (), e.dtype, number=-50), first)

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
            if not _elementwise(x):
                return None
            queue += [a for a, row in zip(x.args, _rows(x), strict=True) if 0 in row]
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
            else:
                table[x] = _one_step(x, table)
        return table[e]

    def form(self, e: Expr) -> tuple[Form, tuple[Form, ...]]:
        """The form of an expression over entries, and the indices of its line."""
        form, at = form_of(e, self.lines.written, self.lines.named)
        form, *at = (run(_counted(x, self.size)) for x in (form, *at))
        return prefixed(form, self.places), (self.now, *at)


class _Loop(_Step):
    """One scan and the lines of its results; ``symbols`` are these by the number of the result."""

    def __init__(self, lines: Lines, node: Expr, named: Named) -> None:
        super().__init__(lines, steps_of(node))
        self.node, self.named = node, named
        self.body, self.reverse = node.params
        self.states, self.inputs, self.fixed = operands_of(node)
        self.made: dict[Expr, Expr] = {}
        self.symbols = {d.expr.params[0]: d.symbol for d in self.own()}
        self.kind = self.own()[0].kind
        self.last = self.ends[not self.reverse]

    def own(self) -> list[Definition]:
        """The lines of this scan."""
        found = self.lines.definitions
        return [d for d in found if is_result(d.expr) and d.expr.args[0] is self.node]

    def add(self, e: Expr) -> Expr:
        """A line for another value, before those of this scan."""
        if e in self.made:
            return self.made[e]
        made = Definition(self.named(e, self.kind), e, self.kind)
        self.lines.definitions.insert(self.lines.definitions.index(self.own()[0]), made)
        self.made[e] = made.symbol
        return made.symbol

    def state(self) -> None:
        """The form of every line."""
        count = len(self.body.following)
        queue = list(self.symbols)
        while queue:  # the states that lines read
            k = queue.pop()
            read = [k] if k < count else self.read(self.body.results[k - count])
            for j in read:
                if count + j not in self.symbols and not self.dissolves(j):
                    self.symbols[count + j] = self.add(project(self.node, count + j))
                    queue.append(count + j)
        own = self.own()
        place = {e: k for k, e in enumerate(topological(self.body.results))}
        rank = {d.symbol: place[self.body.results[max(d.expr.params[0] - count, 0)]] for d in own}
        own.sort(key=lambda d: (d.expr.params[0] < count, rank[d.symbol]))
        found = self.lines.definitions
        start = found.index(self.own()[0])
        found[start : start + len(own)] = own
        for d in own:
            k = d.expr.params[0]
            try:
                if k >= count:
                    d.form = self.form(self.over(self.body.results[k - count], self.now, True))
                elif count + k in self.symbols:
                    name = notation.name(name_of(self.symbols[count + k]))
                    d.form = Form("index", (name, self.last)), ()
                else:
                    form, at = self.form(self.over(self.body.following[k], self.last))
                    d.form = form, at[1:]
            except NotationError:
                d.form = None

    def known(self) -> dict[Expr, Expr]:
        """What a step makes → the line that has it."""
        count = len(self.body.following)
        pairs = ((k - count, s) for k, s in self.symbols.items() if k >= count)
        return {self.body.results[k]: s for k, s in pairs}

    def read(self, result: Expr) -> list[int]:
        """The states that a result reads, where no line is between."""
        known = self.known()
        order = topological([result], lambda e: e in known and e is not result)
        return [k for k, s in enumerate(self.body.states) if s in order]

    def dissolves(self, k: int) -> bool:
        """Is a state, all of whose steps are known by other lines, better written out?"""
        e, known = self.body.following[k], self.known()
        order = topological([e], known.__contains__)
        if not is_zero(self.states[k]) or not {*self.body.states, *self.body.inputs}.isdisjoint(
            order
        ):
            return False
        nothing = {x: zeros(x.shape, x.dtype) for x in known}
        return is_zero(substitute([e], nothing)[0])

    def over(self, e: Expr, at: Form, whole: bool = False) -> Expr:
        """What a step makes at a place, over names of entries; ``whole``: not by its own name."""
        known = self.known()
        table = {x: self.entry(s, at) for x, s in known.items() if x is not e or not whole}
        table.update(zip(self.body.fixed, self.fixed, strict=True))
        order = set(topological([e], table.__contains__))
        for k, s in enumerate(self.body.states):
            if s in order:
                table[s] = self.previous(k)
        for s, x in zip(self.body.inputs, self.inputs, strict=True):
            if s in order:
                table[s] = self.known_slice(x)
        return substitute([e], table)[0]

    def previous(self, k: int) -> Expr:
        """A state before the step."""
        leaf = self.symbols.get(len(self.body.following) + k)
        if leaf is None:
            return self.over(self.body.following[k], self.beside(self.reverse))
        return self.delayed(leaf, self.states[k], self.reverse)

    def known_slice(self, e: Expr) -> Expr:
        """The entry of an operand; what has none over names of lines gets a line."""
        found = self.slice(e)
        return self.entry(self.add(e), self.now) if found is None else found


def _rows(e: Expr) -> Sequence[Sequence[int]]:
    return [row for _, row in e.params[0]] if e.op is SUM else e.params[0]


def _elementwise(e: Expr) -> bool:
    """Does it keep the first axis of every argument that has it?"""
    if e.op.family not in ("map", "sum", "contraction") or not e.ndim or not e.args:
        return False
    return all(0 not in row[1:] for row in _rows(e)) and any(row[:1] == (0,) for row in _rows(e))


def _one_step(e: Expr, table: Mapping[Expr, Expr]) -> Expr:
    """An elementwise node without its first axis, over arguments without theirs."""
    rows = [tuple(row) for row in _rows(e)]
    args = [table[a] if 0 in row else a for a, row in zip(e.args, rows, strict=True)]
    rows = [tuple(x - (x > 0) for x in row if x != 0) for row in rows]
    shape = e.shape[1:]
    if e.op is SUM:
        terms = zip((c for c, _ in e.params[0]), args, rows, strict=True)
        return linear(list(terms), shape, e.dtype)
    if e.op is CONTRACTION:
        return contract(args, rows, range(len(shape)), dict(enumerate(shape)), e.dtype)
    return apply_map(e.op, args, rows, shape, e.params[2])


def _counted(form: Form, size: Size) -> Step:
    """The letters over axes of the steps' size, behind the letter of the steps."""
    if form.kind == "slot" and form.data.size == size:
        return Form("slot", (), Slot(size, form.data.number + 1))
    data = form.data
    if form.kind == "total":
        data = tuple(Slot(s.size, s.number + (s.size == size)) for s in data)
    items: list[Form] = []
    for item in form.items:
        items.append((yield _counted(item, size)))
    return Form(form.kind, tuple(items), data)


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
        return Form("index", (*place.items, *items), form.data or place.data)
    for item in form.items:
        items.append((yield _prefixed(item, places)))
    return Form(form.kind, tuple(items), form.data) if items else form


__all__ = ["Together", "counts", "loops", "prefixed"]
