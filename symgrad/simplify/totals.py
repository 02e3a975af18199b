"""Totals that meet a power of themselves: ``vᵀB v (vᵀB v)⁻¹ = 1``, ``Σ x² (Σ x²)^(−3/2) = (Σ x²)^(−½)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.core.build import CONTRACTION
from symgrad.core.expr import Expr
from symgrad.core.sizes import ONE, Size
from symgrad.simplify.networks import Network

Made = Callable[[Network, Sequence[Size], Any], Expr]


def total_meets_power(net: Network, made: Made) -> bool:
    """One total among the factors goes into a negative power of it; ``made`` builds normal forms."""
    for k, (e, p, place) in enumerate(net.factors):
        if not p < 0 or e.op is not CONTRACTION or not e.sums or -1 in place:
            continue
        if len({*place}) < len(place):
            continue
        for members in _totals(net, {*place}):
            if k in members or len(members) != len(e.args):
                continue
            if made(_alone(net, members, place), e.shape, e.dtype) is e:
                rest = [f for j, f in enumerate(net.factors) if j not in members and j != k]
                bound = {x for j in members for x in net.factors[j][2]} - {*place}
                net.factors = [*rest, (e, p + 1, place)] if p != -1 else rest
                net.sizes = {x: s for x, s in net.sizes.items() if x not in bound}
                return True
    return False


def _totals(net: Network, outer: set[int]) -> list[set[int]]:
    """Factors that share summed labels, whose other labels are all of ``outer`` and nothing else."""
    groups: list[tuple[set[int], set[int]]] = []  # labels, factors
    for k, (_, p, ls) in enumerate(net.factors):
        bound = {x for x in ls if x >= net.rank} - outer
        if not bound or p != 1 or -1 in ls:
            bound = set[int]() if not bound else bound | {-2}
        if not bound:
            continue
        met = [g for g in groups if g[0] & bound - {-2}]
        groups = [g for g in groups if g not in met]
        labels = bound.union(*(g[0] for g in met))
        groups.append((labels, {k}.union(*(g[1] for g in met))))
    found: list[set[int]] = []
    for labels, members in groups:
        free = {x for k in members for x in net.factors[k][2]} - labels
        if -2 not in labels and free == outer:
            found.append(members)
    return found


def _alone(net: Network, members: set[int], place: Sequence[int]) -> Network:
    """These factors as a product of their own, with the axes ``place``."""
    table = {x: k for k, x in enumerate(place)}
    sizes: dict[int, Size] = {}
    factors = []
    for k in sorted(members):
        e, p, ls = net.factors[k]
        for axis, x in enumerate(ls):
            table.setdefault(x, len(table))
            sizes[table[x]] = e.shape[axis]
        factors.append((e, p, tuple(table[x] for x in ls)))
    return Network(ONE, factors, sizes, len(place))


__all__ = ["total_meets_power"]
