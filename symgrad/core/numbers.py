"""Numbers of coefficients: whole, rational while they are short, floats beyond.

A float that a person typed is the decimal or fraction that was meant; products stay exact.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeAlias, TypeVar

Number: TypeAlias = "int | Fraction | float"
Exact: TypeAlias = "int | Fraction"
_N = TypeVar("_N", "Number", "Exact")


def whole(number: _N) -> _N | int:
    """The same number, as an ``int`` where it is an exact whole one."""
    if type(number) is Fraction and number.denominator == 1:
        return number.numerator
    return number


_SHORT = 9
"""Characters of a decimal; a longer one is a fraction where that is short."""


def number_text(number: Number) -> str:
    """A short exact text of a number: ``2``, ``1/3``, ``0.001``, ``1/8192``."""
    if isinstance(number, float):
        return repr(number).removesuffix(".0")
    if number.denominator == 1:
        return str(number.numerator)
    if number.denominator <= 64 and number.denominator not in (10, 20, 25, 40, 50):
        return f"{number.numerator}/{number.denominator}"
    decimal = repr(float(number)).removesuffix(".0")
    if len(decimal) > _SHORT and number.denominator < 10**6 and abs(number.numerator) < 1000:
        return f"{number.numerator}/{number.denominator}"
    return decimal


def power_of(number: Number, power: Exact) -> Number:
    """A power of a number, exact where it can be."""
    if number == 1:
        return number
    exact = not isinstance(number, float)
    if exact and power.denominator == 1 and (number or power > 0):
        return _short(Fraction(number) ** power.numerator if power < 0 else number**power.numerator)
    if exact and power.denominator == 2 and number > 0:
        top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
        if top * top == number.numerator and bottom * bottom == number.denominator:
            return Fraction(top, bottom) ** power.numerator
    if not number and power < 0:
        return math.inf
    return float(number) ** float(power)


def _short(product: Exact) -> Exact:
    """The short fraction that a product of two rounded constants rounds to: (1/√2)² = ½."""
    if isinstance(product, Fraction) and product.denominator.bit_length() > _ROUNDED:
        near = product.limit_denominator(12)
        if near and abs(near - product) <= abs(product) * 2.0**-51:
            return whole(near)
    return product


_ROUNDED = 80
"""Bits of the denominator of a product of two numbers with all the digits of a float."""


def times(a: Number, b: Number) -> Number:
    """Product of two numbers, exact where both are and the result stays short."""
    if isinstance(a, float) or isinstance(b, float):
        return float(a) * float(b)
    exact = _short(a * b)
    if exact.denominator.bit_length() < 160 and exact.numerator.bit_length() < 160:
        return exact
    return float(a) * float(b)


def plus(a: Number, b: Number) -> Number:
    """Sum of two numbers, exact where both are."""
    return float(a) + float(b) if isinstance(a, float) or isinstance(b, float) else a + b


def rational(value: Number) -> Number:
    """The number a person meant: short decimals and fractions become exact rationals.

    >>> rational(0.5), rational(0.1), rational(2 / 3)
    (Fraction(1, 2), Fraction(1, 10), Fraction(2, 3))
    """
    if isinstance(value, (int, Fraction)):
        return value + 0  # a truth value is a number
    if not math.isfinite(value := float(value)):
        return value
    if not value:
        return 0 if math.copysign(1.0, value) > 0 else -0.0
    exact = Fraction(repr(value))  # 0.33…3 is 1/3
    tried = (exact.limit_denominator(99), exact) if exact.denominator > 10**12 else (exact,)
    return next((x for x in tried if float(x) == value), value)
