"""Functions of square matrices: inverse, solve, determinants, the Cholesky factor.

Leading axes are batches.  Every derivative is written in these functions themselves, so it can be
differentiated again.  Nothing is clamped: singular matrices give inf or NaN, or NumPy's
LinAlgError, where the value (or the derivative) does not exist.  Aᴴ is Aᵀ of real matrices.

Source: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from symgrad.core.build import (
    ONE,
    SUM,
    broadcast_shapes,
    broadcast_to,
    cast,
    contract,
    delta,
    elementwise,
    linear,
    matmul,
    permute,
    product,
    reduce_sum,
    scale,
    terms_of,
    unsqueeze,
)
from symgrad.core.dtypes import DType, real_of
from symgrad.core.expr import Expr, apply
from symgrad.core.mismatch import numbers
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size
from symgrad.errors import DTypeError, ShapeError
from symgrad.ops.complex import conj, times_i
from symgrad.ops.join import tril, triu
from symgrad.ops.outputs import projections
from symgrad.ops.row import COMPLEX, HOLOMORPHIC, Template, form

Inferred = tuple[Shape, DType]
Several = tuple[Expr | None, ...]


# ------------------------------------------------------------------ pieces of the equations


def transposed(e: Expr) -> Expr:
    """The last two axes exchanged."""
    order = [*range(e.ndim - 2), e.ndim - 1, e.ndim - 2]
    return permute(e, order)


def adjoint(e: Expr) -> Expr:
    """The conjugate of the transpose."""
    return conj(transposed(e))


def times(*factors: Expr) -> Expr:
    """The product of matrices."""
    result = factors[0]
    for f in factors[1:]:
        result = matmul(result, f)
    return result


def identity(e: Expr, size: Size | None = None) -> Expr:
    """I over the last two axes, in the batch of ``e``."""
    size = size if size is not None else e.shape[-1]
    eye = delta(size, e.dtype)
    return broadcast_to(eye, (*e.shape[:-2], size, size))


def diagonal(e: Expr) -> Expr:
    """diag(e): the last axis on the diagonal of two."""
    r = e.ndim
    return contract([e], [range(r)], [*range(r), r - 1])


def _fold(part: Expr, extra: int, arg: Expr) -> Expr:
    """Sum over batch axes that ``arg`` was repeated along; ``extra`` leading axes stay."""
    surplus = part.ndim - extra - arg.ndim
    gone = list(range(extra, extra + surplus))
    part = reduce_sum(part, gone) if gone else part
    ones = [k for k, s in enumerate(arg.shape) if s == 1 and part.shape[extra + k] != 1]
    if not ones:
        return part
    part = reduce_sum(part, [extra + k for k in ones])
    return unsqueeze(part, [extra + k for k in ones])


def square(e: Expr, what: str) -> None:
    """Raise where ``e`` is not made of square matrices of floats."""
    if e.ndim < 2:
        raise ShapeError(
            f"{what}: The input tensor A must have at least 2 dimensions.",
            "Give it a matrix, or matrices in the last two axes.",
        )
    if e.shape[-1] != e.shape[-2]:
        raise ShapeError(
            f"{what}: A must be batches of square matrices, but they are {e.shape[-2]} by "
            f"{e.shape[-1]} matrices",
            "For other matrices solve the normal equations: solve(A.T @ A, A.T @ b).",
        )
    floating(e, what)


def floating(e: Expr, what: str) -> None:
    """Raise where the dtype is neither floating point nor complex."""
    if not e.dtype.differentiable:
        raise DTypeError(
            f"{what}: Expected a floating point tensor as input, got {e.dtype}",
            "Cast it first (.float(), .double()).",
        )


def same_matrix(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    """Shape and dtype of the argument."""
    return args[0].shape, args[0].dtype


def _scalar(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape[:-2], args[0].dtype


def linalg(name: str, arity: int = 1, more: str = "", jax_more: str = "") -> Template:
    """The function of this name in ``numpy.linalg`` and ``jax.numpy.linalg``."""
    holes = ", ".join(f"{{{k}}}" for k in range(arity))
    return form(f"jnp.linalg.{name}({holes}{more}{jax_more})",
                f"np.linalg.{name}({holes}{more})", arity)  # fmt: skip


def _row(
    name: str,
    infer: Callable[[tuple[Expr, ...], tuple[Any, ...]], Inferred],
    vjp: Callable[[Expr, Expr], Several],
    template: Template | Callable[[Expr], Template],
    text: str = "",
    latex: str = "",
    traits: frozenset[str] = HOLOMORPHIC,
    build: Callable[[tuple[Expr, ...], tuple[Any, ...]], Expr] | None = None,
) -> Op:
    return Op(name, "matrix", infer=infer, vjp=vjp, template=template, text=text or name,
              latex=latex, python=text or name, traits=traits, build=build,
              domain="positive definite")  # fmt: skip


def several(
    name: str,
    outputs: Callable[[tuple[Expr, ...], tuple[Any, ...]], tuple[Inferred, ...]],
    vjp: Callable[[Expr, tuple[Expr | None, ...]], Several],
    template: Template,
) -> Op:
    """Declare an operation on matrices that has several results."""
    return Op(name, "matrix", outputs=outputs, vjp=vjp, template=template, text=name,
              traits=COMPLEX, domain="positive definite")  # fmt: skip


# ------------------------------------------------------------------ inverse and solve


def _inv_vjp(node: Expr, g: Expr) -> Several:
    """Ā = −A⁻ᵀ Ḡ A⁻ᵀ."""
    t = transposed(node)
    return (scale(-1, times(t, g, t)),)


_row("inv", same_matrix, _inv_vjp, linalg("inv"))


def inv(a: Expr) -> Expr:
    """A⁻¹ of batches of square matrices."""
    square(a, "linalg.inv")
    return apply(OPS["inv"], (a,))


def _solve_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    a, b = args
    return (*broadcast_shapes([a.shape[:-2], b.shape[:-2]]), *b.shape[-2:]), a.dtype


def solved(name: str, a: Expr, b: Expr, *params: bool) -> Expr:
    """The node of a solve: a number in front of ``b`` goes in front of it."""
    if b.op is not SUM or len(b.args) != 1:
        return apply(OPS[name], (a, b), params)
    ((number, e, labels),) = terms_of(b)
    bare = linear([(ONE, e, labels)], b.shape, b.dtype)
    return scale(number, apply(OPS[name], (a, bare), params))


def _solve_vjp(node: Expr, g: Expr) -> Several:
    """B̄ = A⁻ᵀ Ḡ,  Ā = −B̄ Xᵀ."""
    a, b = node.args
    extra = g.ndim - node.ndim
    back = solved("solve", transposed(a), g)
    return (
        _fold(scale(-1, matmul(back, transposed(node))), extra, a),
        _fold(back, extra, b),
    )


_row("solve", _solve_infer, _solve_vjp, linalg("solve", 2),
     build=lambda args, params: solved("solve", args[0], args[1], *params))  # fmt: skip


def _right_side(a: Expr, b: Expr, what: str) -> None:
    if a.dtype is not b.dtype:
        raise DTypeError(f"{what}: Expected A and B to have the same dtype, but found {a.dtype} "
                         f"and {b.dtype} instead")  # fmt: skip
    if b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"{what}: Incompatible shapes of A and B for the equation AX = B "
            f"({numbers(a.shape)} and {numbers(b.shape)})",
            "B needs as many rows as A; a single right-hand side is b[:, None].",
        )
    broadcast_shapes([a.shape[:-2], b.shape[:-2]])


def solve(a: Expr, b: Expr) -> Expr:
    """X with A X = B; a vector b gives a vector.  Batches broadcast.

    ``b`` is a vector where it has one axis, or the batch shape of ``a`` and one axis more.
    """
    square(a, "linalg.solve")
    if b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]):
        column = unsqueeze(b, [b.ndim])
        _right_side(a, column, "linalg.solve")
        x = solved("solve", a, column)
        return contract([x], [[*range(x.ndim - 1), -1]], range(x.ndim - 1),
                        dict(enumerate(x.shape[:-1])), x.dtype)  # fmt: skip
    _right_side(a, b, "linalg.solve")
    return solved("solve", a, b)


def _triangular_template(node: Expr) -> Template:
    lower = node.params[0]
    word = "tril" if lower else "triu"
    return form(f"jax.scipy.linalg.solve_triangular({{0}}, {{1}}, lower={lower})",
                f"np.linalg.solve(np.{word}({{0}}), {{1}})", 2)  # fmt: skip


def _triangular_vjp(node: Expr, g: Expr) -> Several:
    """B̄ = L⁻ᵀ Ḡ,  L̄ = −tril(B̄ Xᵀ)."""
    a, b = node.args
    (lower,) = node.params
    extra = g.ndim - node.ndim
    back = solved("triangular_solve", transposed(a), g, not lower)
    full = scale(-1, matmul(back, transposed(node)))
    return _fold(tril(full) if lower else triu(full), extra, a), _fold(back, extra, b)


_row("triangular_solve", _solve_infer, _triangular_vjp, _triangular_template,
     build=lambda args, params: solved("triangular_solve", args[0], args[1], *params))  # fmt: skip


def triangular_solve(a: Expr, b: Expr, lower: bool = True, unit: bool = False) -> Expr:
    """X with L X = B, where only the lower (upper) triangle of ``a`` is read.

    ``unit`` takes the diagonal as 1.
    """
    square(a, "linalg.solve_triangular")
    _right_side(a, b, "linalg.solve_triangular")
    if unit:
        a = (tril(a, -1) if lower else triu(a, 1)) + identity(a)
    return solved("triangular_solve", a, b, lower)


# ------------------------------------------------------------------ determinants


def _det_vjp(node: Expr, g: Expr) -> Several:
    """Ā = det(A) ḡ A⁻ᵀ."""
    weight = product(g, node)
    return (product(unsqueeze(weight, [g.ndim, g.ndim + 1]), transposed(inv(node.args[0]))),)


def _logdet_vjp(node: Expr, g: Expr) -> Several:
    """Ā = ḡ A⁻ᵀ."""
    return (product(unsqueeze(g, [g.ndim, g.ndim + 1]), transposed(inv(node.args[0]))),)


def _slogdet_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    shape, dtype = _scalar(args, params)
    return (shape, dtype), (shape, real_of(dtype))


def _slogdet_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = (ḡ − i Im(s̄* s)) A⁻ᴴ: a real sign s is constant where it has a derivative."""
    turned, g = adjoints
    a = node.args[0]
    if not a.dtype.is_complex:
        return (None,) if g is None else _logdet_vjp(node, g)
    total = None if g is None else cast(g, a.dtype)
    if turned is not None:
        angle = elementwise("imag", product(conj(turned), projections(node)[0]))
        part = scale(-1, times_i(cast(angle, a.dtype)))
        total = part if total is None else total + part
    if total is None:
        return (None,)
    return (product(unsqueeze(total, [total.ndim, total.ndim + 1]), adjoint(inv(a))),)


