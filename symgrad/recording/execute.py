"""Values of records: canonical key → cached plan → run.

A small graph met once on the CPU is evaluated with NumPy; when its key returns it is compiled, and
from then on one cached executable computes everything that is still alive.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from math import prod
from typing import Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable, compiled

from symgrad.core.expr import Expr, symbol
from symgrad.derivation.naming import NameTable, assign, kinds, written_order
from symgrad.derivation.order import Written
from symgrad.errors import UnboundError
from symgrad.evaluate import evaluate
from symgrad.lower import lower
from symgrad.recording.expand import Expansion
from symgrad.recording.pattern import LEAF, Pattern, collect, signature
from symgrad.recording.pieces import Place, is_small, joined, places
from symgrad.recording.record import Gradient, Leaf, Record, forget
from symgrad.simplify import simplify

COLD_NODES = 200
"""A graph up to this size met for the first time is evaluated with NumPy."""
COLD_ELEMENTS = 4_000_000
CACHE = 512
"""How many graphs are remembered."""
RECENT = 8
"""How many graphs with roots of one kind are compared with a new one before its key is built."""
LARGE = 5_000
"""Larger graphs are recognised by their key alone."""
CHOICES = 64
"""How many situations of one graph are remembered."""
BULKY = 1 << 20
HISTORY = 1 << 28
"""An untracked value of ``BULKY`` bytes and more forgets what it was computed from, where as many
such values as it is deep would take more than ``HISTORY`` bytes."""

lock = threading.RLock()
"""Held while a graph is recognised and run."""
_patterns: OrderedDict[Any, Pattern] = OrderedDict()
_recent: dict[Any, list[Pattern]] = {}


class Plan:
    """What to do for one graph and some of its nodes: expressions over the symbols of the ends.

    ``returned``: how many outputs come before those that are computed along the way; ``places``:
    the number of the output of each of these, or where it lies in the last one.
    """

    def __init__(
        self, inputs: list[Expr], exprs: list[Expr], returned: int, pack: bool, title: str
    ) -> None:
        self.inputs = inputs
        self.returned = returned
        self.places: list[int | Place] = list(range(returned, len(exprs)))
        self.outputs = _packed(exprs, returned, self.places) if pack else exprs
        self.title = title
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
            found = self.executables[donate] = compiled(program, donate, title=self.title)
        return found


def _packed(exprs: list[Expr], returned: int, found: list[int | Place]) -> list[Expr]:
    """The outputs with small ones, from ``returned`` on, in one; where they are goes to ``found``."""
    small = [k for k, e in enumerate(exprs) if k >= returned and is_small(e.shape)]
    small = [k for k in small if exprs[k].dtype is exprs[small[0]].dtype]
    if len(small) < 2:
        return exprs
    alone = [k for k in range(len(exprs)) if k not in set(small)]
    for number, k in enumerate(alone[returned:], returned):
        found[k - returned] = number
    for k, place in zip(small, places([exprs[k].shape for k in small]), strict=True):
        found[k - returned] = place
    return [*(exprs[k] for k in alone), joined([exprs[k] for k in small])]


class Choice:
    """What to compute in one situation, in places of the pattern.

    First come the results that are ``returned``, then the values of the nodes that are ``wanted``,
    several of a Gradient (its width, else 0); parts that are ``derived`` take theirs from that.
    ``donate``: the inputs that may be used up.  ``bulky``: untracked results with their bytes.
    """

    __slots__ = ("bulky", "derived", "donate", "plan", "run", "wanted")

    def __init__(
        self,
        plan: Plan,
        wanted: list[tuple[int, int]],
        derived: list[int],
        donate: tuple[int, ...],
        bulky: list[tuple[int, int]],
    ) -> None:
        self.plan = plan
        self.wanted = wanted
        self.derived = derived
        self.bulky = bulky
        self.donate = donate
        self.run: Any = None


def _choose(pattern: Pattern, nodes: list[Any], counts: Sequence[int], using: bool) -> Choice:
    """What to compute: the roots, and every pending node that something else refers to.

    With ``using``, leaves that only this graph and one storage hold are used up.
    """
    asked = set(pattern.roots)
    wanted = [k for k in pattern.pending if k in asked or counts[k] > pattern.inner[k] + HELD]
    # Parts of gradients that are computed together take their values from those.
    derived = [k for k in wanted if pattern.wholes.get(k) in pattern.widths.keys() & set(wanted)]
    wanted = [k for k in wanted if k not in derived]
    roots = [k for k in pattern.roots if k not in wanted and k not in derived]
    donate: list[int] = []
    if using and not pattern.keeps:
        shared = {
            step[-1][0]
            for step in pattern.steps
            if step[0] == LEAF and counts[step[1]] > pattern.inner[step[1]] + HELD
        }
        donate = [
            number
            for number, k in enumerate(pattern.ends)
            if k in pattern.rebound and k not in shared and counts[k] == pattern.inner[k] + HELD + 1
        ]
    widths = [pattern.widths.get(k, 0) for k in wanted]
    pack = using and not pattern.cuda
    key = (pack, *roots, *wanted)
    plan = pattern.plans.get(key)
    if plan is None:
        if len(pattern.plans) > CHOICES:
            pattern.plans.clear()
        plan = pattern.plans[key] = _plan(nodes, pattern.ends, roots, wanted, pack)
    sizes = {k: _bytes(nodes[k]) for k in wanted if type(nodes[k]) is Record}
    bulky = [(k, b) for k, b in sizes.items() if b >= BULKY and not nodes[k].tracked]
    return Choice(plan, list(zip(wanted, widths, strict=True)), derived, tuple(donate), bulky)


def _bytes(node: Any) -> int:
    return prod(node.shape) * node.dtype.itemsize


HELD = next(map(sys.getrefcount, [object()]))
"""What ``sys.getrefcount`` counts for a node that only the list of a match and its graph hold."""


def _matched(roots: Sequence[Any]) -> tuple[Pattern, list[Any]]:
    """The pattern of a graph, and its nodes in the pattern's places."""
    recent = _recent.get(signature(roots[0]), [])
    for at, pattern in enumerate(recent):
        try:
            nodes = pattern.match(roots)
        except AttributeError:  # a node of another class
            continue
        if nodes is not None:
            if at:
                recent.insert(0, recent.pop(at))
            return pattern, nodes
    return _learned(roots)


