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
    x, w = (_image(a) for a in node.args)
    plain = {*how.strides, *how.base, *how.dilation} == {1}
    if x is None or w is None or groups != 1 or not plain or x[1]:
        return state.dense(node)
    full = tuple((size_total(s, -1),) * 2 for s in w[0].shape)
    if w[1] and how.padding == full:
        word = "convolve"
    elif not w[1] and set(how.padding) == {(0, 0)}:
        word = "correlate"
    else:
        return state.dense(node)
    made = Apply(text(f"{word}({{0}}, {{1}})"), (state.value(x[0]), state.value(w[0])))
    return Apply(FRONT, (made,))


def _image(e: Expr) -> tuple[Expr, bool] | None:
    """The array that ``e`` holds behind two axes of size 1, and is it turned around?"""
    axes: set[int] = set()
    while e.op.name == "flip":
        axes ^= {e.params[0]}
        e = e.args[0]
    labels = relabelling(e)
    if e.shape[:2] != (1, 1) or labels != tuple(range(2, e.ndim)):
        return None
    if axes not in (set(), set(range(2 - e.ndim, 0))):
        return None
    return e.args[0], bool(axes)


__all__ = ["written_convolution"]
