"""Logarithms of products, powers and sums of exponentials, without what overflows in between.

log Σ wⱼ exp(xⱼ) = m + log Σ wⱼ exp(xⱼ − m) with the largest xⱼ for m.

Source: Blanchard, Higham, Higham, "Accurately computing the log-sum-exp and softmax functions"
(2021); Mächler, "Accurately computing log(1 − exp(−|a|))" (2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from itertools import permutations

from symgrad.core import dtypes
from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    Term,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    operands,
    placed,
    power,
    product,
    reduce_sum,
    scale,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of, symbol
from symgrad.core.sizes import Monomial, letter
from symgrad.ops.axis import along, expanded
from symgrad.simplify.engine import Procedure, sample
from symgrad.simplify.networks import network_of
from symgrad.simplify.sums import cancels, gap_of, open_terms

POSITIVE = frozenset({"exp", "sigmoid", "softplus", "softmax", "cosh", "erfc"})
SHARES = frozenset({"sigmoid", "softmax"})
"""Positive functions that vanish sooner than their logarithm grows."""
Part = tuple[Expr, Labels]


LOGS: dict[str, Callable[[Expr], Expr]] = {
    "exp": lambda e: e.args[0],
    "sigmoid": lambda e: -elementwise("softplus", -e.args[0]),
    "softmax": lambda e: e.args[0] - expanded(
        along("logsumexp", e.args[0], e.params[0]), e.params[0], e.shape),
    "cosh": lambda e: elementwise("log_cosh", e.args[0]),
    "erfc": lambda e: elementwise("log_ndtr", scale(-math.sqrt(2), e.args[0])) + math.log(2),
    "expm1": lambda e: e.args[0] + elementwise("log1mexp", e.args[0]),
    "prod": lambda e: reduce_sum(elementwise("log", e.args[0]), range(e.args[0].ndim)),
}  # fmt: skip
"""log f for a positive f."""


def _positive(e: Expr) -> bool:
    if e.op is SYMBOL:
        return "positive" in facts_of(e)
    if e.op.name == "prod":
        return e.args[0].op.name in POSITIVE
    if e.op is SUM and len(e.args) > 1:  # of what has a logarithm of its own
        return all(c.number > 0 and a.op.name in SHARES for c, a, _ in terms_of(e))
    return e.op.name in POSITIVE


def log_of_product(node: Expr) -> Expr | None:
    """log(c Π fᵖ) = log c + Σ p log f where all but one of the factors are known to be positive."""
    inside = node.args[0]
    if inside.op is SYMBOL or (inside.op is SUM and len(inside.args) != 1):
        return None
    net = network_of(inside)
    if any(x >= net.rank for _, _, ls in net.factors for x in ls) or not net.factors:
        return None
    powers: dict[Part, Fraction | float] = {}
    for e, p, ls in net.factors:
        powers[e, ls] = powers.get((e, ls), Fraction(0)) + p
    front, rows = net.coefficient, list[Term]()
    front = _logistic_pairs(powers, rows, front)
    unknown: list[tuple[Part, Fraction | float]] = []
    special = bool(rows)
    for (e, ls), p in powers.items():
        if e.op.name == "expm1" and len(powers) == 1 and p == 1:
            front, made = _log_expm1(e, front)
            rows.append((ONE, made, ls))
            special = True
        elif _positive(e):
            known = LOGS.get(e.op.name)
            rows.append((Monomial(p), known(e) if known else elementwise("log", e), ls))
            special = special or known is not None or p != 1
        else:
            unknown.append(((e, ls), p))
    if len(unknown) > 1 or (unknown and not special and unknown[0][1] == 1):
        return _log_of_rest(node, unknown, rows, front, special)
    for (e, ls), p in unknown:
        even = isinstance(p, Fraction) and p.denominator == 1 and p.numerator % 2 == 0
        if front.number < 0 and p != 1:
            return None
        if p == 1:
            e, front = scale(front, e), ONE
        rows.append((Monomial(p), elementwise("log", elementwise("abs", e) if even else e), ls))
        special = special or p != 1
    if not special or front.number <= 0:
        return None
    return _with_constant(rows, front, node)


def _log_expm1(e: Expr, front: Monomial) -> tuple[Monomial, Expr]:
    """log(eᵘ − 1) = u + log(1 − e⁻ᵘ); of the negative, log(1 − eᵘ)."""
    if front.number < 0:
        return -front, elementwise("log1mexp", -e.args[0])
    return front, LOGS["expm1"](e)


def _logistic_pairs(
    powers: dict[Part, Fraction | float], rows: list[Term], front: Monomial
) -> Monomial:
    """σ(u) σ(−u) = 1 / (2 cosh(u / 2))²; the coefficient with the ¼."""
    for (e, ls), p in list(powers.items()):
        if e.op.name != "sigmoid" or (e, ls) not in powers:
            continue
        other = elementwise("sigmoid", -e.args[0]), ls
        if powers.get(other) == p and other[0] is not e and isinstance(p, Fraction):
            del powers[e, ls], powers[other]
            rows.append((Monomial(-2 * p), elementwise("log_cosh", Fraction(1, 2) * e.args[0]), ls))
            front = front * Monomial(Fraction(1, 4)) ** p
    return front


def _log_of_rest(
    node: Expr, unknown: list[tuple[Part, Fraction | float]], rows: list[Term], front: Monomial,
    special: bool,
) -> Expr | None:  # fmt: skip
    """Several factors of unknown sign stay in one logarithm; a ratio u / v by its gap."""
    natural = tuple(range(node.ndim))
    if len(unknown) == 2 and front.is_one and not rows:
        above = [x for x, p in unknown if p == 1]
        below = [x for x, p in unknown if p == -1]
        if above and below and above[0][1] == below[0][1] == natural:
            made = _artanh(above[0][0], below[0][0])
            if made is not None:
                return made
            gap = cancels(above[0][0], below[0][0])
            if gap is not None:
                return elementwise("log1p", product(gap, power(below[0][0], -1)))
    if not special:
        return None
    parts = [power(e, p) for (e, _), p in unknown]
    labels = [ls for (_, ls), _ in unknown]
    whole = contract(parts, labels, natural, dict(enumerate(node.shape)), node.dtype)
    return _with_constant(
        [*rows, (ONE, elementwise("log", scale(front, whole)), natural)], ONE, node
    )


def _artanh(u: Expr, v: Expr) -> Expr | None:
    """log((c + w) / (c − w)) = 2 artanh(w / c) for a positive number c."""
    if u.op is not SUM or v.op is not SUM or u.shape != v.shape:
        return None
    whole, gap = gap_of(u, scale(-1, v)), gap_of(u, v)
    size = constant_value(whole)
    if size is None or size.powers or size.number <= 0:
        return None
    parts = gap.args if gap.op is SUM else (gap,)
    if any(constant_value(e) is not None for e in parts):  # then w is not what was typed
        return None
    return 2 * elementwise("atanh", scale(size**-1, gap))


def _with_constant(rows: list[Term], front: Monomial, node: Expr) -> Expr:
    if not front.is_one:
        value = constant(math.log(front.number), node.dtype) if not front.powers else (
            elementwise("log", constant(front, node.dtype)))  # fmt: skip
        rows = [*rows, (ONE, value, ())]
    return linear(rows, node.shape, node.dtype)


# ------------------------------------------------------------------ sums of exponentials


def _exponent(c: Monomial, e: Expr) -> Expr | None:
    """u of c e = exp(u), for a positive c."""
    if c.number <= 0 or c.powers:
        return None
    size = constant_value(e)
    if size is not None:
        whole = c * size
        known = not whole.powers and whole.number > 0
        return constant(math.log(whole.number), e.dtype, e.shape) if known else None
    if e.op.name == "exp" or e.op.name in SHARES:
        u = LOGS[e.op.name](e)
        return u if c.is_one else u + math.log(c.number)
    return None


def log_of_sum(node: Expr) -> Expr | None:
    """log(Σ c exp(u)) for positive numbers c; log(1 + u)."""
    inside = node.args[0]
    if inside.op is not SUM or len(inside.args) < 2:
        return None
    natural = tuple(-1 if s == 1 else k for k, s in enumerate(inside.shape))
    rows = open_terms(inside)
    exponents = [_exponent(c, e) if ls in (natural, (), tuple(range(inside.ndim))) else None
                 for c, e, ls in rows]  # fmt: skip
    known = [u for u in exponents if u is not None]
    if any(e.op.name in SHARES for _, e, _ in rows) and not all(
        e.op.name in SHARES for _, e, _ in rows
    ):
        known = []
    if len(known) == len(rows) and any(
        u.op.name == "exp" or constant_value(u) is None for u in known
    ):
        known.sort(key=lambda u: constant_value(u) is not None)
        return reduce(_added, known)
    for k, (c, e, _) in enumerate(rows):
        size = constant_value(e)
        if size is not None and c * size == 1:
            rest = linear([t for i, t in enumerate(rows) if i != k], inside.shape, inside.dtype)
            return elementwise("log1p", rest)
    return None


def inverse_sinh(node: Expr) -> Expr | None:
    """log(x + √(x² + 1)) = arsinh(x)."""
    inside = node.args[0]
    if (
        inside.op is not SUM
        or len(inside.args) != 2
        or any(not c.is_one for c, _, _ in terms_of(inside))
    ):
        return None
    whole = [placed(e, ls, inside.shape) for _, e, ls in terms_of(inside)]
    for x, h in permutations(whole):
        sides = operands(h) if h.op.name == "hypot" else ()
        if x in sides and constant_value(sides[1 - sides.index(x)]) == 1:
            return elementwise("asinh", x)
    return None


def inverse_cosh(node: Expr) -> Expr | None:
    """log(x + √(x² − 1)) = arcosh(x)."""
    inside = node.args[0]
    if inside.op is not SUM or len(inside.args) != 2:
        return None
    if any(not c.is_one for c, _, _ in terms_of(inside)):
        return None
    for x, h in (inside.args, inside.args[::-1]):
        if h.op.name != "power" or h.params[2][0] != Fraction(1, 2) or x.shape != h.shape:
            continue
        if h.args[0] in (product(x - 1, x + 1), x * x - 1):
            return elementwise("acosh", x)
    return None


def _cosh_example() -> tuple[Expr, Expr]:
    x = sample("x")
    return elementwise("log", x + power(x * x - 1, Fraction(1, 2))), elementwise("acosh", x)


def _added(u: Expr, v: Expr) -> Expr:
    size = constant_value(v)
    if size is not None:
        gap = u - size.number if size.number else u
        return (
            elementwise("softplus", gap) + size.number
            if size.number
            else elementwise("softplus", gap)
        )
    return elementwise("logaddexp", u, v)


def shifted(node: Expr) -> Expr | None:
    """log Σ w exp(x) = m + log Σ w exp(x − m), m the largest x of a sum."""
    inside = node.args[0]
    term = terms_of(inside) if inside.op is SUM and len(inside.args) == 1 else None
    c, e, place = term[0] if term else (ONE, inside, tuple(range(inside.ndim)))
    if e.op is not CONTRACTION or not e.sums or c.number <= 0 or place != tuple(range(e.ndim)):
        return None
    found = [k for k, a in enumerate(e.args) if a.op.name == "exp"]
    if len(found) != 1:
        return None
    k = found[0]
    x, labels = e.args[k].args[0], e.params[0][k]
    if x.op is SUM and any(a.op.name == "detach" for _, a, _ in terms_of(x)):
        return None
    summed = {y for ls in e.params[0] for y in ls if y >= e.ndim}
    if not summed <= set(labels):
        return None
    axes = [j for j, y in enumerate(labels) if y in summed]
    largest = x
    for j in reversed(axes):
        largest = along("amax", largest, j)
    m = elementwise("detach", largest)
    zero = constant(0, m.dtype, m.shape)
    m = elementwise("detach", elementwise("where", elementwise("isfinite", m), m, zero))
    kept = [j for j in range(x.ndim) if j not in axes]
    spread = contract([m], [kept], range(x.ndim), dict(enumerate(x.shape)), x.dtype)
    args = [*e.args[:k], elementwise("exp", x - spread), *e.args[k + 1 :]]
    made = contract(args, e.params[0], range(e.ndim), dict(enumerate(e.shape)), e.dtype)
    front = contract([m], [[labels[j] for j in kept]], range(e.ndim), dict(enumerate(e.shape)),
                     e.dtype)  # fmt: skip
    return front + elementwise("log", scale(c, made))


# ------------------------------------------------------------------ examples


def _product_example() -> tuple[Expr, Expr]:
    x, y = sample("x"), sample("y")
    return (elementwise("log", product(elementwise("sigmoid", x), elementwise("exp", y))),
            y - elementwise("softplus", -x))  # fmt: skip


def _sum_example() -> tuple[Expr, Expr]:
    x, y = sample("x"), sample("y")
    typed = elementwise("log", elementwise("exp", x) + elementwise("exp", y))
    made = log_of_sum(typed)
    assert made is not None
    return typed, made


def _shift_example() -> tuple[Expr, Expr]:
    n, d = letter("n"), letter("d")
    x = symbol("x", (n, d), dtypes.float64, number=-1)
    w = elementwise("sigmoid", symbol("w", (d,), dtypes.float64, number=-1))
    typed = elementwise("log", contract([w, elementwise("exp", x)], [[1], [0, 1]], [0]))
    made = shifted(typed)
    assert made is not None
    return typed, made


LOGARITHMS: tuple[Procedure, ...] = (
    Procedure("log of a product", log_of_product, _product_example, edges=(-1e4, 1e4),
              states="finite where exp overflows", heads=("log",)),
    Procedure("inverse of sinh", inverse_sinh, lambda: (
        elementwise("log", sample("x") + elementwise("hypot", sample("x"), constant(1, dtypes.float64))),
        elementwise("asinh", sample("x"))), heads=("log",), needs=("hypot",)),
    Procedure("inverse of cosh", inverse_cosh, _cosh_example, domain="above one", heads=("log",),
              needs=("power",)),
    Procedure("log of a sum of exponentials", log_of_sum, _sum_example, edges=(-1e4, 1e4),
              states="finite where exp overflows", heads=("log",)),
    Procedure("log of a weighted sum of exponentials", shifted, _shift_example, edges=(-1e4, 1e4),
              states="finite where exp overflows", heads=("log",)),
)  # fmt: skip

__all__ = ["LOGARITHMS", "log_of_product", "log_of_sum", "shifted"]
