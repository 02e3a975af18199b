"""PyTorch's ``autograd.function``: what classes of functions are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.autograd.custom import Context as FunctionCtx
from symgrad.autograd.custom import Function


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """``backward`` itself: it is an expression, which has a derivative."""
    return backward


__all__ = ["Function", "FunctionCtx", "once_differentiable"]
