"""A backward pass in several sweeps: it stops wherever code of the user's is called on the way.

That is at tensors with hooks or ``retain_grad()``, and at an ``autograd.Function`` whose ``backward``
reads values: what arrives there is computed, shown, and what comes back is swept on.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from symgrad.recording.record import Gradient, Leaf, Part, Record
from symgrad.recording.walk import operands_of

applied: weakref.WeakKeyDictionary[Any, tuple[Any, int]] = weakref.WeakKeyDictionary()
"""The application of a Function behind a record, and which of its outputs the record is."""


def stepwise(nodes: Iterable[Any]) -> list[Any]:
    """The nodes whose derivative cannot be written down: a ``backward`` that reads values."""
    if not applied:
        return []
    found = [n for n in nodes if type(n) is Record and n in applied]
    return [n for n in found if n.call.function.build.__self__.reads_values()]


def swept(
    root: Any,
    seed: Any,
    finals: Sequence[Any],
    shown: Sequence[tuple[Any, Callable[[Any], Any]]],
    functions: Sequence[Any],
    create: bool,
    add: Callable[[Sequence[Any]], Any],
    ones: Callable[[Any], Any],
) -> dict[int, Any]:
    """The gradients of ``root`` at the ``finals`` that it reaches, before hooks, by their ids.

    ``shown``: nodes, and what is made of the gradient there; ``add`` sums nodes, ``ones`` makes the
    seed of a scalar.
    """
    groups: dict[int, tuple[Any, list[Any]]] = {}
    for n in functions:
        application, _ = applied[n]
        groups.setdefault(id(application), (application, []))[1].append(n)
    fed = [o for a, _ in groups.values() for o in a.tracked() if type(o) is not Leaf]
    show = {id(n): change for n, change in shown}
    own = {id(n) for n in functions}
    stops = {id(n): n for n in (*(n for n, _ in shown), *functions, *fed, *finals)}
    turns: list[tuple[int, int, Any]] = [(-n.depth, 0, n) for n in {**stops, id(root): root}.values()
                                         if type(n) is not Leaf]  # fmt: skip
    turns += [(-min(n.depth for n in ns), 1, (a, ns)) for a, ns in groups.values()]
    turns.sort(key=lambda turn: turn[:2])
    total: dict[int, list[Any]] = {id(root): [ones(root) if seed is None else seed]}
    arrived_at: dict[int, Any] = {}
    for _, of_group, what in turns:
        if of_group:
            application, records = what
            arrived = {applied[n][1]: add(total[id(n)]) for n in records if id(n) in total}
            for node, part in application.pull(arrived, create) if arrived else ():
                total.setdefault(id(node), []).append(part)
            continue
        if id(what) not in total:
            continue
        incoming = arrived_at[id(what)] = add(total[id(what)])
        if id(what) in show:
            incoming = show[id(what)](incoming)
        total[id(what)] = [incoming]
        if id(what) in own:
            continue
        targets = tuple(_reached(what, stops))
        if targets:
            cut = Gradient(what, incoming, targets, create, True, partial=True)
            for k, target in enumerate(targets):
                total.setdefault(id(target), []).append(Part(cut, k, target))
    leaves = {id(n): add(total[id(n)]) for n in finals if type(n) is Leaf and id(n) in total}
    return {**arrived_at, **leaves}


def _reached(root: Any, stops: dict[int, Any]) -> Iterable[Any]:
    """The stops that lie under a node, not under one another.

    A gradient is made of the steps under what it differentiates, not of its value: there, every
    stop counts.
    """
    found: dict[int, Any] = {}
    done = {(id(root), False)}
    stack = [(root, False)]
    while stack:
        node, within = stack.pop()
        for k, o in enumerate(operands_of(node)):
            differentiated = k == 0 and type(node) is Gradient
            inside = within or differentiated
            if not o.tracked:
                continue
            if id(o) in stops and not differentiated:
                found[id(o)] = o
            if (id(o), inside) in done:
                continue
            done.add((id(o), inside))
            if inside or id(o) not in stops:
                stack.append((o, inside))
    return found.values()


__all__ = ["applied", "stepwise", "swept"]
