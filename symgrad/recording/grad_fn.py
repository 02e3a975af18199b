"""What ``t.grad_fn`` shows: PyTorch's node names over the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.recording.record import Leaf

WORDS = {"i": "SelectBackward0", "n": "UnsqueezeBackward0", "s": "SliceBackward0"}


def _indexed(entries: Any) -> str:
    """PyTorch goes through the entries one after the other, and skips whole axes."""
    counted = [kind for kind, *rest in entries if (kind, *rest) != ("s", None, None, 1)]
    return WORDS[counted[-1] if counted else "s"]


def _squeezed(dim: Any = None) -> str:
    return f"SqueezeBackward{0 if dim is None else 1 if isinstance(dim, int) else 2}"


BY_ARGUMENTS: dict[str, Callable[..., str]] = {"basic_index": _indexed, "squeeze": _squeezed}
"""Functions whose node is another for other arguments."""


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


def title_of(node: Any) -> str:
    """PyTorch's name of a node."""
    function = getattr(node, "function", None)
    if function is None:
        return "GradBackward0"
    if function.name not in BY_ARGUMENTS:
        return function.grad_fn
    *positional, keywords = node.statics
    return BY_ARGUMENTS[function.name](*positional[1:], **dict(keywords))


def grad_fn_of(node: Any) -> _GradFn:
    """The grad_fn of a node; AccumulateGrad for leaves."""
    word = "AccumulateGrad" if type(node) is Leaf else title_of(node)
    kind = _GRAD_FNS.setdefault(word, type(word, (_GradFn,), {}))
    return kind(node)
