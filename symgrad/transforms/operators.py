"""``jacobian``, ``hessian`` and ``hvp`` of tensors: linear maps as objects, with their structure.

They read symbols and recorded values alike: what they answer is a tensor like any other, so it
prints, runs, differentiates and becomes part of compiled programs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from symgrad.autodiff import gradient, pull_back
from symgrad.core.build import constant, listening, zeros
from symgrad.core.expr import Expr, name_of, symbol
from symgrad.core.traverse import leaves, substitute
from symgrad.derivation.order import Written
from symgrad.errors import DerivativeError
from symgrad.recording.closed import Closed, record_of
from symgrad.recording.record import Leaf
from symgrad.recording.walk import walk
from symgrad.simplify import GROUPS, rewrite
from symgrad.structured import derive
from symgrad.structured.banded import bands_of
from symgrad.structured.blocks import BlockPlan, block_plan
from symgrad.structured.operator import LinearMap
from symgrad.structured.printed import Printed
from symgrad.structured.second import second_label
from symgrad.structured.solving import plan
from symgrad.tensors.creation import FUNCTIONS, as_tensor
from symgrad.tensors.leaf_symbols import CHOSEN, caller_names, expanded
from symgrad.tensors.tensor import Tensor
from symgrad.transforms.handed_out import Bound


class Scope:
    """A function's expression over symbols, and the recorded nodes that these stand for."""

    def __init__(self, expr: Expr, wanted: Sequence[Expr], nodes: Mapping[Expr, Any],
                 written: Written, chosen: Mapping[Expr, str]) -> None:  # fmt: skip
        self.wanted = list(wanted)
        self.nodes = dict(nodes)
        self.written = written
        moved: dict[Expr, Expr] = {}

        def carry(before: Expr, after: Expr, table: dict[Expr, Expr]) -> None:
            written.carry(before, after, table)
            moved[before] = after

        (self.expr,), _ = rewrite([expr], GROUPS, carry)
        self.chosen = {moved.get(e, e): word for e, word in chosen.items()}

    @staticmethod
    def of(output: Tensor, wrt: Sequence[Tensor]) -> Scope:
        """The scope of a tensor over what it is differentiated for and its other leaves."""
        written = Written()
        root, inputs = output.node(), [t.node() for t in wrt]
        order = walk([root], lambda n: False)
        ends = [n for n in order if type(n) is Leaf and n.source is None]
        if all(n.value is None and n.symbol is not None for n in ends) and all(
            type(n) is Leaf for n in inputs
        ):
            with listening(written.note):
                expr, chosen, _, table = expanded(root)
            wanted = [table.get(id(n)) or n.symbol for n in inputs]
            return Scope(expr, wanted, {table[id(n)]: n for n in ends}, written, chosen)
        with listening(written.note):
            closed = Closed([root], inputs)
        nodes = dict(zip(closed.symbols, [*inputs, *closed.captured], strict=True))
        words = _words(nodes)
        shown = {
            x: symbol(words[x], x.shape, x.dtype, number=k)
            for k, x in enumerate(closed.symbols, start=1)
        }
        (expr,) = substitute(closed.exprs, shown)
        return Scope(
            expr,
            [shown[x] for x in closed.symbols[: len(inputs)]],
            {shown[x]: n for x, n in nodes.items()},
            written,
            {},
        )

    def tensor(self, name: str, e: Expr, more: Mapping[Expr, Any] | None = None) -> Tensor:
        """A tensor of an expression over these symbols, and ``more``."""
        nodes = {**self.nodes, **(more or {})}
        used = leaves([e])
        return Tensor.from_node(record_of(name, e, used, nodes))


def _words(nodes: Mapping[Expr, Any]) -> dict[Expr, str]:
    """Names for symbols: the user's, or x1, x2, …"""
    words: dict[Expr, str] = {}
    held = caller_names()
    for k, (x, n) in enumerate(nodes.items(), start=1):
        source = getattr(n, "source", None) or n
        word = CHOSEN.get(n) or getattr(n, "name", "") or held.get(id(source)) or f"x{k}"
        words[x] = word if word not in words.values() else f"{word}_{k}"
    return words


