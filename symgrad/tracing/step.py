"""``compile``: a training-step function as one executable, or symbolic tensors as one program.

The function runs once under a capture: it records, nothing is computed.  Every storage that it
reads or rebinds becomes an input or output of the program; rebound ones are donated.  After that a
call gathers buffers, runs the executable and rebinds.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable
from symgrad_codegen.lazy import lazy

from symgrad.errors import TraceError
from symgrad.nn.hooks import changes
from symgrad.nn.module import Module
from symgrad.recording.execute import held, plan_of, value
from symgrad.recording.pieces import joined, picker, unpacked, whole_of
from symgrad.recording.record import Leaf, leaf_like, modes
from symgrad.tensors.storage import Storage
from symgrad.tensors.tensor import Parameter, Tensor
from symgrad.tensors.wording import name_of, user_frame, user_line, variables
from symgrad.tracing.left import Gradients, gradient_of

symbolic = lazy("symgrad.tracing.symbolic")
counting = lazy("symgrad.transforms.cost")
ALONE = next(map(sys.getrefcount, [object()])) + 1
"""What a leaf that only its storage and one list hold counts under ``map(sys.getrefcount, …)``."""
VARIANTS = 64
"""How many kinds of arguments a compiled function remembers, and settings for each."""


class Capture:
    """What a function under capture reads and rebinds."""

    def __init__(self) -> None:
        self.read: dict[int, Storage] = {}
        self.before: dict[int, tuple[Storage, Any]] = {}
        self.keep: list[Any] = []
        self.rates: dict[int, tuple[Any, dict[str, Any], Leaf]] = {}
        self.draws: dict[int, tuple[Leaf, Callable[[], Any]]] = {}
        self.modules: list[tuple[Any, bool]] = []
        self.tensors: list[Tensor] = []
        self.gradients: dict[int, tuple[Tensor, Any, bool]] = {}

    def reads_gradient(self, t: Tensor) -> None:
        """The program depends on what ``.grad`` holds before the call."""
        if id(t) not in self.gradients:
            self.gradients[id(t)] = t, gradient_of(t), False

    def clears_gradient(self, t: Tensor) -> None:
        """The program replaces what ``.grad`` holds before the call."""
        self.gradients.setdefault(id(t), (t, t._grad, True))

    def reads(self, t: Tensor) -> Any:
        """The node of a tensor's storage; what is pending from before the capture gets a value."""
        storage = t._storage
        node = storage.node
        if storage.capture is self or id(storage) in self.before:
            return node
        if type(node) is not Leaf:
            array = value(node)
            node = storage.node = leaf_like(node, array)
        base = node.source if node.source is not None else node
        if id(base) not in self.read:
            self.read[id(base)] = storage
            self.keep.append(base)
            self.tensors.append(t)
        return node

    def draws_again(self, leaf: Leaf, draw: Callable[[], Any]) -> None:
        """A leaf holds random values: each call of the program gets new ones from ``draw``."""
        self.draws[id(leaf)] = (leaf, draw)

    def rebinds(self, storage: Storage) -> None:
        """A storage is about to get another node."""
        self.before.setdefault(id(storage), (storage, storage.node))


