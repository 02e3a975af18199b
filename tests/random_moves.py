"""Steps of random programs: functions along an axis, and operations that move numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symgrad.core import dtypes
from symgrad.core.build import constant, elementwise, product
from symgrad.ops import gather, join, sequence, structure
from symgrad.ops.axis import along
from symgrad.ops.elementwise import where
from symgrad.ops.index import onehot
from tests.random_programs import CLEAR, Array, Node, Plan, Program, RefusedError, extent_of


def _gaps(x: Array, axis: int) -> bool:
    """Are the entries along an axis all apart?"""
    gaps = np.diff(np.sort(x, axis=axis), axis=axis)
    return not gaps.size or bool(gaps.min() > CLEAR)


def _axis_of(program: Program, limit: float = 2.0) -> tuple[int, int]:
    """(value, one of its axes from the end)."""
    k = program.bounded(program.operand(lambda n: n.value.ndim > 0, program.shape()), limit)
    rank = program.nodes[k].value.ndim
    if not rank:
        raise RefusedError
    return k, program.choose(rank) - rank


def _along(name: str, function: Callable[..., Any], apart: bool = False) -> Plan:
    def plan(program: Program) -> None:
        k, axis = _axis_of(program)
        program.emit(
            f"{name} {axis}", lambda x: along(name, x, axis), lambda x: function(x, axis=axis), k,
            clear=(lambda x: _gaps(x, axis)) if apart else None,
        )  # fmt: skip

    return plan


def _by_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """JAX's running functions count axes from the front."""
    return lambda x, axis: function(x, axis=axis % x.ndim)


def _prod(program: Program) -> None:
    k, axis = _axis_of(program)
    program.emit(f"prod {axis}", lambda x: sequence.prod(x, axis),
                 lambda x: jnp.prod(x, axis=axis), k)  # fmt: skip


def _cumprod(program: Program) -> None:
    k, axis = _axis_of(program)
    exclusive = bool(program.choose(2))

    def function(x: Any) -> Any:
        if exclusive:
            first = jnp.ones_like(jax.lax.slice_in_dim(x, 0, 1, axis=x.ndim + axis))
            kept = jax.lax.slice_in_dim(x, 0, x.shape[axis] - 1, axis=x.ndim + axis)
            x = jnp.concatenate([first, kept], axis=axis)
        return jnp.cumprod(x, axis=axis)

    program.emit(f"cumprod {axis} {exclusive}", lambda x: sequence.cumprod(x, axis, exclusive),
                 function, k)  # fmt: skip


def _sort(program: Program) -> None:
    k, axis = _axis_of(program)
    down = bool(program.choose(2))
    which = int(program.choose(4) == 3)
    order = jnp.argsort if which else jnp.sort
    program.emit(
        f"sort {axis} {down} [{which}]", lambda x: sequence.sort(x, axis, down)[which],
        lambda x: order(x, axis=axis, descending=down), k, clear=lambda x: _gaps(x, axis),
    )  # fmt: skip


def _argsort(program: Program) -> None:
    k, axis = _axis_of(program)
    down = bool(program.choose(2))
    program.emit(
        f"argsort {axis} {down}", lambda x: sequence.argsort(x, axis, down),
        lambda x: jnp.argsort(x, axis=axis, descending=down), k, clear=lambda x: _gaps(x, axis),
    )  # fmt: skip


