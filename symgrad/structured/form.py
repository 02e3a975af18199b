"""What a linear map prints as: ``Xᵀ diag(p) X + λ I(d)``, ``2 I(n) ⊗ (Vᵀ V)``, ``diag(p) − p pᵀ``.

As a matrix both sides are read by rows, so an axis is a factor of ⊗.  Where a term is no product
over axes the whole map prints in index form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.core.build import DELTA, contract
from symgrad.core.expr import Expr, symbol
from symgrad.core.numbers import Number, plus
from symgrad.core.sizes import ONE, Monomial
from symgrad.derivation.concise import concise
from symgrad.derivation.form import Slot, indexed
from symgrad.derivation.formula import form_of
from symgrad.derivation.matrix_form import Recogniser, sum_form
from symgrad.derivation.notation import Form, call, name, product, scaled, transposed
from symgrad.derivation.order import Written
from symgrad.derivation.shifts import absolute
from symgrad.ops.structure import is_selection
from symgrad.structured.operator import LinearMap
from symgrad.structured.terms import Factor, Term

ONES = name("1")
"""The vector of ones."""
Names = Callable[[Expr], Form | None]
Rows = list[tuple[Monomial, Form]]


def structure_form(
    m: LinearMap, written: Written, named: Names
) -> tuple[Form, tuple[Form, ...], bool]:
    """(form, indices of its left-hand side, is it a matrix with vec by rows?)."""
    recogniser = Recogniser(named, written)
    totals: dict[tuple[Form, Any], Number] = {}  # by form and letters of the coefficient
    for t in m.terms:
        made = _term(t, m, recogniser) or _summed(t, m, recogniser)
        if made is None:
            whole, at = form_of(m.dense(), written, named)
            return whole, at, False
        c, key = t.coefficient, (made, t.coefficient.powers)
        totals[key] = plus(totals[key], c.number) if key in totals else c.number
    rows = [(Monomial(c, powers), form) for (form, powers), c in totals.items() if c]
    if not rows:
        return Form("number", (), Monomial(ONE.number * 0)), (), False
    rows = _one_diagonal(_one_side(rows))
    rows.sort(key=lambda row: (row[0].number < 0, _plain(row[1])))
    return sum_form(rows), (), max(m.outputs, m.rank - m.outputs) > 1


def _one_diagonal(rows: Rows) -> Rows:
    """diag(a) + diag(b) = diag(a + b)."""
    inside = [(c, f.items[0]) for c, f in rows if f.kind == "call" and f.data == "diag"]
    if len(inside) < 2:
        return rows
    rest = [row for row in rows if row[1].kind != "call" or row[1].data != "diag"]
    c, total = _split(sum_form(inside))
    return [*rest, (c, call("diag", total))]


def _one_side(rows: Rows) -> Rows:
    """A ⊗ B + s (C ⊗ B) = (A + s C) ⊗ B, and under one Σ."""
    for k in (0, 1):
        groups: dict[object, list[tuple[Monomial, Form, Form]]] = {}
        for c, form in rows:
            slots = form.data if form.kind == "total" else ()
            body = form.items[0] if slots else form
            *front, last = body.items if body.kind == "product" else (body,)
            if last.kind == "kron" and len(last.items) == 2:
                side = product([*front, last.items[k]])
                groups.setdefault((slots, last.items[1 - k]), []).append((c, form, side))
            else:
                groups[form] = [(c, form, form)]
        rows = []
        for key, group in groups.items():
            if len(group) == 1 or not isinstance(key, tuple):
                rows += [(c, form) for c, form, _ in group]
                continue
            slots, shared = key
            sides = sorted(((c, side) for c, _, side in group), key=lambda row: row[0].number < 0)
            sizes = {absolute(c) for c, _ in sides}
            front = sizes.pop() if len(sizes) == 1 else ONE
            c, total = _split(sum_form([(c / front, side) for c, side in sides]))
            c = c * front
            whole = Form("kron", (total, shared)[:: 1 - 2 * k])
            rows.append((c, Form("total", (whole,), slots) if slots else whole))
    return rows


def _split(form: Form) -> tuple[Monomial, Form]:
    """The number in front of a form, and the rest."""
    return (form.data, form.items[0]) if form.kind == "scale" else (ONE, form)


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


@dataclass(frozen=True, slots=True)
class Part:
    """A factor of ⊗: a matrix over an axis of each side, or a vector over axes of one side."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    form: Form


