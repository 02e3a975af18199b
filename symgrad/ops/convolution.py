"""Convolution over the last axes, as XLA's: one op whose two derivatives are convolutions again.

``y[n, o, p] = Σ_{c, k} x̂[n, c, s p + d k] W[o, c, k]`` where x̂ is x with ``base − 1`` zeros between
its entries and ``padding`` zeros around them (fewer than none: cut).  With groups, the channels of
x and the filters of W lie in as many blocks, and a block of filters sees one block of channels.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.core.build import is_zero, permute, relabelling, zeros
from symgrad.core.expr import Expr, Labels, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import (
    Shape,
    Size,
    monomial,
    normal_size,
    shape_text,
    size_product,
    size_quotient,
    size_total,
)
from symgrad.errors import DTypeError, ShapeError
from symgrad.ops.axis import along
from symgrad.ops.row import HOLOMORPHIC, POSTFIX, Template
from symgrad.ops.structure import Inferred, Operands, reshape

Pairs = tuple[tuple[Size, Size], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """How a window moves along the last axes; one number (or pair) for each of them.

    ``strides`` steps of the window, ``padding`` zeros before and after, ``base`` spacing of the
    entries (1: none between), ``dilation`` spacing within the window.
    """

    strides: Shape
    padding: Pairs
    base: Shape
    dilation: Shape

    @property
    def rank(self) -> int:
        """Number of axes that the window moves along."""
        return len(self.strides)


def window(
    rank: int,
    strides: Sequence[Size] | None = None,
    padding: Sequence[tuple[Size, Size]] | None = None,
    base: Sequence[Size] | None = None,
    dilation: Sequence[Size] | None = None,
) -> Window:
    """A window of ``rank`` axes; what is not given is 1, and no padding."""
    ones = (1,) * rank
    if strides and any(isinstance(s, int) and s <= 0 for s in strides):
        raise ShapeError("non-positive stride is not supported")
    return Window(
        tuple(strides or ones),
        tuple((a, b) for a, b in padding) if padding is not None else ((0, 0),) * rank,
        tuple(base or ones),
        tuple(dilation or ones),
    )


def spread(size: Size, dilation: Size) -> Size:
    """Extent of ``size`` entries ``dilation`` apart."""
    if dilation == 1 or size == 0:
        return size
    return size_total(monomial(size) * dilation, -dilation, 1)


def extent(size: Size, length: Size, at: int, how: Window, what: str) -> Size:
    """Number of places of a window of ``length`` along an axis of ``size``.

    Raises ShapeError where the window is longer than the padded axis.
    """
    before, after = how.padding[at]
    long, wide = spread(size, how.base[at]), spread(length, how.dilation[at])
    stride = how.strides[at]
    left = size_total(long, before, after, -wide)
    if isinstance(left, int) and left < 0:
        raise ShapeError(
            f"{what}: Calculated padded input size per channel: ({size_total(long, before, after)}). "
            f"Kernel size: ({wide}). Kernel size can't be greater than actual input size"
        )
    return size_total(size_quotient(left, stride), 1)


# ------------------------------------------------------------------ the op


def _infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    x, w = args
    how: Window = params[0]
    rank = how.rank
    spatial = tuple(
        extent(x.shape[k - rank], w.shape[k - rank], k, how, "convolution") for k in range(rank)
    )
    return (x.shape[0], w.shape[0], *spatial), x.dtype


def _listed(values: Sequence[Any]) -> str:
    return f"({', '.join(map(str, values))}{',' if len(values) == 1 else ''})"


def _jax(node: Expr, write: Operands) -> str:
    how, groups = node.params
    padding = [f"({write.text(a)}, {write.text(b)})" for a, b in how.padding]
    text = (
        f"jax.lax.conv_general_dilated({{0}}, {{1}}, {write.shape(how.strides)}, {_listed(padding)}"
    )
    if set(how.base) != {1}:
        text += f", lhs_dilation={write.shape(how.base)}"
    if set(how.dilation) != {1}:
        text += f", rhs_dilation={write.shape(how.dilation)}"
    return text + (f", feature_group_count={groups})" if groups > 1 else ")")


def padded_text(text: str, shape: Shape, how: Window, write: Operands, fill: str = "0") -> str:
    """NumPy's text of x̂: the entries apart, padded with ``fill``, or cut."""
    rank = how.rank
    widths, cuts = ["(0, 0)"] * (len(shape) - rank), list[str]()
    for k, (before, after) in enumerate(how.padding):
        size, step = shape[k - rank], how.base[k]
        if step != 1:
            more = str(step - 1) if isinstance(step, int) else f"{write.text(step)} - 1"
            between = f"np.repeat(np.arange(1, {known(size, 0, k - rank)}), {more})"
            text = f"np.insert({text}, {between}, {fill}, axis={k - rank})"
        (left, first), (right, last) = _widths(before, write), _widths(after, write)
        cuts.append(f"{first}:{last and f'-{last} or None'}")
        widths.append(f"({left}, {right})")
    if any(cut != ":" for cut in cuts):
        text = f"{text}[..., {', '.join(cuts)}]"
    if any(w != "(0, 0)" for w in widths):
        filled = "" if fill == "0" else f", constant_values={fill}"
        text = f"np.pad({text}, {_listed(widths)}{filled})"
    return text


