"""Ops that only move numbers: reshape, slice and its adjoint place.

All of them are linear, and each adjoint is another of them.  Axes are counted from the end, so that
an adjoint with extra leading axes needs no change of rule.  Sizes may be letters; a size that the
source needs is an operand of the template (``size_operands``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from symgrad.core.build import DELTA, constant, constant_value, contract, is_zero, zeros
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import (
    Monomial,
    Shape,
    Size,
    monomial,
    normal_size,
    shape_text,
    size_product,
    size_total,
)
from symgrad.errors import AxisError, ShapeError
from symgrad.ops.row import ANY, COMPLEX, POSTFIX, Template

Inferred = tuple[Shape, DType]
Part = tuple[Size, Size, int]
"""(start, stop, step) of one axis, within its bounds."""
Spec = tuple[Part | None, ...]
"""What is taken of the last axes; None for a whole axis."""


def is_selection(e: Expr) -> bool:
    """Is it a slice of the rows of δ?"""
    if e.op.name != "slice" or e.args[0].op is not DELTA:
        return False
    spec = e.params[0]
    return len(spec) == 2 and spec[1] is None


def position(axis: int, rank: int, what: str) -> int:
    """``axis`` counted from the end; AxisError where there is no such axis."""
    if not -rank <= axis < rank:
        raise AxisError(
            f"{what}: Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], "
            f"but got {axis})"
        )
    return axis if axis < 0 else axis - rank


class Operands:
    """Sizes as text of a template: numbers are written out, letters become operands."""

    def __init__(self, arity: int) -> None:
        self.arity = arity
        self.sizes: list[Size] = []

    def text(self, size: Size | None) -> str:
        """``3``, or the hole of an operand."""
        if isinstance(size, int):
            return str(size)
        assert size is not None
        if size not in self.sizes:
            self.sizes.append(size)
        return f"{{{self.arity + self.sizes.index(size)}}}"

    def shape(self, shape: Shape) -> str:
        """``(n, 3)`` as text."""
        listed = ", ".join(map(self.text, shape))
        return f"({listed},)" if len(shape) == 1 else f"({listed})"


def dtype_text(dtype: DType) -> tuple[str, str]:
    """A dtype in JAX's and NumPy's spelling."""
    name = {"bool": "bool_"}.get(dtype.name, dtype.name)
    return f"jnp.{name}", "np.dtype('bfloat16')" if name == "bfloat16" else f"np.{name}"


def _same(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, args[0].dtype


def spread_constant(e: Expr, shape: Shape) -> Expr | None:
    """A constant in another shape; None for what is no constant."""
    value = constant_value(e)
    return None if value is None else constant(value, e.dtype, shape)


# ------------------------------------------------------------------ reshape


def _reshape_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return params[0], args[0].dtype


def _reshape_template(node: Expr) -> Template:
    sizes = ", ".join(f"{{{k + 1}}}" for k in range(node.ndim))
    text = f"{{0}}.reshape({sizes})"
    return Template((("jax", text), ("numpy", text)), POSTFIX, (POSTFIX, ANY))


def _reshape_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    front = g.shape[: g.ndim - node.ndim]
    return (reshape(g, (*front, *node.args[0].shape)),)


def _reshape_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    """Only size-1 axes come and go: a relabelling.  A reshape of a reshape is one."""
    (e,), (shape,) = args, params
    if e.op is OPS["reshape"]:
        e = e.args[0]
    if e.shape == shape:
        return e
    flat = spread_constant(e, shape)
    if flat is not None:
        return flat
    if [s for s in e.shape if s != 1] == [s for s in shape if s != 1]:
        places = [k for k, s in enumerate(shape) if s != 1]
        kept = iter(places)
        labels = [-1 if s == 1 else next(kept) for s in e.shape]
        return contract([e], [labels], range(len(shape)), dict(enumerate(shape)), e.dtype)
    return apply(OPS["reshape"], (e,), (shape,))


Op("reshape", "structure", infer=_reshape_infer, vjp=_reshape_vjp, template=_reshape_template,
   text="reshape", build=_reshape_build, traits=COMPLEX,
   size_operands=lambda node: node.params[0])  # fmt: skip


def _not_that_many(e: Expr, spelled: str, asked: Size) -> ShapeError:
    total = size_product(e.shape)
    return ShapeError(
        f"shape '{spelled}' is invalid for input of size {total}",
        f"The new sizes must multiply to {total}, not {asked}; one of them may be -1."
        if "-1" not in spelled
        else f"The given sizes must divide {total}; {asked} does not.",
    )


def reshape(e: Expr, shape: Sequence[Size]) -> Expr:
    """The same numbers in another shape, last axis fastest; one size may be −1.

    Raises ShapeError where the numbers of elements differ.
    """
    sizes = [normal_size(s) for s in shape]
    spelled = f"[{', '.join(map(str, sizes))}]"
    total = size_product(e.shape)
    unknown = [k for k, s in enumerate(sizes) if s == -1]
    if len(unknown) > 1:
        raise ShapeError("only one dimension can be inferred", "Give all sizes but one.")
    if unknown:
        known = size_product(tuple(s for s in sizes if s != -1))
        if known == 0:
            raise ShapeError(
                f"cannot reshape tensor of 0 elements into shape {spelled} because the "
                "unspecified dimension size -1 can be any value and is ambiguous",
                "Give the size in place of -1.",
            )
        left = monomial(total) / known
        if left.number != int(left.number) or any(p < 0 for _, p in left.powers):
            raise _not_that_many(e, spelled, known)
        sizes[unknown[0]] = normal_size(left)
    elif any(isinstance(s, int) and s < 0 for s in sizes):
        bad = next(s for s in sizes if isinstance(s, int) and s < 0)
        raise ShapeError(
            f"invalid shape dimension {bad} in shape '{spelled}'",
            "Sizes are not negative; one may be -1, which stands for the rest.",
        )
    if size_product(tuple(sizes)) != total:
        raise _not_that_many(e, spelled, size_product(tuple(sizes)))
    return _reshape_build((e,), (tuple(sizes),))


def _divides(small: Monomial, large: Monomial) -> bool:
    left = large / small
    return left.number == int(left.number) and all(p > 0 for _, p in left.powers)


def blocks(before: Sequence[Size], after: Sequence[Size]) -> Iterator[tuple[list[int], list[int]]]:
    """Axes of two shapes of one size that stand for each other; axes of size 1 for nothing."""
    left = [k for k, s in enumerate(before) if s != 1][::-1]
    right = [k for k, s in enumerate(after) if s != 1][::-1]
    while left or right:
        ins, outs = [], []
        low, high = monomial(1), monomial(1)
        while not ins or low != high:
            if left and (not ins or _divides(low, high)):
                ins.append(left.pop())
                low = low * before[ins[-1]]
            elif right and (not outs or _divides(high, low)):
                outs.append(right.pop())
                high = high * after[outs[-1]]
            else:
                ins += left[::-1]
                outs += right[::-1]
                left, right = [], []
                break
        yield ins, outs


# ------------------------------------------------------------------ slice and place


def _length(part: Part) -> Size:
    start, stop, step = part
    if isinstance(start, int) and isinstance(stop, int):
        return len(range(start, stop, step))
    return size_total(stop, -start)


def _slice_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    shape, (spec,) = args[0].shape, params
    front = shape[: len(shape) - len(spec)]
    taken = shape[len(shape) - len(spec) :]
    return (
        (*front, *(s if p is None else _length(p) for s, p in zip(taken, spec, strict=True))),
        args[0].dtype,
    )


def _slice_text(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
    """``x[..., 1:3, :]``; an axis with a letter is cut by a call that refuses to clamp."""
    e, (spec,) = node.args[0], node.params
    write = Operands(1)
    index: list[str] = []
    checked: list[tuple[int, Part]] = []
    for k, part in enumerate(spec):
        axis = k - len(spec)
        if part is None:
            index.append(":")
        elif isinstance(e.shape[axis], int):
            start, stop, step = (str(x) for x in part)
            head = "" if part[0] == 0 else start
            tail = "" if part[1] == e.shape[axis] else stop
            index.append(f"{head}:{tail}" + (f":{step}" if step != "1" else ""))
        else:
            index.append(":")
            checked.append((axis, part))
    lead = ["..."] if len(spec) < e.ndim else []
    while index and index[-1] == ":" and not lead:
        index.pop()
    text = f"{{0}}[{', '.join(lead + index)}]" if any(i != ":" for i in index) else "{0}"
    jax = numpy = text
    for axis, (start, stop, step) in checked:
        bounds = f"{write.text(start)}, {write.text(stop)}, {step}"
        jax = f"jax.lax.slice_in_dim({jax}, {bounds}, axis={axis})"
        numpy = f"np.take({numpy}, range({bounds}), axis={axis})"
    return jax, numpy, tuple(write.sizes)


def _slice_template(node: Expr) -> Template:
    jax, numpy, _ = _slice_text(node)
    hole = POSTFIX if jax.startswith("{0}") else ANY
    return Template((("jax", jax), ("numpy", numpy)), POSTFIX, (hole, ANY))


def _slice_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    (spec,) = node.params
    shape = node.args[0].shape
    return (place(g, spec, shape[len(shape) - len(spec) :]),)


def _slice_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    (e,), (spec,) = args, params
    parts: list[Part | None] = []
    for k, part in enumerate(spec):
        whole = (
            part is not None
            and part[0] == 0
            and part[2] == 1
            and (part[1] == e.shape[k - len(spec)])
        )
        parts.append(None if whole else part)
    while parts and parts[0] is None:
        parts.pop(0)
    if not parts:
        return e
    params = (tuple(parts),)
    flat = spread_constant(e, _slice_infer((e,), params)[0])
    return flat if flat is not None else apply(OPS["slice"], (e,), params)


Op("slice", "structure", infer=_slice_infer, vjp=_slice_vjp, template=_slice_template,
   text="slice", build=_slice_build, traits=COMPLEX,
   size_operands=lambda node: _slice_text(node)[2])  # fmt: skip


def _bounds(size: Size, start: Size | None, stop: Size | None, step: int, what: str) -> Part:
    """(start, stop, step) in bounds, by Python's rules."""
    if step <= 0:
        raise ShapeError(f"{what}: step must be greater than zero, but got {step}; use flip()")
    start = 0 if start is None else normal_size(start)
    stop = size if stop is None else normal_size(stop)
    if isinstance(size, int) and isinstance(start, int) and isinstance(stop, int):
        start, stop, step = slice(start, stop, step).indices(size)
        return start, max(start, stop), step
    start, stop = (
        size_total(size, s) if isinstance(s, int) and s < 0 else s for s in (start, stop)
    )
    if step != 1 and not (isinstance(start, int) and isinstance(stop, int)):
        raise ShapeError(
            f"{what}: how many entries [{start}:{stop}:{step}] of an axis of size {size} has is not "
            "known. Give the axis a number as its size, or take step 1."
        )
    return start, stop, step


