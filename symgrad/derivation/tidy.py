"""Lines after the sweep: what one line reads is dissolved, what is known by a name is reused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from symgrad.core.build import (
    CONTRACTION,
    SUM,
    constant_value,
    linear,
    relabelling,
    single_term,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, name_of
from symgrad.core.facts import is_symmetric
from symgrad.core.op import Op
from symgrad.core.sizes import ONE, Monomial
from symgrad.core.traverse import topological
from symgrad.derivation.matrix_form import Recogniser
from symgrad.derivation.notation import Form, name
from symgrad.derivation.opaque import remark
from symgrad.derivation.order import Written

FORWARD, ADJOINT, GRADIENT, GIVEN = "forward", "adjoint", "gradient", "given"
WITHIN = "within"
"""A line of a layer that is called, not opened: it is computed and not printed."""


@dataclass(slots=True)
class Definition:
    """``symbol = expr``: a forward value, an adjoint or a gradient (``of`` which symbol).

    ``form`` is the right side and the indices of the left side, once it is known; ``entries``
    asks for index form.  ``runs``: of a line of a loop whether its steps run down; else None.
    """

    symbol: Expr
    expr: Expr
    kind: str
    of: Expr | None = None
    form: tuple[Form, tuple[Form, ...]] | None = None
    entries: bool = False
    runs: bool | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """A use of the chain rule: what ``leaf`` receives from the line ``of = expr`` with its seed."""

    rule: str
    of: Expr
    expr: Expr
    leaf: Expr
    seed: Expr
    part: Expr


@dataclass(frozen=True, slots=True)
class Change:
    """A rewrite of a line; ``because`` are the definitions that it follows from."""

    rule: str
    line: Definition
    before: Expr
    after: Expr
    because: tuple[tuple[Expr, Expr], ...] = ()
    cost: str = ""


@dataclass(slots=True)
class Lines:
    """All definitions of a derivation in order, with the names of nodes that stay nodes.

    ``uses`` and ``changes`` are its steps; ``before`` the lines before some of them
    were dissolved.
    """

    definitions: list[Definition] = field(default_factory=list[Definition])
    shown: dict[Expr, Expr] = field(default_factory=dict[Expr, Expr])
    written: Written = field(default_factory=Written)
    outputs: list[Expr] = field(default_factory=list[Expr])
    spelled: dict[Expr, Form] = field(default_factory=dict[Expr, Form])
    uses: list[Use] = field(default_factory=list[Use])
    changes: list[Change] = field(default_factory=list[Change])
    before: list[Definition] = field(default_factory=list[Definition])
    independent: bool = False
    """Are gradients in symmetric matrices those in their independent entries?"""
    starts: dict[tuple[Expr, bool], Expr] = field(default_factory=dict[tuple[Expr, bool], Expr])
    """States that are read one step before their steps (that run down?), and what is given there."""
    asides: list[tuple[Expr, Definition]] = field(default_factory=list[tuple[Expr, Definition]])
    """Lines to read in front of that of a symbol; what they say is part of it, and is not run."""
    entered: set[tuple[Expr, int]] = field(default_factory=set[tuple[Expr, int]])
    """What is read step by step, and the axis of its steps."""
    apart: set[Expr] = field(default_factory=set[Expr])
    """States that are read as a whole: without what is given before their steps."""
    uses_of: dict[Expr, str] = field(default_factory=dict[Expr, str])
    """What parts of parameters are for: ``i`` of ``Wxi``; adjoints of gates are called so, ``δi``."""
    parts: dict[Expr, tuple[int, list[Expr]]] = field(
        default_factory=dict[Expr, tuple[int, list[Expr]]]
    )
    """Inputs that are several symbols here, which follow one another along an axis."""
    stored: Mapping[Expr, object] = field(default_factory=dict[Expr, object])
    """Inputs that have other axes here, and how they are stored: ``6×(2·3)``."""
    operations: set[Op] = field(default_factory=set[Op])
    """What the lines were made of when the last of them was there."""
    _recogniser: tuple[tuple[int, ...], Recogniser] | None = None

    def note_operations(self) -> None:
        """Remember the operations of the lines."""
        self.operations = {e.op for e in topological([d.expr for d in self.definitions])}

    @property
    def output(self) -> Expr:
        """The symbol of the first output."""
        return self.outputs[0]

    def named(self, e: Expr) -> Form | None:
        """Symbols and shown nodes print as their names, values within a layer as its call."""
        if e.op is SYMBOL:
            return self.spelled.get(e) or name(name_of(e), is_symmetric(e))
        found = self.shown.get(e)
        return name(name_of(found)) if found is not None else None

    @property
    def recogniser(self) -> Recogniser:
        """Matrix forms under these names, remembered until the next name or order."""
        state = len(self.written), len(self.shown), len(self.spelled)
        if self._recogniser is None or self._recogniser[0] != state:
            self._recogniser = state, Recogniser(self.named, self.written)
        return self._recogniser[1]


def flat(e: Expr) -> Expr:
    """Sums of sums opened, in a line that the sweep made."""
    if e.op is not SUM or len(e.args) < 2:
        return e
    terms = []
    for c, a, ls in terms_of(e):
        if a.op is SUM and len(a.args) > 1 and ls == tuple(range(a.ndim)) == tuple(range(e.ndim)):
            terms += [(c * c2, a2, ls2) for c2, a2, ls2 in terms_of(a)]
        else:
            terms.append((c, a, ls))
    return linear(terms, e.shape, e.dtype)


def opened(e: Expr) -> list[tuple[Monomial, Expr, Labels]]:
    """The terms of an expression, those of scaled sums and sums of sums among them."""
    natural = tuple(range(e.ndim))
    found: list[tuple[Monomial, Expr, Labels]] = []
    stack: list[tuple[Monomial, Expr, Labels]] = [(ONE, e, natural)]
    while stack:
        c, a, ls = stack.pop()
        if a.op is SUM and a.args and ls == natural:
            stack += [(c * k, inner, place) for k, inner, place in reversed(terms_of(a))]
        else:
            found.append((c, a, ls))
    return found


def inline(lines: Lines, finish: Callable[[Expr], Expr], made: Collection[Expr] = ()) -> None:
    """From the last adjoint to the first: drop the unused, dissolve what one line reads.

    ``finish`` is applied to every line that something was put into.  The values ``made`` by the
    sweep are dissolved as adjoints are.
    """
    definitions = lines.definitions
    lines.before = list(definitions)
    foreign = any("opaque derivative" in op.traits for op in lines.operations)
    readers: dict[Expr, dict[int, int]] = {}
    reads = [_reads(line.expr) for line in definitions]
    for k, found in enumerate(reads):
        for s, times in found.items():
            readers.setdefault(s, {})[k] = times
    gone: set[int] = set()
    for k in range(len(definitions) - 1, -1, -1):
        line = definitions[k]
        if line.kind != ADJOINT and line.symbol not in made:
            continue
        uses = readers.get(line.symbol, {})
        total = sum(uses.values())
        if total == 0:
            gone.add(k)
            _unread(readers, k, reads[k])
            continue
        trivial = _trivial(line.expr) and line.expr not in lines.spelled
        if not (trivial or total == 1):
            continue
        # A derivative from elsewhere takes names and gives one.
        beside = (definitions[reader].expr for reader in uses)
        if foreign and constant_value(line.expr) is None and remark(line.expr, *beside):
            continue
        if not trivial and not _may_inline(lines, line, definitions[next(iter(uses))]):
            continue
        for reader in list(uses):
            target = definitions[reader]
            _unread(readers, reader, reads[reader])
            old, target.expr = target.expr, finish(flat(_replaced(lines, target.expr, line)))
            why = ((line.symbol, line.expr),)
            lines.changes.append(Change("substitution", target, old, target.expr, why))
            reads[reader] = _reads(target.expr)
            for s, times in reads[reader].items():
                readers.setdefault(s, {})[reader] = times
        gone.add(k)
        _unread(readers, k, reads[k])
    lines.definitions = [d for k, d in enumerate(definitions) if k not in gone]


def in_order(lines: Lines, wanted: Sequence[Expr]) -> None:
    """Gradients that stand together, in the order asked for, where none of them reads another."""
    rank = {x: k for k, x in enumerate(wanted)}
    found: list[Definition] = []
    for gradient, run in groupby(lines.definitions, lambda d: d.kind == GRADIENT):
        rows = list(run)
        made = {d.symbol for d in rows}
        if gradient and not any(made & _reads(d.expr).keys() for d in rows):
            rows.sort(key=lambda d: rank[d.of] if d.of is not None else 0)
        found += rows
    lines.definitions = found


def _unread(readers: dict[Expr, dict[int, int]], k: int, read: Iterable[Expr]) -> None:
    for s in read:
        readers.get(s, {}).pop(k, None)


def _replaced(lines: Lines, expr: Expr, line: Definition) -> Expr:
    return replaced(expr, {line.symbol: line.expr}, lines.written)


def _may_inline(lines: Lines, line: Definition, reader: Definition) -> bool:
    """Not where the reader would leave matrix form, nor a Σ into an index-form line."""
    sums = any(e.op is CONTRACTION and e.sums for e in topological([line.expr]))
    after = lines.recogniser.form(_replaced(lines, reader.expr, line))
    if after is not None and not sums:
        return True
    before = lines.recogniser.form(reader.expr)
    return not sums if before is None else after is not None


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
    return not e.args or (term is not None and term[1].op is SYMBOL)


__all__ = [
    "ADJOINT",
    "FORWARD",
    "GIVEN",
    "GRADIENT",
    "WITHIN",
    "Change",
    "Definition",
    "Lines",
    "Use",
    "flat",
    "in_order",
    "inline",
    "opened",
    "replaced",
]
