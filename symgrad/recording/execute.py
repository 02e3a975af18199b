"""Values of records: canonical key → cached plan → run.

A small graph met once on the CPU is evaluated with NumPy; when its key returns it is compiled, and
from then on one cached executable computes everything that is still alive.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.lazy import lazy

from symgrad.core.expr import Expr, symbol
from symgrad.core.traverse import topological
from symgrad.derivation.naming import NameTable, assign, kinds, written_order
from symgrad.derivation.order import Written
from symgrad.errors import UnboundError
from symgrad.evaluate import evaluate
from symgrad.functional.ranges import RANGES, asked, outside, refusal
from symgrad.ops.scan import SCAN, steps_of
from symgrad.recording.expand import Expansion
from symgrad.recording.pattern import LEAF, Pattern, collect, signature
from symgrad.recording.pieces import Place, is_small, joined, picker, places, unpacked, whole_of
from symgrad.recording.record import SLOT, Gradient, Leaf, Record, Update, forget
from symgrad.recording.replay import ELSEWHERE, placed, written_out

if TYPE_CHECKING:
    from symgrad_codegen.compile import Executable

compiling = lazy("symgrad_codegen.compile")
programs = lazy("symgrad.structured.programs")
rules = lazy("symgrad.simplify")
COLD_NODES = 200
"""A graph with derivatives up to this size met for the first time is evaluated with NumPy."""
COLD_ELEMENTS = 4_000_000
"""The numbers in such a graph: of its ends; where it has more nodes, of all."""
COLD_LOOPED = 5_000
"""Nodes that NumPy computes step by step in the time that it takes to compile them."""
CACHE = 512
"""How many graphs are remembered."""
RECENT = 8
"""How many graphs with roots of one kind are compared with a new one before its key is built, and
how many situations of each."""
LARGE = 5_000
"""Larger graphs are recognised by their key alone, and are compiled when first met."""
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

    ``returned``: how many outputs come before those that are computed along the way.

    Once it is packed, the small outputs come ``together`` in one array of ``size`` numbers, the last
    result, and small inputs that they renew in the one of the step before, the last argument, at
    the places ``taken``; the other inputs, ``alone``, come before it.  ``given`` says of each output
    the number of the result, and the place in that where it is one of several.

    ``ranges``: what has to lie in a range, with the name of the function that asks for it.
    """

    def __init__(
        self, inputs: list[Expr], outputs: list[Expr], renewed: dict[int, int], title: str,
        returned: int = 0,
    ) -> None:  # fmt: skip
        self.inputs = inputs
        self.outputs = outputs
        self.renewed = renewed
        self.returned = returned
        self.title = title
        self.taken: list[tuple[int, Place]] = []
        self.alone: Sequence[int] = range(len(inputs))
        self.apart: Callable[[Sequence[Any]], Sequence[Any]] = tuple
        self.size = 0
        self.together: list[int] = []
        self.given: list[tuple[int, Place | None]] = [(k, None) for k in range(len(outputs))]
        self.executables: dict[tuple[int, ...], Executable] = {}
        self.seen = False
        self.ranges: list[tuple[str, Expr, tuple[float, float]]] = []

    def pack(self) -> None:
        """Put small values in one array."""
        outputs, numbers = self.outputs, range(len(self.outputs))
        small = [k for k in numbers if is_small(outputs[k].shape)]
        small = [k for k in small if outputs[k].dtype is outputs[small[0]].dtype]
        if len(small) < 2:
            return
        again = {k: n for n, k in self.renewed.items() if k in small}
        self.together = sorted(small, key=lambda k: k not in again)
        single = [k for k in numbers if k not in small]
        for number, k in enumerate(single):
            self.given[k] = number, None
        found = places([outputs[k].shape for k in self.together])
        for k, place in zip(self.together, found, strict=True):
            self.given[k] = len(single), place
        self.size = found[-1][1]
        self.taken = [
            (again[k], p) for k, p in zip(self.together, found, strict=True) if k in again
        ]
        inside = {n for n, _ in self.taken}
        self.alone = [n for n in range(len(self.inputs)) if n not in inside]
        self.apart = picker(self.alone)

    def results(self, found: Any) -> list[Any]:
        """The outputs in what the program returned; a piece is an array and the place in it."""
        if type(found) is not tuple:
            found = (found,)
        return [found[k] if p is None else (found[k], p) for k, p in self.given]

    def evaluated(self, values: Sequence[Any]) -> list[Any]:
        """The outputs by NumPy; PositionError or RangeError where a number is out of range."""
        feeds = dict(zip(self.inputs, map(arrays.to_numpy, values), strict=True))
        looked = [e for _, e, _ in self.ranges]
        found = list(evaluate([*looked, *self.outputs], feeds))
        for (name, _, bounds), seen in zip(self.ranges, found, strict=False):
            if (wrong := outside(seen, bounds)) is not None:
                raise refusal(name, wrong, bounds)
        del found[: len(looked)]
        whole = joined([found[k] for k in self.together], self.size)
        return [e if p is None else (whole, p)
                for e, (_, p) in zip(found, self.given, strict=True)]  # fmt: skip

    def runner(self, donate: tuple[int, ...]) -> Callable[..., Any]:
        """What is called with the arguments, by the quickest way."""
        executable = self.executable(donate)
        if not self.together:
            return executable if executable.wide else executable.jitted
        position = {n: k for k, n in enumerate(self.alone)}
        found = executable.packed(self.taken, self.together, tuple(position[n] for n in donate))
        return found if executable.wide else found.jitted

    def executable(self, donate: tuple[int, ...]) -> Executable:
        """The compiled program, with these inputs donated."""
        found = self.executables.get(donate)
        if found is None:
            hints = [(f"out{k}", e) for k, e in enumerate(self.outputs)]
            program = programs.lowered("graph", self.inputs, hints, _names)
            found = self.executables[donate] = compiling.compiled(program, donate, title=self.title)
        return found


