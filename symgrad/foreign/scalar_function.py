"""``sg.scalar_function``: a new elementwise operation from one SymPy expression.

The expression becomes one of ours, is stabilised, and is differentiated by our rules, because
SymPy's own derivatives overflow (that of mish is NaN at 800).  Formulas show the operation and its
derivatives by name; what runs are their bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.autodiff import pull_back
from symgrad.core import dtypes
from symgrad.core.build import (
    apply_map,
    broadcast_to,
    constant_value,
    elementwise,
    listening,
    ones,
    zeros,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, one_line, symbol
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape
from symgrad.core.traverse import substitute
from symgrad.derivation.ascii import to_ascii
from symgrad.derivation.formula import Formula, function_formula
from symgrad.derivation.notation import subscript
from symgrad.derivation.order import Written
from symgrad.derivation.stream import fits_stdout
from symgrad.foreign.from_sympy import from_sympy
from symgrad.functional.promotion import promoted
from symgrad.functional.table import Function
from symgrad.simplify import GROUPS, rewrite
from symgrad.tensors.calls import call
from symgrad.tensors.tensor import Tensor

sympy = lazy("sympy")

WORDS = frozenset({"diag", "onehot", "pow", "tr", "I"})
"""Functions of formulas that are no operation's own text."""
Body = tuple[tuple[Expr, ...], Expr]
"""Symbols of one shape, and the function of them."""


class ScalarFunction:
    """An elementwise function of tensors, declared by :func:`scalar_function`.

    Call it on tensors of shapes that broadcast; integers become floating point.  ``formula()`` is
    its formula, ``derivative(k)`` the ScalarFunction of its derivative by argument k.
    """

    def __init__(
        self, name: str, expr: Any, variables: tuple[Any, ...], index: tuple[int, ...] = ()
    ) -> None:
        self.name = name + _marks(index, len(variables))
        self._plain, self._expr, self._variables, self._index = name, expr, variables, index
        self.body = lru_cache(maxsize=64)(self._made)
        self._written = self._parent._written if index else Written()
        digest = self.body((), dtypes.float64)[1].digest.hex()
        self.op = Op(
            f"{self.name} {digest}", "map", derivative=self._partials, body=self._applied,
            text=self.name, build=lambda args, params: apply_map(self.op, args, *params),
        )  # fmt: skip
        # It belongs to the user, not to the table of operations that tests walk through.
        del OPS[self.op.name]
        self._row = Function(self.name, self._called, f"{self.name}Backward0", ())

    def _made(self, shape: Shape, dtype: DType) -> Body:
        """The function over symbols of a shape and dtype: stabilised, in ops that have templates."""
        written = Written() if shape else self._written  # formulas are those of numbers
        if self._index:
            symbols, whole = self._parent.body(shape, dtype)
            (found,) = pull_back({whole: ones(shape, dtype)}, [symbols[self._index[-1]]])
            made = zeros(shape, dtype) if found is None else found
        else:
            symbols = tuple(
                symbol(str(v), shape, dtype, number=-20 - k) for k, v in enumerate(self._variables)
            )
            table = dict(zip(self._variables, symbols, strict=True))
            with listening(written.note):
                made = from_sympy(self._expr, table, dtype, f"scalar_function({self._plain!r})")
            made = broadcast_to(made, shape)
        (made,), _ = rewrite([made], GROUPS, written.carry)
        return symbols, made

    @property
    def _parent(self) -> ScalarFunction:
        return _declared(self._plain, self._expr, self._variables, self._index[:-1])

    def derivative(self, argument: int = 0) -> ScalarFunction:
        """The derivative by one argument, counted from 0: an elementwise function as well."""
        if not 0 <= argument < len(self._variables):
            raise IndexError(
                f"{self.name}.derivative({argument}): {self.name} has {len(self._variables)} "
                "arguments, counted from 0"
            )
        index = tuple(sorted((*self._index, argument)))
        return _declared(self._plain, self._expr, self._variables, index)

    def formula(self) -> Formula:
        """What it computes; an inner expression that occurs twice is named after "where"."""
        return function_formula(self.body((), dtypes.float64)[1], self._written)

    def __call__(self, *args: Any) -> Tensor:
        """The function of tensors and numbers whose shapes broadcast."""
        if len(args) != len(self._variables):
            raise TypeError(
                f"{self.name} takes {len(self._variables)} arguments "
                f"({', '.join(map(str, self._variables))}), not {len(args)}"
            )
        return call(self._row, args, {})

    def __repr__(self) -> str:
        left = f"{self.name}({', '.join(one_line(str(v)) for v in self._variables)})"
        text = f"{left} = {self.formula().unicode}"
        return text if fits_stdout(text) else to_ascii(text)

    def _called(self, *args: Any) -> Expr:
        return elementwise(self.op, *promoted(*args, at_least_float=True))

    def _applied(self, args: tuple[Expr, ...]) -> Expr:
        symbols, whole = self.body(args[0].shape, args[0].dtype)
        return substitute([whole], dict(zip(symbols, args, strict=True)))[0]

    def _partials(self, *values: Expr) -> tuple[Expr, ...]:
        """One partial per argument: by name, or its body where that is a number."""
        args = values[: len(self._variables)]
        found: list[Expr] = []
        for k in range(len(args)):
            part = self.derivative(k)
            plain = constant_value(part.body(args[0].shape, args[0].dtype)[1]) is not None
            found.append(part._applied(args) if plain else elementwise(part.op, *args))
        return tuple(found)


