"""Numbers outside what a function takes, in tensors whose values lie in memory of this host.

Each tensor is looked at once, and a call never waits for a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.functional.ranges import RANGES, asked, outside, refusal
from symgrad.functional.table import Function
from symgrad.recording.record import Leaf
from symgrad.tensors.reading import Reading


def ranged(row: Function, call: Callable[..., Any]) -> Callable[..., Any]:
    """``call(row, args, kwargs)``, after a look at the numbers where the row has a range."""
    if row.name not in RANGES:
        return call

    def looked_at(row: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        held, bounds = asked(row.name, args, kwargs)
        if bounds is not None and isinstance(held, Reading):
            found = _outside(held, bounds)
            if found is not None:
                raise refusal(row.name, found, bounds)
        return call(row, args, kwargs)

    return looked_at


def _outside(t: Any, bounds: tuple[float, float]) -> Any:
    storage = t._storage
    node = storage.node
    values = node.value if type(node) is Leaf else None
    if t._view is not None or type(values) is not np.ndarray:
        return None
    if storage.shared is not None:
        return outside(storage.shared, bounds)
    if node.checked is None or node.checked[:2] != bounds:
        node.checked = *bounds, outside(values, bounds)
    return node.checked[2]
