"""More elementwise functions: logarithms in other bases, angles, blends, guards."""

from __future__ import annotations

import math
from typing import Any

from symgrad.core.build import cast, constant
from symgrad.core.build import elementwise as apply
from symgrad.core.build import permute as permute_axes
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.errors import ShapeError
from symgrad.functional.elementwise import clamp, maximum
from symgrad.functional.promotion import floating, promoted
from symgrad.functional.table import public
from symgrad.ops import structure
from symgrad.ops.complex import conj, magnitude
from symgrad.ops.elementwise import where as choose


@public(saves=(0,))
def log2(a: Expr) -> Expr:
    """log a / log 2."""
    return apply("log", floating(a)) * (1 / math.log(2))


@public(saves=(0,))
def log10(a: Expr) -> Expr:
    """log a / log 10."""
    return apply("log", floating(a)) * (1 / math.log(10))


@public(saves=("result",))
def exp2(a: Expr) -> Expr:
    """2ᵃ."""
    return apply("exp", floating(a) * math.log(2))


@public(saves=(0, 1))
def atan2(a: Any, b: Any) -> Expr:
    """The angle of the point (b, a)."""
    return apply("atan2", *promoted(a, b, at_least_float=True))


@public(saves=(0, 1), wide=True)
def logaddexp(a: Expr, b: Expr) -> Expr:
    """log(exp a + exp b); of complex numbers on the branch of the one with the larger real part."""
    a, b = promoted(a, b)
    if a.dtype.is_complex:
        swap = apply("lt", apply("real", a), apply("real", b))
        low, high = choose(swap, a, b), choose(swap, b, a)
        return high + apply("log", apply("exp", low - high) + 1)
    return maximum(a, b) + apply("softplus", -apply("abs", a - b))


@public(saves=(0, 1), wide=True, real=True)
def hypot(a: Expr, b: Expr) -> Expr:
    """√(a² + b²)."""
    a, b = promoted(a, b)
    return (a * a + b * b) ** 0.5


@public()
def frac(a: Expr) -> Expr:
    """a − trunc(a)."""
    return a - apply("trunc", a)


@public(grad_fn="LerpBackward0", saves=(2,), wide=True)
def lerp(a: Expr, end: Expr, weight: Any) -> Expr:
    """a + weight · (end − a)."""
    return a + (end - a) * weight


@public(saves=(1, 2), wide=True)
def addcmul(a: Expr, tensor1: Expr, tensor2: Expr, *, value: Any = 1) -> Expr:
    """a + value · tensor1 · tensor2."""
    return a + tensor1 * tensor2 * value


@public(saves=(1, 2), wide=True)
def addcdiv(a: Expr, tensor1: Expr, tensor2: Expr, *, value: Any = 1) -> Expr:
    """a + value · tensor1 / tensor2."""
    return a + tensor1 / tensor2 * value


@public(saves=("cross",), wide=True)
def addmm(a: Expr, mat1: Expr, mat2: Expr, *, beta: Any = 1, alpha: Any = 1) -> Expr:
    """β a + α mat1 mat2."""
    made = mat1 @ mat2
    return (a * beta if beta != 1 else a) + (made * alpha if alpha != 1 else made)


@public(grad_fn="NanToNumBackward0")
def nan_to_num(
    a: Expr, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Expr:
    """NaN and infinities replaced by numbers."""
    if not a.dtype.differentiable:
        return a
    high = constant(_top(a.dtype) if posinf is None else posinf, a.dtype)
    low = constant(-_top(a.dtype) if neginf is None else neginf, a.dtype)
    found = choose(apply("isnan", a), constant(nan, a.dtype), a)
    zero = constant(0, a.dtype)
    infinite = apply("isinf", a)
    over = apply("logical_and", infinite, apply("gt", a, zero))
    under = apply("logical_and", infinite, apply("lt", a, zero))
    return choose(over, high, choose(under, low, found))


def _top(dtype: DType) -> float:
    return {"float16": 65504.0, "bfloat16": 3.3895313892515355e38,
            "float64": 1.7976931348623157e308}.get(dtype.name, 3.4028234663852886e38)  # fmt: skip


@public(saves=(0,), wide=True, real=True)
def logit(a: Expr, eps: float | None = None) -> Expr:
    """log(a / (1 − a)); ``eps`` keeps a between eps and 1 − eps."""
    a = floating(a)
    if eps is not None:
        a = clamp(a, eps, 1 - eps)
    return apply("log", a / (1 - a))


@public(saves=(0,), real=True)
def deg2rad(a: Expr) -> Expr:
    """Degrees as radians."""
    return floating(a) * (math.pi / 180)


@public(saves=(0,), real=True)
def rad2deg(a: Expr) -> Expr:
    """Radians as degrees."""
    return floating(a) * (180 / math.pi)


@public()
def fmod(a: Any, b: Any) -> Expr:
    """The remainder with the sign of a."""
    return apply("fmod", *promoted(a, b))


@public(grad_fn="HeavisideBackward0")
def heaviside(a: Expr, values: Expr) -> Expr:
    """0 below zero, 1 above, ``values`` at zero."""
    a, values = promoted(a, values)
    zero = constant(0, a.dtype)
    step = cast(apply("gt", a, zero), a.dtype)
    return choose(apply("eq", a, zero), values, step)


@public()
def isclose(
    a: Expr, b: Expr, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Expr:
    """|a − b| ≤ atol + rtol |b|."""
    a, b = promoted(a, b, at_least_float=True)
    near = apply("le", magnitude(a - b), magnitude(b) * rtol + atol)
    near = apply("logical_or", near, apply("eq", a, b))
    if equal_nan:
        near = apply("logical_or", near, apply("logical_and", apply("isnan", a),
                                               apply("isnan", b)))  # fmt: skip
    return near


@public(saves=("cross",))
def inner(a: Expr, b: Expr) -> Expr:
    """Σ over the last axes of both."""
    if not a.ndim or not b.ndim:
        return a * b
    last = permute_axes(b, [b.ndim - 1, *range(b.ndim - 1)])
    flat = structure.reshape(last, (b.shape[-1], -1)) if b.ndim > 1 else b
    found = a @ flat
    return structure.reshape(found, (*a.shape[:-1], *b.shape[:-1])) if b.ndim > 2 else found


@public(saves=("cross",))
def vdot(a: Expr, b: Expr) -> Expr:
    """Σ a* b of two vectors."""
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    return conj(a) @ b
