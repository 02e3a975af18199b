"""Padding: numbers, mirror images or copies around the last axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core.build import broadcast_to, cast, constant
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, shape_text
from symgrad.errors import ShapeError
from symgrad.functional.table import public
from symgrad.ops import structure
from symgrad.ops.axis import along
from symgrad.ops.join import concatenate
from symgrad.ops.structure import slice_axis

MODES = ("constant", "reflect", "replicate", "circular")


@public("pad", grad_fn="ConstantPadNdBackward0", method=False)
def pad(a: Expr, pad: Any, mode: str = "constant", value: Any = None) -> Expr:
    """``pad`` is (left, right, top, bottom, …), last axis first; negative widths cut.

    ``mode`` is "constant" (``value``, else 0), "reflect" (mirrored without the edge), "replicate"
    (the edge again) or "circular" (from the other side).
    """
    if mode not in MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}: there are {', '.join(MODES)}")
    if len(pad) % 2 or len(pad) // 2 > a.ndim:
        raise ShapeError(
            f"Padding length should be even and at most twice the number of dimensions of the "
            f"input ({a.ndim}), but got {len(pad)}"
        )
    pairs = [(pad[k], pad[k + 1]) for k in range(0, len(pad), 2)][::-1]
    if mode == "constant":
        return _constant(a, pairs, value)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    for k, (before, after) in enumerate(pairs):
        axis = k - len(pairs)
        if before or after:
            # what comes from the other side is the other side of what is left after cutting
            low, high = max(-before, 0), after if after < 0 else None
            a = slice_axis(a, axis, low, high) if mode == "circular" else a
            a = _edges(a, axis, max(before, 0), max(after, 0), mode)
            a = a if mode == "circular" else slice_axis(a, axis, low, high)
    return a


def _constant(a: Expr, pairs: Sequence[tuple[int, int]], value: Any) -> Expr:
    made = structure.pad(a, pairs)
    if not value:
        return made
    if a.dtype.kind == "b":
        outside = structure.pad(apply("logical_not", constant(0, a.dtype, a.shape)), pairs)
        return apply("logical_or", made, apply("logical_not", outside))
    inside = structure.pad(cast(constant(1, a.dtype, a.shape), a.dtype), pairs)
    return made + (1 - inside) * value


def _edges(a: Expr, axis: int, before: int, after: int, mode: str) -> Expr:
    """``a`` between what lies before and after it along one axis."""
    size = a.shape[axis]
    limit = {"reflect": -1, "circular": 0}.get(mode)
    if isinstance(size, int) and (
        (limit is not None and max(before, after) > size + limit) or size == 0
    ):
        raise ShapeError(
            f"pad(mode={mode!r}): widths ({before}, {after}) do not fit an axis of size {size} of "
            f"a tensor of shape {shape_text(a.shape)}; an axis gives at most {size + (limit or 0)}"
        )

    def piece(start: Size | None, stop: Size | None) -> Expr:
        return slice_axis(a, axis, start, stop)

    def copies(one: Expr, count: int) -> Expr:
        at = one.ndim + axis
        return broadcast_to(one, (*one.shape[:at], count, *one.shape[at + 1 :]))

    parts: list[Expr] = [a]
    if mode == "reflect":
        if before:
            parts.insert(0, along("flip", piece(1, before + 1), axis))
        if after:
            parts.append(along("flip", piece(-1 - after, -1), axis))
    elif mode == "replicate":
        if before:
            parts.insert(0, copies(piece(0, 1), before))
        if after:
            parts.append(copies(piece(-1, None), after))
    else:
        if before:
            parts.insert(0, piece(-before, None))
        if after:
            parts.append(piece(0, after))
    return concatenate(parts, axis)