def _widths(padding: Size, write: Operands) -> tuple[str, str]:
    """How many entries are put before or after; and how many are cut, "" for none."""
    if isinstance(padding, int):
        return str(max(padding, 0)), str(-padding) if padding < 0 else ""
    text = write.text(padding)
    return f"max({text}, 0)", f"max(-({text}), 0)"


def known(size: Size, operand: int, axis: int) -> str:
    """A size as NumPy's text: a number, or read from the shape of an operand that has it."""
    return str(size) if isinstance(size, int) else f"{{{operand}}}.shape[{axis}]"


def reach(text: str, length: Size, dilation: Size, write: Operands) -> str:
    """How far a window of ``length``, which is called ``text``, reaches."""
    if dilation == 1 or (isinstance(length, int) and isinstance(dilation, int)):
        return text if dilation == 1 else str(spread(length, dilation))
    return f"({text} - 1) * {write.text(dilation)} + 1"


def windows_text(text: str, lengths: Sequence[str], how: Window, write: Operands) -> str:
    """NumPy's text of all windows of x̂: the axes of places, then those within the window."""
    steps = [*how.strides, *how.dilation]
    text = (
        f"np.lib.stride_tricks.sliding_window_view({text}, {_listed(lengths)}, "
        f"axis={_listed(range(-how.rank, 0))})"
    )
    if set(steps) == {1}:
        return text
    return f"{text}[..., {', '.join('::' + write.text(s) if s != 1 else ':' for s in steps)}]"


def _numpy(node: Expr, write: Operands) -> str:
    how, groups = node.params
    x, w = node.args
    rank = how.rank
    low = node.dtype.name == "bfloat16"
    first, second = ("{0}.astype(np.float32)", "{1}.astype(np.float32)") if low else ("{0}", "{1}")
    taps = [known(s, 1, k + 2) for k, s in enumerate(w.shape[2:])]
    wide = [
        reach(known(s, 1, k + 2), s, d, write)
        for k, (s, d) in enumerate(zip(w.shape[2:], how.dilation, strict=True))
    ]
    seen = windows_text(padded_text(first, x.shape, how, write), wide, how, write)
    at, of = "hwd"[:rank], "ijk"[:rank]
    if groups == 1:
        text = f'np.einsum("nc{at}{of},oc{of}->no{at}", {seen}, {second}, optimize=True)'
    else:
        channels = known(w.shape[1], 1, 1)
        places = [known(s, 0, k + 2) for k, s in enumerate(node.shape[2:])]
        blocks = [known(x.shape[0], 0, 0), str(groups), channels]
        split = f"{seen}.reshape({_listed([*blocks, *places, *taps])})"
        filters = f"{second}.reshape({_listed([str(groups), '-1', channels, *taps])})"
        text = (
            f'np.einsum("ngc{at}{of},goc{of}->ngo{at}", {split}, {filters})'
            f".reshape({_listed([blocks[0], known(w.shape[0], 1, 0), *places])})"
        )
    return f"{text}.astype({{0}}.dtype)" if low else text


