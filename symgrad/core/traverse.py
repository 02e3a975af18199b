"""Walks over expression graphs: iterative, each node once, linear in the size of the graph."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager

from symgrad.core.expr import SYMBOL, Expr


@contextmanager
def many_nodes(count: int) -> Generator[None, None, None]:
    """A pass over a large graph, with garbage collection waiting: all it makes is in use.

    Otherwise the collector walks the growing graph again and again.
    """
    if count < 5_000 or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def topological(roots: Iterable[Expr], stop: Callable[[Expr], bool] | None = None) -> list[Expr]:
    """All nodes under ``roots``, arguments before users, in order of first need.

    Arguments of a node for which ``stop`` is true are not visited.
    """
    order: dict[Expr, None] = {}
    stack = list(roots)[::-1]
    while stack:
        node = stack[-1]
        if node not in order and (stop is None or not stop(node)):
            ready = True
            for a in node.args:
                if a not in order:
                    if a.args:
                        ready = False
                        break
                    order[a] = None
            if not ready:
                stack += node.args[::-1]  # the node is met again when these are in the order
                continue
        order[stack.pop()] = None
    return list(order)


def leaves(roots: Iterable[Expr]) -> list[Expr]:
    """The symbols under ``roots``, in order of first need."""
    return [e for e in topological(roots) if e.op is SYMBOL]


def transform(
    roots: Iterable[Expr],
    rewrite: Callable[[Expr], Expr],
    known: Mapping[Expr, Expr] | None = None,
) -> dict[Expr, Expr]:
    """Rebuild bottom-up: each node is made again over its new arguments, then ``rewrite`` is asked.

    ``known`` gives replacements that are not entered.
    """
    new: dict[Expr, Expr] = dict(known or {})
    fixed = set(new)
    for node in topological(roots, fixed.__contains__):
        if node in new:
            continue
        args = tuple(new[a] for a in node.args)
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        new[node] = rewrite(node if same else node.func(*args))
    return new


def substitute(roots: Iterable[Expr], table: Mapping[Expr, Expr]) -> list[Expr]:
    """``roots`` with the nodes in ``table`` replaced."""
    roots = list(roots)
    new = transform(roots, lambda e: e, table)
    return [new[r] for r in roots]


def users(order: Iterable[Expr]) -> dict[Expr, int]:
    """How many times each node of a topological order is an argument in it."""
    count: dict[Expr, int] = {}
    for node in order:
        count.setdefault(node, 0)
        for a in node.args:
            count[a] = count.get(a, 0) + 1
    return count
