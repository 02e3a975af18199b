"""An optimizer's step as one record: new parameters and states, executed at once.

The record's operands are the parameters, their gradients (still pending), the states and the
scalars of the rule; executing it computes loss, gradients and update in one program, and whatever
else of the forward pass a tensor still shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from symgrad.recording.execute import execute
from symgrad.recording.record import Leaf, Part, Update, leaf_like, modes
from symgrad.tensors.tensor import Tensor


class Job:
    """One step of a row on parameters of equal options and age.

    ``gradients``: what the parameters' ``_grad`` hold; ``states``: for each parameter its tensors in the order of ``slots``; ``scalars``: the names of
    the ``numbers`` of this step.
    """

    __slots__ = ("gradients", "numbers", "params", "row", "scalars", "slots", "states", "switches")

    def __init__(
        self,
        row: Any,
        switches: tuple[tuple[str, bool], ...],
        params: Sequence[Tensor],
        gradients: Sequence[Any],
        states: Sequence[Tensor],
        slots: tuple[str, ...],
        scalars: tuple[str, ...],
        numbers: Leaf,
    ) -> None:
        self.row = row
        self.switches = switches
        self.params = params
        self.gradients = gradients
        self.states = states
        self.slots = slots
        self.scalars = scalars
        self.numbers = numbers

    def record(self) -> Update:
        """The pending step."""
        given = self.gradients
        whole = given[0][0] if type(given[0]) is tuple else None
        bundle = None
        if whole is not None and whole.value is None and all(g[0] is whole for g in given):
            bundle = tuple([k for _, k in given])
        operands = (
            *[p._storage.now() for p in self.params],
            *([_gradient(p) for p in self.params] if bundle is None else [whole]),
            *[t._storage.now() for t in self.states],
            self.numbers,
        )
        statics = (len(self.params), self.switches, self.slots, self.scalars, False, bundle)
        return Update(self.row, statics, operands)


def _gradient(p: Tensor) -> Any:
    held: Any = p.grad
    return held.node()


def apply_updates(jobs: Sequence[Job]) -> None:
    """Rebind every parameter and state to its value after one step: one program for all."""
    for job in jobs:
        for p in job.params:
            p._leaf = None  # it is of the value before the step
    found = iter(execute([job.record() for job in jobs], using=True))
    for job in jobs:
        for target, new in zip([*job.params, *job.states], found):  # noqa: B905 - goes on
            storage = target._storage
            old = storage.node
            if storage.shared is not None:
                np.copyto(storage.shared, np.asarray(new))
            if getrefcount(old) == ALONE:
                old.value = new
                storage.version += 1
                continue
            made = leaf_like(old, new)
            made.name = target._name
            if old.value is None:  # used up: no derivative reads it again
                storage.node = made
                storage.version += 1
            else:
                storage.rebind(made)


ALONE = 3
"""References to a leaf that a storage, a name here and the count itself hold."""


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
    names = ("lr", "step") if counted else ("lr",)
    statics = (len(params), options, tuple(slots), names, True, None)
    operands = (
        *(p._storage.node for p in params),
        *(p.grad.node() for p in params if p.grad is not None),
        *(s._storage.node for g in states for s in g),
        rate,
        *counted,
    )
    whole = Update(row, statics, operands)
    for k, t in enumerate(held):
        t._storage.node = Part(whole, k, t._storage.node)


__all__ = ["Job", "apply_updates", "captured_update"]