class Operator:
    """A Jacobian or Hessian: a linear map with its structure.

    ``dense()`` has the axes of the output in front; as a matrix both sides are read by rows.
    """

    def __init__(self, m: LinearMap, scope: Scope, label: str = "J") -> None:
        self.map = m
        self.scope = scope
        self.label = label

    @property
    def shape(self) -> tuple[Any, Any]:
        """(rows, columns) as a matrix."""
        return self.map.shape

    @property
    def T(self) -> Operator:
        """The transpose."""
        return Operator(self.map.T, self.scope, f"({self.label})ᵀ")

    def matvec(self, v: Any) -> Tensor:
        """This map applied to a tensor of the shape of what was differentiated for."""
        t, x = self._operand(v)
        return self.scope.tensor("matvec", self.map.matvec(x), {x: t.node()})

    def rmatvec(self, v: Any) -> Tensor:
        """The transpose applied to a tensor of the output's shape."""
        t, x = self._operand(v)
        return self.scope.tensor("rmatvec", self.map.rmatvec(x), {x: t.node()})

    def __matmul__(self, v: Any) -> Any:
        """This map applied to a tensor, or after another map: ``J.T @ J`` of Gauss and Newton.

        ShapeError where the axes do not fit; TypeError for maps of different calls.
        """
        if not isinstance(v, Operator):
            return self.matvec(v)
        if v.scope is not self.scope:
            raise TypeError("a product of maps is one of maps from the same call, as J.T @ J")
        return Operator(self.map.after(v.map), self.scope, f"{self.label} {v.label}")

    def shifted(self, number: Any) -> Operator:
        """This map plus ``number`` (one, or a scalar tensor) times the identity: damping, a ridge."""
        scope, dtype = self.scope, self.map.expr.dtype
        if not isinstance(number, Tensor):
            return Operator(self.map.shifted(constant(number, dtype)), scope, self.label)
        x = next((x for x, n in scope.nodes.items() if n is number.node()), None)
        if x is None:
            leaf = getattr(number.node(), "symbol", None)
            x = leaf if leaf is not None else symbol(number._name or "λ", (), dtype, number=-6)
            scope = copy(scope)
            scope.nodes = {**scope.nodes, x: number.node()}
        return Operator(self.map.shifted(x), scope, self.label)

    def diag(self) -> Tensor:
        """The diagonal, in the shape of what was differentiated for."""
        return self.scope.tensor("diag", self.map.diag())

    def bands(self) -> dict[int, Tensor] | None:
        """offset → vector ``v`` with ``A[i, i + offset] = v[i]``; None for what is not banded."""
        found = None
        if len(self.map.out_shape) == 1 and self.map.out_shape == self.map.in_shape:
            found = bands_of(self.map.terms, self.map.out_shape[0], self.map.expr.dtype)
        if found is None:
            return None
        return {k: self.scope.tensor("band", e) for k, e in found.items()}

    def trace(self) -> Tensor:
        """The sum of the diagonal."""
        return self.scope.tensor("trace", self.map.trace())

    def solve(self, b: Any, sizes: Mapping[str, int] | None = None) -> Tensor:
        """x with this map applied to x equal to b, by the structure; :meth:`way` says how.

        ``sizes`` are values of size letters to choose the way for.
        """
        t, x = self._operand(b)
        return self.scope.tensor("solve", plan(self.map, sizes).solve(x), {x: t.node()})

    def logdet(self, sizes: Mapping[str, int] | None = None) -> Tensor:
        """log det, by the same structure; NaN for a negative determinant."""
        return self.scope.tensor("logdet", plan(self.map, sizes).logdet())

    def way(self, sizes: Mapping[str, int] | None = None) -> str:
        """How ``solve`` and ``logdet`` do it, and why."""
        return plan(self.map, sizes).text()

    def dense(self) -> Tensor:
        """All entries, the axes of the output in front."""
        return self.scope.tensor("dense", self.map.dense())

    def matrix(self) -> Tensor:
        """All entries as a matrix."""
        return self.scope.tensor("matrix", self.map.matrix())

    def formula(self) -> Printed:
        """Text, LaTeX and the layout that they are read in."""
        s = self.scope
        return Printed(self.map, self.label, s.expr, s.wanted, list(s.nodes), s.written, s.chosen)

    def latex(self) -> str:
        """The formula in LaTeX."""
        return self.formula().latex()

    def _repr_latex_(self) -> str:
        return self.formula()._repr_latex_()

    def __str__(self) -> str:
        return str(self.formula())

    __repr__ = __str__

    def as_linear_operator(self, **values: Any) -> Any:
        """A SciPy ``LinearOperator``; ``values`` are arrays for symbols that have none."""
        return Bound(self.map, self.scope.nodes, values).scipy()

    def as_lineax(self, **values: Any) -> Any:
        """A lineax operator, where lineax is installed."""
        return Bound(self.map, self.scope.nodes, values).lineax()

    def _operand(self, v: Any) -> tuple[Tensor, Expr]:
        """A tensor and a symbol for it."""
        t = v if isinstance(v, Tensor) else as_tensor(v, dtype=self.map.expr.dtype)
        return t, symbol("v", tuple(t.shape), t.dtype, number=-5)


