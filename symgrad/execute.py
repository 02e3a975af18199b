"""Values of records: canonical key → cached plan → run.

A small graph met once on the CPU is evaluated with NumPy; when its key returns it is compiled, and
from then on one cached executable computes everything that is still alive.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

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
"""How many graphs are remembered."""
RECENT = 8
"""How many graphs with roots of one kind are compared with a new one before its key is built."""
LARGE = 5_000
"""Larger graphs are recognised by their key alone."""
CHOICES = 64
"""How many situations of one graph are remembered."""

_lock = threading.RLock()
_patterns: OrderedDict[Any, Pattern] = OrderedDict()
_recent: dict[Any, list[Pattern]] = {}


class Plan:
    """What to do for one graph and some of its nodes: expressions over the symbols of the ends."""

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


class Choice:
    """What to compute in one situation: results that are returned, nodes that get a value (places
    in the pattern), and inputs that may be used up.
    """

    __slots__ = ("donate", "plan", "returned", "run", "wanted")

    def __init__(self, plan: Plan, wanted: list[int], donate: tuple[int, ...]) -> None:
        self.plan = plan
        self.wanted = wanted
        self.returned = len(plan.outputs) - len(wanted)
        self.donate = donate
        self.run: Any = None


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


def collect(roots: Sequence[Any]) -> tuple[list[Any], set[int]]:
    """The nodes under some roots, operands first, and those that gradients look into."""
    needed: set[int] = set()
    order = walk(roots, _is_end)
    if any(type(n) is Gradient for n in order) and any(
        n.tracked and n.value is not None for n in order if type(n) is not Leaf
    ):
        needed = must_expand(roots)
        order = walk(roots, lambda n: _is_end(n) and id(n) not in needed)
    return order + _siblings(order), needed


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


LEAF, END, RECORD, PART, GRADIENT, UPDATE = range(6)
"""What a node of a pattern is; an END is a node with a value that nothing looks into."""


class Pattern:
    """A graph that was met, as places of its nodes in the order of a walk.

    ``steps`` says for every place, the last one first, what has to be there and where its operands
    are; ``inner`` how often the graph itself refers to each node.
    """

    def __init__(self, order: Sequence[Any], needed: Collection[int], roots: Sequence[Any]) -> None:
        place = {id(n): k for k, n in enumerate(order)}
        self.size = len(order)
        self.roots = [place[id(r)] for r in roots]
        self.ends: list[int] = []
        self.inner = [0] * self.size
        self.pending: list[int] = []
        self.choices: dict[Any, Choice] = {}
        self.plans: dict[tuple[int, ...], Plan] = {}
        self.keeps = any(type(n) is Gradient and n.keeps for n in order)
        self.cuda = any(n.device != "cpu" for n in order if type(n) is Leaf)
        reached = set(self.roots)
        steps: list[tuple[Any, ...]] = []
        for k, node in enumerate(order):
            step = self._step(k, node, needed, place)
            steps.append(step)
            for o in step[-1]:
                self.inner[o] += 1
            reached.update(step[-1])
            if step[0] == END:
                self.ends.append(k)
            elif step[0] in (RECORD, PART) and node.value is None:
                self.pending.append(k)
        updates = [n for n in order if type(n) is Update]
        self.rebound = {place[id(o)] for n in updates for o in n.replaced}
        self.steps = steps[::-1]
        # what only a list of parts leads to cannot be found from the roots
        self.complete = len(reached) == self.size
        self.signature = _signature(roots[0])
        self.key = (*self.roots, *steps)

    def _step(
        self, k: int, node: Any, needed: Collection[int], place: Mapping[int, int]
    ) -> tuple[Any, ...]:
        kind = type(node)
        if kind is Leaf and node.source is not None:
            return (LEAF, k, (place[id(node.source)],))
        if kind is Leaf or (
            node.value is not None and kind in (Record, Part) and id(node) not in needed
        ):
            return (END, k, node.kind, node.tracked, ())
        below = tuple([place[id(o)] for o in node.operands])
        known = node.value is not None
        if kind is Record:
            return (RECORD, k, node.call, node.tracked, known, below)
        if kind is Part:
            return (PART, k, node.index, known, below)
        if kind is Gradient:
            below += tuple([place[id(t)] for t in node.targets if id(t) in place])
            return (GRADIENT, k, node.seeded, node.partial, node.tracked, node.keeps,
                    node.alive(), len(node.targets), below)  # fmt: skip
        return (UPDATE, k, node.row, node.statics, below)

    @cached_property
    def match(self) -> Callable[[Sequence[Any]], list[Any] | None]:
        """The nodes at all places if the graph under some roots is this one, else None.

        The comparison is written out as a function, place after place: it runs for every value that
        is asked for.  What it names are places and constants, nothing of the user's.
        """
        constants: dict[str, Any] = {}

        def constant(value: Any) -> str:
            name = f"c{len(constants)}"
            constants[name] = value
            return name

        def unknown(known: bool) -> str:
            return "is None" if known else "is not None"

        seen = set(self.roots)
        lines = [
            "def match(roots):",
            f"    if len(roots) != {len(self.roots)}:",
            "        return None",
            f"    {', '.join(f'n{k}' for k in self.roots)}, = roots",
        ]
        for what, k, *facts, below in self.steps:
            n = f"n{k}"
            if what == END:
                kind, tracked = facts
                wrong = [f"value is None or {n}.kind is not {constant(kind)}",
                         f"tracked is not {tracked}"]  # fmt: skip
                operands = ""
            elif what == LEAF:
                wrong, operands = [f"tracked is not True or {n}.source is None"], f"{n}.source,"
            elif what == RECORD:
                call, tracked, known = facts
                wrong = [f"call is not {constant(call)}", f"tracked is not {tracked}",
                         f"value {unknown(known)}"]  # fmt: skip
                operands = f"{n}.operands"
            elif what == PART:
                index, known = facts
                wrong, operands = [f"index != {index}", f"value {unknown(known)}"], f"{n}.operands"
            elif what == GRADIENT:
                seeded, partial, tracked, keeps, alive, targets = facts
                wrong = [f"seeded is not {seeded}", f"partial is not {partial}",
                         f"tracked is not {tracked}", f"keeps is not {keeps}",
                         f"parts.__len__() != {alive} and {n}.alive() != {alive}",
                         f"targets.__len__() != {targets}"]  # fmt: skip
                operands = f"(*{n}.operands, *{n}.targets)"
            else:
                row, statics = facts
                wrong = [f"row is not {constant(row)}", f"statics != {constant(statics)}"]
                operands = f"{n}.operands"
            again: list[str] = []
            taken: list[str] = []
            for at, o in enumerate(below):
                taken.append(f"t{at}" if o in seen else f"n{o}")
                if o in seen:
                    again.append(f"t{at} is not n{o}")
                seen.add(o)
            lines.append(f"    if {' or '.join(f'{n}.{w}' for w in wrong)}: return None")
            if taken:
                lines.append(f"    {', '.join(taken)}, = {operands}")
            if again:
                lines.append(f"    if {' or '.join(again)}: return None")
        nodes = ", ".join(f"n{k}" for k in range(self.size))
        lines += [f"    nodes = [{nodes}]",
                  f"    return nodes if len(set(nodes)) == {self.size} else None"]  # fmt: skip
        exec("\n".join(lines), constants)  # noqa: S102
        return constants["match"]

    def choose(self, nodes: list[Any], counts: Sequence[int], using: bool) -> Choice:
        """What to compute: the roots, and every pending node that something else refers to.

        With ``using``, leaves that only this graph and one storage hold are used up.
        """
        wanted = [
            k for k in self.pending if k in self.roots or counts[k] > self.inner[k] + HELD
        ]  # fmt: skip
        roots = [k for k in self.roots if k not in wanted]
        donate: list[int] = []
        if using and not self.keeps:
            shared = {
                step[3][0]
                for step in self.steps
                if step[0] == LEAF and counts[step[1]] > self.inner[step[1]] + HELD
            }
            donate = [
                number
                for number, k in enumerate(self.ends)
                if k in self.rebound and k not in shared and counts[k] == self.inner[k] + HELD + 1
            ]
        outputs = (*roots, *wanted)
        plan = self.plans.get(outputs)
        if plan is None:
            if len(self.plans) > CHOICES:
                self.plans.clear()
            plan = self.plans[outputs] = _plan(nodes, self.ends, outputs)
        return Choice(plan, wanted, tuple(donate))


HELD = next(map(sys.getrefcount, [object()]))
"""What ``sys.getrefcount`` counts for a node that only the list of a match and its graph hold."""


def _signature(root: Any) -> Any:
    """What is seen of a root at once."""
    kind = type(root)
    if kind is Record:
        return root.call
    if kind is Part:
        return (type(root.operands[0]), root.kind)
    return (kind, root.kind)


def _matched(roots: Sequence[Any]) -> tuple[Pattern, list[Any]]:
    """The pattern of a graph, and its nodes in the pattern's places."""
    recent = _recent.get(_signature(roots[0]), ())
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
    with _lock:
        pattern, nodes = _matched(roots)
        counts = tuple(map(sys.getrefcount, nodes))
        choice = pattern.choices.get((using, counts))
        if choice is None:
            if len(pattern.choices) > CHOICES:
                pattern.choices.clear()
            choice = pattern.choose(nodes, counts, using)
            pattern.choices[using, counts] = choice
        values = [nodes[k].value for k in pattern.ends]
        if choice.run is None:
            found = _first_runs(pattern, choice, values)
        else:
            for k in choice.donate:
                if isinstance(values[k], np.ndarray):
                    values[k] = arrays.to_device(values[k])
            found = choice.run(*values)
        if type(found) is not tuple:
            found = tuple(found) if isinstance(found, list) else (found,)
        width = choice.returned
        for k, value in zip(choice.wanted, found[width:], strict=True):
            nodes[k].value = value
        return found[:width]


