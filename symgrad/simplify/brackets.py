"""Forms of sums: a bracket that stands in the formula already, one logarithm for two."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from symgrad.core.build import SUM, elementwise, linear, power, product, terms_of
from symgrad.core.expr import Expr
from symgrad.core.traverse import topological
from symgrad.simplify.networks import Network
from symgrad.simplify.opening import networks, summed


def bracket_there(e: Expr) -> Iterator[Expr]:
    """p (u − v) + v − u − w = p (u − v) − (u − v) − w: terms of a sum that is one of its parts."""
    if e.op is not SUM or len(e.args) < 3:
        return
    natural = tuple(range(e.ndim))
    terms = {(a, ls): c for c, a, ls in terms_of(e)}
    for part in topological([e]):
        if part.op is not SUM or part is e or part.shape != e.shape:
            continue
        rows = terms_of(part)
        if not 1 < len(rows) < len(terms) or any((a, ls) not in terms for _, a, ls in rows):
            continue
        ratios = {terms[a, ls] / c for c, a, ls in rows}
        if len(ratios) == 1:
            inside = [(a, ls) for _, a, ls in rows]
            rest = [t for t in terms_of(e) if t[1:] not in inside]
            yield linear([(ratios.pop(), part, natural), *rest], e.shape, e.dtype)


def one_logarithm(e: Expr) -> Iterator[Expr]:
    """c log x − c log y = c log(x / y)."""
    if e.op is not SUM:
        return
    terms = terms_of(e)
    logs = [t for t in terms if t[1].op.name == "log"]
    for c, a, ls in logs:
        for d, b, row in logs:
            if c.number > 0 and d == -c and row == ls:
                ratio = product(a.args[0], power(b.args[0], -1))
                rest = [t for t in terms if t not in ((c, a, ls), (d, b, row))]
                yield linear([(c, elementwise("log", ratio), ls), *rest], e.shape, e.dtype)


SQUARES = {("sin", 1): ("cos", 2, 1, -1), ("cos", 1): ("sin", 2, 1, -1),
           ("sinh", 1): ("cosh", 2, -1, 1), ("cosh", 1): ("sinh", 2, 1, 1),
           ("tan", 1): ("cos", -2, -1, 1), ("tan", -1): ("sin", -2, -1, 1)}  # fmt: skip
"""f² = a + b gᵖ, or f⁻² where −1 stands: g, p, a, b."""


def square_of_the_other(e: Expr) -> Iterator[Expr]:
    """1 − sin² x = cos² x, sin² x + cos² x = 1: in one term of a sum, so that terms cancel."""
    if e.op is not SUM or len(e.args) < 2:
        return
    terms = networks(e)
    for k, net in enumerate(terms):
        for (f, ls), q in net.powers().items():
            sign = 1 if q > 0 else -1
            if (f.op.name, sign) not in SQUARES or abs(q) < 2:
                continue
            other, p, a, b = SQUARES[f.op.name, sign]
            g = elementwise(other, f.args[0])
            rest = [x for x in net.factors if x[0] is not f or x[2] != ls]
            rest.append((f, q - 2 * sign, ls))
            rest = [x for x in rest if x[1]]
            first = Network(net.coefficient * a, rest, dict(net.sizes), net.rank)
            second = Network(net.coefficient * b, [*rest, (g, Fraction(p), ls)], dict(net.sizes),
                             net.rank)  # fmt: skip
            yield summed([*terms[:k], first, second, *terms[k + 1 :]], e)


__all__ = ["bracket_there", "one_logarithm", "square_of_the_other"]
