"""Elementwise functions of the public surface, as compositions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, power, product
from symgrad.core.build import elementwise as apply
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.errors import ComplexError, DTypeError, ShapeError
from symgrad.functional.promotion import floating, promoted
from symgrad.functional.table import public
from symgrad.ops.complex import magnitude
from symgrad.ops.elementwise import where as choose


@public()
def add(a: Any, b: Any, *, alpha: Any = 1) -> Expr:
    """a + alpha · b."""
    a, b = promoted(a, b)
    _whole_factor(alpha, a.dtype)
    if a.dtype is dtypes.bool_:
        return apply("logical_or", a, b) if alpha else a
    return a + b * alpha if alpha != 1 else a + b


def _whole_factor(alpha: Any, dtype: DType) -> None:
    if isinstance(alpha, float) and not dtype.differentiable:
        raise DTypeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )


def no_truth_values(*operands: Any) -> None:
    """DTypeError where one of the operands of a difference is a truth value."""
    if any(v.dtype is dtypes.bool_ if isinstance(v, Expr) else v is True or v is False
           for v in operands):  # fmt: skip
        raise DTypeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported.",
            "Use ~ or logical_not() to invert a mask, logical_xor() for where two differ.",
        )


@public()
def sub(a: Any, b: Any, *, alpha: Any = 1) -> Expr:
    """a − alpha · b."""
    no_truth_values(a, b)
    a, b = promoted(a, b)
    _whole_factor(alpha, a.dtype)
    return a - b * alpha if alpha != 1 else a - b


@public(saves=("cross",))
def mul(a: Any, b: Any) -> Expr:
    """a ⊙ b."""
    if isinstance(b, (int, float)) and not isinstance(b, bool) and a.dtype.is_floating_point:
        return a * b
    a, b = promoted(a, b)
    return apply("logical_and", a, b) if a.dtype is dtypes.bool_ else product(a, b)


@public(saves=("cross",))
def div(a: Any, b: Any, *, rounding_mode: str | None = None) -> Expr:
    """a ⊘ b; ``rounding_mode`` "floor" or "trunc"."""
    if rounding_mode not in (None, "trunc", "floor"):
        raise ShapeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"{rounding_mode!r}"
        )
    if rounding_mode is None:
        if (
            isinstance(b, (int, float))
            and not isinstance(b, bool)
            and b
            and (isinstance(a, Expr) and a.dtype.is_floating_point)
        ):
            return a / b
        a, b = promoted(a, b, at_least_float=True)
        return a / b
    a, b = promoted(a, b)
    if rounding_mode == "floor":
        return apply("floor_divide", a, b)
    quotient = floating(a) / floating(b)
    return cast(apply("trunc", quotient), a.dtype)


@public()
def floor_divide(a: Any, b: Any) -> Expr:
    """⌊a ⊘ b⌋."""
    return apply("floor_divide", *promoted(a, b))


@public()
def remainder(a: Any, b: Any) -> Expr:
    """a − b ⌊a ⊘ b⌋, with the sign of b."""
    return apply("remainder", *promoted(a, b))


@public(saves=(0,))
def pow_(a: Any, b: Any) -> Expr:
    """aᵇ."""
    if isinstance(b, (int, float)) and isinstance(a, Expr):
        if a.dtype is dtypes.bool_ and not isinstance(b, bool):
            a = cast(a, dtypes.int64)
        if isinstance(b, int) and b < 0 and not a.dtype.differentiable:
            raise DTypeError(
                "Integers to negative integer powers are not allowed.", "Cast with .float() first."
            )
        if isinstance(b, float) and not a.dtype.differentiable:
            a = floating(a)
        if b == 0:
            return constant(1, a.dtype, a.shape)
        return power(a, b)
    a, b = promoted(a, b)
    if not a.dtype.differentiable:
        return _whole_power(a, b)
    return apply("pow", a, b)


def _whole_power(a: Expr, b: Expr) -> Expr:
    """aᵇ of integers: of a negative exponent what a division would leave, 0 or ±1."""
    zero, one = constant(0, a.dtype), constant(1, a.dtype)
    if a.dtype.kind != "i":
        return apply("pow", a, b)
    negative = apply("lt", b, zero)
    raised = apply("pow", a, choose(negative, zero, b))
    odd = apply("eq", apply("remainder", b, constant(2, a.dtype)), one)
    left = choose(apply("eq", a, one), one, zero)
    minus = choose(odd, constant(-1, a.dtype), one)
    left = choose(apply("eq", a, constant(-1, a.dtype)), minus, left)
    return choose(negative, left, raised)


@public(grad_fn="NegBackward0")
def neg(a: Expr) -> Expr:
    """−a."""
    if a.dtype is dtypes.bool_:
        raise DTypeError(
            "Negation, the `-` operator, on a bool tensor is not supported.",
            "Write ~mask or logical_not() to invert a mask.",
        )
    return -a


def _unary(name: str, op: str, saved: int | str) -> None:
    def build(a: Expr) -> Expr:
        return apply(op, floating(a))

    build.__doc__ = f"{op}, elementwise."
    build.__name__ = name
    public(name, saves=(saved,))(build)


for _name, _op, _saved in (
    ("exp", "exp", "result"), ("log", "log", 0), ("log1p", "log1p", 0), ("expm1", "expm1", "result"),
    ("sin", "sin", 0), ("cos", "cos", 0), ("tan", "tan", "result"), ("asin", "asin", 0),
    ("acos", "acos", 0), ("atan", "atan", 0), ("sinh", "sinh", 0), ("cosh", "cosh", 0),
    ("tanh", "tanh", "result"), ("asinh", "asinh", 0), ("acosh", "acosh", 0),
    ("atanh", "atanh", 0), ("sigmoid", "sigmoid", "result"), ("erf", "erf", 0),
    ("erfc", "erfc", 0), ("erfinv", "erfinv", "result"), ("lgamma", "lgamma", 0),
):  # fmt: skip
    _unary(_name, _op, _saved)


@public(saves=("result",))
def sqrt(a: Expr) -> Expr:
    """√a."""
    return power(floating(a), Fraction(1, 2))


@public(saves=("result",))
def rsqrt(a: Expr) -> Expr:
    """1 / √a."""
    return power(floating(a), Fraction(-1, 2))


@public(saves=("result",))
def reciprocal(a: Expr) -> Expr:
    """1 / a."""
    return power(floating(a), -1)


@public(grad_fn="PowBackward0", saves=(0,))
def square(a: Expr) -> Expr:
    """a ⊙ a."""
    return power(cast(a, dtypes.int64) if a.dtype is dtypes.bool_ else a, 2)


@public(grad_fn="AbsBackward0", saves=(0,))
def abs_(a: Expr) -> Expr:
    """|a|."""
    return magnitude(a)


for _name in ("sign", "floor", "ceil", "trunc"):

    def _rounding(a: Expr, _op: str = _name) -> Expr:
        whole = not a.dtype.differentiable and (_op != "sign" or a.dtype.kind == "b")
        return a if whole else apply(_op, a)

    _rounding.__name__ = _name
    public(_name)(_rounding)


@public()
def round_(a: Expr, *, decimals: int = 0) -> Expr:
    """The nearest whole number, ties to even; ``decimals`` places."""
    if decimals:
        return apply("round", a * 10**decimals) / 10**decimals
    return apply("round", a) if a.dtype.differentiable else a


@public(saves=("result",))
def relu(a: Expr) -> Expr:
    """max(a, 0)."""
    return apply("relu", a)


@public(saves=(0,), wide=True)
def softplus(a: Expr, beta: float = 1, threshold: float = 20) -> Expr:
    """log(1 + exp(β a)) / β, and a itself where β a is above ``threshold``."""
    if threshold != 20:  # above 20 they are the same number
        above = apply("gt", a * beta, constant(threshold, a.dtype))
        return choose(above, a, softplus(a, beta))
    return apply("softplus", a) if beta == 1 else apply("softplus", a * beta) / beta


@public(grad_fn="LogSigmoidBackward0", saves=(0,), wide=True)
def logsigmoid(a: Expr) -> Expr:
    """log σ(a)."""
    return -apply("softplus", -a)


@public(saves=(0,), wide=True)
def silu(a: Expr) -> Expr:
    """a σ(a)."""
    return a * apply("sigmoid", a)


@public(saves=(0,), wide=True)
def gelu(a: Expr, approximate: str = "none") -> Expr:
    """a Φ(a); "tanh" for the approximation of Hendrycks and Gimpel (2016)."""
    if approximate == "tanh":
        inner = (a + 0.044715 * power(a, 3)) * math.sqrt(2 / math.pi)
        return 0.5 * a * (1 + apply("tanh", inner))
    return 0.5 * a * (1 + apply("erf", a * math.sqrt(0.5)))


@public(saves=(0,), wide=True)
def mish(a: Expr) -> Expr:
    """a tanh(softplus(a))."""
    return a * apply("tanh", apply("softplus", a))


def _zero(a: Expr) -> Expr:
    return constant(0, a.dtype)


@public(saves=(0,))
def leaky_relu(a: Expr, negative_slope: float = 0.01) -> Expr:
    """a where positive, else slope · a."""
    return choose(apply("gt", a, _zero(a)), a, a * negative_slope)


@public(saves=(0,), wide=True)
def elu(a: Expr, alpha: float = 1.0) -> Expr:
    """a where positive, else α (exp(a) − 1)."""
    return choose(apply("gt", a, _zero(a)), a, apply("expm1", a) * alpha)


@public(saves=(0,), wide=True)
def selu(a: Expr) -> Expr:
    """Klambauer et al. (2017)."""
    return 1.0507009873554805 * choose(
        apply("gt", a, _zero(a)), a, apply("expm1", a) * 1.6732632423543772
    )


@public(saves=(0,))
def clamp(a: Expr, min: Any = None, max: Any = None) -> Expr:
    """a between ``min`` and ``max``; the gradient passes at the bounds."""
    if min is None and max is None:
        raise ShapeError("clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Expr) or isinstance(max, Expr):
        return _clamp_by_tensors(a, min, max)
    result = a
    inside = None
    for bound, relation, op in ((min, "ge", "maximum"), (max, "le", "minimum")):
        if bound is None:
            continue
        x, limit = promoted(result, bound)
        passes = apply(relation, *promoted(a, bound))
        inside = passes if inside is None else apply("logical_and", inside, passes)
        result = apply(op, x, limit)
    if inside is None or not a.dtype.differentiable:
        return result
    return choose(inside, cast(a, result.dtype), apply("detach", result))


def _clamp_by_tensors(a: Expr, low: Any, high: Any) -> Expr:
    """The bound takes the gradient where it is the value."""
    given = [v for v in (a, low, high) if v is not None]
    first, *bounds = promoted(*given)
    result = first
    if low is not None:
        result = choose(apply("lt", first, bounds[0]), bounds[0], result)
    if high is not None:
        over = apply("gt", first, bounds[-1])
        if low is not None:
            over = apply("logical_or", over, apply("lt", bounds[1], bounds[0]))
        result = choose(over, bounds[-1], result)
    return result


@public(saves=(0,))
def clamp_min(a: Expr, min: Any) -> Expr:
    """a, but not below ``min``."""
    return clamp(a, min)


@public(saves=(0,))
def clamp_max(a: Expr, max: Any) -> Expr:
    """a, but not above ``max``."""
    return clamp(a, None, max)


@public(saves=(0, 1))
def maximum(a: Expr, b: Expr) -> Expr:
    """The larger of two tensors; half the gradient each at a tie."""
    return apply("maximum", *promoted(a, b))


@public(saves=(0, 1))
def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller of two tensors."""
    return apply("minimum", *promoted(a, b))


