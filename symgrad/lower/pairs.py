"""Contraction order: products of three and more factors become pairs, chosen late.

The order comes from opt_einsum over all factors of a product, asked only from three factors up and
remembered; the pairs are built by the constructors again, so that equal partial products of
several gradients are one node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from math import prod

from symgrad_codegen.lazy import lazy

from symgrad.core.build import CONTRACTION, DELTA, contract
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import transform

opt_einsum = lazy("opt_einsum")

ASSUMED = 64
"""Extent assumed for a size letter; the first letter of a program (its data) counts as larger."""


def order_contractions(roots: Sequence[Expr], sizes: Mapping[str, int] | None = None) -> list[Expr]:
    """``roots`` with every summed product of three or more factors in pairs."""
    known = dict(sizes or {})
    new = transform(roots, lambda e: paired(e, known))
    return [new[r] for r in roots]


def paired(e: Expr, sizes: Mapping[str, int]) -> Expr:
    """One contraction as a tree of pairs; anything else as it is."""
    if e.op is not CONTRACTION or not e.sums or len(e.args) < 3:
        return e
    if any(a.op is DELTA for a in e.args):
        return e
    labels = e.params[0]
    widest = max(len({x for x in ls if x >= 0}) for ls in labels)
    if len({x for ls in labels for x in ls if x >= 0}) == widest:
        return e
    factors = list(zip(e.args, labels, strict=True))
    return in_pairs(factors, range(e.ndim), extents_of(e), e.dtype, sizes)


def extents_of(e: Expr) -> dict[int, Size]:
    """The size of every label of a contraction, the summed ones too."""
    extents: dict[int, Size] = dict(enumerate(e.shape))
    for a, ls in zip(e.args, e.params[0], strict=True):
        extents.update({x: a.shape[k] for k, x in enumerate(ls) if x >= 0})
    return extents


def in_pairs(
    factors: Sequence[tuple[Expr, Labels]],
    out: Sequence[int],
    extents: Mapping[int, Size],
    dtype: DType,
    sizes: Mapping[str, int],
) -> Expr:
    """``Σ Π factors`` with its axes at ``out``, two factors at a time in the cheapest order."""
    operands = list(factors)
    labels = tuple(ls for _, ls in factors)
    path, _ = path_of(labels, tuple(out), numbered(extents, sizes))
    for step in path:
        chosen = [operands[k] for k in step]
        operands = [o for k, o in enumerate(operands) if k not in step]
        needed = {*out, *(x for _, ls in operands for x in ls)}
        kept = kept_labels([ls for _, ls in chosen], needed) if operands else tuple(out)
        shape = {x: extents[x] for x in kept}
        part = contract([a for a, _ in chosen], [ls for _, ls in chosen], kept, shape, dtype)
        operands.append((part, kept))
    return operands[0][0]


def kept_labels(rows: Sequence[Labels], needed: Collection[int]) -> Labels:
    """Labels of a product of factors in the order in which it is made without moving axes.

    Rows of the left, columns of the right; the axes of the largest factor first, unless it is
    summed over its first.
    """
    rows = sorted(rows, key=len, reverse=True)
    if len(rows) == 2:
        left, right = rows
        summed = {*left} & {*right} - {*needed}
        same = len(left) == len(right)
        behind = summed.intersection(right[-1:] if same else left[:1])
        if behind and not summed.intersection(left[-1:]):
            rows = [right, left]
    seen = dict.fromkeys(x for ls in rows for x in ls if x >= 0)
    return tuple(x for x in seen if x in needed)


def numbered(extents: Mapping[int, Size], sizes: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """(label, extent as a number) of all labels."""
    return tuple(sorted((x, extent_of(s, sizes)) for x, s in extents.items()))


def extent_of(size: Size, sizes: Mapping[str, int]) -> int:
    """A number for a size, assumed where its letters are not known."""
    if isinstance(size, int):
        return max(size, 1)
    assert isinstance(size, Monomial)
    return _assumed(size) if not sizes else _number(size, sizes)


@lru_cache(maxsize=4096)
def _assumed(size: Monomial) -> int:
    return _number(size, {})


def _number(size: Monomial, sizes: Mapping[str, int]) -> int:
    table = {name: sizes.get(name, ASSUMED) for name in size.letters}
    return max(int(size.value(table)), 1)


Path = tuple[tuple[int, ...], ...]
BATCHED = 2.0
"""How much longer a product of batches of matrices takes than one product of as many operations."""

ENDS = 6
"""Factors that an order is tried from."""


@lru_cache(maxsize=4096)
def path_of(
    labels: tuple[Labels, ...], out: Collection[int], sizes: tuple[tuple[int, int], ...]
) -> tuple[Path, float]:
    """The cheapest order known of a product: places of the factors of each step, and what it costs.

    Orders are opt_einsum's, and those that start at a factor of the result's axes and take up one
    after another.
    """
    names = {x: opt_einsum.get_symbol(k) for k, (x, _) in enumerate(sizes)}
    carried = {x for ls in labels for x in ls}
    kept = "".join(names[x] for x in sorted(out) if x in carried)
    spelled = ",".join("".join(names[x] for x in ls if x >= 0) for ls in labels)
    extents = dict(sizes)
    shapes = [tuple(extents[x] for x in ls if x >= 0) for ls in labels]
    strategy = "optimal" if len(labels) <= 5 else "auto"
    found, _ = opt_einsum.contract_path(
        f"{spelled}->{kept}", *shapes, shapes=True, optimize=strategy
    )
    path: Path = tuple(tuple(step) for step in found)
    rows = [frozenset(ls) - {-1} for ls in labels]
    best = path, _cost_of(path, rows, frozenset(out), extents)
    if len(labels) > 3:
        ends = [k for k, r in enumerate(rows) if r & frozenset(out)] or range(len(rows))
        for k in ends[:ENDS]:
            swept = _sweep(k, rows, frozenset(out), extents)
            cost = _cost_of(swept, rows, frozenset(out), extents)
            if cost < best[1]:
                best = swept, cost
    return best


Axes = frozenset[int]


def _step(one: Axes, two: Axes, needed: Axes, extents: Mapping[int, int]) -> tuple[float, Axes]:
    """Operations of a product of two factors, and the axes that it has."""
    every = one | two
    kept = every & needed
    work = float(prod(extents[x] for x in every))
    if kept == every:
        return work, kept
    batched = one & two & kept and one - two and two - one
    return work * 2 * (BATCHED if batched else 1), kept


def _cost_of(path: Path, rows: Sequence[Axes], out: Axes, extents: Mapping[int, int]) -> float:
    """Operations of a product in an order."""
    operands, total = list(rows), 0.0
    for step in path:
        chosen = [operands[k] for k in step]
        operands = [o for k, o in enumerate(operands) if k not in step]
        needed = out.union(*operands)
        made = chosen[0]
        if len(chosen) == 1 and not made <= needed:
            total += prod(extents[x] for x in made)
        for j, other in enumerate(chosen[1:], start=2):
            work, made = _step(made, other, needed.union(*chosen[j:]), extents)
            total += work
        operands.append(made & needed)
    return total


def _sweep(start: int, rows: Sequence[Axes], out: Axes, extents: Mapping[int, int]) -> Path:
    """From one factor on, always the one that leaves the smallest product, with the least work."""
    operands = [*(r for k, r in enumerate(rows) if k != start), rows[start]]
    places = [*(k for k in range(len(rows)) if k != start), start]
    path: list[tuple[int, ...]] = []
    times = Counter(x for r in rows for x in r)
    while len(operands) > 1:
        last = len(operands) - 1
        choices: list[tuple[int, float, int, Axes]] = []
        for k in range(last):
            one, two = operands[last], operands[k]
            needed = frozenset(
                x for x in one | two if x in out or times[x] > (x in one) + (x in two)
            )
            work, kept = _step(one, two, needed, extents)
            choices.append((prod(extents[x] for x in kept), work, k, kept))
        *_, k, kept = min(choices, key=lambda c: c[:3])
        path.append((k, last) if path else tuple(sorted((places[k], start))))
        times.subtract(operands[last])
        times.subtract(operands[k])
        times.update(kept)
        operands = [*operands[:k], *operands[k + 1 : last], kept]
    return tuple(path)
