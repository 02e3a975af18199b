"""Parameters that are only read part by part, as several: ``Wx`` of an LSTM as ``Wxi Wxf Wxg Wxo``.

A slice of a product, a sum or a map is one of its operands; where all that is read of a value are
disjoint slices along one axis, they are taken of the leaves instead, and each is a symbol of its
own.  The header of a derivation says which rows of which parameter it is.  Loops are entered: the
body of a scan reads parts where its operands are.

Each node is visited once per part of it that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from symgrad.core.build import CONTRACTION, SUM, apply_map, contract, linear
from symgrad.core.expr import SYMBOL, Expr, apply, facts_of, symbol
from symgrad.core.sizes import Size
from symgrad.core.traverse import topological
from symgrad.ops.scan import SCAN, Body, operands_of
from symgrad.ops.structure import slice_axis

Range = tuple[Size, Size]

OF_LABELS = ("map", "sum", "contraction")
"""Families of nodes whose axes carry labels."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A value that is read in parts along ``axis``."""

    axis: int
    ranges: tuple[Range, ...]


def rows_of(e: Expr) -> Sequence[Sequence[int]]:
    """The labels of every argument of a node with labels."""
    return [row for _, row in e.params[0]] if e.op is SUM else e.params[0]


def relabelled(
    e: Expr, args: Sequence[Expr], rows: Sequence[Sequence[int]], shape: Sequence[Size]
) -> Expr:
    """The node with labels over other arguments at other labels of another shape."""
    if e.op is SUM:
        terms = zip((c for c, _ in e.params[0]), args, map(tuple, rows), strict=True)
        return linear(list(terms), tuple(shape), e.dtype)
    if e.op is CONTRACTION:
        return contract(args, rows, range(len(shape)), dict(enumerate(shape)), e.dtype)
    return apply_map(e.op, args, rows, tuple(shape), e.params[2], e.dtype)


def sliced_axis(e: Expr) -> tuple[int, Range] | None:
    """The one axis that a slice without steps takes a part of."""
    if e.op.name != "slice":
        return None
    rank = e.args[0].ndim
    found = [(k, part) for k, part in enumerate(e.params[0], rank - len(e.params[0])) if part]
    if len(found) != 1 or found[0][1][2] != 1:
        return None
    k, (start, stop, _) = found[0]
    return k, (start, stop)


def cuts(
    roots: Sequence[Expr], order: Sequence[Expr], leaf: Callable[[Expr], bool]
) -> dict[Expr, Cut]:
    """What is read in parts only, down to the leaves; ``leaf``: may this symbol be several?"""
    able: dict[Expr, set[int]] = {}
    for e in order:
        if e.op is SYMBOL:
            able[e] = set(range(e.ndim)) if leaf(e) and not facts_of(e) else set()
        elif e.op.family in OF_LABELS and e.args:
            rows = list(zip(e.args, rows_of(e), strict=True))
            able[e] = {
                k for k in range(e.ndim)
                if all(k not in row or (row.count(k) == 1 and row.index(k) in able[a])
                       for a, row in rows)
            }  # fmt: skip
        else:
            able[e] = set()
    read: dict[Expr, dict[tuple[int, Range], None]] = {}
    whole: set[Expr] = set(roots)
    found: dict[Expr, Cut] = {}
    for e in reversed(order):
        asked = list(read.get(e, ()))
        axes = {k for k, _ in asked}
        cut = None
        if e not in whole and len(axes) == 1 and axes <= able[e]:
            ranges = [r for _, r in asked]
            if _apart(ranges, e.shape[min(axes)] if e.op is SYMBOL else None):
                cut = found[e] = Cut(axes.pop(), tuple(ranges))
        part = sliced_axis(e)
        if part is not None:
            read.setdefault(e.args[0], {})[part] = None
            continue
        if cut is None or e.op is SYMBOL:
            whole.update(e.args)
            continue
        for a, row in zip(e.args, rows_of(e), strict=True):
            if cut.axis not in row:
                whole.add(a)
                continue
            places = read.setdefault(a, {})
            places.update(((row.index(cut.axis), r), None) for r in cut.ranges)
    return found


