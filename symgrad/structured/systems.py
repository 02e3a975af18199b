"""Systems that a group of axes is solved by: dense, or a diagonal plus a product of few columns.

A right-hand side has the batch in front, then the rows, then its columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from symgrad.core.build import (
    cast,
    constant,
    constant_value,
    contract,
    elementwise,
    matmul,
    power,
    product,
    reduce_sum,
    scale,
    unsqueeze,
)
from symgrad.core.expr import Expr
from symgrad.core.sizes import size_product
from symgrad.ops.banded import tridiagonal_solve
from symgrad.ops.matrix import cholesky, diagonal, identity, slogdet, solved, transposed
from symgrad.ops.structure import reshape
from symgrad.structured.signs import sign_of

Log = tuple[Expr, "Expr | None"]
"""log |det|, and the number of its negative factors (None: there are none for certain)."""


@dataclass(frozen=True)
class Dense:
    """A matrix as it is: Cholesky where it is positive definite for certain, else LU."""

    matrix: Expr
    positive: bool

    def text(self) -> str:
        """What is factored, and why so."""
        size = self.matrix.shape[-1]
        way = "Cholesky (positive definite)" if self.positive else "LU (sign not known)"
        return f"{way} of {size}×{size}"

    def solve(self, b: Expr) -> Expr:
        """x with matrix x = b."""
        if not self.positive:
            return solved("solve", self.matrix, b)
        lower = cholesky(self.matrix)
        half = solved("triangular_solve", lower, b, True)
        return solved("triangular_solve", transposed(lower), half, False)

    def log(self) -> Log:
        """Over all of the batch."""
        if self.positive:
            r = self.matrix.ndim - 1
            sizes = dict(enumerate(self.matrix.shape[:-1]))
            d = contract([cholesky(self.matrix)], [[*range(r), r - 1]], range(r), sizes)
            return scale(2, reduce_sum(elementwise("log", d), range(r))), None
        sign, size = slogdet(self.matrix)
        below = scale(Fraction(1, 2), 1 - sign)
        every = range(size.ndim)
        return reduce_sum(size, every), reduce_sum(below, every)


@dataclass(frozen=True)
class Woodbury:
    """``diag(d) + left right`` with fewer columns of ``left`` than rows.

    ``(D + U V)⁻¹ b = D⁻¹ (b − U (I + V D⁻¹ U)⁻¹ V D⁻¹ b)``, det = det D det(I + V D⁻¹ U); where V is
    Uᵀ and D positive the matrix inside is positive definite.
    """

    d: Expr
    left: Expr
    right: Expr
    positive: bool

    def text(self) -> str:
        """What is factored, and why so."""
        rows, columns = self.left.shape[-2:]
        return f"Woodbury, as {columns} < {rows}: diagonal, and {self._inner().text()}"

    def _inner(self) -> Dense:
        scaled = product(self.right, unsqueeze(power(self.d, -1), [self.d.ndim - 1]))
        inner = matmul(scaled, self.left)
        return Dense(identity(inner) + inner, self.positive)

    def solve(self, b: Expr) -> Expr:
        """x with (diag(d) + left right) x = b."""
        if b.ndim == 2 and b.shape[1] == 1:
            alone = reshape(b, b.shape[:1])
            return reshape(self._solve(alone, power(self.d, -1)), b.shape)
        return self._solve(b, unsqueeze(power(self.d, -1), [self.d.ndim]))

    def _solve(self, b: Expr, inverse: Expr) -> Expr:
        start = product(inverse, b)
        middle = matmul(self.right, start)
        inner = self._inner()
        if self.left.shape[-1] == 1:
            factor = power(inner.matrix, -1)
            small = product(middle, factor if b.ndim > 1 else reshape(factor, (1,)))
        else:
            column = middle if b.ndim > 1 else unsqueeze(middle, [1])
            small = reshape(inner.solve(column), middle.shape)
        return start - product(inverse, matmul(self.left, small))

    def inverse(self) -> Expr:
        """``D⁻¹ − (D⁻¹ U) (I + V D⁻¹ U)⁻¹ (V D⁻¹)``."""
        inverse = power(self.d, -1)
        left = product(unsqueeze(inverse, [inverse.ndim]), self.left)
        right = product(self.right, unsqueeze(inverse, [inverse.ndim - 1]))
        return diagonal(inverse) - matmul(left, self._inner().solve(right))

    def log(self) -> Log:
        """By the determinant lemma."""
        outer, odd = log_of(self.d)
        inner, more = self._inner().log()
        both = [x for x in (odd, more) if x is not None]
        return outer + inner, None if not both else both[0] if len(both) == 1 else both[0] + both[1]


@dataclass(frozen=True)
class Tridiagonal:
    """Three diagonals, solved in time of their length; ``whole`` is the matrix, for its determinant."""

    low: Expr
    middle: Expr
    up: Expr
    whole: Dense

    def text(self) -> str:
        """What is factored, and why so."""
        return f"three diagonals of length {self.middle.shape[0]}, by elimination"

    def solve(self, b: Expr) -> Expr:
        """x with matrix x = b."""
        return tridiagonal_solve(self.low, self.middle, self.up, b)

    def log(self) -> Log:
        """Of the matrix."""
        return self.whole.log()


def log_of(d: Expr) -> Log:
    """Of a diagonal."""
    every = range(d.ndim)
    if sign_of(d):
        return reduce_sum(elementwise("log", d), every), None
    size = reduce_sum(elementwise("log", elementwise("abs", d)), every)
    if constant_value(d) is not None:
        return size, constant(size_product(d.shape), d.dtype)
    below = cast(elementwise("lt", d, constant(0, d.dtype)), d.dtype)
    return size, reduce_sum(below, every)


System = Dense | Woodbury | Tridiagonal
