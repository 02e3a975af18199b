"""Contractions as source: ``@``, elementwise products, indexing, sums; ``einsum`` last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symgrad_codegen.program import PRODUCT, Apply, Operand, Template, Variable, postfix, text

from symgrad.core.dtypes import float64
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.sizes import Size
from symgrad.lower.align import (
    MATMUL,
    OVER,
    aligned,
    permuted,
    plain,
    product_of,
    size_operand,
    spans,
    with_shape,
)

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering

LAID_OUT = Template((("jax", "jax.lax.optimization_barrier({0})"), ("numpy", "{0}")), 90, (90,))
"""A transpose that is made: XLA's fast product of float64 on a CPU takes rows of what stands left."""
LETTERS = "ijklmnopqrstuvwxyzabcdefgh"
"""Names of axes, in the order in which ``einsum`` takes them."""
WIDE = 16
"""Columns from which on a product outweighs the transpose, where they are known to be so many."""
THIN = 8
"""Columns below which ``A.T @ v`` takes no longer than ``v @ A``, in float32 down to half."""
Placed = tuple[Operand, list[int]]


def lower_contraction(state: Lowering, node: Expr) -> Operand:
    """The operand of a contraction."""
    rank = len(node.shape)
    args, rows = node.args, node.params[0]
    if not args:
        return with_shape(product_of([]), node) if rank else product_of([])
    hot = [k for k, a in enumerate(args) if a.op.name == "onehot"]
    if hot and len(args) == 2 and node.sums:
        found = _indexed(state, node, hot[0])
        if found is not None:
            return found
    if not node.sums:
        return _elementwise(state, args, rows, node)
    sizes = _label_sizes(node)
    if len(args) == 1:
        value, labels = plain(state.value(args[0]), args[0].shape, rows[0])
        value, labels = _sum_out(value, labels, [x for x in labels if x >= rank])
        return _finish((value, labels), node)
    if len(args) == 2:
        left = plain(state.value(args[0]), args[0].shape, rows[0])
        right = plain(state.value(args[1]), args[1].shape, rows[1])
        return _finish(_pair(left, right, node, sizes), node)
    return _finish(_product_sum(state, args, rows, rank), node)


def _label_sizes(node: Expr) -> dict[int, Size]:
    sizes: dict[int, Size] = dict(enumerate(node.shape))
    for a, labels in zip(node.args, node.params[0], strict=True):
        sizes.update({x: a.shape[k] for k, x in enumerate(labels) if x >= 0})
    return sizes


def _finish(placed: Placed, node: Expr) -> Operand:
    """Bring the axes into output order; add the ones nobody carries."""
    value, labels = placed
    rank = len(node.shape)
    order = sorted(range(len(labels)), key=lambda k: labels[k])
    value = permuted(value, order)
    kept = sorted(labels)
    if kept == list(range(rank)):
        return value
    spread = aligned(value, tuple(node.shape[x] for x in kept), kept, rank)
    return with_shape(spread, node)


def _sum_out(value: Operand, labels: list[int], gone: list[int]) -> Placed:
    if not gone:
        return value, labels
    kept = [x for x in labels if x not in gone]
    if not kept:
        if isinstance(value, Apply) and value.template.form("jax") == "jnp.diagonal({0})":
            return Apply(text("jnp.trace({0})"), value.operands), []
        return Apply(text("jnp.sum({0})"), (value,)), []
    axes = [k for k, x in enumerate(labels) if x in gone]
    word = str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    return Apply(text(f"jnp.sum({{0}}, axis={word})"), (value,)), kept


def _elementwise(
    state: Lowering, args: tuple[Expr, ...], rows: tuple[tuple[int, ...], ...], node: Expr
) -> Operand:
    """A product without sum: repeated factors as powers, negative powers as divisions."""
    rank = len(node.shape)
    over: list[Operand] = []
    under: list[Operand] = []
    counted: dict[tuple[Expr, tuple[int, ...]], int] = {}
    for a, labels in zip(args, rows, strict=True):
        counted[(a, labels)] = counted.get((a, labels), 0) + 1
    carried: set[int] = set()
    full = rank == 0
    real = any(not _is_flag(state, a) for a, _ in counted)
    ordered = sorted(
        counted.items(),
        key=lambda item: (
            _is_flag(state, item[0][0]),
            not state.readable and (item[0][0].ndim > 0, state.age(item[0][0])),
        ),
    )  # fmt: skip
    for (a, labels), times in ordered:
        source = a
        if a.op.name == "power" and a.params[2][0] == -1 and (state.once(a) or is_reciprocal(a)):
            source = a.args[0]
            value = aligned(state.value(source), source.shape, labels, rank)
            under += [value] * times
        elif real and _is_flag(state, a):
            over.append(aligned(state.value(a.args[0]), a.shape, labels, rank))
        else:
            value = aligned(state.value(a), a.shape, labels, rank)
            alone = len(counted) == 1 and times == 2 and isinstance(value, Variable)
            over += [value, value] if alone else _repeated(value, times)
        carried.update(x for x in labels if x >= 0)
        full = full or spans(labels, rank)
    value = product_of(over)
    if under:
        value = Apply(OVER, (value, product_of(under)))
    if any(s != 1 and k not in carried for k, s in enumerate(node.shape)) or not full:
        return with_shape(value, node)
    return value


