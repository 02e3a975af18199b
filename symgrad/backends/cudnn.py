"""Switches of a library that this one does not use: programs set them before training."""

from __future__ import annotations

enabled = False
benchmark = False
deterministic = False
allow_tf32 = False


def is_available() -> bool:
    """Never: GPUs are reached through JAX."""
    return False


def version() -> None:
    """None: it is not there."""


__all__ = ["allow_tf32", "benchmark", "deterministic", "enabled", "is_available", "version"]
