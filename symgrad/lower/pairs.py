"""Contraction order: products of three and more factors become pairs, chosen late.

The order comes from opt_einsum over all factors of a product, asked only from three factors up and
remembered; the pairs are built by the constructors again, so that equal partial products of
several gradients are one node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

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
        if operands:
            needed = {*out, *(x for _, ls in operands for x in ls)}
            seen = dict.fromkeys(x for _, ls in chosen for x in ls if x >= 0)
            kept: Sequence[int] = tuple(x for x in seen if x in needed)
        else:
            kept = out
        shape = {x: extents[x] for x in kept}
        part = contract([a for a, _ in chosen], [ls for _, ls in chosen], kept, shape, dtype)
        operands.append((part, tuple(kept)))
    return operands[0][0]


def numbered(extents: Mapping[int, Size], sizes: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """(label, extent as a number) of all labels."""
    return tuple(sorted((x, extent_of(s, sizes)) for x, s in extents.items()))


def extent_of(size: Size, sizes: Mapping[str, int]) -> int:
    """A number for a size, assumed where its letters are not known."""
    if isinstance(size, int):
        return max(size, 1)
    assert isinstance(size, Monomial)
    table = {name: sizes.get(name, ASSUMED) for name in size.letters}
    return max(int(size.value(table)), 1)


@lru_cache(maxsize=4096)
def path_of(
    labels: tuple[Labels, ...], out: Collection[int], sizes: tuple[tuple[int, int], ...]
) -> tuple[tuple[tuple[int, ...], ...], float]:
    """opt_einsum's order of a product: places of the factors of each step, and what it costs."""
    names = {x: opt_einsum.get_symbol(k) for k, (x, _) in enumerate(sizes)}
    carried = {x for ls in labels for x in ls}
    kept = "".join(names[x] for x in sorted(out) if x in carried)
    spelled = ",".join("".join(names[x] for x in ls if x >= 0) for ls in labels)
    extents = dict(sizes)
    shapes = [tuple(extents[x] for x in ls if x >= 0) for ls in labels]
    strategy = "optimal" if len(labels) <= 5 else "auto"
    path, told = opt_einsum.contract_path(
        f"{spelled}->{kept}", *shapes, shapes=True, optimize=strategy
    )
    return tuple(tuple(step) for step in path), float(told.opt_cost)
