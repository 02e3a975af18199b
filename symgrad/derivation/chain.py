"""The derivation of a network with repeated layers: the layer once, with an index.

The values between the layers are ``X[l]``, every name within the layer carries ``[l]``, and the
adjoints run from ``δX[m + 1]``, which the head gives, to ``δX[1]``, which what comes before takes.
The text is that of one layer, whatever their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.sizes import ONE, shape_text
from symgrad.core.traverse import topological
from symgrad.derivation import notation
from symgrad.derivation.derive import Derivation, Line
from symgrad.derivation.lines import derive_lines
from symgrad.derivation.notation import Form
from symgrad.derivation.one_step import prefixed
from symgrad.derivation.order import Written
from symgrad.derivation.repeated import Repeated, repetition
from symgrad.derivation.shifts import whole
from symgrad.derivation.steps import Steps, steps_of
from symgrad.derivation.taught import taught
from symgrad.derivation.tidy import FORWARD, GIVEN, GRADIENT, Lines, in_order, replaced
from symgrad.derivation.times import Times

SHORTEST = 8
"""Lines of a layer that is stated once when there are only two of it."""

WIDEST = 100
"""Columns of a row of several gradients."""

Places = Mapping[str, tuple[str, Form]]


def chain(
    label: str,
    e: Expr,
    wanted: Sequence[Expr],
    inputs: Sequence[Expr],
    written: Written,
    chosen: Mapping[Expr, str],
    found: Repeated,
) -> ChainDerivation | None:
    """The derivation with the layer stated once; None where it would not be the shorter one."""
    word = _free("XHUA", inputs, found.weights)
    argument = symbol(word, found.first.shape, found.first.dtype, number=-100)
    body = replaced(found.body, {found.argument: argument}, written)
    own = [w for w, x in zip(found.weights, found.members[0], strict=True) if x in set(wanted)]
    rest = [x for x in wanted if not any(x in row for row in found.members)]
    head_end = symbol(word, found.last.shape, found.last.dtype, number=-101)
    head = replaced(e, {found.last: head_end}, written)
    before, after = _symbols(found.first), _symbols(head)
    shared = _symbols(body) - set(found.weights) - {argument}
    if any((x in before) + (x in after) + (x in shared) > 1 for x in rest) or not own:
        return None
    named = _chosen(chosen, found, argument, written)
    listed = [*found.weights, *(x for x in inputs if x in shared)]
    within = derive_lines([(word, body)], [*own, argument], [argument, *listed], written, named)
    if any(d.runs is not None for d in within.definitions):
        return None
    if found.count == 2 and sum(d.kind == FORWARD for d in within.definitions) < SHORTEST:
        return None
    taken = _words(within) | {name_of(x) for x in listed}
    last = derive_lines(
        [(label, head)],
        [*(x for x in rest if x in after), head_end],
        [head_end, *(x for x in inputs if x in after)],
        written,
        {replaced(k, {found.last: head_end}, written): w for k, w in chosen.items()},
        taken=taken,
    )
    taken |= _words(last)
    start = None
    if found.first.op is not SYMBOL:
        start = derive_lines(
            [(word, found.first)],
            [x for x in rest if x in before],
            [x for x in inputs if x in before],
            written,
            chosen,
            taken=taken - {word},
        )
    outside = [x for x in inputs if x in before or x in after or x in shared]
    return ChainDerivation(found, argument, head_end, outside, within, last, start)


def derivation_of(
    label: str,
    e: Expr,
    wanted: Sequence[Expr],
    inputs: Sequence[Expr],
    written: Written,
    chosen: Mapping[Expr, str],
    asked: bool = False,
    independent: bool = False,
) -> Derivation:
    """The derivation of ``e``; repeated layers are stated once.

    ``asked``: the order of ``wanted`` is the user's, for gradients that stand together.
    ``independent``: of what is symmetric the gradient in its independent entries.
    """
    view = taught(e, wanted, inputs, written, chosen)
    e, wanted, inputs, chosen = view.expr, view.wanted, view.inputs, view.chosen
    held = set(wanted)
    data = [x for x in inputs if x not in held] or list(inputs)[:1]
    found = repetition(e, data[:4], inputs, written)
    made = None
    if found is not None and not independent:
        made = chain(label, e, wanted, inputs, written, chosen, found)
    if made is not None:
        made.source.parts, made.source.stored = view.parts, view.stored
        return made
    lines = derive_lines(
        [(label, e)], wanted, inputs, written, chosen, independent=independent, uses=view.uses
    )
    if asked:
        in_order(lines, wanted)
    lines.parts, lines.stored = view.parts, view.stored
    return Derivation(lines, inputs)


def _free(letters: str, inputs: Sequence[Expr], weights: Sequence[Expr]) -> str:
    taken = {name_of(x) for x in (*inputs, *weights)}
    return next(
        c for c in (*letters, *(f"{letters[0]}{k}" for k in range(2, 99))) if c not in taken
    )


def _words(lines: Lines) -> set[str]:
    return {name_of(d.symbol) for d in lines.definitions} | {
        name_of(leaf) for leaf in lines.shown.values()
    }


def _symbols(e: Expr) -> set[Expr]:
    return {x for x in topological([e]) if x.op is SYMBOL}


def _chosen(
    chosen: Mapping[Expr, str], found: Repeated, argument: Expr, written: Written
) -> dict[Expr, str]:
    """The user's names within the first layer, for the layer over its own symbols."""
    order = set(topological([found.last], lambda e: e is found.first))
    table = dict(zip(found.members[0], found.weights, strict=True))
    table[found.first] = argument
    return {replaced(e, table, written): word for e, word in chosen.items() if e in order}


