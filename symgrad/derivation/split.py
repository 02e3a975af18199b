"""Axes that a reshape splits or joins, as several axes throughout: heads without a reshape.

``(X Wᵀ).reshape(b, n, h, d)`` reads rows of W by head: W is h × d × c everywhere, its product with
X has the axes b, n, h, d, and the reshape is gone.  What is joined again and multiplied by a matrix
is a sum over both axes.  Axes that carry one label are one; each of them that no operation needs
as a whole is split as the reshapes say.

Union-find over the axes of all nodes, then one pass: nearly linear in the size of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from symgrad.core.build import CONTRACTION, DELTA, contract, delta, permute
from symgrad.core.expr import SYMBOL, Expr, apply, facts_of
from symgrad.core.sizes import Shape, Size
from symgrad.core.traverse import topological
from symgrad.derivation.parts import OF_LABELS, relabelled, rows_of
from symgrad.ops.structure import blocks, reshape

Axis = tuple[Expr, int]


@dataclass(frozen=True, slots=True)
class Stored:
    """How a symbol with other axes is stored: ``axes``, each several of its own, and their ``order``.

    Axis k of the symbol is number ``order[k]`` of the axes written out.
    """

    axes: tuple[tuple[Size, ...], ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """That of the symbol."""
        flat = [size for row in self.axes for size in row]
        return tuple(flat[k] for k in self.order)

    def __str__(self) -> str:
        """``6×(2·3)``."""
        texts = ("·".join(map(str, row)) for row in self.axes)
        rows = (f"({text})" if "·" in text else text for text in texts)
        return "×".join(rows)


Part = Callable[[Expr, Stored], Expr]
"""(a symbol, its other axes) → the symbol that has them."""


class _TangledError(Exception):
    """Two reshapes split one axis in ways of which neither refines the other."""


class _Axes:
    """Classes of axes that are one, and what they are split into."""

    def __init__(self) -> None:
        self.parent: dict[Axis, Axis] = {}
        self.whole: set[Axis] = set()
        self.split: dict[Axis, list[Axis]] = {}

    def find(self, axis: Axis) -> Axis:
        """The first of its class."""
        path: list[Axis] = []
        while (above := self.parent.get(axis, axis)) != axis:
            path.append(axis)
            axis = above
        for x in path:
            self.parent[x] = axis
        return axis

    def join(self, a: Axis, b: Axis) -> None:
        """Make two classes one."""
        queue = [(a, b)]
        while queue:
            a, b = map(self.find, queue.pop())
            if a == b:
                continue
            self.parent[b] = a
            if b in self.whole:
                self.whole.add(a)
            pieces = self.split.pop(b, None)
            if pieces is None:
                pass
            elif a in self.split:
                queue += self._matched(self.split[a], pieces)
            else:
                self.split[a] = pieces
            if a in self.whole and a in self.split:
                raise _TangledError

    def divide(self, axis: Axis, pieces: list[Axis]) -> None:
        """Split a class, if nothing needs it as a whole."""
        axis = self.find(axis)
        if axis in self.whole:
            return
        if axis not in self.split:
            self.split[axis] = pieces
            return
        for a, b in self._matched(self.split[axis], pieces):
            self.join(a, b)

    def _matched(self, first: list[Axis], second: list[Axis]) -> list[tuple[Axis, Axis]]:
        pairs: list[tuple[Axis, Axis]] = []
        for left, right in blocks([size_of(x) for x in first], [size_of(x) for x in second]):
            if len(left) == len(right) == 1:
                pairs.append((first[left[0]], second[right[0]]))
            elif len(left) == 1 or len(right) == 1:
                one, several = (first, second) if len(left) == 1 else (second, first)
                k, rest = (left[0], right) if len(left) == 1 else (right[0], left)
                if self.find(one[k]) in self.whole:
                    raise _TangledError
                self.divide(one[k], [several[x] for x in rest])
            else:
                raise _TangledError
        return pairs

    def pieces(self, axis: Axis) -> list[Axis]:
        """The finest axes that an axis consists of."""
        found: list[Axis] = []
        stack = [axis]
        while stack:
            x = self.find(stack.pop())
            if x in self.split:
                stack += self.split[x][::-1]
            else:
                found.append(x)
        return found


def size_of(axis: Axis) -> Size:
    """The size of an axis."""
    return axis[0].shape[axis[1]]


def _ties(e: Expr) -> Iterator[tuple[Axis, Axis]]:
    """Axes of a node and of its arguments that are one; all others are needed as a whole."""
    if e.op.family in OF_LABELS:
        first: dict[int, Axis] = {k: (e, k) for k in range(e.ndim)}
        for a, row in zip(e.args, rows_of(e), strict=True):
            for k, label in enumerate(row):
                if label >= 0:
                    yield first.setdefault(label, (a, k)), (a, k)
    elif e.op is DELTA:
        yield (e, 0), (e, 1)
    elif e.op.family == "axis":
        (a,), axis = e.args, e.params[0] + e.args[0].ndim
        for k in range(a.ndim):
            if k != axis:
                yield (e, k - (k > axis and e.ndim < a.ndim)), (a, k)


def split(
    e: Expr, part: Part,
    carry: Callable[[Expr, Expr, dict[Expr, Expr]], None],
) -> dict[Expr, Expr]:  # fmt: skip
    """Every node under ``e`` → the same over split axes; ``part`` gives a symbol in another shape.

    Symbols of which facts are declared keep their axes.  {} where there is nothing to split.
    """
    order = topological([e])
    if not any(x.op.name == "reshape" for x in order):
        return {}
    axes = _Axes()
    tied: dict[Expr, set[Axis]] = {}
    for x in order:
        pairs = list(_ties(x))
        tied[x] = {y for pair in pairs for y in pair}
        for a, b in pairs:
            axes.join(a, b)
    needed = [(e, k) for k in range(e.ndim)]
    for x in order:
        if x.op.name == "reshape" or x.op.family in OF_LABELS or x.op is DELTA:
            continue
        if x.op is not SYMBOL:
            ends = [(x, k) for k in range(x.ndim)] + [(a, k) for a in x.args for k in range(a.ndim)]
            needed += [y for y in ends if y not in tied[x]]
        elif facts_of(x):
            needed += [(x, k) for k in range(x.ndim)]
    axes.whole = {axes.find(x) for x in needed}
    try:
        for x in order:
            if x.op.name != "reshape":
                continue
            (a,) = x.args
            for ins, outs in blocks(a.shape, x.shape):
                if len(ins) == 1:
                    _bind(axes, (a, ins[0]), [(x, k) for k in outs])
                elif len(outs) == 1:
                    _bind(axes, (x, outs[0]), [(a, k) for k in ins])
    except _TangledError:
        return {}
    if not axes.split:
        return {}
    heads = {axes.find((x, k)) for x in order for k in batched_axes(x)}
    return _rebuilt(order, axes, heads, part, carry)


def batched_axes(e: Expr) -> list[int]:
    """The axes of a product of several that all its factors have."""
    if e.op is not CONTRACTION or not e.sums or len(e.args) < 2:
        return []
    return [k for k in range(e.ndim) if all(k in row for row in e.params[0])]


def _bind(axes: _Axes, axis: Axis, pieces: list[Axis]) -> None:
    if len(pieces) == 1:
        axes.join(axis, pieces[0])
    else:
        axes.divide(axis, pieces)


def _rebuilt(
    order: Sequence[Expr], axes: _Axes, heads: set[Axis], part: Part,
    carry: Callable[[Expr, Expr, dict[Expr, Expr]], None],
) -> dict[Expr, Expr]:  # fmt: skip
    new: dict[Expr, Expr] = {}
    for x in order:
        shape = tuple(size_of(p) for k in range(x.ndim) for p in axes.pieces((x, k)))
        args = tuple(new[a] for a in x.args)
        if x.op is SYMBOL:
            made = x if shape == x.shape else _heads_first(x, axes, heads, part)
        elif x.op.name == "reshape":
            made = reshape(args[0], shape)
        elif x.op is DELTA:
            made = _deltas(x, shape)
        elif all(a is b for a, b in zip(args, x.args, strict=True)) and shape == x.shape:
            made = x
        elif x.op.family in OF_LABELS:
            made = _labelled(x, args, axes, shape)
        elif all(a.shape == b.shape for a, b in zip(args, x.args, strict=True)):
            made = reshape(x.func(*args), shape)
        elif x.op.family == "axis" and not _at_axis(x, axes):
            made = apply(x.op, args, x.params)
        else:
            back = (reshape(a, b.shape) for a, b in zip(args, x.args, strict=True))
            made = reshape(x.func(*back), shape)
        new[x] = made
        if made is not x:
            carry(x, made, new)
    return new


def _heads_first(leaf: Expr, axes: _Axes, heads: set[Axis], part: Part) -> Expr:
    """A leaf in other axes: those of its split axes that products share come first."""
    rows = [axes.pieces((leaf, k)) for k in range(leaf.ndim)]
    pieces = [(p, len(row) > 1 and axes.find(p) in heads) for row in rows for p in row]
    order = sorted(range(len(pieces)), key=lambda k: not pieces[k][1])
    axes_of = tuple(tuple(size_of(p) for p in row) for row in rows)
    made = part(leaf, Stored(axes_of, tuple(order)))
    return permute(made, [order.index(k) for k in range(len(order))])


def _at_axis(e: Expr, axes: _Axes) -> bool:
    """Would the axis of an operation, counted from the end, be another one?"""
    a, axis = e.args[0], e.params[0]
    return any(len(axes.pieces((a, k))) > 1 for k in range(a.ndim + axis, a.ndim))


def _deltas(e: Expr, shape: Shape) -> Expr:
    count = len(shape) // 2
    parts = [delta(s, e.dtype) for s in shape[:count]]
    return contract(parts, [(k, count + k) for k in range(count)], range(2 * count), dtype=e.dtype)


def _labelled(e: Expr, args: Sequence[Expr], axes: _Axes, shape: Shape) -> Expr:
    """A node with labels: several for one of an axis that is split."""
    places: dict[int, list[int]] = {}
    count = 0

    def several(label: int, axis: Axis) -> list[int]:
        nonlocal count
        if label not in places:
            many = len(axes.pieces(axis))
            places[label] = list(range(count, count + many))
            count += many
        return places[label]

    for k in range(e.ndim):
        several(k, (e, k))
    rows: list[list[int]] = []
    for a, row in zip(e.args, rows_of(e), strict=True):
        found: list[int] = []
        for k, label in enumerate(row):
            found += [-1] * len(axes.pieces((a, k))) if label < 0 else several(label, (a, k))
        rows.append(found)
    return relabelled(e, args, rows, shape)


__all__ = ["Stored", "batched_axes", "split"]
