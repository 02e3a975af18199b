"""Equal forms of one node, of which the shortest to write is chosen: open, factor, turn the sign.

Each form is a row of :data:`FORMS`: a name and a function from a node in normal form to
equal expressions.  All are identities of real numbers; sums are reordered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    constant,
    constant_value,
    elementwise,
    linear,
    scale,
    single_term,
    terms_of,
)
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Monomial
from symgrad.core.traverse import substitute
from symgrad.simplify.brackets import bracket_there, one_logarithm, square_of_the_other
from symgrad.simplify.fractions import (
    by_denominator,
    choice_by_sign,
    divisor_inside,
    logistic_choice,
    over_one,
    proper_fraction,
    quotient_of_sums,
    root_of_a_product,
    sides_of_order,
    sign_out,
)
from symgrad.simplify.kroneckers import common_side
from symgrad.simplify.networks import Exponent, Network, network_of, product_of, with_totals
from symgrad.simplify.opening import Terms, networks, opened, summed

MOST = 24
"""Terms up to which a product of sums is opened."""


@dataclass(frozen=True, slots=True)
class FormRule:
    """``of(node)`` gives expressions equal to the node."""

    name: str
    of: Callable[[Expr], Iterator[Expr]]


# ------------------------------------------------------------------ opening


def _sum_at(net: Network) -> int | None:
    for k, (e, p, _) in enumerate(net.factors):
        if e.op is SUM and len(e.args) > 1 and p in (1, 2):
            return k
    return None


def opened_once(e: Expr) -> Iterator[Expr]:
    """Σ (a + b) c = Σ a c + Σ b c, for one sum."""
    if e.op is CONTRACTION:
        net = network_of(e)
        for k, (a, p, _) in enumerate(net.factors):
            if a.op is SUM and len(a.args) > 1 and p == 1:
                parts = opened(net, k)
                whole = summed(parts, e)
                yield whole
                if a.ndim > 1:
                    yield from factored_all(whole)
                yield from _all_shared(parts, e)
    if e.op is SUM and len(e.args) > 1:
        terms = networks(e)
        for j, net in enumerate(terms):
            for k, (a, p, _) in enumerate(net.factors):
                if a.op is SUM and len(a.args) > 1 and p == 1:
                    parts = [*terms[:j], *opened(net, k), *terms[j + 1 :]]
                    yield summed(parts, e)
                    yield from _all_shared(parts, e)


def opened_all(e: Expr) -> Iterator[Expr]:
    """Every product of sums multiplied out; and with its common factors taken out again."""
    if e.op is not CONTRACTION and not (e.op is SUM and len(e.args) > 1):
        return
    queue, done = networks(e), list[Network]()
    before = len(queue)
    while queue:
        net = queue.pop()
        k = _sum_at(net)
        if k is None:
            done.append(net)
        else:
            queue += opened(net, k)
        if len(queue) + len(done) > MOST:
            return
    if len(done) > before:
        whole = summed(done, e)
        yield whole
        yield from factored_all(whole)
        yield from _all_shared(done, e)


# ------------------------------------------------------------------ factoring


def _shared(terms: Terms) -> Iterator[tuple[Expr, Exponent, Labels, list[int]]]:
    """Factors that several terms have: base, exponent, output labels (−1: summed), the terms."""
    rank = terms[0].rank
    seen: dict[tuple[Expr, bool, Labels], dict[int, Exponent]] = {}
    for k, net in enumerate(terms):
        for (e, ls), p in net.powers().items():
            roles = tuple(x if x < rank else -2 for x in ls)
            row = seen.setdefault((e, p > 0, roles), {})
            if k not in row or abs(p) > abs(row[k]):
                row[k] = p
    for (e, above, roles), row in seen.items():
        if len(row) > 1:
            yield e, (min if above else max)(row.values()), roles, sorted(row)


def factored(e: Expr) -> Iterator[Expr]:
    """A b + A c = A (b + c), for each factor that several terms share; then within the bracket."""
    for whole, bracket in _factored(e):
        yield whole
        for _ in range(8):
            found = next(_factored(bracket), None)
            if found is None or found[0].op is SUM:
                break
            whole = substitute([whole], {bracket: found[0]})[0]
            bracket = found[1]
            yield whole


def _factored(e: Expr) -> Iterator[tuple[Expr, Expr]]:
    """The same, and the bracket, for one factor."""
    if e.op is not SUM or len(e.args) < 2:
        return
    terms = _same_signs(networks(e))
    for base, p, roles, members in sorted(
        _shared(terms), key=lambda row: (-len(row[3]), -len(row[0].shape))
    ):
        found = _taken_out(terms, base, p, roles, members, e)
        if found is not None:
            yield found


def _same_signs(terms: Terms) -> Terms:
    """Terms with the factor a − b in place of b − a where another one has that."""
    first: dict[Expr, None] = {}
    made: Terms = []
    for net in terms:
        c, factors = net.coefficient, list(net.factors)
        for k, (a, p, ls) in enumerate(factors):
            if a.op is not SUM or len(a.args) < 2 or p != 1 or a in first:
                continue
            turned = linear([(-c, b, row) for c, b, row in terms_of(a)], a.shape, a.dtype)
            if turned in first:
                c, factors[k] = -c, (turned, p, ls)
            else:
                first[a] = None
        made.append(Network(c, factors, net.sizes, net.rank))
    return made


def _taken_out(
    terms: Terms, base: Expr, p: Exponent, roles: Labels, members: list[int], e: Expr
) -> tuple[Expr, Expr] | None:
    """The sum with a factor of some terms in front of a bracket, and the bracket."""
    rank = terms[0].rank
    bound = [j for j, x in enumerate(roles) if x == -2]
    inside: list[Network] = []
    for k in members:
        net = terms[k]
        chosen = [
            ls
            for f, q, ls in net.factors
            if f is base and tuple(x if x < rank else -2 for x in ls) == roles
        ]
        ls = chosen[0]
        rest: list[tuple[Expr, Exponent, Labels]] = []
        left = p
        for f, q, row in net.factors:
            if f is base and row == ls and left:
                step = min(q, left) if p > 0 else max(q, left)
                left = left - step
                if q != step:
                    rest.append((f, q - step, row))
            else:
                rest.append((f, q, row))
        if left:
            return None
        # the axes that the factor sums over become axes of the rest
        table = {ls[j]: rank + i for i, j in enumerate(bound)}
        if len(table) != len(bound):
            return None
        start = rank + len(bound)
        sizes = {x: s for x, s in net.sizes.items() if x < rank}
        for x in sorted(net.sizes):
            if x >= rank and x not in table:
                table[x] = start + len(table)
        for x, y in table.items():
            sizes[y] = net.sizes[x]
        moved = [(f, q, tuple(table.get(x, x) for x in row)) for f, q, row in rest]
        inside.append(Network(net.coefficient, moved, sizes, start))
    # axes that no rest carries stay outside
    carried = {x for net in inside for _, _, row in net.factors for x in row if 0 <= x < net.rank}
    kept = sorted(carried)
    if len(kept) > max(2, rank):
        return None
    if len(kept) == 2:
        turns = [row for net in inside for _, _, row in net.factors if {*row} == {*kept}]
        if sum(row == tuple(kept) for row in turns) * 2 < len(turns):
            kept.reverse()  # most matrices stand in the bracket as they are
    place = {x: i for i, x in enumerate(kept)}
    shape = tuple(inside[0].sizes[x] for x in kept)
    for net in inside:
        shift = {x: x + len(kept) for x in net.sizes if x >= net.rank}
        table = {**place, **shift}
        sizes = {table[x]: s for x, s in net.sizes.items() if x in table}
        sizes.update(enumerate(shape))
        net.factors = [(f, q, tuple(table.get(x, -1) for x in row)) for f, q, row in net.factors]
        net.sizes, net.rank = sizes, len(kept)
    total = linear(
        [(ONE, product_of(net, shape, e.dtype), tuple(range(len(shape)))) for net in inside],
        shape,
        e.dtype,
    )
    outer = Network(ONE, [], dict(enumerate(e.shape)), rank)
    row = tuple(rank + bound.index(j) if x == -2 else x for j, x in enumerate(roles))
    for i, j in enumerate(bound):
        outer.sizes[rank + i] = base.shape[j]
    outer.factors = [(base, p, row), (total, Fraction(1), tuple(kept))]
    others = [net for k, net in enumerate(terms) if k not in members]
    return summed([*others, outer], e), total


def all_shared(e: Expr) -> Iterator[Expr]:
    """c a / s + c b / s = (c / s) (a + b), and √n a + b / √n = √n (a + b / n)."""
    if e.op is SUM and len(e.args) > 1:
        yield from _all_shared(networks(e), e)


def _all_shared(terms: Terms, e: Expr) -> Iterator[Expr]:
    """Everything that all terms have at axes of the result, in front of them."""
    terms = [with_totals(net) for net in terms] if e.ndim else terms
    rows = [net.powers() for net in terms]
    front: dict[tuple[Expr, Labels], Exponent] = {}
    for key, p in rows[0].items():
        powers = [row.get(key, Fraction(0)) for row in rows]
        if all(x < e.ndim for x in key[1]) and (min(powers) > 0 or max(powers) < 0):
            front[key] = min(powers) if p > 0 else max(powers)
    natural = tuple(range(e.ndim))
    counted = Counter(net.coefficient.powers for net in terms)
    numbers = {abs(net.coefficient.number) for net in terms}
    number = Fraction(1) if len(numbers) > 1 else numbers.pop()
    shared = Monomial(number, max(counted, key=lambda c: (counted[c], -sum(abs(p) for _, p in c))))
    if len(terms) < 2 or not (front or shared.powers):
        return
    inside: Terms = []
    for net, row in zip(terms, rows, strict=True):
        left = [(b, p - front.get((b, ls), Fraction(0)), ls) for (b, ls), p in row.items()]
        kept = [f for f in left if f[1]]
        inside.append(Network(net.coefficient / shared, kept, dict(net.sizes), net.rank))
    whole = Network(
        shared, [(b, p, ls) for (b, ls), p in front.items()], dict(enumerate(e.shape)), e.ndim
    )
    whole.factors.append((summed(inside, e), Fraction(1), natural))
    yield product_of(whole, e.shape, e.dtype)


def factored_all(e: Expr) -> Iterator[Expr]:
    """The best common factor taken out, again and again, and from what is left in the bracket."""
    whole, current = e, e
    for _ in range(8):
        found = next(_factored(current), None)
        if found is None or found[0] is current:
            break
        whole = substitute([whole], {current: found[0]})[0]
        yield whole
        single = found[0].op is not SUM or single_term(found[0]) is not None
        current = found[1] if single else found[0]


# ------------------------------------------------------------------ signs, logistic, where


def sign_inside(e: Expr) -> Iterator[Expr]:
    """−A (x − y) = A (y − x)."""
    term = single_term(e)
    if term is None or term[0].number >= 0:
        return
    net = network_of(e)
    for k, (a, p, ls) in enumerate(net.factors):
        if a.op is SUM and len(a.args) > 1 and p == 1:
            turned = linear([(-c, b, row) for c, b, row in terms_of(a)], a.shape, a.dtype)
            yield substitute([e], {a: -turned})[0]  # in its squares too
            made = Network(-net.coefficient, list(net.factors), dict(net.sizes), net.rank)
            made.factors[k] = (turned, p, ls)
            yield product_of(made, e.shape, e.dtype)


def logistic(e: Expr) -> Iterator[Expr]:
    """σ(−x) = 1 − σ(x), and 1 − σ(x) = σ(−x)."""
    if e.op.name == "sigmoid":
        yield constant(1, e.dtype, e.shape) - elementwise("sigmoid", scale(-1, e.args[0]))
    if e.op is SUM and len(e.args) == 2:
        for c, a, ls in terms_of(e):
            if a.op.name == "sigmoid" and a.ndim == e.ndim and c == -1:
                other = [t for t in terms_of(e) if t[1] is not a]
                if other and other[0][0] == 1 and constant_value(other[0][1]) == 1:
                    turned = elementwise("sigmoid", scale(-1, a.args[0]))
                    yield linear([(ONE, turned, ls)], e.shape, e.dtype)


def logistic_turned(e: Expr) -> Iterator[Expr]:
    """σ(x) (1 − σ(x)) = σ(−x) (1 − σ(−x))."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    for a, _, _ in net.factors:
        if a.op.name == "sigmoid" and a.args[0].op is SUM:
            one = constant(1, a.dtype, a.shape)
            other = elementwise("sigmoid", scale(-1, a.args[0]))
            table = {a: one - other, one - a: other}
            made = Network(net.coefficient, list(net.factors), dict(net.sizes), net.rank)
            made.factors = [(table.get(f, f), p, ls) for f, p, ls in net.factors]
            yield product_of(made, e.shape, e.dtype)


