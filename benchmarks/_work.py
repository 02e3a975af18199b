"""Work and memory of a formula's text, as polynomials in the size letters.

The text is read as a graph (equal parts computed once, in order of first need) over the shapes of
its names.  Counted are floating-point operations, and at each moment the numbers that are alive.
Views cost nothing; inputs are not counted as memory, nor are single numbers, which registers hold;
an elementwise operation writes into an operand of its size that nothing else reads, as NumPy and
XLA do.  A mean takes one division for each entry of the result more than a sum.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import sympy

Shape = tuple[Any, ...]
"""Sizes: numbers, or polynomials of SymPy."""
VIEWS = {"reshape", "transpose", "vec", "diagonal", "swapaxes", "broadcast_to"}
CUBIC = {"inv": 2, "det": sympy.Rational(2, 3), "logdet": sympy.Rational(2, 3),
         "cholesky": sympy.Rational(1, 3)}  # fmt: skip
ELEMENTWISE = {"exp", "log", "tanh", "sigmoid", "relu", "sqrt", "abs", "sign", "sin", "cos",
               "maximum", "minimum", "where", "softplus", "square", "pow"}  # fmt: skip
TRIANGULAR = {"tril", "triu", "cholesky"}
REDUCE = {"sum": 1, "mean": 1, "norm": 2, "logsumexp": 3, "prod": 1}


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """NumPy's common shape."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(next((s for s in column if s != 1), 1) for column in zip(*padded, strict=True))


def letters(words: Sequence[str]) -> dict[str, sympy.Symbol]:
    """The symbols of size letters."""
    return {word: sympy.Symbol(word, positive=True, integer=True) for word in words}


def _word(node: ast.expr) -> str:
    """The last name of a function, or of the function of a call."""
    function = node.func if isinstance(node, ast.Call) else node
    return function.attr if isinstance(function, ast.Attribute) else function.id  # type: ignore[attr-defined]