def slice_axis(
    e: Expr, axis: int, start: Size | None = None, stop: Size | None = None, step: int = 1
) -> Expr:
    """``e[…, start:stop:step, …]`` along one axis, by Python's rules (step > 0)."""
    axis = position(axis, e.ndim, "slice")
    size = e.shape[axis]
    part = _bounds(size, start, stop, step, "slice")
    return _slice_build((e,), ((part, *(None,) * (-axis - 1)),))


def slice_axes(e: Expr, parts: Sequence[slice | None]) -> Expr:
    """``e[slices of the first axes]`` as one node; None takes a whole axis."""
    if len(parts) > e.ndim:
        raise AxisError(f"too many indices for tensor of dimension {e.ndim}")
    spec: list[Part | None] = []
    for k in range(e.ndim):
        part = parts[k] if k < len(parts) else None
        spec.append(
            None
            if part is None
            else _bounds(e.shape[k], part.start, part.stop, part.step or 1, "slice")
        )
    return _slice_build((e,), (tuple(spec),))


def select(e: Expr, axis: int, index: int) -> Expr:
    """Entry ``index`` along ``axis``, which disappears; negative counts from the end."""
    axis = position(axis, e.ndim, "select")
    size = e.shape[axis]
    if isinstance(size, int):
        if not -size <= index < size:
            raise AxisError(f"select(): index {index} out of range for tensor of size "
                            f"[{shape_text(e.shape)}] at dimension {axis + e.ndim}")  # fmt: skip
        index %= size
    elif index < 0:
        e, index = apply(OPS["flip"], (e,), (axis,)), -1 - index
    one = _slice_build((e,), (((index, index + 1, 1), *(None,) * (-axis - 1)),))
    kept = [k for k in range(e.ndim) if k != axis + e.ndim]
    labels = [-1 if k == axis + e.ndim else k for k in range(e.ndim)]
    return contract([one], [labels], kept, dict(enumerate(one.shape)), e.dtype)


