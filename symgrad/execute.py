"""Values of records: canonical key → cached plan → run.

A small graph met once on the CPU is evaluated with NumPy; when its key returns it is compiled, and
from then on one cached executable computes everything that is still alive.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable, compiled

from symgrad.core.expr import Expr, symbol
from symgrad.derivation.naming import NameTable, assign, kinds, written_order
from symgrad.derivation.order import Written
from symgrad.errors import UnboundError
from symgrad.evaluate import evaluate
from symgrad.expand import Expansion
from symgrad.lower import lower
from symgrad.record import Gradient, Leaf, Part, Record, Update, walk
from symgrad.simplify import simplify

COLD_NODES = 200
"""A graph up to this size met for the first time is evaluated with NumPy."""
COLD_ELEMENTS = 4_000_000
CACHE = 512

Donate: TypeAlias = Callable[[Sequence[Any], Mapping[int, int]], Collection[int]]

_lock = threading.RLock()
_plans: OrderedDict[Any, Plan] = OrderedDict()


class Plan:
    """What to do for one key: expressions over the symbols of the ends, and later an executable."""

    def __init__(self, inputs: list[Expr], outputs: list[Expr]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.executables: dict[tuple[int, ...], Executable] = {}
        self.seen = 0

    def executable(self, donate: tuple[int, ...]) -> Executable:
        """The compiled program, with these inputs donated."""
        found = self.executables.get(donate)
        if found is None:
            order = written_order(self.outputs, Written())
            names = assign(kinds(order, self.outputs), NameTable(), {})
            hints = [(f"out{k}", e) for k, e in enumerate(self.outputs)]
            program = lower("graph", self.inputs, hints, names=names)
            found = self.executables[donate] = compiled(program, donate)
        return found


def must_expand(roots: Sequence[Any]) -> set[int]:
    """Nodes whose expression a gradient needs, although their value may be known."""
    found: set[int] = set()
    for node in walk(roots, lambda n: getattr(n, "value", None) is not None):
        if type(node) is not Gradient:
            continue
        stack = [node.operands[0]]
        while stack:
            inner = stack.pop()
            if id(inner) in found or not inner.tracked:
                continue
            found.add(id(inner))
            stack.extend(inner.operands)
            if type(inner) is Leaf and inner.source is not None:
                continue
    return found


def _is_end(node: Any) -> bool:
    """A leaf, or a node whose value is known."""
    return node.source is None if type(node) is Leaf else node.value is not None


def collect(roots: Sequence[Any]) -> tuple[list[Any], list[Any], tuple[Any, ...]]:
    """Walk order, the ends that are inputs, and the canonical key of a graph."""
    needed: set[int] = set()
    order = walk(roots, _is_end)
    if any(type(n) is Gradient for n in order) and any(
        n.tracked and n.value is not None for n in order if type(n) is not Leaf
    ):
        needed = must_expand(roots)
        order = walk(roots, lambda n: _is_end(n) and id(n) not in needed)
    order += _siblings(order)
    index: dict[int, int] = {}
    ends: list[Any] = []
    key: list[Any] = []
    for k, node in enumerate(order):
        index[id(node)] = k
        kind = type(node)
        if kind is Leaf and node.source is not None:
            key.append(("leaf", index[id(node.source)]))
        elif kind is Leaf or (
            node.value is not None and kind in (Record, Part) and id(node) not in needed
        ):
            ends.append(node)
            key.append((node.shape, node.dtype, node.device, node.tracked))
        elif kind is Record:
            key.append((node.spec, node.tracked, *[index[id(o)] for o in node.operands]))
        elif kind is Part:
            key.append(("part", node.index, index[id(node.operands[0])]))
        elif kind is Gradient:
            key.append(
                (
                    "gradient",
                    node.seeded,
                    node.partial,
                    *[index[id(o)] for o in node.operands],
                    "of",
                    *[index.get(id(t), -1) for t in node.targets],
                )
            )
        else:
            key.append((node.row.name, node.statics, *[index[id(o)] for o in node.operands]))
    return order, ends, tuple(key)


def _siblings(order: Sequence[Any]) -> list[Any]:
    """Pending parts of the gradients of a walk that somebody holds, but that it does not reach."""
    reached = {id(n) for n in order if type(n) is Part}
    return [
        part
        for node in order
        if type(node) is Gradient
        for part in (ref() for ref in node.parts)
        if part is not None and part.value is None and id(part) not in reached
    ]


def references_within(order: Sequence[Any]) -> dict[int, int]:
    """How often the nodes of a walk refer to each node, by id."""
    counts: dict[int, int] = {}
    for node in order:
        for o in node.operands:
            counts[id(o)] = counts.get(id(o), 0) + 1
        if type(node) is Gradient:
            for t in node.targets:
                counts[id(t)] = counts.get(id(t), 0) + 1
        elif type(node) is Leaf and node.source is not None:
            counts[id(node.source)] = counts.get(id(node.source), 0) + 1
    return counts


def live(order: Sequence[Any], inner: Mapping[int, int]) -> list[Any]:
    """Pending nodes that something outside of this graph refers to: tensors and other records.

    ``inner``: how often the nodes of the walk refer to each other.
    """
    found: list[Any] = []
    for node in order:
        kind = type(node)
        # beside ``inner``: ``order``, this loop's name and getrefcount's argument
        if (
            (kind is Record or kind is Part)
            and node.value is None
            and (sys.getrefcount(node) > inner.get(id(node), 0) + 3)
        ):
            found.append(node)
    return found


def execute(roots: Sequence[Any], donate: Donate | None = None) -> None:
    """Give every root a value, and every pending record under them that is still in use.

    ``donate(order, inner)`` gives the ids of the leaves whose buffers may be used up, from the walk
    and the counts of its references; leaves are also held by one list here.  Raises UnboundError
    for a symbol.
    """
    with _lock:
        order, ends, key = collect(roots)
        inner = references_within(order)
        outputs = list(dict.fromkeys([*roots, *live(order, inner)]))
        place = {id(n): k for k, n in enumerate(order)}
        full_key = (key, tuple(place[id(o)] for o in outputs))
        plan = _plans.get(full_key)
        if plan is None:
            plan = _plan(order, ends, outputs)
            _plans[full_key] = plan
            if len(_plans) > CACHE:
                _plans.popitem(last=False)
        else:
            _plans.move_to_end(full_key)
        values = [_value_of(e) for e in ends]
        plan.seen += 1
        big = len(order) > COLD_NODES or any(n.device != "cpu" for n in ends)
        big = big or sum(v.size for v in values) > COLD_ELEMENTS
        if plan.seen == 1 and not big:
            feeds = dict(zip(plan.inputs, (arrays.to_numpy(v) for v in values), strict=True))
            results: Any = evaluate(plan.outputs, feeds)
        else:
            given = donate(order, inner) if donate is not None else ()
            used = tuple(k for k, e in enumerate(ends) if id(e) in given)
            for k in used:
                if isinstance(values[k], np.ndarray):
                    values[k] = arrays.to_device(values[k])
            found = plan.executable(used)(*values)
            results = found if isinstance(found, tuple) else (found,)
        for node, value in zip(outputs, results, strict=True):
            node.value = value


def _value_of(end: Any) -> Any:
    if end.value is None:
        word = getattr(end, "name", "") or (
            end.symbol.params[0] if end.symbol is not None else "a tensor"
        )
        shape = "×".join(map(str, end.shape)) or "scalar"
        raise UnboundError(
            f"{word} ({shape}) is a symbol: no value is bound to it. Compile the expression and "
            "call it with arrays, or build it from tensors that have values."
        )
    return end.value


def _plan(order: Sequence[Any], ends: Sequence[Any], outputs: Sequence[Any]) -> Plan:
    inputs = [
        symbol(getattr(end, "name", "") or f"x{k}", end.shape, end.dtype, number=k + 1)
        for k, end in enumerate(ends)
    ]
    table = {id(end): leaf for end, leaf in zip(ends, inputs, strict=True)}
    expansion = Expansion(order, table)
    exprs = expansion.final([expansion.exprs[id(o)] for o in outputs])
    return Plan(inputs, simplify(exprs))


def plan_of(roots: Sequence[Any]) -> tuple[Plan, list[Any], list[int]]:
    """The plan of a graph that is not run now: its ends, and where each root is in the outputs."""
    with _lock:
        order, ends, _ = collect(roots)
        outputs = list(dict.fromkeys(roots))
        place = {id(n): k for k, n in enumerate(outputs)}
        return _plan(order, ends, outputs), ends, [place[id(r)] for r in roots]


def value(node: Any) -> Any:
    """The array of a node, computed now if it is not known."""
    if type(node) is Leaf and node.source is not None:
        return value(node.source)
    if node.value is None:
        execute([node])
    return node.value


def references(node: Any) -> int:
    """How many references hold this object (for donation)."""
    return sys.getrefcount(node)


__all__ = ["Plan", "Update", "collect", "execute", "live", "references", "value"]