def is_reciprocal(e: Expr) -> bool:
    """``1 / s`` of a number s with a name."""
    return e.op.name == "power" and e.params[2][0] == -1 and not e.shape and e.args[0].op is SYMBOL


def _repeated(value: Operand, times: int) -> list[Operand]:
    return [Apply(_POWERS[times], (value,))] if times in _POWERS else [value] * times


_POWERS = {
    2: text("jnp.square({0})"),
    3: Template((("jax", "{0} ** 3"), ("numpy", "{0} ** 3")), 80, (81,)),
    4: Template((("jax", "{0} ** 4"), ("numpy", "{0} ** 4")), 80, (81,)),
}


def _is_flag(state: Lowering, a: Expr) -> bool:
    """A condition cast to numbers, used here only: multiplied as it is."""
    return a.op.name == "cast" and a.args[0].dtype.kind == "b" and state.once(a)


def _product_sum(
    state: Lowering, args: tuple[Expr, ...], rows: tuple[tuple[int, ...], ...], rank: int
) -> Placed:
    """Three or more factors over the axes of the largest: multiply, then sum."""
    widest = max(rows, key=lambda ls: len([x for x in ls if x >= 0]))
    every = [x for x in dict.fromkeys(widest) if x >= 0]
    every = [x for ls in rows for x in ls if x >= 0 and x not in every][::-1] + every
    every = list(dict.fromkeys(every))
    where = {x: k for k, x in enumerate(every)}
    factors: list[Operand] = []
    for a, labels in zip(args, rows, strict=True):
        local = [where[x] if x >= 0 else -1 for x in labels]
        factors.append(aligned(state.value(a), a.shape, local, len(every)))
    return _sum_out(product_of(factors), every, [x for x in every if x >= rank])


def _pair(left: Placed, right: Placed, node: Expr, sizes: dict[int, Size]) -> Placed:
    """Two factors: sum what only one carries, then the cheapest product that fits."""
    (a, la), (b, lb) = left, right
    rank = node.ndim
    a, la = _sum_out(a, la, [x for x in la if x >= rank and x not in lb])
    b, lb = _sum_out(b, lb, [x for x in lb if x >= rank and x not in la])
    summed = [x for x in la if x in lb and x >= rank]
    batch = [x for x in la if x in lb and x < rank]
    free_a = [x for x in la if x not in lb]
    free_b = [x for x in lb if x not in la]
    if not summed:
        every = sorted({*la, *lb})
        where = {x: k for k, x in enumerate(every)}
        parts = [
            aligned(v, tuple(sizes[x] for x in ls), [where[x] for x in ls], len(every))
            for v, ls in ((a, la), (b, lb))
        ]
        return product_of(parts), every
    if not free_a and not free_b and (batch or len(summed) > 1):
        b = permuted(b, [lb.index(x) for x in la])
        value = Apply(text("jnp.square({0})"), (a,)) if a == b else product_of([a, b])
        return _sum_out(value, la, summed)
    if not batch and len(summed) == 1 and len(free_a) <= 1 and len(free_b) <= 1:
        swap = free_a and free_b and free_b[0] < free_a[0]
        if swap or _changes_places(la, lb, summed[0], sizes):
            (a, la, free_a), (b, lb, free_b) = (b, lb, free_b), (a, la, free_a)
        k = summed[0]
        if len(la) == 2 and la[-1] != k:
            a = permuted(a, (1, 0))
            wide = free_b and isinstance(columns := sizes[free_b[0]], int) and columns >= WIDE
            if wide and node.dtype is float64:
                a = Apply(LAID_OUT, (a,))
        if len(lb) == 2 and lb[0] != k:
            b = permuted(b, (1, 0))
        return Apply(MATMUL, (a, b)), [*free_a, *free_b]
    depth = len(batch)
    if (
        len(summed) == 1
        and len(free_a) == 1
        and len(free_b) == 1
        and la[:depth] == batch
        and lb[:depth] == batch
    ):
        if free_b[0] < free_a[0]:
            (a, la, free_a), (b, lb, free_b) = (b, lb, free_b), (a, la, free_a)
        if la[-1] != summed[0]:
            a = Apply(postfix(".swapaxes(-1, -2)"), (a,))
        if lb[-1] == summed[0]:
            b = Apply(postfix(".swapaxes(-1, -2)"), (b,))
        return Apply(MATMUL, (a, b)), [*batch, *free_a, *free_b]
    if len(la) == 2 and len(lb) > 2 and lb[-1] in summed and max(free_b) < max(free_a, default=0):
        (a, la, free_a), (b, lb, free_b) = (b, lb, free_b), (a, la, free_a)
    if len(summed) == 1 and not batch and len(free_b) == 1 and len(lb) == 2 and la[-1] == summed[0]:
        if lb[0] != summed[0]:
            b = permuted(b, (1, 0))
        return Apply(MATMUL, (a, b)), [*free_a, *free_b]
    out = sorted([*batch, *free_a, *free_b])
    if not batch and out and out[0] in free_b:  # its axes come first: no axis is moved
        (a, la), (b, lb) = (b, lb), (a, la)
    names = dict(zip(dict.fromkeys([*la, *lb]), LETTERS))  # noqa: B905
    spelled = ["".join(names[x] for x in ls) for ls in (la, lb, out)]
    einsum = text(f'jnp.einsum("{spelled[0]},{spelled[1]}->{spelled[2]}", {{0}}, {{1}})')
    return Apply(einsum, (a, b)), out


