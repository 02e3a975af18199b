"""What stands in ``t[…]``: numbers, slices, None and … make a view; tensors of positions pick."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.core.build import broadcast_shapes
from symgrad.errors import AxisError, AxisSizeError, ShapeError, SymgradError
from symgrad.recording.execute import value
from symgrad.tensors.calls import as_operand
from symgrad.tensors.reading import Reading

MASKS = {dtypes.bool_, dtypes.uint8}
SEVERAL = (list, tuple, slice, type(Ellipsis), Reading, np.ndarray)
WHOLE = ("s", None, None, 1)

Parsed = tuple[tuple[tuple[Any, ...], ...], list[int], list[Any]]


def _as_index(item: Any) -> Any:
    """Lists and arrays as tensors; bytes, and one truth value in a tensor, as what they say."""
    if isinstance(item, Reading) and item.dtype in MASKS:
        item = item if item.dtype is dtypes.bool_ else item.bool()
        return bool(item) if not item.ndim and known_array(item) is not None else item
    if isinstance(item, (list, np.ndarray)) or arrays.is_jax_array(item):
        array = np.asarray([np.asarray(v) for v in item] if isinstance(item, list) else item)
        if not array.size and array.dtype.kind == "f":
            array = array.astype(np.int64)
        return as_operand(array)
    return item


def _bound(value: Any) -> int | None:
    return None if value is None else operator.index(value)


def _positions(mask: Any) -> list[Any]:
    """A mask as one tensor of positions for each of its axes: data decides the shape."""
    found = np.nonzero(arrays.to_numpy(mask.array()))
    return [Reading.base.from_value(f.astype(np.int64), dtypes.int64) for f in found]


def parse(t: Any, index: Any) -> Parsed:
    """(entries of the view, axes of the view that tensors pick from, those tensors)."""
    if isinstance(index, list) and any(i is None or isinstance(i, SEVERAL) for i in index):
        index = tuple(index)  # NumPy's first way to write an index of several axes
    items = [_as_index(i) for i in (index if isinstance(index, tuple) else (index,))]
    used = 0
    for item in items:
        if isinstance(item, Reading) and item.dtype is dtypes.bool_:
            used += item.ndim
        elif item is not None and item is not Ellipsis and not isinstance(item, bool):
            used += 1
    shape = t._now().shape
    if used > len(shape):
        raise AxisError(
            f"too many indices for tensor of dimension {len(shape)}",
            f"Give at most {len(shape)}; None adds an axis.",
        )
    entries: list[tuple[Any, ...]] = []
    dims: list[int] = []
    picks: list[Any] = []
    axis = place = 0
    for item in items:
        if item is Ellipsis:
            room = len(shape) - used
            entries += [WHOLE] * room
            axis += room
            place += room
        elif item is None or item is True or item is False:
            entries.append(("n",))
            place += 1
            if item is False:  # none of the one entry of a new axis
                dims.append(place - 1)
                picks.append(Reading.base.from_value(np.zeros(0, np.int64), dtypes.int64))
        elif isinstance(item, slice):
            step = _bound(item.step)
            if step is not None and step <= 0:
                raise ValueError("step must be greater than zero; use flip() to reverse")
            entries.append(("s", _bound(item.start), _bound(item.stop), step or 1))
            axis += 1
            place += 1
        elif isinstance(item, Reading) and item.dtype is dtypes.bool_:
            same_sizes(item, shape, axis)
            for found in _positions(item):
                entries.append(WHOLE)
                dims.append(place)
                picks.append(found)
                axis += 1
                place += 1
        elif isinstance(item, Reading):
            if item.dtype.kind not in "iu":
                raise AxisError(
                    "tensors used as indices must be long, int, byte or bool tensors, not "
                    f"{item.dtype}",
                    "Cast the index: .long() for positions, or compare it to get a mask.",
                )
            _in_range(item, shape[axis], axis)
            entries.append(WHOLE)
            dims.append(place)
            picks.append(item)
            axis += 1
            place += 1
        else:
            entries.append(("i", _number(item, shape[axis], axis)))
            axis += 1
    _fit_together([p.shape for p in picks])
    while entries and entries[-1] == WHOLE:
        entries.pop()
    return tuple(entries), dims, picks


class NotAnIndexError(SymgradError, IndexError, TypeError):
    """Something in ``t[…]`` that is no index; PyTorch raises one or the other."""


def _number(item: Any, size: Any, axis: int) -> int:
    try:
        k = operator.index(item)
    except TypeError:
        raise NotAnIndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        ) from None
    if isinstance(size, int) and not -size <= k < size:
        raise _out_of_bounds(k, axis, size)
    return k


def _out_of_bounds(k: int, axis: int, size: int) -> AxisError:
    count = f"are 0 … {size - 1}, or −{size} … −1 from the end" if size else "do not exist"
    return AxisError(
        f"index {k} is out of bounds for dimension {axis} with size {size}", f"Positions {count}."
    )


def _fit_together(shapes: Sequence[Any]) -> None:
    try:
        broadcast_shapes(shapes)
    except ShapeError:
        raise AxisSizeError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            f"{', '.join(str(list(s)) for s in shapes)}"
        ) from None


def same_sizes(mask: Any, shape: Sequence[Any], axis: int) -> None:
    """AxisError where a mask has not the sizes of the axes it picks from."""
    for k, size in enumerate(mask.shape):
        if size != shape[axis + k]:
            raise AxisError(
                f"The shape of the mask {list(mask.shape)} at index {k} does not match the shape "
                f"of the indexed tensor {list(shape)} at index {axis + k}",
                "Give the mask the sizes of the axes it picks from.",
            )


def _in_range(item: Any, size: Any, axis: int) -> None:
    """Positions known now are checked now; nothing is clamped."""
    known = known_array(item)
    if known is None or not isinstance(size, int) or not known.size:
        return
    low, high = int(known.min()), int(known.max())
    if low < -size or high >= size:
        wrong = low if low < -size else high
        raise _out_of_bounds(wrong, axis, size)


def known_array(t: Any) -> Any:
    """The value of an untracked tensor where it is known on this host; None where it is not."""
    if t._storage.shared is not None and t._view is None:
        return t._storage.shared
    node = t._now()
    if node.tracked or t._tracked or node.device != "cpu":
        return None
    return None if getattr(node, "value", None) is None else arrays.to_numpy(value(node))


def numpy_index(entries: Sequence[tuple[Any, ...]], dims: Sequence[int] = (),
                picks: Sequence[Any] = ()) -> Any:  # fmt: skip
    """The same index for NumPy (no picks: a view)."""
    if dims:
        made: list[Any] = [slice(None)] * (max(dims) + 1)
        for d, p in zip(dims, picks, strict=True):
            made[d] = p
        return tuple(made)
    words: list[Any] = []
    for kind, *rest in entries:
        words.append(None if kind == "n" else rest[0] if kind == "i" else slice(*rest))
    return (*words, ...)