def _marks(index: tuple[int, ...], arity: int) -> str:
    """f′ f′′ of one argument; f′₁ f′′₁₂ of several."""
    places = "".join(subscript(k + 1) for k in index) if arity > 1 else ""
    return "′" * len(index) + places


@lru_cache(maxsize=1024)
def _declared(
    name: str, expr: Any, variables: tuple[Any, ...], index: tuple[int, ...] = ()
) -> ScalarFunction:
    """Equal declarations are one function."""
    return ScalarFunction(name, expr, variables, index)


def scalar_function(name: str, expr: Any, variables: Sequence[Any] | None = None) -> ScalarFunction:
    """A new elementwise function of tensors from a SymPy expression.

    **Arguments:** ``name``: as formulas show it; ``expr``: a SymPy expression; ``variables``: its
    symbols in the order of the arguments (by default: in the order of their names).

    Derivatives of every order print as ``name′`` and are computed by stable formulas.  Raises
    TypeError for an expression that is not SymPy's, NotationError for a function of SymPy without a
    counterpart.

    >>> import sympy
    >>> x = sympy.Symbol("x")
    >>> swish = scalar_function("swish", x / (1 + sympy.exp(-x)))
    >>> swish
    swish(x) = x σ(x)
    >>> swish.derivative()
    swish′(x) = σ(x) + x σ(x) (1 − σ(x))
    """
    asked = f"scalar_function({name!r})"
    if not isinstance(name, str) or not one_line(name).strip():
        raise TypeError(f"scalar_function({name!r}, …): the name is a text that formulas can show")
    if isinstance(expr, str):
        raise TypeError(
            f"{asked}: the expression is text, and text is never evaluated. Build it with SymPy: "
            'x = sympy.Symbol("x"), then an expression such as x / (1 + sympy.exp(-x)).'
        )
    if not isinstance(expr, sympy.Expr):
        raise TypeError(
            f"{asked}: the expression is a {type(expr).__name__}; give a scalar expression of SymPy"
        )
    word = one_line(name).strip()[:60]
    if word in WORDS or any(word == op.text for op in OPS.values()):
        raise ValueError(
            f"{asked}: formulas write {word} for a function of their own; choose another"
        )
    free = sorted(expr.free_symbols, key=str)
    order = tuple(free if variables is None else variables)
    if set(order) < set(free) or len(set(order)) != len(order) or not order:
        listed = ", ".join(map(str, free))
        raise TypeError(
            f"{asked}: the expression has "
            + (f"the symbols {listed}; name each once in variables" if free else "no symbol")
        )
    return _declared(word, expr, order)
