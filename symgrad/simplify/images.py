"""Axes turned around, and correlations of single images: one node for each of them.

A turn goes below a move of axes and meets others there.  The correlation of a padded image with a
larger one, at whose every place the whole image is seen, is that of the larger with the image.
"""

from __future__ import annotations

from symgrad.core.build import ONE, SUM, contract, linear, relabelling, scale, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import size_total
from symgrad.lower.terms import common_content
from symgrad.ops.axis import along
from symgrad.ops.convolution import convolution, window


def turned(e: Expr) -> Expr:
    """``flip`` below moves of axes; two along the same axis cancel."""
    a = e
    moves: list[tuple[Labels, Expr]] = []
    axes = set[int]()  # of what is reached, still to be turned
    while True:
        if a.op.name == "flip":
            axes ^= {a.params[0] + a.ndim}
            a = a.args[0]
            continue
        labels = relabelling(a)
        if labels is None or len({*labels} - {-1}) < len(labels) - labels.count(-1):
            break
        moves.append((labels, a))
        axes = {labels.index(k) for k in axes if k in labels}
        a = a.args[0]
    for k in sorted(axes):
        a = along("flip", a, k)
    for labels, moved in reversed(moves):
        sizes = dict(enumerate(moved.shape))
        a = contract([a], [labels], range(moved.ndim), sizes, moved.dtype)
    return a


def scaled_out(e: Expr) -> Expr:
    """A number of all terms of an image or a filter in front of the convolution."""
    parts: list[Expr] = []
    front = ONE
    for a in e.args:
        inner = a.args[0] if relabelling(a) is not None else a
        number = ONE
        if inner.op is SUM and inner.args:
            numbers = [c for c, _, _ in terms_of(inner)]
            number = numbers[0] if len(numbers) == 1 else common_content(numbers)
        if number.is_one or number.is_zero:
            parts.append(a)
            continue
        front = front * number
        rest = [(c / number, b, ls) for c, b, ls in terms_of(inner)]
        bare = linear(rest, inner.shape, inner.dtype)
        parts.append(bare if inner is a else a.func(bare))
    return e if front.is_one else scale(front, e.func(*parts))


def correlated(e: Expr) -> Expr:
    """``Σⱼ x[j] w[j + p − s] = flip(correlate(w, x))`` for an image x with p zeros on both sides."""
    how, _ = e.params
    if (scaled := scaled_out(e)) is not e:
        ((c, made, _),) = terms_of(scaled)
        return scale(c, correlated(made))
    x, w = e.args
    plain = {*how.strides, *how.base, *how.dilation} == {1}
    if not plain or x.shape[:2] != (1, 1) or w.shape[:2] != (1, 1) or set(how.padding) == {(0, 0)}:
        return e
    for (before, after), n, m in zip(how.padding, x.shape[2:], w.shape[2:], strict=True):
        if before != after or size_total(n, before) != m:
            return e
    made = convolution(w, x, window(how.rank))
    for k in range(how.rank):
        made = along("flip", made, k - how.rank)
    return made


__all__ = ["correlated", "turned"]
