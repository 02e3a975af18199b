"""What a graph of records is apart from its values: its pattern, by which it is recognised.

The second time round a loop the new graph is compared with the pattern of the last one, node by
node from the roots down, instead of building a key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

from symgrad.recording.record import Gradient, Leaf, Part, Record, Update
from symgrad.recording.walk import operands_of, walk


def must_expand(roots: Sequence[Any]) -> set[int]:
    """Nodes whose expression a gradient needs, although their value may be known."""
    found: set[int] = set()
    for node in walk(roots, lambda n: getattr(n, "value", None) is not None, recalled=True):
        if type(node) is not Gradient:
            continue
        stack = [node.operands[0]]
        while stack:
            inner = stack.pop()
            if id(inner) in found or not inner.tracked:
                continue
            found.add(id(inner))
            stack.extend(operands_of(inner))
            if type(inner) is Leaf and inner.source is not None:
                continue
    return found


def _is_end(node: Any) -> bool:
    """A leaf, or a node whose value is known."""
    if type(node) is Part and node.value is None and node.operands[0].value is not None:
        # it was made while another thread computed the whole
        node.value = node.operands[0].value[node.index]
    return node.source is None if type(node) is Leaf else node.value is not None


def collect(roots: Sequence[Any]) -> tuple[list[Any], set[int]]:
    """The nodes under some roots, operands first, and those that gradients look into."""
    needed: set[int] = set()
    order = walk(roots, _is_end, recalled=True)
    if any(type(n) is Gradient for n in order) and any(
        n.tracked and n.value is not None for n in order if type(n) is not Leaf
    ):
        needed = must_expand(roots)
        order = walk(roots, lambda n: _is_end(n) and id(n) not in needed, recalled=True)
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


LEAF, END, RECORD, RECALLED, PART, GRADIENT, UPDATE = range(7)
"""What a node of a pattern is; an END is a node with a value that nothing looks into."""


class Pattern:
    """A graph that was met, as places of its nodes in the order of a walk.

    ``preparation``: places of what is computed before the rest, see :meth:`find_preparation`.
    ``steps`` says for every place, the last one first, what has to be there and where its operands
    are; ``inner`` how often the graph itself refers to each node; ``widths`` how many values the
    nodes with several have.  ``choices``, ``plans``
    and ``replays`` are what :mod:`symgrad.recording.execute` found out about the graph.
    """

    def __init__(self, order: Sequence[Any], needed: Collection[int], roots: Sequence[Any]) -> None:
        place = {id(n): k for k, n in enumerate(order)}
        self.size = len(order)
        self.roots = [place[id(r)] for r in roots]
        self.ends: list[int] = []
        self.inner = [0] * self.size
        self.pending: list[int] = []
        self.widths = {k: len(n.targets) for k, n in enumerate(order) if type(n) is Gradient}
        self.wholes = {k: place[id(n.operands[0])] for k, n in enumerate(order)
                       if type(n) is Part and id(n.operands[0]) in place}  # fmt: skip
        self.preparation: list[int] = []
        self.choices: dict[Any, Any] = {}
        self.replays: dict[bool, list[Any]] = {True: [], False: []}
        self.plans: dict[tuple[int, ...], Any] = {}
        self.keeps = any(type(n) is Gradient and n.keeps for n in order)
        self.derives = any(type(n) in (Gradient, Update) for n in order)
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
            elif step[0] in (RECORD, RECALLED, PART, GRADIENT) and node.value is None:
                self.pending.append(k)
        updates = [n for n in order if type(n) is Update]
        self.rebound = {place[id(o)] for n in updates for o in n.replaced}
        self.steps = steps[::-1]
        # what only a list of parts leads to cannot be found from the roots
        self.complete = len(reached) == self.size
        self.signature = signature(roots[0])
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
        operands = tuple([place[id(o)] for o in operands_of(node)])
        known = node.value is not None
        if kind is Record and node.recalled is not None:
            return (RECALLED, k, node.recalled, node.tracked, known, operands)
        if kind is Record:
            return (RECORD, k, node.call, node.tracked, known, operands)
        if kind is Part:
            return (PART, k, node.index, known, operands)
        if kind is Gradient:
            operands += tuple([place[id(t)] for t in node.targets if id(t) in place])
            return (GRADIENT, k, node.seeded, node.partial, node.tracked, node.keeps,
                    node.alive(), node.value is not None, len(node.targets), operands)  # fmt: skip
        return (UPDATE, k, node.row, node.statics, operands)

    def find_preparation(self, order: Sequence[Any]) -> None:
        """Find what no derivative passes through, is known before the rest, and is not wider.

        A part of a big graph that is recorded once (a table, a mask, data made ready) would
        otherwise be compiled into the first program, and the next step need another one.
        """
        before: set[int] = set()
        for what, k, *facts, operands in reversed(self.steps):
            if what not in (RECORD, RECALLED) or facts[1] or facts[2]:
                continue
            apart = all(o in before or self.steps[-1 - o][0] == END for o in operands)
            if apart and prod(order[k].shape) <= sum(prod(order[o].shape) for o in operands):
                before.add(k)
        if before.issuperset(self.roots):
            return
        later = {o for _, k, *_, operands in self.steps if k not in before for o in operands}
        self.preparation = sorted(before & later)

    @cached_property
    def match(self) -> Callable[[Sequence[Any]], list[Any] | None]:
        """The nodes at all places if the graph under some roots is this one, else None.

        AttributeError where a node is of another class.
        """
        lines, constants = self.comparison()
        nodes = ", ".join(f"n{k}" for k in range(self.size))
        return written("match", [*lines, f"return [{nodes}]"], constants)

    def comparison(self) -> tuple[list[str], dict[str, Any]]:
        """Is the graph under ``roots`` this one?  The body of a function that returns None if not.

        It is written out, place after place, because it runs for every value that is asked for: the
        node at place k is ``n{k}`` afterwards.  What it names are places and constants, nothing of
        the user's.
        """
        constants: dict[str, Any] = {}

        def constant(value: Any) -> str:
            name = f"c{len(constants)}"
            constants[name] = value
            return name

        def unknown(known: bool) -> str:
            return "is None" if known else "is not None"

        seen = set(self.roots)
        alike: dict[tuple[Any, ...], list[str]] = {}
        several = 0
        lines = [
            f"if len(roots) != {len(self.roots)}: return None",
            f"{', '.join(f'n{k}' for k in self.roots)}, = roots",
        ]
        for what, k, *facts, places in self.steps:
            n = f"n{k}"
            alike.setdefault((what, *facts, places), []).append(n)
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
                         "recalled is not None", f"value {unknown(known)}"]  # fmt: skip
                operands = f"{n}.operands"
            elif what == RECALLED:
                calls, tracked, known = facts
                wrong = [f"recalled is not {constant(calls)}", f"tracked is not {tracked}",
                         f"value {unknown(known)}"]  # fmt: skip
                operands = f"{n}.given"
            elif what == PART:
                index, known = facts
                wrong, operands = [f"index != {index}", f"value {unknown(known)}"], f"{n}.operands"
            elif what == GRADIENT:
                seeded, partial, tracked, keeps, alive, known, targets = facts
                wrong = [f"seeded is not {seeded}", f"partial is not {partial}",
                         f"tracked is not {tracked}", f"keeps is not {keeps}",
                         f"value {unknown(known)}",
                         f"parts.__len__() != {alive} and {n}.alive() != {alive}",
                         f"targets.__len__() != {targets}"]  # fmt: skip
                operands = f"(*{n}.operands, *{n}.targets)"
            else:
                row, statics = facts
                wrong = [f"row is not {constant(row)}", f"statics != {constant(statics)}"]
                operands = f"{n}.operands"
            again: list[str] = []
            taken: list[str] = []
            for at, o in enumerate(places):
                taken.append(f"t{at}" if o in seen else f"n{o}")
                if o in seen:
                    again.append(f"t{at} is not n{o}")
                    several = max(several, at + 1)
                seen.add(o)
            lines.append(f"if {' or '.join(f'{n}.{w}' for w in wrong)}: return None")
            if taken:
                lines.append(f"{', '.join(taken)}, = {operands}")
            if again:
                lines.append(f"if {' or '.join(again)}: return None")
        for names in alike.values():  # only these could be one node, and pass as two
            if len(names) > 1:
                lines.append(f"if len({{{', '.join(names)}}}) != {len(names)}: return None")
        # these would count as references to nodes
        lines += [f"t{at} = None" for at in range(several)]
        return lines, constants


def written(name: str, body: Sequence[str], constants: dict[str, Any]) -> Callable[..., Any]:
    """The function ``name(roots)`` with a body and the constants that it names."""
    exec("\n    ".join([f"def {name}(roots):", *body]), constants)  # noqa: S102
    return constants[name]


def signature(root: Any) -> Any:
    """What is seen of a root at once."""
    kind = type(root)
    if kind is Record:
        return root.call
    if kind is Part:
        return (type(root.operands[0]), root.kind)
    return (kind, root.kind)
