"""Small values that lie in one array: a program spends more on a result than on its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from symgrad.core.expr import Expr
from symgrad.core.sizes import Shape, size_product
from symgrad.ops.join import concatenate
from symgrad.ops.structure import reshape, slice_axis

SMALL = 2048
"""Elements up to which a value may lie in an array with others; copying more costs more."""

Place: TypeAlias = tuple[int, int, Shape]
"""Where a value lies in an array with others: from, to, in which shape."""


def is_small(shape: Shape) -> bool:
    """May a value of this shape lie in an array with others?"""
    size = size_product(shape)
    return isinstance(size, int) and size <= SMALL


def places(shapes: Iterable[Shape]) -> list[Place]:
    """Values of these shapes one after another.

    >>> places([(2, 3), ()])
    [(0, 6, (2, 3)), (6, 7, ())]
    """
    made: list[Place] = []
    start = 0
    for shape in shapes:
        size = size_product(shape)
        assert isinstance(size, int)
        stop = start + size
        made.append((start, stop, shape))
        start = stop
    return made


def joined(exprs: Sequence[Expr]) -> Expr:
    """All in one array."""
    return concatenate([reshape(e, (-1,)) for e in exprs])


def piece(whole: Expr, place: Place) -> Expr:
    """One of them."""
    start, stop, shape = place
    return reshape(slice_axis(whole, 0, start, stop), shape)


__all__ = ["Place", "is_small", "joined", "piece", "places"]
