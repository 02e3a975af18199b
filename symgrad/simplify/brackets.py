"""Forms of sums: a bracket that stands in the formula already, one logarithm for two."""

from __future__ import annotations

from collections.abc import Iterator

from symgrad.core.build import SUM, elementwise, linear, power, product, terms_of
from symgrad.core.expr import Expr
from symgrad.core.traverse import topological


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


__all__ = ["bracket_there", "one_logarithm"]
