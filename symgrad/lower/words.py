"""What an operation of a text says."""

from __future__ import annotations

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


def turned(part: Operand) -> Operand:
    """The transpose of a matrix, or what it is the transpose of."""
    if isinstance(part, Apply) and part.template == TURNED:
        return part.operands[0]
    return Apply(TURNED, (part,))


__all__ = ["is_there", "spelled_as", "turned", "word_of"]
