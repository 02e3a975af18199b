"""Builders over the kinds: maps, broadcasting, matrix products, and the operators of Expr.

The names of ``kinds.py`` are here too: this is the module that other rooms build expressions with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import count
from typing import Any

from symgrad.core import mismatch
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, Labels, define_algebra, intern
from symgrad.core.kinds import (
    CONTRACTION,
    DELTA,
    LISTENERS,
    ONE,
    SUM,
    Term,
    add,
    constant,
    constant_value,
    contract,
    delta,
    heard,
    imaginary,
    is_zero,
    linear,
    listening,
    one,
    ones,
    relabelling,
    scale,
    single_term,
    terms_of,
    zeros,
)
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Monomial, Shape, Size, monomial
from symgrad.core.traverse import transform
from symgrad.errors import DTypeError

__all__ = [
    "CONTRACTION",
    "DELTA",
    "ONE",
    "SUM",
    "Term",
    "add",
    "aligned",
    "apply_map",
    "broadcast_shapes",
    "broadcast_to",
    "cast",
    "constant",
    "constant_value",
    "contract",
    "delta",
    "elementwise",
    "factors_at",
    "flat_factors",
    "imaginary",
    "inlined",
    "is_zero",
    "linear",
    "listening",
    "map_build",
    "matmul",
    "one",
    "ones",
    "operands",
    "permute",
    "placed",
    "power",
    "product",
    "reduce_sum",
    "relabelling",
    "scale",
    "single_term",
    "squeeze",
    "terms_of",
    "transpose",
    "unsqueeze",
    "zeros",
]


def factors_at(
    e: Expr, labels: Sequence[int], fresh: Callable[[Size], int]
) -> list[tuple[Expr, Labels]]:
    """The factors of a product whose axes stand at ``labels``; ``fresh(size)`` labels what it sums."""
    table = dict(enumerate(labels))
    rows: list[tuple[Expr, Labels]] = []
    for a, ls in zip(e.args, e.params[0], strict=True):
        for axis, x in enumerate(ls):
            if x >= 0 and x not in table:
                table[x] = fresh(a.shape[axis])
        rows.append((a, tuple([table[x] if x >= 0 else -1 for x in ls])))
    return rows


def flat_factors(e: Expr) -> list[tuple[Expr, Labels]]:
    """The factors of a product, those of products among them too, at the labels of its axes."""
    fresh = count(e.ndim)
    found: list[tuple[Expr, Labels]] = []
    stack: list[tuple[Expr, Labels]] = [(e, tuple(range(e.ndim)))]
    while stack:
        node, labels = stack.pop()
        if node.op is CONTRACTION:
            stack += factors_at(node, labels, lambda _: next(fresh))[::-1]
        else:
            found.append((node, labels))
    return found


# ------------------------------------------------------------------ maps


def apply_map(
    op: Op,
    args: Sequence[Expr],
    labels: Sequence[Sequence[int]],
    shape: Shape,
    statics: tuple[Any, ...] = (),
    dtype: DType | None = None,
) -> Expr:
    """An elementwise op on arguments placed at ``labels`` of the result.

    Moves of axes are absorbed by the labels; of a single argument they are pulled outside, so that
    the function is computed once per value (a diagonal stays inside: it has fewer).
    """
    rows: list[Labels] = []
    inner_args: list[Expr] = []
    for e, ls in zip(args, labels, strict=True):
        labels_here = tuple(-1 if e.shape[k] == 1 else x for k, x in enumerate(ls))
        moved = relabelling(e)
        if moved is not None and (len(args) > 1 or _once_each(moved)):
            labels_here = tuple(labels_here[x] if x >= 0 else -1 for x in moved)
            e = e.args[0]
        number = constant_value(e)
        if number is not None:
            e, labels_here = constant(number, e.dtype), ()
        inner_args.append(e)
        rows.append(labels_here)
    if dtype is None:
        dtype = _map_dtype(op, inner_args, statics)
    if len(inner_args) == 1:
        e = inner_args[0]
        natural = tuple(-1 if s == 1 else k for k, s in enumerate(e.shape))
        node = intern(op, (e,), ((natural,), e.shape, statics), e.shape, dtype)
        if e.shape == shape and rows[0] == natural:
            return node
        return contract([node], [rows[0]], range(len(shape)), dict(enumerate(shape)), dtype)
    return intern(op, tuple(inner_args), (tuple(rows), shape, statics), shape, dtype)


def _once_each(labels: Labels) -> bool:
    """Does every axis stand once?"""
    kept = [x for x in labels if x >= 0]
    return len(kept) == len(set(kept))


def _map_dtype(op: Op, args: Sequence[Expr], statics: tuple[Any, ...]) -> DType:
    if op.infer is not None:
        return op.infer(tuple(args), statics)[1]
    first = args[0].dtype
    for e in args:
        if e.dtype is not first:
            raise DTypeError(f"{op.name} of {first} and {e.dtype} needs an explicit cast")
    return first


def inlined(roots: Sequence[Expr], known: Iterable[Expr] = ()) -> dict[Expr, Expr]:
    """Every node under ``roots`` → the same with the bodies of composed maps in their places.

    Nodes that are ``known`` stay as they are.
    """

    def opened(node: Expr) -> Expr:
        if node.op.body is None:
            return node
        rank = range(node.ndim)
        sizes = dict(enumerate(node.shape))
        rows = zip(node.args, node.params[0], strict=True)
        return node.op.body(tuple(contract([a], [ls], rank, sizes, a.dtype) for a, ls in rows))

    return transform(roots, opened, {e: e for e in known})


def map_build(name: str) -> Any:
    """The ``build`` of a map's row."""

    def build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
        labels, shape, statics = params
        return apply_map(OPS[name], args, labels, shape, statics)

    return build


