"""Products opened into the factors that formulas show; ``A⁻¹ b`` is one of an inverse and b."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from symgrad.core.build import CONTRACTION, SUM, factors_at, relabelling
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import ONE, Monomial
from symgrad.derivation.notation import Form
from symgrad.derivation.order import Written, bare
from symgrad.ops.join import tril, triu
from symgrad.ops.matrix import inv

SOLVES = frozenset({"solve", "triangular_solve"})


def inverted(e: Expr) -> Expr:
    """``A⁻¹`` of a solve ``A⁻¹ b``; of a triangular one, of the triangle that it reads."""
    a = e.args[0]
    if e.op.name == "triangular_solve":
        lower = bool(e.params[0])
        a = a if triangular(a, lower) else tril(a) if lower else triu(a)
    return inv(a)


def triangular(e: Expr, lower: bool) -> bool:
    """Is the matrix zero above (below) its diagonal, by the operation that made it?"""
    if relabelling(e) == (1, 0):
        e, lower = e.args[0], not lower
    return e.op.name in (("cholesky", "tril") if lower else ("triu",))


def flatten(
    e: Expr,
    written: Written,
    named: Callable[[Expr], Form | None],
    keep_totals: bool = False,
) -> tuple[list[tuple[Expr, Labels]], Monomial, bool]:
    """The factors of a product with all unnamed inner products opened; was their order written?

    ``keep_totals`` leaves a plain sum over an axis as the factor it is.
    """
    typed = False
    fresh = count(10_000)
    result: list[tuple[Expr, Labels]] = []
    coefficient = ONE
    stack: list[tuple[Expr, tuple[int, ...]]] = [(e, tuple(range(len(e.shape))))]
    while stack:
        node, place = stack.pop()
        total = keep_totals and node.op is CONTRACTION and node.sums and len(node.args) == 1
        if node is not e and (total or named(node) is not None):
            result.append((node, place))
            continue
        if node.op is SUM and len(node.args) == 1 and node is not e:
            c, ls = node.params[0][0]
            coefficient = coefficient * c
            stack.append((node.args[0], tuple(place[x] if x >= 0 else -1 for x in ls)))
            continue
        if node.op.name in SOLVES and len(place) in (1, 2):
            between = next(fresh)
            stack += [
                (node.args[-1], (between, *place[1:])), (inverted(node), (place[0], between)),
            ]  # fmt: skip
            continue
        if node.op is not CONTRACTION or not node.args:
            if not (node.op is CONTRACTION and not node.args):
                result.append((node, place))
            continue
        children = factors_at(node, place, lambda _: next(fresh))
        position = written.positions(node)
        if position is not None:
            order = {bare(a): k for a, k in position.items()}
            typed = True
            children.sort(key=lambda pair: order.get(bare(pair[0]), len(order)))
        stack.extend(reversed(children))
    return result, coefficient, typed
