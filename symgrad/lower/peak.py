"""Numbers alive at once while a text is evaluated, and factors in the order that needs the fewest.

The text is evaluated from left to right, equal parts once; a value goes when nothing reads it any
more, and an elementwise operation writes into an operand of its size that nothing else reads.
Inputs, views and single numbers are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import permutations

from symgrad_codegen.program import Apply, Operand, Template

from symgrad.lower.align import MINUS, PLUS, TIMES
from symgrad.lower.alive import Counts

Sized = Mapping[int, tuple[Operand, Counts]]
"""Entries of operands, by identity, at every setting of the letters."""

IN_PLACE = {
    "exp", "log", "tanh", "sigmoid", "relu", "sqrt", "abs", "sign", "sin", "cos", "maximum",
    "minimum", "where", "softplus", "square",
}  # fmt: skip
TOTALS = {"sum", "mean", "norm", "trace", "logsumexp", "det", "logdet"}
VIEWS = {"vec", "diagonal", "broadcast_to"}
WIDEST = 4
"""Factors of which every order is tried."""


@lru_cache(maxsize=4096)
def _kind(template: Template) -> str:
    """What a template does to its operands: view, total, inside one of them, or fresh."""
    spelled = dict(template.forms).get("numpy") or template.forms[0][1]
    call = re.fullmatch(r"(?:\w+\.)*(\w+)\(.*\)", spelled, re.DOTALL)
    if call is not None:
        word = call[1]
        if word in TOTALS and "axis" not in spelled:
            return "total"
        return "view" if word in VIEWS else "inside" if word in IN_PLACE else "fresh"
    if re.fullmatch(r"\{0\}(\.T|\.mT|\[.*\]|\.transpose\(.*\)|\.reshape\(.*\))", spelled):
        return "view"
    return "fresh" if "@" in spelled else "inside"


class _Run:
    """One evaluation of a text: for each value its entries, who owns them, and what it reads."""

    def __init__(self, root: Operand, sized: Sized, settings: int) -> None:
        self.nothing: Counts = (0,) * settings
        self.sizes: list[Counts] = []
        self.owners: list[frozenset[int]] = []
        self.kinds: list[str] = []
        self.reads: list[list[int]] = []
        self.operations = 0
        numbers: dict[object, int] = {}
        known: dict[int, int] = {}
        stack: list[tuple[Operand, bool]] = [(root, False)]
        while stack:
            part, ready = stack.pop()
            if id(part) in known:
                continue
            if isinstance(part, Apply) and not ready:
                stack.append((part, True))
                stack += [(o, False) for o in reversed(part.operands)]
                continue
            below = [known[id(o)] for o in part.operands] if isinstance(part, Apply) else []
            key = (part.template, *below) if isinstance(part, Apply) else part
            if key not in numbers:
                numbers[key] = len(numbers)
                self._add(part, below, sized)
            known[id(part)] = numbers[key]
        self.last = known[id(root)]

    def _add(self, part: Operand, below: list[int], sized: Sized) -> None:
        number = len(self.sizes)
        kind = _kind(part.template) if isinstance(part, Apply) else "given"
        found = sized.get(id(part))
        size = self.nothing
        if found is not None:
            size = found[1]
        elif kind in ("inside", "view", "fresh"):
            size = (
                tuple(map(max, zip(*(self.sizes[b] for b in below), strict=True)))
                if below
                else size
            )
        if all(s == 1 for s in size):
            size = self.nothing
        if isinstance(part, Apply) and part.template in (PLUS, MINUS) and self._one(below):
            size = self.nothing  # A + Aᵀ of an input is as good as an input
        owner = frozenset[int]()
        if kind == "view":
            owner = owner.union(*(self.owners[b] for b in below))
        elif kind in ("inside", "fresh") and size != self.nothing:
            owner = frozenset({number})
        self.sizes.append(size)
        self.kinds.append(kind)
        self.owners.append(owner)
        self.reads.append(below)

    def _one(self, below: list[int]) -> bool:
        """Are these an input and its transpose?"""
        given = [b for b in below if self.kinds[b] == "given"]
        return len(given) == 1 and all(self.reads[b] == given for b in below if b != given[0])

    def peak(self) -> Counts:
        """The most numbers alive at one moment, at each setting."""
        ends: dict[int, int] = {}
        for at, below in enumerate(self.reads):
            for b in below:
                for owner in self.owners[b]:
                    ends[owner] = at
        for owner in self.owners[self.last]:
            ends[owner] = len(self.reads)
        gone: dict[int, list[int]] = {}
        for owner, at in ends.items():
            gone.setdefault(at, []).append(owner)
        alive: list[int] = list(self.nothing)
        most: list[int] = list(self.nothing)
        for at, own in enumerate(self.sizes):
            dying = gone.get(at, [])
            mine = self.owners[at] == {at}
            into = [d for d in dying if self.sizes[d] == own] if self.kinds[at] == "inside" else []
            for k, entries in enumerate(own if mine else self.nothing):
                alive[k] += 0 if into else entries
                most[k] = max(most[k], alive[k])
                alive[k] -= sum(self.sizes[d][k] for d in dying) - (entries if into else 0)
        return tuple(most)

    def length(self) -> int:
        """How many different operations there are."""
        return len(self.reads)


def peak(root: Operand, sized: Sized, settings: int) -> Counts:
    """The most numbers alive at one moment while a text is evaluated, at each setting."""
    return _Run(root, sized, settings).peak()


def rearranged(root: Operand, sized: Sized, settings: int) -> Operand:
    """The text with factors and terms of one size in an order that needs fewer numbers at once."""
    table = dict(sized)
    run = _Run(root, table, settings)
    least, length = run.peak(), run.length()
    for number in range(len(_chains(root, table))):
        chains = _chains(root, table)
        if number >= len(chains):
            break
        for other in _orders(chains[number], table):
            candidate = _replaced(root, chains[number], other, table)
            run = _Run(candidate, table, settings)
            found = run.peak()
            fewer = found != least and all(a <= b for a, b in zip(found, least, strict=True))
            if fewer and run.length() <= length:
                root, least = candidate, found
                break
    return root


def _chains(root: Operand, sized: Sized) -> list[Apply]:
    """The outermost products and sums with several operands of their own size."""
    found: list[Apply] = []
    seen: set[int] = set()
    stack: list[tuple[Operand, Template | None]] = [(root, None)]
    while stack:
        part, above = stack.pop()
        if not isinstance(part, Apply) or id(part) in seen:
            continue
        seen.add(id(part))
        inner = part.template if part.template in (TIMES, PLUS) else None
        if inner is not None and inner != above and len(_parts(part, sized)) > 1:
            found.append(part)
        stack += [(o, inner) for o in part.operands]
    return found


def _parts(chain: Apply, sized: Sized) -> list[Operand]:
    """Its operands of the same size, those of chains within it too; none where one is smaller."""
    size = sized.get(id(chain), (chain, None))[1]
    found: list[Operand] = []
    stack: list[Operand] = [chain]
    while stack:
        part = stack.pop()
        if isinstance(part, Apply) and part.template == chain.template:
            stack += reversed(part.operands)
        elif sized.get(id(part), (part, ()))[1] != size:
            return []
        else:
            found.append(part)
    return found


def _orders(chain: Apply, sized: dict[int, tuple[Operand, Counts]]) -> Iterator[Apply]:
    """The chain with its operands in other orders, from left to right."""
    parts = _parts(chain, sized)
    size = sized[id(chain)][1]
    if len(parts) > WIDEST:
        return
    for order in list(permutations(parts)):
        made = order[0]
        for part in order[1:]:
            made = Apply(chain.template, (made, part))
            sized[id(made)] = made, size
        assert isinstance(made, Apply)
        yield made


def _replaced(
    root: Operand, old: Operand, new: Operand, sized: dict[int, tuple[Operand, Counts]]
) -> Operand:
    """The text with one part exchanged; what is above it is built again."""
    done: dict[int, Operand] = {id(old): new}
    stack: list[tuple[Operand, bool]] = [(root, False)]
    while stack:
        part, ready = stack.pop()
        if id(part) in done:
            continue
        if not isinstance(part, Apply):
            done[id(part)] = part
        elif ready:
            below = tuple(done[id(o)] for o in part.operands)
            same = all(a is b for a, b in zip(below, part.operands, strict=True))
            made = done[id(part)] = part if same else Apply(part.template, below)
            if not same and id(part) in sized:
                sized[id(made)] = made, sized[id(part)][1]
        else:
            stack.append((part, True))
            stack += [(o, False) for o in part.operands]
    return done[id(root)]


__all__ = ["peak", "rearranged"]
