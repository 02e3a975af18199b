"""Random programs: drawn step by step, kept where every function in them is smooth.

A program is a list of nodes; each has a symgrad expression, NumPy's value of it (which tells whether
the next function is smooth there) and the same function in jnp, written by hand in
``tests/random_steps.py``.  ``disagreements`` compares value, gradient and second derivative with
``jax.grad`` evaluated eagerly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from symgrad_codegen.compile import compiled

from symgrad.autodiff import gradient
from symgrad.core import dtypes
from symgrad.core.build import add, cast, product, reduce_sum, scale
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import Size, letter
from symgrad.core.traverse import topological
from symgrad.errors import ShapeError
from symgrad.evaluate import evaluate
from symgrad.lower import lower
from symgrad.simplify import stabilised
from tests.jaxpr_numbers import with_numpy

Array = np.ndarray[Any, Any]
SIZES = {"n": 3, "m": 2}
"""Values of the size letters."""
DEPTH = 12
TOLERANCE = 1e-9
MOST_ENTRIES = 48
LARGEST = 60.0
CLEAR = 1e-3
"""How far from a kink every function is evaluated."""


def extent_of(size: Size) -> int:
    """The number that a size stands for."""
    return size if isinstance(size, int) else int(size.value(SIZES))


class RefusedError(Exception):
    """This step is not possible here; another one is drawn."""


@dataclass(frozen=True)
class Node:
    """One value of a program: expression, number, and the function of earlier values in jnp."""

    text: str
    expr: Expr
    value: Array
    depth: int = 0
    inputs: tuple[int, ...] = ()
    reference: Callable[..., Any] | None = None

    @property
    def kind(self) -> str:
        """ "f", "i" or "b"."""
        return self.expr.dtype.kind


@dataclass
class Program:
    """A program while it is drawn, and after; ``choose(n)`` draws one of 0, …, n − 1."""

    choose: Callable[[int], int]
    lettered: bool
    rng: np.random.Generator
    nodes: list[Node] = field(default_factory=list)

    # -------------------------------------------------------------- drawing

    def pick(self, options: Sequence[Any]) -> Any:
        """One of these; RefusedError where there is none."""
        if not options:
            raise RefusedError
        return options[self.choose(len(options))]

    def size(self, extent: int) -> Size:
        """A size of a leaf: a letter or a number."""
        letters = {2: "m", 3: "n"}
        return letter(letters[extent]) if self.lettered and extent in letters else extent

    def new(
        self,
        shape: Sequence[Size],
        dtype: DType = dtypes.float64,
        below: int = 0,
        kind: str = "x",
    ) -> int:
        """A new leaf; integers lie below ``below``."""
        name = f"{kind}{len(self.nodes)}"
        expr = symbol(name, tuple(shape), dtype)
        extents = tuple(map(extent_of, shape))
        value = (
            self.rng.integers(0, below, extents) if below
            else self.rng.uniform(-1.5, 1.5, extents).astype(dtype.numpy)
        )  # fmt: skip
        spelled = ", ".join(map(str, shape))
        self.nodes.append(Node(f"{name}[{spelled}] {dtype}", expr, value))
        return len(self.nodes) - 1

    def shape(self) -> tuple[Size, ...]:
        """A shape of a leaf."""
        rank = self.pick((2, 1, 2, 3, 0, 2))
        return tuple(
            self.size(self.pick((3, 2, 2, 3, 1) if rank < 3 else (2, 3))) for _ in range(rank)
        )

    def operand(
        self,
        fits: Callable[[Node], bool] = lambda node: True,
        shape: Sequence[Size] | None = None,
        kind: str = "f",
    ) -> int:
        """A value that fits, the newest more often; without one a new leaf of ``shape``."""
        found = [
            k for k in reversed(range(len(self.nodes)))
            if self.nodes[k].kind == kind and self.nodes[k].expr.dtype is not dtypes.float32
            and fits(self.nodes[k])
        ]  # fmt: skip
        if kind == "f" and shape is not None and (not found or not self.choose(8)):
            return self.new(shape)
        if not found:
            raise RefusedError
        return found[0] if self.choose(3) else self.pick(found)

    def emit(
        self,
        name: str,
        build: Callable[..., Expr],
        reference: Callable[..., Any],
        *inputs: int,
        clear: Callable[..., bool] | None = None,
    ) -> int:
        """A new value; RefusedError where it is large, not finite, deep, or near a kink."""
        used = [self.nodes[k] for k in inputs]
        if clear is not None and not clear(*[n.value for n in used]):
            raise RefusedError
        depth = 1 + max((n.depth for n in used), default=0)
        if depth > DEPTH:
            raise RefusedError
        try:
            expr = build(*[n.expr for n in used])
        except ShapeError as refusal:  # a size that is no product of letters
            if not self.lettered:
                raise
            raise RefusedError from refusal
        (value,) = evaluate([expr], {n.expr: n.value for n in self.nodes}, SIZES)
        if value.size > MOST_ENTRIES or not value.size or value.ndim > 4:
            raise RefusedError
        if not np.isfinite(value).all() or np.abs(value.astype(float)).max() > LARGEST:
            raise RefusedError
        self.nodes.append(Node(name, expr, value, depth, inputs, reference))
        return len(self.nodes) - 1

    # -------------------------------------------------------------- into a domain

    def bounded(self, k: int, limit: float = 2.0) -> int:
        """This value, scaled so that it is at most ``limit``."""
        largest = float(np.abs(self.nodes[k].value).max())
        if largest <= limit:
            return k
        factor = Fraction(1, int(np.ceil(largest / limit)))
        return self.emit(f"{factor} *", lambda x: scale(factor, x), lambda x: x * float(factor), k)

    def within(self, k: int, domain: str) -> int:
        """This value moved into the domain of a function, with its names from ``op_rows``."""
        value = self.nodes[k].value
        inside = {"positive": 0.4, "above one": 1.2}
        if domain in inside and value.min() > inside[domain] and value.max() < 5:
            return k  # scaled, it might be outside
        if domain == "positive":
            k = self.bounded(k)
            return self.emit("½ + square", lambda x: x * x + 0.5, lambda x: x * x + 0.5, k)
        if domain == "above one":
            k = self.bounded(k)
            return self.emit("1.3 + square", lambda x: x * x + 1.3, lambda x: x * x + 1.3, k)
        if domain == "unit":
            return self.bounded(k, 0.8)
        return self.bounded(k)

    # -------------------------------------------------------------- after

    @property
    def depth(self) -> int:
        """The longest path."""
        return max(n.depth for n in self.nodes)

    @property
    def leaves(self) -> list[int]:
        """The places of the real leaves."""
        return [k for k, n in enumerate(self.nodes) if n.reference is None and n.kind == "f"]

    @property
    def ends(self) -> list[int]:
        """The values that no other uses: the loss is a weighted sum of their entries."""
        used = {k for n in self.nodes for k in n.inputs}
        return [
            k for k, n in enumerate(self.nodes) if k not in used and n.reference is not None
        ]  # fmt: skip

    def upto(self, k: int) -> Program:
        """Value ``k`` and what it is made of, as a program of its own."""
        wanted = {k}
        for j in range(k, -1, -1):
            if j in wanted:
                wanted.update(self.nodes[j].inputs)
        number = {j: n for n, j in enumerate(sorted(wanted))}
        nodes = [
            replace(self.nodes[j], inputs=tuple(number[i] for i in self.nodes[j].inputs))
            for j in number
        ]
        return replace(self, nodes=nodes)

    def __repr__(self) -> str:
        lines = [""]
        for k, n in enumerate(self.nodes):
            used = f"({', '.join(f'%{j}' for j in n.inputs)})" if n.inputs else ""
            lines.append(f"%{k} = {n.text}{used}")
        return "\n".join(lines)


Plan = Callable[[Program], object]
"""Draws one step of a program, or raises RefusedError."""


@dataclass(frozen=True)
class Question:
    """A program with its loss, directions, derivatives and the numbers of all leaves."""

    feeds: dict[Expr, Array]
    outputs: list[Expr]
    names: list[str]
    weights: dict[int, Array]
    directions: list[Array]


def posed(program: Program) -> Question:
    """Loss Σ w ⊙ end, its gradient g for every real leaf, and the gradient of Σ ⟨g, v⟩."""
    rng = np.random.default_rng(7)
    nodes = program.nodes
    feeds = {n.expr: n.value for n in nodes if n.reference is None}
    if program.lettered:  # the source reads a letter from an input that has it
        sizes = symbol("sizes", tuple(map(letter, SIZES)), dtypes.float64)
        feeds[sizes] = np.zeros(tuple(SIZES.values()))
    weights: dict[int, Array] = {}
    parts: list[Expr] = []
    for k in program.ends:
        end = cast(nodes[k].expr, dtypes.float64)
        weights[k] = rng.uniform(0.5, 1.5, nodes[k].value.shape)
        weight = symbol(f"w{k}", end.shape, dtypes.float64)
        feeds[weight] = weights[k]
        parts.append(reduce_sum(product(weight, end), range(end.ndim)))
    loss = add(parts)
    wanted = [nodes[k].expr for k in program.leaves]
    first = gradient(loss, wanted)
    directions: list[Array] = []
    parts = []
    for k, g in zip(program.leaves, first, strict=True):
        # float32 numbers, so that a float32 gradient is exact along them
        drawn = rng.uniform(-1, 1, nodes[k].value.shape).astype(np.float32).astype(np.float64)
        directions.append(drawn)
        along = symbol(f"v{k}", g.shape, dtypes.float64)
        feeds[along] = drawn
        parts.append(reduce_sum(product(along, cast(g, dtypes.float64)), range(g.ndim)))
    second = gradient(add(parts), wanted) if parts else []
    names = ["value", *(f"gradient for %{k}" for k in program.leaves),
             *(f"second derivative for %{k}" for k in program.leaves)]  # fmt: skip
    return Question(feeds, [loss, *first, *second], names, weights, directions)


def reference(program: Program, question: Question, eager: bool = True) -> list[Array]:
    """The same numbers by ``jax.grad``, evaluated eagerly; else its arithmetic by NumPy."""
    nodes = program.nodes

    def loss(leaves: list[Any]) -> Any:
        given = dict(zip(program.leaves, leaves, strict=True))
        values: list[Any] = []
        for k, node in enumerate(nodes):
            if node.reference is None:
                values.append(given[k] if k in given else jnp.asarray(node.value))
            else:
                values.append(node.reference(*[values[j] for j in node.inputs]))
        ends = question.weights.items()
        return sum(jnp.sum(w * values[k].astype(jnp.float64)) for k, w in ends)

    def slope(leaves: list[Any]) -> Any:
        value, first = jax.value_and_grad(loss)(leaves)
        pairs = zip(first, question.directions, strict=True)
        along = [jnp.sum(g.astype(jnp.float64) * v) for g, v in pairs]
        return sum(along, jnp.zeros((), jnp.float64)), (value, first)

    with jax.enable_x64(True):
        leaves = [jnp.asarray(nodes[k].value) for k in program.leaves]
        derivatives = jax.grad(slope, has_aux=True)
        second, (value, first) = derivatives(leaves) if eager else with_numpy(derivatives, leaves)
    return [np.asarray(v) for v in (value, *first, *second)]


def apart(found: Sequence[Any], expected: Sequence[Array], names: Sequence[str]) -> list[str]:
    """What differs by more than the tolerance, relative to the largest entry."""
    wrong: list[str] = []
    for name, mine, theirs in zip(names, found, expected, strict=True):
        mine = np.asarray(mine)
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            wrong.append(f"{name}: {mine.dtype} {mine.shape}, not {theirs.dtype} {theirs.shape}")
            continue
        if not theirs.size:
            continue
        error = np.abs(mine - theirs).max() / max(1.0, np.abs(theirs).max())
        if not error <= TOLERANCE:
            wrong.append(f"{name}: {mine} is {error:.1e} from {theirs}")
    return wrong


def disagreements(program: Program, jitted: bool = False, eager: bool = True) -> list[str]:
    """Where NumPy's templates, simplification, or the generated source differ from jax.grad."""
    question = posed(program)
    expected = reference(program, question, eager)
    names = question.names
    found = evaluate(question.outputs, question.feeds, SIZES)
    wrong = apart(found, expected, names)
    rewritten = stabilised(question.outputs)
    found = evaluate(rewritten, question.feeds, SIZES)
    wrong += apart(found, expected, [f"rewritten: {n}" for n in names])
    if jitted:
        inputs = list(question.feeds)
        rows = [(f"y{k}", e) for k, e in enumerate(rewritten)]
        found = compiled(lower("example", inputs, rows))(*[question.feeds[e] for e in inputs])
        wrong += apart(found, expected, [f"generated source: {n}" for n in names])
    return wrong


def smallest(program: Program, wrong: Callable[[Program], list[str]]) -> Program:
    """The first value of a program that is wrong by itself; else the whole program."""
    for k, node in enumerate(program.nodes):
        if node.reference is not None:
            part = program.upto(k)
            if wrong(part):
                return part
    return program


def operations(program: Program) -> set[str]:
    """Names of the operations in it."""
    return {e.op.name for e in topological([program.nodes[k].expr for k in program.ends])}
