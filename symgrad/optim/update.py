"""An optimizer's step as one record: new parameters and states, executed at once.

The record's operands are the parameters, their gradients (still pending), the states and the
scalars of the rule; executing it computes loss, gradients and update in one program, and whatever
else of the forward pass a tensor still shows.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from symgrad.recording.effects import take_effects
from symgrad.recording.execute import execute, lock
from symgrad.recording.pieces import unpacked
from symgrad.recording.record import Leaf, Part, Step, Update, forget, leaf_like, modes
from symgrad.tensors.creation import tensor
from symgrad.tensors.tensor import Tensor


class Cohort:
    """Parameters of one group that have made equally many steps, with their states.

    ``owns``: their entries in the state of the optimizer; ``step``: the number of the coming step,
    2 for ever where the row only tells the first from others; ``count``: the tensor that says so in
    the entries of rows that count.

    ``tensors``: the parameters and their states, which get new values.
    """

    __slots__ = ("count", "held", "last", "options", "owns", "params", "step", "tensors",
                 "version")  # fmt: skip

    def __init__(
        self,
        options: Any,
        params: Sequence[Tensor],
        owns: Sequence[dict[str, Any]],
        step: int,
    ) -> None:
        self.options = options
        self.params = params
        self.owns = owns
        self.step = step
        self.count: Tensor | None = None
        self.version = 0
        self.last = Step(0, (), ())
        if options.row.counts:
            self.count = tensor(float(step - 1))
            for own in owns:  # PyTorch's order of keys
                slots = {k: v for k, v in own.items() if k != "step"}
                own.clear()
                own.update({"step": self.count}, **slots)
        self.held = [value for own in owns for value in own.values()]
        states = [own[k] for p, own in zip(params, owns) for k in options.slots(p)]  # noqa: B905
        self.tensors = [*params, *states]

    def counts(self, own: Mapping[str, Any]) -> bool:
        """Is ``step`` still what an entry of the state says?"""
        count = self.count
        return own.get("step") is count and (
            count is None or count._storage.version == self.version
        )

    def current(self, options: Any, params: Sequence[Tensor], state: Mapping[Any, Any]) -> bool:
        """Is it still all parameters of its group, each with a gradient and the state it had?"""
        owns = self.owns
        return (
            options.switches == self.options.switches
            and len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and not [p for p in params if p._grad is None]
            and (not owns or self._has_state(params, state))
        )

    def _has_state(self, params: Sequence[Tensor], state: Mapping[Any, Any]) -> bool:
        owns = self.owns
        return (
            all(map(is_, map(state.get, params), owns))
            and sum(map(len, owns)) == len(self.held)
            and all(map(is_, chain.from_iterable(map(dict.values, owns)), self.held))
            and self.counts(owns[0])
        )

    def record(self) -> Update:
        """The pending step."""
        params, options = self.params, self.options
        nodes = [s.node if (s := t._storage).shared is None else s.now() for t in self.tensors]
        names, numbers = options.scalars(self.step, params[0]._storage.node)
        given = [p._grad for p in params]
        bundle = _bundle(given)
        if bundle is None:
            nodes[len(params) : len(params)] = [_gradient(p) for p in params]
        else:
            nodes.insert(len(params), given[0][0])
        nodes.append(numbers)
        switches, last = options.switches, self.last
        step = len(params), switches, names, False, bundle
        if last != step:
            self.last = last = Step(*step)
        return Update(options.row, last, tuple(nodes))

    def let_go(self) -> None:
        """Forget by which leaves the pending step knew the parameters."""
        for p in self.params:
            p._leaf = None

    def take(self, found: Iterator[Any]) -> None:
        """Rebind every parameter and state to its value after the step."""
        for target, new in zip(self.tensors, found):  # noqa: B905 - goes on
            storage = target._storage
            old = storage.node
            if storage.shared is not None:
                np.copyto(storage.shared, np.asarray(unpacked(new)))
            if getrefcount(old) == ALONE:
                old.value = new
                storage.version += 1
                continue
            made = leaf_like(old, new)
            made.name = target._name
            if (
                old.value is None
            ):  # used up: no derivative reads it again; a thread may, see execute
                old.outdated = weakref.ref(storage), storage.version
                storage.node = made
                storage.version += 1
            else:
                storage.rebind(made)
        if self.count is None:
            self.step = 2
            return
        storage = self.count._storage
        storage.node = leaf_like(storage.node, np.asarray(self.step, np.float32))
        storage.version = self.version = self.version + 1
        self.step += 1


def _bundle(given: Sequence[Any]) -> tuple[int, ...] | None:
    """The numbers of gradients that are all made by one pending node, else None."""
    numbers: list[int] = []
    whole = given[0][0] if type(given[0]) is tuple else None
    if whole is None or whole.value is not None:
        return None
    for held in given:
        if type(held) is not tuple or held[0] is not whole:
            return None
        numbers.append(held[1])
    return tuple(numbers)


def _gradient(p: Tensor) -> Any:
    held: Any = p.grad
    return held.node()


def apply_updates(cohorts: Sequence[Cohort]) -> None:
    """One step of each, and what waits for it: one program for all."""
    for cohort in cohorts:
        cohort.let_go()
    with lock:  # no other thread runs while the values are used up
        steps = [cohort.record() for cohort in cohorts]
        effects = take_effects()
        found = iter(execute([*steps, *effects], using=True))
        for cohort in cohorts:
            cohort.take(found)
    for node in effects:
        forget(node, node.value)


ALONE = 3
"""References to a leaf that a storage, a name here and the count itself hold."""


def captured_update(
    row: Any,
    optimizer: Any,
    group: dict[str, Any],
    hyper: Mapping[str, Any],
    params: Sequence[Tensor],
    states: Sequence[Tensor],
    step: Tensor | None,
) -> None:
    """The update of a step under capture: step count and learning rate are inputs of the program."""
    capture = modes.capture
    dtype = row.number_dtype(params[0].dtype)
    rate = Leaf(None, (), dtype, params[0]._now().device)
    rate.value = 0.0
    rate.name = "lr"
    capture.rates[id(rate)] = (optimizer, group, rate)
    capture.keep.append(rate)
    held = [*params, *states, *([step] if step is not None else [])]
    for t in held:
        capture.reads(t)
        capture.rebinds(t._storage)
    counted = [step._storage.node] if step is not None else []
    options = tuple((k, v) for k, v in hyper.items() if k != "lr")
    names = ("lr", "step") if counted else ("lr",)
    captured = Step(len(params), options, names, captured=True)
    operands = (
        *(p._storage.node for p in params),
        *(p.grad.node() for p in params if p.grad is not None),
        *(s._storage.node for s in states),
        rate,
        *counted,
    )
    whole = Update(row, captured, operands)
    for k, t in enumerate(held):
        t._storage.node = Part(whole, k, t._storage.node)


__all__ = ["Cohort", "apply_updates", "captured_update"]
