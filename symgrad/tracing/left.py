"""What a compiled function does to ``.grad`` of the tensors it meets."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from symgrad.recording.record import leaf_like
from symgrad.tensors.inside import Inside
from symgrad.tensors.storage import Storage
from symgrad.tensors.tensor import Tensor


class Gradients:
    """What a variant does to ``.grad`` of the tensors it meets.

    ``nodes``: pending gradients that are left behind, results of the program.
    """

    def __init__(self, capture: Any, function: Callable[..., Any]) -> None:
        self.nodes: list[Any] = []
        self.places: Sequence[int] = ()
        self._before: list[tuple[Tensor, Callable[[], Any]]] = []
        self._constant: list[tuple[Tensor, Any]] = []
        self._kept: list[Tensor] = []
        self._made: list[Tensor | None] = []
        inside = Inside(f"function {getattr(function, '__name__', '')}".rstrip())
        for t, before, cleared in capture.gradients.values():
            after, t._grad = t._grad, before
            if not cleared:
                self._before.append((t, _nothing if before is None else weakref.ref(before)))
            if after is None or (cleared and after is not before):
                self._constant.append((t, None if after is None else inside))
            elif after is not before:
                t._grad = after
                self.nodes.append(gradient_of(t).node())
                t._grad = before
                self._kept.append(t)
                self._made.append(None)

    def fit(self) -> bool:
        """Are the gradients that the program reads those of the capture?"""
        for t, before in self._before:  # noqa: SIM110 - half the time of all()
            if t._grad is not before():
                return False
        return True

    def leave(self, found: Sequence[Any]) -> None:
        """Set ``.grad`` as the function does."""
        for t, what in self._constant:
            t._grad = what
        if not self._kept:
            return
        for k, (t, node, place) in enumerate(zip(self._kept, self.nodes, self.places, strict=True)):
            leaf, made = leaf_like(node, found[place]), self._made[k]
            if made is None or _seen(made):
                made = self._made[k] = Tensor(Storage(leaf))
            else:
                made._storage.rebind(leaf)
            t._grad = made


def _nothing() -> None:
    """What a tensor without a gradient holds."""


def _seen(made: Tensor) -> bool:
    """Does somebody else hold a gradient of an earlier call, a view of it, or its memory?"""
    held = sys.getrefcount(made) > 4  # by the list, the caller, this function, the count
    return held or made._storage.shared is not None


def gradient_of(t: Tensor) -> Any:
    """What ``.grad`` holds, a pending one as a tensor."""
    if type(t._grad) is tuple:
        whole, index = t._grad
        t._grad = Tensor.from_node(whole.part(index))
    if type(t._grad) is Inside:
        raise t._grad.error(t)
    return t._grad
