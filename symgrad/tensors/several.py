"""Functions with several results, and those whose result's shape depends on the data."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.core.sizes import size_product
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.shape import axis_of
from symgrad.functional.table import FUNCTIONS
from symgrad.tensors.calls import call
from symgrad.tensors.keywords import keyworded
from symgrad.tensors.tensor import Tensor

METHODS: dict[str, Callable[..., Any]] = {}
IN_PLACE = {"index_put_"}


def pair(word: str, fields: tuple[str, ...] = ("values", "indices")) -> Any:
    """PyTorch's named results, which prints as ``torch.return_types.max(values=…, indices=…)``."""
    made = namedtuple(word, fields)  # noqa: PYI024 - the name is data
    made.__module__ = "torch.return_types"
    made.__repr__ = lambda self: (  # type: ignore[method-assign]
        f"torch.return_types.{word}(\n"
        + ",\n".join(f"{k}={v!r}" for k, v in zip(fields, self, strict=True))
        + ")"
    )
    return made


PAIRS = {
    word: pair(word)
    for word in (
        "max",
        "min",
        "sort",
        "topk",
        "median",
        "nanmedian",
        "kthvalue",
        "mode",
        "cummax",
        "cummin",
    )
}
PAIRS["aminmax"] = pair("aminmax", ("min", "max"))


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is a method, too."""
    word = function.__name__
    METHODS[word if word in IN_PLACE else word.rstrip("_")] = keyworded(function)
    return function


def row(name: str, *args: Any, **kwargs: Any) -> Any:
    """Record a call of a row of the table."""
    return call(FUNCTIONS[name], args, kwargs)


def _extreme(word: str, t: Tensor, dim: Any, keepdim: bool, other: Any) -> Any:
    if isinstance(dim, Tensor) or other is not None:
        return row(f"{word}imum", t, dim if other is None else other)
    if dim is None:
        if 0 in t.shape:
            raise RuntimeError(
                f"{word}(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        return row(f"{word}_all", t)
    return PAIRS[word](row(f"{word}_values", t, dim, keepdim), row(f"arg{word}", t, dim, keepdim))


@method
def max_(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest entry; with ``dim`` (values, indices); with a tensor the larger of two."""
    return _extreme("max", input, dim, keepdim, other)