def _changes_places(la: list[int], lb: list[int], k: int, sizes: dict[int, Size]) -> bool:
    """``v @ A`` instead of ``A.T @ v``, which XLA compiles much slower unless A is thin."""
    if len(la) + len(lb) != 3:
        return False
    matrix = la if len(la) == 2 else lb
    columns = sizes[matrix[1]]
    thin = isinstance(columns, int) and columns < THIN
    right = matrix[0] == k and not thin
    return right is (matrix is la)


def _indexed(state: Lowering, node: Expr, k: int) -> Operand | None:
    """A product with one-hot rows as indexing: take, pick or scatter-add."""
    hot, other = node.args[k], node.args[1 - k]
    hot_labels, labels = node.params[0][k], node.params[0][1 - k]
    rank = len(node.shape)
    *where, column = hot_labels
    if column < 0 or any(x < 0 for x in hot_labels) or len(set(hot_labels)) != len(hot_labels):
        return None
    if any(x < 0 for x in labels) or len(set(labels)) != len(labels):
        return None
    index = state.value(hot.args[0])
    value = state.value(other)
    if column >= rank and labels.count(column) == 1:
        axis = labels.index(column)
        if not any(x in labels for x in where) and axis == 0:
            taken = Apply(postfix_index(), (value, index))
            placed = [*where, *labels[1:]]
            summed = [x for x in placed if x >= rank]
            return _finish(_sum_out(taken, placed, summed), node)
        if list(labels) == [*where, column]:
            if len(where) == 1:
                picked = Apply(_PICK, (value, index))
            else:
                picked = Apply(
                    text("jnp.take_along_axis({0}, {1}[..., None], axis=-1)[..., 0]"),
                    (value, index),
                )
            summed = [x for x in where if x >= rank]
            return _finish(_sum_out(picked, where, summed), node)
        return None
    spread = [x for x in where if x >= rank]
    if column < rank and spread == where and len(where) == 1 and labels[:1] == tuple(where):
        rest = list(labels[1:])
        if any(x >= rank for x in rest):
            return None
        sizes = [size_operand(s) for s in (hot.shape[-1], *other.shape[1:])]
        dims = ", ".join(f"{{{j + 2}}}" for j in range(len(sizes)))
        name = node.dtype.name
        template = Template(
            (
                ("jax", f"jnp.zeros(({dims},), dtype=jnp.{name}).at[{{1}}].add({{0}})"),
                ("numpy", f"(np.arange({{2}})[:, None] == {{1}}).astype(np.{name}) @ {{0}}"),
            ),
            PRODUCT,
            (PRODUCT + 1, 90, 0),
        )
        return _finish((Apply(template, (value, index, *sizes)), [column, *rest]), node)
    return None


_PICK = Template(
    (("jax", "{0}[jnp.arange(len({1})), {1}]"), ("numpy", "{0}[np.arange(len({1})), {1}]")),
    90,
    (90, 90),
)


def postfix_index() -> Template:
    """``table[index]``."""
    return Template((("jax", "{0}[{1}]"), ("numpy", "{0}[{1}]")), 90, (90, 0))
