"""A product of factors whose axes carry labels: met in pairs, in the order that is shortest to write.

Operations count first, multiplications next, then the order from left to right; a divisor divides
the product it does not enlarge.  A product met before is used again where that takes no more work
whether the sizes are equal, tall or wide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from symgrad_codegen.program import Apply, Literal, Operand

from symgrad.core.expr import Expr
from symgrad.core.sizes import ONE, Monomial, Size
from symgrad.lower.align import MATMUL, OVER, TURNED, permuted, scaled
from symgrad.lower.alive import Counts
from symgrad.lower.meet import (
    averaged,
    divided,
    exponent,
    joined,
    multiplied,
    next_power,
    own_array,
    pattern,
    summed_out,
)
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

EXHAUSTIVE = 5
"""Up to so many factors every order is tried."""


def network(
    factors: list[Factor],
    out: set[int],
    sizes: Mapping[int, Size],
    c: Monomial,
    orders: Orders,
    inside: bool = False,
) -> tuple[list[Operand], Factor | None, Monomial]:
    """The factors multiplied and summed over every label not in ``out``: numbers, then the rest.

    What is left of the coefficient ``c`` comes last: a total over n may become a mean, and one
    factor may take it, ``inside``.
    """
    extents = {x: orders.extents(s) for x, s in sizes.items()}
    factors, c = _means(factors, out, sizes, c)
    bodies: list[Factor] = []
    numbers: list[Operand] = []
    for part in _components(factors, out):
        last = _whole(part, out, extents, orders)
        orders.met(last)
        last = replace(last, cost=NOTHING, made={})
        bound = [{x for x in f.labels if x not in out} for f in part]
        if len(part) > 1 and all(b == bound[0] for b in bound):
            mean, c = averaged(last.value, [sizes[x] for x in bound[0]], c)
            last = replace(last, value=mean)
        gone = [x for x in last.labels if x not in out]
        if gone:
            value = Apply(OVER, (Literal(1), last.value)) if last.under else last.value
            value, labels, c = summed_out(value, last.labels, gone, sizes, c)
            last = replace(last, value=value, labels=labels, under=False)
        if last.labels:
            bodies.append(last)
        else:
            numbers.append(last.value)
    numbers = _raised(numbers)
    if not bodies:
        return numbers, None, c
    if inside and not numbers and not c.is_one:
        bodies, c = _on_the_smallest(c, bodies)
    last = _whole(bodies, out, extents, orders)
    orders.met(last)
    order = sorted(range(len(last.labels)), key=lambda k: last.labels[k])
    value = permuted(last.value, order)
    return numbers, replace(last, value=value, labels=tuple(sorted(last.labels))), c


def _raised(numbers: list[Operand]) -> list[Operand]:
    """``s ** 2`` for a number that stands twice."""
    once = [s for k, s in enumerate(numbers) if s not in numbers[:k]]
    times = [numbers.count(s) for s in once]
    return [Apply(exponent(str(k)), (s,)) if k > 1 else s for k, s in zip(times, once, strict=True)]


def _means(
    factors: list[Factor], out: set[int], sizes: Mapping[int, Size], c: Monomial
) -> tuple[list[Factor], Monomial]:
    """``mean(x, axis=0)`` for a factor summed by itself, where the coefficient divides by the size."""
    if c.is_one or len(factors) < 2:
        return factors, c
    carried = Counter(x for f in factors for x in f.labels)
    made: list[Factor] = []
    for f in factors:
        for x in [x for x in f.labels if x not in out and carried[x] == 1]:
            value, labels, left = summed_out(f.value, f.labels, [x], sizes, c)
            if left != c and labels and not f.under:
                at = f.labels.index(x)
                f, c = replace(f, value=value, labels=labels, name=Name("mean", f.name, at)), left
        made.append(f)
    return made, c


def _on_the_smallest(c: Monomial, factors: list[Factor]) -> tuple[list[Factor], Monomial]:
    """A number on a factor of fewer axes than the product entry by entry that it scales."""
    most = max(len(f.labels) for f in factors)
    every = {x for f in factors for x in f.labels}
    k = min(range(len(factors)), key=lambda k: (factors[k].under, len(factors[k].labels)))
    f = factors[k]
    computed = isinstance(f.value, Apply) and not f.under
    if len(every) > most or len(f.labels) == most or not computed or (-c).is_one:
        return factors, c
    made = replace(f, value=scaled(c, f.value), name=Name(c, f.name))
    return [*factors[:k], made, *factors[k + 1 :]], ONE


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
            (f.labels, alike.setdefault(f.name, len(alike)), f.under, f.cost, f.symmetric, f.lead,
             isinstance(f.value, Apply))
            for f in left
        ])  # fmt: skip
        key = rows, sizes, self.out, frozenset(self.names), self.orders.late
        plan = self.orders.plans.get(key)
        if plan is None:
            found, self.orders.plans[key] = self.best(left)
            return self.plain(found, factors)
        for i, j in plan:
            left = self.after(left, i, j)
        return self.plain(left[0], factors)

    def plain(self, best: Factor, factors: Sequence[Factor]) -> Factor:
        """From left to right instead, where the inverses in it take more work than that adds."""
        inverses = [f for f in factors if is_inverse(f.name) and len(f.labels) == 2]
        if not best.cost[3] or len(best.labels) != 2 or not inverses:
            return best
        cubes = added(*[self.volume((*f.labels, f.labels[0])) for f in inverses])
        for label in best.labels:
            other = self.in_turn(factors, label)
            if other is None or other.cost[0] > best.cost[0] or other.cost[3] >= best.cost[3]:
                continue
            more = within(best.cost[1], other.cost[1]) or best.cost[1][0] < other.cost[1][0]
            if not more and within(other.cost[1], added(best.cost[1], cubes, cubes)):
                best = other
        return best

    def after(self, factors: tuple[Factor, ...], i: int, j: int) -> tuple[Factor, ...]:
        """The factors after one step of a plan."""
        if i < 0:
            return (*factors[:j], self.turned(factors[j]), *factors[j + 1 :])
        rest = tuple([f for k, f in enumerate(factors) if k not in (i, j)])
        return (self.meet(factors[i], factors[j], self.needed(rest)), *rest)

    def in_turn(self, factors: Sequence[Factor], label: int) -> Factor | None:
        """A chain of matrices, one after the other from the axis ``label``."""
        rest = list(factors)
        met: Factor | None = None
        while rest:
            nearest = [f for f in rest if label in f.labels]
            if len(nearest) != 1 or len(nearest[0].labels) != 2:
                return None
            rest.remove(nearest[0])
            (label,) = {*nearest[0].labels} - {label}
            met = nearest[0] if met is None else self.meet(met, nearest[0], self.needed(rest))
        return met

    def step(self, factors: list[Factor]) -> list[Factor]:
        """The cheapest pair of many factors, met."""
        found: tuple[tuple[int, int], list[Factor]] | None = None
        for j in range(len(factors)):
            for i in range(j):
                one, two = factors[i], factors[j]
                rest = [f for k, f in enumerate(factors) if k not in (i, j)]
                met = self.meet(one, two, self.needed(rest))
                grown, *before = (self.volume(f.labels)[0] for f in (met, one, two))
                price = _operations([*rest, met]), grown - sum(before)
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
            own = own_array(whole.value) or len(whole.labels) > max(len(f.labels) for f in factors)
            last = self.volume(whole.labels)[0] * (1 + own) if gone else 0
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
        every = joined(a.labels, b.labels)
        lead: tuple[int, ...] = ()
        inside = 0
        raised = None if {*every} - needed else next_power(a, b)
        if raised is not None:
            value, labels, ops = raised[1], a.labels, 1
        elif b.under:
            value, labels, ops = divided(a, b, every), tuple(every), 1
        else:
            value, labels, ops = multiplied(a, b, needed)
        if isinstance(value, Apply) and value.template is MATMUL:
            swapped = len({*labels} & {*b.labels}) and labels[:1] and labels[0] in b.labels
            first, second = (b, a) if swapped else (a, b)
            lead = first.lead or first.labels
            inside = bool(second.lead) and len(second.labels) > 1
            inside += self.behind(value, labels, second)
        name = Name(a.name, b.name, a.under, b.under, pattern(a.labels, b.labels, labels))
        work = self.volume(every)
        if len(every) != len(labels):
            work = added(work, work)
        if name in self.names:
            ops, work = 0, (0,) * len(work)
        made = {**a.made, **b.made, name: (ops, work)}
        if raised is not None:  # x² is not computed on the way
            made = {**raised[0].made, name: (ops, work)}
        cost: Cost = (
            sum([row[0] for row in made.values()]),
            added(*[row[1] for row in made.values()]),
            largest(largest(a.cost[2], b.cost[2]), self.volume(labels)),
            a.cost[3] + b.cost[3] + inside,
        )
        return Factor(value, labels, name, a.under and b.under, cost, made, lead=lead)

    def behind(self, value: Apply, labels: tuple[int, ...], vector: Factor) -> bool:
        """Is it the step ``A @ y`` of a form xᵀ A y, which from left to right begins with xᵀ A?"""
        if len(vector.labels) != 1 or len(labels) != 1 or labels[0] in self.out:
            return False
        matrix = value.operands[0]
        square = self.extents[labels[0]] == self.extents[vector.labels[0]]
        return not square and not (isinstance(matrix, Apply) and matrix.template == TURNED)

    def turned(self, f: Factor) -> Factor:
        """1 / f as a factor of its own."""
        size = self.volume(f.labels)
        name = Name("1/", f.name)
        made = {**f.made, name: (1, size)}
        ops, work, widest, turns = f.cost
        cost = (ops + 1, added(work, size), largest(widest, size), turns)
        value = Apply(OVER, (Literal(1), f.value))
        return Factor(value, f.labels, name, False, cost, made)


def _operations(factors: Iterable[Factor]) -> int:
    """How many are in factors, what several have once."""
    made: dict[Name, tuple[int, Counts]] = {}
    for f in factors:
        made.update(f.made)
    return sum([ops for ops, _ in made.values()])


def is_inverse(name: Name) -> bool:
    """Is it the inverse of a matrix, as it stands?"""
    base = name.parts[0]
    return isinstance(base, Expr) and base.op.name == "inv"
