"""Functions of whole numbers bit by bit, common divisors and signs."""

from __future__ import annotations

from typing import Any

from symgrad.core.build import broadcast_to, cast, constant
from symgrad.core.build import elementwise as apply
from symgrad.core.expr import Expr
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.promotion import promoted
from symgrad.functional.table import public
from symgrad.ops.elementwise import where as choose


def _whole(name: str, kinds: str, *operands: Any) -> list[Expr]:
    """The operands in their common dtype, which is of one of these kinds."""
    made = promoted(*operands)
    if made[0].dtype.kind not in kinds:
        raise DTypeError(
            f'"{name}" not implemented for {made[0].dtype}: bits are those of integers',
            "Cast first, for example with .long().",
        )
    return made


def _bitwise(op: str) -> Any:
    def build(a: Any, b: Any) -> Expr:
        a, b = _whole(op, "biu", a, b)
        logic = op.replace("bitwise", "logical")
        return apply(logic if a.dtype.kind == "b" else op, a, b)

    build.__doc__ = f"{op} of whole numbers; of truth values the logical one."
    return build


for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    public(_name)(_bitwise(_name))


@public()
def bitwise_not(a: Expr) -> Expr:
    """Every bit turned: −a − 1 of a signed number; of truth values not a."""
    (a,) = _whole("bitwise_not", "biu", a)
    return apply("logical_not" if a.dtype.kind == "b" else "bitwise_not", a)


for _name, _op, _text in (
    ("bitwise_left_shift", "left_shift", "a · 2ᵇ, bits beyond the width are lost."),
    ("bitwise_right_shift", "right_shift", "⌊a / 2ᵇ⌋."),
    ("gcd", "gcd", "The greatest common divisor, not negative."),
    ("lcm", "lcm", "The least common multiple, not negative."),
):

    def _numbers(a: Any, b: Any, _op: str = _op) -> Expr:
        return apply(_op, *_whole(_op, "iu", a, b))

    _numbers.__doc__ = _text
    public(_name)(_numbers)


@public()
def signbit(a: Expr) -> Expr:
    """Is the sign negative?  True of −0.0 too."""
    return constant(0, a.dtype, a.shape) if a.dtype.kind == "b" else apply("signbit", a)


@public(saves=(0, 1))
def copysign(a: Any, b: Any) -> Expr:
    """|a| with the sign of b."""
    a, b = promoted(a, b, at_least_float=True)
    size = apply("abs", a)
    return choose(apply("signbit", b), -size, size)


@public(grad_fn="FillBackward0")
def fill(a: Expr, value: Any) -> Expr:
    """``value``, a number or a tensor without axes, everywhere."""
    if not isinstance(value, Expr):
        return constant(value, a.dtype, a.shape)
    if value.ndim:
        raise ShapeError(
            "fill only supports 0-dimension value tensor but got tensor with "
            f"{value.ndim} dimensions."
        )
    return broadcast_to(cast(value, a.dtype), a.shape)


for _name, _node in (("filled", "FillBackward2"), ("filled_with", "FillBackward3"),
                     ("zeroed", "ZeroBackward0")):  # fmt: skip
    public(_name, grad_fn=_node, part=True)(fill)  # what fill_ and zero_ note down
