"""Tensors cut along one axis, positions as coordinates, chosen entries, differences on a grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.errors import ShapeError
from symgrad.tensors.several import row, split, tensor_split
from symgrad.tensors.storage import Size
from symgrad.tensors.tensor import Tensor


def split_with_sizes(self: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of these sizes along ``dim``."""
    return split(self, list(split_sizes), dim)


def _split(word: str, rank: int, axis: int) -> Callable[..., tuple[Tensor, ...]]:
    def cut(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < rank:
            raise ShapeError(
                f"torch.{word} requires a tensor with at least {rank} dimension, but got a tensor "
                f"with {input.ndim} dimensions!"
            )
        dim = 0 if input.ndim == 1 else axis
        count = indices_or_sections
        if isinstance(count, int) and (count <= 0 or input.shape[dim] % count):
            raise RuntimeError(
                f"torch.{word} attempted to split along dimension {dim}, but the size of the "
                f"dimension {input.shape[dim]} is not divisible by the split_size {count}!"
            )
        return tensor_split(input, indices_or_sections, dim)

    cut.__name__ = cut.__qualname__ = word
    cut.__doc__ = f"Pieces along axis {axis}: equal ones, or cut at positions."
    return cut


hsplit, vsplit, dsplit = _split("hsplit", 1, 1), _split("vsplit", 2, 0), _split("dsplit", 3, 2)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in an array of this shape, of positions in its entries as a row."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    found: list[Tensor] = []
    for size in reversed(sizes):
        found.append(indices % size)
        indices = indices // size
    return tuple(reversed(found))


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that arrays of these shapes have together."""
    try:
        found = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            "Shape mismatch: objects cannot be broadcast to a single shape: "
            + ", ".join(map(str, shapes))
        ) from None
    return Size(found)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r entries, as rows."""
    if input.ndim != 1:
        raise ShapeError("Expect a 1D vector, but got shape " + str(list(input.shape)))
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if not r:
        return input.narrow(0, 0, 0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.shape[0]), r))
    at = Tensor.from_value(np.asarray(rows, np.int64).reshape(-1), dtypes.int64)
    return input.index_select(0, at).reshape((len(rows), r))


def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """∂/∂xᵢ of values on a grid by central differences, at the edges of first or second order.

    ``spacing`` is one distance, one for each axis, or the coordinates along each axis.
    """
    dims = list(range(input.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    spacing = 1 if spacing is None else spacing
    given = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(given) != len(dims):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
            f"{len(dims)}, but got a list of length {len(given)}"
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    return tuple(
        _slopes(input.movedim(axis, -1), at, edge_order).movedim(-1, axis)
        for axis, at in zip(dims, given, strict=True)
    )


def _slopes(x: Tensor, at: Any, edge_order: int) -> Tensor:
    """Slopes along the last axis."""
    n = x.shape[-1]
    if n <= edge_order:
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    if isinstance(at, Tensor) and at.ndim:
        steps = at.diff()
    else:
        steps = Tensor.from_value(np.ones(n - 1), dtypes.float64).to(
            x.dtype if x.dtype.is_floating_point else dtypes.float32
        ) * at  # fmt: skip
    slope = x.diff() / steps
    before, after = steps[:-1], steps[1:]
    inner = (slope[..., :-1] * after + slope[..., 1:] * before) / (before + after)
    first, last = slope[..., :1], slope[..., -1:]
    if edge_order == 2:
        first, last = _edge(slope, steps, 0, 1), _edge(slope, steps, -1, -2)
    return row("cat", [first, inner, last], -1)


def _edge(slope: Tensor, steps: Tensor, here: int, beside: int) -> Tensor:
    """The slope at an end of the parabola through three points."""
    near, far = steps[here], steps[beside]
    weight = near / (near + far)
    found = slope[..., here] * (1 + weight) - slope[..., beside] * weight
    return found.unsqueeze(-1)


def install() -> dict[str, Callable[..., Any]]:
    """Give Tensor the methods; return the functions by name."""
    methods = (split_with_sizes, hsplit, vsplit, dsplit)
    for f in methods:
        setattr(Tensor, f.__name__, f)
    plain = (unravel_index, broadcast_shapes, combinations, gradient)
    return {f.__name__: f for f in (*methods, *plain)}
