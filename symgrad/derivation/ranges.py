"""What an index runs over: the axes that it stands at say it, or ``Σ_{k < n − 1}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, letter, letters_of, size_total
from symgrad.derivation.form import OUTSIDE, Form, Slot, indexed, slots_of
from symgrad.derivation.grammar import Node


def summed(body: Form, slots: Sequence[Slot]) -> Form:
    """Σ over slots."""
    return Form("total", (body,), tuple(slots)) if slots else body


def entry(base: Form, at: Sequence[Form], shape: Sequence[Size], outside: bool = False) -> Form:
    """``base[at]``, with the places whose letters do not run over the axis."""
    pairs = enumerate(zip(at, shape, strict=True))
    marks = frozenset[Any](k for k, (x, s) in pairs if x.kind == "slot" and x.data.size != s)
    marks |= {OUTSIDE} if outside else frozenset[Any]()
    return indexed(base, at, marks)


def unsaid(total: Form) -> frozenset[Slot]:
    """The letters of a Σ whose range has to be written.

    An axis that a letter stands at says it, or ``1[k ≤ i]`` by the range of another letter.
    """
    beside = {s: _compared(total.items[0], s) for s in total.data}
    open_, found = {s for s, others in beside.items() if others is not None}, set[Slot]()
    for slot in total.data:
        others = beside[slot]
        if others is not None and (others <= open_ or any(x.size != slot.size for x in others)):
            found.add(slot)
        open_.discard(slot)
    return frozenset(found)


def unsaid_of(left: Form, right: Form) -> list[Slot]:
    """The letters of a definition ``a[k] = x[k + 1]`` whose range has to be written."""
    slots = [x.data for x in left.items[1:] if x.kind == "slot"] if left.kind == "index" else []
    missing = unsaid(Form("total", (right,), tuple(slots)))
    return [s for s in slots if s in missing]


def _compared(body: Form, slot: Slot) -> set[Slot] | None:
    """The letters from outside of a body that one is compared with; None where an axis says its range."""
    inside, beside, bound = [body], set[Slot](), set[Slot]()
    said = False
    while inside:
        part = inside.pop()
        inside += part.items
        if part.kind == "index" and slot in slots_of(part.items[1:]):
            for k, x in enumerate(part.items[1:]):
                if k in (part.data or ()) and x.data == slot:
                    return set()
                said = said or _says(x, slot)
        elif part.kind == "total":
            bound.update(part.data)
        elif part.kind == "compare" and any(x.data == slot for x in part.items):
            beside.update(x.data for x in part.items if x.kind == "slot" and x.data != slot)
    return None if said else beside - bound


def _says(place: Form, slot: Slot) -> bool:
    """The letter alone, or ``a + k``: the places of a window."""
    if place.kind == "sum":
        windows = len(place.items) == 2 and all(c.number == 1 and not c.powers for c in place.data)
        return windows and all(x.kind == "slot" for x in place.items) and slot in slots_of([place])
    return place.kind == "slot" and place.data == slot


def ranges_of(
    root: Node, symbols: Mapping[str, Expr], given: Mapping[str, Size]
) -> dict[str, Size]:
    """The range of every index letter: as given, else the axis of a name that it stands at by itself.

    A letter of ``x[a + k]`` has the places of a window as long as the range of k.
    """
    found: dict[str, Size] = dict(given)
    letters = {x for e in symbols.values() for x in letters_of(e.shape)} - given.keys()
    taken = symbols.keys() | letters
    stack = [root]
    windows: list[tuple[list[str], Size]] = []
    alike: list[list[str]] = []
    later = set[str]()  # at an axis of what has to be read first
    while stack:
        node = stack.pop()
        if node.kind == "compare" and node.data == "=":
            pair = [x.data for x in node.items if x.kind == "name" and x.data not in taken]
            alike += [pair, pair[::-1]] if len(pair) == 2 else []
        if node.kind == "index" and node.items[0].kind != "name":
            later.update(x.data for x in node.items[1:] if x.kind == "name")
        elif node.kind == "index":
            base = symbols.get(node.items[0].data)
            if base is not None and base.ndim == len(node.items) - 1:
                for size, item in zip(base.shape, node.items[1:], strict=True):
                    if item.kind == "name" and item.data not in taken:
                        found.setdefault(item.data, size)
                    if item.kind == "sum" and {*item.data} == {1}:
                        words = [x.data for x in item.items if x.kind == "name"]
                        if len({*words} - taken) == len(item.items):
                            windows.append((words, size))
        stack.extend(node.items)
    before = -1
    while len(found) != before:
        before = len(found)
        for i, j in alike:  # 1[i = j]
            if i in found and j not in found and j not in later:
                found[j] = found[i]
        for words, size in windows:
            free = [x for x in words if x not in found]
            if len(free) == 1 and free[0] not in later:
                rest = [-found[x] for x in words if x in found]
                found[free[0]] = size_total(size, *rest, len(rest))
    return found


def named_sizes(
    symbols: Iterable[Expr], indices: Mapping[str, Size], numbers: Mapping[str, Size]
) -> dict[str, Size]:
    """The letters of the sizes of symbols and indices, and other sizes by their names."""
    shapes = [leaf.shape for leaf in symbols] + [(size,) for size in indices.values()]
    return {**{x: letter(x) for shape in shapes for x in letters_of(shape)}, **numbers}


def walked(root: Node) -> list[Node]:
    """The nodes of a tree."""
    found = [root]
    for node in found:
        found.extend(node.items)
    return found


def compared_ranges(root: Node, ranges: dict[str, Size]) -> None:
    """``Σₖ 1[k ≤ i]``: a letter that stands at no axis runs as far as what it is compared with."""
    pairs = [
        [x.data for x in node.items] for node in walked(root)
        if node.kind == "compare" and all(x.kind == "name" for x in node.items)
    ]  # fmt: skip
    bound = bound_letters(root)
    for _ in pairs:
        for row in pairs:
            known = [ranges[x] for x in row if x in ranges]
            for x in row if known else ():
                if x in bound:
                    ranges.setdefault(x, known[0])


def bound_letters(root: Node) -> set[str]:
    """The letters that some Σ binds: they are no names there."""
    found: set[str] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind == "total":
            found.add(node.data)
        stack += node.items
    return found


__all__ = [
    "bound_letters",
    "compared_ranges",
    "entry",
    "named_sizes",
    "ranges_of",
    "summed",
    "unsaid",
    "unsaid_of",
    "walked",
]
