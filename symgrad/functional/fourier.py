"""Fourier transforms under PyTorch's names: sizes, norms, and the short-time transform.

The public names are those of ``symgrad.fft`` with ``fft_`` in front.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import cast, scale
from symgrad.core.dtypes import complex_of
from symgrad.core.expr import Expr
from symgrad.core.sizes import monomial, size_product, whole_number
from symgrad.errors import AxisError, DTypeError, ShapeError
from symgrad.functional.arrange import roll
from symgrad.functional.complex import WORDS
from symgrad.functional.promotion import floating
from symgrad.functional.shape import axes_of
from symgrad.functional.table import public
from symgrad.ops import fourier
from symgrad.ops.complex import conj
from symgrad.ops.structure import pad, slice_axis

FORWARD = {None: 0, "backward": 0, "ortho": Fraction(-1, 2), "forward": -1}
"""Norm → power of the number of points in front of a forward transform."""
OPPOSITE = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}
HALVES = (dtypes.float16, dtypes.bfloat16)


def _power(norm: str | None) -> Fraction | int:
    if norm not in FORWARD:
        raise ShapeError(f'Invalid normalization mode: "{norm}"')
    return FORWARD[norm]


def _numbers(a: Expr) -> Expr:
    a = floating(a)
    if a.dtype in HALVES:
        raise DTypeError(f"Unsupported dtype {WORDS[a.dtype.name]}", "Cast it with .float() first.")
    return a


def _complex(a: Expr) -> Expr:
    a = _numbers(a)
    return cast(a, complex_of(a.dtype))


def _real(a: Expr, name: str) -> Expr:
    a = _numbers(a)
    if a.dtype.is_complex:
        raise DTypeError(f"{name} expects a real input tensor, but got {WORDS[a.dtype.name]}")
    return a


def _axes(a: Expr, s: Any, dim: Any) -> tuple[list[int], list[int]]:
    """The axes of a transform, counted from the end, and their sizes: −1 for those as they are."""
    if isinstance(s, int):
        s = (s,)
    if dim is None:
        count = a.ndim if s is None else len(s)
        if count > a.ndim:
            raise ShapeError(
                f"Got shape with {count} values but input tensor only has {a.ndim} dimensions."
            )
        axes = list(range(-count, 0))
    else:
        listed = (dim,) if isinstance(dim, int) else tuple(dim)
        if a.ndim == 0 and listed:
            raise AxisError(f"Dimension specified as {listed[0]} but tensor has no dimensions")
        if len({d % a.ndim for d in listed if -a.ndim <= d < a.ndim}) != len(listed):
            axes_of(tuple({*listed}), a.ndim)
            raise ShapeError("FFT dims must be unique")
        axes = [x - a.ndim for x in axes_of(listed, a.ndim)] if listed else []
        if s is not None and len(s) != len(axes):
            raise ShapeError("When given, dim and shape arguments must have the same length")
    return axes, [-1] * len(axes) if s is None else list(s)


def _resized(a: Expr, axes: list[int], sizes: list[int]) -> Expr:
    """``a`` cut, or followed by zeros, to the sizes that are given."""
    for axis, n in zip(axes, sizes, strict=True):
        if n == 0 or n < -1 or (n < 0 and a.shape[axis] == 0):
            raise ShapeError(f"Invalid number of data points ({max(n, 0)}) specified")
        if n < 0 or n == a.shape[axis]:
            continue
        size = whole_number(a.shape[axis], "a transform of another size")
        if n < size:
            a = slice_axis(a, axis, 0, n)
        else:
            a = pad(a, [(0, n - size), *[(0, 0)] * (-axis - 1)])
    return a


def _normed(e: Expr, points: tuple[Any, ...], power: Fraction | int) -> Expr:
    return scale(monomial(size_product(points)) ** Fraction(power), e) if power and points else e


def _points(e: Expr, axes: list[int]) -> tuple[Any, ...]:
    return tuple(e.shape[x] for x in axes)


def fftn(a: Expr, s: Any = None, dim: Any = None, norm: str | None = None) -> Expr:
    """Σⱼ exp(−2π i j k / n) a[j] along each of ``dim``."""
    power, a = _power(norm), _complex(a)
    axes, sizes = _axes(a, s, dim)
    a = _resized(a, axes, sizes)
    return _normed(fourier.fft(a, axes), _points(a, axes), power)


def ifftn(a: Expr, s: Any = None, dim: Any = None, norm: str | None = None) -> Expr:
    """The inverse of fftn."""
    power, a = _power(norm), _complex(a)
    axes, sizes = _axes(a, s, dim)
    a = _resized(a, axes, sizes)
    return _normed(fourier.ifft(a, axes), _points(a, axes), -power)


def rfftn(a: Expr, s: Any = None, dim: Any = None, norm: str | None = None) -> Expr:
    """fftn of real numbers, of the last of ``dim`` only the first half."""
    power, a = _power(norm), _real(a, "rfft")
    axes, sizes = _last_axis(*_axes(a, s, dim), "rfftn")
    a = _resized(a, axes, sizes)
    half = fourier.rfft(a, axes[-1])
    return _normed(fourier.fft(half, axes[:-1]), _points(a, axes), power)


def irfftn(a: Expr, s: Any = None, dim: Any = None, norm: str | None = None) -> Expr:
    """The inverse of rfftn; of the last of ``dim`` come ``s[-1]`` entries, 2 (n − 1) by default."""
    power, a = _power(norm), _complex(a)
    axes, sizes = _last_axis(*_axes(a, s, dim), "irfftn")
    n = sizes[-1]
    if n == -1:
        n = 2 * (whole_number(a.shape[axes[-1]], "irfft") - 1)
    if n < 1:
        raise ShapeError(f"Invalid number of data points ({n}) specified")
    a = _resized(a, axes, [*sizes[:-1], n // 2 + 1])
    made = fourier.irfft(fourier.ifft(a, axes[:-1]), axes[-1], n)
    return _normed(made, _points(made, axes), -power)


def _last_axis(axes: list[int], sizes: list[int], name: str) -> tuple[list[int], list[int]]:
    if not axes:
        raise ShapeError(f"{name} must transform at least one axis")
    return axes, sizes


def hfftn(a: Expr, s: Any = None, dim: Any = None, norm: str | None = None) -> Expr:
    """fftn of numbers whose other half are their conjugates: real."""
    _power(norm)
    return irfftn(conj(_complex(a)), s, dim, OPPOSITE[norm])


def ihfftn(a: Expr, s: Any = None, dim: Any = None, norm: str | None = None) -> Expr:
    """The inverse of hfftn."""
    _power(norm)
    return conj(rfftn(_real(a, "ihfft"), s, dim, OPPOSITE[norm]))


def _one_axis(many: Callable[..., Expr]) -> Callable[..., Expr]:
    def build(a: Expr, n: int | None = None, dim: int = -1, norm: str | None = None) -> Expr:
        return many(a, None if n is None else (n,), (dim,), norm)

    return build


def _two_axes(many: Callable[..., Expr]) -> Callable[..., Expr]:
    def build(a: Expr, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Expr:
        return many(a, s, dim, norm)

    return build


for _many, _title in (
    (fftn, "FftC2CBackward0"), (ifftn, "FftC2CBackward0"), (rfftn, "FftR2CBackward0"),
    (irfftn, "FftC2RBackward0"), (hfftn, "FftC2RBackward0"), (ihfftn, "ConjBackward0"),
):  # fmt: skip
    _word = _many.__name__.rstrip("n")
    for _suffix, _build, _what in (
        ("", _one_axis(_many), "one axis"), ("2", _two_axes(_many), "two axes"), ("n", _many, ""),
    ):  # fmt: skip
        _build.__doc__ = f"{_many.__doc__}  Along {_what}." if _what else _many.__doc__
        public(f"fft_{_word}{_suffix}", grad_fn=_title, part=True)(_build)


@public("fft_fftshift", grad_fn="RollBackward0", part=True)
def fftshift(a: Expr, dim: Any = None) -> Expr:
    """The entry of frequency 0 moved to the middle of each axis."""
    return _shifted(a, dim, lambda n: n // 2)


@public("fft_ifftshift", grad_fn="RollBackward0", part=True)
def ifftshift(a: Expr, dim: Any = None) -> Expr:
    """The inverse of fftshift."""
    return _shifted(a, dim, lambda n: -(n // 2))


def _shifted(a: Expr, dim: Any, shift: Callable[[int], int]) -> Expr:
    axes = axes_of(dim, a.ndim)
    moves = [shift(whole_number(a.shape[x], "fftshift")) for x in axes]
    return roll(a, tuple(moves), tuple(axes)) if axes else a
