"""Element types: PyTorch's names over NumPy's dtypes (bfloat16 from ml_dtypes)."""

from __future__ import annotations

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class DType:
    """One element type; compared by identity.

    Attributes: ``name`` (``"float32"``), ``kind`` (``b`` bool, ``i`` signed, ``u`` unsigned,
    ``f`` floating, ``c`` complex, ``k`` random key), ``itemsize`` in bytes, ``numpy`` dtype,
    ``rank`` (position in the promotion order).
    """

    name: str
    kind: str
    rank: int
    numpy: np.dtype[np.generic] = field(repr=False)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_floating_point(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        """True for the complex types."""
        return self.kind == "c"

    @property
    def is_signed(self) -> bool:
        """True where negative values exist."""
        return self.kind in "ifc"

    @property
    def differentiable(self) -> bool:
        """True where a derivative is defined: floating point and complex."""
        return self.kind in "fc"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[object, ...]:
        return (dtype_named, (self.name,))


bool_ = DType("bool", "b", 0, np.dtype(np.bool_))
uint8 = DType("uint8", "u", 1, np.dtype(np.uint8))
int8 = DType("int8", "i", 2, np.dtype(np.int8))
int16 = DType("int16", "i", 3, np.dtype(np.int16))
int32 = DType("int32", "i", 4, np.dtype(np.int32))
int64 = DType("int64", "i", 5, np.dtype(np.int64))
float16 = DType("float16", "f", 6, np.dtype(np.float16))
bfloat16 = DType("bfloat16", "f", 7, np.dtype(ml_dtypes.bfloat16))
float32 = DType("float32", "f", 8, np.dtype(np.float32))
float64 = DType("float64", "f", 9, np.dtype(np.float64))
complex64 = DType("complex64", "c", 10, np.dtype(np.complex64))
complex128 = DType("complex128", "c", 11, np.dtype(np.complex128))
key = DType("key", "k", -1, np.dtype(np.uint64))

ALL: tuple[DType, ...] = (
    bool_,
    uint8,
    int8,
    int16,
    int32,
    int64,
    float16,
    bfloat16,
    float32,
    float64,
    complex64,
    complex128,
    key,
)
_BY_NAME = {d.name: d for d in ALL}
_BY_NUMPY = {d.numpy: d for d in ALL if d is not key}


def dtype_named(name: str) -> DType:
    """The element type called ``name``.

    >>> dtype_named("float32")
    torch.float32
    """
    return _BY_NAME[name]


def dtype_of_numpy(dtype: object) -> DType | None:
    """The element type of a NumPy dtype, or None where PyTorch has no such type."""
    return _BY_NUMPY.get(np.dtype(dtype))  # type: ignore[call-overload]


def promote(a: DType, b: DType) -> DType:
    """The smallest type that holds both, by PyTorch's table.

    >>> promote(int64, float16), promote(uint8, int8), promote(float16, bfloat16)
    (torch.float16, torch.int16, torch.float32)
    """
    if a is b:
        return a
    low, high = (a, b) if a.rank <= b.rank else (b, a)
    if low is uint8 and high.kind == "i":
        return int16 if high is int8 else high
    if low is float16 and high is bfloat16:
        return float32
    if low is float64 and high is complex64:
        return complex128
    return high


def real_of(dtype: DType) -> DType:
    """The type of the parts of a complex type; another type itself."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def complex_of(dtype: DType) -> DType:
    """The complex type with parts of a floating type (of halves: complex64).

    >>> complex_of(float64)
    torch.complex128
    """
    return dtype if dtype.is_complex else complex128 if dtype is float64 else complex64
