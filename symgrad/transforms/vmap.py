"""``vmap``: a function of one example as a function of a batch.

The function runs once, on tensors without values; the expression of its result is written with one
axis more (:mod:`symgrad.transforms.batching`), so no loop over examples remains.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from symgrad_codegen import arrays

from symgrad.core.expr import symbol
from symgrad.functional.table import FUNCTIONS
from symgrad.recording.closed import Closed, record_of
from symgrad.recording.record import Leaf, modes
from symgrad.recording.walk import walk
from symgrad.tensors.calls import call
from symgrad.tensors.storage import Storage
from symgrad.tensors.tensor import Tensor
from symgrad.transforms.batching import batched, repeated
from symgrad.transforms.derivatives import tensors_of

Transformed = Callable[..., Any]
_REFUSED = {
    "error": "vmap: called random operation while in randomness error mode. Please either use "
    "the 'same' or 'different' randomness flags on vmap or perform the randomness operation out "
    "of vmap",
    "same": "",
    "different": "vmap: draws that differ from example to example are not there inside of the "
    "mapped function; draw a batch outside and map over it, or use randomness='same'",
}
"""What a draw inside of the mapped function is told, by ``randomness``."""


def _spread(dims: Any, tree: Any, what: str) -> list[int | None]:
    """One dim for every tensor of a container, from a dim or a container of dims."""
    if dims is None or isinstance(dims, int):
        return [dims] * len(arrays.tree_flatten(tree)[0])
    if isinstance(tree, dict) and isinstance(dims, dict) and dims.keys() == tree.keys():
        return [d for k in sorted(tree) for d in _spread(dims[k], tree[k], what)]
    if isinstance(tree, (list, tuple)) and len(dims) == len(tree):
        return [d for ds, t in zip(dims, tree, strict=True) for d in _spread(ds, t, what)]
    raise ValueError(
        f"vmap: {what}={dims!r} does not fit the structure of "
        f"{'inputs' if what == 'in_dims' else 'outputs'}"
    )


def _front(t: Tensor, dim: int) -> Tensor:
    if not -t.ndim <= dim < t.ndim:
        raise ValueError(
            f"vmap: Got in_dim={dim} for an input of {t.ndim} dims, but expected it to satisfy "
            f"-{t.ndim} <= in_dim < {t.ndim}"
        )
    return t if dim % t.ndim == 0 else call(FUNCTIONS["movedim"], (t, dim, 0), {})


def vmap(
    func: Transformed,
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Transformed:
    """``func``, written for one example, for a batch of them.

    ``in_dims``: the axis of every argument that counts the examples, None for an argument that all
    share; ``out_dims``: where that axis is in the results.  ``func`` runs once, on tensors without
    values; the expression of the result gets one axis more.  ``randomness``: "error" refuses draws
    inside of ``func``, "same" makes one for all examples; ``chunk_size`` changes nothing.

    >>> import symgrad as sg
    >>> vmap(lambda a, b: a @ b)(sg.ones(3, 2), sg.arange(6.0).reshape(3, 2))
    tensor([1., 5., 9.])

    Raises ValueError where sizes of that axis differ, UnboundError where ``func`` reads a value.
    """
    del chunk_size
    if randomness not in _REFUSED:
        raise RuntimeError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )

    @functools.wraps(func, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = arrays.tree_flatten(args)
        dims = _spread(in_dims, args, "in_dims")
        given: list[Any] = []
        fronts: list[Tensor] = []
        stands: list[Leaf] = []
        for leaf, dim in zip(leaves, dims, strict=True):
            if dim is None or not isinstance(leaf, Tensor):
                given.append(leaf)
                continue
            front = _front(leaf, dim)
            node = front.node()
            stand = Leaf(None, node.shape[1:], node.dtype, node.device)
            stand.tracked = node.tracked
            stand.name = leaf._name or f"argument {len(given)} of vmap"
            fronts.append(front)
            stands.append(stand)
            given.append(Tensor(Storage(stand), stand.tracked))
        sizes = [front.node().shape[0] for front in fronts]
        if not sizes:
            raise ValueError("vmap: no input has an axis to map over; give one an in_dim")
        if any(s != sizes[0] for s in sizes):
            raise ValueError(
                "vmap: Expected all tensors to have the same size in the mapped dimension, got "
                f"sizes {sizes} for the mapped dimension"
            )
        inner = arrays.tree_ordered(args, arrays.tree_unflatten(structure, given))
        value = _run(func, inner, kwargs, randomness, stands)
        outputs, out_structure = tensors_of(value, "vmap: the value of f")
        places = _spread(out_dims, value, "out_dims")
        made = _mapped(outputs, stands, [f.node() for f in fronts], sizes[0])
        moved = [_placed(t, dim) for t, dim in zip(made, places, strict=True)]
        return arrays.tree_ordered(value, arrays.tree_unflatten(out_structure, moved))

    return wrapper


def _run(
    func: Transformed, args: Any, kwargs: dict[str, Any], randomness: str, stands: Sequence[Leaf]
) -> Any:
    """The function on its stand-ins; RuntimeError where it draws or leaves a change behind."""
    before = modes.refuse_draws, modes.changed
    changed: list[Any] = []
    modes.refuse_draws, modes.changed = _REFUSED[randomness], changed
    try:
        value = func(*args, **kwargs)
    finally:
        modes.refuse_draws, modes.changed = before
    _check_changes(changed, value, stands)
    return value


def _check_changes(changed: Sequence[Any], value: Any, stands: Sequence[Leaf]) -> None:
    """What outlives the function must not hold values of single examples."""
    known = {id(n) for n in stands}
    results = {id(t._storage) for t in arrays.tree_flatten(value)[0] if isinstance(t, Tensor)}
    wrong: Any = None
    for held, old in reversed(changed):
        storage = held()
        if storage is None or (id(storage) in results and id(old) not in known):
            continue
        if any(id(n) in known for n in walk([storage.node], lambda n: id(n) in known)):
            wrong = old
            storage.node = old
    if wrong is not None:
        raise RuntimeError(
            f"vmap: the function changes a tensor of shape {list(wrong.shape)} in place, and its "
            "new value would differ from example to example. Only tensors made inside of the "
            "function can be changed there; return the new value instead (a BatchNorm in training "
            "mode changes its running statistics: call .eval(), or set track_running_stats=False)."
        )


def _placed(t: Tensor, dim: int | None) -> Tensor:
    if dim is None:
        raise ValueError("vmap: an out_dim of None is for results that do not depend on the batch")
    return t if dim % t.ndim == 0 else call(FUNCTIONS["movedim"], (t, 0, dim), {})


def _mapped(
    outputs: Sequence[Tensor], stands: Sequence[Leaf], fronts: Sequence[Any], size: Any
) -> list[Tensor]:
    closed = Closed([t.node() for t in outputs], stands)
    count = len(stands)
    inside = {
        x: symbol(f"x{k}", (size, *x.shape), x.dtype, number=-(k + 1))
        for k, x in enumerate(closed.symbols[:count])
    }
    symbols = [*inside.values(), *closed.symbols[count:]]
    nodes = dict(zip(symbols, [*fronts, *closed.captured], strict=True))
    same = {x: x for x in closed.symbols[count:]}
    found = batched(closed.exprs, inside, same, size)
    return [Tensor.from_node(record_of("vmap", repeated(p, size), symbols, nodes)) for p in found]


__all__ = ["vmap"]
