"""Where a gradient vanishes, in closed form.

Three shapes of equation are solved.  A gradient that is linear in its variable: x⁺ = −H⁻¹ g(0),
which is the normal equations, and one half-step of alternating least squares.  A function that is
linear in the inverse of a matrix beside a multiple of its log-determinant: a logdet(P) + ⟨B, P⟩ with
P = S⁻¹ is stationary at S = −Bᵀ / a (covariances).  Two powers of x or of exp(x), entry by entry
(:mod:`symgrad.structured.roots`).

Source: Petersen and Pedersen, *The Matrix Cookbook* (2012), 2.8 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from symgrad.autodiff import gradient
from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    contract,
    flat_factors,
    is_zero,
    linear,
    matmul,
    one,
    scale,
    single_term,
    terms_of,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, facts_of, name_of, symbol
from symgrad.core.facts import is_symmetric
from symgrad.core.traverse import leaves, substitute, topological, transform
from symgrad.errors import NotationError
from symgrad.ops.matrix import inv, logdet, transposed
from symgrad.simplify import simplify
from symgrad.structured import terms
from symgrad.structured.derive import jacobian
from symgrad.structured.operator import LinearMap
from symgrad.structured.roots import content, negative_ratio, root
from symgrad.structured.solving import plan

NAMED = -100
"""Symbols that stand for inverses have numbers from here downwards."""


@dataclass(frozen=True)
class Solution:
    """The stationary value of one variable: ``shown`` to read, ``value`` to compute."""

    shown: Expr
    value: Expr


def stationary(value: Expr, x: Expr, solved: Mapping[Expr, Expr]) -> Solution | None:
    """Where ∂value/∂x is 0, with ``solved`` for other variables; None without a closed form."""
    (value,) = simplify([value])
    ways = (_linear, _by_inverse, _by_entries)
    found = next((s for s in (way(value, x, solved) for way in ways) if s is not None), None)
    return found and replace(found, shown=_turned(found.shown))


def _turned(e: Expr) -> Expr:
    """``−A (b − y)`` as ``A (y − b)``: a minus in front goes into a difference."""
    term = single_term(e)
    if term is None or term[0].number > 0:
        return e
    for node in topological([term[1]])[::-1]:
        if node.op is SUM and any(c.number < 0 for c, *_ in terms_of(node)):
            other = linear([(-c, a, ls) for c, a, ls in terms_of(node)], node.shape, node.dtype)
            # what is linear in the difference, and reads it once, changes its sign
            if substitute([e], {node: scale(-1, node)})[0] is scale(-1, e):
                return scale(-1, substitute([e], {node: other})[0])
    return e


def _at(e: Expr, table: Mapping[Expr, Expr]) -> Expr:
    return simplify(substitute([e], dict(table)))[0] if table else simplify([e])[0]


# ------------------------------------------------------------------ linear gradients


def _linear(value: Expr, x: Expr, solved: Mapping[Expr, Expr]) -> Solution | None:
    value, back = _inverses_named(value, x)
    (g,) = gradient(value, [x])
    g = _at(_symmetric(g), solved)
    m = jacobian(g, x)
    if is_zero(m.expr) or x in leaves([m.expr]):
        return None
    _check_rank(m, x)
    g = _at(g, {x: zeros(x.shape, x.dtype)})
    found = _cancelled(m, g)
    if found is None:
        made = plan(m).solve(scale(-1, g))
        found = Solution(_shown(m, g) or made, made)
    shown, made = (simplify(substitute([e], back))[0] for e in (found.shown, found.value))
    return Solution(shown, made)


def _inverses_named(value: Expr, x: Expr) -> tuple[Expr, dict[Expr, Expr]]:
    """Factors without ``x`` that are never 0 (inverses, reciprocals) as symbols, and what these are."""
    back: dict[Expr, Expr] = {}

    def name(node: Expr, *facts: str) -> Expr:
        number = NAMED - len(back)
        made = symbol(f"P{len(back)}", node.shape, node.dtype, number=number, facts=facts)
        back[made] = node
        return made

    def named(node: Expr) -> Expr:
        if node.op.name == "solve":
            a, b = node.args
            free = a.ndim > 2 or x in leaves([a]) or x not in leaves([b])
            return node if free else matmul(named(inv(a)), b)
        if x in leaves([node]):
            return node
        if node.op.name == "inv":
            symmetric = ("symmetric",) if is_symmetric(node.args[0]) else ()
            return name(node, "invertible", *symmetric)
        if node.op.name == "exp" or (node.op.name == "power" and node.params[2][0] < 0):
            return name(node, "nonzero")
        return node

    return transform([value], named)[value], back


def _symmetric(e: Expr) -> Expr:
    """Factors that are declared symmetric, with the lower label in front, so that terms merge."""

    def sorted_labels(node: Expr) -> Expr:
        if node.op is SUM:
            rows = [(c, a, _ascending(a, ls)) for c, a, ls in terms_of(node)]
            return linear(rows, node.shape, node.dtype)
        if node.op is CONTRACTION and node.args:
            labels = [_ascending(a, ls) for a, ls in zip(node.args, node.params[0], strict=True)]
            sizes = dict(enumerate(node.shape))
            return contract(node.args, labels, range(node.ndim), sizes, node.dtype)
        return node

    return transform([e], sorted_labels)[e]


def _ascending(a: Expr, labels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(labels)) if is_symmetric(a) else labels


def _check_rank(m: LinearMap, x: Expr) -> None:
    """NotationError where every term of a Hessian is a product a bᵀ along one axis of ``x``."""
    for axis, size in enumerate(m.out_shape):
        apart = sum(not _joins(t, axis, m) for t in m.terms)
        if apart == len(m.terms) and not (isinstance(size, int) and size <= apart):
            raise NotationError(
                f"stationary: the Hessian for {name_of(x)} has rank at most {apart} along an axis of size "
                f"{size}, so ∂/∂{name_of(x)} = 0 at many points.",
                f"Add a term that tells them apart, as λ times the squares of {name_of(x)}.",
            )


def _joins(t: terms.Term, axis: int, m: LinearMap) -> bool:
    """Do factors lead from this axis of the rows to one of the columns?"""
    there = {axis}
    for _ in t.factors:
        for _, labels in t.factors:
            if there & {*labels}:
                there |= {*labels}
    return bool(there & {*m.columns})


def _cancelled(m: LinearMap, g: Expr) -> Solution | None:
    """c P x + P r = 0 is solved by x = −r / c without P, an inverse or a reciprocal."""
    if len(m.terms) != 1:
        return None
    (t,) = m.terms
    rows_of = {high: low for low, high in t.pairs()}
    named = [(p, tuple(rows_of.get(x, x) for x in ls)) for p, ls in t.others()]
    if not named:
        return None
    rows: list[Term] = []
    for c, term, placed in terms_of(g) if g.op is SUM else [(ONE, g, tuple(range(g.ndim)))]:
        factors = flat_factors(term) if term.op is CONTRACTION else []
        if placed != tuple(range(g.ndim)):
            return None
        out = list(range(g.ndim))
        for p, labels in named:
            at = next((ls for e, ls in factors if e is p), None)
            moved = None if at is None else _moved(p, labels, at, m.outputs)
            if at is None or moved is None:
                return None
            factors.remove((p, at))
            out = [moved.get(x, x) for x in out]
        shape = dict(zip(out, g.shape, strict=True))
        made = contract([e for e, _ in factors], [ls for _, ls in factors], out, shape, g.dtype)
        rows.append((-c / t.coefficient, made, placed))
    made = linear(rows, g.shape, g.dtype)
    return Solution(made, made)


def _moved(
    p: Expr, labels: tuple[int, ...], at: tuple[int, ...], outputs: int
) -> dict[int, int] | None:
    """Which axis of what P multiplies stands at an axis of the result.

    None where P may be 0, or cannot be inverted, or is not in front.
    """
    facts = set(facts_of(p)) if p.op is SYMBOL else set[str]()
    if all(x < outputs for x in labels):
        return {} if at == labels and facts & {"nonzero", "positive"} else None
    if labels == (0, 1) and outputs == 1 and 0 in at and facts & {"invertible", "spd"}:
        if at[0] == 0:
            return {0: at[1]}
        return {0: at[0]} if is_symmetric(p) else None
    return None


def _shown(m: LinearMap, g: Expr) -> Expr | None:
    """−H⁻¹ g with the inverses of H's factors, as a person writes it."""
    if m.outputs == 0:
        return negative_ratio(g, m.dense())
    if m.outputs == 1:
        c, h = content(m.dense())
        return scale(-1 / c, matmul(inv(h), g))
    way = plan(m)
    found = way.factors()
    if m.outputs != 2 or len(found) != len(way.groups):
        return None
    result = g
    for axis, e in found:
        c, h = content(e)
        made = matmul(inv(h), result) if axis == 0 else matmul(result, inv(h))
        result = scale(c**-1, made)
    return scale(-1, result) if way.front is None else negative_ratio(result, way.front)


