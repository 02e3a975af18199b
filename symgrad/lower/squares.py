"""What is squared in a total: x in Σ x², M in Σ M² of a product that was opened.

‖A X‖² is a chain A X Xᵀ Aᵀ that reads the same from a cut to both sides.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from symgrad.core.build import CONTRACTION, contract
from symgrad.core.expr import Expr, Labels


@dataclass(frozen=True, slots=True)
class Link:
    """A matrix of a chain, read from ``start`` to ``end``; a vector has one of them."""

    e: Expr
    labels: Labels
    start: int | None
    end: int | None

    @property
    def forward(self) -> bool:
        """Does it stand as it is, not transposed?"""
        return len(self.labels) < 2 or self.labels[0] == self.start


def squares(e: Expr) -> Expr | None:
    """x where e is Σ x², over all its entries."""
    if e.op is not CONTRACTION or e.shape or len(e.args) % 2 or e.dtype.kind != "f":
        return None
    if len(e.args) == 2:
        x, other = e.args
        row, same = e.params[0]
        return x if other is x and row == same and row and len({*row}) == len(row) else None
    return _half(e) if e.args and 2 * len({*e.args}) <= len(e.args) else None


def _half(e: Expr) -> Expr | None:
    links = _chain(e)
    if links is None:
        return None
    half = len(links) // 2
    for first in range(half if links[0].start is not None else 1):
        turned = [*links[first:], *links[:first]]
        if all(_mirrored(turned[k], turned[-1 - k]) for k in range(half)):
            chosen = turned[:half]
            ends = [x for x in (chosen[0].start, chosen[-1].end) if x is not None]
            if 2 * sum(x.forward for x in chosen) < half:
                ends.reverse()
            return contract([x.e for x in chosen], [x.labels for x in chosen], ends, dtype=e.dtype)
    return None


def _mirrored(a: Link, b: Link) -> bool:
    return a.e is b.e and (len(a.labels) < 2 or a.forward != b.forward)


def _chain(e: Expr) -> list[Link] | None:
    """The factors one after the other, closed or between two vectors; None if they do not stand so."""
    rows = list(zip(e.args, e.params[0], strict=True))
    at: dict[int, list[int]] = {}
    for k, (_, labels) in enumerate(rows):
        if len(labels) > 2 or len({*labels}) < len(labels) or min(labels, default=-1) < 0:
            return None
        for x in labels:
            at.setdefault(x, []).append(k)
    if any(len(ks) != 2 for ks in at.values()):
        return None
    vectors = [k for k, (_, labels) in enumerate(rows) if len(labels) == 1]
    here = vectors[0] if vectors else 0
    label = None if vectors else rows[0][1][0]
    found: list[Link] = []
    seen: set[int] = set()
    while here not in seen:
        seen.add(here)
        a, labels = rows[here]
        end = next((x for x in labels if x != label), None)
        found.append(Link(a, labels, label, end))
        if end is None:
            break
        label = end
        here = next(k for k in at[end] if k != here)
    return found if len(found) == len(rows) else None


def squared_entries(e: Expr) -> list[Expr]:
    """What a product has twice at axes of its result: its square is there for a sum to read."""
    if e.op is not CONTRACTION or len({*e.args}) == len(e.args):
        return []
    counted = Counter(zip(e.args, e.params[0], strict=True))
    return [x for (x, ls), n in counted.items() if n == 2 and ls and max(ls) < e.ndim]


def number_and_tensor(e: Expr) -> list[tuple[Expr, Expr]]:
    """a, x of a product a x of a number and a tensor, which other products may read."""
    if e.op is not CONTRACTION or len(e.args) != 2 or () not in e.params[0]:
        return []
    (a, row), (x, place) = sorted(zip(e.args, e.params[0], strict=True), key=lambda f: len(f[1]))
    return [(a, x)] if not row and place and place == tuple(range(e.ndim)) else []


__all__ = ["number_and_tensor", "squared_entries", "squares"]