class Work:
    """Reads one expression; ``flops`` is a polynomial, ``moments`` those of what is alive."""

    def __init__(self, text: str, names: Mapping[str, Shape], sizes: Mapping[str, Any]) -> None:
        self.names, self.sizes = names, sizes
        self.flops: Any = sympy.Integer(0)
        self.order: list[str] = []
        self.made: dict[str, tuple[Shape, Any]] = {}  # key: shape, numbers owned
        self.reads: dict[str, list[str]] = {}
        self.inplace: set[str] = set()
        tree = ast.parse(text.strip(), mode="eval").body
        last = self.visit(tree)
        self.flops = sympy.expand(self.flops)
        self.moments = self._moments(last)

    def at(self, sizes: Mapping[str, int]) -> tuple[float, float]:
        """(operations, numbers alive at once) for sizes of the letters."""
        table = {self.sizes[word]: size for word, size in sizes.items()}
        most = max((m.subs(table) for m in self.moments), default=0)
        return float(self.flops.subs(table)), float(most)

    def _moments(self, last: str) -> set[Any]:
        ends: dict[str, int] = {}
        for at, key in enumerate(self.order):
            for read in self._owners(key):
                ends[read] = at
        ends[last] = len(self.order)
        alive: Any = sympy.Integer(0)
        found: set[Any] = set()
        dying: dict[int, list[str]] = {}
        for key, at in ends.items():
            dying.setdefault(at, []).append(key)
        for at, key in enumerate(self.order):
            owned, gone = self.made[key][1], dying.get(at, [])
            into = [k for k in self._owners(key) if k in gone and self.made[k][1] == owned]
            again = key in self.inplace and bool(into)
            alive = sympy.expand(alive + (0 if again else owned))
            found.add(alive)
            alive -= sum(self.made[k][1] for k in gone) - (owned if again else 0)
        return found

    def _owners(self, key: str) -> list[str]:
        """What a node keeps alive: its operands, through views."""
        found, stack = [], list(self.reads.get(key, ()))
        while stack:
            k = stack.pop()
            found.append(k)
            if k in self.made and self.made[k][0] and not self.made[k][1]:
                stack += self.reads.get(k, ())
        return found

    def shape(self, key: str) -> Shape:
        """The shape of a visited node."""
        return self.made[key][0]

    def visit(self, node: ast.expr) -> str:
        """Count a node once; its key."""
        key = ast.dump(node)
        if key in self.made:
            return key
        below: list[str] = []
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)) and (
            not isinstance(node, ast.Call) or _word(node) in ELEMENTWISE
        ):
            self.inplace.add(key)
        shape, flops, owned = self._rule(node, below)
        self.flops += flops
        self.made[key] = shape, owned if shape else 0
        self.reads[key] = below
        self.order.append(key)
        return key

    def _number(self, node: ast.expr) -> Any:
        code = compile(ast.Expression(node), "<size>", "eval")
        return eval(code, {}, dict(self.sizes))  # noqa: S307

    def _rule(self, node: ast.expr, below: list[str]) -> tuple[Shape, Any, Any]:
        def go(part: ast.expr) -> Shape:
            below.append(self.visit(part))
            return self.shape(below[-1])

        match node:
            case ast.Constant():
                return (), 0, 0
            case ast.Name(id=word):
                return self.names.get(word, ()), 0, 0
            case ast.UnaryOp(operand=ast.Constant()):
                return (), 0, 0
            case ast.UnaryOp(operand=operand):
                shape = go(operand)
                return shape, prod(shape), prod(shape)
            case ast.BinOp(left=left, op=ast.MatMult(), right=right):
                return self._matmul(go(left), go(right))
            case ast.BinOp(left=left, right=right) | ast.Compare(left=left, comparators=[right]):
                shape = broadcast([go(left), go(right)])
                return shape, prod(shape), prod(shape)
            case ast.Attribute(value=value, attr="T"):
                return go(value)[::-1], 0, 0
            case ast.Subscript(value=value, slice=index):
                return self._indexed(go(value), index), 0, 0
            case ast.Call(func=function, args=args, keywords=keywords):
                return self._call(function, args, keywords, go)
            case _:
                raise ValueError(ast.dump(node)[:60])

    def _matmul(self, a: Shape, b: Shape) -> tuple[Shape, Any, Any]:
        batch = broadcast([a[:-2], b[:-2]])
        shape = (*batch, *a[-2:-1], *((b[-1],) if len(b) > 1 else ()))
        return shape, 2 * prod(shape) * a[-1], prod(shape)

    def _indexed(self, shape: Shape, index: ast.expr) -> Shape:
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        result, axis = [], 0
        for part in parts:
            if isinstance(part, ast.Constant) and part.value is None:
                result.append(1)
            elif isinstance(part, ast.Slice):
                result.append(shape[axis])
                axis += 1
            else:
                axis += 1
        return (*result, *shape[axis:])

    def _call(
        self, function: ast.expr, args: list[ast.expr], keywords: list[ast.keyword], go: Any
    ) -> tuple[Shape, Any, Any]:
        named = {str(k.arg): k.value for k in keywords}
        word = _word(function)
        method = isinstance(function, ast.Attribute) and not (
            isinstance(function.value, (ast.Name, ast.Attribute))
            and ast.unparse(function.value).split(".")[0] in ("np", "special")
        )
        if word in ("eye", "ones", "zeros"):
            sizes = [self._number(a) for a in args]
            shape = (sizes[0],) * 2 if word == "eye" else tuple(sizes)
            return shape, 0, prod(shape)
        if word == "reshape" and method:
            shape = go(function.value)  # type: ignore[attr-defined]
            return tuple(self._number(a) for a in args), 0, 0
        if word == "broadcast_to":
            go(args[0])
            return tuple(self._number(a) for a in args[1].elts), 0, 0  # type: ignore[attr-defined]
        if word == "einsum":
            spelled = str(ast.literal_eval(args[0]))
            shapes = [go(a) for a in args[1:]]
            table = {
                c: s
                for row, sh in zip(
                    spelled.split("->", maxsplit=1)[0].split(","), shapes, strict=True
                )
                for c, s in zip(row, sh, strict=True)
            }
            shape = tuple(table[c] for c in spelled.split("->")[1])
            return shape, 2 * prod(table.values()), prod(shape)
        if method:
            shape = go(function.value)  # type: ignore[attr-defined]
            if word == "transpose":
                return tuple(shape[self._number(a)] for a in args), 0, 0
            return shape, 0, 0
        if word == "full":
            shape = tuple(self._number(a) for a in args[0].elts)  # type: ignore[attr-defined]
            return shape, 0, prod(shape)
        shapes = [go(a) for a in args]
        first = shapes[0]
        if word in REDUCE:
            return self._reduced(word, first, args, named)
        if word == "trace":
            return (), first[0], 1
        if word in CUBIC:
            n = first[-1]
            out = first if word in ("inv", "cholesky") else first[:-2]
            return out, CUBIC[word] * n**3, prod(out)
        if word == "solve":
            right = shapes[1]
            columns = right[-1] if len(right) > 1 else 1
            if isinstance(args[0], ast.Call) and _word(args[0]) in TRIANGULAR:
                return right, first[-1] ** 2 * columns, prod(right)
            factors = CUBIC["det"] * first[-1] ** 3
            return right, factors + 2 * first[-1] ** 2 * columns, prod(right)
        if word in ("outer", "kron"):
            pairs = zip(*((1,) * (2 - len(s)) + s for s in shapes), strict=True)
            shape = (
                (prod(shapes[0]), prod(shapes[1]))
                if word == "outer"
                else tuple(a * b for a, b in pairs)
            )
            return shape, prod(shape), prod(shape)
        if word in ("correlate", "convolve"):
            sign = 1 if word == "convolve" else -1
            pairs = zip(first, shapes[1], strict=True)
            shape = tuple(a + sign * (b - 1) for a, b in pairs)
            return shape, 2 * prod(shape) * prod(shapes[1]), prod(shape)
        if word == "diag":
            return (first * 2, 0, prod(first) ** 2) if len(first) == 1 else (first[:1], 0, 0)
        if word == "vec":
            return (prod(first),), 0, 0
        if word == "diagonal":
            return first[:1], 0, 0
        shape = broadcast(shapes)
        flops = {"softmax": 4, "tril": 0, "triu": 0}.get(word, 1) * prod(shape)
        return shape, flops, prod(shape)

    def _reduced(
        self, word: str, first: Shape, args: list[ast.expr], named: Mapping[str, ast.expr]
    ) -> tuple[Shape, Any, Any]:
        spelled = named.get("axis", args[1] if len(args) > 1 else None)
        shape: Shape = ()
        if spelled is not None and ast.unparse(spelled) != "None":
            axes = ast.literal_eval(spelled)
            gone = {a % len(first) for a in (axes if isinstance(axes, tuple) else (axes,))}
            keep = "keepdims" in named
            shape = tuple(
                1 if k in gone else s for k, s in enumerate(first) if keep or k not in gone
            )
        divisions = prod(shape) if word == "mean" else 0
        return shape, REDUCE[word] * prod(first) + divisions, prod(shape)
