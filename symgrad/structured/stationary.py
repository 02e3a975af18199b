"""Where a gradient vanishes, in closed form.

Two shapes of equation are solved.  A gradient that is linear in its variable: x⁺ = −H⁻¹ g(0), which
is the normal equations, and one half-step of alternating least squares.  A function that is linear
in the inverse of its variable beside a multiple of its logarithm: a logdet(P) + ⟨B, P⟩ with P = S⁻¹
is stationary at S = −Bᵀ / a (covariances, variances, and rates where P = x).

Source: Petersen and Pedersen, *The Matrix Cookbook* (2012), 2.8 and 8.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce

from symgrad.autodiff import gradient
from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    broadcast_to,
    constant,
    constant_value,
    contract,
    elementwise,
    is_zero,
    linear,
    matmul,
    one,
    power,
    product,
    scale,
    single_term,
    terms_of,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.facts import is_symmetric
from symgrad.core.sizes import Monomial
from symgrad.core.traverse import leaves, substitute, topological, transform
from symgrad.errors import NotationError
from symgrad.ops.matrix import inv, logdet, transposed
from symgrad.simplify import simplify
from symgrad.structured import terms
from symgrad.structured.derive import jacobian
from symgrad.structured.operator import LinearMap
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
    found = _linear(value, x, solved) or _by_logarithm(value, x, solved)
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
    """Inverses and reciprocals that do not depend on ``x`` as symbols, and what these are."""
    back: dict[Expr, Expr] = {}

    def named(node: Expr) -> Expr:
        reciprocal = node.op.name == "power" and node.params[2][0] < 0
        if not (node.op.name == "inv" or reciprocal) or x in leaves([node]):
            return node
        inner = node.args[0]
        facts = ("symmetric",) if is_symmetric(inner) else ()
        number = NAMED - len(back)
        made = symbol(f"P{len(back)}", node.shape, node.dtype, number=number, facts=facts)
        back[made] = node
        return made

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
    if not named or any(p.op is not SYMBOL or p.params[3] > NAMED for p, _ in named):
        return None
    rows: list[Term] = []
    for c, term, placed in terms_of(g) if g.op is SUM else [(ONE, g, tuple(range(g.ndim)))]:
        factors = _factors(term)
        if placed != tuple(range(g.ndim)):
            return None
        out = list(range(g.ndim))
        for p, labels in named:
            at = next((ls for e, ls in factors if e is p), None)
            moved = None if at is None else _moved(p, labels, at, m.outputs)
            if moved is None:
                return None
            factors = [f for f in factors if f[0] is not p]
            out = [moved.get(x, x) for x in out]
        shape = dict(zip(out, g.shape, strict=True))
        made = contract([e for e, _ in factors], [ls for _, ls in factors], out, shape, g.dtype)
        rows.append((-c / t.coefficient, made, placed))
    made = linear(rows, g.shape, g.dtype)
    return Solution(made, made)


def _moved(
    p: Expr, labels: tuple[int, ...], at: tuple[int, ...], outputs: int
) -> dict[int, int] | None:
    """Which axis of what P multiplies stands at an axis of the result; None: P is not in front."""
    if all(x < outputs for x in labels):
        return {} if at == labels else None
    if labels == (0, 1) and outputs == 1 and 0 in at:
        if at[0] == 0:
            return {0: at[1]}
        return {0: at[0]} if is_symmetric(p) else None
    return None


def _factors(term: Expr) -> list[tuple[Expr, tuple[int, ...]]]:
    """The factors of a product, those of a product that is only summed opened."""
    if term.op is not CONTRACTION:
        return []
    rows: tuple[tuple[int, ...], ...] = term.params[0]
    (first, *more) = term.args
    if more or first.op is not CONTRACTION:
        return list(zip(term.args, rows, strict=True))
    outer = rows[0]
    fresh = 1 + max(outer, default=-1)
    return [
        (e, tuple(x if x < 0 else outer[x] if x < first.ndim else fresh + x for x in ls))
        for e, ls in zip(first.args, first.params[0], strict=True)
    ]


def _shown(m: LinearMap, g: Expr) -> Expr | None:
    """−H⁻¹ g with the inverses of H's factors, as a person writes it."""
    if m.outputs == 1:
        c, h = _content(m.dense())
        return scale(-1 / c, matmul(inv(h), g))
    way = plan(m)
    found = way.factors()
    if m.outputs != 2 or len(found) != len(way.groups):
        return None
    result = g
    for axis, e in found:
        c, h = _content(e)
        made = matmul(inv(h), result) if axis == 0 else matmul(result, inv(h))
        result = scale(c**-1, made)
    return scale(-1, result) if way.front is None else _ratio(result, way.front)


def _content(h: Expr) -> tuple[Monomial, Expr]:
    """The number that the first term of a sum has in front, and the sum without it."""
    if h.op is not SUM or not h.args:
        return ONE, h
    c = terms_of(h)[0][0]
    rows = [(k / c, e, ls) for k, e, ls in terms_of(h)]
    return c, linear(rows, h.shape, h.dtype)


# ------------------------------------------------------------------ a logarithm and a linear part


@dataclass(frozen=True)
class _Way:
    """A new variable q for x: the value in it, q⁻¹, and x by A and B of ∂value/∂q = A q⁻¹ + B."""

    value: Expr
    inverse: Expr
    x: Callable[[Expr, Expr], Expr]