def _first_runs(pattern: Pattern, choice: Choice, values: list[Any]) -> Any:
    """A small graph met for the first time is evaluated with NumPy, then it is compiled."""
    plan = choice.plan
    plan.seen += 1
    big = pattern.size > COLD_NODES or pattern.cuda
    if plan.seen == 1 and not big and sum(v.size for v in values) <= COLD_ELEMENTS:
        feeds = dict(zip(plan.inputs, (arrays.to_numpy(v) for v in values), strict=True))
        return evaluate(plan.outputs, feeds)
    executable = plan.executable(choice.donate)
    choice.run = executable if executable.wide else executable.jitted
    for k in choice.donate:
        if isinstance(values[k], np.ndarray):
            values[k] = arrays.to_device(values[k])
    return executable(*values)


def _check_bound(end: Any) -> None:
    if end.value is None:
        word = end.name or (end.symbol.params[0] if end.symbol is not None else "a tensor")
        shape = "×".join(map(str, end.shape)) or "scalar"
        raise UnboundError(
            f"{word} ({shape}) is a symbol: no value is bound to it. Compile the expression and "
            "call it with arrays, or build it from tensors that have values."
        )


def _plan(nodes: Sequence[Any], ends: Sequence[int], outputs: Sequence[int]) -> Plan:
    """Expressions of the nodes at some places; an Update gives several."""
    inputs = [
        symbol(getattr(nodes[k], "name", "") or f"x{n}", nodes[k].shape, nodes[k].dtype,
               number=n + 1)
        for n, k in enumerate(ends)
    ]  # fmt: skip
    table = {id(nodes[k]): leaf for k, leaf in zip(ends, inputs, strict=True)}
    expansion = Expansion(nodes, table)
    exprs: list[Expr] = []
    for k in outputs:
        found = expansion.exprs[id(nodes[k])]
        exprs += found if isinstance(found, list) else [found]
    return Plan(inputs, simplify(expansion.final(exprs)))


def plan_of(roots: Sequence[Any]) -> tuple[Plan, list[Any], list[int]]:
    """The plan of a graph that is not run now: its ends, and where each root is in the outputs."""
    with _lock:
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
    return node.value


__all__ = ["Pattern", "Plan", "collect", "execute", "plan_of", "value"]
