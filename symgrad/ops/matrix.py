"""Functions of square matrices: inverse, solve, determinants, Cholesky, eigenvalues, QR, SVD.

Leading axes are batches.  Every derivative is written in these functions themselves, so it can be
differentiated again.  Nothing is clamped: singular matrices and equal eigenvalues give inf or NaN,
or NumPy's LinAlgError, where the value (or the derivative) does not exist.

Source: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); Walter and Lehmann, "Walter's QR" (2010), Seeger et al. (2017) for eigh.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from symgrad.core.build import (
    broadcast_shapes,
    broadcast_to,
    contract,
    delta,
    matmul,
    permute,
    power,
    product,
    reduce_sum,
    scale,
    unsqueeze,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.mismatch import numbers
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size, shape_text
from symgrad.errors import DTypeError, ShapeError
from symgrad.ops.join import tril, triu
from symgrad.ops.outputs import projections
from symgrad.ops.row import HOLOMORPHIC, Template, form

Inferred = tuple[Shape, DType]
Several = tuple[Expr | None, ...]


# ------------------------------------------------------------------ pieces of the equations


def transposed(e: Expr) -> Expr:
    """The last two axes exchanged."""
    order = [*range(e.ndim - 2), e.ndim - 1, e.ndim - 2]
    return permute(e, order)


def _times(*factors: Expr) -> Expr:
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


def _halved(e: Expr) -> Expr:
    """Φ: the lower triangle with half the diagonal."""
    return tril(e, -1) + scale(Fraction(1, 2), tril(triu(e)))


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


def _same(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, args[0].dtype


def _scalar(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape[:-2], args[0].dtype


def _linalg(name: str, arity: int = 1, more: str = "", jax_more: str = "") -> Template:
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
) -> Op:
    return Op(name, "matrix", infer=infer, vjp=vjp, template=template, text=text or name,
              latex=latex, python=text or name, traits=traits,
              domain="positive definite")  # fmt: skip


def several(
    name: str,
    outputs: Callable[[tuple[Expr, ...], tuple[Any, ...]], tuple[Inferred, ...]],
    vjp: Callable[[Expr, tuple[Expr | None, ...]], Several],
    template: Template,
) -> Op:
    """Declare an operation on matrices that has several results."""
    return Op(name, "matrix", outputs=outputs, vjp=vjp, template=template, text=name,
              domain="positive definite")  # fmt: skip


# ------------------------------------------------------------------ inverse and solve


def _inv_vjp(node: Expr, g: Expr) -> Several:
    """Ā = −A⁻ᵀ Ḡ A⁻ᵀ."""
    t = transposed(node)
    return (scale(-1, _times(t, g, t)),)


_row("inv", _same, _inv_vjp, _linalg("inv"))


def inv(a: Expr) -> Expr:
    """A⁻¹ of batches of square matrices."""
    square(a, "linalg.inv")
    return apply(OPS["inv"], (a,))


def _solve_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    a, b = args
    return (*broadcast_shapes([a.shape[:-2], b.shape[:-2]]), *b.shape[-2:]), a.dtype


def _solve_vjp(node: Expr, g: Expr) -> Several:
    """B̄ = A⁻ᵀ Ḡ,  Ā = −B̄ Xᵀ."""
    a, b = node.args
    extra = g.ndim - node.ndim
    back = apply(OPS["solve"], (transposed(a), g))
    return (
        _fold(scale(-1, matmul(back, transposed(node))), extra, a),
        _fold(back, extra, b),
    )


_row("solve", _solve_infer, _solve_vjp, _linalg("solve", 2))


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
        x = apply(OPS["solve"], (a, column))
        return contract([x], [[*range(x.ndim - 1), -1]], range(x.ndim - 1),
                        dict(enumerate(x.shape[:-1])), x.dtype)  # fmt: skip
    _right_side(a, b, "linalg.solve")
    return apply(OPS["solve"], (a, b))


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
    back = apply(OPS["triangular_solve"], (transposed(a), g), (not lower,))
    full = scale(-1, matmul(back, transposed(node)))
    return _fold(tril(full) if lower else triu(full), extra, a), _fold(back, extra, b)


_row("triangular_solve", _solve_infer, _triangular_vjp, _triangular_template)


def triangular_solve(a: Expr, b: Expr, lower: bool = True, unit: bool = False) -> Expr:
    """X with L X = B, where only the lower (upper) triangle of ``a`` is read.

    ``unit`` takes the diagonal as 1.
    """
    square(a, "linalg.solve_triangular")
    _right_side(a, b, "linalg.solve_triangular")
    if unit:
        a = (tril(a, -1) if lower else triu(a, 1)) + identity(a)
    return apply(OPS["triangular_solve"], (a, b), (lower,))


# ------------------------------------------------------------------ determinants


def _det_vjp(node: Expr, g: Expr) -> Several:
    """Ā = det(A) ḡ A⁻ᵀ."""
    weight = product(g, node)
    return (product(unsqueeze(weight, [g.ndim, g.ndim + 1]), transposed(inv(node.args[0]))),)


def _logdet_vjp(node: Expr, g: Expr) -> Several:
    """Ā = ḡ A⁻ᵀ."""
    return (product(unsqueeze(g, [g.ndim, g.ndim + 1]), transposed(inv(node.args[0]))),)


def _slogdet_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    return (_scalar(args, params),) * 2


def _slogdet_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """The sign is constant where it has a derivative; log|det| as logdet."""
    g = adjoints[1]
    return (None,) if g is None else _logdet_vjp(node, g)


_row("det", _scalar, _det_vjp, _linalg("det"), latex=r"\det")
_row("logdet", _scalar, _logdet_vjp,
     form("(lambda s: jnp.log(s[0]) + s[1])(jnp.linalg.slogdet({0}))",
          "(lambda s: np.log(s[0]) + s[1])(np.linalg.slogdet({0}))"))  # fmt: skip
several("slogdet", _slogdet_outputs, _slogdet_vjp, _linalg("slogdet"))


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
    """Ā = ½ L⁻ᵀ (P + Pᵀ) L⁻¹ with P = Φ(Lᵀ L̄): symmetric."""
    p = _halved(matmul(transposed(node), g))
    up = transposed(node)
    left = apply(OPS["triangular_solve"], (up, p + transposed(p)), (False,))
    both = apply(OPS["triangular_solve"], (up, transposed(left)), (False,))
    return (scale(Fraction(1, 2), both),)


_row(
    "cholesky",
    _same,
    _cholesky_vjp,
    _linalg("cholesky", jax_more=", symmetrize_input=False"),
    traits=frozenset(),
)


def cholesky(a: Expr) -> Expr:
    """L, lower, with A = L Lᵀ; only the lower triangle of ``a`` is read."""
    square(a, "linalg.cholesky")
    return apply(OPS["cholesky"], (a,))


# ------------------------------------------------------------------ decompositions


def _eigh_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    return (a.shape[:-1], a.dtype), (a.shape, a.dtype)


def _gaps(values: Expr) -> Expr:
    """F[i, j] = 1/(wⱼ − wᵢ), 0 on the diagonal; infinite where two values agree."""
    r = values.ndim
    eye = identity(unsqueeze(values, [r]), values.shape[-1])
    apart = unsqueeze(values, [r - 1]) - unsqueeze(values, [r]) + eye
    return power(apart, -1) - eye


def _eigh_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = V (diag(w̄) + F ⊙ ½ (VᵀV̄ − V̄ᵀV)) Vᵀ, which is symmetric as A is."""
    values, vectors = projections(node)
    gw, gv = adjoints
    t = transposed(vectors)
    parts: list[Expr] = []
    if gw is not None:
        parts.append(diagonal(gw))
    if gv is not None:
        turned = matmul(t, gv)
        skew = scale(Fraction(1, 2), turned - transposed(turned))
        parts.append(product(_gaps(values), skew))
    if not parts:
        return (None,)
    inner = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return (_times(vectors, inner, t),)


