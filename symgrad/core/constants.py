"""Numbers that formulas and source write by name: ``1.8378770664093453`` is ``log(2 π)``.

A Python float in a program is all that is left of ``math.log(2 * math.pi)``; a small rational
multiple of a constant of :data:`CONSTANTS`, right to the last digit, is written as that again, and
so is the logarithm of a short decimal, ``log(0.999)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from symgrad.core.numbers import Number

LARGEST = 12
"""Numerators and denominators of the multiples."""
SIMPLE = 10**9
"""Denominators below this are no rounded constant."""
ROUNDED = 14
"""Characters from which on a number may be a rounded constant."""
PRECISION = 4 * 2.0**-53
DIGITS = 5
"""Significant digits of the decimals whose logarithms are known."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant as text, in LaTeX and in Python."""

    value: float
    text: str
    latex: str
    python: str


CONSTANTS = (
    Constant(math.pi, "π", r"\pi", "math.pi"),
    Constant(math.log(2 * math.pi), "log(2 π)", r"\log(2\pi)", "math.log(2 * math.pi)"),
    Constant(math.log(math.pi), "log(π)", r"\log \pi", "math.log(math.pi)"),
    Constant(math.log(2), "log(2)", r"\log 2", "math.log(2)"),
    Constant(math.log(10), "log(10)", r"\log 10", "math.log(10)"),
    Constant(math.sqrt(2), "√2", r"\sqrt{2}", "math.sqrt(2)"),
    Constant(math.sqrt(3), "√3", r"\sqrt{3}", "math.sqrt(3)"),
    Constant(math.sqrt(5), "√5", r"\sqrt{5}", "math.sqrt(5)"),
    Constant(math.sqrt(math.pi), "√π", r"\sqrt{\pi}", "math.sqrt(math.pi)"),
    Constant(math.sqrt(2 / math.pi), "√(2 / π)", r"\sqrt{2/\pi}", "math.sqrt(2 / math.pi)"),
    Constant(math.sqrt(2 * math.pi), "√(2 π)", r"\sqrt{2\pi}", "math.sqrt(2 * math.pi)"),
)


@lru_cache(maxsize=4096)
def recognised(number: Number) -> tuple[Fraction, Constant, bool] | None:
    """(q, c, under) of a number that is q c, or q / c if ``under``; q is small.

    >>> q, c, under = recognised(-0.9189385332046727)
    >>> q, c.text, under
    (Fraction(-1, 2), 'log(2 π)', False)
    """
    found = _multiples(number)
    return min(found, key=lambda f: abs(f[0].numerator) + f[0].denominator, default=None)


def _multiples(number: Number) -> list[tuple[Fraction, Constant, bool]]:
    if not isinstance(number, float) and number.denominator < SIMPLE:
        return []
    number = float(number)
    if not 1e-300 < abs(number) < 1e300 or len(repr(number)) < ROUNDED:  # multiples are finite
        return []
    found: list[tuple[Fraction, Constant, bool]] = []
    for constant in CONSTANTS:
        for under in (False, True):
            ratio = number * constant.value if under else number / constant.value
            near = Fraction(ratio).limit_denominator(LARGEST)
            close = abs(ratio - float(near)) <= PRECISION * abs(ratio)
            if near and abs(near.numerator) <= LARGEST and close:
                found.append((near, constant, under))
    return found or _logarithms(number)


def _logarithms(number: float) -> list[tuple[Fraction, Constant, bool]]:
    """log d, or −log d, of a decimal d in (0, 1)."""
    short = f"{math.exp(-abs(number)):.{DIGITS}g}"
    if "e" in short or float(short) in {0, 1} or math.log(float(short)) != -abs(number):
        return []
    value = -abs(number)
    constant = Constant(value, f"log({short})", rf"\log {short}", f"math.log({short})")
    return [(Fraction(-1 if number > 0 else 1), constant, False)]


@lru_cache(maxsize=4096)
def computed(number: float) -> str:
    """The Python expression of a float that is a known constant to the last bit, else nothing.

    >>> computed(0.7071067811865476), computed(0.7)
    ('math.sqrt(2) / 2', '')
    """
    for ratio, constant, under in _multiples(number):
        p, q = ratio.numerator, ratio.denominator
        below, above = f"{q} * " if q != 1 else "", f"{p} * " if p not in (1, -1) else "-"[p > 0 :]
        if under and p / (q * constant.value) == number:
            return f"{p} / ({below}{constant.python})" if below else f"{p} / {constant.python}"
        if not under and p * constant.value / q == number:
            return f"{above}{constant.python} / {q}" if below else f"{above}{constant.python}"
    return ""


__all__ = ["CONSTANTS", "Constant", "computed", "recognised"]
