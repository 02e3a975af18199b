"""Keyword arguments as programs write them: NumPy's names, PyTorch's names of operands, ``out=``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from symgrad.tensors.tensor import Tensor

OTHERS = {"axis": "dim", "keepdims": "keepdim", "from": "from_"}
"""NumPy's words, which PyTorch takes too, and one that Python keeps to itself; our names."""
FIRST = ("input", "x", "a", "x1")
SECOND = ("other", "x2", "exponent", "mat2", "vec", "vec2", "tensor")
"""What the first two operands are called."""


def understood(
    names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments under the names of the parameters, which are listed in their order."""
    for word, ours in OTHERS.items():
        if word in kwargs and word not in names:
            kwargs[ours] = kwargs.pop(word)
    for place, words in enumerate((FIRST, SECOND)):
        if len(args) == place < len(names):
            found = [w for w in words if w in kwargs and w not in names]
            args = (*args, *[kwargs.pop(w) for w in found])
    return args, kwargs


def ordered(names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments with those in ``kwargs`` that follow on them by place."""
    for name in names[len(args) :]:
        if name not in kwargs:
            break
        args = (*args, kwargs.pop(name))
    return args


def written(out: Any, made: Any) -> Any:
    """The result in the tensors of ``out``, which take its shape."""
    if not isinstance(out, Tensor):
        for there, new in zip(out, made, strict=True):
            written(there, new)
        return type(made)(*out) if hasattr(made, "_fields") else tuple(out)
    if out.requires_grad or made.requires_grad:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    if out.shape == made.shape:
        return out.copy_(made)
    out.data = made.to(out.dtype)
    return out


def keyworded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes its keywords so."""
    names = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            return function(*args)
        out = kwargs.pop("out", None)
        args, kwargs = understood(names, args, kwargs)
        made = function(*args, **kwargs)
        return made if out is None else written(out, made)

    return run


__all__ = ["keyworded", "ordered", "understood", "written"]
