"""Lines of a loop: what a step makes, stated once, with the index of the step.

Every result of a scan that some line reads has a line, ``h[t] = tanh(Wx x[t] + Wh h[t − 1])``; lines
of one scan stand together.  A state one step before the first is given; the loop
runs down where a line reads ``[t + 1]``.  What else goes step by step is written so, and a sum over
the steps is Σₜ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from symgrad.core.build import (
    SUM,
    add,
    is_zero,
    ones,
    product,
    reduce_sum,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.traverse import substitute, topological
from symgrad.derivation import notation
from symgrad.derivation.naming import NameTable
from symgrad.derivation.notation import Form
from symgrad.derivation.one_step import OneStep, by_steps, stacked
from symgrad.derivation.opaque import is_result, of_every_step
from symgrad.derivation.tidy import (
    ADJOINT,
    FORWARD,
    GRADIENT,
    Definition,
    Lines,
    replaced,
)
from symgrad.errors import NotationError
from symgrad.ops.outputs import project
from symgrad.ops.scan import SCAN, delay, operands_of, steps_of

Named = Callable[..., Expr]
"""(an expression, the kind of its line, or of which state it is the adjoint) → a new symbol."""


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


def loops(lines: Lines, names: NameTable, numbers: Iterator[int]) -> None:
    """Give the results of scans that lines read lines of their own, together, with their forms."""

    def named(e: Expr, kind: str, of: Expr | None = None) -> Expr:
        matrix = e.ndim - (e.shape[:1] in sizes) > 1
        if kind not in (FORWARD, ADJOINT):
            word = names.fresh("gG"[matrix] + kind)
        elif kind == ADJOINT and of in lines.uses_of:
            word = names.fresh(f"δ{lines.uses_of[of]}")
        elif kind == ADJOINT and of_every_step(e) and (
            "δ" not in names.taken or e.params[0] >= 2 * len(e.args[0].params[0].states)
        ):  # fmt: skip
            word = names.fresh("δ")
        else:
            word = names.free(1 + matrix)
        return symbol(word, e.shape, e.dtype, number=next(numbers))

    order = topological([d.expr for d in lines.definitions])
    sizes = {(steps_of(e),) for e in order if e.op is SCAN}
    if not sizes:
        return
    _apart(lines, named)
    nodes = _dissolved(lines)
    forms = [(d, d.form) for d in lines.definitions]
    while True:
        for node in nodes:
            _Loop(lines, node, named).state()
        by_steps(lines, {size for (size,) in sizes})
        bare = _read_whole(lines) - lines.apart
        if not bare:
            return
        lines.apart |= bare
        for d, form in forms:
            d.form = form
        lines.starts.clear()
        lines.asides.clear()
        lines.entered.clear()


def _dissolved(lines: Lines) -> list[Expr]:
    """An adjoint that only a loop reads, step by step, is a part of its lines; the loops then."""
    for d in lines.definitions[::-1]:
        if d.kind != ADJOINT or is_result(d.expr) or not d.expr.ndim:
            continue
        order = topological([x.expr for x in lines.definitions])
        readers = {e for e in order if d.symbol in e.args}
        if len(readers) != 1 or next(iter(readers)).op is not SCAN:
            continue
        if any(x.expr is d.symbol for x in lines.definitions):
            continue
        try:
            if OneStep(lines, d.expr.shape[0]).slice(d.expr) is None:
                continue
        except NotationError:
            continue
        lines.definitions.remove(d)
        for x in lines.definitions:
            x.expr = replaced(x.expr, {d.symbol: d.expr}, lines.written)
    lines.entered.clear()
    lines.starts.clear()
    return list(dict.fromkeys(d.expr.args[0] for d in lines.definitions if is_result(d.expr)))


def _read_whole(lines: Lines) -> set[Expr]:
    """States that some line reads as a whole, without the entry that is given before its steps."""
    words = {name_of(leaf): leaf for leaf, _ in lines.starts}
    found: set[Expr] = set()
    stack = [d.form[0] for d in lines.definitions if d.form is not None and words]
    while stack:
        form = stack.pop()
        if form.kind == "name" and form.data in words:
            found.add(words[form.data])
        named = form.kind == "index" and form.items[0].kind == "name"
        entry = named and form.items[1].kind != "all"
        stack += form.items[entry:]
    return found


def _apart(lines: Lines, named: Named) -> None:
    """Every result of a scan is the whole of one line, those of one scan in a row."""
    table: dict[Expr, Expr] = {}
    queue = lines.definitions[::-1]
    done: list[Definition] = []
    while queue:
        d = queue.pop()
        e, old = replaced(d.expr, table, lines.written), d.expr
        while e is not old:  # what was put in makes others known
            e, old = replaced(e, table, lines.written), e
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
                queue.append(Definition(named(inner, kind, d.of), inner, kind))
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


class _Loop(OneStep):
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
        self.inner: dict[Expr, Expr] = {}
        """What a step of an adjoint sums up, and its name."""

    def own(self) -> list[Definition]:
        """The lines of this scan."""
        found = self.lines.definitions
        return [d for d in found if is_result(d.expr) and d.expr.args[0] is self.node]

    def add(self, e: Expr) -> Expr:
        """A line for another value, before those of this scan."""
        if e in self.made:
            return self.made[e]
        old = next((d.symbol for d in self.lines.definitions if d.expr is e), None)
        if old is not None:
            self.made[e] = old
            return old
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
        inner = self.sums()
        own = self.own()
        rank = self.ranks(own)
        own.sort(key=lambda d: (d.expr.params[0] < count, rank[d.symbol]))
        found = self.lines.definitions
        start = found.index(self.own()[0])
        found[start : start + len(own)] = own
        self.lines.asides += [(own[0].symbol, made) for made in inner]
        for d in own:
            k = d.expr.params[0]
            d.runs = self.reverse if k >= count else None
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

    def ranks(self, own: Sequence[Definition]) -> dict[Expr, int]:
        """The place of every line in a step; forward, lines that read none of the others come first."""
        results = self.body.results
        order = topological(results)
        made = {d.symbol: results[max(d.expr.params[0] - len(self.body.following), 0)] for d in own}
        if self.kind != FORWARD:
            place = {e: k for k, e in enumerate(order)}
            return {s: place[e] for s, e in made.items()}
        lines, depth = set(made.values()), dict[Expr, int]()
        for e in order:
            depth[e] = max((depth[a] + (a in lines) for a in e.args), default=0)
        return {s: depth[e] for s, e in made.items()}

    def sums(self) -> list[Definition]:
        """The adjoint of a state, what this step gives and what the next one gives, has a line."""
        found: list[Definition] = []
        users: dict[Expr, list[Expr]] = {}
        for e in topological(self.body.results) if self.kind != FORWARD else ():
            for a in e.args:
                users.setdefault(a, []).append(e)
        for s in self.body.states:
            top = s
            while len(above := users.get(top, ())) == 1 and above[0].op is SUM:
                top = above[0]
            whole = None if top is s or top in self.known() else self.everywhere(top)
            if whole is None:
                continue
            leaf = self.named(whole, "" if len(self.body.states) == 1 else name_of(s)[:-1])
            self.inner[top] = leaf
            form = self.form(self.over(top, self.now, True))
            found.append(Definition(leaf, whole, ADJOINT, form=form, runs=self.reverse))
        return found

    def everywhere(self, e: Expr) -> Expr | None:
        """What every step makes at a node, as one expression over the lines of all steps."""
        known = {x: s for x, s in self.known().items() if x is not e}
        table = dict(zip(self.body.fixed, self.fixed, strict=True))
        stacks = {**dict(zip(self.body.inputs, self.inputs, strict=True)), **known}
        for s, first, following in zip(
            self.body.states, self.states, self.body.following, strict=True
        ):
            k = len(self.body.following) + self.body.states.index(s)
            after = self.symbols.get(k) or stacked(following, self.size, stacks, table)
            if after is not None:
                stacks[s] = delay(after, first, -s.ndim - 1, self.reverse)
        return stacked(e, self.size, stacks, table)

    def known(self) -> dict[Expr, Expr]:
        """What a step makes → the line that has it."""
        count = len(self.body.following)
        pairs = ((k - count, s) for k, s in self.symbols.items() if k >= count)
        return {**self.inner, **{self.body.results[k]: s for k, s in pairs}}

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
        earlier = at == self.beside(self.reverse)
        if whole:
            known.pop(e, None)
        needed = set(topological([e], known.__contains__))
        table: dict[Expr, Expr] = {}
        for x, s in known.items():
            if x not in needed:
                continue
            first = zeros(s.shape[1:], s.dtype)
            table[x] = self.delayed(s, first, self.reverse) if earlier else self.entry(s, at)
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
        first = self.states[k]
        named = is_zero(first) or first.op is SYMBOL
        return self.delayed(leaf, first if named else self.add(first), self.reverse)

    def known_slice(self, e: Expr) -> Expr:
        """The entry of an operand; what has none over names of lines gets a line."""
        found = self.slice(e)
        return self.entry(self.add(e), self.now) if found is None else found


__all__ = ["Together", "loops"]
