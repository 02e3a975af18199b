"""Long chains that nobody reads are computed on the way, so that they stay bounded.

``average = 0.9 * average + 0.1 * x`` in a loop records one graph that grows for ever.  Where nothing
in it is differentiated, a record this deep gets its value and forgets what it was computed from.
"""

from __future__ import annotations

from typing import Any

from symgrad.errors import UnboundError
from symgrad.recording.effects import take_effects, waits
from symgrad.recording.execute import execute, held, lock
from symgrad.recording.record import Record, forget, modes

DEEP = 128
"""The depth from which this is tried, and again where it has doubled; a power of two."""
TRIES = 8
"""How many depths from there on: views, which have to stay as they are, may stand at some."""


def settle(record: Record) -> None:
    """Make an untracked record that is this deep a copy of its value.

    Nothing happens to views, where symbols below have no value, or under ``compile``.
    """
    since = record.depth - (1 << (record.depth.bit_length() - 1))
    if since >= TRIES or record.function.view is not None or modes.capture is not None:
        return
    with lock:
        try:
            execute([record])
        except UnboundError:
            return
        forget(record, held(record))


def settle_source(node: Any) -> None:
    """Compute a value that waits for gradients, from which others are about to begin, and all such.

    So one step of a loop that updates its parameters by itself is one program, as an optimizer's:

        with no_grad():
            w -= rate * w.grad
    """
    if modes.capture is not None or modes.tracing or not waits(node):
        return
    with lock:
        nodes = take_effects()
        try:
            execute(nodes)
        except UnboundError:
            return
        for n in nodes:
            if type(n) is Record and n.function.view is None:
                forget(n, n.value)


__all__ = ["DEEP", "settle", "settle_source"]
