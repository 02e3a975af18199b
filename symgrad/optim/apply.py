"""One step of a row on the tensors of an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from symgrad.core.dtypes import DType, dtype_named
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import Shape
from symgrad.evaluate import evaluate
from symgrad.optim.row import Row
from symgrad.tensor import Tensor, from_numpy


@dataclass(slots=True)
class Update:
    """A parameter, its gradient, its state by slot, the scalars of the step, the options."""

    param: Tensor
    grad: Tensor
    state: dict[str, Any]
    scalars: dict[str, float]
    hyper: dict[str, Any]


@lru_cache(maxsize=256)
def equation(
    row: Row, switches: tuple[tuple[str, bool], ...], shape: Shape, dtype: DType
) -> tuple[tuple[Expr, ...], tuple[Expr, ...], tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs of one update: (p, g, *state, *scalars) → (new p, *new state)."""
    hyper = {**row.defaults, **dict(switches)}
    p, g = symbol("p", shape, dtype), symbol("g", shape, dtype)
    state = {k: symbol(k, s, dtype) for k, (s, _) in row.init(shape, hyper).items()}
    names = tuple(row.scalars(row.defaults, 1))
    scalars = {k: symbol(k, (), dtype, number=1) for k in names}
    new, new_state = row.equation(p, g, state, scalars, hyper)
    inputs = (p, g, *state.values(), *scalars.values())
    return inputs, (new, *(new_state[k] for k in state)), tuple(state), names


def apply_updates(row: Row, updates: Sequence[Update]) -> None:
    """Write the new parameters and the new state in place."""
    for u in updates:
        shape = tuple(int(s) for s in u.param.shape)
        dtype = dtype_named(str(u.param.dtype).removeprefix("torch."))
        inputs, outputs, slots, names = equation(row, row.switches_of(u.hyper), shape, dtype)
        values = [u.param.detach(), u.grad.detach(), *(u.state[k] for k in slots)]
        given = [v.cpu().numpy() for v in values] + [np.asarray(u.scalars[k]) for k in names]
        new = evaluate(outputs, dict(zip(inputs, given, strict=True)))
        for target, value in zip([u.param, *(u.state[k] for k in slots)], new, strict=True):
            target.copy_(from_numpy(np.array(value)))
