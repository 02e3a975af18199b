"""An expression of ours as one of SymPy: matrix algebra where SymPy has it, entries and sums else.

Every node has a value: a scalar, or a matrix (a vector is a column).  A product is a chain of
matrices where its labels form one; any other node is told by its entries, as a FunctionMatrix.
Tensors of three axes or more exist within, by their entries only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.core.build import CONTRACTION, DELTA, SUM, constant_value, elementwise, inlined
from symgrad.core.expr import SYMBOL, Expr, facts_of, name_of
from symgrad.core.sizes import Size, monomial
from symgrad.core.traverse import topological
from symgrad.errors import NotationError
from symgrad.foreign.chains import Chain, number_of
from symgrad.foreign.from_sympy import ROWS

sympy = lazy("sympy")
matrices = lazy("sympy.matrices.expressions")


@dataclass(frozen=True)
class Entries:
    """A tensor without a matrix of its own: the entry at some indices."""

    indices: tuple[Any, ...]
    entry: Any


# ------------------------------------------------------------------ functions


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + sympy.exp(-x))


def _chosen(c: Any, a: Any, b: Any) -> Any:
    return sympy.Piecewise((a, c), (b, True))


@lru_cache(maxsize=1)
def _functions() -> dict[str, Callable[..., Any]]:
    """Our elementwise ops → SymPy: the table of :mod:`from_sympy` read backwards, and what that
    spells by several of its functions.
    """
    same = {
        row.args[0]: getattr(sympy, word)
        for word, row in ROWS.items()
        if isinstance(row, partial) and row.func is elementwise
    }
    return {
        **same,
        "maximum": sympy.Max,
        "minimum": sympy.Min,
        "logical_and": sympy.And,
        "logical_or": sympy.Or,
        "logical_xor": sympy.Xor,
        "log1p": lambda x: sympy.log(1 + x),
        "expm1": lambda x: sympy.exp(x) - 1,
        "sigmoid": _sigmoid,
        "softplus": lambda x: sympy.log(1 + sympy.exp(x)),
        "relu": lambda x: sympy.Max(x, 0),
        "where": _chosen,
        "pow": sympy.Pow,
        "trunc": lambda x: sympy.sign(x) * sympy.floor(sympy.Abs(x)),
        "floor_divide": lambda a, b: sympy.floor(a / b),
        "detach": lambda x: x,
    }


def _function(node: Expr) -> Callable[..., Any]:
    name, statics = node.op.name, node.params[2]
    if name == "power":
        return lambda x: x ** number_of(monomial(statics[0]))
    if name == "polygamma":
        return lambda x: sympy.polygamma(statics[0], x)
    if name == "cast":
        if node.args[0].dtype.kind == "b":
            return lambda c: _chosen(c, sympy.Integer(1), sympy.Integer(0))
        if node.dtype.kind in "iu" and node.args[0].dtype.kind == "f":
            return _functions()["trunc"]
        return lambda x: x
    if name not in _functions():
        raise _without(node)
    return _functions()[name]


def _without(node: Expr) -> NotationError:
    return NotationError(
        f"to_sympy: SymPy has no counterpart of {node.op.name}.",
        "Convert a part of the expression without it; its functions are those of from_sympy.",
    )


# ------------------------------------------------------------------ entries of the other ops


def _at(idx: Sequence[Any], axis: int, new: Any) -> list[Any]:
    """Indices with another one at an axis counted from the end."""
    return [*idx[: len(idx) + axis], new, *idx[len(idx) + axis + 1 :]]


def _softmax(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    axis = node.params[0]
    k = _dummy("k")
    total = _total(sympy.exp(of(0, _at(idx, axis, k))), k, node.shape[axis])
    return sympy.exp(of(0, idx)) / total


def _logsumexp(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    place = node.params[0] + node.args[0].ndim
    k = _dummy("k")
    inner = sympy.exp(of(0, [*idx[:place], k, *idx[place:]]))
    return sympy.log(_total(inner, k, node.args[0].shape[place]))


def _cumsum(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    axis = node.params[0]
    k = _dummy("k")
    return sympy.Sum(of(0, _at(idx, axis, k)), (k, 0, idx[len(idx) + axis]))


def _flip(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    axis = node.params[0]
    last = number_of(node.shape[axis]) - 1
    return of(0, _at(idx, axis, last - idx[len(idx) + axis]))


def _slice(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    spec = node.params[0]
    lead = len(idx) - len(spec)
    moved = [i if p is None else number_of(p[0]) + p[2] * i
             for i, p in zip(idx[lead:], spec, strict=True)]  # fmt: skip
    return of(0, [*idx[:lead], *moved])


def _onehot(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    return sympy.KroneckerDelta(of(0, idx[:-1]), idx[-1])


def _take(node: Expr, of: Callable[..., Any], idx: Sequence[Any]) -> Any:
    e, index = node.args
    axis = node.params[0] + e.ndim
    place = of(1, idx[axis : axis + index.ndim])
    return of(0, [*idx[:axis], place, *idx[axis + index.ndim :]])


_ENTRIES: dict[str, Callable[..., Any]] = {
    "softmax": _softmax, "logsumexp": _logsumexp, "cumsum": _cumsum, "flip": _flip,
    "slice": _slice, "onehot": _onehot, "take": _take,
}  # fmt: skip


def _dummy(word: str) -> Any:
    return sympy.Dummy(word, integer=True, nonnegative=True)


def _total(body: Any, k: Any, size: Size) -> Any:
    return sympy.Sum(body, (k, 0, number_of(size) - 1))


# ------------------------------------------------------------------ the walk


class _Writer:
    """Values of nodes, and their entries."""

    def __init__(self) -> None:
        self.values: dict[Expr, Any] = {}

    def entry(self, e: Expr, idx: Sequence[Any]) -> Any:
        """The entry of a node's value."""
        value = self.values[e]
        if not e.ndim:
            return value
        at = [0 if s == 1 else i for i, s in zip(idx, e.shape, strict=True)]
        if isinstance(value, Entries):
            return value.entry.xreplace(dict(zip(value.indices, at, strict=True)))
        return value[at[0], at[1] if e.ndim == 2 else 0]

    def by_entries(self, node: Expr, entry: Callable[[Sequence[Any]], Any]) -> Any:
        """A node's value from what its entries are."""
        if not node.ndim:
            return entry(())
        idx = tuple(_dummy(w) for w in ("i", "j", "k", "l", *"mnop")[: node.ndim])
        told = Entries(idx, entry(idx))
        if node.ndim > 2 or node.dtype.kind == "b":
            return told
        i, j = idx if node.ndim == 2 else (*idx, _dummy("j"))
        sizes = [number_of(s) for s in (*node.shape, 1)[:2]]
        return matrices.FunctionMatrix(*sizes, sympy.Lambda((i, j), told.entry))

    def placed(self, e: Expr, labels: Sequence[int], node: Expr) -> Any:
        """A factor or term repeated to the matrix of ``node``; None for a scalar."""
        kept = [x for x in labels if x >= 0]
        value = self.values[e]
        if not kept:
            return None
        rows, columns = (number_of(s) for s in (*node.shape, 1)[:2])
        if node.ndim == 1:
            return value.T if e.ndim == 2 and labels[0] < 0 else value
        if len(kept) == 2:
            return value if kept[0] < kept[1] else value.T
        across = e.ndim == 2 and labels[0] < 0
        column = value.T if across else value
        if kept[0] == 0:
            return column if node.shape[1] == 1 else column * matrices.OneMatrix(1, columns)
        return column.T if node.shape[0] == 1 else matrices.OneMatrix(rows, 1) * column.T

    def value(self, node: Expr) -> Any:
        """The value of a node whose arguments have theirs."""
        number = constant_value(node)
        if number is not None and node.ndim <= 2:
            return self._filled(number_of(number), node)
        op = node.op
        if op is SYMBOL:
            return _leaf(node)
        if op is DELTA:
            return matrices.Identity(number_of(node.shape[0]))
        if op is SUM:
            return self._sum(node)
        if op is CONTRACTION:
            return self._product(node)
        if op.family == "map":
            return self._map(node)
        matrix = _MATRIX.get(op.name)
        if matrix is not None and all(a.ndim <= 2 for a in node.args):
            return matrix(*(self.values[a] for a in node.args))
        told = _ENTRIES.get(op.name)
        if told is None:
            raise _without(node)
        return self.by_entries(
            node, lambda idx: told(node, lambda k, at: self.entry(node.args[k], at), idx)
        )

    def _filled(self, number: Any, node: Expr) -> Any:
        if not node.ndim:
            return number
        sizes = [number_of(s) for s in (*node.shape, 1)[:2]]
        return matrices.ZeroMatrix(*sizes) if number == 0 else number * matrices.OneMatrix(*sizes)

    def _map(self, node: Expr) -> Any:
        apply = _function(node)
        rows = node.params[0]
        first = self.values[node.args[0]]
        if len(node.args) == 1 and node.ndim in (1, 2) and not isinstance(first, Entries):
            if node.op.name in ("cast", "detach"):
                return first
            x = _dummy("x") if node.dtype.kind in "iu" else sympy.Dummy("x", real=True)
            if node.dtype.kind != "b":
                return first.applyfunc(sympy.Lambda(x, apply(x)))

        def entry(idx: Sequence[Any]) -> Any:
            parts = [
                self.entry(a, [idx[x] if x >= 0 else 0 for x in ls])
                for a, ls in zip(node.args, rows, strict=True)
            ]
            return apply(*parts)

        return self.by_entries(node, entry)

    def _sum(self, node: Expr) -> Any:
        if node.ndim > 2 or any(isinstance(self.values[a], Entries) for a in node.args):
            return self.by_entries(node, partial(self._sum_entry, node))
        total: list[Any] = []
        for (c, ls), a in zip(node.params[0], node.args, strict=True):
            part = self.placed(a, ls, node)
            if part is None:
                part = self._filled(self.entry(a, [0] * a.ndim), node)
            elif len([x for x in ls if x >= 0]) == 2 and ls[0] == ls[1]:
                return self.by_entries(node, partial(self._sum_entry, node))
            total.append(number_of(c) * part)
        return sympy.Add(*total) if not node.ndim else matrices.MatAdd(*total).doit(deep=False)

    def _sum_entry(self, node: Expr, idx: Sequence[Any]) -> Any:
        return sympy.Add(*(
            number_of(c) * self.entry(a, [idx[x] if x >= 0 else 0 for x in ls])
            for (c, ls), a in zip(node.params[0], node.args, strict=True)
        ))  # fmt: skip

    def _product(self, node: Expr) -> Any:
        found = None
        if node.ndim <= 2 and not any(isinstance(self.values[a], Entries) for a in node.args):
            found = self._hadamard(node) if not node.sums else None
            found = Chain(self, node).value() if found is None else found
        return self.by_entries(node, partial(self._product_entry, node)) if found is None else found

    def _hadamard(self, node: Expr) -> Any:
        """A product without sums whose factors are whole: X ⊙ (1 wᵀ)."""
        front: list[Any] = []
        parts: list[Any] = []
        for a, ls in zip(node.args, node.params[0], strict=True):
            kept = [x for x in ls if x >= 0]
            if len(set(kept)) < len(kept) or (a.op is DELTA and node.ndim == 2):
                return None
            part = self.placed(a, ls, node) if node.ndim else None
            if part is None:
                front.append(self.entry(a, [0] * a.ndim))
            else:
                parts.append(part)
        if node.ndim == 2 and len(parts) == 2 and not any(
            len([x for x in ls if x >= 0]) == 2 for ls in node.params[0]
        ):  # fmt: skip
            return None  # u vᵀ is a chain
        scalar = sympy.Mul(*front)
        if not node.ndim:
            return scalar
        if not parts:
            return self._filled(scalar, node)
        return scalar * (matrices.HadamardProduct(*parts) if len(parts) > 1 else parts[0])

    def _product_entry(self, node: Expr, idx: Sequence[Any]) -> Any:
        where: dict[int, Any] = dict(enumerate(idx))
        summed: list[tuple[Any, Size]] = []
        for a, ls in zip(node.args, node.params[0], strict=True):
            for axis, x in enumerate(ls):
                if x >= 0 and x not in where:
                    where[x] = _dummy("k")
                    summed.append((where[x], a.shape[axis]))
        body = sympy.Mul(*(
            self.entry(a, [where[x] if x >= 0 else 0 for x in ls])
            for a, ls in zip(node.args, node.params[0], strict=True)
        ))  # fmt: skip
        for k, size in summed:
            body = _total(body, k, size)
        return body


