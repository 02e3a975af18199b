"""The printed derivation: sizes, forward definitions, named adjoints, one line per gradient."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from symgrad.core.expr import Expr, facts_of, name_of
from symgrad.core.facts import among_symmetric
from symgrad.core.sizes import Size, letters_of
from symgrad.core.traverse import topological
from symgrad.derivation import notation
from symgrad.derivation.ascii import to_ascii
from symgrad.derivation.derived import definition, derived_sizes, renamed, renamed_size
from symgrad.derivation.form import OUTSIDE
from symgrad.derivation.formula import Formula, form_of
from symgrad.derivation.latex import latex_of
from symgrad.derivation.notation import Form, Printer, Slot
from symgrad.derivation.opaque import remark
from symgrad.derivation.python_form import identifier
from symgrad.derivation.steps import Steps, steps_of
from symgrad.derivation.stream import fits_stdout
from symgrad.derivation.tidy import GIVEN, GRADIENT, WITHIN, Definition, Lines
from symgrad.derivation.times import Times, beside, limits, tail, tail_latex
from symgrad.derivation.usual import usual_letters
from symgrad.ops.join import concatenate
from symgrad.simplify import Step

FACTS = {"positive": "{} > 0", "symmetric": "{} symmetric",
         "spd": "{} symmetric positive definite"}  # fmt: skip

WITHIN_SYMMETRIC = "gradient in the symmetric matrices with ⟨A,B⟩ = tr(Aᵀ B)"
INDEPENDENT = "gradient in the independent entries [i,j] with i ≤ j: 2 G − G ⊙ I"


def _known(form: Form, indices: tuple[Form, ...]) -> tuple[Form, tuple[Form, ...]]:
    return form, indices


def gradient_latex(output: str, of: str, ranks: Mapping[str, int] | None = None) -> str:
    """∂L/∂W as a fraction."""
    top, bottom = (latex_of(notation.name(w), {}, r) for w, r in ((output, {}), (of, ranks)))
    return rf"\frac{{\partial {top}}}{{\partial {bottom}}}"


class Line:
    """One printed line: left side, right side, and the definition behind it."""

    def __init__(self, definition: Definition, left: Form, right: Form) -> None:
        self.definition = definition
        self.left = left
        self.right = right

    @property
    def remark(self) -> str:
        """What is to be said behind it."""
        return remark(self.definition.expr)


class Derivation:
    """What ``sg.derive`` returns.

    ``str(d)`` is the block of text (ASCII where standard output cannot encode it);
    ``d.latex()`` an aligned LaTeX block; ``d["W1"]`` or ``d.grad("W1")`` the Formula of one
    gradient; ``d.lines`` the lines with their expressions.
    """

    def __init__(self, lines: Lines, inputs: Sequence[Expr]) -> None:
        self.inputs = list(inputs)
        self.source = lines
        self.rewrites: Sequence[Step] = ()
        self.lines: list[Line] = []
        used = self._onehots() if lines.shown else ()
        for node, leaf in lines.shown.items():
            if node in used:
                inner, _ = form_of(node.args[0], lines.written, lines.named)
                right = notation.call("onehot", inner, notation.name(str(node.params[0])))
                self.lines.append(
                    Line(Definition(leaf, node, "forward"), notation.name(name_of(leaf)), right)
                )
        for d in self._defined():
            if d.kind in (GIVEN, WITHIN):
                continue
            right, at = d.form or form_of(d.expr, lines.written, lines.named)
            left = notation.name(name_of(d.symbol))
            self.lines.append(Line(d, Form("index", (left, *at)) if at else left, right))
        self.times = Times(lines, self.inputs, self.lines)
        self.derived = self._name_sizes()

    def _defined(self) -> Iterator[Definition]:
        """Definitions in the order they are read."""
        beside = self.source.asides
        for d in self.source.definitions:
            yield from (made for leaf, made in beside if leaf is d.symbol)
            yield d

    def _name_sizes(self) -> dict[str, str]:
        """Sizes that follow from others are called by letters of their own from here on."""
        forms = [f for x in self.lines for f in (x.left, x.right)]
        taken = {name_of(x) for x in (*self.inputs, *(x.definition.symbol for x in self.lines))}
        taken.update(letters_of(tuple(self.sizes)))
        table = derived_sizes(forms, self.sizes, taken)
        for x in self.lines:
            x.left, x.right = renamed(x.left, table), renamed(x.right, table)
        return table

    def _onehots(self) -> set[Expr]:
        """One-hot rows that some line prints by name."""
        backward = [d.expr for d in self.source.definitions if d.kind != "forward"]
        return {e for e in topological(backward) if e.op.name == "onehot"}

    def _extended(self) -> list[str]:
        """Names of which some line reads entries outside their range."""
        found: dict[str, None] = {}
        stack = [x.right for x in self.lines[::-1]]
        while stack:
            form = stack.pop()
            if form.kind == "index" and OUTSIDE in (form.data or ()) and not self.times.gives(form):
                found.setdefault(form.items[0].data)
            stack.extend(form.items)
        return list(found)

    def grad(self, of: Any) -> Formula:
        """The Formula of the gradient for the input called ``of``, ``W1`` or ``W₁``, or for it.

        Of an input that is several symbols here (``layout``) theirs, joined as it is stored.
        """
        of = of if isinstance(of, str) else name_of(of.expr())
        rows = {x.definition.of: x for x in self.lines if x.definition.kind == GRADIENT}
        found = {identifier(name_of(e)): line for e, line in rows.items() if e is not None}
        line = found.get(identifier(of))
        if line is not None:
            at = line.left.items[1:] if line.left.kind == "index" else ()
            return Formula(line.definition.expr, functools.partial(_known, line.right, at))
        for whole, (axis, parts) in self.source.parts.items():
            if identifier(name_of(whole)) == identifier(of) and all(part in rows for part in parts):
                e = concatenate([rows[part].definition.expr for part in parts], axis)
                written, named = self.source.written, self.source.named
                return Formula(e, functools.partial(form_of, e, written, named))
        known = ", ".join(name_of(e) for e in rows if e is not None)
        raise KeyError(f"no gradient for {of!r}; there are gradients for {known}")

    __getitem__ = grad

    @property
    def steps(self) -> Steps:
        """Every use of the chain rule and every rewrite, each with a numeric check."""
        return steps_of(self.source, self.inputs, self.rewrites, self.letters)

    def markdown(self) -> str:
        """The declarations as text and the lines as one display of LaTeX."""
        head = "\n".join(f"- **{word}** {text}" for word, text in self.header())
        return f"{head}\n\n$$\n{self.latex()}\n$$\n"

    def html(self) -> str:
        """A table of the declarations and lines."""
        lines = [tuple(part.strip() for part in row.split(" = ", 1)) for row in
                 self.unicode.split("\n")[len(self.header()) :]]  # fmt: skip
        rows = [f"<tr><th>{escape(w)}</th><td colspan='2'>{escape(t)}</td></tr>"
                for w, t in self.header()]  # fmt: skip
        rows += [f"<tr><td>{escape(a)}</td><td>=</td><td>{escape(b)}</td></tr>" for a, b in lines]
        return "<table>\n" + "\n".join(rows) + "\n</table>"

    _repr_html_ = html

    @property
    def sizes(self) -> list[Size]:
        """Sizes in declared order."""
        found: dict[Size, None] = {}
        for leaf in self.inputs:
            for size in leaf.shape:
                found.setdefault(size)
        return list(found)

    @property
    def reserved(self) -> set[str]:
        """Letters that no index may have."""
        return set()

    @property
    def letters(self) -> dict[Slot, str]:
        """Letters of the index slots of the whole block."""
        taken = {name_of(i) for i in self.inputs} | {
            name_of(d.definition.symbol) for d in self.lines
        }
        for leaf in self.inputs:
            taken.update(letters_of(leaf.shape))
        taken |= {*self.reserved, *self.derived.values()}
        slots = notation.slots_of([f for x in self.lines for f in (x.left, x.right)])
        last = notation.only_summed([x.left for x in self.lines], [x.right for x in self.lines])
        usual: dict[str, Size] = {}  # of the first line that has some
        for size, word in usual_letters(self.source):
            usual.setdefault(word, renamed_size(size, self.derived))
        known: dict[Size, str] = {}
        for word, size in usual.items():
            known[size] = known.get(size, "") + word
        return notation.assign_letters(slots, self.sizes, taken, last, known)

    def header(self) -> list[tuple[str, str]]:
        """(word, text) of the lines before the definitions."""
        sized = self.times.sizes()
        derived = (f"{word} = {definition(size)}" for size, word in self.derived.items())
        rows = [("sizes", "   ".join((*sized, *derived)))]
        letters = self.letters
        if letters:
            ranges = (f"{x} {limits(s)}" for s, x in letters.items())
            rows.append(("indices", "   ".join(ranges)))
        given = [
            FACTS[f].format(name_of(i)) for i in self.inputs for f in facts_of(i) if f in FACTS
        ]
        if any(d.kind == GRADIENT and d.of is not None and among_symmetric(d.of)
               for d in self.source.definitions):  # fmt: skip
            given.append(INDEPENDENT if self.source.independent else WITHIN_SYMMETRIC)
        given += [
            f"{name_of(d.symbol)} = ∂L/∂{name_of(d.of)}"
            for d in self.source.definitions
            if d.kind == GIVEN and d.of is not None
        ]
        given += self.times.given()
        given += [f"{word} = 0 outside its range" for word in self._extended()]
        if given:
            rows.append(("given", ", ".join(given)))
        rows += [("layout", text) for text in self._stored()]
        return rows

    def _stored(self) -> Iterator[str]:
        """``Wx by rows: Wxi, Wxf, Wxg, Wxo``."""
        along = {0: "rows", 1: "columns"}
        texts = [
            f"{name_of(leaf)} by {along.get(axis, f'axis {axis}')}: {', '.join(map(name_of, parts))}"
            for leaf, (axis, parts) in self.source.parts.items()
        ]
        stored = self.source.stored
        shapes = [(name_of(x), str(stored[x])) for x in self.inputs if x in stored]
        for shape, group in groupby(shapes, lambda pair: pair[1]):
            texts.append(f"{', '.join(word for word, _ in group)} stored as {shape}")
        if texts:
            yield ";   ".join(texts)

    @property
    def unicode(self) -> str:
        """The block in Unicode."""
        letters = self.letters
        printer = Printer(letters, self.sizes, declared=True)
        rows = [f"{word:<8} {text}" for word, text in self.header()]
        texts = [
            (printer.text(x.left), "   ".join(filter(None, [printer.text(x.right), x.remark])))
            for x in self.lines
        ]
        tails = [tail(x.definition, letters) for x in self.lines]
        width = min(max((len(left) for left, _ in texts), default=0), 8)
        shown = [f"{left:<{width}} = {right}" for left, right in texts]
        return "\n".join([*rows, *self.arranged(beside(shown, tails))])

    def arranged(self, rows: list[str]) -> list[str]:
        """The rows that the lines are printed in."""
        return rows

    @property
    def ascii(self) -> str:
        """The block in ASCII."""
        lines = to_ascii(self.unicode).split("\n")
        start = len(self.header())
        parts = [[p.strip() for p in line.split(" = ", 1)] for line in lines[start:]]
        width = min(max((len(left) for left, _ in parts), default=0), 8)
        aligned = [f"{left:<{width}} = {right}" for left, right in parts]
        return "\n".join([*lines[:start], *aligned])

    def latex(self) -> str:
        """An ``aligned`` block."""
        letters = self.letters
        ranks = {name_of(d.definition.symbol): d.definition.symbol.ndim for d in self.lines}
        ranks.update({name_of(i): i.ndim for i in self.inputs})
        rows = []
        for x in self.lines:
            said = rf" \quad\text{{{x.remark}}}" if x.remark else ""
            said += tail_latex(x.definition, letters)
            left = self._latex_left(x, letters, ranks)
            rows.append(f"{left} &= {latex_of(x.right, letters, ranks, self.sizes)}{said}")
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def _latex_left(self, x: Line, letters: dict[Slot, str], ranks: dict[str, int]) -> str:
        d, left = x.definition, x.left
        base = left.items[0].data if left.kind == "index" else left.data
        if d.kind != GRADIENT or d.of is None or not base.startswith("∂"):
            return latex_of(left, letters, ranks)
        text = gradient_latex(base[1:].partition("/")[0], name_of(d.of), ranks)
        at = [latex_of(item, letters) for item in left.items[1:]]
        return f"{{{text}}}_{{[{','.join(at)}]}}" if at else text

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def __str__(self) -> str:
        text = self.unicode
        return text if fits_stdout(text) else self.ascii

    __repr__ = __str__
