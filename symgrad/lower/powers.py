"""Powers and quotients of a product as formulas write them: ``(a * x / y) ** 2``, ``sqrt(y / x)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from symgrad_codegen.program import Apply, Operand, text

from symgrad.core.expr import Expr, Labels
from symgrad.lower.align import OVER, product_of
from symgrad.lower.meet import exponent
from symgrad.lower.squares import squares

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering


def base_and_exponent(e: Expr) -> tuple[Expr, Fraction | float]:
    """``x``, p for xᵖ; x, 1 for anything else."""
    if e.op.name == "power":
        return e.args[0], e.params[2][0]
    return e, Fraction(1)


def raised_to(value: Operand, p: Fraction | float) -> Operand:
    """``value ** p``; a square root by its name."""
    if p == 1:
        return value
    if p == Fraction(1, 2):
        return Apply(text("jnp.sqrt({0})"), (value,))
    exact = isinstance(p, Fraction) and p.denominator == 1
    return Apply(exponent(str(int(p) if exact else float(p))), (value,))


def quotient(over: Sequence[Operand], under: Sequence[Operand]) -> Operand:
    """The product of ``over`` divided by that of ``under``."""
    value = product_of(over)
    return Apply(OVER, (value, product_of(under))) if under else value


def alike(
    state: Lowering, counted: Mapping[tuple[Expr, Labels], int], rank: int
) -> dict[Fraction, list[tuple[Expr, Labels]]]:
    """Factors with one exponent up to its sign, which one power is: ``(a * x / y) ** 2``."""
    found: dict[Fraction, list[tuple[Expr, Labels]]] = {}
    for (a, labels), times in counted.items():
        base, p = base_and_exponent(a)
        q = Fraction(p * times)
        whole = isinstance(p, Fraction) and q.denominator <= 2 and abs(q) not in (0, 1)
        alone = state.uses.get(a, 0) <= times and squares(base) is None
        if whole and alone and len({*labels}) == len(labels) and all(0 <= x < rank for x in labels):
            found.setdefault(abs(q), []).append((a, labels))
    return {
        -q if all(is_under(a) for a, _ in members) else q: members
        for q, members in found.items()
        if len(members) > 1 and len({ls for _, ls in members if ls}) < 2
    }


def is_under(e: Expr) -> bool:
    """Does it stand under a fraction bar?"""
    return base_and_exponent(e)[1] < 0


def together(state: Lowering, members: Sequence[tuple[Expr, Labels]]) -> tuple[Operand, Labels]:
    """The product of bases of which one has axes, or several the same ones; and its labels.

    Where some stand under a fraction bar and others above, their quotient: ``(x / y) ** 2``.
    """
    rows = sorted(members, key=lambda row: -len(row[1]))
    values = [(is_under(a), state.value(base_and_exponent(a)[0])) for a, _ in rows]
    above = [v for under, v in values if not under]
    below = [v for under, v in values if under]
    return (quotient(above, below) if above else product_of(below)), rows[0][1]


__all__ = ["alike", "base_and_exponent", "is_under", "quotient", "raised_to", "together"]
