"""The logarithm of the normal distribution function and its slope, exact in the far tail.

Below −12, Φ(x) = φ(x)/|x| · S(x) with the asymptotic series S = 1 − 1/x² + 3/x⁴ − …; its 14 terms are
exact to 10⁻¹⁵ there.  Source: Abramowitz and Stegun, 26.2.12.
"""

from __future__ import annotations

import math

from symgrad.core.expr import Expr
from symgrad.ops.elementwise import apply
from symgrad.ops.row import elementwise_row, form

_TERMS = 14
_FAR = -12
_LENGTH = math.log(2 * math.pi) / 2


def _series(square: str) -> str:
    """S as nested products: 1 − (1 − (3 − …) / x²) …"""
    text = "1"
    for k in range(2 * _TERMS - 1, 0, -2):
        text = f"1 - {k} / {square} * ({text})"
    return text


def _both(near: str, far: str) -> tuple[str, str]:
    """A choice by the place of x, for JAX and NumPy; each side sees only its own half."""
    text = (
        "(lambda x: (lambda a, b: {m}.where(x < " + str(_FAR) + f", {far}, {near}))"
        "({m}.minimum(x, " + str(_FAR) + "), {m}.maximum(x, " + str(_FAR) + ")))({{0}})"
    )
    jax = text.format(m="jnp", erfc="jax.scipy.special.erfc")
    return jax, text.format(m="np", erfc="special.erfc")


_S = f"({_series('(a * a)')})"
elementwise_row(
    "log_ndtr",
    form(*_both(
        "{m}.where(b > 0, {m}.log1p(-0.5 * {erfc}({m}.maximum(b, 0) * 0.7071067811865476)), "
        "{m}.log(0.5 * {erfc}({m}.minimum(b, 0) * -0.7071067811865476)))",
        f"-0.5 * (a * a) - {_LENGTH} - {{m}}.log(-a) + {{m}}.log({_S})",
    )),
    lambda x, y: (apply("mills", x),),
    text="log Φ", latex=r"\log\Phi",
)  # fmt: skip


def _slope(x: Expr, y: Expr) -> tuple[Expr]:
    return (-y * (x + y),)


elementwise_row(
    "mills",
    form(*_both(
        f"{{m}}.exp(-0.5 * (b * b) - {_LENGTH}) / (0.5 * {{erfc}}(b * -0.7071067811865476))",
        f"-a / {_S}",
    )),
    _slope,
    text="φ/Φ", latex=r"\tfrac{\varphi}{\Phi}",
)  # fmt: skip

__all__ = ["elementwise_row"]
