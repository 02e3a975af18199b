"""The programs of all that runs: lowered after matrices went by structure and products were opened.

From the lines of a derivation each line is a variable, its formula the comment.  A rewrite sees through the lines of a derivation: a covariance may be one line and its solve another.
Where it changes something, a value that is still computed stays a line under its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from symgrad_codegen.program import Program

from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.traverse import leaves, many_nodes, substitute, topological, transform
from symgrad.derivation.derive import Derivation
from symgrad.derivation.notation import Printer
from symgrad.derivation.tidy import GIVEN, GRADIENT, Lines
from symgrad.lower import Line, lower
from symgrad.simplify import stabilised
from symgrad.simplify.cheaper import Cheaper, Whole
from symgrad.simplify.slopes import SLOPE, slope_of_value, slopes
from symgrad.structured.matrices import ByStructure

Moved = dict[Expr, Expr]


def lowered(
    name: str,
    inputs: Sequence[Expr],
    outputs: Sequence[tuple[str, Expr]],
    names: Callable[[Sequence[Expr]], Mapping[Expr, str]],
) -> Program:
    """A program computing ``outputs`` (name, expression); ``names`` suggests names below them."""
    made = _computed([e for _, e in outputs])
    found = [made[e] for _, e in outputs]
    found = slopes(found, {}, found)
    results = [(word, e) for (word, _), e in zip(outputs, found, strict=True)]
    return lower(name, inputs, results, names=names([e for _, e in results]))


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
    computed = stabilised(
        [d.expr for d in defined],
        [slope_of_value(d.symbol) for d in defined if d.expr.op.name == "tanh"],
    )
    made_of = {e.op.name for e in topological(computed)}
    if "detach" in made_of:
        computed = _attached(computed)
    rows = [
        Line(d.symbol, e, notes.get(d.symbol, "")) for d, e in zip(defined, computed, strict=True)
    ]
    asked = leaves([*(e for _, e in outputs), *(x.expr for x in extra)])
    rows = _cheaper(rows, asked)
    if "cosh" in made_of:
        made = slopes([x.expr for x in rows], {x.symbol: x.expr for x in rows}, asked)
        rows = [
            x if e is x.expr else replace(x, expr=e, note=x.note and f"{x.note}; {SLOPE}")
            for x, e in zip(rows, made, strict=True)
        ]
    return lower(name, inputs, outputs, [*rows, *extra], summary=summary, facts=facts)


def _attached(roots: Sequence[Expr]) -> list[Expr]:
    """Roots without ``detach``, which hides from a product what it is made of.

    What runs is differentiated no more.
    """
    new = transform(roots, lambda e: e.args[0] if e.op.name == "detach" else e)
    return [new[r] for r in roots]


def _cheaper(lines: Sequence[Line], asked: Sequence[Expr]) -> Sequence[Line]:
    """Lines that define the symbols ``asked`` for by less work, where there is some."""
    defined = {x.symbol: x.expr for x in lines}
    touched, through = _looked_into(defined)
    if not touched:
        return lines
    closed: Moved = {}
    for s, e in defined.items():
        if s in touched or s in through:
            seen = {x: closed[x] for x in leaves([e]) if x in through}
            (closed[s],) = substitute([e], seen)
    needed = set(asked)
    for s in reversed(defined):
        if s in needed:
            needed.update(leaves([closed.get(s, defined[s])]))
    whole = [e for s, e in closed.items() if s in needed]
    moved = _computed(whole)
    if all(moved[e] is e for e in whole):
        return lines
    there = set(topological([moved[e] for e in whole]))
    found: list[Line] = []
    known: Moved = {}
    unmade: list[str] = []
    for line in lines:
        e = moved.get(closed.get(line.symbol, line.symbol))
        if line.symbol not in closed:
            made = line if line.symbol in needed else None
        elif e in there and (line.symbol in needed or (e not in known and e.op is not SYMBOL)):
            made = Line(line.symbol, substitute([e], known)[0], line.note)
            known.setdefault(e, line.symbol)
        else:
            made = None
        if made is None:
            unmade += [line.note] * bool(line.note)
        else:
            found.append(replace(made, note="; ".join([*unmade, made.note])) if made.note else made)
            unmade = [] if made.note else unmade
    return found


def _looked_into(lines: Moved) -> tuple[set[Expr], set[Expr]]:
    """The lines with matrices or products over others, and the lines that those look into."""
    whole = Whole(lines)
    marked = {e for e in topological(lines.values()) if e.op.family == "matrix" or whole.opens(e)}
    touched: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = []
    for s, line in lines.items() if marked else ():
        for e in marked.intersection(topological([line])):
            touched.add(s)
            stack += [(a, e.op.family == "matrix") for a in e.args]
    seen: set[tuple[Expr, bool]] = set()
    while stack:
        e, deep = top = stack.pop()
        if top in seen or not (deep or e not in whole):
            continue
        seen.add(top)
        deep = deep or e.op.family == "matrix"
        stack += [(a, deep) for a in ([lines[e]] if e in lines else e.args)]
    return touched, {e for e, _ in seen if e in lines}


def _computed(roots: Sequence[Expr]) -> Moved:
    """What the nodes under ``roots`` become, those that are looked at."""
    moved = {e: e for e in topological(roots)}
    with many_nodes(len(moved)):
        for step in (ByStructure(), Cheaper()):
            found = step.of([moved[r] for r in roots])
            moved = {e: found[x] for e, x in moved.items() if x in found}
    return moved


def gradient_symbols(lines: Lines) -> dict[str, Expr]:
    """Name of the input → the symbol of its gradient line."""
    return {
        name_of(d.of): d.symbol
        for d in lines.definitions
        if d.kind == GRADIENT and d.of is not None
    }


__all__ = ["gradient_symbols", "lowered", "program_of"]