def _reshape(program: Program) -> None:
    k = program.operand()
    node = program.nodes[k]
    shape = node.expr.shape
    options: list[tuple[Any, ...]] = [(-1,), (*shape, 1), (1, -1)]
    options += [(*shape[:j], -1, *shape[j + 2 :]) for j in range(len(shape) - 1)]
    options += [
        (*shape[:j], q, s // q, *shape[j + 1 :])
        for j, s in enumerate(shape) if isinstance(s, int) for q in (2, 3) if s % q == 0
    ]  # fmt: skip
    new = program.pick(options)
    extents = tuple(s if s == -1 else extent_of(s) for s in new)
    program.emit(f"reshape {new}", lambda x: structure.reshape(x, new),
                 lambda x: jnp.reshape(x, extents), k)  # fmt: skip


def _slice(program: Program) -> None:
    k, axis = _axis_of(program, 20)
    extent = program.nodes[k].value.shape[axis]
    start = program.choose(extent)
    stop = start + 1 + program.choose(extent - start)
    step = 1 + program.choose(2)
    cut = (..., slice(start, stop, step), *(slice(None),) * (-axis - 1))
    program.emit(f"slice {axis} {start}:{stop}:{step}",
                 lambda x: structure.slice_axis(x, axis, start, stop, step), lambda x: x[cut], k)  # fmt: skip


def _select(program: Program) -> None:
    k, axis = _axis_of(program, 20)
    extent = program.nodes[k].value.shape[axis]
    at = program.choose(2 * extent) - extent
    program.emit(f"select {axis} {at}", lambda x: structure.select(x, axis, at),
                 lambda x: jnp.take(x, at % extent, axis=axis), k)  # fmt: skip


def _pad(program: Program) -> None:
    k, axis = _axis_of(program, 20)
    before, after = program.choose(3) - 1, program.choose(3)
    widths = [(before, after), *((0, 0) for _ in range(-axis - 1))]
    rank = program.nodes[k].value.ndim
    if program.nodes[k].value.shape[axis] + min(before, 0) < 1:
        raise RefusedError
    config = [(0, 0, 0)] * (rank - len(widths)) + [(*w, 0) for w in widths]
    program.emit(f"pad {widths}", lambda x: structure.pad(x, widths),
                 lambda x: jax.lax.pad(x, jnp.zeros((), x.dtype), config), k)  # fmt: skip


def _place(program: Program) -> None:
    """Zeros between the entries."""
    k, axis = _axis_of(program, 20)
    node = program.nodes[k]
    extent = node.expr.shape[axis]
    if not isinstance(extent, int):
        raise RefusedError
    start, step, more = program.choose(2), 1 + program.choose(3), program.choose(2)
    stop = start + (extent - 1) * step + 1
    spec = ((start, stop, step), *(None,) * (-axis - 1))
    sizes = (stop + more, *node.expr.shape[node.value.ndim + axis + 1 :])

    def function(x: Any) -> Any:
        full = list(x.shape)
        full[axis] = stop + more
        cut = (..., slice(start, stop, step), *(slice(None),) * (-axis - 1))
        return jnp.zeros(full, x.dtype).at[cut].set(x)

    program.emit(f"place {axis} {start}:{stop}:{step} of {stop + more}",
                 lambda x: structure.place(x, spec, sizes), function, k)  # fmt: skip


def _concatenate(program: Program) -> None:
    k, axis = _axis_of(program, 20)
    shape = program.nodes[k].expr.shape
    at = len(shape) + axis

    def fits(node: Node) -> bool:
        other = node.expr.shape
        return len(other) == len(shape) and all(
            x == at or a == b for x, (a, b) in enumerate(zip(shape, other, strict=True))
        )

    parts = [k, *(program.operand(fits, shape) for _ in range(1 + program.choose(2)))]
    program.emit(f"concatenate {axis}", lambda *e: join.concatenate(e, axis),
                 lambda *x: jnp.concatenate(x, axis=axis), *parts)  # fmt: skip


def _triangle(name: str) -> Plan:
    def plan(program: Program) -> None:
        k = program.operand(lambda n: n.value.ndim >= 2)
        d = program.choose(3) - 1
        program.emit(f"{name} {d}", lambda x: join.triangle(name, x, d),
                     lambda x: getattr(jnp, name)(x, d), k)  # fmt: skip

    return plan


def _arange(program: Program) -> None:
    k, axis = _axis_of(program)
    node = program.nodes[k]
    size = node.expr.shape[axis]
    extent = node.value.shape[axis]
    lead = (-axis - 1) * (1,)
    program.emit(
        f"arange {axis} *",
        lambda x: product(x, structure.reshape(join.arange(size, dtypes.float64), (size, *lead))),
        lambda x: x * jnp.arange(extent, dtype=x.dtype).reshape(extent, *lead), k,
    )  # fmt: skip


def _index(
    program: Program, extent: int, fits: Callable[[Node], bool], shape: Sequence[Any]
) -> int:
    """Integers in range: computed before, or a new leaf."""
    found = [
        k for k, n in enumerate(program.nodes)
        if n.kind == "i" and fits(n) and n.value.min() >= 0 and n.value.max() < extent
    ]  # fmt: skip
    if found and program.choose(3):
        return program.pick(found)
    return program.new(shape, dtypes.int64, extent, "i")


def _take(program: Program) -> None:
    k, axis = _axis_of(program, 20)
    extent = program.nodes[k].value.shape[axis]
    i = _index(program, extent, lambda n: n.value.ndim <= 2, program.shape()[:2])
    program.emit(f"take {axis}", lambda x, j: gather.take(x, j, axis),
                 lambda x, j: jnp.take(x, j, axis=axis), k, i)  # fmt: skip


def _put_add(program: Program) -> None:
    k, axis = _axis_of(program)
    size = program.size(program.pick((3, 2)))
    extent = extent_of(size)
    shape = (program.nodes[k].expr.shape[axis],)
    i = _index(program, extent, lambda n: n.expr.shape == shape, shape)

    def function(x: Any, j: Any) -> Any:
        full = list(x.shape)
        full[axis] = extent
        return jnp.zeros(full, x.dtype).at[(..., j, *(slice(None),) * (-axis - 1))].add(x)

    program.emit(f"put_add {axis} {size}", lambda x, j: gather.put_add(x, j, axis, size), function,
                 k, i)  # fmt: skip


def _gather(program: Program) -> None:
    k, axis = _axis_of(program, 20)
    node = program.nodes[k]
    at = node.value.ndim + axis

    def fits(index: Node) -> bool:
        return index.value.ndim == node.value.ndim and all(
            x == at or a == b
            for x, (a, b) in enumerate(zip(node.expr.shape, index.expr.shape, strict=True))
        )

    shape = list(node.expr.shape)
    shape[axis] = program.pick((2, 4, shape[axis]))
    i = _index(program, node.value.shape[axis], fits, shape)
    program.emit(f"gather {axis}", lambda x, j: gather.gather(x, j, axis),
                 lambda x, j: jnp.take_along_axis(x, j, axis=axis), k, i)  # fmt: skip


def _scattered(name: str, write: Callable[..., Any]) -> Plan:
    """``write(reference to the places, values)``; extremes without a write are read as 0."""
    far = {"scatter_add": 0.0, "scatter_amax": -np.inf, "scatter_amin": np.inf}[name]

    def plan(program: Program) -> None:
        k, axis = _axis_of(program)
        node = program.nodes[k]
        size = program.size(program.pick((3, 2, 4)))
        extent = extent_of(size)
        i = _index(program, extent, lambda n: n.expr.shape == node.expr.shape, node.expr.shape)
        at = node.value.ndim + axis

        def ours(x: Any, j: Any) -> Any:
            if not far:
                return gather.scatter_add(x, j, axis, size)
            made = gather.scatter_extreme(name, x, j, axis, size)
            return where(elementwise("isfinite", made), made, constant(0, made.dtype))

        def function(x: Any, j: Any) -> Any:
            full = list(x.shape)
            full[axis] = extent
            grid = list(jnp.indices(x.shape))
            grid[at] = j
            made = write(jnp.full(full, far, x.dtype).at[tuple(grid)], x)
            return jnp.where(jnp.isfinite(made), made, 0.0)

        program.emit(f"{name} {axis} {size}", ours, function, k, i,
                     clear=(lambda x, j: _gaps(x, axis)) if far else None)  # fmt: skip

    return plan


def _onehot(program: Program) -> None:
    size = program.size(program.pick((3, 2, 4)))
    extent = extent_of(size)
    # A label that is none is refused where it is known: a gather and a product differ there.
    i = program.operand(lambda n: n.value.ndim < 3 and ((n.value >= 0) & (n.value < extent)).all(),
                        kind="i")  # fmt: skip
    k = program.bounded(program.operand(lambda n: n.expr.shape[-1:] in ((), (1,), (size,))
                                        and n.value.ndim < 2, (size,)))  # fmt: skip
    program.emit(f"onehot {size} *", lambda j, x: product(onehot(j, size, dtypes.float64), x),
                 lambda j, x: jax.nn.one_hot(j, extent, dtype=jnp.float64) * x, i, k)  # fmt: skip


MOVE_STEPS: dict[str, Plan] = {
    "softmax": _along("softmax", jax.nn.softmax),
    "logsumexp": _along("logsumexp", jax.nn.logsumexp),
    "amax": _along("amax", jnp.max, apart=True),
    "amin": _along("amin", jnp.min, apart=True),
    "argmax": _along("argmax", jnp.argmax, apart=True),
    "argmin": _along("argmin", jnp.argmin, apart=True),
    "cumsum": _along("cumsum", jnp.cumsum),
    "flip": _along("flip", jnp.flip),
    "cummax": _along("cummax", _by_place(jax.lax.cummax), apart=True),
    "cummin": _along("cummin", _by_place(jax.lax.cummin), apart=True),
    "logcumsumexp": _along("logcumsumexp", _by_place(jax.lax.cumlogsumexp)),
    "prod": _prod,
    "cumprod": _cumprod,
    "sort": _sort,
    "argsort": _argsort,
    "reshape": _reshape,
    "slice": _slice,
    "select": _select,
    "pad": _pad,
    "place": _place,
    "concatenate": _concatenate,
    "tril": _triangle("tril"),
    "triu": _triangle("triu"),
    "arange": _arange,
    "take": _take,
    "put_add": _put_add,
    "gather": _gather,
    "scatter_add": _scattered("scatter_add", lambda at, x: at.add(x)),
    "scatter_amax": _scattered("scatter_amax", lambda at, x: at.max(x)),
    "scatter_amin": _scattered("scatter_amin", lambda at, x: at.min(x)),
    "onehot": _onehot,
}
