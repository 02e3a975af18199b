"""Ops along an axis whose order counts: products, running extremes, sort, argsort.

The derivative of a product is made of products of the others, never of a division, so it is right
where entries are zero; to first order it costs as much as the product, to second order n times.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_to,
    cast,
    constant,
    contract,
    delta,
    elementwise,
    ones,
    product,
    reduce_sum,
    unsqueeze,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, size_total
from symgrad.errors import ShapeError
from symgrad.ops.axis import along, expanded
from symgrad.ops.elementwise import where
from symgrad.ops.gather import scatter_add
from symgrad.ops.join import arange, tril, triu
from symgrad.ops.outputs import project, projections
from symgrad.ops.row import HOLOMORPHIC, Template, form, like
from symgrad.ops.structure import pad, position, slice_axis

Inferred = tuple[Shape, DType]


def _same(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, args[0].dtype


def _reduced(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    axis = params[0] + args[0].ndim
    return args[0].shape[:axis] + args[0].shape[axis + 1 :], args[0].dtype


# ------------------------------------------------------------------ products


def _prod_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ᵢ = ḡ Π_{j<i} xⱼ Π_{j>i} xⱼ."""
    (axis,) = node.params
    x = node.args[0]
    before = cumprod(x, axis, exclusive=True)
    after = along("flip", cumprod(along("flip", x, axis), axis, exclusive=True), axis)
    return (product(expanded(g, axis, x.shape), before, after),)


def _axis_form(text: str) -> Any:
    def template(node: Expr) -> Template:
        spelled = text.replace("AXIS", str(node.params[0]))
        return form(f"jnp.{spelled}", f"np.{spelled}")

    return template


Op("prod", "axis", infer=_reduced, vjp=_prod_vjp, template=_axis_form("prod({0}, axis=AXIS)"),
   text="prod", traits=HOLOMORPHIC | {"reduces"})  # fmt: skip


def prod(e: Expr, axis: int) -> Expr:
    """Π along an axis, which disappears; 1 over an axis of size 0."""
    return apply(OPS["prod"], (e,), (position(axis, e.ndim, "prod"),))


def _cumprod_template(node: Expr) -> Template:
    axis, exclusive = node.params
    if not exclusive:
        return form(f"jnp.cumprod({{0}}, axis={axis})", f"np.cumprod({{0}}, axis={axis})")
    widths = ["(0, 0)"] * node.ndim
    widths[axis] = "(1, 0)"
    listed = f"({', '.join(widths)}{',' if len(widths) == 1 else ''})"
    index = ", ".join(["...", ":-1", *[":"] * (-axis - 1)])
    text = f"cumprod(XP.pad({{0}}[{index}], {listed}, constant_values=1), axis={axis})"
    jax, numpy = (f"{xp}.{text.replace('XP', xp)}" for xp in ("jnp", "np"))
    return form(jax, numpy, 1, 90, 90)


def _cumprod_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ₖ = Σ_{i ≥ k} ḡᵢ Π_{j ≤ i, j ≠ k} xⱼ: running products with one factor left out."""
    axis, exclusive = node.params
    x = _last(node.args[0], axis)
    row = broadcast_to(unsqueeze(x, [x.ndim - 1]), (*x.shape, x.shape[-1]))
    hole = broadcast_to(cast(delta(x.shape[-1], x.dtype), dtypes.bool_), row.shape)
    without = where(hole, like(1, row), row)
    running = triu(apply(OPS["cumprod"], (without,), (-1, exclusive)), 1 if exclusive else 0)
    moved = _last(g, axis)
    found = reduce_sum(product(unsqueeze(moved, [moved.ndim - 1]), running), [moved.ndim])
    return (_last(found, axis),)


def _last(e: Expr, axis: int) -> Expr:
    """``axis`` and the last axis exchanged."""
    order = list(range(e.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    sizes = dict(enumerate(e.shape))
    return contract([e], [range(e.ndim)], order, sizes, e.dtype)


Op("cumprod", "sequence", infer=_same, vjp=_cumprod_vjp, template=_cumprod_template,
   text="cumprod", traits=HOLOMORPHIC)  # fmt: skip


def cumprod(e: Expr, axis: int, exclusive: bool = False) -> Expr:
    """Running products along an axis; ``exclusive`` leaves out the entry itself (first: 1)."""
    return apply(OPS["cumprod"], (e,), (position(axis, e.ndim, "cumprod"), exclusive))


# ------------------------------------------------------------------ running extremes


def running_position(e: Expr, extreme: Expr, axis: int) -> Expr:
    """Where the running extreme of ``e`` stands: the last such position so far; of NaN the last.

    That is where an entry is no worse than the extreme before it.  (To ask where the two are equal
    is not safe: XLA may compute ``e`` again, rounded another way.)
    """
    size = e.shape[axis]
    turn = unsqueeze(arange(size, dtypes.int64), range(1, -axis))
    hit = elementwise("eq", turn, constant(0, dtypes.int64))
    if size != 0:
        widths = [(0, 0)] * e.ndim
        widths[axis] = (1, 0)
        before = pad(slice_axis(extreme, axis, 0, size_total(size, -1)), widths)
        order = "le" if extreme.op.name == "cummin" else "ge"
        hit = elementwise("logical_or", hit, elementwise(order, e, before))
    if e.dtype.is_floating_point:
        hit = elementwise("logical_or", hit, elementwise("isnan", e))
    return along("cummax", where(hit, turn, constant(0, dtypes.int64)), axis)


def _running_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ at the positions that the extremes came from."""
    (axis,) = node.params
    x = node.args[0]
    return (scatter_add(g, running_position(x, node, axis), axis, x.shape[axis]),)