def _zero_in(net: Network) -> bool:
    """Is one factor the number 0?"""
    numbers = (constant_value(a) for a, p, _ in net.factors if p == 1)
    return any(c is not None and c.is_zero for c in numbers)


def one_choice(e: Expr) -> Iterator[Expr]:
    """a where(c, p, q) + b where(c, r, s) = where(c, a p + b r, a q + b s)."""
    if e.op is not SUM or len(e.args) < 2:
        return
    natural = tuple(range(len(e.shape)))

    def chooses(a: Expr, p: Exponent, ls: Labels) -> bool:
        return a.op.name == "where" and p == 1 and ls == natural and a.params[0][0] == natural

    choices: dict[Expr, dict[int, None]] = {}  # condition → the terms with a factor of it
    terms = networks(e)
    for k, net in enumerate(terms):
        for a, p, ls in net.factors:
            if chooses(a, p, ls):
                choices.setdefault(a.args[0], {})[k] = None
    for condition, members in choices.items():
        if len(members) < 2:
            continue
        sides: list[Expr] = []
        for side in (1, 2):
            parts: Terms = []
            for k in members:
                net = terms[k]
                made = Network(net.coefficient, [], dict(net.sizes), net.rank)
                used = False
                for a, p, ls in net.factors:
                    if not used and chooses(a, p, ls) and a.args[0] is condition:
                        used = True
                        row = a.params[0][side]
                        made.factors.append((a.args[side], p, row))
                    else:
                        made.factors.append((a, p, ls))
                if not made.coefficient.is_zero and not _zero_in(made):
                    parts.append(made)
            sides.append(summed(parts, e))
        chosen = elementwise("where", condition, *sides)
        others = [net for k, net in enumerate(terms) if k not in members]
        whole = Network(
            ONE, [(chosen, Fraction(1), natural)], dict(enumerate(e.shape)), len(natural)
        )
        yield summed([*others, whole], e)


