"""``cond``: a branch whose condition may have no value yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.functional.table import FUNCTIONS
from symgrad.recording.record import Leaf
from symgrad.recording.walk import walk
from symgrad.tensors.surface import function_of
from symgrad.tensors.tensor import Tensor

_where = function_of(FUNCTIONS["where"])


def cond(
    pred: Any,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: Sequence[Any] = (),
) -> Any:
    """``true_fn(*operands)`` where ``pred`` holds, else ``false_fn(*operands)``.

    A condition with a value picks one branch.  A condition of symbols runs both, and each result
    is ``where(pred, a, b)``: the branches return tensors, or tuples or lists of them, of the same
    shapes.

    >>> import symgrad as sg
    >>> cond(sg.tensor(True), lambda t: t + 1, lambda t: t - 1, (sg.tensor(2.0),))
    tensor(3.)
    """
    if not isinstance(pred, Tensor) or not _symbolic(pred):
        return true_fn(*operands) if pred else false_fn(*operands)
    return _chosen(pred, true_fn(*operands), false_fn(*operands))


def _symbolic(t: Tensor) -> bool:
    ends = walk([t.node()], lambda n: getattr(n, "value", None) is not None)
    return any(type(n) is Leaf and n.value is None and n.source is None for n in ends)


def _chosen(pred: Tensor, first: Any, second: Any) -> Any:
    if not isinstance(first, (tuple, list)):
        return _where(pred, first, second)
    if type(first) is not type(second) or len(first) != len(second):
        raise TypeError(
            f"cond: the branches return {type(first).__name__} of {len(first)} and "
            f"{type(second).__name__}; they return the same number of tensors"
        )
    return type(first)([_where(pred, a, b) for a, b in zip(first, second, strict=True)])


__all__ = ["cond"]
