"""A formula: text, LaTeX, and a Python expression, all of one expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import count
from typing import NamedTuple

from symgrad.core.build import single_term
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.facts import is_symmetric
from symgrad.core.sizes import Size, letters_of
from symgrad.core.traverse import leaves, topological
from symgrad.derivation import notation
from symgrad.derivation.ascii import to_ascii
from symgrad.derivation.concise import concise
from symgrad.derivation.index_form import Indexer
from symgrad.derivation.latex import latex_of, limit_latex
from symgrad.derivation.matrix_form import Recogniser
from symgrad.derivation.naming import NameTable
from symgrad.derivation.notation import Form, Printer, Slot, limit_text
from symgrad.derivation.opaque import check_numpy, remark
from symgrad.derivation.order import Written
from symgrad.derivation.python_form import python_of
from symgrad.derivation.ranges import unsaid_of
from symgrad.derivation.stream import fits_stdout
from symgrad.errors import NotationError

Indices = tuple[Form, ...]
Named = Callable[[Expr], Form | None]
Where = tuple[tuple[Form, Form], ...]
"""Names and what they stand for."""


class Reading(NamedTuple):
    """What is printed: a form, the indices of its left-hand side, and the names it uses."""

    form: Form
    indices: Indices = ()
    where: Where = ()


def _as_reading(made: tuple[Form, Indices] | Reading) -> Reading:
    return made if isinstance(made, Reading) else Reading(made[0], made[1])


class Formula:
    """What ``t.formula()`` returns.

    ``str(f)`` is Unicode text, or ASCII where standard output cannot encode it; ``f.unicode``,
    ``f.ascii``, ``f.latex()`` and ``f.python()`` are the four spellings.  What has no form but in
    parts has names for these, which are defined behind it.
    """

    def __init__(
        self,
        expr: Expr,
        forms: Callable[[], tuple[Form, Indices] | Reading],
        names: dict[Expr, str] | None = None,
    ) -> None:
        """``forms`` makes the form, its indices and names when one of the texts is asked for."""
        self.expr = expr
        self._reading = cache(lambda: _as_reading(forms()))
        self._names = names or {}

    @property
    def form(self) -> Form:
        """What is printed.  Raises NotationError where no notation has a form for it."""
        return self._reading().form

    @property
    def indices(self) -> Indices:
        """The indices of the left-hand side; none in matrix form."""
        return self._reading().indices

    @property
    def where(self) -> Where:
        """Names in the form and what they stand for, printed behind it."""
        return self._reading().where

    @property
    def letters(self) -> dict[Slot, str]:
        """Letters of the index slots."""
        symbols = leaves([self.expr])
        sizes = sizes_of(symbols)
        forms = [*self.indices, self.form, *(f for row in self.where for f in row)]
        taken = {str(s) for s in sizes} | {name_of(s) for s in symbols}
        taken.update(name_in(left) for left, _ in self.where)
        return notation.assign_letters(notation.slots_of(forms), sizes, taken)

    @property
    def ranks(self) -> dict[str, int]:
        """How many axes the names stand for: vectors and matrices are bold."""
        return {name_of(e): e.ndim for e in leaves([self.expr])}

    @property
    def unicode(self) -> str:
        """The formula in Unicode."""
        printer = Printer(self.letters)
        parts = [
            f"{printer.text(left)} = {printer.text(right)}"
            + self._said(left, right, lambda s, letter: f"{letter} < {limit_text(s)}")
            for left, right in self.where
        ]
        tail = [f"where {', '.join(parts)}"] if parts else []
        return "   ".join(filter(None, [printer.text(self.form), *tail, remark(self.expr)]))

    @property
    def ascii(self) -> str:
        """The formula in ASCII."""
        return to_ascii(self.unicode)

    def latex(self) -> str:
        """The formula in LaTeX, without delimiters."""
        letters, ranks = self.letters, self.ranks

        def spelled(form: Form) -> str:
            return latex_of(form, letters, ranks)

        parts = [
            f"{spelled(left)} = {spelled(right)}"
            + self._said(
                left, right, lambda s, letter: f"{letter} < {limit_latex(s)}", r"\text{%s}"
            )
            for left, right in self.where
        ]
        text = spelled(self.form)
        text = rf"{text} \quad\text{{where }} {', '.join(parts)}" if parts else text
        said = remark(self.expr)
        return rf"{text} \quad\text{{{said}}}" if said else text

    def _said(
        self, left: Form, right: Form, spelled: Callable[[Size, str], str], word: str = "%s"
    ) -> str:
        """`` for k < n − 1``: how far the letters of a definition run where no axis says it."""
        found = [spelled(s.size, self.letters[s]) for s in unsaid_of(left, right)]
        return f"{word % ' for '}{(word % ' and ').join(found)}" if found else ""

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def python(self) -> str:
        """The formula as one NumPy-like Python expression that can be pasted and evaluated."""
        check_numpy(self.expr)
        return python_of(concise(self.expr), self._names)

    def __str__(self) -> str:
        text = self.unicode
        return text if fits_stdout(text) else to_ascii(text)

    __repr__ = __str__


def sizes_of(symbols: Iterable[Expr]) -> list[Size]:
    """Sizes of symbols in order of appearance, each once."""
    found: dict[Size, None] = {}
    for leaf in symbols:
        for size in leaf.shape:
            found.setdefault(size)
    return list(found)


def symbol_name(e: Expr) -> Form | None:
    """Symbols print as their names."""
    return notation.name(name_of(e), is_symmetric(e)) if e.op is SYMBOL else None


def form_of(
    e: Expr,
    written: Written | None = None,
    named: Named = symbol_name,
    entries: bool = False,
    known: Recogniser | None = None,
) -> tuple[Form, tuple[Form, ...]]:
    """The form of an expression and the indices of its left-hand side (none in matrix form).

    ``entries`` asks for index form whatever else there is; ``known`` remembers matrix forms.
    """
    written = Written() if written is None else written
    try:
        return _form_of(e, written, named, entries, known or Recogniser(named, written))
    except NotationError:
        if entries:
            raise
        return _form_of(e, written, named, entries, Recogniser(named, written, diagonals=True))


def _form_of(
    e: Expr,
    written: Written,
    named: Callable[[Expr], Form | None],
    entries: bool,
    recogniser: Recogniser,
) -> tuple[Form, tuple[Form, ...]]:
    whole = None if entries and e.shape else recogniser.form(e)
    if whole is not None:
        return notation.unshadowed(whole), ()
    counts: dict[Size, int] = {}
    at: list[Form] = []
    for size in e.shape:
        number = counts.get(size, 0)
        counts[size] = number + 1
        at.append(Form("slot", (), Slot(size, number)))
    made = Indexer(named, written, recogniser).form(e, tuple(at))
    return notation.unshadowed(made, [slot.data for slot in at]), tuple(at)


def formula(e: Expr, written: Written | None = None) -> Formula:
    """The formula of an expression over its symbols."""
    return Formula(e, lambda: _reading(e, Written() if written is None else written))


def _reading(e: Expr, written: Written) -> Reading:
    """The form; what has none but by a name gets one, and is defined behind it."""
    table = NameTable({name_of(x) for x in leaves([e])})
    for x in leaves([e]):
        table.taken.update(letters_of(x.shape))
    names: dict[Expr, str] = {}

    def named(x: Expr) -> Form | None:
        return notation.name(names[x]) if x in names else symbol_name(x)

    while True:
        try:
            form, at = shortest_form(e, written, named)
            return Reading(form, at, definitions(form, names, named, written))
        except NotationError as error:
            parts = [x for x in error.parts if x not in names and x is not e]
            if not parts:
                raise
            names = {**{x: table.free(x.ndim) for x in parts}, **names}


def definitions(form: Form, names: Mapping[Expr, str], named: Named, written: Written) -> Where:
    """Definitions of the names in a form, what they are made of first."""
    nodes = {word: e for e, word in names.items()}
    found: dict[str, tuple[Form, Form]] = {}
    work = [form]
    while work:
        for word in _words(work.pop()):
            if word in nodes and word not in found:
                e = nodes[word]
                right, at = form_of(e, written, lambda x, e=e: None if x is e else named(x))
                left = notation.name(word)
                found[word] = Form("index", (left, *at)) if at else left, right
                work.append(right)
    return tuple(found[word] for word in nodes if word in found)


def _words(form: Form) -> list[str]:
    found: dict[str, None] = {}
    stack = [form]
    while stack:
        part = stack.pop()
        if part.kind == "name":
            found.setdefault(part.data)
        stack.extend(reversed(part.items))
    return list(found)


def name_in(left: Form) -> str:
    """The name that a definition is of: ``a`` of ``a[i] = …``."""
    return (left.items[0] if left.kind == "index" else left).data


def shortest_form(e: Expr, written: Written, named: Named = symbol_name) -> tuple[Form, Indices]:
    """The form of an expression as it was made, or of the concise one where that is shorter.

    A form without indices is shorter than any with.  Raises NotationError where neither has a form.
    """
    found: list[tuple[Form, Indices]] = []
    problem: NotationError | None = None
    for x in dict.fromkeys((e, concise(e))):
        try:
            found.append(form_of(x, written, named))
        except NotationError as error:
            problem = problem or error
    if problem is not None and not found:
        raise problem
    return min(found, key=lambda made: (len(made[1]), notation.extent(made[0])))


def function_formula(e: Expr, written: Written) -> Formula:
    """The formula of a function's body, where arguments that would be written twice get a name."""
    order = topological([e])
    times = dict.fromkeys(order, 0)
    times[e] = 1
    inner = {a for node in order if node.op.family == "map" for a in node.args}
    repeated: list[Expr] = []
    for node in reversed(order):
        if times[node] > 1 and node in inner and _worth_a_name(node):
            repeated.insert(0, node)
            times[node] = 1
        for a in dict.fromkeys(node.args):
            times[a] += times[node]
    taken = {name_of(leaf) for leaf in leaves([e])}
    pool = (w for n in count() for c in "stuvw" if (w := c + "′" * n) not in taken)
    table = {node: notation.name(word) for node, word in zip(repeated, pool, strict=False)}

    def form(root: Expr) -> Form:
        def named(x: Expr) -> Form | None:
            return symbol_name(x) or (None if x is root else table.get(x))

        return form_of(root, written, named)[0]

    where = tuple((table[node], form(node)) for node in repeated)
    return Formula(e, lambda: Reading(form(e), (), where))


def _worth_a_name(e: Expr) -> bool:
    term = single_term(e)
    bare = e if term is None else term[1]
    return bool(bare.args) and e.dtype.differentiable


__all__ = [
    "Formula",
    "Reading",
    "definitions",
    "form_of",
    "formula",
    "function_formula",
    "shortest_form",
    "sizes_of",
    "symbol_name",
    "topological",
]