class ChainDerivation(Derivation):
    """A derivation that states a repeated layer once."""

    def __init__(
        self,
        found: Repeated,
        argument: Expr,
        head_end: Expr,
        outside: Sequence[Expr],
        within: Lines,
        last: Lines,
        start: Lines | None,
    ) -> None:
        words = {name_of(x) for x in (*outside, *found.weights, argument)}
        for part in (within, last, *([start] if start else [])):
            words |= {name_of(d.symbol) for d in part.definitions}
        sizes = {c for x in (*outside, argument) for s in x.shape for c in str(s).split()}
        self.letter = next(c for c in ("l", "t", "l2", "l3") if c not in words | sizes)
        self.count = next(c for c in ("m", "M", "m2", "m3") if c not in words | sizes)
        self.found = found
        self.weights = found.weights
        self.inputs = list(outside)
        self.source = last
        self.rewrites = ()
        self.parts = [(within, [argument, *found.weights, *outside]), (last, [head_end, *outside])]
        if start is not None:
            self.parts.insert(0, (start, list(outside)))
        x = name_of(argument)
        l, m = notation.name(self.letter), notation.name(self.count)  # noqa: E741
        after = Form("sum", (l, whole(1)), (ONE, ONE))
        end = Form("sum", (m, whole(1)), (ONE, ONE))
        body = Derivation(within, [argument, *found.weights])
        head = Derivation(last, [head_end, *outside])
        tail = Derivation(start, outside) if start is not None else None
        self.derived = {k: w for d in (tail, body, head) if d for k, w in d.derived.items()}
        shared = {name_of(e) for e in outside}
        places = {name_of(e): (name_of(e), l) for e in (*found.weights, argument)}
        for line in body.lines:
            word = name_of(line.definition.symbol)
            if word not in shared:
                places[word] = (word, l)
        places |= _ends(within, x, after, (argument, l))
        upper = {x: (x, end)} | _ends(last, "", end, (head_end, end))
        lower = _ends(start, x, whole(1), None) if start is not None else {}
        self.lines = []
        self.times = Times(last, outside, ())
        self.borders: set[int] = set()  # where a part of the derivation ends
        order = [(tail, lower, True), (body, places, True), (head, upper, True),
                 (head, upper, False), (body, places, False), (tail, lower, False)]  # fmt: skip
        if tail is None:
            one = Form("index", (notation.name(x), whole(1)))
            self.lines.append(
                Line(body.lines[0].definition, one, notation.name(name_of(found.first)))
            )
        for part, table, forward in order:
            for line in part.lines if part is not None else ():
                if (line.definition.kind == FORWARD) == forward:
                    self.lines.append(
                        Line(line.definition, placed(line.left, table), placed(line.right, table))
                    )
            self.borders.add(len(self.lines))

    def header(self) -> list[tuple[str, str]]:
        """Sizes of one layer's weights, and the range of its index."""
        rows = super().header()
        sizes = [f"{name_of(w)}[{self.letter}]: {shape_text(w.shape)}" for w in self.weights]
        rows[0] = ("sizes", "   ".join([rows[0][1], *sizes]))
        counted = f"{self.letter} = 1…{self.count}, {self.count} = {self.found.count}"
        at = next((k for k, row in enumerate(rows) if row[0] == "indices"), None)
        if at is None:
            rows.insert(1, ("indices", counted))
        else:
            rows[at] = ("indices", f"{rows[at][1]}   {counted}")
        return rows

    @property
    def steps(self) -> Steps:
        """The steps before the layers, of one layer, and of the head."""
        found = Steps()
        for lines, inputs in self.parts:
            found += steps_of(lines, inputs)
        return found

    def arranged(self, rows: list[str]) -> list[str]:
        """Gradients, which nothing reads, share rows: ``∂L/∂W = … ;   ∂L/∂b = …``."""
        found: list[str] = []
        waiting: list[str] = []
        for k, (line, row) in enumerate(zip(self.lines, rows, strict=True)):
            if line.definition.kind == GRADIENT and "∂" in row.partition(" = ")[0]:
                waiting.append(" ".join(row.split()))
            else:
                found.append(row)
            last = k + 1 in self.borders
            while waiting and (last or len(" ;   ".join(waiting)) > WIDEST):
                take = next(
                    n for n in range(len(waiting), 0, -1)
                    if n == 1 or len(" ;   ".join(waiting[:n])) <= WIDEST
                )  # fmt: skip
                found.append(" ;   ".join(waiting[:take]))
                del waiting[:take]
        return found

    @property
    def reserved(self) -> set[str]:
        """Letters that no index may have."""
        return {self.letter, self.count}


def _ends(
    lines: Lines, word: str, upper: Form, argument: tuple[Expr, Form] | None
) -> dict[str, tuple[str, Form]]:
    """Places of the output and its adjoint, and of the gradient for the argument."""
    found: dict[str, tuple[str, Form]] = {}
    if word:
        found[name_of(lines.output)] = (word, upper)
        for d in lines.definitions:
            if d.kind == GIVEN and d.of is lines.output:
                found[name_of(d.symbol)] = (f"δ{word}", upper)
    if argument is not None:
        e, at = argument
        for d in lines.definitions:
            if d.kind == GRADIENT and d.of is e:
                found[name_of(d.symbol)] = (f"δ{name_of(e)}", at)
    return found


def placed(form: Form, places: Places) -> Form:
    """The form with the names that have places as entries of the chain: ``N[l]``, ``P[l,i,j]``."""
    rows = places.items()
    return prefixed(form, {x: Form("index", (notation.name(word), at)) for x, (word, at) in rows})


__all__ = ["ChainDerivation", "chain", "derivation_of", "placed"]
