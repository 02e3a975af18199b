"""Tensors from other memory, and for others: buffers, DLPack, PyTorch's first constructors.

What lies on the CPU is shared, not copied: a change on either side is seen on the other.  Memory that
may not be written to (an array of JAX, a read-only buffer) is shared until the tensor is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.core.dtypes import DType, dtype_of_numpy
from symgrad.errors import DTypeError
from symgrad.tensors.creation import as_tensor, from_numpy, tensor, zeros
from symgrad.tensors.given import dtype_of
from symgrad.tensors.storage import Size
from symgrad.tensors.tensor import Tensor

CPU = (1, 0)
"""DLPack's name of the host."""


def asarray(
    obj: Any, *, dtype: DType | None = None, device: Any = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``obj`` as a tensor: its own memory unless ``copy`` is true, or another dtype is asked for."""
    if copy and isinstance(obj, Tensor):
        made = obj.detach().clone()
    elif copy:
        made = tensor(obj)
    elif hasattr(obj, "__dlpack__") and not isinstance(obj, (Tensor, np.ndarray)):
        made = from_dlpack(obj)
    else:
        made = as_tensor(obj)
    made = made.to(device, dtype_of(dtype, made.dtype))
    if copy is False and made.data_ptr() != as_tensor(obj).data_ptr():
        raise ValueError("can't alias this data without a copy")
    return made.detach().requires_grad_() if requires_grad else made


def frombuffer(
    buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """The numbers in an object with the buffer protocol, whose memory is shared."""
    if not len(memoryview(buffer).cast("B")):
        raise ValueError("both buffer length (0) and count (-1) must not be 0")
    made = _shown(np.frombuffer(buffer, dtype.numpy, count, offset))
    return made.requires_grad_() if requires_grad else made


def _shown(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over an array, which is shared where it may be written to."""
    if array.flags.writeable:
        return from_numpy(array)
    dtype = dtype_of_numpy(array.dtype)
    if dtype is None:
        raise DTypeError(f"can't convert np.ndarray of type {array.dtype}")
    return Tensor.from_value(array, dtype)


class _Capsule:
    """A bare DLPack capsule, as PyTorch's ``to_dlpack`` gives."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over the memory of another library's array, by the DLPack protocol."""
    if isinstance(ext_tensor, Tensor):
        if ext_tensor.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return ext_tensor.detach()
    if arrays.is_jax_array(ext_tensor):
        return as_tensor(ext_tensor)
    if isinstance(ext_tensor, np.ndarray):
        return _shown(ext_tensor)
    if not hasattr(ext_tensor, "__dlpack__"):
        ext_tensor = _Capsule(ext_tensor)
    return _shown(np.from_dlpack(ext_tensor))


def to_dlpack(self: Tensor, *, stream: Any = None, **options: Any) -> Any:
    """A DLPack capsule over the memory of this tensor."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.is_cuda:
        array: Any = arrays.to_device(self.array())
        return array.__dlpack__(stream=stream, **options)
    return self.numpy().__dlpack__(**options)


def dlpack_device(self: Tensor) -> tuple[int, int]:
    """Where the memory lies, in DLPack's numbers."""
    return self.array().__dlpack_device__() if self.is_cuda else CPU


Tensor.__dlpack__ = to_dlpack  # type: ignore[attr-defined]
Tensor.__dlpack_device__ = dlpack_device  # type: ignore[attr-defined]


def _first(dtype: DType) -> Callable[..., Tensor]:
    def made(*given: Any) -> Tensor:
        if all(isinstance(v, int) for v in given):
            return zeros(*given, dtype=dtype) if given else zeros(0, dtype=dtype)
        (data,) = given
        return zeros(*data, dtype=dtype) if isinstance(data, Size) else tensor(data, dtype)

    made.__doc__ = f"A {dtype.name} tensor of these numbers, or of these sizes."
    return made


FIRST = {
    "FloatTensor": dtypes.float32, "DoubleTensor": dtypes.float64, "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16, "LongTensor": dtypes.int64, "IntTensor": dtypes.int32,
    "ShortTensor": dtypes.int16, "CharTensor": dtypes.int8, "ByteTensor": dtypes.uint8,
    "BoolTensor": dtypes.bool_,
}  # fmt: skip
CONSTRUCTORS = {word: _first(dtype) for word, dtype in FIRST.items()}
"""PyTorch's first way to make tensors, one function for each dtype."""

__all__ = ["CONSTRUCTORS", "asarray", "from_dlpack", "frombuffer", "to_dlpack"]
