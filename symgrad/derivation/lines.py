"""From an expression to named lines: forward definitions, adjoints, gradients.

The sweep runs line by line with *barriers*: every named value is a leaf symbol, its accumulated
adjoint becomes a line of its own, and the sweep goes on with that symbol.  The lines are what is
printed and what is lowered: what is read is what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count

from symgrad.autodiff import depending, pull_back
from symgrad.core.build import (
    ONE,
    add,
    is_zero,
    linear,
    ones,
    placed,
    power,
    product,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.facts import among_symmetric
from symgrad.core.sizes import letters_of
from symgrad.core.traverse import topological
from symgrad.derivation.arrange import arranged, side_by_side
from symgrad.derivation.formula import form_of
from symgrad.derivation.index_form import ambiguous
from symgrad.derivation.layers import (
    Layer,
    Standardised,
    calls,
    given_deviation,
    softmax_adjoint,
    softmax_sum,
    standardised,
)
from symgrad.derivation.naming import (
    NameTable,
    assign,
    base_letter,
    kinds,
    with_gates,
    written_order,
)
from symgrad.derivation.notation import Form, call
from symgrad.derivation.opaque import is_result
from symgrad.derivation.order import Written
from symgrad.derivation.per_head import by_heads, heads_first, with_axes
from symgrad.derivation.recurrence import Together, loops
from symgrad.derivation.reuse import named_products, reuse
from symgrad.derivation.symmetric import Symmetries, in_entries
from symgrad.derivation.tidy import (
    ADJOINT,
    FORWARD,
    GIVEN,
    GRADIENT,
    WITHIN,
    Definition,
    Lines,
    Use,
    flat,
    inline,
    replaced,
)
from symgrad.errors import NotationError
from symgrad.ops.scan import SCAN
from symgrad.simplify import rewrite
from symgrad.simplify.rules import ONEHOT_ROWS

_MADE = {"softmax": "P", "sigmoid": "p", "tanh": "H"}
"""What the sweep makes a line of, and its letter."""


def derive_lines(
    outputs: Sequence[tuple[str, Expr]],
    wanted: Sequence[Expr],
    inputs: Sequence[Expr],
    written: Written | None = None,
    chosen: Mapping[Expr, str] | None = None,
    gradients_of: int | None = 0,
    taken: Iterable[str] = (),
    further: bool = False,
    independent: bool = False,
    uses: Mapping[Expr, str] | None = None,
) -> Lines:
    """The lines of ``outputs``, and of the gradient of one of them for every ``wanted`` symbol.

    ``gradients_of`` is the position of the differentiated output (None: forward lines only); one
    that is no scalar gets a symbolic incoming adjoint ``δY``, an input.  ``further``: lines to
    come, of second derivatives, read the values named here.  ``independent``: of what is symmetric
    the gradient in its independent entries.  ``uses``: what parts of parameters are for.
    """
    builder = _Builder(
        list(outputs),
        list(wanted),
        list(inputs),
        Written() if written is None else written,
        dict(chosen or {}),
    )
    builder.lines.independent = independent
    builder.lines.uses_of.update(uses or {})
    builder.names.taken.update(taken)
    builder.forward()
    if gradients_of is not None:
        builder.backward(gradients_of)
    builder.lines.note_operations()
    if gradients_of is not None:
        reuse(builder.lines)
        builder.read_again()
        made = [] if further else [s for e, s in builder.made.items() if e.op.name != "softmax"]
        inline(builder.lines, builder.symmetries.symmetric, made)
        named_products(builder.lines, builder.symmetries.symmetric)
        for line in builder.lines.definitions:
            if line.kind in (ADJOINT, GRADIENT):
                line.expr = builder.symmetries.tidied(line.expr)
        builder.lines.definitions = arranged(builder.lines.definitions, wanted)
    if SCAN in builder.lines.operations:
        loops(builder.lines, builder.names, builder.numbers)
    builder.settle()
    by_heads(builder.lines)
    return builder.lines


class _Builder:
    def __init__(
        self,
        outputs: list[tuple[str, Expr]],
        wanted: list[Expr],
        inputs: list[Expr],
        written: Written,
        chosen: dict[Expr, str],
    ) -> None:
        self.outputs = outputs
        self.wanted = wanted
        self.inputs = inputs
        self.chosen = chosen
        self.lines = Lines(written=written)
        self.names = NameTable({name_of(i) for i in inputs})
        for i in inputs:
            self.names.taken.update(letters_of(i.shape))
        self.numbers = count(1)  # per derivation: digests, and so texts, forget what ran before
        self.moved: dict[Expr, Expr] = {}
        self.made: dict[Expr, Expr] = {}
        self.parts: dict[Expr, Expr] = {}
        self.layers: dict[Expr, Layer] = {}  # by the symbol of the line that they own
        self.entrywise: set[str] = set()
        self.symmetries = Symmetries(self.lines.written)
        self.called: dict[Expr, Layer] = {}  # by the node that a call stands for

    # -------------------------------------------------------------- forward

    def forward(self) -> None:
        """Name values in program order and define each over the names before it."""
        written = self.lines.written
        roots = [e for _, e in self.outputs]
        order = side_by_side(with_gates(written_order(roots, written), self.chosen))
        reserved = NameTable(self.names.taken)
        finals = [reserved.fresh(word) for word, _ in self.outputs]
        layers = {x.node: x for x in standardised(order)}
        found = kinds(order, roots, self.chosen)
        opened = not calls(layers, found)
        held = set(order)
        chosen = {e: w for e, w in self.chosen.items() if w and e in held}
        table = assign(found, self.names, chosen)
        self._show_onehots(order)
        first = heads_first(order)
        for node in order:
            word = table.get(node)
            if node in layers:
                self.layer(layers[node], opened)
            elif given_deviation(node):
                s = self.note("s", power(self._over_names(node.args[0]), Fraction(1, 2)), FORWARD)
                self.moved[node] = power(s, -1)
            elif word is not None and node not in roots:
                self._define(node, word, first.get(node))
        for word, (_, e) in zip(finals, self.outputs, strict=True):
            self.lines.outputs.append(self._define(e, word))

    def _define(self, node: Expr, word: str, axes: Sequence[int] | None = None) -> Expr:
        """A line for a value: of its ``axes`` these, in this order; others have size 1."""
        over, layer = self._over_names(node), self.called.get(node)
        over = over if axes is None else with_axes(over, axes)
        form = None  # that of a loop comes later
        if layer is None and not is_result(over):
            over, form = self._settled(over, FORWARD, self.lines.definitions)
        elif layer is not None:
            x = layer.layer
            form = self._spelt("LN", x.x, x.weight, x.bias, x.epsilon()), ()
        number, facts = next(self.numbers), self.symmetries.facts(over)
        leaf = symbol(word, over.shape, node.dtype, number, facts)
        self.lines.definitions.append(Definition(leaf, over, FORWARD, form=form))
        self.moved[node] = leaf if axes is None else placed(leaf, tuple(axes), node.shape)
        if layer is not None:
            self.layers[leaf] = layer
        return leaf

    def _settled(
        self, expr: Expr, kind: str, definitions: list[Definition], entries: bool = False
    ) -> tuple[Expr, tuple[Form, tuple[Form, ...]]]:
        """``expr`` and its form; what needs a name for it gets a line before it."""
        lines, stack = self.lines, [expr]
        while True:
            top = replaced(stack[-1], self.parts, lines.written)
            try:
                by_entry = entries and len(stack) == 1
                form = form_of(top, lines.written, lines.named, by_entry, lines.recogniser)
                if len(stack) == 1 and (self._rows_of_entries(form[0]) or ambiguous(top, form[0])):
                    form = form_of(top, lines.written, lines.named, entries=True)
            except NotationError as error:
                stack[-1] = top
                stack += [part for part in error.parts if part not in self.parts]
                if stack[-1] is top:
                    raise
                continue
            part = stack.pop()
            if not stack:
                return top, form
            leaf = symbol(
                self.names.free(top.ndim), top.shape, top.dtype, number=next(self.numbers)
            )
            self.parts[part] = self.parts[top] = leaf
            definitions.append(Definition(leaf, top, kind, form=form))

    def _note_entries(self, line: Definition) -> None:
        """Remember values that are defined entry by entry, and their adjoints."""
        owner = name_of(line.of) if line.of is not None else ""
        if (line.form is not None and line.form[1]) or owner in self.entrywise:
            self.entrywise.add(name_of(line.symbol))

    def _rows_of_entries(self, form: Form) -> bool:
        """Does it sum rows, ``Σᵢ δY[i,:]``, of what is defined entry by entry?"""
        while form.kind == "scale":
            form = form.items[0]
        row = form.items[0] if form.kind == "total" else form
        return row.kind == "index" and row.items[-1].kind == "all" and (
            row.items[0].data in self.entrywise
        )  # fmt: skip

    def settle(self) -> None:
        """Every line gets its form, and the lines before it that this needs."""
        kept: list[Definition] = []
        for line in self.lines.definitions:
            if line.kind not in (GIVEN, WITHIN) and line.form is None:
                line.expr, line.form = self._settled(line.expr, line.kind, kept, line.entries)
            kept.append(line)
            self._note_entries(line)
        self.lines.definitions = kept

    def _over_names(self, root: Expr) -> Expr:
        """``root`` rebuilt over the symbols of the lines before it."""
        moved = self.moved
        for node in topological([root], moved.__contains__):
            if node in moved:
                continue
            args = tuple(moved[a] for a in node.args)
            if all(a is b for a, b in zip(args, node.args, strict=True)):
                moved[node] = node
            else:
                moved[node] = new = node.func(*args)
                self.lines.written.carry(node, new, moved)
        return moved[root]

    def _show_onehots(self, order: Sequence[Expr]) -> None:
        for node in order:
            if node.op.name == "onehot":
                word = self.names.fresh("Y" if node.ndim == 2 else "y")
                self.lines.shown[node] = symbol(
                    word, node.shape, node.dtype, number=next(self.numbers)
                )

    # -------------------------------------------------------------- backward

    def backward(self, position: int) -> None:
        """The reverse sweep, line by line."""
        definitions = list(self.lines.definitions)
        order = [d.symbol for d in definitions]
        below = [topological([d.expr]) for d in definitions]
        active = self._active(definitions, below)
        parts: dict[Expr, list[tuple[int, Expr]]] = {}
        target = self.lines.outputs[position]
        start = order.index(target)
        together = Together(definitions)
        last_reader = self._first_readers(below, active)
        prefix, done = "L" if target.shape else name_of(target), set[Expr]()
        self._emit_gradients(prefix, len(definitions), last_reader, parts, done)
        for k in range(start, -1, -1):
            line = definitions[k]
            s = line.symbol
            if s in active and (s is target or s in parts):
                together.add(line, self._adjoint(line, parts.get(s, []), s is target))
            for whole, seed in together.ready(k):
                self._sweep(k, whole, seed, active, parts)
            self._emit_gradients(prefix, k, last_reader, parts, done)
        self._emit_gradients(prefix, -1, last_reader, parts, done)

    def _active(
        self, definitions: Sequence[Definition], below: Sequence[Sequence[Expr]]
    ) -> set[Expr]:
        active = set(self.wanted)
        for line, order in zip(definitions, below, strict=True):
            if line.expr in depending(order, list(active)):
                active.add(line.symbol)
        return active

    def _first_readers(self, below: Sequence[Sequence[Expr]], active: set[Expr]) -> dict[Expr, int]:
        """For each wanted symbol the first line that reads it: below it its gradient is whole."""
        first: dict[Expr, int] = {}
        for k, order in enumerate(below):
            for e in order:
                if e.op is SYMBOL and e in active:
                    first.setdefault(e, k)
        return first

    def _adjoint(self, line: Definition, parts: list[tuple[int, Expr]], top: bool) -> Expr:
        s = line.symbol
        if top and not s.shape:
            return ones((), s.dtype)
        word = name_of(s)
        if top:
            incoming = symbol(self.names.fresh(f"δ{word}"), s.shape, s.dtype, next(self.numbers))
            self.lines.definitions.append(Definition(incoming, incoming, GIVEN, s))
            return incoming
        head, digits = word[:1], word[1:]
        alone = head in "Zz" and head.swapcase() + digits not in self.names.taken
        label = f"δ{digits}" if alone and digits.isalnum() and digits else f"δ{word}"
        expr = self._total(parts)
        number, facts = next(self.numbers), self.symmetries.facts(expr)
        leaf = symbol(self.names.fresh(label), s.shape, s.dtype, number, facts)
        self.lines.definitions.append(Definition(leaf, expr, ADJOINT, s))
        return leaf

    def _total(self, parts: list[tuple[int, Expr]]) -> Expr:
        calls_last = sorted(parts, key=lambda pair: (pair[1] in self.lines.spelled, pair[0]))
        ordered = [e for _, e in calls_last]
        if self.lines.shown and any(a.op.name == "onehot" for a in topological(ordered)):
            ordered = rewrite(ordered, [[ONEHOT_ROWS]])[0]
        total = add(ordered)
        if len(ordered) > 1:
            self.lines.written.note(total, ordered)
        return self.symmetries.symmetric(flat(total))

    def _sweep(
        self,
        k: int,
        line: Definition,
        seed: Expr,
        active: set[Expr],
        parts: dict[Expr, list[tuple[int, Expr]]],
    ) -> None:
        leaves = [e for e in topological([line.expr]) if e.op is SYMBOL and e in active]
        layer = self.layers.get(line.symbol)
        if layer is not None:
            rows = self.pulled(layer, seed, active)
            leaves, found = [e for e, _ in rows], [part for _, part in rows]
        elif line.expr.op.name == "softmax" and line.expr.args == (*leaves,):
            found = [self.softmax(line, seed)]
        else:
            found = pull_back({line.expr: seed}, leaves)
        rule = "a layer's own adjoint" if layer else line.expr.op.text or line.expr.op.family
        for leaf, part in zip(leaves, found, strict=True):
            if part is None or is_zero(part):
                continue
            part = self._with_names(part, line)
            whole = layer.layer.whole(not layer.opened) if layer else line.expr
            self.lines.uses.append(Use(rule, line.symbol, whole, leaf, seed, part))
            parts.setdefault(leaf, []).append((k, part))

    def note(self, word: str, expr: Expr, kind: str, entries: bool = True) -> Expr:
        """A line of a layer, entry by entry, and its symbol."""
        leaf = symbol(self.names.fresh(word), expr.shape, expr.dtype, number=next(self.numbers))
        self.lines.definitions.append(Definition(leaf, expr, kind, entries=entries))
        return leaf

    def softmax(self, line: Definition, seed: Expr) -> Expr:
        """The adjoint of the argument of a softmax, its sum on a line of its own."""
        axis = line.expr.params[0]
        r = self.note("r", softmax_sum(line.symbol, seed, axis), ADJOINT)
        return softmax_adjoint(line.symbol, seed, r, axis)

    def layer(self, x: Standardised, opened: bool) -> None:
        """The lines μ, s, N of what is standardised; within a call they are not printed."""
        kind = FORWARD if opened else WITHIN
        source = self._over_names(x.x)
        over = replace(x, x=source)
        mean = self.note("μ", over.mean(source), kind)
        natural = tuple(range(source.ndim))
        off = linear([(ONE, source, natural), (-ONE, over.spread(mean), natural)],
                     source.shape, source.dtype)  # fmt: skip
        self.lines.written.note(off, (source, over.spread(mean)))
        s = self.note("s", over.deviation(off), kind)
        value = self.note("N" if opened else "N̂", over.over(off, s), kind)
        self.moved[x.node] = value
        made = Layer(over, s, value, opened)
        if opened:
            self.layers[value] = made
        else:
            self.called[x.top] = made
            self.lines.spelled[value] = self._spelt("LN", source, over.epsilon())

    def _spelt(self, word: str, *parts: Expr | None) -> Form:
        found = [e for e in parts if e is not None]
        return call(word, *(form_of(e, self.lines.written, self.lines.named)[0] for e in found))

    def pulled(self, layer: Layer, seed: Expr, active: set[Expr]) -> list[tuple[Expr, Expr]]:
        """The adjoints of what a layer reads."""
        x = layer.layer
        kind = ADJOINT if layer.opened else WITHIN
        delta = seed if layer.opened else self.note("δN̂", x.weighted(seed), kind)
        a = self.note("a", x.mean(delta), kind)
        c = self.note("c", x.mean(product(delta, layer.value)), kind)
        bracket, operands = x.bracket(delta, layer.value, a, c)
        self.lines.written.note(bracket, operands)
        part = x.over(bracket, layer.s)
        if not layer.opened:
            part = self.note("q", part, kind)
            self.lines.spelled[part] = self._spelt("LN′", x.x, x.weight, x.epsilon(), seed)
        return [pair for pair in layer.adjoints(seed, a, c, part) if pair[0] in active]

    def _with_names(self, part: Expr, line: Definition) -> Expr:
        """The value of the line by its name; softmax and σ that the sweep made get one."""
        table = dict(self.made)
        if line.expr.op is not SYMBOL:
            table[line.expr] = line.symbol
            if line.expr.op.name == "power" and line.expr.params[2][0] == Fraction(1, 2):
                table[power(line.expr.args[0], Fraction(-1, 2))] = power(line.symbol, -1)
        table.update((d.expr, d.symbol) for d in self.lines.definitions if is_result(d.expr))
        order = topological([part], table.__contains__)
        for node in order:
            if node in table:
                continue
            args = tuple(table.get(a, a) for a in node.args)
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            new = node if same else node.func(*args)
            if new in self.made:
                new = self.made[new]
            elif new.op.name in _MADE and new.args[0].op is SYMBOL:
                new = self._make(new)
            if new is not node:
                table[node] = new
                self.lines.written.carry(node, new, table)
        return table.get(part, part)

    def _make(self, node: Expr) -> Expr:
        known = next((d.symbol for d in self.lines.definitions if d.expr is node), None)
        if known is not None:
            return known
        base = base_letter(_MADE[node.op.name], node)
        number = name_of(node.args[0])[1:]
        word = self.names.fresh(base + number if base in "hH" and number.isdigit() else base)
        facts = self.symmetries.facts(node)
        leaf = symbol(word, node.shape, node.dtype, next(self.numbers), facts)
        self.made[node] = leaf
        definitions = self.lines.definitions
        owner = node.args[0]
        place = next((k + 1 for k, d in enumerate(definitions) if d.symbol is owner), 0)
        definitions.insert(place, Definition(leaf, node, FORWARD))
        return leaf

    def read_again(self) -> None:
        """Forward lines read what the sweep has named, too."""
        found: dict[Expr, Expr] = {}
        of = {leaf: e for e, leaf in self.made.items()}
        for line in self.lines.definitions:
            if line.symbol in of:
                found[of[line.symbol]] = line.symbol
            elif found and line.kind == FORWARD:
                changed = replaced(line.expr, found, self.lines.written)
                if changed is not line.expr:
                    line.expr, line.form = changed, None

    def _emit_gradients(
        self,
        prefix: str,
        reached: int,
        first: Mapping[Expr, int],
        parts: Mapping[Expr, list[tuple[int, Expr]]],
        done: set[Expr],
    ) -> None:
        for leaf in self.wanted:
            if leaf in done or first.get(leaf, -1) < reached:
                continue
            if reached < 0 or leaf in first:
                done.add(leaf)
                found = parts.get(leaf)
                expr = self._total(found) if found else zeros(leaf.shape, leaf.dtype)
                expr = self.symmetries.within_symmetric(leaf, expr)
                if self.lines.independent and among_symmetric(leaf):
                    expr = in_entries(self.note("G", expr, ADJOINT, entries=False))
                word = self.names.fresh(f"∂{prefix}/∂{name_of(leaf)}")
                gradient = symbol(word, leaf.shape, leaf.dtype, number=next(self.numbers))
                self.lines.definitions.append(Definition(gradient, expr, GRADIENT, leaf))


__all__ = ["GRADIENT", "Definition", "Lines", "derive_lines"]
