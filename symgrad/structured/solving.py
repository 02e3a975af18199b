"""Solving with a square linear map, and its log determinant, by the structure of its terms.

Axes that every term leaves alone (δ) are a batch; a product over axes is solved axis by axis; a
diagonal plus a product through few columns by Woodbury; what is left by Cholesky if it is positive
definite for certain, else by LU.

Source: Golub and Van Loan, *Matrix Computations*, 4th ed. (2013), 2.1.4 (Woodbury), 4.2, 12.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symgrad.core.build import (
    DELTA,
    ONE,
    constant,
    contract,
    delta,
    elementwise,
    is_zero,
    linear,
    permute,
    power,
    product,
    scale,
)
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, shape_text, size_product
from symgrad.errors import LinAlgError, ShapeError
from symgrad.ops.matrix import diagonal
from symgrad.ops.structure import reshape
from symgrad.structured.groups import Group, entries, system_of
from symgrad.structured.operator import LinearMap
from symgrad.structured.products import product_of
from symgrad.structured.systems import Dense, Woodbury, log_of
from symgrad.structured.terms import Factor, Term


@dataclass(frozen=True)
class Plan:
    """How a map is solved: its groups of axes, the number in front, and the map."""

    map: LinearMap
    groups: tuple[Group, ...]
    front: Expr | None

    def solve(self, b: Expr) -> Expr:
        """x with map x = b, in the shape of the columns; further axes of ``b`` stay behind."""
        m = self.map
        if b.shape[: m.outputs] != m.out_shape:
            raise ShapeError(
                f"solve: the right-hand side is {shape_text(b.shape)}, but the rows are "
                f"{shape_text(m.out_shape)}"
            )
        if is_zero(m.expr):
            raise LinAlgError(
                "solve: the map is 0, which has no inverse.", "Add a multiple of I: shifted(lam)."
            )
        for group in self.groups:
            b = _along(group, b)
        return b if self.front is None else product(b, power(self.front, -1))

    def inverse(self) -> Expr | None:
        """The inverse of a map over one axis, where that is no LU."""
        if self.map.outputs != 1 or len(self.groups) > 1:
            return None
        if not self.groups:
            eye = delta(self.map.out_shape[0], self.map.expr.dtype)
            return eye if self.front is None else product(power(self.front, -1), eye)
        (group,) = self.groups
        if not group.core:
            found = diagonal(power(group.diagonal(group.batch), -1))
        else:
            system = system_of(group)
            if isinstance(system, Woodbury):
                found = system.inverse()
            elif isinstance(system, Dense) and system.positive:
                found = system.solve(delta(group.size, self.map.expr.dtype))
            else:
                return None
        return found if self.front is None else product(power(self.front, -1), found)

    def text(self) -> str:
        """What is solved, group by group."""
        parts = [
            system_of(g).text() if g.core else "a division by the diagonal" for g in self.groups
        ]
        return ", then ".join(parts) or "a division by the number in front"

    def factors(self) -> list[tuple[int, Expr]]:
        """(axis, matrix) of every group of one axis without a batch, for formulas."""
        return [(g.core[0], entries(g)) for g in self.groups if len(g.core) == 1 and not g.batched]

    def logdet(self) -> Expr:
        """log det; NaN where the determinant is negative."""
        total, sign = self.log()
        return total if sign is None else total + elementwise("log", sign)

    def log(self) -> tuple[Expr, Expr | None]:
        """log |det| and the sign of det; None for a sign that is + for certain."""
        m = self.map
        found = [system_of(g).log() if g.core else log_of(g.diagonal(g.batch)) for g in self.groups]
        times = [_copies(g) for g in self.groups]
        if self.front is not None:
            found.append(log_of(self.front))
            times.append(size_product(m.out_shape))
        total = _sum([scale(ONE * t, log) for t, (log, _) in zip(times, found, strict=True)], m)
        signs = [(t, odd) for t, (_, odd) in zip(times, found, strict=True) if odd is not None]
        if not signs:
            return total, None
        negative = _sum([scale(ONE * t, odd) for t, odd in signs], m)
        odd = elementwise("remainder", negative, constant(2, m.expr.dtype))
        return total, 1 - scale(2, odd)


def _copies(g: Group) -> Size:
    """How often a group's determinant counts: once per entry of the axes outside it."""
    inside = (*g.core, *(g.batch if g.batched or not g.core else ()))
    return size_product(tuple(s for k, s in enumerate(g.shape) if k not in inside))


def _sum(parts: Sequence[Expr], m: LinearMap) -> Expr:
    return linear([(ONE, p, ()) for p in parts], (), m.expr.dtype)