several("eigh", _eigh_outputs, _eigh_vjp, _linalg("eigh", jax_more=", symmetrize_input=False"))


def eigh(a: Expr) -> tuple[Expr, ...]:
    """(w, V), w rising, with A V = V diag(w); only the lower triangle of ``a`` is read."""
    square(a, "linalg.eigh")
    return projections(apply(OPS["eigh"], (a,)))


def smaller(a: Expr, what: str) -> Size:
    """The smaller of the sizes of the last two axes."""
    rows, columns = a.shape[-2:]
    if rows == columns:
        return rows
    if isinstance(rows, int) and isinstance(columns, int):
        return min(rows, columns)
    raise ShapeError(
        f"{what}: which of the sizes {rows} and {columns} is smaller is not known. Give the "
        "matrix numbers as its sizes."
    )


def _qr_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    k = smaller(a, "linalg.qr")
    front, (rows, columns) = a.shape[:-2], a.shape[-2:]
    return ((*front, rows, k), a.dtype), ((*front, k, columns), a.dtype)


def _qr_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = (Q̄ + Q sym(M)) R⁻ᵀ with M = R R̄ᵀ − Q̄ᵀ Q, its lower triangle mirrored."""
    q, r = projections(node)
    gq, gr = adjoints
    if q.shape[-1] != r.shape[-1]:
        raise ShapeError(
            f"the derivative of qr needs at least as many rows as columns, not {q.shape[-2]} by "
            f"{r.shape[-1]}"
        )
    parts: list[Expr] = []
    if gr is not None:
        parts.append(matmul(r, transposed(gr)))
    if gq is not None:
        parts.append(scale(-1, matmul(transposed(gq), q)))
    if not parts:
        return (None,)
    m = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    lower = tril(m, -1)
    mirrored = lower + transposed(lower) + tril(triu(m))
    right = matmul(q, mirrored)
    if gq is not None:
        right = gq + right
    back = apply(OPS["triangular_solve"], (r, transposed(right)), (False,))
    return (transposed(back),)


several("qr", _qr_outputs, _qr_vjp, _linalg("qr"))


def qr(a: Expr) -> tuple[Expr, ...]:
    """(Q, R), reduced, with A = Q R, QᵀQ = I and R upper triangular."""
    if a.ndim < 2:
        raise ShapeError(f"linalg.qr: The input tensor must have at least 2 dimensions, not "
                         f"{shape_text(a.shape)}")  # fmt: skip
    floating(a, "linalg.qr")
    return projections(apply(OPS["qr"], (a,)))


def _svd_outputs(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Inferred, ...]:
    a = args[0]
    k = smaller(a, "linalg.svd")
    front, (rows, columns) = a.shape[:-2], a.shape[-2:]
    return (
        ((*front, rows, k), a.dtype), ((*front, k), a.dtype), ((*front, k, columns), a.dtype)
    )  # fmt: skip


def _svd_vjp(node: Expr, adjoints: tuple[Expr | None, ...]) -> Several:
    """Ā = U (diag(s̄) + E ⊙ skew terms) Vᵀ + the parts outside the spans of U and V.

    With K = skew(Uᵀ Ū), J = skew(Vᵀ V̄) and E[i, j] = 1/(sⱼ² − sᵢ²):
    ``U [(K ⊙ E) S + S (J ⊙ E) + diag(s̄)] Vᵀ``, ``(I − U Uᵀ) Ū S⁻¹ Vᵀ``, ``U S⁻¹ V̄ᵀ (I − V Vᵀ)``.
    """
    u, s, vt = projections(node)
    gu, gs, gvt = adjoints
    rows, columns = node.args[0].shape[-2:]
    gaps = _gaps(product(s, s))
    as_row, as_column = unsqueeze(s, [s.ndim - 1]), unsqueeze(s, [s.ndim])
    inner: list[Expr] = []
    outer: list[Expr] = []
    if gs is not None:
        inner.append(diagonal(gs))
    if gu is not None:
        k = matmul(transposed(u), gu)
        inner.append(product(product(k - transposed(k), gaps), as_row))
        if rows != s.shape[-1]:
            outside = gu - matmul(u, k)
            outer.append(matmul(product(outside, power(as_row, -1)), vt))
    if gvt is not None:
        j = matmul(vt, transposed(gvt))
        inner.append(product(as_column, product(j - transposed(j), gaps)))
        if columns != s.shape[-1]:
            outside = gvt - matmul(transposed(j), vt)
            outer.append(matmul(u, product(power(as_column, -1), outside)))
    if not inner:
        return (None,)
    total = inner[0]
    for part in inner[1:]:
        total = total + part
    result = _times(u, total, vt)
    for part in outer:
        result = result + part
    return (result,)


several("svd", _svd_outputs, _svd_vjp, _linalg("svd", more=", full_matrices=False"))


def svd(a: Expr) -> tuple[Expr, ...]:
    """(U, s, Vᵀ), reduced, with A = U diag(s) Vᵀ and s falling."""
    if a.ndim < 2:
        raise ShapeError(f"linalg.svd: The input tensor must have at least 2 dimensions, not "
                         f"{shape_text(a.shape)}")  # fmt: skip
    floating(a, "linalg.svd")
    return projections(apply(OPS["svd"], (a,)))


__all__ = [
    "cholesky", "det", "diagonal", "eigh", "floating", "identity", "inv", "logdet", "qr", "several",
    "slogdet", "smaller", "solve", "square", "svd", "transposed", "triangular_solve",
]  # fmt: skip
