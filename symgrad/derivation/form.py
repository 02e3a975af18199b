"""The tree of a formula, before it has letters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.core.sizes import Size

OUTSIDE = "outside"
"""Mark of an entry whose indices may leave the range of its tensor, where it is 0."""


@dataclass(slots=True, unsafe_hash=True)
class Slot:
    """An index before it has a letter: its size, a number among equals, below 0 for steps from 1."""

    size: Size
    number: int


@dataclass(slots=True, unsafe_hash=True)
class Form:
    """One node of a formula.

    Kinds: ``name`` (data: text), ``number`` (Monomial), ``slot`` (Slot), ``all`` (the ``:``),
    ``transpose``, ``inverse``, ``power`` (exponent), ``product``, ``hadamard``, ``quotient``
    (elementwise if data is true), ``fraction`` (a quotient in front), ``kron``, ``scale`` (Monomial), ``sum`` (one Monomial per term),
    ``call`` (function name), ``parameter`` (text, last in a call), ``index`` (data: ``OUTSIDE``, and
    the places of letters that do not run over their axis), ``total`` (Slots), ``indicator``,
    ``compare`` (sign), ``identity`` (size).
    """

    kind: str
    items: tuple[Form, ...] = ()
    data: Any = None


def indexed(base: Form, at: Sequence[Form], marks: Collection[Any] = ()) -> Form:
    """``base[at]``; of a part ``A[0,:]`` an entry is ``A[0,i]``."""
    free = [k for k, x in enumerate(base.items) if x.kind == "all"] if base.kind == "index" else []
    if len(free) != len(at):
        return Form("index", (base, *at), frozenset(marks) or None)
    places = list(base.items)
    for k, x in zip(free, at, strict=True):
        places[k] = x
    moved = {free[k] - 1 if isinstance(k, int) else k for k in marks}
    return Form("index", tuple(places), frozenset(moved | {*(base.data or ())}) or None)


def slots_of(forms: Iterable[Form]) -> list[Slot]:
    """Every slot in order of appearance."""
    found: dict[Slot, None] = {}
    stack = list(forms)[::-1]
    while stack:
        form = stack.pop()
        if form.kind == "slot":
            found.setdefault(form.data)
        elif form.items:
            if form.kind == "total":
                for slot in form.data:
                    found.setdefault(slot)
            stack += form.items[::-1]
    return list(found)


__all__ = ["OUTSIDE", "Form", "Slot", "indexed", "slots_of"]
