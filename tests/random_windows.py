"""Steps of random programs: convolutions, and sums and maxima over windows.

In jnp they are written by slices: the entry ``k`` of every window is one strided slice of x̂.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symgrad.ops.convolution import Window, convolution, window
from symgrad.ops.window import window_argmax, window_max, window_sum
from tests.random_programs import CLEAR, Array, Plan, Program, RefusedError


def _entries(x: Any, lengths: tuple[int, ...], how: Window, fill: Any) -> list[tuple[Any, Any]]:
    """(k, entry k of every window) over the last axes."""
    front = x.ndim - how.rank
    pads = [(*map(int, p), b - 1) for p, b in zip(how.padding, how.base, strict=True)]
    wide = jax.lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0)] * front + pads)
    places = _places(x.shape, lengths, how)
    found: list[tuple[Any, Any]] = []
    for k in itertools.product(*map(range, lengths)):
        cut = [
            slice(j * d, j * d + s * (n - 1) + 1, s)
            for j, d, s, n in zip(k, how.dilation, how.strides, places, strict=True)
        ]
        found.append((k, wide[(..., *cut)]))
    return found


def _places(shape: tuple[int, ...], lengths: tuple[int, ...], how: Window) -> list[int]:
    """How many places a window has along each axis."""
    places: list[int] = []
    for k, length in enumerate(lengths):
        size = (shape[k - how.rank] - 1) * how.base[k] + 1 + sum(map(int, how.padding[k]))
        places.append((size - (length - 1) * how.dilation[k] - 1) // how.strides[k] + 1)
    return places


def _window(program: Program, lengths: tuple[int, ...], least: int, base: bool) -> Window:
    """Strides, padding (from ``least``), spacings drawn at random."""
    rank = len(lengths)

    def drawn(options: tuple[int, ...]) -> list[int]:
        return [program.pick(options) for _ in range(rank)]

    padding = list(zip(drawn((0, 1, least)), drawn((0, 1, least)), strict=True))
    return window(rank, drawn((1, 2)), padding, drawn((1, 2)) if base else None, drawn((1, 1, 2)))


def _fitting(program: Program, k: int, lengths: tuple[int, ...], how: Window) -> None:
    """RefusedError where a window has no place."""
    shape = program.nodes[k].value.shape
    if any(not isinstance(s, int) for s in program.nodes[k].expr.shape[-how.rank :]):
        raise RefusedError
    if min(_places(shape, lengths, how)) < 1:
        raise RefusedError


def _spread_out(program: Program, rank: int, front: int) -> int:
    """A value with ``rank`` axes to move along."""
    shape = (*(program.pick((1, 2)) for _ in range(front)), *(4, 3)[:rank])
    return program.bounded(program.operand(lambda n: n.value.ndim == front + rank, shape))


def _convolution(program: Program) -> None:
    rank, groups = 1 + program.choose(2), 1 + program.choose(2)
    k = _spread_out(program, rank, 2)
    channels = program.nodes[k].expr.shape[1]
    if not isinstance(channels, int) or channels % groups:
        raise RefusedError
    lengths = (2, program.pick((1, 2)))[:rank]
    how = _window(program, lengths, -1, base=True)
    _fitting(program, k, lengths, how)
    filters = groups * program.pick((1, 2))
    shape = (filters, channels // groups, *lengths)
    w = program.bounded(program.operand(lambda n: n.expr.shape == shape, shape))

    def function(x: Any, weight: Any) -> Any:
        blocks = jnp.split(weight, groups, axis=0)
        total: list[Any] = []
        for part, block in zip(jnp.split(x, groups, axis=1), blocks, strict=True):
            entries = _entries(part, lengths, how, 0)
            total.append(
                sum(jnp.einsum("nc...,oc->no...", e, block[(..., *j)]) for j, e in entries)
            )
        return jnp.concatenate(total, axis=1)

    program.emit(f"convolution {how} {groups}", lambda x, y: convolution(x, y, how, groups), function,
                 k, w)  # fmt: skip


def _pooled(name: str) -> Plan:
    def plan(program: Program) -> None:
        rank = 1 + program.choose(2)
        k = _spread_out(program, rank, program.choose(2))
        total = name == "window_sum"
        lengths = (2, program.pick((1, 2)) if total else 2)[:rank]
        how = _window(program, lengths, -1 if total else 0, base=total)
        _fitting(program, k, lengths, how)

        def summed(x: Any) -> Any:
            return sum(e for _, e in _entries(x, lengths, how, 0))

        def largest(x: Any) -> Any:
            return jnp.max(jnp.stack([e for _, e in _entries(x, lengths, how, -jnp.inf)]), axis=0)

        def where(x: Any) -> Any:
            ends = x.shape[x.ndim - rank :]
            number = jnp.broadcast_to(jnp.arange(int(np.prod(ends))).reshape(ends), x.shape)
            values = jnp.stack([e for _, e in _entries(x, lengths, how, -jnp.inf)])
            numbers = jnp.stack([e for _, e in _entries(number, lengths, how, 0)])
            at = jnp.argmax(values, axis=0)[None]
            return jnp.take_along_axis(numbers, at, axis=0)[0]

        def clear(x: Array) -> bool:
            """Entries far apart, and (of two along each axis) no window of padding alone."""
            flat = np.sort(x.reshape(*x.shape[: x.ndim - rank], -1), axis=-1)
            gaps = np.diff(flat, axis=-1)
            return min(x.shape[x.ndim - rank :]) > 1 and bool(gaps.min() > CLEAR)

        build = {"window_sum": window_sum, "window_max": window_max, "window_argmax": window_argmax}
        function = {"window_sum": summed, "window_max": largest, "window_argmax": where}[name]
        program.emit(f"{name} {lengths} {how}", lambda x: build[name](x, lengths, how), function, k,
                     clear=None if total else clear)  # fmt: skip

    return plan


WINDOW_STEPS: dict[str, Plan] = {
    "convolution": _convolution,
    "window_sum": _pooled("window_sum"),
    "window_max": _pooled("window_max"),
    "window_argmax": _pooled("window_argmax"),
}
