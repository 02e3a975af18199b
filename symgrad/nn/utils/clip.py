"""Clipping of gradients in place, by their joint norm or value by value."""

from __future__ import annotations

import math
from collections.abc import Iterable

from symgrad.autograd import no_grad
from symgrad.tensors import creation
from symgrad.tensors.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """``(Σ |gᵢ|ᵖ)^(1/p)`` over all entries of all tensors; the largest for p = ∞."""
    del foreach
    given = _listed(tensors)
    p = float(norm_type)
    if not given:
        return creation.tensor(0.0)
    with no_grad():
        if p == math.inf:
            total = given[0].abs().max()
            for g in given[1:]:
                total = total.maximum(g.abs().max())
        elif p == 2.0:
            total = _added([(g * g).sum() for g in given]).sqrt()
        else:
            total = _added([(g.abs() ** p).sum() for g in given]) ** (1.0 / p)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite "
            "norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def _added(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients by ``min(1, max_norm / (total_norm + 1e-6))`` in place."""
    del foreach
    with no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for p in _listed(parameters):
            if p.grad is not None:
                p.grad.mul_(factor.to(p.grad.dtype))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients in place so that their joint norm is at most ``max_norm``.

    Returns the norm before clipping, shape ``()``.

    >>> import symgrad as sg
    >>> p = sg.nn.Parameter(sg.zeros(2))
    >>> p.grad = sg.tensor([3.0, 4.0])
    >>> clip_grad_norm_([p], 1.0)
    tensor(5.)
    >>> p.grad
    tensor([0.6000, 0.8000])
    """
    params = _listed(parameters)
    grads = [p.grad for p in params if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(params, max_norm, total, foreach)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Restrict every gradient entry to ``[−clip_value, clip_value]`` in place."""
    del foreach
    bound = float(clip_value)
    with no_grad():
        for p in _listed(parameters):
            if p.grad is not None:
                p.grad.clamp_(-bound, bound)
