"""Joining and masking: concatenate, triangles of matrices, arange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core.build import is_zero
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import (
    Size,
    normal_size,
    shape_text,
    size_total,
)
from symgrad.errors import DTypeError, ShapeError
from symgrad.ops.row import COMPLEX, Template, form
from symgrad.ops.structure import (
    Inferred,
    _same,
    _slice_build,
    dtype_text,
    position,
)

# ------------------------------------------------------------------ concatenate


def _concatenate_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    axis = params[0] + args[0].ndim
    total = size_total(*(a.shape[axis] for a in args))
    return (*args[0].shape[:axis], total, *args[0].shape[axis + 1 :]), args[0].dtype


def _concatenate_template(node: Expr) -> Template:
    holes = ", ".join(f"{{{k}}}" for k in range(len(node.args)))
    ending = (
        f"({holes},), axis={node.params[0]})"
        if len(node.args) == 1
        else (f"({holes}), axis={node.params[0]})")
    )
    return form(f"jnp.concatenate({ending}", f"np.concatenate({ending}", len(node.args))


def _concatenate_vjp(node: Expr, g: Expr) -> tuple[Expr, ...]:
    (axis,) = node.params
    start: Size = 0
    parts: list[Expr] = []
    for a in node.args:
        stop = size_total(start, a.shape[axis])
        parts.append(_slice_build((g,), (((start, stop, 1), *(None,) * (-axis - 1)),)))
        start = stop
    return tuple(parts)


Op("concatenate", "structure", infer=_concatenate_infer, vjp=_concatenate_vjp,
   template=_concatenate_template, text="concat", traits=COMPLEX)  # fmt: skip


def _other_axis(parts: Sequence[Expr], axis: int, wrong: int) -> str:
    """What to try where a size differs beside the axis of concatenation."""
    first = parts[0]
    differing = {
        j for j in range(-first.ndim, 0) for p in parts[1:]
        if p.ndim == first.ndim and p.shape[j] != first.shape[j]
    }  # fmt: skip
    if differing == {wrong}:
        return f"Join them along the axis in which they differ: dim={wrong + first.ndim}."
    return f"Slice or pad the tensors to the same size in every dimension but {axis + first.ndim}."


def concatenate(parts: Sequence[Expr], axis: int = 0) -> Expr:
    """The tensors one after the other along ``axis``; all other sizes agree.

    Raises ShapeError where they do not, or where the total is no product of letters.
    """
    if not parts:
        raise ShapeError(
            "expected a non-empty list of Tensors", "Give cat a list of at least one tensor."
        )
    first = parts[0]
    if first.ndim == 0:
        raise ShapeError(
            "zero-dimensional tensor (at position 0) cannot be concatenated",
            "Use stack, or unsqueeze(0) first.",
        )
    axis = position(axis, first.ndim, "concatenate")
    for k, e in enumerate(parts):
        if e.ndim != first.ndim:
            raise ShapeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {e.ndim}",
                f"Give tensor number {k} the missing axes with unsqueeze(), or use stack."
                if e.ndim < first.ndim
                else "Give the first tensor the missing axes with unsqueeze().",
            )
        if e.dtype is not first.dtype:
            raise DTypeError(
                f"concatenate of {first.dtype} and {e.dtype} (tensor number {k}) needs an "
                "explicit cast"
            )
        for j in range(-e.ndim, 0):
            if j != axis and e.shape[j] != first.shape[j]:
                raise ShapeError(
                    f"Sizes of tensors must match except in dimension {axis + e.ndim}. Expected "
                    f"size {first.shape[j]} but got size {e.shape[j]} for tensor number {k} in "
                    "the list.",
                    _other_axis(parts, axis, j),
                )
    return first if len(parts) == 1 else apply(OPS["concatenate"], tuple(parts), (axis,))


# ------------------------------------------------------------------ triangles, arange


def _triangle_template(name: str) -> Any:
    def template(node: Expr) -> Template:
        k = node.params[0]
        diagonal = f", {k}" if k else ""
        return form(f"jnp.{name}({{0}}{diagonal})", f"np.{name}({{0}}{diagonal})")

    return template


def _triangle(name: str) -> None:
    Op(name, "structure", infer=_same, vjp=lambda node, g: (triangle(name, g, node.params[0]),),
       template=_triangle_template(name), text=name, traits=COMPLEX)  # fmt: skip


_triangle("tril")
_triangle("triu")


def triangle(name: str, e: Expr, diagonal: int = 0) -> Expr:
    """The lower (``"tril"``) or upper (``"triu"``) triangle of the last two axes, else zeros."""
    if e.ndim < 2:
        raise ShapeError(f"{name}: input tensor must have at least 2 dimensions, but has shape "
                         f"{shape_text(e.shape)}")  # fmt: skip
    return e if is_zero(e) else apply(OPS[name], (e,), (diagonal,))


def tril(e: Expr, diagonal: int = 0) -> Expr:
    """Entries on and below a diagonal of the last two axes, zeros above."""
    return triangle("tril", e, diagonal)


def triu(e: Expr, diagonal: int = 0) -> Expr:
    """Entries on and above a diagonal of the last two axes, zeros below."""
    return triangle("triu", e, diagonal)


def _arange_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return (params[0],), params[1]


def _arange_template(node: Expr) -> Template:
    jax, numpy = dtype_text(node.dtype)
    return form(f"jnp.arange({{0}}, dtype={jax})", f"np.arange({{0}}, dtype={numpy})")


Op("arange", "leaf", infer=_arange_infer, template=_arange_template, text="range",
   size_operands=lambda node: (node.params[0],))  # fmt: skip


def arange(size: Size, dtype: DType) -> Expr:
    """``0, 1, …, size − 1``."""
    return apply(OPS["arange"], (), (normal_size(size), dtype))
