"""The slope cosh⁻² of tanh as it is computed: from the value in sums, else by one exponential.

1 − tanh² is exact to one rounding of 1, where cosh⁻² keeps the digits of what is small; but it needs
no function besides the value.  It is taken for a factor under a sum, as in Xᵀ (δ ⊙ (1 − H²)), in a
program that computes the value too; and for x in tanh x + x (1 − tanh² x), the derivative of
x tanh x, where the value has the larger digits.  A slope of which every entry is a result keeps its
digits: it is 4 e / (1 + e)² with e = exp(−2 |x|), which takes one exponential, where cosh takes two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from symgrad.core.build import CONTRACTION, SUM, elementwise, power, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.traverse import topological

Place = tuple[Expr, Labels]
SLOPE = "1/cosh² = 1 − tanh² = 4 e/(1 + e)², e = exp(−2 |·|)"
"""What a comment says beside a line that is computed so."""


def slopes(
    roots: Sequence[Expr], lines: Mapping[Expr, Expr], asked: Collection[Expr]
) -> list[Expr]:
    """``roots`` with cosh⁻² as it is computed, jointly.

    ``lines`` are symbols and the roots they stand for; the results are ``asked`` for.
    """
    order = topological(roots)
    wanted = [e for e in order if e.op.name == "cosh"]
    if not wanted:
        return list(roots)
    there = set(order)
    uses = _uses(order, lines)
    kept = {*asked, *(lines[s] for s in asked if s in lines)}
    summed = _under_sums(order, uses, kept)
    found: dict[Expr, Expr] = {}
    for cosh in wanted:
        slope = power(cosh, -2)
        if all(user is slope for user, _ in uses.get(cosh, [(cosh, ())])):
            value = elementwise("tanh", cosh.args[0])
            cheap = value in there and (slope in summed or _beside(slope, value, uses, kept))
            found[slope] = value if cheap else cosh
    return _replaced(roots, order, found) if found else list(roots)


def slope_of_value(value: Expr) -> Expr:
    """``1 − h²`` for h = tanh(x).

    ``(1 − h) (1 + h)`` is no nearer to the slope: the rounding of h is in both.
    """
    return 1 - power(value, 2)


def _replaced(
    roots: Sequence[Expr], order: Sequence[Expr], found: Mapping[Expr, Expr]
) -> list[Expr]:
    new: dict[Expr, Expr] = {}
    for node in order:
        of = found.get(node, node)
        args = [new[a] for a in of.args]
        if of is node:
            same = all(a is b for a, b in zip(args, of.args, strict=True))
            new[node] = node if same else node.func(*args)
        elif of.op.name == "tanh":
            new[node] = slope_of_value(of.func(*args))
        else:
            e = elementwise("exp", -2 * elementwise("abs", *args))
            new[node] = 4 * e * power(1 + e, -2)
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


def _beside(
    slope: Expr, value: Expr, uses: Mapping[Expr, list[Place]], kept: Collection[Expr]
) -> bool:
    """Is it used in a tanh x + b x tanh′ x only, with a ≥ b > 0?  Both terms have one sign."""
    products = {user for user, _ in uses.get(slope, ())}
    factors = {slope, value.args[0]}
    places = [(p, *place) for p in products for place in uses.get(p, ())]
    return (
        bool(places)
        and slope not in kept
        and all(
            p not in kept
            and p.op is CONTRACTION
            and not p.sums
            and len(p.args) == 2
            and {*p.args} == factors
            for p in products
        )
        and all(_outweighs(value, p, total, labels) for p, total, labels in places)
    )


def _outweighs(value: Expr, product: Expr, total: Expr, labels: Labels) -> bool:
    if total.op is not SUM:
        return False
    terms = {(e, ls): c for c, e, ls in terms_of(total)}
    ahead = terms.get((value, labels))
    share = None if ahead is None else terms[product, labels] / ahead
    return share is not None and not share.powers and 0 < share.number <= 1


def _ends(e: Expr, user: Expr, labels: Labels, found: Collection[Expr]) -> bool:
    if user.op is CONTRACTION and any(x >= user.ndim for x in labels):
        return any(len(x.args) > 1 for x in (user, e, *(e.args if e.op is SUM else ())))
    return user.op in (CONTRACTION, SUM) and user in found


__all__ = ["SLOPE", "slope_of_value", "slopes"]
