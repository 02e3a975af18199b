"""Anomaly detection: which operation's derivative made the first nan, and where it was called.

Before a gradient is recorded, the sweep is run once with arrays, operation by operation, each with
its own derivative and without simplification across operations.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.autodiff import pull_back
from symgrad.core.expr import symbol
from symgrad.evaluate import evaluate
from symgrad.recording.execute import execute, held, value
from symgrad.recording.grad_fn import title_of
from symgrad.recording.record import Gradient, Leaf, Part, Record, build, modes
from symgrad.recording.walk import walk

Array = np.ndarray[Any, Any]


def inspect(root: Any, seed: Any) -> None:
    """RuntimeError where the derivative of an operation under ``root`` gives a nan.

    ``seed`` is the node of the incoming gradient, None for 1.  Under ``compile`` there are no
    values to look at, and nothing happens.
    """
    if modes.capture is not None:
        return
    order = walk([root], lambda n: type(n) is not Record or not n.tracked)
    order = [n for n in order if n.tracked]
    needed = {id(o): o for n in order if type(n) is Record for o in n.operands}
    pending = [n for n in needed.values() if type(n) is not Leaf and n.value is None]
    if pending:
        execute(pending)
    first = np.ones(root.shape, root.dtype.numpy) if seed is None else _array(seed)
    adjoints: dict[int, Array] = {id(root): first}
    for node in reversed(order):
        incoming = adjoints.pop(id(node), None)
        if incoming is None or type(node) is Leaf:
            continue
        for place, operand, part in _local(node, incoming):
            if np.isnan(part).any():
                raise RuntimeError(_told(node, place))
            known = adjoints.get(id(operand))
            adjoints[id(operand)] = part if known is None else known + part


def _array(node: Any) -> Array:
    return np.asarray(arrays.to_numpy(value(node)))


def _local(node: Any, incoming: Array) -> Iterator[tuple[int, Any, Array]]:
    """(position, operand, gradient) for every tracked operand of one operation."""
    if type(node) is not Record:
        yield from _whole(node, incoming)
        return
    given = [symbol(f"x{k}", o.shape, o.dtype, number=k + 1) for k, o in enumerate(node.operands)]
    made = build(node.function, node.statics, given)
    seed = symbol("g", made.shape, made.dtype, number=-4)
    wanted = [k for k, o in enumerate(node.operands) if o.tracked and o.dtype.differentiable]
    parts = pull_back({made: seed}, [given[k] for k in wanted])
    found = [(k, p) for k, p in zip(wanted, parts, strict=True) if p is not None]
    feeds = {x: _array(o) for x, o in zip(given, node.operands, strict=True)}
    results = evaluate([p for _, p in found], {**feeds, seed: incoming})
    for (k, _), result in zip(found, results, strict=True):
        yield k, node.operands[k], result


def _whole(node: Any, incoming: Array) -> Iterator[tuple[int, Any, Array]]:
    """The same for a gradient that was recorded to be differentiated again: down to the leaves."""
    leaves = [n for n in walk([node], lambda n: not n.tracked) if type(n) is Leaf and n.tracked]
    seed = Leaf(incoming, node.shape, node.dtype, node.device)
    whole = Gradient(node, seed, tuple(leaves), False, True)
    parts = [Part(whole, k, n) for k, n in enumerate(leaves)]
    execute(parts)
    for k, (leaf, part) in enumerate(zip(leaves, parts, strict=True)):
        yield k, leaf, np.asarray(arrays.to_numpy(held(part)))


def _told(node: Any, place: int) -> str:
    told = f"Function '{title_of(node)}' returned nan values in its {place}th output."
    if node.place is None:
        return (
            f"{told} No forward pass information available. Enable detect anomaly during forward "
            "pass for more information."
        )
    frame, line = node.place
    source = linecache.getline(frame, line).strip()
    return f'{told} The forward call is at\n  File "{frame}", line {line}\n    {source}'
