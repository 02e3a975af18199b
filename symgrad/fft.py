"""Fourier transforms under PyTorch's names: ``symgrad.fft``."""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.core.dtypes import DType
from symgrad.functional.promotion import default_dtype
from symgrad.functional.table import FUNCTIONS
from symgrad.tensors.creation import tensor
from symgrad.tensors.surface import function_of
from symgrad.tensors.tensor import Tensor

globals().update(
    {name[4:]: function_of(row) for name, row in FUNCTIONS.items() if name.startswith("fft_")}
)


def fftfreq(n: int, d: float = 1.0, **kwargs: Any) -> Tensor:
    """The frequencies of the n entries of a transform, for samples ``d`` apart."""
    return _made(np.fft.fftfreq(n, d), **kwargs)


def rfftfreq(n: int, d: float = 1.0, **kwargs: Any) -> Tensor:
    """The frequencies of the n // 2 + 1 entries of rfft, for samples ``d`` apart."""
    return _made(np.fft.rfftfreq(n, d), **kwargs)


def _made(values: Any, dtype: DType | None = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:  # fmt: skip
    return tensor(values, dtype or default_dtype(), device, requires_grad)
