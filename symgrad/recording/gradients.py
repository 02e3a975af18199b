"""``backward()`` and ``autograd.grad``: one record whose parts are the gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.errors import DerivativeError
from symgrad.functional.table import FUNCTIONS
from symgrad.recording import phases
from symgrad.recording.anomaly import inspect
from symgrad.recording.execute import lock
from symgrad.recording.record import PLAIN, SLOT, Gradient, Leaf, Part, modes, note
from symgrad.recording.settle import DEEP, settle
from symgrad.recording.sweeps import stepwise, swept
from symgrad.recording.tracked import check, remember, tracked_leaves, tracked_nodes


def seed_of(t: Any, node: Any, gradient: Any) -> Any:
    """The node of the incoming gradient of a tensor with this node, None for a scalar's 1."""
    if gradient is None:
        kind = node.kind
        if kind.shape and t.numel() != 1:
            raise DerivativeError(
                "grad can be implicitly created only for scalar outputs; this tensor has shape "
                f"{list(t.shape)}. Reduce it (sum, mean), or pass gradient=."
            )
        if kind.dtype.is_complex:
            raise DerivativeError(
                "grad can be implicitly created only for real scalar outputs but got "
                f"{t.dtype}. Take abs() or .real, or pass gradient=."
            )
        return None
    if not hasattr(gradient, "node"):
        raise TypeError(f"gradients can be either Tensors or None, not {type(gradient).__name__}")
    if tuple(gradient.shape) != tuple(t.shape):
        raise RuntimeError(
            f"Mismatch in shape: grad_output has a shape of {list(gradient.shape)} and output has "
            f"a shape of {list(t.shape)}."
        )
    return gradient.node()


def needs_tracking(t: Any) -> Any:
    """The node of a tensor that derivatives start from."""
    node = t.node()
    if not node.tracked:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    return node


def backward(t: Any, gradient: Any, keep: bool, create: bool, inputs: Any) -> None:
    """Add the gradients of ``t`` to ``.grad`` of its tracked leaves."""
    node = needs_tracking(t)
    seed = seed_of(t, node, gradient)
    leaves = tracked_leaves(node, keep) if inputs is None and not modes.anomaly else None
    if leaves is None:
        nodes = tracked_nodes(node)
        check(nodes, keep)
        if modes.anomaly and modes.check_nan:
            inspect(node, seed)
        vectors = phases.turning(nodes)
        if vectors and not create:
            phases.inspect(node, seed, vectors)
        hooked = [(n, owner) for n in nodes if (owner := _hooked(n)) is not None]
        leaves = [n for n in nodes if type(n) is Leaf]
        if inputs is not None:
            chosen = {id(i) for i in _listed(inputs)}
            leaves = [n for n in leaves if id(n.owner and n.owner()) in chosen]
        functions = stepwise(nodes)
        if hooked or functions:
            wanted = [(n, owner) for n in leaves if n.owner and (owner := n.owner()) is not None]
            found = _in_sweeps(
                node, seed, [n for n, _ in wanted], hooked, functions, create, t.base
            )
            for n, owner in wanted:
                if id(n) in found:
                    accumulate(owner, found[id(n)])
            return
        if not vectors:
            remember(nodes)
    owners = [n.owner and n.owner() for n in leaves]
    if [owner for owner in owners if owner is None]:
        leaves = [n for n, owner in zip(leaves, owners, strict=True) if owner is not None]
        owners = [owner for owner in owners if owner is not None]
    whole = Gradient(node, seed, tuple(leaves), create, keep)
    if modes.capture is not None:
        for owner in owners:
            modes.capture.reads_gradient(owner)
    with lock:  # other threads may add to the same gradients
        for k, owner in enumerate(owners):
            if owner._grad is None and owner._hooks is None:
                owner._grad = whole, k
            else:
                accumulate(owner, whole.part(k))


def _hooked(node: Any) -> Any:
    """The tensor of an intermediate node that waits for its gradient."""
    owner = None if type(node) is Leaf or node.handle is None else node.handle()
    return owner if owner is not None and (owner._retains or owner._hooks) else None


def _in_sweeps(
    node: Any, seed: Any, finals: Sequence[Any], hooked: Sequence[tuple[Any, Any]],
    functions: Sequence[Any], create: bool, make: Any,
) -> dict[int, Any]:  # fmt: skip
    """The gradients at ``finals`` where hooks or functions of the user's lie on the way."""

    def change(owner: Any) -> Callable[[Any], Any]:
        def through(incoming: Any) -> Any:
            shown = make.from_node(incoming)
            for hook in list((owner._hooks or {}).values()):
                changed = hook(shown)
                shown = changed if changed is not None else shown
            if owner._retains:
                accumulate(owner, shown.node())
            return shown.node()

        return through

    shown = [(n, change(owner)) for n, owner in hooked]
    return swept(node, seed, finals, shown, functions, create, _summed,
                 lambda n: _ones(n, make).node())  # fmt: skip


def _ones(node: Any, make: Any) -> Any:
    return make.from_value(np.ones(node.shape, node.dtype.numpy), node.dtype)


def _zeros(node: Any, make: Any) -> Any:
    return make.from_value(np.zeros(node.shape, node.dtype.numpy), node.dtype)


