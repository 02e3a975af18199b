"""Derivations with more than gradients: Hessian blocks, steps of Newton's, stationary points.

Where the Hessian does not depend on its variable one step is exact: x⁺ = −H⁻¹ ∇L(0).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

from symgrad.autodiff import gradient
from symgrad.core.build import is_zero, zeros
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.sizes import ONE, Monomial
from symgrad.core.traverse import leaves, substitute
from symgrad.derivation.derive import Derivation, Line, gradient_latex
from symgrad.derivation.formula import form_of
from symgrad.derivation.latex import latex_of
from symgrad.derivation.matrix_form import sum_form
from symgrad.derivation.notation import Form, Slot, extent, name, product, scaled, slots_of
from symgrad.derivation.notation import assign_letters as assigned
from symgrad.derivation.steps import SMALL, Checker, DerivationStep, Steps
from symgrad.derivation.tidy import FORWARD, GRADIENT, Definition, Lines
from symgrad.simplify import simplify
from symgrad.structured.derive import hessian
from symgrad.structured.form import shorter, structure_form
from symgrad.structured.operator import LinearMap
from symgrad.structured.solving import Plan, plan
from symgrad.structured.stationary import no_closed_form, stationary

HESSIAN, STEP, STATIONARY = "hessian", "step", "stationary"


def second_label(x: str, y: str, value: str = "L") -> str:
    """``∂²L/∂x²``, ``∂²L/∂x∂y``."""
    return f"∂²{value}/∂{x}²" if x == y else f"∂²{value}/∂{x}∂{y}"


class Further(Derivation):
    """A derivation with further lines, over the names of the lines before them."""

    def __init__(
        self,
        lines: Lines,
        inputs: Sequence[Expr],
        value: Expr,
        wanted: Sequence[Expr],
    ) -> None:
        super().__init__(lines, inputs)
        self.value = value
        self.wanted = list(wanted)
        self.by_rows = False
        self.points: dict[Expr, Expr] = {}
        """The stationary values of variables that have a line."""
        names = _values(lines)

        def named(e: Expr) -> Form | None:
            word = name_of(e) if e.op is SYMBOL else names.get(e)
            return lines.named(e) if word is None else name(word)

        self._named = named

    def second(self, steps: Sequence[Expr]) -> None:
        """Lines ∂²L/∂x∂y for all pairs, and ``x⁺`` for what a step of Newton's is asked of."""
        wanted = self.wanted
        blocks = hessian(self.value, wanted)
        pairs = combinations_with_replacement(range(len(wanted)), 2)
        for i, j in sorted(pairs, key=lambda p: p[0] != p[1]):
            self._block(blocks[i][j], wanted[i], wanted[j])
        for x in steps:
            k = wanted.index(x)
            self._step(blocks[k][k], x, self.value)

    def stationary(self, variables: Sequence[Expr]) -> None:
        """Lines ``x⁺``: where ∂L/∂x = 0 and the other variables are as they stand."""
        for x in variables:
            found = stationary(self.value, x, {})
            if found is None:
                raise no_closed_form(x)
            right, at = form_of(found.shown, self.source.written, self._named)
            self._add(f"{name_of(x)}⁺", found.shown, STATIONARY, right, at)
            self.points[x] = found.value

    @property
    def steps(self) -> Steps:
        """Those of the gradients, and for every stationary point that the gradient vanishes."""
        found = super().steps
        if not self.points:
            return found
        check = Checker(self.source, self.inputs)
        for x, point in self.points.items():
            (g,) = gradient(self.value, [x])
            there = abs(check.value(g, {x: check.value(point)})).max()
            here = abs(check.value(g)).max()
            word, of = name_of(x), name_of(self.source.output)
            at = latex_of(name(f"{word}⁺"), {}, {f"{word}⁺": x.ndim})
            found.append(DerivationStep(
                "stationary point", f"{word}⁺", f"∂{of}/∂{word} at {word}⁺", "0",
                float(there / max(here, SMALL)),
                forms=(rf"\left.{gradient_latex(of, word, {word: x.ndim})}\right|_{{{at}}}", "0"),
            ))  # fmt: skip
        return found

    def _add(self, word: str, e: Expr, kind: str, right: Form, at: tuple[Form, ...] = ()) -> None:
        leaf = symbol(word, e.shape, e.dtype, number=len(self.lines) + 1)
        left = Form("index", (name(word), *at)) if at else name(word)
        self.lines.append(Line(Definition(leaf, e, kind), left, right))

    def _block(self, m: LinearMap, x: Expr, y: Expr) -> None:
        forms = [structure_form(x, self.source.written, self._named) for x in (m, shorter(m))]
        right, at, by_rows = min(forms, key=lambda f: (bool(f[1]), extent(f[0])))
        self.by_rows = self.by_rows or by_rows
        self._add(second_label(name_of(x), name_of(y)), m.expr, HESSIAN, right, at)

    def _step(self, m: LinearMap, x: Expr, value: Expr) -> None:
        (value,) = simplify([value])
        (g,) = gradient(value, [x])
        exact = x not in leaves([m.expr])
        if exact:
            (g,) = simplify(substitute([g], {x: zeros(x.shape, x.dtype)}))
        written = self.source.written
        right, at = form_of(g, written, self._named)
        if not exact:
            for line in self.lines:
                if line.definition.kind == GRADIENT and line.definition.of is x:
                    right, at = line.right, ()
        if at:
            return
        if is_zero(m.expr):
            return
        way = plan(m)
        solved = self._solved(way, m, right)
        if solved is None:
            return
        minus = Monomial(-ONE.number)
        form = (
            scaled(minus, solved) if exact else sum_form([(ONE, name(name_of(x))), (minus, solved)])
        )
        self._add(f"{name_of(x)}⁺", x, STEP, form)

    def _solved(self, way: Plan, m: LinearMap, right: Form) -> Form | None:
        """H⁻¹ right: from the left of a vector or the first axis, from the right of the second."""
        written = self.source.written
        if m.outputs == 1:
            form, at, _ = structure_form(m, written, self._named)
            if at:
                return None
            front, form = _content(form)
            return scaled(front**-1, product([Form("inverse", (form,)), right]))
        result = right
        for axis, e in way.factors():
            form, at = form_of(e, written, self._named)
            if at:
                return None
            inverse = Form("inverse", (form,))
            result = product([inverse, result] if axis == 0 else [result, inverse])
        if way.front is not None:
            form, at = form_of(way.front, written, self._named)
            if form.kind != "number":
                return None
            result = scaled(form.data**-1, result)
        return result

    @property
    def letters(self) -> dict[Slot, str]:
        """Letters of the index slots, those of the layout too."""
        taken = {name_of(i) for i in self.inputs}
        taken |= {name_of(x.definition.symbol) for x in self.lines}
        taken |= {str(s) for s in self.sizes}
        forms = [f for x in self.lines for f in (x.left, x.right)]
        layout = self._layout()
        found = slots_of([*forms, *(Form("slot", (), s) for s in layout[1])]) if layout else (
            slots_of(forms)
        )  # fmt: skip
        return assigned(found, self.sizes, taken)

    def _layout(self) -> tuple[Expr, tuple[Slot, ...]] | None:
        """The variable that shows how vec reads, and its slots."""
        matrices = [x for x in self.wanted if x.ndim == 2]
        if not self.by_rows or not matrices:
            return None
        x = matrices[0]
        rows, columns = x.shape
        return x, (Slot(rows, 0), Slot(columns, int(rows == columns)))

    def header(self) -> list[tuple[str, str]]:
        """The header with the layout of vec."""
        rows = super().header()
        layout = self._layout()
        if layout is not None:
            x, (i, a) = layout
            letters = self.letters
            row, column = letters[i], letters[a]
            text = f"entry ({row},{column}) of {name_of(x)} is {row} {x.shape[1]} + {column}"
            rows.append(("layout", f"vec by rows: {text}"))
        return rows


def _content(form: Form) -> tuple[Monomial, Form]:
    """The number that all terms of a form share, and the form without it."""
    if form.kind == "scale":
        return form.data, form.items[0]
    if form.kind == "sum" and len(set(form.data)) == 1:
        return form.data[0], Form("sum", form.items, (ONE,) * len(form.items))
    return ONE, form


def _values(lines: Lines) -> dict[Expr, str]:
    """The values that lines name, as the expressions they were, and their names."""
    table: dict[Expr, Expr] = {}
    found: dict[Expr, str] = {}
    for d in lines.definitions:
        if d.kind == FORWARD:
            (e,) = substitute([d.expr], table)
            table[d.symbol] = e
            found.setdefault(e, name_of(d.symbol))
    return found
