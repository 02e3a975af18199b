"""Windows: a few cosines over M points, periodic where not ``sym``."""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.core.dtypes import DType
from symgrad.functional.promotion import default_dtype
from symgrad.tensors.creation import tensor
from symgrad.tensors.tensor import Tensor


def _cosines(
    weights: tuple[float, ...], M: int, sym: bool, dtype: DType | None, device: Any, tracked: bool
) -> Tensor:
    """Σₖ (−1)ᵏ wₖ cos(2π k n / (M − 1)) for n = 0 … M − 1; over M where not ``sym``."""
    if M < 0:
        raise ValueError(f"Requires non-negative window length, got M={M}")
    kind = dtype or default_dtype()
    if not kind.is_floating_point:
        raise ValueError(f"Expects float32 or float64 dtypes, got: {kind}")
    angles = 2 * np.pi * np.arange(M) / max(M - 1 if sym else M, 1)
    values = sum((-1) ** k * w * np.cos(k * angles) for k, w in enumerate(weights))
    values = np.ones(M) if M == 1 else np.asarray(values)
    return tensor(values, dtype=kind, device=device, requires_grad=tracked)


def hann(
    M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """½ (1 − cos)."""
    del layout  # tensors have one
    return _cosines((0.5, 0.5), M, sym, dtype, device, requires_grad)


def hamming(
    M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.54 − 0.46 cos."""
    del layout  # tensors have one
    return _cosines((0.54, 0.46), M, sym, dtype, device, requires_grad)


def blackman(
    M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 − ½ cos + 0.08 cos 2."""
    del layout  # tensors have one
    return _cosines((0.42, 0.5, 0.08), M, sym, dtype, device, requires_grad)


def hann_window(window_length: int, periodic: bool = True, **kwargs: Any) -> Tensor:
    """hann under its first name: periodic by default."""
    return hann(window_length, sym=not periodic, **kwargs)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46,
    *, dtype: DType | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """α − β cos: hamming under its first name."""
    del layout  # tensors have one
    return _cosines((alpha, beta), window_length, not periodic, dtype, device, requires_grad)


def blackman_window(window_length: int, periodic: bool = True, **kwargs: Any) -> Tensor:
    """blackman under its first name: periodic by default."""
    return blackman(window_length, sym=not periodic, **kwargs)


__all__ = ["blackman", "blackman_window", "hamming", "hamming_window", "hann", "hann_window"]
