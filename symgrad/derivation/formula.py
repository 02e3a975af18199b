"""A formula: text, LaTeX, and a Python expression, all of one expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.sizes import Size
from symgrad.core.traverse import leaves, topological
from symgrad.derivation import notation
from symgrad.derivation.ascii import to_ascii
from symgrad.derivation.index_form import Indexer
from symgrad.derivation.latex import latex_of
from symgrad.derivation.matrix_form import Recogniser
from symgrad.derivation.notation import Form, Printer, Slot
from symgrad.derivation.order import Written
from symgrad.derivation.python_form import python_of
from symgrad.derivation.stream import fits_stdout


class Formula:
    """What ``t.formula()`` returns.

    ``str(f)`` is Unicode text, or ASCII where standard output cannot encode it; ``f.unicode``,
    ``f.ascii``, ``f.latex()`` and ``f.python()`` are the four spellings.
    """

    def __init__(
        self,
        expr: Expr,
        forms: Callable[[], tuple[Form, tuple[Form, ...]]],
        names: dict[Expr, str] | None = None,
    ) -> None:
        """``forms`` makes the form and its indices when one of the texts is asked for."""
        self.expr = expr
        self._forms = cache(forms)
        self._names = names or {}

    @property
    def form(self) -> Form:
        """What is printed.  Raises NotationError where no notation has a form for it."""
        return self._forms()[0]

    @property
    def indices(self) -> tuple[Form, ...]:
        """The indices of the left-hand side; none in matrix form."""
        return self._forms()[1]

    @property
    def letters(self) -> dict[Slot, str]:
        """Letters of the index slots."""
        symbols = leaves([self.expr])
        sizes = sizes_of(symbols)
        taken = {str(s) for s in sizes} | {name_of(s) for s in symbols}
        return notation.assign_letters(notation.slots_of([*self.indices, self.form]), sizes, taken)

    @property
    def unicode(self) -> str:
        """The formula in Unicode."""
        return Printer(self.letters).text(self.form)

    @property
    def ascii(self) -> str:
        """The formula in ASCII."""
        return to_ascii(self.unicode)

    def latex(self) -> str:
        """The formula in LaTeX, without delimiters."""
        return latex_of(self.form, self.letters)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def python(self) -> str:
        """The formula as one NumPy-like Python expression that can be pasted and evaluated."""
        return python_of(self.expr, self._names)

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
    return notation.name(name_of(e)) if e.op is SYMBOL else None


def form_of(
    e: Expr,
    written: Written | None = None,
    named: Callable[[Expr], Form | None] = symbol_name,
) -> tuple[Form, tuple[Form, ...]]:
    """The form of an expression and the indices of its left-hand side (none in matrix form)."""
    written = written or Written()
    recogniser = Recogniser(named, written)
    whole = recogniser.form(e)
    if whole is not None:
        return whole, ()
    counts: dict[Size, int] = {}
    at: list[Form] = []
    for size in e.shape:
        number = counts.get(size, 0)
        counts[size] = number + 1
        at.append(Form("slot", (), Slot(size, number)))
    return Indexer(named, written, recogniser).form(e, tuple(at)), tuple(at)


def formula(e: Expr, written: Written | None = None) -> Formula:
    """The formula of an expression over its symbols."""
    return Formula(e, lambda: form_of(e, written))


__all__ = ["Formula", "form_of", "formula", "sizes_of", "symbol_name", "topological"]
