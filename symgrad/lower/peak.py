"""A text measured: the operations it shows and takes, and the numbers alive at once.

The text is evaluated from left to right, equal parts once; a value goes when nothing reads it any
more, and an elementwise operation writes into an operand of its size that nothing else reads.
Inputs, views and single numbers are not counted as memory.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log

from symgrad_codegen.program import Apply, Letter, Literal, Operand, Template, Variable

from symgrad.core.sizes import Size, letter
from symgrad.lower.align import MINUS, PLUS
from symgrad.lower.alive import Counts
from symgrad.lower.tally import Part, Shape, effect, entries

Sized = Mapping[int, tuple[Operand, Shape]]
"""The shapes of variables and of what only its node tells, by identity, at every setting."""
LONGEST = 10**6
"""Operations as they are written, counted up to here."""
FREE = {"diag", "eye", "ones", "zeros", "vec", "tril", "reshape", "transpose", "diagonal"}
"""Functions that a reader does not count as an operation."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Operations of a text to read; floating-point operations and numbers alive at every setting.

    ``written`` counts the operations as they are written, those of equal parts again.
    """

    length: int
    flops: tuple[float, ...]
    alive: Counts
    written: int = 0


def at_most(new: Sequence[float], old: Sequence[float], times: float = 1) -> bool:
    """Is it at most so many times as much at every setting?"""
    return all(a <= times * max(b, 1) for a, b in zip(new, old, strict=True))


MUCH = 1.0
"""How much cheaper a text is to be over all settings, in logarithms, where it is dearer at some."""
TWICE = 2
"""How many times as dear it may be there."""


def much_cheaper(new: Measure, old: Measure) -> bool:
    """Is it so over all settings, and nowhere twice as dear?"""
    pairs = [*zip(new.flops, old.flops, strict=True), *zip(new.alive, old.alive, strict=True)]
    if any(a > TWICE * max(b, 1) for a, b in pairs):
        return False
    return sum(log(max(a, 1) / max(b, 1)) for a, b in pairs) < -MUCH


@lru_cache(maxsize=4096)
def operations_of(template: Template) -> int:
    """The operations that the text of a template shows: operators and calls, moves of axes free."""
    forms = dict(template.forms)
    text = re.sub(r"\{(\d+)\}", r"h\1", forms.get("numpy") or next(iter(forms.values())))
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return 1
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare)):
            count += 1
        elif isinstance(node, ast.Call):
            function = node.func
            word = function.attr if isinstance(function, ast.Attribute) else ""
            word = function.id if isinstance(function, ast.Name) else word
            count += word not in FREE
    return count


class _Run:
    """One evaluation of a text: for each value its shape, who owns it, and what it reads."""

    def __init__(
        self, root: Operand, sized: Sized, extents: Callable[[Size], Counts], settings: int
    ) -> None:
        self.settings, self.extents = settings, extents
        self.nothing: Counts = (0,) * settings
        self.parts: list[Part] = []
        self.sizes: list[Counts] = []
        self.owners: list[frozenset[int]] = []
        self.kinds: list[str] = []
        self.reads: list[list[int]] = []
        self.tensors: list[bool] = []  # does it depend on an input?
        self.flops = [0.0] * settings
        self.length = 0
        self.written: list[int] = []  # operations of each part and of all that it is made of
        numbers: dict[object, int] = {}
        self.operations = set[object]()
        known = self.known = dict[int, int]()  # of every operand, by identity
        axes = set[int]()  # the sizes of a new shape are no work
        stack: list[tuple[Operand, bool]] = [(root, False)]
        while stack:
            part, ready = stack.pop()
            if id(part) in known:
                continue
            if isinstance(part, Apply) and not ready:
                if dict(part.template.forms).get("numpy", "").startswith("{0}.reshape"):
                    axes.update(map(id, part.operands[1:]))
                stack.append((part, True))
                stack += [(o, False) for o in reversed(part.operands)]
                continue
            below = [known[id(o)] for o in part.operands] if isinstance(part, Apply) else []
            key = (part.template, *below) if isinstance(part, Apply) else part
            if key not in numbers:
                numbers[key] = len(numbers)
                if isinstance(part, Apply):
                    self.operations.add((part.template, tuple(below)))
                flops = self.flops
                self._add(part, below, sized)
                self.flops = flops if id(part) in axes else self.flops
            known[id(part)] = numbers[key]
        self.last = known[id(root)]

    def _add(self, part: Operand, below: list[int], sized: Sized) -> None:
        number = len(self.parts)
        kind, made, shown = "given", Part(), 0
        reads = isinstance(part, Variable) or any(self.tensors[b] for b in below)
        if isinstance(part, Apply):
            found = effect(part.template, tuple([self.parts[b] for b in below]), self.settings)
            kind, made = found.kind, found.part
            self.flops = [a + b for a, b in zip(self.flops, found.flops, strict=True)]
            shown = operations_of(part.template) if reads else 0
            self.length += shown
        elif isinstance(part, Literal) and type(part.value) is int:
            made = Part((), (part.value,) * self.settings)
        elif isinstance(part, Letter):
            made = Part((), self.extents(letter(part.name)))
        if id(part) in sized:
            made = replace(made, shape=sized[id(part)][1], guessed=False)
        size = entries(made.shape, self.settings) if made.shape else self.nothing
        if all(s == 1 for s in size):
            size = self.nothing
        if isinstance(part, Apply) and part.template in (PLUS, MINUS) and self._one(below):
            size = self.nothing  # A + Aᵀ of an input is as good as an input
        owner = frozenset[int]()
        if kind == "view":
            owner = owner.union(*(self.owners[b] for b in below))
        elif kind != "given" and size != self.nothing:
            owner = frozenset({number})
        self.written.append(min(shown + sum(self.written[b] for b in below), LONGEST))
        self.parts.append(made)
        self.sizes.append(size)
        self.kinds.append(kind)
        self.owners.append(owner)
        self.reads.append(below)
        self.tensors.append(reads)

    def _one(self, below: list[int]) -> bool:
        """Are these an input and its transpose?"""
        given = [b for b in below if self.kinds[b] == "given"]
        views = [b for b in below if self.kinds[b] == "view" and self.reads[b] == given]
        return len(given) == len(views) == 1

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
            for k, size in enumerate(own if mine else self.nothing):
                alive[k] += 0 if into else size
                most[k] = max(most[k], alive[k])
                alive[k] -= sum(self.sizes[d][k] for d in dying) - (size if into else 0)
        return tuple(most)


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as it is evaluated: its measure; known shape and number of each operand, by identity.

    Equal operands have one number; ``operations`` are the templates with the numbers that they
    read, ``letters`` what an axis of some extents is long.
    """

    measure: Measure
    shapes: Mapping[int, Shape]
    numbers: Mapping[int, int]
    operations: Collection[object]
    letters: Mapping[Counts, str]


def measured(
    root: Operand,
    sized: Sized,
    extents: Callable[[Size], Counts],
    settings: int,
    letters: Mapping[Counts, str] | None = None,
) -> Reading:
    """The text evaluated once, at every setting of the letters."""
    run = _Run(root, sized, extents, settings)
    measure = Measure(run.length, tuple(run.flops), run.peak(), run.written[run.last])
    shapes = {x: run.parts[k].shape for x, k in run.known.items() if not run.parts[k].guessed}
    return Reading(measure, shapes, run.known, run.operations, letters or {})


__all__ = ["Measure", "Reading", "Sized", "at_most", "measured", "much_cheaper", "operations_of"]
