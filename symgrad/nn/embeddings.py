"""The part of ``torch.nn.functional`` that reads rows of tables by whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.autograd import no_grad
from symgrad.core import dtypes
from symgrad.functional import FUNCTIONS
from symgrad.tensors import creation
from symgrad.tensors.surface import function_of
from symgrad.tensors.tensor import Tensor, call

_embedding = function_of(FUNCTIONS["embedding"])
_one_hot = function_of(FUNCTIONS["one_hot"])
_BAG = FUNCTIONS["embedding_bag_of"]


def _numbers(t: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(arrays.to_numpy(t.array()))


def _shortened(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Rows that are read and longer than ``max_norm`` become that long, in place."""
    with no_grad():
        read = np.zeros((int(weight.shape[0]), 1), np.bool_)
        read[np.unique(_numbers(indices))] = True
        length = weight.norm(norm_type, 1, keepdim=True)
        long = (length > max_norm).logical_and(Tensor.from_value(read, dtypes.bool_))
        weight.copy_(weight * creation.FUNCTIONS["where"](long, max_norm / (length + 1e-7), 1.0))


def _by_frequency(weight: Tensor, indices: Tensor) -> Tensor:
    """The table, whose gradient is divided by how often each row is read."""
    times = np.bincount(_numbers(indices).reshape(-1), minlength=int(weight.shape[0]))
    share = creation.tensor(1 / np.maximum(times, 1)[:, None]).to(weight.dtype)
    part = weight * share
    return weight.detach() + (part - part.detach())


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Row ``i`` of W for every index ``i``; the row ``padding_idx`` receives no gradient."""
    _dense(sparse, "embedding")
    if max_norm is not None:
        _shortened(weight, input, max_norm, norm_type)
    if scale_grad_by_freq:
        weight = _by_frequency(weight, input)
    if padding_idx is not None and weight.requires_grad:
        rows = int(weight.shape[0])
        held = creation.arange(rows).reshape(rows, 1) == padding_idx % rows
        weight = creation.FUNCTIONS["where"](held, weight.detach(), weight)
    return _embedding(input, weight)


def _dense(sparse: bool, name: str) -> None:
    if sparse:
        raise NotImplementedError(f"{name}: sparse gradients are not there; leave sparse=False")


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or max of the rows of W in each bag; 0 where a bag is empty.

    ``input`` ``(bags, length)``, or ``(n,)`` with bag b beginning at ``offsets[b]``.
    """
    _dense(sparse, "embedding_bag")
    if per_sample_weights is not None and tuple(input.shape) != tuple(per_sample_weights.shape):
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({tuple(per_sample_weights.shape)}) is not "
            f"None, then it must have the same shape as the input ({tuple(input.shape)})"
        )
    if weight.dim() != 2:
        raise ValueError(
            f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}"
        )
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                f"of fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        bags, length = (int(s) for s in input.shape)
        offsets = creation.arange(bags) * length
        input = input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    elif input.dim() != 1:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}"
        )
    elif offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    elif offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    elif include_last_offset:
        offsets = offsets[:-1]
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if scale_grad_by_freq and mode == "max":
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if max_norm is not None:
        _shortened(weight, input, max_norm, norm_type)
    if scale_grad_by_freq:
        weight = _by_frequency(weight, input)
    return call(_BAG, (input, weight, offsets, mode, per_sample_weights, padding_idx), {})


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of the identity: shape ``(…, num_classes)``, whole numbers."""
    if num_classes == -1:
        num_classes = int(tensor.max()) + 1 if tensor.numel() else 0
    return _one_hot(tensor, num_classes)


__all__ = ["embedding", "embedding_bag", "one_hot"]