def broadcast_shapes(shapes: Sequence[Shape], parts: Sequence[Expr] = ()) -> Shape:
    """The common shape, aligned at the last axis; letters never broadcast against each other.

    ``parts`` are the operands, for the names in the ShapeError.
    """
    rank = max((len(s) for s in shapes), default=0)
    result: list[Size] = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for k, size in enumerate(shape):
            here = result[offset + k]
            if here is size or size == 1:
                continue
            if here == 1:
                result[offset + k] = size
            elif here != size:
                raise mismatch.broadcast(shapes, k - len(shape), parts)
    return tuple(result)


def aligned(e: Expr, shape: Shape) -> Labels:
    """Labels of ``e`` broadcast to ``shape``."""
    offset = len(shape) - len(e.shape)
    return tuple(-1 if s == 1 else offset + k for k, s in enumerate(e.shape))


def operands(node: Expr) -> tuple[Expr, ...]:
    """The arguments of a map; one that does not stand at its own axes of the result is moved there."""
    rows = zip(node.args, node.params[0], strict=True)
    return tuple(e if ls == aligned(e, node.shape) else placed(e, ls, node.shape) for e, ls in rows)


def placed(e: Expr, labels: Labels, shape: Shape) -> Expr:
    """``e`` at these axes of a shape, repeated along the others."""
    return contract([e], [labels], range(len(shape)), dict(enumerate(shape)), e.dtype)


def elementwise(op: Op | str, *args: Expr, statics: tuple[Any, ...] = ()) -> Expr:
    """An elementwise op with broadcasting."""
    row = OPS[op] if isinstance(op, str) else op
    shape = broadcast_shapes([a.shape for a in args], args)
    return apply_map(row, args, [aligned(a, shape) for a in args], shape, statics)


def broadcast_to(e: Expr, shape: Shape) -> Expr:
    """``e`` repeated along new or size-1 axes."""
    if e.shape == shape:
        return e
    return contract([e], [aligned(e, shape)], range(len(shape)), dict(enumerate(shape)), e.dtype)


def product(*factors: Expr) -> Expr:
    """Elementwise product with broadcasting."""
    shape = broadcast_shapes([f.shape for f in factors], factors)
    node = contract(
        factors,
        [aligned(f, shape) for f in factors],
        range(len(shape)),
        dict(enumerate(shape)),
        factors[0].dtype,
    )
    return heard(node, *factors) if LISTENERS else node


def reduce_sum(e: Expr, axes: Sequence[int]) -> Expr:
    """Sum over axes, which disappear."""
    gone = set(axes)
    return contract(
        [e],
        [range(len(e.shape))],
        [k for k in range(len(e.shape)) if k not in gone],
        dict(enumerate(e.shape)),
        e.dtype,
    )


def permute(e: Expr, axes: Sequence[int]) -> Expr:
    """Axes in another order: axis k of the result is axis ``axes[k]`` of ``e``."""
    sizes = dict(enumerate(e.shape))
    return contract([e], [range(len(e.shape))], axes, sizes, e.dtype)


def transpose(e: Expr) -> Expr:
    """All axes reversed."""
    return permute(e, range(len(e.shape))[::-1])


def squeeze(e: Expr, axes: Sequence[int]) -> Expr:
    """Drop axes of size 1."""
    gone = set(axes)
    return contract(
        [e],
        [[-1 if k in gone else k for k in range(len(e.shape))]],
        [k for k in range(len(e.shape)) if k not in gone],
        dict(enumerate(e.shape)),
        e.dtype,
    )


