"""Matrix algebra, entries and sums of SymPy as an expression of ours.

A matrix of one column is a vector, of one row its transpose, of one entry a scalar; an index that a
sum binds is a letter of :mod:`symgrad.derivation.letters`.  Scalar functions are those of
:mod:`symgrad.foreign.from_sympy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from itertools import count
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.core import dtypes
from symgrad.core.build import (
    ONE,
    cast,
    constant,
    contract,
    delta,
    elementwise,
    linear,
    ones,
    unsqueeze,
    zeros,
)
from symgrad.core.build import power as powered
from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial, Size, monomial, normal_size, size_total
from symgrad.derivation.letters import Algebra, Value
from symgrad.foreign.from_sympy import branch_class, check_known, converted
from symgrad.ops.join import concatenate
from symgrad.ops.matrix import det, inv
from symgrad.ops.structure import reshape, select, slice_axis

sympy = lazy("sympy")
matrices = lazy("sympy.matrices.expressions")


@dataclass
class MatrixReader(Algebra):
    """Values of SymPy's nodes, children first.

    ``leaves`` are the expressions of its symbols, ``sizes`` those of its size letters.
    """

    leaves: Mapping[Any, Expr] = field(default_factory=dict[Any, Expr])
    sizes: Mapping[Any, Size] = field(default_factory=dict[Any, Size])
    values: dict[Any, Value] = field(default_factory=dict[Any, Value])
    bound: dict[Any, str] = field(default_factory=dict[Any, str])
    opened: dict[Any, Any] = field(default_factory=dict[Any, Any])

    def read(self, root: Any) -> Expr:
        """The expression of a node without free indices."""
        stack = [root]
        while stack:
            below = [x for x in self._below(stack[-1]) if x not in self.values]
            if stack[-1] in self.values:
                stack.pop()
            elif below:
                stack += below
            else:
                node = stack.pop()
                self.values[node] = self._value(node)
        found = self.values[root]
        if found.letters:
            raise self.fail(f"the index {', '.join(found.letters)} is not summed")
        if found.row:
            return unsqueeze(found.expr, [0])
        return found.expr

    def size(self, given: Any) -> Size:
        """A size: a number, a letter, or sums of products of them."""
        terms = sympy.Add.make_args(sympy.expand(sympy.Integer(0) + given))
        return normal_size(size_total(*(self._size_term(x, given) for x in terms)))

    def _size_term(self, term: Any, given: Any) -> Monomial:
        total = monomial(1)
        for factor in sympy.Mul.make_args(term):
            base, power = factor.as_base_exp()
            if base.is_Integer and power.is_Integer:
                total = total * monomial(int(base)) ** int(power)
            elif base in self.sizes and power.is_Integer:
                total = total * monomial(self.sizes[base]) ** int(power)
            else:
                raise self.fail(
                    f"the size {given}: sizes are numbers, letters, and what + − · make of them"
                )
        return total

    # -------------------------------------------------------------- which nodes come first

    def _below(self, node: Any) -> Sequence[Any]:
        if node in self.values or _atomic(node):
            return ()
        reading = _first(node, _OPEN)
        if reading is not None:
            return reading(self, node)
        if isinstance(node, sympy.Piecewise):
            return [x for pair in node.args for x in pair.args]
        if not isinstance(node, sympy.MatrixExpr):
            if node.args and _first(node, _MATRIX) is None:
                check_known(node, self.text)
            return node.args
        if _first(node, _MATRIX) is None:
            raise self.fail(f"SymPy's {type(node).__name__} has no counterpart here")
        return [a for a in node.args if isinstance(a, sympy.Expr)]

    def _body(self, node: Any, made: Callable[[], Any]) -> Sequence[Any]:
        """The body of a node with its bound symbols made letters, once."""
        if node not in self.opened:
            self.opened[node] = made()
        return (self.opened[node],)

    def _letter(self, size: Size) -> Any:
        """A fresh symbol that is an index below ``size``."""
        fresh = sympy.Dummy("i", integer=True)
        word = f"i{next(_FRESH)}"
        self.bound[fresh], self.ranges[word] = word, size
        return fresh

    def _open_sum(self, node: Any) -> Sequence[Any]:
        def made() -> Any:
            body = node.function
            for limit in node.limits:
                if len(limit) != 3:
                    raise self.fail(f"{node} has no bounds")
                index, low, high = limit
                fresh = self._letter(self.size(high - low + 1))
                body = body.xreplace({index: fresh + low if low != 0 else fresh})
                self.opened[node, index] = self.bound[fresh]
            return body

        return self._body(node, made)

    def _open_entries(self, node: Any) -> Sequence[Any]:
        def made() -> Any:
            names = [
                sympy.Integer(0) if (size := self.size(s)) == 1 else self._letter(size)
                for s in node.shape
            ]
            self.opened[node, "axes"] = [self.bound[x] for x in names if x in self.bound]
            return node.lamda(*names)

        return self._body(node, made)

    def _open_applied(self, node: Any) -> Sequence[Any]:
        if node.expr not in self.values:
            return (node.expr,)

        def made() -> Any:
            fresh = sympy.Dummy("x")
            self.values[fresh] = self.values[node.expr]
            return node.function(fresh)

        return self._body(node, made)

    def _open_indexed(self, node: Any) -> Sequence[Any]:
        base = (node.parent,) if isinstance(node, _element()) else ()
        return [*base, *(x for x in node.indices if x not in self.bound and not x.is_Integer)]

    # -------------------------------------------------------------- values

    def _value(self, node: Any) -> Value:
        if node in self.leaves:
            e = self.leaves[node]
            across = isinstance(node, sympy.MatrixSymbol) and e.ndim == 1 and node.shape[0] == 1
            return Value(e, (), across)
        if node in self.bound:
            return self.counted(self.bound[node])
        if node in self.sizes:
            return self.number(monomial(self.sizes[node]))
        made = _first(node, _MATRIX)
        return self._scalar(node) if made is None else made(self, node)

    def _scalar(self, node: Any) -> Value:
        """A function of scalars; of vectors and matrices, entry by entry."""
        pairs = [p for p in node.args if isinstance(p, branch_class())]
        args = [x for p in pairs for x in p.args] if pairs else [] if _atomic(node) else node.args
        parts = {a: self.values[a] for a in args}
        shape = max((p.shape for p in parts.values()), key=len, default=())
        letters = self.joined(list(parts.values()))
        done: dict[Any, Any] = {a: self.spread(p, letters, shape) for a, p in parts.items()}
        done.update({p: (done[p.args[0]], done[p.args[1]]) for p in pairs})
        row = any(p.row for p in parts.values())
        return Value(converted(node, done, self.dtype, self.text), letters, row)

    def _shaped(self, node: Any, make: Callable[..., Expr]) -> Value:
        """A matrix that SymPy names by its shape."""
        sizes = [self.size(s) for s in node.shape]
        across = sizes[0] == 1 and sizes[1] != 1
        return Value(make(tuple(s for s in sizes if s != 1), self.dtype), (), across)

    def _identity(self, node: Any) -> Value:
        size = self.size(node.shape[0])
        return self.number(1) if size == 1 else Value(delta(size, self.dtype))

    def _several(self, node: Any) -> list[Value]:
        return [self.values[a] for a in node.args]

    def _added(self, node: Any) -> Value:
        parts = self._several(node)
        letters = self.joined(parts)
        exprs = [self.spread(p, letters) for p in parts]
        rows = [(ONE, e, tuple(range(e.ndim))) for e in exprs]
        return Value(linear(rows, exprs[0].shape, exprs[0].dtype), letters, parts[0].row)

    def _multiplied(self, node: Any) -> Value:
        return reduce(self.multiplied, self._several(node))

    def _hadamard(self, node: Any) -> Value:
        parts = self._several(node)
        axes = range(parts[0].rank)
        made = self.contracted(parts, [axes] * len(parts), axes)
        return Value(made.expr, made.letters, parts[0].row)

    def _transposed(self, node: Any) -> Value:
        (v,) = self._several(node)
        if v.rank == 2:
            return self.contracted([v], [[0, 1]], [1, 0])
        return Value(v.expr, v.letters, v.rank == 1 and not v.row)

    def _inverse(self, v: Value) -> Value:
        return Value(inv(v.expr) if v.rank else powered(v.expr, -1), v.letters)

    def _matrix_power(self, node: Any) -> Value:
        base, exponent = self.values[node.base], node.exp
        if not exponent.is_Integer:
            raise self.fail(f"a matrix to the power {exponent}: whole powers only")
        if exponent == 0:
            return self._identity(node)
        base = base if exponent > 0 else self._inverse(base)
        return reduce(self.multiplied, [base] * abs(int(exponent)))

    def _hadamard_power(self, node: Any) -> Value:
        v, exponent = self.values[node.base], self.values[node.exp]
        letters = self.joined([v, exponent])
        x = sympy.Dummy("x")
        done = {x: self.spread(v, letters), node.exp: self.spread(exponent, letters, v.shape)}
        made = converted(sympy.Pow(x, node.exp), done, self.dtype, self.text)
        return Value(made, letters, v.row)

    def _trace(self, node: Any) -> Value:
        (v,) = self._several(node)
        return self.contracted([v], [[0, 0]], []) if v.rank else v

    def _determinant(self, node: Any) -> Value:
        (v,) = self._several(node)
        return Value(det(v.expr), v.letters) if v.rank else v

    def _diagonal_matrix(self, node: Any) -> Value:
        (v,) = self._several(node)
        return self.contracted([v], [[0] * v.rank], [0, 0]) if v.rank else v

    def _diagonal_of(self, node: Any) -> Value:
        (v,) = self._several(node)
        return self.contracted([v], [[0, 0]], [0]) if v.rank else v

    def _kron(self, node: Any) -> Value:
        return reduce(self._kron_of_two, self._several(node))

    def _kron_of_two(self, a: Value, b: Value) -> Value:
        if a.rank != 2 or b.rank != 2 or a.letters or b.letters:
            raise self.fail("a Kronecker product joins matrices of several rows and columns")
        whole = self.contracted([a, b], [[0, 2], [1, 3]], [0, 1, 2, 3]).expr
        m, n, k, l = whole.shape  # noqa: E741 - axes
        return Value(reshape(whole, (normal_size(monomial(m) * n), normal_size(monomial(k) * l))))

    def _applied_to_entries(self, node: Any) -> Value:
        v, made = self.values[node.expr], self.values[self.opened[node]]
        letters = self.joined([v, made])
        return Value(self.spread(made, letters, v.shape), letters, v.row)

    def _by_entries(self, node: Any) -> Value:
        v = self.values[self.opened[node]]
        axes = self.opened[node, "axes"]
        names = [*dict.fromkeys([*axes, *v.letters])]
        free = [x for x in names if x not in axes]
        table = {x: k for k, x in enumerate([*free, *axes])}
        sizes = {k: self.ranges[x] for x, k in table.items()}
        labels = [table[x] for x in v.letters]
        made = contract([v.expr], [labels], range(len(table)), sizes, v.expr.dtype)
        return Value(made, tuple(free), len(axes) == 1 and node.shape[0] == 1)

    def _explicit(self, node: Any) -> Value:
        rows, columns = node.shape
        parts = [self.values[x] for x in node.flat()]
        letters = self.joined(parts)
        flat = concatenate([unsqueeze(self.spread(p, letters), [len(letters)]) for p in parts], -1)
        shape = tuple(s for s in (rows, columns) if s != 1)
        made = reshape(flat, (*flat.shape[:-1], *shape))
        return Value(made, letters, rows == 1 and columns != 1)

    def _blocks(self, node: Any) -> Value:
        """Blocks side by side, and below one another."""
        rows: list[Expr] = []
        for k in range(node.blockshape[0]):
            row: list[Expr] = []
            for block in (node.blocks[k, j] for j in range(node.blockshape[1])):
                v = self.values[block]
                if v.letters:
                    raise self.fail("a block with an index")
                row.append(reshape(v.expr, tuple(map(self.size, block.shape))))
            rows.append(concatenate(row, 1))
        return self._of_matrix(concatenate(rows, 0))

    def _sliced(self, node: Any) -> Value:
        """Rows and columns from a start to a stop."""
        whole = reshape(self.values[node.parent].expr, tuple(map(self.size, node.parent.shape)))
        for axis, (start, stop, step) in enumerate((node.rowslice, node.colslice)):
            if step != 1:
                raise self.fail(f"a step of {step} in {node}")
            whole = slice_axis(whole, axis, self.size(start), self.size(stop))
        return self._of_matrix(whole)

    def _of_matrix(self, e: Expr) -> Value:
        """A matrix; of one row or column a vector, of one entry a scalar."""
        shape = tuple(s for s in e.shape if s != 1)
        return Value(reshape(e, shape), (), e.shape[0] == 1 and e.shape[1] != 1)

    def _indexed(self, node: Any) -> Value:
        if isinstance(node, _element()):
            v, idx = self.values[node.parent], list(node.indices)
            kept = list(map(self.size, node.parent.shape))
            idx = [x for x, s in zip(idx, kept, strict=True) if s != 1]
        else:
            v, idx = Value(self.leaves[node.base.label]), list(node.indices)
        if len(idx) != v.rank:
            raise self.fail(f"{node} has {len(idx)} indices of {v.rank}")
        for axis in reversed(range(len(idx))):
            v = self._entry(Value(v.expr, v.letters), axis, idx[axis])
        return v

    def _entry(self, v: Value, axis: int, at: Any) -> Value:
        if at in self.bound:
            return self.moved(v, axis, self.bound[at])
        if at.is_Integer:
            return Value(select(v.expr, len(v.letters) + axis, int(at)), v.letters)
        place = self.values[at]
        place = Value(cast(place.expr, dtypes.float64), place.letters)
        return self.taken(v, axis, v.shape[axis], place)[0]

    def _kronecker_delta(self, node: Any) -> Value:
        a, b = node.args[:2]
        if a in self.bound and b in self.bound:
            x, y = self.bound[a], self.bound[b]
            if self.ranges[x] == self.ranges[y]:
                return Value(delta(self.ranges[x], self.dtype), (x, y))
        parts = [self.values[a], self.values[b]]
        letters = self.joined(parts)
        equal = elementwise("eq", *(self.spread(p, letters) for p in parts))
        return Value(cast(equal, self.dtype), letters)

    def _summed(self, node: Any) -> Value:
        v = self.values[self.opened[node]]
        for limit in node.limits:
            word = self.opened[node, limit[0]]
            if word not in v.letters:
                size = constant(monomial(self.ranges[word]), v.expr.dtype)
                v = self.multiplied(Value(size), v)
                continue
            labels = list(range(v.expr.ndim))
            out = [k for k in labels if k != v.letters.index(word)]
            rest = tuple(x for x in v.letters if x != word)
            v = Value(contract([v.expr], [labels], out), rest, v.row)
        return v


_FRESH = count(1)
_OPEN: dict[str, Callable[..., Sequence[Any]]] = {
    "Sum": MatrixReader._open_sum,
    "FunctionMatrix": MatrixReader._open_entries,
    "ElementwiseApplyFunction": MatrixReader._open_applied,
    "MatrixElement": MatrixReader._open_indexed,
    "Indexed": MatrixReader._open_indexed,
    "KroneckerDelta": lambda reader, node: node.args[:2],
    "ImmutableDenseMatrix": lambda reader, node: node.flat(),
    "BlockMatrix": lambda reader, node: node.blocks.flat(),
    "MatrixSlice": lambda reader, node: (node.parent,),
    "MatPow": lambda reader, node: (node.base,),
    "Identity": lambda reader, node: (),
    "ZeroMatrix": lambda reader, node: (),
    "OneMatrix": lambda reader, node: (),
    "MatrixSymbol": lambda reader, node: (),
}
"""SymPy's class → the nodes that are read before it, where those are not its arguments."""
_MATRIX: dict[str, Callable[..., Value]] = {
    "Sum": MatrixReader._summed,
    "FunctionMatrix": MatrixReader._by_entries,
    "ElementwiseApplyFunction": MatrixReader._applied_to_entries,
    "MatrixElement": MatrixReader._indexed,
    "Indexed": MatrixReader._indexed,
    "ImmutableDenseMatrix": MatrixReader._explicit,
    "BlockMatrix": MatrixReader._blocks,
    "MatrixSlice": MatrixReader._sliced,
    "MatPow": MatrixReader._matrix_power,
    "HadamardPower": MatrixReader._hadamard_power,
    "Inverse": lambda reader, node: reader._inverse(reader.values[node.arg]),
    "Identity": MatrixReader._identity,
    "ZeroMatrix": lambda reader, node: reader._shaped(node, zeros),
    "OneMatrix": lambda reader, node: reader._shaped(node, ones),
    "MatAdd": MatrixReader._added,
    "MatMul": MatrixReader._multiplied,
    "HadamardProduct": MatrixReader._hadamard,
    "KroneckerProduct": MatrixReader._kron,
    "KroneckerDelta": MatrixReader._kronecker_delta,
    "Transpose": MatrixReader._transposed,
    "Adjoint": MatrixReader._transposed,
    "Trace": MatrixReader._trace,
    "Determinant": MatrixReader._determinant,
    "DiagMatrix": MatrixReader._diagonal_matrix,
    "DiagonalMatrix": MatrixReader._diagonal_matrix,
    "DiagonalOf": MatrixReader._diagonal_of,
}
"""SymPy's class → its value; scalar functions are in the table of ``from_sympy``."""


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    """The classes that the tables name."""
    places = (sympy, matrices, lazy("sympy.matrices.expressions.applyfunc"),
              lazy("sympy.matrices.expressions.diagonal"), lazy("sympy.matrices.expressions.matexpr"),
              lazy("sympy.matrices.expressions.special"))  # fmt: skip
    found: dict[str, Any] = {}
    for word in {**_OPEN, **_MATRIX}:
        found[word] = next(c for p in places if (c := _has(p, word)) is not None)
    return found


