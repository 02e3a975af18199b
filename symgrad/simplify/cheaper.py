"""Products opened into one another where the whole is much less work, for what runs.

``A B C v`` goes from the right, ``tr(A B)`` is a sum of entrywise products, ``Σₐᵦ (uₐ vᵦ)²`` is
``‖u‖² ‖v‖²``; a product distributes over a sum whose terms have fewer axes or a δ,
``Σⱼ (xᵢ − xⱼ) = n xᵢ − Σⱼ xⱼ``, if it is linear in that sum.  The result is then as exact as for
terms that were rounded first; a square is never opened, since its terms could cancel to noise.  All
are identities of real numbers; the order of rounding changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    ONE,
    SUM,
    Term,
    contract,
    factors_at,
    linear,
    scale,
    terms_of,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import Monomial, Size
from symgrad.core.traverse import topological, users
from symgrad.lower.pairs import extent_of, extents_of, in_pairs, numbered, path_of

LESS = 0.6
"""A form is taken if it needs less than this share of the work: of two equal products it saves one."""
WIDEST = 8
"""Factors up to which a product is opened."""
MOST = 8
"""Terms up to which a product is distributed over a sum."""


@dataclass(slots=True)
class Product:
    """``coefficient · Σ Π factors`` over every label that is not in ``out``."""

    factors: list[tuple[Expr, Labels]]
    out: tuple[int, ...]
    extents: dict[int, Size]
    dtype: DType

    def fresh(self, size: Size) -> int:
        """A new label of this size."""
        label = 1 + max(self.extents, default=-1)
        self.extents[label] = size
        return label


@dataclass(slots=True)
class Form:
    """A way to compute a product: what it costs, what it makes superfluous, how it is built."""

    cost: float
    saved: float
    products: list[tuple[Monomial, Product]]
    opened: set[Expr]  # what others use too: it is saved only if they open it as well


class Whole:
    """The expressions of which a factor, or a term, has all axes, and of that one again.

    A product with such an expression is no less work where it is opened: what it is a product of
    has as many entries.  A sum with a thin product is none of them: ``(A + U V) B`` may save U V.
    A symbol in ``lines`` is what stands there.
    """

    def __init__(
        self, lines: Mapping[Expr, Expr] | None = None, sizes: Mapping[str, int] | None = None
    ) -> None:
        self.lines = lines or {}
        self.sizes = sizes or {}
        self.known: dict[Expr, bool] = {}

    def __contains__(self, e: Expr) -> bool:
        stack = [e]
        while stack:
            top = stack[-1]
            parts = self.parts(top)
            unknown = [a for a in parts or () if a not in self.known]
            if top not in self.known and unknown:
                stack += unknown
                continue
            self.known[top] = parts is None or any(self.known[a] for a in parts)
            stack.pop()
        return self.known[e]

    def parts(self, e: Expr) -> list[Expr] | None:
        """The factors or terms that have all its axes; None for what is neither product nor sum."""
        if e in self.lines:
            return [self.lines[e]]
        if e.op.family == "matrix":
            return []
        if e.op not in (CONTRACTION, SUM) or not e.args:
            return None
        every = {*range(e.ndim)}
        if e.op is SUM:
            if any(a.op is CONTRACTION and _thin(a, self.sizes) for a in e.args):
                return []
            return [a for _, a, ls in terms_of(e) if every <= {*ls}]
        rows = zip(e.args, e.params[0], strict=True)
        return [a for a, ls in rows if a.op is not DELTA and every <= {*ls}]

    def opens(self, e: Expr) -> bool:
        """May a product be less work over what its factors are made of?"""
        return e.op is CONTRACTION and _loses(e) and not all(a in self for a in e.args)


@dataclass(slots=True)
class Cheaper:
    """One pass over the graph below some roots; ``sizes`` gives letters a value."""

    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    uses: dict[Expr, int] = field(default_factory=dict[Expr, int])
    sums: set[Expr] = field(default_factory=set[Expr])  # made by distributing
    gone: set[Expr] = field(default_factory=set[Expr])  # opened, though others use it too
    held: set[Expr] = field(default_factory=set[Expr])  # not opened by all that use it
    whole: Whole = field(init=False)

    def __post_init__(self) -> None:
        self.whole = Whole(sizes=self.sizes)

    def of(self, roots: Sequence[Expr]) -> dict[Expr, Expr]:
        """What the nodes under ``roots`` become, with products opened where that is less work.

        What some of its users opened and others did not is made all the same: nobody opens it then.
        """
        while True:
            self.uses, self.sums, self.gone = {}, set(), set()
            new = self._once(roots)
            made = self.gone and self.gone.intersection(topological([new[r] for r in roots]))
            if not made:
                return new
            self.held |= made

    def _once(self, roots: Sequence[Expr]) -> dict[Expr, Expr]:
        order = topological(roots)
        counts = users(order)
        new: dict[Expr, Expr] = {}
        for node in order:
            args = tuple(new[a] for a in node.args)
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            made = new[node] = self.node(node if same else node.func(*args))
            self.uses[made] = self.uses.get(made, 0) + max(counts[node], 1)
        return new

    def node(self, e: Expr) -> Expr:
        """A product in its cheapest form, the terms of opened sums side by side."""
        if e.op is SUM and any(a in self.sums for a in e.args):
            return self.flat(e)
        if e.op.name == "detach":  # nothing is differentiated any more
            return e.args[0]
        if not self.whole.opens(e):
            return e
        factors = list(zip(e.args, e.params[0], strict=True))
        start = Product(factors, tuple(range(e.ndim)), extents_of(e), e.dtype)
        before = self.cost(start)
        best: Form | None = None
        for form in self.forms(start, 2):
            less = form.cost < LESS * (before + form.saved)
            if less and (best is None or form.cost - form.saved < best.cost - best.saved):
                best = form
        if best is None:
            return e
        self.gone |= best.opened
        return self.built(best, e)

    def forms(self, p: Product, depth: int) -> list[Form]:
        """The ways to compute a product: opened, and distributed over a sum."""
        found: list[Form] = []
        unshared: list[tuple[Expr, Labels]] | None = None
        for shared in (False, True):
            q, saved, gone = self.opened(p, shared)
            if q.factors == unshared:
                break  # nothing in it is used elsewhere
            unshared = q.factors
            found.append(Form(self.cost(q), saved, [(ONE, q)], gone))
            if depth:
                found += [
                    self.distributed(q, k, saved, gone, depth)
                    for k, (e, _) in enumerate(q.factors)
                    if self.distributes(q, e)
                ]
        return found

    def opened(self, p: Product, shared: bool) -> tuple[Product, float, set[Expr]]:
        """The products inside a product dissolved in it, the work that is superfluous then, and
        those that are used elsewhere.
        """
        q = Product([], p.out, dict(p.extents), p.dtype)
        saved = 0.0
        gone: set[Expr] = set()
        queue = list(p.factors[::-1])
        while queue:
            e, ls = queue.pop()
            room = len(queue) + len(q.factors) + len(e.args) <= WIDEST
            uses = self.uses.get(e, 1)
            held = e.op is not CONTRACTION or not e.args or e in self.whole
            if held or not room or (uses > 1 and (not shared or e in self.held)):
                q.factors.append((e, ls))
                continue
            if uses > 1:
                gone.add(e)
            saved += self.work(e) / uses
            queue += factors_at(e, ls, q.fresh)[::-1]
        return _renamed(q), saved, gone

    def distributes(self, q: Product, e: Expr) -> bool:
        """Is it a sum of terms that are simpler than itself, of which the product has one?"""
        if e.op is not SUM or not 2 <= len(e.args) <= MOST or e in self.whole:
            return False
        if sum(f is e for f, _ in q.factors) > 1:
            return False
        return any(
            len(set(ls) - {-1}) < e.ndim or (a.op is CONTRACTION and _thin(a, self.sizes))
            for _, a, ls in terms_of(e)
        )

    def distributed(self, q: Product, k: int, saved: float, gone: set[Expr], depth: int) -> Form:
        """Term by term, each in its cheapest form."""
        opened = set(gone)
        e, place = q.factors[k]
        entries = self.extent(e.shape)
        saved += entries * len(e.args) / self.uses.get(e, 1)
        cost = self.extent(tuple(q.extents[x] for x in q.out)) * (len(e.args) - 1)
        products: list[tuple[Monomial, Product]] = []
        for c, a, ls in terms_of(e):
            row = tuple(place[x] if x >= 0 else -1 for x in ls)
            factors = [*q.factors[:k], (a, row), *q.factors[k + 1 :]]
            term = Product(factors, q.out, dict(q.extents), q.dtype)
            best = min(self.forms(term, depth - 1), key=lambda form: form.cost - form.saved)
            cost += best.cost
            saved += best.saved
            opened |= best.opened
            products += [(c * d, x) for d, x in best.products]
        return Form(cost, saved, products, opened)

    def built(self, form: Form, e: Expr) -> Expr:
        """The expression of a form."""
        parts = [(c, self.paired(x), tuple(range(e.ndim))) for c, x in form.products]
        made = linear(parts, e.shape, e.dtype)
        if made.op is SUM and len(made.args) > 1:
            self.sums.add(made)
        return made

    def flat(self, e: Expr) -> Expr:
        """A sum with the opened sums in it dissolved: like terms meet."""
        rows: list[Term] = []
        for c, a, ls in terms_of(e):
            if a not in self.sums or self.uses.get(a, 1) > 1:
                rows.append((c, a, ls))
                continue
            for d, b, inner in terms_of(a):
                rows.append((c * d, b, tuple(ls[x] if x >= 0 else -1 for x in inner)))
        return linear(rows, e.shape, e.dtype)

    def paired(self, p: Product) -> Expr:
        """A product two factors at a time; a label that nothing carries counts its size."""
        eyes = [f for f in p.factors if f[0].op is DELTA]
        rest = [f for f in p.factors if f[0].op is not DELTA]
        carried = {x for _, ls in p.factors for x in ls}
        coefficient = ONE
        for x, size in p.extents.items():
            if x not in carried and x not in p.out:
                coefficient = coefficient * size
        extents = {x: s for x, s in p.extents.items() if x in carried or x in p.out}
        if not eyes and rest:
            return scale(coefficient, in_pairs(rest, p.out, extents, p.dtype, self.sizes))
        inner = tuple(x for x in p.out if any(x in ls for _, ls in rest))
        parts = [(e, ls) for e, ls in eyes]
        if rest:
            held = {x: s for x, s in extents.items() if any(x in ls for _, ls in rest)}
            parts.append((in_pairs(rest, inner, held, p.dtype, self.sizes), inner))
        shape = {x: extents[x] for x in p.out}
        whole = contract([e for e, _ in parts], [ls for _, ls in parts], p.out, shape, p.dtype)
        return scale(coefficient, whole)

    # ------------------------------------------------------------------ work

    def extent(self, shape: Sequence[Size]) -> float:
        """How many entries."""
        return float(prod(extent_of(s, self.sizes) for s in shape))

    def cost(self, p: Product) -> float:
        """Operations in the cheapest order: first what one factor alone carries is summed; δ is free."""
        rows = [tuple(x for x in ls if x >= 0) for e, ls in p.factors if e.op is not DELTA]
        total = 0.0
        for k, ls in enumerate(rows):
            needed = {*p.out, *(x for j, row in enumerate(rows) if j != k for x in row)}
            if not needed.issuperset(ls):
                total += self.extent(tuple(p.extents[x] for x in dict.fromkeys(ls)))
                rows[k] = tuple(x for x in ls if x in needed)
        if len(rows) < 2:
            return total
        return total + path_of(tuple(rows), p.out, numbered(p.extents, self.sizes))[1]

    def work(self, e: Expr) -> float:
        """Operations of one product as it stands."""
        factors = list(zip(e.args, e.params[0], strict=True))
        return self.cost(Product(factors, tuple(range(e.ndim)), extents_of(e), e.dtype))


def _renamed(p: Product) -> Product:
    """A δ with a summed label renames it; those between two axes of the result stay."""
    factors = list(p.factors)
    changed = True
    while changed:
        changed = False
        for k, (e, ls) in enumerate(factors):
            if e.op is not DELTA or -1 in ls:
                continue
            gone, stays = ls if ls[1] in p.out else ls[::-1]
            if gone in p.out and gone != stays:
                continue
            del factors[k]
            table = {gone: stays}
            factors = [(f, tuple(table.get(x, x) for x in row)) for f, row in factors]
            if gone != stays:
                del p.extents[gone]
            changed = True
            break
    p.factors = factors
    return p


def _loses(e: Expr) -> bool:
    """Is something in a product summed, or needed on a diagonal only?  Else every entry is needed."""
    labels = e.params[0]
    return bool(e.sums) or any(
        a.op is DELTA or len({*ls} - {-1}) < a.ndim - ls.count(-1)
        for a, ls in zip(e.args, labels, strict=True)
    )


def _thin(e: Expr, sizes: Mapping[str, int]) -> bool:
    """Has a product a δ, or fewer entries in its factors than in itself?  A number has no factors."""
    if not e.args:
        return False
    if any(a.op is DELTA for a in e.args):
        return True
    total = prod(extent_of(s, sizes) for s in e.shape)
    return sum(prod(extent_of(s, sizes) for s in a.shape) for a in e.args) < total / 2


def cheaper(roots: Sequence[Expr], sizes: Mapping[str, int] | None = None) -> list[Expr]:
    """``roots`` with products opened into one another where that is much less work, jointly."""
    new = Cheaper(dict(sizes or {})).of(roots)
    return [new[r] for r in roots]


__all__ = ["cheaper"]
