"""What ``t.grad_fn`` shows: PyTorch's node names over the records."""

from __future__ import annotations

from typing import Any

from symgrad.recording.record import Leaf


class _GradFn:
    """What ``t.grad_fn`` shows: PyTorch's node name, and where it leads."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def name(self) -> str:
        """The node's name."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """(node, output number) of every tracked operand."""
        return tuple((grad_fn_of(o) if o.tracked else None, 0) for o in self._node.operands)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self._node):#x}>"


_GRAD_FNS: dict[str, type[_GradFn]] = {}


def grad_fn_of(node: Any) -> _GradFn:
    """The grad_fn of a node; AccumulateGrad for leaves."""
    function = getattr(node, "function", None)
    word = (
        "AccumulateGrad"
        if type(node) is Leaf
        else (function.grad_fn if function is not None else "GradBackward0")
    )
    kind = _GRAD_FNS.setdefault(word, type(word, (_GradFn,), {}))
    return kind(node)
