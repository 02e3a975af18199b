"""The numbers of a jaxpr, equation by equation, without compiling one kernel per shape.

JAX evaluates a function eagerly by compiling each primitive for each shape; for thousands of small
random programs that is all the time there is.  Here the arithmetic and the moves of a jaxpr are
computed by NumPy; every primitive that is not in ``NUMBERS`` is JAX's own, evaluated eagerly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core

Numbers = Callable[..., Any]


def _dot(a: Any, b: Any, dimension_numbers: Any, **_: Any) -> Any:
    (inner_a, inner_b), (batch_a, batch_b) = dimension_numbers
    rows, columns = list(range(a.ndim)), [a.ndim + k for k in range(b.ndim)]
    for x, y in zip((*inner_a, *batch_a), (*inner_b, *batch_b), strict=True):
        columns[y] = rows[x]
    summed = {rows[x] for x in inner_a}
    batch = [rows[x] for x in batch_a]
    out = [*batch, *(x for x in rows if x not in summed and x not in batch),
           *(x for x in columns if x not in summed and x not in batch)]  # fmt: skip
    return np.einsum(a, rows, b, columns, out)


def _spread(x: Any, shape: Any, broadcast_dimensions: Any, **_: Any) -> Any:
    full = [1] * len(shape)
    for size, at in zip(x.shape, broadcast_dimensions, strict=True):
        full[at] = size
    return np.broadcast_to(x.reshape(full), shape)


def _padded(x: Any, value: Any, padding_config: Any, **_: Any) -> Any:
    inner = [
        n + max(n - 1, 0) * step for n, (_, _, step) in zip(x.shape, padding_config, strict=True)
    ]
    spread = np.full(inner, value, x.dtype)
    spread[tuple(slice(None, None, step + 1) for _, _, step in padding_config)] = x
    spread = np.pad(spread, [(max(low, 0), max(high, 0)) for low, high, _ in padding_config],
                    constant_values=value)  # fmt: skip
    return spread[tuple(slice(max(-low, 0), n - max(-high, 0))
                        for n, (low, high, _) in zip(spread.shape, padding_config, strict=True))]  # fmt: skip


def _triangular(
    a: Any, b: Any, left_side: bool, lower: bool, transpose_a: bool, unit_diagonal: bool, **_: Any
) -> Any:
    a = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        a = np.where(np.eye(a.shape[-1], dtype=bool), 1, a)
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    if left_side:
        return np.linalg.solve(a, b)
    turned = np.linalg.solve(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2))
    return np.swapaxes(turned, -1, -2)


def _reshaped(x: Any, new_sizes: Any, dimensions: Any, **_: Any) -> Any:
    return (x if dimensions is None else np.transpose(x, dimensions)).reshape(new_sizes)


def _sliced(x: Any, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _selected(which: Any, *cases: Any) -> Any:
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which, cases)


def _plain(function: Numbers) -> Numbers:
    return lambda *x, **_: function(*x)


NUMBERS: dict[str, Numbers] = {
    **{
        name: _plain(function)
        for name, function in {
            "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply,
            "neg": np.negative, "square": np.square, "exp": np.exp, "exp2": np.exp2,
            "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos,
            "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "sqrt": np.sqrt,
            "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2,
            "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power,
            "rsqrt": lambda x: 1 / np.sqrt(x), "logistic": lambda x: 1 / (1 + np.exp(-x)),
            "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil,
            "max": np.maximum, "min": np.minimum, "rem": np.fmod,
            "eq": np.equal, "ne": np.not_equal, "gt": np.greater, "ge": np.greater_equal,
            "lt": np.less, "le": np.less_equal, "and": np.bitwise_and, "or": np.bitwise_or,
            "xor": np.bitwise_xor, "not": np.invert, "is_finite": np.isfinite,
            "stop_gradient": lambda x: x, "copy": lambda x: x, "copy_p": lambda x: x,
            "select_n": _selected,
        }.items()
    },
    "div": lambda a, b: a / b if a.dtype.kind == "f" else np.trunc(a / b).astype(a.dtype),
    "integer_pow": lambda x, y: np.power(x, float(y)).astype(x.dtype),
    "convert_element_type": lambda x, new_dtype, **_: x.astype(new_dtype),
    "dot_general": _dot,
    "broadcast_in_dim": _spread,
    "reshape": _reshaped,
    "squeeze": lambda x, dimensions, **_: np.squeeze(x, dimensions),
    "transpose": lambda x, permutation, **_: np.transpose(x, permutation),
    "rev": lambda x, dimensions, **_: np.flip(x, dimensions),
    "reduce_sum": lambda x, axes, out_sharding=None: np.sum(x, tuple(axes)),
    "reduce_max": lambda x, axes, out_sharding=None: np.max(x, tuple(axes)),
    "reduce_min": lambda x, axes, out_sharding=None: np.min(x, tuple(axes)),
    "reduce_and": lambda x, axes, out_sharding=None: np.all(x, tuple(axes)),
    "reduce_or": lambda x, axes, out_sharding=None: np.any(x, tuple(axes)),
    "cumsum": lambda x, axis, reverse: _directed(np.cumsum, x, axis, reverse),
    "cumprod": lambda x, axis, reverse: _directed(np.cumprod, x, axis, reverse),
    "concatenate": lambda *x, dimension: np.concatenate(x, dimension),
    "pad": _padded,
    "triangular_solve": _triangular,
    "slice": _sliced,
    "iota": lambda *_, dtype, shape, dimension, **__: np.broadcast_to(
        np.arange(shape[dimension], dtype=dtype).reshape(
            [-1 if k == dimension else 1 for k in range(len(shape))]
        ),
        shape,
    ),
}  # fmt: skip


INNER: dict[str, str] = {
    "jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
}  # fmt: skip
"""Primitives that call a jaxpr, and where they keep it."""


def _directed(function: Numbers, x: Any, axis: int, reverse: bool) -> Any:
    return np.flip(function(np.flip(x, axis), axis), axis) if reverse else function(x, axis)


def numbers(jaxpr: core.Jaxpr, constants: Any, arguments: Any) -> list[Any]:
    """The results of a jaxpr."""
    values: dict[Any, Any] = {}
    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val if isinstance(atom, core.Literal) else values[atom])

    for equation in jaxpr.eqns:
        given = [read(x) for x in equation.invars]
        primitive = equation.primitive
        inner = equation.params.get(INNER.get(primitive.name))
        known = NUMBERS.get(primitive.name)
        if inner is not None:
            found = numbers(inner.jaxpr, inner.consts, given)
        elif primitive.name == "split":
            cuts = np.cumsum(equation.params["sizes"])[:-1]
            found = np.split(given[0], cuts, equation.params["axis"])
        elif known is not None:
            dtype = equation.outvars[0].aval.dtype
            found = [np.asarray(known(*given, **equation.params)).astype(dtype, copy=False)]
        else:
            made = primitive.bind(*given, **primitive.get_bind_params(equation.params))
            found = made if primitive.multiple_results else [made]
        values.update(zip(equation.outvars, found, strict=True))
    return [read(x) for x in jaxpr.outvars]


def with_numpy(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` with the arithmetic of its jaxpr computed by NumPy."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    with np.errstate(all="ignore"):
        found = numbers(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(shape), found)