def _learned(roots: Sequence[Any]) -> tuple[Pattern, list[Any]]:
    """The same by a walk; the pattern is remembered."""
    order, needed = collect(roots)
    made = Pattern(order, needed, roots)
    for k in made.ends:
        _renewed(order[k])
        _check_bound(order[k])
    pattern = _patterns.setdefault(made.key, made)
    _patterns.move_to_end(made.key)
    if len(_patterns) > CACHE:
        _, old = _patterns.popitem(last=False)
        listed = _recent.get(old.signature, [])
        if old in listed:
            listed.remove(old)
        if not listed:
            _recent.pop(old.signature, None)
    if pattern.complete and pattern.size <= LARGE:
        recent = _recent.setdefault(pattern.signature, [])
        if pattern not in recent:
            recent.insert(0, pattern)
            del recent[RECENT:]
    return pattern, order


def execute(roots: Sequence[Any], using: bool = False) -> Sequence[Any]:
    """Give every root a value, and every pending record under them that is still in use.

    With ``using``, the buffers of leaves that only this graph and one storage hold may be used up.
    The results of roots that are Updates are returned, one after another.  Raises UnboundError for
    a symbol.
    """
    with lock:
        pattern, nodes = _matched(roots)
        counts = tuple(map(sys.getrefcount, nodes))
        choice = pattern.choices.get((using, counts))
        if choice is None:
            if len(pattern.choices) > CHOICES:
                pattern.choices.clear()
            choice = _choose(pattern, nodes, counts, using)
            pattern.choices[using, counts] = choice
        values = [nodes[k].value for k in pattern.ends]
        if choice.run is None:
            found = _first_runs(pattern, nodes, choice, values)
        else:
            if not _ELSEWHERE.isdisjoint(map(type, values)):
                _place(pattern, nodes, values, choice.donate)
            found = choice.run(*values)
        if type(found) is not tuple:
            found = tuple(found) if isinstance(found, list) else (found,)
        for n in choice.donate:
            nodes[pattern.ends[n]].value = None
        plan = choice.plan
        whole = found[-1]
        along = [found[p] if type(p) is int else (whole, p) for p in plan.places]
        at = 0
        for k, width in choice.wanted:
            if width:
                nodes[k].value = along[at : at + width]
                at += width
            else:
                nodes[k].value = along[at]
                at += 1
        for k in choice.derived:
            part = nodes[k]
            part.value = part.operands[0].value[part.index]
        for k, size in choice.bulky:
            node = nodes[k]
            if node.depth * size > HISTORY:
                forget(node, held(node))
        return found[: plan.returned]


