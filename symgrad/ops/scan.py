"""``scan``: one step after the other, each from the state that the last one left.

The body of a scan is a closed expression over symbols of its own; what the steps share comes in as
operands, so that two scans with equal bodies over equal operands are one node.  The node stands for
the tuple of the last states, the states after all steps, and the outputs of all steps: what its
derivative needs is there already.  ``delay`` moves a sequence by a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from symgrad.core.build import is_zero, zeros
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size
from symgrad.ops.outputs import projections
from symgrad.ops.row import Template, form
from symgrad.ops.structure import select


@dataclass(frozen=True, repr=False)
class Body:
    """One step: ``following`` states and ``outputs`` over the symbols of all operands.

    ``states``, ``inputs``, ``fixed`` are these symbols: of the state before the step, of the slices
    of this step, and of what is the same in all steps.
    """

    states: tuple[Expr, ...]
    inputs: tuple[Expr, ...]
    fixed: tuple[Expr, ...]
    following: tuple[Expr, ...]
    outputs: tuple[Expr, ...]

    @property
    def symbols(self) -> tuple[Expr, ...]:
        """One symbol per operand of the scan."""
        return (*self.states, *self.inputs, *self.fixed)

    @property
    def results(self) -> tuple[Expr, ...]:
        """What a step makes."""
        return (*self.following, *self.outputs)

    def over(self, results: Sequence[Expr]) -> Body:
        """The same symbols with other results."""
        count = len(self.states)
        return Body(
            self.states, self.inputs, self.fixed, tuple(results[:count]), tuple(results[count:])
        )

    def __repr__(self) -> str:
        """A digest, the same in every process: nodes are ordered by it."""
        parts = [self.states, self.inputs, self.fixed, self.following, self.outputs]
        rows = (b"".join(e.digest for e in part) for part in parts)
        return f"Body({blake2b(b'|'.join(rows), digest_size=12).hexdigest()})"


def steps_of(node: Expr) -> Size:
    """How many steps a scan makes."""
    body: Body = node.params[0]
    return node.args[len(body.states)].shape[0]


def operands_of(node: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...], tuple[Expr, ...]]:
    """First states, inputs with the steps as their first axis, and what all steps share."""
    body: Body = node.params[0]
    first = len(body.states)
    second = first + len(body.inputs)
    return node.args[:first], node.args[first:second], node.args[second:]


def _outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[tuple[Shape, DType], ...]:
    body: Body = params[0]
    count = args[len(body.states)].shape[0]
    return (
        *((e.shape, e.dtype) for e in body.following),
        *(((count, *e.shape), e.dtype) for e in body.results),
    )


SCAN = Op("scan", "scan", outputs=_outputs, text="scan")
"""Operands: first states, inputs, shared values.  Parameters: the :class:`Body`; whether the last
step comes first (an output stands where the input of its step stands)."""


def scan_of(
    body: Body,
    states: Sequence[Expr],
    inputs: Sequence[Expr],
    fixed: Sequence[Expr],
    reverse: bool = False,
) -> tuple[Expr, ...]:
    """Last states, then ``(T, …)``: states after the steps, and outputs.

    The operands fit the symbols of the body.
    """
    return projections(apply(SCAN, (*states, *inputs, *fixed), (body, reverse)))


# ------------------------------------------------------------------ delay


def _delay_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Shape, DType]:
    return args[0].shape, args[0].dtype


def _delay_template(node: Expr) -> Template:
    axis, reverse = node.params
    parts = "{0}, XP.expand_dims({1}, AXIS)" if reverse else "XP.expand_dims({1}, AXIS), {0}"
    index = ", ".join(["...", "1:" if reverse else ":-1", *[":"] * (-axis - 1)])
    index = index.removeprefix("..., ") if node.ndim == -axis else index
    text = f"XP.concatenate(({parts}), axis=AXIS)[{index}]".replace("AXIS", str(axis))
    return form(text.replace("XP", "jnp"), text.replace("XP", "np"), 2)


def _delay_vjp(node: Expr, g: Expr) -> tuple[Expr, Expr]:
    """x̄ is ḡ a step earlier, and the first value gets the first of ḡ."""
    axis, reverse = node.params
    first = node.args[1]
    nothing = zeros((*g.shape[: g.ndim - node.ndim], *first.shape), g.dtype)
    return delay(g, nothing, axis, not reverse), select(g, axis, -1 if reverse else 0)


def _delay_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    return args[0] if all(map(is_zero, args)) else apply(OPS["delay"], args, params)


Op("delay", "structure", infer=_delay_infer, vjp=_delay_vjp, template=_delay_template,
   text="delay", build=_delay_build)  # fmt: skip


def delay(e: Expr, first: Expr, axis: int, reverse: bool = False) -> Expr:
    """``first, e₀, …, e_{T−2}`` along an axis counted from the end; reverse: ``e₁, …, first``."""
    return _delay_build((e, first), (axis, reverse))


__all__ = ["SCAN", "Body", "delay", "operands_of", "scan_of", "steps_of"]
