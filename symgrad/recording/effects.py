"""Values written in place that wait for a graph: the next step of an optimizer computes them too.

The running statistics of a batch normalisation are no operand of the loss.  Left to themselves they
would pile up, and keep every activation that they are computed from, until somebody reads them.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

from symgrad.recording.record import Leaf, Record
from symgrad.recording.walk import operands_of

NEAR = 32
"""Nodes that are looked at below a value written in place."""
MOST = 4096
"""Values that are remembered where no step follows."""
_waiting: deque[weakref.ref[Any]] = deque(maxlen=MOST)


def note_effect(node: Any) -> None:
    """Remember what was written in place, if it waits for something that is differentiated."""
    if type(node) is not Record or node.tracked:
        return
    left = list(node.operands)
    for _ in range(NEAR):
        if not left:
            return
        n = left.pop()
        if type(n) is Leaf or n.value is not None:
            continue
        if n.tracked:
            _waiting.append(weakref.ref(node))
            return
        left.extend(operands_of(n))


def waits(node: Any) -> bool:
    """Is a node among what was written in place and waits for a graph?"""
    return any(ref() is node for ref in _waiting)


def take_effects() -> list[Any]:
    """What still waits, each node once; it is forgotten here."""
    found: dict[Any, None] = {}
    while _waiting:
        node = _waiting.popleft()()
        if node is not None and node.value is None:
            found[node] = None
    return list(found)


__all__ = ["note_effect", "take_effects", "waits"]
