"""What a tensor says of itself without being computed: shape, dtype, device, layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symgrad.core.dtypes import DType
from symgrad.errors import ShapeError
from symgrad.functional.complex import WORDS
from symgrad.tensors.storage import Size, device, strides_of


class Layout:
    """How the entries of a tensor lie in memory: here always ``strided``."""

    def __repr__(self) -> str:
        return "torch.strided"


strided = Layout()


class MemoryFormat:
    """An order of the axes in memory that programs may ask for; there is one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


contiguous_format = MemoryFormat("contiguous_format")
preserve_format = MemoryFormat("preserve_format")
channels_last = MemoryFormat("channels_last")
channels_last_3d = MemoryFormat("channels_last_3d")


class UntypedStorage:
    """What ``t.untyped_storage()`` tells of the memory of a tensor."""

    def __init__(self, size: int, start: int) -> None:
        self._size = size
        self._start = start

    def nbytes(self) -> int:
        """Bytes."""
        return self._size

    size = nbytes
    __len__ = nbytes

    def data_ptr(self) -> int:
        """A number that tensors with the same memory share."""
        return self._start


class Attributes:
    """The descriptive part of Tensor; ``_now()`` is the node that it shows."""

    __slots__ = ()

    if TYPE_CHECKING:
        # Methods and operators are made from the table of public functions (surface.py).
        def __getattr__(self, name: str) -> Any: ...

        def __add__(self, other: Any, /) -> Any: ...

        def __radd__(self, other: Any, /) -> Any: ...

        def __sub__(self, other: Any, /) -> Any: ...

        def __rsub__(self, other: Any, /) -> Any: ...

        def __mul__(self, other: Any, /) -> Any: ...

        def __rmul__(self, other: Any, /) -> Any: ...

        def __truediv__(self, other: Any, /) -> Any: ...

        def __rtruediv__(self, other: Any, /) -> Any: ...

        def __pow__(self, other: Any, /) -> Any: ...

        def __rpow__(self, other: Any, /) -> Any: ...

        def __matmul__(self, other: Any, /) -> Any: ...

        def __rmatmul__(self, other: Any, /) -> Any: ...

        def __floordiv__(self, other: Any, /) -> Any: ...

        def __mod__(self, other: Any, /) -> Any: ...

        def __lt__(self, other: Any, /) -> Any: ...

        def __le__(self, other: Any, /) -> Any: ...

        def __gt__(self, other: Any, /) -> Any: ...

        def __ge__(self, other: Any, /) -> Any: ...

        def __and__(self, other: Any, /) -> Any: ...

        def __or__(self, other: Any, /) -> Any: ...

        def __xor__(self, other: Any, /) -> Any: ...

        def __neg__(self) -> Any: ...

        def __invert__(self) -> Any: ...

        def __getitem__(self, index: Any, /) -> Any: ...

        def __setitem__(self, index: Any, value: Any, /) -> None: ...

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
    def layout(self) -> Layout:
        """How the entries lie in memory."""
        return strided

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._now().shape)

    @property
    def T(self) -> Any:
        """All axes reversed."""
        return self.permute(*range(self.ndim)[::-1])

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        if self.ndim < 2:
            raise ShapeError(
                "tensor.mT is only supported on matrices or batches of matrices. Got "
                f"{self.ndim}-D tensor."
            )
        return self.transpose(-1, -2)

    @property
    def H(self) -> Any:
        """The conjugate transpose of a matrix."""
        if self.ndim not in (0, 2):
            raise ShapeError(
                f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor."
            )
        return self.T.conj()

    @property
    def mH(self) -> Any:
        """The last two axes exchanged, and conjugated."""
        return self.mT.conj()

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

    def is_complex(self) -> bool:
        """True for complex dtypes."""
        return self.dtype.is_complex

    def is_conj(self) -> bool:
        """Never: a conjugate is computed, not marked."""
        return False

    def is_floating_point(self) -> bool:
        """True for floating dtypes."""
        return self.dtype.is_floating_point

    @property
    def is_cuda(self) -> bool:
        """True on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """True on the CPU."""
        return self.device.type == "cpu"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    def type(self, dtype: DType | None = None) -> Any:
        """The dtype's PyTorch type name, or a cast."""
        if dtype is not None:
            return self.to(dtype)
        return f"torch.{WORDS.get(self.dtype.name, self.dtype.name)}Tensor"

    def type_as(self, other: Any) -> Any:
        """In the dtype of another tensor."""
        return self.to(other.dtype)

    def get_device(self) -> int:
        """The number of the GPU, −1 on the CPU."""
        return -1 if self.is_cpu else self.device.index or 0

    def is_signed(self) -> bool:
        """Can its elements be negative?"""
        return self.dtype.kind in "ifc"

    def is_nonzero(self) -> bool:
        """Is its one element other than zero?"""
        return bool(self)

    def is_same_size(self, other: Any) -> bool:
        """Has ``other`` the same shape?"""
        return self.shape == other.shape

    def pin_memory(self) -> Any:
        """Itself: JAX places memory for transfers."""
        return self

    share_memory_ = pin_memory
    ndimension = dim

    def _no(self) -> bool:
        """Never."""
        return False

    is_neg = is_pinned = is_shared = is_inference = _no
    is_sparse = is_sparse_csr = is_quantized = is_meta = is_nested = is_mps = is_mkldnn = property(
        _no
    )
    output_nr = property(lambda self: 0)
