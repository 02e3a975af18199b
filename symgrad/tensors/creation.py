"""Tensors from nothing: ``tensor``, ``zeros``, ``randn``, ``arange``, and their relatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.core.build import constant, delta
from symgrad.core.dtypes import DType, complex_of, dtype_of_numpy
from symgrad.core.sizes import Monomial
from symgrad.errors import DTypeError, RangeError, ShapeError
from symgrad.functional.promotion import default_dtype
from symgrad.functional.table import HALVES, Function
from symgrad.ops import join
from symgrad.random import stream_of
from symgrad.recording.record import note
from symgrad.tensors import factors, pieces, several
from symgrad.tensors.given import drawn_dtype, dtype_of, fitting, in_order, shape_of, size_of
from symgrad.tensors.limits import iinfo
from symgrad.tensors.storage import Storage, device_name, jax_device
from symgrad.tensors.surface import CAST_DTYPES, install
from symgrad.tensors.tensor import Tensor

FUNCTIONS = {**install(), **several.install(), **factors.install(), **pieces.install()}
CAST_DTYPES.update({d.name: d for d in dtypes.ALL})


def _made(array: np.ndarray[Any, Any], dtype: DType, where: Any, requires_grad: bool) -> Tensor:
    name = device_name(where) if where is not None else "cpu"
    value: Any = array if name == "cpu" else arrays.to_device(array, jax_device(name))
    made = Tensor.from_value(value, dtype, name)
    return made.requires_grad_() if requires_grad else made


_FULL = Function("full", lambda shape, value, dtype: constant(value, dtype, shape), "")
_EYE = Function("eye", delta, "")
_ARANGE = Function("arange", join.arange, "")


def _filled(shape: tuple[Any, ...], value: Any, kind: DType, where: Any, tracked: bool) -> Tensor:
    """``value`` everywhere; without memory where a size is a letter."""
    if any(isinstance(s, Monomial) for s in shape):
        return Tensor.from_node(note(_FULL, (shape, value, kind, ()), ()))
    return _made(np.full(shape, fitting(value, kind), kind.numpy), kind, where, tracked)


def tensor(
    data: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of ``data``.

    Python's floats become float32, its ints int64; numbers of NumPy and tensors keep their dtypes.
    """
    kinds: set[type] = set()
    array = np.array(_unwrapped(data, kinds))
    narrow = kinds.isdisjoint(_WIDE)
    if dtype is not None:
        kind = dtype_of(dtype)
    elif narrow and array.dtype == np.float64:
        kind = default_dtype()
    elif narrow and array.dtype == np.complex128:
        kind = dtypes.complex64
    else:
        kind = dtype_of_numpy(array.dtype)
    if kind is None:
        raise DTypeError(f"could not make a tensor of {array.dtype} data: {data!r:.60}")
    _fits(array, kind, kinds)
    return _made(array.astype(kind.numpy), kind, device, requires_grad)


def _fits(array: np.ndarray[Any, Any], kind: DType, given: set[type]) -> None:
    """TypeError or RuntimeError for numbers of Python that the dtype cannot hold."""
    if given or array.dtype.kind not in "ic" or kind.numpy == array.dtype:
        return
    if array.dtype.kind == "c" and not kind.is_complex and kind is not dtypes.bool_:
        raise TypeError("must be real number, not complex")
    if kind.kind in "iu" and array.size:
        bounds = iinfo(kind)
        if array.min() < -int(bounds.max) - 1 or array.max() > bounds.max:
            raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow")


_WIDE = {np.float64, np.complex128}


def _unwrapped(data: Any, kinds: set[type]) -> Any:
    """Lists of numbers, or one array; ``kinds`` collects the types of the entries."""
    if type(data) in _NUMBERS:
        return data
    if isinstance(data, (list, tuple)):
        return [
            _unwrapped(v.reshape(()) if isinstance(v, Tensor) and v.numel() == 1 else v, kinds)
            for v in data
        ]
    if isinstance(data, Tensor):
        data = data.detach().numpy(force=True)
    elif hasattr(data, "detach") and hasattr(data, "numpy"):
        data = data.detach().cpu().numpy()
    if hasattr(data, "dtype"):
        data = np.asarray(data)
        kinds.add(data.dtype.type)
        return data if data.ndim else data[()]
    return data


