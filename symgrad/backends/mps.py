"""Apple's GPUs, which are not supported: programs ask before they choose a device."""

from __future__ import annotations


def is_available() -> bool:
    """Never."""
    return False


def is_built() -> bool:
    """Never."""
    return False


__all__ = ["is_available", "is_built"]