def _by_logarithm(value: Expr, x: Expr, solved: Mapping[Expr, Expr]) -> Solution | None:
    q = symbol("q", x.shape, x.dtype, number=-40)
    ways = [_by_power(value, x, q, p) for p in (1, 2, -1)]
    if x.ndim == 2 and x.shape[0] == x.shape[1]:
        ways.insert(0, _matrix_inverse(value, x, q))
    for way in ways:
        if x in leaves([way.value]):
            continue
        (g,) = gradient(way.value, [q])
        parts = _parted(_at(g, solved), q, way.inverse)
        if parts is not None:
            (made,) = simplify([way.x(*parts)])
            return Solution(made, made)
    return None


def _matrix_inverse(value: Expr, x: Expr, q: Expr) -> _Way:
    """S = Q⁻¹, log det S = −log det Q: a Q⁻ᵀ + B = 0."""

    def changed(node: Expr) -> Expr:
        if node.op.name not in ("inv", "logdet") or node.args[0] is not x:
            return node
        return q if node.op.name == "inv" else scale(-1, logdet(q))

    made = transform([value], changed)[value]
    return _Way(made, inv(q), lambda a, b: transposed(_ratio(b, a)))


def _by_power(value: Expr, x: Expr, q: Expr, p: int) -> _Way:
    """q = x⁻ᵖ, log x = −log(q)/p: a/q + b = 0."""
    known: dict[Expr, Expr] = {}
    for node, (c, k) in _powers_of(x, value).items():
        known[node] = scale(c, power(q, -k / p))
    for node in topological([value]):
        if node.op.name == "log" and node.args[0] in known:
            c, k = _powers_of(x, value)[node.args[0]]
            front = elementwise("log", constant(c, x.dtype))
            known[node] = broadcast_to(front, x.shape) + scale(-k / p, elementwise("log", q))
    made = transform([value], lambda e: e, known)[value]
    if p < 0:
        return _Way(made, power(q, -1), _ratio)
    return _Way(made, power(q, -1), lambda a, b: power(_ratio(b, a), Fraction(1, p)))


def _powers_of(x: Expr, value: Expr) -> dict[Expr, tuple[Monomial, Fraction]]:
    """The nodes c xᵏ, entry by entry, with c and k."""
    found: dict[Expr, tuple[Monomial, Fraction]] = {x: (ONE, Fraction(1))}
    for node in topological([value]):
        inside = [found.get(a) for a in node.args]
        if node is x or node.shape != x.shape or not inside or None in inside:
            continue
        parts = [part for part in inside if part is not None]
        whole = tuple(-1 if s == 1 else k for k, s in enumerate(node.shape))
        if node.op is SUM and len(parts) == 1 and node.params[0][0][1] == whole:
            found[node] = (node.params[0][0][0] * parts[0][0], parts[0][1])
        elif node.op is CONTRACTION and all(ls == whole for ls in node.params[0]):
            c = reduce(operator.mul, [c for c, _ in parts])
            found[node] = (c, sum((k for _, k in parts), Fraction(0)))
        elif node.op.name == "power" and isinstance(node.params[2][0], Fraction):
            r = node.params[2][0]
            found[node] = (parts[0][0] ** r, parts[0][1] * r)
    return found


def _ratio(top: Expr, bottom: Expr) -> Expr:
    """−top / bottom, entry by entry."""
    c = constant_value(bottom)
    if c is not None:
        return scale(-1 / c, top)
    c, bottom = _content(bottom)
    return scale(-1 / c, product(top, power(bottom, -1)))


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
        first.append((c, factor, ls if factor.ndim else ()))
    if not first or not rest:
        return None
    shape = g.shape if any(e.ndim for _, e, _ in first) else ()
    return linear(first, shape, g.dtype), linear(rest, g.shape, g.dtype)


def _without(e: Expr, q: Expr, inverse: Expr) -> Expr | None:
    """What multiplies ``inverse`` in a term, free of q."""
    if e is inverse:
        return one(e.dtype)
    if e.op is not CONTRACTION or e.args.count(inverse) != 1:
        return None
    k = e.args.index(inverse)
    others = [i for i in range(len(e.args)) if i != k]
    here = tuple(x for x in e.params[0][k] if x >= 0)
    whole = [x for x, s in enumerate(e.shape) if s != 1]
    if q in leaves([e.args[i] for i in others]) or sorted(here) != whole:
        return None
    if inverse.op.name == "inv":  # a matrix has a number in front, not a number for each entry
        if any(set(e.params[0][i]) & set(here) for i in others):
            return None
        return contract([e.args[i] for i in others], [e.params[0][i] for i in others], [])
    return contract([e.args[i] for i in others], [e.params[0][i] for i in others],
                    range(e.ndim), dict(enumerate(e.shape)), e.dtype)  # fmt: skip


def no_closed_form(x: Expr, others: Sequence[Expr] = ()) -> NotationError:
    """What to say where ∂/∂x = 0 is not solved."""
    beside = f" (with {', '.join(map(name_of, others))} at their own)" if others else ""
    return NotationError(
        f"stationary: no closed form is known of ∂/∂{name_of(x)} = 0{beside}.",
        "Solve for fewer variables at a time and alternate, or iterate: "
        "sg.derive(L, x, newton=x) prints a step of Newton's method.",
    )


__all__ = ["Solution", "no_closed_form", "stationary"]
