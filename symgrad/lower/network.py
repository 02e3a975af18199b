"""A product of factors whose axes carry labels: met in pairs, in the order that is shortest to write.

Operations count first, multiplications next, then the order from left to right; a divisor divides
the product it does not enlarge.  A product met before is used again where that takes no more work
whether the sizes are equal, tall or wide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from symgrad_codegen.program import POWER, PRODUCT, Apply, Literal, Operand, Template, infix, text

from symgrad.core.sizes import ONE, Monomial, Size, monomial
from symgrad.lower.align import OVER, TIMES, aligned, permuted
from symgrad.lower.alive import Counts
from symgrad.lower.orders import (
    NOTHING,
    Cost,
    Factor,
    Name,
    Orders,
    Plan,
    added,
    largest,
    volume,
    within,
)

MATMUL = infix("@", PRODUCT)
EXHAUSTIVE = 5
"""Up to so many factors every order is tried."""


def exponent(number: str) -> Template:
    """``{0} ** 2``."""
    spelled = f"{{0}} ** {number}"
    return Template((("jax", spelled), ("numpy", spelled)), POWER, (POWER + 1,))


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
    extents = {x: orders.extents(s) for x, s in sizes.items()}
    many = len(orders.settings)
    bodies: list[Factor] = []
    numbers: list[Operand] = []
    for part in _components(factors, out):
        last = _whole(part, out, extents, orders)
        orders.met(last)
        last = replace(last, cost=NOTHING, made={})
        bound = [{x for x in f.labels if x not in out} for f in part]
        if len(part) > 1 and all(b == bound[0] for b in bound):
            mean, c = _averaged(last.value, [sizes[x] for x in bound[0]], c)
            orders.sized[id(mean)] = orders.sized.get(id(last.value), (mean, ()))
            last = replace(last, value=mean)
        gone = [x for x in last.labels if x not in out]
        if gone:
            value = Apply(OVER, (Literal(1), last.value)) if last.under else last.value
            orders.work = added(orders.work, volume([extents[x] for x in last.labels], many))
            value, labels, c = _total(value, last.labels, gone, sizes, c)
            orders.sized[id(value)] = value, volume([extents[x] for x in labels], many)
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
    factors: list[Factor], out: set[int], extents: Mapping[int, Counts], orders: Orders
) -> Factor:
    """All factors met; what no other factor carries is summed."""
    first = Search(frozenset(out), extents, (), orders)
    fresh = first.whole(factors)
    names = _within_reach(orders, factors)
    if not names:
        return fresh
    again = replace(first, names=names, known={}, pairs={}).whole(factors)
    shorter = again.cost[0] < fresh.cost[0] or orders.late
    return again if shorter and within(again.cost[1], fresh.cost[1]) else fresh


def _within_reach(orders: Orders, factors: list[Factor]) -> set[Name]:
    """The products of others that can be made from these factors."""
    there = {f.name for f in factors}
    found: set[Name] = set()
    others = [name for name, nodes in orders.names.items() if nodes != {orders.node}]
    while True:
        made = [x for x in others if x not in found and
                all(part in there for part in x.parts[:2] if part.__class__ is Name)]  # fmt: skip
        if not made:
            return found
        found.update(made)
        there.update(made)


@dataclass(slots=True)
class Search:
    """The orders of one product; ``names`` are products that cost nothing, as they are there.

    ``pairs`` holds what two factors make, by their identities, and the factors.
    """

    out: frozenset[int]
    extents: Mapping[int, Counts]
    names: Collection[Name]
    orders: Orders
    known: dict[tuple[Factor, ...], tuple[Factor, Plan]] = field(default_factory=dict[Any, Any])
    pairs: dict[Any, tuple[Factor, Factor, Factor]] = field(default_factory=dict[Any, Any])

    def volume(self, labels: Iterable[int]) -> Counts:
        """Entries over labels."""
        return volume([self.extents[x] for x in labels], len(self.orders.settings))

    def whole(self, factors: list[Factor]) -> Factor:
        """All factors met."""
        while len(factors) > EXHAUSTIVE:
            factors = self.step(factors)
        left = tuple(factors)
        sizes = tuple([self.extents[x] for f in left for x in f.labels])
        alike: dict[Name, int] = {}  # alone, they are told apart only
        rows = left if self.names else tuple([
            (f.labels, alike.setdefault(f.name, len(alike)), f.under, f.cost, f.symmetric, f.lead)
            for f in left
        ])  # fmt: skip
        key = rows, sizes, self.out, frozenset(self.names), self.orders.late
        plan = self.orders.plans.get(key)
        if plan is None:
            found, self.orders.plans[key] = self.best(left)
            return found
        for i, j in plan:
            left = self.after(left, i, j)
        return left[0]

    def after(self, factors: tuple[Factor, ...], i: int, j: int) -> tuple[Factor, ...]:
        """The factors after one step of a plan."""
        if i < 0:
            return (*factors[:j], self.turned(factors[j]), *factors[j + 1 :])
        rest = tuple([f for k, f in enumerate(factors) if k not in (i, j)])
        return (self.meet(factors[i], factors[j], self.needed(rest)), *rest)

    def step(self, factors: list[Factor]) -> list[Factor]:
        """The cheapest pair of many factors, met."""
        found: tuple[tuple[int, int], list[Factor]] | None = None
        for j in range(len(factors)):
            for i in range(j):
                one, two = factors[i], factors[j]
                rest = [f for k, f in enumerate(factors) if k not in (i, j)]
                met = self.meet(one, two, self.needed(rest))
                grown, *before = (self.volume(f.labels)[0] for f in (met, one, two))
                price = met.cost[0] - one.cost[0] - two.cost[0], grown - sum(before)
                if found is None or price < found[0]:
                    found = price, [*rest, met]
        assert found is not None
        return found[1]

    def needed(self, rest: Sequence[Factor]) -> set[int]:
        """Labels that the result or other factors carry."""
        return {*self.out, *(x for f in rest for x in f.labels)}

    def best(self, factors: tuple[Factor, ...]) -> tuple[Factor, Plan]:
        """All factors met in the best order: operations, multiplications, then left to right."""
        if len(factors) == 1:
            return factors[0], ()
        known = self.known.get(factors)
        if known is not None:
            return known
        found: tuple[tuple[int, ...], Factor, Plan] | None = None
        choices: list[tuple[int, int]] = []
        for j in range(len(factors)):
            if factors[j].under and any(x not in self.out for x in factors[j].labels):
                choices.append((-1, j))
            choices += [(i, j) for i in range(j)]
        for choice in choices:
            whole, plan = self.best(self.after(factors, *choice))
            ops, work, widest, turns = whole.cost
            gone = [x for x in whole.labels if x not in self.out]
            last = 2 * self.volume(whole.labels)[0] if gone else 0
            turns += not gone and whole.labels != tuple(sorted(whole.labels))
            price = (ops + bool(gone), (work or (0,))[0] + last, max(work, default=0),
                     (widest or (0,))[0], turns)  # fmt: skip
            if found is None or price < found[0] or (self.orders.late and price == found[0]):
                found = price, whole, (choice, *plan)
        assert found is not None
        self.known[factors] = found[1:]
        return found[1:]

    def meet(self, a: Factor, b: Factor, needed: set[int]) -> Factor:
        """Two factors multiplied, and summed over the labels that nothing else carries."""
        key = id(a), id(b), frozenset([x for x in (*a.labels, *b.labels) if x in needed])
        found = self.pairs.get(key)
        if found is None:
            found = self.pairs[key] = self._met(a, b, needed), a, b
        return found[0]

    def _met(self, a: Factor, b: Factor, needed: set[int]) -> Factor:
        if a.under and not b.under:
            a, b = b, a
        every = _joined(a.labels, b.labels)
        lead: tuple[int, ...] = ()
        inside = 0
        if b.under:
            value, labels, ops = _divided(a, b, every), tuple(every), 1
        else:
            value, labels, ops = _multiplied(a, b, needed)
        if isinstance(value, Apply) and value.template is MATMUL:
            swapped = len({*labels} & {*b.labels}) and labels[:1] and labels[0] in b.labels
            first, second = (b, a) if swapped else (a, b)
            lead = first.lead or first.labels
            inside = second.made != {} and len(second.labels) > 1
        self.orders.sized[id(value)] = value, self.volume(labels)
        name = Name(a.name, b.name, a.under, b.under, _pattern(a.labels, b.labels, labels))
        work = self.volume(every)
        if len(every) != len(labels):
            work = added(work, work)
        if name in self.names:
            ops, work = 0, (0,) * len(work)
        made = {**a.made, **b.made, name: (ops, work)}
        cost: Cost = (
            sum([row[0] for row in made.values()]),
            added(*[row[1] for row in made.values()]),
            largest(largest(a.cost[2], b.cost[2]), self.volume(labels)),
            a.cost[3] + b.cost[3] + inside,
        )
        return Factor(value, labels, name, a.under and b.under, cost, made, lead=lead)

    def turned(self, f: Factor) -> Factor:
        """1 / f as a factor of its own."""
        size = self.volume(f.labels)
        name = Name("1/", f.name)
        made = {**f.made, name: (1, size)}
        ops, work, widest, turns = f.cost
        cost = (ops + 1, added(work, size), largest(widest, size), turns)
        value = Apply(OVER, (Literal(1), f.value))
        return Factor(value, f.labels, name, False, cost, made)


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
    every = _joined(la, lb)
    same = a.name == b.name and value_a is a.value and value_b is b.value
    if not summed:
        if same and la == lb:
            value: Operand = Apply(exponent("2"), (value_a,))
        elif len(la) == 1 and len(lb) == 1 and la != lb:
            first, second = (value_a, value_b) if la < lb else (value_b, value_a)
            value = Apply(text("outer({0}, {1})"), (first, second))
        else:
            value = Apply(TIMES, _placed(value_a, la, value_b, lb, every))
        return value, tuple(every), ops
    if len(summed) == 1 and not batch and len(free_a) <= 1 and len(free_b) <= 1:
        k = summed[0]
        turns = _turns(a, la, -1, k) + _turns(b, lb, 0, k)
        other = _turns(b, lb, -1, k) + _turns(a, la, 0, k)
        if len(la) < len(lb) or (len(la) == len(lb) and (other, free_b) < (turns, free_a)):
            (a, value_a, la, free_a), (b, value_b, lb, free_b) = (
                (b, value_b, lb, free_b),
                (a, value_a, la, free_a),
            )
        if _turns(a, la, -1, k):
            value_a = permuted(value_a, (1, 0))
        if _turns(b, lb, 0, k):
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


def _joined(la: Sequence[int], lb: Sequence[int]) -> Sequence[int]:
    """The labels of both, in the order in which one of them has them all."""
    for one, two in ((la, lb), (lb, la)):
        if {*one} >= {*two} and len({*one}) == len(one):
            return one
    return sorted({*la, *lb})


def _turns(f: Factor, labels: Sequence[int], at: int, label: int) -> bool:
    """Must a matrix be transposed for its axis ``at`` to carry the label?"""
    return len(labels) == 2 and labels[at] != label and not f.symmetric


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


def _averaged(value: Operand, gone: Sequence[Size], c: Monomial) -> tuple[Operand, Monomial]:
    """A total over axes of these sizes as a mean where the coefficient divides by their number."""
    spelled = value.template.form("jax") if isinstance(value, Apply) else ""
    number = prod((monomial(s) for s in gone), start=ONE)
    if not spelled.startswith("jnp.sum({0}") or not number.powers or not _divides(c, number):
        return value, c
    assert isinstance(value, Apply)
    return Apply(text(spelled.replace("jnp.sum", "jnp.mean", 1)), value.operands), c * number


def _divides(c: Monomial, number: Monomial) -> bool:
    """Does the coefficient hold every letter of the number, to its power, below the bar?"""
    have = dict(c.powers)
    return all(have.get(name, 0) == -power for name, power in number.powers)