def plan(m: LinearMap, sizes: Mapping[str, int] | None = None) -> Plan:
    """How to solve; ``sizes`` gives letters a value where ways are compared.

    Raises ShapeError for a map that is not square.
    """
    if m.out_shape != m.in_shape:
        raise ShapeError(
            f"solve: rows are {shape_text(m.out_shape)} and columns {shape_text(m.in_shape)}; only "
            "a square map can be solved"
        )
    terms, half = m.terms, m.outputs
    free = [k for k in range(half) if all(_untouched(t, k, half) for t in terms)]
    if len(terms) == 1:
        split = _axis_groups(terms[0], m, sizes or {})
        if split is not None:
            groups, front = split
            return Plan(m, tuple(groups), front)
    rest = [k for k in range(half) if k not in free]
    if half and not rest:  # (a + b) I
        return Plan(m, (), _sum([_number(t, t.others(), m) for t in terms], m))
    return Plan(m, (_group(rest, terms, m, sizes or {}),), None)


def _number(t: Term, scalars: Sequence[Factor], m: LinearMap) -> Expr:
    """The coefficient of a term times its factors without axes of the map."""
    inside = {x: t.sizes[x] for _, ls in scalars for x in ls if x >= 0}
    return product_of(t.coefficient, scalars, inside, (), m.expr.dtype)


def _joined(t: Term, k: int, half: int) -> bool:
    return (k, k + half) in t.pairs()


def _untouched(t: Term, k: int, half: int) -> bool:
    """Is axis k in this term a bare I?"""
    return _joined(t, k, half) and not any(k in ls or k + half in ls for _, ls in t.others())


def _group(
    axes: Sequence[int], terms: Sequence[Term], m: LinearMap, sizes: Mapping[str, int]
) -> Group:
    half = m.outputs
    batch = tuple(k for k in axes if all(_joined(t, k, half) for t in terms))
    core = tuple(k for k in axes if k not in batch)
    kept = tuple(_only(t, set(axes), half) for t in terms)
    return Group(batch, core, kept, m.out_shape, m.expr.dtype, sizes)


def _only(t: Term, axes: set[int], half: int) -> Term:
    """A term without the I of axes that are none of these."""
    kept = [(e, ls) for e, ls in t.factors if e.op is not DELTA or ls[0] % half in axes]
    return Term(t.coefficient, tuple(kept), t.sizes)


def _axis_groups(
    t: Term, m: LinearMap, values: Mapping[str, int]
) -> tuple[list[Group], Expr | None] | None:
    """One term as a product over groups of axes, each square; and its scalar factors."""
    half = m.outputs
    parts: list[tuple[set[int], list[Factor]]] = [({low, high}, []) for low, high in t.pairs()]
    for e, ls in t.others():
        touched = {x for x in ls if x >= 0}
        mine = [p for p in parts if p[0] & touched]
        parts = [p for p in parts if p not in mine]
        parts.append(
            (touched.union(*(p[0] for p in mine)), [*(f for p in mine for f in p[1]), (e, ls)])
        )
    groups: list[Group] = []
    scalars: list[Factor] = []
    for labels, factors in parts:
        rows = {x for x in labels if x < half}
        columns = {x - half for x in labels if half <= x < 2 * half}
        if rows != columns:
            return None
        if not rows:
            scalars += factors
            continue
        if not factors:
            continue
        eyes = tuple(
            (delta(t.sizes[low], m.expr.dtype), (low, high))
            for low, high in t.pairs()
            if low in labels
        )
        sizes = {x: s for x, s in t.sizes.items() if x in labels}
        groups.append(_group(sorted(rows), [Term(ONE, (*factors, *eyes), sizes)], m, values))
    front = None
    if scalars or not t.coefficient.is_one:
        front = _number(t, scalars, m)
    return groups, front


def _along(group: Group, b: Expr) -> Expr:
    """The group's system solved along its axes of ``b``."""
    if not group.core:
        inverse = power(group.diagonal(group.batch), -1)
        labels = [range(b.ndim), group.batch]
        return contract([b, inverse], labels, range(b.ndim), dict(enumerate(b.shape)))
    front = list(group.batch) if group.batched else []
    rest = [k for k in range(b.ndim) if k not in group.core and k not in front]
    order = [*front, *group.core, *rest]
    moved = permute(b, order)
    columns = size_product(tuple(b.shape[k] for k in rest))
    right = reshape(moved, (*moved.shape[: len(front)], group.size, columns))
    found = reshape(system_of(group).solve(right), moved.shape)
    return permute(found, [order.index(k) for k in range(b.ndim)])


__all__ = ["Group", "Plan", "plan"]
