"""Derivatives of functions: ``grad``, ``vjp``, ``jvp``, ``linearize``, ``jacrev``, ``hessian``.

They nest in any order, also with ``vmap``.  Gradients are recorded with respect to copies of the
arguments; Jacobians take the function's expression and write one for all rows, without a loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from symgrad_codegen import arrays
from symgrad_codegen.lazy import lazy

from symgrad.autodiff import pull_back
from symgrad.core.build import contract, delta, zeros
from symgrad.core.expr import Expr, symbol
from symgrad.functional.table import FUNCTIONS
from symgrad.recording.closed import Closed, record_of
from symgrad.recording.record import PLAIN, Gradient, Leaf, Part, modes, note
from symgrad.recording.tracked import tracked_nodes
from symgrad.tensors.tensor import Tensor, typename
from symgrad.transforms.batching import batched, repeated

rules = lazy("symgrad.simplify")
Transformed = Callable[..., Any]

# ------------------------------------------------------------------ levels of differentiation

_OPEN: set[int] = set()
"""ids of the copies whose transformation is running: an inner one has to keep their graph."""


class Level:
    """Copies of tensors that one transformation differentiates for, and nobody else.

    A context: within it, transformations inside see that the copies are differentiated for.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.outer = [t.node() for t in tensors]
        self.nodes = [note(FUNCTIONS["clone"], PLAIN[1], (n,), True) for n in self.outer]
        for n in self.nodes:
            n.tracked = True
        self.tensors = [Tensor.from_node(n) for n in self.nodes]

    def __enter__(self) -> Level:
        _OPEN.update(map(id, self.nodes))
        return self

    def __exit__(self, *_: object) -> None:
        _OPEN.difference_update(map(id, self.nodes))

    def reaches_out(self, root: Any) -> bool:
        """Does a node depend on something tracked besides these copies?"""
        others = _OPEN.difference(map(id, self.nodes))
        return any(type(n) is Leaf or id(n) in others for n in tracked_nodes(root))

    def left(self, t: Any) -> Any:
        """A result as it looks from outside: tracked only where something outside is."""
        if isinstance(t, Tensor) and t.requires_grad and not self.reaches_out(t.node()):
            return t.detach()
        return t

    def gradients(self, roots: Sequence[Tensor], seeds: Sequence[Any],
                  tracked: bool | None = None) -> list[Tensor]:  # fmt: skip
        """Σ seedᵀ ∂root/∂copy for every copy; zeros where nothing depends on it."""
        found: list[Tensor | None] = [None] * len(self.nodes)
        for root, seed in zip(roots, seeds, strict=True):
            node = root.node()
            reached = {id(n) for n in tracked_nodes(node)}
            places = [k for k, n in enumerate(self.nodes) if id(n) in reached]
            if not places:
                continue
            incoming = None if seed is None else seed.node()
            follow = self.reaches_out(node) if tracked is None else tracked
            follow = follow or (incoming is not None and incoming.tracked)
            whole = Gradient(node, incoming, tuple(self.nodes[k] for k in places), follow, True)
            for k, place in enumerate(places):
                n = self.nodes[place]
                part = Tensor.from_node(Part(whole, k, n))
                known = found[place]
                found[place] = part if known is None else known + part
        return [_zeros(n) if g is None else g for g, n in zip(found, self.outer, strict=True)]


def _zeros(node: Any) -> Tensor:
    """Zeros that look like a node and do not depend on it."""
    x = symbol("x0", node.shape, node.dtype, number=1)
    made = record_of("zeros", zeros(node.shape, node.dtype), [x], {x: node})
    made.tracked = False
    return Tensor.from_node(made)


