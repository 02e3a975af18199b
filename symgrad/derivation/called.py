"""Calls with parameters: ``word(arguments; parameters)``, the form of what has no sign of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.numbers import number_text
from symgrad.core.op import Op
from symgrad.core.sizes import Monomial, Shape, monomial
from symgrad.derivation.notation import Form, call, product
from symgrad.ops.convolution import Window, window


def parameter(value: Any) -> str:
    """A static parameter as text that a reader can read: ``−1``, ``2 n``, ``(3, all)``."""
    done: list[str] = []
    stack: list[Any] = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, str) and part.startswith("\0"):
            done.append(part[1:])
        elif isinstance(part, Window):
            rows = (part.strides, part.padding, part.base, part.dilation)
            stack += ["\0)", *_joined(rows), "\0window("]
        elif isinstance(part, (tuple, list)):
            stack += ["\0)", *_joined(part), "\0("]
        else:
            done.append(_atom(part))
    return "".join(done)


def _joined(parts: Sequence[Any]) -> list[Any]:
    row: list[Any] = []
    for p in parts:
        row += ["\0, ", p] if row else [p]
    if len(parts) == 1:
        row.append("\0,")
    return row[::-1]


def _atom(part: Any) -> str:
    if part is None:
        return "all"
    if isinstance(part, bool):
        return "true" if part else "false"
    if isinstance(part, Monomial):  # n² as n n, for a reader of parameters
        whole = all(p.denominator == 1 and p > 0 for _, p in part.powers)
        letters = [x for x, p in part.powers for _ in range(int(p))]
        return " ".join([str(part.number)] * (part.number != 1) + letters) if whole else str(part)
    if isinstance(part, (int, float, Fraction)):
        return number_text(part).replace("-", "−")
    return part.name if isinstance(part, DType) else str(part)


def called(e: Expr, parts: Sequence[Form]) -> Form:
    """``word(arguments; parameters)``: the last resort, which says all there is to say."""
    if e.op.name == "reshape" and e.ndim == 1 and e.args[0].ndim > 1:
        return call("vec", *parts)
    if len(parts) == len(e.args):
        parts = [of_shape(p, a.shape) for p, a in zip(parts, e.args, strict=True)]
    plain = DEFAULTS.get(e.op.name)
    usual = (-1,) if e.op.family == "axis" else plain and plain(e.args[0].ndim)
    told = () if e.params == usual else e.params
    if e.op.name in SIDE_BY_SIDE and e.params == side_by_side(e.params[0]):
        told = e.params[:1]
    given = tuple(Form("parameter", (), parameter(p)) for p in told)
    return Form("call", (*parts, *given), word_of(e.op))


def of_shape(form: Form, shape: Shape) -> Form:
    """A number that stands alone as an argument, with its shape: ``zeros(n)``, ``2 ones(n)``."""
    if form.kind != "number" or not shape:
        return form
    sizes = [Form("number", (), monomial(s)) for s in shape]
    return call("zeros", *sizes) if form.data.is_zero else product([form, call("ones", *sizes)])


SIDE_BY_SIDE = ("window_max", "window_argmax")
"""Operations that tell the lengths of their windows alone where these stand side by side."""


def side_by_side(lengths: Shape) -> tuple[Shape, Window]:
    """Windows that neither overlap nor leave gaps."""
    return lengths, window(len(lengths), strides=lengths)


def word_of(op: Op) -> str:
    """The word of an operation in a call."""
    return op.text or op.name


DEFAULTS: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "convolution": lambda rank: (window(rank - 2), 1),
    "tril": lambda rank: (0,),
    "triu": lambda rank: (0,),
    "fft": lambda rank: ((-1,),),
    "ifft": lambda rank: ((-1,),),
    "rfft": lambda rank: ((-1,),),
}
"""Parameters that a call need not tell, by the rank of the first argument."""


__all__ = ["DEFAULTS", "SIDE_BY_SIDE", "called", "of_shape", "parameter", "side_by_side", "word_of"]
