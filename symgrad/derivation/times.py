"""Steps of loops counted as people count them: x[1] … x[T], after the state h[0].

The lines of a loop are made over the entries 0 … T − 1 of what it reads and makes; here they are
counted from 1.  A state one step before the first (``h[0]``, backwards ``δ[T+1]``) is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from symgrad.core.build import is_zero
from symgrad.core.expr import Expr, name_of
from symgrad.core.sizes import Shape, Size, shape_text
from symgrad.derivation import notation
from symgrad.derivation.notation import Form, Slot, Step, run
from symgrad.derivation.shifts import affine
from symgrad.derivation.tidy import FORWARD, Definition, Lines

BEFORE = "before"
"""Mark of the entry of a state one step before the step: that before the first is given."""

WIDE = 72
"""Columns up to which what stands behind rows is aligned."""

Axis = tuple[str, int]


def step_slot(size: Size, number: int = 0) -> Slot:
    """The index of a step: slots with a number below 0 count from 1."""
    return Slot(size, -1 - number)


def counts_from_one(slot: Slot) -> bool:
    """Is it the index of a step?"""
    return slot.number < 0


def limits(slot: Slot) -> str:
    """``< n``; of a step ``= 1…T``."""
    size = notation.limit_text(slot.size)
    return f"= 1…{size}" if counts_from_one(slot) else f"< {size}"


def tail(d: Definition, letters: Mapping[Slot, str]) -> str:
    """``for t = 1,…,T`` behind the line of a loop."""
    if d.runs is None:
        return ""
    size = d.symbol.shape[0]
    ends = (size, 1) if d.runs else (1, size)
    return f"for {letters[step_slot(size)]} = {ends[0]},…,{ends[1]}"


def tail_latex(d: Definition, letters: Mapping[Slot, str]) -> str:
    """The same in LaTeX."""
    text = tail(d, letters)
    if not text:
        return ""
    places = text.removeprefix("for ").replace("…", r"\dots")
    return rf" \quad\text{{for }} {places}"


def beside(rows: Sequence[str], tails: Sequence[str]) -> list[str]:
    """Rows with what stands behind some of them, below one another."""
    long = max((len(row) for row, end in zip(rows, tails, strict=True) if end), default=0)
    return [f"{row:<{min(long, WIDE)}}   {end}" if end else row
            for row, end in zip(rows, tails, strict=True)]  # fmt: skip


@dataclass
class Clock:
    """Forms over the entries 0 … T − 1, counted from 1 at the axes of steps.

    ``shapes`` are those of names; ``axes`` the axes of steps, which grow by what is read beside them.
    """

    shapes: Mapping[str, Shape]
    sizes: set[Size]
    axes: set[Axis] = field(default_factory=set[Axis])

    def __post_init__(self) -> None:
        self.axes |= {
            (word, k)
            for word, shape in self.shapes.items()
            for k, size in enumerate(shape)
            if size in self.sizes and not isinstance(size, int)
        }

    def timed(self, rows: Sequence[tuple[Form, Form]]) -> list[tuple[Form, Form]]:
        """The left and right sides of lines."""
        steps = [self._steps(row) for row in rows]
        while True:  # what stands at the index of a step is counted as it is
            before = len(self.axes)
            steps = [found | self._steps(row) for found, row in zip(steps, rows, strict=True)]
            for found, row in zip(steps, rows, strict=True):
                for word, k, item in _places(row):
                    if item.kind == "slot" and item.data in found and word in self.shapes:
                        self.axes.add((word, k))
            if len(self.axes) == before:
                break
        return [self._row(row, found) for row, found in zip(rows, steps, strict=True)]

    def _steps(self, row: tuple[Form, Form]) -> set[Slot]:
        """Letters of a line that stand at axes of steps."""
        found = {s for s in notation.slots_of(row) if counts_from_one(s)}
        return found | {
            item.data for word, k, item in _places(row)
            if item.kind == "slot" and (word, k) in self.axes
        }  # fmt: skip

    def _row(self, row: tuple[Form, Form], steps: set[Slot]) -> tuple[Form, Form]:
        numbers: dict[Size, int] = {}
        table: dict[Slot, Slot] = {}
        for s in sorted(steps, key=lambda s: (not counts_from_one(s), abs(s.number))):
            k = numbers[s.size] = numbers.get(s.size, -1) + 1
            table[s] = step_slot(s.size, k)
        left, right = (run(self._form(form, table)) for form in row)
        return left, right

    def _form(self, form: Form, table: Mapping[Slot, Slot]) -> Step:
        if form.kind == "slot":
            found = table.get(form.data)
            return form if found is None else affine([(1, Form("slot", (), found))], -1)
        items: list[Form] = []
        for item in form.items:
            items.append((yield self._form(item, table)))
        data = form.data
        if form.kind == "total":
            data = tuple(table.get(s, s) for s in data)
        elif form.kind == "compare" and all(map(_is_place, form.items)):
            if any(s in table for item in form.items for s in notation.slots_of([item])):
                items = [affine([(1, item)], 1) for item in items]
        elif form.kind == "sum" and items != list(form.items) and _is_place(form):
            return affine(list(zip(form.data, items, strict=True)))
        elif form.kind == "index" and form.items[0].kind != "name":
            if any(s in table for s in notation.slots_of([form.items[1]])):
                items[1] = affine([(1, items[1])], 1)
        elif form.kind == "index":
            word = form.items[0].data
            for k, item in enumerate(items[1:]):
                if (word, k) in self.axes and item.kind != "all":
                    items[k + 1] = affine([(1, item)], 1)
            rest = items[2:]
            if (word, 0) in self.axes and rest and all(x.kind == "all" for x in rest):
                items = items[:2]  # h[T], as h[t]
        return Form(form.kind, tuple(items), data)


def _places(forms: Iterable[Form]) -> Iterator[tuple[str, int, Form]]:
    """(name, axis, index) wherever a name is read by entries."""
    stack = list(forms)
    while stack:
        form = stack.pop()
        stack += form.items
        if form.kind == "index" and form.items[0].kind == "name":
            for k, item in enumerate(form.items[1:]):
                yield form.items[0].data, k, item


def _is_place(form: Form) -> bool:
    """Is it arithmetic of indices?"""
    stack = [form]
    while stack:
        part = stack.pop()
        if part.kind not in ("slot", "number", "sum", "scale"):
            return False
        stack += part.items
    return True


class Row(Protocol):
    """A printed line: its definition and its sides."""

    definition: Definition
    left: Form
    right: Form


class Times:
    """The steps of a derivation: its lines are counted from 1, and its declarations say so."""

    def __init__(self, lines: Lines, inputs: Sequence[Expr], rows: Sequence[Row]) -> None:
        self.inputs, self.lines = inputs, lines
        self.clock: Clock | None = None
        made = [x.definition.symbol for x in rows]
        sizes = {x.definition.symbol.shape[0] for x in rows if x.definition.runs is not None}
        if not sizes:
            return
        shapes = {name_of(e): e.shape for e in (*inputs, *made)}
        axes = {(name_of(e), k) for e, k in lines.entered}
        self.clock = Clock(shapes, sizes, axes)
        timed = self.clock.timed([(x.left, x.right) for x in rows])
        for x, (left, right) in zip(rows, timed, strict=True):
            x.left, x.right = left, right
        read = {e for x in rows for e in _names(x.right)}
        self.entries = {
            first: leaf for (leaf, reverse), first in lines.starts.items()
            if not reverse and not first.args and first in inputs
            and name_of(first) in (f"{name_of(leaf)}0", f"{name_of(leaf)}₀")
            and name_of(first) not in read
        }  # fmt: skip
        """First states that have the name of the entry that they are, ``h0`` of h[0]."""

    def sizes(self) -> list[str]:
        """The shape of every input, and of the states: ``h: (0…T)×m``."""
        listed = list(self.inputs)
        if self.clock is not None:
            listed = [self.entries.get(e, e) for e in self.inputs]
            made = (d for d in self.lines.definitions if d.kind == FORWARD and d.runs is not None)
            listed += [d.symbol for d in made if d.symbol not in listed]
        whole = {x: e for e, (_, parts) in self.lines.parts.items() for x in parts}
        groups = groupby(listed, lambda e: (whole.get(e, e), self._shape(e)))
        return [f"{', '.join(map(name_of, found))}: {shape}" for (_, shape), found in groups]

    def _shape(self, e: Expr) -> str:
        if self.clock is None:
            return shape_text(e.shape)
        parts: list[str] = []
        for k, size in enumerate(e.shape):
            text = shape_text((size,))
            if (name_of(e), k) in self.clock.axes:
                before = k == 0 and (e, False) in self.lines.starts
                after = k == 0 and (e, True) in self.lines.starts
                text = f"({0 if before else 1}…{text}{'+1' if after else ''})"
            parts.append(text)
        return "×".join(parts) or "scalar"

    def gives(self, form: Form) -> bool:
        """Is an entry that may be out of range at the steps alone that of a state, which is given?"""
        base, _, *rest = form.items
        states = {name_of(leaf) for leaf, _ in self.lines.starts}
        return base.data in states and all(x.kind == "slot" for x in rest)

    def given(self) -> list[str]:
        """``h[0]``, ``h[0] = 0``, ``δ[T+1] = 0``."""
        found: list[str] = []
        for (leaf, reverse), first in self.lines.starts.items():
            size = leaf.shape[0]
            end = size + 1 if isinstance(size, int) else f"{size}+1"
            place = f"{name_of(leaf)}[{end if reverse else 0}]"
            value = "0" if is_zero(first) else name_of(first)
            own = self.clock is not None and first in self.entries
            found.append(place if own else f"{place} = {value}")
        return found


def _names(form: Form) -> set[str]:
    found: set[str] = set()
    stack = [form]
    while stack:
        part = stack.pop()
        stack += part.items
        if part.kind == "name":
            found.add(part.data)
    return found


__all__ = ["BEFORE", "Times", "beside", "limits", "step_slot", "tail", "tail_latex"]