def _names(outputs: Sequence[Expr]) -> dict[Expr, str]:
    """Names of values, as a derivation gives them."""
    return assign(kinds(written_order(outputs, Written()), outputs), NameTable(), {})


class Choice:
    """What to compute in one situation, in places of the pattern.

    First come the results that are ``returned``, then the values of the nodes that are ``wanted``,
    several of a Gradient (its width, else 0); parts that are ``derived`` take theirs from that.
    ``donate``: the inputs that may be used up.  ``bulky``: untracked results with their bytes.
    ``written``: is it among the replays of the pattern?
    """

    __slots__ = ("bulky", "derived", "donate", "plan", "run", "wanted", "written")

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
        self.written = False


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
    widths = [pattern.widths.get(k, 0) for k in wanted]
    pack = using and not pattern.cuda
    key = (pack, *roots, *wanted)
    plan = pattern.plans.get(key)
    if plan is None:
        if len(pattern.plans) > CHOICES:
            pattern.plans.clear()
        plan = pattern.plans[key] = _plan(nodes, pattern.ends, roots, wanted)
        if pack:
            plan.pack()
    donate: list[int] = []
    if using and not pattern.keeps:
        inside = {n for n, _ in plan.taken}
        shared = {
            step[-1][0]
            for step in pattern.steps
            if step[0] == LEAF and counts[step[1]] > pattern.inner[step[1]] + HELD
        }
        donate = [
            number
            for number, k in enumerate(pattern.ends)
            if k in pattern.rebound
            and k not in shared
            and number not in inside
            and counts[k] == pattern.inner[k] + HELD + 1
        ]
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
    if made.size > COLD_NODES:
        made.find_preparation(order)
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


def _replayed(roots: Sequence[Any], using: bool) -> list[Any] | None:
    """The results, where graph and situation are known."""
    recent = _recent.get(signature(roots[0]))
    if recent is not None:
        for at, pattern in enumerate(recent):
            for replay in pattern.replays[using]:
                found = replay(roots)
                if found is not None:
                    if at:
                        recent.insert(0, recent.pop(at))
                    return found
    return None


def execute(roots: Sequence[Any], using: bool = False) -> Sequence[Any]:
    """Give every root a value, and every pending record under them that is still in use.

    With ``using``, the buffers of leaves that only this graph and one storage hold may be used up.
    The results of roots that are Updates are returned, one after another.  Raises UnboundError for
    a symbol.
    """
    with lock:
        found = _replayed(roots, using)
        if found is not None:
            return found
        pattern, nodes = _matched(roots)
        if pattern.preparation:
            execute([nodes[k] for k in pattern.preparation])
            pattern, nodes = _matched(roots)
        counts = tuple(map(sys.getrefcount, nodes))
        choice = pattern.choices.get((using, counts))
        if choice is None:
            if len(pattern.choices) > CHOICES:
                pattern.choices.clear()
            choice = _choose(pattern, nodes, counts, using)
            pattern.choices[using, counts] = choice
        values = [nodes[k].value for k in pattern.ends]
        plan = choice.plan
        if choice.run is None:
            found = _first_runs(pattern, nodes, choice, values)
        else:
            found = _run(pattern, nodes, choice, values)
            if not (choice.written or choice.bulky) and pattern.complete and pattern.size <= LARGE:
                choice.written = True
                replays = pattern.replays[using]
                replays.insert(0, written_out(pattern, choice, using))
                del replays[RECENT:]
        for n in choice.donate:
            nodes[pattern.ends[n]].value = None
        at = plan.returned
        for k, width in choice.wanted:
            if width:
                nodes[k].value = found[at : at + width]
                at += width
            else:
                nodes[k].value = found[at]
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
    if not plan.seen and _is_cheap(pattern, nodes) and _looped(plan.outputs) <= COLD_LOOPED:
        found = plan.evaluated([held(nodes[k]) for k in pattern.ends])
        plan.seen = True  # one that raises is met anew
        return found
    plan.seen = True
    choice.run = plan.runner(choice.donate)
    return _run(pattern, nodes, choice, values)


