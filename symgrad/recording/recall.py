"""Operations that are always recorded together, as one record.

A chain of layers records the same operations in every step of a loop.  Once it is known what they
are, one record stands for them: it knows where they begin, and makes them only if somebody looks
for its operands.  To whoever does, nothing is different from operations noted one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.functional.ranges import RANGES
from symgrad.recording.record import Call, Kind, Leaf, Record

MOST = 200
"""Longer chains are recorded one by one."""
TABLE = 1000
"""How many are remembered; equal ones are one object, so that equal models share their programs."""
_known: dict[Any, Recalled] = {}


class Recalled:
    """The operations between some nodes and a result, in their order.

    ``calls``: each with the places of its operands, counted over what is given and then over the
    results, and whether derivatives pass through it; ``saves``: the places of what is kept for the
    backward pass, −1 for the result, None where nothing is; ``height``: how many operations lie above
    one another.
    """

    __slots__ = ("call", "calls", "height", "kind", "kinds", "saves", "tracked", "trackeds")

    def __init__(
        self,
        calls: tuple[tuple[Call, tuple[int, ...], bool], ...],
        kinds: tuple[Kind, ...],
        trackeds: tuple[bool, ...],
        saves: tuple[int, ...] | None,
        height: int,
    ) -> None:
        self.calls = calls
        self.call, _, self.tracked = calls[-1]
        self.kind = self.call.kind
        self.kinds = kinds
        self.trackeds = trackeds
        self.saves = saves
        self.height = height

    def record(self, given: tuple[Any, ...]) -> Record | None:
        """One record for all, or None where something else is given than what was learned on."""
        deepest = 0
        for n, kind, tracked in zip(given, self.kinds, self.trackeds):  # noqa: B905 - as many
            if n.kind is not kind or n.tracked is not tracked:
                return None
            if n.depth > deepest:  # noqa: PLR1730 - for every call of a chain
                deepest = n.depth
        made = Record.__new__(Record)
        made.call = self.call
        made.kind = self.kind
        made.tracked = self.tracked
        made.value = made.handle = made.place = made.outdated = None
        made.consumed = False
        made.depth = deepest + self.height
        made.recalled = self
        made.given = given
        return made

    def records(self, given: Sequence[Any]) -> list[Record]:
        """The operations one by one, from what they begin with."""
        nodes = list(given)
        for call, places, tracked in self.calls:
            nodes.append(Record(call, tuple([nodes[k] for k in places]), tracked))
        return nodes[len(given) :]

    def roll_up(self, record: Record, given: tuple[Any, ...]) -> None:
        """Let the record that this was learned on stand for all, like those that follow."""
        del record.operands
        record.recalled, record.given = self, given

    def unroll(self, record: Record) -> None:
        """Make the operations under a record that stands for them, which is the last of them."""
        *inner, last = self.records(record.given)
        for r in inner:
            r.consumed = record.consumed
        record.operands = last.operands
        record.recalled = record.given = None


def recalled(root: Any, given: Sequence[Any], saved: Any) -> Recalled | None:
    """What was recorded between these nodes and a result; None where it cannot be told again.

    ``saved`` gives the nodes that the derivative of a record reads.
    """
    known = {id(n) for n in given}
    order: list[Any] = []
    done: set[int] = set(known)
    stack = [root]
    while stack:
        node = stack[-1]
        if id(node) in done:
            stack.pop()
            continue
        if (
            type(node) is not Record or node.handle is not None or node.value is not None
            or node.place is not None or node.outdated is not None or node.call.equal
            or node.call.function.name in RANGES or len(order) > MOST
        ):  # fmt: skip
            return None
        left = [o for o in node.operands if id(o) not in done]
        if left:
            stack.extend(left)
            continue
        stack.pop()
        done.add(id(node))
        order.append(node)
    if len(order) < 2 or any(type(n) is Leaf and n.outdated is not None for n in given):
        return None
    reads = [found for n in order if (found := saved(n)) is not None]
    kept = {id(n) for found in reads for n in found}
    for n in reversed(order):  # where a view is kept, its memory is
        if n.call.function.view is not None and id(n) in kept:
            kept.update(map(id, n.operands))
    saves = (*[k for k, n in enumerate(given) if id(n) in kept], *[-1] * (id(root) in kept))
    place = {id(n): k for k, n in enumerate((*given, *order))}
    calls = tuple((r.call, tuple(place[id(o)] for o in r.operands), r.tracked) for r in order)
    key = (calls, tuple(n.kind for n in given), tuple(n.tracked for n in given),
           saves if reads else None, root.depth)  # fmt: skip
    if len(_known) > TABLE:
        _known.clear()
    return _known.setdefault(key, Recalled(*key))


__all__ = ["Recalled", "recalled"]