# ------------------------------------------------------------------ inverses, and entry by entry


def _by_inverse(value: Expr, x: Expr, solved: Mapping[Expr, Expr]) -> Solution | None:
    """With Q = S⁻¹, where log det S = −log det Q: a Q⁻ᵀ + B = 0 at S = −Bᵀ / a."""
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        return None
    q = symbol("q", x.shape, x.dtype, number=-40)

    def changed(node: Expr) -> Expr:
        if node.op.name not in ("inv", "logdet") or node.args[0] is not x:
            return node
        return q if node.op.name == "inv" else scale(-1, logdet(q))

    value = transform([value], changed)[value]
    if x in leaves([value]):
        return None
    (g,) = gradient(value, [q])
    parts = _parted(_at(g, solved), q, inv(q))
    if parts is None:
        return None
    a, b = parts
    (made,) = simplify([transposed(negative_ratio(b, a))])
    return Solution(made, made)


def _by_entries(value: Expr, x: Expr, solved: Mapping[Expr, Expr]) -> Solution | None:
    """A gradient of two powers of x, or of exp(x), entry by entry."""
    (g,) = gradient(value, [x])
    found = root(_at(g, solved), x)
    if found is None:
        return None
    (made,) = simplify([found])
    return Solution(made, made)


def _parted(g: Expr, q: Expr, inverse: Expr) -> tuple[Expr, Expr] | None:
    """A and B of g = A · inverse + B without q; None where g is nothing of the kind."""
    natural = tuple(range(g.ndim))
    first: list[Term] = []
    rest: list[Term] = []
    for c, e, ls in terms_of(g) if g.op is SUM else [(ONE, g, natural)]:
        if q not in leaves([e]):
            rest.append((c, e, ls))
            continue
        factor = _without(e, q, inverse)
        if factor is None:
            return None
        first.append((c, factor, ()))
    if not first or not rest:
        return None
    return linear(first, (), g.dtype), linear(rest, g.shape, g.dtype)


