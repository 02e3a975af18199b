"""Solving with a square linear map, and its log determinant, by the structure of its terms.

Axes that every term leaves alone (δ) are a batch; a product over axes is solved axis by axis; a
diagonal plus a product through few columns by Woodbury; what is left by Cholesky if it is positive
definite for certain, else by LU.

Source: Golub and Van Loan, *Matrix Computations*, 4th ed. (2013), 2.1.4 (Woodbury), 4.2, 12.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from symgrad.core.build import (
    DELTA,
    ONE,
    cast,
    constant,
    constant_value,
    contract,
    delta,
    elementwise,
    linear,
    permute,
    power,
    product,
    reduce_sum,
    scale,
)
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS
from symgrad.core.sizes import shape_text, size_product
from symgrad.errors import ShapeError
from symgrad.ops.matrix import cholesky, slogdet, transposed
from symgrad.ops.structure import reshape
from symgrad.structured.operator import LinearMap
from symgrad.structured.products import product_of
from symgrad.structured.signs import definite, sign_of
from symgrad.structured.terms import Factor, Term


@dataclass(frozen=True)
class Group:
    """Axes that are solved together: ``batch`` of them only index, ``core`` are mixed."""

    batch: tuple[int, ...]
    core: tuple[int, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Plan:
    """How a map is solved: its groups of axes, the number in front, and the map."""

    map: LinearMap
    groups: tuple[Group, ...]
    front: Expr | None

    def solve(self, b: Expr) -> Expr:
        """x with map x = b, in the shape of the columns."""
        m = self.map
        if b.shape != m.out_shape:
            raise ShapeError(
                f"solve: the right-hand side is {shape_text(b.shape)}, but the rows are "
                f"{shape_text(m.out_shape)}"
            )
        for group in self.groups:
            b = _along(m, group, b)
        return b if self.front is None else product(b, power(self.front, -1))

    def factors(self) -> list[tuple[int, Expr]]:
        """(axis, matrix) of every group of one axis without a batch, for formulas."""
        return [
            (g.core[0], _entries(self.map, g, False))
            for g in self.groups
            if len(g.core) == 1 and not _touches_batch(g, self.map.outputs)
        ]

    def logdet(self) -> Expr:
        """log det; NaN where the determinant is negative."""
        m = self.map
        every = range(m.outputs)
        found = [_group_logdet(m, g) for g in self.groups]
        times = [
            size_product(tuple(m.out_shape[k] for k in every if k not in (*g.batch, *g.core)))
            for g in self.groups
        ]
        if self.front is not None:
            found.append(_log_of(self.front))
            times.append(size_product(m.out_shape))
        total = _sum([scale(ONE * t, log) for t, (log, _) in zip(times, found, strict=True)], m)
        signs = [(t, odd) for t, (_, odd) in zip(times, found, strict=True) if odd is not None]
        if not signs:
            return total
        negative = _sum([scale(ONE * t, odd) for t, odd in signs], m)
        odd = elementwise("remainder", negative, constant(2, m.expr.dtype))
        return total + elementwise("log", 1 - scale(2, odd))


def _sum(parts: Sequence[Expr], m: LinearMap) -> Expr:
    return linear([(ONE, p, ()) for p in parts], (), m.expr.dtype)


def plan(m: LinearMap, sizes: Mapping[str, int] | None = None) -> Plan:
    """How to solve; ``sizes`` gives letters a value where ways are compared."""
    del sizes
    if m.out_shape != m.in_shape:
        raise ShapeError(
            f"solve: rows are {shape_text(m.out_shape)} and columns {shape_text(m.in_shape)}; only "
            "a square map can be solved"
        )
    terms = m.terms
    half = m.outputs
    free = [k for k in range(half) if all(_untouched(t, k, half) for t in terms)]
    if len(terms) == 1:
        split = _axis_groups(terms[0], half)
        if split is not None:
            groups, front = split
            return Plan(m, tuple(groups), front)
    rest = [k for k in range(half) if k not in free]
    return Plan(m, (_group(rest, terms, half),) if rest or not half else (), None)


def _joined(t: Term, k: int, half: int) -> bool:
    return (k, k + half) in t.pairs()


def _untouched(t: Term, k: int, half: int) -> bool:
    """Is axis k in this term a bare I?"""
    return _joined(t, k, half) and not any(k in ls or k + half in ls for _, ls in t.others())


def _group(axes: Sequence[int], terms: Sequence[Term], half: int) -> Group:
    batch = tuple(k for k in axes if all(_joined(t, k, half) for t in terms))
    core = tuple(k for k in axes if k not in batch)
    return Group(batch, core, tuple(_only(t, set(axes), half) for t in terms))


def _only(t: Term, axes: set[int], half: int) -> Term:
    """A term without the I of axes that are none of these."""
    kept = [(e, ls) for e, ls in t.factors if e.op is not DELTA or ls[0] % half in axes]
    return Term(t.coefficient, tuple(kept), t.sizes)


def _axis_groups(t: Term, half: int) -> tuple[list[Group], Expr | None] | None:
    """One term as a product over groups of axes, each square; and its scalar factors."""
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
            (delta(t.sizes[low], factors[0][0].dtype), (low, high))
            for low, high in t.pairs()
            if low in labels
        )
        sizes = {x: s for x, s in t.sizes.items() if x in labels}
        inner = Term(ONE, (*factors, *eyes), sizes)
        groups.append(_group(sorted(rows), [inner], half))
    front = None
    if scalars or not t.coefficient.is_one:
        dtype = t.factors[0][0].dtype
        inside = {x: t.sizes[x] for _, ls in scalars for x in ls if x >= 0}
        front = product_of(t.coefficient, scalars, inside, (), dtype)
    return groups, front


# ------------------------------------------------------------------ one group


def _entries(m: LinearMap, group: Group, batched: bool) -> Expr:
    """The matrix of a group: batch axes, rows flat, columns flat."""
    half = m.outputs
    rows = list(group.core)
    columns = [k + half for k in group.core]
    out = [*(group.batch if batched else ()), *rows, *columns]
    shape = tuple(m.out_shape[x % half] for x in out)
    place = {k + half: k for k in group.batch}
    parts: list[Expr] = []
    for t in group.terms:
        factors = [(e, tuple(place.get(x, x) for x in ls)) for e, ls in t.factors]
        inside = {x for _, ls in factors for x in ls} | set(out)
        sizes = {x: s for x, s in t.sizes.items() if x in inside}
        if not batched:
            sizes = {x: s for x, s in sizes.items() if x not in group.batch}
        sizes.update({x: m.out_shape[x % half] for x in out})
        parts.append(product_of(t.coefficient, factors, sizes, out, m.expr.dtype))
    identity_labels = tuple(range(len(out)))
    whole = linear([(ONE, p, identity_labels) for p in parts], shape, m.expr.dtype)
    size = size_product(tuple(m.out_shape[k] for k in group.core))
    front = tuple(m.out_shape[k] for k in group.batch) if batched else ()
    return reshape(whole, (*front, size, size))


def _touches_batch(group: Group, half: int) -> bool:
    batch = {*group.batch, *(k + half for k in group.batch)}
    return any(batch & set(ls) for t in group.terms for _, ls in t.others())


def _diagonal(m: LinearMap, group: Group) -> Expr:
    """The diagonal of a group without core, over its batch axes."""
    half = m.outputs
    place = {k + half: k for k in group.batch}
    out = list(group.batch)
    shape = tuple(m.out_shape[k] for k in out)
    parts: list[Expr] = []
    for t in group.terms:
        factors = [(e, tuple(place.get(x, x) for x in ls)) for e, ls in t.factors]
        inside = {x for _, ls in factors for x in ls} | set(out)
        sizes = {x: s for x, s in t.sizes.items() if x in inside}
        parts.append(product_of(t.coefficient, factors, sizes, out, m.expr.dtype))
    return linear([(ONE, p, tuple(range(len(out)))) for p in parts], shape, m.expr.dtype)


def _spd(m: LinearMap, group: Group) -> bool:
    """Is the matrix of a group positive (semi)definite for certain?"""
    half = m.outputs
    keep = {k: j for j, k in enumerate((*group.batch, *group.core))}
    width = len(keep)
    table = dict(keep)
    table.update({k + half: j + width for k, j in keep.items()})
    moved: list[Term] = []
    for t in group.terms:
        inner = {x: 2 * width + j for j, x in enumerate(y for y in t.sizes if y >= 2 * half)}
        names = {**table, **inner}
        factors = tuple(
            (e, tuple(names.get(x, -1) for x in ls))
            for e, ls in t.factors
            if all(x in names for x in ls if x >= 0)
        )
        moved.append(Term(t.coefficient, factors, {}))
    return bool(definite(moved, width))


def _along(m: LinearMap, group: Group, b: Expr) -> Expr:
    """The group's system solved along its axes of ``b``."""
    if not group.core:
        d = _diagonal(m, group)
        labels = list(group.batch)
        inverse = power(d, -1)
        return contract(
            [b, inverse], [range(b.ndim), labels], range(b.ndim), dict(enumerate(b.shape))
        )
    batched = _touches_batch(group, m.outputs)
    matrix = _entries(m, group, batched)
    front = list(group.batch) if batched else []
    rest = [k for k in range(b.ndim) if k not in group.core and k not in front]
    order = [*front, *group.core, *rest]
    moved = permute(b, order)
    shape = moved.shape
    size = size_product(tuple(m.out_shape[k] for k in group.core))
    right = reshape(
        moved, (*shape[: len(front)], size, size_product(tuple(b.shape[k] for k in rest)))
    )
    solve = cholesky_solve if _spd(m, group) else _lu_solve
    found = reshape(solve(matrix, right), shape)
    back = [order.index(k) for k in range(b.ndim)]
    return permute(found, back)


