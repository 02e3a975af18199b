"""A part of a recorded graph as one expression of its inputs, and such an expression as a function.

``Closed`` cuts a graph at given nodes: what depends on them becomes an expression, what does not
stays recorded and becomes an operand.  :func:`record_of` records a new operation over the same
operands, so that derivatives reach everything that the graph used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.core.expr import Expr, symbol
from symgrad.core.traverse import substitute
from symgrad.functional.table import Function
from symgrad.recording.expand import Expansion
from symgrad.recording.record import SLOT, Gradient, Leaf, Node, Record, note
from symgrad.recording.walk import walk


class Closed:
    """The expressions of ``roots`` over ``inputs`` and whatever else they were computed from.

    ``exprs``: one per root; ``symbols``: one per input, then one per node of ``captured``.
    """

    def __init__(self, roots: Sequence[Node], inputs: Sequence[Node]) -> None:
        self.inputs = list(inputs)
        cut = {id(n) for n in inputs}
        order = walk(roots, lambda n: id(n) in cut)
        self.captured = _captured(order, roots, cut)
        self.symbols = [
            symbol(f"x{k}", n.shape, n.dtype, number=k + 1)
            for k, n in enumerate([*self.inputs, *self.captured])
        ]
        nodes = [*self.inputs, *self.captured]
        ends = {id(n): x for n, x in zip(nodes, self.symbols, strict=True)}
        order = walk(roots, lambda n: id(n) in ends)
        expansion = Expansion(order, ends)
        self.exprs = expansion.final([expansion.exprs[id(r)] for r in roots])


def _below(node: Any) -> list[Any]:
    source = node.source if type(node) is Leaf else None
    return [*node.operands, source] if source is not None else list(node.operands)


def _captured(order: Sequence[Node], roots: Sequence[Node], cut: set[int]) -> list[Node]:
    """The nodes where the part ends that depends on the inputs, or on what is differentiated for."""
    targets = {id(t) for n in order if type(n) is Gradient for t in n.targets}
    reach: set[int] = set()
    inner: set[int] = set()
    for n in order:
        if id(n) in cut:
            reach.add(id(n))
        elif any(id(o) in reach for o in _below(n)):
            reach.add(id(n))
            inner.add(id(n))
        elif id(n) in targets:
            reach.add(id(n))
            if type(n) is Record:
                inner.add(id(n))
    used = {id(r) for r in roots} | targets
    used |= {id(o) for n in order if id(n) in inner for o in _below(n)}
    return [n for n in order if id(n) in used and id(n) not in inner and id(n) not in cut]


@functools.lru_cache(maxsize=512)
def _function(name: str, expr: Expr, symbols: tuple[Expr, ...]) -> Function:
    """``expr`` as a function of its symbols: the same one for the same expression."""

    def build(*args: Expr) -> Expr:
        return substitute([expr], dict(zip(symbols, args, strict=True)))[0]

    return Function(name, build, f"{name.capitalize()}Backward0")


def record_of(name: str, expr: Expr, symbols: Sequence[Expr], nodes: Mapping[Expr, Node]) -> Record:
    """Record ``expr`` with the nodes that its symbols stand for as operands."""
    operands = tuple(nodes[x] for x in symbols)
    statics = (*[SLOT] * len(operands), ())
    return note(_function(name, expr, tuple(symbols)), statics, operands, True)


__all__ = ["Closed", "record_of"]
