"""Distances and similarities of pairs of vectors, as modules."""

from __future__ import annotations

from symgrad.nn import functional as F
from symgrad.nn.module import Module
from symgrad.tensors.tensor import Tensor


class PairwiseDistance(Module):
    """``‖x₁ − x₂ + ε‖ₚ`` along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``‖x₁ − x₂ + ε‖ₚ``."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """``x · y / (max(‖x‖, ε) max(‖y‖, ε))`` along an axis."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The cosine of the angle between the vectors."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