def _first_runs(pattern: Pattern, nodes: Sequence[Any], choice: Choice, values: list[Any]) -> Any:
    """A small graph met for the first time is evaluated with NumPy, then it is compiled."""
    plan = choice.plan
    plan.seen += 1
    values[:] = [held(nodes[k]) for k in pattern.ends]
    big = pattern.size > COLD_NODES or pattern.cuda
    if plan.seen == 1 and not big and sum(v.size for v in values) <= COLD_ELEMENTS:
        feeds = dict(zip(plan.inputs, (arrays.to_numpy(v) for v in values), strict=True))
        return evaluate(plan.outputs, feeds)
    executable = plan.executable(choice.donate)
    choice.run = executable if executable.wide else executable.jitted
    _place(pattern, nodes, values, choice.donate)
    return executable(*values)


_ELSEWHERE = {np.ndarray, tuple}
"""Types of values that are not arrays on a device: of NumPy, or in an array with others."""


def _place(
    pattern: Pattern, nodes: Sequence[Any], values: list[Any], donate: Collection[int]
) -> None:
    """Put what is still a NumPy array on the device: what is used up, and leaves used before."""
    for n, found in enumerate(values):
        if type(found) not in _ELSEWHERE:
            continue
        node = nodes[pattern.ends[n]]
        values[n] = held(node)
        if n in donate:
            values[n] = arrays.to_device(values[n])
        elif type(node) is Leaf:
            if node.used:
                values[n] = node.value = arrays.to_device(values[n])
            node.used = True


def _renewed(end: Any) -> None:
    """A leaf that a step of another thread used up gets a copy of the value after that step."""
    if end.value is None and end.outdated is not None:
        storage = end.outdated[0]()
        if storage is not None and storage.node is not end:
            end.value = np.array(arrays.to_numpy(value(storage.node)))


def _check_bound(end: Any) -> None:
    if end.value is None:
        word = end.name or (end.symbol.params[0] if end.symbol is not None else "a tensor")
        shape = "×".join(map(str, end.shape)) or "scalar"
        raise UnboundError(
            f"{word} ({shape}) is a symbol: no value is bound to it. Compile the expression and "
            "call it with arrays, or build it from tensors that have values."
        )


def _plan(
    nodes: Sequence[Any],
    ends: Sequence[int],
    roots: Sequence[int],
    wanted: Sequence[int] = (),
    pack: bool = False,
) -> Plan:
    """Expressions of the nodes at some places; an Update and a Gradient give several."""
    inputs = [
        symbol(getattr(nodes[k], "name", "") or f"x{n}", nodes[k].shape, nodes[k].dtype,
               number=n + 1)
        for n, k in enumerate(ends)
    ]  # fmt: skip
    table = {id(nodes[k]): leaf for k, leaf in zip(ends, inputs, strict=True)}
    expansion = Expansion(nodes, table)
    exprs: list[Expr] = []
    returned = 0
    for at, k in enumerate((*roots, *wanted)):
        found = expansion.exprs[id(nodes[k])]
        exprs += found if isinstance(found, list) else [found]
        returned = len(exprs) if at < len(roots) else returned
    title = "loss+gradients" if any(type(n) is Gradient for n in nodes) else "values"
    return Plan(inputs, simplify(expansion.final(exprs)), returned, pack, title)


def plan_of(roots: Sequence[Any]) -> tuple[Plan, list[Any], list[int]]:
    """The plan of a graph that is not run now: its ends, and where each root is in the outputs."""
    with lock:
        order, needed = collect(roots)
        outputs = list(dict.fromkeys(roots))
        pattern = Pattern(order, needed, outputs)
        place = {id(n): k for k, n in enumerate(outputs)}
        plan = _plan(order, pattern.ends, pattern.roots)
        return plan, [order[k] for k in pattern.ends], [place[id(r)] for r in roots]


def value(node: Any) -> Any:
    """The array of a node, computed now if it is not known."""
    if type(node) is Leaf and node.source is not None:
        return value(node.source)
    if node.value is None:
        execute([node])
    return held(node)


def held(node: Any) -> Any:
    """The array of a node that has one; one that lies in an array with others is taken out."""
    found = node.value
    if type(found) is tuple:
        whole, (start, stop, shape) = found
        found = node.value = arrays.to_numpy(whole)[start:stop].reshape(shape).copy()
    return found


__all__ = ["Plan", "execute", "held", "lock", "plan_of", "value"]
