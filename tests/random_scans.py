"""Steps of random programs: what goes through a sequence step by step."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from symgrad.core import dtypes
from symgrad.core.build import elementwise
from symgrad.core.expr import symbol
from symgrad.ops import scan
from tests.random_programs import Plan, Program


def _delay(program: Program) -> None:
    k = program.operand(lambda node: node.value.ndim > 0, program.shape() or (2,))
    shape = program.nodes[k].expr.shape
    axis = program.choose(len(shape)) - len(shape)
    rest = (*shape[:axis], *shape[len(shape) + axis + 1 :])
    first = program.operand(lambda node: node.expr.shape == rest, rest)
    reverse = bool(program.choose(2))

    def function(x: Any, y: Any) -> Any:
        parts = [jnp.expand_dims(y, axis), x]
        whole = jnp.concatenate(parts[::-1] if reverse else parts, axis)
        return jnp.take(whole, jnp.arange(x.shape[axis]) + reverse, axis)

    program.emit(f"delay {axis} {reverse}", lambda x, y: scan.delay(x, y, axis, reverse),
                 function, k, first)  # fmt: skip


def _scan(program: Program) -> None:
    """The state h ← tanh(a h + x) and the output h x of every step; one of the three results."""
    xs = program.bounded(program.operand(lambda node: node.value.ndim > 0, program.shape() or (3,)))
    shape = program.nodes[xs].expr.shape[1:]

    def beside() -> int:
        return program.bounded(program.operand(lambda node: node.expr.shape == shape, shape))

    first, a = beside(), beside()
    reverse, which = bool(program.choose(2)), program.choose(3)
    h, x, c = (symbol(f"scan_{w}", shape, dtypes.float64) for w in "hxa")
    following = elementwise("tanh", c * h + x)
    body = scan.Body((h,), (x,), (c,), (following,), (following * x,))

    def function(first: Any, xs: Any, a: Any) -> Any:
        state, states, outputs = first, [], []
        for x in xs[::-1] if reverse else xs:
            state = jnp.tanh(a * state + x)
            states.append(state)
            outputs.append(state * x)
        turn = -1 if reverse else 1
        return (state, jnp.stack(states[::turn]), jnp.stack(outputs[::turn]))[which]

    program.emit(
        f"scan {reverse} [{which}]",
        lambda first, xs, a: scan.scan_of(body, [first], [xs], [a], reverse)[which],
        function, first, xs, a,
    )  # fmt: skip


SCAN_STEPS: dict[str, Plan] = {"delay": _delay, "scan": _scan}
