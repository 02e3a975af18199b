"""The order of lines: maps of one value side by side; backward, an adjoint and the gradients that read it.

Whatever can be printed next is printed: gradients before adjoints, adjoints in the order of their
values.  Gradients of maps that stand side by side (queries, keys, values) wait for one another.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from symgrad.core.build import CONTRACTION, SUM
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.traverse import leaves, topological
from symgrad.derivation.opaque import is_result
from symgrad.derivation.order import bare
from symgrad.derivation.tidy import ADJOINT, FORWARD, GIVEN, GRADIENT, Definition

Source = Expr | None


def mapped(node: Expr, values: Container[Expr] = ()) -> Source:
    """x of a product W x with a weight W, which is an input and none of ``values``."""
    if node.op is not CONTRACTION or not node.sums or len(node.args) != 2:
        return None
    parts = [bare(a) for a in node.args]
    moving = [e for e in parts if e.op is not SYMBOL or e in values]
    return moving[0] if len(moving) == 1 else None


def side_by_side(order: Sequence[Expr]) -> list[Expr]:
    """A topological order in which the maps of one value that follow one another are together."""
    place: dict[Expr, int] = {}
    source: Source = None
    first = 0
    for k, node in enumerate(order):
        place[node] = k
        x = mapped(node)
        if x is not None:
            source, first = x, first if x is source else k
            _move(node, first, place)
        elif node.op is SUM:  # with its bias
            moving = [a for a in node.args if a.op is not SYMBOL]
            if len(moving) == 1 and mapped(moving[0]) is not None:
                _move(node, place[moving[0]], place)
    return sorted(order, key=place.__getitem__)


def _move(node: Expr, to: int, place: dict[Expr, int]) -> None:
    """A node and the inputs that it reads, no later than a place."""
    stack = [node]
    while stack:
        e = stack.pop()
        if e is node or (bare(e).op is SYMBOL and place[e] > to):
            place[e] = to
            stack += e.args


def arranged(definitions: Sequence[Definition], wanted: Iterable[Expr]) -> list[Definition]:
    """The lines of a derivation in the order in which they are printed."""
    if any(is_result(d.expr) for d in definitions):  # loops are put together elsewhere
        return list(definitions)
    start = 1 + max((k for k, d in enumerate(definitions) if d.kind == FORWARD), default=-1)
    forward, backward = definitions[:start], definitions[start:]
    return [*forward, *_Backward(forward, backward, list(wanted)).order()]


def _beside(forward: Sequence[Definition]) -> dict[Expr, tuple[Expr, ...]]:
    """A weight → the values that are maps of one value, its own among them."""
    found: dict[Expr, tuple[Expr, ...]] = {}
    run: list[Definition] = []
    source: Source = None
    values = {d.symbol for d in forward}
    for d in forward:
        x = next(filter(None, (mapped(e, values) for e in (d.expr, *d.expr.args))), None)
        run = [*run, d] if x is not None and x is source else [d]
        source = x
        if x is not None and len(run) > 1:
            together = tuple(r.symbol for r in run)
            for r in run:
                for e in topological([r.expr]):
                    if e.op is SYMBOL and e not in values:
                        found[e] = together
    return found


class _Backward:
    """Lines that wait for others."""

    def __init__(
        self, forward: Sequence[Definition], backward: Sequence[Definition], wanted: list[Expr]
    ) -> None:
        self.backward = backward
        self.by_symbol = {d.symbol: d for d in backward}
        self.read = {d.symbol: [e for e in leaves([d.expr])
                                if e in self.by_symbol and e is not d.symbol]
                     for d in backward}  # fmt: skip
        self.made = {d.symbol: k for k, d in enumerate(backward)}
        self.value = {d.symbol: k for k, d in enumerate(forward)}
        self.rank = {w: k for k, w in enumerate(wanted)}
        self.done: list[Definition] = []
        self.emitted: set[Expr] = set()
        beside = _beside(forward)
        adjoint = {d.of: d for d in backward if d.kind == ADJOINT and d.of is not None}
        self.together: dict[tuple[Expr, ...], list[Expr]] = {}
        self.group = beside
        for d in backward:
            if d.kind == GRADIENT and d.of in beside:
                self.together.setdefault(beside[d.of], []).append(d.symbol)
        self.needs: dict[Expr, set[Expr]] = {}
        for d in backward:
            found = self._main_needs(d)
            if d.kind == GRADIENT and d.of in beside:
                found |= {adjoint[v].symbol for v in beside[d.of] if v in adjoint}
            self.needs[d.symbol] = found

    def _read(self, d: Definition) -> list[Definition]:
        return [self.by_symbol[s] for s in self.read[d.symbol]]

    def _helps(self, d: Definition) -> bool:
        """Does it stand before the line that reads it?"""
        return d.kind not in (GRADIENT, GIVEN) and d.of is None

    def _main_needs(self, d: Definition) -> set[Expr]:
        found: set[Expr] = set()
        stack = self._read(d)
        seen: set[Expr] = set()
        while stack:
            x = stack.pop()
            if x.symbol in seen:
                continue
            seen.add(x.symbol)
            if self._helps(x):
                stack += self._read(x)
            else:
                found.add(x.symbol)
        return found

    def _emit(self, d: Definition) -> None:
        stack = [(d, False)]
        while stack:
            x, ready = stack.pop()
            if x.symbol in self.emitted:
                continue
            if ready:
                self.emitted.add(x.symbol)
                self.done.append(x)
                continue
            stack.append((x, True))
            helpers = [y for y in self._read(x) if self._helps(y)]
            helpers.sort(key=lambda y: self.made[y.symbol])
            stack += [(y, False) for y in reversed(helpers)]

    def _turn(self, d: Definition) -> tuple[int, int]:
        """As the sweep finished them; those of maps side by side as they are wanted."""
        assert d.of is not None
        group = self.together.get(self.group.get(d.of, ()), ())
        first = min((self.made[s] for s in group), default=self.made[d.symbol])
        return first, self.rank.get(d.of, 0)

    def order(self) -> list[Definition]:
        """The lines, each as soon as it can be."""
        readers: Mapping[Expr, list[Definition]] = {d.symbol: [] for d in self.backward}
        waiting = {s: len(n) for s, n in self.needs.items()}
        for d in self.backward:
            for s in self.needs[d.symbol]:
                readers[s].append(d)
        mains = [d for d in self.backward if not self._helps(d)]
        gradients: list[Definition] = []
        adjoints: list[Definition] = []

        def enter(free: list[Definition]) -> None:
            gradients.extend(d for d in free if d.kind == GRADIENT)
            gradients.sort(key=self._turn)
            rest = [d for d in free if d.kind != GRADIENT]
            rest.sort(key=lambda d: self.value.get(d.of, -1) if d.of is not None else -1)
            adjoints.extend(reversed(rest))

        enter([d for d in mains if not waiting[d.symbol]])
        while gradients or adjoints:
            given = bool(adjoints) and adjoints[-1].kind == GIVEN
            d = gradients.pop(0) if gradients and not given else adjoints.pop()
            self._emit(d)
            free: list[Definition] = []
            for r in readers[d.symbol]:
                waiting[r.symbol] -= 1
                if not waiting[r.symbol] and not self._helps(r):
                    free.append(r)
            enter(free)
        for d in self.backward:  # helpers of nothing, and what waits in a circle
            self._emit(d)
        return self.done


__all__ = ["arranged", "side_by_side"]
