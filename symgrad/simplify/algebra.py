"""Normal form of a formula to read: products are flat networks, powers of one base are one factor.

One bottom-up pass, linear in the graph; every rule is a row of :data:`RULES`.  Declared facts count:
the transpose of a symmetric matrix is itself, probabilities sum to 1.  What may change a value is
said in the row's ``states``; these forms are read and not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    ONE,
    SUM,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    permute,
    power,
    relabelling,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import transform
from symgrad.simplify.engine import complex_parts

Exponent = Fraction | float
WIDEST = 12
"""Factors up to which a product is opened into its user."""


@dataclass(slots=True)
class Network:
    """A product: coefficient, factors with exponents and labels, sizes of all labels."""

    coefficient: Monomial
    factors: list[tuple[Expr, Exponent, Labels]]
    sizes: dict[int, Size]
    rank: int

    def fresh(self) -> int:
        """A label that is not in use."""
        return max([self.rank - 1, *self.sizes]) + 1


def network_of(node: Expr) -> Network:
    """The product that a node is, with all products inside it opened."""
    rank = len(node.shape)
    found = Network(ONE, [], dict(enumerate(node.shape)), rank)
    stack: list[tuple[Expr, Exponent, tuple[int, ...]]] = [(node, Fraction(1), tuple(range(rank)))]
    while stack:
        e, p, place = stack.pop()
        whole = isinstance(p, Fraction) and p.denominator == 1
        if e.op is SUM and len(e.args) == 1 and (whole or e.params[0][0][0].number > 0):
            c, inner = e.params[0][0]
            if isinstance(p, Fraction):
                found.coefficient = found.coefficient * c**p
                stack.append((e.args[0], p, tuple(place[x] if x >= 0 else -1 for x in inner)))
                continue
        if e.op.name == "power":
            q = e.params[2][0]
            if p == 1 or whole or q == Fraction(1, 2):
                stack.append((e.args[0], p * q, place))
                continue
        if e.op is CONTRACTION and _opens(e, p, whole, node):
            table = dict(enumerate(place))
            for k, s in enumerate(e.shape):
                if table[k] >= 0:
                    found.sizes.setdefault(table[k], s)
            start = found.fresh()
            for a, ls in zip(e.args, e.params[0], strict=True):
                for k, x in enumerate(ls):
                    if x >= 0 and x not in table:
                        table[x] = start
                        found.sizes[start] = a.shape[k]
                        start += 1
            for a, ls in zip(e.args[::-1], e.params[0][::-1], strict=True):
                stack.append((a, p, tuple(table[x] if x >= 0 else -1 for x in ls)))
            continue
        found.factors.append((e, p, place))
    return found


def _opens(e: Expr, p: Exponent, whole: bool, node: Expr) -> bool:
    """May this product be dissolved?  Under a root only where every factor is at least 0."""
    if e is node:
        return True
    if p == 1:
        return len(e.args) <= WIDEST
    if e.sums:
        return False
    return whole or all(_at_least_zero(a) for a in e.args)


def _at_least_zero(e: Expr) -> bool:
    if e.op is SYMBOL:
        return "positive" in facts_of(e)
    if e.op.name == "power":
        return e.params[2][0] == Fraction(1, 2)
    return e.op.name in ("exp", "abs", "sigmoid", "softmax", "softplus")


def product_of(net: Network, shape: Sequence[Size], dtype: Any) -> Expr:
    """The node of a network: equal bases merged into one power."""
    merged: dict[tuple[Expr, Labels], Exponent] = {}
    for e, p, labels in net.factors:
        merged[(e, labels)] = merged.get((e, labels), Fraction(0)) + p
    factors: list[Expr] = []
    rows: list[Labels] = []
    for (e, labels), p in merged.items():
        if not p:
            continue
        whole = isinstance(p, Fraction) and p.denominator == 1 and 0 < p <= 8
        times = int(p) if whole else 1
        factors += [e if whole else power(e, p)] * times
        rows += [labels] * times
    made = contract(factors, rows, range(net.rank), net.sizes, dtype)
    return made if net.coefficient.is_one else net.coefficient * made


# ------------------------------------------------------------------ symmetry


MOST = 6
"""Symmetric factors of a product whose axes are tried in both orders."""


@dataclass(slots=True)
class Symmetry:
    """Which matrices equal their transpose, by declared facts and by their form."""

    known: dict[Expr, bool] = field(default_factory=dict[Expr, bool])

    def holds(self, e: Expr) -> bool:
        """Is ``e`` symmetric?  Its arguments are in normal form."""
        if len(e.shape) != 2 or e.shape[0] != e.shape[1]:
            return False
        found = self.known.get(e)
        if found is None:
            found = self.known[e] = self._found(e)
        return found

    def _found(self, e: Expr) -> bool:
        if e.op is SYMBOL:
            return bool({"symmetric", "spd"} & {*facts_of(e)})
        if e.op is DELTA:
            return True
        if e.op.family == "matrix" and e.op.name == "inv":
            return self.holds(e.args[0])
        if e.op is SUM:
            terms: list[tuple[Monomial, Expr, Labels]] = []
            for c, a, ls in terms_of(e):
                other = self.mirrored(a) if ls == (0, 1) else None
                terms.append((c, a, _exchanged(ls)) if other is None else (c, other, ls))
            return linear(terms, e.shape, e.dtype) is e
        if e.op is CONTRACTION and len(e.args) > 1:
            return self.turned(e) is e
        if e.op.family == "map" and len(e.args) == 1:
            return self.holds(e.args[0])
        return False

    def mirrored(self, e: Expr) -> Expr | None:
        """The transpose of a matrix as a node of its own, without a move of axes; None: there is none."""
        if self.holds(e):
            return e
        return self.turned(e) if e.op is CONTRACTION and len(e.args) > 1 else None

    def turned(self, e: Expr) -> Expr:
        """A product with its two axes exchanged inside."""
        net = network_of(e)
        net.sizes[0], net.sizes[1] = net.sizes[1], net.sizes[0]
        net.factors = [(a, p, _exchanged(ls)) for a, p, ls in net.factors]
        return self.product(net, e.shape[::-1], e.dtype)

    def product(self, net: Network, shape: Sequence[Size], dtype: Any) -> Expr:
        """The node of a network, the same one whichever way its symmetric factors are turned."""
        loose = [k for k, (a, _, ls) in enumerate(net.factors)
                 if len(ls) == 2 and ls[0] != ls[1] and self.holds(a)][:MOST]  # fmt: skip
        found: tuple[Any, Expr] | None = None
        for chosen in range(1 << len(loose)):
            turned = {k for j, k in enumerate(loose) if chosen >> j & 1}
            factors = [(a, p, ls[::-1] if k in turned else ls)
                       for k, (a, p, ls) in enumerate(net.factors)]  # fmt: skip
            made = product_of(Network(net.coefficient, factors, net.sizes, net.rank), shape, dtype)
            body = made.args[0] if made.op is SUM and len(made.args) == 1 else made
            rows = body.params[0] if body.op is CONTRACTION else ()
            if found is None or rows < found[0]:
                found = rows, made
        assert found is not None
        return found[1]


def _exchanged(labels: Labels) -> Labels:
    """Labels with 0 and 1 exchanged."""
    return tuple(1 - x if 0 <= x <= 1 else x for x in labels)


# ------------------------------------------------------------------ the rules


@dataclass(frozen=True, slots=True)
class Law:
    """A rule of the normal form: ``step(network)`` changes it in place, and says whether it did."""

    name: str
    step: Callable[[Network], bool]
    states: str = ""


def _sign_of_absolute(net: Network) -> bool:
    """|x| sign(x) = x, x sign(x) = |x|, |x|² = x²."""
    for k, (e, p, ls) in enumerate(net.factors):
        if e.op.name == "sign" and p == 1:
            x = e.args[0]
            for j, (other, q, row) in enumerate(net.factors):
                bare = other.op.name == "abs" and other.args[0] is x and q == 1
                odd = isinstance(q, Fraction) and q.denominator == 1 and q > 0
                if row != ls or not (bare or (other is x and odd)):
                    continue
                net.factors[k] = (x if bare else elementwise("abs", x), Fraction(1), ls)
                rest = Fraction(0) if bare else q - 1
                net.factors[j : j + 1] = [(x, rest, row)] if rest else []
                return True
        if e.op.name != "abs":
            continue
        x = e.args[0]
        same = [j for j, f in enumerate(net.factors) if f[0] is e and f[2] == ls and f[1] == 1]
        if isinstance(p, Fraction) and p.denominator == 1 and p.numerator % 2 == 0:
            net.factors[k] = (x, p, ls)
            return True
        if len(same) >= 2:
            for j in same[:2]:
                net.factors[j] = (x, Fraction(1), ls)
            return True
    return False


def _inverse_meets(net: Network) -> bool:
    """A⁻¹ A = I."""
    for k, (e, p, ls) in enumerate(net.factors):
        if e.op.name != "inv" or p != 1:
            continue
        for j, (other, q, row) in enumerate(net.factors):
            if other is not e.args[0] or q != 1:
                continue
            for mine, theirs in ((1, 0), (0, 1)):
                bound = ls[mine]
                uses = sum(f[2].count(bound) for f in net.factors)
                if bound == row[theirs] and bound >= net.rank and uses == 2:
                    low, high = sorted((ls[1 - mine], row[1 - theirs]))
                    net.factors[k] = (_eye(e), Fraction(1), (low, high))
                    del net.factors[j]
                    del net.sizes[bound]
                    if high >= net.rank and high != low:
                        del net.factors[k - (j < k)]
                        net.factors = [(a, r, tuple(low if x == high else x for x in at))
                                       for a, r, at in net.factors]  # fmt: skip
                        del net.sizes[high]
                    return True
    return False


def _eye(e: Expr) -> Expr:
    return DELTA.build((), (e.shape[0], e.dtype))  # type: ignore[misc]


def _one_label(net: Network) -> bool:
    """1[i = j] a[j] = 1[i = j] a[i]."""
    for e, p, ls in net.factors:
        if e.op is DELTA and p == 1 and 0 <= min(ls) < max(ls):
            low, high = min(ls), max(ls)
            if any(f[0] is not e and high in f[2] for f in net.factors):
                net.factors = [
                    (a, q, row if a is e else tuple(low if x == high else x for x in row))
                    for a, q, row in net.factors
                ]
                return True
    return False


def _total_of_probabilities(net: Network) -> bool:
    """Σ y = 1 over the last axis of probabilities."""
    for k, (e, p, ls) in enumerate(net.factors):
        sure = e.op is SYMBOL and {"prob", "onehot"} & {*facts_of(e)}
        if p != 1 or not ls or not (sure or (e.op.name == "softmax" and e.params[0] == -1)):
            continue
        last = ls[-1]
        alone = sum(f[2].count(last) for f in net.factors) == 1
        if alone and last >= net.rank:
            del net.factors[k]
            del net.sizes[last]
            for x in ls[:-1]:
                if x >= net.rank and not any(x in f[2] for f in net.factors):
                    net.coefficient = net.coefficient * net.sizes.pop(x)
            return True
    return False


LAWS: tuple[Law, ...] = (
    Law("absolute value and sign", _sign_of_absolute),
    Law("inverse meets its matrix", _inverse_meets, "finite where the matrix is singular"),
    Law("one label for equal axes", _one_label),
    Law("probabilities sum to one", _total_of_probabilities, "holds for declared probabilities"),
)


def _matrix(e: Expr) -> Expr:
    """(A⁻¹)⁻¹ = A, det A⁻¹ = 1 / det A, and transposes out of both."""
    name, a = e.op.name, e.args[0]
    if name in ("inv", "det", "logdet") and relabelling(a) == (1, 0):
        made = e.func(a.args[0])
        return permute(made, (1, 0)) if name == "inv" else made
    if name in ("inv", "det") and a.op.name == "inv":
        return a.args[0] if name == "inv" else power(e.func(a.args[0]), -1)
    if name == "logdet" and a.op.name == "inv":
        return -e.func(a.args[0])
    return e


def _map(e: Expr) -> Expr:
    """|x| = x and sign x = 1 of what is positive by declaration."""
    if e.op.name in ("abs", "sign") and _at_least_zero(e.args[0]):
        if e.op.name == "abs":
            return e.args[0]
        if e.args[0].op is SYMBOL:
            return constant(1, e.dtype, e.shape)
    return e


def _reshape(e: Expr) -> Expr:
    """Sums out of it; the identity of n m entries as n×m×n×m is an identity for each of both."""
    if e.op.name != "reshape":  # of what was reshaped from this shape
        return e
    shape = e.shape
    inner = e.args[0]
    natural = tuple(range(len(inner.shape)))
    if inner.op is SUM and inner.args and all(ls == natural for _, _, ls in terms_of(inner)):
        parts = [(c, _reshape(e.func(a)), tuple(range(len(shape)))) for c, a, _ in terms_of(inner)]
        return linear(parts, shape, e.dtype)
    if e.args[0].op is DELTA and len(shape) == 4 and shape[:2] == shape[2:]:
        parts = [DELTA.build((), (s, e.dtype)) for s in shape[:2]]  # type: ignore[misc]
        return contract(parts, [(0, 2), (1, 3)], range(4), dict(enumerate(shape)), e.dtype)
    return e


@dataclass(slots=True)
class Normal:
    """The normal form of expressions; remembers what it has seen."""

    symmetry: Symmetry = field(default_factory=Symmetry)
    known: dict[Expr, Expr] = field(default_factory=dict[Expr, Expr])

    def of(self, roots: Sequence[Expr]) -> list[Expr]:
        """``roots`` in normal form, jointly."""
        self.known = transform(roots, self._node, self.known)
        found = [self.known[r] for r in roots]
        for e in list(self.known.values()):
            self.known.setdefault(e, e)
        return found

    def _node(self, e: Expr) -> Expr:
        if complex_parts(e):
            return e
        if e.op is CONTRACTION or e.op.name == "power":
            return self.product(e) if e.args else e
        if e.op is SUM:
            return self._sum(e)
        if e.op.family == "matrix":
            return _matrix(e)
        if e.op.name == "reshape":
            return _reshape(e)
        if e.op.family == "map" and len(e.args) == 1:
            return _map(e)
        return e

    def product(self, e: Expr) -> Expr:
        """A product, or a power, in normal form."""
        net = network_of(e)
        for _ in range(len(net.factors)):
            if not any(law.step(net) for law in LAWS):
                break
        return self.symmetry.product(net, e.shape, e.dtype)

    def _sum(self, e: Expr) -> Expr:
        terms = []
        for c, a, ls in terms_of(e):
            if len(ls) == 2 and ls[0] > ls[1] >= 0:
                other = self.symmetry.mirrored(a)
                if other is not None and constant_value(other) is None:
                    a, ls = other, (ls[1], ls[0])
            terms.append((c, a, ls))
        return linear(terms, e.shape, e.dtype)


__all__ = [
    "LAWS",
    "Law",
    "Network",
    "Normal",
    "Symmetry",
    "elementwise",
    "network_of",
    "product_of",
]
