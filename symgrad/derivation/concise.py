"""The shortest way found to write an expression: normal form, then a descent over equal forms.

The length is that of the printed text read as a graph: one for each operation, each
sub-expression once.  A form is taken where it makes the whole shorter, or as short with less work,
and neither its work nor its largest value greater, whether the sizes are equal, tall or wide;
or with as much work and less that is alive at once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from symgrad_codegen.program import Apply, Operand, Template, Variable

from symgrad.core.build import CONTRACTION, SUM
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.sizes import letters_of
from symgrad.core.traverse import leaves, substitute, topological
from symgrad.errors import SymgradError
from symgrad.lower.alive import Counts
from symgrad.lower.orders import Orders, added, largest, settings_of, within
from symgrad.lower.peak import peak, rearranged
from symgrad.lower.program import reading
from symgrad.lower.state import Lowering
from symgrad.simplify.algebra import Normal
from symgrad.simplify.engine import complex_parts
from symgrad.simplify.forms import FORMS

NODES = 300
"""Graphs up to this size are searched; larger ones get their normal form only."""
TRIALS = 250
"""Forms tried in one search."""
DETOURS = 3
"""Forms no shorter than the best one that are tried as a way to a shorter one."""
ALONE = 12
"""Products that are tried as the one to use again."""
LARGER = 8
"""How many times more numbers a shorter text may have alive at once; a matrix for vectors is more."""
SLACK = 1.04
"""How much more work a shorter text may take at one setting of the letters."""
FREE = {"diag", "eye", "ones", "zeros", "vec", "tril", "reshape", "transpose", "diagonal"}


_WORK = {"matrix": 128, "axis": 4}
"""Work for each entry of a result, at the extent assumed for letters."""


@lru_cache(maxsize=16)  # a formula is printed in more than one way
def concise(e: Expr) -> Expr:
    """An expression equal to ``e`` that takes fewer operations to write."""
    normal = Normal()
    best = normal.of([e])[0]
    if len(topological([best])) > NODES:
        return best
    orders = Orders(symmetric=normal.symmetry.holds, settings=settings_of(_letters(e)))
    price = length(best, orders)
    seen = {best: price}
    expanded, queue, detours = set[Expr](), [best], DETOURS
    while queue:
        expanded.add(queue[0])
        for other in _forms(queue.pop()):
            candidate = normal.of([other])[0]
            if candidate in seen:
                continue
            if len(seen) > TRIALS:
                return best
            seen[candidate] = length(candidate, orders, price[0] + 1)
        better = [x for x, found in seen.items() if _better(found, price)]
        if better:
            best = min(better, key=lambda x: (seen[x][0], sum(seen[x][1])))
            price, queue, detours = seen[best], [best], DETOURS
        elif detours:
            detours -= 1
            queue = [x for x, found in seen.items() if found[0] <= price[0] and x not in expanded][
                :1
            ]
    return best


def _letters(e: Expr) -> list[str]:
    return list(dict.fromkeys(x for leaf in leaves([e]) for x in letters_of(leaf.shape)))


def _better(new: Length, old: Length) -> bool:
    slack = tuple(int(SLACK * w) for w in old[1]) if new[0] < old[0] else old[1]
    if new[0] > old[0] or not (within(new[1], slack) and within(new[2], old[2])):
        return False
    if new[0] < old[0]:
        return within(new[3], tuple(LARGER * max(x, 1) for x in old[3]))
    if new[1] != old[1]:
        return True
    return within(new[3], old[3]) and new[3] != old[3]


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
    plain = Orders(symmetric=Normal().symmetry.holds, settings=settings_of(_letters(e)))
    root, state = reading(e, values, replace(plain, names={}))
    if len(topological([e])) > NODES:
        return root
    best, price = root, _measured(e, root, state)
    names = dict(state.orders.names)
    alone = [{name: frozenset({None})} for name in list(names)[:ALONE]]
    for known in [{}, names, *alone]:
        for late in (False, True):
            other, tried = reading(e, values, replace(plain, names=dict(known), late=late))
            found = _measured(e, other, tried)
            if found[0] < price[0] or (not known and _better(found, price)):
                best, price, state = other, found, tried
    return rearranged(best, state.orders.sized, len(state.orders.settings))


Length = tuple[int, Counts, Counts, Counts]


def length(e: Expr, orders: Orders | None = None, near: int = 10**9) -> Length:
    """Operations in the text of an expression, equal parts once; its work; its largest value; what
    is alive at once.

    ``orders`` has the settings of the letters, and which matrices are symmetric; a text with more
    than ``near`` operations is not tried with products used again before they stand.
    """
    values: dict[Expr, Operand] = {
        leaf: Variable(k, name_of(leaf), (), leaf.dtype.name) for k, leaf in enumerate(leaves([e]))
    }
    try:
        root, state = reading(e, values, replace(orders or Orders(), names={}))
    except SymgradError:
        return 10**9, (), (), ()
    found = _measured(e, root, state)
    if state.orders.names and found[0] <= near:  # an order may use what stands further on
        root, state = reading(
            e, values, replace(orders or Orders(), names=dict(state.orders.names))
        )
        found = min(found[0], _measured(e, root, state)[0]), *found[1:]
    return found


def _measured(e: Expr, root: Operand, state: Lowering) -> Length:
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
    orders = state.orders
    work, widest = orders.work, orders.widest
    for node in topological([e]):
        size = orders.entries(node.shape)
        if node.op is SYMBOL:
            widest = largest(widest, size)
        elif node.args and node.op is not CONTRACTION:
            times = len(node.args) - 1 if node.op is SUM else _WORK.get(node.op.family, 1)
            work = added(work, tuple(times * s for s in size))
            widest = largest(widest, size)
    return operations, work, widest, peak(root, orders.sized, len(orders.settings))


@lru_cache(maxsize=4096)
def operations_of(template: Template) -> int:
    """The operations that the text of a template shows: operators and calls, moves of axes free."""
    forms = dict(template.forms)
    text = re.sub(r"\{(\d+)\}", r"h\1", forms.get("numpy") or next(iter(forms.values())))
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
