"""Reverse-mode differentiation of expression graphs: one joint sweep for all wanted gradients.

The adjoint of a contraction is a contraction, of a sum a sum, of a map the product with its scalar
partial.  Gradients of gradients are the same sweep applied again.  Where a selection (``where``)
stands in an elementwise cluster, the derivative is taken of the *scalar* function of the cluster
and selection stays outside, ``where(c, f′, g′) · ḡ``: 0 · ∞ never appears.

Source: Griewank and Walther, *Evaluating Derivatives*, 2nd ed. (2008), ch. 3; the index form
follows Laue, Mitterreiter, Giesen, "Computing higher order derivatives of matrix and tensor
expressions" (2018).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

from symgrad import scanning
from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    SUM,
    add,
    cast,
    contract,
    is_zero,
    linear,
    ones,
    placed,
    scale,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, Labels
from symgrad.core.op import OPS
from symgrad.core.sizes import ONE, Size, shape_text
from symgrad.core.traverse import many_nodes, topological
from symgrad.errors import DerivativeError
from symgrad.ops.complex import check_complex, conj
from symgrad.ops.outputs import PROJECT, outputs_of
from symgrad.ops.scan import SCAN

Contribution = tuple[Expr, Expr]
CLUSTER_BUDGET = 20_000
"""Most (leaf, node) pairs of one elementwise cluster differentiated as a scalar function; a larger
cluster is swept node by node, like everything else."""


def gradient(output: Expr, wanted: Sequence[Expr]) -> list[Expr]:
    """``∂output/∂w`` of a scalar for every ``w``; zeros where it does not depend on ``w``.

    Raises DerivativeError if ``output`` is not a differentiable scalar, or a rule is missing.
    """
    if any(s != 1 for s in output.shape):
        raise DerivativeError(
            f"the gradient of a tensor of shape {shape_text(output.shape)}: only a scalar has one. "
            "Reduce it first (sum, mean), or give the incoming adjoint."
        )
    found = pull_back({output: ones(output.shape, output.dtype)}, wanted)
    return [
        g if g is not None else zeros(w.shape, w.dtype) for g, w in zip(found, wanted, strict=True)
    ]


def pull_back(
    seeds: Mapping[Expr, Expr],
    wanted: Sequence[Expr],
    where: Callable[[Expr], str] | None = None,
) -> list[Expr | None]:
    """Σ seedᵀ ∂output/∂w for every ``w``; None where no output depends on ``w``.

    A seed has the shape of its output, possibly with extra leading axes, which the results carry
    too.  ``where`` names the user's line of a node, for errors.
    """
    order = topological(seeds)
    with many_nodes(len(order)):
        return _swept(order, seeds, wanted, where)


def _swept(
    order: Sequence[Expr],
    seeds: Mapping[Expr, Expr],
    wanted: Sequence[Expr],
    where: Callable[[Expr], str] | None,
) -> list[Expr | None]:
    active = depending(order, wanted)
    for e in wanted:
        if not e.dtype.differentiable:
            raise DerivativeError(
                f"a derivative with respect to {e!r}: only floating point and complex tensors "
                f"have one, not {e.dtype}"
            )
    collected: dict[Expr, list[Expr]] = {}
    for output, seed in seeds.items():
        if output in active:
            collected.setdefault(output, []).append(seed)
    clusters = selecting_clusters(order, active)
    keep = set(wanted)
    result: dict[Expr, Expr] = {}
    bundles: dict[Expr, dict[int, Expr]] = {}
    check_complex(active, "a derivative")
    for node in reversed(order):
        bundle = bundles.pop(node, None)
        if bundle is not None:
            for arg, part in tuple_vjp(node, bundle, active, where):
                collected.setdefault(arg, []).append(part)
            continue
        parts = collected.pop(node, None)
        if parts is None:
            continue
        adjoint = add(parts)
        if node in keep:
            result[node] = adjoint
        if is_zero(adjoint):
            continue
        if node.op is PROJECT:
            bundles.setdefault(node.args[0], {})[node.params[0]] = adjoint
            continue
        cluster = clusters.get(node)
        found = (
            cluster_vjp(node, adjoint, cluster, active)
            if cluster is not None
            else vjp(node, adjoint, active, where)
        )
        for arg, part in found:
            collected.setdefault(arg, []).append(part)
    return [result.get(w) for w in wanted]


def depending(order: Iterable[Expr], wanted: Iterable[Expr]) -> set[Expr]:
    """The nodes of a topological order that depend on ``wanted`` and are differentiable."""
    active = set(wanted)
    for node in order:
        if any(a in active for a in node.args) and (
            node.dtype.differentiable
            if node.op.outputs is None
            else any(dtype.differentiable for _, dtype in outputs_of(node))
        ):
            active.add(node)
    return active


def tuple_vjp(
    node: Expr,
    adjoints: Mapping[int, Expr],
    active: set[Expr],
    where: Callable[[Expr], str] | None = None,
) -> list[Contribution]:
    """What the arguments of an op with several results receive; absent adjoints stay absent."""
    given = tuple(adjoints.get(k) for k in range(len(outputs_of(node))))
    if node.op is SCAN:
        parts = scanning.adjoint(node, given, functools.partial(pull_back, where=where))
    elif node.op.vjp is not None:
        parts = node.op.vjp(node, given)
    else:
        raise _missing(node, where)
    return [(a, g) for a, g in zip(node.args, parts, strict=True) if g is not None and a in active]


def _missing(node: Expr, where: Callable[[Expr], str] | None) -> DerivativeError:
    line = f" ({where(node)})" if where is not None and where(node) else ""
    return DerivativeError(
        f"{node.op.name} has no derivative rule{line}. Nothing is assumed to be zero: "
        "use detach() to stop the gradient there, or give the operation a derivative."
    )


def vjp(
    node: Expr,
    adjoint: Expr,
    active: set[Expr],
    where: Callable[[Expr], str] | None = None,
) -> list[Contribution]:
    """What each active argument of ``node`` receives from the adjoint of ``node``."""
    family = node.op.family
    if family == "contraction":
        return _contraction_vjp(node, adjoint, active)
    if family == "sum":
        return _sum_vjp(node, adjoint, active)
    if family == "map" and node.op.derivative is not None:
        return _map_vjp(node, adjoint, active)
    if node.op.vjp is not None:
        if node.dtype.is_complex and "holomorphic" in node.op.traits:
            parts = tuple(g and conj(g) for g in node.op.vjp(node, conj(adjoint)))
        else:
            parts = node.op.vjp(node, adjoint)
        return [
            (a, g) for a, g in zip(node.args, parts, strict=True) if g is not None and a in active
        ]
    if family == "leaf":
        return []
    raise _missing(node, where)


def _frame(node: Expr, adjoint: Expr) -> tuple[list[int], list[int], dict[int, Size]]:
    """Labels of the extra leading axes, labels of the whole adjoint, sizes of the extra axes."""
    extra = len(adjoint.shape) - len(node.shape)
    start = 1_000_000
    front = list(range(start, start + extra))
    return (
        front,
        front + list(range(len(node.shape))),
        dict(zip(front, adjoint.shape, strict=False)),
    )


def _target(labels: Labels, front: list[int], sizes: dict[int, Size]) -> list[int]:
    """Output labels of an argument's adjoint: its own labels, size-1 axes as fresh ones."""
    out = list(front)
    fresh = 2_000_000
    for label in labels:
        if label < 0:
            sizes[fresh] = 1
            out.append(fresh)
            fresh += 1
        else:
            out.append(label)
    return out


