"""``gradcheck`` and ``gradgradcheck``: gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.recording.gradients import grad
from symgrad.tensors.tensor import Tensor

Function = Callable[..., Any]


class GradcheckError(RuntimeError):
    """A gradient that differs from central differences."""


def gradcheck(
    func: Function,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **options: Any,
) -> bool:
    """Do the gradients of ``func`` agree with central differences?

    One sum of all outputs with fixed weights is looked at; PyTorch's other options change nothing.
    """
    del options
    listed = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    wanted = [t for t in listed if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise ValueError("gradcheck expects at least one input tensor to require gradient")
    outs = [o for o in _listed(func(*listed)) if o.requires_grad]
    found = grad(outs, wanted, [_weights(o) for o in outs], allow_unused=True)
    for leaf, part in zip(wanted, found, strict=True):
        start = leaf.detach().numpy(force=True).astype(np.float64)
        numeric = np.zeros_like(start)
        for at in np.ndindex(start.shape):
            ends = []
            for move in (eps, -eps):
                moved = start.copy()
                moved[at] += move
                made = Tensor.from_value(moved.astype(leaf.dtype.numpy), leaf.dtype)
                args = [made.requires_grad_() if t is leaf else t for t in listed]
                ends.append(_total(_listed(func(*args))))
            numeric[at] = (ends[0] - ends[1]) / (2 * eps)
        known = np.zeros_like(start) if part is None else part.numpy(force=True)
        if not np.allclose(known, numeric, rtol, atol):
            if raise_exception:
                raise GradcheckError(
                    f"Jacobian mismatch for an input of shape {list(leaf.shape)}:\nnumerical: "
                    f"{numeric}\nanalytical: {known}"
                )
            return False
    return True


def gradgradcheck(func: Function, inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """Do the gradients of the gradients agree with central differences?"""
    listed = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    places = [k for k, t in enumerate(listed) if isinstance(t, Tensor) and t.requires_grad]

    def slopes(*args: Any) -> tuple[Any, ...]:
        outs = [o for o in _listed(func(*args)) if o.requires_grad]
        seeds = [_weights(o) for o in outs] if grad_outputs is None else _listed(grad_outputs)
        found = grad(outs, [args[k] for k in places], seeds, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(slopes, listed, **options)


def _listed(made: Any) -> Sequence[Any]:
    return made if isinstance(made, (tuple, list)) else [made]


def _weights(out: Tensor) -> Tensor:
    weights = np.linspace(0.5, 1.5, out.numel()).reshape(tuple(out.shape))
    return Tensor.from_value(weights.astype(out.dtype.numpy), out.dtype)


def _total(outs: Sequence[Any]) -> float:
    return sum(
        float((o.numpy(force=True) * _weights(o).numpy()).sum())
        for o in outs
        if o.dtype.differentiable
    )


__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]
