"""Scaling of a loss, so that small gradients do not vanish in float16."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from symgrad_codegen import arrays

from symgrad.autograd import no_grad
from symgrad.core import dtypes
from symgrad.functional.table import FUNCTIONS
from symgrad.recording.record import PLAIN, modes, note
from symgrad.tensors.creation import FUNCTIONS as functions
from symgrad.tensors.creation import tensor
from symgrad.tensors.tensor import Tensor

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
    so it computes them; under ``compile`` nothing is read, and a step that is left out is part of
    the program.
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
        where = device if self._enabled else "cpu"
        self._scale = tensor(float(init_scale), dtype=dtypes.float32, device=where)
        self._tracker = tensor(0, dtype=dtypes.int32, device=where)
        self._stages: dict[int, tuple[Any, int, Tensor]] = {}
        """id of an optimizer → itself, what was done since ``update``, whether all was finite."""

    # -------------------------------------------------------------- the loss

    def scale(self, outputs: Any) -> Any:
        """A tensor, or each in a list or tuple, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(v) for v in outputs])
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    # -------------------------------------------------------------- the gradients

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, in place.

        **Raises:** RuntimeError where it was done already, after ``step``; ValueError for float16
        gradients.
        """
        if not self._enabled:
            return
        stage = self._stage(optimizer)
        if stage == _UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if stage == _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        found = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        finite: Tensor | None = None
        with no_grad():
            inverse = self._scale.reciprocal()
            for grad in found:
                if grad.dtype is dtypes.float16:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                grad.mul_(inverse)
                here = grad.isfinite().all()
                finite = here if finite is None else finite.logical_and(here)
        if finite is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        self._stages[id(optimizer)] = (optimizer, _UNSCALED, finite)

    def _stage(self, optimizer: Any) -> int:
        known = self._stages.get(id(optimizer))
        return _READY if known is None else known[1]

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step if all its gradients are finite; what it returns, else None."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        stage = self._stage(optimizer)
        if stage == _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == _READY:
            self.unscale_(optimizer)
        finite = self._stages[id(optimizer)][2]
        if modes.capture is not None:
            result = _step_where(finite, optimizer, args, kwargs)
        else:
            result = optimizer.step(*args, **kwargs) if finite.item() else None
        self._stages[id(optimizer)] = (optimizer, _STEPPED, finite)
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """The scale for the next iteration: as the last steps went, or ``new_scale``."""
        if not self._enabled:
            return
        with no_grad():
            if new_scale is not None:
                self._scale.copy_(self._scale * 0 + new_scale)
            else:
                self._follow([finite for _, _, finite in self._stages.values()])
        self._stages.clear()

    def _follow(self, flags: list[Tensor]) -> None:
        if not flags:
            raise AssertionError("No inf checks were recorded prior to update.")
        finite = flags[0]
        for flag in flags[1:]:
            finite = finite.logical_and(flag)
        if modes.capture is None:
            count = self._tracker.item() + 1 if finite.item() else 0
            if not count:
                self._scale.fill_(self._scale.item() * self._backoff_factor)
            elif count == self._growth_interval:
                self._scale.fill_(self._scale.item() * self._growth_factor)
                count = 0
            self._tracker.fill_(count)
            return
        where = functions["where"]
        count = self._tracker + 1
        full = finite.logical_and(count == self._growth_interval)
        grown = where(full, self._scale * self._growth_factor, self._scale)
        self._scale.copy_(where(finite, grown, self._scale * self._backoff_factor))
        self._tracker.copy_(where(finite.logical_and(full.logical_not()), count, count * 0))

    # -------------------------------------------------------------- its numbers

    def is_enabled(self) -> bool:
        """Does it scale?"""
        return self._enabled

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        return self._scale.item() if self._enabled else 1.0

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
            "_growth_tracker": self._tracker.item(),
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
        self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._tracker.fill_(state_dict["_growth_tracker"])


def _step_where(finite: Tensor, optimizer: Any, args: Any, kwargs: Any) -> Any:
    """The optimizer's step in a program: what it rebinds keeps its old value if not all is finite."""
    before = {id(storage): storage.node for storage, _ in modes.capture.before.values()}
    result = optimizer.step(*args, **kwargs)
    with no_grad():
        for storage, first in list(modes.capture.before.values()):
            old = before.get(id(storage), first)
            new = storage.node
            if new is not old:
                chosen = (finite.node(), new, old)
                storage.rebind(note(FUNCTIONS["where"], PLAIN[3], chosen, True))
    return result