def _sized(node: Expr, sizes: dict[int, Size]) -> dict[int, Size]:
    return {**dict(enumerate(node.shape)), **sizes}


def _needed(sizes: dict[int, Size], out: list[int]) -> dict[int, Size]:
    return {x: sizes[x] for x in out if x in sizes}


def _contraction_vjp(node: Expr, adjoint: Expr, active: set[Expr]) -> list[Contribution]:
    labels = node.params[0]
    front, whole, extra = _frame(node, adjoint)
    found: list[Contribution] = []
    extents: dict[int, Size] = dict(enumerate(node.shape))
    for a, ls in zip(node.args, labels, strict=True):
        extents.update({x: a.shape[k] for k, x in enumerate(ls) if x >= 0})
    for k, arg in enumerate(node.args):
        if arg not in active:
            continue
        sizes = {**extents, **extra}
        out = _target(labels[k], front, sizes)
        others = [a for j, a in enumerate(node.args) if j != k]
        rows = [ls for j, ls in enumerate(labels) if j != k]
        factors = [adjoint, *map(conj, others)]
        found.append((arg, contract(factors, [whole, *rows], out, _needed(sizes, out))))
    return found


def _sum_vjp(node: Expr, adjoint: Expr, active: set[Expr]) -> list[Contribution]:
    front, whole, extra = _frame(node, adjoint)
    found: list[Contribution] = []
    for arg, (coefficient, labels) in zip(node.args, node.params[0], strict=True):
        if arg not in active:
            continue
        sizes = _sized(node, extra)
        out = _target(labels, front, sizes)
        part = contract([adjoint], [whole], out, _needed(sizes, out))
        found.append((arg, part if coefficient.is_one else scale(coefficient, part)))
    return found


