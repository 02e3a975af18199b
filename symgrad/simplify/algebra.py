"""Normal form of a formula to read: products are flat networks, powers of one base are one factor.

One bottom-up pass, linear in the graph; every law of products is a row of :data:`LAWS`.  Declared facts count:
the transpose of a symmetric matrix is itself, probabilities sum to 1.  What may change a value is
said in the row's ``states``; these forms are read and not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    SUM,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    permute,
    power,
    reduce_sum,
    relabelling,
    scale,
    single_term,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of
from symgrad.core.facts import is_symmetric
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import topological, transform
from symgrad.ops.structure import reshape
from symgrad.simplify.engine import complex_parts
from symgrad.simplify.images import correlated, turned
from symgrad.simplify.kroneckers import sides_apart, split_identity, turned_sides, vectors_apart
from symgrad.simplify.laws import LAWS, at_its_axes, one_label
from symgrad.simplify.networks import Exponent, Network, at_least_zero, network_of, product_of
from symgrad.simplify.systems import system
from symgrad.simplify.totals import total_meets_power
from symgrad.simplify.triangles import Triangles

# ------------------------------------------------------------------ symmetry


MOST = 6
"""Symmetric factors of a product whose axes are tried in both orders."""


PARITY = {"tanh": -1, "sin": -1, "sinh": -1, "arctan": -1, "atan": -1, "erf": -1, "sign": -1,
          "abs": 1, "cos": 1, "cosh": 1}  # fmt: skip
"""f(−x) over f(x)."""


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
            return is_symmetric(e)
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
        one_label(net)
        net.factors = [
            (a, p, tuple(sorted(ls)) if a.op is DELTA else ls) for a, p, ls in net.factors
        ]
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


def _matrix(e: Expr) -> Expr:
    """(A⁻¹)⁻¹ = A, det A⁻¹ = 1 / det A, transposes out of both; Q⁻¹ = Qᵀ, log |det Q| = 0."""
    name, a = e.op.name, e.args[0]
    if name in ("inv", "logdet") and "orthogonal" in facts_of(a):
        return permute(a, (1, 0)) if name == "inv" else constant(0, e.dtype)
    if name in ("inv", "det", "logdet") and relabelling(a) == (1, 0):
        made = e.func(a.args[0])
        return permute(made, (1, 0)) if name == "inv" else made
    if name in ("inv", "det") and a.op.name == "inv":
        return a.args[0] if name == "inv" else power(e.func(a.args[0]), -1)
    if name == "logdet" and a.op.name == "inv":
        return -e.func(a.args[0])
    return _of_diagonal(e) if name in ("inv", "logdet") else e


def _of_diagonal(e: Expr) -> Expr:
    """diag(x)⁻¹ = diag(1 / x), log det diag(x) = Σ log |x|."""
    net = network_of(e.args[0])
    eyes = [f for f in net.factors if f[0].op is DELTA and f[1] == 1]
    if len(eyes) != 1 or {*eyes[0][2]} != {0, 1} or e.ndim not in (0, 2) or e.args[0].ndim != 2:
        return e
    rest = [(a, p, tuple(0 if x == 1 else x for x in ls)) for a, p, ls in net.factors
            if a.op is not DELTA]  # fmt: skip
    sizes = {x: s for x, s in net.sizes.items() if x != 1}
    shape = e.args[0].shape[:1]
    found = {x: x if x == 0 else x - 1 for x in sizes}
    moved = [(a, p, tuple(found[x] for x in ls)) for a, p, ls in rest]
    line = product_of(
        Network(net.coefficient, moved, {found[x]: s for x, s in sizes.items()}, 1), shape, e.dtype
    )
    if e.op.name == "logdet":
        return reduce_sum(elementwise("log", elementwise("abs", line)), [0])
    return contract([eyes[0][0], power(line, -1)], [(0, 1), (0,)], range(2), dtype=e.dtype)


def _map(e: Expr) -> Expr:
    """f(−x) = ∓f(x) of an odd or even function; |x| = x and sign x = 1 of what is positive by
    declaration; nothing is differentiated here.
    """
    if e.op.name == "detach":
        return e.args[0]
    if e.op.name in ("abs", "sign") and at_least_zero(e.args[0]):
        if e.op.name == "abs":
            return e.args[0]
        if e.args[0].op is SYMBOL:
            return constant(1, e.dtype, e.shape)
    term = single_term(e.args[0]) if e.op.name in PARITY else None
    if term is not None and term[0].number < 0:
        return scale(PARITY[e.op.name], e.func(scale(-1, e.args[0])))
    return e


def _is_false(test: Expr) -> bool:
    """Does a comparison say of two numbers what is not so, alone or beside others?"""
    for c in test.args if test.op.name == "logical_and" else (test,):
        numbers = [constant_value(a) for a in c.args] if c.op.name == "eq" else []
        if None not in numbers and len({*numbers}) > 1 and not any(x and x.powers for x in numbers):
            return True
    return False


def _within_a_side(e: Expr) -> Expr:
    """where(c, a, f(where(c, b, d))) = where(c, a, f(d)) of elementwise functions f; 1[c] is 1 or 0."""
    natural, test = tuple(range(e.ndim)), e.args[0]
    if e.params[0][0] != natural:
        return e
    args = list(e.args)
    for side in (1, 2):
        if e.params[0][side] != natural:
            continue
        table: dict[Expr, Expr] = {}
        for node in topological([args[side]]):
            at = node.params[0] if node.op.family in ("map", "contraction") else ()
            rows = [row for _, row in node.params[0]] if node.op is SUM else at
            parts = [table.get(a, a) for a in node.args]
            holds = node.args and node.args[0] is test and at[:1] == (natural,)
            if holds and node.op.name == "where":
                sizes = dict(enumerate(e.shape))
                table[node] = contract([parts[side]], [at[side]], natural, sizes, node.dtype)
            elif holds and node.op.name == "cast":
                table[node] = constant(2 - side, node.dtype, e.shape)
            elif any(a in table for a in node.args):
                if node.shape != e.shape or not rows:
                    break
                placed = zip(node.args, rows, strict=True)
                if any(a in table and row != natural for a, row in placed):
                    break
                table[node] = node.func(*parts)
        else:
            args[side] = table.get(args[side], args[side])
    return e.func(*args) if any(a is not b for a, b in zip(args, e.args, strict=True)) else e


def _choice(e: Expr) -> Expr:
    """where(x ≥ c, x, max(x, c)) = max(x, c); where(p = 0, 0, p y) = p y."""
    if _is_false(e.args[0]):
        natural, sizes = tuple(range(e.ndim)), dict(enumerate(e.shape))
        return contract([e.args[2]], [e.params[0][2]], natural, sizes, e.dtype)
    e = _within_a_side(e)
    if e.op.name != "where":  # both sides are alike now
        return e
    test, x, larger = e.args
    if test.op.name == "eq" and larger.shape == e.shape:
        return larger if _is_never_so(e) or _vanishes(e) else e
    if test.op.name not in ("ge", "gt") or larger.op.name != "maximum" or test.args[0] is not x:
        return e
    same = test.args == larger.args and test.params[0] == larger.params[0] and at_its_axes(test)
    return larger if same and at_its_axes(e) and len({*e.params[0]}) == 1 else e


def _never_zero(x: Expr) -> bool:
    """Is it a product of exponentials and of what is declared positive?"""
    factors = [e for e, _, _ in network_of(x).factors] if constant_value(x) is None else []
    return bool(factors) and all(
        e.op.name == "exp" or (e.op is SYMBOL and "positive" in facts_of(e)) for e in factors
    )


def _is_never_so(e: Expr) -> bool:
    """Is it where(q = 0, x, y) of a q that is never 0, y at its own axes?"""
    (q, zero), last = e.args[0].args, e.params[0][2]
    number = constant_value(zero)
    return number is not None and number.is_zero and last == tuple(range(e.ndim)) and _never_zero(q)


def _vanishes(e: Expr) -> bool:
    """Is it where(p = 0, 0, p y)?"""
    test, x, larger = e.args
    to, _, last = e.params[0]
    for a in (x, test.args[1]):
        number = constant_value(a)
        if number is None or not number.is_zero:
            return False
    inside, there = network_of(test.args[0]), network_of(larger)
    if last != tuple(range(e.ndim)) or any(label >= inside.rank for label in inside.sizes):
        return False
    at = tuple(to[label] if label >= 0 else -1 for label in test.params[0][0])
    known = [(a, p > 0, ls) for a, p, ls in there.factors]
    own = {a for a, _, _ in inside.factors}
    powers = [a.args for a, _, _ in there.factors if a.op.name == "pow"]
    if any(p not in own and not (_never_zero(x) or _never_zero(p)) for x, p in powers):
        return False  # p xᵖ⁻¹ is 0 · ∞ at x = p = 0
    return all(
        p > 0 and (a, True, tuple(at[label] if label >= 0 else -1 for label in ls)) in known
        for a, p, ls in inside.factors
    )


def _numbers(e: Expr) -> Expr:
    """A function's operands that are one number at all entries, as that number."""
    args = [_one_number(a) for a in e.args]
    if all(a is b for a, b in zip(args, e.args, strict=True)) or all(
        a.shape != e.shape for a in args
    ):
        return e
    return elementwise(e.op.name, *args, statics=e.params[2])


