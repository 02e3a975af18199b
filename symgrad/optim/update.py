"""An optimizer's step as one record: new parameters and states, executed at once.

The record's operands are the parameters, their gradients (still pending), the states and the
scalars of the rule; executing it computes loss, gradients and update in one program, and whatever
else of the forward pass a tensor still shows.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter, is_
from sys import getrefcount
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.recording.execute import HELD, execute, held, lock, value
from symgrad.recording.pieces import is_small, places
from symgrad.recording.record import Leaf, Part, Step, Update, leaf_like, modes
from symgrad.tensors.creation import tensor
from symgrad.tensors.storage import Storage
from symgrad.tensors.tensor import Tensor


class Cohort:
    """Parameters of one group that have made equally many steps, with their states.

    ``owns``: their entries in the state of the optimizer; ``step``: the number of the coming step,
    2 for ever where the row only tells the first from others; ``count``: the tensor that says so in
    the entries of rows that count.

    ``tensors``: the parameters, and the states that are not in the ``pool``: small states lie in
    one array, the value of that leaf, at ``places``; their storages hold ``leaves``.
    """

    __slots__ = ("count", "held", "leaves", "options", "owns", "params", "places", "pool", "step",
                 "storages", "tensors", "version")  # fmt: skip

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
        if options.row.counts:
            self.count = tensor(float(step - 1))
            for own in owns:  # PyTorch's order of keys
                slots = {k: v for k, v in own.items() if k != "step"}
                own.clear()
                own.update({"step": self.count}, **slots)
        self.held = [value for own in owns for value in own.values()]
        states = [own[k] for p, own in zip(params, owns) for k in options.slots(p)]  # noqa: B905
        small = [t for t in states if _may_be_pooled(t, params[0])]
        chosen = set(map(id, small))
        self.tensors = [*params, *[t for t in states if id(t) not in chosen]]
        self.storages = [t._storage for t in small]
        self.leaves: list[Leaf] = [_leaf_of(s) for s in self.storages]
        where = iter(places([leaf.shape for leaf in self.leaves]))
        self.places = tuple([next(where) if id(t) in chosen else None for t in states])
        self.pool: Leaf | None = None
        if small:
            whole = np.concatenate([arrays.to_numpy(t.array()).ravel() for t in small])
            self.pool = Leaf(whole, whole.shape, small[0].dtype)
            self.pool.name = "states"

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
            and all(map(is_, map(_node, self.storages), self.leaves))
        )

    def record(self) -> Update:
        """The pending step."""
        params, options = self.params, self.options
        given = [p._grad for p in params]
        whole = given[0][0] if set(map(type, given)) == _TUPLE else None
        bundle: tuple[int, ...] | None = None
        if whole is not None and whole.value is None:
            bundle = tuple([k for w, k in given if w is whole])
        nodes = [t._storage.now() for t in self.tensors]
        count = len(params)
        if bundle is not None and len(bundle) == count:
            nodes.insert(count, whole)
        else:
            bundle = None
            nodes[count:count] = [_gradient(p) for p in params]
        pool: tuple[Any, ...] = ()
        if self.pool is not None:
            pool = self.places
            nodes.append(self.pool)
        names, numbers = options.scalars(self.step, params[0]._storage.node)
        nodes.append(numbers)
        step = Step(count, options.switches, names, False, bundle, pool)
        return Update(options.row, step, tuple(nodes))

    def let_go(self) -> None:
        """Make what holds the values before the step independent of it.

        Leaves of states that something else holds keep their values: the states get new ones.
        """
        for p in self.params:
            p._leaf = None
        leaves = self.leaves
        if max(map(getrefcount, leaves), default=0) <= HELD + 1:
            return
        for k, storage in enumerate(self.storages):
            if getrefcount(leaves[k]) > ALONE:
                old = leaves[k]
                held(old)
                leaves[k] = leaf_like(old, None)
                leaves[k].name = old.name
                storage.rebind(leaves[k])

    def take(self, found: Iterator[Any]) -> None:
        """Rebind every parameter and state to its value after the step."""
        for target, new in zip(self.tensors, found):  # noqa: B905 - goes on
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
            if (
                old.value is None
            ):  # used up: no derivative reads it again; a thread may, see execute
                old.outdated = weakref.ref(storage), storage.version
                storage.node = made
                storage.version += 1
            else:
                storage.rebind(made)
        if self.pool is not None:
            whole = self.pool.value = next(found)
            inside = [p for p in self.places if p is not None]
            for storage, leaf, place in zip(self.storages, self.leaves, inside, strict=True):
                leaf.value = whole, place
                storage.version += 1
        if self.count is None:
            self.step = 2
            return
        storage = self.count._storage
        storage.node = leaf_like(storage.node, np.asarray(self.step, np.float32))
        storage.version = self.version = self.version + 1
        self.step += 1


_TUPLE = {tuple}


_node = attrgetter("node")


def _may_be_pooled(state: Tensor, like: Tensor) -> bool:
    """Is a state small, nobody else's memory, and of the kind of its parameter?"""
    node = state._storage.node
    return (
        not node.tracked
        and state._view is None
        and state._storage.shared is None
        and node.device == "cpu"
        and node.dtype is like.dtype
        and is_small(node.shape)
    )


def _leaf_of(storage: Storage) -> Leaf:
    """The leaf of a state; what was pending (a copy that was loaded) is computed."""
    if type(storage.node) is not Leaf:
        storage.node = leaf_like(storage.node, value(storage.node))
    return storage.node


def _gradient(p: Tensor) -> Any:
    held: Any = p.grad
    return held.node()


def apply_updates(cohorts: Sequence[Cohort]) -> None:
    """One step of each: one program for all."""
    for cohort in cohorts:
        cohort.let_go()
    with lock:  # no other thread runs while the values are used up
        found = iter(execute([cohort.record() for cohort in cohorts], using=True))
        for cohort in cohorts:
            cohort.take(found)


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
    dtype = params[0].dtype
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
