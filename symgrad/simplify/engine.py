"""The rewriting engine: named rules tried bottom-up, by rebuilding and comparing identity.

No matcher is needed: nodes are interned, so a rule holds at a node exactly if its left side, built
over some sub-expression, *is* that node.  Every application can be recorded; the record is the
user's derivation and our debugger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from symgrad.core import dtypes
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply, symbol
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import letter
from symgrad.core.traverse import topological
from symgrad.errors import SymgradError
from symgrad.ops.scan import SCAN

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

    def apply(self, node: Expr) -> Expr | None:
        """The right side if ``node`` is an instance of the left side."""
        below = list(_below(node))
        if node.op is not _head(self) or not _needs(self) <= {e.op for e in below} | {node.op}:
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

    ``heads`` are the operations of the nodes that it is tried on (none: all); ``needs`` those of
    which one stands among the arguments or theirs.
    """

    name: str
    step: Callable[[Expr], Expr | None]
    example: Callable[[], tuple[Expr, Expr]]
    edges: tuple[float, ...] = ()
    states: str = ""
    domain: str = "real"
    heads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def apply(self, node: Expr) -> Expr | None:
        """The rewritten node, or None."""
        if self.needs and not _near(node).intersection(self.needs):
            return None
        return self.step(node)


@lru_cache(maxsize=1)
def _near(node: Expr) -> frozenset[str]:
    """The operations of the arguments of a node and of theirs."""
    return frozenset(e.op.name for a in node.args for e in (a, *a.args, *(
        x for b in a.args if b.op.family == "sum" for x in b.args)))  # fmt: skip


def sample(name: str, dtype: DType = dtypes.float64) -> Expr:
    """A vector of n entries, for the example of a rule."""
    return symbol(name, (letter("n"),), dtype, number=-1)


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a rule."""

    rule: str
    before: Expr
    after: Expr


@lru_cache(maxsize=1024)
def _example(rule: Rule) -> Expr:
    names = ("n", "d", "k", "m")[: rule.rank]
    return rule.left(symbol("x", tuple(letter(s) for s in names), dtypes.float64, number=-1))


def _head(rule: Rule) -> Op:
    return _example(rule).op


@lru_cache(maxsize=1024)
def _needs(rule: Rule) -> frozenset[Op]:
    """The functions that the left side cannot do without."""
    return frozenset(e.op for e in topological([_example(rule)]) if e.op.family in ("map", "axis"))


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


def rewrite(
    roots: Sequence[Expr],
    groups: Sequence[Sequence[Rule | Procedure]],
    moved: Callable[[Expr, Expr, dict[Expr, Expr]], None] | None = None,
) -> tuple[list[Expr], list[Step]]:
    """``roots`` after one bottom-up pass per group, jointly; and the steps taken.

    A rule is tried again on what it produced until nothing fires.  ``moved`` hears every node that
    was rebuilt: (old, new, table so far).
    """
    steps: list[Step] = []
    current = list(roots)
    for group in groups:
        by_op = _by_head(group)
        table: dict[Expr, Expr] = {}

        def fired(
            new: Expr,
            by_op: dict[Op | None, list[Rule | Procedure]] = by_op,
            table: dict[Expr, Expr] = table,
        ) -> Expr:
            trying = not complex_parts(new)
            while trying:
                trying = False
                for rule in (*by_op.get(new.op, ()), *by_op.get(None, ())):
                    found = rule.apply(new)
                    if found is not None and found is not new:
                        steps.append(Step(rule.name, new, found))
                        if moved is not None:
                            moved(new, found, table)
                        new = found
                        trying = not complex_parts(new)
                        break
            return new

        for node in topological(current):
            args = tuple(table[a] for a in node.args)
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            new = node if same else node.func(*args)
            if new.op is SCAN:
                new = _within(new, group, steps)
            if not same and new.op.family == "sum" and len(new.args) == 1:
                (inner,) = new.args  # a coefficient went to the front of something new
                new = new if inner in args else new.func(fired(inner))
            table[node] = new = fired(new)
            if new is not node and moved is not None:
                moved(node, new, table)
        current = [table[r] for r in current]
    return current, steps


def _within(scan: Expr, group: Sequence[Rule | Procedure], steps: list[Step]) -> Expr:
    """A scan whose body is rewritten, once for all its steps."""
    body, reverse = scan.params
    results, taken = rewrite(body.results, [group])
    steps += taken
    return apply(SCAN, scan.args, (body.over(results), reverse)) if taken else scan


def complex_parts(node: Expr) -> bool:
    """Do complex numbers go in or out?  Rules, laws and forms are those of real numbers: none holds."""
    return any(e.dtype.is_complex for e in (node, *node.args))


def _by_head(
    group: Sequence[Rule | Procedure],
) -> dict[Op | None, list[Rule | Procedure]]:
    table: dict[Op | None, list[Rule | Procedure]] = {}
    for rule in group:
        heads: list[Op | None]
        if isinstance(rule, Rule):
            heads = [_head(rule)]
        else:
            heads = [OPS[name] for name in rule.heads] or [None]
        for head in heads:
            table.setdefault(head, []).append(rule)
    return table
