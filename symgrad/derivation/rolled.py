"""A loop that was unrolled, as a scan again: ``for x in xs: h = torch.tanh(x @ W + h @ U)``.

The step of a value is the last entry ``x[k]`` that it reads.  What steps 1 and 2 make in one way is
the body, over symbols for the entries and for what step 0 left; a loop is one where the body gives
what every step made, node by node.  What is read of all steps at once, a sum or a stack, is read of
the result of the scan.  Linear in the size of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product as every

from symgrad.core.build import CONTRACTION, SUM, contract, linear, reduce_sum, unsqueeze, zeros
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial
from symgrad.core.traverse import substitute, topological, transform
from symgrad.derivation.parts import OF_LABELS, sliced_axis
from symgrad.ops.structure import select, slice_axis
from symgrad.scanning import scan

FEWEST = 3
"""Steps of a loop."""

MOST_STARTS = 64
"""First states that are tried."""

Base = tuple[Expr, int]
"""A value, and the axis along which its entries are read."""


@dataclass
class _Steps:
    """The values under a root by their steps; ``items``: entry → where it is from."""

    order: list[Expr]
    count: int
    items: dict[Expr, Base]
    of: dict[Expr, int] = field(default_factory=dict[Expr, int])
    kinds: dict[Expr, int] = field(default_factory=dict[Expr, int])
    readers: dict[Expr, list[Expr]] = field(default_factory=dict[Expr, list[Expr]])

    def __post_init__(self) -> None:
        for x in self.order:
            if x not in self.of:
                self.of[x] = max((self.of[a] for a in x.args), default=-1)
            for a in x.args:
                self.readers.setdefault(a, []).append(x)
        self._by_kind()
        self.layer = {self.kinds[x] for x in self.order if self.of[x] == 1}
        late = {self._map(x) for x in self.order if self.of[x] == 1 and self._is_late(x)}
        moved = [x for x in self.order if late and self.of[x] < self.count - 1
                 and self._is_linear(x) and self._map(x) in late]  # fmt: skip
        for x in moved:
            self.of[x] += 1
        if late:
            self._by_kind()

    def _by_kind(self) -> None:
        known: dict[object, int] = {}
        for x in self.order:
            step = self.of[x]
            if step >= 0:
                self.kinds[x] = known.setdefault(self._kind(x, step), len(known))

    def _is_late(self, x: Expr) -> bool:
        """Is it a linear map of one value for the next step?  Then that value is the state."""
        above = self.readers.get(x, ())
        return self._is_linear(x) and all(
            self.of[r] == 2 and self.kinds[r] in self.layer for r in above
        )

    def _is_linear(self, x: Expr) -> bool:
        """Is it a linear map of one value of a step?"""
        moving = [a for a in x.args if self.of[a] >= 0]
        return x.op in (CONTRACTION, SUM) and len(moving) == 1 and moving[0] not in self.items

    def _map(self, x: Expr) -> object:
        """What a linear map is, whatever it is of."""
        return x.op, x.shape, x.dtype, frozenset(a for a in x.args if self.of[a] < 0)

    def _kind(self, x: Expr, step: int) -> object:
        """What two values of two steps have in common if they are made in one way."""
        if x in self.items:
            return self.items[x]
        params = x.params[2:] if x.op.family in OF_LABELS else x.params
        parts = sorted(
            ("same", a.digest) if self.of[a] < 0
            else ("now", self.kinds[a]) if self.of[a] == step else ("before", 0)
            for a in x.args
        )  # fmt: skip
        return x.op, x.shape, x.dtype, params if x.op is not SUM else (), tuple(map(str, parts))


def rolled(root: Expr) -> dict[Expr, Expr]:
    """The values under ``root`` that are other ones where loops are scans; {} where there are none."""
    for steps in _loops(root):
        found = _Loop(steps).scan(root)
        if found:
            return found
    return {}


def _loops(root: Expr) -> Iterator[_Steps]:
    """Values by steps, for every number of entries that are read one by one; long loops first."""
    order = topological([root])
    entries: dict[Base, dict[int, Expr]] = {}
    for x in order:
        part = sliced_axis(x)
        if part is not None and isinstance(part[1][0], int) and part[1][1] == part[1][0] + 1:
            entries.setdefault((x.args[0], part[0]), {})[part[1][0]] = x
    counts = {len(row) for row in entries.values()
              if len(row) >= FEWEST and max(row) - min(row) == len(row) - 1}  # fmt: skip
    for count in sorted(counts, reverse=True):
        items: dict[Expr, Base] = {}
        of: dict[Expr, int] = {}
        for base, row in entries.items():
            if len(row) == count and max(row) - min(row) == count - 1:
                items.update((x, base) for x in row.values())
                of.update((x, k - min(row)) for k, x in row.items())
        yield _Steps(order, count, items, of)


class _Loop:
    def __init__(self, steps: _Steps) -> None:
        self.steps = steps
        self.images: dict[Expr, tuple[Expr, int]] = {}
        """A value of a step → the value of step 1 that it is like, and its step."""

    def scan(self, root: Expr) -> dict[Expr, Expr]:
        """Every value with the loop as a scan; {} where there is no loop."""
        steps = self.steps
        layer = [x for x in steps.order if steps.of[x] == 1]
        pairs = self._states(layer)
        if not pairs or any(steps.of[base] >= 0 for base, _ in steps.items.values()):
            return {}
        if not self._like_step_one(layer, pairs):
            return {}
        return self._with_scan(root, pairs)

    def _states(self, layer: Sequence[Expr]) -> dict[Expr, Expr]:
        """What step 1 reads of step 0 → the same of step 1, which step 2 reads."""
        steps = self.steps
        first = self._roles(0, {steps.kinds[x] for x in steps.order if steps.of[x] == 2})
        second = self._roles(1, {steps.kinds[x] for x in layer})
        if sorted(first.values()) != sorted(second.values()):
            return {}
        by_role = {role: x for x, role in second.items()}
        return (
            {x: by_role[role] for x, role in first.items()} if len(by_role) == len(second) else {}
        )

    def _roles(self, step: int, kinds: set[int]) -> dict[Expr, tuple[int, ...]]:
        """Values of a step that the next one reads, and in what kinds of values."""
        steps = self.steps
        found: dict[Expr, tuple[int, ...]] = {}
        for x in steps.order:
            if steps.of[x] == step and x not in steps.items:
                role = sorted(steps.kinds[r] for r in steps.readers.get(x, ())
                              if steps.of[r] == step + 1 and steps.kinds[r] in kinds)  # fmt: skip
                if role:
                    found[x] = tuple(role)
        return found

    def _like_step_one(self, layer: Sequence[Expr], pairs: Mapping[Expr, Expr]) -> bool:
        """Is every step made as step 1 is?  Then :attr:`images` says of what."""
        steps = self.steps
        held = set(steps.order)
        entry: dict[tuple[Base, int], Expr] = {
            (base, steps.of[x]): x for x, base in steps.items.items()
        }
        before = {q: q for q in pairs.values()}
        self.images.update((x, (x, 1)) for x in layer)
        for k in range(2, steps.count):
            before = self._step(layer, pairs, before, entry, k, held)
            if k < steps.count - 1 and not all(x in held for x in before.values()):
                return False
        return self._start(layer, pairs, entry, held)

    def _step(
        self, layer: Sequence[Expr], pairs: Mapping[Expr, Expr], before: Mapping[Expr, Expr],
        entry: Mapping[tuple[Base, int], Expr], k: int, held: set[Expr],
    ) -> dict[Expr, Expr]:  # fmt: skip
        """The states after step ``k``, from those before it."""
        made = self._made(layer, {p: before[q] for p, q in pairs.items()}, entry, k)
        for x in layer:
            if made[x] in held:
                self.images.setdefault(made[x], (x, k))
        return {q: made[q] for q in pairs.values()}

    def _made(
        self, layer: Sequence[Expr], states: Mapping[Expr, Expr],
        entry: Mapping[tuple[Base, int], Expr], k: int,
    ) -> dict[Expr, Expr]:  # fmt: skip
        """Values of step 1 → what they are in step ``k``."""
        table = dict(states)
        for x, base in self.steps.items.items():
            if self.steps.of[x] == 1:
                table[x] = entry[base, k]
        return transform(layer, lambda e: e, table)

    def _start(
        self, layer: Sequence[Expr], pairs: Mapping[Expr, Expr],
        entry: Mapping[tuple[Base, int], Expr], held: set[Expr],
    ) -> bool:  # fmt: skip
        """Find the states before step 0: zeros, or values that step 0 reads."""
        steps = self.steps
        given = [x for x in topological(pairs) if steps.of[x] < 0]
        choices: list[list[Expr]] = []
        for p in pairs:
            fit = [x for x in given if x.shape == p.shape and x.dtype is p.dtype]
            choices.append(list(dict.fromkeys([zeros(p.shape, p.dtype), *fit])))
        for k, chosen in enumerate(every(*choices)):
            if k == MOST_STARTS:
                return False
            made = self._made(layer, dict(zip(pairs, chosen, strict=True)), entry, 0)
            if all(made[q] is p for p, q in pairs.items()):
                self.first = dict(zip(pairs, chosen, strict=True))
                for x in layer:
                    if made[x] in held:
                        self.images.setdefault(made[x], (x, 0))
                return True
        return False

    def _with_scan(self, root: Expr, pairs: Mapping[Expr, Expr]) -> dict[Expr, Expr]:
        """The values after the loop over the results of a scan."""
        steps = self.steps
        read = _Reads(self.images, steps.count)
        after = [x for x in steps.order if steps.of[x] >= 0 and x not in self.images
                 and x not in steps.items]  # fmt: skip
        if root in self.images or not after:
            return {}
        for x in after:
            read.note(x)
        inner = [*sorted(pairs.values(), key=steps.order.index, reverse=True)]
        turn = {q: p for p, q in pairs.items()}
        words = dict(zip(inner, _words(len(inner)), strict=True))
        items = {x: base for x, base in steps.items.items() if steps.of[x] == 1}

        def step(*given: Expr) -> tuple[Sequence[Expr], Sequence[Expr]]:
            table = {turn[q]: s for q, s in zip(inner, given[: len(inner)], strict=True)}
            for (x, (_, axis)), s in zip(items.items(), given[len(inner) :], strict=True):
                table[x] = unsqueeze(s, [axis])
            made = substitute([*inner, *read.wanted], table)
            return made[: len(inner)], made[len(inner) :]

        inputs: dict[str, Expr] = {}
        for n, (x, (base, axis)) in enumerate(items.items()):
            start = x.params[0][axis - x.ndim + len(x.params[0])][0] - 1
            part = slice_axis(base, axis, start, start + steps.count)
            inputs[f"x{n}"] = _first(part, axis)
        states = {words[q]: self.first[turn[q]] for q in inner}
        _, stacks, outputs = scan(step, states, inputs)
        made = dict(zip(read.wanted, outputs, strict=True)) | dict(zip(inner, stacks, strict=True))
        new: dict[Expr, Expr] = {x: x for x in steps.order if steps.of[x] < 0}
        for x in after:
            new[x] = read.rebuilt(x, made, new)
        left = set(topological([new[root]]))
        return {} if any(x in left for x in steps.items) else new


def _first(e: Expr, axis: int) -> Expr:
    """The axis put first."""
    order = [axis, *(k for k in range(e.ndim) if k != axis)]
    return contract([e], [range(e.ndim)], order, dict(enumerate(e.shape)), e.dtype)


def _words(count: int) -> Iterable[str]:
    return [
        c if count <= 4 else f"h{k}" for k, c in zip(range(count), "hcsm" * count, strict=False)
    ]


class _Reads:
    """What is read of a loop after it, and how: of all steps at once, or of one."""

    def __init__(self, images: Mapping[Expr, tuple[Expr, int]], count: int) -> None:
        self.images, self.count = images, count
        self.wanted: dict[Expr, None] = {}

    def note(self, x: Expr) -> None:
        """Remember what a value reads."""
        for a in x.args:
            if a in self.images:
                self.wanted[self.images[a][0]] = None

    def rebuilt(self, x: Expr, made: Mapping[Expr, Expr], new: Mapping[Expr, Expr]) -> Expr:
        """The value over results of the scan."""
        if x.op is SUM:
            return self._sum(x, made, new)
        if x.op.name == "concatenate" and self._stack(x.args):
            axis = x.ndim + x.params[0]
            stack = made[self.images[x.args[0]][0]]
            labels = [axis, *(-1 if k == axis else k for k in range(x.ndim))]
            return contract([stack], [labels], range(x.ndim), dict(enumerate(x.shape)), x.dtype)
        return x.func(*(self._one(a, made, new) for a in x.args))

    def _one(self, a: Expr, made: Mapping[Expr, Expr], new: Mapping[Expr, Expr]) -> Expr:
        if a not in self.images:
            return new.get(a, a)
        x, k = self.images[a]
        return select(made[x], 0, k)

    def _stack(self, args: Sequence[Expr]) -> bool:
        """Are these one value of all steps, in their order?"""
        found = [self.images.get(a) for a in args]
        first = found[0]
        return first is not None and found == [(first[0], k) for k in range(self.count)]

    def _sum(self, x: Expr, made: Mapping[Expr, Expr], new: Mapping[Expr, Expr]) -> Expr:
        groups: dict[tuple[Expr, Monomial, tuple[int, ...]], list[int]] = {}
        for a, (c, row) in zip(x.args, x.params[0], strict=True):
            if a in self.images:
                one, k = self.images[a]
                groups.setdefault((one, c, row), []).append(k)
        whole = {key for key, ks in groups.items() if sorted(ks) == list(range(self.count))}
        terms = [(c, reduce_sum(made[one], [0]), row) for one, c, row in whole]
        for a, (c, row) in zip(x.args, x.params[0], strict=True):
            if a not in self.images or (self.images[a][0], c, row) not in whole:
                terms.append((c, self._one(a, made, new), row))
        return linear(terms, x.shape, x.dtype)


__all__ = ["rolled"]
