"""What ``t.grad_fn`` shows: PyTorch's node names over the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.recording.record import SLOT, Leaf

ENTRIES = {"i": "SelectBackward0", "n": "UnsqueezeBackward0", "s": "SliceBackward0"}


def _arguments(node: Any, *names: str) -> list[Any]:
    """What follows the first argument, by place or name; None where it is left out."""
    *positional, keywords = node.statics
    given = {**dict(zip(names, positional[1:], strict=False)), **dict(keywords)}
    return [given.get(name) for name in names]


def _indexed(node: Any) -> str:
    """PyTorch goes through the entries one after the other, and skips whole axes."""
    counted = [kind for kind, *rest in node.statics[1] if (kind, *rest) != ("s", None, None, 1)]
    return ENTRIES[counted[-1] if counted else "s"]


def _squeezed(node: Any) -> str:
    (dim,) = _arguments(node, "dim")
    return f"SqueezeBackward{0 if dim is None else 1 if isinstance(dim, int) else 2}"


def _reduced(word: str) -> Callable[[Any], str]:
    return lambda node: f"{word}Backward{int(_arguments(node, 'dim')[0] is not None)}"


def _of_number(first: str, second: str, plain: str) -> Callable[[Any], str]:
    """Another node where the first, or the second, operand is a number."""

    def title(node: Any) -> str:
        one, two = [v is SLOT for v in node.statics[:2]]
        return plain if one and two else second if one else first

    return title


def _clamped(node: Any) -> str:
    return f"ClampBackward{int(len(node.operands) == 1)}"


def _multiplied(node: Any) -> str:
    """By the ranks of the factors."""
    ranks = tuple(len(o.shape) for o in node.operands)
    return f"{PRODUCTS.get(ranks, 'UnsafeView')}Backward0"


def _layer(node: Any) -> str:
    flat, biased = len(node.operands[0].shape) == 2, len(node.operands) == 3
    return (
        f"{('Addmm' if biased else 'Mm') if flat else 'View' if biased else 'UnsafeView'}Backward0"
    )


def _averaged(place: int, none: str) -> Callable[[Any], str]:
    """Losses that PyTorch composes: the reduction is their last node."""

    def title(node: Any) -> str:
        *positional, keywords = node.statics
        given = dict(keywords).get("reduction", "mean")
        given = positional[place] if len(positional) > place else given
        return LAST.get(given, none)

    return title


PRODUCTS: dict[tuple[int, ...], str] = {(2, 2): "Mm", (2, 1): "Mv", (1, 1): "Dot", (3, 3): "Bmm"}
LAST = {"mean": "MeanBackward0", "sum": "SumBackward0", "batchmean": "DivBackward0"}
BY_ARGUMENTS: dict[str, Callable[[Any], str]] = {
    "basic_index": _indexed, "squeeze": _squeezed, "clamp": _clamped, "matmul": _multiplied,
    "linear": _layer, **{w: _reduced(w.capitalize()) for w in ("sum", "mean", "prod")},
    "sub": _of_number("RsubBackward1", "SubBackward0", "SubBackward0"),
    "rsub": _of_number("SubBackward0", "RsubBackward1", "RsubBackward0"),
    "div": _of_number("MulBackward0", "DivBackward0", "DivBackward0"),
    "pow": _of_number("PowBackward2", "PowBackward0", "PowBackward1"),
    "l1_loss": _averaged(2, "AbsBackward0"), "kl_div": _averaged(4, "SubBackward0"),
    "hinge_embedding_loss": _averaged(5, "AddBackward0"),
    "triplet_margin_loss": _averaged(8, "ClampMinBackward0"),
}  # fmt: skip
"""Functions whose node is another for other arguments."""


class _GradFn:
    """What ``t.grad_fn`` shows: PyTorch's node name, and where it leads."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def name(self) -> str:
        """The node's name, as PyTorch spells it."""
        return "torch::autograd::" * (type(self._node) is Leaf) + type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """(node, output number) of every tracked operand."""
        return tuple((grad_fn_of(o) if o.tracked else None, 0) for o in self._node.operands)

    @property
    def variable(self) -> Any:
        """The leaf that an AccumulateGrad adds to."""
        owner = getattr(self._node, "owner", None)
        if owner is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'variable'")
        return owner()

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
    return BY_ARGUMENTS[function.name](node)


def grad_fn_of(node: Any) -> _GradFn:
    """The grad_fn of a node; AccumulateGrad for leaves."""
    word = "AccumulateGrad" if type(node) is Leaf else title_of(node)
    kind = _GRAD_FNS.setdefault(word, type(word, (_GradFn,), {}))
    return kind(node)
