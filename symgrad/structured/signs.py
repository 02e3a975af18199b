"""What is known of signs: entries that cannot be negative, matrices that are positive definite."""

from __future__ import annotations

from symgrad.core.build import CONTRACTION, DELTA, SUM, constant_value, relabelling, terms_of
from symgrad.core.expr import SYMBOL, Expr, facts_of
from symgrad.core.traverse import topological
from symgrad.structured.kernels import semidefinite
from symgrad.structured.terms import Term

POSITIVE = frozenset({"exp", "sigmoid", "softplus", "softmax", "cosh"})
"""Above zero everywhere."""
SQUARES = frozenset({"abs", "relu"})
"""Never below zero."""
UNIT = frozenset({"sigmoid", "softmax"})
"""Between 0 and 1."""
SIGNED = frozenset({"tanh", "erf", "sin", "cos"})
"""Between −1 and 1."""

NEVER, ZERO, ABOVE = 0, 1, 2
"""Nothing known; not negative; positive."""


def sign_of(e: Expr) -> int:
    """What is known of every entry of ``e``: NEVER, ZERO or ABOVE."""
    known: dict[Expr, int] = {}
    for node in topological([e]):
        known[node] = _sign(node, known)
    return known[e]


ROOTED = frozenset({"abs", "sqrt", "power", "reshape", "slice", "flip"})
"""Zero where their argument is."""


def has_zeros(e: Expr) -> bool:
    """May entries be exactly 0 for whole ranges of the inputs: behind conditions, ReLUs, paddings?"""
    known: dict[Expr, bool] = {}
    for node in topological([e]):
        known[node] = _zeros(node, known)
    return known[e]


def _zeros(node: Expr, known: dict[Expr, bool]) -> bool:
    number = constant_value(node)
    if number is not None:
        return number.is_zero
    name = node.op.name
    if name == "cast" and node.args[0].dtype.kind != "b":
        return known[node.args[0]]
    if name in ("cast", "relu", "onehot", "place") or node.op is DELTA:
        return True
    if node.op is SUM:
        return all(known[a] for a in node.args)
    if name == "where":
        return any(known[a] for a in node.args[1:])
    if node.op is CONTRACTION or name in ROOTED:
        return any(known[a] for a in node.args)
    return False


def _sign(node: Expr, known: dict[Expr, int]) -> int:
    number = constant_value(node)
    if number is not None:
        return ABOVE if number.number > 0 else ZERO if number.is_zero else NEVER
    name = node.op.name
    if node.op is SYMBOL:
        return ABOVE if "positive" in facts_of(node) else NEVER
    if name in POSITIVE:
        return ABOVE
    if name in SQUARES or node.op is DELTA or name == "onehot":
        return ZERO
    if name == "cast":
        return ZERO if node.args[0].dtype.kind == "b" else known[node.args[0]]
    if name == "power":
        even = node.params[2][0].denominator == 1 and node.params[2][0] % 2 == 0
        return known[node.args[0]] or (ZERO if even else NEVER)
    if node.op is CONTRACTION:
        return _product_sign(node, known)
    if node.op is SUM:
        return _sum_sign(node, known)
    return NEVER


def _product_sign(node: Expr, known: dict[Expr, int]) -> int:
    count: dict[tuple[Expr, tuple[int, ...]], int] = {}
    for a, ls in zip(node.args, node.params[0], strict=True):
        count[(a, ls)] = count.get((a, ls), 0) + 1
    lowest = ABOVE
    for (a, _), times in count.items():
        here = known[a] if times % 2 else max(known[a], ZERO)
        lowest = min(lowest, here)
    return lowest


def _sum_sign(node: Expr, known: dict[Expr, int]) -> int:
    terms = terms_of(node)
    if all(c.number > 0 for c, _, _ in terms):
        signs = [known[a] for _, a, _ in terms]
        return min(signs) and max(signs)
    room = 0.0
    for c, a, _ in terms:
        number = constant_value(a)
        if c.powers:
            return NEVER
        if number is not None and not number.powers:
            room += float(c.number * number.number)
        elif c.number > 0 and known[a]:
            continue
        elif c.number < 0 and _bounded(a):
            room += float(c.number)
        else:
            return NEVER
    return ZERO if room >= 0 else NEVER


def _bounded(e: Expr) -> bool:
    """Is |e| ≤ 1, being a function like σ, or a product of such?"""
    if e.op.name in UNIT or e.op.name in SIGNED:
        return True
    if relabelling(e) is not None:
        return _bounded_leaf(e.args[0])
    return e.op is CONTRACTION and not e.sums and all(_bounded_leaf(a) for a in e.args)


def _bounded_leaf(e: Expr) -> bool:
    return e.op.name in UNIT or e.op.name in SIGNED


def term_definite(t: Term, outputs: int, kernels: bool = True) -> int:
    """ABOVE if a term is a positive definite matrix, ZERO if semidefinite, else NEVER.

    ``Σ w a aᵀ`` with w ≥ 0 is semidefinite; so is what mirrors itself from rows to columns, and so
    are ``kernels``, functions of the entries of such matrices.
    """
    if t.coefficient.number <= 0:
        return NEVER
    rank = 2 * outputs
    name = {high: low for low, high in t.pairs()}
    if any(low + outputs != high for low, high in t.pairs()):
        return NEVER
    rows: list[tuple[Expr, tuple[int, ...]]] = []
    columns: list[tuple[Expr, tuple[int, ...]]] = []
    weights: dict[tuple[Expr, tuple[int, ...]], int] = {}
    sign = ABOVE
    shared = set(name.values())
    for e, ls in t.others():
        ls = tuple(name.get(x, x) for x in ls)
        out = any(0 <= x < outputs and x not in shared for x in ls)
        into = any(outputs <= x < rank for x in ls)
        if out and into:
            if len(ls) != 2 or abs(ls[1] - ls[0]) != outputs:
                return NEVER
            if {"spd"} & set(facts_of(e)):
                continue
            if not kernels or not semidefinite(e, _bare):
                return NEVER
            sign = ZERO
            continue
        if out:
            rows.append((e, ls))
        elif into:
            columns.append((e, tuple(x - outputs if outputs <= x < rank else x for x in ls)))
        else:
            weights[(e, ls)] = weights.get((e, ls), 0) + 1
    for (e, _), times in weights.items():
        sign = min(sign, sign_of(e) if times % 2 else max(sign_of(e), ZERO))
    rows.sort(key=lambda f: (f[0].digest, f[1]))
    columns.sort(key=lambda f: (f[0].digest, f[1]))
    if rows != columns or not sign:
        return NEVER
    whole = set(range(outputs)) == shared or not rows
    covered = shared | {x for e, ls in t.others() if {"spd"} & set(facts_of(e)) for x in ls}
    whole = whole and set(range(outputs)) <= covered
    return sign if whole else ZERO


def _bare(t: Term) -> int:
    """The same of a term in the exponent of a kernel."""
    return term_definite(t, 1, kernels=False)


def definite(terms: list[Term], outputs: int) -> int:
    """ABOVE if the sum of terms is positive definite for certain, ZERO if semidefinite."""
    signs = [term_definite(t, outputs) for t in terms]
    return min(signs, default=NEVER) and max(signs)
