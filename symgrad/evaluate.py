"""The value of an expression by NumPy, node by node: cold graphs and the reference for tests.

Products go to ``einsum``; every other op is evaluated by the NumPy form of its row's template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.eager import template_function
from symgrad_codegen.template import Template

from symgrad.core.build import CONTRACTION, DELTA, SUM, inlined
from symgrad.core.dtypes import bfloat16, real_of
from symgrad.core.expr import SYMBOL, Expr, Labels, name_of
from symgrad.core.sizes import Shape, letter_name, shape_text
from symgrad.core.traverse import topological
from symgrad.errors import LinAlgError, LoweringError, PositionError, ShapeError, UnboundError
from symgrad.ops.scan import SCAN

Array = np.ndarray[Any, Any]


def bind_sizes(
    feeds: Mapping[Expr, Array], sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Values of the size letters, read from the arrays; ShapeError where they disagree."""
    bound = dict(sizes or {})
    for leaf, value in feeds.items():
        if len(value.shape) != len(leaf.shape):
            raise ShapeError(
                f"{name_of(leaf)} is declared {shape_text(leaf.shape)} but the array given has "
                f"shape {value.shape}"
            )
        for extent, size in zip(value.shape, leaf.shape, strict=True):
            name = letter_name(size)
            if name:
                known = bound.setdefault(name, extent)
                if known != extent:
                    raise ShapeError(
                        f"{name_of(leaf)}: size {size} is {extent} here but {known} elsewhere"
                    )
            elif isinstance(size, int) and size != extent:
                raise ShapeError(
                    f"{name_of(leaf)} is declared {shape_text(leaf.shape)} but the array given "
                    f"has shape {value.shape}"
                )
    return bound


