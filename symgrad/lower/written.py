"""Products and sums as a person writes them, for formulas to read.

A product of many factors is a network: factors meet in pairs, in the order that takes the fewest
operations, then the least work.  What stands under a fraction bar divides; ``diag``, ``outer``,
``trace``, ``norm``, ``mean`` have their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING

from symgrad_codegen.program import (
    Apply,
    Literal,
    Operand,
    text,
)

from symgrad.core.build import CONTRACTION, DELTA, constant_value, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import ONE, Monomial, Size, monomial
from symgrad.lower.align import (
    COLUMN,
    MATMUL,
    MINUS,
    NEGATIVE,
    OUTER,
    OVER,
    PLUS,
    TIMES,
    TURNED,
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
from symgrad.lower.kronecker import identity_pairs, kronecker, vector_of
from symgrad.lower.network import network
from symgrad.lower.orders import Factor, Name, within
from symgrad.lower.powers import alike, base_and_exponent, quotient, raised_to, together
from symgrad.lower.squares import squares
from symgrad.lower.terms import common_content

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering


def raised(state: Lowering, e: Expr, p: Fraction | float) -> Operand:
    """``eᵖ`` for p > 0, in the words norm, sqrt, ``**``."""
    if p == 1:
        return state.value(e)
    x = squares(e)
    if x is not None and isinstance(p, Fraction) and p.denominator == 2:
        return raised_to(Apply(text("norm({0})"), (_made(state, x),)), p * 2)
    return raised_to(state.value(e), p)


def written_result(state: Lowering, node: Expr) -> Operand:
    """One of several results; log |det A| has a name."""
    if node.args[0].op.name == "slogdet" and node.params[0] == 1:
        return Apply(text("logdet({0})"), (state.value(node.args[0].args[0]),))
    return state.dense(node)


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
        return raised_to(Apply(text("norm({0})"), (_made(state, x),)), Fraction(2))
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
    there = [k for k, made in state.scaled.items() if made in state.values and made is not node]
    for a, x in there:
        rows = [ls for e, ls in counted if e is x]
        if rows and counted.get((a, ())) == counted[x, rows[0]] == 1:  # a x is there
            del counted[a, ()], counted[x, rows[0]]
            counted[state.scaled[a, x], rows[0]] = 1
    for p, members in alike(state, counted, rank).items():
        for member in members:
            del counted[member]
        value, labels = together(state, members)
        value = raised_to(value, abs(p))
        if labels:
            name = Name(p, *(Name(base_and_exponent(a)[0], ls) for a, ls in members))
            factors.append(Factor(value, labels, name, p < 0))
        else:
            (under if p < 0 else over).append(value)
    for (a, labels), times in counted.items():
        base, p = base_and_exponent(a)
        p = p * times
        inside = any(x >= rank for x in labels)
        two = p == 2 and inside and times == 2 and len({*labels}) == len(labels)
        if two and base not in state.squared:
            p, times = Fraction(1), 2
        else:
            times = 1
        value = _flag(state, base) if p == 1 else raised(state, base, abs(p))
        mean = _mean(state, base, p, c)
        if mean is not None:
            value, c = raised_to(mean[0], abs(p)), mean[1]
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
        inside = not (over or under or eyes) and state.uses.get(node, 0) <= 1
        numbers, body, c = network(factors, out, sizes, c, state.orders, inside)
        over += numbers
    if state.uses.get(node, 0) <= 1:
        if not c.is_one and (over or under):
            over, under, c = _absorbed(c, over, under)
        if body is not None and not eyes and _leads(body, sizes, state):
            front = [quotient(over, under)] if over else []
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
        return _spread([quotient(over, under), body.value], [], labels, eyes, node, sizes), c
    if body is not None:
        over = [body.value]
    return _spread(over, under, labels, eyes, node, sizes), c


def _mean(
    state: Lowering, base: Expr, p: Fraction | float, c: Monomial
) -> tuple[Operand, Monomial] | None:
    """√n (Σ x)^(−½) as a root of a mean, and what is left of the coefficient."""
    if base.op is not CONTRACTION or not base.sums or abs(p) == 1 or squares(base) is not None:
        return None
    extents = {x: a.shape[k] for a, ls in zip(base.args, base.params[0], strict=True)
               for k, x in enumerate(ls) if x >= base.ndim}  # fmt: skip
    count = prod((monomial(s) for s in extents.values()), start=ONE)
    left = c * count ** Fraction(p)
    if not count.powers or {x for x, _ in left.powers} & {x for x, _ in count.powers}:
        return None
    value, rest = _term(state, base, count**-1)
    return (value, left) if rest.is_one else None


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
    sides[side] = quotient([*([quotient(over, [])] if over else []), sides[side]], under)
    return Apply(OUTER, tuple(sides))


def _plain_number(c: Monomial) -> bool:
    """Is it a number that stands in front, and no sign or fraction of sizes?"""
    return not c.powers and abs(c.number) != 1


def _in_front(scalar: Operand, value: Operand) -> Operand:
    """``c * A @ B``: the leftmost matrix of a product scaled, of ``diag(v) A`` a computed v."""
    spine: list[Apply] = []
    while isinstance(value, Apply) and value.template is MATMUL:
        spine.append(value)
        value = value.operands[0]
    turned = isinstance(value, Apply) and value.template == TURNED
    inner = value.operands[0] if turned and isinstance(value, Apply) else value
    rows = _computed_rows(inner)
    if rows is None or not isinstance(inner, Apply):
        value = Apply(TIMES, (scalar, value))
    else:
        column = Apply(COLUMN, (Apply(TIMES, (scalar, rows.operands[0])),))
        value = Apply(TIMES, tuple(column if x is rows else x for x in inner.operands))
        value = Apply(TURNED, (value,)) if turned else value
    for part in reversed(spine):
        value = Apply(MATMUL, (value, *part.operands[1:]))
    return value


def _computed_rows(value: Operand) -> Apply | None:
    """The ``v[:, None]`` of ``A * v[:, None]`` where v is computed: scaling it needs no memory."""
    if not isinstance(value, Apply) or value.template != TIMES:
        return None
    columns = [x for x in value.operands if isinstance(x, Apply) and x.template == COLUMN]
    return columns[0] if len(columns) == 1 and isinstance(columns[0].operands[0], Apply) else None


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
    value = quotient(over, under)
    if rank == 2 and list(eyes) == [(0, 1)]:
        if list(labels) == [0]:
            return Apply(text("diag({0})"), (value,))
        eye = Apply(text("eye({0})"), tuple(size_operands(node.shape[:1])))
        return quotient([*over, eye], under)
    if eyes:
        shape = tuple(sizes[x] for x in labels)
        parts = [aligned(value, shape, labels, rank)] if over else []
        for pair in eyes:
            eye = Apply(text("eye({0})"), tuple(size_operands([sizes[pair[0]]])))
            parts.append(aligned(eye, (sizes[pair[0]],) * 2, pair, rank))
        if under and not over:
            under = [aligned(product_of(under), shape, labels, rank)]
        value = product_of(parts) if over else quotient(parts, under)
        labels = sorted({*labels, *(x for pair in eyes for x in pair)})
    else:
        value = aligned(value, tuple(sizes[x] for x in labels), labels, rank)
    if any(s != 1 and k not in labels for k, s in enumerate(node.shape)) or (
        rank and not spans(labels, rank)
    ):
        return in_shape(value, labels, node)
    return value


def written_reshape(state: Lowering, node: Expr) -> Operand:
    """``vec(A)``; a matrix of pairs of axes: ``kron(A, B)``, ``diag(vec(A))``; else as any node."""
    if node.ndim == 1 and node.args[0].ndim == 2:
        return Apply(text("vec({0})"), (state.value(node.args[0]),))
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
        return state.dense(node)
    made: list[Operand] = []
    for side in sides:
        vector, row = vector_of(side) or (side, True)
        made.append(_made(state, vector) if row else Apply(COLUMN, (_made(state, vector),)))
    return Apply(text("kron({0}, {1})"), tuple(made))


def _scaled_by(state: Lowering, scalars: Sequence[Expr], value: Operand) -> Operand:
    """``s * value / t``."""
    over: list[Operand] = []
    under: list[Operand] = []
    for a in scalars:
        base, p = base_and_exponent(a)
        (under if p < 0 else over).append(raised(state, base, abs(p)))
    return quotient([*over, value], under)


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
        return scale_written(rest, value)
    common = common_content([c for c, _, _ in terms])
    if common.is_one:
        common = _number_of_all([c for c, _, _ in terms])
    rows: list[tuple[bool, bool, Operand, bool, Labels]] = []  # negative, number, …, full
    first = {e: tuple(-x for x in state.orders.alive.beyond(e)) for _, e, _ in terms}
    terms.sort(key=lambda t: first[t[1]])
    image = node.shape[:2] == (1, 1) and not any(x in (0, 1) for t in terms for x in t[2])
    minus = all((c / common).number < 0 for c, _, _ in terms)  # on a number of the first, if any
    for coefficient, e, labels in terms:
        c = coefficient / common
        negative = c.number < 0
        number = constant_value(e) is not None
        if number:
            rows.append((negative, True, coefficient_operand(-c if negative else c), False, labels))
            continue
        value, rest = _term(state, e, c if minus and not rows else -c if negative else c)
        if minus and not rows:
            negative, rest = (False, rest) if rest.number > 0 else (True, -rest)
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
    return scale_written(common, total)


def _number_of_all(coefficients: Sequence[Monomial]) -> Monomial:
    """½ of ½ a − ½ n b."""
    first, *others = (abs(c.number) for c in coefficients)
    alike = others and all(x == first for x in others)
    return Monomial(first) if alike and first not in (0, 1) else ONE


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
        value, rest = product_and_scale(state, e, c)
        if rest != c:
            return value, rest
    return state.value(e), c


def scale_written(c: Monomial, value: Operand) -> Operand:
    """``c * value``; the numerator 1 of a fraction becomes c."""
    if c.is_one:
        return value
    if isinstance(value, Apply) and value.template is OVER and value.operands[0] == Literal(1):
        return Apply(OVER, (coefficient_operand(c), value.operands[1]))
    return _negated(value) if -c == ONE else scaled(c, value)


__all__ = [
    "product_and_scale",
    "raised",
    "written_power",
    "written_product",
    "written_reshape",
    "written_result",
    "written_sum",
]
