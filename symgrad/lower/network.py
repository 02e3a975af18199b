"""A product of factors whose axes carry labels: met in pairs, in the order that is shortest to write.

Operations count first, multiplications next; a divisor divides the product it does not enlarge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from symgrad_codegen.program import POWER, PRODUCT, Apply, Literal, Operand, Template, infix, text

from symgrad.core.sizes import ONE, Monomial, Size, monomial
from symgrad.lower.align import OVER, TIMES, aligned, permuted

MATMUL = infix("@", PRODUCT)
EXTENT = 64
"""Extent assumed for a size letter when orders of a product are compared."""
EXHAUSTIVE = 5
"""Up to so many factors every order is tried."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of a product: its axes carry labels; ``under`` the fraction bar or above.

    ``name`` tells values apart without a walk over their operands.  ``cost``: operations, work, the
    most entries of a partial product; ``made``: operations and work of the partial products in it.
    """

    value: Operand = field(compare=False)
    labels: tuple[int, ...]
    name: Any
    under: bool = False
    cost: tuple[int, int, int] = (0, 0, 0)
    made: Mapping[Any, tuple[int, int]] = field(default_factory=dict[Any, Any], compare=False)


def exponent(number: str) -> Template:
    """``{0} ** 2``."""
    spelled = f"{{0}} ** {number}"
    return Template((("jax", spelled), ("numpy", spelled)), POWER, (POWER + 1,))


@dataclass(slots=True)
class Orders:
    """What one text has met so far: products to use again, and the work they took."""

    names: set[Any] = field(default_factory=set[Any])
    late: bool = False  # of orders that cost the same, the last one found
    work: int = 0
    widest: int = 0

    def met(self, factor: Factor) -> None:
        """Remember a product that will be written."""
        self.names.update(factor.made)
        self.work += factor.cost[1]
        self.widest = max(self.widest, factor.cost[2])


def network(
    factors: list[Factor],
    out: set[int],
    sizes: Mapping[int, Size],
    c: Monomial,
    orders: Orders,
) -> tuple[list[Operand], Factor | None, Monomial]:
    """The factors multiplied and summed over every label not in ``out``: numbers, then the rest.

    What is left of the coefficient ``c`` comes last: a total over n may become a mean.
    """
    extents = {x: _extent(s) for x, s in sizes.items()}
    bodies: list[Factor] = []
    numbers: list[Operand] = []
    for part in _components(factors, out):
        last = _whole(part, out, extents, orders)
        orders.met(last)
        last = replace(last, cost=(0, 0, 0), made={})
        gone = [x for x in last.labels if x not in out]
        if gone:
            value = Apply(OVER, (Literal(1), last.value)) if last.under else last.value
            orders.work += prod(extents[x] for x in last.labels)
            value, labels, c = _total(value, last.labels, gone, sizes, c)
            last = replace(last, value=value, labels=labels, under=False)
        if last.labels:
            bodies.append(last)
        else:
            numbers.append(last.value)
    if not bodies:
        return numbers, None, c
    last = _whole(bodies, out, extents, orders)
    orders.met(last)
    order = sorted(range(len(last.labels)), key=lambda k: last.labels[k])
    value = permuted(last.value, order)
    return numbers, replace(last, value=value, labels=tuple(sorted(last.labels))), c


def _components(factors: list[Factor], out: set[int]) -> list[list[Factor]]:
    """The factors in groups that share no summed label."""
    groups: list[tuple[set[int], list[Factor]]] = []
    for f in factors:
        bound = {x for x in f.labels if x not in out}
        together = [g for g in groups if g[0] & bound]
        merged = (bound.union(*(g[0] for g in together)), [x for g in together for x in g[1]] + [f])
        groups = [g for g in groups if g not in together] + [merged]
    return [g[1] for g in groups]


def _whole(
    factors: list[Factor], out: set[int], extents: Mapping[int, int], orders: Orders
) -> Factor:
    """All factors met; what no other factor carries is summed."""
    while len(factors) > EXHAUSTIVE:
        factors = _step(factors, out, extents, orders.names)
    return _best(tuple(factors), frozenset(out), extents, orders, {})


def _extent(size: Size) -> int:
    if isinstance(size, int):
        return max(size, 1)
    return max(int(size.value(dict.fromkeys(size.letters, EXTENT))), 1)


def _step(
    factors: list[Factor], out: set[int], extents: Mapping[int, int], names: set[Any]
) -> list[Factor]:
    """The cheapest pair of many factors, met."""
    found: tuple[tuple[int, int], list[Factor]] | None = None
    for j in range(len(factors)):
        for i in range(j):
            one, two = factors[i], factors[j]
            rest = [f for k, f in enumerate(factors) if k not in (i, j)]
            met = _meet(one, two, _needed(rest, out), extents, names)
            grown, *before = (prod(extents[x] for x in f.labels) for f in (met, one, two))
            price = met.cost[0] - one.cost[0] - two.cost[0], grown - sum(before)
            if found is None or price < found[0]:
                found = price, [*rest, met]
    assert found is not None
    return found[1]


def _needed(rest: Sequence[Factor], out: set[int] | frozenset[int]) -> set[int]:
    return {*out, *(x for f in rest for x in f.labels)}


def _best(
    factors: tuple[Factor, ...],
    out: frozenset[int],
    extents: Mapping[int, int],
    orders: Orders,
    known: dict[tuple[Factor, ...], Factor],
) -> Factor:
    """All factors met in the best order; cost counts operations, then multiplications."""
    if len(factors) == 1:
        return factors[0]
    if factors in known:
        return known[factors]
    found: tuple[tuple[int, int, int], Factor] | None = None
    choices: list[tuple[Factor, ...]] = []
    for j in range(len(factors)):
        if factors[j].under and any(x not in out for x in factors[j].labels):
            turned = _turned(factors[j], extents)
            choices.append((*factors[:j], turned, *factors[j + 1 :]))
        for i in range(j):
            rest = tuple(f for k, f in enumerate(factors) if k not in (i, j))
            met = _meet(factors[i], factors[j], _needed(rest, out), extents, orders.names)
            choices.append((met, *rest))
    for choice in choices:
        whole = _best(choice, out, extents, orders, known)
        gone = [x for x in whole.labels if x not in out]
        last = 2 * prod(extents[x] for x in whole.labels) if gone else 0
        price = (whole.cost[0] + bool(gone), whole.cost[1] + last, whole.cost[2])
        if found is None or price < found[0] or (orders.late and price == found[0]):
            found = price, whole
    assert found is not None
    known[factors] = found[1]
    return found[1]


def _meet(
    a: Factor, b: Factor, needed: set[int], extents: Mapping[int, int], names: set[Any]
) -> Factor:
    """Two factors multiplied, and summed over the labels that nothing else carries."""
    if a.under and not b.under:
        a, b = b, a
    every = sorted({*a.labels, *b.labels})
    if b.under:
        square = a.under and a.name == b.name and a.labels == b.labels
        value, labels, ops = _divided(a, b, every), a.labels if square else tuple(every), 1
    else:
        value, labels, ops = _multiplied(a, b, needed)
    name = (a.name, b.name, a.under, b.under, _pattern(a.labels, b.labels, labels))
    work = prod(extents[x] for x in every) * (1 if len(every) == len(labels) else 2)
    if name in names:
        ops = work = 0
    made = {**a.made, **b.made, name: (ops, work)}
    cost = (
        sum(row[0] for row in made.values()),
        sum(row[1] for row in made.values()),
        max(a.cost[2], b.cost[2], prod(extents[x] for x in labels)),
    )
    return Factor(value, labels, name, a.under and b.under, cost, made)


def _turned(f: Factor, extents: Mapping[int, int]) -> Factor:
    """1 / f as a factor of its own."""
    size = prod(extents[x] for x in f.labels)
    made = {**f.made, ("1/", f.name): (1, size)}
    cost = (f.cost[0] + 1, f.cost[1] + size, max(f.cost[2], size))
    value = Apply(OVER, (Literal(1), f.value))
    return Factor(value, f.labels, ("1/", f.name), False, cost, made)


def _multiplied(a: Factor, b: Factor, needed: set[int]) -> tuple[Operand, tuple[int, ...], int]:
    """The product of two, its labels, and the operations it takes."""
    ops = 1
    value_a, la = a.value, a.labels
    value_b, lb = b.value, b.labels
    for _ in range(2):
        lone = [x for x in la if x not in lb and x not in needed]
        if lone:
            value_a, la, _ = _total(value_a, la, lone, {}, ONE)
            ops += 1
        (value_a, la), (value_b, lb) = (value_b, lb), (value_a, la)
    summed = [x for x in la if x in lb and x not in needed]
    free_a = [x for x in la if x not in lb]
    free_b = [x for x in lb if x not in la]
    batch = [x for x in la if x in lb and x in needed]
    every = sorted({*la, *lb})
    same = a.name == b.name and value_a is a.value and value_b is b.value
    if not summed:
        if same and la == lb:
            return Apply(exponent("2"), (value_a,)), la, ops
        value: Operand
        if len(la) == 1 and len(lb) == 1 and la != lb:
            first, second = (value_a, value_b) if la < lb else (value_b, value_a)
            value = Apply(text("outer({0}, {1})"), (first, second))
        else:
            value = Apply(TIMES, _placed(value_a, la, value_b, lb, every))
        return value, tuple(every), ops
    if len(summed) == 1 and not batch and len(free_a) <= 1 and len(free_b) <= 1:
        k = summed[0]
        turns = (len(la) == 2 and la[-1] != k) + (len(lb) == 2 and lb[0] != k)
        other = (len(lb) == 2 and lb[-1] != k) + (len(la) == 2 and la[0] != k)
        if len(la) < len(lb) or (len(la) == len(lb) and (other, free_b) < (turns, free_a)):
            (value_a, la, free_a), (value_b, lb, free_b) = (
                (value_b, lb, free_b),
                (value_a, la, free_a),
            )
        if la[-1] != k:
            value_a = permuted(value_a, (1, 0))
        if lb[0] != k:
            value_b = permuted(value_b, (1, 0))
        made = Apply(MATMUL, (value_a, value_b))
        return made, (*free_a, *free_b), ops
    if not free_a and not free_b:
        other = permuted(value_b, [lb.index(x) for x in la])
        square = same and la == lb
        whole = Apply(exponent("2"), (value_a,)) if square else Apply(TIMES, (value_a, other))
        value, labels, _ = _total(whole, la, summed, {}, ONE)
        return value, labels, ops + 1
    names = {x: chr(97 + k) for k, x in enumerate(every)}
    labels = tuple(x for x in every if x not in summed)
    spelled = ["".join(names[x] for x in ls) for ls in (la, lb, labels)]
    einsum = text(f"jnp.einsum('{spelled[0]},{spelled[1]}->{spelled[2]}', {{0}}, {{1}})")
    return Apply(einsum, (value_a, value_b)), labels, ops + 2


def _placed(
    a: Operand, la: Sequence[int], b: Operand, lb: Sequence[int], every: Sequence[int]
) -> tuple[Operand, Operand]:
    """Both values in the axes of ``every``."""
    where = {x: k for k, x in enumerate(every)}
    first, second = (
        aligned(v, (2,) * len(ls), [where[x] for x in ls], len(every))
        for v, ls in ((a, la), (b, lb))
    )
    return first, second


def _divided(a: Factor, b: Factor, every: Sequence[int]) -> Operand:
    """``a / b``, or two divisors as one."""
    if a.under and a.name == b.name and a.labels == b.labels:
        return Apply(exponent("2"), (a.value,))
    parts = _placed(a.value, a.labels, b.value, b.labels, every)
    return Apply(TIMES if a.under else OVER, parts)


def _pattern(*rows: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Labels by the order in which they appear."""
    number: dict[int, int] = {}
    return tuple(tuple(number.setdefault(x, len(number)) for x in row) for row in rows)