@method
def min_(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest entry; with ``dim`` (values, indices); with a tensor the smaller of two."""
    return _extreme("min", input, dim, keepdim, other)


@method
def aminmax(input: Tensor, *, dim: Any = None, keepdim: bool = False) -> Any:
    """(smallest, largest)."""
    kind = PAIRS["aminmax"]
    axes = () if dim is None else dim
    return kind(row("amin", input, axes, keepdim), row("amax", input, axes, keepdim))


@method
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median; with ``dim`` (values, indices)."""
    if dim is None:
        return row("median_all", input)
    return PAIRS["median"](
        row("median_values", input, dim, keepdim), row("median_indices", input, dim, keepdim)
    )


@method
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of what is not NaN; with ``dim`` (values, indices)."""
    return row("nanmedian_all", input) if dim is None else _both("nanmedian", input, dim, keepdim)


def _both(word: str, *args: Any) -> Any:
    """The pair of the two rows of a word."""
    return PAIRS[word](row(f"{word}_values", *args), row(f"{word}_indices", *args))


@method
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(the k-th smallest along ``dim``, its place)."""
    return _both("kthvalue", input, k, dim, keepdim)


@method
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """(the smallest of the most frequent entries along ``dim``, its last place)."""
    return _both("mode", input, dim, keepdim)


@method
def cummax(input: Tensor, dim: int) -> Any:
    """(the largest so far along ``dim``, its last place)."""
    return _both("cummax", input, dim)


@method
def cummin(input: Tensor, dim: int) -> Any:
    """(the smallest so far along ``dim``, its last place)."""
    return _both("cummin", input, dim)


@method
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(entries in order, where they came from)."""
    return PAIRS["sort"](
        row("sort_values", input, dim, descending), row("argsort", input, dim, descending)
    )


@method
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(the k largest, their positions)."""
    return PAIRS["topk"](
        row("topk_values", input, k, dim, largest), row("topk_indices", input, k, dim, largest)
    )


def _extent(word: str, t: Tensor, dim: int) -> Any:
    """The size of a dimension that is cut; AxisError where it is not there."""
    if not t.ndim:
        raise ShapeError(
            f"{word} expects at least a 1-dimensional tensor",
            "It has no dimensions: reshape it to (1,) first.",
        )
    return t.shape[axis_of(dim, t.ndim)]


@method
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of a size, or of several sizes, along ``dim``."""
    size = _extent("split", tensor, dim)
    if isinstance(split_size_or_sections, int):
        width = split_size_or_sections
        if width < 0 or (width == 0 and size):
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={width}"
            )
        starts = range(0, max(size, 1), max(width, 1))
        sizes = [min(width, size - s) for s in starts]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != size:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's "
                f"size at dimension {dim}), but got split_sizes={sizes}"
            )
    pieces: list[Tensor] = []
    start = 0
    for width in sizes:
        pieces.append(tensor.narrow(dim, start, width))
        start += width
    return tuple(pieces)


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of equal size."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    return split(input, max(-(-_extent("chunk", input, dim) // chunks), 1), dim)


@method
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of nearly equal size, or cut at positions."""
    size = _extent("tensor_split", input, dim)
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        sizes = [size // count + (k < size % count) for k in range(count)]
    else:
        cuts = [0, *[min(c, size) for c in indices_or_sections], size]
        sizes = [max(b - a, 0) for a, b in pairwise(cuts)]
    return split(input, sizes, dim)


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The entries along ``dim``."""
    axis = axis_of(dim, input.ndim)
    return tuple(input.select(axis, k) for k in range(input.shape[axis]))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid."""
    listed = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    if indexing == "xy" and len(listed) > 1:
        a, b, *rest = meshgrid(listed[1], listed[0], *listed[2:])
        return (b, a, *rest)
    shape = tuple(t.numel() for t in listed)
    return tuple(
        t.reshape((*(1,) * k, -1, *(1,) * (len(shape) - 1 - k))).expand(shape)
        for k, t in enumerate(listed)
    )


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations, as rows."""
    if len(tensors) == 1:
        return tensors[0]
    return row("stack", [g.reshape(-1) for g in meshgrid(*tensors)], -1)


@method
def var_mean(input: Tensor, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    """(variance, mean)."""
    if isinstance(dim, bool):
        dim, options["unbiased"] = None, dim
    return row("var", input, dim, **options), row("mean", input, dim, options.get("keepdim", False))


@method
def std_mean(input: Tensor, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    """(standard deviation, mean)."""
    if isinstance(dim, bool):
        dim, options["unbiased"] = None, dim
    return row("std", input, dim, **options), row("mean", input, dim, options.get("keepdim", False))


@method
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """``input`` with ``values`` written (or added) at ``input[indices]``."""
    if any(i.dtype is dtypes.bool_ for i in indices):
        indices = [p for i in indices for p in (nonzero(i, as_tuple=True)
                                                 if i.dtype is dtypes.bool_ else (i,))]  # fmt: skip
    axes = tuple(range(len(indices)))
    if input.dtype is dtypes.bool_ and accumulate:
        added = row("index_put_at", input.long(), values.long(), True, axes, *indices)
        return added.bool()
    return row("index_put_at", input, values, accumulate, axes, *indices)


@method
def index_put_(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """``index_put`` in place."""
    return input._set(index_put(input, indices, values, accumulate))


# ------------------------------------------------------------------ shapes that the data decide


def _array(t: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(arrays.to_numpy(t.array()))


def _positions(array: np.ndarray[Any, Any]) -> Tensor:
    return Tensor.from_value(array.astype(np.int64), dtypes.int64)


@method
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where entries are not zero: one row per entry."""
    if not input.shape and not as_tuple:
        return _positions(np.zeros((int(bool(input)), 0)))
    found = np.nonzero(np.atleast_1d(_array(input)))
    if as_tuple:
        return tuple(_positions(f) for f in found)
    return _positions(np.stack(found, -1) if found else np.zeros((0, 0)))


@method
def repeat_interleave(
    input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each entry several times: one number for all, or a tensor of numbers."""
    if not isinstance(repeats, Tensor) or repeats.numel() == 1:
        return row("repeat_interleave", input, int(repeats), dim, output_size=output_size)
    flat = input.reshape(-1) if dim is None else input
    axis = 0 if dim is None else dim
    counts = _array(repeats)
    return flat.index_select(axis, _positions(np.repeat(np.arange(len(counts)), counts)))


@method
def argwhere(input: Tensor) -> Tensor:
    """Where entries are not zero: one row per entry."""
    return nonzero(input)


@method
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The entries where the mask is true."""
    if mask.dtype is not dtypes.bool_:
        raise DTypeError(f"masked_select: expected BoolTensor for mask, not {mask.dtype}")
    shape = np.broadcast_shapes(tuple(input.shape), tuple(mask.shape)) or (1,)
    return input.expand(shape)[mask.expand(shape)]


@method
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different entries, in order."""
    found: Any = np.unique(
        _array(input), return_inverse=return_inverse, return_counts=return_counts, axis=dim
    )
    if not (return_inverse or return_counts):
        return Tensor.from_value(found, input.dtype)
    values, *rest = found
    return (Tensor.from_value(values, input.dtype), *(_positions(r) for r in rest))


@method
def unique_consecutive(
    input: Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The entries (with ``dim``: the slices) that differ from the one before."""
    array = _array(input)
    axis = 0 if dim is None else dim
    flat = array.reshape(-1) if dim is None else np.moveaxis(array, axis, 0)
    rows = flat.reshape(len(flat), size_product(flat.shape[1:]))  # type: ignore[arg-type]
    new = np.ones(len(flat), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]).any(-1)
    values = flat[new]
    found = Tensor.from_value(values if dim is None else np.moveaxis(values, 0, axis), input.dtype)
    inverse = np.cumsum(new) - 1
    rest = []
    if return_inverse:
        rest.append(_positions(inverse.reshape(array.shape) if dim is None else inverse))
    if return_counts:
        rest.append(_positions(np.bincount(inverse, minlength=len(values))))
    return (found, *rest) if rest else found


@method
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often every number occurs."""
    values = _array(input)
    if weights is None:
        return _positions(np.bincount(values, minlength=minlength))
    kind = weights.dtype if weights.dtype is dtypes.float32 else dtypes.float64
    counted = np.bincount(values, _array(weights), minlength).astype(kind.numpy)
    return Tensor.from_value(counted, kind)


@method
def isin(elements: Tensor, test_elements: Any) -> Tensor:
    """Which entries occur among others."""
    others = _array(test_elements) if isinstance(test_elements, Tensor) else test_elements
    return Tensor.from_value(np.isin(_array(elements), others), dtypes.bool_)


@method
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Are all entries within atol + rtol |b|?"""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    return row("isclose", input, other, rtol, atol, equal_nan).all().item()


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Same shape and same values?"""
    if tuple(input.shape) != tuple(other.shape):
        return False
    return not size_product(tuple(input.shape)) or bool(input.eq(other).all().item())


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All in their common shape."""
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    return tuple(t.expand(shape) for t in tensors)


def is_floating_point(input: Tensor) -> bool:
    """True for floating dtypes."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """True for complex dtypes."""
    return input.is_complex()


def adjoint(input: Tensor) -> Tensor:
    """The last two axes exchanged, and conjugated."""
    return input.mH


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def is_nonzero(input: Tensor) -> bool:
    """The truth of a tensor with one element."""
    return bool(input)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, else ``other``; alone: the places where it holds."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return row("where", condition, input, other)


def atleast_1d(input: Tensor) -> Tensor:
    """With at least one axis."""
    return input.reshape(1) if input.ndim == 0 else input


def atleast_2d(input: Tensor) -> Tensor:
    """With at least two axes."""
    return input.reshape((1, -1)) if input.ndim < 2 else input


def install() -> dict[str, Callable[..., Any]]:
    """Give Tensor the methods; return the functions by name."""
    for name, function in METHODS.items():
        setattr(Tensor, name, function)
    Tensor.where = lambda self, condition, other: row("where", condition, self, other)  # type: ignore[attr-defined]
    plain = (meshgrid, cartesian_prod, broadcast_tensors, is_floating_point, is_complex, numel, is_nonzero,
             where, atleast_1d, atleast_2d)  # fmt: skip
    return {**METHODS, **{f.__name__: f for f in plain}}
