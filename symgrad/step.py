"""``compile``: a training-step function as one executable, or symbolic tensors as one program.

The function runs once under a capture: it records, nothing is computed.  Every storage that it
reads or rebinds becomes an input or output of the program; rebound ones are donated.  After that a
call gathers buffers, runs the executable and rebinds.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable

from symgrad.errors import TraceError
from symgrad.execute import plan_of, value
from symgrad.record import Leaf, leaf_like, modes
from symgrad.storage import Storage
from symgrad.symbolic import compile_tensors
from symgrad.tensor import Tensor

FREE = 2
"""References to a leaf that only its storage holds, as ``sys.getrefcount`` counts them."""


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
        capture = Capture()
        fresh: list[tuple[Leaf, Any]] = []

        def replaced(v: Any) -> Any:
            if not isinstance(v, Tensor):
                return v
            node = v._now()
            leaf = Leaf(None, tuple(v.shape), v.dtype, node.device)
            leaf.name = v._name
            stand_in = Tensor(Storage(leaf), False)
            fresh.append((leaf, stand_in))
            return stand_in

        stand_ins = [replaced(a) for a in args]
        named = {k: replaced(v) for k, v in kwargs.items()}
        modes.capture = capture
        try:
            result = function(*stand_ins, **named)
        except BaseException:
            for storage, node in capture.before.values():
                storage.node = node
            raise
        finally:
            modes.capture = None
        self.result = result
        self.outputs = list(_tensors(result))
        self.rebound = [s for s, node in capture.before.values() if s.node is not node]
        roots = [t.node() for t in self.outputs] + [s.node for s in self.rebound]
        roots = [r.source if type(r) is Leaf and r.source is not None else r for r in roots]
        positions = {id(leaf): k for k, (leaf, _) in enumerate(fresh)}
        self.rates: list[tuple[int, Any, dict[str, Any]]] = []
        plan, ends, self.places = plan_of(roots)
        self.sources: list[tuple[int, Any]] = []
        first = {id(node): s for s, node in capture.before.values()}
        donate: list[int] = []
        rebound = {id(s) for s in self.rebound}
        for k, end in enumerate(ends):
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
                given_up = id(storage) in rebound
                if given_up:
                    donate.append(k)
                self.sources.append((1 if given_up else 4, storage))
        self.executable: Executable = plan.executable(tuple(donate))
        self.optimizers = {id(o): o for o, _, _ in capture.rates.values()}
        self.options = [
            (g, {k: v for k, v in g.items() if k not in ("params", "lr")})
            for _, g, _ in capture.rates.values()
        ]
        self.modules = capture.modules
        for storage, node in capture.before.values():
            storage.node = node
        for t in capture.tensors:
            t._leaf = None
            if t._tracked and t.grad is not None and type(t.grad._now()) is not Leaf:
                t.grad = None
        self.owners = [t for t in capture.tensors if t._tracked]
        self.counters = list(self.optimizers.values())

    def fits(self) -> bool:
        """Are the modes and options those of the capture?"""
        for module, training in self.modules:
            if module.training is not training:
                return False
        for group, known in self.options:
            for k, v in known.items():
                if group[k] != v:
                    return False
        return True

    def run(self, tensors: list[Tensor]) -> Any:
        """Gather, run, rebind."""
        values: list[Any] = []
        for kind, source in self.sources:
            if kind == 1:
                node = source.node
                value = node.value
                if source.shared is not None:
                    value = arrays.to_device(source.shared)
                elif sys.getrefcount(node) > FREE + 1 or isinstance(value, np.ndarray):
                    value = arrays.to_device(_known(source))
                    source.node = leaf_like(node, value)
                values.append(value)
            elif kind == 0:
                values.append(tensors[source].array())
            elif kind == 2:
                values.append(source.value())
            elif kind == 4:
                values.append(_known(source))
            else:
                values.append(source)
        found = self.executable(*values)
        if not isinstance(found, tuple):
            found = (found,)
        count = len(self.outputs)
        for storage, place in zip(self.rebound, self.places[count:], strict=True):
            node = storage.node
            value = found[place]
            if storage.shared is not None:
                np.copyto(storage.shared, np.asarray(value))
            elif type(node) is Leaf and sys.getrefcount(node) <= FREE + 1:
                node.value = value
            else:
                storage.node = leaf_like(node, value)
            storage.version += 1
        for optimizer in self.counters:
            optimizer._ages.clear()
        return self._filled(found)

    def _filled(self, found: tuple[Any, ...]) -> Any:
        made = [
            Tensor.from_value(found[p], t.dtype, t._now().device)
            for t, p in zip(self.outputs, self.places, strict=False)
        ]
        if isinstance(self.result, Tensor):
            return made[0]
        supply = iter(made)
        return _mapped(self.result, lambda _: next(supply))


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


def _known(storage: Storage) -> Any:
    if storage.shared is not None:
        return storage.shared
    node = storage.node
    if getattr(node, "value", None) is None:
        return Tensor(storage).array()
    return node.value


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

    Gradients that the function makes stay inside unless it returns them: ``.grad`` is None after.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._variants: dict[Any, list[_Variant]] = {}
        self._last: _Variant | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        key: Any = [modes.grad, modes.autocast]
        for a in args:
            if isinstance(a, Tensor):
                node = a._now()
                key.append((node.shape, node.dtype, node.device))
            else:
                key.append((type(a), a))
        if kwargs:
            for k, v in kwargs.items():
                if isinstance(v, Tensor):
                    node = v._now()
                    tensors.append(v)
                    key.append((k, node.shape, node.dtype, node.device))
                else:
                    key.append((k, type(v), v))
        key = tuple(key)
        for variant in self._variants.get(key, ()):
            if variant.fits():
                self._last = variant
                return variant.run(tensors)
        self._warm_up(args, kwargs)
        variant = _Variant(self.function, args, kwargs)
        self._variants.setdefault(key, []).append(variant)
        self._last = variant
        return variant.run(tensors)

    def _warm_up(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """State that a first call makes (an optimizer's) has to exist before the capture."""

    @property
    def source(self) -> str:
        """The JAX source that ran last."""
        if self._last is None:
            raise TraceError(f"{self.function.__name__} has not run yet: call it once")
        return self._last.executable.source

    def source_for(self, target: str) -> str:
        """The program that ran last for ``"jax"`` or ``"numpy"``."""
        if self._last is None:
            raise TraceError(f"{self.function.__name__} has not run yet: call it once")
        return self._last.executable.source_for(target)


def compile(target: Any = None, **options: Any) -> Any:
    """Compile a function or module (a decorator too), or symbolic tensors: one or a list.

    Options of PyTorch's ``compile`` (mode, fullgraph, …) are accepted and change nothing.
    """
    if target is None:
        return functools.partial(compile, **options)
    if isinstance(target, Tensor):
        return compile_tensors([target])
    if isinstance(target, (list, tuple)):
        return compile_tensors(target)
    return CompiledStep(target)


__all__ = ["Capture", "CompiledStep", "compile"]
