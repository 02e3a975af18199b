"""Builders of contraction (with δ) and sum of terms: the canonical form of products and sums.

They canonicalise: labels are renumbered (outputs first), factors are ordered by digest, a δ that
can be contracted is a renaming, coefficients float out of products, like terms merge.  They never
splice a contraction into its user except in the four cases of :func:`_splices`, which keeps a
tanh network of depth L at the textbook's 3 L − 1 products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import is_
from typing import Any

from symgrad.core import dtypes
from symgrad.core.dtypes import DType, real_of
from symgrad.core.expr import Expr, Labels, intern
from symgrad.core.labels import best_order, numbered, numbered_plainly, resolve_deltas
from symgrad.core.numbers import Number, plus
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import ONE, Monomial, Shape, Size, monomial, shape_text
from symgrad.errors import DTypeError, ShapeError

Term = tuple[Monomial, Expr, Labels]

LISTENERS: list[Callable[[Expr, tuple[Expr, ...]], None]] = []


@contextmanager
def listening(note: Callable[[Expr, tuple[Expr, ...]], None]) -> Generator[None, None, None]:
    """Within, ``note(node, operands)`` hears every product and sum in the order it was written.

    Nodes are canonical and forget that order; a derivation wants it back.
    """
    LISTENERS.append(note)
    try:
        yield
    finally:
        LISTENERS.remove(note)


def heard(node: Expr, *operands: Expr) -> Expr:
    """Tell the listeners how ``node`` was written."""
    for note in LISTENERS:
        note(node, operands)
    return node


# ------------------------------------------------------------------ contraction


def _contraction_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    labels: tuple[Labels, ...] = params[0]
    shape: Shape = params[1]
    dtype: DType = params[2]
    return contract(args, labels, range(len(shape)), dict(enumerate(shape)), dtype)


def _sum_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    terms, shape, dtype = params
    return linear([(c, a, ls) for a, (c, ls) in zip(args, terms, strict=True)], shape, dtype)


def _delta_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    return delta(*params)


CONTRACTION = Op("contraction", "contraction", build=_contraction_build)
SUM = Op("sum_of_terms", "sum", build=_sum_build)
DELTA = Op("delta", "leaf", build=_delta_build)


def imaginary(dtype: DType) -> Expr:
    """The number i."""
    return intern(OPS["imaginary"], (), (dtype,), (), dtype)


def delta(size: Size, dtype: DType) -> Expr:
    """δ, the identity of a size, never materialised by itself."""
    return intern(DELTA, (), (size, dtype), (size, size), dtype)


def one(dtype: DType) -> Expr:
    """The number 1: a product without factors."""
    return intern(CONTRACTION, (), ((), (), dtype), (), dtype)


def ones(shape: Shape, dtype: DType) -> Expr:
    """1 everywhere."""
    return intern(CONTRACTION, (), ((), shape, dtype), shape, dtype)


def zeros(shape: Shape, dtype: DType) -> Expr:
    """0 everywhere: a sum without terms."""
    return intern(SUM, (), ((), shape, dtype), shape, dtype)


def constant(value: Monomial | Number | complex, dtype: DType, shape: Shape = ()) -> Expr:
    """A number (or a monomial in size letters) as an expression."""
    if not isinstance(value, complex):
        return scale(value, ones(shape, dtype))
    if not dtype.is_complex:
        raise DTypeError(f"value cannot be converted to type {dtype.name}: {value} is complex")
    parts = (value.real, value.imag)
    if not all(map(math.isfinite, parts)):  # i ∞ would be nan + i ∞
        half = real_of(dtype)
        return OPS["complex"].build(tuple(constant(c, half, shape) for c in parts), ())  # type: ignore[misc]
    units = (one(dtype), imaginary(dtype))
    return linear(
        [(monomial(c), e, ()) for c, e in zip(parts, units, strict=True) if c], shape, dtype
    )


def is_zero(e: Expr) -> bool:
    """True for the sum without terms."""
    return e.op is SUM and not e.args


def constant_value(e: Expr) -> Monomial | None:
    """The coefficient of a constant expression, else None."""
    if e.op is CONTRACTION and not e.args:
        return ONE
    if e.op is SUM:
        if not e.args:
            return monomial(0)
        if len(e.args) == 1 and e.args[0].op is CONTRACTION and not e.args[0].args:
            return e.params[0][0][0]
    return None


def relabelling(e: Expr) -> Labels | None:
    """Labels of the argument if ``e`` only moves, repeats or picks axes of one argument."""
    if e.op is CONTRACTION and len(e.args) == 1 and not e.sums:
        return e.params[0][0]
    return None


def single_term(e: Expr) -> Term | None:
    """(coefficient, argument, labels) if ``e`` is one scaled argument."""
    if e.op is SUM and len(e.args) == 1:
        coefficient, labels = e.params[0][0]
        return coefficient, e.args[0], labels
    return None


def terms_of(e: Expr) -> list[Term]:
    """The terms of a sum node."""
    return [(c, a, ls) for a, (c, ls) in zip(e.args, e.params[0], strict=True)]


def _splices(inner: Expr, alone: bool, outer_sums: bool) -> bool:
    """May this contraction be dissolved into its user?"""
    count = len(inner.args)
    if count == 0:
        return True
    if count == 1:
        return not inner.sums or (alone and outer_sums)
    if alone and outer_sums and not inner.sums:
        return True
    return any(a.op is DELTA for a in inner.args)


def contract(
    factors: Sequence[Expr],
    labels: Sequence[Sequence[int]],
    out: Sequence[int],
    sizes: Mapping[int, Size] | None = None,
    dtype: DType | None = None,
) -> Expr:
    """``out[l₁…] = Σ Π factorᵢ[labelsᵢ]``: sum over every label that is not in ``out``.

    ``sizes`` gives the size of a label that no factor carries: in ``out`` a broadcast axis, else a
    coefficient.  An axis of size 1 carries no label (−1).  A label may repeat inside a factor (a
    diagonal) and in ``out`` (a δ).  Coefficients of scaled factors float to the front.

    Raises ShapeError where one label meets two sizes, DTypeError for mixed dtypes.
    """
    if len(factors) == 1:
        kept = tuple(out)
        if (
            tuple(labels[0]) == kept == tuple(range(len(factors[0].shape)))
            and not (sizes and sizes.keys() - kept)  # Σⱼ of what has no j is n times that
        ):
            return factors[0]
    plain = _plain(factors, labels, out, sizes, dtype)
    if plain is not None:
        return plain
    size: dict[int, Size] = dict(sizes) if sizes else {}
    queue = [(f, list(ls)) for f, ls in zip(factors, labels, strict=True)]
    fresh = 1 + max([-1, *out, *size, *[x for _, ls in queue for x in ls]])
    coefficient = ONE
    alone = len(queue) == 1
    wanted = set(out)
    outer_sums = any(x >= 0 and x not in wanted for _, ls in queue for x in ls)
    used: list[tuple[Expr, list[int]]] = []
    deltas: list[list[int]] = []
    queue.reverse()
    while queue:
        e, ls = queue.pop()
        if dtype is None:
            dtype = e.dtype
        elif e.dtype is not dtype:
            raise DTypeError(f"a product of {dtype} and {e.dtype} needs an explicit cast")
        for axis, label in enumerate(ls):
            extent = e.shape[axis]
            if label < 0:
                continue
            unit = extent == 1 if isinstance(extent, int) else extent.is_one
            if not unit and size.get(label) is extent:
                continue
            if unit:
                ls[axis] = -1
                size.setdefault(label, 1)
            elif size.setdefault(label, extent) != extent:
                if size[label] == 1:
                    size[label] = extent
                else:
                    raise ShapeError(
                        f"one axis has sizes {size[label]} and {extent} "
                        f"(shapes {', '.join(shape_text(f.shape) for f in factors)})"
                    )
        op = e.op
        if op is SUM:
            if not e.args:
                for other, row in queue:
                    for extent, label in zip(other.shape, row, strict=True):
                        if size.get(label, 1) == 1:
                            size[label] = extent
                return zeros(tuple(size[x] for x in out), dtype)
            if len(e.args) == 1 and (coefficient * e.params[0][0][0]).is_modest:
                c, inner_labels = e.params[0][0]
                coefficient = coefficient * c
                queue.append((e.args[0], [ls[x] if x >= 0 else -1 for x in inner_labels]))
                continue
        elif op is DELTA:
            if ls[0] >= 0 and ls[1] >= 0:
                deltas.append(ls)
                continue
            if ls[0] < 0 and ls[1] < 0:
                continue
        elif op is CONTRACTION and _splices(e, alone, outer_sums):
            inner_map: dict[int, int] = dict(enumerate(ls))
            for inner, inner_labels in zip(reversed(e.args), reversed(e.params[0]), strict=True):
                moved: list[int] = []
                for axis, x in enumerate(inner_labels):
                    if x < 0:
                        moved.append(-1)
                        continue
                    if x not in inner_map:
                        inner_map[x] = fresh
                        size[fresh] = inner.shape[axis]
                        fresh += 1
                    moved.append(inner_map[x])
                queue.append((inner, moved))
            alone = alone and len(e.args) == 1
            continue
        used.append((e, ls))
    assert_dtype = dtype if dtype is not None else dtypes.float32

    result = list(out)
    seen_out: set[int] = set()
    for k, label in enumerate(result):
        if size.get(label, 1) == 1:
            size.setdefault(label, 1)
        if label in seen_out:
            if size[label] != 1:
                deltas.append([label, fresh])
            size[fresh] = size[label]
            result[k] = fresh
            fresh += 1
        seen_out.add(result[k])
    if deltas:
        deltas = resolve_deltas(deltas, used, size, seen_out)
        for pair in deltas:
            used.append((delta(size[pair[0]], assert_dtype), pair))
    carried = {x for _, ls in used for x in ls}
    for label, extent in size.items():
        if label not in carried and label not in seen_out and extent != 1:
            coefficient = coefficient * extent
    shape = tuple(size[x] for x in result)
    node = _canonical(used, result, shape, assert_dtype)
    return node if coefficient.is_one else scale(coefficient, node)


_DISSOLVED = frozenset({CONTRACTION, SUM, DELTA})


def _plain(
    factors: Sequence[Expr],
    labels: Sequence[Sequence[int]],
    out: Sequence[int],
    sizes: Mapping[int, Size] | None,
    dtype: DType | None,
) -> Expr | None:
    """The product of different factors of which none dissolves; None where there is more to do."""
    for e in factors:
        if dtype is None:
            dtype = e.dtype
        if e.op in _DISSOLVED or e.dtype is not dtype:
            return None
    if len(factors) > 1:
        rows = sorted(zip(factors, labels, strict=True), key=lambda row: row[0].digest)
        factors, labels = [e for e, _ in rows], [ls for _, ls in rows]
        if any(map(is_, factors, factors[1:])):
            return None
    found = numbered_plainly(
        tuple([e.shape for e in factors]),
        tuple(map(tuple, labels)),
        tuple(out),
        tuple(sizes.items()) if sizes else (),
    )
    if found is None or dtype is None:
        return None
    rows, shape, sums = found
    node = intern(CONTRACTION, tuple(factors), (rows, shape, dtype), shape, dtype)
    node.sums = sums
    return node


def _canonical(
    used: list[tuple[Expr, list[int]]], out: list[int], shape: Shape, dtype: DType
) -> Expr:
    """Order the factors, number the labels, intern."""
    if len(used) > 1:
        used.sort(key=lambda pair: pair[0].digest)
        numbering, labels = numbered(used, out)
        if any(used[k][0] is used[k + 1][0] for k in range(len(used) - 1)):
            numbering, labels, used = best_order(used, out, labels)
    else:
        numbering, labels = numbered(used, out)
    rank = len(out)
    args = tuple(e for e, _ in used)
    if len(args) == 1 and labels[0] == tuple(range(rank)) and args[0].shape == shape:
        return args[0]
    if len(args) == 1 and rank == len(args[0].shape) and args[0].shape == shape:
        natural = tuple(-1 if s == 1 else k for k, s in enumerate(shape))
        if labels[0] == natural:
            return args[0]
    if numbering > rank:
        carried = [x for ls in labels for x in ls if 0 <= x < rank]
        kept = list(dict.fromkeys(carried)) if len(args) == 1 else sorted(set(carried))
        if kept != list(range(rank)):
            return _summed_then_moved(args, labels, kept, shape, dtype)
    node = intern(CONTRACTION, args, (labels, shape, dtype), shape, dtype)
    node.sums = numbering > rank
    return node


def _summed_then_moved(
    args: tuple[Expr, ...],
    labels: tuple[Labels, ...],
    kept: list[int],
    shape: Shape,
    dtype: DType,
) -> Expr:
    """A sum whose axes are repeated or moved: the sum is one node, the move another."""
    number = {x: k for k, x in enumerate(kept)}
    rows: list[Labels] = []
    for ls in labels:
        row: list[int] = []
        for x in ls:
            if x >= 0 and x not in number:
                number[x] = len(number)
            row.append(number[x] if x >= 0 else -1)
        rows.append(tuple(row))
    inner_shape = tuple(shape[x] for x in kept)
    params = (tuple(rows), inner_shape, dtype)
    inner = intern(CONTRACTION, args, params, inner_shape, dtype)
    inner.sums = True
    return intern(CONTRACTION, (inner,), ((tuple(kept),), shape, dtype), shape, dtype)


# ------------------------------------------------------------------ sums of terms


def _held(c: Monomial) -> Monomial:
    """``c``; a whole number of more than 31 bits is the float that it is beside floats."""
    if c.number.__class__ is not int or -(2**31) < c.number < 2**31:
        return c
    beyond = math.inf if c.number > 0 else -math.inf
    return Monomial(float(c.number) if abs(c.number) < 2**1024 - 2**970 else beyond, c.powers)


def linear(terms: Sequence[Term], shape: Shape, dtype: DType) -> Expr:
    """``Σ coefficient · argument`` with the argument's axes at ``labels`` of the result.

    Like terms merge (x − x is 0 here: a stated rule, for finite x); a typed 0 · x stays, because it
    is NaN at infinity.  Nested sums are not flattened.
    """
    merged: dict[tuple[Expr, Labels, Any], Monomial] = {}
    for coefficient, e, labels in terms:
        while True:
            if e.op is SUM and (
                not e.args
                or (len(e.args) == 1 and (coefficient * e.params[0][0][0]).is_modest)
                or constant_value(e) is not None
            ):
                if not e.args:
                    break
                inner: Labels = e.params[0][0][1]
                coefficient = coefficient * e.params[0][0][0]
                e = e.args[0]
                labels = tuple(labels[x] if x >= 0 else -1 for x in inner)
                continue
            if e.op is CONTRACTION and not e.sums and len(e.args) <= 1:
                if not e.args:
                    e, labels = one(dtype), ()
                    break
                inner = e.params[0][0]
                e = e.args[0]
                labels = tuple(labels[x] if x >= 0 else -1 for x in inner)
                continue
            break
        if is_zero(e):
            continue
        if e.dtype is not dtype:
            raise DTypeError(f"a sum of {dtype} and {e.dtype} needs an explicit cast")
        if 1 in e.shape:
            labels = tuple([-1 if n == 1 else x for n, x in zip(e.shape, labels, strict=True)])
        key = (e, labels, coefficient.powers)
        known = merged.get(key)
        if known is None:
            merged[key] = coefficient
        else:
            total = Monomial(plus(known.number, coefficient.number), known.powers)
            if total.is_zero:
                del merged[key]
            else:
                merged[key] = total
    rows = [
        (_held(c) if dtype.differentiable else c, e, labels) for (e, labels, _), c in merged.items()
    ]
    if len(rows) == 1 and rows[0][0].is_one:
        _, e, labels = rows[0]
        return contract([e], [labels], range(len(shape)), dict(enumerate(shape)), dtype)
    if len(rows) > 1:
        rows.sort(key=lambda row: (row[1].digest, row[2], row[0].powers))
    args = tuple([e for _, e, _ in rows])
    plain = _plain_sum(len(rows), shape, dtype)
    if all(c is ONE and labels == plain[0][0][1] for c, _, labels in rows):
        return intern(SUM, args, plain, shape, dtype)
    params = (tuple([(c, labels) for c, _, labels in rows]), shape, dtype)
    return intern(SUM, args, params, shape, dtype)


@lru_cache(maxsize=1024)
def _plain_sum(count: int, shape: Shape, dtype: DType) -> tuple[Any, ...]:
    """The parameters of so many terms of the shape of their sum: one tuple for many nodes."""
    row = (ONE, tuple([-1 if s == 1 else k for k, s in enumerate(shape)]))
    return (row,) * count, shape, dtype


def scale(coefficient: Monomial | Number | int, e: Expr) -> Expr:
    """``coefficient · e``."""
    c = monomial(coefficient)
    if c.is_one:
        return e
    if e.op is not SUM and not (e.op is CONTRACTION and len(e.args) <= 1 and not e.sums):
        natural = tuple([-1 if s == 1 else k for k, s in enumerate(e.shape)])
        c = _held(c) if e.dtype.differentiable else c
        return intern(SUM, (e,), (((c, natural),), e.shape, e.dtype), e.shape, e.dtype)
    return linear([(monomial(coefficient), e, tuple(range(len(e.shape))))], e.shape, e.dtype)


def add(parts: Sequence[Expr]) -> Expr:
    """Sum of expressions of one shape; scaled parts give their coefficient to the term."""
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    identity = tuple(range(len(shape)))
    return linear([(ONE, p, identity) for p in parts], shape, parts[0].dtype)
