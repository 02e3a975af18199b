"""Windows over the last axes: sums, largest entries, and where these are.

All follow a :class:`~symgrad.ops.convolution.Window`.  The adjoint of a window sum is a window sum
again (strides and spacing exchanged); that of a largest entry adds to the first place that has it,
as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.core import dtypes
from symgrad.core.build import is_zero, zeros
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Shape, Size, size_product, size_total
from symgrad.errors import ShapeError
from symgrad.ops.convolution import (
    Window,
    extent,
    padded_text,
    reach,
    spread,
    window,
    windows_text,
)
from symgrad.ops.gather import gather, scatter_add
from symgrad.ops.row import ANY, POSTFIX, Template
from symgrad.ops.structure import Inferred, Operands, dtype_text, reshape

Lengths = Shape


def _places(e: Expr, lengths: Lengths, how: Window, what: str) -> Shape:
    rank = how.rank
    front = e.shape[: e.ndim - rank]
    return (
        *front,
        *(extent(e.shape[k - rank], lengths[k], k, how, what) for k in range(rank)),
    )


def _infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    lengths, how = params
    return _places(args[0], lengths, how, "pooling"), args[0].dtype


def _index_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return _infer(args, params)[0], dtypes.int64


def _tuple(values: Any) -> str:
    listed = ", ".join(map(str, values))
    return f"({listed},)" if len(tuple(values)) == 1 else f"({listed})"


def _full(node: Expr, values: Shape, write: Operands) -> str:
    """A number per axis: 1 for the leading axes."""
    return write.shape((*(1,) * (node.ndim - node.params[1].rank), *values))


def _movement(node: Expr, write: Operands) -> str:
    """The arguments of ``jax.lax.reduce_window`` after the function: window, strides, padding."""
    lengths, how = node.params
    around = [write.shape(pair) for pair in how.padding]
    text = f"{_full(node, lengths, write)}, {_full(node, how.strides, write)}"
    text += f", {_tuple([*('(0, 0)',) * (node.ndim - how.rank), *around])}"
    if set(how.base) != {1}:
        text += f", base_dilation={_full(node, how.base, write)}"
    if set(how.dilation) != {1}:
        text += f", window_dilation={_full(node, how.dilation, write)}"
    return text


def _numpy_windows(node: Expr, fill: str, write: Operands) -> str:
    lengths, how = node.params
    padded = padded_text("{0}", node.args[0].shape, how, write, fill)
    return windows_text(padded, _wide(lengths, how, write), how, write)


def _wide(lengths: Lengths, how: Window, write: Operands) -> list[str]:
    """How far each window reaches."""
    return [reach(write.text(n), n, d, write) for n, d in zip(lengths, how.dilation, strict=True)]


def _within(node: Expr) -> str:
    """The axes within the window, as text."""
    return _tuple(range(-node.params[1].rank, 0))


# ------------------------------------------------------------------ sums


Texts = tuple[str, str, Shape]
"""JAX, NumPy, and the sizes that are operands."""


def _template(texts: Callable[[Expr], Texts]) -> Callable[[Expr], Template]:
    def template(node: Expr) -> Template:
        jax, numpy, _ = texts(node)
        return Template((("jax", jax), ("numpy", numpy)), POSTFIX, (POSTFIX, ANY))

    return template


def _operands(texts: Callable[[Expr], Texts]) -> Callable[[Expr], Shape]:
    return lambda node: texts(node)[2]


def _sum_texts(node: Expr) -> Texts:
    write = Operands(1)
    jax_dtype, _ = dtype_text(node.dtype)
    jax = f"jax.lax.reduce_window({{0}}, {jax_dtype}(0), jax.lax.add, {_movement(node, write)})"
    numpy = f"{_numpy_windows(node, '0', write)}.sum(axis={_within(node)})"
    return jax, numpy, tuple(write.sizes)


def _sum_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    lengths, how = node.params
    x = node.args[0]
    rank = how.rank
    padding: list[tuple[Size, Size]] = []
    for k in range(rank):
        wide = size_total(spread(lengths[k], how.dilation[k]), -1)
        before = size_total(wide, -how.padding[k][0])
        long = spread(x.shape[k - rank], how.base[k])
        out = spread(node.shape[k - rank], how.strides[k])
        padding.append((before, size_total(long, -out, wide, -before)))
    return (window_sum(g, lengths, window(rank, how.base, padding, how.strides, how.dilation)),)


Op("window_sum", "window", infer=_infer, vjp=_sum_vjp, template=_template(_sum_texts), text="windowsum",
   size_operands=_operands(_sum_texts))  # fmt: skip


def window_sum(e: Expr, lengths: Lengths, how: Window) -> Expr:
    """Sums over windows of the last axes: ``y[p] = Σₖ x̂[s p + d k]``."""
    if is_zero(e):
        return zeros(_places(e, lengths, how, "pooling"), e.dtype)
    return apply(OPS["window_sum"], (e,), (tuple(lengths), how))


# ------------------------------------------------------------------ largest entries


def _lowest(node: Expr) -> tuple[str, str]:
    """The least number of a dtype in both languages."""
    dtype = node.args[0].dtype
    jax, numpy = dtype_text(dtype)
    if dtype.differentiable:
        return f"{jax}(-jnp.inf)", "-np.inf"
    return f"jnp.iinfo({jax}).min", f"np.iinfo({numpy}).min"


def _max_texts(node: Expr) -> Texts:
    jax, numpy = _lowest(node)
    write = Operands(1)
    return (
        f"jax.lax.reduce_window({{0}}, {jax}, jax.lax.max, {_movement(node, write)})",
        f"{_numpy_windows(node, numpy, write)}.max(axis={_within(node)})",
        tuple(write.sizes),
    )


def _flat(node: Expr) -> str:
    """The numbers 0, 1, … of the last axes, in their shape."""
    sizes = f"{{0}}.shape[-{node.params[1].rank}:]"
    return f"np.arange(np.prod({sizes})).reshape({sizes})"


def _argmax_texts(node: Expr) -> Texts:
    """The first place that has the largest entry; NaN counts as largest."""
    lengths, how = node.params
    x = node.args[0]
    rank = how.rank
    sizes = x.shape[-rank:]
    write = Operands(1)
    places = _flat(node)
    lowest, low = _lowest(node)
    jax = f"largest_at({{0}}, {rank}, {lowest}, {_movement(node, write)})"
    seen = _numpy_windows(node, low, write)
    numbered = windows_text(
        padded_text(places, sizes, how, write, "-1"),
        _wide(lengths, how, write),
        how,
        write,
    )
    flat = f"(lambda w: w.reshape((*w.shape[:-{rank}], -1)))"
    front = ", ".join(["None"] * (x.ndim - rank) + ["..."])
    numpy = (
        f"np.take_along_axis({flat}({numbered})[{front}], "
        f"{flat}({seen}).argmax(axis=-1)[..., None], axis=-1)[..., 0]"
    )
    return jax, numpy, tuple(write.sizes)


def _max_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ receives ḡ at the first place in each window that has the largest entry."""
    lengths, how = node.params
    x = node.args[0]
    return (put_back(g, window_argmax(x, lengths, how), x.shape[-how.rank :]),)