def _without(e: Expr, q: Expr, inverse: Expr) -> Expr | None:
    """The number in front of a term that is a multiple of ``inverse``, free of q."""
    if e is inverse:
        return one(e.dtype)
    if e.op is not CONTRACTION or e.args.count(inverse) != 1:
        return None
    k = e.args.index(inverse)
    others = [i for i in range(len(e.args)) if i != k]
    here = {x for x in e.params[0][k] if x >= 0}
    whole = {x for x, s in enumerate(e.shape) if s != 1}
    if q in leaves([e.args[i] for i in others]) or here != whole:
        return None
    if any(set(e.params[0][i]) & here for i in others):
        return None
    return contract([e.args[i] for i in others], [e.params[0][i] for i in others], [])


def no_closed_form(x: Expr, others: Sequence[Expr] = ()) -> NotationError:
    """What to say where ∂/∂x = 0 is not solved."""
    beside = f" (with {', '.join(map(name_of, others))} at their own)" if others else ""
    return NotationError(
        f"stationary: no closed form is known of ∂/∂{name_of(x)} = 0{beside}.",
        "Solve for fewer variables at a time and alternate, or iterate: "
        "sg.derive(L, x, newton=x) prints a step of Newton's method.",
    )


__all__ = ["Solution", "no_closed_form", "stationary"]
