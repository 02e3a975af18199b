"""Sums as lists of products, and products with a sum in them multiplied out: what forms are made of."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.core.build import ONE, SUM, linear, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Monomial, Size
from symgrad.simplify.networks import Network, network_of, product_of

Terms = list[Network]


def networks(e: Expr) -> Terms:
    """The terms of a sum as networks over its axes; anything else is one term."""
    if e.op is not SUM or len(e.args) < 2:
        return [network_of(e)]
    rank = len(e.shape)
    found: Terms = []
    for c, a, labels in terms_of(e):
        inner = network_of(a)
        found.append(_placed(inner, labels, rank, c, dict(enumerate(e.shape))))
    return found


def _placed(
    net: Network, labels: Labels, rank: int, c: Monomial, sizes: dict[int, Size]
) -> Network:
    """A network with its axes at ``labels`` of a result of ``rank`` axes."""
    table = dict(enumerate(labels))
    made = Network(net.coefficient * c, [], dict(sizes), rank)
    start = max([rank - 1, *sizes]) + 1
    for x in sorted(net.sizes):
        if x >= net.rank:
            table[x] = start
            made.sizes[start] = net.sizes[x]
            start += 1
    for e, p, ls in net.factors:
        made.factors.append((e, p, tuple(table[x] if x >= 0 else -1 for x in ls)))
    return made


def summed(terms: Sequence[Network], e: Expr) -> Expr:
    """The sum of products, in the shape and type of ``e``."""
    natural = tuple(range(len(e.shape)))
    parts = [(ONE, product_of(t, e.shape, e.dtype), natural) for t in terms]
    return linear(parts, e.shape, e.dtype)


def opened(net: Network, k: int) -> Terms:
    """A product with one of its sums multiplied out."""
    e, p, place = net.factors[k]
    rest = net.factors[:k] + net.factors[k + 1 :]
    if p != 1:
        rest = [*rest, (e, p - 1, place)]
    found: Terms = []
    for c, a, labels in terms_of(e):
        at = tuple(place[x] if x >= 0 else -1 for x in labels)
        made = Network(net.coefficient * c, list(rest), dict(net.sizes), net.rank)
        inner = network_of(a)
        table = dict(enumerate(at))
        start = made.fresh()
        for x in sorted(inner.sizes):
            if x >= inner.rank:
                table[x] = start
                made.sizes[start] = inner.sizes[x]
                start += 1
        made.coefficient = made.coefficient * inner.coefficient
        for f, q, ls in inner.factors:
            made.factors.append((f, q, tuple(table[x] if x >= 0 else -1 for x in ls)))
        found.append(made)
    return found


__all__ = ["Terms", "networks", "opened", "summed"]
