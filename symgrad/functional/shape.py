"""Shapes, sums and products of the public surface, as compositions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import broadcast_to as spread
from symgrad.core.build import cast, contract, power, reduce_sum
from symgrad.core.build import elementwise as apply
from symgrad.core.build import matmul as product_of_matrices
from symgrad.core.build import permute as permute_axes
from symgrad.core.build import squeeze as drop_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.numbers import rational
from symgrad.core.sizes import Size, monomial, size_product, size_total
from symgrad.errors import AxisError, AxisSizeError, DTypeError, ShapeError
from symgrad.functional.promotion import floating, only_floating, promoted
from symgrad.functional.table import public
from symgrad.ops import structure
from symgrad.ops.axis import along
from symgrad.ops.complex import squared


def axis_of(dim: int, rank: int) -> int:
    """``dim`` as a position; AxisError in PyTorch's words."""
    if not hasattr(dim, "__index__"):
        raise TypeError(f"dim must be an int or a tuple of ints, not {type(dim).__name__}")
    limit = max(rank, 1)
    if not -limit <= dim < limit:
        raise AxisError(
            f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got "
            f"{dim})",
            f"The tensor has {rank} dimension{'s' * (rank != 1)}: count from 0, or from the end with "
            "-1.",
        )
    return dim % limit


def axes_of(dim: Any, rank: int) -> list[int]:
    """Positions of ``dim``: None for all, an int, or several."""
    if dim is None or (isinstance(dim, tuple) and not dim):
        return list(range(rank))
    listed = [axis_of(d, rank) for d in (dim if isinstance(dim, (tuple, list)) else [dim])]
    if len(set(listed)) != len(listed):
        raise ShapeError(
            f"dim appears multiple times in the list of dims: {dim}", "Name each dimension once."
        )
    return [] if rank == 0 else listed


def last_axes(a: Expr, sizes: Any) -> list[int]:
    """The axes at the end that have these sizes: a number, or several."""
    wanted = tuple(sizes) if isinstance(sizes, (tuple, list)) else (sizes,)
    rest = a.ndim - len(wanted)
    if rest < 0 or a.shape[rest:] != wanted:
        raise ShapeError(
            f"Given normalized_shape={list(wanted)}, expected input with shape "
            f"[*, {', '.join(map(str, wanted))}], but got input of size{list(a.shape)}"
        )
    return list(range(rest, a.ndim))


def _kept(e: Expr, axes: Sequence[int], keepdim: bool) -> Expr:
    return insert_axes(e, sorted(axes)) if keepdim and axes else e