class _Variant:
    """One compiled form of the function, for one signature."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...],
                 kwargs: dict[str, Any]) -> None:  # fmt: skip
        self.kinds = [v._now().kind if isinstance(v, Tensor) else None for v in args]
        self.modes = modes.grad, modes.autocast
        capture = Capture()
        stand_ins = list(map(_stand_in, args))
        named = {k: _stand_in(v) for k, v in kwargs.items()}
        given = (*stand_ins, *named.values())
        fresh = [v._storage.node for v in given if isinstance(v, Tensor)]
        modes.capture = capture
        try:
            result = function(*stand_ins, **named)
        except BaseException:
            for storage, node in capture.before.values():
                storage.node = node
            for t, before, _ in capture.gradients.values():
                t._grad = before
            raise
        finally:
            modes.capture = None
        outputs = _tensors(result)
        self.rebound = [s for s, node in capture.before.values() if s.node is not node]
        self._gradients = Gradients(capture, function)
        self._derives = _title(function) if capture.gradients else ""
        self._forward = modes.grad and not (capture.gradients or capture.rates)
        self._tracked = self._forward and any(t.node().tracked for t in outputs)
        capture.gradients.clear()
        roots = [
            *(t.node() for t in outputs),
            *(s.node for s in self.rebound),
            *self._gradients.nodes,
        ]
        roots = [r.source if type(r) is Leaf and r.source is not None else r for r in roots]
        positions = {id(leaf): k for k, leaf in enumerate(fresh)}
        plan, ends, self.places = plan_of(roots)
        self.sources: list[tuple[int, Any]] = []
        first = {id(node): s for s, node in capture.before.values()}
        count = len(outputs)
        bound = list(zip(self.rebound, self.places[count:], strict=False))
        place_of = {id(s): p for s, p in bound}
        for end in ends:
            if id(end) in positions:
                self.sources.append((0, positions[id(end)]))
            elif id(end) in capture.draws:
                self.sources.append((2, _Draw(capture.draws[id(end)][1])))
            elif id(end) in capture.rates:
                optimizer, group, leaf = capture.rates[id(end)]
                self.sources.append((2, _Rate(optimizer, group, leaf.dtype)))
            else:
                storage = first.get(id(end)) or capture.read.get(id(end))
                if storage is None:
                    self.sources.append((3, end.value))
                    continue
                self.sources.append((1 if id(storage) in place_of else 4, storage))
        again = [k for k, (kind, _) in enumerate(self.sources) if kind == 1]
        plan.renewed = {k: place_of[id(self.sources[k][1])] for k in again}
        if all(end.device == "cpu" for end in ends):
            plan.pack()
        self._plan = plan
        taken = dict(plan.taken)
        owned = [k for k in again if k not in taken]
        self.executable: Executable = plan.executable(tuple(owned))
        self._call = plan.runner(tuple(owned))
        # What lies in one array is gathered first, what else is replaced, then the rest; the
        # program takes the last two in their order, then the array.
        self._taken = list(enumerate(taken.values()))
        rest = [k for k, (kind, _) in enumerate(self.sources) if kind != 1]
        self._read = [self.sources[k] for k in rest]
        gathered = [*owned, *rest]
        self._arrange = picker([gathered.index(k) for k in plan.alone])
        self._replaced = [self.sources[k][1] for k in (*taken, *owned)]
        self._alone = [ALONE] * len(again)
        self._new = picker([place_of[id(s)] for s in self._replaced])
        self._others = [(s, p) for s, p in bound if all(s is not r for r in self._replaced)]
        self._captured: Any = result, fresh, [(s, s.node) for s in self.rebound]
        self.result = _mapped(result, _stand_in)
        self._kinds = [t._now() for t in _tensors(self.result)]
        self._single = isinstance(result, Tensor)
        self.optimizers = {id(o): o for o, _, _ in capture.rates.values()}
        # every option of a group but the learning rate, which is an input of the program
        self.options: list[tuple[dict[str, Any], int, list[Any]]] = []
        for _, group, _ in capture.rates.values():
            at = list(group).index("lr")
            known = list(group.values())
            known[at] = None
            self.options.append((group, at, known))
        self.modules = [module for module, _ in capture.modules]
        self.training = [training for _, training in capture.modules]
        self._when = -1
        for storage, node in capture.before.values():
            storage.node = node
        for t in capture.tensors:
            t._leaf = None
        self._gradients.places = self.places[count + len(self.rebound) :]
        self.owners = [t for t in capture.tensors if t._tracked]

    def fits(self) -> bool:
        """Are the modes and options those of the capture?"""
        if self._when != changes.count:  # of the modules
            now = changes.count
            if list(map(_training, self.modules)) != self.training:
                return False
            self._when = now
        for group, at, known in self.options:
            now = list(group.values())
            now[at] = None
            if now != known:
                return False
        return self._gradients.fit()

    def is_recorded(self, tensors: Sequence[Any]) -> bool:
        """Does a result have derivatives?  Then the call is recorded, as without ``compile``."""
        return self._tracked or (
            self._forward
            and any(t._tracked or t._storage.node.tracked for t in tensors if type(t) in _TENSORS)
        )

    def captured(self, tensors: Sequence[Tensor]) -> Any:
        """The capture, if that is a recorded call on plain values: its result on these; or None."""
        (result, leaves, rebound), self._captured = self._captured, None
        if not self._tracked or any(t.requires_grad for t in tensors):
            return None
        for leaf, t in zip(leaves, tensors, strict=True):
            leaf.value = _given(t)
        for storage, node in rebound:
            storage.rebind(node)
        return result

    def run(self, tensors: Sequence[Tensor]) -> Any:
        """Gather, run, rebind."""
        if self._derives:
            for t in tensors:
                if t._tracked or t._storage.node.tracked:
                    raise _lost(self._derives, t)
        replaced = self._replaced
        leaves = list(map(_node, replaced))
        counts = list(map(sys.getrefcount, leaves))
        if counts != self._alone:
            for t in self.owners:  # by these a forward pass knew them
                t._leaf = None
            counts = list(map(sys.getrefcount, leaves))
        values = list(map(_value, leaves))
        free = counts == self._alone and _LEAF.issuperset(map(type, leaves))
        whole = None
        if self._taken:
            inside = len(self._taken)
            whole = whole_of(values, self._plan.size, self._taken)
            if whole is None:
                free = False
                whole = joined(list(map(_known, replaced[:inside])), self._plan.size)
            del values[:inside]
        if values:
            free = free and _HOST.isdisjoint(map(type, values))
            if not free:
                for k, storage in enumerate(replaced[-len(values) :], -len(values)):
                    if counts[k] != ALONE or type(values[k]) in _HOST:
                        values[k] = arrays.to_device(_known(storage))
        for kind, source in self._read:
            if kind == 0:
                t = tensors[source]
                array = t._storage.node.value
                if type(array) in _HOST or t._view is not None:
                    array = _given(t)
                values.append(array)
            elif kind == 2:
                values.append(source.value())
            elif kind == 4:
                values.append(_known(source))
            else:
                values.append(source)
        given = self._arrange(values)
        found = self._call(*given) if whole is None else self._call(*given, whole)
        found = self._plan.results(found)
        new = self._new(found)
        if free:
            for storage, leaf, array in zip(replaced, leaves, new):  # noqa: B905 - of one length
                leaf.value = array
                storage.version += 1
        else:
            self._rebind(leaves, counts, new)
        for storage, place in self._others:
            storage.rebind(leaf_like(storage.node, found[place]))
        self._gradients.leave(found)
        if self._single:
            return Tensor(Storage(leaf_like(self._kinds[0], found[self.places[0]])))
        pairs = zip(self._kinds, self.places)  # noqa: B905 - outputs come first
        supply = (Tensor(Storage(leaf_like(node, found[p]))) for node, p in pairs)
        return _mapped(self.result, lambda _: next(supply))

    def _rebind(self, leaves: Sequence[Any], counts: Sequence[int], new: Sequence[Any]) -> None:
        """New values where some storages share memory or their leaves with something else."""
        for storage, leaf, count, array in zip(self._replaced, leaves, counts, new, strict=True):
            if storage.shared is not None:
                np.copyto(storage.shared, np.asarray(unpacked(array)))
                storage.version += 1
            elif count == ALONE and type(leaf) is Leaf:
                leaf.value = array
                storage.version += 1
            else:
                storage.rebind(leaf_like(leaf, array))


_node, _value, _training, _LEAF = *map(attrgetter, ("node", "value", "training")), {Leaf}
_TENSORS = {Tensor, Parameter}
_HOST = {np.ndarray, tuple, type(None)}
"""Types of values that are not arrays on a device: memory of the user, results of cold graphs, what
lies in an array with others, and pending."""


class _Draw:
    """Random values, new at each call."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        self.value = draw


