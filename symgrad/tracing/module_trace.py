"""A module as a traced function of its parameters."""

from __future__ import annotations

import inspect
from typing import Any

from symgrad.core.sizes import letter
from symgrad.errors import ShapeError
from symgrad.func.modules import functional_call
from symgrad.nn.module import Module
from symgrad.tracing.trace import Spec, TracedFunction


def trace_module(module: Module, specs: dict[str, Any]) -> TracedFunction:
    """``module`` as a function ``(params, *inputs)``, or ``(params, buffers, *inputs)``.

    ``specs`` gives the sizes of the inputs of ``forward``, by name.  ``params`` is
    ``dict(module.named_parameters())``, ``buffers`` the same of the buffers, where there are any.
    A letter that meets a number of the module (``x="n,d"`` and ``Linear(3, 2)``) stands for it in
    the shapes of the parameters.
    """
    named = dict(module.named_parameters())
    held = dict(module.named_buffers())
    inputs = inspect.signature(module.forward).parameters

    def function(params: Any, buffers: Any = None, **given: Any) -> Any:
        tensors = params if buffers is None else {**params, **buffers}
        return functional_call(module, tensors, (), given)

    kinds = inspect.Parameter
    arguments = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    if held:
        arguments.append(kinds("buffers", kinds.POSITIONAL_OR_KEYWORD))
    arguments += [p.replace(kind=kinds.KEYWORD_ONLY) if p.kind is kinds.VAR_POSITIONAL else p
                  for p in inputs.values()]  # fmt: skip
    function.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    function.__name__ = type(module).__name__
    letters: dict[int, str] = {}
    while True:
        every: dict[str, Any] = {"params": {k: _spec(p, letters) for k, p in named.items()}}
        if held:
            every["buffers"] = {k: _spec(b, letters, "buffer") for k, b in held.items()}
        try:
            return TracedFunction(function, {**every, **specs})
        except ShapeError as problem:
            found = _meeting(problem.sizes)
            if found is None or found[0] in letters:
                raise
            letters[found[0]] = found[1]


def _spec(t: Any, letters: dict[int, str], *facts: str) -> Spec:
    shape = tuple(letter(letters[s]) if s in letters else s for s in t.shape)
    return Spec(shape, t.dtype, facts)


def _meeting(sizes: tuple[Any, ...]) -> tuple[int, str] | None:
    """(number, letter) where a letter met a number."""
    numbers = [s for s in sizes if isinstance(s, int)]
    words = [str(s) for s in sizes if not isinstance(s, int) and str(s).isidentifier()]
    return (numbers[0], words[0]) if len(numbers) == len(words) == 1 else None


__all__ = ["trace_module"]
