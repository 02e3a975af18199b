"""One row per operation: how to build an example of it, and where its arguments are sampled.

``tests/test_ops.py`` reads this table and fails where an operation has no row.  Sizes that are text
are letters, so that the templates' size operands are exercised too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import (
    cast,
    constant,
    contract,
    delta,
    elementwise,
    imaginary,
    matmul,
    product,
    scale,
    unsqueeze,
)
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import letter
from symgrad.ops import (
    cofactors,
    decomposition,
    factor,
    fourier,
    gather,
    join,
    matrix,
    random,
    scan,
    sequence,
    structure,
)
from symgrad.ops import complex as complex_
from symgrad.ops import elementwise as maps
from symgrad.ops.axis import along
from symgrad.ops.banded import tridiagonal_solve
from symgrad.ops.convolution import convolution, window
from symgrad.ops.index import onehot
from symgrad.ops.outputs import project
from symgrad.ops.window import window_argmax, window_max, window_sum
from symgrad.scanning import scan as recur

SIZES = {"n": 3, "m": 4, "k": 2}
Array = np.ndarray[Any, Any]
Argument = tuple[tuple[int | str, ...], str]
"""(shape, domain) of one argument."""
N, M = letter("n"), letter("m")


@dataclass(frozen=True)
class Row:
    """An example of one operation over symbols with these shapes and domains.

    ``gradient`` is "both orders", "first", "zero" (by definition), or "none" (no rule, or nothing
    that is differentiable); ``step`` of the central differences, ``tolerance`` of everything.
    """

    build: Callable[..., Expr | Sequence[Expr]]
    args: tuple[Argument, ...] = ((("n", "m"), "real"),)
    gradient: str = "both orders"
    step: float = 1e-5
    tolerance: float = 1e-6


def concrete(shape: Sequence[int | str]) -> tuple[int, ...]:
    """A shape with its letters replaced."""
    return tuple(SIZES[s] if isinstance(s, str) else s for s in shape)


def sample(shape: tuple[int, ...], domain: str, rng: np.random.Generator) -> Array:
    """Values of an argument; "below 4" are integers, every other new word a region."""
    if domain.startswith("below "):
        return rng.integers(0, int(domain.split()[1]), shape)
    draws: dict[str, Callable[[], Array]] = {
        "real": lambda: rng.standard_normal(shape),
        "positive": lambda: rng.uniform(0.5, 2, shape),
        "unit": lambda: rng.uniform(-0.8, 0.8, shape),
        "above one": lambda: rng.uniform(1.3, 3, shape),
        # between the whole and the half numbers, so that rounding is flat there
        "nonzero": lambda: rng.integers(-3, 3, shape) + rng.uniform(0.1, 0.4, shape),
        "bool": lambda: rng.random(shape) < 0.5,
        "special": lambda: rng.choice([0.0, 1.5, np.nan, np.inf, -np.inf], shape),
        "float32": lambda: rng.standard_normal(shape).astype(np.float32),
        "key": lambda: np.asarray(2**40 + 5, dtype=np.uint64),
        "positive definite": lambda: _definite(shape, rng),
    }
    return draws[domain]()


def _definite(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    a = rng.standard_normal(shape)
    turned = np.swapaxes(a, -1, -2)
    # not symmetric, so that a transpose shows
    return a @ turned + np.eye(shape[-1]) + (a - turned) / 2


def dtype_of(domain: str) -> dtypes.DType:
    """The dtype of an argument sampled there."""
    if domain.startswith("below "):
        return dtypes.int64
    return {"bool": dtypes.bool_, "float32": dtypes.float32, "key": dtypes.key}.get(
        domain, dtypes.float64
    )


def symbols_of(row: Row) -> list[Expr]:
    """The arguments as symbols ``a``, ``b``, ``c`` …"""
    return [
        symbol("abcde"[k], tuple(letter(s) if isinstance(s, str) else s for s in shape),
               dtype_of(domain))
        for k, (shape, domain) in enumerate(row.args)
    ]  # fmt: skip


def values_of(row: Row, seed: int = 0) -> list[Array]:
    """One sample of the arguments."""
    rng = np.random.default_rng(seed)
    return [sample(concrete(shape), domain, rng) for shape, domain in row.args]


# ------------------------------------------------------------------ shorthands


def unary(name: str, domain: str = "real", gradient: str = "both orders", *statics: Any) -> Row:
    """A map of one argument."""
    return Row(lambda a: elementwise(name, a, statics=statics), ((("n", "m"), domain),), gradient)


def binary(name: str, first: str, second: str, gradient: str = "both orders") -> Row:
    """A map of two arguments, the second broadcast."""
    return Row(
        lambda a, b: elementwise(name, a, b), ((("n", "m"), first), (("m",), second)), gradient
    )


def axis(name: str, gradient: str = "both orders") -> Row:
    """An op along the first of two axes."""
    return Row(lambda a: along(name, a, 0), gradient=gradient)


def square(build: Callable[..., Expr | Sequence[Expr]], *more: Argument) -> Row:
    """A function of a batch of positive definite matrices."""
    return Row(build, (((2, "n", "n"), "positive definite"), *more))


def _symmetric(a: Expr) -> Expr:
    return scale(Fraction(1, 2), a + matrix.transposed(a))


def _eigh(a: Expr) -> Sequence[Expr]:
    values, vectors = decomposition.eigh(_symmetric(a))
    return values, product(vectors, vectors)


def _svd(a: Expr) -> Sequence[Expr]:
    u, s, vt = decomposition.svd(a)
    return product(u, u), s, product(vt, vt)


def _sums_over_a_label(a: Expr, b: Expr) -> Expr:
    """Σⱼ a[i, j] b[j, l] a[i, j]: a factor twice, one label summed."""
    return contract([a, b, a], [(0, 1), (1, 2), (0, 1)], (0, 2))


def _parts(z: Expr) -> list[Expr]:
    return [elementwise("real", z), elementwise("imag", z)] if z.dtype.is_complex else [z]


def pairs(build: Callable[[Expr], Expr]) -> Row:
    """A function of complex numbers."""
    return Row(lambda a, b: _parts(build(complex_.joined(a, b))), (MATRIX, MATRIX))


MATRIX = (("n", "m"), "real")
RECTANGLE: Argument = ((2, 5, 3), "real")
KEY: Argument = ((), "key")


def _recurrences(h: Expr, x: Expr, w: Expr, going: Expr) -> list[Expr]:
    """Scans with one state and several, selections, a counter, shared values and a scan inside."""

    def plain(h: Expr, x: Expr) -> tuple[list[Expr], list[Expr]]:
        return [elementwise("tanh", matmul(h, w) + product(x, x))], []

    def held(h: Expr, c: Expr, turn: Expr, x: Expr, going: Expr) -> tuple[list[Expr], list[Expr]]:
        new = elementwise("sigmoid", matmul(x, w) + product(h, c))
        new = maps.where(unsqueeze(going, [1]), new, h)
        output = product(h, matmul(new, w), cast(turn, dtypes.float64))
        return [new, c + matmul(x, w), turn + 1], [output, x]

    def nested(h: Expr, x: Expr) -> tuple[list[Expr], list[Expr]]:
        (last,), _, (seen,) = recur(
            lambda c, row: ([elementwise("sin", product(c, row) + h)], [product(c, row)]),
            {"c": x}, {"w": w},
        )  # fmt: skip
        return [last], [seen]

    turn = constant(1, dtypes.int64)
    made = recur(plain, {"h": h}, {"x": x})
    other = recur(held, {"h": h, "c": h, "turn": turn}, {"x": x, "going": going}, True)
    inner = recur(nested, {"h": h}, {"x": x})
    return [e for found in (made, other, inner) for part in found for e in part]


ROWS: dict[str, Row] = {
    # the kinds
    "symbol": Row(lambda a: a),
    "contraction": Row(_sums_over_a_label, (MATRIX, (("m", "k"), "real"))),
    "sum_of_terms": Row(lambda a, b: 2 * a - b / 3 + 1, (MATRIX, (("m",), "real"))),
    "delta": Row(
        lambda a: contract([a, delta(M, a.dtype)], [(0, 1), (1, 2)], (0, 1, 2)),
    ),
    # along an axis
    "softmax": axis("softmax"),
    "logsumexp": axis("logsumexp"),
    "amax": axis("amax"),
    "amin": axis("amin"),
    "argmax": axis("argmax", "none"),
    "argmin": axis("argmin", "none"),
    "cumsum": axis("cumsum"),
    "flip": axis("flip"),
    "prod": Row(lambda a: sequence.prod(a, 0)),
    "cumprod": Row(lambda a: [sequence.cumprod(a, 0), sequence.cumprod(a, 1, exclusive=True)]),
    "cummax": axis("cummax"),
    "cummin": axis("cummin"),
    "logcumsumexp": axis("logcumsumexp"),
    "sort": Row(lambda a: [sequence.sort(a, 0)[0], *sequence.sort(a, 1, descending=True)]),
    "argsort": Row(lambda a: sequence.argsort(a, 0, descending=True), gradient="none"),
    "project": Row(lambda a: project(sequence.sort(a, 1)[0].args[0], 0)),
    # maps of one argument
    **{
        name: unary(name)
        for name in ("exp", "expm1", "sigmoid", "softplus", "sin", "cos", "atan", "sinh", "cosh",
                     "tanh", "asinh", "erf", "erfc", "relu", "log_ndtr", "i0", "i0e", "i1", "i1e",
                     "log_cosh", "mills", "sine_ratio", "sine_ratio_slope", "expm1_ratio",
                     "expm1_ratio_slope")
    },
    **{name: unary(name, "positive") for name in ("log1mexp", "length", "inverse_length", "log1p_ratio", "log1p_ratio_slope")},
    **{
        name: unary(name, "positive", "both orders", Fraction(2, 7))
        for name in ("flat_power", "zero_power")
    },
    "logaddexp": Row(lambda a, b: elementwise("logaddexp", a, b), ((("n", "m"), "real"),) * 2),
    "hypot": Row(lambda a, b: elementwise("hypot", a, b), ((("n", "m"), "nonzero"),) * 2),
    "xlogy": Row(lambda a, b: elementwise("xlogy", a, b), ((("n", "m"), "positive"),) * 2),
    **{name: unary(name, "positive") for name in ("log", "log1p", "lgamma")},
    **{name: unary(name, "unit") for name in ("tan", "asin", "acos", "atanh", "erfinv")},
    "acosh": unary("acosh", "above one"),
    "abs": unary("abs", "nonzero"),
    **{name: unary(name, "nonzero") for name in ("sign", "floor", "ceil", "round", "trunc")},
    "polygamma": Row(
        lambda a: [elementwise("polygamma", a, statics=(n,)) for n in (0, 1)],
        ((("n", "m"), "positive"),),
    ),
    "power": Row(
        lambda a: [elementwise("power", a, statics=(p,))
                   for p in (Fraction(-1), Fraction(-2), Fraction(1, 2), Fraction(-1, 2),
                             Fraction(5, 2), Fraction(-3))],
        ((("n", "m"), "positive"),),
    ),
    "cast": Row(
        lambda a: cast(a, dtypes.float64), ((("n", "m"), "float32"),),
        step=0.125, tolerance=1e-4,
    ),
    "detach": unary("detach", "real", "zero"),
    **{name: unary(name, "special", "none") for name in ("isnan", "isfinite", "isinf")},
    "logical_not": unary("logical_not", "bool", "none"),
    # maps of two and three
    "pow": binary("pow", "positive", "real"),
    "atan2": binary("atan2", "real", "nonzero"),
    "maximum": binary("maximum", "real", "real"),
    "minimum": binary("minimum", "real", "real"),
    "remainder": binary("remainder", "real", "nonzero"),
    "fmod": binary("fmod", "real", "nonzero"),
    "floor_divide": binary("floor_divide", "real", "nonzero"),
    **{
        name: binary(name, "below 3", "below 3", "none")
        for name in ("gt", "ge", "lt", "le", "eq", "ne")
    },
    **{
        name: binary(name, "bool", "bool", "none")
        for name in ("logical_and", "logical_or", "logical_xor")
    },
    **{
        name: binary(name, "below 9", "below 5", "none")
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift",
                     "gcd", "lcm")
    },
    "bitwise_not": unary("bitwise_not", "below 9", "none"),
    "signbit": unary("signbit", "special", "none"),
    "where": Row(maps.where, ((("n", "m"), "bool"), MATRIX, (("m",), "real"))),
    # complex numbers, made of real ones and told by their parts
    "imaginary": Row(lambda a: _parts(imaginary(dtypes.complex128) * cast(a, dtypes.complex128))),
    "complex": pairs(lambda z: z),
    "real": pairs(lambda z: elementwise("real", z * z)),
    "imag": pairs(lambda z: elementwise("imag", z * z)),
    "conj": pairs(lambda z: elementwise("exp", z) * complex_.conj(z)),
    **{name: pairs(lambda z, name=name: elementwise(name, z * z))
       for name in ("modulus", "angle", "sgn")},
    "fft": pairs(lambda z: fourier.fft(z, (-1,)) + fourier.fft(z, (-2, -1))),
    "ifft": pairs(lambda z: fourier.ifft(z, (-2,)) + fourier.ifft(z, (-2, -1))),
    "rfft": Row(lambda a: [p for z in (fourier.rfft(a, -1), fourier.rfft(a, -2)) for p in _parts(z)],
                (((2, 5, 4), "real"),)),
    "irfft": Row(
        lambda a, b: [fourier.irfft(complex_.joined(a, b), x, n)
                      for x, n in ((-1, 6), (-1, 7), (-2, 2), (-2, 3))],
        ((((2, 4), "real")),) * 2),
    # moving numbers
    "reshape": Row(lambda a: [structure.reshape(a, (-1,)), structure.reshape(a, (M, N))]),
    "slice": Row(
        lambda a, b: [structure.slice_axis(a, 0, 0, 2), structure.slice_axis(b, 1, 1, 6, 2)],
        (MATRIX, ((2, 7), "real")),
    ),
    "place": Row(
        lambda a: [structure.pad(a, [(1, 2), (0, 1)]),
                   structure.place(a, ((1, 6, 2), None), (7, 4))],
        (((3, 4), "real"),),
    ),
    "concatenate": Row(
        lambda a, b: [join.concatenate([a, a, b], -1), join.concatenate([a, b])],
        (((2, 3), "real"), ((2, 3), "real")),
    ),
    "tril": Row(lambda a: [join.tril(a), join.tril(a, 1)]),
    "triu": Row(lambda a: [join.triu(a), join.triu(a, -1)]),
    "arange": Row(lambda a: product(a, join.arange(M, dtypes.float64))),
    "take": Row(
        lambda a, b: [gather.take(a, b, 0), gather.take(a, b, 1)],
        (MATRIX, ((2, "k"), "below 3")),
    ),
    "put_add": Row(lambda a, b: gather.put_add(a, b, -2, M), (MATRIX, (("n",), "below 2"))),
    "gather": Row(lambda a, b: gather.gather(a, b, 0), (MATRIX, ((5, "m"), "below 3"))),
    "scatter_add": Row(
        lambda a, b: gather.scatter_add(a, b, -1, 5), (MATRIX, (("n", "m"), "below 5"))
    ),
    **{
        name: Row(
            lambda a, b, name=name: maps.where(
                cast(gather.scatter_add(cast(elementwise("eq", b, b), dtypes.int64), b, -1, 5),
                     dtypes.bool_),
                gather.scatter_extreme(name, a, b, -1, 5), constant(0, a.dtype)),
            (MATRIX, (("n", "m"), "below 5")),
        )
        for name in ("scatter_amax", "scatter_amin")
    },
    "onehot": Row(
        lambda a, b: [product(unsqueeze(a, [0]), onehot(b, M, a.dtype)),
                      matmul(onehot(b, M, a.dtype), unsqueeze(a, [1]))],
        ((("m",), "real"), (("n",), "below 4")),
    ),
    "scan": Row(
        _recurrences,
        ((("n", "m"), "real"), (("k", "n", "m"), "real"), (("m", "m"), "unit"), (("k", "n"), "bool")),
    ),
    "delay": Row(
        lambda a, b, c: [scan.delay(a, b, -2), scan.delay(a, b, -2, True), scan.delay(a, c, -1)],
        (MATRIX, (("m",), "real"), (("n",), "real")),
    ),
    # windows
    "convolution": Row(
        lambda a, b: [convolution(structure.slice_axis(a, 1, 0, 2), b, window(2, padding=[(1, 1)] * 2)),
                      convolution(structure.slice_axis(a, 1, 1, 3), b,
                                  window(2, (2, 1), [(-1, 2), (0, 3)], (2, 1), (1, 2))),
                      convolution(a, b, window(2, (3, 2), [(2, 2), (2, 2)]), 2)],
        (((2, 4, 5, 4), "real"), ((4, 2, 3, 3), "real")),
    ),
    "window_sum": Row(
        lambda a: [window_sum(a, (2, 3), window(2, (2, 1), [(0, 1), (1, 1)])),
                   window_sum(a, (2, 2), window(2, (1, 2), [(1, -1), (0, 2)], (2, 1), (1, 2)))],
        ((("n", 5, 4), "real"),),
    ),
    "window_max": Row(
        lambda a: [window_max(a, (2, 2), window(2, (2, 2))),
                   window_max(a, (3, 2), window(2, (1, 2), [(1, 1), (0, 1)]))],
        ((("n", 5, 4), "real"),),
    ),
    "window_argmax": Row(
        lambda a, b: [window_argmax(e, (3, 2), window(2, (1, 2), [(1, 1), (0, 1)], None, (1, 2)))
                      for e in (a, b)],
        ((("n", 5, 4), "real"), ((2, 5, 4), "below 2")), "none",
    ),
    # matrices
    "inv": square(matrix.inv),
    "solve": square(
        lambda a, b, c: [matrix.solve(a, b), matrix.solve(a, c)],
        (("n", "k"), "real"), ((2, "n"), "real"),
    ),
    "triangular_solve": square(
        lambda a, b: [matrix.triangular_solve(a, b), matrix.triangular_solve(a, b, lower=False),
                      matrix.triangular_solve(a, b, unit=True)],
        ((2, "n", "k"), "real"),
    ),
    "tridiagonal_solve": Row(
        lambda a, b, c, d, e: [tridiagonal_solve(a, b + 4, c, x) for x in (d, e)],
        (((5,), "unit"), ((5,), "positive"), ((5,), "unit"), ((5, 3), "real"), ((2, 5, 3), "real")),
    ),
    "det": square(matrix.det),
    "adjugate": square(cofactors.adjugate),
    "logdet": square(matrix.logdet),
    "slogdet": square(matrix.slogdet),
    "cholesky": square(lambda a: matrix.cholesky(_symmetric(a))),
    "eigh": square(_eigh),
    "qr": Row(decomposition.qr, (RECTANGLE,)),
    "svd": Row(_svd, (RECTANGLE,)),
    "lu": square(lambda a, b, c: [factor.lu(e)[0] for e in (a, b, c)],
                 ((2, 3, 5), "real"), ((5, 3), "real")),
    "pivot_permutation": Row(
        lambda a, b: [factor.permutation(factor.lu(e)[1], 5) for e in (a, b)],
        (RECTANGLE, ((5, 5), "real")), "none",
    ),
    "pinv": square(lambda a, b: [factor.pinv(e, constant(0.01, e.dtype, (*e.shape[:-2], 1)))
                                 for e in (a, b, matrix.transposed(b))]
                   + [factor.pinv(_symmetric(a), constant(0.01, a.dtype, (2, 1)), True)],
                   RECTANGLE),
    "matrix_exp": square(factor.matrix_exp),
    # draws; a letter is read from an input that has it
    "normal": Row(lambda a, _: random.normal(a, (N, M), dtypes.float64), (KEY, MATRIX), "none"),
    "uniform": Row(lambda a, _: random.uniform(a, (N, M), dtypes.float64), (KEY, MATRIX), "none"),
    "bernoulli": Row(lambda a, _: random.bernoulli(a, 0.5, (N, M)), (KEY, MATRIX), "none"),
    "randint": Row(lambda a, _: random.randint(a, -2, 5, (N, M)), (KEY, MATRIX), "none"),
    "permutation": Row(lambda a: random.permutation(a, 7), (KEY,), "none"),
    "split": Row(
        lambda a: [random.normal(k, (4,), dtypes.float64) for k in random.split(a, 3)],
        (KEY,), "none",
    ),
    "fold_in": Row(
        lambda a, b: random.normal(random.fold_in(a, b), (4,), dtypes.float64),
        (KEY, ((), "below 9")), "none",
    ),
}  # fmt: skip
