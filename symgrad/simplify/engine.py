"""The rewriting engine: named rules tried bottom-up, by rebuilding and comparing identity.

No matcher is needed: nodes are interned, so a rule holds at a node exactly if its left side, built
over some sub-expression, *is* that node.  Every application can be recorded; the record is the
user's derivation and our debugger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from symgrad.core import dtypes
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply, symbol
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import letter
from symgrad.core.traverse import topological
from symgrad.errors import SymgradError
from symgrad.ops.scan import SCAN

_FUNCTIONS = ("map", "axis")
DEPTH = 6
"""How far below a node the variable of a rule is looked for."""


@dataclass(frozen=True, eq=False)
class Rule:
    """``left(x) → right(x)`` for an expression x.

    ``domain`` is where both sides must agree to rounding, ``edges`` are points at which the right
    side must be finite although the left may not be; ``states`` says what changes there.
    """

    name: str
    left: Callable[[Expr], Expr]
    right: Callable[[Expr], Expr]
    rank: int = 1
    domain: str = "real"
    edges: tuple[float, ...] = ()
    states: str = ""

    @cached_property
    def _example(self) -> Expr:
        names = ("n", "d", "k", "m")[: self.rank]
        return self.left(symbol("x", tuple(letter(s) for s in names), dtypes.float64, number=-1))

    @property
    def heads(self) -> tuple[str, ...]:
        """The operation of the nodes that it is tried on."""
        return (self._example.op.name,)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """A function that the left side has near its node."""
        return tuple(sorted(op.name for op in _near(self._example) if op.family in _FUNCTIONS)[:1])

    @cached_property
    def _functions(self) -> frozenset[Op]:
        """The functions that the left side cannot do without."""
        return frozenset(e.op for e in topological([self._example]) if e.op.family in _FUNCTIONS)

    def apply(self, node: Expr) -> Expr | None:
        """The right side if ``node`` is an instance of the left side."""
        below = list(_below(node))
        if node.op is not self._example.op or not self._functions <= {
            node.op, *(e.op for e in below)
        }:  # fmt: skip
            return None
        for candidate in below:
            if candidate.ndim < self.rank - 1 or candidate.dtype is not node.dtype:
                continue
            try:
                found = self.left(candidate)
            except SymgradError:
                continue
            if found is node:
                return self.right(candidate)
        return None


@dataclass(frozen=True, eq=False)
class Procedure:
    """A rule that must compute: ``step(node)`` gives the new node or None.

    ``heads`` are the operations of the nodes that it is tried on; ``needs`` those of which one
    stands among the arguments or theirs (none: any).
    """

    name: str
    step: Callable[[Expr], Expr | None]
    example: Callable[[], tuple[Expr, Expr]]
    edges: tuple[float, ...] = ()
    states: str = ""
    domain: str = "real"
    heads: tuple[str, ...] = field(kw_only=True)
    needs: tuple[str, ...] = ()

    def apply(self, node: Expr) -> Expr | None:
        """The rewritten node, or None."""
        return self.step(node)


class Index:
    """The rules of a group by what stands at a node and near it: the others are not tried."""

    def __init__(self, group: Sequence[Rule | Procedure]) -> None:
        self._group = group
        self.heads: dict[Op, tuple[list[int], dict[Op, list[int]]]] = {}
        for k, rule in enumerate(group):
            for head in rule.heads:
                always, needing = self.heads.setdefault(OPS[head], ([], {}))
                for name in rule.needs:
                    needing.setdefault(OPS[name], []).append(k)
                if not rule.needs:
                    always.append(k)

    def possible(self, node: Expr) -> list[Rule | Procedure]:
        """The rules that may hold at a node, in the order of the group."""
        found = self.heads.get(node.op)
        if found is None:
            return []
        numbers = {*found[0]}
        for op in _near(node) & found[1].keys() if found[1] else ():
            numbers.update(found[1][op])
        if not numbers or complex_parts(node):
            return []
        return [self._group[k] for k in sorted(numbers)]


def _near(node: Expr) -> set[Op]:
    """The operations of the arguments of a node and of theirs; of sums there, of their terms."""
    found: set[Op] = set()
    for a in node.args:
        found.add(a.op)
        for b in a.args:
            found.add(b.op)
            if b.op.family == "sum":
                found.update([x.op for x in b.args])
    return found


def sample(name: str, dtype: DType = dtypes.float64) -> Expr:
    """A vector of n entries, for the example of a rule."""
    return symbol(name, (letter("n"),), dtype, number=-1)


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a rule."""

    rule: str
    before: Expr
    after: Expr