Log = tuple[Expr, "Expr | None"]
"""log |det|, and the number of its negative factors (None: there are none for certain)."""


def _group_logdet(m: LinearMap, group: Group) -> Log:
    if not group.core:
        return _log_of(_diagonal(m, group))
    batched = _touches_batch(group, m.outputs)
    matrix = _entries(m, group, batched)
    times = ONE * (1 if batched else size_product(tuple(m.out_shape[k] for k in group.batch)))
    if _spd(m, group):
        r = matrix.ndim - 1
        d = contract([cholesky(matrix)], [[*range(r), r - 1]], range(r),
                     dict(enumerate(matrix.shape[:-1])))  # fmt: skip
        return scale(times * 2, reduce_sum(elementwise("log", d), range(r))), None
    sign, size = slogdet(matrix)
    below = scale(Fraction(1, 2), 1 - sign)
    every = range(size.ndim)
    return scale(times, reduce_sum(size, every)), scale(times, reduce_sum(below, every))


def _log_of(d: Expr) -> Log:
    """Of a diagonal."""
    every = range(d.ndim)
    size = reduce_sum(elementwise("log", elementwise("abs", d)), every)
    if sign_of(d):
        return size, None
    if constant_value(d) is not None:
        return size, constant(size_product(d.shape), d.dtype)
    below = cast(elementwise("lt", d, constant(0, d.dtype)), d.dtype)
    return size, reduce_sum(below, every)


def cholesky_solve(a: Expr, b: Expr) -> Expr:
    """x with a x = b for a positive definite matrix: L Lᵀ x = b."""
    lower = cholesky(a)
    half = apply(OPS["triangular_solve"], (lower, b), (True,))
    return apply(OPS["triangular_solve"], (transposed(lower), half), (False,))


def _lu_solve(a: Expr, b: Expr) -> Expr:
    return apply(OPS["solve"], (a, b))


__all__ = ["Group", "Plan", "cholesky_solve", "plan"]