class _Rate:
    """The learning rate of a parameter group, as an array made anew only when it changes."""

    def __init__(self, optimizer: Any, group: dict[str, Any], dtype: Any) -> None:
        self.group = group
        self.dtype = dtype
        self.known: Any = None
        self.array: Any = None

    def value(self) -> Any:
        rate = self.group["lr"]
        if rate is not self.known:
            self.known = rate
            number = rate.item() if isinstance(rate, Tensor) else rate
            self.array = arrays.to_device(np.asarray(number, self.dtype.numpy))
        return self.array


def _lost(name: str, t: Tensor) -> TraceError:
    """Why an argument that requires grad cannot be given to a function that runs backward."""
    word = name_of(t._now(), variables(user_frame())) or "an argument"
    return TraceError(
        f"{word} requires grad, and {name} runs backward(): the gradient of an argument stays inside.",
        f"Pass {word if word != 'an argument' else 'x'}.detach(), or let {name} read the tensor from "
        "outside: then its .grad is set.",
        place=user_line(),
    )


def _stand_in(v: Any) -> Any:
    """A tensor without values in place of one."""
    if not isinstance(v, Tensor):
        return v
    leaf = Leaf(None, tuple(v.shape), v.dtype, v._now().device)
    leaf.name = v._name
    return Tensor(Storage(leaf), False)