def _place_infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    e, (spec, sizes) = args[0], params
    front = e.shape[: e.ndim - len(spec)]
    return (*front, *sizes), e.dtype


def _place_text(node: Expr) -> tuple[str, str, tuple[Size, ...]]:
    """A pad with zeros; steps put zeros between."""
    e, (spec, sizes) = node.args[0], node.params
    write = Operands(1)
    widths: list[str] = ["(0, 0)"] * (e.ndim - len(spec))
    triples: list[str] = ["(0, 0, 0)"] * (e.ndim - len(spec))
    numpy = "{0}"
    stepped = False
    for k, (part, size) in enumerate(zip(spec, sizes, strict=True)):
        if part is None:
            widths.append("(0, 0)")
            triples.append("(0, 0, 0)")
            continue
        start, stop, step = part
        if step > 1:
            stepped = True
            length = e.shape[k - len(spec)]
            assert isinstance(start, int)
            assert isinstance(length, int)
            stop = start + (length - 1) * step + 1 if length else start
            between = f"np.repeat(np.arange(1, {length}), {step - 1})"
            numpy = f"np.insert({numpy}, {between}, 0, axis={k - len(spec)})"
        right = write.text(size_total(size, -stop))
        widths.append(f"({write.text(start)}, {right})")
        triples.append(f"({write.text(start)}, {right}, {step - 1})")
    listed = f"({widths[0]},)" if len(widths) == 1 else f"({', '.join(widths)})"
    numpy = f"np.pad({numpy}, {listed})"
    if stepped:
        zero = f"jnp.zeros((), dtype={dtype_text(e.dtype)[0]})"
        jax = f"jax.lax.pad({{0}}, {zero}, [{', '.join(triples)}])"
    else:
        jax = f"jnp.pad({{0}}, {listed})"
    return jax, numpy, tuple(write.sizes)


