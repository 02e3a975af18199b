"""What a tensor operation notes down: cheap, un-interned records over leaves.

A record holds the public function, its operands, its static arguments, shape and dtype.  Values
are computed when they are needed (``execute.py``); expressions are built only then, or when
somebody asks for a formula.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from symgrad.core.build import linear, one
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import ONE, Monomial, Shape
from symgrad.errors import DeviceError, SymgradError
from symgrad.functional.table import Function

SLOT = type("Slot", (), {"__repr__": lambda self: "·"})()
"""Stands for an operand in the static arguments of a record."""

PACKAGE = __file__.rsplit("/", 1)[0]


class Modes(threading.local):
    """Switches of this thread."""

    grad = True
    inference = False
    capture: Any = None
    autocast: Any = None
    anomaly = False
    check_nan = True


modes = Modes()


class Leaf:
    """Where recording starts: a value, or a symbol without one.

    ``source`` is the node that a tracked leaf reads; ``owner`` a weak reference to its tensor.
    """

    __slots__ = (
        "__weakref__", "device", "dtype", "name", "owner", "shape", "source", "symbol", "tracked",
        "value",
    )  # fmt: skip
    operands: tuple[Node, ...] = ()
    function = None
    depth = 0

    def __init__(
        self,
        value: Any,
        shape: Shape,
        dtype: DType,
        device: str = "cpu",
        symbol: Expr | None = None,
    ) -> None:
        self.value = value
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.symbol = symbol
        self.tracked = False
        self.source: Node | None = None
        self.owner: Any = None
        self.name = ""


class Record:
    """One noted operation."""

    __slots__ = (
        "__weakref__", "consumed", "depth", "device", "dtype", "function", "handle", "operands",
        "place", "saved", "shape", "spec", "statics", "tracked", "value",
    )  # fmt: skip

    def __init__(
        self,
        function: Any,
        operands: tuple[Node, ...],
        statics: tuple[Any, ...],
        shape: Shape,
        dtype: DType,
        tracked: bool,
        device: str,
    ) -> None:
        self.function = function
        self.operands = operands
        self.statics = statics
        self.shape = shape
        self.dtype = dtype
        self.tracked = tracked
        self.device = device
        self.value: Any = None
        self.handle: Any = None
        self.consumed = False
        self.saved: tuple[Any, ...] = ()
        self.place: tuple[Any, int] | None = None
        self.spec = (function, statics, signature_of(statics))
        depth = 0
        for o in operands:
            depth = max(depth, o.depth)
        self.depth = depth + 1


class Gradient:
    """The gradients of one root with respect to several nodes: an operation with many outputs."""

    __slots__ = ("__weakref__", "depth", "device", "operands", "partial", "parts", "seeded",
                 "targets", "tracked", "value")  # fmt: skip
    function = None

    def __init__(self, root: Node, seed: Node | None, targets: tuple[Node, ...],
                 tracked: bool, partial: bool = False) -> None:  # fmt: skip
        self.partial = partial
        self.parts: list[Any] = []
        self.operands = (root,) if seed is None else (root, seed)
        self.seeded = seed is not None
        self.targets = targets
        self.tracked = tracked
        self.value = None
        self.device = root.device
        self.depth = root.depth + 1


class Update:
    """One step of an optimizer on all its parameters: new parameters, then new states."""

    __slots__ = ("__weakref__", "depth", "device", "operands", "parts", "row", "statics",
                 "tracked", "value")  # fmt: skip
    function = None

    def __init__(self, row: Any, statics: tuple[Any, ...], operands: tuple[Node, ...]) -> None:
        self.row = row
        self.statics = statics
        self.operands = operands
        self.parts: list[Any] = []
        self.tracked = False
        self.value = None
        self.device = operands[0].device
        self.depth = max(o.depth for o in operands) + 1


class Part:
    """One output of a Gradient or an Update."""

    __slots__ = ("__weakref__", "consumed", "depth", "device", "dtype", "function", "handle",
                 "index", "operands", "place", "saved", "shape", "tracked", "value")  # fmt: skip

    def __init__(self, whole: Gradient | Update, index: int, shape: Shape, dtype: DType) -> None:
        self.operands = (whole,)
        whole.parts.append(weakref.ref(self))
        self.index = index
        self.shape = shape
        self.dtype = dtype
        self.device = whole.device
        self.tracked = whole.tracked
        self.value: Any = None
        self.handle: Any = None
        self.function = None
        self.consumed = False
        self.saved: tuple[Any, ...] = ()
        self.place: tuple[Any, int] | None = None
        self.depth = whole.depth


Node = Any

_INFERRED: dict[Any, tuple[Shape, DType]] = {}


def freeze(value: Any) -> Any:
    """A static argument in hashable form."""
    if isinstance(value, list):
        return tuple(freeze(v) for v in value)
    if isinstance(value, tuple):
        return tuple(freeze(v) for v in value)
    return value


def signature_of(statics: tuple[Any, ...]) -> tuple[Any, ...]:
    """Types of the static numbers: 1, 1.0 and True are equal but mean different programs."""
    return tuple(type(v) for v in statics)


def inferred(
    function: Function, statics: tuple[Any, ...], operands: Sequence[Node]
) -> tuple[Shape, DType]:
    """Shape and dtype of a call, remembered by signature."""
    key = (function, statics, signature_of(statics), tuple((o.shape, o.dtype) for o in operands))
    found = _INFERRED.get(key)
    if found is None:
        if len(_INFERRED) > 50_000:
            _INFERRED.clear()
        stand_ins = [symbol(f"x{k}", o.shape, o.dtype, number=-9) for k, o in enumerate(operands)]
        made = build(function, statics, stand_ins)
        found = _INFERRED[key] = (made.shape, made.dtype)
    return found


def build(function: Function, statics: tuple[Any, ...], operands: Sequence[Expr]) -> Expr:
    """The expression of one call."""
    supply = iter(operands)

    def filled(value: Any) -> Any:
        if value is SLOT:
            return next(supply)
        if isinstance(value, tuple):
            return tuple(filled(v) for v in value)
        return value

    positional, keywords = statics[:-1], statics[-1]
    args = [filled(v) for v in positional]
    return function.build(*args, **{k: filled(v) for k, v in keywords})


def user_place() -> tuple[Any, int] | None:
    """File and line of the user's code that is running."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


