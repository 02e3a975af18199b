"""Products and sums as a person writes them, for formulas to read.

A product of many factors is a network: factors meet in pairs, in the order that takes the fewest
operations, then the least work.  What stands under a fraction bar divides; ``diag``, ``outer``,
``trace``, ``norm``, ``mean`` have their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from symgrad_codegen.program import (
    SUM,
    Apply,
    Literal,
    Operand,
    infix,
    prefix,
    text,
)

from symgrad.core.build import CONTRACTION, DELTA, constant_value, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import ONE, Monomial, Size, monomial
from symgrad.lower.align import (
    OVER,
    TIMES,
    aligned,
    coefficient_operand,
    fraction_operands,
    in_shape,
    plain,
    product_of,
    scaled,
    size_operands,
    spans,
    with_shape,
)
from symgrad.lower.kronecker import identity_pairs, kronecker, vectors
from symgrad.lower.network import MATMUL, exponent, network
from symgrad.lower.orders import Factor, Name, added, within
from symgrad.lower.terms import common_content

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering

OUTER = text("outer({0}, {1})")
PLUS = infix("+", SUM)
MINUS = infix("-", SUM)
NEGATIVE = prefix("-")


def base_and_exponent(e: Expr) -> tuple[Expr, Fraction | float]:
    """``x``, p for xᵖ; x, 1 for anything else."""
    if e.op.name == "power":
        return e.args[0], e.params[2][0]
    return e, Fraction(1)


def squares(e: Expr) -> Expr | None:
    """x where e is Σ x², over all its entries."""
    if e.op is CONTRACTION and not e.shape and len(e.args) == 2 and e.args[0] is e.args[1]:
        row = e.params[0][0]
        x = e.args[0]
        if row == e.params[0][1] and x.shape and len(set(row)) == len(row) and x.dtype.kind == "f":
            return x
    return None


def raised(state: Lowering, e: Expr, p: Fraction | float) -> Operand:
    """``eᵖ`` for p > 0, in the words norm, sqrt, ``**``."""
    if p == 1:
        return state.value(e)
    x = squares(e)
    if x is not None and isinstance(p, Fraction) and p.denominator == 2:
        return _power(Apply(text("norm({0})"), (state.value(x),)), p * 2)
    if p == Fraction(1, 2):
        return Apply(text("jnp.sqrt({0})"), (state.value(e),))
    return _power(state.value(e), p)


def _power(value: Operand, p: Fraction | float) -> Operand:
    if p == 1:
        return value
    exact = isinstance(p, Fraction) and p.denominator == 1
    return Apply(exponent(str(int(p) if exact else float(p))), (value,))


def written_power(state: Lowering, node: Expr) -> Operand:
    """A power as the node it is."""
    base, p = node.args[0], node.params[2][0]
    if p < 0 and p.denominator <= 2 if isinstance(p, Fraction) else p < 0:
        return Apply(OVER, (Literal(1), raised(state, base, -p)))
    return raised(state, base, p)


# ------------------------------------------------------------------ products


def written_product(state: Lowering, node: Expr) -> Operand:
    """The operand of a contraction; ``norm(x) ** 2`` where ``norm(x)`` is written too."""
    x = squares(node)
    if x is not None and node in state.rooted:
        return _power(Apply(text("norm({0})"), (state.value(x),)), Fraction(2))
    return product_and_scale(state, node, ONE)[0]


def product_and_scale(state: Lowering, node: Expr, c: Monomial) -> tuple[Operand, Monomial]:
    """A contraction and what is left of its coefficient (a total over n may become a mean)."""
    rank = len(node.shape)
    if not node.args:
        return (with_shape(product_of([]), node) if rank else product_of([])), c
    sizes: dict[int, Size] = dict(enumerate(node.shape))
    over: list[Operand] = []
    under: list[Operand] = []
    factors: list[Factor] = []
    eyes: list[tuple[int, int]] = []
    counted: dict[tuple[Expr, Labels], int] = {}
    for a, labels in zip(node.args, node.params[0], strict=True):
        sizes.update({x: a.shape[k] for k, x in enumerate(labels) if x >= 0})
        if a.op is DELTA and labels[0] >= 0 and labels[1] >= 0:
            eyes.append((min(labels), max(labels)))
            continue
        counted[(a, labels)] = counted.get((a, labels), 0) + 1
    for p, members in _alike(state, counted, rank).items():
        for member in members:
            del counted[member]
        value, labels = _together(state, members)
        state.orders.work = added(state.orders.work, state.orders.entries(sizes[x] for x in labels))
        value = _power(value, abs(p))
        if labels:
            name = Name(p, *(Name(base_and_exponent(a)[0], ls) for a, ls in members))
            factors.append(Factor(value, labels, name, p < 0))
        else:
            (under if p < 0 else over).append(value)
    for (a, labels), times in counted.items():
        base, p = base_and_exponent(a)
        p = p * times
        inside = any(x >= rank for x in labels)
        if p == 2 and inside and times == 2 and len({*labels}) == len(labels):
            p, times = Fraction(1), 2
        else:
            times = 1
        value = _flag(state, base) if p == 1 else raised(state, base, abs(p))
        if abs(p) != 1:
            state.orders.work = added(state.orders.work, state.orders.entries(base.shape))
        if any(x >= 0 for x in labels):
            value, kept = plain(value, a.shape, labels)
            equal = p == 1 and state.orders.symmetric(base)
            factors += [Factor(value, tuple(kept), Name(base, p), p < 0, symmetric=equal)] * times
        else:
            if labels:
                value, _ = plain(value, a.shape, labels)
            (under if p < 0 else over).append(value)
    out = {_first(x, eyes) for x in range(rank) if sizes[x] != 1}
    if eyes:
        factors = [replace(f, labels=tuple(_first(x, eyes) for x in f.labels)) for f in factors]
    body: Factor | None = None
    if factors:
        state.orders.node = node
        numbers, body, c = network(factors, out, sizes, c, state.orders)
        over += numbers
    if body is not None:
        entries = state.orders.entries(sizes[x] for x in body.labels)
        state.orders.work = added(state.orders.work, *[entries] * bool(over or under))
    if state.uses.get(node, 0) <= 1:
        if not c.is_one and (over or under):
            over, under, c = _absorbed(c, over, under)
        if body is not None and not eyes and _leads(body, sizes, state):
            front = [_quotient(over, under)] if over else []
            value = scale_written(c, product_of(front)) if over else coefficient_operand(c)
            if over or _plain_number(c):
                made = _in_front(value, body.value)
                return _spread([made], [], body.labels, eyes, node, sizes), ONE
    side = _side_to_scale(body) if body is not None and not eyes and (over or under) else None
    if body is not None and side is not None:
        made = _outer_scaled(body, side, over, under)
        return _spread([made], [], body.labels, eyes, node, sizes), c
    if body is not None and body.under:
        return _spread(over, [*under, body.value], body.labels, eyes, node, sizes), c
    labels = body.labels if body is not None else ()
    if body is not None and over:
        return _spread([_quotient(over, under), body.value], [], labels, eyes, node, sizes), c
    if body is not None:
        over = [body.value]
    return _spread(over, under, labels, eyes, node, sizes), c


def _alike(
    state: Lowering, counted: Mapping[tuple[Expr, Labels], int], rank: int
) -> dict[Fraction, list[tuple[Expr, Labels]]]:
    """Factors with one whole exponent, which one power of their product is: ``(a * x) ** 2``."""
    found: dict[Fraction, list[tuple[Expr, Labels]]] = {}
    for (a, labels), times in counted.items():
        base, p = base_and_exponent(a)
        q = Fraction(p * times)
        whole = isinstance(p, Fraction) and q.denominator == 1 and abs(q) > 1
        alone = state.uses.get(a, 0) <= times and squares(base) is None
        if whole and alone and len({*labels}) == len(labels) and all(0 <= x < rank for x in labels):
            found.setdefault(q, []).append((a, labels))
    return {
        q: members
        for q, members in found.items()
        if len(members) > 1 and len({ls for _, ls in members if ls}) < 2
    }


def _together(state: Lowering, members: Sequence[tuple[Expr, Labels]]) -> tuple[Operand, Labels]:
    """The product of bases of which one has axes, or several the same ones; and its labels."""
    rows = sorted(members, key=lambda row: -len(row[1]))
    values = [state.value(base_and_exponent(a)[0]) for a, _ in rows]
    return product_of(values), rows[0][1]


def _leads(body: Factor, sizes: Mapping[int, Size], state: Lowering) -> bool:
    """Does a scalar scale the leftmost matrix of a product with less work than the result?"""
    first, whole = (state.orders.entries(sizes[x] for x in ls) for ls in (body.lead, body.labels))
    return bool(body.lead) and not within(whole, first)


def _side_to_scale(body: Factor) -> int | None:
    """Which vector of an ``outer`` a number scales with no memory of its own: a computed one."""
    if not isinstance(body.value, Apply) or body.value.template != OUTER or body.under:
        return None
    first, second = body.value.operands
    made = [k for k, side in enumerate((first, second)) if isinstance(side, Apply)]
    return made[0] if made and first != second else None


def _outer_scaled(
    body: Factor, side: int, over: Sequence[Operand], under: Sequence[Operand]
) -> Operand:
    """``outer(a / s, b)``."""
    assert isinstance(body.value, Apply)
    sides = list(body.value.operands)
    sides[side] = _quotient([*([_quotient(over, [])] if over else []), sides[side]], under)
    return Apply(OUTER, tuple(sides))


def _plain_number(c: Monomial) -> bool:
    """Is it a number that stands in front, and no sign or fraction of sizes?"""
    return not c.powers and abs(c.number) != 1


def _in_front(scalar: Operand, value: Operand) -> Operand:
    """``c * A @ B``: the leftmost matrix of a product scaled."""
    spine: list[Apply] = []
    while isinstance(value, Apply) and value.template is MATMUL:
        spine.append(value)
        value = value.operands[0]
    value = Apply(TIMES, (scalar, value))
    for part in reversed(spine):
        value = Apply(MATMUL, (value, *part.operands[1:]))
    return value


def _absorbed(
    c: Monomial, over: list[Operand], under: list[Operand]
) -> tuple[list[Operand], list[Operand], Monomial]:
    """A coefficient among the numbers of a product, so that no array is scaled twice."""
    above, below = fraction_operands(c)
    if over:
        return [scale_written(c, over[0]), *over[1:]], under, ONE
    return above, [*under, *below], ONE


def _first(label: int, eyes: Sequence[tuple[int, int]]) -> int:
    """The smallest label that identities make equal to this one."""
    changed = True
    while changed:
        changed = False
        for low, high in eyes:
            if label == high:
                label, changed = low, True
    return label


def _flag(state: Lowering, e: Expr) -> Operand:
    """A condition cast to numbers is multiplied as it is."""
    if e.op.name == "cast" and e.args[0].dtype.kind == "b":
        return state.value(e.args[0])
    return state.value(e)


def _quotient(over: Sequence[Operand], under: Sequence[Operand]) -> Operand:
    value = product_of(over)
    return Apply(OVER, (value, product_of(under))) if under else value


def _spread(
    over: list[Operand],
    under: list[Operand],
    labels: Sequence[int],
    eyes: Sequence[tuple[int, int]],
    node: Expr,
    sizes: Mapping[int, Size],
) -> Operand:
    """The product in the axes of the node: identities as ``diag`` or ``eye``, missing axes."""
    rank = len(node.shape)
    value = _quotient(over, under)
    if rank == 2 and list(eyes) == [(0, 1)]:
        if list(labels) == [0]:
            return Apply(text("diag({0})"), (value,))
        eye = Apply(text("eye({0})"), tuple(size_operands(node.shape[:1])))
        return _quotient([*over, eye], under)
    if eyes:
        shape = tuple(sizes[x] for x in labels)
        parts = [aligned(value, shape, labels, rank)] if over else []
        for pair in eyes:
            eye = Apply(text("eye({0})"), tuple(size_operands([sizes[pair[0]]])))
            parts.append(aligned(eye, (sizes[pair[0]],) * 2, pair, rank))
        if under and not over:
            under = [aligned(product_of(under), shape, labels, rank)]
        value = product_of(parts) if over else _quotient(parts, under)
        labels = sorted({*labels, *(x for pair in eyes for x in pair)})
    else:
        value = aligned(value, tuple(sizes[x] for x in labels), labels, rank)
    if any(s != 1 and k not in labels for k, s in enumerate(node.shape)) or (
        rank and not spans(labels, rank)
    ):
        return in_shape(value, labels, node)
    return value


def written_reshape(state: Lowering, node: Expr) -> Operand:
    """A matrix of pairs of axes: ``kron(A, B)``, ``diag(vec(A))``; else as any node."""
    whole = identity_pairs(node)
    if whole is not None:
        if constant_value(whole) is not None:
            return Apply(text("eye({0})"), tuple(size_operands(node.shape[:1])))
        if whole.op is CONTRACTION and not any(whole.params[0]):
            eye = Apply(text("eye({0})"), tuple(size_operands(node.shape[:1])))
            return _scaled_by(state, whole.args, eye)
        return Apply(text("diag(vec({0}))"), (_made(state, whole),))
    sides = kronecker(node)
    if sides is None:
        columns = vectors(node)
        if columns is None:
            return state.dense(node)
        *pair, scalars = columns
        sides = tuple(Apply(text("vec({0})"), (_made(state, e),)) for e in pair)
        return _scaled_by(state, scalars, Apply(OUTER, sides))
    return Apply(text("kron({0}, {1})"), tuple(_made(state, e) for e in sides))


def _scaled_by(state: Lowering, scalars: Sequence[Expr], value: Operand) -> Operand:
    """``s * value / t``."""
    over: list[Operand] = []
    under: list[Operand] = []
    for a in scalars:
        base, p = base_and_exponent(a)
        (under if p < 0 else over).append(raised(state, base, abs(p)))
    return _quotient([*over, value], under)


def _made(state: Lowering, e: Expr) -> Operand:
    """The operand of a product that is no node of the graph."""
    if e not in state.values:
        state.values[e] = written_product(state, e) if e.op is CONTRACTION else state.value(e)
    return state.values[e]


# ------------------------------------------------------------------ sums of terms


def written_sum(state: Lowering, node: Expr) -> Operand:
    """The operand of a sum of terms."""
    rank = len(node.shape)
    terms = sorted(terms_of(node), key=lambda t: not t[1].args and not t[0].powers)
    if not terms:
        return with_shape(scaled(monomial(0), None), node)
    alone = len(terms) == 1 and terms[0][2] == tuple(range(rank))
    if alone and terms[0][1].op is CONTRACTION and _plain_number(terms[0][0]):
        value, rest = _term(state, terms[0][1], terms[0][0])
        _count_scaling(state, terms[0][1], terms[0][0])
        return scale_written(rest, value)
    common = common_content([c for c, _, _ in terms])
    rows: list[tuple[bool, bool, Operand, bool, Labels]] = []  # negative, number, …, full
    first = {e: tuple(-x for x in state.orders.alive.beyond(e)) for _, e, _ in terms}
    terms.sort(key=lambda t: first[t[1]])
    image = node.shape[:2] == (1, 1) and not any(x in (0, 1) for t in terms for x in t[2])
    for coefficient, e, labels in terms:
        c = coefficient / common
        negative = c.number < 0
        number = constant_value(e) is not None
        if number:
            rows.append((negative, True, coefficient_operand(-c if negative else c), False, labels))
            continue
        value, rest = _term(state, e, -c if negative else c)
        _count_scaling(state, e, -c if negative else c)
        if rest.is_one and _is_flag(e):
            value = Apply(TIMES, (Literal(1), value))
        if image:
            value, kept = plain(value, e.shape, labels)
            labels = tuple(kept)
        value = aligned(value, e.shape, labels, rank)
        rows.append((negative, False, scale_written(rest, value), spans(labels, rank), labels))
    rows.sort(key=lambda row: row[:2])
    total: Operand | None = None
    for negative, _, value, _, _ in rows:
        if total is None:
            total = _negated(value) if negative else value
        else:
            total = Apply(MINUS if negative else PLUS, (total, value))
    assert total is not None
    carried = {x for row in rows for x in row[4] if x >= 0}
    missing = any(s != 1 and k not in carried for k, s in enumerate(node.shape))
    full = rank == 0 or any(row[3] for row in rows)
    constant = all(row[1] for row in rows)
    if (missing or not full) and not (constant and not node.shape):
        total = in_shape(total, sorted(carried), node)
    if not common.is_one:
        state.orders.work = added(state.orders.work, state.orders.entries(node.shape))
    return scale_written(common, total)


def _count_scaling(state: Lowering, e: Expr, c: Monomial) -> None:
    """The work of ``c e``: none where a number of the product takes the coefficient."""
    if not c.is_one and not (e.op is CONTRACTION and () in e.params[0]):
        state.orders.work = added(state.orders.work, state.orders.entries(e.shape))


def _is_flag(e: Expr) -> bool:
    """Are these numbers written as truth values?  A sum of those would be "or"."""
    stack = [e]
    while stack:
        part = stack.pop()
        if part.op.name == "cast" and part.args[0].dtype.kind == "b":
            continue
        carries = part.op.family == "structure" or (part.op is CONTRACTION and not part.sums)
        if not carries or not part.args:
            return False
        stack += part.args
    return True


def _negated(value: Operand) -> Operand:
    """−value; of a number times a value, the number takes the sign."""
    if isinstance(value, Apply) and value.template in (TIMES, OVER):
        first = value.operands[0]
        if isinstance(first, Literal) and not isinstance(first.value, complex):
            return Apply(value.template, (Literal(-first.value), *value.operands[1:]))
        turned = _negated(first) if isinstance(first, Apply) else None
        if isinstance(turned, Apply) and turned.template is not NEGATIVE:
            return Apply(value.template, (turned, *value.operands[1:]))
    return Apply(NEGATIVE, (value,))


def _term(state: Lowering, e: Expr, c: Monomial) -> tuple[Operand, Monomial]:
    """A term, and what is left of its coefficient where a mean or a number of its product takes it."""
    if e.op is CONTRACTION and not c.is_one and e.args and (
        c.powers or _plain_number(c) or any(all(x < 0 or x >= e.ndim for x in ls) for ls in e.params[0])
    ):  # fmt: skip
        before = state.orders.work  # that of the product is counted
        value, rest = product_and_scale(state, e, c)
        state.orders.work = before
        if rest != c:
            return value, rest
    return state.value(e), c


def scale_written(c: Monomial, value: Operand) -> Operand:
    """``c * value``; the numerator 1 of a fraction becomes c."""
    if c.is_one:
        return value
    if isinstance(value, Apply) and value.template is OVER and value.operands[0] == Literal(1):
        return Apply(OVER, (coefficient_operand(c), value.operands[1]))
    return scaled(c, value)


__all__ = [
    "product_and_scale",
    "raised",
    "written_power",
    "written_product",
    "written_reshape",
    "written_sum",
]