def run(level: Level, function: Transformed, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The function with tracking on, whatever holds outside."""
    before, modes.grad = modes.grad, True
    try:
        with level:
            return function(*args, **kwargs)
    finally:
        modes.grad = before


def tensors_of(tree: Any, what: str) -> tuple[list[Tensor], Any]:
    """The tensors of a container, and its structure; RuntimeError for any other value in it."""
    leaves, structure = arrays.tree_flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{what} must only hold Tensors, got type {typename(leaf)}")
    return leaves, structure


class _Arguments:
    """The arguments that a transformation differentiates for, each a tensor or a container."""

    def __init__(self, what: str, argnums: Any, args: Sequence[Any]) -> None:
        self.single = isinstance(argnums, int)
        chosen = [argnums] if self.single else list(argnums)
        for k in chosen:
            if not -len(args) <= k < len(args):
                raise RuntimeError(
                    f"{what}: Got argnum={k}, but only {len(args)} positional inputs"
                )
        self.places = [k % len(args) for k in chosen]
        self.args = list(args)
        self.structures: list[Any] = []
        self.counts: list[int] = []
        leaves: list[Tensor] = []
        for k in self.places:
            found, structure = tensors_of(args[k], f"{what}: the argument {k}")
            for t in found:
                if not t.dtype.differentiable:
                    raise RuntimeError(
                        f"{what}: only Tensors of floating point and complex dtype have a "
                        f"derivative, not {t.dtype}"
                    )
            leaves += found
            self.structures.append(structure)
            self.counts.append(len(found))
        self.leaves = leaves
        self.level = Level(leaves)

    def copied(self) -> list[Any]:
        """All arguments, with the copies in their places."""
        args = list(self.args)
        for k, tree in zip(self.places, self.trees(self.level.tensors), strict=True):
            args[k] = tree
        return args

    def trees(self, leaves: Sequence[Any]) -> list[Any]:
        """One container per argument, out of one value per tensor."""
        made: list[Any] = []
        start = 0
        for k, structure, count in zip(self.places, self.structures, self.counts, strict=True):
            found = arrays.tree_unflatten(structure, leaves[start : start + count])
            made.append(arrays.tree_ordered(self.args[k], found))
            start += count
        return made

    def shaped(self, leaves: Sequence[Any]) -> Any:
        """As the caller asked: one container for ``argnums=0``, a tuple for ``argnums=(0,)``."""
        made = self.trees(leaves)
        return made[0] if self.single else tuple(made)


def _with_aux(result: Any, has_aux: bool, what: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(
            f"{what}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return result


def _left(level: Level, tree: Any) -> Any:
    return arrays.tree_map(level.left, tree)


# ------------------------------------------------------------------ gradients


def grad_and_value(func: Transformed, argnums: Any = 0, has_aux: bool = False) -> Transformed:
    """``func`` as ``args ↦ (gradient, value)``; with ``has_aux`` (gradient, (value, aux))."""

    @functools.wraps(func, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = _Arguments("grad", argnums, args)
        value, aux = _with_aux(run(given.level, func, given.copied(), kwargs), has_aux, "grad")
        if not isinstance(value, Tensor):
            raise RuntimeError(
                f"grad_and_value(f)(*args): Expected f(*args) to return a tensor, got "
                f"{typename(value)}"
            )
        if value.ndim:
            raise RuntimeError(
                f"grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got "
                f"tensor with {value.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs "
                "instead?"
            )
        found = given.shaped(given.level.gradients([value], [None]))
        shown = given.level.left(value)
        return found, (shown, _left(given.level, aux)) if has_aux else shown

    return wrapper


def grad(func: Transformed, argnums: Any = 0, has_aux: bool = False) -> Transformed:
    """``func`` as ``args ↦ gradient`` for the arguments ``argnums``, tensors or containers.

    >>> import symgrad as sg
    >>> grad(lambda x: (x**3).sum())(sg.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    >>> grad(grad(lambda x: x**3))(sg.tensor(2.0))
    tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def vjp(func: Transformed, *primals: Any, has_aux: bool = False) -> Any:
    """(value, ``v ↦ vᵀ J``), and aux: ``v`` has the value's containers and shapes."""
    given = _Arguments("vjp", tuple(range(len(primals))), primals)
    value, aux = _with_aux(run(given.level, func, given.copied(), {}), has_aux, "vjp")
    outputs, structure = tensors_of(value, "vjp: the value of f")

    def pulled(cotangents: Any) -> Any:
        seeds, same = arrays.tree_flatten(cotangents)
        if same != structure:
            raise RuntimeError(
                f"Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function. cotangents: {same}, primal output: {structure}"
            )
        for seed, out in zip(seeds, outputs, strict=True):
            if tuple(seed.shape) != tuple(out.shape):
                raise RuntimeError(
                    f"Mismatch in shape: a cotangent has a shape of {list(seed.shape)} and the "
                    f"output has a shape of {list(out.shape)}."
                )
        found = given.trees(given.level.gradients(outputs, seeds))
        return tuple(found)

    shown = _left(given.level, value)
    return (shown, pulled, _left(given.level, aux)) if has_aux else (shown, pulled)


def jvp(
    func: Transformed, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> Any:
    """(value, J v), and aux: the derivative along ``tangents``, which look like ``primals``.

    ``vᵀ J`` is linear in ``v``; differentiated for ``v`` it gives ``J``.
    """
    del strict
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to be tuples")
    given = _Arguments("jvp", tuple(range(len(primals))), primals)
    directions, _ = tensors_of(tangents, "jvp: tangents")
    value, aux = _with_aux(run(given.level, func, given.copied(), {}), has_aux, "jvp")
    outputs, structure = tensors_of(value, "jvp: the value of f")
    made = [pushed(given.level, out, directions) for out in outputs]
    tangent = arrays.tree_ordered(value, arrays.tree_unflatten(structure, made))
    result = (_left(given.level, value), tangent)
    return (*result, _left(given.level, aux)) if has_aux else result


def linearize(func: Transformed, *primals: Any) -> tuple[Any, Transformed]:
    """(value, ``v ↦ J v``) at the primals; the function runs once."""
    given = _Arguments("linearize", tuple(range(len(primals))), primals)
    value = run(given.level, func, given.copied(), {})
    outputs, structure = tensors_of(value, "linearize: the value of f")

    def along(*tangents: Any) -> Any:
        directions, _ = tensors_of(tangents, "linearize: tangents")
        made = [pushed(given.level, out, directions) for out in outputs]
        return arrays.tree_ordered(value, arrays.tree_unflatten(structure, made))

    return _left(given.level, value), along


def pushed(level: Level, out: Tensor, directions: Sequence[Tensor]) -> Tensor:
    """J v: the derivative of ``out`` along one direction per copy."""
    follow = level.reaches_out(out.node()) or any(d.requires_grad for d in directions)
    blank = _zeros(out.node())
    other = Level([blank])
    parts = level.gradients([out], other.tensors, tracked=True)
    total: Tensor | None = None
    for part, direction in zip(parts, directions, strict=True):
        here = (part * direction).sum()
        total = here if total is None else total + here
    if total is None:
        return blank
    return other.gradients([total], [None], tracked=follow)[0]


# ------------------------------------------------------------------ Jacobians


def _jacobian(expr: Expr, x: Expr) -> Expr:
    """∂expr/∂x with the axes of ``expr`` in front."""
    seed = symbol("g", expr.shape, expr.dtype, number=-4)
    (expr,) = rules.simplify([expr])
    (found,) = pull_back({expr: seed}, [x])
    if found is None:
        return zeros((*expr.shape, *x.shape), x.dtype)
    for k in reversed(range(expr.ndim)):
        longer = symbol("g", (expr.shape[k], *seed.shape), expr.dtype, number=-4)
        found = repeated(batched([found], {seed: longer}, {}, expr.shape[k])[0], expr.shape[k])
        seed = longer
    rank = expr.ndim
    if not rank:
        return batched([found], {}, {seed: contract([], [], [], {}, expr.dtype)}, 1)[0][0]
    eyes = [delta(s, expr.dtype) for s in expr.shape]
    basis = contract(eyes, [(k, rank + k) for k in range(rank)], range(2 * rank),
                     dict(enumerate((*expr.shape, *expr.shape))))  # fmt: skip
    return batched([found], {}, {seed: basis}, 1)[0][0]


def jacobians(level: Level, outputs: Sequence[Tensor]) -> list[list[Tensor]]:
    """∂output/∂copy for every output and every copy, without a loop over rows."""
    closed = Closed([t.node() for t in outputs], level.nodes)
    nodes = dict(zip(closed.symbols, [*level.outer, *closed.captured], strict=True))
    return [
        [
            Tensor.from_node(record_of("jacobian", _jacobian(e, x), closed.symbols, nodes))
            for x in closed.symbols[: len(level.nodes)]
        ]
        for e in closed.exprs
    ]


def jacrev(
    func: Transformed, argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Transformed:
    """``func`` as ``args ↦ ∂value/∂args[argnums]``, the value's axes in front.

    >>> import symgrad as sg
    >>> jacrev(lambda x: x * x)(sg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    del chunk_size

    @functools.wraps(func, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = _Arguments("jacrev", argnums, args)
        value, aux = _with_aux(run(given.level, func, given.copied(), kwargs), has_aux, "jacrev")
        outputs, structure = tensors_of(value, "jacrev: the value of f")
        rows = [given.shaped(row) for row in jacobians(given.level, outputs)]
        result = arrays.tree_ordered(value, arrays.tree_unflatten(structure, rows))
        return (result, _left(given.level, aux)) if has_aux else result

    return wrapper


def jacfwd(
    func: Transformed,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Transformed:
    """As :func:`jacrev`: the expression of the Jacobian is the same."""
    del randomness
    return jacrev(func, argnums, has_aux=has_aux, chunk_size=chunk_size)


def hessian(func: Transformed, argnums: Any = 0) -> Transformed:
    """``func`` as ``args ↦`` the second derivatives: the Jacobian of the Jacobian.

    >>> import symgrad as sg
    >>> hessian(lambda x: (x**3).sum())(sg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)


__all__ = [
    "Level", "grad", "grad_and_value", "hessian", "jacfwd", "jacobians", "jacrev",
    "jvp", "pushed", "run", "vjp",
]  # fmt: skip
