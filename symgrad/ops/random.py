"""Random draws: functions of a key, so that the same key gives the same numbers and two draws never
merge unless they are one draw.

A key is a 0-d value of dtype ``key``: in JAX a typed key array, in NumPy one unsigned 64-bit word.
``split`` and ``fold_in`` make new keys from one.  The numbers of JAX and of NumPy differ; both are
reproducible.  A draw is a constant for differentiation: what depends on parameters (mean, scale,
bounds) is arithmetic around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import constant
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size, normal_size, shape_text
from symgrad.errors import DTypeError, ShapeError
from symgrad.ops.row import Template, form
from symgrad.ops.structure import Operands, dtype_text

Inferred = tuple[Shape, DType]
_GENERATOR = "np.random.default_rng(int({0}))"


def _key(e: Expr, what: str) -> None:
    if e.dtype is not dtypes.key or e.shape:
        raise DTypeError(
            f"{what}: the first argument is a random key, not {e!r} of {e.dtype}. Make one symbol "
            "of dtype key and give each draw a key of its own by split() or fold_in()."
        )


def _drawn(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return params[0], params[1]


def _one_key(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return (), dtypes.key


def _draw_row(name: str, jax: str, numpy: str, arity: int = 1) -> None:
    """A draw with params (shape, dtype); SHAPE, SIZE (of one axis), DTYPE are filled in."""

    def written(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
        write = Operands(arity)
        shape = write.shape(node.shape)
        words = dtype_text(node.dtype)
        size = write.text(node.shape[0]) if node.ndim == 1 else ""
        texts = [
            text.replace("SHAPE", shape).replace("SIZE", size).replace("DTYPE", word)
            for text, word in zip((jax, numpy), words, strict=True)
        ]
        return texts[0], texts[1], tuple(write.sizes)

    Op(name, "random", infer=_drawn, template=lambda node: form(*written(node)[:2], arity),
       text=name, traits=frozenset({"random"}),
       size_operands=lambda node: written(node)[2])  # fmt: skip


_draw_row("normal", "jax.random.normal({0}, SHAPE, dtype=DTYPE)",
          f"np.asarray({_GENERATOR}.standard_normal(SHAPE), dtype=DTYPE)")  # fmt: skip
_draw_row("uniform", "jax.random.uniform({0}, SHAPE, dtype=DTYPE)",
          f"np.asarray({_GENERATOR}.random(SHAPE), dtype=DTYPE)")  # fmt: skip
_draw_row("bernoulli", "jax.random.bernoulli({0}, {1}, SHAPE)",
          f"({_GENERATOR}.random(SHAPE) < {{1}})", 2)  # fmt: skip
_draw_row("randint", "jax.random.randint({0}, SHAPE, {1}, {2}, dtype=DTYPE)",
          f"{_GENERATOR}.integers({{1}}, {{2}}, SHAPE).astype(DTYPE)", 3)  # fmt: skip
_draw_row("permutation", "jax.random.permutation({0}, jnp.arange(SIZE, dtype=DTYPE))",
          f"{_GENERATOR}.permutation(np.arange(SIZE, dtype=DTYPE))")  # fmt: skip


def _split_template(node: Expr) -> Template:
    count, k = node.params
    sequence = f"np.random.SeedSequence(int({{0}}), spawn_key=({count}, {k}))"
    return form(f"jax.random.split({{0}}, {count})[{k}]",
                f"{sequence}.generate_state(1, np.uint64)[0]")  # fmt: skip


Op("split", "random", infer=_one_key, template=_split_template, text="split",
   traits=frozenset({"random"}))  # fmt: skip
Op("fold_in", "random", infer=_one_key,
   template=form(
       "jax.random.fold_in({0}, {1})",
       "np.random.SeedSequence(int({0}), spawn_key=(int({1}),)).generate_state(1, np.uint64)[0]",
       2,
   ), text="fold_in", traits=frozenset({"random"}))  # fmt: skip


def split(key: Expr, count: int = 2) -> tuple[Expr, ...]:
    """``count`` new keys; the old one should not be drawn from again."""
    _key(key, "split")
    return tuple(apply(OPS["split"], (key,), (count, k)) for k in range(count))


def fold_in(key: Expr, data: Expr) -> Expr:
    """A new key for each value of a 0-d integer (a step's number)."""
    _key(key, "fold_in")
    if data.dtype.kind not in "iu" or data.shape:
        raise DTypeError(f"fold_in: a 0-d integer is needed, not {data!r} of {data.dtype}")
    return apply(OPS["fold_in"], (key, data))


def _shape(shape: Sequence[Size]) -> Shape:
    sizes = tuple(normal_size(s) for s in shape)
    for size in sizes:
        if isinstance(size, int) and size < 0:
            raise ShapeError(f"a draw of negative dimension {size}: {shape_text(sizes)}")
    return sizes


def _floating(dtype: DType, what: str) -> None:
    if dtype.kind != "f":
        raise DTypeError(f"{what}: a floating point dtype is needed, not {dtype}")


def normal(key: Expr, shape: Sequence[Size], dtype: DType = dtypes.float32) -> Expr:
    """Standard normal draws."""
    _key(key, "normal")
    _floating(dtype, "normal")
    return apply(OPS["normal"], (key,), (_shape(shape), dtype))


def uniform(key: Expr, shape: Sequence[Size], dtype: DType = dtypes.float32) -> Expr:
    """Draws from [0, 1)."""
    _key(key, "uniform")
    _floating(dtype, "uniform")
    return apply(OPS["uniform"], (key,), (_shape(shape), dtype))


def bernoulli(key: Expr, p: Expr | float, shape: Sequence[Size]) -> Expr:
    """True with probability ``p``, which broadcasts to ``shape``."""
    _key(key, "bernoulli")
    if not isinstance(p, Expr):
        p = constant(p, dtypes.float32)
    return apply(OPS["bernoulli"], (key, p), (_shape(shape), dtypes.bool_))


def randint(
    key: Expr, low: Expr | int, high: Expr | int, shape: Sequence[Size],
    dtype: DType = dtypes.int64,
) -> Expr:  # fmt: skip
    """Integers with ``low ≤ value < high``."""
    _key(key, "randint")
    if dtype.kind not in "iu":
        raise DTypeError(f"randint: an integer dtype is needed, not {dtype}")
    bounds = [b if isinstance(b, Expr) else constant(b, dtypes.int64) for b in (low, high)]
    return apply(OPS["randint"], (key, *bounds), (_shape(shape), dtype))


def permutation(key: Expr, size: Size) -> Expr:
    """``0, …, size − 1`` in random order."""
    _key(key, "permutation")
    return apply(OPS["permutation"], (key,), (_shape((size,)), dtypes.int64))