def _summed(parts: Sequence[Any]) -> Any:
    """The pending sum of nodes of one kind; None where there is none."""
    total = None
    for p in parts:
        if p is not None:
            total = p if total is None else note(FUNCTIONS["add"], PLAIN[2], (total, p), True)
    return total


def accumulate(owner: Any, new: Any) -> None:
    """``owner.grad += new``, a node, through the hooks of a leaf."""
    if owner._hooks and owner.is_leaf:
        shown = owner.base.from_node(new)
        for hook in list(owner._hooks.values()):
            changed = None if type(hook) is Afterwards else hook(shown)
            shown = changed if changed is not None else shown
        new = shown.node()
    _add(owner, new)
    for hook in list((owner._hooks or {}).values()):
        if type(hook) is Afterwards:
            hook.call(owner)


@dataclass(frozen=True)
class Afterwards:
    """A hook of a leaf that is called when its ``.grad`` has the new gradient."""

    call: Callable[[Any], Any]


class HookHandle:
    """What registering a hook returns."""

    def __init__(self, table: dict[Any, Any]) -> None:
        self.table = table

    def remove(self) -> None:
        """Forget the hook."""
        self.table.pop(self, None)


def _add(owner: Any, new: Any) -> None:
    old = owner.grad
    if old is None:
        owner._grad = owner.base.from_node(new)
        return
    record = note(FUNCTIONS["add"], PLAIN[2], (old.node(), new), True)
    record.handle = weakref.ref(old)
    if record.depth >= DEEP and not record.tracked:
        settle(record)
    if modes.capture is not None:
        modes.capture.rebinds(old._storage)
    old._storage.rebind(record)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Σ gradients of ``outputs`` with respect to ``inputs``, as new tensors; ``.grad`` stays.

    ``is_grads_batched``: ``grad_outputs`` have one axis more, as the results then have;
    ``materialize_grads``: zeros for inputs that are not used.
    """
    if is_grads_batched:
        return _batched(
            outputs, inputs, grad_outputs, bool(retain_graph), create_graph, allow_unused
        )
    del only_inputs  # PyTorch takes no other, either
    allow_unused = materialize_grads or allow_unused
    outs, ins = _listed(outputs), _listed(inputs)
    seeds = _listed(grad_outputs) if grad_outputs is not None else [None] * len(outs)
    keep = bool(create_graph if retain_graph is None else retain_graph)
    make = outs[0].base
    totals: list[Any] = [None] * len(ins)
    graphs = [tracked_nodes(needs_tracking(t)) for t in outs]
    places = [[_places(i, nodes) for i in ins] for nodes in graphs]
    if not allow_unused and not all(any(found) for found in zip(*places, strict=True)):
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. "
            "Set allow_unused=True if this is the desired behavior."
        )
    for t, s, nodes, places_of in zip(outs, seeds, graphs, places, strict=True):
        node = needs_tracking(t)
        seed = seed_of(t, node, s)
        check(nodes, keep)
        if modes.anomaly and modes.check_nan:
            inspect(node, seed)
        if not create_graph and (vectors := phases.turning(nodes)):
            phases.inspect(node, seed, vectors)
        hooked = [(n, owner) for n in nodes if (owner := _hooked(n)) is not None]
        functions = stepwise(nodes)
        targets = [(k, n) for k, found in enumerate(places_of) for n in found]
        if hooked or functions:
            ends = [n for _, n in targets]
            found_at = _in_sweeps(node, seed, ends, hooked, functions, create_graph, make)
            for k, n in targets:
                totals[k] = _summed([totals[k], found_at.get(id(n))])
            continue
        whole = Gradient(node, seed, tuple(n for _, n in targets), create_graph, keep)
        for place, (k, n) in enumerate(targets):
            totals[k] = _summed([totals[k], Part(whole, place, n)])
    return tuple(
        make.from_node(p)
        if p is not None
        else _zeros(i.node(), make)
        if materialize_grads
        else None
        for i, p in zip(ins, totals, strict=True)
    )


def _batched(outputs: Any, inputs: Any, seeds: Any, retain: bool, create: bool, unused: Any) -> Any:
    """One gradient after the other, stacked."""
    rows = list(zip(*[tuple(s) for s in _listed(seeds)], strict=True))
    each = [grad(outputs, inputs, list(row), retain or k + 1 < len(rows), create, True, unused)
            for k, row in enumerate(rows)]  # fmt: skip
    stack = FUNCTIONS["stack"]
    make = _listed(outputs)[0].base
    return tuple(
        None if None in parts else make.from_node(
            note(stack, ((SLOT,) * len(parts), ()), tuple(p.node() for p in parts)))
        for parts in zip(*each, strict=True)
    )  # fmt: skip


def _places(t: Any, nodes: Sequence[Any]) -> list[Any]:
    """Where a tensor stands among the nodes of a graph.

    A leaf whose memory the user holds, too (``.numpy()``), is read anew by every operation: it may
    stand there several times, and each counts.
    """
    known = t.node()
    if not known.tracked:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    found = [n for n in nodes if n is known]
    if type(known) is Leaf and known.owner is not None:
        found += [n for n in nodes if n is not known and type(n) is Leaf and n.owner is not None
                  and n.owner() is t]  # fmt: skip
    return found


def _listed(value: Any) -> list[Any]:
    return [value] if hasattr(value, "node") or value is None else list(value)