def _apart(ranges: Sequence[Range], size: Size | None) -> bool:
    """Are these whole numbers, and none in two ranges?  They are all there are of a ``size``."""
    known = sorted((a, b) for a, b in ranges if isinstance(a, int) and isinstance(b, int))
    if len(known) < len(ranges) or any(a[1] > b[0] for a, b in pairwise(known)):
        return False
    return size is None or sum(b - a for a, b in known) == size


class Parts:
    """The nodes under ``roots`` with the parts of leaves for the leaves that are read in parts.

    ``part(leaf, cut)`` gives a symbol for every range; a leaf that has none keeps its slices.
    """

    def __init__(
        self, roots: Sequence[Expr], leaf: Callable[[Expr], bool],
        part: Callable[[Expr, Cut], Sequence[Expr]],
        carry: Callable[[Expr, Expr, dict[Expr, Expr]], None],
    ) -> None:  # fmt: skip
        order = topological(roots)
        self.cut = cuts(roots, order, leaf)
        self.new: dict[Expr, Expr] = {}
        self.made: dict[Expr, Sequence[Expr]] = {}
        for e in order:
            cut, sliced = self.cut.get(e), sliced_axis(e)
            if cut is not None:
                self.made[e] = part(e, cut) if e.op is SYMBOL else self._opened(e, cut)
                if e.op is not SYMBOL:
                    for x in self.made[e]:
                        carry(e, x, self.new)
            elif sliced is not None and e.args[0] in self.made:
                inner = self.cut[e.args[0]]
                self.new[e] = self.made[e.args[0]][inner.ranges.index(sliced[1])]
            else:
                args = tuple(self.new[a] for a in e.args)
                same = all(a is b for a, b in zip(args, e.args, strict=True))
                self.new[e] = new = e if same else e.func(*args)
                if not same:
                    carry(e, new, self.new)
        self.roots = [self.new[r] for r in roots]

    def _opened(self, e: Expr, cut: Cut) -> list[Expr]:
        """The node, part by part."""
        found: list[Expr] = []
        for k, (start, stop) in enumerate(cut.ranges):
            args: list[Expr] = []
            for a, row in zip(e.args, rows_of(e), strict=True):
                if cut.axis not in row:
                    args.append(self.new[a])
                elif a in self.made:
                    ranges = self.cut[a].ranges
                    args.append(self.made[a][ranges.index(cut.ranges[k])])
                else:
                    args.append(slice_axis(self.new[a], row.index(cut.axis), start, stop))
            size = stop - start  # type: ignore[operator]
            shape = (*e.shape[: cut.axis], size, *e.shape[cut.axis + 1 :])
            found.append(relabelled(e, args, rows_of(e), shape))
        return found


def entered(e: Expr) -> Expr:
    """A scan whose body reads parts of what all steps share, or of its inputs, over these parts."""
    body: Body = e.params[0]
    states, inputs, fixed = operands_of(e)
    own = {*body.inputs, *body.fixed}

    def part(leaf: Expr, cut: Cut) -> list[Expr]:
        rows = []
        for k, (start, stop) in enumerate(cut.ranges):
            word, shape, dtype, number, facts = leaf.params
            size = stop - start  # type: ignore[operator]
            shape = (*shape[: cut.axis], size, *shape[cut.axis + 1 :])
            rows.append(symbol(f"{word}{k}", shape, dtype, number, facts))
        return rows

    found = Parts(body.results, own.__contains__, part, lambda *_: None)
    if not found.made:
        return e
    groups: list[list[Expr]] = []
    operands: list[Expr] = list(states)
    for symbols, values, shift in ((body.inputs, inputs, 1), (body.fixed, fixed, 0)):
        row: list[Expr] = []
        for s, x in zip(symbols, values, strict=True):
            cut = found.cut.get(s)
            row += found.made.get(s, [s])
            operands += [x] if cut is None else [
                slice_axis(x, cut.axis + shift, start, stop) for start, stop in cut.ranges
            ]  # fmt: skip
        groups.append(row)
    count = len(body.states)
    new = Body(body.states, tuple(groups[0]), tuple(groups[1]),
               tuple(found.roots[:count]), tuple(found.roots[count:]))  # fmt: skip
    return apply(SCAN, tuple(operands), (new, e.params[1]))
