"""Numbers alive at once while an expression is evaluated, for each setting of the size letters.

Of operands the one that needs most beyond its result goes first (Sethi and Ullman, "The generation
of optimal code for arithmetic expressions", 1970); an elementwise operation writes into an operand
of its size.  Inputs and views are not counted; a shared value is counted where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from symgrad.core.build import CONTRACTION, SUM, relabelling, terms_of
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.sizes import Size
from symgrad.core.traverse import topological

Counts = tuple[int, ...]
"""A number for each setting of the letters."""


@dataclass(slots=True)
class Alive:
    """``most[e]``: numbers alive at once for a value; ``held[e]``: those of the value itself."""

    entries: Callable[[Sequence[Size]], Counts] = lambda _: (1,)
    most: dict[Expr, Counts] = field(default_factory=dict[Expr, Counts])
    held: dict[Expr, Counts] = field(default_factory=dict[Expr, Counts])

    def of(self, e: Expr) -> Counts:
        """The numbers alive at once while ``e`` is evaluated."""
        for node in topological([e], self.most.__contains__):
            if node not in self.most:
                self.most[node], self.held[node] = self._node(node)
        return self.most[e]

    def beyond(self, e: Expr) -> Counts:
        """What its evaluation needs beyond the result: of two operands, more goes first."""
        return tuple(a - b for a, b in zip(self.of(e), self.held[e], strict=True))

    def _node(self, e: Expr) -> tuple[Counts, Counts]:
        if e.op is SYMBOL or not e.args:
            nothing = tuple(0 for _ in self.entries(()))
            return nothing, nothing
        if relabelling(e) is not None:
            return self.most[e.args[0]], self.held[e.args[0]]
        size = self.entries(e.shape) if e.shape else tuple(0 for _ in self.entries(()))
        parts = list(dict.fromkeys(e.args))
        last: list[Expr] = []
        if e.op is SUM:
            last = [a for c, a, _ in terms_of(e) if c.number < 0 and a in parts]
        found: list[int] = []
        for k, own in enumerate(size):
            rows = sorted(parts, key=lambda a: (a in last, self.held[a][k] - self.most[a][k]))
            held = most = 0
            for a in rows:
                most = max(most, held + self.most[a][k])
                held += self.held[a][k]
            elementwise = (
                e.op is SUM or e.op.family == "map" or (e.op is CONTRACTION and not e.sums)
            )
            inside = elementwise and any(self.held[a][k] == own for a in parts)
            found.append(max(most, held + (0 if inside else own)))
        if e.op is CONTRACTION and e.sums and sum(map(bool, e.params[0])) > 2:
            partial = self._partial(e)
            found = [max(m, own + p) for m, own, p in zip(found, size, partial, strict=True)]
        return tuple(found), size

    def _partial(self, e: Expr) -> Counts:
        """The entries of the smallest product of two factors that share a summed axis."""
        rows = [row for row in zip(e.args, e.params[0], strict=True) if row[1]]
        sizes = {x: a.shape[k] for a, ls in rows for k, x in enumerate(ls) if x >= 0}
        found: Counts | None = None
        for one, two in combinations(range(len(rows)), 2):
            both = {*rows[one][1], *rows[two][1]} - {-1}
            if not any(x >= e.ndim for x in {*rows[one][1]} & {*rows[two][1]}):
                continue
            rest = {x for k, (_, ls) in enumerate(rows) if k not in (one, two) for x in ls}
            made = self.entries([sizes[x] for x in both if x < e.ndim or x in rest])
            found = made if found is None or made < found else found
        return found or self.entries(())


__all__ = ["Alive"]
