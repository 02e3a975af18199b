"""The table of public functions: PyTorch's name, a composition Expr → Expr, what PyTorch calls it.

A row is made by the decorator :func:`public`; the composition is written in the same operators as
user code.  ``grad_fn`` is PyTorch's node name, ``saves`` what it keeps for backward (positions of
arguments, ``"result"``, ``"cross"`` for each of two where the other is tracked, ``"other"`` for
the second of them): an in-place change of a saved value is an error there.  ``view`` is set where
the result shares memory with its operand: the NumPy function that makes the same view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symgrad.core.expr import Expr

Composition = Callable[..., Any]
FUNCTIONS: dict[str, Function] = {}

SLOT = type("Slot", (), {"__repr__": lambda self: "·"})()
"""Stands for an operand in the static arguments of a call."""


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """One public function."""

    name: str
    build: Composition
    grad_fn: str
    saves: tuple[int | str, ...] = ()
    method: bool = True
    outputs: int = 1
    view: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return self.name


def public(
    name: str | None = None,
    *,
    grad_fn: str | None = None,
    saves: tuple[int | str, ...] = (),
    method: bool = True,
    outputs: int = 1,
    view: Callable[..., Any] | None = None,
) -> Callable[[Composition], Composition]:
    """Declare a public function by its composition."""

    def declare(build: Composition) -> Composition:
        word = name or build.__name__.rstrip("_")
        title = grad_fn or "".join(p.capitalize() for p in word.split("_")) + "Backward0"
        if word in FUNCTIONS:
            raise ValueError(f"the public function {word!r} is declared twice")
        FUNCTIONS[word] = Function(word, build, title, saves, method, outputs, view)
        return build

    return declare


__all__ = ["FUNCTIONS", "SLOT", "Composition", "Expr", "Function", "public"]
