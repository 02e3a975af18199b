"""The shortest way found to write an expression: normal form, then a descent over equal forms.

The length is that of the printed text read as a graph: one for each operation, each
sub-expression once.  A form is taken where it makes the whole shorter, or as short with less work,
and neither its work nor its largest value greater, whether the sizes are equal, tall or wide;
or with as much work and less that is alive at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

from symgrad_codegen.program import Operand, Variable

from symgrad.core.build import CONTRACTION, SUM, contract
from symgrad.core.expr import Expr, name_of
from symgrad.core.sizes import letter, letters_of
from symgrad.core.traverse import leaves, substitute, topological, transform
from symgrad.errors import SymgradError
from symgrad.lower.orders import Orders, settings_of
from symgrad.lower.peak import Measure, at_most, measured, much_cheaper
from symgrad.lower.program import reading
from symgrad.lower.rearranged import rearranged
from symgrad.lower.state import Lowering
from symgrad.ops.matrix import inv
from symgrad.simplify.algebra import Normal
from symgrad.simplify.engine import complex_parts
from symgrad.simplify.forms import FORMS

NODES = 300
"""Graphs up to this size are searched; larger ones get their normal form only."""
TRIALS = 250
"""Forms tried in one search."""
DETOURS = 3
"""Forms no shorter than the best one that are tried as a way to a shorter one."""
LARGER = 8
"""How many times more numbers a shorter text may have alive at once; a matrix for vectors is more."""
SLACK = 1.04
"""How much more work a shorter text may take at one setting of the letters."""
DEARER, SAVED = 1.25, 0.5
"""The same where it takes much less at another: all ratios multiplied."""
FURTHER = 6
"""How many operations more than the form it is made of a form may seem to have and be measured."""
ALONE = 12
"""Products that are tried as the one to use again."""


@lru_cache(maxsize=16)  # a formula is printed in more than one way
def concise(e: Expr) -> Expr:
    """An expression equal to ``e`` that takes fewer operations to write."""
    best, other = _settled(e), with_inverses(e)
    if other is e or len(topological([best])) > NODES:
        return best
    other = _settled(other)
    settings = settings_of(_letters(e))
    new, old = _of_text(other, settings), _of_text(best, settings)
    if new == old:  # what is used again counts once: the graph with fewer nodes reads better
        return min(best, other, key=lambda x: len(topological([x])))
    return other if _better(new, old) else best


def with_inverses(e: Expr) -> Expr:
    """``A⁻¹ b`` of a solve as a product with the inverse, which meets others like it."""

    def opened(node: Expr) -> Expr:
        if node.op.name != "solve" or any(a.ndim != 2 for a in node.args):
            return node
        a, b = node.args
        at = (-1 if b.shape[1] == 1 else 1,)
        return contract([inv(a), b], [(0, 2), (2, *at)], (0, 1), {1: b.shape[1]}, node.dtype)

    return transform([e], opened)[e]


def _of_text(e: Expr, settings: Sequence[Mapping[str, int]]) -> Measure:
    """The measure of the text that is printed."""
    values = _variables(e)
    orders = Orders(symmetric=Normal().symmetry.holds, settings=settings)
    sized = {id(v): (v, tuple(map(orders.extents, x.shape))) for x, v in values.items()}
    many = len(orders.settings)
    return measured(shortest(e, values), sized, orders.extents, many).measure


def _variables(e: Expr) -> dict[Expr, Operand]:
    return {
        leaf: Variable(k, name_of(leaf), (), leaf.dtype.name) for k, leaf in enumerate(leaves([e]))
    }


def _settled(e: Expr) -> Expr:
    """The search, begun again where the normal form has more to say of what it found."""
    found = _searched(e)
    again = Normal().of([found])[0]
    return found if again is found else _searched(again)


def _searched(e: Expr) -> Expr:
    normal = Normal()
    best = normal.of([e])[0]
    if len(topological([best])) > NODES:
        return best
    orders = Orders(symmetric=normal.symmetry.holds, settings=settings_of(_letters(e)))
    price = length(best, orders)
    seen, bests = {best: price}, {best}
    expanded, queue, detours = set[Expr](), [best], DETOURS
    while queue:
        start = queue.pop()
        expanded.add(start)
        most = _roughly(start) + price.length - seen[start].length + FURTHER
        for other in _forms(start):
            candidate = normal.of([other])[0]
            if candidate in seen or _roughly(candidate) > most:
                continue
            if len(seen) > TRIALS:
                return best
            seen[candidate] = length(candidate, orders, price.length + 1)
        better = [
            x for x, found in seen.items()
            if x not in bests and _better(found, price, search=True)
        ]  # fmt: skip
        if better:
            best = min(better, key=lambda x: (seen[x].length, sum(seen[x].flops), seen[x].written))
            bests.add(best)
            price, queue, detours = seen[best], [best], DETOURS
        elif detours:
            detours -= 1
            queue = [
                x for x, found in seen.items() if found.length <= price.length and x not in expanded
            ][:1]
    return best


def _roughly(e: Expr) -> int:
    """Operations of a graph: what a form adds to them, it adds to the text by about as much."""
    count = 0
    for node in topological([e]):
        if node.op in (CONTRACTION, SUM):
            count += max(len(node.args) - 1, bool(node.sums))
        else:
            count += node.op.family in ("map", "matrix")
    return count


def _letters(e: Expr) -> list[str]:
    return list(dict.fromkeys(x for leaf in leaves([e]) for x in letters_of(leaf.shape)))


def _better(new: Measure, old: Measure, search: bool = False) -> bool:
    """Shorter and as cheap, or as short and cheaper; or with less written twice.

    No order: of two forms each may be better, in operations and in memory.
    """
    if not new.flops or new.length > old.length:
        return False
    if new.length < old.length:
        return _as_cheap(new, old) and at_most(new.alive, old.alive, LARGER)
    if search and (much_cheaper(new, old) or much_cheaper(old, new)):
        return much_cheaper(new, old)
    if new.flops != old.flops:
        return at_most(new.flops, old.flops)
    if new.alive != old.alive:
        return at_most(new.alive, old.alive)
    return new.written < old.written


def _as_cheap(new: Measure, old: Measure) -> bool:
    """Hardly more work at any setting; or somewhat more at one, and much less at another."""
    ratios = [a / b for a, b in zip(new.flops, old.flops, strict=True) if b]
    return max(ratios, default=1) <= SLACK or (max(ratios) <= DEARER and prod(ratios) <= SAVED)


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
    best, price = root, _measured(root, state)
    names = dict(state.orders.names)
    alone = [{name: frozenset({None})} for name in list(names)[:ALONE]]
    for known in [{}, names, *alone]:
        for late in (False, True):
            other, tried = reading(e, values, replace(plain, names=dict(known), late=late))
            found = _measured(other, tried)
            if found.length < price.length or (not known and _better(found, price)):
                best, price, state = other, found, tried
    orders = state.orders
    many = len(orders.settings)
    letters = {orders.extents(letter(x)): x for x in _letters(e)}
    for axis in {s for node in topological([e]) for s in node.shape}:
        if letters.get(orders.extents(axis), str(axis)) != str(axis):
            del letters[orders.extents(axis)]  # another size counts as much: no letter is sure
    alike = {id(o) for x, o in state.values.items() if x.ndim == 2 and plain.symmetric(x)}
    return rearranged(
        best,
        lambda x: measured(x, orders.sized, orders.extents, many, letters),
        lambda x: id(x) in alike,
    )


def length(e: Expr, orders: Orders | None = None, near: int = 10**9) -> Measure:
    """The measure of the text of an expression.

    ``orders`` has the settings of the letters, and which matrices are symmetric; a text with more
    than ``near`` operations is not tried with products used again before they stand.
    """
    values = _variables(e)
    try:
        root, state = reading(e, values, replace(orders or Orders(), names={}))
    except SymgradError:
        return Measure(10**9, (), ())
    found = _measured(root, state)
    if state.orders.names and found.length <= near:  # an order may use what stands further on
        root, state = reading(
            e, values, replace(orders or Orders(), names=dict(state.orders.names))
        )
        again = _measured(root, state)
        found = min(found, again, key=lambda m: m.length)
    return found


def _measured(root: Operand, state: Lowering) -> Measure:
    orders = state.orders
    return measured(root, orders.sized, orders.extents, len(orders.settings)).measure


__all__ = ["concise", "length", "shortest"]
