"""DLPack: memory of other libraries as tensors, and tensors for them."""

from symgrad.tensors.exchange import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
