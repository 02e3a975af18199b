"""A linear map between tensors as a sum of structured terms, and what can be asked of it.

Entry ``[out…, in…]`` is ∂out/∂in; as a matrix, both sides are read by rows.  Everything here is
expressions in, expressions out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from symgrad.core.build import ONE, contract, delta, linear, permute, product, zeros
from symgrad.core.expr import Expr
from symgrad.core.sizes import Shape, Size, shape_text, size_product
from symgrad.errors import ShapeError
from symgrad.ops.structure import reshape
from symgrad.structured.common import collected
from symgrad.structured.products import Made, product_of
from symgrad.structured.terms import Factor, Term, opened
from symgrad.structured.work import work_of

Sweep = Callable[[Expr], Expr]


class LinearMap:
    """``E[out…, in…]``, its first ``outputs`` axes the rows.

    >>> from symgrad.core import dtypes
    >>> from symgrad.core.build import delta
    >>> LinearMap(delta(3, dtypes.float64), 1).shape
    (3, 3)
    """

    def __init__(
        self,
        expr: Expr,
        outputs: int,
        values: Collection[Expr] = (),
        terms: Sequence[Term] | None = None,
        sweeps: tuple[Sweep, Sweep] | None = None,
    ) -> None:
        """``sweeps`` compute ``E v`` and ``Eᵀ u`` without ``E``, where that is less work."""
        self.expr = expr
        self.outputs = outputs
        self.out_shape: Shape = expr.shape[:outputs]
        self.in_shape: Shape = expr.shape[outputs:]
        self.rank = expr.ndim
        self.rows = tuple(range(outputs))
        self.columns = tuple(range(outputs, expr.ndim))
        self.values = values
        self._given = terms
        self._sweeps = sweeps

    @cached_property
    def terms(self) -> list[Term]:
        """The terms whose sum this is."""
        if self._given is not None:
            return list(self._given)
        return opened(self.expr, self.outputs, self.values)

    @property
    def shape(self) -> tuple[Size, Size]:
        """(rows, columns) as a matrix."""
        return size_product(self.out_shape), size_product(self.in_shape)

    def dense(self) -> Expr:
        """All entries, the axes of the output in front."""
        out = (*self.rows, *self.columns)
        mirror = dict(zip(self.rows, self.columns, strict=False))
        known: list[Made] = []
        terms = sorted(self.terms, key=lambda t: len(t.factors))  # what is part of another first
        parts = [
            product_of(t.coefficient, t.factors, t.sizes, out, self.expr.dtype, mirror, known)
            for t in collected(terms, self.rank, self.expr.dtype, mirror, known)
        ]
        return self._sum(parts, self.expr.shape)

    def matrix(self) -> Expr:
        """All entries as a matrix, both sides by rows."""
        return reshape(self.dense(), self.shape)

    @property
    def T(self) -> LinearMap:
        """The transpose."""
        order = [*self.columns, *self.rows]
        place = {x: k for k, x in enumerate(order)}
        turned = [
            Term(
                t.coefficient,
                tuple((e, tuple(place.get(x, x) for x in ls)) for e, ls in t.factors),
                {place.get(x, x): s for x, s in t.sizes.items()},
            )
            for t in self.terms
        ]
        sweeps = None if self._sweeps is None else (self._sweeps[1], self._sweeps[0])
        columns = len(self.in_shape)
        return LinearMap(permute(self.expr, order), columns, self.values, turned, sweeps)

    def matvec(self, v: Expr) -> Expr:
        """``E v``: the shape of the output; further axes of ``v`` in front stay in front."""
        front = v.ndim - len(self.in_shape)
        if front < 0 or v.shape[front:] != self.in_shape:
            raise ShapeError(
                f"matvec: the vector is {shape_text(v.shape)}, but the columns are "
                f"{shape_text(self.in_shape)}",
                "Give it the shape of what was differentiated for.",
            )
        start = 1_000_000
        extra = tuple(range(start, start + front))
        there: Factor = (v, (*extra, *self.columns))
        sizes = dict(zip(extra, v.shape, strict=False))
        parts = [self._product(t, (there,), (*extra, *self.rows), sizes) for t in self.terms]
        made = self._sum(parts, (*v.shape[:front], *self.out_shape))
        if front or self._sweeps is None:
            return made
        swept = self._sweeps[0](v)
        return swept if work_of(swept) < work_of(made) else made

    def after(self, first: LinearMap) -> LinearMap:
        """``E F``: this map of what ``first`` gives."""
        if first.out_shape != self.in_shape:
            raise ShapeError(
                f"the columns {shape_text(self.in_shape)} do not fit the rows "
                f"{shape_text(first.out_shape)}"
            )
        columns = [self.outputs + k for k in range(first.rank - first.outputs)]
        middle = [self.outputs + len(columns) + k for k in range(first.outputs)]
        labels = [[*self.rows, *middle], [*middle, *columns]]
        sizes = dict(enumerate((*self.out_shape, *first.in_shape)))
        factors = [self.expr, first.expr]
        whole = contract(factors, labels, range(len(sizes)), sizes, self.expr.dtype)
        values = {*self.values, *first.values}
        there, back = self.T, first.T

        def forth(v: Expr) -> Expr:
            return self.matvec(first.matvec(v))

        def transposed(v: Expr) -> Expr:
            return back.matvec(there.matvec(v))

        return LinearMap(whole, self.outputs, values, sweeps=(forth, transposed))

    def shifted(self, number: Expr) -> LinearMap:
        """``E + number I``."""
        self._square("shifted")
        half = self.outputs
        eyes = [delta(s, self.expr.dtype) for s in self.out_shape]
        pairs = [(k, half + k) for k in range(half)]
        sizes = dict(enumerate(self.expr.shape))
        unit = contract([*eyes, number], [*pairs, ()], range(self.rank), sizes, self.expr.dtype)
        sweeps = None
        if self._sweeps is not None:
            forth, back = self._sweeps
            sweeps = (
                lambda v: forth(v) + product(number, v),
                lambda v: back(v) + product(number, v),
            )
        return LinearMap(self.expr + unit, half, self.values, sweeps=sweeps)

    def rmatvec(self, v: Expr) -> Expr:
        """``Eᵀ v``: the shape of what was differentiated for."""
        return self.T.matvec(v)

    def diag(self) -> Expr:
        """The diagonal, in the shape of one side."""
        self._square("diag")
        parts = [self._folded(t, self.rows) for t in self.terms]
        return self._sum(parts, self.out_shape)

    def trace(self) -> Expr:
        """The sum of the diagonal."""
        self._square("trace")
        return self._sum([self._folded(t, ()) for t in self.terms], ())

    def _square(self, what: str) -> None:
        if self.out_shape != self.in_shape:
            raise ShapeError(
                f"{what}: rows are {shape_text(self.out_shape)} and columns "
                f"{shape_text(self.in_shape)}; only a square map has one"
            )

    def _product(
        self,
        t: Term,
        more: Sequence[Factor],
        out: Sequence[int],
        sizes: dict[int, Size] | None = None,
    ) -> Expr:
        every = {**t.sizes, **(sizes or {})}
        return product_of(t.coefficient, [*t.factors, *more], every, out, self.expr.dtype)

    def _folded(self, t: Term, out: Sequence[int]) -> Expr:
        """A term with its columns at its rows."""
        half = self.outputs
        place = {x: x - half for x in self.columns}
        factors = [(e, tuple(place.get(x, x) for x in ls)) for e, ls in t.factors]
        sizes = {x: s for x, s in t.sizes.items() if x not in place}
        return product_of(t.coefficient, factors, sizes, out, self.expr.dtype)

    def _sum(self, parts: Sequence[Expr], shape: Shape) -> Expr:
        if not parts:
            return zeros(shape, self.expr.dtype)
        identity = tuple(range(len(shape)))
        return linear([(ONE, p, identity) for p in parts], shape, self.expr.dtype)


__all__ = ["LinearMap"]
