"""Which condition of the user's program is being decided: its word, its text, its subject."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from types import FrameType

Span = tuple[int, int, int, int]


@dataclass(frozen=True)
class Condition:
    """``word``: if, while, assert, and, or, not; ``test``: its text; ``subject``: what it asks of."""

    word: str
    test: str
    subject: str


def _tests(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The conditions that a node decides."""
    if isinstance(node, (ast.If, ast.IfExp)):
        yield "if", node.test
    elif isinstance(node, ast.While):
        yield "while", node.test
    elif isinstance(node, ast.Assert):
        yield "assert", node.test
    elif isinstance(node, ast.BoolOp):
        yield ("and" if isinstance(node.op, ast.And) else "or"), node
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.comprehension):
        yield from (("if", test) for test in node.ifs)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "bool" and node.args:
        yield "bool", node.args[0]


def _span(node: ast.expr) -> Span:
    return (node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0)


def _within(inner: Span, outer: Span) -> bool:
    return outer[:2] <= inner[:2] and inner[2:] <= outer[2:]


def _position(frame: FrameType) -> Span | None:
    """Lines and columns of the instruction that runs."""
    found = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    if found is None or None in found:
        return None
    line, end_line, column, end_column = found
    return (line or 0, column or 0, end_line or 0, end_column or 0)


def condition_of(frame: FrameType | None) -> Condition | None:
    """The condition that ``frame`` decides now; None where its source is not to be had."""
    at = _position(frame) if frame is not None else None
    if frame is None or at is None:
        return None
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    best: tuple[int, str, ast.expr] | None = None
    for node in ast.walk(tree):
        for word, test in _tests(node):
            outer = _span(node) if isinstance(node, ast.expr) else _span(test)
            size = (outer[2] - outer[0]) * 10_000 + outer[3] - outer[1]
            if _within(at, outer) and (best is None or size < best[0]):
                best = size, word, test
    if best is None:
        return None
    _, word, test = best
    subject: ast.expr = test
    if isinstance(test, ast.Compare):
        sides = [s for s in (test.left, *test.comparators) if not isinstance(s, ast.Constant)]
        subject = sides[0] if len(sides) == 1 else test
    return Condition(word, ast.unparse(test), ast.unparse(subject))


__all__ = ["Condition", "condition_of"]
