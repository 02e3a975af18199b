"""Layers that read rows of a table: Embedding and EmbeddingBag."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from symgrad.autograd import no_grad
from symgrad.core import dtypes
from symgrad.errors import AssertedError
from symgrad.nn import functional as F
from symgrad.nn import init
from symgrad.nn.module import Module
from symgrad.tensors import creation
from symgrad.tensors.tensor import Parameter, Tensor


class _Table(Module):
    """A table ``(count, width)``, which begins as N(0, 1), the row ``padding_idx`` as 0."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Tensor | None,
        freeze: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        if sparse:
            raise NotImplementedError(
                f"{type(self).__name__}: sparse gradients are not there; leave sparse=False"
            )
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise AssertedError("Padding_idx must be within num_embeddings")
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        shape = (num_embeddings, embedding_dim)
        if weight is None:
            empty = creation.empty(shape, device=device, dtype=dtype)
            self.weight = Parameter(empty, requires_grad=not freeze)
            self.reset_parameters()
        else:
            if tuple(weight.shape) != shape:
                raise ValueError("Shape of weight does not match num_embeddings and embedding_dim")
            self.weight = Parameter(weight, requires_grad=not freeze)

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            rows = np.arange(self.num_embeddings)[:, None] != self.padding_idx
            kept = Tensor.from_value(rows, dtypes.bool_).to(self.weight.device)
            with no_grad():
                self.weight.copy_(self.weight * kept.to(self.weight.dtype))

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Self:
        """A layer over a given table ``(count, width)``, frozen unless asked otherwise."""
        if embeddings.ndim != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        rows, columns = (int(s) for s in embeddings.shape)
        made = cls(rows, columns, _weight=embeddings, **options)  # type: ignore[call-arg]
        made.weight.requires_grad = not freeze
        return made

    def extra_repr(self) -> str:
        """Sizes and what is not as usual."""
        said = {
            "padding_idx": self.padding_idx,
            "max_norm": self.max_norm,
            "norm_type": self.norm_type if self.norm_type != 2 else None,
            "scale_grad_by_freq": self.scale_grad_by_freq or None,
            "mode": getattr(self, "mode", None),
        }
        order = self._said
        listed = [f"{k}={said[k]!r}" for k in order if said[k] is not None]
        return ", ".join([f"{self.num_embeddings}, {self.embedding_dim}", *listed])

    _said = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq")


class Embedding(_Table):
    """``y = W[i]``: whole-number indices ``(…)`` to rows of W ``(count, width)``.

    W begins as N(0, 1); the row of ``padding_idx`` begins as 0 and receives no gradient.

    >>> Embedding(10, 3, padding_idx=0)
    Embedding(10, 3, padding_idx=0)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, _freeze, device, dtype)  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """Row ``i`` for every index ``i``."""
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq,
        )  # fmt: skip


class EmbeddingBag(_Table):
    """The sum, mean or largest entries of rows of W, bag by bag.

    >>> EmbeddingBag(10, 3)
    EmbeddingBag(10, 3, mode='mean')
    """

    _said = ("max_norm", "norm_type", "scale_grad_by_freq", "mode", "padding_idx")

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, False, device, dtype)  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        """Bags ``(B, N)``, or ``(n,)`` with where each begins: rows ``(B, width)``."""
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, False, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip
