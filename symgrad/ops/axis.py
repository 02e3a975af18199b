"""Ops along one axis that are not sums: softmax, logsumexp, max, argmax, cumsum, sort.

The axis is counted from the end (negative), so that an adjoint with extra leading axes needs no
change of rule.  Stable functions stay whole: their derivatives are written in each other.
"""

from __future__ import annotations

from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_to,
    contract,
    elementwise,
    product,
    reduce_sum,
    unsqueeze,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape
from symgrad.errors import AxisSizeError
from symgrad.ops.row import COMPLEX, Template, form

Inferred = tuple[Shape, DType]


def along(name: str, e: Expr, axis: int = -1) -> Expr:
    """The axis op ``name`` of ``e`` along ``axis``."""
    return apply(OPS[name], (e,), (axis if axis < 0 else axis - len(e.shape),))


def _same(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, args[0].dtype


def _reduced(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    axis = params[0] + len(args[0].shape)
    return args[0].shape[:axis] + args[0].shape[axis + 1 :], args[0].dtype


def _largest_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    if args[0].shape[params[0]] == 0:
        raise AxisSizeError("max or min over an axis of size 0 has no value")
    return _reduced(args, params)


def _index_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return _largest_infer(args, params)[0], dtypes.int64


def expanded(reduced: Expr, axis: int, shape: Shape) -> Expr:
    """A reduced value repeated along the axis it lost (counted from the end)."""
    place = axis + len(reduced.shape) + 1
    front = reduced.shape[:place]
    size = shape[axis]
    labels = [k if k < place else k + 1 for k in range(len(reduced.shape))]
    full = (*front, size, *reduced.shape[place:])
    return contract([reduced], [labels], range(len(full)), dict(enumerate(full)), reduced.dtype)


def _softmax_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ = p ⊙ (ḡ − Σ ḡ p): Bridle (1990)."""
    axis = node.params[0]
    inner = reduce_sum(product(g, node), [len(g.shape) + axis])
    return (product(node, g - expanded(inner, axis, node.shape)),)


def _logsumexp_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ = ḡ softmax(x)."""
    axis = node.params[0]
    x = node.args[0]
    return (product(expanded(g, axis, x.shape), along("softmax", x, axis)),)


def _extreme_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ = ḡ / (number of ties) where x is the extreme: PyTorch's amax and amin."""
    axis = node.params[0]
    x = node.args[0]
    hit = elementwise("eq", x, expanded(node, axis, x.shape))
    mask = elementwise("cast", hit, statics=(x.dtype,))
    count = reduce_sum(mask, [len(x.shape) + axis])
    return (product(expanded(product(g, 1 / count), axis, x.shape), mask),)


def _flip_cumsum_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    axis = node.params[0]
    return (along("flip", along("cumsum", along("flip", g, axis), axis), axis),)


def _axis_form(jax: str, numpy: str) -> Any:
    def template(node: Expr) -> Template:
        axis = node.params[0]
        jax_text = jax.replace("PLACE", str(axis + node.args[0].ndim))
        return form(jax_text.replace("AXIS", str(axis)), numpy.replace("AXIS", str(axis)))

    return template


Op("softmax", "axis", infer=_same, vjp=_softmax_vjp,
   template=_axis_form("jax.nn.softmax({0}, axis=AXIS)", "special.softmax({0}, axis=AXIS)"),
   text="softmax", python="softmax")  # fmt: skip
Op("logsumexp", "axis", infer=_reduced, vjp=_logsumexp_vjp,
   template=_axis_form("jax.nn.logsumexp({0}, axis=AXIS)", "special.logsumexp({0}, axis=AXIS)"),
   text="logsumexp", python="logsumexp",
   traits=frozenset({"reduces"}))  # fmt: skip
Op("amax", "axis", infer=_largest_infer, vjp=_extreme_vjp,
   template=_axis_form("jnp.max({0}, axis=AXIS)", "np.max({0}, axis=AXIS)"),
   text="max", latex=r"\max", python="max", traits=frozenset({"reduces"}))  # fmt: skip
Op("amin", "axis", infer=_largest_infer, vjp=_extreme_vjp,
   template=_axis_form("jnp.min({0}, axis=AXIS)", "np.min({0}, axis=AXIS)"),
   text="min", latex=r"\min", python="min", traits=frozenset({"reduces"}))  # fmt: skip
Op("argmax", "axis", infer=_index_infer,
   template=_axis_form("jax.lax.argmax({0}, PLACE, jnp.int32).astype(jnp.int64)",
                       "np.argmax({0}, axis=AXIS)"),
   text="argmax", python="argmax",
   traits=frozenset({"reduces"}))  # fmt: skip
Op("argmin", "axis", infer=_index_infer,
   template=_axis_form("jax.lax.argmin({0}, PLACE, jnp.int32).astype(jnp.int64)",
                       "np.argmin({0}, axis=AXIS)"),
   text="argmin", python="argmin",
   traits=frozenset({"reduces"}))  # fmt: skip
Op("cumsum", "axis", infer=_same, vjp=_flip_cumsum_vjp,
   template=_axis_form("jnp.cumsum({0}, axis=AXIS)", "np.cumsum({0}, axis=AXIS)"),
   text="cumsum", python="cumsum", traits=COMPLEX)  # fmt: skip
Op("flip", "axis", infer=_same, vjp=lambda node, g: (along("flip", g, node.params[0]),),
   template=_axis_form("jnp.flip({0}, axis=AXIS)", "np.flip({0}, axis=AXIS)"),
   text="flip", python="flip", traits=COMPLEX)  # fmt: skip

__all__ = ["along", "broadcast_to", "expanded", "unsqueeze"]