def _partials(node: Expr) -> tuple[Expr | None, ...]:
    labels, _, statics = node.params
    args = [placed(a, ls, node.shape) for a, ls in zip(node.args, labels, strict=True)]
    assert node.op.derivative is not None
    return node.op.derivative(*args, node, *statics)


def _map_vjp(node: Expr, adjoint: Expr, active: set[Expr]) -> list[Contribution]:
    labels = node.params[0]
    front, whole, extra = _frame(node, adjoint)
    found: list[Contribution] = []
    inner = list(range(len(node.shape)))
    for arg, ls, partial in zip(node.args, labels, _partials(node), strict=True):
        if arg not in active or partial is None or is_zero(partial):
            continue
        sizes = _sized(node, extra)
        out = _target(ls, front, sizes)
        found.append(
            (arg, contract([adjoint, conj(partial)], [whole, inner], out, _needed(sizes, out)))
            if partial.dtype is adjoint.dtype
            else (arg, _cast_part(arg, adjoint, whole, out, _needed(sizes, out)))
        )
    return found


def _cast_part(
    arg: Expr, adjoint: Expr, whole: list[int], out: list[int], sizes: dict[int, Size]
) -> Expr:
    """Adjoint of a cast: back in the argument's dtype; to a real argument its real part."""
    return cast(contract([adjoint], [whole], out, sizes), arg.dtype)


# ------------------------------------------------------------------ elementwise clusters


def pointwise(node: Expr) -> bool:
    """Is every entry a scalar function of one entry of each argument?"""
    if node.op.family == "map":
        return node.op.derivative is not None and "cast" not in node.op.traits
    if node.op is CONTRACTION:
        return bool(node.args) and not node.sums and all(a.op is not DELTA for a in node.args)
    return node.op is SUM


def selecting_clusters(order: Sequence[Expr], active: set[Expr]) -> dict[Expr, set[Expr]]:
    """root → members of each elementwise cluster that holds a selection.

    Members other than the root are used inside the cluster only.
    """
    if not any("selects" in node.op.traits and node in active for node in order):
        return {}
    users: dict[Expr, list[Expr]] = {}
    for node in order:
        for a in node.args:
            users.setdefault(a, []).append(node)
    root: dict[Expr, Expr] = {}
    members: dict[Expr, set[Expr]] = {}
    selecting: set[Expr] = set()
    for node in reversed(order):
        if not pointwise(node) or node not in active:
            continue
        roots = {root.get(u) for u in users.get(node, ())}
        mine = roots.pop() if len(roots) == 1 else None
        if mine is None:
            mine = node
        root[node] = mine
        members.setdefault(mine, set()).add(node)
        if "selects" in node.op.traits:
            selecting.add(mine)
    return {r: members[r] for r in selecting if len(members[r]) > 1}


