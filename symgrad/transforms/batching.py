"""A function of one example as a function of a batch: every node with one more axis, in front.

Products, sums and maps get one more label.  All other operations count their axes from the end and
carry what stands in front, so most rules are "the same on the longer argument"; where arguments
have to agree in front, the one without a batch is repeated.  No loop over examples remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from symgrad.core.build import apply_map, broadcast_to, contract, linear, permute
from symgrad.core.expr import Expr, Labels, apply, name_of, symbol
from symgrad.core.sizes import Size, size_product
from symgrad.core.traverse import topological
from symgrad.errors import SymgradError
from symgrad.ops.gather import gather, scatter_add, take
from symgrad.ops.scan import SCAN
from symgrad.ops.structure import reshape

Part = tuple[Expr, bool]
"""An expression, and whether its first axis is the batch."""
Rule = Callable[[Expr, Sequence[Part], Size], Expr]


def batched(
    roots: Sequence[Expr], fronts: Mapping[Expr, Expr], others: Mapping[Expr, Expr], size: Size
) -> list[Part]:
    """``roots`` over a batch: each with whether it depends on it.

    ``fronts``: symbols → their values with the batch, of ``size``, as the first axis; ``others``:
    symbols → values without.

    Raises SymgradError for an operation that has no rule.
    """
    table: dict[Expr, Part] = {x: (e, True) for x, e in fronts.items()}
    table.update((x, (e, False)) for x, e in others.items())
    for node in topological(roots, table.__contains__):
        if node in table:
            continue
        args = [table[a] for a in node.args]
        if any(inside for _, inside in args):
            rule = RULES.get(node.op.name) or FAMILIES.get(node.op.family, _refused)
            table[node] = rule(node, args, size), True
        elif all(new is old for (new, _), old in zip(args, node.args, strict=True)):
            table[node] = node, False
        else:
            table[node] = node.func(*(e for e, _ in args)), False
    return [table[r] for r in roots]


def repeated(part: Part, size: Size) -> Expr:
    """With the batch in front, whether it depends on it or not."""
    e, inside = part
    return e if inside else broadcast_to(e, (size, *e.shape))


def _refused(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    raise SymgradError(
        f"vmap: {node.op.name} of a value that differs from example to example is not there; "
        "compute it outside of the mapped function"
    )


def _shifted(part: Part, labels: Labels, size: Size) -> Labels:
    """Labels of the longer node: the batch is axis 0."""
    moved = tuple(x + 1 if x >= 0 else -1 for x in labels)
    return (-1 if size == 1 else 0, *moved) if part[1] else moved


def _contraction(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    rows = [_shifted(p, ls, size) for p, ls in zip(args, node.params[0], strict=True)]
    full = (size, *node.shape)
    return contract([e for e, _ in args], rows, range(len(full)), dict(enumerate(full)), node.dtype)


def _sum(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    terms = [
        (c, p[0], _shifted(p, ls, size)) for p, (c, ls) in zip(args, node.params[0], strict=True)
    ]
    return linear(terms, (size, *node.shape), node.dtype)


def _map(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    labels, shape, statics = node.params
    rows = [_shifted(p, ls, size) for p, ls in zip(args, labels, strict=True)]
    return apply_map(node.op, [e for e, _ in args], rows, (size, *shape), statics)


def _same(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """Axes are counted from the end: nothing changes."""
    return node.func(args[0][0])


def _all_repeated(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    return node.func(*(repeated(p, size) for p in args))


def _reshape(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    return reshape(args[0][0], (size, *node.shape))


def _solve(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """Batches broadcast from the end, so both get the same number of axes first."""
    rank = max(a.ndim for a in node.args)
    made: list[Expr] = []
    for (e, inside), old in zip(args, node.args, strict=True):
        missing = (1,) * (rank - old.ndim)
        made.append(reshape(e, (size, *missing, *old.shape)) if inside else e)
    return node.func(*made)


def _spread(index: Expr, before: Sequence[Any], after: Sequence[Any]) -> Expr:
    """Positions ``(B, m)`` repeated to ``(B, *before, m, *after)``."""
    size, count = index.shape
    full = (size, *before, count, *after)
    labels = [[0, 1 + len(before)]]
    return contract([index], labels, range(len(full)), dict(enumerate(full)), index.dtype)


def _take(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """Positions that differ from example to example: one entry per position along the axis."""
    (e, e_inside), (index, index_inside) = args
    (axis,) = node.params
    source = node.args[0]
    place = source.ndim + axis
    if not index_inside:
        return take(e, index, axis)
    before, after = source.shape[:place], source.shape[place + 1 :]
    if not e_inside:
        found = take(e, index, axis)
        order = [place, *range(place), *range(place + 1, found.ndim)]
        return permute(found, order)
    flat = reshape(index, (size, size_product(index.shape[1:])))
    found = gather(e, _spread(flat, before, after), axis)
    return reshape(found, (size, *before, *index.shape[1:], *after))


def _put_add(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    (e, _), (index, index_inside) = args
    axis, length = node.params
    if not index_inside:
        return node.func(e, index)
    source, positions = node.args
    after = source.shape[source.ndim + axis + 1 :]
    before = source.shape[: source.ndim - len(after) - positions.ndim]
    flat = reshape(index, (size, size_product(positions.shape)))
    whole = repeated(args[0], size)
    rows = reshape(whole, (size, *before, flat.shape[1], *after))
    return scatter_add(rows, _spread(flat, before, after), axis, length)


def _convolution(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """The batch joins the rows of x; where the filters differ too, each example is a group."""
    (x, _), (w, w_inside) = args
    how, groups = node.params
    rows, channels, *spatial = node.args[0].shape
    filters, depth, *window = node.args[1].shape
    places = node.shape[2:]
    if not w_inside:
        joined = reshape(x, (size_product((size, rows)), channels, *spatial))
        found = apply(node.op, (joined, w), node.params)
        return reshape(found, (size, rows, filters, *places))
    if not isinstance(size, int):
        raise SymgradError(
            f"vmap: a convolution whose filters differ from example to example needs a number of "
            f"examples, not {size}"
        )
    x = repeated(args[0], size)
    x = reshape(
        permute(x, [1, 0, *range(2, x.ndim)]), (rows, size_product((size, channels)), *spatial)
    )
    w = reshape(w, (size_product((size, filters)), depth, *window))
    found = reshape(apply(node.op, (x, w), (how, groups * size)), (rows, size, filters, *places))
    return permute(found, [1, 0, *range(2, found.ndim)])


def _scan(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """The body over a batch; of inputs and results the steps stay the first axis."""
    body, reverse = node.params
    n, m = len(body.states), len(body.inputs)
    whole: list[Expr] = [repeated(p, size) for p in args[:n]]
    whole += [permute(e, [1, 0, *range(2, e.ndim)]) if yes else e for e, yes in args[n : n + m]]
    whole += [e for e, _ in args[n + m :]]
    inside = [True] * n + [yes for _, yes in args[n:]]
    symbols = [
        symbol(name_of(s), (size, *s.shape) if yes else s.shape, s.dtype, number=s.params[3])
        for s, yes in zip(body.symbols, inside, strict=True)
    ]
    table = list(zip(body.symbols, symbols, inside, strict=True))
    fronts = {old: new for old, new, yes in table if yes}
    others = {old: new for old, new, yes in table if not yes}
    results = [repeated(p, size) for p in batched(body.results, fronts, others, size)]
    batch = replace(
        body,
        states=tuple(symbols[:n]),
        inputs=tuple(symbols[n : n + m]),
        fixed=tuple(symbols[n + m :]),
    ).over(results)
    return apply(node.op, tuple(whole), (batch, reverse))


def _projection(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """One result; the results of all steps of a scan have the steps first."""
    found = node.func(args[0][0])
    source = node.args[0]
    if source.op is SCAN and node.params[0] >= len(source.params[0].states):
        return permute(found, [1, 0, *range(2, found.ndim)])
    return found


def _call(node: Expr, args: Sequence[Part], size: Size) -> Expr:
    """A function by the user: its first parameter knows how to be called on a batch."""
    whole = tuple(repeated(p, size) for p in args)
    return node.params[0].over_batch(node, whole, size)


FAMILIES: Mapping[str, Rule] = {
    "contraction": _contraction,
    "sum": _sum,
    "map": _map,
    "axis": _same,
    "sequence": _same,
    "index": _same,
    "projection": _projection,
    "matrix": _same,
    "structure": _same,
    "window": _same,
    "fourier": _same,
    "call": _call,
    "scan": _scan,
}
"""Rules of whole families."""

RULES: Mapping[str, Rule] = {
    "reshape": _reshape,
    "concatenate": _all_repeated,
    "complex": _all_repeated,
    "delay": _all_repeated,
    "gather": _all_repeated,
    "scatter_add": _all_repeated,
    "scatter_amax": _all_repeated,
    "scatter_amin": _all_repeated,
    "pinv": _all_repeated,
    "solve": _solve,
    "triangular_solve": _solve,
    "tridiagonal_solve": _all_repeated,
    "take": _take,
    "put_add": _put_add,
    "convolution": _convolution,
}
"""Operations that differ from their family."""