def _leaf(node: Expr) -> Any:
    name = name_of(node)
    known = {"integer": True} if node.dtype.kind in "iu" else {"real": True}
    if "positive" in facts_of(node):
        known["positive"] = True
    sizes = [number_of(s) for s in node.shape]
    if not node.ndim:
        return sympy.Symbol(name, **known)
    if node.ndim <= 2:
        return matrices.MatrixSymbol(name, *(*sizes, sympy.Integer(1))[:2])
    idx = tuple(_dummy(w) for w in "ijklmnop"[: node.ndim])
    return Entries(idx, sympy.IndexedBase(name, shape=tuple(sizes))[idx])


def _determinant(a: Any) -> Any:
    return matrices.Determinant(a)


_MATRIX: dict[str, Callable[..., Any]] = {
    "inv": lambda a: a.inverse(),
    "solve": lambda a, b: a.inverse() * b,
    "det": _determinant,
    "logdet": lambda a: sympy.log(_determinant(a)),
}


def written(e: Expr) -> Any:
    """``e`` as an expression of SymPy.

    Raises NotationError for an op without a counterpart, and for a result of three axes or more.
    """
    e = inlined([e])[e]
    writer = _Writer()
    for node in topological([e]):
        writer.values[node] = writer.value(node)
    value = writer.values[e]
    if isinstance(value, Entries):
        what = f"a tensor of {e.ndim} axes" if e.ndim > 2 else "a matrix of truth values"
        raise NotationError(
            f"to_sympy: {what} is no matrix of SymPy.",
            "Convert an entry or a sum of it, or numbers in its place: t[0], t.sum(), t.float().",
        )
    return value


__all__ = ["written"]
