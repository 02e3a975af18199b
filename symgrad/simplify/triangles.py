"""Triangular matrices in formulas: which halves are zero for certain, and what that leaves.

The adjoint of a Cholesky factor is a triangle of a product of triangular matrices between two
triangular systems.  For what books write with such factors most of it is zero: the slope of
``2 Σ log diag(chol A)`` is ``A⁻¹``.

Source: M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
differentiation, 2008; I. Murray, Differentiation of the Cholesky decomposition, 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from symgrad.core.build import CONTRACTION, DELTA, ONE, SUM, contract, relabelling, scale, terms_of
from symgrad.core.build import zeros as nothing
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial
from symgrad.ops.matrix import inv

Sides = frozenset[str]
"""The triangles outside of which a matrix is zero: ``"lower"``, ``"upper"``; both: it is diagonal."""

NONE: Sides = frozenset()
LOWER, UPPER = frozenset({"lower"}), frozenset({"upper"})
BOTH = LOWER | UPPER
_TURNED = {NONE: NONE, LOWER: UPPER, UPPER: LOWER, BOTH: BOTH}


@dataclass(slots=True)
class Triangles:
    """What is known about the triangles of matrices; operands are looked at before their users.

    ``symmetric`` says whether a matrix certainly is: of another, a Cholesky factor reads one half.
    """

    symmetric: Callable[[Expr], bool]
    known: dict[Expr, Sides] = field(default_factory=dict[Expr, Sides])

    def note(self, e: Expr) -> None:
        """Remember the triangles of a matrix whose operands were noted."""
        if e.ndim == 2 and e.shape[0] == e.shape[1] and (found := _found(e, self.known)):
            self.known[e] = found

    def rewritten(self, e: Expr) -> Expr | None:
        """A triangle of a triangular matrix, or two systems with one Cholesky factor; else None."""
        if e.ndim != 2 or e.shape[0] != e.shape[1]:
            return None
        if e.op.name in ("tril", "triu"):
            return self._triangle(e)
        c, inner = _multiple(e)  # a number of the right side went to the front
        return self._both_sides(c, inner) if inner.op.name == "triangular_solve" else None

    def _triangle(self, e: Expr) -> Expr | None:
        (inner,), (k,) = e.args, e.params
        sides = self.known.get(inner, NONE)
        same, other = ("lower", "upper") if e.op.name == "tril" else ("upper", "lower")
        reach = k if same == "lower" else -k
        if same in sides and reach >= 0:
            return inner
        if other not in sides or reach > 0:
            return None
        if reach < 0:
            return nothing(e.shape, e.dtype)
        eye: Expr = DELTA.build((), (e.shape[0], e.dtype))  # type: ignore[misc]
        return contract([inner, eye], [[0, 0], [0, 1]], [0, 1])

    def _both_sides(self, front: Monomial, e: Expr) -> Expr | None:
        """L⁻ᵀ (L⁻ᵀ c I)ᵀ = c A⁻¹ with L = chol A."""
        up, right = e.args
        factor = up.args[0] if relabelling(up) == (1, 0) else None
        if e.params[0] or factor is None or factor.op.name != "cholesky":
            return None
        if not self.symmetric(factor.args[0]):
            return None
        c, turned = _multiple(right)
        if relabelling(turned) != (1, 0):
            return None
        d, inner = _multiple(turned.args[0])
        if inner.op is not e.op or inner.args[0] is not up or inner.params != e.params:
            return None
        last, eye = _multiple(inner.args[1])
        return scale(front * c * d * last, inv(factor.args[0])) if eye.op is DELTA else None


def _found(e: Expr, known: Mapping[Expr, Sides]) -> Sides:
    if e.op is DELTA:
        return BOTH
    name = e.op.name
    if name == "cholesky":
        return LOWER
    if name in ("tril", "triu"):
        half, reach = (LOWER, e.params[0]) if name == "tril" else (UPPER, -e.params[0])
        return known.get(e.args[0], NONE) | (half if reach <= 0 else NONE)
    if name == "inv":
        return known.get(e.args[0], NONE)
    if e.op is SUM:
        found = BOTH
        for _, a, ls in terms_of(e):
            found &= _placed(known.get(a, NONE), ls)
        return found
    if e.op is not CONTRACTION:
        return NONE
    rows = e.params[0]
    found = NONE
    for a, ls in zip(e.args, rows, strict=True):  # zero in one factor is zero in all
        found |= _placed(known.get(a, NONE), ls)
    if len(e.args) == 2 and {len(ls) for ls in rows} == {2}:
        parts = {ls[0] if ls[0] < 2 else ls[1]: (a, ls) for a, ls in zip(e.args, rows, strict=True)}
        shared = {x for ls in rows for x in ls if x >= 2}
        if set(parts) == {0, 1} and len(shared) == 1 and all(len({*ls}) == 2 for ls in rows):
            (a, left), (b, right) = parts[0], parts[1]
            first = known.get(a, NONE) if left[0] == 0 else _TURNED[known.get(a, NONE)]
            second = known.get(b, NONE) if right[1] == 1 else _TURNED[known.get(b, NONE)]
            found |= first & second
    return found


def _placed(sides: Sides, labels: tuple[int, ...]) -> Sides:
    """The triangles of a term or factor whose two axes stand at the axes of the whole."""
    return sides if labels == (0, 1) else _TURNED[sides] if labels == (1, 0) else NONE


def _multiple(e: Expr) -> tuple[Monomial, Expr]:
    """Number and matrix: ``c X``, turned back where it stands transposed."""
    coefficient = ONE
    while e.op is SUM and len(e.args) == 1 and e.params[0][0][1] == (0, 1):
        coefficient, e = coefficient * e.params[0][0][0], e.args[0]
    return coefficient, e


__all__ = ["Triangles"]