def _texts(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
    write = Operands(2)
    return _jax(node, write), _numpy(node, write), tuple(write.sizes)


def _template(node: Expr) -> Template:
    # operands stand before a dot in NumPy
    jax, numpy, _ = _texts(node)
    return Template((("jax", jax), ("numpy", numpy)), POSTFIX, (POSTFIX, POSTFIX))


# ------------------------------------------------------------------ derivatives


def turned_around(w: Expr, rank: int) -> Expr:
    """Each filter the other way round along its last ``rank`` axes; twice is not at all."""
    axes = set(range(-rank, 0))
    moved = None
    while True:
        if w.op.name == "flip":
            axes ^= {w.params[0]}
            w = w.args[0]
        elif moved is None and _keeps(relabelling(w), w.ndim):
            moved, w = w, w.args[0]
        else:
            break
    for k in sorted(axes):
        w = along("flip", w, k)
    return w if moved is None else moved.func(w)


def _keeps(order: Labels | None, rank: int) -> bool:
    """Does it exchange but the first two axes, or put two of size 1 in front?"""
    if order is None or order == tuple(range(2, rank)):
        return order is not None
    return len(order) == rank and order[2:] == tuple(range(2, rank))


def _of_input(node: Expr, g: Expr, extra: Shape) -> Expr:
    """x̄: the adjoint, entries ``strides`` apart, with each filter turned around."""
    how, groups = node.params
    x, w = node.args
    rank = how.rank
    padding: list[tuple[Size, Size]] = []
    for k in range(rank):
        wide = size_total(spread(w.shape[k - rank], how.dilation[k]), -1)
        before = size_total(wide, -how.padding[k][0])
        long = spread(x.shape[k - rank], how.base[k])
        seen = spread(node.shape[k - rank], how.strides[k])
        padding.append((before, size_total(long, -seen, wide, -before)))
    w = turned_around(w, rank)
    filters, channels, *taps = w.shape
    split = reshape(w, (groups, _part(filters, groups), channels, *taps))
    turned = permute(split, (0, 2, 1, *range(3, split.ndim)))
    turned = reshape(turned, (size_product((groups, channels)), turned.shape[2], *taps))
    flat = reshape(g, (size_product((*extra, node.shape[0])), *node.shape[1:]))
    back = window(rank, how.base, padding, how.strides, how.dilation)
    return reshape(convolution(flat, turned, back, groups), (*extra, *x.shape))


def _of_filters(node: Expr, g: Expr, extra: Shape) -> Expr:
    """W̄: x with batch and channels exchanged, the adjoint as its filters."""
    how, groups = node.params
    x, w = node.args
    rank, many = how.rank, size_product(extra)
    padding: list[tuple[Size, Size]] = []
    for k in range(rank):
        wide = size_total(spread(w.shape[k - rank], how.dilation[k]), -1)
        long = spread(x.shape[k - rank], how.base[k])
        before = how.padding[k][0]
        seen = spread(node.shape[k - rank], how.strides[k])
        padding.append((before, size_total(seen, -long, wide, -before)))
    count, _, *room = x.shape
    filters, channels, *taps = w.shape
    split = reshape(x, (count, groups, channels, *room))
    split = permute(split, (2, 1, 0, *range(3, split.ndim)))
    data = reshape(split, (channels, size_product((groups, count)), *room))
    part = _part(filters, groups)
    split = reshape(g, (many, count, groups, part, *node.shape[2:]))
    split = permute(split, (2, 0, 3, 1, *range(4, split.ndim)))
    seeds = reshape(split, (size_product((many, filters)), count, *node.shape[2:]))
    moved = window(rank, how.dilation, padding, how.base, how.strides)
    made = reshape(convolution(data, seeds, moved, groups), (channels, groups, many, part, *taps))
    made = permute(made, (2, 1, 3, 0, *range(4, made.ndim)))
    return reshape(made, (*extra, *w.shape))


def _part(size: Size, groups: int) -> Size:
    """``size / groups``."""
    return normal_size(monomial(size) / groups)


def _vjp(node: Expr, g: Expr) -> tuple[Expr, Expr]:
    extra = g.shape[: g.ndim - node.ndim]
    return _of_input(node, g, extra), _of_filters(node, g, extra)


Op("convolution", "window", infer=_infer, vjp=_vjp, template=_template, text="conv",
   traits=HOLOMORPHIC,
   size_operands=lambda node: _texts(node)[2])  # fmt: skip


def convolution(x: Expr, w: Expr, how: Window, groups: int = 1) -> Expr:
    """``y[n, o, p] = Σ_{c, k} x̂[n, c, s p + d k] W[o, c, k]``.

    x ``(n, groups · c, *sizes)``, W ``(o, c, *taps)``, result ``(n, o, *places)``.

    Raises ShapeError where ranks or channels do not fit, DTypeError where the dtypes differ.
    """
    if x.ndim != how.rank + 2 or w.ndim != how.rank + 2:
        raise ShapeError(
            f"convolution along {how.rank} axes: expected {how.rank + 2} axes of input and "
            f"weight, but got {shape_text(x.shape)} and {shape_text(w.shape)}"
        )
    if x.dtype is not w.dtype:
        raise DTypeError(
            f"convolution: Input type ({x.dtype}) and weight type ({w.dtype}) should be the same; "
            "cast one with .to(...)"
        )
    if x.shape[1] != size_product((w.shape[1], groups)):
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(w.shape)}, expected input"
            f"{list(x.shape)} to have {size_product((w.shape[1], groups))} channels, but got "
            f"{x.shape[1]} channels instead"
        )
    if isinstance(w.shape[0], int) and w.shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {list(w.shape)} instead"
        )
    shape, dtype = _infer((x, w), (how, groups))
    if is_zero(x) or is_zero(w):
        return zeros(shape, dtype)
    return apply(OPS["convolution"], (x, w), (how, groups))


__all__ = [
    "Window",
    "convolution",
    "extent",
    "known",
    "padded_text",
    "reach",
    "spread",
    "turned_around",
    "window",
    "windows_text",
]
