"""Statistics: quantiles, modes, counts in bins, covariances; sums that leave out NaN; areas."""

from __future__ import annotations

from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_to,
    cast,
    constant,
    matmul,
    ones,
    permute,
    product,
    reduce_sum,
    zeros,
)
from symgrad.core.build import elementwise as apply
from symgrad.core.build import squeeze as drop_axes
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.dtypes import DType, real_of
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial, shape_text, size_product, whole_number
from symgrad.errors import AxisSizeError, DTypeError, ShapeError
from symgrad.functional.arrange import cat
from symgrad.functional.elementwise import clamp
from symgrad.functional.order import norm
from symgrad.functional.promotion import floating, promoted
from symgrad.functional.shape import axes_of, axis_of, cumsum, sum_
from symgrad.functional.table import public
from symgrad.ops import sequence, structure
from symgrad.ops.axis import along
from symgrad.ops.complex import conj, joined
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import gather, put_add
from symgrad.ops.join import arange, tril


def _last(a: Expr, axis: int) -> Expr:
    """``axis`` moved to the end; a scalar as one entry."""
    if not a.ndim:
        return insert_axes(a, [0])
    return permute(a, [k for k in range(a.ndim) if k != axis] + [axis])


def _lined(a: Expr, dim: int | None) -> tuple[Expr, int]:
    """``a`` with the axis ``dim`` last, or all of it in one line; the axis, −1 for all."""
    if dim is None:
        return structure.reshape(a, (-1,)), -1
    axis = axis_of(dim, a.ndim)
    return _last(a, axis), axis


def _numbers(a: Expr) -> Expr:
    """How many entries of the last axis are numbers, which stays as 1."""
    valid = cast(apply("logical_not", apply("isnan", a)), dtypes.int64)
    return insert_axes(reduce_sum(valid, [a.ndim - 1]), [a.ndim - 1])


def _counted(a: Expr) -> int:
    size = size_product(a.shape)
    if not isinstance(size, int):
        raise ShapeError(f"an axis of {shape_text(a.shape)} needs a number as its size")
    return size


# ------------------------------------------------------------------ quantiles

MODES = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    name: str, a: Expr, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool
) -> Expr:
    if interpolation not in MODES:
        raise RuntimeError(
            f"{name}() interpolation must be one of {', '.join(MODES)}, but got {interpolation}"
        )
    if a.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(f"{name}() input tensor must be either float or double dtype")
    if not isinstance(q, Expr):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = constant(q, a.dtype)
    if q.dtype is not a.dtype or q.ndim > 1:
        raise DTypeError(
            f"{name}() q tensor must be same dtype as the input tensor, a scalar or 1D tensor"
        )
    if not _counted(a):
        raise ShapeError(f"{name}() input tensor must be non-empty")
    line, axis = _lined(a, dim)
    size = line.shape[-1]
    entries = sequence.sort(line, -1)[0]
    valid = _numbers(line)
    rank = product(broadcast_to(q, q.shape or (1,)), cast(valid - 1, a.dtype))
    rank = broadcast_to(rank, (*line.shape[:-1], rank.shape[-1]))
    if skip:
        rank = clamp(rank, 0)
    else:
        whole = broadcast_to(apply("eq", valid, constant(size, dtypes.int64)), rank.shape)
        rank = choose(whole, rank, constant(size - 1, a.dtype))  # type: ignore[operator]
    found = _between(entries, rank, interpolation)
    made = permute(found, [found.ndim - 1, *range(found.ndim - 1)])
    if dim is None:
        made = insert_axes(made, range(1, a.ndim + 1)) if keepdim else made
    elif keepdim and a.ndim:
        made = insert_axes(made, [axis + 1])
    return made if q.ndim else drop_axes(made, [0])


