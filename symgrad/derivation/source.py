"""From the lines of a derivation to a program: each line is a variable, its formula the comment."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad_codegen.program import Program

from symgrad.core.expr import Expr, name_of
from symgrad.derivation.derive import Derivation
from symgrad.derivation.notation import Printer
from symgrad.derivation.tidy import GIVEN, GRADIENT, Lines
from symgrad.lower import Line, lower
from symgrad.simplify import stabilised


def program_of(
    name: str,
    lines: Lines,
    inputs: Sequence[Expr],
    outputs: Sequence[tuple[str, Expr]],
    extra: Sequence[Line] = (),
    derivation: Derivation | None = None,
    summary: str = "",
    facts: Sequence[str] = (),
) -> Program:
    """A program of all definitions, then ``extra`` lines, returning ``outputs`` (symbols)."""
    derivation = derivation or Derivation(lines, inputs)
    printer = Printer(derivation.letters)
    notes: dict[Expr, str] = {}
    for line in derivation.lines:
        text = f"{printer.text(line.left)} = {printer.text(line.right)}"
        notes[line.definition.symbol] = text
    defined = [d for d in lines.definitions if d.kind != GIVEN]
    computed = stabilised([d.expr for d in defined])
    rows = [
        Line(d.symbol, e, notes.get(d.symbol, "")) for d, e in zip(defined, computed, strict=True)
    ]
    return lower(name, inputs, outputs, [*rows, *extra], summary=summary, facts=facts)


def gradient_symbols(lines: Lines) -> dict[str, Expr]:
    """Name of the input → the symbol of its gradient line."""
    return {
        name_of(d.of): d.symbol
        for d in lines.definitions
        if d.kind == GRADIENT and d.of is not None
    }