def common_number(e: Expr) -> Iterator[Expr]:
    """½ a − ½ b + c = ½ (a − b) + c, for a number that some terms have."""
    if e.op is not SUM or len(e.args) < 3:
        return
    terms = terms_of(e)
    natural = tuple(range(e.ndim))
    rows: dict[Monomial, list[Term]] = {}
    for c, a, ls in terms:
        size = -c if c.number < 0 else c
        if not size.is_one and constant_value(a) is None and ls == natural:
            rows.setdefault(size, []).append((c, a, ls))
    for size, inside in rows.items():
        if 1 < len(inside) < len(terms):
            rest = [t for t in terms if t not in inside]
            bracket = linear([(c / size, a, ls) for c, a, ls in inside], e.shape, e.dtype)
            yield linear([(size, bracket, natural), *rest], e.shape, e.dtype)


def number_of_a_bracket(e: Expr) -> Iterator[Expr]:
    """s (4 a + 2 b) = 2 s (2 a + b) for a bracket that a number multiplies."""
    if e.op is not CONTRACTION:
        return
    net = network_of(e)
    for k, (a, p, ls) in enumerate(net.factors):
        if a.op is not SUM or len(a.args) < 2 or p != 1 or not any(not r for *_, r in net.factors):
            continue
        terms = terms_of(a)
        least = min(abs(c.number) for c, _, _ in terms)
        if least == 1 or any(c.number % least for c, _, _ in terms):
            continue
        inside = linear([(c / Monomial(least), b, row) for c, b, row in terms], a.shape, a.dtype)
        made = Network(
            net.coefficient * Monomial(least), list(net.factors), dict(net.sizes), net.rank
        )
        made.factors[k] = inside, p, ls
        yield product_of(made, e.shape, e.dtype)


