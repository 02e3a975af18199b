"""The base of all schedulers: it counts epochs and writes ``lr`` into the parameter groups.

``get_lr`` gives the rates of ``last_epoch`` from the current ones (so that schedulers compose);
``_get_closed_form_lr``, where it exists, from the epoch alone.
"""

from __future__ import annotations

import warnings
from typing import Any

from symgrad.optim.optimizer import Optimizer


class LRScheduler:
    """Mirrors ``torch.optim.lr_scheduler.LRScheduler``.

    **Arguments:** ``last_epoch``: −1 begins anew; otherwise every group must have ``initial_lr``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        else:
            for place, group in enumerate(optimizer.param_groups):
                if "initial_lr" not in group:
                    raise KeyError(
                        "param 'initial_lr' is not specified in "
                        f"param_groups[{place}] when resuming an optimizer"
                    )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        """The rates of the first epoch."""
        self._step_count = 0
        self._is_initial = True
        self.step()
        self._is_initial = False

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of the optimizer."""
        return self.optimizer.param_groups

    @property
    def rates(self) -> list[float]:
        """The learning rates as they stand."""
        return [group["lr"] for group in self.groups]

    def get_last_lr(self) -> list[float]:
        """The rates that the last ``step`` wrote."""
        return self._last_lr

    def get_lr(self) -> list[float]:
        """The rates of ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr")

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or to a given one, and write its rates."""
        if self._step_count == 1 and not self.optimizer.stepped:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the "
                "opposite order, `optimizer.step()` first; otherwise the first value of the "
                "learning rate schedule is skipped.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self._to(epoch)

    def _to(self, epoch: int | None) -> None:
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            closed = getattr(self, "_get_closed_form_lr", None)
            rates = closed() if closed is not None else self.get_lr()
        self._write(rates)

    def _write(self, rates: list[float]) -> None:
        for group, rate in zip(self.groups, rates, strict=False):
            group["lr"] = rate
        self._last_lr: list[float] = self.rates

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.__dict__.update(state_dict)
