"""``gradcheck``: gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.recording.gradients import grad
from symgrad.tensors.tensor import Tensor

Function = Callable[..., Any]


def gradcheck(
    func: Function,
    inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Do the gradients of ``func`` agree with central differences?"""
    listed = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    if not any(t.requires_grad for t in listed):
        raise ValueError("gradcheck expects at least one input tensor to require gradient")
    out = func(*listed)
    weights = np.linspace(0.5, 1.5, out.numel()).reshape(tuple(out.shape))
    seed = Tensor.from_value(weights.astype(out.dtype.numpy), out.dtype)
    wanted = [t for t in listed if t.requires_grad]
    found = grad(out, wanted, seed, allow_unused=True)
    for leaf, part in zip(wanted, found, strict=True):
        start = leaf.detach().numpy(force=True).astype(np.float64)
        numeric = np.zeros_like(start)
        for at in np.ndindex(start.shape):
            ends = []
            for move in (eps, -eps):
                moved = start.copy()
                moved[at] += move
                made = Tensor.from_value(moved.astype(leaf.dtype.numpy), leaf.dtype)
                args = [made if t is leaf else t for t in listed]
                ends.append(float((func(*args).numpy(force=True) * weights).sum()))
            numeric[at] = (ends[0] - ends[1]) / (2 * eps)
        known = np.zeros_like(start) if part is None else part.numpy(force=True)
        if not np.allclose(known, numeric, rtol, atol):
            if raise_exception:
                raise RuntimeError(
                    f"Jacobian mismatch for an input of shape {list(leaf.shape)}:\nnumerical: "
                    f"{numeric}\nanalytical: {known}"
                )
            return False
    return True
