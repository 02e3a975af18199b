"""Where an expression is 0 in one variable, entry by entry, in closed form.

The expression is read as a fraction of polynomials ``Σ_k A_k uᵏ`` whose coefficients do not depend
on the variable; u is the variable x, or exp(x) where x stands in exponents alone.  A numerator of
two powers, ``A uᵖ + B uᑫ``, is 0 at ``u = (−B / A)^(1/(p − q))``, the positive root where p − q is
even: variances and rates, probabilities, odds, and their logarithms.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import product as combinations

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    constant,
    constant_value,
    contract,
    elementwise,
    is_zero,
    linear,
    ones,
    power,
    product,
    scale,
    terms_of,
)
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Monomial, monomial
from symgrad.core.traverse import topological
from symgrad.simplify import simplify

Polynomial = dict[Fraction, Expr]
"""``Σ_k A_k uᵏ`` by its exponents; every coefficient has the shape of what is read."""
Affine = tuple[Fraction, Expr | None]
"""``r x + w``."""
ZERO, UNIT = Fraction(0), Fraction(1)
MOST = 8
"""The highest power of a sum that is multiplied out."""


@dataclass(frozen=True)
class Ratio:
    """A fraction of polynomials; without a ``bottom`` it is the polynomial ``top``."""

    top: Polynomial
    bottom: Polynomial | None = None


class Reader:
    """Reads expressions as fractions of polynomials in x, or in exp(x)."""

    def __init__(self, x: Expr, exponential: bool) -> None:
        self.x, self.exponential = x, exponential
        self.axes = {x: tuple(k for k, size in enumerate(x.shape) if size != 1)}
        """Where the axes of x stand, of everything that depends on it."""
        self.ratios: dict[Expr, Ratio] = {}
        self.affine: dict[Expr, Affine] = {x: (UNIT, None)} if exponential else {}

    def read(self, e: Expr) -> Ratio | None:
        """The fraction that ``e`` is; None where it is none."""
        if not self.exponential:
            self.ratios[self.x] = Ratio({UNIT: ones(self.x.shape, self.x.dtype)})
        for node in topological([e]):
            if node is self.x or self.axes.keys().isdisjoint(node.args):
                continue
            at = self._placed(node)
            if at is None:
                return None
            self.axes[node] = at
            affine = self._affine(node)
            if affine is not None:
                self.affine[node] = affine
            found = self._ratio(node)
            if found is not None:
                self.ratios[node] = found
            elif affine is None:
                return None
        return self.ratios.get(e) if self.axes.get(e) == self.axes[self.x] else None

    def _placed(self, node: Expr) -> tuple[int, ...] | None:
        """The axes of a node along which x runs; None where it runs along several, or is summed."""
        if node.op is SUM:
            rows = [labels for _, _, labels in terms_of(node)]
        elif node.op is CONTRACTION or node.op.family == "map":
            rows = node.params[0]
        else:
            return None
        found = {tuple(labels[k] for k in self.axes[a])
                 for a, labels in zip(node.args, rows, strict=True) if a in self.axes}  # fmt: skip
        if len(found) != 1:
            return None
        (at,) = found
        return at if len(set(at)) == len(at) and all(0 <= k < node.ndim for k in at) else None

    def _affine(self, node: Expr) -> Affine | None:
        """``r x + w`` with a plain number r."""
        if node.op is not SUM:
            return None
        rate, rest = ZERO, list[Term]()
        for c, a, labels in terms_of(node):
            if a in self.axes:
                known = self.affine.get(a)
                if known is None or c.powers or not isinstance(c.number, (int, Fraction)):
                    return None
                rate += c.number * known[0]
                if known[1] is not None:
                    rest.append((c, known[1], labels))
            else:
                rest.append((c, a, labels))
        return rate, linear(rest, node.shape, node.dtype) if rest else None

    def _ratio(self, node: Expr) -> Ratio | None:
        rule = {"exp": self._exp, "sigmoid": self._sigmoid, "tanh": self._tanh}.get(node.op.name)
        if rule is not None:
            return rule(node)
        if node.op.name == "power":
            inside = self.ratios.get(node.args[0])
            return inside and _raised(inside, node.params[2][0])
        if node.op is not SUM and node.op is not CONTRACTION:
            return None
        parts = [self.ratios.get(a) if a in self.axes else Ratio({ZERO: a}) for a in node.args]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        return _total(node, found) if node.op is SUM else self._joined(node, found)

    def _exp(self, node: Expr) -> Ratio | None:
        known = self.affine.get(node.args[0])
        if known is None:
            return None
        rate, rest = known
        front = ones(node.shape, node.dtype) if rest is None else elementwise("exp", rest)
        return Ratio({rate: front})

    def _sigmoid(self, node: Expr) -> Ratio | None:
        """``σ(v) = eᵛ / (1 + eᵛ)``."""
        top = self._exp(node)
        return top and Ratio(top.top, _plus({ZERO: ones(node.shape, node.dtype)}, top.top))

    def _tanh(self, node: Expr) -> Ratio | None:
        """``tanh v = (e²ᵛ − 1) / (e²ᵛ + 1)``."""
        once = self._exp(node)
        twice = once and _raised(once, Fraction(2))
        if twice is None:
            return None
        unit = ones(node.shape, node.dtype)
        return Ratio(_plus(twice.top, {ZERO: scale(-1, unit)}), _plus(twice.top, {ZERO: unit}))

    def _joined(self, node: Expr, parts: Sequence[Ratio]) -> Ratio | None:
        """A product: every combination of powers, whatever it sums over."""
        rows = node.params[0]
        sizes = dict(enumerate(node.shape))
        below: list[Polynomial] = []
        for part, labels in zip(parts, rows, strict=True):
            if part.bottom is not None:
                if any(x >= node.ndim for x in labels):
                    return None  # a denominator that is summed over
                below.append({
                    k: contract([c], [labels], range(node.ndim), sizes, node.dtype)
                    for k, c in part.bottom.items()
                })  # fmt: skip

        def joined(chosen: Sequence[Expr]) -> Expr:
            sized = {x: s for e, ls in zip(node.args, rows, strict=True)
                     for x, s in zip(ls, e.shape, strict=True) if x >= 0}  # fmt: skip
            return contract(chosen, rows, range(node.ndim), {**sized, **sizes}, node.dtype)

        top: Polynomial = {}
        for chosen in combinations(*(part.top.items() for part in parts)):
            top = _plus(top, {sum((k for k, _ in chosen), ZERO): joined([c for _, c in chosen])})
        bottom = None
        for other in below:
            bottom = other if bottom is None else _times(bottom, other)
        return Ratio(top, bottom)


def _total(node: Expr, parts: Sequence[Ratio]) -> Ratio:
    """A sum over one denominator."""

    def placed(poly: Polynomial, front: Monomial, labels: Labels) -> Polynomial:
        return {k: linear([(front, c, labels)], node.shape, node.dtype) for k, c in poly.items()}

    found: Ratio | None = None
    for part, (c, _, labels) in zip(parts, terms_of(node), strict=True):
        below = None if part.bottom is None else placed(part.bottom, ONE, labels)
        here = Ratio(placed(part.top, c, labels), below)
        found = here if found is None else _added(found, here)
    return found or Ratio({})


def _added(a: Ratio, b: Ratio) -> Ratio:
    if a.bottom == b.bottom:
        return Ratio(_plus(a.top, b.top), a.bottom)
    left = a.top if b.bottom is None else _times(a.top, b.bottom)
    right = b.top if a.bottom is None else _times(b.top, a.bottom)
    both = [p for p in (a.bottom, b.bottom) if p is not None]
    return Ratio(_plus(left, right), both[0] if len(both) == 1 else _times(*both))


def _plus(a: Polynomial, b: Polynomial) -> Polynomial:
    return {k: a[k] + b[k] if k in a and k in b else c for k, c in {**a, **b}.items()}


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    found: Polynomial = {}
    for (j, c), (k, d) in combinations(a.items(), b.items()):
        found = _plus(found, {j + k: product(c, d)})
    return found


def _raised(e: Ratio, exponent: object) -> Ratio | None:
    """``eʳ``: any power of one term, a whole one of several."""
    if not isinstance(exponent, (int, Fraction)):
        return None
    r = Fraction(exponent)
    some = next(iter(e.top.values()))
    unit = {ZERO: ones(some.shape, some.dtype)}
    above, below = (_powered(poly or unit, abs(r)) for poly in (e.top, e.bottom))
    if above is None or below is None:
        return None
    if r < 0:
        above, below = below, above
    if len(below) > 1:
        return Ratio(above, below)
    ((k, c),) = below.items()
    inverse = _power(c, Fraction(-1))
    return Ratio({j - k: product(d, inverse) for j, d in above.items()})


def _powered(poly: Polynomial, r: Fraction) -> Polynomial | None:
    if len(poly) == 1:
        ((k, c),) = poly.items()
        return {k * r: _power(c, r)}
    if r.denominator > 1 or r > MOST:
        return None
    made = poly
    for _ in range(int(r) - 1):
        made = _times(made, poly)
    return made


def _power(e: Expr, r: Fraction) -> Expr:
    """``eʳ``; a whole power of a plain number is one."""
    c = constant_value(e)
    if (
        c is None
        or c.is_zero
        or not (c.is_one or (r.denominator == 1 and isinstance(c.number, (int, Fraction))))
    ):
        return power(e, r)
    return constant(c**r, e.dtype, e.shape)


# ------------------------------------------------------------------ the root


def root(e: Expr, x: Expr) -> Expr | None:
    """The value of ``x`` at which ``e`` is 0, entry by entry; None where no closed form is known."""
    if e.shape != x.shape:
        return None
    for exponential in (False, True):
        found = Reader(x, exponential).read(e)
        if found is None:
            continue
        settled = simplify(list(found.top.values()))
        powers = {k: c for k, c in zip(found.top, settled, strict=True) if not is_zero(c)}
        if len(powers) != 2:
            return None
        low, high = sorted(powers)
        ratio, root_of = negative_ratio(powers[low], powers[high]), 1 / (high - low)
        return scale(root_of, elementwise("log", ratio)) if exponential else power(ratio, root_of)
    return None


def content(e: Expr) -> tuple[Monomial, Expr]:
    """What stands in front of all terms of a sum, or of sums in a product, and ``e`` without it.

    The number is that of the first term, without its sign where others follow; of each letter, the
    lowest power.
    """
    if e.op is CONTRACTION and e.args:
        parts = [content(a) if a.op is SUM and len(a.args) > 1 else (ONE, a) for a in e.args]
        sizes = {x: s for a, ls in zip(e.args, e.params[0], strict=True)
                 for x, s in zip(ls, a.shape, strict=True)}  # fmt: skip
        made = contract([a for _, a in parts], e.params[0], range(e.ndim),
                        {**sizes, **dict(enumerate(e.shape))}, e.dtype)  # fmt: skip
        return reduce(operator.mul, [c for c, _ in parts]), made
    if e.op is not SUM or not e.args:
        return ONE, e
    fronts = [dict(c.powers) for c, *_ in terms_of(e)]
    letters = sorted({word for powers in fronts for word in powers})
    lowest = {word: min(powers.get(word, 0) for powers in fronts) for word in letters}
    first = next((c.number for c, *_ in terms_of(e) if c.number), 1)
    number = first if len(e.args) == 1 else abs(first)
    common = Monomial(number, tuple([(w, p) for w, p in lowest.items() if p]))
    made = _divided(e, common)
    if len(e.args) > 1:
        return common, made
    more, made = content(made)
    return common * more, made


def _divided(e: Expr, c: Monomial) -> Expr:
    return linear([(k / c, a, labels) for k, a, labels in terms_of(e)], e.shape, e.dtype)


def negative_ratio(top: Expr, bottom: Expr) -> Expr:
    """``−top / bottom``, entry by entry, one number in front of both; a minus goes into a difference."""
    (b, top), (c, bottom) = content(top), content(bottom)
    front, minus = -b / c, monomial(-1)
    for k, e in enumerate((bottom, top)):
        if front.number < 0 and e.op is SUM and any(c.number < 0 for c, *_ in terms_of(e)):
            top, bottom = (top, _divided(e, minus)) if k == 0 else (_divided(e, minus), bottom)
            front = -front
    number = constant_value(bottom)
    return (
        scale(front / number, top)
        if number is not None
        else scale(front, product(top, power(bottom, -1)))
    )


__all__ = ["content", "negative_ratio", "root"]
