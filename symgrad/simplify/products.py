"""Products and powers: exponentials merged, quotients of functions as one, 0 · ∞ as its limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import permutations

from symgrad.core import dtypes
from symgrad.core.build import (
    CONTRACTION,
    ONE,
    SUM,
    constant,
    constant_value,
    contract,
    elementwise,
    linear,
    placed,
    power,
    product,
    reduce_sum,
    scale,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, symbol
from symgrad.core.sizes import Monomial, letter, monomial, size_product
from symgrad.ops.axis import along
from symgrad.simplify.engine import Procedure, sample
from symgrad.simplify.sums import gap_of

POSITIVE = frozenset({"exp", "sigmoid", "softmax"})
Factor = tuple[Expr, Labels]
MOST = 6
"""Factors up to which a product within a product is opened."""
LARGEST = 80
"""Exponents up to which exp is a number in every dtype."""


def open_factors(node: Expr, depth: int = 1) -> list[Factor]:
    """The factors of a product, those of elementwise products within it among them."""
    found: list[Factor] = list(zip(node.args, node.params[0], strict=True))
    for _ in range(depth):
        layer, found = found, []
        for a, ls in layer:
            if a.op is CONTRACTION and a.args and not a.sums and len(a.args) <= MOST:
                inner = zip(a.args, a.params[0], strict=True)
                found += [(e, tuple(ls[x] if x >= 0 else -1 for x in row)) for e, row in inner]
            else:
                found.append((a, ls))
    return found


def with_factors(node: Expr, factors: list[Factor]) -> Expr:
    """The product with other factors, summed over the same labels; one that none carries counts."""
    sizes = dict(enumerate(node.shape))
    found = contract([a for a, _ in factors], [ls for _, ls in factors], range(node.ndim), sizes,
                     node.dtype)  # fmt: skip
    carried = {x for _, ls in factors for x in ls}
    summed = {x: size for a, ls in zip(node.args, node.params[0], strict=True)
              for x, size in zip(ls, a.shape, strict=True) if x >= node.ndim}  # fmt: skip
    count = size_product(tuple(size for x, size in summed.items() if x not in carried))
    return found if count == 1 else scale(monomial(count), found)


Pair = Callable[[Expr, Expr], Expr | None]


def pairwise(pair: Pair) -> Callable[[Expr], Expr | None]:
    """The rule for two factors at the same labels, in either order."""

    def step(node: Expr) -> Expr | None:
        factors = open_factors(node)
        for j, (a, ls) in enumerate(factors):
            for k, (b, other) in enumerate(factors):
                if j == k or ls != other or a.shape != b.shape:
                    continue
                made = pair(a, b)
                if made is not None:
                    rest = [f for i, f in enumerate(factors) if i not in (j, k)]
                    return with_factors(node, [*rest, (made, ls)])
        return None

    return step


def power_of(e: Expr) -> tuple[Expr, Fraction | float]:
    """e as (x, p) with e = xᵖ."""
    return (e.args[0], e.params[2][0]) if e.op.name == "power" else (e, Fraction(1))


def _exponentials(a: Expr, b: Expr) -> Expr | None:
    """exp(x) exp(y) = exp(x + y)."""
    return elementwise("exp", a.args[0] + b.args[0]) if a.op.name == b.op.name == "exp" else None


def _quotient(a: Expr, b: Expr) -> Expr | None:
    """f(x) / g(x) of two functions that is one."""
    base, p = power_of(b)
    if p > -1 or base.op.family != "map" or a.op.family != "map" or not base.args:
        return None
    names, x, y = (a.op.name, base.op.name), a.args[0], base.args[0]
    made = None
    if names == ("sinh", "cosh") and x is y:
        made = elementwise("tanh", x)
    elif names == ("sigmoid", "sigmoid") and x is -y:
        made = elementwise("exp", x)
    elif names == ("exp", "cosh") and (x is y or x is -y):
        made = 2 * elementwise("sigmoid", 2 * x)
    return made if made is None or p == -1 else product(made, power(base, p + 1))


def _logistic(a: Expr, b: Expr) -> Expr | None:
    """exp(x) σ(k − x) = exp(k) σ(x − k) for a number k."""
    if a.op.name != "exp" or b.op.name != "sigmoid":
        return None
    k = constant_value(gap_of(a.args[0], -b.args[0]))
    if k is None or k.powers or abs(k.number) > LARGEST:
        return None
    return math.exp(k.number) * elementwise("sigmoid", -b.args[0])


def _powers(a: Expr, b: Expr) -> Expr | None:
    """xᵖ x^q = xᵖ⁺^q where one of them is a root or a reciprocal."""
    (x, p), (y, q) = power_of(a), power_of(b)
    if x is not y or (p == 1 and q == 1) or constant_value(x) is not None:
        return None
    return power(x, p + q) if p + q else constant(1, x.dtype, x.shape)


RATIOS = {"sin": "sine_ratio", "expm1": "expm1_ratio", "log1p": "log1p_ratio"}
"""f → f(x)/x, whose slope does not cancel near 0."""


def multiple_of(u: Expr, x: Expr) -> Monomial | None:
    """c of u = c x."""
    c, u = (terms_of(u)[0][0], u.args[0]) if u.op is SUM and len(u.args) == 1 else (ONE, u)
    d, x = (terms_of(x)[0][0], x.args[0]) if x.op is SUM and len(x.args) == 1 else (ONE, x)
    return c / d if u is x else None


def _ratio(a: Expr, b: Expr) -> Expr | None:
    """f(c x) / x as c times the ratio of f."""
    x, p = power_of(b)
    if x.op is CONTRACTION and not x.sums and len(x.args) == 2 and x.args[0] is x.args[1]:
        x, p = x.args[0], 2 * p
    if a.op.name not in RATIOS or p > -1 or p != int(p):
        return None
    c = multiple_of(a.args[0], x)
    if c is None:
        return None
    made = elementwise(RATIOS[a.op.name], a.args[0])
    return scale(c, product(made, power(x, p + 1)) if p != -1 else made)


def _lengths(a: Expr, b: Expr) -> Expr | None:
    """√s √s = s."""
    return a.args[0] if a is b and a.op.name == "length" else None


def _logistic_slope(a: Expr, b: Expr) -> Expr | None:
    """(eᵘ − 1) σ(−u) = tanh(u / 2)."""
    if a.op.name == "expm1" and b.op.name == "sigmoid" and b.args[0] is -a.args[0]:
        return elementwise("tanh", Fraction(1, 2) * a.args[0])
    return None


def _entropy(a: Expr, b: Expr) -> Expr | None:
    """x log y, 0 where x is 0; x is y, or an input.  A sum of such logarithms term by term."""
    if b.op.name == "log" and (b.args[0] is a or a.op is SYMBOL):
        return elementwise("xlogy", a, b.args[0])
    if b.op is not SUM or not b.args or not (a.op is SYMBOL or a.op.name in POSITIVE):
        return None
    rows = [(c, e, ls) for c, e, ls in terms_of(b) if e.op.name == "log" and ls == _natural(b)]
    if len(rows) < len(b.args):
        return None
    return linear([(c, elementwise("xlogy", a, e.args[0]), ls) for c, e, ls in rows], b.shape,
                  b.dtype)  # fmt: skip


# ------------------------------------------------------------------ exponentials over their sum


def over_their_sum(node: Expr) -> Expr | None:
    """exp(a) / Σ c exp(u) = 1 / Σ c exp(u − a)."""
    factors = open_factors(node)
    for j, (a, ls) in enumerate(factors):
        if a.op.name != "exp":
            continue
        for k, (b, other) in enumerate(factors):
            base, p = power_of(b)
            if p != -1 or ls != other or base.op is not SUM or base.shape != a.shape:
                continue
            natural = tuple(range(base.ndim))
            rows = [(c, _divided(e, a) if place in ((), _natural(base)) else None)
                    for c, e, place in terms_of(base)]  # fmt: skip
            parts = [(c, e, natural if e.ndim else ()) for c, e in rows
                     if e is not None and c.number > 0]  # fmt: skip
            if len(parts) != len(rows):
                continue
            made = linear(parts, base.shape, base.dtype)
            rest = [f for i, f in enumerate(factors) if i not in (j, k)]
            return with_factors(node, [*rest, (power(made, -1), ls)])
    return None


def _divided(e: Expr, a: Expr) -> Expr | None:
    """e / exp(x) of a number or an exponential."""
    if e.op.name == "exp" and e.shape == a.shape:
        return constant(1, e.dtype) if e is a else elementwise("exp", e.args[0] - a.args[0])
    return elementwise("exp", -a.args[0]) if constant_value(e) is not None else None


def weighted_mean(node: Expr) -> Expr | None:
    """Σ w exp(x) / Σ exp(x) by the softmax of x."""
    factors = open_factors(node)
    for j, (a, ls) in enumerate(factors):
        if a.op is not CONTRACTION or not a.sums:
            continue
        for k, (b, other) in enumerate(factors):
            base, p = power_of(b)
            if p != -1 or base.op is not CONTRACTION or len(base.args) != 1:
                continue
            e, labels = base.args[0], base.params[0][0]
            if e.op.name != "exp" or labels != tuple(range(e.ndim)) or e.ndim != base.ndim + 1:
                continue
            at = next((i for i, x in enumerate(a.args) if x is e), None)
            if at is None or tuple(ls[x] for x in a.params[0][at][:-1] if x < a.ndim) != other:
                continue
            if a.params[0][at][-1] < a.ndim:
                continue
            args = [*a.args[:at], along("softmax", e.args[0]), *a.args[at + 1 :]]
            made = contract(args, a.params[0], range(a.ndim), dict(enumerate(a.shape)), a.dtype)
            rest = [f for i, f in enumerate(factors) if i not in (j, k)]
            return with_factors(node, [*rest, (made, ls)])
    return None


# ------------------------------------------------------------------ powers


def power_of_scaled(node: Expr) -> Expr | None:
    """(c f)ᵖ = cᵖ fᵖ for a number c, positive or p whole; √f to a power as one power, behind ``detach`` too."""
    base, p = node.args[0], node.params[2][0]
    if base.op.name == "detach":
        return elementwise("detach", power(base.args[0], p))
    if base.op.name == "power" and base.params[2][0] == Fraction(1, 2):
        return power(base.args[0], base.params[2][0] * p)
    if base.op is CONTRACTION and not base.sums and p == -1 and all(map(_exponential, base.args)):
        rows = [(power(a, p), ls) for a, ls in zip(base.args, base.params[0], strict=True)]
        return with_factors(base, rows)
    if base.op is not SUM or len(base.args) != 1 or base.args[0].ndim != base.ndim:
        return None
    c, e, ls = terms_of(base)[0]
    if (
        c.number == 0
        or (c.number < 0 and p != int(p))
        or ls != tuple(-1 if s == 1 else k for k, s in enumerate(base.shape))
    ):
        return None
    return scale(c**p, power(e, p)) if isinstance(p, Fraction) else None


def _exponential(e: Expr) -> bool:
    return e.op.name == "exp" or (e.op is SUM and any(a.op.name == "exp" for a in e.args))


def logistic_of_numbers(node: Expr) -> Expr | None:
    """1 / (a + b exp(x)) = σ(log(a / b) − x) / a for positive numbers."""
    base = node.args[0]
    if node.params[2][0] != -1 or base.op is not SUM or len(base.args) != 2:
        return None
    for (c, one, _), (b, e, ls) in permutations(terms_of(base)):
        size = constant_value(one)
        if size is None or e.op.name != "exp" or e.shape != base.shape or ls != _natural(e):
            continue
        a = c * size
        if a.powers or b.powers or a.number <= 0 or b.number <= 0:
            continue
        return scale(a**-1, elementwise("sigmoid", -e.args[0] + math.log(a.number / b.number)))
    return None


def _natural(e: Expr) -> Labels:
    return tuple(-1 if s == 1 else k for k, s in enumerate(e.shape))


# ------------------------------------------------------------------ roots of sums of squares


def root_of_squares(node: Expr) -> Expr | None:
    """√(a² + b²) without overflow; √Σ x² with the slope 0 at 0."""
    if node.params[2][0] != Fraction(1, 2):
        return None
    inside = node.args[0]
    terms = terms_of(inside) if inside.op is SUM and inside.args else [
        (ONE, inside, tuple(range(inside.ndim)))]  # fmt: skip
    squares = [t for t in terms if _squared(t[1])]
    numbers = [c * size for c, e, _ in terms if (size := constant_value(e)) is not None]
    if len(squares) + len(numbers) < len(terms) or not squares:
        return None
    if any(c.number < 0 for c, _, _ in squares) or any(c.number <= 0 for c in numbers):
        return None
    natural = _natural(inside)
    plain = all(not e.sums and ls == natural for _, e, ls in squares)
    parts = [scale(c ** Fraction(1, 2), _base(e)) for c, e, _ in squares] if plain else []
    parts += [constant(c ** Fraction(1, 2), node.dtype, node.shape) for c in numbers]
    if len(parts) == 2 and plain:
        return elementwise("hypot", *parts)
    return None if numbers or (len(terms) == 1 and plain) else elementwise("length", inside)


def root_of_powers(node: Expr) -> Expr | None:
    """(Σ |x|ᵖ)^(1/p) with the slope 0 at 0: for p > 1 of the root, for p < 1 of the powers."""
    inside = node.args[0] if node.args else node
    if not inside.args or not inside.sums or len(set(inside.params[0])) > 1:
        return None
    if node.op is CONTRACTION:
        q = Fraction(len(node.args))
        if len(set(node.args)) > 1 or any(ls != _natural(inside) for ls in node.params[0]):
            return None
    else:
        q = node.params[2][0]
    first, p = inside.args[0], Fraction(len(inside.args))
    if p == 1 and first.op.name == "power":
        first, p = first.args[0], first.params[2][0]
        if first.op.name not in ABSOLUTE:
            return None
    bases = {a.args[0] if a.op.name in ABSOLUTE else a for a in inside.args}
    if p in (1, 2) or not math.isclose(p * q, 1) or (p == len(inside.args) and len(bases) > 1):
        return None
    if p > 1:
        return elementwise("flat_power", inside, statics=(q,))
    return power(inside.func(elementwise("flat_power", first, statics=(p,))), q)


ABSOLUTE = ("abs", "modulus")


def _squared(e: Expr) -> bool:
    return (
        e.op is CONTRACTION and len(e.args) in (2, 4) and len(set(e.args)) == 1
        and len(set(e.params[0])) == 1
    )  # fmt: skip


def _base(e: Expr) -> Expr:
    x = placed(e.args[0], e.params[0][0], e.shape)
    return x if len(e.args) == 2 else x * x


# ------------------------------------------------------------------ examples and the table


def _example(*parts: Callable[[Expr, Expr], Expr]) -> Callable[[], tuple[Expr, Expr]]:
    """The product of the first parts, and the last one, over x and y."""
    x, y = sample("x"), sample("y")
    *typed, made = (part(x, y) for part in parts)
    return lambda: (product(*typed), made)


def _mean_example() -> tuple[Expr, Expr]:
    n, d = letter("n"), letter("d")
    x, w = (symbol(s, (n, d), dtypes.float64, number=-1) for s in ("x", "w"))
    e = elementwise("exp", x)
    made = reduce_sum(product(w, along("softmax", x)), [1])
    return product(reduce_sum(product(w, e), [1]), power(reduce_sum(e, [1]), -1)), made


def _length_example() -> tuple[Expr, Expr]:
    x = symbol("x", (letter("n"), letter("d")), dtypes.float64, number=-1)
    s = reduce_sum(x * x, [1])
    return power(s, Fraction(1, 2)), elementwise("length", s)


def _powers_example() -> tuple[Expr, Expr]:
    s = reduce_sum(power(_size(), Fraction(7, 2)), [1])
    return power(s, Fraction(2, 7)), elementwise("flat_power", s, statics=(Fraction(2, 7),))


def _roots_example() -> tuple[Expr, Expr]:
    half = (Fraction(1, 2),)
    s = [
        reduce_sum(elementwise(name, _size(), statics=half), [1])
        for name in ("power", "flat_power")
    ]
    return power(s[0], 2), power(s[1], 2)


def _size() -> Expr:
    return elementwise("abs", symbol("x", (letter("n"), letter("d")), dtypes.float64, number=-1))


_PAIRS: tuple[tuple[str, Pair, str, Callable[[], tuple[Expr, Expr]]], ...] = (
    ("quotient of functions", _quotient, "power", _example(
        lambda x, y: elementwise("sinh", x), lambda x, y: power(elementwise("cosh", x), -1),
        lambda x, y: elementwise("tanh", x))),
    ("exp(x) σ(−x) of several factors", _logistic, "exp", _example(
        lambda x, y: elementwise("exp", x), lambda x, y: elementwise("sigmoid", -x), lambda x, y: elementwise("sigmoid", x))),
    ("exponentials in a product", _exponentials, "exp", _example(
        lambda x, y: elementwise("exp", x), lambda x, y: elementwise("exp", y), lambda x, y: elementwise("exp", x + y))),
    ("powers of one base", _powers, "power", _example(
        lambda x, y: power(1 + x * x, -1), lambda x, y: power(1 + x * x, Fraction(1, 2)),
        lambda x, y: power(1 + x * x, Fraction(-1, 2)))),
    ("quotient at 0", _ratio, "power", _example(
        lambda x, y: elementwise("sin", 2 * x), lambda x, y: power(x, -1),
        lambda x, y: 2 * elementwise("sine_ratio", 2 * x))),
    ("square of a length", _lengths, "length", _example(
        lambda x, y: elementwise("length", y * y), lambda x, y: elementwise("length", y * y), lambda x, y: y * y)),
    ("expm1(u) σ(−u)", _logistic_slope, "expm1", _example(
        lambda x, y: elementwise("expm1", x), lambda x, y: elementwise("sigmoid", -x),
        lambda x, y: elementwise("tanh", Fraction(1, 2) * x))),
    ("x log x", _entropy, "log", _example(
        lambda x, y: elementwise("sigmoid", x), lambda x, y: elementwise("log", elementwise("sigmoid", x)),
        lambda x, y: elementwise("xlogy", elementwise("sigmoid", x), elementwise("sigmoid", x)))),
)  # fmt: skip

PRODUCTS: tuple[Procedure, ...] = (
    *(Procedure(name, pairwise(pair), example, heads=(CONTRACTION.name,), needs=(needed,))
      for name, pair, needed, example in _PAIRS),
    Procedure("exponential over a sum of exponentials", over_their_sum, _example(
        lambda x, y: elementwise("exp", x), lambda x, y: power(elementwise("exp", x) + 2 * elementwise("exp", y), -1),
        lambda x, y: power(1 + 2 * elementwise("exp", y - x), -1)), heads=(CONTRACTION.name,), needs=("exp",)),
    Procedure("mean weighted by exponentials", weighted_mean, _mean_example,
              heads=(CONTRACTION.name,), needs=("power",)),
    Procedure("power of a multiple", power_of_scaled, _example(
        lambda x, y: power(2 * elementwise("exp", x), -1), lambda x, y: Fraction(1, 2) * power(
            elementwise("exp", x), -1)), heads=("power",)),
    Procedure("logistic function of numbers", logistic_of_numbers, _example(
        lambda x, y: power(2 + 3 * elementwise("exp", x), -1),
        lambda x, y: Fraction(1, 2) * elementwise("sigmoid", -x + math.log(Fraction(2, 3)))),
        heads=("power",), needs=("exp",)),
    Procedure("root of two squares", root_of_squares, _example(
        lambda x, y: power(x * x + y * y, Fraction(1, 2)), lambda x, y: elementwise("hypot", x, y)),
        heads=("power",)),
    Procedure("root of a sum of squares", root_of_squares, _length_example, heads=("power",)),
    Procedure("root of a sum of powers", root_of_powers, _powers_example, heads=("power",)),
    Procedure("power of a sum of roots", root_of_powers, _roots_example,
              heads=(CONTRACTION.name,), needs=("power",)),
)  # fmt: skip

__all__ = [
    "PRODUCTS",
    "RATIOS",
    "Factor",
    "multiple_of",
    "open_factors",
    "pairwise",
    "power_of",
    "with_factors",
]