def _place_template(node: Expr) -> Template:
    jax, numpy, _ = _place_text(node)
    # A size stands left or right of a minus sign: letters are atoms, products bind tighter.
    return Template((("jax", jax), ("numpy", numpy)), POSTFIX, (ANY, POSTFIX))


def _place_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    (e,), (spec, sizes) = args, params
    if is_zero(e):
        return zeros(_place_infer(args, params)[0], e.dtype)
    parts, kept = list(spec), list(sizes)
    while parts and parts[0] is None:
        parts.pop(0)
        kept.pop(0)
    return apply(OPS["place"], (e,), (tuple(parts), tuple(kept))) if parts else e


Op("place", "structure", infer=_place_infer,
   vjp=lambda node, g: (_slice_build((g,), (node.params[0],)),), template=_place_template,
   text="place", build=_place_build, traits=COMPLEX,
   size_operands=lambda node: _place_text(node)[2])  # fmt: skip


def place(e: Expr, spec: Spec, sizes: Sequence[Size]) -> Expr:
    """Zeros of the last ``sizes`` with ``e`` written at the slice ``spec``: the adjoint of slice."""
    return _place_build((e,), (spec, tuple(sizes)))


def pad(e: Expr, widths: Sequence[tuple[int, int]]) -> Expr:
    """Zeros around the last axes: ``(before, after)`` each; negative widths cut."""
    spec: list[Part | None] = []
    sizes: list[Size] = []
    for k, (before, after) in enumerate(widths):
        axis = k - len(widths)
        e = slice_axis(e, axis, max(-before, 0), None if after >= 0 else after)
        size = e.shape[axis]
        before, after = max(before, 0), max(after, 0)
        full, stop = size_total(size, before, after), size_total(size, before)
        spec.append((before, stop, 1) if before or after else None)
        sizes.append(full)
    return place(e, tuple(spec), sizes)
