"""The shortest way found to write an expression: normal form, then a descent over equal forms.

The length is that of the printed text read as a graph: one for each operation, each
sub-expression once.  A form is taken where it makes the whole shorter, until none does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from symgrad_codegen.program import Apply, Operand, Template, Variable

from symgrad.core.expr import Expr, name_of
from symgrad.core.traverse import leaves, substitute, topological
from symgrad.errors import SymgradError
from symgrad.lower.program import expression
from symgrad.simplify.algebra import Normal
from symgrad.simplify.forms import FORMS

NODES = 300
"""Graphs up to this size are searched; larger ones get their normal form only."""
TRIALS = 250
"""Forms tried in one search."""
FREE = {"diag", "eye", "ones", "zeros", "vec", "tril", "reshape", "transpose", "diagonal"}


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
            if found < price:
                best, price, shorter = candidate, found, True
                break
    return best


def _forms(root: Expr) -> Iterator[Expr]:
    """``root`` with one node in another form, from the root down."""
    for node in topological([root])[::-1]:
        for rule in FORMS:
            for other in rule.of(node):
                if other is not node:
                    yield substitute([root], {node: other})[0]


def length(e: Expr) -> int:
    """Operations in the text of an expression, equal parts counted once."""
    values: dict[Expr, Operand] = {
        leaf: Variable(k, name_of(leaf), (), leaf.dtype.name) for k, leaf in enumerate(leaves([e]))
    }
    try:
        root = expression(e, values)
    except SymgradError:
        return 10**9
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
    return operations


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


__all__ = ["concise", "length"]