def _title(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _given(t: Tensor) -> Any:
    """The array of an argument."""
    node = t._storage.node
    if t._view is not None or t._storage.shared is not None or node.value is None:
        return t.array()
    if isinstance(held(node), np.ndarray) and type(node) is Leaf:
        if node.used:
            node.value = arrays.to_device(node.value)
        node.used = True
    return node.value


def _known(storage: Storage) -> Any:
    if storage.shared is not None:
        return storage.shared
    node = storage.node
    if getattr(node, "value", None) is None:
        return Tensor(storage).array()
    return held(node)


def _tensors(result: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _mapped(result, lambda t: found.append(t) or t)
    return found


def _mapped(result: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(result, Tensor):
        return change(result)
    if isinstance(result, (list, tuple)):
        return type(result)(_mapped(v, change) for v in result)
    if isinstance(result, dict):
        return {k: _mapped(v, change) for k, v in result.items()}
    return result


class CompiledStep:
    """A function of tensors that runs as one executable; ``.source`` shows the last one.

    A function that only computes, from tensors that require grad, is recorded at each call as it
    is without ``compile``: backward() goes through its result, and what is recorded is compiled.

    Gradients that the function clears before it makes them stay inside: reading such a ``.grad``
    afterwards raises TraceError.  Those that it adds to are kept, as without ``compile``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._variants: dict[Any, list[_Variant]] = {}
        self._last: _Variant | None = None
        self._recorded: tuple[Any, Any] | None = None
        owner = getattr(function, "__self__", function)
        self._module = owner if isinstance(owner, Module) else None
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        if self._module is not None and self._is_forward(self._module):
            if self._recorded is None:
                self._recorded = (
                    tuple(map(_stand_in, args)),
                    {k: _stand_in(v) for k, v in kwargs.items()},
                )
            return self.function(*args, **kwargs)
        last = self._last
        if last is not None and not kwargs and len(args) == len(last.kinds):
            for a, kind in zip(args, last.kinds):  # noqa: B905 - compared above
                if not isinstance(a, Tensor):
                    break
                node = a._storage.node if a._view is None else a._now()
                if node.kind is not kind:
                    break
            else:
                if last.modes == (modes.grad, modes.autocast) and last.fits():
                    return self.function(*args) if last.is_recorded(args) else last.run(args)
        key: list[Any] = [modes.grad, modes.autocast]
        for name, v in (*enumerate(args), *kwargs.items()):
            key += [name, v._now().kind] if isinstance(v, Tensor) else [name, type(v), v]
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        variants = self._variants.pop(tuple(key), [])
        self._variants[tuple(key)] = variants  # the one used last comes last
        for variant in variants:
            if variant.fits():
                break
        else:
            variant = _Variant(self.function, args, kwargs)
            variants.append(variant)
            del variants[:-VARIANTS]
            if len(self._variants) > VARIANTS:
                del self._variants[next(iter(self._variants))]
            if (made := variant.captured(tensors)) is not None:
                self._last = variant
                return made
        self._last = variant
        if variant.is_recorded(tensors):
            return self.function(*args, **kwargs)
        return variant.run(tensors)

    def _is_forward(self, module: Module) -> bool:
        """Has a module derivatives?  Then its calls are recorded: none needs a program."""
        return modes.grad and any(p.requires_grad for p in module.parameters())

    def _ran_last(self) -> _Variant:
        """The program that ran last; of recorded calls the one of their forward pass."""
        if self._last is None and self._recorded is not None:
            args, kwargs = self._recorded
            self._last = _Variant(self.function, args, kwargs)
        if self._last is None:
            raise TraceError(f"{_title(self.function)} has not run yet: call it once")
        return self._last

    def __getattr__(self, name: str) -> Any:
        if name == "function":
            raise AttributeError(name)
        return getattr(self.function, name)

    @property
    def cost(self) -> Any:
        """Operations, bytes and memory of what ran last, as ``sg.cost`` counts them."""
        if self._last is None:
            raise TraceError(f"{self.function.__name__} has not run yet: call it once")
        return counting.computed(self._last._plan.outputs)

    @property
    def source(self) -> str:
        """The JAX source that ran last."""
        return self._ran_last().executable.source

    def source_for(self, target: str) -> str:
        """The program that ran last for ``"jax"`` or ``"numpy"``."""
        return self._ran_last().executable.source_for(target)


def compile(target: Any = None, **options: Any) -> Any:
    """Compile a function or module (a decorator too), or symbolic tensors: one or a list.

    Options of PyTorch's ``compile`` (mode, fullgraph, …) are accepted and change nothing.
    ``validate=True``, for symbolic tensors: each call checks that the values have what was declared
    of their symbols (``"spd"``, ``"positive"``, …), and raises RangeError where one has not.
    """
    if target is None:
        return functools.partial(compile, **options)
    if isinstance(target, (Tensor, list, tuple)):
        listed = [target] if isinstance(target, Tensor) else target
        return symbolic.compile_tensors(listed, bool(options.get("validate")))
    return CompiledStep(target)


__all__ = ["Capture", "CompiledStep", "compile"]
