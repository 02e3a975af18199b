"""An optimizer's step as one record: new parameters and states, executed at once.

The record's operands are the parameters, their gradients (still pending), the states and the
scalars of the rule; executing it computes loss, gradients and update in one program, and whatever
else of the forward pass a tensor still shows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.execute import execute, references_within
from symgrad.record import Leaf, Part, Update, modes, walk
from symgrad.tensor import Tensor


def apply_update(
    row: Any,
    switches: tuple[tuple[str, bool], ...],
    params: Sequence[Tensor],
    gradients: Sequence[Tensor],
    states: Sequence[Sequence[Tensor]],
    slots: Sequence[str],
    scalars: Mapping[str, float],
) -> None:
    """Rebind every parameter and state to its value after one step of ``row``."""
    dtype = params[0].dtype
    device = params[0]._now().device
    olds = [p._storage.node for p in params]
    state_nodes = [s._storage.node for group in states for s in group]
    numbers = [Leaf(np.asarray(v, dtype.numpy), (), dtype, device) for v in scalars.values()]
    statics = (
        len(params), switches, tuple(slots), tuple(scalars), False,
    )  # fmt: skip
    operands = (*olds, *(g.node() for g in gradients), *state_nodes, *numbers)
    whole = Update(row, statics, operands)
    targets = [*params, *(s for group in states for s in group)]
    parts = [Part(whole, k, n._now().shape, n.dtype) for k, n in enumerate(targets)]
    donate = _exclusive(parts, params, [*olds, *state_nodes])
    del olds, state_nodes, operands
    execute(parts, donate)
    for target, part in zip(targets, parts, strict=True):
        storage = target._storage
        node = Leaf(part.value, part.shape, part.dtype, part.device)
        node.name = target._name
        if storage.shared is not None:
            np.copyto(storage.shared, np.asarray(part.value))
        storage.node = node
        storage.version += 1


def captured_update(
    row: Any,
    optimizer: Any,
    group: dict[str, Any],
    hyper: Mapping[str, Any],
    params: Sequence[Tensor],
    states: Sequence[Sequence[Tensor]],
    slots: Sequence[str],
    step: Tensor | None,
) -> None:
    """The update of a step under capture: step count and learning rate are inputs of the program."""
    capture = modes.capture
    dtype = params[0].dtype
    rate = Leaf(None, (), dtype, params[0]._now().device)
    rate.value = 0.0
    rate.name = "lr"
    capture.rates[id(rate)] = (optimizer, group, rate)
    capture.keep.append(rate)
    held = [*params, *(s for g in states for s in g), *([step] if step is not None else [])]
    for t in held:
        capture.reads(t)
        capture.rebinds(t._storage)
    counted = [step._storage.node] if step is not None else []
    options = tuple((k, v) for k, v in hyper.items() if k != "lr")
    statics = (len(params), options, tuple(slots), ("lr", "step") if counted else ("lr",), True)
    operands = (
        *(p._storage.node for p in params),
        *(p.grad.node() for p in params if p.grad is not None),
        *(s._storage.node for g in states for s in g),
        rate,
        *counted,
    )
    whole = Update(row, statics, operands)
    for k, t in enumerate(held):
        t._storage.node = Part(whole, k, tuple(t.shape), t.dtype)


def _exclusive(
    parts: Sequence[Part], params: Sequence[Tensor], leaves: Sequence[Leaf]
) -> list[Leaf]:
    """The leaves that nothing outside this graph and these storages refers to."""
    order = walk(parts, lambda n: type(n) is Leaf and n.source is None)
    held = references_within(order)
    ordered = {id(n) for n in order}
    shared = {id(p._storage.node) for p in params if p._storage.shared is not None}
    for p in params:
        tracked = p._leaf
        if tracked is None:
            continue
        # beside ``held``: the tensor's own reference, this loop's name, getrefcount's argument
        own = 3 + (id(tracked) in ordered)
        if sys.getrefcount(tracked) > held.get(id(tracked), 0) + own:
            shared.add(id(tracked.source))
        if id(tracked) not in ordered:
            held[id(tracked.source)] = held.get(id(tracked.source), 0) + 1
    for n in leaves:
        # its storage, the caller's list, ``leaves``, ``order``, this loop's name, the argument
        if sys.getrefcount(n) > held.get(id(n), 0) + 6:
            shared.add(id(n))
    return [n for n in leaves if id(n) not in shared and n.value is not None]


__all__ = ["apply_update", "captured_update"]
