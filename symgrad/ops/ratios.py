"""f(x)/x of functions with f(0) = 0, whose slopes (f′(x) − f(x)/x)/x would cancel near 0.

Programs are computed with them; nobody types them.  Near 0 the slope is its power series.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

from symgrad.core.expr import Expr
from symgrad.ops.elementwise import apply, where
from symgrad.ops.row import elementwise_row, form, like

Curve = Callable[[Expr, Expr, Expr], Expr]


def _polynomial(coefficients: list[float]) -> str:
    """A polynomial in x as nested products."""
    text = repr(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        text = f"{c!r} + x * ({text})"
    return text


def _ratio(name: str, f: str, slope: str, near: float, series: list[float], curve: Curve) -> None:
    """The rows of f(x)/x and of its slope; ``curve(x, value, slope)`` is the second derivative."""

    def both(text: str) -> tuple[str, str]:
        return text.replace("{m}", "jnp"), text.replace("{m}", "np")

    inner = (
        f"(lambda x: (lambda u: {{m}}.where(abs(x) < {near}, {_polynomial(series)}, "
        f"({slope} - {f} / u) / u))({{m}}.where(abs(x) < {near}, {near}, x)))({{0}})"
    )
    steep = name + "_slope"
    elementwise_row(name, form(*both(f"(lambda u: {f} / u)({{0}})")),
                    lambda x, y: (apply(steep, x),), text=name)  # fmt: skip

    def bent(x: Expr, y: Expr) -> tuple[Expr]:
        nought = apply("eq", x, like(0, x))
        away = where(nought, like(1, x), x)
        return (where(nought, like(2 * series[1] / 2, x), curve(away, apply(name, away), y)),)

    elementwise_row(steep, form(*both(inner)), bent, text=name + "′")


_ratio(
    "sine_ratio", "{m}.sin(u)", "{m}.cos(u)", 0.9,
    [0.0 if k % 2 == 0 else (-1) ** ((k + 1) // 2) * (k + 1) / factorial(k + 2) for k in range(19)],
    lambda x, y, s: -y - 2 * s / x,
)  # fmt: skip
_ratio(
    "expm1_ratio", "{m}.expm1(u)", "{m}.exp(u)", 0.9,
    [(k + 1) / factorial(k + 2) for k in range(19)],
    lambda x, y, s: (apply("exp", x) - 2 * s) / x,
)  # fmt: skip
_ratio(
    "log1p_ratio", "{m}.log1p(u)", "1 / (1 + u)", 0.15,
    [(-1) ** (k + 1) * (k + 1) / (k + 2) for k in range(22)],
    lambda x, y, s: (-((1 + x) ** -2) - 2 * s) / x,
)  # fmt: skip

__all__ = ["elementwise_row"]
