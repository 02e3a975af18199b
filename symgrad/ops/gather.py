"""Reading and adding at integer positions: two adjoint pairs, take/put_add and gather/scatter_add.

``take`` reads whole slices at positions of one axis; ``gather`` reads one entry per position along
an axis.  Each is the adjoint of the other of its pair.  Nothing is clamped: a position outside the
axis reads NaN (an integer: the smallest) in JAX and raises in NumPy; it adds nothing, or raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.core.build import broadcast_to, cast, elementwise, is_zero, product, zeros
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size, shape_text
from symgrad.errors import DTypeError, ShapeError
from symgrad.ops.row import COMPLEX, Template, form
from symgrad.ops.structure import Operands, dtype_text, position

Inferred = tuple[Shape, DType]


def _integers(index: Expr, what: str) -> None:
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{what}: tensors used as indices must be integers, not {index.dtype}")


def _added(shape: str, dtype: DType, index: str) -> tuple[str, str]:
    """``zeros.at[index].add({0})`` in both languages."""
    jax, numpy = dtype_text(dtype)
    return (
        f"jnp.zeros({shape}, dtype={jax}).at[{index}].add({{0}})",
        f"sum_at({shape}, np.s_[{index.replace('jnp.', 'np.')}], {{0}}, dtype={numpy})",
    )


# ------------------------------------------------------------------ take and put_add


def _take_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    e, index = args
    axis = params[0] + e.ndim
    return (*e.shape[:axis], *index.shape, *e.shape[axis + 1 :]), e.dtype


def _take_template(node: Expr) -> Template:
    axis = node.params[0]
    return form(f"jnp.take({{0}}, {{1}}, axis={axis})", f"np.take({{0}}, {{1}}, axis={axis})", 2)


def _take_vjp(node: Expr, g: Expr) -> tuple[Expr, None]:
    e, index = node.args
    (axis,) = node.params
    return put_add(g, index, axis, e.shape[axis]), None


Op("take", "structure", infer=_take_infer, vjp=_take_vjp, template=_take_template, text="take",
   traits=COMPLEX)  # fmt: skip


def take(e: Expr, index: Expr, axis: int = 0) -> Expr:
    """Slices of ``e`` at integer positions of one axis, which the axes of ``index`` replace.

    ``result[a, i, b] = e[a, index[i], b]``; negative positions count from the end.
    """
    _integers(index, "take")
    axis = position(axis, e.ndim, "take")
    return apply(OPS["take"], (e, index), (axis,))


def _put_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    e, index = args
    axis, size = params
    after = -axis - 1
    before = e.ndim - after - index.ndim
    return (*e.shape[:before], size, *e.shape[e.ndim - after :]), e.dtype


def _put_text(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
    write = Operands(2)
    after = -node.params[0] - 1
    lead = "..., " if node.ndim > after + 1 else ""
    index = f"{lead}{{1}}{', :' * after}"
    return *_added(write.shape(node.shape), node.dtype, index), tuple(write.sizes)


def _put_vjp(node: Expr, g: Expr) -> tuple[Expr, None]:
    return take(g, node.args[1], node.params[0]), None


Op("put_add", "structure", infer=_put_infer, vjp=_put_vjp,
   template=lambda node: form(*_put_text(node)[:2], 2), text="put_add", traits=COMPLEX,
   size_operands=lambda node: _put_text(node)[2])  # fmt: skip


def put_add(e: Expr, index: Expr, axis: int, size: Size) -> Expr:
    """The adjoint of take: zeros of ``size`` along ``axis`` (< 0) with the slices of ``e`` added."""
    _integers(index, "put_add")
    if is_zero(e):
        return zeros(_put_infer((e, index), (axis, size))[0], e.dtype)
    return apply(OPS["put_add"], (e, index), (axis, size))


# ------------------------------------------------------------------ gather and scatter_add


def _gather_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[1].shape, args[0].dtype


def _gather_template(node: Expr) -> Template:
    axis = node.params[0]
    return form(f"jnp.take_along_axis({{0}}, {{1}}, axis={axis})",
                f"np.take_along_axis({{0}}, {{1}}, axis={axis})", 2)  # fmt: skip


def _gather_vjp(node: Expr, g: Expr) -> tuple[Expr, None]:
    e, index = node.args
    (axis,) = node.params
    return scatter_add(g, index, axis, e.shape[axis]), None


Op("gather", "structure", infer=_gather_infer, vjp=_gather_vjp, template=_gather_template,
   text="gather", traits=COMPLEX)  # fmt: skip


def _agree(e: Expr, index: Expr, axis: int, what: str) -> None:
    _integers(index, what)
    if e.ndim != index.ndim:
        raise ShapeError(f"{what}: Index tensor must have the same number of dimensions as input "
                         f"tensor: {index.ndim} and {e.ndim}")  # fmt: skip
    for k in range(-e.ndim, 0):
        if k != axis and e.shape[k] != index.shape[k]:
            raise ShapeError(
                f"{what}: Size does not match at dimension {k + e.ndim} expected index "
                f"{list(index.shape)} to be no larger than self {list(e.shape)} apart from "
                f"dimension {axis + e.ndim}",
                "Slice the input to the shape of the index first.",
            )


def gather(e: Expr, index: Expr, axis: int) -> Expr:
    """``result[a, i, b] = e[a, index[a, i, b], b]``; the other axes agree.

    An index with fewer axes than ``e`` is repeated along the leading ones.
    """
    axis = position(axis, e.ndim, "gather")
    if index.ndim < e.ndim and -axis <= index.ndim:
        front = e.shape[: e.ndim - index.ndim]
        index = broadcast_to(index, (*front, *index.shape))
    _agree(e, index, axis, "gather")
    return apply(OPS["gather"], (e, index), (axis,))


def _scatter_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    e = args[0]
    axis, size = params
    k = axis + e.ndim
    return (*e.shape[:k], size, *e.shape[k + 1 :]), e.dtype


def _scatter_index(node: Expr, write: Operands) -> str:
    """Where the operand is written: the index in place of its axis."""
    k = node.params[0] + node.ndim
    index: list[str] = []
    for j, size in enumerate(node.shape):
        if j == k:
            index.append("{1}")
            continue
        later = ", None" * (node.ndim - 1 - j)
        index.append(f"jnp.arange({write.text(size)})" + (f"[:{later}]" if later else ""))
    return ", ".join(index)


def _scatter_text(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
    write = Operands(2)
    index = _scatter_index(node, write)
    return *_added(write.shape(node.shape), node.dtype, index), tuple(write.sizes)


def _scatter_vjp(node: Expr, g: Expr) -> tuple[Expr, None]:
    return gather(g, node.args[1], node.params[0]), None


Op("scatter_add", "structure", infer=_scatter_infer, vjp=_scatter_vjp,
   template=lambda node: form(*_scatter_text(node)[:2], 2), text="scatter_add",
   traits=COMPLEX,
   size_operands=lambda node: _scatter_text(node)[2])  # fmt: skip


def scatter_add(e: Expr, index: Expr, axis: int, size: Size) -> Expr:
    """The adjoint of gather: ``result[a, index[a, i, b], b] += e[a, i, b]``, zeros elsewhere."""
    axis = position(axis, e.ndim, "scatter_add")
    if index.ndim < e.ndim:
        index = broadcast_to(index, (*e.shape[: e.ndim - index.ndim], *index.shape))
    _integers(index, "scatter_add")
    if index.shape != e.shape:
        raise ShapeError(
            f"scatter_add: index {shape_text(index.shape)} and source {shape_text(e.shape)} "
            "need one shape"
        )
    if is_zero(e):
        return zeros(_scatter_infer((e, index), (axis, size))[0], e.dtype)
    return apply(OPS["scatter_add"], (e, index), (axis, size))


# ------------------------------------------------------------------ the extreme of what is written


def _extreme_text(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
    most = node.op.name == "scatter_amax"
    write = Operands(2)
    index = _scatter_index(node, write)
    shape = write.shape(node.shape)
    jax, numpy = dtype_text(node.dtype)
    bound = _bound(node.dtype, most)
    word = "max" if most else "min"
    return (
        f"jnp.full({shape}, {bound}, dtype={jax}).at[{index}].{word}({{0}})",
        (
            f"(_far := np.full({shape}, {bound.replace('jnp.', 'np.')}, dtype={numpy}), "
            f"np.{word}imum.at(_far, np.s_[{index.replace('jnp.', 'np.')}], {{0}}), _far)[-1]"
        ),
        tuple(write.sizes),
    )


def _bound(dtype: DType, most: bool) -> str:
    """What every entry of the dtype exceeds (``most``) or stays below."""
    if dtype.is_floating_point:
        return "-jnp.inf" if most else "jnp.inf"
    if dtype.kind == "b":
        return str(not most)
    limits = np.iinfo(dtype.numpy)  # type: ignore[arg-type]
    return str(limits.min if most else limits.max)


def _extreme_vjp(node: Expr, g: Expr) -> tuple[Expr, None]:
    """x̄ = ḡ / (number of ties) where x is the extreme of its place."""
    e, index = node.args
    axis, size = node.params
    hit = cast(elementwise("eq", e, gather(node, index, axis)), e.dtype)
    share = hit / gather(scatter_add(hit, index, axis, size), index, axis)
    return product(gather(g, index, axis), share), None


for _name in ("scatter_amax", "scatter_amin"):
    Op(_name, "structure", infer=_scatter_infer, vjp=_extreme_vjp,
       template=lambda node: form(*_extreme_text(node)[:2], 2), text=_name,
       latex=rf"\operatorname{{{_name.replace('_', chr(92) + '_')}}}",
       size_operands=lambda node: _extreme_text(node)[2])  # fmt: skip


def scatter_extreme(name: str, e: Expr, index: Expr, axis: int, size: Size) -> Expr:
    """``result[a, j, b]``: the extreme of ``e[a, i, b]`` where ``index[a, i, b] = j``; else ∓∞.

    ``name`` is "scatter_amax" or "scatter_amin"; ties share the gradient.
    """
    axis = position(axis, e.ndim, name)
    _integers(index, name)
    if index.shape != e.shape:
        raise ShapeError(
            f"{name}: index {shape_text(index.shape)} and source {shape_text(e.shape)} need one shape"
        )
    return apply(OPS[name], (e, index), (axis, size))
