"""Elementwise functions that programs are computed with in place of what would overflow or cancel.

Nobody types them: the rules of ``symgrad/simplify`` recognise them in what is typed.  Their
derivatives are as safe as their values.
"""

from __future__ import annotations

from symgrad.core.build import elementwise, power, scale
from symgrad.core.expr import Expr
from symgrad.ops.elementwise import apply, power_template, where
from symgrad.ops.row import Template, call, elementwise_row, form, like


def _over(a: Expr, y: Expr) -> Expr:
    """a / y, and 0 where y is 0."""
    zero = apply("eq", y, like(0, y))
    return where(zero, like(0, y), a / where(zero, like(1, y), y))


def _logaddexp_partials(a: Expr, b: Expr, y: Expr) -> tuple[Expr, Expr]:
    """The logistic functions of the gap; 0 where both are −∞, the zero of this addition."""
    nothing = apply("eq", y, like(-float("inf"), y))
    gap = where(nothing, like(0, y), a) - where(nothing, like(0, y), b)
    slopes = (apply("sigmoid", gap), apply("sigmoid", -gap))
    first, second = (where(nothing, like(0, y), s) for s in slopes)
    return first, second


elementwise_row("logaddexp", call("jnp.logaddexp", arity=2), _logaddexp_partials)
elementwise_row(
    "hypot", call("jnp.hypot", arity=2), lambda a, b, y: (_over(a, y), _over(b, y)),
)  # fmt: skip
elementwise_row(
    "log_cosh",
    form(
        "(lambda a: jnp.where(a < 1, jnp.log1p(2 * jnp.sinh(jnp.minimum(a, 1) / 2) ** 2), "
        "a + jnp.log1p(jnp.exp(-2 * a)) - 0.6931471805599453))(jnp.abs({0}))",
        "(lambda a: np.where(a < 1, np.log1p(2 * np.sinh(np.minimum(a, 1) / 2) ** 2), "
        "a + np.log1p(np.exp(-2 * a)) - 0.6931471805599453))(np.abs({0}))",
    ),
    lambda x, y: (apply("tanh", x),),
    text="log cosh", latex=r"\log\cosh",
)  # fmt: skip
elementwise_row(
    "log1mexp",
    form(
        "(lambda a: jnp.where(a < 0.7, jnp.log(-jnp.expm1(-a)), jnp.log1p(-jnp.exp(-a))))({0})",
        "(lambda a: np.where(a < 0.7, np.log(-np.expm1(-a)), np.log1p(-np.exp(-a))))({0})",
    ),
    lambda x, y: (1 / apply("expm1", x),),
    domain="positive",
)  # fmt: skip
elementwise_row(
    "length", call("jnp.sqrt"),
    lambda x, y: (elementwise("inverse_length", x) * 0.5,),
    text="√", domain="positive",
)  # fmt: skip
elementwise_row(
    "inverse_length",
    form(
        "(lambda s: jnp.where(s > 0, jax.lax.rsqrt(jnp.where(s > 0, s, 1)), 0))({0})",
        "(lambda s: np.where(s > 0, 1 / np.sqrt(np.where(s > 0, s, 1)), 0))({0})",
    ),
    lambda x, y: (power(y, 3) * -0.5,),
    domain="positive",
)  # fmt: skip


def _zero_power_template(node: Expr) -> Template:
    p = float(node.params[2][0])
    text = f"(lambda s: {{xp}}.where(s > 0, {{xp}}.where(s > 0, s, 1) ** {p!r}, 0))({{{{0}}}})"
    return form(text.format(xp="jnp"), text.format(xp="np"))


elementwise_row(
    "flat_power", power_template,
    lambda x, y, p: (scale(p, elementwise("zero_power", x, statics=(p - 1,))),),
    text="power", domain="positive",
)  # fmt: skip
"""xᵖ with the slope 0 at 0."""
elementwise_row(
    "zero_power", _zero_power_template,
    lambda x, y, p: (scale(p, elementwise("zero_power", x, statics=(p - 1,))),),
    domain="positive",
)  # fmt: skip
"""xᵖ, and 0 at 0."""


def _xlogy_partials(a: Expr, b: Expr, y: Expr) -> tuple[Expr, Expr]:
    nothing = apply("eq", a, like(0, a))
    return apply("log", b), where(nothing, like(0, a), a / where(nothing, like(1, b), b))


elementwise_row(
    "xlogy",
    form("jax.scipy.special.xlogy({0}, {1})", "special.xlogy({0}, {1})", 2),
    _xlogy_partials,
    domain="positive",
)

__all__ = ["elementwise_row"]