def _one_number(e: Expr) -> Expr:
    alike = e.op is SUM and len(e.args) > 1 and e.shape and all(not ls for _, _, ls in terms_of(e))
    if alike:
        return linear(terms_of(e), (), e.dtype)
    made, kept = unspread(e)
    return e if kept else made


def unspread(e: Expr) -> tuple[Expr, tuple[int, ...]]:
    """A product without the axes along which it only repeats, and the axes that are left."""
    every = tuple(range(e.ndim))
    if e.op is not CONTRACTION or len(e.args) < 2:
        return e, every
    carried = {x for ls in e.params[0] for x in ls}
    kept = tuple(x for x in every if x in carried)
    if len(kept) == e.ndim:
        return e, every
    return contract(e.args, e.params[0], kept, dtype=e.dtype), kept


def _reshape(e: Expr) -> Expr:
    """Sums out of it; the identity of n m entries as n×m×n×m is an identity for each of both."""
    if e.op.name != "reshape":  # of what was reshaped from this shape
        return e
    shape = e.shape
    inner = e.args[0]
    if inner.op.name == "reshape":
        return reshape(inner.args[0], shape)
    natural = tuple(range(len(inner.shape)))
    if inner.op is SUM and inner.args and all(ls == natural for _, _, ls in terms_of(inner)):
        parts = [(c, _reshape(e.func(a)), tuple(range(len(shape)))) for c, a, _ in terms_of(inner)]
        return linear(parts, shape, e.dtype)
    if e.args[0].op is DELTA and len(shape) == 4 and shape[:2] == shape[2:]:
        parts = [DELTA.build((), (s, e.dtype)) for s in shape[:2]]  # type: ignore[misc]
        return contract(parts, [(0, 2), (1, 3)], range(4), dict(enumerate(shape)), e.dtype)
    return vectors_apart(e)


