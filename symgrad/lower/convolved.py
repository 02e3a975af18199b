"""Convolutions of single images as a person writes them: ``correlate(x, w)``, ``convolve(g, w)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symgrad_codegen.program import Apply, Operand, text

from symgrad.core.build import relabelling
from symgrad.core.expr import Expr
from symgrad.core.sizes import size_total
from symgrad.lower.align import FRONT

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering


def written_convolution(state: Lowering, node: Expr) -> Operand:
    """A valid correlation or a full convolution over all axes of an image; else as any node."""
    how, groups = node.params
    x, w = (_image(state, a) for a in node.args)
    plain = {*how.strides, *how.base, *how.dilation} == {1}
    if x is None or w is None or groups != 1 or not plain or x[1]:
        return state.dense(node)
    full = tuple((size_total(s, -1),) * 2 for s in node.args[1].shape[2:])
    if w[1] and how.padding == full:
        word = "convolve"
    elif not w[1] and set(how.padding) == {(0, 0)}:
        word = "correlate"
    else:
        return state.dense(node)
    made = Apply(text(f"{word}({{0}}, {{1}})"), (x[0], w[0]))
    return Apply(FRONT, (made,))


def _image(state: Lowering, e: Expr) -> tuple[Operand, bool] | None:
    """The array that ``e`` holds behind two axes of size 1, and is it turned around?"""
    if e.shape[:2] != (1, 1):
        return None
    value = state.value(e)
    if isinstance(value, Apply) and value.template == FRONT and relabelling(e) is None:
        return value.operands[0], False
    bare, axes = _unturned(e, set())
    if relabelling(bare) != tuple(range(2, e.ndim)):
        return None
    bare, axes = _unturned(bare.args[0], axes)
    return (state.value(bare), bool(axes)) if len(axes) in (0, bare.ndim) else None


def _unturned(e: Expr, axes: set[int]) -> tuple[Expr, set[int]]:
    """What ``flip`` is applied to, and the axes along which it is turned then."""
    while e.op.name == "flip":
        axes = axes ^ {e.params[0]}
        e = e.args[0]
    return e, axes


__all__ = ["written_convolution"]
