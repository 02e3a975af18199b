"""What a tensor says of itself without being computed: shape, dtype, device, layout."""

from __future__ import annotations

from typing import Any

from symgrad.core.dtypes import DType
from symgrad.storage import Size, device, strides_of


class Attributes:
    """The descriptive part of Tensor; ``_now()`` is the node that it shows."""

    __slots__ = ()

    def _now(self) -> Any:
        raise NotImplementedError

    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
        return Size(self._now().shape)

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._now().dtype

    @property
    def device(self) -> device:
        """Where it lives."""
        return device(self._now().device)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._now().shape)

    def dim(self) -> int:
        """Number of axes."""
        return len(self._now().shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> Any:
        """Number of elements."""
        return self.shape.numel()

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Strides of the contiguous tensor."""
        found = strides_of(self.shape)
        return found if dim is None else found[dim]

    def is_contiguous(self) -> bool:
        """Always: moves of axes are expressions, not memory."""
        return True

    def is_floating_point(self) -> bool:
        """True for floating dtypes."""
        return self.dtype.is_floating_point

    @property
    def is_cuda(self) -> bool:
        """True on a GPU."""
        return self.device.type == "cuda"
