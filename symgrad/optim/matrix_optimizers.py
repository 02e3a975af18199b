"""The optimizers that look at whole matrices: Adafactor and Muon, by PyTorch's names."""

from __future__ import annotations

from typing import Any

from symgrad.optim import matrix_rules
from symgrad.optim.optimizer import Group, Optimizer


def _within(value: float, bound: float, name: str, words: str = ">=") -> None:
    if not (value >= bound if words == ">=" else value <= bound):
        raise ValueError(f"{name} should be {words} {bound:g} but is: {value}")


class Adafactor(Optimizer):
    """Steps by the size of the parameter, divided by rows × columns of variances.

    With ``ρ = min(η, 1/√t)`` and ``β = t^τ``, for a matrix (of the last two dimensions)::

        R ← (1 − β) R + β rowmeans(g²);   C ← (1 − β) C + β columnmeans(g²)
        u = g / max(√(R C / mean R), ε₁)
        p ← (1 − η λ) p − max(ε₂, rms p) ρ u / max(1, rms(u) / d)

    A vector has a ``variance`` of its own shape instead (Shazeer and Stern, 2018).  ``eps`` is
    ``(ε₁, ε₂)``; without ε₁, the distance from 1 to the next number of the dtype.

    >>> import symgrad as sg
    >>> p = sg.nn.Parameter(sg.ones(2))
    >>> optimizer = Adafactor([p], lr=0.1)
    >>> (3 * p).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.9000, 0.9000])
    """

    row = matrix_rules.ADAFACTOR

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        self.check(options)
        super().__init__(params, options)

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """ValueError where an option is out of its range, with PyTorch's words."""
        first, second = options["eps"]
        _within(options["lr"], 0, "Learning rate")
        _within(options["beta2_decay"], 0, "beta2_decay", "<=")
        _within(0 if first is None else first, 0, "epsilon1")
        _within(second, 0, "epsilon2")
        _within(options["d"], 1, "Clipping threshold d")
        _within(options["weight_decay"], 0, "weight_decay")


class Muon(Optimizer):
    """Momentum made orthogonal: ``p ← (1 − η λ) p − η s X``, for matrices only.

    ``m ← μ m + (1 − μ) g``, and X is ``(1 − μ) g + μ m`` (m without ``nesterov``) over its norm,
    then ``ns_steps`` times ``X ← a X + (b A + c A²) X`` with ``A = X Xᵀ`` in bfloat16.  The scale s
    is ``√max(1, rows / columns)``, or ``0.2 √max(rows, columns)`` for
    ``adjust_lr_fn="match_rms_adamw"`` (Jordan, 2024).

    >>> import symgrad as sg
    >>> p = sg.nn.Parameter(sg.eye(2))
    >>> optimizer = Muon([p], lr=0.1)
    >>> p.diagonal().sum().backward()
    >>> optimizer.step()
    >>> bool((p.diagonal() < 1).all())
    True
    """

    row = matrix_rules.MUON

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        self.check(options)
        super().__init__(params, options)

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """ValueError where an option is out of its range, with PyTorch's words."""
        _within(options["lr"], 0, "Learning rate")
        _within(options["momentum"], 0, "momentum")
        _within(options["weight_decay"], 0, "weight decay")
        if options["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"Adjust learning rate function {options['adjust_lr_fn']} is not supported"
            )
        if len(options["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        if options["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own.

        **Raises:** ValueError for a parameter that is no matrix, and as the other optimizers.
        """
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if p.ndim != 2:
                raise ValueError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{p.size()}; give the others to AdamW"
                )
