"""Scaling of a loss, so that small gradients do not vanish in float16."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from symgrad_codegen import arrays

from symgrad.autograd import no_grad
from symgrad.core import dtypes
from symgrad.creation import tensor
from symgrad.tensor import Tensor

_READY, _UNSCALED, _STEPPED = range(3)


class GradScaler:
    """Multiplies the loss by ``s``, divides the gradients by ``s`` before the optimizer's step.

    A step with a gradient that is infinite or not a number is left out, and ``update`` then
    multiplies ``s`` by ``backoff_factor``; after ``growth_interval`` good steps in a row by
    ``growth_factor``.

    **Arguments:** ``device``: where the scale lies; ``init_scale``, the factors and the interval as
    above; ``enabled``: False makes every method transparent.

    >>> import symgrad as sg
    >>> w = sg.nn.Parameter(sg.tensor([3.0]))
    >>> opt = sg.optim.SGD([w], lr=0.5)
    >>> scaler = GradScaler("cpu", init_scale=1024.0)
    >>> scaler.scale((w * 2).sum()).backward()
    >>> scaler.step(opt)
    >>> scaler.update()
    >>> w.detach(), scaler.get_scale()
    (tensor([2.]), 1024.0)

    Mirrors ``torch.amp.GradScaler``.  ``step`` reads one number, whether all gradients are finite,
    so it computes them.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda" and not arrays.has_gpu():
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            self._enabled = False
        if self._enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if self._enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._scale = init_scale
        self._stages: dict[int, tuple[Any, int, bool]] = {}
        """id of an optimizer → itself, what was done since ``update``, whether all was finite."""

    # -------------------------------------------------------------- the loss

    def scale(self, outputs: Any) -> Any:
        """A tensor, or each in a list or tuple, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._factor(self._scale, outputs)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(v) for v in outputs])
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    @staticmethod
    def _factor(number: float, like: Tensor) -> Tensor:
        """A number as a value of the program, so that it may change without another program."""
        return tensor(number, dtype=dtypes.float32, device=like.device)

    # -------------------------------------------------------------- the gradients

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, in place.

        **Raises:** RuntimeError where it was done already, after ``step``; ValueError for float16
        gradients.
        """
        if not self._enabled:
            return
        _, stage, _ = self._stage(optimizer)
        if stage == _UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if stage == _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        found = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        finite: Tensor | None = None
        with no_grad():
            for grad in found:
                if grad.dtype is dtypes.float16:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                grad.mul_(self._factor(1.0 / self._scale, grad))
                here = grad.isfinite().all()
                finite = here if finite is None else finite.logical_and(here.to(finite.device))
        if finite is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        self._stages[id(optimizer)] = (optimizer, _UNSCALED, bool(finite.item()))

    def _stage(self, optimizer: Any) -> tuple[Any, int, bool]:
        return self._stages.get(id(optimizer), (optimizer, _READY, True))

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step if all its gradients are finite; what it returns, else None."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        stage = self._stage(optimizer)[1]
        if stage == _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == _READY:
            self.unscale_(optimizer)
        finite = self._stages[id(optimizer)][2]
        result = optimizer.step(*args, **kwargs) if finite else None
        self._stages[id(optimizer)] = (optimizer, _STEPPED, finite)
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """The scale for the next iteration: as the last steps went, or ``new_scale``."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            if not any(stage for _, stage, _ in self._stages.values()):
                raise AssertionError("No inf checks were recorded prior to update.")
            if all(finite for _, _, finite in self._stages.values()):
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    self._scale *= self._growth_factor
                    self._growth_tracker = 0
            else:
                self._scale *= self._backoff_factor
                self._growth_tracker = 0
        self._stages.clear()

    # -------------------------------------------------------------- its numbers

    def is_enabled(self) -> bool:
        """Does it scale?"""
        return self._enabled

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        return float(self._scale) if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after a row of good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Change it."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a step that was left out."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Change it."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps in a row make the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Change it."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale, the factors and the count of good steps; empty where disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; RuntimeError for that of a disabled scaler."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._scale = state_dict["scale"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]
