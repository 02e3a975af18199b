"""What the orders of a product are told apart by: factors, their names and costs, what was met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from symgrad_codegen.program import Operand

from symgrad.core.expr import Expr
from symgrad.core.sizes import Size
from symgrad.lower.alive import Alive, Counts

EXTENT = 64
"""Extent assumed for a size letter when orders of a product are compared."""
SPAN = 32
"""How many times larger than that one letter is at a tall or wide setting."""


Cost = tuple[int, Counts, Counts, int]
NOTHING: Cost = (0, (), (), 0)


class Name:
    """A value by the parts that it is made of, which tell it apart; hashed once, as they nest."""

    __slots__ = ("_hash", "parts")

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Name) and self._hash == other._hash and self.parts == other.parts
        )


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of a product: its axes carry labels; ``under`` the fraction bar or above.

    ``name`` tells values apart without a walk over their operands.  ``cost``: operations, work, the
    most entries of a partial product, departures from the order from left to right; ``made``:
    operations and work of the partial products in it; ``lead``: labels of its leftmost matrix.
    """

    value: Operand = field(compare=False)
    labels: tuple[int, ...]
    name: Name
    under: bool = False
    cost: Cost = NOTHING
    made: Mapping[Name, tuple[int, Counts]] = field(default_factory=dict[Name, Any], compare=False)
    symmetric: bool = False
    lead: tuple[int, ...] = ()


Plan = tuple[tuple[int, int], ...]
"""Which two of the factors meet, step by step; −1 and the number of one that is turned, 1 / f."""


@dataclass(slots=True)
class Orders:
    """What one text has met so far: products to use again, and the shapes of its variables.

    ``names`` holds for each product the nodes that have it; one node uses those of others.
    """

    names: dict[Name, frozenset[Expr | None]] = field(
        default_factory=dict[Name, frozenset[Expr | None]]
    )
    node: Expr | None = None  # whose product is written
    symmetric: Callable[[Expr], bool] = lambda _: False
    late: bool = False  # of orders that cost the same, the last one found
    settings: Sequence[Mapping[str, int]] = ({},)
    known: dict[Size, Counts] = field(default_factory=dict[Size, Counts])  # at these settings
    alive: Alive = field(default_factory=Alive)
    sized: dict[int, tuple[Operand, tuple[Counts, ...]]] = field(default_factory=dict[int, Any])
    """The extents of variables, by identity."""
    plans: dict[Any, Plan] = field(default_factory=dict[Any, Any])
    """The orders that were found best, by what they depend on."""

    def __post_init__(self) -> None:
        """Values alive are counted at the same settings."""
        self.alive.entries = self.entries

    def met(self, factor: Factor) -> None:
        """Remember a product that will be written."""
        for name in factor.made:
            self.names[name] = self.names.get(name, frozenset()) | {self.node}

    def extents(self, size: Size) -> Counts:
        """A size at every setting."""
        if isinstance(size, int):
            return (max(size, 1),) * len(self.settings)
        found = self.known.get(size)
        if found is None:
            found = self.known[size] = tuple(
                max(int(size.value({x: s.get(x, EXTENT) for x in size.letters})), 1)
                for s in self.settings
            )
        return found

    def entries(self, sizes: Iterable[Size]) -> Counts:
        """Entries of a tensor at every setting."""
        return volume([self.extents(s) for s in sizes], len(self.settings))


def settings_of(letters: Sequence[str]) -> tuple[Mapping[str, int], ...]:
    """Sizes of the letters: all equal, and each of them large."""
    if len(letters) < 2:
        return ({},)
    return ({}, *({x: EXTENT * SPAN} for x in letters))


def added(*counts: Counts) -> Counts:
    """The sums; an empty one is none."""
    return tuple(map(sum, zip(*filter(None, counts), strict=True)))


def largest(a: Counts, b: Counts) -> Counts:
    """The larger ones."""
    return tuple(map(max, a, b)) if a and b else a or b


def within(a: Counts, b: Counts) -> bool:
    """Is ``a`` at most ``b`` at every setting?"""
    return all(x <= y for x, y in zip(a, b, strict=True)) if a and b else not a


def volume(extents: Sequence[Counts], settings: int) -> Counts:
    """The entries over axes of these extents, at every setting."""
    return tuple(map(prod, zip(*extents, strict=True))) if extents else (1,) * settings


__all__ = [
    "EXTENT",
    "NOTHING",
    "SPAN",
    "Cost",
    "Factor",
    "Name",
    "Orders",
    "Plan",
    "added",
    "largest",
    "settings_of",
    "volume",
    "within",
]
