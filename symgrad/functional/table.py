"""The table of public functions: PyTorch's name, a composition Expr → Expr, what PyTorch calls it.

A row is made by the decorator :func:`public`; the composition is written in the same operators as
user code.  ``grad_fn`` is PyTorch's node name, ``saves`` what it keeps for backward (positions of
arguments, ``"result"``, a pair of positions for each of two where the other is tracked, ``"cross"``
for the last two, ``"other"`` for the second of these): an in-place change of a saved value is an error there.  ``view`` is set where
the result shares memory with its operand: the NumPy function that makes the same view.  ``real``:
complex numbers are refused, although every operation of the composition would take them.
``tracks``: may the result require a gradient?
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import cast
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr

Composition = Callable[..., Any]
FUNCTIONS: dict[str, Function] = {}

SLOT = type("Slot", (), {"__repr__": lambda self: "·"})()
"""Stands for an operand in the static arguments of a call."""


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """One public function; a ``part`` of one, such as one of several results, has no name outside."""

    name: str
    build: Composition
    grad_fn: str
    saves: tuple[int | str | tuple[int, int], ...] = ()
    method: bool = True
    outputs: int = 1
    view: Callable[..., Any] | None = None
    part: bool = False
    real: bool = False
    tracks: bool = True

    def __repr__(self) -> str:
        return self.name


def public(
    name: str | None = None,
    *,
    grad_fn: str | None = None,
    saves: tuple[int | str | tuple[int, int], ...] = (),
    method: bool = True,
    outputs: int = 1,
    view: Callable[..., Any] | None = None,
    wide: bool = False,
    part: bool = False,
    real: bool = False,
    tracks: bool = True,
) -> Callable[[Composition], Composition]:
    """Declare a public function by its composition; ``wide``: see :func:`in_float32`."""

    def declare(build: Composition) -> Composition:
        word = name or build.__name__.rstrip("_")
        title = grad_fn or "".join(p.title() for p in word.split("_")) + "Backward0"
        if word in FUNCTIONS:
            raise ValueError(f"the public function {word!r} is declared twice")
        made = in_float32(build) if wide else build
        FUNCTIONS[word] = Function(
            word, made, title, saves, method and not part, outputs, view, part, real, tracks
        )
        return build

    return declare


HALVES = {dtypes.float16, dtypes.bfloat16}


def in_float32(build: Composition) -> Composition:
    """The same composition; where all floating operands are halves, it is rounded once, at the end.

    PyTorch's kernels compute so: a square or a sum on the way may be larger than float16 can hold.
    A dtype that is asked for is left to the composition.
    """

    @functools.wraps(build)
    def widened(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        kinds = [v.dtype for v in _flat(given) if isinstance(v, Expr) and v.dtype.differentiable]
        if not kinds or not HALVES.issuperset(kinds) or any(isinstance(v, DType) for v in given):
            return build(*args, **kwargs)
        made = build(*map(_widened, args), **{k: _widened(v) for k, v in kwargs.items()})
        if isinstance(made, tuple):
            return tuple(_narrowed(e, kinds[0]) for e in made)
        return _narrowed(made, kinds[0])

    return widened


def _flat(values: Any) -> list[Any]:
    return [x for v in values for x in (v if isinstance(v, (tuple, list)) else (v,))]


def _widened(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)([_widened(v) for v in value])
    narrow = isinstance(value, Expr) and value.dtype in HALVES
    return cast(value, dtypes.float32) if narrow else value


def _narrowed(e: Expr, dtype: DType) -> Expr:
    return cast(e, dtype) if e.dtype is dtypes.float32 else e


__all__ = ["FUNCTIONS", "SLOT", "Composition", "Expr", "Function", "public"]