# ------------------------------------------------------------------ matrices


def square_factors(e: Expr) -> Iterator[Expr]:
    """det(A B) = det A det B, (A B)⁻¹ = B⁻¹ A⁻¹ of square matrices."""
    if e.op.name not in ("inv", "det", "logdet") or e.args[0].op is not CONTRACTION:
        return
    inner = e.args[0]
    net = network_of(inner)
    size = inner.shape[0]
    if any(p != 1 or len(a.shape) != 2 or a.shape != (size, size) for a, p, _ in net.factors):
        return
    carried = Counter(x for _, _, ls in net.factors for x in ls)
    if any(carried[x] != (1 if x < 2 else 2) for x in net.sizes):  # no chain, as A ⊙ A is none
        return
    if len(net.factors) < 2 or net.coefficient != 1:
        return
    parts = [(e.func(a), p, ls) for a, p, ls in net.factors]
    if e.op.name == "inv":
        # each inverse stands where its matrix stood, turned around
        swap = {0: 1, 1: 0}
        turned = [(a, p, (swap.get(ls[1], ls[1]), swap.get(ls[0], ls[0]))) for a, p, ls in parts]
        yield product_of(Network(ONE, turned, dict(net.sizes), 2), e.shape, e.dtype)
    elif e.op.name == "det":
        scalars = [(a, p, ()) for a, p, _ in parts]
        yield product_of(Network(ONE, scalars, {}, 0), (), e.dtype)
    else:
        yield linear([(ONE, a, ()) for a, _, _ in parts], (), e.dtype)


