"""Axes that are solved together, and the system that suits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from symgrad.core.build import DELTA, ONE, linear, power, scale, zeros
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial, Shape, Size, size_product
from symgrad.lower.pairs import extent_of
from symgrad.ops.join import concatenate
from symgrad.ops.matrix import transposed
from symgrad.ops.structure import reshape
from symgrad.structured.banded import bands_of
from symgrad.structured.products import product_of
from symgrad.structured.signs import definite, has_zeros, sign_of
from symgrad.structured.systems import Dense, System, Tridiagonal, Woodbury
from symgrad.structured.terms import Factor, Term


@dataclass(frozen=True)
class Group:
    """``batch`` axes only index, ``core`` axes are mixed; the terms over both, rows then columns."""

    batch: tuple[int, ...]
    core: tuple[int, ...]
    terms: tuple[Term, ...]
    shape: Shape
    dtype: DType
    values: Mapping[str, int]

    @property
    def half(self) -> int:
        """The number of axes of one side of the whole map."""
        return len(self.shape)

    @property
    def batched(self) -> bool:
        """Does the matrix differ along the batch?"""
        batch = {*self.batch, *(k + self.half for k in self.batch)}
        return any(batch & set(ls) for t in self.terms for _, ls in t.others())

    @property
    def front(self) -> tuple[int, ...]:
        """The axes in front of the matrix."""
        return self.batch if self.batched else ()

    @property
    def size(self) -> Size:
        """Rows of the matrix."""
        return size_product(tuple(self.shape[k] for k in self.core))

    def value(
        self, t: Term, factors: Sequence[Factor], out: Sequence[int], coefficient: Monomial = ONE
    ) -> Expr:
        """Some factors of a term multiplied, columns of the batch at its rows."""
        place = {k + self.half: k for k in self.batch}
        moved = [(e, tuple(place.get(x, x) for x in ls)) for e, ls in factors]
        inside = {x for _, ls in moved for x in ls if x >= 0} | set(out)
        sizes = {x: s for x, s in t.sizes.items() if x in inside}
        if not self.batched:
            moved = [f for f in moved if f[0].op is not DELTA or not {*f[1]} <= {*self.batch}]
            sizes = {x: s for x, s in sizes.items() if x not in self.batch or x in out}
        for x in out:
            sizes.setdefault(x, self.shape[x % self.half])
        mirror = {k: k + self.half for k in self.core}
        return product_of(coefficient, moved, sizes, out, self.dtype, mirror)

    def diagonal(self, axes: Sequence[int], terms: Sequence[Term] | None = None) -> Expr:
        """The sum of terms that are diagonal over all axes, at these axes."""
        place = {k + self.half: k for k in (*self.batch, *self.core)}
        parts = [
            self.value(
                t,
                [(e, tuple(place.get(x, x) for x in ls)) for e, ls in t.others()],
                axes,
                t.coefficient,
            )
            for t in (self.terms if terms is None else terms)
        ]
        shape = tuple(self.shape[k] for k in axes)
        return linear([(ONE, p, tuple(range(len(axes)))) for p in parts], shape, self.dtype)

    def is_diagonal(self, t: Term) -> bool:
        """Is a term diagonal over the core?"""
        pairs = t.pairs()
        return all((k, k + self.half) in pairs for k in self.core)

    def definite(self) -> bool:
        """Is the matrix positive (semi)definite for certain?"""
        return bool(self.sign())

    def sign(self) -> int:
        """ABOVE for a matrix that is positive definite for certain, ZERO if semidefinite."""
        keep = {k: j for j, k in enumerate((*self.batch, *self.core))}
        width = len(keep)
        table = {**keep, **{k + self.half: j + width for k, j in keep.items()}}
        moved: list[Term] = []
        for t in self.terms:
            bound = [x for x in t.sizes if x >= 2 * self.half]
            names = {**table, **{x: 2 * width + j for j, x in enumerate(bound)}}
            factors = tuple((e, tuple(names.get(x, -1) for x in ls)) for e, ls in t.factors)
            moved.append(Term(t.coefficient, factors, {}))
        return definite(moved, width)


def entries(group: Group) -> Expr:
    """The matrix of a group: batch axes in front, rows flat, columns flat."""
    columns = [k + group.half for k in group.core]
    out = [*group.front, *group.core, *columns]
    shape = tuple(group.shape[x % group.half] for x in out)
    parts = [group.value(t, t.factors, out, t.coefficient) for t in group.terms]
    whole = linear([(ONE, p, tuple(range(len(out)))) for p in parts], shape, group.dtype)
    front = tuple(group.shape[k] for k in group.front)
    return reshape(whole, (*front, group.size, group.size))


def system_of(group: Group) -> System:
    """The cheaper of a dense matrix and a diagonal with few columns."""
    found = _woodbury(group) or _tridiagonal(group)
    return found if found is not None else Dense(entries(group), group.definite())


def _tridiagonal(group: Group) -> Tridiagonal | None:
    if group.half != 1:
        return None
    bands = bands_of(group.terms, group.size, group.dtype)
    if bands is None or not set(bands) <= {-1, 0, 1}:
        return None
    low, middle, up = (bands.get(k, zeros(group.shape, group.dtype)) for k in (-1, 0, 1))
    return Tridiagonal(low, middle, up, Dense(entries(group), group.definite()))


@dataclass(frozen=True)
class _Low:
    """A term as columns times rows through its ``bound`` labels."""

    term: Term
    left: tuple[Factor, ...]
    right: tuple[Factor, ...]
    weights: tuple[Factor, ...]
    bound: tuple[int, ...]
    size: Size


def _woodbury(group: Group) -> Woodbury | None:
    flat = [t for t in group.terms if group.is_diagonal(t)]
    low = [_low(group, t) for t in group.terms if not group.is_diagonal(t)]
    if not flat or not low:
        return None
    several = [x for x in low if x is not None]
    if len(several) < len(low):
        return None
    columns = sum(extent_of(x.size, group.values) for x in several)
    if columns >= extent_of(group.size, group.values):
        return None
    axes = [*group.front, *group.core]
    front = tuple(group.shape[k] for k in group.front)
    d = reshape(group.diagonal(axes, flat), (*front, group.size))
    if has_zeros(d):  # the diagonal alone may have no inverse
        return None
    if len(several) == 1:
        x = several[0]
        balanced = _balanced(group, x)
        if balanced is not None:
            return Woodbury(d, balanced, transposed(balanced), bool(sign_of(d)))
    lefts = [_side(group, x, x.left, group.core, True) for x in several]
    rights = [_side(group, x, (*x.right, *x.weights), _columns(group), False) for x in several]
    if len(several) == 1:
        return Woodbury(d, lefts[0], rights[0], False)
    r = d.ndim
    return Woodbury(d, concatenate(lefts, r), concatenate(rights, r - 1), False)


def _columns(group: Group) -> list[int]:
    return [k + group.half for k in group.core]


def _low(group: Group, t: Term) -> _Low | None:
    """The term cut between rows and columns, or None where a factor joins them."""
    if any(k in group.core for k, _ in t.pairs()):
        return None
    rows, columns = set(group.core), set(_columns(group))
    left: list[Factor] = []
    right: list[Factor] = []
    weights: list[Factor] = []
    for e, ls in t.others():
        out, into = bool(rows & set(ls)), bool(columns & set(ls))
        if out and into:
            return None
        (left if out else right if into else weights).append((e, ls))
    limit = 2 * group.half
    reached = _reached(left, [*weights, *right], limit)
    if not any(f in reached for f in right):
        left += [f for f in weights if f in reached]
        weights = [f for f in weights if f not in reached]
    mine = {x for _, ls in left for x in ls if x >= limit}
    theirs = {x for _, ls in (*right, *weights) for x in ls if x >= limit}
    bound = tuple(sorted(mine & theirs))
    size = size_product(tuple(t.sizes[x] for x in bound))
    return _Low(t, tuple(left), tuple(right), tuple(weights), bound, size)


def _reached(start: Sequence[Factor], others: Sequence[Factor], limit: int) -> list[Factor]:
    """The factors that summed labels connect with some."""
    labels = {x for _, ls in start for x in ls if x >= limit}
    found: list[Factor] = []
    rest = list(others)
    while True:
        near = [f for f in rest if labels & set(f[1])]
        if not near:
            return found
        found += near
        rest = [f for f in rest if f not in near]
        labels |= {x for _, ls in near for x in ls if x >= limit}


def _side(
    group: Group, x: _Low, factors: Sequence[Factor], axes: Sequence[int], first: bool
) -> Expr:
    """The columns (``first``) or the rows of a cut term, the coefficient with the rows."""
    out = [*group.front, *axes, *x.bound] if first else [*group.front, *x.bound, *axes]
    whole = group.value(x.term, factors, out, ONE if first else x.term.coefficient)
    front = tuple(group.shape[k] for k in group.front)
    pair = (group.size, x.size) if first else (x.size, group.size)
    return reshape(whole, (*front, *pair))


def _balanced(group: Group, x: _Low) -> Expr | None:
    """U with the term U Uᵀ, where it mirrors itself and its weights are not negative."""
    place = {k + group.half: k for k in group.core}
    mirrored = sorted((e.digest, tuple(place.get(y, y) for y in ls)) for e, ls in x.right)
    if mirrored != sorted((e.digest, ls) for e, ls in x.left) or x.term.coefficient.number <= 0:
        return None
    if any(set(ls) - {*x.bound, *group.front} for _, ls in x.weights):
        return None
    out = [*group.front, *x.bound]
    weight = group.value(x.term, x.weights, out, x.term.coefficient)
    if not sign_of(weight):
        return None
    root = power(weight, Fraction(1, 2)) if x.weights else None
    factor = ONE if root is not None else x.term.coefficient
    shape = [*group.front, *group.core, *x.bound]
    factors = [*x.left, *([(root, tuple(out))] if root is not None else [])]
    whole = group.value(x.term, factors, shape)
    if root is None and not factor.is_one:
        whole = scale(factor ** Fraction(1, 2), whole)
    front = tuple(group.shape[k] for k in group.front)
    return reshape(whole, (*front, group.size, x.size))
