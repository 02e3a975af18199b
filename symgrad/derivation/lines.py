"""From an expression to named lines: forward definitions, adjoints, gradients.

The sweep runs line by line with *barriers*: every named value is a leaf symbol, its accumulated
adjoint becomes a line of its own, and the sweep goes on with that symbol.  The lines are what is
printed and what is lowered: what is read is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count

from symgrad.autodiff import depending, pull_back
from symgrad.core.build import (
    CONTRACTION,
    SUM,
    add,
    constant_value,
    is_zero,
    linear,
    ones,
    relabelling,
    single_term,
    terms_of,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.sizes import letters_of
from symgrad.core.traverse import topological
from symgrad.derivation.formula import form_of
from symgrad.derivation.matrix_form import Recogniser
from symgrad.derivation.naming import NameTable, assign, base_letter, kinds, written_order
from symgrad.derivation.notation import Form, name, subscript
from symgrad.derivation.opaque import remark
from symgrad.derivation.order import Written
from symgrad.errors import NotationError

FORWARD, ADJOINT, GRADIENT = "forward", "adjoint", "gradient"


@dataclass(slots=True)
class Definition:
    """``symbol = expr``: a forward value, an adjoint or a gradient (``of`` which symbol).

    ``form`` is the right side and the indices of the left side, once it is known.
    """

    symbol: Expr
    expr: Expr
    kind: str
    of: Expr | None = None
    form: tuple[Form, tuple[Form, ...]] | None = None


@dataclass(slots=True)
class Lines:
    """All definitions of a derivation in order, with the names of nodes that stay nodes."""

    definitions: list[Definition] = field(default_factory=list[Definition])
    shown: dict[Expr, Expr] = field(default_factory=dict[Expr, Expr])
    written: Written = field(default_factory=Written)
    outputs: list[Expr] = field(default_factory=list[Expr])

    @property
    def output(self) -> Expr:
        """The symbol of the first output."""
        return self.outputs[0]

    def named(self, e: Expr) -> Form | None:
        """Symbols and shown nodes print as their names."""
        if e.op is SYMBOL:
            return name(name_of(e))
        found = self.shown.get(e)
        return name(name_of(found)) if found is not None else None


def derive_lines(
    outputs: Sequence[tuple[str, Expr]],
    wanted: Sequence[Expr],
    inputs: Sequence[Expr],
    written: Written | None = None,
    chosen: Mapping[Expr, str] | None = None,
    gradients_of: int | None = 0,
) -> Lines:
    """The lines of ``outputs``, and of the gradient of one of them for every ``wanted`` symbol.

    ``gradients_of`` is the position of the differentiated output (None: forward lines only).  A
    differentiated tensor that is no scalar gets a symbolic incoming adjoint ``δY``, an input.
    """
    builder = _Builder(
        list(outputs), list(wanted), list(inputs), written or Written(), dict(chosen or {})
    )
    builder.forward()
    if gradients_of is not None:
        builder.backward(gradients_of)
        builder.inline()
    builder.settle()
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

    # -------------------------------------------------------------- forward

    def forward(self) -> None:
        """Name values in program order and define each over the names before it."""
        written = self.lines.written
        roots = [e for _, e in self.outputs]
        order = written_order(roots, written)
        reserved = NameTable(self.names.taken)
        finals = [reserved.fresh(word) for word, _ in self.outputs]
        found = kinds(order, roots)
        chosen = {e: w for e, w in self.chosen.items() if e in set(order)}
        table = assign(found, self.names, chosen)
        self._show_onehots(order)
        for node in order:
            word = table.get(node)
            if word is not None and node not in roots:
                self._define(node, word)
        for word, (_, e) in zip(finals, self.outputs, strict=True):
            self.lines.outputs.append(self._define(e, word))

    def _define(self, node: Expr, word: str) -> Expr:
        expr, form = self._settled(self._over_names(node), FORWARD, self.lines.definitions)
        leaf = symbol(word, node.shape, node.dtype, number=next(self.numbers))
        self.lines.definitions.append(Definition(leaf, expr, FORWARD, form=form))
        self.moved[node] = leaf
        return leaf

    def _settled(
        self, expr: Expr, kind: str, definitions: list[Definition]
    ) -> tuple[Expr, tuple[Form, tuple[Form, ...]]]:
        """``expr`` and its form; what needs a name for it gets a line before it."""
        lines, stack = self.lines, [expr]
        while True:
            top = replaced(stack[-1], self.parts, lines.written)
            try:
                form = form_of(top, lines.written, lines.named)
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

    def settle(self) -> None:
        """Every line gets its form, and the lines before it that this needs."""
        kept: list[Definition] = []
        for line in self.lines.definitions:
            if line.kind != "given" and line.form is None:
                line.expr, line.form = self._settled(line.expr, line.kind, kept)
            kept.append(line)
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
        active = self._active(definitions)
        parts: dict[Expr, list[tuple[int, Expr]]] = {}
        target = self.lines.outputs[position]
        start = order.index(target)
        last_reader = self._first_readers(definitions, active)
        prefix = name_of(target)
        done: set[Expr] = set()
        self._emit_gradients(prefix, len(definitions), last_reader, parts, done)
        for k in range(start, -1, -1):
            line = definitions[k]
            s = line.symbol
            if s in active and (s is target or s in parts):
                seed = self._adjoint(line, parts.get(s, []), s is target)
                self._sweep(k, line, seed, active, parts)
            self._emit_gradients(prefix, k, last_reader, parts, done)
        self._emit_gradients(prefix, -1, last_reader, parts, done)

    def _active(self, definitions: Sequence[Definition]) -> set[Expr]:
        active = set(self.wanted)
        for line in definitions:
            inner = depending(topological([line.expr]), list(active))
            if line.expr in inner:
                active.add(line.symbol)
        return active

    def _first_readers(
        self, definitions: Sequence[Definition], active: set[Expr]
    ) -> dict[Expr, int]:
        """For each wanted symbol the first line that reads it: below it its gradient is whole."""
        first: dict[Expr, int] = {}
        for k, line in enumerate(definitions):
            for e in topological([line.expr]):
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
            self.lines.definitions.append(Definition(incoming, incoming, "given", s))
            return incoming
        head, digits = word[:1], word[1:]
        label = f"δ{digits}" if head in "Zz" and digits.isalnum() and digits else f"δ{word}"
        expr = self._total(parts)
        leaf = symbol(self.names.fresh(label), s.shape, s.dtype, number=next(self.numbers))
        self.lines.definitions.append(Definition(leaf, expr, ADJOINT, s))
        return leaf

    def _total(self, parts: list[tuple[int, Expr]]) -> Expr:
        ordered = [e for _, e in sorted(parts, key=lambda pair: pair[0])]
        total = add(ordered)
        if len(ordered) > 1:
            self.lines.written.note(total, ordered)
        return self._flat(total)

    def _flat(self, e: Expr) -> Expr:
        """Sums of sums opened, in a line that the sweep made."""
        if e.op is not SUM or len(e.args) < 2:
            return e
        terms = []
        for c, a, ls in terms_of(e):
            if (
                a.op is SUM
                and len(a.args) > 1
                and ls == tuple(range(a.ndim)) == tuple(range(e.ndim))
            ):
                terms += [(c * c2, a2, ls2) for c2, a2, ls2 in terms_of(a)]
            else:
                terms.append((c, a, ls))
        return linear(terms, e.shape, e.dtype)

    def _sweep(
        self,
        k: int,
        line: Definition,
        seed: Expr,
        active: set[Expr],
        parts: dict[Expr, list[tuple[int, Expr]]],
    ) -> None:
        leaves = [e for e in topological([line.expr]) if e.op is SYMBOL and e in active]
        found = pull_back({line.expr: seed}, leaves)
        for leaf, part in zip(leaves, found, strict=True):
            if part is None or is_zero(part):
                continue
            part = self._with_names(part, line)
            parts.setdefault(leaf, []).append((k, part))

    def _with_names(self, part: Expr, line: Definition) -> Expr:
        """The value of the line by its name; softmax and σ that the sweep made get one."""
        table = dict(self.made)
        if line.expr.op is not SYMBOL:
            table[line.expr] = line.symbol
        order = topological([part], table.__contains__)
        for node in order:
            if node in table:
                continue
            args = tuple(table.get(a, a) for a in node.args)
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            new = node if same else node.func(*args)
            if new in self.made:
                new = self.made[new]
            elif new.op.name in ("softmax", "sigmoid") and new.args[0].op is SYMBOL:
                new = self._make(new)
            if new is not node:
                table[node] = new
                self.lines.written.carry(node, new, table)
        return table.get(part, part)

    def _make(self, node: Expr) -> Expr:
        word = self.names.fresh(base_letter("p" if node.op.name == "sigmoid" else "P", node))
        leaf = symbol(word, node.shape, node.dtype, number=next(self.numbers))
        self.made[node] = leaf
        definitions = self.lines.definitions
        owner = node.args[0]
        place = next((k + 1 for k, d in enumerate(definitions) if d.symbol is owner), 0)
        definitions.insert(place, Definition(leaf, node, FORWARD))
        return leaf

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
                word = self.names.fresh(f"∂{prefix}/∂{name_of(leaf)}")
                gradient = symbol(word, leaf.shape, leaf.dtype, number=next(self.numbers))
                self.lines.definitions.append(Definition(gradient, expr, GRADIENT, leaf))

    # -------------------------------------------------------------- inlining

    def inline(self) -> None:
        """From the last adjoint to the first: drop the unused, dissolve what one line reads."""
        definitions = self.lines.definitions
        readers: dict[Expr, dict[int, int]] = {}
        for k, line in enumerate(definitions):
            for s, times in _reads(line.expr).items():
                readers.setdefault(s, {})[k] = times
        gone: set[int] = set()
        for k in range(len(definitions) - 1, -1, -1):
            line = definitions[k]
            if line.kind != ADJOINT:
                continue
            uses = readers.get(line.symbol, {})
            total = sum(uses.values())
            if total == 0:
                gone.add(k)
                self._unread(readers, k, line.expr)
                continue
            if not (_trivial(line.expr) or total == 1):
                continue
            # A derivative from elsewhere takes names and gives one.
            if constant_value(line.expr) is None and any(
                remark(e) for e in (line.expr, *(definitions[reader].expr for reader in uses))
            ):
                continue
            if not _trivial(line.expr) and not self._may_inline(
                line, definitions[next(iter(uses))]
            ):
                continue
            for reader in list(uses):
                target = definitions[reader]
                self._unread(readers, reader, target.expr)
                target.expr = self._flat(self._replaced(target.expr, line))
                for s, times in _reads(target.expr).items():
                    readers.setdefault(s, {})[reader] = times
            gone.add(k)
            self._unread(readers, k, line.expr)
        self.lines.definitions = [d for k, d in enumerate(definitions) if k not in gone]

    def _unread(self, readers: dict[Expr, dict[int, int]], k: int, expr: Expr) -> None:
        for s in _reads(expr):
            readers.get(s, {}).pop(k, None)

    def _replaced(self, expr: Expr, line: Definition) -> Expr:
        return replaced(expr, {line.symbol: line.expr}, self.lines.written)

    def _may_inline(self, line: Definition, reader: Definition) -> bool:
        """Not where the reader would leave matrix form, nor a Σ into an index-form line."""
        before = Recogniser(self.lines.named, self.lines.written).form(reader.expr)
        after_expr = self._replaced(reader.expr, line)
        after = Recogniser(self.lines.named, self.lines.written).form(after_expr)
        if before is not None:
            return after is not None
        return not any(e.op is CONTRACTION and e.sums for e in topological([line.expr]))


def replaced(expr: Expr, table: Mapping[Expr, Expr], written: Written) -> Expr:
    """``expr`` with the nodes of ``table`` replaced, in the order it was written."""
    if not table:
        return expr
    moved = dict(table)
    for node in topological([expr], moved.__contains__):
        if node in moved:
            continue
        args = tuple(moved[a] for a in node.args)
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        moved[node] = node if same else node.func(*args)
        if not same:
            written.carry(node, moved[node], moved)
    return moved[expr]


def _reads(e: Expr) -> dict[Expr, int]:
    """Symbols of an expression with the number of places that read them."""
    count: dict[Expr, int] = {}
    if e.op is SYMBOL:
        return {e: 1}
    for node in topological([e]):
        for a in node.args:
            if a.op is SYMBOL:
                count[a] = count.get(a, 0) + 1
    return count


def _trivial(e: Expr) -> bool:
    """A symbol, scaled or with its axes moved; a number."""
    if e.op is SYMBOL or (relabelling(e) is not None and e.args[0].op is SYMBOL):
        return True
    term = single_term(e)
    return (term is not None and term[1].op is SYMBOL) or (
        not topological([e])[0].args and (len(e.args) == 0)
    )


__all__ = [
    "ADJOINT",
    "FORWARD",
    "GRADIENT",
    "Definition",
    "Fraction",
    "Lines",
    "derive_lines",
    "subscript",
]
