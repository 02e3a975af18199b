"""The index letters that are usual for the axes of an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from symgrad.core.expr import Expr
from symgrad.core.sizes import Size
from symgrad.core.traverse import topological
from symgrad.derivation.tidy import Lines

Letters = list[tuple[Size, str]]


def _convolution(e: Expr) -> Letters:
    """Channel k, filter l, r t within the window, u v the place of it, p o the entry."""
    x, w = e.args
    rows = [(x.shape[1:2], "k"), (w.shape[:1], "l")]
    if e.params[0].rank <= 2:
        rows += [(w.shape[2:], "rt"), (e.shape[2:], "uv"), (x.shape[2:], "po")]
    return [pair for sizes, word in rows for pair in zip(sizes, word, strict=False)]


def _pooling(e: Expr) -> Letters:
    """r t within the window, u v the place of it, p o the entry."""
    lengths, how = e.params
    if how.rank > 2:
        return []
    rows = [(lengths, "rt"), (e.shape[-how.rank :], "uv"), (e.args[0].shape[-how.rank :], "po")]
    return [pair for sizes, word in rows for pair in zip(sizes, word, strict=False)]


USUAL: dict[str, Callable[[Expr], Letters]] = {"convolution": _convolution, "window_sum": _pooling}
"""Operation → sizes and their letters."""


def usual_letters(lines: Lines) -> Iterator[tuple[Size, str]]:
    """Sizes in the expressions of lines and their letters."""
    if USUAL.keys().isdisjoint([op.name for op in lines.operations]):
        return
    for node in topological([d.expr for d in lines.definitions]):
        if node.op.name in USUAL:
            yield from USUAL[node.op.name](node)


__all__ = ["usual_letters"]
