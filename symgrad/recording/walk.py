"""Walks over graphs of records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from symgrad.core import equal
from symgrad.recording.record import Leaf, Record


def operands_of(node: Any) -> tuple[Any, ...]:
    """The operands of a node; of one that stands for several, what these begin with."""
    return node.given if type(node) is Record and node.recalled is not None else node.operands


def walk(roots: Iterable[Any], cut: Callable[[Any], bool], *, recalled: bool = False) -> list[Any]:
    """Nodes under ``roots``, operands first, each once; nodes for which ``cut`` holds are ends.

    With ``recalled``, a record that stands for several remains one.
    """
    order: list[Any] = []
    opened: set[int] = set()
    done: set[int] = set()
    stack = list(roots)
    stack.reverse()
    while stack:
        node = stack[-1]
        key = id(node)
        if key in done:
            stack.pop()
            continue
        if key not in opened:
            opened.add(key)
            if not cut(node):
                below = len(stack)
                if type(node) is Leaf and node.source is not None:
                    stack.append(node.source)
                operands = operands_of(node) if recalled else node.operands
                if operands:
                    stack += [o for o in reversed(operands) if id(o) not in done]
                if len(stack) > below:
                    continue
        stack.pop()
        done.add(key)
        order.append(node)
    return order


def equalities_of(order: Iterable[Any]) -> equal.Equalities:
    """The letters that are one in these nodes: declared when they were made, or now."""
    found: dict[str, Any] = {}
    for node in order:
        if type(node) is Record and node.call.equal:
            found.update(node.call.equal)
    return {**found, **equal.state.table}
