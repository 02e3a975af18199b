"""Signals under PyTorch's names: ``symgrad.signal.windows``."""

from symgrad.signal import windows

__all__ = ["windows"]
