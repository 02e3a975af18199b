"""Jacobians and Hessians as linear maps: one reverse sweep whose seed is a δ."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from symgrad.autodiff import gradient, pull_back
from symgrad.core.build import contract, delta, zeros
from symgrad.core.expr import Expr, facts_of, symbol
from symgrad.core.facts import SYMMETRIC
from symgrad.core.traverse import leaves, topological
from symgrad.simplify import simplify
from symgrad.simplify.algebra import Normal
from symgrad.structured.operator import LinearMap


def seed_of(e: Expr) -> Expr:
    """δ over all axes of ``e``: rows, then the axes themselves."""
    rank = e.ndim
    eyes = [delta(s, e.dtype) for s in e.shape]
    pairs = [(k, rank + k) for k in range(rank)]
    sizes = dict(enumerate((*e.shape, *e.shape)))
    return contract(eyes, pairs, range(2 * rank), sizes, e.dtype)


def jacobian(y: Expr, x: Expr, values: Collection[Expr] = ()) -> LinearMap:
    """∂y/∂x, entry ``[y…, x…]``; ``values`` stay whole in it, as all that ``y`` computes."""
    (y,) = simplify([y])
    (found,) = pull_back({y: seed_of(y)}, [x])
    if found is None:
        found = zeros((*y.shape, *x.shape), x.dtype)
        return LinearMap(found, y.ndim)
    stand_in = symbol("u", y.shape, y.dtype, number=-6)

    def back(u: Expr) -> Expr:
        return _pulled(y, u, x)

    def forth(v: Expr) -> Expr:
        """``uᵀ J`` is linear in ``u``; swept again for ``u`` it gives ``J v``."""
        return _pulled(back(stand_in), v, stand_in)

    kept = values or set(topological([y]))
    return LinearMap(found, y.ndim, kept, sweeps=(forth, back))


def _pulled(y: Expr, seed: Expr, x: Expr) -> Expr:
    (found,) = pull_back({y: seed}, [x])
    return zeros(x.shape, x.dtype) if found is None else found


def hessian(value: Expr, wanted: Sequence[Expr]) -> list[list[LinearMap]]:
    """∂²value/∂x∂y of a scalar for all pairs, entry ``[x…, y…]``."""
    (value,) = simplify([value])
    values = set(topological([value]))
    found = gradient(value, wanted)
    declared = any({"orthogonal", *SYMMETRIC} & {*facts_of(x)} for x in leaves(found))
    if declared and not any(map(facts_of, wanted)):  # what is declared stays while x moves
        found = Normal().of(found)
    return [[jacobian(g, y, values) for y in wanted] for g in found]
