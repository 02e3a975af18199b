"""The shortest way found to write an expression: normal form, then a descent over equal forms.

The length is that of the printed text read as a graph: one for each operation, each
sub-expression once.  A form is taken where it makes the whole shorter and neither its work nor its
largest value greater, until none does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from typing import Any

from symgrad_codegen.program import Apply, Operand, Template, Variable

from symgrad.core.build import CONTRACTION, SUM
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.traverse import leaves, substitute, topological
from symgrad.errors import SymgradError
from symgrad.lower.network import Orders
from symgrad.lower.pairs import extent_of
from symgrad.lower.program import reading
from symgrad.lower.state import Lowering
from symgrad.simplify.algebra import Normal
from symgrad.simplify.engine import complex_parts
from symgrad.simplify.forms import FORMS

NODES = 300
"""Graphs up to this size are searched; larger ones get their normal form only."""
TRIALS = 250
"""Forms tried in one search."""
FREE = {"diag", "eye", "ones", "zeros", "vec", "tril", "reshape", "transpose", "diagonal"}


_WORK = {"matrix": 128, "axis": 4}
"""Work for each entry of a result, at the extent assumed for letters."""


def concise(e: Expr) -> Expr:
    """An expression equal to ``e`` that takes fewer operations to write."""
    normal = Normal()
    best = normal.of([e])[0]
    if len(topological([best])) > NODES:
        return best
    price = length(best)
    tried = {best}
    shorter = True
    while shorter:
        shorter = False
        for other in _forms(best):
            candidate = normal.of([other])[0]
            if candidate in tried:
                continue
            if len(tried) > TRIALS:
                break
            tried.add(candidate)
            found = length(candidate)
            if found[0] < price[0] and found[1] <= price[1] and found[2] <= price[2]:
                best, price, shorter = candidate, found, True
                break
    return best


def _forms(root: Expr) -> Iterator[Expr]:
    """``root`` with one node in another form, from the root down."""
    for node in topological([root])[::-1]:
        if complex_parts(node):
            continue
        for rule in FORMS:
            for other in rule.of(node):
                if other is not node:
                    yield substitute([root], {node: other})[0]


def shortest(e: Expr, values: Mapping[Expr, Operand]) -> Operand:
    """The text of an expression in the best of a few orders of its products."""
    root, state = reading(e, values)
    if len(topological([e])) > NODES:
        return root
    best, price = root, _measured(e, root, state)
    for late in (False, True):
        for known in (set[Any](), set(state.orders.names)):
            other, tried = reading(e, values, Orders(known, late))
            found = _measured(e, other, tried)
            if found[:2] < price[:2]:
                best, price = other, found
    return best


def length(e: Expr) -> tuple[int, int, int]:
    """Operations in the text of an expression, equal parts once; its work; its largest value."""
    values: dict[Expr, Operand] = {
        leaf: Variable(k, name_of(leaf), (), leaf.dtype.name) for k, leaf in enumerate(leaves([e]))
    }
    try:
        root, state = reading(e, values)
    except SymgradError:
        return 10**9, 0, 0
    return _measured(e, root, state)


def _measured(e: Expr, root: Operand, state: Lowering) -> tuple[int, int, int]:
    numbers: dict[object, int] = {}
    known: dict[int, tuple[int, bool]] = {}  # id of an operand → its number, reads a tensor?
    operations = 0
    stack: list[tuple[Operand, bool]] = [(root, False)]
    while stack:
        part, ready = stack.pop()
        if id(part) in known:
            continue
        if not isinstance(part, Apply):
            key: object = part
            known[id(part)] = numbers.setdefault(key, len(numbers)), isinstance(part, Variable)
        elif ready:
            below = [known[id(o)] for o in part.operands]
            key = (part.template, *(number for number, _ in below))
            reads = any(tensor for _, tensor in below)
            if key not in numbers and reads:
                operations += operations_of(part.template)
            known[id(part)] = numbers.setdefault(key, len(numbers)), reads
        else:
            stack.append((part, True))
            stack.extend((o, False) for o in part.operands)
    work, widest = state.orders.work, state.orders.widest
    for node in topological([e]):
        if node.op is SYMBOL:
            widest = max(widest, prod(extent_of(s, {}) for s in node.shape))
        elif node.args and node.op is not CONTRACTION:
            size = prod(extent_of(s, {}) for s in node.shape)
            work += _WORK.get(node.op.family, 1) * size * (len(node.args) if node.op is SUM else 1)
            widest = max(widest, size)
    return operations, work, widest


@lru_cache(maxsize=4096)
def operations_of(template: Template) -> int:
    """The operations that the text of a template shows: operators and calls, moves of axes free."""
    text = re.sub(r"\{(\d+)\}", r"h\1", template.form("numpy"))
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return 1
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare)):
            count += 1
        elif isinstance(node, ast.Call):
            function = node.func
            word = function.attr if isinstance(function, ast.Attribute) else ""
            word = function.id if isinstance(function, ast.Name) else word
            count += word not in FREE
    return count


__all__ = ["concise", "length", "shortest"]
