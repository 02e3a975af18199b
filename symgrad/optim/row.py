"""An update rule as a row: names of the state, hyper-parameters, and one equation.

The equation is written once, in the operators that ``Expr`` and Python's numbers share.  So the
same row prints as a formula, is lowered to JAX or NumPy source, is fused into a training step and
drives the stateful optimizer.

A row has two layers.  ``scalars(hyper, step)`` makes the few numbers that all parameters share
(``1 − β₁ᵗ``, …): on the host in double precision when it is given numbers, inside the program when
it is given expressions.  ``equation(param, grad, state, s, hyper)`` uses them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from symgrad.core import dtypes
from symgrad.core.build import cast, constant, elementwise, power
from symgrad.core.dtypes import DType, real_of
from symgrad.core.expr import Expr
from symgrad.core.sizes import Shape
from symgrad.functional.complex import view_as_complex, view_as_real
from symgrad.ops.elementwise import where

Scalar: TypeAlias = "float | Expr"
Hyper: TypeAlias = Mapping[str, Any]
State: TypeAlias = Mapping[str, Expr]
Scalars: TypeAlias = Mapping[str, Any]
Updated: TypeAlias = tuple[Expr, dict[str, Expr]]
Equation: TypeAlias = Callable[[Expr, Expr, State, Scalars, Hyper], Updated]


def scalar(shape: Shape) -> Shape:
    """The shape of a slot that is one number per parameter."""
    del shape
    return ()


@dataclass(frozen=True)
class Slot:
    """One tensor of the state of one parameter.

    ``initial`` is a number or the name of the hyper-parameter that gives it; ``shape`` gives its
    shape for a parameter's, None for parameters that do not have it; ``when`` names the switch
    without which the slot does not exist.
    """

    name: str
    initial: float | str = 0.0
    shape: Callable[[Shape], Shape | None] = tuple
    when: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """The update rule of one optimizer.

    ``defaults``: the flat hyper-parameters (``betas`` is ``beta1`` and ``beta2``).
    ``switches``: those that shape the equation by being on or off (also ``momentum`` and
    ``weight_decay``: at 0 their terms do not exist), ``choices``: by their value; every other one
    may change between steps without a new program.  ``counts``: the state has a ``step``.
    ``text``: the textbook's lines.  ``of_complex``: how complex parameters go, as "pairs" of real
    numbers, "whole" (the equation is linear), or "not" at all.

    >>> from symgrad.optim import SGD
    >>> SGD.row.switches_of(SGD.hyper_of(lr=0.1, momentum=0.9))
    (('momentum', True), ('weight_decay', False), ('nesterov', False), ('maximize', False))
    """

    name: str
    defaults: Mapping[str, Any]
    switches: tuple[str, ...]
    slots: tuple[Slot, ...]
    scalars: Callable[[Hyper, Scalar], dict[str, Any]]
    equation: Equation
    text: str
    counts: bool = True
    choices: tuple[str, ...] = ()
    of_complex: Literal["pairs", "whole", "not"] = "pairs"

    def switches_of(self, hyper: Hyper) -> tuple[tuple[str, Any], ...]:
        """What shapes the equation: two equal results share one program."""
        switches = [(name, bool(hyper[name])) for name in self.switches]
        return (*switches, *((name, hyper[name]) for name in self.choices))

    def init(self, shape: Shape, hyper: Hyper | None = None) -> dict[str, tuple[Shape, float]]:
        """Shape and initial value of every slot that a parameter of this shape has.

        >>> from symgrad.optim import Adam
        >>> Adam.row.init((3,))
        {'exp_avg': ((3,), 0.0), 'exp_avg_sq': ((3,), 0.0)}
        """
        known = {**self.defaults, **(hyper or {})}
        return {
            s.name: (form, float(known[s.initial]) if isinstance(s.initial, str) else s.initial)
            for s, form in self._slots_of(shape, known)
        }

    def names(self, shape: Shape, hyper: Hyper) -> tuple[str, ...]:
        """Names of the slots that a parameter of this shape has."""
        return tuple(s.name for s, _ in self._slots_of(shape, hyper))

    def _slots_of(self, shape: Shape, hyper: Hyper) -> Iterator[tuple[Slot, Shape]]:
        for s in self.slots:
            form = s.shape(shape)
            if form is not None and (not s.when or hyper[s.when]):
                yield s, form

    def update(
        self,
        param: Expr,
        grad: Expr,
        state: State,
        hyper: Hyper | None = None,
        step: Scalar = 1,
    ) -> Updated:
        """One step as expressions: the new parameter and the new state.

        **Arguments:** ``param``, ``grad`` of shape ``(…)``; ``state`` by slot name; ``hyper``
        numbers or scalar expressions (what is missing has its default); ``step`` the number of
        this step, from 1, as a number or a scalar expression of any real dtype.

        >>> from symgrad.core import dtypes
        >>> from symgrad.core.expr import symbol
        >>> from symgrad.optim import SGD
        >>> p, g = (symbol(name, (3,), dtypes.float64) for name in "pg")
        >>> new, state = SGD.row.update(p, g, {}, {"lr": 0.1})
        >>> new is p - 0.1 * g, state
        (True, {})
        """
        known = {**self.defaults, **(hyper or {})}
        new, new_state = self.apply(
            param, grad, state, self.numbers(param.dtype, known, step), known
        )
        return new, {name: new_state[name] for name in self.names(param.shape, known)}

    def numbers(self, dtype: DType, hyper: Hyper, step: Scalar) -> dict[str, Any]:
        """The scalars of one step, number ``step``, for parameters of a dtype."""
        wide = accumulation_dtype(dtype)
        widened = {k: cast(v, wide) if isinstance(v, Expr) else v for k, v in hyper.items()}
        count = cast(step, wide) if isinstance(step, Expr) else step
        return {
            k: cast(v, self.number_dtype(dtype)) if isinstance(v, Expr) else v
            for k, v in self.scalars(widened, count).items()
        }

    def apply(self, param: Expr, grad: Expr, state: State, s: Scalars, hyper: Hyper) -> Updated:
        """The equation; of complex parameters with both parts in a last axis, as PyTorch has it."""
        if not param.dtype.is_complex or self.of_complex == "whole":
            return self.equation(param, grad, state, s, hyper)
        parts = {k: _parts(v) for k, v in state.items()}
        made, changed = self.equation(_parts(param), _parts(grad), parts, s, hyper)
        found = {k: view_as_complex(changed[k]) if v.dtype.is_complex else changed[k]
                 for k, v in state.items()}  # fmt: skip
        return view_as_complex(made), found

    def number_dtype(self, dtype: DType) -> DType:
        """The dtype of the scalars of a step for parameters of a dtype."""
        return dtype if self.of_complex == "whole" else real_of(dtype)

    def first(self, name: str, value: float, like: Any) -> tuple[Any, DType]:
        """Initial value and dtype of a slot for a parameter; a complex one begins alike in both."""
        shaped = any(s.name == name and s.shape is tuple for s in self.slots)
        if not (shaped and like.dtype.is_complex):
            return value, real_of(like.dtype)
        return value if self.of_complex == "whole" else complex(value, value), like.dtype


def _parts(e: Expr) -> Expr:
    return view_as_real(e) if e.dtype.is_complex else e


def accumulation_dtype(dtype: DType) -> DType:
    """Where scalars such as ``1 − βᵗ`` are computed: float32, or float64 for 64-bit parameters."""
    return dtypes.float64 if dtype in {dtypes.float64, dtypes.complex128} else dtypes.float32


# ------------------------------------------------- functions of numbers and of expressions alike


def sqrt(x: Any) -> Any:
    """√x of a number or an expression."""
    return power(x, Fraction(1, 2)) if isinstance(x, Expr) else math.sqrt(x)


def complement(x: Scalar) -> Any:
    """``1 − x``; of a number, the double nearest to the decimal that was written.

    >>> complement(0.9), 1 - 0.9
    (0.1, 0.09999999999999998)
    """
    return 1 - x if isinstance(x, Expr) or not math.isfinite(x) else _complement(float(x))


@lru_cache(1024)
def _complement(x: float) -> float:
    return float(1 - Fraction(repr(x)))


def raised(base: Scalar, exponent: Scalar) -> Any:
    """``baseᵉ``; a known base in front of an unknown exponent keeps its double precision.

    >>> raised(0.5, 3)
    0.125
    """
    if not isinstance(exponent, Expr):
        return power(base, exponent) if isinstance(base, Expr) else base**exponent
    if isinstance(base, Expr):
        return elementwise("pow", base, exponent)
    if base == 0:
        return 0.0
    return elementwise("exp", exponent * math.log(base))


def one_minus_power(base: Scalar, exponent: Scalar) -> Any:
    """``1 − βᵗ``, the bias correction of an exponential average.

    For a known β and an unknown t it is ``−expm1(t log β)``: in float32 the typed form loses five
    digits at β = 0.999.

    >>> one_minus_power(0.5, 3)
    0.875
    """
    if isinstance(exponent, Expr) and not isinstance(base, Expr):
        if base == 0:
            return 1.0
        return -elementwise("expm1", exponent * math.log(base))
    return 1 - raised(base, exponent)


def smaller(x: Scalar, y: Scalar) -> Any:
    """The smaller of two numbers or expressions."""
    if not (isinstance(x, Expr) or isinstance(y, Expr)):
        return min(x, y)
    dtype = next(e.dtype for e in (x, y) if isinstance(e, Expr))
    first, second = (e if isinstance(e, Expr) else constant(e, dtype) for e in (x, y))
    return elementwise("minimum", first, second)


def compared(op: str, x: Scalar, bound: float) -> Any:
    """``x > bound`` (``gt``), ``x = bound`` (``eq``): a bool, or a boolean expression."""
    if isinstance(x, Expr):
        return elementwise(op, x, constant(bound, x.dtype))
    return x > bound if op == "gt" else x == bound


def chosen(condition: Any, yes: Scalar, no: Scalar, like: Scalar) -> Any:
    """``yes`` where the condition holds, else ``no``; numbers take the dtype of ``like``."""
    if not isinstance(condition, Expr):
        return yes if condition else no
    dtype = like.dtype if isinstance(like, Expr) else dtypes.float32
    first, second = (v if isinstance(v, Expr) else constant(v, dtype) for v in (yes, no))
    return where(condition, first, second)


def decayed(param: Expr, grad: Expr, s: Scalars, hyper: Hyper) -> Expr:
    """The gradient as most rules begin: its sign under ``maximize``, then ``+ λ p``."""
    grad = -grad if hyper["maximize"] else grad
    return grad + s["weight_decay"] * param if hyper["weight_decay"] else grad
