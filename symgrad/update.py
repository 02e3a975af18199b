"""An optimizer's step as one record: new parameters and states, executed at once.

The record's operands are the parameters, their gradients (still pending), the states and the
scalars of the rule; executing it computes loss, gradients and update in one program, and whatever
else of the forward pass a tensor still shows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.execute import execute
from symgrad.record import Leaf, Part, Update, modes
from symgrad.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Job:
    """One step of a row on parameters of equal options and age.

    ``states``: for each parameter its tensors in the order of ``slots``; ``scalars``: the numbers
    of this step.
    """

    row: Any
    switches: tuple[tuple[str, bool], ...]
    params: Sequence[Tensor]
    gradients: Sequence[Tensor]
    states: Sequence[Sequence[Tensor]]
    slots: Sequence[str]
    scalars: Mapping[str, float]

    @property
    def targets(self) -> list[Tensor]:
        """What is rebound: parameters, then states."""
        return [*self.params, *(s for group in self.states for s in group)]

    def record(self) -> Update:
        """The pending step."""
        dtype = self.params[0].dtype
        device = self.params[0]._now().device
        numbers = (
            Leaf(np.asarray(v, dtype.numpy), (), dtype, device) for v in self.scalars.values()
        )
        operands = (
            *(p._storage.node for p in self.params),
            *(g.node() for g in self.gradients),
            *(s._storage.node for group in self.states for s in group),
            *numbers,
        )
        statics = (len(self.params), self.switches, tuple(self.slots), tuple(self.scalars), False)
        return Update(self.row, statics, operands)


def apply_updates(jobs: Sequence[Job]) -> None:
    """Rebind every parameter and state to its value after one step: one program for all."""
    targets: list[Tensor] = []
    parts: list[Part] = []
    for job in jobs:
        whole = job.record()
        for k, t in enumerate(job.targets):
            targets.append(t)
            parts.append(Part(whole, k, t._now().shape, t.dtype))
    execute(parts, lambda order, inner: _exclusive(order, inner, targets))
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
    order: Sequence[Any], inner: Mapping[int, int], targets: Sequence[Tensor]
) -> set[int]:
    """Ids of the leaves of targets that only this graph and their storages refer to."""
    held = dict(inner)
    ordered = {id(n) for n in order}
    shared: set[int] = set()
    for t in targets:
        if t._storage.shared is not None:
            shared.add(id(t._storage.node))
        tracked = t._leaf
        if tracked is None:
            continue
        # beside ``held``: the tensor's own reference, this loop's name, getrefcount's argument
        own = 3 + (id(tracked) in ordered)
        if sys.getrefcount(tracked) > held.get(id(tracked), 0) + own:
            shared.add(id(tracked.source))
        if id(tracked) not in ordered:
            held[id(tracked.source)] = held.get(id(tracked.source), 0) + 1
    found: set[int] = set()
    for t in targets:
        leaf = t._storage.node
        # beside ``held``: its storage, ``order``, the list of ends, this name, the argument
        free = sys.getrefcount(leaf) <= held.get(id(leaf), 0) + 5
        if free and id(leaf) not in shared and leaf.value is not None:
            found.add(id(leaf))
    return found


__all__ = ["Job", "apply_updates", "captured_update"]
