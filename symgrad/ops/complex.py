"""Complex numbers: their parts, conjugates and absolute values, one row each.

The gradient of a real loss L with respect to z = a + i b is ∂L/∂a + i ∂L/∂b, PyTorch's convention:
the adjoint of a linear map is its conjugate transpose.  The rows of this file have no complex
derivative; their rules are written in that convention.  Every other operation that takes complex
numbers says so by a trait: "complex", where its rule holds as it stands (it moves numbers, or it is
elementwise: ``autodiff.py`` conjugates partials), or "holomorphic", where the rule is the transposed
action and ``autodiff.py`` conjugates around it.

Source: Kreutz-Delgado, "The complex gradient operator and the CR-calculus" (2009).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from symgrad.core.build import (
    CONTRACTION,
    SUM,
    cast,
    elementwise,
    imaginary,
    map_build,
    product,
    scale,
    zeros,
)
from symgrad.core.dtypes import DType, complex64, complex128, complex_of, real_of
from symgrad.core.expr import SYMBOL, Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape
from symgrad.errors import ComplexError, DTypeError
from symgrad.ops.elementwise import where
from symgrad.ops.row import COMPLEX, PRODUCT, Template, call, form, like

Inferred = tuple[Shape, DType]


# ------------------------------------------------------------------ what takes complex numbers
CARRYING = frozenset({"contraction", "sum", "leaf", "projection"})
"""Families that know nothing of the numbers they carry."""
TAKING = frozenset({"complex", "holomorphic"})
WORDS = {complex64: "ComplexFloat", complex128: "ComplexDouble"}


def check_complex(nodes: Iterable[Expr], what: str, real: bool = False) -> None:
    """Raise ComplexError where a node takes or gives complex numbers and its row does not say so.

    ``real``: whatever the rows say.
    """
    for node in nodes:
        op = node.op
        if not real and (op.family in CARRYING or not op.traits.isdisjoint(TAKING)):
            continue
        for e in (node, *node.args):
            if e.dtype.is_complex:
                raise ComplexError(
                    f'"{what}" not implemented for {WORDS[e.dtype]!r}',
                    "Take abs(), angle(), .real or .imag first.",
                )


# ------------------------------------------------------------------ numbers and parts
IMAGINARY = Op("imaginary", "leaf", build=lambda args, params: imaginary(*params), text="i",
               template=form("1j", "1j", 0))  # fmt: skip


def _halved(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, real_of(args[0].dtype)


def _part(name: str, vjp: Any, text: str, numpy: str = "") -> None:
    Op(name, "map", infer=_halved, vjp=vjp, template=call(f"jnp.{numpy or name}"), text=text,
       python=numpy or name, traits=COMPLEX, build=map_build(name))  # fmt: skip


def times_i(e: Expr) -> Expr:
    """i e."""
    return product(e, imaginary(e.dtype))


def _sgn_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """z̄ = (ḡ − s Re(s* ḡ)) / |z| with s = sgn z: only a turn changes it; 0 at z = 0."""
    size = elementwise("modulus", node.args[0])
    at_zero = elementwise("eq", size, like(0, size))
    under = where(at_zero, like(1, size), size)
    along = cast(elementwise("real", product(conj(node), g)), g.dtype)
    turned = product(g - product(node, along), cast(1 / under, g.dtype))
    return (where(at_zero, zeros((), g.dtype), turned),)


def _angle_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """z̄ = i ḡ / z*, 0 at z = 0."""
    z = node.args[0]
    at_zero = elementwise("eq", z, like(0, z))
    turned = product(times_i(cast(g, z.dtype)), 1 / conj(where(at_zero, like(1, z), z)))
    return (where(at_zero, zeros((), z.dtype), turned),)


def _complex_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    a, b = args
    if a.dtype is not b.dtype or not a.dtype.is_floating_point:
        raise DTypeError(
            f"complex: expected two tensors of one floating point dtype, but got {a.dtype} and "
            f"{b.dtype}"
        )
    return a.shape, complex_of(a.dtype)


def _complex_template(node: Expr) -> Template:
    real = real_of(node.dtype).name
    return form(
        f"jax.lax.complex(*jnp.broadcast_arrays(jnp.{real}({{0}}), jnp.{real}({{1}})))",
        f"np.stack([{{0}}, {{1}}], -1).view(np.{node.dtype.name})[..., 0]",
        2,
    )


_part("real", lambda node, g: (cast(g, node.args[0].dtype),), "Re")
_part("imag", lambda node, g: (times_i(cast(g, node.args[0].dtype)),), "Im")
_part(
    "modulus",
    lambda node, g: (product(cast(g, node.args[0].dtype), elementwise("sgn", node.args[0])),),
    "abs",
    "abs",
)
_part("angle", _angle_vjp, "angle")
Op("sgn", "map", vjp=_sgn_vjp, text="sgn", python="sign", traits=COMPLEX, build=map_build("sgn"),
   template=form("jnp.where({0} == 0, 0, {0} / jnp.abs({0}))", "np.sign({0})", hole=PRODUCT + 1))  # fmt: skip
"""z / |z|, 0 at 0 (``jnp.sign`` is the same, but JAX has no derivative of it)."""
CONJ = Op("conj", "map", vjp=lambda node, g: (conj(g),), template=call("jnp.conj"), text="conj",
          python="conj", traits=COMPLEX, build=map_build("conj"))  # fmt: skip
Op("complex", "structure", infer=_complex_infer, template=_complex_template, text="complex",
   vjp=lambda node, g: (elementwise("real", g), elementwise("imag", g)),
   python="complex", traits=COMPLEX)  # fmt: skip


def joined(real: Expr, imag: Expr) -> Expr:
    """real + i imag of two real expressions of one shape, exact for infinities."""
    return apply(OPS["complex"], (real, imag))


def magnitude(e: Expr) -> Expr:
    """|e|, real."""
    return elementwise("modulus" if e.dtype.is_complex else "abs", e)


def squared(e: Expr) -> Expr:
    """|e|²: real, and without the singularity of the absolute value."""
    if not e.dtype.is_complex:
        return e * e
    a, b = elementwise("real", e), elementwise("imag", e)
    return a * a + b * b


# ------------------------------------------------------------------ conjugates
def _turned(e: Expr) -> Expr | None:
    """The conjugate of an expression that needs no new node for it."""
    if e.op is CONJ:
        return e.args[0]
    if e.op is IMAGINARY:
        return scale(-1, e)
    if not e.args or (e.op.name == "cast" and not e.args[0].dtype.is_complex):
        return None if e.op is SYMBOL else e
    return None


def conj(e: Expr) -> Expr:
    """The complex conjugate; a real expression itself.

    It moves inwards over scales and moves of axes, and where every part is its own conjugate or
    already conjugated.
    """
    if not e.dtype.is_complex:
        return e
    above: list[Expr] = []
    while (made := _turned(e)) is None:
        parts = [_turned(a) for a in e.args] if e.op in (SUM, CONTRACTION) else [None, None]
        if None not in parts:
            made = e.func(*parts)  # type: ignore[arg-type]
            break
        if len(parts) > 1:
            made = elementwise(CONJ, e)
            break
        above.append(e)
        e = e.args[0]
    for node in reversed(above):
        made = node.func(made)
    return made