def _between(entries: Expr, rank: Expr, interpolation: str) -> Expr:
    """Entries of the last axis at places that need not be whole."""
    below = apply({"higher": "ceil", "nearest": "round"}.get(interpolation, "floor"), rank)
    low = gather(entries, cast(below, dtypes.int64), -1)
    if interpolation in ("lower", "higher", "nearest"):
        return low
    high = gather(entries, cast(apply("ceil", rank), dtypes.int64), -1)
    share = rank - below if interpolation == "linear" else constant(0.5, rank.dtype)
    return low + product(high - low, share)


@public(grad_fn="SqueezeBackward4")
def quantile(
    a: Expr, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Expr:
    """The entry below which a share q of the others lies; NaN where one of them is."""
    return _quantile("quantile", a, q, dim, keepdim, interpolation, False)


@public()
def nanquantile(
    a: Expr, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Expr:
    """The quantile of what is not NaN."""
    return _quantile("nanquantile", a, q, dim, keepdim, interpolation, True)


def _nanmedian(a: Expr, dim: int | None, keepdim: bool) -> list[Expr]:
    line, axis = _lined(a, dim)
    middle = apply("floor_divide", _numbers(line) - 1, constant(2, dtypes.int64))
    middle = apply("maximum", middle, constant(0, dtypes.int64))
    found = [gather(e, middle, -1) for e in sequence.sort(line, -1)]
    return [_returned(e, axis, keepdim and dim is not None, a.ndim) for e in found]


def _returned(e: Expr, axis: int, keepdim: bool, rank: int) -> Expr:
    """The last axis, of size 1, gone; or where ``axis`` was."""
    e = drop_axes(e, [e.ndim - 1])
    return insert_axes(e, [axis]) if keepdim and rank else e


@public("nanmedian_all", grad_fn="NanmedianBackward0", part=True)
def nanmedian_all(a: Expr) -> Expr:
    """The lower median of all that is not NaN."""
    return _nanmedian(a, None, False)[0] if _counted(a) else constant(float("nan"), a.dtype)


@public("nanmedian_values", grad_fn="NanmedianBackward1", part=True)
def nanmedian_values(a: Expr, dim: int, keepdim: bool = False) -> Expr:
    """The lower median of what is not NaN along ``dim``."""
    return _nanmedian(a, dim, keepdim)[0]


@public("nanmedian_indices", part=True)
def nanmedian_indices(a: Expr, dim: int, keepdim: bool = False) -> Expr:
    """Where it stands."""
    return _nanmedian(a, dim, keepdim)[1]


def _kth(a: Expr, k: int, dim: int, keepdim: bool) -> list[Expr]:
    line, axis = _lined(a, dim)
    size = line.shape[-1]
    if not isinstance(size, int) or not 0 < k <= size:
        raise ShapeError(
            f"kthvalue(): selected number k out of range for dimension {axis}: {k} of {size}"
        )
    found = [structure.slice_axis(e, -1, k - 1, k) for e in sequence.sort(line, -1)]
    return [_returned(e, axis, keepdim, a.ndim) for e in found]


@public("kthvalue_values", grad_fn="KthvalueBackward0", part=True)
def kthvalue_values(a: Expr, k: int, dim: int = -1, keepdim: bool = False) -> Expr:
    """The k-th smallest along ``dim``."""
    return _kth(a, k, dim, keepdim)[0]


@public("kthvalue_indices", part=True)
def kthvalue_indices(a: Expr, k: int, dim: int = -1, keepdim: bool = False) -> Expr:
    """Where it stands."""
    return _kth(a, k, dim, keepdim)[1]


# ------------------------------------------------------------------ modes and running extremes


def _mode(a: Expr, dim: int, keepdim: bool) -> list[Expr]:
    """The smallest of the most frequent entries and its last place: the end of the longest run."""
    line, axis = _lined(a, dim)
    size = line.shape[-1]
    if not isinstance(size, int) or not size:
        raise AxisSizeError(f"mode(): Expected reduction dim {axis} to have non-zero size.")
    entries, places = sequence.sort(line, -1)
    turn = arange(size, dtypes.int64)
    starts = apply("ne", entries, _shifted(entries))
    zero = constant(0, dtypes.int64)
    run = turn - along("cummax", choose(starts, turn, zero), -1)
    end = insert_axes(along("argmax", run, -1), [line.ndim - 1])
    place = gather(places, end, -1)
    return [_returned(e, axis, keepdim, a.ndim) for e in (gather(line, place, -1), place)]


def _shifted(a: Expr) -> Expr:
    """Each entry's neighbour before it; the first is its own."""
    size = whole_number(a.shape[-1], "mode")
    first, rest = structure.slice_axis(a, -1, 0, 1), structure.slice_axis(a, -1, 0, size - 1)
    return cat([first, rest], -1)


@public("mode_values", grad_fn="ModeBackward0", part=True)
def mode_values(a: Expr, dim: int = -1, keepdim: bool = False) -> Expr:
    """The most frequent along ``dim``."""
    return _mode(a, dim, keepdim)[0]


@public("mode_indices", part=True)
def mode_indices(a: Expr, dim: int = -1, keepdim: bool = False) -> Expr:
    """Where it stands last."""
    return _mode(a, dim, keepdim)[1]


def _running(name: str) -> None:
    def values(a: Expr, dim: int) -> Expr:
        axis = axis_of(dim, a.ndim)
        if not a.ndim or a.dtype is not dtypes.bool_:
            return along(name, a, axis - a.ndim) if a.ndim else a
        return cast(along(name, cast(a, dtypes.uint8), axis - a.ndim), a.dtype)

    def indices(a: Expr, dim: int) -> Expr:
        axis = axis_of(dim, a.ndim)
        if not a.ndim:
            return constant(0, dtypes.int64)
        return sequence.running_position(a, values(a, dim), axis - a.ndim)

    word = {"cummax": "largest", "cummin": "smallest"}[name]
    values.__doc__, indices.__doc__ = f"The {word} so far.", f"Where the {word} so far stands."
    public(f"{name}_values", grad_fn=f"{name.capitalize()}Backward0", part=True)(values)
    public(f"{name}_indices", part=True)(indices)


_running("cummax")
_running("cummin")


@public(saves=(0, "result"), wide=True)
def logcumsumexp(a: Expr, dim: int) -> Expr:
    """log Σ exp of the entries so far; of complex ones on the branch of that with the largest Re."""
    axis = axis_of(dim, a.ndim)
    a = floating(a)
    if a.dtype.is_complex and a.ndim:
        return _complex_running(a, axis)
    return along("logcumsumexp", a, axis - a.ndim) if a.ndim else a


def _complex_running(a: Expr, axis: int) -> Expr:
    """hᵢ + log Σ_{k ≤ i} exp(aₖ − hᵢ), hᵢ the entry so far with the largest real part."""
    size = apply("real", a)
    place = sequence.running_position(size, along("cummax", size, axis - a.ndim), axis - a.ndim)
    high = gather(a, place, axis - a.ndim)
    gaps = insert_axes(a, [axis]) - insert_axes(high, [axis + 1])
    n, none = a.shape[axis], zeros((), a.dtype)
    seen = tril(ones((n, n), dtypes.bool_))
    seen = insert_axes(seen, range(2, 1 + a.ndim - axis))
    shares = choose(seen, apply("exp", choose(seen, gaps, none)), none)
    return high + apply("log", reduce_sum(shares, [axis + 1]))


# ------------------------------------------------------------------ NaN left out


@public(wide=True, real=True)
def nansum(a: Expr, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Expr:
    """Σ of what is not NaN."""
    return sum_(_without_nan(a), dim, keepdim, dtype=dtype)


def _without_nan(a: Expr) -> Expr:
    return choose(apply("isnan", a), constant(0, a.dtype), a) if a.dtype.differentiable else a


@public(wide=True, real=True)
def nanmean(a: Expr, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Expr:
    """The mean of what is not NaN."""
    if not a.dtype.differentiable:
        raise DTypeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {a.dtype}"
        )
    axes = axes_of(dim, a.ndim)
    counted = reduce_sum(cast(apply("logical_not", apply("isnan", a)), a.dtype), axes)
    total = reduce_sum(_without_nan(a), axes) / counted
    total = cast(total, dtype) if dtype is not None else total
    return insert_axes(total, sorted(axes)) if keepdim and axes else total


# ------------------------------------------------------------------ bins


@public(tracks=False)
def histc(a: Expr, bins: int = 100, min: float = 0, max: float = 0) -> Expr:
    """How many entries lie in each of ``bins`` equal parts of [min, max] ([0, 0]: of all)."""
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    if min > max:
        raise RuntimeError("max must be larger than min")
    if not all(abs(v) < float("inf") for v in (min, max)):
        raise RuntimeError(f"range of [{min}, {max}] is not finite")
    line = structure.reshape(a, (-1,))
    low, high = constant(min, a.dtype), constant(max, a.dtype)
    if min == max and line.shape[0] != 0:
        low, high = along("amin", line, -1), along("amax", line, -1)
    same = apply("eq", low, high)
    low, high = choose(same, low - 1, low), choose(same, high + 1, high)
    inside = apply("logical_and", apply("ge", line, low), apply("le", line, high))
    place = choose(inside, (line - low) * bins / (high - low), constant(0, a.dtype))
    place = cast(apply("minimum", place, constant(bins - 1, a.dtype)), dtypes.int64)
    return put_add(cast(inside, a.dtype), place, -1, bins)


# ------------------------------------------------------------------ covariances


@public(wide=True)
def cov(
    a: Expr, *, correction: int = 1, fweights: Expr | None = None, aweights: Expr | None = None
) -> Expr:
    """Covariances of the rows: Σₖ wₖ (a[i,k] − mᵢ)(a[j,k] − mⱼ) / (Σ w − correction)."""
    if a.ndim > 2:
        raise ShapeError(f"cov(): expected input to have two or fewer dimensions, got {a.ndim}")
    if a.dtype is dtypes.bool_:
        raise DTypeError("cov(): bool dtype is not supported for input")
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is not None and w.ndim > 1:
            raise ShapeError(f"cov(): expected {name} to have one or fewer dimensions")
    if fweights is not None and fweights.dtype.kind not in "iu":
        raise DTypeError(f"cov(): expected fweights to have integral dtype, got {fweights.dtype}")
    if aweights is not None and not aweights.dtype.is_floating_point:
        raise DTypeError(
            f"cov(): expected aweights to have floating point dtype, got {aweights.dtype}"
        )
    rows = floating(structure.reshape(a, (1, -1)) if a.ndim < 2 else a)
    given = [w for w in (fweights, aweights) if w is not None]
    if any(size_product(w.shape) != rows.shape[1] for w in given):
        raise ShapeError(
            f"cov(): expected weights to have the same numel as there are observations "
            f"({rows.shape[1]}) in the input"
        )
    given = [structure.reshape(w, (-1,)) for w in given]
    if not given:
        count: Any = monomial(rows.shape[1])
        off = rows - insert_axes(reduce_sum(rows, [1]) / count, [1])
        left = constant(count, real_of(rows.dtype)) - correction
        return _square(off, off, left)
    weight = product(*promoted(*given))
    total = reduce_sum(weight, [0])
    share = cast(weight, rows.dtype)
    mean = reduce_sum(product(rows, share), [1]) / cast(total, rows.dtype)
    off = rows - insert_axes(mean, [1])
    if aweights is None:
        left = total - correction
    else:
        left = total - reduce_sum(product(*promoted(weight, given[-1])), [0]) / total * correction
    return _square(off, product(off, share), left)


def _square(a: Expr, b: Expr, count: Expr) -> Expr:
    """a bᴴ / max(count, 0); a number for one row."""
    left = cast(apply("maximum", count, constant(0, count.dtype)), a.dtype)
    made = matmul(a, permute(conj(b), (1, 0))) / left
    return structure.reshape(made, ()) if made.shape == (1, 1) else made


@public(wide=True)
def corrcoef(a: Expr) -> Expr:
    """Correlations of the rows, between −1 and 1."""
    if a.ndim > 2:
        raise ShapeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got {a.ndim}"
        )
    found = cov(a)
    if not found.ndim:
        return found / found
    spread = _diagonal(apply("real", found) if found.dtype.is_complex else found) ** 0.5
    spread = cast(spread, found.dtype)
    scaled = found / insert_axes(spread, [1]) / insert_axes(spread, [0])
    if not found.dtype.is_complex:
        return clamp(scaled, -1, 1)
    return joined(*(clamp(apply(part, scaled), -1, 1) for part in ("real", "imag")))


def _diagonal(a: Expr) -> Expr:
    places = insert_axes(arange(a.shape[0], dtypes.int64), [1])
    return drop_axes(gather(a, places, -1), [1])


# ------------------------------------------------------------------ areas


def _strips(y: Expr, x: Expr | None, dx: Any, dim: int) -> tuple[Expr, int]:
    """The areas between neighbouring points, along an axis."""
    axis = axis_of(dim, y.ndim)
    if not y.ndim:
        raise ShapeError("trapezoid(): y needs at least one axis")
    if x is not None and dx is not None:
        raise TypeError("trapezoid(): only one of x and dx should be passed in")
    ends = [(1, None), (None, -1)]
    high, low = (structure.slice_axis(y, axis, *e) for e in ends)
    heights = high + low
    if x is None:
        return floating(heights) * (0.5 * (1 if dx is None else dx)), axis
    if x.ndim == 1:
        if x.shape[0] != y.shape[axis]:
            raise ShapeError(
                f"trapezoid(): There must be one `x` value for each sample point: {x.shape[0]} "
                f"for {y.shape[axis]}"
            )
        x = insert_axes(x, range(1, y.ndim - axis))
        along_x = 0
    else:
        along_x = axis - y.ndim + x.ndim
        if along_x < 0:
            raise ShapeError("trapezoid(): x has too few axes")
    later, earlier = (structure.slice_axis(x, along_x, *e) for e in ends)
    width, heights = promoted(later - earlier, heights, at_least_float=True)
    return product(heights, width) * 0.5, axis - y.ndim


@public(method=False, wide=True)
def trapezoid(y: Expr, x: Expr | None = None, *, dx: Any = None, dim: int = -1) -> Expr:
    """∫ y dx by trapezoids along ``dim``; points ``dx`` (1) apart, or at x."""
    areas, axis = _strips(y, x, dx, dim)
    return reduce_sum(areas, [axis % areas.ndim])


@public(method=False, wide=True)
def cumulative_trapezoid(y: Expr, x: Expr | None = None, *, dx: Any = None, dim: int = -1) -> Expr:
    """∫ y dx up to each point but the first."""
    areas, axis = _strips(y, x, dx, dim)
    return cumsum(areas, axis)


@public(method=False, grad_fn="TrapezoidBackward0", wide=True)
def trapz(y: Expr, x: Expr | None = None, *, dx: Any = None, dim: int = -1) -> Expr:
    """The older name of trapezoid."""
    return trapezoid(y, x, dx=dx, dim=dim)


@public(wide=True)
def renorm(a: Expr, p: float, dim: int, maxnorm: float) -> Expr:
    """Slices along ``dim`` whose p-norm is above ``maxnorm`` scaled down to it."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if a.ndim < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {a.ndim} dimensions")
    axis = axis_of(dim, a.ndim)
    others = [k for k in range(a.ndim) if k != axis]
    size = insert_axes(norm(a, p, others), others)
    over = apply("gt", size, constant(maxnorm, size.dtype))
    shrunk = choose(over, maxnorm / (size + 1e-7), constant(1, size.dtype))
    return product(a, cast(shrunk, a.dtype))