def _has(place: Any, word: str) -> Any:
    return getattr(place, word, None)


def _element() -> Any:
    return _classes()["MatrixElement"]


def _first(node: Any, table: Mapping[str, Any]) -> Any:
    """The row of the nearest class of a node."""
    known = _classes()
    for kind in type(node).__mro__:
        row = table.get(kind.__name__)
        if row is not None and known[kind.__name__] is kind:
            return row
    return None


def _atomic(node: Any) -> bool:
    """A symbol, or a number without any."""
    if isinstance(node, (sympy.MatrixExpr, sympy.MatrixBase, sympy.Sum)):
        return False
    return not node.args or (isinstance(node, sympy.Expr) and not node.free_symbols)


def letters_in(expr: Any) -> set[Any]:
    """The symbols that stand in the sizes of an expression's matrices, arrays and sums."""
    shapes: Iterable[Any] = (
        *(s for m in expr.atoms(sympy.MatrixExpr) for s in m.shape),
        *(s for a in expr.atoms(sympy.Indexed) for s in (a.base.shape or ())),
        *(s for t in expr.atoms(sympy.Sum) for limit in t.limits for s in limit[1:]),
    )
    bound = {limit[0] for t in expr.atoms(sympy.Sum) for limit in t.limits}
    found = {x for s in shapes for x in (sympy.Integer(0) + s).free_symbols}
    return {x for x in found - bound if isinstance(x, sympy.Symbol)}


__all__ = ["MatrixReader", "letters_in"]
