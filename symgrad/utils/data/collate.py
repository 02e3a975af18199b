"""From a list of samples to one batch: tensors are stacked, numbers become tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.tensors import creation
from symgrad.tensors.tensor import Tensor


def default_convert(data: Any) -> Any:
    """NumPy arrays as tensors, inside containers too; everything else as it is."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else creation.as_tensor(data)
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, (list, tuple)):
        return [default_convert(value) for value in data]
    return data


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of samples: a new first axis, inside tuples, lists and dicts.

    **Raises:** RuntimeError where samples of one batch have different lengths or shapes, TypeError
    for kinds of sample that cannot be put together.

    >>> default_collate([(1, 0.5), (2, 1.5)])
    [tensor([1, 2]), tensor([0.5000, 1.5000], dtype=torch.float64)]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _stacked(list(batch))
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise TypeError(_refused(first.dtype))
        return _fresh(np.stack(list(batch)))
    if isinstance(first, (bool, int)):
        return creation.tensor(list(batch))
    if isinstance(first, np.generic):
        return _fresh(np.array(list(batch)))
    if isinstance(first, float):
        return creation.tensor(list(batch), dtype=dtypes.float64)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*columns)
        return columns
    raise TypeError(_refused(type(first)))


def _fresh(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over an array that nobody else holds."""
    dtype = dtypes.dtype_of_numpy(array.dtype)
    if dtype is None:
        raise TypeError(_refused(array.dtype))
    return Tensor.from_value(array, dtype)


def _stacked(batch: Sequence[Tensor]) -> Tensor:
    """The samples along a new first axis, by NumPy where nothing is differentiated."""
    shapes = {tuple(t.shape) for t in batch}
    if len(shapes) > 1:
        raise RuntimeError(
            f"stack expects each tensor to be equal size, but the samples of this batch have "
            f"shapes {sorted(shapes)}. Pad them, or give a collate_fn."
        )
    if any(t.requires_grad or str(t.device) != "cpu" for t in batch):
        return creation.FUNCTIONS["stack"](list(batch))
    values = np.stack([arrays.to_numpy(t.array()) for t in batch])
    return Tensor.from_value(values, batch[0].dtype)


def _refused(kind: Any) -> str:
    return (
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {kind}"
    )
