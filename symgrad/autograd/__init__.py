"""Control of differentiation: ``no_grad``, ``enable_grad``, ``grad``, ``backward``."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from symgrad.autograd import function, functional
from symgrad.autograd.custom import Function
from symgrad.recording.gradients import grad
from symgrad.recording.record import modes
from symgrad.tensors.tensor import Tensor
from symgrad.transforms.checks import gradcheck, gradgradcheck


class _Switch:
    """A context manager, decorator and plain switch of tracking."""

    on = True

    def __init__(self, *given: Any) -> None:
        self._given = given
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> _Switch:
        self._before.append((modes.grad, modes.inference))
        modes.grad = self.on
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        modes.grad, modes.inference = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._stepwise(function)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with type(self)(*self._given):
                return function(*args, **kwargs)

        return run

    def _stepwise(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A generator whose steps run under the switch, and what is between them does not."""

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            made = function(*args, **kwargs)
            given = None
            while True:
                try:
                    with type(self)(*self._given):
                        shown = made.send(given)
                except StopIteration as end:
                    return end.value
                given = yield shown

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
    """As ``no_grad``; ``inference_mode(False)`` changes nothing."""

    def __new__(cls, mode: Any = True) -> Any:
        """As a context, a decorator, or a decorated function."""
        return no_grad.__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: Any = True) -> None:
        _Switch.__init__(self, mode)
        self._asked = bool(mode)

    def __enter__(self) -> inference_mode:
        self._before.append((modes.grad, modes.inference))
        modes.inference = self._asked
        modes.grad = not self._asked
        return self


class enable_grad(_Switch):
    """Operations within are tracked."""

    on = True


class set_grad_enabled(_Switch):
    """Tracking on or off, at once and within a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._mode = mode
        self._old = modes.grad
        modes.grad = mode

    def __enter__(self) -> set_grad_enabled:
        self._before.append((self._old, modes.inference))
        modes.grad = self._mode
        return self

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` with tracking on or off; what is around it stays as it was."""
        modes.grad = self._old
        return super().__call__(function)


class set_detect_anomaly:
    """Anomaly detection on or off, at once and until the end of a ``with`` block.

    While it is on, every operation notes the line that called it, and a backward pass computes the
    derivative of each operation at once: RuntimeError names the first that gives a nan.

    >>> import symgrad as sg
    >>> x = sg.tensor(0.0, requires_grad=True)
    >>> with set_detect_anomaly(True):
    ...     (sg.sqrt(x) * 0).backward()
    Traceback (most recent call last):
    ...
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output. The forward call is at
      File "<doctest symgrad.autograd.set_detect_anomaly[2]>", line 2
        (sg.sqrt(x) * 0).backward()
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = modes.anomaly, modes.check_nan
        modes.anomaly, modes.check_nan = mode, check_nan

    def __enter__(self) -> None:
        """It is on already."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        modes.anomaly, modes.check_nan = self._before


class detect_anomaly:
    """Anomaly detection within a ``with`` block; see :class:`set_detect_anomaly`."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan
        self._before: list[tuple[bool, bool]] = []
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        """Switch it on."""
        self._before.append((modes.anomaly, modes.check_nan))
        modes.anomaly, modes.check_nan = True, self._check_nan

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        modes.anomaly, modes.check_nan = self._before.pop()


def is_anomaly_enabled() -> bool:
    """Is anomaly detection on in this thread?"""
    return modes.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Does anomaly detection look for nan?"""
    return modes.check_nan


def is_grad_enabled() -> bool:
    """Are operations tracked in this thread?"""
    return modes.grad


def is_inference_mode_enabled() -> bool:
    """Is this thread inside ``inference_mode``?"""
    return modes.inference


def Variable(data: Any, requires_grad: bool = False) -> Any:
    """``data`` itself in PyTorch's first style, or another view of it that requires grad."""
    made: Tensor = data.detach()
    return made.requires_grad_() if requires_grad else made


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
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