FORMS: tuple[FormRule, ...] = (
    FormRule("open one sum", opened_once),
    FormRule("take a common factor out", factored),
    FormRule("take all common factors out", all_shared),
    FormRule("open all sums, then factor", opened_all),
    FormRule("common number of some terms", common_number),
    FormRule("common number of a bracket", number_of_a_bracket),
    FormRule("a bracket that is there", bracket_there),
    FormRule("one logarithm", one_logarithm),
    FormRule("square of the other function", square_of_the_other),
    FormRule("sign into a difference", sign_inside),
    FormRule("logistic function of the other sign", logistic),
    FormRule("logistic slope of the other sign", logistic_turned),
    FormRule("one choice", one_choice),
    FormRule("two sides of an order", sides_of_order),
    FormRule("choice by a sign", choice_by_sign),
    FormRule("logistic function of both signs", logistic_choice),
    FormRule("slope of the logistic function without a sign", sign_out),
    FormRule("over one denominator", over_one),
    FormRule("divisor into a bracket", divisor_inside),
    FormRule("proper fraction", proper_fraction),
    FormRule("quotient of sums", quotient_of_sums),
    FormRule("together by denominator", by_denominator),
    FormRule("root of a product", root_of_a_product),
    FormRule("common side of Kronecker products", common_side),
    FormRule("determinant and inverse of a product", square_factors),
)

__all__ = ["FORMS", "FormRule"]