def _run(pattern: Pattern, nodes: Sequence[Any], choice: Choice, values: list[Any]) -> Any:
    """The outputs by the compiled program."""
    plan = choice.plan
    for n in plan.alone:
        if type(values[n]) in ELSEWHERE:
            values[n] = placed(nodes[pattern.ends[n]], n in choice.donate)
    rest = plan.apart(values)
    if not plan.taken:
        return plan.results(choice.run(*rest))
    whole = whole_of(values, plan.size, plan.taken)
    if whole is None:
        whole = joined([held(nodes[pattern.ends[n]]) for n, _ in plan.taken], plan.size)
    return plan.results(choice.run(*rest, whole))


def _is_cheap(pattern: Pattern, nodes: Sequence[Any]) -> bool:
    """Is it quicker by NumPy than to be compiled, for once?"""
    if pattern.cuda or pattern.size > (COLD_NODES if pattern.derives else LARGE):
        return False
    counted = nodes if pattern.size > COLD_NODES else [nodes[k] for k in pattern.ends]
    return sum(prod(n.shape) for n in counted) <= COLD_ELEMENTS


def _looped(exprs: Sequence[Expr]) -> int:
    """How many nodes the scans under some expressions compute, over all their steps."""
    found = [e for e in topological(exprs) if e.op is SCAN]
    steps = ((steps_of(e), len(topological(e.params[0].results))) for e in found)
    return sum(count * nodes for count, nodes in steps if isinstance(count, int))


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
) -> Plan:
    """Expressions of the nodes at some places; an Update and a Gradient give several."""
    inputs = [
        symbol(getattr(nodes[k], "name", "") or f"x{n}", nodes[k].shape, nodes[k].dtype,
               number=n + 1)
        for n, k in enumerate(ends)
    ]  # fmt: skip
    table = {id(nodes[k]): leaf for k, leaf in zip(ends, inputs, strict=True)}
    expansion = Expansion(nodes, table, rules.stabilised)
    number = {id(nodes[k]): n for n, k in enumerate(ends)}
    renewed: dict[int, int] = {}
    exprs: list[Expr] = []
    returned = 0
    for at, k in enumerate((*roots, *wanted)):
        found = expansion.exprs[id(nodes[k])]
        if type(nodes[k]) is Update:
            renewed.update(
                (number[id(o)], j)
                for j, o in enumerate(nodes[k].replaced, len(exprs))
                if id(o) in number
            )
        exprs += found if isinstance(found, list) else [found]
        returned = len(exprs) if at < len(roots) else returned
    title = "loss+gradients" if any(type(n) is Gradient for n in nodes) else "values"
    made = Plan(inputs, rules.stabilised(expansion.final(exprs)), renewed, title, returned)
    made.ranges = _ranges(nodes, expansion)
    return made


def _ranges(
    nodes: Sequence[Any], expansion: Expansion
) -> list[tuple[str, Expr, tuple[float, float]]]:
    """What the functions of some records want to lie in a range, where it is computed."""
    found: list[tuple[str, Expr, tuple[float, float]]] = []
    for node in nodes:
        if type(node) is Record and node.call.function.name in RANGES and node.value is None:
            name, (*positional, keywords) = node.call.function.name, node.call.statics
            supply = iter(node.operands)
            args = [next(supply) if v is SLOT else v for v in positional]
            held, bounds = asked(
                name, args, {k: next(supply) if v is SLOT else v for k, v in keywords}
            )
            if bounds is not None and id(held) in expansion.exprs:
                found.append((name, expansion.exprs[id(held)], bounds))
    whole = expansion.final([e for _, e, _ in found])
    return [(name, e, bounds) for (name, _, bounds), e in zip(found, whole, strict=True)]


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
    """The array of a node that has a value."""
    return unpacked(node.value)


__all__ = ["Plan", "execute", "held", "lock", "plan_of", "value"]