_row("det", _scalar, _det_vjp, linalg("det"), latex=r"\det")
_row("logdet", _scalar, _logdet_vjp,
     form("(lambda s: jnp.log(s[0]) + s[1])(jnp.linalg.slogdet({0}))",
          "(lambda s: np.log(s[0]) + s[1])(np.linalg.slogdet({0}))"))  # fmt: skip
several("slogdet", _slogdet_outputs, _slogdet_vjp, linalg("slogdet"))


def det(a: Expr) -> Expr:
    """The determinant; its derivative needs the inverse and is not finite where that is not."""
    square(a, "linalg.det")
    return apply(OPS["det"], (a,))


def logdet(a: Expr) -> Expr:
    """log det A: NaN for a negative determinant, −∞ for 0; no overflow."""
    square(a, "logdet")
    return apply(OPS["logdet"], (a,))


def slogdet(a: Expr) -> tuple[Expr, ...]:
    """(sign, log|det A|)."""
    square(a, "linalg.slogdet")
    return projections(apply(OPS["slogdet"], (a,)))


# ------------------------------------------------------------------ Cholesky


def _cholesky_vjp(node: Expr, g: Expr) -> Several:
    """Ā = ½ L⁻ᴴ (P + Pᴴ) L⁻¹ with P = Φ(Lᴴ L̄), the lower triangle and half the diagonal."""
    up = adjoint(node)
    p = matmul(up, g)
    p = tril(p, -1) + scale(Fraction(1, 2), tril(triu(p)))
    left = solved("triangular_solve", up, p + adjoint(p), False)
    both = adjoint(solved("triangular_solve", up, adjoint(left), False))
    return (scale(Fraction(1, 2), both),)


_row(
    "cholesky",
    same_matrix,
    _cholesky_vjp,
    linalg("cholesky", jax_more=", symmetrize_input=False"),
    traits=COMPLEX,
)


def cholesky(a: Expr) -> Expr:
    """L, lower, with A = L Lᴴ; only the lower triangle of ``a`` is read."""
    square(a, "linalg.cholesky")
    return apply(OPS["cholesky"], (a,))


__all__ = [
    "adjoint", "cholesky", "det", "diagonal", "floating", "identity", "inv", "linalg", "logdet",
    "same_matrix", "several", "slogdet", "solve", "solved", "square", "times", "transposed",
    "triangular_solve",
]  # fmt: skip
