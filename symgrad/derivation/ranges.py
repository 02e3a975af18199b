"""What an index runs over: formulas say it, by the axes that it stands at; reading them finds it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, letters_of, monomial, size_total
from symgrad.derivation.grammar import Node
from symgrad.derivation.notation import Form, Slot, call, product, slots_of


def summed(body: Form, slots: Sequence[Slot]) -> Form:
    """Σ over slots; ``Σₖ 1[k ≤ i]`` says that k runs as far as i: with ``ones(m)[k]`` where it does not."""
    beside = {slot: _compared(body, slot) for slot in slots}
    unsaid = {slot for slot, others in beside.items() if others is not None}
    for slot in slots:
        others = beside[slot]
        if others and (others <= unsaid or any(x.size != slot.size for x in others)):
            ones = call("ones", Form("number", (), monomial(slot.size)))
            body = product([body, Form("index", (ones, Form("slot", (), slot)))])
        unsaid.discard(slot)
    return Form("total", (body,), tuple(slots)) if slots else body


def _compared(body: Form, slot: Slot) -> set[Slot] | None:
    """The indices that one is compared with; None where it stands at an axis."""
    inside, found = [body], set[Slot]()
    while inside:
        part = inside.pop()
        inside += part.items
        if part.kind == "index" and slot in slots_of(part.items[1:]):
            return None
        if part.kind == "compare" and any(x.data == slot for x in part.items):
            found.update(x.data for x in part.items if x.kind == "slot" and x.data != slot)
    return found


def ranges_of(
    root: Node, symbols: Mapping[str, Expr], given: Mapping[str, Size]
) -> dict[str, Size]:
    """The range of every index letter: as given, else the axis that it stands at by itself.

    A letter of ``x[a + k]`` has the places of a window as long as the range of k.
    """
    found: dict[str, Size] = dict(given)
    letters = {x for e in symbols.values() for x in letters_of(e.shape)} - given.keys()
    taken = symbols.keys() | letters
    stack = [root]
    windows: list[tuple[list[str], Size]] = []
    alike: list[list[str]] = []
    while stack:
        node = stack.pop()
        if node.kind == "compare" and node.data == "=":
            pair = [x.data for x in node.items if x.kind == "name" and x.data not in taken]
            alike += [pair, pair[::-1]] if len(pair) == 2 else []
        if node.kind == "index" and node.items[0].kind == "name":
            base = symbols.get(node.items[0].data)
            if base is not None and base.ndim == len(node.items) - 1:
                for size, item in zip(base.shape, node.items[1:], strict=True):
                    if item.kind == "name" and item.data not in taken:
                        found.setdefault(item.data, size)
                    if item.kind == "sum" and {*item.data} == {1}:
                        words = [x.data for x in item.items if x.kind == "name"]
                        if len({*words} - symbols.keys()) == len(item.items):
                            windows.append((words, size))
        stack.extend(node.items)
    before = -1
    while len(found) != before:
        before = len(found)
        for i, j in alike:  # 1[i = j]
            if i in found and j not in found:
                found[j] = found[i]
        for words, size in windows:
            free = [x for x in words if x not in found]
            if len(free) == 1:
                rest = [-found[x] for x in words if x in found]
                found[free[0]] = size_total(size, *rest, len(rest))
    return found


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


__all__ = ["bound_letters", "compared_ranges", "ranges_of", "summed", "walked"]
