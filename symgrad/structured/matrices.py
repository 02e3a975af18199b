"""solve, inverse and determinant of a matrix by its structure, for what runs.

``A⁻¹ b`` is a solve; a matrix that is positive definite for certain is factored by Cholesky, once
for all that is asked of it; ``D + U V`` with a positive diagonal goes by Woodbury, its determinant
by Sylvester's theorem, where U has fewer columns than rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from symgrad.core.build import CONTRACTION, SUM, constant, contract, permute, unsqueeze
from symgrad.core.expr import SYMBOL, Expr, Labels
from symgrad.core.traverse import topological, transform, users
from symgrad.lower.pairs import extent_of, extents_of
from symgrad.ops.matrix import solved, transposed
from symgrad.ops.outputs import PROJECT
from symgrad.ops.structure import reshape
from symgrad.structured.groups import system_of
from symgrad.structured.operator import LinearMap
from symgrad.structured.signs import ABOVE, sign_of
from symgrad.structured.solving import Plan, plan
from symgrad.structured.systems import Dense, Woodbury


@dataclass(slots=True)
class ByStructure:
    """One pass over the graph below some roots; ``sizes`` gives letters a value."""

    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    plans: dict[Expr, Plan | None] = field(default_factory=dict[Expr, "Plan | None"])
    thin: set[Expr] = field(default_factory=set[Expr])

    def of(self, roots: Sequence[Expr]) -> dict[Expr, Expr]:
        """What the nodes under ``roots`` become, with systems solved by structure, jointly."""
        order = topological(roots)
        if not any(e.op.family == "matrix" for e in order):
            return {e: e for e in order}
        self.thin = self._thin(order) - {e.args[0] for e in roots if e.op.name == "inv"}
        solved = transform(roots, self.product)
        new = transform([solved[r] for r in roots], self.node)
        return {e: new[x] for e, x in solved.items() if x in new}

    # ------------------------------------------------------------------ inverses in products

    def _thin(self, order: Sequence[Expr]) -> set[Expr]:
        """The matrices whose inverse is only multiplied with what has fewer columns."""
        count = users(order)
        found = {e: 0 for e in order if e.op.name == "inv" and e.ndim == 2}
        for e in order:
            for k, a in enumerate(e.args):
                if a in found and self._column(e, k) is not None:
                    found[a] += 1
        return {e.args[0] for e, times in found.items() if times == count[e]}

    def _column(self, e: Expr, k: int) -> tuple[int, int] | None:
        """(side of the inverse, the factor beside it) where a product has A⁻¹ times few columns."""
        if e.op is not CONTRACTION:
            return None
        labels = e.params[0]
        for side in (1, 0):
            x = labels[k][side]
            at = [j for j, ls in enumerate(labels) if x in ls]
            others = [j for j in at if j != k]
            if x < e.ndim or labels[k].count(x) > 1 or len(others) != 1:
                continue
            (j,) = others
            rest = [y for y in labels[j] if y != x]
            if labels[j].count(x) > 1 or labels[k][1 - side] in rest or -1 in rest:
                continue
            size = extents_of(e)[x]
            columns = prod(extent_of(extents_of(e)[y], self.sizes) for y in rest)
            if columns < extent_of(size, self.sizes):
                return side, j
        return None

    def product(self, e: Expr) -> Expr:
        """``A⁻¹ b`` as a solve."""
        for k, a in enumerate(e.args):
            if a.op.name != "inv" or a.ndim != 2:
                continue
            found = self._column(e, k)
            if found is None:
                continue
            matrix = a.args[0]
            if matrix not in self.thin and not self._certain(matrix):
                continue
            side, j = found
            return self.product(self._solved(e, k, side, j))
        return e

    def _solved(self, e: Expr, k: int, side: int, j: int) -> Expr:
        """A product with A⁻¹ and the factor beside it as one solve."""
        labels: Sequence[Labels] = e.params[0]
        matrix, b = e.args[k].args[0], e.args[j]
        x, y = labels[k][side], labels[k][1 - side]
        if side == 0 and not self._symmetric(matrix):
            matrix = permute(matrix, (1, 0))
        at = labels[j].index(x)
        order = [at, *(axis for axis in range(b.ndim) if axis != at)]
        moved = permute(b, order)
        flat = reshape(moved, (b.shape[at], -1 if b.ndim > 1 else 1))
        found = reshape(solved("solve", matrix, flat), moved.shape)
        row = (y, *(labels[j][axis] for axis in order[1:]))
        rest = [i for i in range(len(e.args)) if i not in (j, k)]
        args = [*(e.args[i] for i in rest), found]
        rows = [*(labels[i] for i in rest), row]
        return contract(args, rows, range(e.ndim), dict(enumerate(e.shape)), e.dtype)

    # ------------------------------------------------------------------ systems

    def _certain(self, matrix: Expr) -> bool:
        return self.plan(matrix) is not None

    def _symmetric(self, matrix: Expr) -> bool:
        found = self.plan(matrix)
        return found is not None and all(g.definite() for g in found.groups)

    def plan(self, matrix: Expr) -> Plan | None:
        """How a matrix is solved, if there is a better way than LU that is safe for certain."""
        if matrix not in self.plans:
            turned = permute(matrix, (1, 0)) if matrix.ndim == 2 else matrix
            known = turned in self.plans and self._symmetric(turned)
            self.plans[matrix] = self.plans[turned] if known else self._planned(matrix)
        return self.plans[matrix]

    def _planned(self, matrix: Expr) -> Plan | None:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.is_complex:
            return None
        if matrix.op not in (CONTRACTION, SUM, SYMBOL):
            return None
        found = plan(LinearMap(matrix, 1), self.sizes)
        for group in found.groups:
            if not group.core:
                continue
            system = system_of(group)
            if isinstance(system, Dense) and not system.positive:
                return None
            if isinstance(system, Woodbury) and sign_of(system.d) != ABOVE:
                return None
        return found

    def node(self, e: Expr) -> Expr:
        """A solve, an inverse or a determinant by the structure of its matrix."""
        if e.op is CONTRACTION:
            return _squared(e)
        found = None
        if e.op is PROJECT and e.args[0].op.name == "slogdet":
            found = self.plan(e.args[0].args[0])
            if found is not None:
                size, sign = found.log()
                return size if e.params[0] == 1 else constant(1, e.dtype) if sign is None else sign
        elif e.op.name in ("solve", "inv", "logdet"):
            found = self.plan(e.args[0])
        if found is None:
            return e
        if e.op.name == "logdet":
            return found.logdet()
        if e.op.name == "inv":
            inverse = found.inverse()
            return e if inverse is None else inverse
        return _along_rows(found, e.args[1])


def _along_rows(system: Plan, b: Expr) -> Expr:
    """``A⁻¹ b`` for a batch of matrices b: the rows are the last axis but one."""
    if b.ndim <= 2:
        return system.solve(b)
    rows = b.ndim - 2
    order = [rows, *(k for k in range(b.ndim) if k != rows)]
    return permute(system.solve(permute(b, order)), [order.index(k) for k in range(b.ndim)])


def _squared(e: Expr) -> Expr:
    """``bᵀ A⁻¹ b`` with A = L Lᵀ as ``‖L⁻¹ b‖²``, which stands in the solve already."""
    labels = e.params[0]
    for k, a in enumerate(e.args):
        half = a.args[1] if a.op.name == "triangular_solve" else None
        if half is None or half.op is not a.op or transposed(half.args[0]) is not a.args[0]:
            continue
        place = labels[k]
        for j, b in enumerate(e.args):
            column = unsqueeze(b, [1]) if b.ndim == 1 else b
            here = (*labels[j], -1) if b.ndim == 1 else labels[j]
            if column is half.args[1] and here == place and place[0] >= e.ndim:
                args = [*(x for i, x in enumerate(e.args) if i not in (j, k)), half, half]
                rows = [*(x for i, x in enumerate(labels) if i not in (j, k)), place, place]
                return contract(args, rows, range(e.ndim), dict(enumerate(e.shape)), e.dtype)
    return e


def by_structure(roots: Sequence[Expr], sizes: Mapping[str, int] | None = None) -> list[Expr]:
    """``roots`` with systems, inverses and determinants by the structure of their matrices."""
    new = ByStructure(dict(sizes or {})).of(roots)
    return [new[r] for r in roots]


__all__ = ["by_structure"]
