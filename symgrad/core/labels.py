"""Labels of a product: a label is the number of an axis of the result, or the next one free."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import groupby, permutations, product

from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Shape, Size
from symgrad.errors import ShapeError


@lru_cache(maxsize=4096)
def numbered_plainly(
    shapes: tuple[Shape, ...],
    labels: tuple[Labels, ...],
    out: Labels,
    sizes: tuple[tuple[int, Size], ...],
) -> tuple[tuple[Labels, ...], Shape, bool] | None:
    """The labels of factors in their order, the shape of the result, and whether it is a sum.

    None where more than numbers change: an axis of size 1, a label twice in the result or with two
    sizes, a coefficient, a result that is moved after its sum.
    """
    size = dict(sizes)
    number = {x: k for k, x in enumerate(out)}
    rank = len(out)
    if not shapes or len(number) < rank:
        return None
    for shape, ls in zip(shapes, labels, strict=True):
        for extent, x in zip(shape, ls, strict=True):
            if x < 0 or extent == 1 or size.setdefault(x, extent) != extent:
                return None
    carried = dict.fromkeys([x for ls in labels for x in ls])
    if any(x not in size for x in out) or any(x not in carried and x not in number for x in size):
        return None
    rows = tuple([tuple([number.setdefault(x, len(number)) for x in ls]) for ls in labels])
    sums = len(number) > rank
    kept = [number[x] for x in carried if number[x] < rank]
    if sums and (kept if len(rows) == 1 else sorted(kept)) != list(range(rank)):
        return None
    if len(rows) == 1 and rows[0] == tuple(range(rank)):
        return None
    return rows, tuple([size[x] for x in out]), sums


def resolve_deltas(
    deltas: list[list[int]],
    used: list[tuple[Expr, list[int]]],
    size: dict[int, Size],
    wanted: set[int],
) -> list[list[int]]:
    """Contract every δ that has a summed label (a renaming); return those that stay."""
    kept: list[list[int]] = []
    work = list(deltas)
    while work:
        a, b = work.pop()
        if a == b:
            continue
        if size[a] != size[b] and 1 not in (size[a], size[b]):
            raise ShapeError(f"an identity joins sizes {size[a]} and {size[b]}")
        if b not in wanted:
            gone, stays = b, a
        elif a not in wanted:
            gone, stays = a, b
        else:
            kept.append([a, b])
            continue
        for _, ls in used:
            for k, label in enumerate(ls):
                if label == gone:
                    ls[k] = stays
        for pair in [*work, *kept]:
            for k, label in enumerate(pair):
                if label == gone:
                    pair[k] = stays
        del size[gone]
    unique: list[list[int]] = []
    for pair in kept:
        pair.sort()
        if pair[0] != pair[1] and pair not in unique:
            unique.append(pair)
    return unique


def numbered(used: list[tuple[Expr, list[int]]], out: list[int]) -> tuple[int, tuple[Labels, ...]]:
    """How many labels there are, and those of every factor: outputs first, then by first use."""
    number = {label: k for k, label in enumerate(out)}
    rows: list[Labels] = []
    count = len(out)
    for _, ls in used:
        row: list[int] = []
        for label in ls:
            if label < 0:
                row.append(-1)
                continue
            found = number.get(label)
            if found is None:
                found = number[label] = count
                count += 1
            row.append(found)
        rows.append(tuple(row))
    return count, tuple(rows)


MOST_ORDERS = 100
"""Orders of equal factors that are tried."""


def best_order(
    used: list[tuple[Expr, list[int]]], out: list[int], labels: tuple[Labels, ...]
) -> tuple[int, tuple[Labels, ...], list[tuple[Expr, list[int]]]]:
    """Among orders of equal factors, the one with the smallest labels."""
    groups = [list(group) for _, group in groupby(used, key=lambda pair: pair[0])]
    best, order = labels, used
    ways = [list(permutations(g)) if 1 < len(g) <= 4 else [tuple(g)] for g in groups]
    while math.prod(map(len, ways)) > MOST_ORDERS:
        k = max(range(len(ways)), key=lambda k: len(ways[k]))
        ways[k] = ways[k][:1]
    for chosen in product(*ways):
        trial = [pair for group in chosen for pair in group]
        rows = numbered(trial, out)[1]
        if rows < best:
            best, order = rows, trial
    return numbered(order, out)[0], best, list(order)