class Blocks:
    """The second derivatives for several tensors: ``h[i, j]`` is the block ∂²/∂xᵢ∂xⱼ.

    Vectors are lists with one tensor per block; as a matrix, each block is read by rows.
    """

    def __init__(self, blocks: Sequence[Sequence[Operator]]) -> None:
        self.blocks = [list(row) for row in blocks]

    def __getitem__(self, where: tuple[int, int]) -> Operator:
        row, column = where
        return self.blocks[row][column]

    @property
    def T(self) -> Blocks:
        """The transpose."""
        return Blocks([[b.T for b in column] for column in zip(*self.blocks, strict=True)])

    def matvec(self, vs: Sequence[Any]) -> list[Tensor]:
        """Every row of blocks applied to the vectors."""
        return [
            functools.reduce(operator.add, [b.matvec(v) for b, v in zip(row, vs, strict=True)])
            for row in self.blocks
        ]

    def rmatvec(self, us: Sequence[Any]) -> list[Tensor]:
        """The transpose applied to one tensor per row."""
        return self.T.matvec(us)

    def solve(self, right: Sequence[Any], sizes: Mapping[str, int] | None = None) -> list[Tensor]:
        """The tensors that all blocks take to ``right``; :meth:`way` says how.

        ``sizes`` are values of size letters to choose the way for.
        """
        scope, dtype = self.blocks[0][0].scope, self.blocks[0][0].map.expr.dtype
        nodes: dict[Expr, Any] = {}
        given: list[Expr] = []
        for k, b in enumerate(right):
            t = b if isinstance(b, Tensor) else as_tensor(b, dtype=dtype)
            given.append(symbol(f"v{k}", tuple(t.shape), t.dtype, number=-5 - k))
            nodes[given[-1]] = t.node()
        found = self._plan(sizes).solve(given)
        return [scope.tensor("solve", e, {x: nodes[x] for x in given}) for e in found]

    def logdet(self, sizes: Mapping[str, int] | None = None) -> Tensor:
        """log det of all blocks, by the same way; NaN for a negative determinant."""
        return self.blocks[0][0].scope.tensor("logdet", self._plan(sizes).logdet())

    def way(self, sizes: Mapping[str, int] | None = None) -> str:
        """How ``solve`` and ``logdet`` do it, and why."""
        return self._plan(sizes).text([name_of(x) for x in self.blocks[0][0].scope.wanted])

    def _plan(self, sizes: Mapping[str, int] | None) -> BlockPlan:
        return block_plan([[b.map for b in row] for row in self.blocks], sizes)

    def diag(self) -> list[Tensor]:
        """The diagonals of the blocks on the diagonal."""
        return [row[k].diag() for k, row in enumerate(self.blocks)]

    def trace(self) -> Tensor:
        """The sum of all diagonal entries."""
        return functools.reduce(operator.add, [row[k].trace() for k, row in enumerate(self.blocks)])

    def dense(self) -> list[list[Tensor]]:
        """All blocks with the axes of both variables."""
        return [[b.dense() for b in row] for row in self.blocks]

    def matrix(self) -> Tensor:
        """All blocks as one matrix."""
        cat = FUNCTIONS["cat"]
        rows = [cat([b.matrix() for b in row], 1) for row in self.blocks]
        return cat(rows, 0)

    def __str__(self) -> str:
        return "\n".join(f"{b.label} = {b}" for row in self.blocks for b in row)

    __repr__ = __str__