Op("window_max", "window", infer=_infer, vjp=_max_vjp, template=_template(_max_texts), text="maxpool",
   size_operands=_operands(_max_texts))  # fmt: skip
Op("window_argmax", "window", infer=_index_infer, template=_template(_argmax_texts),
   text="argmaxpool", traits=frozenset({"nondifferentiable"}), size_operands=_operands(_argmax_texts))  # fmt: skip


def _plain(how: Window, what: str) -> None:
    if set(how.base) != {1}:
        raise ShapeError(f"{what}: the largest of entries that lie apart is not defined")


def window_max(e: Expr, lengths: Lengths, how: Window) -> Expr:
    """The largest entry of each window of the last axes; padding never wins."""
    _plain(how, "max pooling")
    return apply(OPS["window_max"], (e,), (tuple(lengths), how))


def window_argmax(e: Expr, lengths: Lengths, how: Window) -> Expr:
    """Where each window has its first largest entry: a place in the last axes taken as one."""
    _plain(how, "max pooling")
    return apply(OPS["window_argmax"], (e,), (tuple(lengths), how))


def take_at(e: Expr, index: Expr, rank: int) -> Expr:
    """Entries of the last ``rank`` axes, taken as one, at ``index`` (its last ``rank`` axes too)."""
    front = e.shape[: e.ndim - rank]
    flat = reshape(e, (*front, size_product(e.shape[e.ndim - rank :])))
    total = size_product(index.shape[index.ndim - rank :])
    places = reshape(index, (*index.shape[: index.ndim - rank], total))
    return reshape(gather(flat, places, -1), (*front, *index.shape[index.ndim - rank :]))


def put_back(e: Expr, index: Expr, sizes: Shape) -> Expr:
    """The adjoint of ``take_at``: zeros of the last ``sizes`` with the entries added at ``index``."""
    rank = len(sizes)
    front = e.shape[: e.ndim - rank]
    total = size_product(e.shape[e.ndim - rank :])
    places = reshape(index, (*index.shape[: index.ndim - rank], total))
    added = scatter_add(reshape(e, (*front, total)), places, -1, size_product(sizes))
    return reshape(added, (*front, *sizes))


__all__ = ["put_back", "take_at", "window_argmax", "window_max", "window_sum"]