def concrete(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape with its letters replaced."""
    return tuple(s if isinstance(s, int) else int(s.value(sizes)) for s in shape)


def evaluate(
    roots: Sequence[Expr],
    feeds: Mapping[Expr, Array],
    sizes: Mapping[str, int] | None = None,
) -> list[Array]:
    """Values of ``roots`` for arrays given to the symbols.

    Raises UnboundError for a symbol without a value, ShapeError for one that does not fit.
    """
    bound = bind_sizes(feeds, sizes)
    order = topological(roots, feeds.__contains__)
    if any(node.op.body is not None for node in order):
        bodies = inlined(order, feeds)
        roots = [bodies[r] for r in roots]
        order = topological(roots, feeds.__contains__)
    with np.errstate(all="ignore"):
        values = _values(order, feeds, bound)
    return [values[r] for r in roots]


def _values(
    order: Sequence[Expr], feeds: Mapping[Expr, Array], sizes: Mapping[str, int]
) -> dict[Expr, Array]:
    """Values of the nodes of a topological order."""
    values: dict[Expr, Array] = {}
    for node in order:
        given = feeds.get(node)
        if given is not None:
            values[node] = np.asarray(given, dtype=node.dtype.numpy)
            continue
        found = _quotient(node, values, sizes)
        if found is None:
            found = evaluate_node(node, [values[a] for a in node.args], sizes)
        values[node] = found
    return values


def _scan(node: Expr, args: Sequence[Array], sizes: Mapping[str, int]) -> tuple[Array, ...]:
    """Last states, states after the steps, outputs of the steps: one step after the other."""
    body, reverse = node.params
    bodies = inlined(body.results)
    results = [bodies[e] for e in body.results]
    order = topological(results)
    first, second = len(body.states), len(body.states) + len(body.inputs)
    state, inputs, fixed = args[:first], args[first:second], args[second:]
    count = len(inputs[0])
    stacks = [np.empty((count, *concrete(e.shape, sizes)), e.dtype.numpy) for e in results]
    for t in reversed(range(count)) if reverse else range(count):
        given = (*state, *(x[t] for x in inputs), *fixed)
        values = _values(order, dict(zip(body.symbols, given, strict=True)), sizes)
        for stack, e in zip(stacks, results, strict=True):
            stack[t] = values[e]
        state = [values[e] for e in results[:first]]
    return (*state, *stacks)


def _quotient(node: Expr, values: Mapping[Expr, Array], sizes: Mapping[str, int]) -> Array | None:
    """A product with reciprocals as one division, as programs write it: 49 / 49 is 1."""
    if node.op is not CONTRACTION or node.sums or not node.dtype.differentiable:
        return None
    below = [_is_reciprocal(a) and a.args[0] in values for a in node.args]  # not where it is fed
    if not any(below) or all(below):
        return None
    rank = node.ndim
    top: Any = 1
    bottom: Any = 1
    for arg, labels, under in zip(node.args, node.params[0], below, strict=True):
        if under:
            bottom = bottom * _aligned(values[arg.args[0]], labels, rank)
        else:
            top = top * _aligned(values[arg], labels, rank)
    result = np.asarray(top / bottom, dtype=node.dtype.numpy)
    return np.broadcast_to(result, concrete(node.shape, sizes))


def _is_reciprocal(e: Expr) -> bool:
    """1 ⊘ x, with the axes of x in their order."""
    return e.op.name == "power" and e.params[2] == (-1,) and e.params[0] == (tuple(range(e.ndim)),)


def evaluate_node(node: Expr, args: list[Array], sizes: Mapping[str, int]) -> Array:
    """One node from the values of its arguments."""
    shape = concrete(node.shape, sizes)
    dtype = node.dtype.numpy
    op = node.op
    if op is SYMBOL:
        raise UnboundError(
            f"{name_of(node)} ({shape_text(node.shape)}) is a symbol: no value is bound to it"
        )
    if op is CONTRACTION:
        return _contraction(node, args, shape, sizes)
    if op is SUM:
        total = np.zeros(shape, dtype)
        for (coefficient, labels), value in zip(node.params[0], args, strict=True):
            factor = np.asarray(coefficient.value(sizes)).astype(real_of(node.dtype).numpy)
            total = total + factor * _aligned(value, labels, len(shape))
        return np.asarray(total, dtype=dtype)
    if op is DELTA:
        return np.eye(shape[0], dtype=dtype)
    if op is SCAN:
        return cast(Array, _scan(node, args, sizes))
    if op.function is not None:
        called: Any = op.function[1](*args)
        several = isinstance(called, tuple)
        made = tuple(map(arrays.to_numpy, called)) if several else arrays.to_numpy(called)
        return cast(Array, made)
    if op.template is None:
        raise LoweringError(f"{op.name} has no NumPy form in its row")
    template = op.template if isinstance(op.template, Template) else op.template(node)
    if op.family == "map":
        labels, _, _ = node.params
        placed = [_aligned(a, ls, len(shape)) for a, ls in zip(args, labels, strict=True)]
        value = template_function(template)(*placed)
        return np.broadcast_to(np.asarray(value, dtype=dtype), shape)
    extra = concrete(op.size_operands(node), sizes) if op.size_operands is not None else ()
    try:
        value: Any = template_function(template)(*args, *extra)
    except IndexError as wrong:
        raise PositionError(f"{op.name}: {wrong}") from None
    except np.linalg.LinAlgError as wrong:
        given = ", ".join(shape_text(a.shape) for a in node.args)
        raise LinAlgError(f"{op.name} of {given}: {wrong}") from None
    if isinstance(value, tuple):
        return cast(Array, value)
    return np.asarray(value, dtype=dtype)


def _aligned(value: Array, labels: Labels, rank: int) -> Array:
    """``value`` with its axes at ``labels`` of ``rank`` axes, 1 elsewhere."""
    if len(set(labels) - {-1}) != len([x for x in labels if x >= 0]):
        letters = "".join(chr(97 + x) if x >= 0 else "" for x in labels)
        value = value.reshape([s for s, x in zip(value.shape, labels, strict=True) if x >= 0])
        kept = sorted(set(letters))
        value = np.einsum(f"{letters}->{''.join(kept)}", value)
        labels = tuple(ord(c) - 97 for c in kept)
    kept_axes = [(x, s) for x, s in zip(labels, value.shape, strict=True) if x >= 0]
    value = value.reshape([s for _, s in kept_axes])
    order = sorted(range(len(kept_axes)), key=lambda k: kept_axes[k][0])
    value = value.transpose(order)
    full = [1] * rank
    for k in order:
        full[kept_axes[k][0]] = kept_axes[k][1]
    return value.reshape(full)


def _contraction(
    node: Expr, args: list[Array], shape: tuple[int, ...], sizes: Mapping[str, int]
) -> Array:
    dtype = node.dtype.numpy
    if not args:
        return np.ones(shape, dtype)
    if node.dtype is bfloat16:  # einsum does not know it
        args = [value.astype(np.float32) for value in args]
    operands: list[Any] = []
    carried: set[int] = set()
    for value, labels in zip(args, node.params[0], strict=True):
        kept = [(x, s) for x, s in zip(labels, value.shape, strict=True) if x >= 0]
        carried.update(x for x, _ in kept)
        operands += [value.reshape([s for _, s in kept]), [x for x, _ in kept]]
    out = [x for x in range(len(shape)) if x in carried]
    result = np.einsum(*operands, out, optimize=len(args) > 2)
    full = [s if x in carried else 1 for x, s in enumerate(shape)]
    return np.broadcast_to(np.asarray(result, dtype=dtype).reshape(full), shape)