def _below(node: Expr) -> Iterator[Expr]:
    seen: set[Expr] = set()
    layer = list(node.args)
    for _ in range(DEPTH):
        following: list[Expr] = []
        for e in layer:
            if e not in seen:
                seen.add(e)
                yield e
                following += e.args
        layer = following


@lru_cache(maxsize=64)
def _index(group: tuple[Rule | Procedure, ...]) -> Index:
    return Index(group)


def rewrite(
    roots: Sequence[Expr],
    groups: Sequence[Sequence[Rule | Procedure]],
    moved: Callable[[Expr, Expr, dict[Expr, Expr]], None] | None = None,
    settled: Sequence[set[Expr]] = (),
) -> tuple[list[Expr], list[Step]]:
    """``roots`` after one bottom-up pass per group, jointly; and the steps taken.

    A rule is tried again on what it produced until nothing fires.  ``moved`` hears every node that
    was rebuilt: (old, new, table so far).  ``settled``, for further passes: a set per group that
    gets the expressions in which it has nothing to do.
    """
    steps: list[Step] = []
    current = list(roots)
    order = topological(current)
    for k, group in enumerate(groups):
        done = settled[k] if settled else set[Expr]()
        index = _index(tuple(group))
        possible, heads = index.possible, index.heads
        table: dict[Expr, Expr] = {}  # what is another node now

        def fired(
            new: Expr,
            possible: Callable[[Expr], list[Rule | Procedure]] = possible,
            table: dict[Expr, Expr] = table,
        ) -> Expr:
            rules = possible(new)
            while rules:
                for rule in rules:
                    found = rule.apply(new)
                    if found is not None and found is not new:
                        steps.append(Step(rule.name, new, found))
                        if moved is not None:
                            moved(new, found, table)
                        new = found
                        rules = possible(new)
                        break
                else:
                    break
            return new

        for node in order:
            if node in done:
                continue
            new = node
            same = not table or table.keys().isdisjoint(node.args)
            if same and node.op not in heads and node.op is not SCAN:
                done.add(node)
                continue
            if not same:
                args = tuple([table.get(a, a) for a in node.args])
                new = node.func(*args)
                if new.op.family == "sum" and len(new.args) == 1:
                    (inner,) = new.args  # a coefficient went to the front of something new
                    new = new if inner in args else new.func(fired(inner))
            if new.op is SCAN:
                new = _within(new, group, steps)
            new = fired(new)
            if new is node:
                done.add(node)
                continue
            table[node] = new
            if moved is not None:
                moved(node, new, table)
        if table:
            current = [table.get(r, r) for r in current]
            order = topological(current)
    return current, steps


def _within(scan: Expr, group: Sequence[Rule | Procedure], steps: list[Step]) -> Expr:
    """A scan whose body is rewritten, once for all its steps."""
    body, reverse = scan.params
    results, taken = rewrite(body.results, [group])
    steps += taken
    return apply(SCAN, scan.args, (body.over(results), reverse)) if taken else scan


def complex_parts(node: Expr) -> bool:
    """Do complex numbers go in or out?  Rules, laws and forms are those of real numbers: none holds."""
    return node.dtype.is_complex or any(a.dtype.is_complex for a in node.args)
