"""The GPU of this machine, if there is one, in the names of ``torch.accelerator``."""

from __future__ import annotations

from typing import Any

from symgrad import cuda
from symgrad.tensors.storage import device


def is_available() -> bool:
    """Is there a GPU that JAX can use?"""
    return cuda.is_available()


def current_accelerator(check_available: bool = False) -> device | None:
    """The kind of device, None without a GPU."""
    del check_available
    return device("cuda") if cuda.is_available() else None


def device_count() -> int:
    """How many GPUs JAX can use."""
    return cuda.device_count()


def current_device_index() -> int:
    """The GPU that ``"cuda"`` means."""
    return cuda.current_device()


def synchronize(device: Any = None) -> None:
    """Wait until the work of a GPU is done."""
    cuda.synchronize(device)


__all__ = [
    "current_accelerator",
    "current_device_index",
    "device_count",
    "is_available",
    "synchronize",
]
