"""The text of a linear map, with the names of what it is made of and the layout it is read in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from symgrad.core.build import DELTA
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.facts import is_symmetric
from symgrad.core.sizes import letters_of
from symgrad.core.traverse import topological
from symgrad.derivation import notation
from symgrad.derivation.formula import Formula, Reading, definitions
from symgrad.derivation.naming import NameTable, assign, kinds, written_order
from symgrad.derivation.notation import Form, Printer
from symgrad.derivation.order import Written
from symgrad.errors import NotationError
from symgrad.ops.structure import is_selection
from symgrad.simplify.algebra import Symmetry
from symgrad.structured.form import shorter, structure_form
from symgrad.structured.operator import LinearMap
from symgrad.structured.pairs import is_paired, paired


@dataclass(frozen=True, slots=True)
class Text:
    """What a map reads as: a form, its indices, is vec by rows, and the names that it uses."""

    form: Form
    at: tuple[Form, ...]
    by_rows: bool
    where: tuple[tuple[Form, Form], ...]

    def length(self, known: Collection[str]) -> tuple[bool, int, int]:
        """What is compared: no indices, then the form and the names that are not known."""
        rows = {left.data: notation.extent(left) + notation.extent(right)
                for left, right in self.where}  # fmt: skip
        new = sum(size for word, size in rows.items() if word not in known)
        return bool(self.at), notation.extent(self.form) + new, sum(rows.values())


LONGER = 1.5
"""How much longer a text may be that shows that a map is symmetric."""


class Printed(Formula):
    """The formula of a linear map: ``str`` adds the names it uses and the layout of vec."""

    def __init__(
        self,
        m: LinearMap,
        label: str,
        function: Expr,
        wanted: Sequence[Expr],
        inputs: Sequence[Expr],
        written: Written,
        chosen: Mapping[Expr, str],
    ) -> None:
        self.inputs = list(inputs)
        self.label = label
        self.written = written
        found: list[tuple[Text, dict[Expr, str], bool]] = []
        known: set[str] = set()
        short = shorter(m)
        readings = [(m, False), (short, False), (short, True)]
        pairs = paired(short) if m.outputs == 1 and m.rank == 2 else None
        if pairs is not None and not (is_paired(m) and is_paired(short)):
            readings += [(pairs, False), (pairs, True)]
        for x, every in readings:
            self.names, table = _names(x, function, inputs, written, chosen, every)
            known.update(() if every else self.names.values())
            text = self._settled(x, table)
            found.append((text, self.names, pairs is None or is_paired(x)))
        text, self.names, alike = min(found, key=lambda made: made[0].length(known))
        if not alike:  # of a symmetric map the text may be a little longer that says so
            limit = text.length(known)
            symmetric = min((x for x in found if x[2]), key=lambda made: made[0].length(known))
            if symmetric[0].length(known)[:2] <= (limit[0], LONGER * limit[1]):
                text, self.names, _ = symmetric
        self.by_rows = text.by_rows
        super().__init__(m.expr, lambda: Reading(text.form, text.at, text.where))

    def _settled(self, m: LinearMap, table: NameTable) -> Text:
        """The form and the definitions of its names; what has no form but by a name gets one."""
        while True:
            try:
                form, at, by_rows = structure_form(m, self.written, self._named)
                where = definitions(form, self.names, self._named, self.written)
                return Text(form, at, by_rows, where)
            except NotationError as error:
                parts = [e for e in error.parts if e not in self.names]
                if not parts:
                    raise
                first = {e: table.free(e.ndim) for e in parts}
                self.names = {**first, **self.names}

    def _named(self, e: Expr) -> Form | None:
        word = name_of(e) if e.op is SYMBOL else self.names.get(e)
        if word is None:
            return None
        return notation.name(word, not e.shape or is_symmetric(e) or Symmetry().holds(e))

    @property
    def letters(self) -> dict[notation.Slot, str]:
        """Letters of the index slots."""
        sizes = dict.fromkeys(s for x in self.inputs for s in x.shape)
        taken = {str(s) for s in sizes} | {name_of(x) for x in self.inputs}
        taken.update(self.names.values())
        for x in self.inputs:
            taken.update(letters_of(x.shape))
        forms = [*self.indices, self.form, *(f for row in self.where for f in row)]
        return notation.assign_letters(notation.slots_of(forms), list(sizes), taken)

    @property
    def ranks(self) -> dict[str, int]:
        """How many axes the names stand for."""
        named = {**{e: name_of(e) for e in self.inputs}, **self.names}
        return {word: e.ndim for e, word in named.items()}

    def latex(self) -> str:
        """The formula in LaTeX, with its indices and the layout of vec."""
        text = super().latex()
        if self.indices:
            at = ",".join(self.letters[a.data] for a in self.indices)
            text = rf"\left[{at}\right] = {text}"
        return text + (r" \quad\text{(vec by rows)}" if self.by_rows else "")

    @property
    def unicode(self) -> str:
        """The formula, the names it uses, and the layout of vec where it matters."""
        text = super().unicode
        if self.indices:
            printer = Printer(self.letters)
            text = f"[{','.join(printer.text(a) for a in self.indices)}] = {text}"
        return text + ("   (vec by rows)" if self.by_rows else "")

    __repr__ = Formula.__str__


def _names(
    m: LinearMap,
    function: Expr,
    inputs: Sequence[Expr],
    written: Written,
    chosen: Mapping[Expr, str],
    every: bool,
) -> tuple[dict[Expr, str], NameTable]:
    """Names by the rule of derivations for the values that the function is made of, or the map too."""
    order = written_order([function, m.expr], written)
    table = NameTable({name_of(x) for x in inputs})
    for x in inputs:
        table.taken.update(letters_of(x.shape))
    named = kinds(order, [m.expr])
    if not every:  # what is used twice in derivatives alone has no name
        inside = set(topological([function]))
        named = {e: word for e, word in named.items()
                 if e in inside or e.op.name in ("softmax", "sigmoid")}  # fmt: skip
    if any(map(is_selection, topological([m.expr]))):  # read in index form, as x[i + 1]
        named = {e: word for e, word in named.items()
                 if not (e.op.name == "slice" and e.args[0].op in (DELTA, SYMBOL))}  # fmt: skip
    if not function.shape:
        named.pop(function, None)
    return assign(named, table, dict(chosen)), table
