"""The table of public functions as functions and methods of tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from symgrad.core.sizes import Monomial
from symgrad.functional.ranges import names_of
from symgrad.functional.table import FUNCTIONS, Function
from symgrad.tensors.keywords import ordered, understood, written
from symgrad.tensors.ranges import ranged
from symgrad.tensors.tensor import Tensor, as_operand, call
from symgrad.tensors.views import view_of

ALIASES = {
    "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div",
    "negative": "neg", "absolute": "abs", "clip": "clamp", "greater": "gt", "less": "lt",
    "concat": "cat", "swapaxes": "transpose", "arcsin": "asin", "arccos": "acos",
    "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "fix": "trunc", "greater_equal": "ge", "less_equal": "le",
    "not_equal": "ne", "swapdims": "transpose", "moveaxis": "movedim",
}  # fmt: skip


def _spelled(
    row: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as the composition calls them; those of a view by place, for NumPy."""
    names = names_of(row.name)
    args, kwargs = understood(names, args, kwargs)
    return (args if row.view is None else ordered(names, args, kwargs)), kwargs


def function_of(row: Function) -> Callable[..., Any]:
    """The public function of a row."""
    record = ranged(row, call)

    def run(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            if "out" in kwargs:
                return written(kwargs.pop("out"), run(*args, **kwargs))
            args, kwargs = _spelled(row, args, kwargs)
        if row.view is not None and args and isinstance(args[0], Tensor):
            return view_of(row, args[0], args[1:], kwargs)
        return record(row, args, kwargs)

    run.__name__ = run.__qualname__ = row.name
    run.__doc__ = row.build.__doc__
    run.__wrapped__ = row.build  # type: ignore[attr-defined]  # its signature, when asked for
    run.__module__ = "symgrad"
    return run


def _method_of(row: Function) -> Callable[..., Any]:
    record = ranged(row, call)

    def run(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            (self, *rest), kwargs = _spelled(row, (self, *args), kwargs)
            args = tuple(rest)
        if row.view is not None:
            return view_of(row, self, args, kwargs)
        return record(row, (self, *args), kwargs)

    run.__name__ = row.name
    run.__doc__ = row.build.__doc__
    return run


def _binary(name: str, swapped: bool = False) -> Callable[..., Any]:
    row = FUNCTIONS[name]

    def run(self: Tensor, other: Any) -> Any:
        if not isinstance(other, (Tensor, int, float)):
            other = other.item() if isinstance(other, np.generic) else as_operand(other)
            if not isinstance(other, (Tensor, int, float, complex, Monomial)):
                return NotImplemented
        return call(row, (other, self) if swapped else (self, other), {})

    return run


def _overwriting(row: Function) -> Function:
    """The row whose first operand is overwritten: its old value is kept, and needs no check."""
    saves = tuple("other" if s == "cross" else s for s in row.saves if s != 0)
    return row if saves == row.saves else replace(row, saves=saves or ("freed",))


def _in_place(row: Function) -> Callable[..., Any]:
    made = _method_of(_overwriting(row))

    def run(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._set(made(self, *args, **kwargs))

    run.__name__ = f"{row.name}_"
    run.__doc__ = f"{row.name} in place."
    return run


def _augmented(name: str) -> Callable[..., Any]:
    row = _overwriting(FUNCTIONS[name])

    def run(self: Tensor, other: Any) -> Any:
        return self._set(call(row, (self, as_operand(other)), {}))

    return run


OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "matmul": "matmul", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}  # fmt: skip
COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne")
IN_PLACE = (
    "add", "sub", "mul", "div", "pow", "clamp", "exp", "sqrt", "neg", "abs", "relu", "sigmoid",
    "tanh", "masked_fill", "floor", "round", "cumsum", "cumprod", "tril", "triu",
    "floor_divide", "remainder", "fmod", "log", "log1p", "log2", "log10", "exp2", "expm1",
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh",
    "atanh", "erf", "erfc", "erfinv", "lgamma", "digamma", "rsqrt", "reciprocal", "square",
    "sign", "sgn", "ceil", "trunc", "frac", "clamp_min", "clamp_max", "gt", "ge", "lt", "le",
    "eq", "ne", "logical_and", "logical_or", "logical_xor", "logical_not", "scatter",
    "scatter_add", "index_add", "index_fill", "addmm", "addmv", "addr", "addbmm", "baddbmm",
    "addcmul", "addcdiv", "hypot", "lerp", "nan_to_num", "logit", "deg2rad", "rad2deg",
    "heaviside", "xlogy", "sinc", "float_power", "ldexp", "i0", "bitwise_and", "bitwise_or",
    "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm",
    "copysign", "masked_scatter",
)  # fmt: skip
"""Functions that PyTorch has with a trailing underscore too; those of aliases follow."""

PARTS = ("real", "imag")
"""Functions that are attributes of a tensor."""
CASTS = {"float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16",
         "long": "int64", "int": "int32", "short": "int16", "char": "int8", "byte": "uint8",
         "bool": "bool", "cfloat": "complex64", "cdouble": "complex128"}  # fmt: skip


def install() -> dict[str, Callable[..., Any]]:
    """Give Tensor its methods and operators; return the public functions by name."""
    functions: dict[str, Callable[..., Any]] = {}
    for name, row in FUNCTIONS.items():
        if row.part:
            continue
        functions[name] = function_of(row)
        if row.method and not hasattr(Tensor, name):
            setattr(Tensor, name, _method_of(row))
    for alias, name in ALIASES.items():
        if name in functions:
            functions[alias] = functions[name]
            if hasattr(Tensor, name) and not hasattr(Tensor, alias):
                setattr(Tensor, alias, getattr(Tensor, name))
    for word, name in OPERATORS.items():
        if name in FUNCTIONS:
            setattr(Tensor, f"__{word}__", _binary(name))
            setattr(Tensor, f"__r{word}__", _binary(name, swapped=True))
            setattr(Tensor, f"__i{word}__", _augmented(name))
    Tensor.__rdiv__ = Tensor.__rtruediv__  # type: ignore[attr-defined]
    for name in COMPARISONS:
        setattr(Tensor, f"__{name}__", _binary(name))
    for name in IN_PLACE:
        setattr(Tensor, f"{name}_", _in_place(FUNCTIONS[name]))
    for alias, name in ALIASES.items():
        if name in IN_PLACE:
            setattr(Tensor, f"{alias}_", getattr(Tensor, f"{name}_"))
    Tensor.__pos__ = lambda self: self  # type: ignore[attr-defined]
    Tensor.__neg__ = _method_of(FUNCTIONS["neg"])  # type: ignore[attr-defined]
    Tensor.__abs__ = _method_of(FUNCTIONS["abs"])  # type: ignore[attr-defined]
    Tensor.__invert__ = _method_of(FUNCTIONS["bitwise_not"])  # type: ignore[attr-defined]
    for name in PARTS:
        setattr(Tensor, name, property(_part(name), _part_setter(name)))
    for word, name in CASTS.items():
        setattr(Tensor, word, functools.partialmethod(_cast_to, name))
    return functions


def _part(name: str) -> Callable[[Tensor], Any]:
    read = _method_of(FUNCTIONS[name])
    return lambda self: self if name == "real" and not self.dtype.is_complex else read(self)


def _part_setter(name: str) -> Callable[[Tensor, Any], None]:
    def write(self: Tensor, new: Any) -> None:
        parts = {"real": self.real, "imag": self.imag, name: new}
        self.copy_(call(FUNCTIONS["complex"], (parts["real"], parts["imag"]), {}))

    return write


def _cast_to(self: Tensor, name: str, memory_format: Any = None) -> Tensor:
    del memory_format  # tensors have one layout
    return self.to(CAST_DTYPES[name])


CAST_DTYPES: dict[str, Any] = {}