def _running_form(jax: str, numpy: str) -> Any:
    def template(node: Expr) -> Template:
        (axis,) = node.params
        return form(
            f"jax.lax.{jax}({{0}}, axis={axis + node.ndim})",
            f"np.{numpy}.accumulate({{0}}, axis={axis})",
        )

    return template


Op("cummax", "sequence", infer=_same, vjp=_running_vjp,
   template=_running_form("cummax", "maximum"), text="cummax",
   latex=r"\operatorname{cummax}")  # fmt: skip
Op("cummin", "sequence", infer=_same, vjp=_running_vjp,
   template=_running_form("cummin", "minimum"), text="cummin",
   latex=r"\operatorname{cummin}")  # fmt: skip


def _logcumsumexp_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ₖ = Σ_{i ≥ k} ḡᵢ softmax(x₁ … xᵢ)ₖ; as large as the square of the axis."""
    (axis,) = node.params
    x, moved = _last(node.args[0], axis), _last(g, axis)
    n = x.shape[-1]
    nothing = constant(-math.inf, x.dtype)
    # where all so far are −∞ the shares are equal, not NaN
    lowest = constant(float(ml_dtypes.finfo(x.dtype.numpy).min), x.dtype)
    finite = elementwise("maximum", x, lowest)
    seen = tril(ones((n, n), dtypes.bool_))
    shares = along("softmax", where(seen, unsqueeze(finite, [x.ndim - 1]), nothing), -1)
    found = reduce_sum(product(unsqueeze(moved, [moved.ndim]), shares), [moved.ndim - 1])
    return (_last(found, axis),)


Op("logcumsumexp", "sequence", infer=_same, vjp=_logcumsumexp_vjp,
   template=_running_form("cumlogsumexp", "logaddexp"), text="logcumsumexp",
   latex=r"\operatorname{logcumsumexp}")  # fmt: skip


# ------------------------------------------------------------------ order


def _sort_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    return (args[0].shape, args[0].dtype), (args[0].shape, dtypes.int64)


def _argsort_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, dtypes.int64


def _order_text(node: Expr) -> tuple[str, str]:
    """Keywords of JAX's call; NumPy's call of the stable order."""
    axis, descending = node.params
    if not descending:
        return f"axis={axis}", f"np.argsort({{0}}, axis={axis}, kind='stable')"
    size = node.args[0].shape[axis]
    last = str(size - 1) if isinstance(size, int) else f"np.shape({{0}})[{axis}] - 1"
    flipped = f"np.argsort(np.flip({{0}}, axis={axis}), axis={axis}, kind='stable')"
    return f"axis={axis}, descending=True", f"np.flip({last} - {flipped}, axis={axis})"


def _argsort_template(node: Expr) -> Template:
    keywords, numpy = _order_text(node)
    return form(f"jnp.argsort({{0}}, {keywords}).astype(jnp.int64)", numpy)


def _sort_template(node: Expr) -> Template:
    keywords, numpy = _order_text(node)
    axis, descending = node.params
    values = f"np.sort({{0}}, axis={axis})"
    values = f"np.flip({values}, axis={axis})" if descending else values
    return form(
        f"(jnp.sort({{0}}, {keywords}), jnp.argsort({{0}}, {keywords}).astype(jnp.int64))",
        f"({values}, {numpy})",
    )


def _sort_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> tuple[Expr | None]:
    """x̄ at the positions that the values came from."""
    g = adjoints[0]
    if g is None:
        return (None,)
    axis = node.params[0]
    return (scatter_add(g, project(node, 1), axis, node.args[0].shape[axis]),)


Op("argsort", "sequence", infer=_argsort_infer, template=_argsort_template, text="argsort",
   traits=frozenset({"nondifferentiable"}))  # fmt: skip
Op("sort", "sequence", outputs=_sort_outputs, vjp=_sort_vjp, template=_sort_template, text="sort")  # fmt: skip


def sort(e: Expr, axis: int = -1, descending: bool = False) -> tuple[Expr, ...]:
    """(values, positions) in order along an axis; equal entries keep their order, NaN is largest."""
    axis = position(axis, e.ndim, "sort")
    return projections(apply(OPS["sort"], (e,), (axis, descending)))


def argsort(e: Expr, axis: int = -1, descending: bool = False) -> Expr:
    """The positions that sort ``e`` along an axis; equal entries keep their order."""
    return apply(OPS["argsort"], (e,), (position(axis, e.ndim, "argsort"), descending))


def topk(e: Expr, k: int, axis: int = -1, largest: bool = True) -> tuple[Expr, ...]:
    """(values, positions) of the k largest along an axis, in order.

    Raises ShapeError where the axis has fewer than k entries.
    """
    from_end = position(axis, e.ndim, "topk")
    size = e.shape[from_end]
    if k < 0 or (isinstance(size, int) and k > size):
        raise ShapeError(f"topk: selected index k out of range: {k} of {size}")
    taken = sort(e, from_end, descending=largest)
    return tuple(slice_axis(t, from_end, 0, k) for t in taken)


__all__ = ["argsort", "cumprod", "prod", "running_position", "sort", "topk"]
