"""``finfo`` and ``iinfo``: the range and precision of an element type."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from symgrad.core.dtypes import DType, float32


class finfo:
    """Precision and range of a floating-point dtype."""

    def __init__(self, dtype: DType = float32) -> None:
        if not dtype.differentiable:
            raise TypeError(f"finfo takes a floating-point dtype, not {dtype}; use iinfo")
        found = ml_dtypes.finfo(dtype.numpy)
        self.bits = int(found.bits)
        self.eps = float(found.eps)
        self.max = float(found.max)
        self.min = float(found.min)
        self.tiny = self.smallest_normal = float(found.tiny)
        self.resolution = 10.0 ** -int(found.precision)
        self.dtype = dtype.name

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.tiny:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Range of an integer dtype."""

    def __init__(self, dtype: DType) -> None:
        if dtype.kind not in "iu":
            raise TypeError(f"iinfo takes an integer dtype, not {dtype}; use finfo")
        kind: Any = dtype.numpy
        found = np.iinfo(kind)
        self.bits, self.max, self.min = int(found.bits), int(found.max), int(found.min)
        self.dtype = dtype.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
