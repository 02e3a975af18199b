"""Repeated layers: a chain x₀ → x₁ → … → x_m whose links are one expression with other weights.

Values through which everything flows are the ends of the links.  A link is written over generic
symbols, one for its argument and one for each weight that it alone has; nodes are interned, so two
links of one kind *are* one node.  Linear in the size of the graph.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.traverse import topological
from symgrad.derivation.order import Written
from symgrad.derivation.tidy import replaced

LEAST = 2
"""Links that make a repetition."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """x_{l+1} = body(x_l, weights_l) for ``count`` links.

    ``first``, ``last`` are x₀ and x_m in the graph; ``argument`` and ``weights`` are the symbols of
    ``body``; ``members`` has the graph's own weights, a row per link.
    """

    first: Expr
    last: Expr
    body: Expr
    argument: Expr
    weights: tuple[Expr, ...]
    members: tuple[tuple[Expr, ...], ...]

    @property
    def count(self) -> int:
        """Number of links."""
        return len(self.members)


def narrow(order: Sequence[Expr], source: Expr) -> list[Expr]:
    """The nodes through which everything flows that depends on ``source``, in order."""
    reached = {source}
    flow: list[Expr] = []
    for node in order:
        if node is source or any(a in reached for a in node.args):
            reached.add(node)
            flow.append(node)
    place = {node: k for k, node in enumerate(flow)}
    furthest = list(range(len(flow)))
    for k, node in enumerate(flow):
        for a in node.args:
            if a in place:
                furthest[place[a]] = max(furthest[place[a]], k)
    cuts: list[Expr] = []
    far = 0
    for k, node in enumerate(flow):
        if far <= k and node.op.outputs is None:
            cuts.append(node)
        far = max(far, furthest[k])
    return cuts


def repetition(
    root: Expr, sources: Sequence[Expr], inputs: Sequence[Expr], written: Written
) -> Repeated | None:
    """The longest repetition on the way from one of ``sources`` to ``root``."""
    order = topological([root])
    best: list[Expr] = []
    for source in sources:
        found = narrow(order, source)
        if len(found) > len(best):
            best = found
    if len(best) < LEAST + 1:
        return None
    segments = _segments(best)
    owners: dict[Expr, set[int]] = {}
    for k, leaves in enumerate(segments):
        for leaf in leaves:
            owners.setdefault(leaf, set()).add(k)
    rank = {leaf: k for k, leaf in enumerate(inputs)}
    shapes = [
        (cut.shape, tuple((x.shape, x.dtype) for x in _own(leaves, owners, rank)))
        for cut, leaves in zip(best[1:], segments, strict=True)
    ]
    for start, period, count in _runs(shapes):
        made = _checked(best, segments, owners, rank, (start, period, count), written)
        if made is not None:
            return made
    return None


def _segments(cuts: Sequence[Expr]) -> list[list[Expr]]:
    """The leaves between neighbouring cuts."""
    found: list[list[Expr]] = []
    for before, after in pairwise(cuts):
        order = topological([after], lambda e, stop=before: e is stop)
        found.append([e for e in order if e.op is SYMBOL and e is not before])
    return found


def _own(leaves: Sequence[Expr], owners: dict[Expr, set[int]], rank: dict[Expr, int]) -> list[Expr]:
    return sorted((x for x in leaves if len(owners[x]) == 1), key=lambda x: rank.get(x, -1))


def _runs(shapes: Sequence[object]) -> list[tuple[int, int, int]]:
    """(start, period, count) of periodic stretches with weights of their own, longest first."""
    found: list[tuple[int, int, int, int]] = []
    size = len(shapes)
    for period in range(1, size // LEAST + 1):
        k = 0
        while k + period < size:
            end = k
            while end + period < size and shapes[end] == shapes[end + period]:
                end += 1
            count = (end - k) // period + 1
            if count >= LEAST:
                found.append((count * period, -period, k, count))
            k = max(end, k) + 1
    found.sort(key=lambda row: (-row[0], -row[1], row[2]))
    return [(start, -period, count) for _, period, start, count in found]


def _checked(
    cuts: Sequence[Expr],
    segments: Sequence[Sequence[Expr]],
    owners: dict[Expr, set[int]],
    rank: dict[Expr, int],
    run: tuple[int, int, int],
    written: Written,
) -> Repeated | None:
    """The repetition, if its links are one expression and have weights of their own."""
    start, period, count = run
    first, body = cuts[start], None
    members: list[tuple[Expr, ...]] = []
    weights: tuple[Expr, ...] = ()
    argument = symbol("X" if first.ndim > 1 else "x", first.shape, first.dtype, number=-1)
    for k in range(count):
        at = start + k * period
        if cuts[at].shape != first.shape or cuts[at].dtype is not first.dtype:
            return None
        inner = range(at, at + period)
        own: dict[Expr, None] = {}
        for j in inner:
            own.update(dict.fromkeys(x for x in segments[j] if owners[x] <= set(inner)))
        row = sorted(own, key=lambda x: rank.get(x, -1))
        if not weights:
            weights = _generic(row)
        if [(x.shape, x.dtype) for x in row] != [(x.shape, x.dtype) for x in weights]:
            return None
        table = dict(zip(row, weights, strict=True))
        made = replaced(cuts[at + period], {**table, cuts[at]: argument}, written)
        if body is None:
            body = made
        elif made is not body:
            return None
        members.append(tuple(row))
    if body is None or not weights:
        return None
    last = cuts[start + count * period]
    return Repeated(first, last, body, argument, weights, tuple(members))


def _generic(row: Sequence[Expr]) -> tuple[Expr, ...]:
    """Symbols named as the first link's weights, without their numbers where these differ anyway."""
    plain = [re.sub(r"_?[₀-₉]+$", "", name_of(x)) for x in row]
    made: list[Expr] = []
    for k, (x, word) in enumerate(zip(row, plain, strict=True)):
        if plain.count(word) > 1:
            word += "".join("₀₁₂₃₄₅₆₇₈₉"[int(c)] for c in str(plain[: k + 1].count(word)))
        made.append(symbol(word, x.shape, x.dtype, number=-2 - k))
    return tuple(made)


__all__ = ["Repeated", "narrow", "repetition"]
