"""The CPU as PyTorch's programs ask for it."""

from __future__ import annotations

from typing import Any

from symgrad.cpu import amp


def device_count() -> int:
    """One."""
    return 1


def is_available() -> bool:
    """Always."""
    return True


def current_device() -> str:
    """Its name."""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """Nothing to wait for: reading a tensor waits."""


__all__ = ["amp", "current_device", "device_count", "is_available", "synchronize"]
