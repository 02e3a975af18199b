"""Numbers alive at once while an expression is evaluated, for each setting of the size letters.

Of operands the one that needs most beyond its result goes first (Sethi and Ullman, "The generation
of optimal code for arithmetic expressions", 1970); an elementwise operation writes into an operand
of its size.  Inputs and views are not counted; a shared value is counted where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
        return tuple(found), size


__all__ = ["Alive"]