def note(function: Function, statics: tuple[Any, ...], operands: tuple[Node, ...]) -> Record:
    """Record a call; errors of shape and dtype appear here, at the line that makes them."""
    shape, dtype = inferred(function, statics, operands)
    device = operands[0].device if operands else "cpu"
    tracked = False
    for o in operands:
        if o.tracked:
            tracked = True
        if o.device != device:
            if o.shape == ():
                continue
            if operands[0].shape == ():
                device = o.device
                continue
            raise DeviceError(
                f"{function.name}: expected all tensors to be on the same device, but found at "
                f"least two devices, {device} and {o.device}; move one with .to({device!r})"
            )
    tracked = tracked and modes.grad and dtype.differentiable
    made = Record(function, operands, statics, shape, dtype, tracked, device)
    if modes.anomaly:
        made.place = user_place()
    return made


def walk(roots: Iterable[Node], cut: Callable[[Node], bool]) -> list[Node]:
    """Nodes under ``roots``, operands first, each once; nodes for which ``cut`` holds are ends."""
    order: list[Node] = []
    opened: set[int] = set()
    done: set[int] = set()
    stack = list(roots)
    stack.reverse()
    while stack:
        node = stack[-1]
        key = id(node)
        if key in done:
            stack.pop()
            continue
        if key not in opened:
            opened.add(key)
            if not cut(node):
                below = len(stack)
                if type(node) is Leaf and node.source is not None:
                    stack.append(node.source)
                operands = node.operands
                if operands:
                    stack += [o for o in reversed(operands) if id(o) not in done]
                if len(stack) > below:
                    continue
        stack.pop()
        done.add(key)
        order.append(node)
    return order


def weak(target: Any) -> Any:
    """A weak reference."""
    return weakref.ref(target)


__all__ = ["ONE", "Monomial", "SymgradError", "linear", "one"]
