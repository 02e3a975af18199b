"""Sums that cancel: c + f(x) as one function, f(u) − f(v) by the gap u − v, moments by deviations.

Identities of real numbers.  They apply where a program is made; formulas keep the textbook's form.

Source: Higham, *Accuracy and Stability of Numerical Algorithms* (2002), 1.7 and 1.14; Kahan,
"Branch cuts for complex elementary functions" (1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
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
    power,
    product,
    reduce_sum,
    scale,
    terms_of,
)
from symgrad.core.expr import Expr, Labels, symbol
from symgrad.core.sizes import Monomial, letter
from symgrad.simplify.engine import Procedure, sample

HALF = Fraction(1, 2)


MOST = 8
"""Terms up to which sums within a sum are opened."""


def open_terms(node: Expr) -> list[Term]:
    """The terms of a sum, those of sums within it among them while they are few."""
    natural = tuple(range(node.ndim))
    found: list[Term] = []
    for c, e, ls in terms_of(node):
        if e.op is SUM and e.args and ls == natural and len(node.args) + len(e.args) <= MOST:
            found += [(c * k, a, place) for k, a, place in terms_of(e)]
        else:
            found.append((c, e, ls))
    return found


# ------------------------------------------------------------------ a constant and a function


def _argument(e: Expr, name: str, times: int = 1) -> Expr | None:
    """x of f(x), or of f(x) ⊙ f(x)."""
    if times == 1:
        return e.args[0] if e.op.name == name and e.op.family == "map" else None
    if e.op is CONTRACTION and not e.sums and len(e.args) == 2 and e.args[0] is e.args[1]:
        first, second = e.params[0]
        if first == second == _natural(e) and e.args[0].op.name == name:
            return e.args[0].args[0]
    return None


def _natural(e: Expr) -> Labels:
    return tuple(-1 if s == 1 else k for k, s in enumerate(e.shape))


COMPLEMENTS: tuple[tuple[str, int, int | Fraction, Callable[[Expr], Expr]], ...] = (
    ("sigmoid", 1, -1, lambda x: -elementwise("sigmoid", -x)),
    ("sigmoid", 1, -HALF, lambda x: HALF * elementwise("tanh", HALF * x)),
    ("erf", 1, -1, lambda x: -elementwise("erfc", x)),
    ("erf", 1, 1, lambda x: elementwise("erfc", -x)),
    ("erfc", 1, -1, lambda x: -elementwise("erf", x)),
    ("erfc", 1, -2, lambda x: -elementwise("erfc", -x)),
    ("tanh", 1, 1, lambda x: 2 * elementwise("sigmoid", 2 * x)),
    ("tanh", 1, -1, lambda x: -2 * elementwise("sigmoid", -2 * x)),
    ("exp", 1, -1, lambda x: elementwise("expm1", x)),
    ("expm1", 1, 1, lambda x: elementwise("exp", x)),
    ("cosh", 1, -1, lambda x: 2 * power(elementwise("sinh", HALF * x), 2)),
    ("cos", 1, -1, lambda x: -2 * power(elementwise("sin", HALF * x), 2)),
    ("cos", 1, 1, lambda x: 2 * power(elementwise("cos", HALF * x), 2)),
    ("tanh", 2, -1, lambda x: -power(elementwise("cosh", x), -2)),
    ("sin", 2, -1, lambda x: -power(elementwise("cos", x), 2)),
    ("cos", 2, -1, lambda x: -power(elementwise("sin", x), 2)),
    ("cosh", 2, -1, lambda x: power(elementwise("sinh", x), 2)),
    (
        "sigmoid",
        2,
        -1,
        lambda x: -product(elementwise("sigmoid", -x), elementwise("sigmoid", x) + 1),
    ),
)
"""f, its power, a constant c, and f(x)ᵖ + c in a form that does not cancel."""


def _complement(
    name: str, times: int, c: int | Fraction, made: Callable[[Expr], Expr]
) -> Callable[[Expr], Expr | None]:
    def step(node: Expr) -> Expr | None:
        terms = open_terms(node)
        if len(terms) < 2:
            return None
        for k, (number, one, _) in enumerate(terms):
            size = constant_value(one)
            if size is None:
                continue
            for j, (front, e, labels) in enumerate(terms):
                if j == k or number * size != front * c:
                    continue
                x = _argument(e, name, times)
                if x is not None:
                    rest = [t for i, t in enumerate(terms) if i not in (j, k)]
                    return linear([*rest, (front, made(x), labels)], node.shape, node.dtype)
        return None

    return step


def _complement_rule(row: tuple[str, int, int | Fraction, Callable[[Expr], Expr]]) -> Procedure:
    name, times, c, made = row
    x = sample("x")
    typed = power(elementwise(name, x), times) + c
    text = f"{name}(x){'²' if times == 2 else ''} {'+' if c > 0 else '−'} {abs(c)}"
    return Procedure(
        text, _complement(*row), lambda: (typed, made(x)), heads=(SUM.name,), needs=(name,)
    )


def _indicator(node: Expr) -> Expr | None:
    """1 − 1[c] = 1[¬c]."""
    terms = open_terms(node)
    if len(terms) != 2:
        return None
    for (a, one, _), (b, e, labels) in permutations(terms):
        chosen = e.op.name == "cast" and e.args[0].dtype is dtypes.bool_
        size = constant_value(one)
        if chosen and size is not None and a * size == -b:
            return linear([(a, _not(e), labels)], node.shape, node.dtype)
    return None


def _not(e: Expr) -> Expr:
    return elementwise("cast", elementwise("logical_not", e.args[0]), statics=(e.dtype,))


def _indicator_example() -> tuple[Expr, Expr]:
    x = sample("x")
    chosen = elementwise("cast", elementwise("gt", x, constant(0, x.dtype)), statics=(x.dtype,))
    return 1 - chosen, _not(chosen)


# ------------------------------------------------------------------ exponentials of ±x


def _exponentials(node: Expr) -> Expr | None:
    """exp(x) ± exp(−x) = 2 cosh(x), 2 sinh(x)."""
    terms = open_terms(node)
    rows = [(k, c, e.args[0], ls) for k, (c, e, ls) in enumerate(terms) if e.op.name == "exp"]
    for j, a, x, ls in rows:
        for k, b, y, other in rows:
            if j == k or ls != other or abs(a.number) != abs(b.number) or a.powers != b.powers:
                continue
            if y is not -x:
                continue
            if a != b and a.number < 0:
                continue
            word = "cosh" if a == b else "sinh"
            if a == b and k < j:
                continue
            rest = [t for i, t in enumerate(terms) if i not in (j, k)]
            return linear([*rest, (2 * a, elementwise(word, x), ls)], node.shape, node.dtype)
    return None


# ------------------------------------------------------------------ differences


def gap_of(u: Expr, v: Expr) -> Expr:
    """u − v with the terms of both in one sum, so that equal terms cancel."""
    rows: list[Term] = []
    stack: list[Term] = [(ONE, u, tuple(range(u.ndim))), (-ONE, v, tuple(range(v.ndim)))]
    while stack:
        c, e, ls = stack.pop()
        if e.op is SUM and e.args and len(rows) + len(stack) < 2 * MOST:
            stack += [(c * k, a, tuple(ls[x] if x >= 0 else -1 for x in place))
                      for k, a, place in terms_of(e)]  # fmt: skip
        else:
            rows.append((c, e, ls))
    return linear(rows, u.shape, u.dtype)


def _length(e: Expr) -> int:
    return len(e.args) if e.op is SUM and e.args else 1


def cancels(u: Expr, v: Expr, merged: bool = False) -> Expr | None:
    """u − v where something cancels in it; ``merged``: or is taken together, 2 x − x."""
    if u.shape != v.shape:
        return None
    gap = gap_of(u, v)
    return gap if _length(gap) <= _length(u) + _length(v) - 2 + merged else None


def _root(u: Expr, v: Expr, g: Expr) -> Expr:
    return product(g, power(power(u, HALF) + power(v, HALF), -1))


def _reciprocal_root(u: Expr, v: Expr, g: Expr) -> Expr:
    a, b = power(u, -HALF), power(v, -HALF)
    return product(-g, a, b, power(power(u, HALF) + power(v, HALF), -1))


def _softplus(u: Expr, v: Expr, g: Expr) -> Expr:
    """log((1 + eᵘ) / (1 + eᵛ)) = log(1 + σ(v) (eᵍ − 1)) for a number g, from the smaller one."""
    size = constant_value(g)
    if size is not None and size.number < 0:
        return -_softplus(v, u, -g)
    return elementwise("log1p", product(elementwise("sigmoid", v), elementwise("expm1", g)))


ANGLES = frozenset({"sin", "cos"})
"""Functions whose difference is taken by any gap that has fewer terms."""
BY_NUMBERS = frozenset({"sigmoid", "softplus", "tanh"})
"""Functions whose difference is taken by a gap that is a number."""
DIFFERENCES: tuple[tuple[str, Fraction | None, Callable[[Expr, Expr, Expr], Expr]], ...] = (
    ("power", HALF, _root),
    ("power", -HALF, _reciprocal_root),
    ("power", Fraction(-1), lambda u, v, g: product(-g, power(u, -1), power(v, -1))),
    ("sin", None, lambda u, v, g: 2 * product(elementwise("cos", HALF * (u + v)), elementwise("sin", HALF * g))),
    ("cos", None, lambda u, v, g: -2 * product(elementwise("sin", HALF * (u + v)), elementwise("sin", HALF * g))),
    ("tan", None, lambda u, v, g: product(
        elementwise("sin", g), power(elementwise("cos", u), -1), power(elementwise("cos", v), -1))),
    ("atan", None, lambda u, v, g: elementwise("atan2", g, 1 + product(u, v))),
    ("exp", None, lambda u, v, g: product(elementwise("exp", v), elementwise("expm1", g))),
    ("log", None, lambda u, v, g: elementwise("log1p", product(g, power(v, -1)))),
    ("tanh", None, lambda u, v, g: product(
        elementwise("sinh", g), power(elementwise("cosh", u), -1), power(elementwise("cosh", v), -1))),
    ("softplus", None, _softplus),
    ("sigmoid", None, lambda u, v, g: product(
        elementwise("sigmoid", u), elementwise("sigmoid", -v), -elementwise("expm1", -g))),
)  # fmt: skip
"""f, its exponent, and f(u) − f(v) by the gap g = u − v."""


def _value_of(e: Expr, name: str, p: Fraction | None) -> Expr | None:
    if name == "log" and e.op.name == "log1p":
        return e.args[0] + 1
    if e.op.name != name or (p is not None and e.params[2][0] != p):
        return None
    return e.args[0]


def _difference(
    name: str, p: Fraction | None, made: Callable[[Expr, Expr, Expr], Expr]
) -> Callable[[Expr], Expr | None]:
    def step(node: Expr) -> Expr | None:
        terms = open_terms(node)
        rows = [(k, c, _value_of(e, name, p), ls) for k, (c, e, ls) in enumerate(terms)]
        known = [(k, c, u, ls) for k, c, u, ls in rows if u is not None]
        for j, a, u, ls in known:
            others = [*known, *_as_values(terms, a, u, name, p)]
            for k, b, v, other in others:
                if j == k or a != -b or a.number < 0 or v.shape != u.shape or ls != (other or ls):
                    continue
                g = cancels(u, v, name in ANGLES)
                if g is None or (name in BY_NUMBERS and constant_value(g) is None):
                    continue
                rest = [t for i, t in enumerate(terms) if i not in (j, k)]
                return linear([*rest, (a, made(u, v, g), ls)], node.shape, node.dtype)
        return None

    return step


def _as_values(
    terms: list[Term], a: Monomial, u: Expr, name: str, p: Fraction | None
) -> Iterator[tuple[int, Monomial, Expr, Labels]]:
    """The number r beside a √u, as √(r²)."""
    if name != "power" or p != HALF:
        return
    for k, (c, e, _) in enumerate(terms):
        size = constant_value(e)
        ratio = None if size is None else -(c * size) / a
        if ratio is not None and not ratio.powers and ratio.number > 0:
            yield k, -a, constant(ratio**2, u.dtype, u.shape), ()


def _difference_rule(
    row: tuple[str, Fraction | None, Callable[[Expr, Expr, Expr], Expr]],
) -> Procedure:
    name, p, made = row
    x, y = sample("x"), sample("y")
    u, v = (x + 1, x) if name in ("power", "log", *BY_NUMBERS) else (x + y, x)

    def f(e: Expr) -> Expr:
        return power(e, p) if p is not None else elementwise(name, e)

    text = f"difference of {'power ' + str(p) if p is not None else name}"
    domain = "positive" if name in ("power", "log") else "real"
    return Procedure(
        text, _difference(*row), lambda: (f(u) - f(v), made(u, v, gap_of(u, v))),
        domain=domain, heads=(SUM.name,), needs=(name, "log1p") if name == "log" else (name,),
    )  # fmt: skip


def _squares(node: Expr) -> Expr | None:
    """c (u² − v²) = c (u − v)(u + v); ±(u² − r²) for a number r."""
    if not any(_is_square(e) or e.op is SUM for e in node.args):
        return None
    terms = open_terms(node)
    found = [(k, c, e.args[0], ls) for k, (c, e, ls) in enumerate(terms) if _is_square(e)]
    for j, a, u, ls in found:
        for k, b, v, other in found:
            if j != k and a == -b and a.number > 0 and ls == other and u.shape == v.shape:
                rest = [t for i, t in enumerate(terms) if i not in (j, k)]
                made = product(gap_of(u, v), u + v)
                return linear([*rest, (a, made, ls)], node.shape, node.dtype)
        for k, (b, e, _) in enumerate(terms):
            size = constant_value(e)
            root = None if size is None or abs(a.number) != 1 else _root_of(-(b * size) / a)
            if root is not None and not a.powers:
                rest = [t for i, t in enumerate(terms) if i not in (j, k)]
                gap = u - root if a.number > 0 else root - u
                return linear([*rest, (ONE, product(gap, u + root), ls)], node.shape, node.dtype)
    return None


def _is_square(e: Expr) -> bool:
    return (
        e.op is CONTRACTION and not e.sums and len(e.args) == 2 and e.args[0] is e.args[1]
        and e.params[0][0] == e.params[0][1] == _natural(e)
    )  # fmt: skip


def _root_of(square: Monomial) -> Fraction | None:
    """√ of the square of a rational number."""
    number = square.number
    if square.powers or isinstance(number, float) or number <= 0:
        return None
    root = Fraction(math.isqrt(number.numerator), math.isqrt(number.denominator))
    return root if root * root == number else None


def _squares_example() -> tuple[Expr, Expr]:
    x, y = sample("x"), sample("y")
    return x * x - y * y, product(x - y, x + y)


def _error_functions(node: Expr) -> Expr | None:
    """erf(u) − erf(v) by the complements on the side where both are small."""
    terms = open_terms(node)
    rows = [(k, c, e.args[0], ls) for k, (c, e, ls) in enumerate(terms) if e.op.name == "erf"]
    for j, a, u, ls in rows:
        for k, b, v, other in rows:
            if j == k or a != -b or a.number < 0 or ls != other or u.shape != v.shape:
                continue
            above = elementwise("erfc", v) - elementwise("erfc", u)
            below = elementwise("erfc", -u) - elementwise("erfc", -v)
            made = elementwise(
                "where", elementwise("gt", u + v, constant(0, u.dtype)), above, below
            )
            rest = [t for i, t in enumerate(terms) if i not in (j, k)]
            return linear([*rest, (a, made, ls)], node.shape, node.dtype)
    return None


def _error_example() -> tuple[Expr, Expr]:
    x, y = sample("x"), sample("y")
    above = elementwise("erfc", y) - elementwise("erfc", x)
    below = elementwise("erfc", -x) - elementwise("erfc", -y)
    made = elementwise("where", elementwise("gt", x + y, constant(0, x.dtype)), above, below)
    return elementwise("erf", x) - elementwise("erf", y), made


def _beside_length(node: Expr) -> Expr | None:
    """√(a² + b²) − a = b tan(½ atan2(b, a)) for a > 0, √(a² + b²) + |a| below."""
    terms = open_terms(node)
    for j, (c, h, ls) in enumerate(terms):
        if h.op.name != "hypot":
            continue
        for k, (front, e, place) in enumerate(terms):
            for a, b in permutations(operands(h)):
                number = constant_value(e)
                same = e is a if number is None else constant_value(a) == number * front / -c
                if j == k or not same or (number is None and (front != -c or place != ls)):
                    continue
                positive = elementwise("gt", a, constant(0, a.dtype))
                there = elementwise("where", positive, a, constant(1, a.dtype, a.shape))
                half = scale(HALF, elementwise("atan2", b, there))
                other = elementwise("where", positive, constant(0, a.dtype, a.shape), a)
                made = elementwise(
                    "where", positive, product(b, elementwise("tan", half)), h - other
                )
                rest = [t for i, t in enumerate(terms) if i not in (j, k)]
                return linear([*rest, (c, made, ls)], node.shape, node.dtype)
    return None


def _beside_example() -> tuple[Expr, Expr]:
    x, y = sample("x"), sample("y")
    typed = elementwise("hypot", x, y) - x
    made = _beside_length(typed)
    assert made is not None
    return typed, made


# ------------------------------------------------------------------ moments


def _moments(node: Expr) -> Expr | None:
    """mean(x y) − mean(x) mean(y) = mean((x − mean x)(y − mean y))."""
    terms = open_terms(node)
    for j, (a, e, ls) in enumerate(terms):
        if e.op is not CONTRACTION or not e.sums or len(e.args) != 2:
            continue
        x, y = e.args
        if e.params[0][0] != e.params[0][1] or sorted(e.params[0][0]) != list(range(x.ndim)):
            continue
        axes = [k for k, label in enumerate(e.params[0][0]) if label >= e.ndim]
        count = ONE
        for k in axes:
            count = count * x.shape[k]
        sums = reduce_sum(x, axes), reduce_sum(y, axes)
        for k, (b, other, place) in enumerate(terms):
            if k == j or place != ls or other is not product(*sums) or b * count != -a:
                continue
            means = [_spread(scale(count**-1, s), axes, x) for s in sums]
            off = gap_of(x, means[0]), gap_of(y, means[1])
            made = contract(off, e.params[0], range(e.ndim), dict(enumerate(e.shape)), e.dtype)
            rest = [t for i, t in enumerate(terms) if i not in (j, k)]
            return linear([*rest, (a, made, ls)], node.shape, node.dtype)
    return None


def _spread(e: Expr, axes: list[int], like: Expr) -> Expr:
    kept = [k for k in range(like.ndim) if k not in axes]
    return contract([e], [kept], range(like.ndim), dict(enumerate(like.shape)), e.dtype)


def _moments_example() -> tuple[Expr, Expr]:
    x = symbol("x", (letter("n"), letter("d")), dtypes.float64, number=-1)
    n = letter("n")
    mean = scale(n**-1, reduce_sum(x, [0]))
    off = x - mean
    return (scale(n**-1, reduce_sum(x * x, [0])) - mean * mean,
            scale(n**-1, reduce_sum(off * off, [0])))  # fmt: skip


SUMS: tuple[Procedure, ...] = (
    Procedure(
        "exp(x) ± exp(−x)", _exponentials,
        lambda: (elementwise("exp", sample("x")) - elementwise("exp", -sample("x")), 2 * elementwise("sinh", sample("x"))),
        heads=(SUM.name,), needs=("exp",),
    ),
    *map(_complement_rule, COMPLEMENTS),
    Procedure("complement of an indicator", _indicator, _indicator_example, heads=(SUM.name,),
              needs=("cast",)),
    *map(_difference_rule, DIFFERENCES),
    Procedure("difference of error functions", _error_functions, _error_example,
              heads=(SUM.name,), needs=("erf",)),
    Procedure("difference of squares", _squares, _squares_example, heads=(SUM.name,),
              needs=(CONTRACTION.name,)),
    Procedure("length beside a part", _beside_length, _beside_example, heads=(SUM.name,),
              needs=("hypot",)),
    Procedure("moment about the mean", _moments, _moments_example, heads=(SUM.name,),
              needs=(CONTRACTION.name,)),
)  # fmt: skip

__all__ = ["SUMS", "cancels", "gap_of", "open_terms"]
