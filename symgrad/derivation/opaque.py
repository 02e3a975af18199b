"""Calls in formulas, by name: functions from elsewhere, marked where they are no mathematics; scans."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.core.expr import Expr
from symgrad.core.traverse import topological
from symgrad.derivation.notation import Form, call, product, subscript, transposed
from symgrad.errors import NotationError
from symgrad.ops.outputs import PROJECT
from symgrad.ops.scan import SCAN

REMARK = "(not symbolic: derivative by jax.vjp)"


def opaque_call(e: Expr) -> Expr | None:
    """The call of a function from elsewhere, or the scan, whose result ``e`` is."""
    node = e.args[0] if e.op.name == "project" else e
    return node if node.op.function is not None or node.op is SCAN else None


def is_result(e: Expr) -> bool:
    """Is it a result of a scan?"""
    return e.op is PROJECT and e.args[0].op is SCAN


def of_every_step(e: Expr) -> bool:
    """Is it what every step of a scan makes, not only the last one?"""
    return is_result(e) and e.params[0] >= len(e.args[0].params[0].states)


def opaque_form(e: Expr, parts: Sequence[Form]) -> Form:
    """``jax:f(u)``, or ``vjp[jax:f](u)ᵀ δz``; of several results, ``jax:f₂(u)``."""
    node = opaque_call(e)
    assert node is not None
    word = node.op.text + (subscript(e.params[0] + 1) if node is not e else "")
    if node.op is SCAN:
        return call(word, *parts)
    split = node.params[1]
    value = call(word, *parts[:split])
    seeds = parts[split:]
    if not seeds:
        return value
    return product([transposed(value), seeds[0] if len(seeds) == 1 else call("", *seeds)])


def remark(*exprs: Expr) -> str:
    """What is to be said behind a line of them: nothing, or that a derivative is not symbolic."""
    return REMARK if any("opaque derivative" in x.op.traits for x in topological(exprs)) else ""


def check_numpy(e: Expr) -> None:
    """NotationError where ``e`` calls a function that only JAX can run, or is a loop."""
    order = topological([e])
    if any(x.op is SCAN for x in order):
        raise NotationError(
            "A scan is a loop over steps, so there is no NumPy expression of it.",
            "Compile the tensor (sg.compile) and call it.",
        )
    foreign = next((x.op for x in order if x.op.function is not None), None)
    if foreign is not None:
        raise NotationError(
            f"{foreign.name} is a function written in JAX, so there is no NumPy expression of it.",
            "Compile the tensor (sg.compile) and call it.",
        )


__all__ = [
    "REMARK", "check_numpy", "is_result", "of_every_step", "opaque_call", "opaque_form", "remark",
]  # fmt: skip
