"""The short-time Fourier transform: overlapping windows of a signal, each transformed; and back."""

from __future__ import annotations

import math

from symgrad.core import dtypes
from symgrad.core.build import broadcast_to, cast, constant, permute, product, squeeze, unsqueeze
from symgrad.core.dtypes import complex_of
from symgrad.core.expr import Expr
from symgrad.core.sizes import whole_number
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.complex import view_as_real
from symgrad.functional.padding import pad as padded
from symgrad.functional.promotion import promoted
from symgrad.functional.resampling import overlapped, unfold
from symgrad.functional.table import public
from symgrad.ops import fourier
from symgrad.ops.structure import pad, slice_axis


@public(grad_fn="SqueezeBackward4")
def stft(
    a: Expr, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Expr | None = None, center: bool = True, pad_mode: str = "reflect",
    normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Expr:  # fmt: skip
    """The transforms of windows of ``n_fft`` entries, ``hop_length`` apart: ``(…, N, frames)``.

    A signal is ``(L,)`` or ``(batch, L)``; ``center`` pads it so that the frame t is centered at
    ``t · hop_length``, ``align_to_window`` so that the first window begins where the signal does.
    N is ``n_fft // 2 + 1``, or ``n_fft`` where not ``onesided``.
    """
    hop, width = n_fft // 4 if hop_length is None else hop_length, win_length or n_fft
    if return_complex is None and not (a.dtype.is_complex or (window and window.dtype.is_complex)):
        raise DTypeError(
            "stft requires the return_complex parameter be given for real inputs, and will further "
            "require that return_complex=True in a future PyTorch release."
        )
    if not a.dtype.differentiable:
        raise DTypeError("stft: expected a tensor of floating point or complex values")
    if a.ndim not in (1, 2):
        raise ShapeError("stft: expected a 1D or 2D tensor")
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    signal = a if a.ndim == 2 else unsqueeze(a, [0])
    if center:
        ends = (n_fft // 2, n_fft // 2)
        signal = squeeze(padded(unsqueeze(signal, [0]), ends, pad_mode), [0])
    length = whole_number(signal.shape[1], "stft")
    if not 0 < n_fft <= length:
        raise ShapeError(f"stft: expected 0 < n_fft < {length}, but got n_fft={n_fft}")
    if hop <= 0:
        raise ShapeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    if align_to_window:
        left = (n_fft - width) // 2
        signal = pad(signal, [(0, 0), (left, n_fft - width - left)])
    frames = unfold(signal, 1, n_fft, hop)
    shape = _window(window, n_fft, width, a, "stft")
    if shape is not None:
        frames = product(*promoted(frames, shape))
    if frames.dtype.is_complex:
        if onesided:
            raise ShapeError("Cannot have onesided output if window or input is complex")
        found = fourier.fft(frames, (-1,))
    elif onesided is False:
        found = fourier.fft(cast(frames, complex_of(frames.dtype)), (-1,))
    else:
        found = fourier.rfft(frames, -1)
    found = permute(found, (0, 2, 1))
    if normalized:
        found = found / math.sqrt(n_fft)
    found = found if a.ndim == 2 else squeeze(found, [0])
    return view_as_real(found) if return_complex is False else found


def _window(window: Expr | None, n_fft: int, width: int, like: Expr, name: str) -> Expr | None:
    """The window with zeros around it; None where it is 1 everywhere."""
    if not 0 < width <= n_fft:
        raise ShapeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={width}")
    if window is None:
        if width == n_fft:
            return None
        real = {dtypes.complex64: dtypes.float32, dtypes.complex128: dtypes.float64}
        window = constant(1, real.get(like.dtype, like.dtype), (width,))
    elif window.shape != (width,):
        raise ShapeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={width}, but got "
            f"window with size {list(window.shape)}"
        )
    left = (n_fft - width) // 2
    return pad(window, [(left, n_fft - width - left)])


@public(grad_fn="SqueezeBackward1")
def istft(
    a: Expr, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Expr | None = None, center: bool = True, normalized: bool = False,
    onesided: bool | None = None, length: int | None = None, return_complex: bool = False,
) -> Expr:  # fmt: skip
    """The signal whose stft comes nearest: Σ windowed frames ⊘ Σ squared windows.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform" (1984).
    """
    hop, width = n_fft // 4 if hop_length is None else hop_length, win_length or n_fft
    if not a.dtype.is_complex:
        raise DTypeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    if a.ndim not in (2, 3):
        raise ShapeError(f"istft: expected a tensor with 3 or 4 dimensions, but got {a.ndim + 1}")
    z = a if a.ndim == 3 else unsqueeze(a, [0])
    rows, count = (whole_number(s, "istft") for s in z.shape[1:])
    if not z.shape[0] or not rows or not count:
        raise ShapeError("istft: input tensor cannot be empty.")
    onesided = rows != n_fft if onesided is None else onesided
    wanted = n_fft // 2 + 1 if onesided else n_fft
    if rows != wanted:
        word = "n_fft / 2 + 1 when onesided=True" if onesided else "n_fft when onesided=False"
        raise ShapeError(
            "istft: expected the frequency dimension (3rd to the last) of the input tensor to "
            f"match {word}, but got {rows}"
        )
    if not 0 < hop <= width:
        raise ShapeError("istft: expected 0 < hop_length <= win_length")
    shape = _window(window, n_fft, width, a, "istft")
    frames = permute(z, (0, 2, 1))
    if return_complex:
        if onesided:
            raise ShapeError("Cannot have onesided output if window or input is complex")
        frames = fourier.ifft(frames, (-1,))
    else:
        if shape is not None and shape.dtype.is_complex:
            raise DTypeError("Complex windows are incompatible with return_complex=False")
        frames = fourier.irfft(slice_axis(frames, -1, 0, n_fft // 2 + 1), -1, n_fft)
    if normalized:
        frames = frames * math.sqrt(n_fft)
    total = n_fft + hop * (count - 1)
    if shape is None:
        shape = constant(1, frames.dtype, (n_fft,))
    frames, shape = promoted(frames, shape)
    signal = overlapped(product(frames, shape), hop, total)
    weights = overlapped(broadcast_to(shape * shape, (count, n_fft)), hop, total)
    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else total - start
    signal = slice_axis(signal, -1, start, min(stop, total))
    signal = signal / slice_axis(weights, -1, start, min(stop, total))
    if stop > total:
        signal = pad(signal, [(0, stop - total)])
    return signal if a.ndim == 3 else squeeze(signal, [0])
