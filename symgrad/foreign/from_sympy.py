"""A scalar SymPy expression as an expression of ours, function by function; nothing is evaluated.

Every function of SymPy that has a counterpart stands in one table; any other is an error that names
it.  SymPy is imported when the first expression arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache, partial, reduce
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.core.build import (
    ONE,
    aligned,
    broadcast_shapes,
    constant,
    elementwise,
    linear,
    power,
    product,
    scale,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.kinds import heard
from symgrad.errors import NotationError
from symgrad.ops.elementwise import indicator, where

sympy = lazy("sympy")

Row = Callable[..., Expr]


def _of(name: str) -> Row:
    return partial(elementwise, name)


def _fold(name: str) -> Row:
    return lambda *parts: reduce(_of(name), parts)


def _total(*parts: Expr) -> Expr:
    shape = broadcast_shapes([p.shape for p in parts], parts)
    node = linear([(ONE, p, aligned(p, shape)) for p in parts], shape, parts[0].dtype)
    return heard(node, *parts)


def _reciprocal(name: str) -> Row:
    return lambda x: power(elementwise(name, x), -1)


def _step(x: Expr, at_zero: Expr) -> Expr:
    zero = constant(0, x.dtype)
    positive = indicator(elementwise("gt", x, zero), x.dtype)
    return where(elementwise("eq", x, zero), at_zero, positive)


def _sinc(x: Expr) -> Expr:
    """sin(x)/x, where x ≠ 0; the derivative sees a quotient that is never 0/0."""
    at_zero = elementwise("eq", x, constant(0, x.dtype))
    one = constant(1, x.dtype)
    safe = where(at_zero, one, x)
    return where(at_zero, one, elementwise("sin", safe) / safe)


def _gamma(x: Expr) -> Expr:
    """Γ(x): below 0 its sign changes at every whole number."""
    floor = elementwise("floor", x)
    two = constant(2, x.dtype)
    below = constant(1, x.dtype) - scale(2, elementwise("remainder", floor, two))
    positive = elementwise("gt", x, constant(0, x.dtype))
    sign = where(positive, constant(1, x.dtype), below)
    return product(sign, elementwise("exp", elementwise("lgamma", x)))


_SAME = (
    "exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv floor sign"
)
ROWS: dict[str, Row] = {
    **{word: _of(word) for word in _SAME.split()},
    "Add": _total,
    "Mul": product,
    "Abs": _of("abs"),
    "ceiling": _of("ceil"),
    "atan2": _of("atan2"),
    "loggamma": _of("lgamma"),
    "gamma": _gamma,
    "factorial": lambda x: _gamma(x + constant(1, x.dtype)),
    "Mod": _of("remainder"),
    "Max": _fold("maximum"),
    "Min": _fold("minimum"),
    "sec": _reciprocal("cos"),
    "csc": _reciprocal("sin"),
    "cot": _reciprocal("tan"),
    "sech": _reciprocal("cosh"),
    "csch": _reciprocal("sinh"),
    "coth": _reciprocal("tanh"),
    "Heaviside": _step,
    "sinc": _sinc,
    "StrictGreaterThan": _of("gt"),
    "GreaterThan": _of("ge"),
    "StrictLessThan": _of("lt"),
    "LessThan": _of("le"),
    "Equality": _of("eq"),
    "Unequality": _of("ne"),
    "And": _fold("logical_and"),
    "Or": _fold("logical_or"),
    "Xor": _fold("logical_xor"),
    "Not": _of("logical_not"),
}
"""SymPy's class → what it is here; Pow, polygamma and Piecewise, which read their parts, are below."""


@lru_cache(maxsize=1)
def _rows() -> dict[Any, Row]:
    """By SymPy's own classes: a function of a user that is only called ``exp`` is not among them."""
    return {getattr(sympy, word): row for word, row in ROWS.items()}


