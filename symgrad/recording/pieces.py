"""Small values that lie in one array: a call spends more on an argument or result than on its numbers.

A piece is the tuple ``(array, place)`` in the place of a value.  The arrays are never used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from symgrad_codegen import arrays

from symgrad.core.sizes import Shape, size_product

SMALL = 2048
"""Elements up to which a value may lie in an array with others; copying more costs more."""

Place: TypeAlias = tuple[int, int, Shape]
"""Where a value lies in an array with others: from, to, in which shape."""


def is_small(shape: Shape) -> bool:
    """May a value of this shape lie in an array with others?"""
    size = size_product(shape)
    return isinstance(size, int) and size <= SMALL


@lru_cache(4096)
def _place(start: int, shape: Shape) -> Place:
    """Equal places are one object, so that they are compared fast."""
    size = size_product(shape)
    assert isinstance(size, int)
    return start, start + size, shape


def places(shapes: Iterable[Shape]) -> list[Place]:
    """Values of these shapes one after another.

    >>> places([(2, 3), ()])
    [(0, 6, (2, 3)), (6, 7, ())]
    """
    made: list[Place] = []
    start = 0
    for shape in shapes:
        made.append(_place(start, shape))
        start = made[-1][1]
    return made


def joined(values: Sequence[Any], size: int) -> Any:
    """All in one array of the host of this size that nobody writes into; zeros fill it up."""
    if not values:
        return None
    whole = np.zeros(size, arrays.to_numpy(values[0]).dtype)
    start = 0
    for v in values:
        flat = arrays.to_numpy(v).ravel()
        whole[start : start + flat.size] = flat
        start += flat.size
    whole.flags.writeable = False
    return whole


def unpacked(value: Any) -> Any:
    """The array of a value; a piece is a view into its array."""
    if type(value) is not tuple:
        return value
    whole, (start, stop, shape) = value
    return arrays.to_numpy(whole)[start:stop].reshape(shape)


def whole_of(values: Sequence[Any], size: int, taken: Sequence[tuple[int, Place]]) -> Any:
    """The array of this size in which all values at the numbers lie at their places, or None."""
    first = values[taken[0][0]]
    if type(first) is not tuple:
        return None
    whole = first[0]
    for number, place in taken:
        value = values[number]
        if type(value) is not tuple or value[0] is not whole or value[1] is not place:
            return None
    return whole if whole.shape[0] == size else None


def picker(numbers: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The function that takes some places of a sequence."""
    if len(numbers) > 1:
        return itemgetter(*numbers)
    return lambda values: [values[k] for k in numbers]


__all__ = ["Place", "is_small", "joined", "picker", "places", "unpacked", "whole_of"]