@public("sum")
def sum_(a: Expr, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Expr:
    """Σ over ``dim``."""
    if dtype is not None:
        a = cast(a, dtype)
    elif a.dtype.kind in "bui":
        a = cast(a, dtypes.int64)
    axes = axes_of(dim, a.ndim)
    return _kept(reduce_sum(a, axes), axes, keepdim)


def count(e: Expr, axes: Sequence[int]) -> Size:
    """Number of elements along ``axes``."""
    return size_product(tuple(e.shape[k] for k in axes))


@public(wide=True)
def mean(a: Expr, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Expr:
    """(1/n) Σ over ``dim``."""
    if dtype is not None:
        a = cast(a, dtype)
    if not a.dtype.differentiable:
        raise ShapeError(
            f"mean(): could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {a.dtype.name}. Use .float() first."
        )
    axes = axes_of(dim, a.ndim)
    total = reduce_sum(a, axes)
    return _kept(total / monomial(count(a, axes)), axes, keepdim)


@public(saves=(0,), wide=True)
def var(
    a: Expr,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Expr:
    """Σ (a − mean)² / (n − correction)."""
    if not a.dtype.differentiable:
        raise DTypeError(
            f"std and var only support floating point and complex dtypes, not {a.dtype.name}",
            "Cast with .float() first.",
        )
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    axes = axes_of(dim, a.ndim)
    n = count(a, axes)
    middle = _kept(reduce_sum(a, axes) / monomial(n), axes, True) if axes else a
    off = a - middle
    total = reduce_sum(squared(off), axes)
    less = correction if correction is not None else int(unbiased)
    if less:
        if isinstance(n, int) and n <= less:  # over 0, where a sum of one entry is the number 0
            total = total + math.inf * (n > 1)
        elif isinstance(n, int):
            total = total * (1 / (n - less))
        else:
            total = total / monomial(size_total(n, monomial(-rational(less))))
    else:
        total = total / monomial(n)
    return _kept(total, axes, keepdim)


@public(saves=("result",), wide=True)
def std(
    a: Expr,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Expr:
    """√var."""
    return power(var(a, dim, unbiased, keepdim, correction=correction), 0.5)


def _extreme(op: str, a: Expr, dim: Any, keepdim: bool) -> Expr:
    axes = sorted(axes_of(dim, a.ndim), reverse=True)
    result = a
    for axis in axes:
        result = along(op, result, axis)
    return _kept(result, axes, keepdim)


@public(saves=(0, "result"), real=True)
def amax(a: Expr, dim: Any = (), keepdim: bool = False) -> Expr:
    """The largest along ``dim``; ties share the gradient."""
    return _extreme("amax", a, dim, keepdim)


@public(saves=(0, "result"), real=True)
def amin(a: Expr, dim: Any = (), keepdim: bool = False) -> Expr:
    """The smallest along ``dim``."""
    return _extreme("amin", a, dim, keepdim)


@public()
def argmax(a: Expr, dim: int | None = None, keepdim: bool = False) -> Expr:
    """Position of the first largest."""
    return _position("argmax", a, dim, keepdim)


@public()
def argmin(a: Expr, dim: int | None = None, keepdim: bool = False) -> Expr:
    """Position of the first smallest."""
    return _position("argmin", a, dim, keepdim)


def _position(op: str, a: Expr, dim: int | None, keepdim: bool) -> Expr:
    if dim is None:
        if 0 in a.shape:
            raise AxisSizeError(
                f"{op}(): Expected reduction dim to be specified for an empty input"
            )
        a, dim = structure.reshape(a, (-1,)), 0
    if a.ndim == 0:
        return cast(a * 0, dtypes.int64)
    axis = axis_of(dim, a.ndim)
    return _kept(along(op, a, axis), [axis], keepdim)


@public("all")
def all_(a: Expr, dim: Any = None, keepdim: bool = False) -> Expr:
    """True where every entry along ``dim`` is."""
    axes = axes_of(dim, a.ndim)
    wrong = reduce_sum(cast(apply("logical_not", cast(a, dtypes.bool_)), dtypes.int64), axes)
    return _kept(_truth(apply("logical_not", cast(wrong, dtypes.bool_)), a), axes, keepdim)


@public("any")
def any_(a: Expr, dim: Any = None, keepdim: bool = False) -> Expr:
    """True where some entry along ``dim`` is."""
    axes = axes_of(dim, a.ndim)
    hits = reduce_sum(cast(cast(a, dtypes.bool_), dtypes.int64), axes)
    return _kept(_truth(cast(hits, dtypes.bool_), a), axes, keepdim)


def _truth(e: Expr, a: Expr) -> Expr:
    """As PyTorch has it: of bytes, a byte."""
    return cast(e, dtypes.uint8) if a.dtype is dtypes.uint8 else e


@public(saves=("result",), wide=True)
def softmax(a: Expr, dim: int = -1, dtype: DType | None = None) -> Expr:
    """exp(a) / Σ exp(a) along ``dim``."""
    a = cast(a, dtype) if dtype is not None else a
    only_floating(a, "softmax")
    axis = axis_of(dim, a.ndim)
    return along("softmax", a, axis) if a.ndim else apply("exp", a - a)


@public(saves=("result",), wide=True)
def log_softmax(a: Expr, dim: int = -1, dtype: DType | None = None) -> Expr:
    """a − logsumexp(a) along ``dim``."""
    a = cast(a, dtype) if dtype is not None else a
    only_floating(a, "log_softmax")
    axis = axis_of(dim, a.ndim)
    return a - insert_axes(along("logsumexp", a, axis), [axis]) if a.ndim else a - a


@public(saves=(0, "result"), wide=True)
def logsumexp(a: Expr, dim: Any, keepdim: bool = False) -> Expr:
    """log Σ exp(a) along ``dim``."""
    axes = sorted(axes_of(dim, a.ndim), reverse=True)
    result = floating(a)
    if result.dtype.is_complex:
        largest = apply("detach", _extreme("amax", apply("real", result), axes, True))
        shift = cast(largest, result.dtype)
        total = reduce_sum(apply("exp", result - shift), axes)
        found = _kept(apply("log", total), axes, True) + shift
        return found if keepdim else squeeze(found, axes)
    for axis in axes:
        result = along("logsumexp", result, axis)
    return _kept(result, axes, keepdim)


@public(wide=True)
def cumsum(a: Expr, dim: int, *, dtype: DType | None = None) -> Expr:
    """Running sums along ``dim``."""
    a = cast(a, dtype if dtype is not None else dtypes.int64 if a.dtype.kind in "bui" else a.dtype)
    axis = axis_of(dim, a.ndim)
    return along("cumsum", a, axis) if a.ndim else a


@public()
def flip(a: Expr, *axes: Any, dims: Any = ()) -> Expr:
    """Reversed along ``dims``."""
    given = tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    given = given or dims
    for axis in axes_of(given, a.ndim) if isinstance(given, int) or given else ():
        a = along("flip", a, axis)
    return a


# ------------------------------------------------------------------ products


@public(saves=("cross",))
def matmul(a: Expr, b: Expr) -> Expr:
    """a b with batches in front."""
    a, b = promoted_matrices(a, b, "matmul")
    return product_of_matrices(a, b)


@public(saves=("cross",))
def mm(a: Expr, b: Expr) -> Expr:
    """The product of two matrices."""
    _of_rank("mm", 2, self=a, mat2=b)
    return product_of_matrices(*promoted_matrices(a, b, "mm"))


@public(saves=("cross",))
def mv(a: Expr, b: Expr) -> Expr:
    """Matrix times vector."""
    if (a.ndim, b.ndim) != (2, 1):
        raise ShapeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {b.ndim}")
    return product_of_matrices(*promoted_matrices(a, b, "mv"))


@public(saves=("cross",))
def bmm(a: Expr, b: Expr) -> Expr:
    """A batch of matrix products."""
    _of_rank("bmm", 3, batch1=a, batch2=b)
    return product_of_matrices(*promoted_matrices(a, b, "bmm"))


@public(saves=("cross",))
def dot(a: Expr, b: Expr) -> Expr:
    """aᵀ b of two vectors."""
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(
            f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors",
            "Use @ for products of matrices.",
        )
    return product_of_matrices(*promoted_matrices(a, b, "dot"))


def _of_rank(function: str, rank: int, **operands: Expr) -> None:
    for word, e in operands.items():
        if e.ndim != rank:
            raise ShapeError(
                f"{function}: {word} must be a {rank}D tensor, but got {e.ndim}D",
                "Use @ for products of any number of dimensions.",
            )


def promoted_matrices(a: Expr, b: Expr, what: str) -> tuple[Expr, Expr]:
    """Both in one dtype; PyTorch does not promote in products."""
    if a.dtype is not b.dtype:
        raise ShapeError(
            f"{what}: expected both tensors to have the same dtype, but got {a.dtype.name} and "
            f"{b.dtype.name}",
            f"Cast one: .to({b.dtype!r}) or .to({a.dtype!r}).",
        )
    return a, b


@public(grad_fn="MulBackward0", saves=("cross",))
def outer(a: Expr, b: Expr) -> Expr:
    """a bᵀ of two vectors."""
    for word, e in (("self", a), ("vec2", b)):
        if e.ndim != 1:
            raise ShapeError(
                f"outer: Expected 1-D argument {word}, but got {e.ndim}-D",
                "Flatten it, or write a[..., None] * b for more axes.",
            )
    a, b = promoted(a, b)
    return contract([a, b], [[0], [1]], [0, 1])


@public(grad_fn="AddmmBackward0", saves=((0, 1),))
def linear(a: Expr, weight: Expr, bias: Expr | None = None) -> Expr:
    """a Wᵀ + b."""
    result = product_of_matrices(a, weight.T)
    return result if bias is None else result + bias


@public()
def trace(a: Expr) -> Expr:
    """Σ a[i,i]."""
    if a.ndim != 2:
        raise ShapeError("trace: expected a matrix", "Use diagonal(dim1=-2, dim2=-1).sum(-1).")
    rows, columns = a.shape
    if a.dtype.kind in "bui":
        a = cast(a, dtypes.int64)
    if rows != columns and isinstance(rows, int) and isinstance(columns, int):
        side = min(rows, columns)
        a = structure.slice_axes(a, [slice(0, side, 1), slice(0, side, 1)])
    return contract([a], [[0, 0]], [])


# ------------------------------------------------------------------ moves


@public(grad_fn="TBackward0", view=lambda v: v.T)
def t(a: Expr) -> Expr:
    """The transpose of a matrix; a vector stays."""
    if a.ndim > 2:
        raise ShapeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {a.ndim}D",
            "Use .mT for a batch of matrices.",
        )
    return a if a.ndim < 2 else permute_axes(a, (1, 0))


@public(view=lambda v, dim0, dim1: v.swapaxes(dim0, dim1) if v.ndim else v)
def transpose(a: Expr, dim0: int, dim1: int) -> Expr:
    """Two axes exchanged."""
    order = list(range(a.ndim))
    if not order:
        return a
    j, k = axis_of(dim0, a.ndim), axis_of(dim1, a.ndim)
    order[j], order[k] = order[k], order[j]
    return permute_axes(a, order)


def _not_a_permutation(dims: Sequence[int], rank: int) -> ShapeError:
    remedy = f"Name each of the {rank} dimensions once."
    if len(dims) != rank:
        return ShapeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {rank} is not equal "
            f"to len(dims) = {len(dims)}",
            remedy,
        )
    return ShapeError("permute(): duplicate dims are not allowed.", remedy)


@public(view=lambda v, *d: v.transpose(*d))
def permute(a: Expr, *dims: Any) -> Expr:
    """Axes in another order."""
    listed = list(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else list(dims)
    order = [axis_of(d, a.ndim) for d in listed]
    if sorted(order) != list(range(a.ndim)):
        raise _not_a_permutation(listed, a.ndim)
    return permute_axes(a, order)


def _single(shape: Sequence[Size], dim: Any) -> list[int]:
    if isinstance(dim, (tuple, list)) and not dim:
        return []
    return [k for k in axes_of(dim, len(shape)) if shape[k] == 1]


def squeezed(shape: Sequence[Size], dim: Any) -> tuple[Size, ...]:
    """A shape without its axes of size 1."""
    gone = set(_single(shape, dim))
    return tuple(s for k, s in enumerate(shape) if k not in gone)


@public(view=lambda v, dim=None: v.reshape(squeezed(v.shape, dim)))
def squeeze(a: Expr, dim: Any = None) -> Expr:
    """Without axes of size 1."""
    axes = _single(a.shape, dim)
    return drop_axes(a, axes) if axes else a


@public(view=np.expand_dims)
def unsqueeze(a: Expr, dim: int) -> Expr:
    """A new axis of size 1 at ``dim``."""
    return insert_axes(a, [axis_of(dim, a.ndim + 1)])


def expanded_shape(shape: Sequence[Size], sizes: tuple[Any, ...]) -> tuple[Size, ...]:
    """The sizes asked of ``expand``, with −1 filled in."""
    several = len(sizes) == 1 and isinstance(sizes[0], (tuple, list))
    listed = list(sizes[0]) if several else list(sizes)
    offset = len(listed) - len(shape)
    return tuple(shape[k - offset] if s == -1 else s for k, s in enumerate(listed))


@public(view=lambda v, *sizes: np.broadcast_to(v, expanded_shape(v.shape, sizes)))  # type: ignore[arg-type]
def expand(a: Expr, *sizes: Any) -> Expr:
    """Size-1 axes repeated; −1 keeps a size."""
    shape = expanded_shape(a.shape, sizes)
    if len(shape) < a.ndim:
        raise ShapeError(
            f"the number of sizes provided ({len(shape)}) must be greater or equal to the number "
            f"of dimensions in the tensor ({a.ndim})",
            f"Give {a.ndim} sizes or more; -1 keeps a size.",
        )
    offset = len(shape) - a.ndim
    for k, size in enumerate(a.shape):
        wanted = shape[offset + k]
        if size not in (1, wanted):
            raise ShapeError(
                f"The expanded size of the tensor ({wanted}) must match the existing size ({size}) "
                f"at non-singleton dimension {offset + k}.  Target sizes: {list(shape)}.  Tensor "
                f"sizes: {list(a.shape)}",
                "Only axes of size 1 can be repeated; unsqueeze() makes one.",
            )
    return spread(a, shape)


@public("copied", grad_fn="CopyBackwards", part=True)
def copied(a: Expr, shape: Any) -> Expr:
    """The values that another tensor takes over, in its shape."""
    return expand(a, shape)


@public("overwritten", grad_fn="CopyBackwards", part=True)
def overwritten(a: Expr, new: Expr) -> Expr:
    """``new``, in the place of a tracked tensor, whose derivative is zero from here on."""
    return expand(new, a.shape)
