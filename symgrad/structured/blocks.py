"""Solving with a matrix of blocks: Schur complements of what has structure, the rest dense.

A diagonal block that is positive definite for certain and cheaper than dense (a diagonal, a product
over axes, few columns, three diagonals) is eliminated; blocks that do not touch one another go
together.  ``S = D − C A⁻¹ B`` is what is left, solved by LU.

Source: Golub and Van Loan, *Matrix Computations*, 4th ed. (2013), 3.2.6; Zhang, *The Schur
Complement and Its Applications* (2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symgrad.core.build import add, contract, is_zero, scale
from symgrad.core.expr import Expr
from symgrad.core.sizes import shape_text, size_product
from symgrad.errors import ShapeError
from symgrad.lower.pairs import extent_of
from symgrad.ops.join import concatenate
from symgrad.ops.matrix import logdet, solve
from symgrad.ops.structure import reshape, slice_axis
from symgrad.structured.groups import system_of
from symgrad.structured.operator import LinearMap
from symgrad.structured.signs import ABOVE, sign_of
from symgrad.structured.solving import Plan, plan
from symgrad.structured.systems import Dense

Maps = Sequence[Sequence[LinearMap]]


@dataclass(frozen=True)
class BlockPlan:
    """``pivots``: the variables that are eliminated, each with its way; the ``rest`` is dense."""

    maps: Maps
    pivots: Mapping[int, Plan]
    rest: tuple[int, ...]

    def solve(self, right: Sequence[Expr]) -> list[Expr]:
        """The vectors that the blocks take to ``right``, one for each variable."""
        given = list(right)
        for b, row in zip(given, self.maps, strict=True):
            if b.shape != row[0].out_shape:
                raise ShapeError(
                    f"solve: the right-hand side is {shape_text(b.shape)}, but the rows are "
                    f"{shape_text(row[0].out_shape)}"
                )
        start = {p: way.solve(given[p]) for p, way in self.pivots.items()}
        found = dict(start)
        if self.rest:
            short = [
                add([given[i], *(scale(-1, self._applied(i, p, y)) for p, y in start.items())])
                for i in self.rest
            ]
            column = concatenate([reshape(b, (size_product(b.shape), 1)) for b in short], 0)
            whole = solve(self._complement(), column)
            found.update(self._parted(whole))
        for p, way in self.pivots.items():
            moved = [self._applied(p, j, found[j]) for j in self.rest]
            if moved:
                found[p] = start[p] - way.solve(add(moved))
        return [found[k] for k in range(len(self.maps))]

    def logdet(self) -> Expr:
        """log det; NaN where the determinant is negative."""
        parts = [way.logdet() for way in self.pivots.values()]
        if self.rest:
            parts.append(logdet(self._complement()))
        return add(parts)

    def text(self, words: Sequence[str]) -> str:
        """What is eliminated and how, and what is left."""
        parts = [f"{words[p]}: {way.text()}" for p, way in self.pivots.items()]
        if self.rest:
            names = ", ".join(words[i] for i in self.rest)
            what = "the Schur complement" if self.pivots else "all blocks"
            parts.append(f"{names}: {what} by LU (sign not known)")
        return "; then ".join(parts)

    def _applied(self, i: int, j: int, v: Expr) -> Expr:
        """Block (i, j) times what has the axes of variable j in front."""
        m = self.maps[i][j]
        depth = len(m.in_shape)
        rows = range(m.outputs)
        behind = range(m.rank, m.rank + v.ndim - depth)
        labels = [range(m.rank), [*range(m.outputs, m.rank), *behind]]
        sizes = {**dict(enumerate(m.out_shape)), **dict(zip(behind, v.shape[depth:], strict=True))}
        return contract([m.dense(), v], labels, [*rows, *behind], sizes, v.dtype)

    def _complement(self) -> Expr:
        """``D − C A⁻¹ B`` of the rest, as one matrix."""
        rows: list[Expr] = []
        for i in self.rest:
            row: list[Expr] = []
            for j in self.rest:
                parts = [self.maps[i][j].dense()]
                for p, way in self.pivots.items():
                    side = self.maps[p][j].dense()
                    if not is_zero(side) and self.maps[i][p].terms:
                        parts.append(scale(-1, self._applied(i, p, way.solve(side))))
                row.append(reshape(add(parts), self.maps[i][j].shape))
            rows.append(concatenate(row, 1))
        return concatenate(rows, 0)

    def _parted(self, whole: Expr) -> dict[int, Expr]:
        """The column of all of the rest as one tensor per variable."""
        found: dict[int, Expr] = {}
        at = 0
        for i in self.rest:
            size = self.maps[i][i].shape[0]
            part = whole
            if len(self.rest) > 1:
                if not isinstance(size, int):
                    raise ShapeError("solve: the sizes of several blocks must be numbers")
                part = slice_axis(whole, 0, at, at + size)
                at += size
            found[i] = reshape(part, self.maps[i][i].in_shape)
        return found


def block_plan(maps: Maps, sizes: Mapping[str, int] | None = None) -> BlockPlan:
    """How to solve with blocks; ``sizes`` gives letters a value where ways are compared."""
    count = len(maps)
    pivots: dict[int, Plan] = {}
    order = sorted(range(count), key=lambda k: -extent_of(maps[k][k].shape[0], sizes or {}))
    for k in order:
        apart = all(not maps[p][k].terms and not maps[k][p].terms for p in pivots)
        way = _cheap(maps[k][k], sizes) if apart else None
        if way is not None:
            pivots[k] = way
    return BlockPlan(maps, pivots, tuple(k for k in range(count) if k not in pivots))


def _cheap(m: LinearMap, sizes: Mapping[str, int] | None) -> Plan | None:
    """The way of a block that is positive definite for certain and has structure."""
    if m.out_shape != m.in_shape or not m.terms:
        return None
    way = plan(m, sizes)
    if way.front is not None and sign_of(way.front) != ABOVE:
        return None
    for group in way.groups:
        if not group.core:
            if sign_of(group.diagonal(group.batch)) != ABOVE:
                return None
            continue
        dense = isinstance(system_of(group), Dense)
        if group.sign() != ABOVE or (dense and group.size == m.shape[0]):
            return None
    return way


__all__ = ["BlockPlan", "block_plan"]