@public()
def where(condition: Expr, first: Any, second: Any) -> Expr:
    """``first`` where the condition holds, else ``second``."""
    _check_mask(condition, "where", "condition")
    first, second = promoted(first, second)
    return choose(condition, first, second)


def _check_mask(mask: Expr, function: str, word: str) -> None:
    if mask.dtype not in (dtypes.bool_, dtypes.uint8):
        raise DTypeError(
            f"{function} expected {word} to be a boolean tensor, but got a tensor with dtype "
            f"{mask.dtype.name}",
            "Compare first, such as mask != 0.",
        )


@public(grad_fn="MaskedFillBackward0")
def masked_fill(a: Expr, mask: Expr, value: Any) -> Expr:
    """``value`` where the mask is true."""
    _check_mask(mask, "masked_fill", "mask")
    filled = cast(value, a.dtype) if isinstance(value, Expr) else constant(value, a.dtype)
    return choose(mask, filled, a)


for _name in ("gt", "ge", "lt", "le", "eq", "ne"):

    def _compare(a: Any, b: Any, _op: str = _name) -> Expr:
        a, b = promoted(a, b)
        if a.dtype.is_complex and _op not in ("eq", "ne"):
            raise ComplexError(
                f'"{_op}" not implemented for {a.dtype}: complex numbers have no order'
            )
        return apply(_op, a, b)

    _compare.__name__ = _name
    public(_name)(_compare)

for _name in ("logical_and", "logical_or", "logical_xor"):

    def _logic(a: Any, b: Any, _op: str = _name) -> Expr:
        left, right = (v if isinstance(v, Expr) else constant(int(v), dtypes.bool_) for v in (a, b))
        return apply(_op, cast(left, dtypes.bool_), cast(right, dtypes.bool_))

    _logic.__name__ = _name
    public(_name)(_logic)


@public()
def logical_not(a: Expr) -> Expr:
    """True where zero."""
    return apply("logical_not", cast(a, dtypes.bool_))


for _name in ("isnan", "isfinite", "isinf"):

    def _check(a: Expr, _op: str = _name) -> Expr:
        return apply(_op, a)

    _check.__name__ = _name
    public(_name)(_check)


@public("to_dtype", grad_fn="ToCopyBackward0", part=True)
def to_dtype(a: Expr, dtype: DType) -> Expr:
    """``a`` in another dtype."""
    return cast(a, dtype)


@public()
def clone(a: Expr, *, memory_format: Any = None) -> Expr:
    """A copy."""
    del memory_format  # there is one
    return a