def unsqueeze(e: Expr, axes: Sequence[int]) -> Expr:
    """Insert axes of size 1 at these positions of the result."""
    rank = len(e.shape) + len(axes)
    where = set(axes)
    kept = [k for k in range(rank) if k not in where]
    sizes: dict[int, Size] = dict.fromkeys(axes, 1)
    sizes.update(zip(kept, e.shape, strict=True))
    return contract([e], [kept], range(rank), sizes, e.dtype)


def matmul(a: Expr, b: Expr) -> Expr:
    """``a @ b`` with NumPy's rules: vectors, matrices, batches in front."""
    left, right = len(a.shape), len(b.shape)
    if not left or not right:
        raise mismatch.scalars_multiplied(a, b)
    inner_a, inner_b = a.shape[-1], b.shape[-2 if right > 1 else -1]
    if inner_a != inner_b:
        raise mismatch.inner_sizes(a, b)
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
    depth = len(batch)
    i, j, k = depth, depth + 1, depth + 2
    labels_a = [depth - len(a.shape[:-2]) + x for x in range(len(a.shape[:-2]))]
    labels_b = [depth - len(b.shape[:-2]) + x for x in range(len(b.shape[:-2]))]
    labels_a = [-1 if s == 1 else x for x, s in zip(labels_a, a.shape, strict=False)]
    labels_b = [-1 if s == 1 else x for x, s in zip(labels_b, b.shape, strict=False)]
    out = list(range(depth))
    sizes: dict[int, Size] = dict(enumerate(batch))
    labels_a += [i, k] if left > 1 else [k]
    labels_b += [k, j] if right > 1 else [k]
    if left > 1:
        out.append(i)
        sizes[i] = a.shape[-2]
    if right > 1:
        out.append(j)
        sizes[j] = b.shape[-1]
    node = contract([a, b], [labels_a, labels_b], out, sizes)
    return heard(node, a, b) if LISTENERS else node


def cast(e: Expr, dtype: DType) -> Expr:
    """``e`` in another dtype, as an explicit node; of complex numbers the real part."""
    if e.dtype is dtype:
        return e
    if e.dtype.is_complex and dtype.kind not in "cb":
        return cast(elementwise("real", e), dtype)
    value = constant_value(e) if dtype.is_complex else None
    if value is not None:
        return constant(value, dtype, e.shape)
    return apply_map(OPS["cast"], [e], [range(len(e.shape))], e.shape, (dtype,))


# ------------------------------------------------------------------ operators of Expr


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, Fraction, Monomial)) and not isinstance(value, bool)


def _pair(a: Any, b: Any) -> tuple[Expr, Expr]:
    if not isinstance(a, Expr):
        return constant(a, b.dtype), b
    if not isinstance(b, Expr):
        return a, constant(b, a.dtype)
    return a, b


def _add(a: Any, b: Any, sign: int = 1) -> Expr:
    a, b = _pair(a, b)
    shape = broadcast_shapes([a.shape, b.shape], (a, b))
    node = linear(
        [(ONE, a, aligned(a, shape)), (monomial(sign), b, aligned(b, shape))], shape, a.dtype
    )
    return heard(node, a, b) if LISTENERS else node


def _multiply(a: Any, b: Any) -> Expr:
    if _number(b):
        return scale(b, a)
    if _number(a):
        return scale(a, b)
    return product(*_pair(a, b))


def _divide(a: Any, b: Any) -> Expr:
    if _number(b):
        return scale(monomial(b) ** -1, a)
    if not _number(a):
        a, b = _pair(a, b)
    inverse = power(b, -1)
    return scale(a, inverse) if _number(a) else product(a, inverse)


def power(e: Expr, exponent: Any) -> Expr:
    """``eᵖ``: products for the small whole exponents, the op ``power`` for the rest."""
    if isinstance(exponent, Expr):
        return elementwise("pow", e, exponent)
    number = monomial(exponent).number
    p = Fraction(number) if isinstance(number, int) else number
    if p == 1:
        return e
    if not e.shape and isinstance(p, Fraction):
        size = constant_value(e)
        if size is not None and size.powers and size.number > 0:
            return constant(size**p, e.dtype)
    if p in (2, 3, 4) or (p == 0):
        labels = [tuple(range(len(e.shape)))] * int(p)
        return contract(
            [e] * int(p), labels, range(len(e.shape)), dict(enumerate(e.shape)), e.dtype
        )
    return elementwise("power", e, statics=(p,))


def _subtract(a: Any, b: Any) -> Expr:
    return _add(a, b, -1)


define_algebra(
    {
        "add": _add,
        "sub": _subtract,
        "mul": _multiply,
        "div": _divide,
        "pow": power,
        "matmul": matmul,
        "transpose": transpose,
    }
)