def jacobian(y: Tensor, x: Tensor) -> Operator:
    """∂y/∂x as an object: ``.matvec .rmatvec .diag() .trace() .solve(b) .logdet() .dense() .T``.

    >>> import symgrad as sg
    >>> s = sg.symbols("s:n")
    >>> jacobian(sg.softmax(s, -1), s)
    diag(p) − p pᵀ   where p = softmax(s)
    """
    return jacobian_of(Scope.of(y, [x]))


def jacobian_of(scope: Scope) -> Operator:
    """The Jacobian of a scope's expression for its one variable."""
    return Operator(derive.jacobian(scope.expr, scope.wanted[0]), scope, "∂y/∂x")


def hessian(value: Tensor, wrt: Any) -> Any:
    """∂²value/∂x² of a scalar as an object, or the blocks of all pairs for a list of tensors.

    >>> import symgrad as sg
    >>> A, x = sg.symbols("A:n,n x:n")
    >>> hessian(x @ A @ x, x)
    A + Aᵀ
    """
    _scalar(value)
    several = isinstance(wrt, (list, tuple))
    return hessian_of(Scope.of(value, list(wrt) if several else [wrt]), several)


def hessian_of(scope: Scope, several: bool) -> Any:
    """The Hessian of a scope's expression: the blocks of ``several`` variables, or one block."""
    words = [name_of(x) for x in scope.wanted]
    found = derive.hessian(scope.expr, scope.wanted)
    blocks = [
        [Operator(m, scope, second_label(words[i], words[j])) for j, m in enumerate(row)]
        for i, row in enumerate(found)
    ]
    return Blocks(blocks) if several else blocks[0][0]


def hvp(value: Tensor, x: Tensor, v: Any) -> Tensor:
    """∂²value/∂x² v: the gradient of ⟨gradient, v⟩; nothing of the Hessian's size is made.

    >>> import symgrad as sg
    >>> x = sg.tensor([1.0, 2.0])
    >>> hvp((x**3).sum(), x, sg.tensor([1.0, 1.0]))
    tensor([ 6., 12.])
    """
    _scalar(value)
    scope = Scope.of(value, [x])
    t = v if isinstance(v, Tensor) else as_tensor(v, dtype=x.dtype)
    (g,) = gradient(scope.expr, scope.wanted)
    direction = symbol("v", tuple(t.shape), t.dtype, number=-5)
    (found,) = pull_back({g: direction}, scope.wanted)
    if found is None:  # the gradient does not depend on x
        found = zeros(scope.wanted[0].shape, scope.wanted[0].dtype)
    return scope.tensor("hvp", found, {direction: t.node()})


def _scalar(value: Tensor) -> None:
    if value.ndim:
        raise DerivativeError(
            f"the Hessian of a tensor of shape {list(value.shape)}: only a scalar has one. "
            "Reduce it first (sum, mean)."
        )


__all__ = ["Blocks", "Operator", "hessian", "hvp", "jacobian"]
