"""The slope of a layer's tanh from its value: 1 − tanh² for cosh⁻² in sums over many entries.

1 − tanh² is exact to one rounding of 1, where cosh⁻² keeps the digits of what is small; but it needs
no function besides the value.  It is taken for a factor under a sum, as in Xᵀ (δ ⊙ (1 − H²)), in a
program that computes the value too.  A slope of which every entry is a result keeps its digits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from symgrad.core.build import CONTRACTION, SUM, elementwise, power, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.traverse import topological

Place = tuple[Expr, Labels]


def slopes_from_values(
    roots: Sequence[Expr], lines: Mapping[Expr, Expr], asked: Collection[Expr]
) -> list[Expr]:
    """``roots`` with 1 − tanh² for the cosh⁻² of which they only make sums, jointly.

    ``lines`` are symbols and the roots they stand for; the results are ``asked`` for.
    """
    order = topological(roots)
    values = [e for e in order if e.op.name == "tanh"]
    if not values:
        return list(roots)
    uses = _uses(order, lines)
    summed = _under_sums(order, uses, {*asked, *(lines[s] for s in asked if s in lines)})
    found: dict[Expr, Expr] = {}
    for e in values:
        cosh = elementwise("cosh", e.args[0])
        slope = power(cosh, -2)
        if slope in summed and all(user is slope for user, _ in uses[cosh]):
            found[slope] = e
    return _replaced(roots, order, found) if found else list(roots)


def _replaced(
    roots: Sequence[Expr], order: Sequence[Expr], found: Mapping[Expr, Expr]
) -> list[Expr]:
    new: dict[Expr, Expr] = {}
    for node in order:
        of = found.get(node, node)
        args = [new[a] for a in of.args]
        same = all(a is b for a, b in zip(args, of.args, strict=True))
        made = of if same else of.func(*args)
        new[node] = made if of is node else 1 - power(made, 2)
    return [new[r] for r in roots]


def _uses(order: Iterable[Expr], lines: Mapping[Expr, Expr]) -> dict[Expr, list[Place]]:
    """Where each node stands: a user and the labels there; a line stands where its symbol does."""
    found: dict[Expr, list[Place]] = {}
    for node in order:
        rows: Sequence[Labels] = [()] * len(node.args)
        if node.op is CONTRACTION:
            rows = node.params[0]
        elif node.op is SUM:
            rows = [labels for _, _, labels in terms_of(node)]
        for a, labels in zip(node.args, rows, strict=True):
            found.setdefault(a, []).append((node, labels))
    for symbol, e in lines.items():
        found.setdefault(e, []).extend(found.get(symbol, ()))
    return found


def _under_sums(
    order: Sequence[Expr], uses: Mapping[Expr, list[Place]], kept: Collection[Expr]
) -> set[Expr]:
    """The nodes of which every use ends as a factor under a sum over an axis of theirs."""
    found: set[Expr] = set()
    for e in reversed(order):
        places = uses.get(e)
        if e not in kept and places and all(_ends(e, *place, found) for place in places):
            found.add(e)
    return found


def _ends(e: Expr, user: Expr, labels: Labels, found: Collection[Expr]) -> bool:
    if user.op is CONTRACTION and any(x >= user.ndim for x in labels):
        return any(len(x.args) > 1 for x in (user, e, *(e.args if e.op is SUM else ())))
    return user.op in (CONTRACTION, SUM) and user in found


__all__ = ["slopes_from_values"]
