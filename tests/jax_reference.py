"""Expression graphs as JAX functions: the reference of the tests, by the jax forms of the templates.

It shares nothing with lowering: sums of products go to ``einsum``, every other op to its own text.
"""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from symgrad.core.traverse import topological
from symgrad.evaluate import bind_sizes, concrete


@functools.lru_cache(maxsize=None)
def template_in_jax(template):
    text = re.sub(r"\{(\d+)\}", r"a[\1]", template.form("jax"))
    return eval(f"lambda *a: {text}", {"jax": jax, "jnp": jnp})


def placed(value, labels, rank):
    """``value`` broadcastable over ``rank`` axes, its own at ``labels``."""
    kept = [(x, k) for k, x in enumerate(labels) if x >= 0]
    value = value.reshape([value.shape[k] for _, k in kept])
    out = sorted({x for x, _ in kept})
    value = jnp.einsum(value, [x for x, _ in kept], out)
    return value.reshape([value.shape[out.index(x)] if x in out else 1 for x in range(rank)])


def node_in_jax(node, args, sizes):
    shape = concrete(node.shape, sizes)
    name = node.op.name
    dtype = node.dtype.numpy
    if name == "contraction":
        operands, carried = [], set()
        for value, labels in zip(args, node.params[0], strict=True):
            kept = [(x, k) for k, x in enumerate(labels) if x >= 0]
            carried.update(x for x, _ in kept)
            operands += [value.reshape([value.shape[k] for _, k in kept]), [x for x, _ in kept]]
        out = [x for x in range(len(shape)) if x in carried]
        value = jnp.einsum(*operands, out) if operands else jnp.ones((), dtype)
        value = value.reshape([s if x in carried else 1 for x, s in enumerate(shape)])
        return jnp.broadcast_to(value, shape)
    if name == "sum_of_terms":
        total = jnp.zeros(shape, dtype)
        for (coefficient, labels), value in zip(node.params[0], args, strict=True):
            total = total + jnp.asarray(coefficient.value(sizes), dtype) * placed(
                value, labels, len(shape)
            )
        return total
    if name == "delta":
        return jnp.eye(shape[0], dtype=dtype)
    template = node.op.template
    template = template(node) if callable(template) else template
    function = template_in_jax(template)
    if node.op.family == "map":
        args = [placed(a, ls, len(shape)) for a, ls in zip(args, node.params[0], strict=True)]
        return jnp.broadcast_to(jnp.asarray(function(*args)), shape)
    extra = node.op.size_operands(node) if node.op.size_operands is not None else ()
    return function(*args, *concrete(extra, sizes))


def in_jax(roots, feeds, sizes=None):
    """Values of ``roots`` by JAX, for arrays (or tracers) given to the symbols."""
    arrays = {leaf: v for leaf, v in feeds.items() if leaf.dtype.name != "key"}
    bound = bind_sizes(arrays, sizes)
    values = dict(feeds)
    for node in topological(roots, values.__contains__):
        if node not in values:
            values[node] = node_in_jax(node, [values[a] for a in node.args], bound)
    return [values[r] for r in roots]


def scalar_function(output, wanted, feeds):
    """``output`` as a JAX function of the arrays of ``wanted``; the rest is fixed."""
    fixed = {leaf: v for leaf, v in feeds.items() if leaf not in wanted}

    def function(*arrays):
        return in_jax([output], {**fixed, **dict(zip(wanted, arrays, strict=True))})[0]

    return function


def central_differences(function, arrays, step=1e-5):
    """∂function/∂array by (f(x + h) − f(x − h)) / 2h, every entry on its own."""
    found = []
    for k, array in enumerate(arrays):
        slope = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            both = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[k][at] += sign * step
                both.append(float(function(moved)))
            slope[at] = (both[0] - both[1]) / (2 * step)
        found.append(slope)
    return found


__all__ = ["central_differences", "in_jax", "scalar_function"]
