"""The order in which a person writes: operands as typed, and a rule for what the sweep makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from symgrad.core.build import CONTRACTION, SUM, constant_value, relabelling, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import ONE, Monomial
from symgrad.derivation.notation import Form

Term = tuple[Monomial, Expr, Labels]
Factor = tuple[Expr, Labels]


def bare(e: Expr) -> Expr:
    """The expression without coefficient and relabelling: what a term or factor holds."""
    while True:
        if (e.op is SUM and len(e.args) == 1) or relabelling(e) is not None:
            e = e.args[0]
        else:
            return e


class Written:
    """Operands of nodes in the order they were written, per derivation, beside the nodes."""

    def __init__(self) -> None:
        self._table: dict[Expr, dict[Expr, int]] = {}
        self._side: dict[Expr, tuple[Expr, int]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def note(self, node: Expr, operands: Iterable[Expr]) -> None:
        """Remember an order; the first one stays."""
        node = bare(node)
        if node not in self._table:
            order: dict[Expr, int] = {}
            for e in operands:
                order.setdefault(bare(e), len(order))
            self._enter(node, order)

    def positions(self, node: Expr) -> dict[Expr, int] | None:
        """Operand → position, or None if nobody wrote this node."""
        return self._table.get(node)

    def carry(self, old: Expr, new: Expr, moved: dict[Expr, Expr]) -> None:
        """The order of ``old`` for its rebuilt form."""
        known = self._table.get(bare(old))
        if known is not None and bare(new) not in self._table:
            self._enter(bare(new), {bare(moved.get(e, e)): k for e, k in known.items()})

    def _enter(self, node: Expr, order: dict[Expr, int]) -> None:
        self._table[node] = order
        if node.op is CONTRACTION:
            for e, k in order.items():
                self._side.setdefault(e, (node, k))

    def side_by_side(self, factors: Iterable[Factor]) -> list[Factor]:
        """Factors with those of one product that was written in the order they have there."""
        found = list(factors)
        places: dict[Expr, list[int]] = {}
        for k, (e, _) in enumerate(found):
            if bare(e) in self._side:
                places.setdefault(self._side[bare(e)][0], []).append(k)
        for at in places.values():
            there = sorted((found[k] for k in at), key=lambda f: self._side[bare(f[0])][1])
            for k, factor in zip(at, there, strict=True):
                found[k] = factor
        return found


def ordered_terms(
    e: Expr, written: Written, rank: Callable[[Expr], int] = lambda a: 0
) -> list[Term]:
    """Terms as written; else positive before negative, numbers last, then more axes, then ``rank``."""
    terms = terms_of(e)
    position = written.positions(e)
    if position is not None:
        sure = {a: position[a] for _, a, _ in terms if a in position}
        if len(sure) == len({a for _, a, _ in terms}):
            return sorted(terms, key=lambda t: sure[t[1]])
    return sorted(
        terms,
        key=lambda t: (
            t[0].number < 0,
            constant_value(t[1]) is not None,
            -len(t[1].shape),
            rank(t[1]),
        ),
    )


_RANK = {
    "product": 0,
    "transpose": 1,
    "name": 1,
    "index": 1,
    "call": 2,
    "diagonal": 2,
    "indicator": 2,
    "sum": 3,
}


def weight(form: Form) -> int:
    """Products, then adjoints, names, calls, sums; of the sums first one with an adjoint."""
    if form.kind == "name" and form.data.startswith("δ"):
        return 0
    found = _RANK.get(form.kind, 2)
    return found if form.kind != "sum" or _reads_adjoint(form) else found + 1


def _reads_adjoint(form: Form) -> bool:
    stack = [form]
    while stack:
        part = stack.pop()
        if part.kind == "name" and part.data.startswith("δ"):
            return True
        stack += part.items
    return False


def content(coefficients: list[Monomial]) -> Monomial:
    """What is worth writing once in front of a sum: equal coefficients that are not whole."""
    first = coefficients[0]
    size = abs(first.number)
    if any(c.powers != first.powers or abs(c.number) != size for c in coefficients):
        return ONE
    whole = isinstance(size, int) and not first.powers
    if whole:
        return first if all(c.number < 0 for c in coefficients) else ONE
    negative = all(c.number < 0 for c in coefficients)
    return Monomial(-size if negative else size, first.powers)
