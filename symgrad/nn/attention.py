"""Attention (Vaswani et al., 2017): several heads side by side, and the encoder built of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from symgrad.errors import AssertedError
from symgrad.nn import functional as F
from symgrad.nn import init
from symgrad.nn.attending import attended, check_hint, check_width
from symgrad.nn.container import ModuleList
from symgrad.nn.dropout import Dropout
from symgrad.nn.linear import Linear, NonDynamicallyQuantizableLinear
from symgrad.nn.module import Module
from symgrad.nn.normalization import LayerNorm
from symgrad.tensors import creation
from symgrad.tensors.tensor import Parameter, Tensor


class MultiheadAttention(Module):
    """``softmax(Q Kᵀ / √d) V`` for each head, heads joined by a last product.

    Q ``(t, n, e)``, K and V ``(s, n, e)``, or ``(n, t, e)`` with ``batch_first``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise AssertedError(
                f"embed_dim must be divisible by num_heads: {embed_dim} is not by {num_heads}"
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        place = {"device": device, "dtype": dtype}
        self.in_proj_weight = Parameter(creation.empty((3 * embed_dim, embed_dim), **place))
        init.xavier_uniform_(self.in_proj_weight)
        self.register_parameter(
            "in_proj_bias", Parameter(creation.zeros((3 * embed_dim,), **place)) if bias else None
        )
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **place)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def _heads(self, x: Tensor, part: int) -> Tensor:
        """The ``part``-th projection of ``(n, t, e)``, by head: ``(n, h, t, d)``."""
        width = self.embed_dim
        rows = slice(part * width, (part + 1) * width)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        y = F.linear(x, self.in_proj_weight[rows], bias)
        count, length = y.shape[:2]
        return y.reshape(count, length, self.num_heads, self.head_dim).transpose(1, 2)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attended values, and the weights ``(n, t, s)`` (averaged over heads) if asked for.

        Of single sequences ``(t, d)``, too, all without the axis of the batch.  A boolean mask is True where a position may *not* be seen.  ``is_causal`` says that
        ``attn_mask`` hides what comes later; the mask decides.

        **Raises:** RuntimeError for ``is_causal`` without a mask, AssertedError for another width.
        """
        check_hint(is_causal, attn_mask)
        check_width(query, self.embed_dim)
        single = query.ndim == 2
        if single:
            query, key, value = (t.unsqueeze(0) for t in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = self._heads(query, 0), self._heads(key, 1), self._heads(value, 2)
        joined, weights = attended(
            q, k, v, attn_mask, key_padding_mask, self.dropout, self.training
        )
        out = self.out_proj(joined)
        if single:
            out, weights = out.squeeze(0), weights.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(-3) if average_attn_weights else weights


def activation_of(activation: Any) -> Any:
    """The function of a name, "relu" or "gelu"; functions and modules stay."""
    if not isinstance(activation, str):
        return activation
    if activation not in {"relu", "gelu"}:
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return {"relu": F.relu, "gelu": F.gelu}[activation]


class TransformerEncoderLayer(Module):
    """Attention and a network of two layers, each with a residual and a LayerNorm."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, **place
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation: Any = activation_of(activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """One layer of the encoder: the shape stays."""
        x = src
        if self.norm_first:
            x = x + self._attend(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._feed(self.norm2(x))
        x = self.norm1(x + self._attend(x, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self._feed(x))

    def _attend(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        y, _ = self.self_attn(
            x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False,
            is_causal=is_causal,
        )  # fmt: skip
        return self.dropout1(y)

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """Copies of one layer, one after another."""

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        del enable_nested_tensor, mask_check
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Every layer on the result of the one before."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)
