"""Losses as modules: a reduction (``mean``, ``sum``, ``none``) and the options of the function."""

from __future__ import annotations

from typing import Any

from symgrad.nn import functional as F
from symgrad.nn.module import Module
from symgrad.tensors.tensor import Tensor


class PlainLoss(Module):
    """A loss with a reduction."""

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.reduction = F.reduction_of(size_average, reduce, reduction)


class WeightedLoss(PlainLoss):
    """A loss with a weight per class or entry."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.weight: Any


class MSELoss(PlainLoss):
    """``(ŷ − y)²``.

    >>> MSELoss()
    MSELoss()
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Squared error."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(PlainLoss):
    """``|ŷ − y|``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Absolute error."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(PlainLoss):
    """``(ŷ − y)² / (2 β)`` where ``|ŷ − y| < β``, else ``|ŷ − y| − β/2``."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Quadratic near 0, linear far away."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(PlainLoss):
    """``(ŷ − y)² / 2`` where ``|ŷ − y| < δ``, else ``δ (|ŷ − y| − δ/2)``."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Quadratic near 0, linear far away."""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class CrossEntropyLoss(WeightedLoss):
    """``−log softmax(z)[y]``: logits ``(N, C, …)``, targets class numbers or probabilities.

    >>> CrossEntropyLoss()
    CrossEntropyLoss()
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of logits."""
        return F.cross_entropy(
            input,
            target,
            self._buffers["weight"],
            None,
            self.ignore_index,
            None,
            self.reduction,
            self.label_smoothing,
        )


class NLLLoss(WeightedLoss):
    """``−ℓ[y]``: log-probabilities ``(N, C, …)``, targets class numbers."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood."""
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class BCELoss(WeightedLoss):
    """``−(y log p + (1 − y) log(1 − p))``, each log at least −100."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of probabilities."""
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(PlainLoss):
    """``softplus(z) − y z``: binary cross-entropy of logits, stable for every z."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.weight: Any
        self.pos_weight: Any

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of logits."""
        own = self._buffers
        return F.binary_cross_entropy_with_logits(
            input,
            target,
            weight=own["weight"],
            pos_weight=own["pos_weight"],
            reduction=self.reduction,
        )


class KLDivLoss(PlainLoss):
    """``y (log y − x)`` for log-probabilities x; ``log_target``: y is a logarithm too."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Kullback-Leibler divergence."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class HingeEmbeddingLoss(PlainLoss):
    """``x`` where y = 1, ``max(0, margin − x)`` where y = −1."""

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Hinge on a distance."""
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class PoissonNLLLoss(PlainLoss):
    """``eˣ − y x`` (``log_input``), or ``x − y log(x + ε)``: a count y with the mean eˣ or x."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood of counts."""
        return F.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(PlainLoss):
    """``½ (log v + (x − y)² / v)`` with a variance v of at least ε."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """Negative log-likelihood of normal draws."""
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class CTCLoss(PlainLoss):
    """−log of the probability of label sequences, over all alignments (Graves et al., 2006)."""

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        """Log-probabilities ``(T, N, C)``, labels ``(N, S)`` or one after the other."""
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
            self.zero_infinity,
        )  # fmt: skip
