"""One test row per op: an example on symbols, and where its arguments are sampled.

A new op needs a row here: ``row(op, build, arguments…)``, where ``build`` takes the symbols and gives
one expression (or several).  ``test_ops.py`` fails while an op has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

import symgrad.ops  # noqa: F401
from symgrad.core import dtypes
from symgrad.core.build import (
    broadcast_to,
    cast,
    contract,
    delta,
    elementwise,
    matmul,
    power,
)
from symgrad.core.expr import symbol
from symgrad.core.op import OPS
from symgrad.core.sizes import letter
from symgrad.ops import gather, join, matrix, random, sequence, structure
from symgrad.ops.axis import along
from symgrad.ops.elementwise import where
from symgrad.ops.index import onehot


@dataclass(frozen=True)
class Argument:
    """Shape, dtype and domain of one symbol of an example."""

    shape: tuple[Any, ...]
    domain: str = "real"
    dtype: Any = dtypes.float64


@dataclass(frozen=True)
class Row:
    """``smooth``: a second derivative exists; ``finite``: finite differences see it."""

    op: str
    build: Callable[..., Any]
    arguments: tuple[Argument, ...]
    note: str = ""
    smooth: bool = True
    finite: bool = True
    in_jax: bool = True
    tolerance: float = 1e-10

    @property
    def label(self):
        return f"{self.op}{' ' if self.note else ''}{self.note}"

    def symbols(self):
        return tuple(
            symbol(f"x{k}", a.shape, a.dtype, number=k) for k, a in enumerate(self.arguments)
        )

    def outputs(self):
        made = self.build(*self.symbols())
        return list(made) if isinstance(made, (tuple, list)) else [made]


SIZES = {"n": 4, "d": 3}
ROWS: list[Row] = []


def row(op, build, *arguments, **facts):
    ROWS.append(Row(op, build, arguments, **facts))


def sample(argument, rng):
    """An array in the domain of an argument, away from kinks and poles."""
    shape = tuple(s if isinstance(s, int) else int(s.value(SIZES)) for s in argument.shape)
    domain = argument.domain
    if domain == "key":
        return np.uint64(rng.integers(2**63))
    if domain == "bool":
        return rng.random(shape) < 0.5
    if domain.startswith("below "):
        return rng.integers(0, int(domain.split()[1]), shape)
    drawn = {
        "real": lambda: rng.uniform(-2, 2, shape),
        "positive": lambda: rng.uniform(0.3, 2.5, shape),
        "unit": lambda: rng.uniform(-0.9, 0.9, shape),
        "above one": lambda: rng.uniform(1.2, 3, shape),
        # never within 0.1 of a whole or half number
        "nonzero": lambda: rng.integers(-3, 3, shape) + rng.choice([0.15, 0.35, 0.65, 0.85], shape),
    }[domain]()
    return drawn.astype(argument.dtype.numpy)


N, D = letter("n"), letter("d")
REAL, POSITIVE = Argument((2, 3)), Argument((2, 3), "positive")


def number(*shape, below=None, domain="real", dtype=None):
    """An argument: integers ``below`` a bound, or reals of a domain."""
    if below is not None:
        return Argument(shape, f"below {below}", dtype or dtypes.int64)
    return Argument(shape, domain, dtype or dtypes.float64)


# ------------------------------------------------------------------ leaves and the kinds

row("symbol", lambda x: x, REAL)
row("symbol", lambda x: x, Argument((N, D)), note="with letters")
row("contraction", matmul, Argument((N, D)), Argument((D, 2)), note="matrix product")
row("contraction", lambda x: contract([x], [[0, 0]], []), Argument((3, 3)), note="trace")
row("contraction", lambda x: contract([x], [[0]], [0, 0]), Argument((3,)), note="diagonal matrix")
row("contraction", lambda x, y, z: contract([x, y, z], [[0, 1], [1, 2], [1]], [2, 0]),
    Argument((2, 3)), Argument((3, 4)), Argument((3,)), note="three factors")  # fmt: skip
row("contraction", lambda x: contract([x], [[0, 1]], [1, 2], {2: 2}), Argument((N, D)),
    note="sum and broadcast")  # fmt: skip
row("sum_of_terms", lambda x, y: 2 * x - y / 3, Argument((2, 3)), Argument((3,)))
row("sum_of_terms", lambda x: x / N + x.T * (1 / D), Argument((N, N)), note="with letters")
row("delta", lambda x: broadcast_to(delta(3, dtypes.float64), (2, 3, 3)) + x, Argument((2, 3, 3)))
row("arange", lambda x: join.arange(N, dtypes.float64) * x, Argument((N,)))
row("arange", lambda: join.arange(5, dtypes.int64), note="integers")

# ------------------------------------------------------------------ maps

PIECEWISE = {"relu", "maximum", "minimum", "abs", "sign", "floor", "ceil", "round", "trunc",
             "floor_divide", "remainder", "fmod"}  # fmt: skip
PAIRS = {"pow", "atan2", "maximum", "minimum", "floor_divide", "remainder", "fmod",
         "gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or", "logical_xor"}  # fmt: skip
SPECIAL = {"power", "polygamma", "where", "cast", "detach"}


def _map_rows():
    for op in list(OPS.values()):
        if op.family != "map" or op.name in SPECIAL:
            continue
        dtype = dtypes.bool_ if op.domain == "bool" else dtypes.float64
        first = Argument((2, 3), op.domain, dtype)
        rest = [Argument((3,), op.domain, dtype)] if op.name in PAIRS else []
        row(op.name, lambda *xs, name=op.name: elementwise(name, *xs), first, *rest,
            smooth=op.name not in PIECEWISE)  # fmt: skip


_map_rows()
for _power in (-1, -2, 5, Fraction(1, 2), Fraction(-1, 2), Fraction(3, 2), 2.7):
    row("power", lambda x, p=_power: power(x, p), POSITIVE, note=str(_power))
row("polygamma", lambda x: elementwise("polygamma", x, statics=(0,)), POSITIVE, note="digamma")
row("polygamma", lambda x: elementwise("polygamma", x, statics=(2,)), POSITIVE, note="second")
row("where", where, Argument((2, 3), "bool", dtypes.bool_), Argument((2, 3)), Argument((3,)))
row("where", lambda x, y: where(elementwise("gt", x, y), elementwise("exp", x), x * y), REAL, REAL,
    note="of a comparison")  # fmt: skip
row("cast", lambda x: cast(cast(x, dtypes.float32), dtypes.float64), REAL, finite=False,
    tolerance=1e-6, note="to float32 and back")  # fmt: skip
row(
    "cast", lambda x: cast(elementwise("gt", x, 1 - x), dtypes.float64) * x, REAL, note="of a truth"
)
row("detach", lambda x: elementwise("detach", x) * x, REAL, finite=False, in_jax=False)

# ------------------------------------------------------------------ along an axis

for _name in ("softmax", "logsumexp", "cumsum", "flip", "prod"):
    row(_name, lambda x, name=_name: along(name, x, -1), REAL, note="last axis")
    row(_name, lambda x, name=_name: along(name, x, 0), Argument((N, D)), note="first axis")
for _name in ("amax", "amin", "argmax", "argmin"):
    row(_name, lambda x, name=_name: along(name, x, -1), REAL, smooth=False)
    row(_name, lambda x, name=_name: along(name, x, 0), Argument((N, D)), smooth=False,
        note="first axis")  # fmt: skip
row("prod", lambda x: sequence.prod(x * elementwise("relu", x), 0), Argument((3, 2)), smooth=False,
    note="with zeros")  # fmt: skip
for _exclusive in (False, True):
    row("cumprod", lambda x, e=_exclusive: sequence.cumprod(x, 0, e), Argument((N, D)),
        note="exclusive" if _exclusive else "")  # fmt: skip
row("cumprod", lambda x: sequence.cumprod(elementwise("relu", x), -1), Argument((2, 4)),
    smooth=False, note="with zeros")  # fmt: skip
for _down in (False, True):
    word = "descending" if _down else "ascending"
    row("sort", lambda x, d=_down: sequence.sort(x, 0, d), Argument((N, D)), note=word)
    row("argsort", lambda x, d=_down: sequence.argsort(x, -1, d), Argument((2, 5)), note=word)
    row("argsort", lambda x, d=_down: sequence.argsort(x, -1, d), number(2, 9, below=3),
        note=f"{word} with ties")  # fmt: skip
row("project", lambda x: sequence.topk(x, 2, -1), Argument((2, 5)), note="largest two")

# ------------------------------------------------------------------ structure

row("reshape", lambda x: structure.reshape(x, (4, -1)), Argument((2, 6)))
row("reshape", lambda x: structure.reshape(x, (D, 2, -1)), Argument((N, D, 2)), note="with letters")
row("slice", lambda x: structure.slice_axes(x, [slice(1, 3), None, slice(0, 5, 2)]),
    Argument((4, 2, 5)))  # fmt: skip
row("slice", lambda x: structure.slice_axis(x, 0, 1, 3), Argument((N, D)), note="of a letter")
row("slice", lambda x: structure.select(x, 0, -2), Argument((N, D)), note="one entry, from the end")
row("place", lambda x: structure.pad(x, [(1, 2), (0, 1)]), REAL, note="pad")
row("place", lambda x: structure.place(x, ((1, 8, 3), None), (9, 3)), Argument((3, 3)),
    note="with steps")  # fmt: skip
row("place", lambda x, y: structure.place(x, ((0, 2, 1),), (N,)) * y, Argument((2,)), Argument((N,)),
    note="into a letter")  # fmt: skip
row("concatenate", lambda x, y: join.concatenate([x, y, x], 0), REAL, Argument((1, 3)))
row("concatenate", lambda x: join.concatenate([x, 2 * x], -1), Argument((N, D)),
    note="letters")  # fmt: skip
for _word in ("tril", "triu"):
    row(_word, lambda x, w=_word: join.triangle(w, x, 0), Argument((2, 3, 4)))
    row(_word, lambda x, w=_word: join.triangle(w, x, -1), Argument((N, D)), note="below")
row("take", lambda x, i: gather.take(x, i, 0), Argument((N, D)), number(2, 3, below=4))
row("take", lambda x, i: gather.take(x, i, -1), Argument((2, 4)), number(below=4), note="scalar")
row("put_add", lambda x, i: gather.put_add(x, i, -2, 5), Argument((4, 3)), number(4, below=5))
row("put_add", lambda x, i, y: gather.put_add(x, i, -1, N) * y, Argument((2, 3)), number(3, below=4),
    Argument((N,)), note="into a letter")  # fmt: skip
row("gather", lambda x, i: gather.gather(x, i, 1), Argument((3, 4)), number(3, 2, below=4))
row("gather", lambda x, i: gather.gather(x, i, 0), Argument((N, D)), number(2, D, below=4),
    note="letters")  # fmt: skip
row("scatter_add", lambda x, i: gather.scatter_add(x, i, 1, 6), Argument((3, 4)),
    number(3, 4, below=6))  # fmt: skip
row("scatter_add", lambda x, i: gather.scatter_add(x, i, 0, 5), Argument((N, D)),
    number(N, D, below=5), note="letters")  # fmt: skip
row("onehot", lambda x, i: matmul(onehot(i, D, dtypes.float64), x), Argument((D, 2)),
    number(5, below=3))  # fmt: skip

# ------------------------------------------------------------------ matrices


def _well(x):
    """Far from singular."""
    return x + 5 * matrix.identity(x)


def _spd(x):
    return matmul(x, matrix.transposed(x)) + matrix.identity(x)


def _symmetric(x):
    return x + matrix.transposed(x) + matrix.diagonal(join.arange(3, x.dtype) * 4)


SQUARE, BATCH, RIGHT = Argument((3, 3)), Argument((2, 3, 3)), Argument((3, 2))
row("inv", lambda x: matrix.inv(_well(x)), BATCH)
row("solve", lambda a, b: matrix.solve(_well(a), b), BATCH, RIGHT, note="broadcast")
row("solve", lambda a, b: matrix.solve(_well(a), b), SQUARE, Argument((2, 3, 2)),
    note="broadcast the matrix")  # fmt: skip
row("solve", lambda a, b: matrix.solve(_well(a), b), SQUARE, Argument((3,)), note="vector")
row("triangular_solve", lambda a, b: matrix.triangular_solve(_well(a), b), BATCH,
    Argument((2, 3, 2)), note="lower")  # fmt: skip
row("triangular_solve", lambda a, b: matrix.triangular_solve(_well(a), b, lower=False), BATCH,
    RIGHT, note="upper")  # fmt: skip
row("triangular_solve", lambda a, b: matrix.triangular_solve(a, b, unit=True), SQUARE, RIGHT,
    note="unit")  # fmt: skip
row("det", lambda x: matrix.det(_well(x)), BATCH)
row("logdet", lambda x: matrix.logdet(_spd(x)), BATCH)
row("slogdet", lambda x: matrix.slogdet(x - 3 * matrix.identity(x)), BATCH)
row("cholesky", lambda x: matrix.cholesky(_spd(x)), BATCH)
row("eigh", lambda x: matrix.eigh(_symmetric(x))[0], BATCH, note="values", tolerance=1e-8)
row("eigh", lambda x: _outer_squares(matrix.eigh(_symmetric(x))[1]), BATCH, note="vectors",
    tolerance=1e-8)  # fmt: skip
row("qr", lambda x: matrix.qr(_tall(x)), Argument((4, 3)), tolerance=1e-8)
row("svd", lambda x: matrix.svd(_tall(x))[1], Argument((4, 3)), note="values", tolerance=1e-8)
row("svd", lambda x: _signless(matrix.svd(_tall(x))), Argument((4, 3)), note="tall", tolerance=1e-8)
row("svd", lambda x: _signless(matrix.svd(matrix.transposed(_tall(x)))), Argument((4, 3)),
    note="wide", tolerance=1e-8)  # fmt: skip


def _tall(x):
    """Four by three, singular values apart."""
    steps = join.arange(3, x.dtype) * 3 + 4
    return x + structure.pad(matrix.diagonal(steps), [(0, 1), (0, 0)])


def _outer_squares(v):
    """Squares of the entries: what does not depend on the signs of the columns."""
    return v * v


def _signless(parts):
    """A product in which the signs of the singular vectors cancel, and the parts do not."""
    u, _, vt = parts
    return matmul(u * u * u, vt)


# ------------------------------------------------------------------ draws

KEY = Argument((), "key", dtypes.key)
row("normal", lambda k: random.normal(k, (2, 3), dtypes.float64), KEY)
row("normal", lambda k, x: random.normal(k, (N, 2), dtypes.float32), KEY, Argument((N, D)),
    note="letters")  # fmt: skip
row("uniform", lambda k: random.uniform(k, (5,), dtypes.float32), KEY)
row("bernoulli", lambda k, p: random.bernoulli(k, p, (2, 3)), KEY, Argument((3,), "unit"))
row("randint", lambda k: random.randint(k, -3, 9, (7,)), KEY)
row("permutation", lambda k: random.permutation(k, 6), KEY)
row("split", lambda k: random.split(k, 3), KEY)
row("fold_in", lambda k, i: random.fold_in(k, i), KEY, number(below=9))
