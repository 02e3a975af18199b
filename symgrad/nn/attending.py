"""Attention by heads as a function: what ``nn.MultiheadAttention`` computes, on given weights."""

from __future__ import annotations

import math
from typing import Any

from symgrad.errors import AssertedError, ShapeError
from symgrad.nn.dropping import dropout
from symgrad.nn.spatial import pad, row
from symgrad.tensors import creation
from symgrad.tensors.tensor import Tensor

_linear, _softmax = row("linear"), row("softmax")
_cat = creation.FUNCTIONS["cat"]


def attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    p: float,
    training: bool,
) -> tuple[Tensor, Tensor]:
    """Values ``(n, t, e)`` and weights ``(n, h, t, s)`` of q, k and v ``(n, h, t or s, d)``.

    ``attn_mask``: ``(t, s)`` or ``(n h, t, s)``; ``key_padding_mask``: ``(n, s)``.  Boolean masks
    are True where a position may not be seen; others are added.
    """
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]))
    if attn_mask is not None:
        mask: Tensor = attn_mask
        if mask.ndim == 3:
            mask = mask.reshape(-1, q.shape[1], *mask.shape[1:])
        scores = _masked(scores, mask)
    if key_padding_mask is not None:
        count, length = key_padding_mask.shape
        scores = _masked(scores, key_padding_mask.reshape(count, 1, 1, length))
    weights = dropout(_softmax(scores, -1), p, training)
    joined = (weights @ v).transpose(1, 2)
    return joined.flatten(2), weights


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype.kind == "b":
        return scores.masked_fill(mask, -math.inf)
    return scores + mask


def check_hint(is_causal: bool, attn_mask: Tensor | None) -> None:
    """RuntimeError for the hint that a mask is causal where there is no mask."""
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint: give the mask, for example of "
            "Transformer.generate_square_subsequent_mask"
        )


def check_width(query: Tensor, embed_dim: int) -> None:
    """AssertedError for queries of another width."""
    if query.shape[-1] != embed_dim:
        raise AssertedError(
            f"was expecting embedding dimension of {embed_dim}, but got {query.shape[-1]}"
        )


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The attended values ``(t, n, e)``, and the weights ``(n, t, s)`` if asked for.

    Q ``(t, n, e)``, K and V ``(s, n, e)``, or all without the axis n.  ``bias_k`` and ``bias_v``
    ``(1, 1, e)`` are one more position, ``add_zero_attn`` adds one of zeros; ``static_k`` and
    ``static_v`` ``(n h, s, d)`` stand for what the projections would give.

    **Raises:** AssertedError and ShapeError for widths and masks that do not fit.
    """
    check_hint(is_causal, attn_mask)
    check_width(query, embed_dim_to_check)
    if embed_dim_to_check % num_heads:
        raise AssertedError(
            f"embed_dim {embed_dim_to_check} not divisible by num_heads {num_heads}"
        )
    if (bias_k is None) != (bias_v is None):
        raise AssertedError("bias_k and bias_v come together")
    batched = query.ndim == 3
    if not batched:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    separate = [q_proj_weight, k_proj_weight, v_proj_weight]
    weights = separate if use_separate_proj_weight else _thirds(in_proj_weight)
    if any(w is None for w in weights):
        raise AssertedError("the weights of the projections are missing")
    biases = [None] * 3 if in_proj_bias is None else _thirds(in_proj_bias)
    given = zip((query, key, value), weights, biases, strict=True)
    q, k, v = (_linear(x.transpose(0, 1), w, b) for x, w, b in given)
    count, length = int(q.shape[0]), int(q.shape[1])
    if attn_mask is not None:
        _fits(attn_mask, count * num_heads, length, int(k.shape[1]))
    if bias_k is not None and bias_v is not None:
        k, v = (_cat([x, b.expand(count, 1, -1)], 1) for x, b in ((k, bias_k), (v, bias_v)))
    q, k, v = (x.reshape(count, x.shape[1], num_heads, -1).transpose(1, 2) for x in (q, k, v))
    k, v = (
        x if s is None else s.reshape(count, num_heads, *s.shape[1:])
        for x, s in ((k, static_k), (v, static_v))
    )
    if add_zero_attn:
        k, v = (_cat([x, creation.zeros_like(x[:, :, :1])], 2) for x in (k, v))
    more = (bias_k is not None) + add_zero_attn
    if more:
        attn_mask, key_padding_mask = _wider(attn_mask, more), _wider(key_padding_mask, more)
    joined, shares = attended(q, k, v, attn_mask, key_padding_mask, dropout_p, training)
    out = _linear(joined, out_proj_weight, out_proj_bias).transpose(0, 1)
    shares = shares.mean(1) if average_attn_weights else shares
    if not batched:
        out, shares = out.squeeze(1), shares.squeeze(0)
    return out, shares if need_weights else None


def _thirds(t: Any) -> Any:
    return [None] * 3 if t is None else t.chunk(3)


def _fits(mask: Tensor, heads: int, rows: int, columns: int) -> None:
    wanted = (rows, columns) if mask.ndim == 2 else (heads, rows, columns)
    if tuple(mask.shape) != wanted:
        raise ShapeError(
            f"The shape of the {mask.ndim}D attn_mask is {tuple(mask.shape)}, but should be {wanted}."
        )


def _wider(mask: Tensor | None, more: int) -> Tensor | None:
    """The mask with positions that are seen behind."""
    if mask is None or mask.dtype.kind != "b":
        return None if mask is None else pad(mask, (0, more))
    seen = creation.zeros(*mask.shape[:-1], more, dtype=mask.dtype)
    return _cat([mask, seen], -1)


__all__ = ["multi_head_attention_forward"]
