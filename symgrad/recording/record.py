"""What a tensor operation notes down: cheap, un-interned records over leaves.

A record holds the public function, its operands, its static arguments, shape and dtype.  Values
are computed when they are needed (``execute.py``); expressions are built only then, or when
somebody asks for a formula.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from symgrad.core import equal
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import Shape
from symgrad.core.traverse import topological
from symgrad.errors import DeviceError, SymgradError
from symgrad.functional.arguments import check_kinds
from symgrad.functional.table import FUNCTIONS, SLOT, Function
from symgrad.ops.complex import check_complex
from symgrad.tensors import wording


class Modes(threading.local):
    """Switches of this thread."""

    grad = True
    inference = False
    capture: Any = None
    autocast: Any = None
    anomaly = False
    check_nan = True
    tracing = False
    refuse_draws = ""
    changed: list[Any] | None = None


modes = Modes()


class Kind:
    """Shape, dtype and device of a node; equal ones are one object while the table keeps them."""

    __slots__ = ("device", "dtype", "shape")

    def __init__(self, shape: Shape, dtype: DType, device: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.device = device


_KINDS: dict[tuple[Shape, DType, str], Kind] = {}
TABLE = 50_000
"""Tables of this module start again when they hold more than this."""


def kind_of(shape: Shape, dtype: DType, device: str = "cpu") -> Kind:
    """The one Kind of these."""
    key = (shape, dtype, device)
    found = _KINDS.get(key)
    if found is None:
        if len(_KINDS) > TABLE:
            _KINDS.clear()
        found = _KINDS[key] = Kind(shape, dtype, device)
    return found


class Node:
    """What a graph of records is made of: see Leaf, Record, Gradient, Update and Part.

    ``value`` is None as long as it is not known; an array, or an array in which it lies with others
    and where (see :func:`symgrad.recording.execute.held`).
    """

    __slots__ = ()
    kind: Kind
    function: Any = None
    handle: Any = None
    place: tuple[Any, int] | None = None
    outdated: tuple[Any, int] | None
    """Once its storage holds another node: that storage (weakly) and its version before."""

    @property
    def shape(self) -> Shape:
        """The sizes of its axes."""
        return self.kind.shape

    @property
    def dtype(self) -> DType:
        """The type of its elements."""
        return self.kind.dtype

    @property
    def device(self) -> str:
        """Where its value lies."""
        return self.kind.device


class Leaf(Node):
    """Where recording starts: a value, or a symbol without one.

    ``source`` is the node that a tracked leaf reads; ``owner`` a weak reference to its tensor;
    ``used``: has a compiled program read the value before?  ``checked``: what a loss found out about
    the class numbers in it.
    """

    __slots__ = ("__weakref__", "checked", "kind", "name", "outdated", "owner", "source", "symbol",
                 "tracked", "used", "value")  # fmt: skip
    operands: tuple[Any, ...] = ()
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
        self.kind = kind_of(shape, dtype, device)
        self.symbol = symbol
        self.tracked = False
        self.source: Any = None
        self.owner: Any = None
        self.outdated = None
        self.used = False
        self.checked: Any = None
        self.name = ""


def leaf_like(node: Any, value: Any) -> Leaf:
    """A leaf with the shape, dtype and device of another node."""
    made = Leaf.__new__(Leaf)
    made.value = value
    made.kind = node.kind
    made.symbol = made.source = made.owner = made.outdated = made.checked = None
    made.tracked = made.used = False
    made.name = ""
    return made


def tracked_leaf(source: Any, owner: Any, name: str) -> Leaf:
    """The leaf by which derivatives know a tensor whose value is ``source``."""
    made = Leaf.__new__(Leaf)
    made.value = made.symbol = made.outdated = made.checked = None
    made.kind = source.kind
    made.source = source
    made.owner = owner
    made.used = False
    made.tracked = True
    made.name = name
    return made


class Call:
    """A function with its static arguments and the kinds of its operands: what equal records share.

    Equal calls are one object while the table keeps them, so keys compare it by identity.
    ``equal``: letters that were declared equal when it was made.
    """

    __slots__ = ("differentiable", "equal", "function", "kind", "statics")

    def __init__(self, function: Any, statics: tuple[Any, ...], kind: Kind) -> None:
        self.function = function
        self.statics = statics
        self.kind = kind
        self.differentiable = kind.dtype.differentiable and function.tracks
        self.equal: equal.Equalities = {}


class Record(Node):
    """One noted operation; ``place`` is the user's file and line where anomalies are looked for.

    One that ``recalled`` others (:mod:`symgrad.recording.recall`) stands for all of them: the last is
    itself, what they begin with is ``given``, and the operands are made when somebody looks.
    """

    __slots__ = ("__weakref__", "call", "consumed", "depth", "given", "handle", "kind", "operands",
                 "outdated", "place", "recalled", "tracked", "value")  # fmt: skip

    def __init__(self, call: Call, operands: tuple[Any, ...], tracked: bool) -> None:
        self.call = call
        self.kind = call.kind
        self.operands = operands
        self.tracked = tracked
        self.value: Any = None
        self.handle: Any = None
        self.consumed = False
        self.place = self.outdated = None
        self.recalled: Any = None
        depth = 0
        for o in operands:
            below = o.depth
            if below > depth:  # noqa: PLR1730 - for every operation of a program
                depth = below
        self.depth = depth + 1

    def __getattr__(self, name: str) -> Any:
        if name != "operands":
            raise AttributeError(f"a record has no {name}", name=name, obj=self)
        self.recalled.unroll(self)
        return self.operands

    @property
    def function(self) -> Any:  # type: ignore[override]
        """The row of the table of public functions."""
        return self.call.function

    @property
    def statics(self) -> tuple[Any, ...]:
        """The arguments that are not tensors, with slots for those that are."""
        return self.call.statics


class Gradient(Node):
    """The gradients of one root with respect to several nodes: an operation with many outputs.

    ``keeps``: may the graph be differentiated again (``retain_graph``)?  ``value``: the gradients,
    once they are known together; a Part stands for one of them where it is asked for alone.
    """

    __slots__ = ("__weakref__", "depth", "keeps", "kind", "operands", "partial", "parts", "seeded",
                 "targets", "tracked", "value")  # fmt: skip

    def __init__(self, root: Any, seed: Any, targets: tuple[Any, ...], tracked: bool, keeps: bool,
                 partial: bool = False) -> None:  # fmt: skip
        self.keeps = keeps
        self.partial = partial
        self.parts: list[Any] = []
        self.operands = (root,) if seed is None else (root, seed)
        self.seeded = seed is not None
        self.targets = targets
        self.tracked = tracked
        self.value: Any = None
        self.kind = root.kind
        self.depth = root.depth + 1

    def part(self, index: int) -> Part:
        """The node of one gradient."""
        for ref in self.parts:
            known = ref()
            if known is not None and known.index == index:
                return known
        made = Part(self, index, self.targets[index])
        if self.value is not None:
            made.value = self.value[index]
        return made

    def alive(self) -> int:
        """How many parts somebody holds."""
        return sum(part() is not None for part in self.parts)


class Step(NamedTuple):
    """What an Update is apart from its operands.

    ``parameters``: how many; ``switches``: what shapes the equation; ``names``: of the numbers of
    the step; ``bundle``: the numbers of the gradients in one Gradient that stands for all.
    """

    parameters: int
    switches: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]
    captured: bool = False
    bundle: tuple[int, ...] | None = None


class Update(Node):
    """One step of an optimizer on all its parameters: new parameters and new states.

    The operands are parameters, gradients, the states of each parameter and the numbers of the
    step.
    """

    __slots__ = ("__weakref__", "kind", "operands", "parts", "row", "statics", "tracked", "value")

    def __init__(self, row: Any, statics: Step, operands: tuple[Any, ...]) -> None:
        self.row = row
        self.statics = statics
        self.operands = operands
        self.parts: list[Any] = []
        self.tracked = False
        self.value = None
        self.kind = operands[0].kind

    @property
    def depth(self) -> int:
        """How many operations lie above one another, with this one."""
        return max(o.depth for o in self.operands) + 1

    @property
    def replaced(self) -> tuple[Any, ...]:
        """The parameters and states, which get new values."""
        step = self.statics
        count = step.parameters
        states = count + (count if step.bundle is None else 1)
        numbers = len(step.names) if step.captured else 1
        return self.operands[:count] + self.operands[states:-numbers]


class Part(Node):
    """One output of a Gradient or an Update."""

    __slots__ = ("__weakref__", "depth", "handle", "index", "kind", "operands", "outdated",
                 "tracked", "value")  # fmt: skip

    def __init__(self, whole: Any, index: int, like: Any) -> None:
        self.operands = (whole,)
        whole.parts.append(weakref.ref(self))
        self.index = index
        self.kind = like.kind
        self.tracked = whole.tracked
        self.value: Any = None
        self.handle: Any = None
        self.outdated = None
        self.depth = whole.depth


_CALLS: dict[Any, Call] = {}
_kind = attrgetter("kind")


def freeze(value: Any) -> Any:
    """A static argument in hashable form."""
    if isinstance(value, list):
        return tuple(freeze(v) for v in value)
    if isinstance(value, tuple):
        return tuple(freeze(v) for v in value)
    return value


def _exact(value: Any) -> Any:
    """What tells equal numbers apart: their type, and the sign of zero."""
    return repr(value) if type(value) is float and value == 0 else type(value)


def call_of(
    function: Function, statics: tuple[Any, ...], operands: Sequence[Any], plain: bool
) -> Call:
    """The one Call of these; ``plain`` where every static argument is a slot."""
    if plain:
        key = (function, *map(_kind, operands))
    else:  # 1, 1.0 and True are equal but mean different programs
        key = (function, statics, *map(_kind, operands), *map(type, statics))
        if statics[-1] or 0 in statics:
            key = (*key, *map(_exact, statics), *[_exact(v) for _, v in statics[-1]])
    return _CALLS.get(key) or _new_call(key, function, statics, operands)


def _new_call(
    key: Any, function: Function, statics: tuple[Any, ...], operands: Sequence[Any]
) -> Call:
    """A call met for the first time: its shape and dtype are those of its expression."""
    check_kinds(function, statics)
    known = equal.state.table
    shapes = [equal.united(o.shape, known) for o in operands]
    stand_ins = [
        symbol(f"x{k}", shape, o.dtype, number=-9)
        for k, (shape, o) in enumerate(zip(shapes, operands, strict=True))
    ]
    spelled = equal.united(statics, known)
    try:
        device = _device(function, operands)
        made = build(function, spelled, stand_ins)
        if made.dtype.is_complex or any(e.dtype.is_complex for e in stand_ins):
            check_complex(topological([made]), function.name, function.real)
    except SymgradError as problem:
        raise _explained(problem, function, statics, operands) from None
    found = Call(function, spelled, kind_of(made.shape, made.dtype, device))
    if known and (
        spelled != statics or any(s != o.shape for s, o in zip(shapes, operands, strict=False))
    ):
        found.equal = known  # holds for this call only, so the table does not keep it
        return found
    if len(_CALLS) > TABLE:
        _CALLS.clear()
    _CALLS[key] = found
    return found


def _device(function: Function, operands: Sequence[Any]) -> str:
    """Where the result lies; numbers in tensors without axes go along."""
    device = operands[0].device if operands else "cpu"
    for o in operands:
        if o.device != device:
            if o.shape == ():
                continue
            if operands[0].shape == ():
                device = o.device
                continue
            raise DeviceError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{device} and {o.device}!",
                f"Move one with .to({device!r}).",
            )
    return device


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


def _explained(
    problem: SymgradError, function: Function, statics: tuple[Any, ...], operands: Sequence[Any]
) -> SymgradError:
    """The error of a call in the user's words: the call is made once more on named stand-ins."""
    words = wording.words_for(function, statics, operands, wording.variables(wording.user_frame()))
    numbers = {id(o): -9 - k for k, o in enumerate(operands)}
    stand_ins = [
        symbol(word, equal.united(o.shape), o.dtype, number=numbers[id(o)])
        for word, o in zip(words, operands, strict=True)
    ]
    try:
        _device(function, operands)
        build(function, equal.united(statics), stand_ins)
    except SymgradError as named:
        problem = named
    call = wording.call_text(function, statics, words)
    return wording.restated(problem, call, words, [o.shape for o in operands])


def note(
    function: Function, statics: tuple[Any, ...], operands: tuple[Any, ...], plain: bool = False
) -> Record:
    """Record a call; errors of shape and dtype appear here, at the line that makes them."""
    call = call_of(function, statics, operands, plain)
    tracked = False
    for o in operands:
        if o.tracked:
            tracked = call.differentiable and modes.grad
            break
    made = Record(call, operands, tracked)
    if modes.anomaly:
        made.place = wording.user_place()
    return made


def forget(record: Record, value: Any) -> None:
    """Make an untracked record a copy of its value: what it was computed from may go."""
    leaf = leaf_like(record, value)
    record.call = call_of(FUNCTIONS["clone"], PLAIN[1], (leaf,), True)
    record.operands = (leaf,)
    record.depth = 1
    record.recalled = record.given = None


PLAIN = tuple(((SLOT,) * k + ((),)) for k in range(9))
"""The static arguments of calls on k tensors and nothing else."""
