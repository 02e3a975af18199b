"""Derivatives of functions: ``autograd.functional`` and ``gradcheck``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.calls import call
from symgrad.functional.table import FUNCTIONS
from symgrad.gradients import grad
from symgrad.tensor import Tensor

Function = Callable[..., Any]


def _inputs(inputs: Any) -> tuple[bool, list[Tensor]]:
    """Fresh leaves of the inputs."""
    several = isinstance(inputs, (tuple, list))
    listed = list(inputs) if several else [inputs]
    return several, [t.detach().clone().requires_grad_() for t in listed]


def _zero(part: Any, like: Tensor) -> Tensor:
    return like.detach() * 0 if part is None else part


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False) -> Any:
    """(output, vᵀ J)."""
    several, leaves = _inputs(inputs)
    out = func(*leaves)
    found = grad(out, leaves, v, create_graph=create_graph, allow_unused=True)
    parts = tuple(_zero(g, t) for g, t in zip(found, leaves, strict=True))
    return out.detach() if not create_graph else out, parts if several else parts[0]


def jacobian(func: Function, inputs: Any, create_graph: bool = False) -> Any:
    """∂output/∂input, with the output's axes in front."""
    several, leaves = _inputs(inputs)
    if create_graph:
        leaves = list(inputs) if several else [inputs]
    out = func(*leaves)
    flat = out.reshape(-1)
    rows: list[tuple[Tensor, ...]] = []
    for k in range(flat.numel()):
        found = grad(flat[k], leaves, retain_graph=True, create_graph=create_graph,
                     allow_unused=True)  # fmt: skip
        rows.append(tuple(_zero(g, t) for g, t in zip(found, leaves, strict=True)))
    whole = tuple(
        _stacked([r[j] for r in rows]).reshape((*out.shape, *leaf.shape))
        for j, leaf in enumerate(leaves)
    )
    return whole if several else whole[0]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    return call(FUNCTIONS["stack"], (list(rows),), {})


def hessian(func: Function, inputs: Tensor, create_graph: bool = False) -> Any:
    """The matrix of second derivatives of a scalar."""
    leaf = inputs if create_graph else inputs.detach().clone().requires_grad_()

    def slope(t: Tensor) -> Tensor:
        return grad(func(t), [t], create_graph=True)[0]

    return jacobian(slope, leaf, create_graph=create_graph)


def hvp(func: Function, inputs: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(output, Hessian times v)."""
    leaf = inputs.detach().clone().requires_grad_()
    out = func(leaf)
    (slope,) = grad(out, [leaf], create_graph=True)
    return out.detach(), grad((slope * v).sum(), [leaf])[0]


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
