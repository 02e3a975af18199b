"""All parameters as one flat vector, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable

from symgrad.autograd import no_grad
from symgrad.tensors import creation
from symgrad.tensors.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The entries of all parameters, one after another: shape ``(total,)``."""
    return creation.FUNCTIONS["cat"]([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write consecutive pieces of ``vec`` into the parameters."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    with no_grad():
        for p in parameters:
            shape = [int(s) for s in p.shape]
            stop = start + math.prod(shape)
            p.copy_(vec[start:stop].reshape(shape))
            start = stop
