"""Kronecker products in formulas: inverses and determinants of their sides, transposes, common sides."""

from __future__ import annotations

from collections.abc import Iterator

from symgrad.core.build import (
    DELTA,
    ONE,
    SUM,
    Term,
    contract,
    linear,
    permute,
    relabelling,
    terms_of,
)
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import monomial, size_product
from symgrad.lower.kronecker import components, identity_pairs, kronecker, paired
from symgrad.ops.structure import reshape


def product(a: Expr, b: Expr) -> Expr:
    """A ⊗ B of two matrices."""
    made = contract([a, b], [(0, 2), (1, 3)], range(4), dtype=a.dtype)
    rows, columns = (size_product(pair) for pair in zip(a.shape, b.shape, strict=True))
    return reshape(made, (rows, columns))


def sides_apart(e: Expr) -> Expr:
    """(A ⊗ B)⁻¹ = A⁻¹ ⊗ B⁻¹, log det (A ⊗ B) = m log det A + n log det B of n×n and m×m."""
    if e.op.name not in ("inv", "logdet") or e.args[0].ndim != 2:
        return e
    sides = kronecker(e.args[0])
    if sides is None or any(a.shape[0] != a.shape[1] for a in sides):
        return e
    a, b = sides
    if e.op.name == "inv":
        return product(e.func(a), e.func(b))
    rows = [(monomial(b.shape[0]), e.func(a), ()), (monomial(a.shape[0]), e.func(b), ())]
    return linear(rows, (), e.dtype)


def turned_sides(e: Expr) -> Expr:
    """(A ⊗ B)ᵀ = Aᵀ ⊗ Bᵀ."""
    sides = kronecker(e.args[0]) if relabelling(e) == (1, 0) else None
    return e if sides is None else product(*(permute(a, (1, 0)) for a in sides))


def vectors_apart(e: Expr) -> Expr:
    """vec(A) vec(B)ᵀ, diag(vec A) C diag(vec B) of a matrix whose axes are pairs of axes."""
    inner = paired(e)
    if inner is None or identity_pairs(e) is not None:
        return e
    sides: dict[bool | None, list[tuple[Expr, Labels]]] = {}
    numbers: list[tuple[Expr, Labels]] = []
    for axes, group in components(inner):
        side = None if axes not in ({0, 1}, {2, 3}) else axes == {0, 1}
        (sides.setdefault(side, []) if axes else numbers).extend(group)
    if {*sides} <= {None}:
        return e
    rows = list(numbers)
    for side, group in sides.items():
        out = range(4) if side is None else (0, 1) if side else (2, 3)
        sizes = {x: inner.shape[x] for x in out}
        made = contract([a for a, _ in group], [ls for _, ls in group], out, sizes, e.dtype)
        at = (0, 1) if side is None else (0,) if side else (1,)
        rows.append((reshape(made, tuple(e.shape[x] for x in at)), at))
    sizes = dict(enumerate(e.shape))
    return contract([a for a, _ in rows], [ls for _, ls in rows], (0, 1), sizes, e.dtype)


def split_identity(e: Expr) -> Expr:
    """Σ A[b] I[(i, j), b] = A[(i, j)]: an axis of a product that an identity of pairs gives.

    The identity of pairs is one identity for each of them, so that no matrix of all pairs is made.
    """
    for k, (a, ls) in enumerate(zip(e.args, e.params[0], strict=True)):
        if a.op.name != "reshape" or a.args[0].op is not DELTA or a.ndim < 3:
            continue
        whole = next((j for j in (0, a.ndim - 1) if a.shape[j] == a.args[0].shape[0]), None)
        if whole is None or not 0 <= ls[whole] < e.ndim:
            continue
        at = ls[whole]
        if sum(x == at for row in e.params[0] for x in row) > 1:
            continue
        parts = [j for j in range(a.ndim) if j != whole]
        more = len(parts) - 1
        moved = {x: x + more * (x > at) for row in e.params[0] for x in row}
        args = [b for j, b in enumerate(e.args) if j != k]
        rows = [tuple(moved[x] for x in row) for j, row in enumerate(e.params[0]) if j != k]
        for i, j in enumerate(parts):
            args.append(DELTA.build((), (a.shape[j], e.dtype)))  # type: ignore[misc]
            rows.append((at + i, moved[ls[j]]))
        shape = (*e.shape[:at], *(a.shape[j] for j in parts), *e.shape[at + 1 :])
        made = contract(args, rows, range(len(shape)), dict(enumerate(shape)), e.dtype)
        return reshape(made, e.shape)
    return e


def common_side(e: Expr) -> Iterator[Expr]:
    """A ⊗ C + B ⊗ C = (A + B) ⊗ C, and so for the other side."""
    if e.op is not SUM or e.ndim != 2:
        return
    natural: Labels = (0, 1)
    terms = terms_of(e)
    found = [kronecker(a) if ls == natural else None for _, a, ls in terms]
    for side in (0, 1):
        groups: dict[Expr, list[int]] = {}
        for k, pair in enumerate(found):
            if pair is not None:
                groups.setdefault(pair[side], []).append(k)
        for shared, members in groups.items():
            if len(members) < 2:
                continue
            inner: list[Term] = [
                (terms[k][0], pair[1 - side], natural) for k in members if (pair := found[k])
            ]
            total = linear(inner, inner[0][1].shape, e.dtype)
            made = product(shared, total) if side == 0 else product(total, shared)
            rest = [t for k, t in enumerate(terms) if k not in members]
            yield linear([*rest, (ONE, made, natural)], e.shape, e.dtype)


__all__ = [
    "common_side",
    "product",
    "sides_apart",
    "split_identity",
    "turned_sides",
    "vectors_apart",
]