Placed = tuple[Expr, Labels]


def _children(pair: Placed) -> list[Placed]:
    node, place = pair
    if node.op is SUM:
        rows = [labels for _, labels in node.params[0]]
    else:
        rows = node.params[0]
    return [
        (a, tuple(place[x] if x >= 0 else -1 for x in ls))
        for a, ls in zip(node.args, rows, strict=True)
    ]


def cluster_vjp(
    root: Expr, adjoint: Expr, members: set[Expr], active: set[Expr]
) -> list[Contribution]:
    """Adjoint of a cluster: scalar derivative by forward mode for each leaf, times the adjoint."""
    start: Placed = (root, tuple(range(len(root.shape))))
    order: list[Placed] = []
    done: set[Placed] = set()
    stack: list[tuple[Placed, bool]] = [(start, False)]
    while stack:
        pair, ready = stack.pop()
        if ready:
            order.append(pair)
            continue
        if pair in done:
            continue
        done.add(pair)
        stack.append((pair, True))
        if pair[0] in members:
            stack.extend((c, False) for c in reversed(_children(pair)))
    ends = [p for p in order if p[0] not in members and p[0] in active]
    if len(ends) * len(order) > CLUSTER_BUDGET:
        return vjp(root, adjoint, active)
    front, whole, extra = _frame(root, adjoint)
    inner = list(range(len(root.shape)))
    found: list[Contribution] = []
    for leaf in ends:
        tangent = _tangent(order, leaf, members, root)
        if tangent is None:
            continue
        sizes = _sized(root, extra)
        out = _target(leaf[1], front, sizes)
        found.append(
            (leaf[0], contract([adjoint, conj(tangent)], [whole, inner], out, _needed(sizes, out)))
        )
    return found


def _tangent(order: list[Placed], leaf: Placed, members: set[Expr], root: Expr) -> Expr | None:
    """d root / d leaf as a scalar function, over the root's axes; None if it does not depend."""
    shape, rank = root.shape, len(root.shape)
    sizes = dict(enumerate(shape))
    change: dict[Placed, Expr] = {leaf: ones(shape, leaf[0].dtype)}

    def placed(pair: Placed) -> Expr:
        return contract([pair[0]], [pair[1]], range(rank), sizes, pair[0].dtype)

    for pair in order:
        if pair == leaf or pair[0] not in members:
            continue
        node = pair[0]
        children = _children(pair)
        moving = [(k, c) for k, c in enumerate(children) if c in change]
        if not moving:
            continue
        parts: list[Expr] = []
        if node.op is SUM:
            for k, child in moving:
                parts.append(scale(node.params[0][k][0], change[child]))
        elif node.op is CONTRACTION:
            for k, child in moving:
                others = [placed(c) for j, c in enumerate(children) if j != k]
                parts.append(_times([change[child], *others], shape))
        elif "selects" in node.op.traits:
            nothing = zeros(shape, node.dtype)
            condition, first, second = children
            parts.append(
                OPS["where"].build(  # type: ignore[misc]
                    (placed(condition), change.get(first, nothing), change.get(second, nothing)),
                    ((tuple(range(rank)),) * 3, shape, ()),
                )
            )
        else:
            statics = node.params[2]
            value = placed(pair)
            assert node.op.derivative is not None
            partials = node.op.derivative(*[placed(c) for c in children], value, *statics)
            for k, child in moving:
                partial = partials[k]
                if partial is not None:
                    parts.append(_times([change[child], partial], shape))
        if parts:
            identity = tuple(range(rank))
            change[pair] = linear([(ONE, p, identity) for p in parts], shape, node.dtype)
    return change.get((root, tuple(range(rank))))


def _times(factors: list[Expr], shape: tuple[Size, ...]) -> Expr:
    rank = len(shape)
    return contract(
        factors,
        [range(rank)] * len(factors),
        range(rank),
        dict(enumerate(shape)),
        factors[0].dtype,
    )


__all__ = ["SYMBOL", "depending", "gradient", "pull_back", "vjp"]
