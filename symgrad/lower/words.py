"""What an operation of a text says, and parts of a text exchanged."""

from __future__ import annotations

from collections.abc import Mapping

from symgrad_codegen.program import Apply, Operand, Template

from symgrad.lower.align import TURNED
from symgrad.lower.peak import Reading


def spelled_as(part: Operand) -> str:
    """Its template for NumPy; nothing for what is no operation."""
    return dict(part.template.forms).get("numpy", "") if isinstance(part, Apply) else ""


def word_of(part: Operand) -> str:
    """The function that a call of one operand is, without the module."""
    spelled = spelled_as(part)
    return spelled[: -len("({0})")].rpartition(".")[2] if spelled.endswith("({0})") else ""


def is_there(reading: Reading, template: Template, *operands: Operand) -> bool:
    """Is the operation of these operands part of the text?"""
    wanted = tuple(reading.numbers.get(id(o), -1) for o in operands)
    return (template, wanted) in reading.operations


def untransposed(part: Operand) -> tuple[Operand, bool]:
    """A and True of ``A.T``; else the operand and False."""
    if isinstance(part, Apply) and part.template == TURNED:
        return part.operands[0], True
    return part, False


def turned(part: Operand) -> Operand:
    """The transpose of a matrix, or what it is the transpose of."""
    inner, other = untransposed(part)
    return inner if other else Apply(TURNED, (part,))


def exchanged(root: Operand, places: Mapping[int, Operand], inside: bool) -> Operand:
    """The text with other operands at some places, by identity; what is above is built again.

    ``inside``: in these, too.
    """
    done: dict[int, Operand] = {} if inside else dict(places)
    stack: list[tuple[Operand, bool]] = [(root, False)]
    while stack:
        part, ready = stack.pop()
        if id(part) in done:
            continue
        here = places.get(id(part), part)
        if not isinstance(here, Apply):
            done[id(part)] = here
        elif ready:
            below = tuple(done[id(o)] for o in here.operands)
            same = all(a is b for a, b in zip(below, here.operands, strict=True))
            done[id(part)] = here if same else Apply(here.template, below)
        else:
            stack.append((part, True))
            stack += [(o, False) for o in here.operands]
    return done[id(root)]


__all__ = ["exchanged", "is_there", "spelled_as", "turned", "untransposed", "word_of"]
