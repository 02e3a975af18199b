"""Numbers that a formula writes by name: ``1.8378770664093453`` is ``log(2 π)``.

A Python float in a program is all that is left of ``math.log(2 * math.pi)``; a small rational
multiple of a constant of :data:`CONSTANTS`, right to the last digit, is written as that again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from symgrad.core.sizes import Number

LARGEST = 12
"""Numerators and denominators of the multiples."""
SIMPLE = 10**9
"""Denominators below this are no rounded constant."""
PRECISION = 4 * 2.0**-53


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant as text and in LaTeX."""

    value: float
    text: str
    latex: str


CONSTANTS = (
    Constant(math.pi, "π", r"\pi"),
    Constant(math.log(2 * math.pi), "log(2 π)", r"\log(2\pi)"),
    Constant(math.log(math.pi), "log(π)", r"\log \pi"),
    Constant(math.log(2), "log(2)", r"\log 2"),
    Constant(math.log(10), "log(10)", r"\log 10"),
    Constant(math.sqrt(2), "√2", r"\sqrt{2}"),
    Constant(math.sqrt(3), "√3", r"\sqrt{3}"),
    Constant(math.sqrt(5), "√5", r"\sqrt{5}"),
    Constant(math.sqrt(math.pi), "√π", r"\sqrt{\pi}"),
    Constant(math.sqrt(2 / math.pi), "√(2 / π)", r"\sqrt{2/\pi}"),
    Constant(math.sqrt(2 * math.pi), "√(2 π)", r"\sqrt{2\pi}"),
)


@lru_cache(maxsize=4096)
def recognised(number: Number) -> tuple[Fraction, Constant, bool] | None:
    """(q, c, under) of a number that is q c, or q / c if ``under``; q is small.

    >>> q, c, under = recognised(-0.9189385332046727)
    >>> q, c.text, under
    (Fraction(-1, 2), 'log(2 π)', False)
    """
    if not isinstance(number, float) and number.denominator < SIMPLE:
        return None
    number = float(number)
    if not math.isfinite(number) or not number:
        return None
    found: list[tuple[Fraction, Constant, bool]] = []
    for constant in CONSTANTS:
        for under in (False, True):
            ratio = number * constant.value if under else number / constant.value
            near = Fraction(ratio).limit_denominator(LARGEST)
            close = abs(ratio - float(near)) <= PRECISION * abs(ratio)
            if near and abs(near.numerator) <= LARGEST and close:
                found.append((near, constant, under))
    return min(found, key=lambda f: abs(f[0].numerator) + f[0].denominator, default=None)


__all__ = ["CONSTANTS", "Constant", "recognised"]
