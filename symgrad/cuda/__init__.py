"""GPUs as PyTorch's programs ask for them: are there any, which, and how to wait for them."""

from __future__ import annotations

from typing import Any

from symgrad_codegen import arrays

from symgrad.cuda import amp
from symgrad.errors import DeviceError
from symgrad.random import manual_seed
from symgrad.tensors.storage import device as device_of

__all__ = [
    "amp",
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_name",
    "is_available",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "set_device",
    "synchronize",
]

manual_seed_all = manual_seed


def device_count() -> int:
    """How many GPUs JAX can use."""
    return len(arrays.devices("gpu"))


def is_available() -> bool:
    """Can JAX use at least one GPU?"""
    return arrays.has_gpu()


is_initialized = is_available


def current_device() -> int:
    """The GPU that ``"cuda"`` means: the first."""
    return 0


def _found(device: Any) -> Any:
    index = device if isinstance(device, int) else (device_of(device or "cuda").index or 0)
    found = arrays.devices("gpu")
    if not 0 <= index < len(found):
        raise DeviceError(
            f"cuda device {index}: JAX finds {len(found)} GPUs here. Check is_available() first, or "
            "install the extra 'cuda'."
        )
    return found[index]


def get_device_name(device: Any = None) -> str:
    """The name of a GPU; DeviceError where it does not exist."""
    return str(_found(device).device_kind)


def set_device(device: Any) -> None:
    """Only the first GPU can be the default; give others by name: ``t.to("cuda:1")``."""
    _found(device)
    if (device if isinstance(device, int) else (device_of(device).index or 0)) != 0:
        raise DeviceError("set_device: the default is cuda:0; name another where a tensor is made")


def synchronize(device: Any = None) -> None:
    """Wait until the work of a GPU is done."""
    arrays.block_until_ready(arrays.to_device(0.0, _found(device)))


def empty_cache() -> None:
    """Nothing to do: JAX holds its own memory pool."""
