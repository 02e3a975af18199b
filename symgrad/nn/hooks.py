"""Hooks of a module: ordered tables of callables, each with a handle that removes it."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from symgrad.tensors.tensor import Tensor

Hook = Callable[..., Any]


class Changes:
    """How often an attribute, a table or the hooks of any module have changed."""

    count = 0


changes = Changes()


class RemovableHandle:
    """What ``register_…_hook`` returns: ``remove()``, or leaving its ``with`` block, undoes it."""

    _next_id = 0

    def __init__(self, hooks: OrderedDict[int, Hook]) -> None:
        self.id = RemovableHandle._next_id
        RemovableHandle._next_id += 1
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        """Take the hook off; a second call does nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def register(hooks: OrderedDict[int, Hook], hook: Hook, prepend: bool = False) -> RemovableHandle:
    """Add ``hook`` to a table of hooks, at its end or its front."""
    changes.count += 1
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of an argument or result: itself, or those of a tuple, list or dict."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in tensors_in(v)]
    return []


class BackwardHooks:
    """One call of a module whose full backward hooks must run.

    Inputs pass through an identity of their own, so that the gradient seen is the part that comes
    through this module; outputs are watched.  When the last watched input has its gradient, the
    hooks are called as ``hook(module, grad_input, grad_output)``.
    """

    def __init__(self, module: Any, after: list[Hook], before: list[Hook]) -> None:
        self.module = module
        self.after = after
        self.before = before
        self.grad_output: list[Tensor | None] = []
        self.grad_input: list[Tensor | None] = []
        self.pending = 0

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, each differentiable tensor behind an identity with a hook."""
        watched: list[Any] = []
        for value in args:
            if isinstance(value, Tensor) and value.requires_grad:
                place = len(self.grad_input)
                self.grad_input.append(None)
                self.pending += 1
                value = value.view_as(value)
                value.register_hook(lambda grad, place=place: self._input_ready(place, grad))
            elif isinstance(value, Tensor):
                self.grad_input.append(None)
            watched.append(value)
        return tuple(watched)

    def watch_output(self, result: Any) -> Any:
        """The result, its differentiable tensors watched."""
        outputs = tensors_in(result)
        self.grad_output = [None] * len(outputs)
        for place, tensor in enumerate(outputs):
            if tensor.requires_grad:
                tensor.register_hook(lambda grad, place=place: self._output_ready(place, grad))
        return result

    def _output_ready(self, place: int, grad: Tensor) -> Tensor | None:
        self.grad_output[place] = grad
        for hook in self.before:
            replaced = hook(self.module, tuple(self.grad_output))
            if replaced is not None:
                self.grad_output = list(replaced if isinstance(replaced, tuple) else (replaced,))
        if not self.pending:
            self._call(())
        return self.grad_output[place]

    def _input_ready(self, place: int, grad: Tensor) -> Tensor | None:
        self.grad_input[place] = grad
        self.pending -= 1
        if self.pending:
            return None
        replaced = self._call(tuple(self.grad_input))
        return replaced[place] if replaced is not None else None

    def _call(self, grad_input: tuple[Tensor | None, ...]) -> tuple[Any, ...] | None:
        current: tuple[Any, ...] = grad_input
        changed = False
        for hook in self.after:
            replaced = hook(self.module, current, tuple(self.grad_output))
            if replaced is not None:
                current = replaced if isinstance(replaced, tuple) else (replaced,)
                changed = True
        return current if changed else None
