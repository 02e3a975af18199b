"""Dropout: a random part of the values is 0 while training, the rest grows to keep the mean."""

from __future__ import annotations

from symgrad.nn import functional as F
from symgrad.nn.module import Module
from symgrad.tensors.tensor import Tensor


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The probability of 0."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """``y = x m / (1 − p)`` with m = 0 with probability p; the identity in evaluation mode.

    >>> Dropout(0.2)
    Dropout(p=0.2, inplace=False)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Each value by itself."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Dropout of whole channels: x ``(N, C, L)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Each channel as a whole."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Dropout of whole channels: x ``(N, C, H, W)``, one draw for each of the ``N C`` maps."""

    def forward(self, input: Tensor) -> Tensor:
        """Each channel as a whole."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(Dropout2d):
    """Dropout of whole channels: x ``(N, C, D, H, W)``."""