def _total(
    value: Operand,
    labels: Sequence[int],
    gone: Sequence[int],
    sizes: Mapping[int, Size],
    c: Monomial,
) -> tuple[Operand, tuple[int, ...], Monomial]:
    """The sum over some labels; a mean where the coefficient divides by their number."""
    kept = tuple(x for x in labels if x not in gone)
    word = "sum"
    if sizes and not c.is_one:
        number = ONE
        for x in gone:
            number = number * monomial(sizes[x])
        if number.powers and _divides(c, number):
            c, word = c * number, "mean"
    if not kept:
        if (
            word == "sum"
            and isinstance(value, Apply)
            and value.template.form("jax") == "jnp.diagonal({0})"
        ):
            return Apply(text("jnp.trace({0})"), value.operands), (), c
        return Apply(text(f"jnp.{word}({{0}})"), (value,)), (), c
    axes = [k for k, x in enumerate(labels) if x in gone]
    spelled = str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    return Apply(text(f"jnp.{word}({{0}}, axis={spelled})"), (value,)), kept, c


def _divides(c: Monomial, number: Monomial) -> bool:
    """Does the coefficient hold every letter of the number, to its power, below the bar?"""
    have = dict(c.powers)
    return all(have.get(name, 0) == -power for name, power in number.powers)
