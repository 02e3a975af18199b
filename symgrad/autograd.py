"""Control of differentiation: ``no_grad``, ``enable_grad``, ``grad``, ``backward``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from symgrad import checks as functional
from symgrad.checks import gradcheck
from symgrad.custom import Function
from symgrad.gradients import grad
from symgrad.record import modes


class _Switch:
    """A context manager, decorator and plain switch of tracking."""

    on = True

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> _Switch:
        self._before.append(modes.grad)
        modes.grad = self.on
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        modes.grad = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return run


class no_grad(_Switch):
    """Operations within are not tracked."""

    on = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """As a context, a decorator, or a decorated function."""
        made = object.__new__(cls)
        _Switch.__init__(made)
        return made if function is None else made(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__()


class inference_mode(no_grad):
    """As ``no_grad``."""

    def __new__(cls, mode: Any = True) -> Any:
        """As a context, a decorator, or a decorated function."""
        return no_grad.__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()


class enable_grad(_Switch):
    """Operations within are tracked."""

    on = True


class set_grad_enabled(_Switch):
    """Tracking on or off, at once and within a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._mode = mode
        self._old = modes.grad
        modes.grad = mode

    def __enter__(self) -> set_grad_enabled:
        self._before.append(self._old)
        modes.grad = self._mode
        return self


def is_grad_enabled() -> bool:
    """Are operations tracked in this thread?"""
    return modes.grad


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[Any] | None = None,
) -> None:
    """``backward()`` of one or several tensors."""
    listed = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    seeds = (
        grad_tensors if isinstance(grad_tensors, (list, tuple)) else [grad_tensors] * len(listed)
    )
    for t, seed in zip(listed, seeds, strict=True):
        t.backward(seed, retain_graph=retain_graph, create_graph=create_graph, inputs=inputs)


__all__ = [
    "Function",
    "backward",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]