def _term(t: Term, m: LinearMap, recogniser: Recogniser) -> Form | None:
    """The matrix form of a term without its coefficient, or None."""
    groups = _groups(t, m)
    if groups is None:
        return None
    name = {high: low for low, high in t.pairs()}
    scalars: list[Factor] = []
    parts: list[Part] = []
    for axes, factors in groups:
        if not axes:
            scalars += factors
            continue
        out = sorted({name.get(x, x) for x in axes})
        made = _value(factors, out, t, m, recogniser) or _between(factors, out, t, m, recogniser)
        if made is None:
            return None
        rows = tuple(sorted(x for x in axes if x < m.outputs))
        columns = tuple(sorted(x - m.outputs for x in axes if x >= m.outputs))
        several = made if len(out) == 1 else call("vec", made)
        if not rows or not columns:
            parts.append(Part(rows, columns, several))
        elif len(out) == len(rows) == len(columns):  # each row is joined with a column
            if [name.get(x + m.outputs) for x in columns] != list(rows):
                return None
            unit = Form("identity", (), t.sizes[out[0]])
            parts.append(Part(rows, columns, call("diag", several) if factors else unit))
        elif len(rows) == len(columns) == 1:
            parts.append(Part(rows, columns, made))
        else:
            return None
    front = _value(scalars, [], t, m, recogniser)
    return None if front is None else _assembled(m, front, parts)


def _summed(t: Term, m: LinearMap, recogniser: Recogniser) -> Form | None:
    """Σᵢ diag(P[i,:]) ⊗ (X[i,:] X[i,:]ᵀ): the form of a term where one index that is summed stands."""
    for label in [x for x in t.sizes if x >= m.rank]:
        if all(label not in ls or len(ls) == 1 for _, ls in t.factors):
            continue
        here = Slot(t.sizes[label], 0)
        names: dict[Expr, Form] = {}
        factors: list[Factor] = []
        for number, (e, ls) in enumerate(t.factors):
            if label not in ls:
                factors.append((e, ls))
                continue
            form = recogniser.form(e)
            if form is None or form.kind == "number" or e.op is DELTA or is_selection(e):
                break
            axes = [k for k, x in enumerate(ls) if x != label]
            row = symbol(f"row {number}", tuple(e.shape[k] for k in axes), e.dtype, number=-7)
            at = [Form("all") if k in axes else Form("slot", (), here) for k in range(len(ls))]
            names[row] = indexed(form, at)
            factors.append((row, tuple(ls[k] for k in axes)))
        else:
            sizes = {x: s for x, s in t.sizes.items() if x != label}

            def named(e: Expr, rows: Mapping[Expr, Form] = names) -> Form | None:
                return rows.get(e) or recogniser.named(e)

            inner = Recogniser(named, recogniser.written)
            made = _term(Term(ONE, tuple(factors), sizes), m, inner)
            if made is not None and made.kind == "call" and made.data == "diag":
                return call("diag", Form("total", made.items, (here,)))
            if made is not None:
                return Form("total", (made,), (here,))
    return None


def _assembled(m: LinearMap, front: Form, parts: list[Part]) -> Form | None:
    """⊗ over the axes in their order; a vector over rows meets the next one over columns."""
    carried = {x for p in parts for x in p.rows}, {x for p in parts for x in p.columns}
    left = [
        *parts,  # an axis that nothing carries is all ones
        *(Part((x,), (), ONES) for x in range(m.outputs) if x not in carried[0]),
        *(Part((), (x,), ONES) for x in range(m.rank - m.outputs) if x not in carried[1]),
    ]
    made: list[Form] = []
    row = column = 0
    while left:
        ready = [p for p in left if _follows(p.rows, row) and _follows(p.columns, column)]
        over_rows = next((p for p in ready if not p.columns), None)
        over_columns = next((p for p in ready if not p.rows), None)
        if not ready:
            return None
        if over_rows and over_columns:
            chosen = [over_rows, over_columns]
            form = product([over_rows.form, transposed(over_columns.form)])
        else:
            chosen = ready[:1]
            form = ready[0].form if ready[0].rows else transposed(ready[0].form)
        made.append(form)
        left = [p for p in left if p not in chosen]
        row += sum(len(p.rows) for p in chosen)
        column += sum(len(p.columns) for p in chosen)
    factor, scalars = (front.data, []) if front.kind == "number" else (ONE, [front])
    if len(made) < 2:
        return scaled(factor, product([*scalars, *made]))
    inner: list[Form] = []
    for p in made:
        while p.kind == "scale":
            factor, p = factor * p.data, p.items[0]
        inner.append(p)
    return scaled(factor, product([*scalars, Form("kron", tuple(inner))]))


def _follows(axes: Sequence[int], at: int) -> bool:
    return list(axes) == list(range(at, at + len(axes)))


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
