"""Values with index letters, and their algebra: what a parsed formula is made of.

A value carries the letters of its free indices as leading axes: ``X[i,:]`` is a vector with the
letter i.  Products, sums and functions align letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from symgrad.core import dtypes
from symgrad.core.build import (
    cast,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    power,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.sizes import ONE, Monomial, Size, monomial, size_total, terms_of_letter
from symgrad.core.traverse import topological
from symgrad.errors import NotationError
from symgrad.ops.gather import take
from symgrad.ops.join import arange
from symgrad.ops.structure import place, slice_axis


@dataclass(frozen=True)
class Value:
    """An expression whose first axes are those of ``letters``; ``row`` marks a vector's transpose."""

    expr: Expr
    letters: tuple[str, ...] = ()
    row: bool = False

    @property
    def rank(self) -> int:
        """Number of axes that are not letters."""
        return self.expr.ndim - len(self.letters)

    @property
    def shape(self) -> tuple[Size, ...]:
        """Sizes of these axes."""
        return self.expr.shape[len(self.letters) :]

    def __str__(self) -> str:
        if not self.rank:
            return "a scalar"
        return f"{'row ' if self.row else ''}{'×'.join(map(str, self.shape))}"


@dataclass
class Algebra:
    """Products, functions and entries of values; ``ranges`` are those of the letters in use.

    ``numbers`` is a stack of the dtypes that plain numbers have: whole positions within brackets.
    Letters ``from_one`` count from 1.
    """

    text: str
    ranges: dict[str, Size]
    dtype: DType
    numbers: list[DType] = field(default_factory=list[DType])
    from_one: set[str] = field(default_factory=set[str])

    def fail(self, why: str) -> NotationError:
        """The error of this formula."""
        return NotationError(f"{self.text!r}: {why}")

    def number(self, value: Monomial | Fraction | float) -> Value:
        """A plain number."""
        return Value(constant(value, self.numbers[-1] if self.numbers else self.dtype))

    def counted(self, word: str) -> Value:
        """A letter as the number that it counts."""
        dtype = self.numbers[-1] if self.numbers else self.dtype
        places = arange(self.ranges[word], dtypes.int64)
        if word in self.from_one:
            places = places + 1
        return Value(cast(places, dtype), (word,))

    # -------------------------------------------------------------- letters

    def joined(self, parts: Sequence[Value]) -> tuple[str, ...]:
        """The letters of several values, each once."""
        found: dict[str, None] = {}
        for p in parts:
            found.update(dict.fromkeys(p.letters))
        return tuple(found)

    def spread(self, v: Value, letters: tuple[str, ...], shape: tuple[Size, ...] = ()) -> Expr:
        """``v`` over ``letters`` and, where it is a scalar, over a shape."""
        shape = v.shape or shape
        full = (*(self.ranges[x] for x in letters), *shape)
        labels = [letters.index(x) for x in v.letters]
        labels += range(len(letters), len(letters) + v.rank)
        return contract([v.expr], [labels], range(len(full)), dict(enumerate(full)), v.expr.dtype)

    def contracted(
        self, parts: Sequence[Value], places: Sequence[Sequence[int]], out: Sequence[int]
    ) -> Value:
        """The product of values whose axes stand at ``places``; letters are kept."""
        """A product whose factors' axes stand at ``places``; letters are kept."""
        letters = self.joined(parts)
        number = {x: -1 - k for k, x in enumerate(letters)}
        offset = len(letters)
        labels = [[offset + number[x] for x in p.letters] + [offset + y for y in place]
                  for p, place in zip(parts, places, strict=True)]  # fmt: skip
        kept = [offset + number[x] for x in letters] + [offset + y for y in out]
        sizes = {offset + number[x]: self.ranges[x] for x in letters}
        dtype = self.common([p.expr for p in parts])
        made = contract([cast(p.expr, dtype) for p in parts], labels, kept, sizes)
        return Value(made, letters)

    def common(self, exprs: Sequence[Expr]) -> DType:
        """The dtype of a product or a sum."""
        found = [e.dtype for e in exprs if e.dtype.differentiable]
        return found[0] if found else (self.numbers[-1] if self.numbers else self.dtype)

    def multiplied(self, a: Value, b: Value) -> Value:
        """A scalar with anything, or the matrix product; v wᵀ is the outer one, vᵀ w a scalar."""
        if not a.rank or not b.rank:
            wide = range(max(a.rank, b.rank))
            made = self.contracted([a, b], [list(wide)[: a.rank], list(wide)[: b.rank]], wide)
            return Value(made.expr, made.letters, a.row or b.row)
        if a.rank > 2 or b.rank > 2:
            raise self.fail(f"a matrix product of {a} and {b}")
        if a.rank == 1 and not a.row:
            if b.row:
                return self.contracted([a, b], [[0], [1]], [0, 1])
            raise self.fail(f"a column before {b}: vᵀ or ⊙")
        if b.row:
            raise self.fail(f"{a} before a row")
        if a.shape[-1] != b.shape[0]:
            raise self.fail(f"a product of {a} and {b}")
        left = [9] if a.rank == 1 else [0, 9]
        right = [9] if b.rank == 1 else [9, 1]
        out = [x for x in (*left, *right) if x != 9]
        made = self.contracted([a, b], [left, right], out)
        return Value(made.expr, made.letters, a.row and b.rank == 2)

    def powered(self, v: Value, exponent: Fraction) -> Value:
        """A power, exact for a number."""
        number = constant_value(v.expr)
        if number is not None and not v.expr.shape:
            return self.number(number**exponent)
        return Value(power(v.expr, exponent), v.letters, v.row)

    def moved(self, v: Value, axis: int, word: str) -> Value:
        """The axis of the body as the letter; a diagonal where the letter is there already.

        What is read beyond the axis is 0.
        """
        count = len(v.letters)
        extent, below = v.shape[axis], self.ranges[word]
        if extent != below:
            more = monomial(size_total(below, -extent))
            if more.number < 0:
                v = Value(slice_axis(v.expr, count + axis, 0, below), v.letters)
            elif extent == 1 or terms_of_letter(str(more)):
                raise self.fail(f"the index {word} runs below {below}, the axis has {extent}")
            else:
                after = (None,) * (v.expr.ndim - count - axis - 1)
                sizes = (below, *v.expr.shape[count + axis + 1 :])
                v = Value(place(v.expr, ((0, extent, 1), *after), sizes), v.letters)
        labels = list(range(v.expr.ndim))
        if word in v.letters:
            labels[count + axis] = v.letters.index(word)
            out = [x for k, x in enumerate(labels) if k != count + axis]
            return Value(contract([v.expr], [labels], out), v.letters)
        out = [count + axis, *(k for k in range(v.expr.ndim) if k != count + axis)]
        return Value(contract([v.expr], [labels], out), (word, *v.letters))

    def taken(self, v: Value, axis: int, extent: Size, at: Value) -> tuple[Value, list[Value]]:
        """Entries at computed positions, and the marks that make them 0 outside the range."""
        if at.rank:
            raise self.fail(f"{at} where an index is needed")
        data = depends_on_data(at.expr)
        marks: list[Value] = []
        index = at.expr
        number = constant_value(index)
        if number is not None and not number.powers and isinstance(extent, int) and not (
            0 <= number.number < extent
        ):  # fmt: skip
            raise self.fail(f"index {number} of an axis of {extent}")
        if not data and number is None:
            top = constant(monomial(extent), dtypes.float64)
            low = elementwise("ge", index, constant(0, dtypes.float64))
            high = elementwise("lt", index, top)
            marks = [
                Value(cast(cast(m, dtypes.bool_), self.dtype), at.letters) for m in (low, high)
            ]
            limit = linear(
                [(ONE, top, ()), (-ONE, constant(1, dtypes.float64), ())], (), dtypes.float64
            )
            index = elementwise(
                "minimum", elementwise("maximum", index, constant(0, dtypes.float64)), limit
            )
        index = cast(index, dtypes.int64)
        count = len(v.letters)
        picked = take(v.expr, index, count + axis)
        names = [*v.letters, *range(axis), *at.letters, *range(axis, v.rank - 1)]
        letters = self.joined([v, at])
        table = {x: k for k, x in enumerate(letters)}
        labels = [table[x] if isinstance(x, str) else len(letters) + x for x in names]
        out = range(len(letters) + v.rank - 1)
        return Value(contract([picked], [labels], out), letters), marks

    def applied(self, name: str, parts: Sequence[Value]) -> Value:
        """An elementwise function of values of one shape; scalars are repeated."""
        shape = max((p.shape for p in parts), key=len)
        for p in parts:
            if p.rank and p.shape != shape:
                raise self.fail(f"{name} of {' and '.join(map(str, parts))}")
        letters = self.joined(parts)
        exprs = [self.spread(p, letters, shape) for p in parts]
        first = 1 if name == "where" else 0
        if len(exprs) > 1:
            dtype = self.common(exprs[first:])
            exprs = [*exprs[:first], *(cast(e, dtype) for e in exprs[first:])]
        return Value(elementwise(name, *exprs), letters)


def depends_on_data(e: Expr) -> bool:
    """Is an index, or a mark, computed from the values of tensors?"""
    return any(node.op is SYMBOL for node in topological([e]))


__all__ = ["Algebra", "Value", "depends_on_data"]
