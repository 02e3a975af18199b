"""Layers whose adjoints have a closed form of their own: softmax, and what is standardised.

A standardised value is (x − μ) / s with s = √(mean (x − μ)² + ε), however it was written; its
adjoint is (δ − a − c N) / s with the two means a of δ and c of δ N, exact with ε.  The adjoint of a
softmax is P ⊙ (δ − r) with r = Σ P δ.

Source: Ba, Kiros, Hinton, "Layer normalization" (2016); Ioffe and Szegedy, "Batch normalization"
(2015); Bridle (1990).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    constant_value,
    contract,
    linear,
    power,
    product,
    reduce_sum,
    scale,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels
from symgrad.core.sizes import Monomial, monomial, size_product


@dataclass(frozen=True, slots=True)
class Standardised:
    """``node`` = (x − mean of x) / √(mean square + ε) along ``axes``; ``top`` = node ⊙ weight + bias."""

    node: Expr
    x: Expr
    kept: tuple[int, ...]
    small: tuple[tuple[Monomial, Expr], ...]
    top: Expr
    weight: Expr | None = None
    bias: Expr | None = None

    @property
    def axes(self) -> list[int]:
        """The axes of the means."""
        return [k for k in range(self.x.ndim) if k not in self.kept]

    @property
    def count(self) -> Monomial:
        """Entries of a mean."""
        return monomial(size_product(tuple(self.x.shape[k] for k in self.axes)))

    @property
    def last(self) -> bool:
        """Along the last axis, as a LayerNorm."""
        return self.axes == [self.x.ndim - 1]

    def spread(self, e: Expr) -> Expr:
        """A value per mean, repeated along the axes."""
        full = dict(enumerate(self.x.shape))
        return contract([e], [list(self.kept)], range(self.x.ndim), full, e.dtype)

    def mean(self, e: Expr) -> Expr:
        """The mean along the axes."""
        return scale(self.count**-1, reduce_sum(e, self.axes))

    def deviation(self, off: Expr) -> Expr:
        """√(mean of off² + ε)."""
        shape = tuple(off.shape[k] for k in self.kept)
        natural = tuple(range(off.ndim))
        squares = contract([off, off], [natural, natural], self.kept)
        rows = [(self.count**-1, squares, tuple(range(len(shape))))]
        rows += [(c, e, ()) for c, e in self.small]
        return power(linear(rows, shape, off.dtype), Fraction(1, 2))

    def whole(self, affine: bool) -> Expr:
        """The value of x, or of the layer, as one expression."""
        natural = tuple(range(self.x.ndim))
        rows = [(ONE, self.x, natural), (-ONE, self.spread(self.mean(self.x)), natural)]
        off = linear(rows, self.x.shape, self.x.dtype)
        made = self.over(off, self.deviation(off))
        if not affine:
            return made
        made = self.weighted(made)
        if self.bias is None:
            return made
        rows = [(ONE, made, natural), (ONE, self.across(self.bias), natural)]
        return linear(rows, made.shape, made.dtype)

    def of_small(self, coefficient: Monomial, c: Expr, s: Expr) -> Expr:
        """The adjoint of a scalar in ε: −½ Σ c / s², times the entries of a mean."""
        each = product(c, power(s, -2))
        return scale(self.count * coefficient * Fraction(-1, 2), reduce_sum(each, range(c.ndim)))

    def epsilon(self) -> Expr | None:
        """ε as one scalar."""
        if not self.small:
            return None
        return linear([(c, e, ()) for c, e in self.small], (), self.x.dtype)

    def weighted(self, delta: Expr) -> Expr:
        """The adjoint of the standardised value from that of the layer."""
        return delta if self.weight is None else product(delta, self.across(self.weight))

    def across(self, e: Expr) -> Expr:
        """A weight or bias, repeated along the other axes."""
        full = dict(enumerate(self.x.shape))
        where = self.axes if self.last else self.kept
        return contract([e], [list(where)], range(self.x.ndim), full, e.dtype)

    def summed(self, e: Expr) -> Expr:
        """The sum that a weight or bias receives."""
        where = self.axes if self.last else self.kept
        return reduce_sum(e, [k for k in range(e.ndim) if k not in where])

    def bracket(self, delta: Expr, value: Expr, a: Expr, c: Expr) -> tuple[Expr, list[Expr]]:
        """δ − a − c N, and its operands in this order."""
        natural = tuple(range(self.x.ndim))
        operands = [delta, self.spread(a), product(self.spread(c), value)]
        signs = (ONE, -ONE, -ONE)
        rows = [(k, e, natural) for k, e in zip(signs, operands, strict=True)]
        return linear(rows, self.x.shape, delta.dtype), operands

    def over(self, e: Expr, s: Expr) -> Expr:
        """``e / s``."""
        return product(e, self.spread(power(s, -1)))


def standardised(order: Sequence[Expr]) -> list[Standardised]:
    """The standardised values of a topological order, each with the affine map above it."""
    users: dict[Expr, list[Expr]] = {}
    for node in order:
        for a in dict.fromkeys(node.args):
            users.setdefault(a, []).append(node)
    found: list[Standardised] = []
    for node in order:
        layer = _standardised(node)
        if layer is not None:
            found.append(_with_affine(layer, users))
    return found


def _standardised(node: Expr) -> Standardised | None:
    if node.op is not CONTRACTION or node.sums or len(node.args) != 2:
        return None
    for k in (0, 1):
        under, off = node.args[k], node.args[1 - k]
        natural = tuple(range(off.ndim))
        if under.op.name != "power" or off.op is not SUM or node.params[0][1 - k] != natural:
            continue
        kept = tuple(x for x in node.params[0][k] if x >= 0)
        inside = _under_root(under)
        x = _centred(off, kept)
        if inside is None or x is None or inside.op is not SUM:
            continue
        probe = Standardised(node, x, kept, (), node)
        small = _small(probe, off, inside)
        if small is not None:
            return Standardised(node, x, kept, small, node)
    return None


def _under_root(under: Expr) -> Expr | None:
    """u of u^(−½)."""
    exponent = under.params[2][0]
    if exponent == Fraction(-1, 2):
        return under.args[0]
    inner = under.args[0]
    if exponent == -1 and inner.op.name == "power" and inner.params[2][0] == Fraction(1, 2):
        return inner.args[0]
    return None


def _centred(off: Expr, kept: tuple[int, ...]) -> Expr | None:
    """x of x − mean(x)."""
    natural = tuple(range(off.ndim))
    if not set(kept) <= set(natural):
        return None
    for c, x, ls in terms_of(off):
        if c.is_one and ls == natural and len(off.args) == 2:
            probe = Standardised(x, x, kept, (), x)
            rows = [(ONE, x, natural), (-ONE, probe.spread(probe.mean(x)), natural)]
            if linear(rows, x.shape, x.dtype) is off:
                return x
    return None


def _small(
    probe: Standardised, off: Expr, inside: Expr
) -> tuple[tuple[Monomial, Expr], ...] | None:
    """What stands beside the mean square under the root: numbers and scalar symbols."""
    natural = tuple(range(off.ndim))
    squares = contract([off, off], [natural, natural], probe.kept)
    small: list[tuple[Monomial, Expr]] = []
    seen = False
    for c, e, ls in terms_of(inside):
        if e is squares and c == probe.count**-1:
            seen = True
        elif ls == () and (e.op is SYMBOL or constant_value(e) is not None):
            small.append((c, e))
        else:
            return None
    return tuple(small) if seen else None


def _with_affine(layer: Standardised, users: dict[Expr, list[Expr]]) -> Standardised:
    """The layer with ⊙ weight and + bias, where these are all that its value is used for."""
    kept: Labels = tuple(layer.axes) if layer.last else layer.kept
    weight = bias = None
    top = layer.node
    natural = tuple(range(top.ndim))
    above = users.get(top, [])
    if len(above) == 1 and above[0].op is CONTRACTION and len(above[0].args) == 2:
        other = _other(above[0], top, natural, above[0].params[0], kept)
        if other is not None and not above[0].sums:
            weight, top = other, above[0]
            above = users.get(top, [])
    if len(above) == 1 and above[0].op is SUM and len(above[0].args) == 2:
        plain = all(c.is_one for c, _, _ in terms_of(above[0]))
        other = _other(above[0], top, natural, [ls for _, _, ls in terms_of(above[0])], kept)
        if other is not None and plain:
            bias, top = other, above[0]
    return Standardised(layer.node, layer.x, layer.kept, layer.small, top, weight, bias)


def _other(
    node: Expr, one: Expr, natural: Labels, labels: Iterable[Labels], kept: Labels
) -> Expr | None:
    rows = list(zip(node.args, labels, strict=True))
    for k in (0, 1):
        if rows[k] == (one, natural) and rows[1 - k][1] == kept and rows[1 - k][0].op is SYMBOL:
            return rows[1 - k][0]
    return None


@dataclass(frozen=True, slots=True)
class Layer:
    """A standardised value with its lines: μ, s, N; ``opened`` if they are printed."""

    layer: Standardised
    s: Expr
    value: Expr
    opened: bool

    def adjoints(self, seed: Expr, a: Expr, c: Expr, part: Expr) -> list[tuple[Expr, Expr]]:
        """(what, its adjoint) of a layer that is called, or of a value that is opened."""
        x = self.layer
        found = [(x.x, part)]
        found += [(e, x.of_small(k, c, self.s)) for k, e in x.small]
        if not self.opened and x.weight is not None:
            found.append((x.weight, x.summed(product(seed, self.value))))
        if not self.opened and x.bias is not None:
            found.append((x.bias, x.summed(seed)))
        return found


def insides(x: Standardised) -> set[Expr]:
    """The nodes between x and its standardised value, which have lines of their own."""
    found = {x.node}
    stack = [x.node]
    while stack:
        for a in stack.pop().args:
            if a is not x.x and a not in found and a.args:
                found.add(a)
                stack.append(a)
    return found


def layer_norm(x: Expr, scalars: Sequence[Expr], vectors: Sequence[Expr]) -> Expr:
    """LN(x, weight, bias, ε) along the last axis; weight, bias and ε may be missing."""
    small = tuple((ONE, e) for e in scalars)
    weight, bias = [*vectors, None, None][:2]
    return Standardised(x, x, tuple(range(x.ndim - 1)), small, x, weight, bias).whole(affine=True)


def softmax_sum(p: Expr, delta: Expr, axis: int) -> Expr:
    """r = Σ P δ along the axis, counted from the end, that the entries of P sum to 1 on."""
    return reduce_sum(product(p, delta), [p.ndim + axis])


def softmax_adjoint(p: Expr, delta: Expr, r: Expr, axis: int) -> Expr:
    """P ⊙ (δ − r)."""
    natural = tuple(range(p.ndim))
    rest = tuple(k for k in natural if k != p.ndim + axis)
    rows = [(ONE, delta, natural), (-ONE, r, rest)]
    return product(p, linear(rows, p.shape, p.dtype))


def given_deviation(node: Expr) -> bool:
    """1 ⊘ √(v + ε) of a variance that is given."""
    if node.op.name != "power" or node.params[2][0] != Fraction(-1, 2) or not node.ndim:
        return False
    parts = node.args[0].args
    return node.args[0].op is SUM and len(parts) == 2 and (
        sorted((e.op is SYMBOL and e.ndim > 0, not e.ndim) for e in parts)
        == [(False, True), (True, False)]
    )  # fmt: skip


def calls(layers: Mapping[Expr, Standardised], found: dict[Expr, str]) -> bool:
    """Are the layers called by name?  One alone is opened; what is inside them needs no name."""
    for x in layers.values():
        for node in insides(x):
            found.pop(node, None)
        if x.x.args:
            found.setdefault(x.x, "*")
    called = len(layers) > 1 or any(kind not in ("*", "R") for kind in found.values())
    called = called and all(x.last for x in layers.values())
    for x in layers.values() if called else ():
        found[x.top] = "N"
    return called


__all__ = [
    "Layer",
    "Standardised",
    "calls",
    "given_deviation",
    "insides",
    "layer_norm",
    "softmax_adjoint",
    "softmax_sum",
    "standardised",
]
