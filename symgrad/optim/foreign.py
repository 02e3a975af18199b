"""Any optax transformation behind PyTorch's optimizer interface."""

from __future__ import annotations

from typing import Any

from symgrad.optim.optimizer import Optimizer


class Optax(Optimizer):
    """``p ← p + tx(g)``"""

    def __init__(self, params: Any, tx: Any) -> None:
        super().__init__(params, {})
