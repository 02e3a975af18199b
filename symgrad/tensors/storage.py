"""Values behind tensors: storages with versions, views over them, devices and sizes."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core.sizes import Shape, shape_text, size_product
from symgrad.errors import DeviceError
from symgrad.recording.record import leaf_like, modes


class Size(tuple[Any, ...]):
    """A shape: a tuple that prints as PyTorch's ``torch.Size``.

    >>> Size((2, 3)), Size((2, 3)).numel()
    (torch.Size([2, 3]), 6)
    """

    __slots__ = ()

    def numel(self) -> Any:
        """Number of elements."""
        return size_product(tuple(self))

    def __add__(self, other: Any) -> Any:
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Any:
        return Size(other + tuple(self))

    def __mul__(self, count: Any) -> Any:
        return Size(tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found


class device:
    """Where a tensor lives: ``device("cpu")``, ``device("cuda:0")``, ``device("cuda", 1)``."""

    __slots__ = ("index", "type")

    def __init__(self, kind: str | device | int = "cpu", index: int | None = None) -> None:
        if isinstance(kind, device):
            self.type, self.index = kind.type, kind.index
            return
        if isinstance(kind, int):
            kind, index = "cuda", kind
        name, _, number = kind.partition(":")
        if name not in ("cpu", "cuda") or (number and not number.isdigit()):
            raise DeviceError(
                f"device({kind!r}): expected one of cpu, cuda device type at start of device "
                "string, such as 'cpu', 'cuda' or 'cuda:0'"
            )
        self.type = name
        self.index = int(number) if number else index

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, device):
            return NotImplemented
        return (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


def device_name(where: Any) -> str:
    """The canonical name of a device that exists: ``"cpu"`` or ``"cuda:0"``."""
    asked = device(where)
    if asked.type == "cpu":
        return "cpu"
    found = arrays.devices("gpu")
    index = asked.index or 0
    if index >= len(found):
        raise DeviceError(
            f"device {asked}: this machine has {len(found)} CUDA devices that JAX can use"
            + ("; install the cuda extra for a GPU machine" if not found else "")
        )
    return f"cuda:{index}"


def jax_device(name: str) -> Any:
    """JAX's device for a canonical name; None for the CPU default."""
    if name == "cpu":
        return arrays.devices("cpu")[0]
    return arrays.devices("gpu")[int(name.partition(":")[2])]


class Storage:
    """A value that tensors share: the current node, and how often it changed in place.

    ``capture`` is the compiled step under which it was made, if any.  ``shared`` is the NumPy array whose memory the user holds too; it is the truth then.
    """

    __slots__ = ("__weakref__", "capture", "node", "shared", "version")

    def __init__(self, node: Any, shared: np.ndarray[Any, Any] | None = None) -> None:
        self.node = node
        self.version = 0
        self.shared = shared
        self.capture = modes.capture

    def now(self) -> Any:
        """The node, or of memory that the user can write to a leaf with a copy."""
        if self.shared is None:
            return self.node
        made = leaf_like(self.node, self.shared.copy())
        made.outdated = weakref.ref(self), self.version  # as soon as that changes
        return made

    def rebind(self, node: Any) -> None:
        """Hold another node from now on; what saved the old one for a derivative can see it."""
        if modes.changed is not None:
            modes.changed.append((weakref.ref(self), self.node))
        if node is not self.node:
            self.node.outdated = weakref.ref(self), self.version
            self.node = node
        self.version += 1


def strides_of(shape: Iterable[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor in elements."""
    result: list[int] = []
    step = 1
    for size in reversed(tuple(shape)):
        result.append(step)
        step *= max(size, 1)
    return tuple(reversed(result))


def described(shape: Shape) -> str:
    """A shape in error messages."""
    return shape_text(shape)
