"""How a row is written: small constructors for templates and for elementwise ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad_codegen.template import (
    ANY,
    ATOM,
    COMPARE,
    POSTFIX,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Template,
)

from symgrad.core import dtypes
from symgrad.core.build import constant, map_build
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr
from symgrad.core.op import Op
from symgrad.core.sizes import Shape

__all__ = [
    "ANY", "ATOM", "COMPARE", "COMPLEX", "HOLOMORPHIC", "POSTFIX", "POWER", "PRODUCT", "SUM", "UNARY",
    "Template", "boolean", "call", "elementwise_row", "form", "infix", "like",
]  # fmt: skip


COMPLEX = frozenset({"complex"})
"""The trait of an op whose rule holds for complex numbers as it stands."""
HOLOMORPHIC = frozenset({"holomorphic"})
"""The trait of an op of complex numbers whose rule is the transposed action."""


def form(
    jax: str, numpy: str, arity: int = 1, strength: int = POSTFIX, hole: int = ANY
) -> Template:
    """A template by target; ``strength`` is how tightly its text binds, ``hole`` what it asks."""
    return Template((("jax", jax), ("numpy", numpy)), strength, (hole,) * arity)


def call(jax: str, numpy: str | None = None, arity: int = 1) -> Template:
    """``name({0}, {1})``."""
    holes = ", ".join(f"{{{k}}}" for k in range(arity))
    return form(f"{jax}({holes})", f"{numpy or jax.replace('jnp.', 'np.')}({holes})", arity)


def infix(symbol: str, strength: int) -> Template:
    """``{0} symbol {1}``; the right operand must bind tighter."""
    text = f"{{0}} {symbol} {{1}}"
    return Template((("jax", text), ("numpy", text)), strength, (strength, strength + 1))


def boolean(args: tuple[Expr, ...], statics: tuple[Any, ...]) -> tuple[Shape, DType]:
    """dtype rule of comparisons."""
    return args[0].shape, dtypes.bool_


def elementwise_row(
    name: str,
    template: Template | Callable[[Expr], Template],
    derivative: Callable[..., tuple[Expr | None, ...]] | None,
    text: str | None = None,
    latex: str = "",
    python: str | None = None,
    domain: str = "real",
    infer: Callable[..., tuple[Shape, DType]] | None = None,
    traits: tuple[str, ...] = (),
) -> Op:
    """Declare an elementwise op by its scalar derivative."""
    return Op(
        name,
        "map",
        infer=infer,
        derivative=derivative,
        template=template,
        text=text if text is not None else name,
        latex=latex,
        python=python if python is not None else name,
        domain=domain,
        traits=frozenset(traits),
        build=map_build(name),
    )


def like(value: float, e: Expr) -> Expr:
    """A number in the dtype and shape of ``e``."""
    return constant(value, e.dtype, e.shape)  # type: ignore[arg-type]