@dataclass(slots=True)
class Normal:
    """The normal form of expressions; remembers what it has seen."""

    symmetry: Symmetry = field(default_factory=Symmetry)
    known: dict[Expr, Expr] = field(default_factory=dict[Expr, Expr])
    triangles: Triangles = field(init=False)

    def __post_init__(self) -> None:
        self.triangles = Triangles(self.symmetry.holds)

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
        found = self.triangles.rewritten(e)
        made = self._shaped(e if found is None else found)
        self.triangles.note(made)
        return made

    def _shaped(self, e: Expr) -> Expr:
        if e.op is CONTRACTION or e.op.name == "power":
            split = split_identity(e) if e.op is CONTRACTION else e
            if split is not e:
                return _reshape(reshape(self.product(split.args[0]), e.shape))
            return self.product(turned_sides(e)) if e.args else e
        if e.op is SUM:
            return self._sum(e)
        if e.op.name in ("solve", "triangular_solve"):
            return system(e)
        if e.op.family == "matrix":
            return sides_apart(_matrix(e))
        if e.op.name == "reshape":
            return _reshape(e)
        if e.op.family == "map" and len(e.args) == 1:
            return _map(e)
        if e.op.family == "map" and e.op.name in ("where", "pow", "maximum", "minimum"):
            return _choice(_numbers(e)) if e.op.name == "where" else _numbers(e)
        if e.op.name == "flip":
            return turned(e)
        if e.op.name == "convolution":
            return correlated(e)
        return e

    def product(self, e: Expr) -> Expr:
        """A product, or a power, in normal form."""
        net = network_of(e)
        net.factors = [self._on_diagonal(a, p, ls) for a, p, ls in net.factors]
        for _ in range(len(net.factors)):
            if not any(law.step(net) for law in LAWS) and not total_meets_power(
                net, self.symmetry.product
            ):
                break
        if net.coefficient.is_zero:
            return constant(0, e.dtype, e.shape)
        return self.symmetry.product(net, e.shape, e.dtype)

    def _on_diagonal(self, e: Expr, p: Exponent, ls: Labels) -> tuple[Expr, Exponent, Labels]:
        """A factor with each label once: the diagonal of a sum is the sum of diagonals."""
        kept = tuple(dict.fromkeys(ls))
        if e.op is not SUM or len(e.args) < 2 or -1 in ls or len(kept) == len(ls):
            return e, p, ls
        shape = tuple(e.shape[ls.index(x)] for x in kept)
        terms: list[tuple[Monomial, Expr, Labels]] = []
        for c, a, row in terms_of(e):
            place = tuple(kept.index(ls[x]) if x >= 0 else -1 for x in row)
            once = tuple(dict.fromkeys(place))
            if len(once) < len(place) and -1 not in place:
                at = tuple(once.index(x) for x in place)
                a, place = self.product(contract([a], [at], range(len(once)), dtype=a.dtype)), once
            terms.append((c, a, place))
        return linear(terms, shape, e.dtype), p, kept

    def _sum(self, e: Expr) -> Expr:
        terms = []
        for c, a, ls in terms_of(e):
            number = constant_value(a)
            if c.is_zero or (number is not None and number.is_zero):
                continue
            if (
                len(e.args) == 1
                and a.op is CONTRACTION
                and any(b.op is CONTRACTION for b in a.args)
            ):
                a = self.product(a)  # a number of a factor went in front of it
            a, kept = unspread(a)
            ls = tuple(ls[k] for k in kept)
            if a.op is CONTRACTION and -1 not in ls and len({*ls}) < len(ls):  # of its diagonal
                ls, place = tuple(sorted({*ls})), ls
                row = tuple(ls.index(x) for x in place)
                a = self.product(contract([a], [row], range(len(ls)), dtype=a.dtype))
            if len(ls) == 2 and ls[0] > ls[1] >= 0:
                other = self.symmetry.mirrored(a)
                if other is not None and constant_value(other) is None:
                    a, ls = other, (ls[1], ls[0])
            terms.append((c, a, ls))
        return linear(terms, e.shape, e.dtype)


__all__ = ["Normal", "Symmetry"]
