"""What a linear map prints as: ``Xᵀ diag(p) X + λ I(d)``, ``2 I(n) ⊗ (Vᵀ V)``, ``diag(p) − p pᵀ``.

As a matrix both sides are read by rows, so an axis is a factor of ⊗.  Where a term is no product
over axes the whole map prints in index form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.core.build import contract
from symgrad.core.expr import Expr
from symgrad.core.numbers import Number, plus
from symgrad.core.sizes import ONE, Monomial
from symgrad.derivation.concise import concise
from symgrad.derivation.formula import form_of
from symgrad.derivation.matrix_form import Recogniser, sum_form
from symgrad.derivation.notation import Form, call, name, product, scaled, transposed
from symgrad.derivation.order import Written
from symgrad.derivation.powers import powers
from symgrad.structured.operator import LinearMap
from symgrad.structured.terms import Factor, Term, is_selection

ONES = name("1")
"""The vector of ones."""
Names = Callable[[Expr], Form | None]


def structure_form(
    m: LinearMap, written: Written, named: Names
) -> tuple[Form, tuple[Form, ...], bool]:
    """(form, indices of its left-hand side, is it a matrix with vec by rows?)."""
    recogniser = Recogniser(named, written)
    totals: dict[tuple[Form, Any], Number] = {}  # by form and letters of the coefficient
    for t in m.terms:
        made = _term(t, m, recogniser)
        if made is None:
            whole, at = form_of(m.dense(), written, named)
            return whole, at, False
        c, key = t.coefficient, (made, t.coefficient.powers)
        totals[key] = plus(totals[key], c.number) if key in totals else c.number
    rows = [(Monomial(c, powers), form) for (form, powers), c in totals.items() if c]
    if not rows:
        return Form("number", (), Monomial(ONE.number * 0)), (), False
    rows.sort(key=lambda row: (row[0].number < 0, _plain(row[1])))
    return sum_form(rows), (), max(m.outputs, m.rank - m.outputs) > 1


def shorter(m: LinearMap) -> LinearMap:
    """The map whose entries are written in fewer operations."""
    return LinearMap(concise(m.dense()), m.outputs, m.values)


def _plain(form: Form) -> int:
    """Products first, then diagonals, then multiples of I."""
    stack, identity = [form], False
    while stack:
        part = stack.pop()
        identity = identity or part.kind == "identity"
        stack.extend(part.items if part.kind in ("product", "scale") else ())
    return int(identity)


def _groups(t: Term, m: LinearMap) -> list[tuple[set[int], list[Factor]]] | None:
    """Axes of each side that belong together, with the factors over them; scalars last."""
    name = {high: low for low, high in t.pairs()}
    groups: list[tuple[set[int], set[int], list[Factor]]] = []
    for low, high in t.pairs():
        if low >= m.outputs or high < m.outputs:
            return None
        groups.append(({low, high}, {low, high}, []))
    for e, ls in t.others():
        if is_selection(e) or any(x < 0 for x in ls):
            return None
        touched = set(ls)
        moved = tuple(name.get(x, x) for x in ls)
        mine = [g for g in groups if g[1] & touched]
        groups = [g for g in groups if g not in mine]
        labels = touched.union(*(g[1] for g in mine))
        groups.append(
            (
                {x for x in labels if x < m.rank},
                labels,
                [*(f for g in mine for f in g[2]), (e, moved)],
            )
        )
    return [(axes, factors) for axes, _, factors in groups]


def _term(t: Term, m: LinearMap, recogniser: Recogniser) -> Form | None:
    """The matrix form of a term without its coefficient, or None."""
    groups = _groups(t, m)
    if groups is None:
        return None
    name = {high: low for low, high in t.pairs()}
    scalars: list[Form] = []
    blocks: dict[int, Form] = {}
    left: dict[int, Form] = {}
    right: dict[int, Form] = {}
    for axes, factors in groups:
        out = sorted({name.get(x, x) for x in axes})
        made = _value(factors, out, t, m, recogniser) or _between(factors, out, t, m, recogniser)
        if made is None:
            return None
        rows = sorted(x for x in axes if x < m.outputs)
        columns = sorted(x - m.outputs for x in axes if x >= m.outputs)
        if not axes:
            scalars.append(made)
        elif len(rows) == 1 and rows == columns:
            merged = len(out) == 1
            size = t.sizes[out[0]]
            blocks[rows[0]] = (
                made if not merged else call("diag", made) if factors else
                Form("identity", (), size)
            )  # fmt: skip
        elif len(rows) == 1 and not columns:
            left[rows[0]] = made
        elif len(columns) == 1 and not rows:
            right[columns[0]] = made
        elif rows == columns and len(out) == len(rows) and len(rows) == m.outputs and factors:
            blocks[0] = call("diag", call("vec", made))
            if m.rank != 2 * m.outputs:
                return None
            return product([*powers(scalars), blocks[0]])
        else:
            return None
    return _assembled(m, scalars, blocks, left, right)


def _assembled(
    m: LinearMap,
    scalars: list[Form],
    blocks: dict[int, Form],
    left: dict[int, Form],
    right: dict[int, Form],
) -> Form | None:
    """⊗ over the axes, an axis being a square block or a column times a row."""
    outputs, inputs = m.outputs, m.rank - m.outputs
    if outputs == inputs:
        parts: list[Form] = []
        for k in range(outputs):
            if k in blocks:
                parts.append(blocks[k])
            else:  # an axis that nothing carries is all ones
                parts.append(product([left.get(k, ONES), transposed(right.get(k, ONES))]))
    elif blocks or len(left) != outputs or len(right) != inputs or max(outputs, inputs) > 1:
        return None
    else:
        parts = [left[k] for k in sorted(left)] + [transposed(right[k]) for k in sorted(right)]
    if len(parts) == 1:
        return product([*powers(scalars), parts[0]])
    if not parts:
        return product(powers(scalars))
    inner: list[Form] = []
    factor = ONE
    for p in parts:
        while p.kind == "scale":
            factor, p = factor * p.data, p.items[0]
        inner.append(p)
    return scaled(factor, product([*powers(scalars), Form("kron", tuple(inner))]))


def _between(
    factors: Sequence[Factor], out: list[int], t: Term, m: LinearMap, recogniser: Recogniser
) -> Form | None:
    """``diag(a) M diag(b)``: vectors over the rows and over the columns stand beside the rest."""
    if len(out) != 2:
        return None
    sides = [[f for f in factors if set(f[1]) == {x}] for x in out]
    core = [f for f in factors if f not in sides[0] and f not in sides[1]]
    middle = _value(core, out, t, m, recogniser) if core else None
    if middle is None:
        return None
    parts: list[Form] = []
    for side, x in zip(sides, out, strict=True):
        vector = _value(side, [x], t, m, recogniser) if side else None
        if side and vector is None:
            return None
        parts.append(middle if vector is None else call("diag", vector))
    left, right = ([p] if side else [] for p, side in zip(parts, sides, strict=True))
    return product([*left, middle, *right])


def _value(
    factors: Sequence[Factor], out: list[int], t: Term, m: LinearMap, recogniser: Recogniser
) -> Form | None:
    """The form of the product of some factors with axes at ``out``."""
    if not factors:
        return Form("number", (), ONE)
    sizes = {x: t.sizes[x] for x in out}
    e = contract([f for f, _ in factors], [ls for _, ls in factors], out, sizes, m.expr.dtype)
    return recogniser.form(e)