def from_sympy(expr: Any, values: Mapping[Any, Expr], dtype: DType, asked: str) -> Expr:
    """``expr`` with ``values`` for its symbols, all of one shape and of ``dtype``.

    ``asked`` restates the user's call in errors.  Raises NotationError for a function of SymPy that
    has no counterpart, and for a number that is not real and finite.
    """
    done: dict[Any, Any] = dict(values)
    stack = [expr]
    while stack:
        node = stack[-1]
        below = [] if _is_number(node) else [a for a in node.args if a not in done]
        if node in done:
            stack.pop()
        elif below:
            check_known(node, asked)
            stack += below
        else:
            done[stack.pop()] = converted(node, done, dtype, asked)
    return done[expr]


def check_known(node: Any, asked: str) -> None:
    special = isinstance(node, (sympy.Pow, sympy.Piecewise, branch_class()))
    orders = isinstance(node, sympy.polygamma) and node.args[0].is_Integer
    if special or orders or node.func in _rows():
        return
    raise NotationError(
        f"SymPy's {node.func.__name__} has no counterpart here, in {_short(node)}.",
        f"Rewrite the expression with {', '.join(_known())}; or, where JAX has the function, "
        "bring that in with sg.jax_function.",
        asked,
    )


def branch_class() -> Any:
    """SymPy's class of a value with its condition, of which Piecewise is made."""
    return sympy.functions.elementary.piecewise.ExprCondPair


def _is_number(node: Any) -> bool:
    return isinstance(node, sympy.Expr) and not node.free_symbols


def converted(node: Any, done: Mapping[Any, Any], dtype: DType, asked: str) -> Any:
    if node in (sympy.true, sympy.false):
        zero = constant(0, dtype)
        return elementwise("eq" if node == sympy.true else "ne", zero, zero)
    if isinstance(node, branch_class()):
        return done[node.args[0]], done[node.args[1]]
    if _is_number(node):
        return constant(_number(node, asked), dtype)
    parts = [done[a] for a in _as_printed(node)]
    if isinstance(node, sympy.Pow):
        exponent = node.args[1]
        if exponent.free_symbols:
            return elementwise("pow", *parts)
        return power(parts[0], _number(exponent, asked))
    if isinstance(node, sympy.polygamma) and node.args[0].is_Integer:
        return elementwise("polygamma", parts[1], statics=(int(node.args[0]),))
    if isinstance(node, sympy.Piecewise):
        return _piecewise(node, parts, asked)
    check_known(node, asked)
    return _rows()[node.func](*parts)


def _as_printed(node: Any) -> tuple[Any, ...]:
    """The arguments, those of sums and products in the order in which SymPy prints them."""
    ordered: tuple[Any, ...] = ()
    if isinstance(node, sympy.Add):
        ordered = tuple(node.as_ordered_terms())
    elif isinstance(node, sympy.Mul):
        ordered = tuple(node.as_ordered_factors())
    return ordered if sorted(ordered, key=hash) == sorted(node.args, key=hash) else node.args


def _piecewise(node: Any, parts: list[Any], asked: str) -> Expr:
    """The last branch must hold everywhere: SymPy gives NaN beyond it, silently."""
    if node.args[-1].cond != sympy.true:
        raise NotationError(
            f"{_short(node)} has no value where none of its conditions holds.",
            "End Piecewise with a branch (value, True).",
            asked,
        )
    value = parts[-1][0]
    for branch, condition in reversed(parts[:-1]):
        value = where(condition, branch, value)
    return value


def _number(node: Any, asked: str) -> Fraction | float:
    """A number without symbols: whole and rational ones exactly."""
    if node.is_Rational:
        return Fraction(int(node.p), int(node.q))
    if node.is_extended_real and node.is_finite:
        return float(node.evalf(20))
    raise NotationError(
        f"the number {_short(node)} is not real and finite.",
        "Elementwise functions are functions of real numbers here.",
        asked,
    )


def _known() -> list[str]:
    return sorted([*ROWS, "Pow", "polygamma", "Piecewise"], key=str.lower)


def _short(node: Any) -> str:
    text = str(node)
    return text if len(text) <= 60 else text[:59] + "…"


__all__ = ["ROWS", "from_sympy"]