_NUMBERS = {float, int, bool, complex}


def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, without a copy where possible."""
    if isinstance(data, Tensor):
        return data.to(dtype) if dtype is not None else data
    if isinstance(data, np.ndarray) and dtype in (None, dtype_of_numpy(data.dtype)):
        return from_numpy(data)
    return tensor(data, dtype, device)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtype = dtype_of_numpy(array.dtype)
    if dtype is None:
        raise DTypeError(f"can't convert np.ndarray of type {array.dtype}")
    made = Tensor.from_value(array, dtype)
    made._storage = Storage(made._storage.node, array)
    return made


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``fill_value`` everywhere."""
    fill_value = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
    kind = dtype_of(dtype, tensor(fill_value).dtype)
    shape = shape_of((size,) if isinstance(size, (int, Monomial)) else size)
    return _filled(shape, fill_value, kind, device, requires_grad)


def zeros(
    *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """0 everywhere."""
    kind = dtype_of(dtype)
    return _filled(shape_of(size), 0, kind, device, requires_grad)


def ones(
    *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """1 everywhere."""
    kind = dtype_of(dtype)
    return _filled(shape_of(size), 1, kind, device, requires_grad)


empty = zeros


def full_like(
    input: Tensor, fill_value: Any, *, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """``fill_value`` in the shape of ``input``."""
    del layout, memory_format  # tensors have one
    return full(tuple(input.shape), fill_value, dtype=dtype or input.dtype,
                device=device or input.device, requires_grad=requires_grad)  # fmt: skip


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix."""
    kind = dtype_of(dtype)
    here = device is None or device_name(device) == "cpu"
    if m in (None, n) and (isinstance(n, Monomial) or (here and not requires_grad)):
        n = n if isinstance(n, Monomial) else size_of(n, "n")
        return Tensor.from_node(note(_EYE, (n, kind, ()), ()))
    n, m = size_of(n, "n"), None if m is None else size_of(m, "m")
    return _made(np.eye(n, m, dtype=kind.numpy), kind, device, requires_grad)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … below end."""
    if end is None:
        start, end = 0, start
    given: list[Any] = [v.item() if hasattr(v, "item") else v for v in (start, end, step)]
    start, end, step = given
    if end.__class__ is Monomial and (start, step) == (0, 1):
        return Tensor.from_node(note(_ARANGE, (end, dtype_of(dtype, dtypes.int64), ()), ()))
    whole = all(isinstance(v, int) for v in (start, end, step))
    kind = dtype_of(dtype, dtypes.int64 if whole else None)
    if kind is dtypes.int64:
        start, end, step = int(start), int(end), int(step)
    if not step:
        raise ShapeError("step must be nonzero")
    if (end - start) * step < 0:
        raise ShapeError("upper bound and lower bound inconsistent with step sign")
    numbers = np.arange(start, end, step)
    if kind.kind in "iu":  # counted by what was given, but in whole steps
        numbers = int(start) + int(step) * np.arange(len(numbers))
    return _made(numbers.astype(kind.numpy), kind, device, requires_grad)


def scalar_tensor(
    s: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One number as a tensor without axes, of the default dtype."""
    del layout  # tensors have one
    return full((), s, dtype=dtype, device=device, requires_grad=requires_grad)


def _triangle(places: Callable[..., Any], name: str) -> Callable[..., Tensor]:
    def indices(
        row: int, col: int, offset: int = 0, *, dtype: DType | None = None, device: Any = None,
        layout: Any = None,
    ) -> Tensor:  # fmt: skip
        del layout  # tensors have one
        if row < 0 or col < 0:
            raise RuntimeError(f"{name}: row and col must be non-negative, got {row} and {col}")
        kind = dtype_of(dtype, dtypes.int64)
        found = np.array(places(row, offset, col)).astype(kind.numpy)
        return _made(found, kind, device, False)

    indices.__name__ = indices.__qualname__ = name
    indices.__doc__ = "Row and column numbers of the entries of a triangle, row by row."
    return indices


tril_indices = _triangle(np.tril_indices, "tril_indices")
triu_indices = _triangle(np.triu_indices, "triu_indices")


def linspace(
    start: complex,
    end: complex,
    steps: int,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` numbers from start to end."""
    if steps < 0:
        raise ShapeError(f"number of steps must be non-negative, not {steps}")
    turned = isinstance(start, complex) or isinstance(end, complex)
    kind = dtype_of(dtype) if dtype or not turned else complex_of(default_dtype())
    start, end = _ends(kind, start, end)
    return _made(_spaced(start, end, steps, kind), kind, device, requires_grad)


def _spaced(start: Any, end: Any, steps: int, kind: DType) -> np.ndarray[Any, Any]:
    """Counted from both ends in steps of the dtype (float64 for whole numbers), rounded once.

    So does PyTorch; halves are rounded after the product, too.
    """
    if kind.is_complex or steps < 2:
        return np.linspace(start, end, steps).astype(kind.numpy)
    number: Any = np.dtype(kind.numpy if kind.is_floating_point else np.float64).type
    first, last = (number(np.asarray(v).astype(kind.numpy)) for v in (start, end))
    wide = number if kind in HALVES else np.longdouble
    a, b, step = (np.asarray(v, wide) for v in (first, last, (last - first) / number(steps - 1)))
    k: Any = np.arange(steps)
    up, down = (n.astype(wide) * step for n in (k, steps - 1 - k))
    return np.where(k < steps // 2, a + up, b - down).astype(number).astype(kind.numpy)


def _ends(kind: DType, start: Any, end: Any) -> tuple[Any, Any]:
    """The ends of a range, numbers or tensors of one, whole where its numbers are."""
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    return (int(start), int(end)) if kind.kind in "iu" else (start, end)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Powers of ``base`` whose exponents go from start to end in equal steps."""
    kind = dtype_of(dtype)
    start, end = _ends(kind, start, end)
    made = np.logspace(start, end, steps, base=base).astype(kind.numpy)
    return _made(made, kind, device, requires_grad)


def _drawn(draw: Callable[..., Any], shape: tuple[Any, ...], kind: DType) -> Any:
    """Numbers of a stream; both parts of complex ones."""
    return draw((*shape, 2)).view(np.complex128)[..., 0] if kind.is_complex else draw(shape)


def rand(
    *size: Any,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Any = None,
) -> Tensor:
    """Uniform on [0, 1)."""
    kind = drawn_dtype(dtype, "rand")
    drawn = _drawn(stream_of(generator).random, shape_of(size), kind)
    return _made(drawn.astype(kind.numpy), kind, device, requires_grad)


def randn(
    *size: Any,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Any = None,
) -> Tensor:
    """Standard normal; complex numbers have variance 1 altogether."""
    kind = drawn_dtype(dtype, "randn")
    drawn = _drawn(stream_of(generator).standard_normal, shape_of(size), kind)
    drawn = drawn / math.sqrt(2) if kind.is_complex else drawn
    return _made(drawn.astype(kind.numpy), kind, device, requires_grad)


def _alike(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``make`` in the shape of a tensor, in its dtype and on its device unless others are given."""

    def like(
        input: Tensor, *, dtype: DType | None = None, device: Any = None,
        requires_grad: bool = False, layout: Any = None, memory_format: Any = None,
    ) -> Tensor:  # fmt: skip
        del layout, memory_format  # tensors have one
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{make.__name__}_like(): argument 'input' must be Tensor, not "
                f"{type(input).__name__}"
            )
        return make(tuple(input.shape), dtype=dtype or input.dtype, device=device or input.device,
                    requires_grad=requires_grad)  # fmt: skip

    like.__name__ = like.__qualname__ = f"{make.__name__}_like"
    like.__doc__ = f"{make.__name__} in the shape of ``input``."
    return like


zeros_like, ones_like, rand_like, randn_like = map(_alike, (zeros, ones, rand, randn))
empty_like = zeros_like


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    dtype: DType | None = None,
    device: Any = None,
    generator: Any = None,
) -> Tensor:
    """Whole numbers from low (0 if only one bound is given) below high."""
    if size is None:
        low, high, size = 0, low, high
    kind = dtype_of(dtype, dtypes.int64)
    shape = shape_of((size,) if isinstance(size, int) else size)
    in_order(low, high, "randint")
    drawn = stream_of(generator).integers(low, high, shape)
    return _made(drawn.astype(kind.numpy), kind, device, False)


def randperm(
    n: int, *, dtype: DType | None = None, device: Any = None, generator: Any = None
) -> Tensor:
    """A permutation of 0 … n − 1."""
    kind = dtype_of(dtype, dtypes.int64)
    return _made(
        stream_of(generator).permutation(size_of(n, "n")).astype(kind.numpy), kind, device, False
    )


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal draws: ``size`` of them, or one for each entry of the tensors ``mean`` and ``std``."""
    del layout  # tensors have one
    given = [t for t in (mean, std) if isinstance(t, Tensor)]
    low = [std] if not isinstance(std, Tensor) else _array_of(std)
    if np.min(low, initial=0.0) < 0:
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if not given:
        if size is None:
            raise TypeError("normal() of two numbers needs a size")
        made = randn(size, generator=generator, dtype=dtype, device=device) * std + mean
        return made.requires_grad_() if requires_grad else made
    if size is not None:
        raise TypeError("normal() of tensors draws one number for each entry; leave size out")
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in given))
    kind = given[0].dtype
    drawn = randn(shape, generator=generator, dtype=kind, device=given[0].device)
    return (drawn * _plain(std) + _plain(mean)).to(kind)


def _plain(v: Any) -> Any:
    return v.detach() if isinstance(v, Tensor) else v


def _array_of(t: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(arrays.to_numpy(t.array()))


def randint_like(
    input: Tensor, low: Any = 0, high: Any = None, *, dtype: DType | None = None,
    device: Any = None, layout: Any = None, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Whole numbers from low (0 if only one bound is given) below high, as many as ``input`` has."""
    del layout, memory_format  # tensors have one
    low, high = (low, high) if high is not None else (0, low)
    made = randint(low, high, tuple(input.shape), dtype=dtype or input.dtype,
                   device=device or input.device)  # fmt: skip
    return made.requires_grad_() if requires_grad else made


def bernoulli(t: Tensor, *, generator: Any = None) -> Tensor:
    """1 with the probability that each entry gives, else 0."""
    p = _array_of(t)
    if not ((p >= 0) & (p <= 1)).all():
        raise RangeError("bernoulli: Expected all probabilities to be between 0 and 1")
    drawn = stream_of(generator).random(tuple(t.shape)) < p
    return _made(drawn.astype(t.dtype.numpy), t.dtype, t.device, False)


def multinomial(
    t: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Tensor:
    """Indices drawn with the weights in the last axis: ``(…, k)`` to ``(…, num_samples)``."""
    weights = np.asarray(arrays.to_numpy(t.array()), dtype=np.float64)
    if (weights < 0).any() or not np.isfinite(weights).all() or (weights.sum(-1) <= 0).any():
        raise RuntimeError("multinomial: weights must be finite, not negative, and not all 0")
    if not replacement and (np.count_nonzero(weights, axis=-1) < num_samples).any():
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: "
            f"{num_samples} of {weights.shape[-1]}, of which some have weight 0"
        )
    rows = weights.reshape(-1, weights.shape[-1])
    stream = stream_of(generator)
    drawn = [
        stream.choice(row.size, num_samples, replace=replacement, p=row / row.sum()) for row in rows
    ]
    found = np.array(drawn, dtype=np.int64).reshape(*weights.shape[:-1], num_samples)
    return _made(found, dtypes.int64, t.device, False)
