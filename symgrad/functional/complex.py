"""Complex numbers under PyTorch's names: parts, conjugates, and from pairs of real numbers."""

from __future__ import annotations

import math

from symgrad.core import dtypes
from symgrad.core.build import broadcast_shapes, broadcast_to, constant, product, zeros
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.arrange import stack
from symgrad.functional.indexing import select
from symgrad.functional.promotion import floating
from symgrad.functional.table import public
from symgrad.ops.complex import conj as conjugate
from symgrad.ops.complex import joined
from symgrad.ops.elementwise import where as choose

PARTS = (dtypes.float32, dtypes.float64)
WORDS = {"float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double",
         "int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte",
         "bool": "Bool", "complex64": "ComplexFloat", "complex128": "ComplexDouble"}  # fmt: skip


@public(grad_fn="SelectBackward0", method=False, view=lambda v: v.real)
def real(a: Expr) -> Expr:
    """Re a; a real tensor itself."""
    return apply("real", a) if a.dtype.is_complex else a


@public(
    grad_fn="SelectBackward0",
    method=False,
    view=lambda v: v.imag if v.dtype.kind == "c" else v,
)
def imag(a: Expr) -> Expr:
    """Im a of a complex tensor."""
    if not a.dtype.is_complex:
        raise DTypeError("imag is not implemented for tensors with non-complex dtypes.")
    return apply("imag", a)


@public()
def conj(a: Expr) -> Expr:
    """The complex conjugate; a real tensor itself."""
    return conjugate(a)


@public()
def conj_physical(a: Expr) -> Expr:
    """The complex conjugate."""
    return conjugate(a)


@public(grad_fn="CloneBackward0")
def resolve_conj(a: Expr) -> Expr:
    """``a``: a conjugate is computed, not marked."""
    return a


@public(grad_fn="CloneBackward0")
def resolve_neg(a: Expr) -> Expr:
    """``a``: a negative is computed, not marked."""
    return a


@public()
def angle(a: Expr) -> Expr:
    """The argument of a complex number, in (−π, π]; of a real one 0 or π."""
    if a.dtype.is_complex:
        return apply("angle", a)
    a = floating(a)
    turned = choose(apply("lt", a, constant(0, a.dtype)), constant(math.pi, a.dtype), a * 0)
    return choose(apply("isnan", a), a, turned)


@public(saves=("result",))
def sgn(a: Expr) -> Expr:
    """a / |a|, 0 at 0: of a real number −1, 0 or 1."""
    if a.dtype.is_complex:
        return apply("sgn", a)
    return a if a.dtype.kind == "b" else apply("sign", a)


@public("complex", method=False)
def complex_(real: Expr, imag: Expr) -> Expr:
    """real + i imag."""
    _check_parts(real, imag)
    shape = broadcast_shapes([real.shape, imag.shape], (real, imag))
    return joined(broadcast_to(real, shape), broadcast_to(imag, shape))


@public(method=False)
def polar(abs: Expr, angle: Expr) -> Expr:
    """abs · exp(i angle)."""
    _check_parts(abs, angle)
    return complex_(product(abs, apply("cos", angle)), product(abs, apply("sin", angle)))


def _check_parts(first: Expr, second: Expr) -> None:
    words = [WORDS[e.dtype.name] for e in (first, second)]
    if first.dtype not in PARTS or second.dtype not in PARTS:
        raise DTypeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {words[0]} and "
            f"{words[1]}"
        )
    if first.dtype is not second.dtype:
        raise DTypeError(
            f"Expected object of scalar type {words[0]} but got scalar type {words[1]} for second "
            "argument"
        )


@public(method=False)
def view_as_real(a: Expr) -> Expr:
    """``(…)`` complex as ``(…, 2)`` real: the two parts in a last axis."""
    if not a.dtype.is_complex:
        raise DTypeError("view_as_real is only supported for complex tensors")
    return stack((apply("real", a), apply("imag", a)), -1)


@public(method=False)
def view_as_complex(a: Expr) -> Expr:
    """``(…, 2)`` real as ``(…)`` complex."""
    if a.dtype not in PARTS:
        raise DTypeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {WORDS[a.dtype.name]}"
        )
    if not a.shape or a.shape[-1] != 2:
        raise ShapeError("Tensor must have a last dimension of size 2")
    return joined(select(a, -1, 0), select(a, -1, 1))


@public()
def isreal(a: Expr) -> Expr:
    """Is the imaginary part 0?"""
    if not a.dtype.is_complex:
        return constant(1, dtypes.bool_, a.shape)
    part = apply("imag", a)
    return apply("eq", part, zeros((), part.dtype))
