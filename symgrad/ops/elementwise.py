"""Elementwise ops, one row each: templates, scalar derivative, notation, test domain.

Sums, differences, products and whole powers are not here: they are the kinds of ``core/build.py``.
A derivative is a function ``(*arguments, value, *statics) → one partial per argument`` in the
operators of Expr; None says that this argument has no derivative by definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import (
    cast,
    constant,
    constant_value,
    elementwise,
    is_zero,
    map_build,
    power,
    scale,
    zeros,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape
from symgrad.ops.row import (
    ANY,
    COMPARE,
    POSTFIX,
    PRODUCT,
    SUM,
    UNARY,
    Template,
    boolean,
    call,
    elementwise_row,
    form,
    infix,
    like,
)


def apply(name: str, *args: Expr, statics: tuple[Any, ...] = ()) -> Expr:
    """The elementwise op ``name`` with broadcasting."""
    return elementwise(OPS[name], *args, statics=statics)


def indicator(condition: Expr, dtype: DType) -> Expr:
    """1[condition]: 1 where true, 0 where false."""
    return cast(condition, dtype)


def _same(e: Expr) -> tuple[Expr]:
    return (zeros(e.shape, e.dtype),)


# ------------------------------------------------------------------ exponentials and logarithms
elementwise_row("exp", call("jnp.exp"), lambda x, y: (y,), latex=r"\exp", traits=("complex",))
elementwise_row(
    "log",
    call("jnp.log"),
    lambda x, y: (1 / x,),
    latex=r"\log",
    domain="positive",
    traits=("complex",),
)
elementwise_row(
    "log1p", call("jnp.log1p"), lambda x, y: (1 / (1 + x),), domain="positive", traits=("complex",)
)
elementwise_row("expm1", call("jnp.expm1"), lambda x, y: (apply("exp", x),), traits=("complex",))
elementwise_row(
    "sigmoid",
    lambda node: form(
        "jax.nn.sigmoid({0})",
        "1 / (1 + np.exp(-{0}))" if node.dtype.is_complex else "special.expit({0})",
        strength=PRODUCT if node.dtype.is_complex else POSTFIX,
        hole=UNARY if node.dtype.is_complex else ANY,
    ),
    lambda x, y: (y * (1 - y),),
    text="σ",
    latex=r"\sigma",
    traits=("complex",),
)
elementwise_row(
    "softplus",
    form(
        "jnp.maximum({0}, 0) + jnp.log1p(jnp.exp(-jnp.abs({0})))",
        "np.logaddexp({0}, 0)",
        strength=SUM,
    ),
    lambda x, y: (apply("sigmoid", x),),
    python="softplus",
)

# ------------------------------------------------------------------ trigonometric, hyperbolic
LARGE = 4096
"""So many numbers at least are worth the `sine` of generated source: a test of all comes first."""


def _wave(name: str, quarters: str) -> Callable[[Expr], Template]:
    """The template of a sine: XLA computes it one number after another on a CPU."""
    plain = call(f"jnp.{name}")
    large = form(f"sine({{0}}{quarters})", f"np.{name}({{0}})")

    def template(node: Expr) -> Template:
        sizes = [n for n in node.shape if isinstance(n, int)]
        known = len(sizes) == len(node.shape) and math.prod(sizes) >= LARGE
        return large if known and node.dtype is dtypes.float32 else plain

    return template


elementwise_row(
    "sin", _wave("sin", ""), lambda x, y: (apply("cos", x),), latex=r"\sin", traits=("complex",)
)
elementwise_row(
    "cos",
    _wave("cos", ", quarters=1"),
    lambda x, y: (-apply("sin", x),),
    latex=r"\cos",
    traits=("complex",),
)
elementwise_row(
    "tan",
    call("jnp.tan"),
    lambda x, y: (1 + y * y,),
    latex=r"\tan",
    domain="unit",
    traits=("complex",),
)
elementwise_row(
    "asin", call("jnp.arcsin"), lambda x, y: ((1 - x * x) ** Fraction(-1, 2),), text="arcsin",
    latex=r"\arcsin", python="arcsin", domain="unit", traits=("complex",),
)  # fmt: skip
elementwise_row(
    "acos", call("jnp.arccos"), lambda x, y: (-((1 - x * x) ** Fraction(-1, 2)),), text="arccos",
    latex=r"\arccos", python="arccos", domain="unit", traits=("complex",),
)  # fmt: skip
elementwise_row(
    "atan", call("jnp.arctan"), lambda x, y: (1 / (1 + x * x),), text="arctan", latex=r"\arctan",
    python="arctan", traits=("complex",),
)  # fmt: skip
elementwise_row(
    "sinh", call("jnp.sinh"), lambda x, y: (apply("cosh", x),), latex=r"\sinh", traits=("complex",)
)
elementwise_row(
    "cosh", call("jnp.cosh"), lambda x, y: (apply("sinh", x),), latex=r"\cosh", traits=("complex",)
)
elementwise_row(
    "tanh", call("jnp.tanh"), lambda x, y: (1 - y * y,), latex=r"\tanh", traits=("complex",)
)
elementwise_row(
    "asinh", call("jnp.arcsinh"), lambda x, y: ((1 + x * x) ** Fraction(-1, 2),), text="arsinh",
    python="arcsinh", traits=("complex",),
)  # fmt: skip
elementwise_row(
    "acosh", form("(lambda x: jnp.log1p((x - 1) + jnp.sqrt(x - 1) * jnp.sqrt(x + 1)))({0})", "np.arccosh({0})"), lambda x, y: ((x * x - 1) ** Fraction(-1, 2),), text="arcosh",
    python="arccosh", domain="above one", traits=("complex",),
)  # fmt: skip
elementwise_row(
    "atanh", call("jnp.arctanh"), lambda x, y: (1 / (1 - x * x),), text="artanh",
    python="arctanh", domain="unit", traits=("complex",),
)  # fmt: skip

# ------------------------------------------------------------------ special functions
elementwise_row(
    "erf",
    call("jax.scipy.special.erf", "special.erf"),
    lambda x, y: (scale(2 / math.sqrt(math.pi), apply("exp", -(x * x))),),
)
elementwise_row(
    "erfc",
    call("jax.scipy.special.erfc", "special.erfc"),
    lambda x, y: (scale(-2 / math.sqrt(math.pi), apply("exp", -(x * x))),),
)
elementwise_row(
    "erfinv",
    call("jax.scipy.special.erfinv", "special.erfinv"),
    lambda x, y: (scale(math.sqrt(math.pi) / 2, apply("exp", y * y)),),
    domain="unit",
)
elementwise_row(
    "lgamma",
    call("jax.scipy.special.gammaln", "special.gammaln"),
    lambda x, y: (apply("polygamma", x, statics=(0,)),),
    text="log Γ", latex=r"\log\Gamma", domain="positive",
)  # fmt: skip


def _polygamma_template(node: Expr) -> Template:
    """ψ⁽ⁿ⁾; JAX has it for positive numbers: below ½ by reflection.

    ψ⁽ⁿ⁾(x) = (−1)ⁿ ψ⁽ⁿ⁾(1 − x) − πⁿ⁺¹ P(cot πx), with the n-th derivative of the
    cotangent: P₀(c) = c, Pₖ₊₁ = −(1 + c²) Pₖ′.
    """
    (n,) = node.params[2]
    if n == 0:
        return call("jax.scipy.special.digamma", "special.psi")
    cotangents = np.poly1d([1, 0])
    for _ in range(n):
        cotangents = np.poly1d([-1, 0, -1]) * cotangents.deriv()
    first, *rest = (int(c) for c in cotangents.coeffs)
    nested = str(first)
    for coefficient in rest:
        nested = f"({nested}) * c + {coefficient}"
    above, mirrored = (f"jax.scipy.special.polygamma({n}, jnp.maximum({x}, 0.5))"
                       for x in ("{0}", "1 - {0}"))  # fmt: skip
    turned = f"jnp.pi**{n + 1} * (lambda c: {nested})(1 / jnp.tan(jnp.pi * {{0}}))"
    sign = "-" if n % 2 else ""
    return form(f"jnp.where({{0}} < 0.5, {sign}{mirrored} - {turned}, {above})",
                f"special.polygamma({n}, {{0}})")  # fmt: skip


elementwise_row(
    "polygamma",
    _polygamma_template,
    lambda x, y, n: (apply("polygamma", x, statics=(n + 1,)),),
    text="ψ", latex=r"\psi", domain="positive",
)  # fmt: skip


def _over(a: Expr, x: Expr) -> Expr:
    """a / x, and its limit ½ at x = 0."""
    at_zero = apply("eq", x, like(0, x))
    half = constant(Fraction(1, 2), x.dtype, x.shape)
    return where(at_zero, half, a / where(at_zero, like(1, x), x))


for _name, _latex, _partials in (
    ("i0", "I_0", lambda x, y: (apply("i1", x),)),
    ("i1", "I_1", lambda x, y: (apply("i0", x) - _over(y, x),)),
    ("i0e", "", lambda x, y: (apply("i1e", x) - apply("sign", x) * y,)),
    ("i1e", "", lambda x, y: (apply("i0e", x) - _over(y, x) - apply("sign", x) * y,)),
):
    elementwise_row(_name, call(f"jax.scipy.special.{_name}", f"special.{_name}"), _partials,
                    latex=_latex)  # fmt: skip


# ------------------------------------------------------------------ powers
def power_template(node: Expr) -> Template:
    """A power with a number, by the functions that roots and reciprocals have."""
    p = node.params[2][0]
    named = {
        Fraction(-1): form("1 / {0}", "1 / {0}", 1, PRODUCT, PRODUCT + 1),
        Fraction(1, 2): call("jnp.sqrt"),
        Fraction(-1, 2): form("jax.lax.rsqrt({0})", "1 / np.sqrt({0})", 1, PRODUCT),
    }
    if p in named:
        return named[p]
    if p == -2:
        return form("1 / jnp.square({0})", "1 / np.square({0})", 1, PRODUCT)
    text = repr(int(p)) if isinstance(p, Fraction) and p.denominator == 1 else repr(float(p))
    return form(
        f"{{0}} ** {text}" if float(p) >= 0 else f"{{0}} ** ({text})",
        f"{{0}} ** {text}" if float(p) >= 0 else f"{{0}} ** ({text})",
        1,
        80,
        81,
    )


elementwise_row(
    "power",
    power_template,
    lambda x, y, p: (scale(p, power(x, p - 1)),),
    domain="positive",
    traits=("singular", "complex"),
)


def _pow_partials(x: Expr, p: Expr, y: Expr) -> tuple[Expr, Expr]:
    """∂xᵖ/∂x = p xᵖ⁻¹, 0 where p = 0;  ∂xᵖ/∂p = xᵖ log x, 0 where x = 0 and p ≥ 0."""
    nothing = zeros(y.shape, y.dtype)
    first = where(apply("eq", p, like(0, p)), nothing, p * apply("pow", x, p - 1))
    q = apply("real", p) if p.dtype.is_complex else p
    at_zero = apply("logical_and", apply("eq", x, like(0, x)), apply("ge", q, like(0, q)))
    safe = where(at_zero, like(1, x), x)
    return first, where(at_zero, nothing, y * apply("log", safe))


elementwise_row(
    "pow",
    infix("**", 80),
    _pow_partials,
    python="pow",
    domain="positive",
    traits=("singular", "complex"),
)
elementwise_row(
    "atan2",
    call("jnp.arctan2", arity=2),
    lambda a, b, y: (b / (a * a + b * b), -a / (a * a + b * b)),
    python="arctan2",
)


# ------------------------------------------------------------------ piecewise
def _first_wins(a: Expr, b: Expr, relation: str) -> tuple[Expr, Expr]:
    """Partials of max and min: 1 for the larger (smaller), ½ each at a tie, as PyTorch has it."""
    tie = scale(Fraction(1, 2), indicator(apply("eq", a, b), a.dtype))
    other = "lt" if relation == "gt" else "gt"
    return (
        indicator(apply(relation, a, b), a.dtype) + tie,
        indicator(apply(other, a, b), a.dtype) + tie,
    )


elementwise_row("relu", form("jnp.maximum({0}, 0)", "np.maximum({0}, 0)"),
                lambda x, y: (indicator(apply("gt", x, like(0, x)), x.dtype),))  # fmt: skip
elementwise_row("maximum", call("jnp.maximum", arity=2),
                lambda a, b, y: _first_wins(a, b, "gt"), text="max", latex=r"\max")  # fmt: skip
elementwise_row("minimum", call("jnp.minimum", arity=2),
                lambda a, b, y: _first_wins(a, b, "lt"), text="min", latex=r"\min")  # fmt: skip
elementwise_row("abs", call("jnp.abs"), lambda x, y: (apply("sign", x),), text="abs",
                domain="nonzero")  # fmt: skip
for _name, _jax in (("sign", "jnp.sign"), ("floor", "jnp.floor"), ("ceil", "jnp.ceil"),
                    ("round", "jnp.round"), ("trunc", "jnp.trunc")):  # fmt: skip
    elementwise_row(_name, call(_jax), lambda x, y: _same(y), domain="nonzero",
                    traits=("zero derivative",))  # fmt: skip


def _where_partials(c: Expr, a: Expr, b: Expr, y: Expr) -> tuple[Expr | None, ...]:
    chosen = indicator(c, y.dtype)
    return None, chosen, 1 - chosen


def _where_infer(args: tuple[Expr, ...], statics: tuple[Any, ...]) -> tuple[Shape, DType]:
    return args[1].shape, args[1].dtype


def _where_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    """where(c, 1, 0) is the indicator of c; equal branches need no choice."""
    condition, first, second = args
    _, shape, _ = params
    one_or_zero = constant_value(first), constant_value(second)
    if one_or_zero[0] == 1 and is_zero(second) and condition.shape == shape:
        return cast(condition, first.dtype)
    if first is second and first.shape == shape:
        return first
    return map_build("where")(args, params)


Op("where", "map", infer=_where_infer, derivative=_where_partials,
   template=call("jnp.where", arity=3), text="where",
   python="where", traits=frozenset({"selects", "complex"}), build=_where_build)  # fmt: skip


def where(condition: Expr, first: Expr, second: Expr) -> Expr:
    """``first`` where the condition holds, else ``second``; broadcasting."""
    made = elementwise("where", condition, first, second)
    return made.func(*made.args) if made.op is OPS["where"] else made


# ------------------------------------------------------------------ comparisons and logic
for _name, _symbol, _sign, _latex in (
    ("gt", ">", ">", ">"), ("ge", ">=", "≥", r"\ge"), ("lt", "<", "<", "<"),
    ("le", "<=", "≤", r"\le"), ("eq", "==", "=", "="), ("ne", "!=", "≠", r"\ne"),
):  # fmt: skip
    elementwise_row(_name, infix(_symbol, COMPARE), None, text=_sign, latex=_latex, python=_symbol,
                    infer=boolean,
                    traits=("infix", "complex") if _name in ("eq", "ne") else ("infix",))  # fmt: skip
elementwise_row("logical_and", call("jnp.logical_and", arity=2), None, text="∧", latex=r"\land",
                python="logical_and", infer=boolean, domain="bool")  # fmt: skip
elementwise_row("logical_or", call("jnp.logical_or", arity=2), None, text="∨", latex=r"\lor",
                python="logical_or", infer=boolean, domain="bool")  # fmt: skip
elementwise_row("logical_xor", call("jnp.logical_xor", arity=2), None, text="⊻", latex=r"\veebar",
                python="logical_xor", infer=boolean, domain="bool")  # fmt: skip
elementwise_row("logical_not", call("jnp.logical_not"), None, text="¬", latex=r"\lnot",
                python="logical_not", infer=boolean, domain="bool")  # fmt: skip
for _name in ("isnan", "isfinite", "isinf"):
    elementwise_row(_name, call(f"jnp.{_name}"), None, infer=boolean, traits=("complex",))
elementwise_row("floor_divide", call("jnp.floor_divide", arity=2),
                lambda a, b, y: (zeros(y.shape, y.dtype),) * 2,
                domain="nonzero", traits=("zero derivative",))  # fmt: skip
elementwise_row("remainder", call("jnp.remainder", arity=2),
                lambda a, b, y: (like(1, y), -apply("floor", a / b)), domain="nonzero")  # fmt: skip
elementwise_row("fmod", call("jnp.fmod", arity=2),
                lambda a, b, y: (like(1, y), -apply("trunc", a / b)), domain="nonzero")  # fmt: skip


# ------------------------------------------------------------------ casts
def _cast_infer(args: tuple[Expr, ...], statics: tuple[Any, ...]) -> tuple[Shape, DType]:
    return args[0].shape, statics[0]


def _cast_template(node: Expr) -> Template:
    name = node.dtype.name
    spelled = {"bool": "bool_", "bfloat16": "dtype('bfloat16')"}.get(name, name)
    return form(
        f"{{0}}.astype(jnp.{name if name != 'bool' else 'bool_'})",
        f"{{0}}.astype(np.{spelled})",
        1,
        90,
        90,
    )


Op("cast", "map", infer=_cast_infer, derivative=lambda x, y, dtype: (like(1, x),),
   template=_cast_template, text="", python="", traits=frozenset({"cast", "complex"}),
   build=map_build("cast"))  # fmt: skip
# "stop" is the identity whose derivative is zero by definition: detach().
Op("detach", "map", derivative=lambda x, y: _same(y), template=form("{0}", "{0}", 1, 0, 0),
   text="detach", python="", traits=frozenset({"zero derivative", "complex"}),
   build=map_build("detach"))  # fmt: skip
