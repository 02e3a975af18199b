"""The steps of a derivation: every use of the chain rule and every rewrite, with a numeric check.

A use of the chain rule is checked by central differences of the line that it differentiates, a
rewrite by evaluating both sides; all in float64, at random values of a few entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.dtypes import DType
from symgrad.core.expr import SYMBOL, Expr, apply, facts_of, name_of
from symgrad.core.sizes import letters_of
from symgrad.core.traverse import topological
from symgrad.derivation import notation
from symgrad.derivation.formula import form_of
from symgrad.derivation.latex import latex_of
from symgrad.derivation.notation import Form, Printer, Slot
from symgrad.derivation.tidy import GIVEN, Lines, Use
from symgrad.errors import NotationError
from symgrad.evaluate import evaluate
from symgrad.ops.scan import Body
from symgrad.simplify import Step

Values = dict[Expr, np.ndarray[Any, Any]]
SMALL = 1e-5
"""Step of the central differences."""
HALVES = frozenset({"cholesky", "eigh"})
"""Functions that read one half of a symmetric matrix: checked within the symmetric ones."""


@dataclass(frozen=True)
class DerivationStep:
    """One step: the rule's name, what stood there before and after, and how far their values differ.

    ``because`` are the definitions it follows from, ``cost`` the products before and after.
    ``error`` is relative to the largest entry; central differences leave about 1e-10.  ``str`` is
    one line of text; ``latex()`` a row of an ``aligned`` block.
    """

    rule: str
    line: str
    before: str
    after: str
    error: float
    because: tuple[str, ...] = ()
    cost: str = ""
    forms: tuple[str, str] = field(default=("", ""), repr=False)

    def __str__(self) -> str:
        why = f", because {' and '.join(self.because)}" if self.because else ""
        cost = f", cost {self.cost}" if self.cost else ""
        head = f"{self.line}: {self.rule}" if self.line else self.rule
        return f"{head}: {self.before} = {self.after}{why}{cost}   (checked: {self.error:.0e})"

    def latex(self) -> str:
        """``before &= after && rule``."""
        left, right = self.forms
        return rf"{left} &= {right} && \text{{{self.rule}}}"


class Steps(list[DerivationStep]):
    """All steps in order: a list that prints as text, LaTeX, Markdown and HTML."""

    @property
    def unicode(self) -> str:
        """One line per step."""
        return "\n".join(map(str, self))

    __str__ = unicode.fget  # type: ignore[assignment]

    def latex(self) -> str:
        """An ``aligned`` block."""
        rows = " \\\\\n".join(step.latex() for step in self)
        return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"

    def markdown(self) -> str:
        """A table."""
        head = "| line | rule | before | after | error |\n| --- | --- | --- | --- | --- |"
        rows = [
            f"| {s.line} | {s.rule} | `{s.before}` | `{s.after}` | {s.error:.0e} |".replace(
                "|`", "| `"
            )
            for s in self
        ]
        return "\n".join([head, *rows])

    def html(self) -> str:
        """A table."""
        rows = [
            "<tr>" + "".join(f"<td>{escape(x)}</td>" for x in
                             (s.line, s.rule, s.before, s.after, f"{s.error:.0e}")) + "</tr>"
            for s in self
        ]  # fmt: skip
        titles = ("line", "rule", "before", "after", "error")
        head = "<tr>" + "".join(f"<th>{x}</th>" for x in titles) + "</tr>"
        return "<table>\n" + "\n".join([head, *rows]) + "\n</table>"

    _repr_html_ = html
    _repr_markdown_ = markdown


# ------------------------------------------------------------------ values


def widened(roots: Sequence[Expr]) -> list[Expr]:
    """The expressions in float64."""
    table: dict[Expr, Expr] = {}
    for node in topological(roots):
        params = _wide(node.params)
        args = tuple(table[a] for a in node.args)
        if node.op.build is not None:
            table[node] = node.op.build(args, params)
        else:
            table[node] = apply(node.op, args, params)
    return [table[r] for r in roots]


def _wide(part: Any) -> Any:
    if isinstance(part, DType):
        return dtypes.float64 if part.kind == "f" else part
    if isinstance(part, Body):
        wide = widened([*part.symbols, *part.results])
        count = len(part.symbols)
        table = dict(zip(part.symbols, wide, strict=False))
        states, inputs, fixed = (
            tuple(table[x] for x in row) for row in (part.states, part.inputs, part.fixed)
        )
        return Body(states, inputs, fixed, (), ()).over(wide[count:])
    return tuple(_wide(x) for x in part) if type(part) is tuple else part


def drawn(inputs: Sequence[Expr]) -> tuple[Values, dict[str, int]]:
    """Random values of the inputs, letters as different small sizes, declared facts kept.

    What is never a column comes first and is larger: data has more rows than columns.
    """
    rng = np.random.default_rng(0)
    found = dict.fromkeys(x for leaf in inputs for x in letters_of(leaf.shape))
    columns = {x for leaf in inputs for x in letters_of(leaf.shape[1:])}
    letters = sorted(found, key=columns.__contains__)
    sizes = {x: len(letters) + 2 - k for k, x in enumerate(letters)}
    values: Values = {}
    for leaf in inputs:
        shape = [s if isinstance(s, int) else int(s.value(sizes)) for s in leaf.shape]
        if leaf.dtype.kind in "iub":
            values[leaf] = rng.integers(0, 2, shape)
            continue
        value = rng.uniform(0.1, 0.7, shape)  # where tanh of a sum of products is not all flat
        facts = set(facts_of(leaf))
        if {"spd", "symmetric"} & facts:
            value = value @ value.T + np.eye(len(value))
        if "diagonal" in facts:
            value = np.diag(np.diag(value))
        if "orthogonal" in facts:
            value = np.linalg.qr(value)[0]
        values[leaf] = value
    return values, sizes


@dataclass
class Checker:
    """Values of all lines, and the numeric checks."""

    lines: Lines
    inputs: Sequence[Expr]
    values: Values = field(default_factory=dict[Expr, Any])
    sizes: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        given = [d.symbol for d in self.lines.definitions if d.kind == GIVEN]
        self.values, self.sizes = drawn([*self.inputs, *given])
        kept = set(map(id, self.lines.definitions))
        gone = [d for d in self.lines.before if id(d) not in kept]
        for d in [*self.lines.definitions, *gone]:
            if d.kind != GIVEN:
                self.values[d.symbol] = self.value(d.expr)

    def value(self, e: Expr, changed: Mapping[Expr, Any] | None = None) -> np.ndarray[Any, Any]:
        """The value of an expression over the symbols of the lines."""
        values = {**self.values, **(changed or {})}
        symbols = [x for x in topological([e]) if x.op is SYMBOL]
        wide, *leaves = widened([e, *symbols])
        feeds = {w: values[x] for w, x in zip(leaves, symbols, strict=True)}
        return np.asarray(evaluate([wide], feeds, self.sizes)[0])

    def same(self, before: Expr, after: Expr) -> float:
        """How far two expressions differ."""
        return _error(self.value(before), self.value(after))

    def chain(self, use: Use) -> float:
        """How far (∂line/∂leaf)ᵀ seed is from central differences, along a random direction."""
        rng = np.random.default_rng(1)
        value = np.asarray(self.values[use.leaf], dtype=np.float64)
        way = rng.normal(size=value.shape)
        halves = any(x.op.name in HALVES for x in topological([use.expr]))
        if halves and value.ndim == 2 and np.allclose(value, value.T):
            way = way + way.T
        seed = self.value(use.seed)
        up, down = (
            (seed * self.value(use.expr, {use.leaf: value + s * SMALL * way})).sum()
            for s in (1, -1)
        )
        along = (self.value(use.part) * way).sum()
        least = SMALL * float(np.abs(seed * self.value(use.expr)).sum())  # a slope of 0 is rounded
        return _error(np.asarray((up - down) / (2 * SMALL)), np.asarray(along), least)


def _error(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], least: float = 0) -> float:
    scale = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)), 1e-12, least)
    return float(np.abs(a - b).max(initial=0)) / scale


# ------------------------------------------------------------------ the list


def steps_of(
    lines: Lines,
    inputs: Sequence[Expr],
    rewrites: Sequence[Step] = (),
    letters: Mapping[Slot, str] | None = None,
) -> Steps:
    """The steps of lines: rewrites of the value, uses of the chain rule, rewrites of lines."""
    check = Checker(lines, inputs)
    found = Steps()

    def say(
        rule: str, line: str, before: tuple[str, str], after: Expr, error: float,
        because: tuple[str, ...] = (), cost: str = "",
    ) -> None:  # fmt: skip
        text, tex = _texts(after, lines, letters)
        forms = before[1], tex
        found.append(DerivationStep(rule, line, before[0], text, error, because, cost, forms))

    for step in rewrites:
        error = check.same(step.before, step.after)
        say(step.rule, "", _texts(step.before, lines, letters), step.after, error)
    for use in lines.uses:
        value, leaf, seed = name_of(use.of), name_of(use.leaf), _texts(use.seed, lines, letters)
        text = f"(∂{value}/∂{leaf})ᵀ {seed[0]}" if seed[0] != "1" else f"∂{value}/∂{leaf}"
        ranks = {value: use.of.ndim, leaf: use.leaf.ndim}
        of, to = (latex_of(notation.name(w), {}, ranks) for w in (value, leaf))
        tex = rf"\left(\frac{{\partial {of}}}{{\partial {to}}}\right)^{{\top}} {seed[1]}"
        say(f"chain rule, {use.rule}", value, (text, tex), use.part, check.chain(use))
    for c in lines.changes:
        why = tuple(f"{name_of(s)} = {_texts(e, lines, letters)[0]}" for s, e in c.because)
        before, error = _texts(c.before, lines, letters), check.same(c.before, c.after)
        say(c.rule, name_of(c.line.symbol), before, c.after, error, why, c.cost)
    return found


def _texts(e: Expr, lines: Lines, letters: Mapping[Slot, str] | None) -> tuple[str, str]:
    """Text and LaTeX of an expression, with the block's letters where it has them all."""
    try:
        form, at = form_of(e, lines.written, lines.named)
    except NotationError:
        form, at = Form("name", (), f"‹{e.op.name}›"), ()
    symbols = [x for x in topological([e]) if x.op is SYMBOL]
    sizes = list(dict.fromkeys(s for x in symbols for s in x.shape))
    taken = {name_of(x) for x in symbols} | {c for s in sizes for c in str(s).split()}
    found = notation.slots_of([*at, form])
    if letters is not None and all(x in letters for x in found):
        slots = dict(letters)
    else:
        slots = notation.assign_letters(found, sizes, taken)
    ranks = {name_of(x): x.ndim for x in symbols}
    return Printer(slots).text(form), latex_of(form, slots, ranks)


__all__ = ["Checker", "DerivationStep", "Steps", "steps_of", "widened"]
