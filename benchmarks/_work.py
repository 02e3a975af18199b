"""Work and memory of a formula's text: floating-point operations, and the most that is alive at once.

The text is read as a graph (equal parts computed once, in order of first need) over the shapes of
its names.  Views cost nothing; inputs are not counted as memory.  Sizes are numbers here: with
large ones the figures are those of the leading terms of the polynomials.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

Shape = tuple[int, ...]
VIEWS = {"reshape", "transpose", "vec", "diagonal", "swapaxes", "broadcast_to"}
CUBIC = {"inv": 2.0, "det": 2 / 3, "logdet": 2 / 3, "cholesky": 1 / 3}
REDUCE = {"sum": 1, "mean": 1, "norm": 2, "logsumexp": 3, "prod": 1}


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """NumPy's common shape."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(max(column) for column in zip(*padded, strict=True))


class Work:
    """Reads one expression; ``flops`` and ``peak`` are the totals."""

    def __init__(self, text: str, names: Mapping[str, Shape], sizes: Mapping[str, int]) -> None:
        self.names, self.sizes = names, sizes
        self.flops = 0.0
        self.order: list[str] = []
        self.made: dict[str, tuple[Shape, int]] = {}  # key: shape, bytes owned
        self.reads: dict[str, list[str]] = {}
        tree = ast.parse(text.strip(), mode="eval").body
        last = self.visit(tree)
        self.peak = self._peak(last)

    def _peak(self, last: str) -> int:
        ends: dict[str, int] = {}
        for at, key in enumerate(self.order):
            for read in self._owners(key):
                ends[read] = at
        ends[last] = len(self.order)
        alive = peak = 0
        for at, key in enumerate(self.order):
            alive += self.made[key][1]
            peak = max(peak, alive)
            alive -= sum(
                self.made[k][1] for k in self.made if ends.get(k) == at and k in self.order
            )
        return peak

    def _owners(self, key: str) -> list[str]:
        """What a node keeps alive: its operands, through views."""
        found, stack = [], list(self.reads.get(key, ()))
        while stack:
            k = stack.pop()
            found.append(k)
            if k in self.made and not self.made[k][1]:
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
        shape, flops, owned = self._rule(node, below)
        self.flops += flops
        self.made[key] = shape, owned
        self.reads[key] = below
        self.order.append(key)
        return key

    def _number(self, node: ast.expr) -> int:
        code = compile(ast.Expression(node), "<size>", "eval")
        return int(eval(code, {}, dict(self.sizes)))  # noqa: S307

    def _rule(self, node: ast.expr, below: list[str]) -> tuple[Shape, float, int]:
        def go(part: ast.expr) -> Shape:
            below.append(self.visit(part))
            return self.shape(below[-1])

        match node:
            case ast.Constant():
                return (), 0, 0
            case ast.Name(id=word):
                return self.names.get(word, ()), 0, 0
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

    def _matmul(self, a: Shape, b: Shape) -> tuple[Shape, float, int]:
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
    ) -> tuple[Shape, float, int]:
        named = {str(k.arg): k.value for k in keywords}
        word = function.attr if isinstance(function, ast.Attribute) else function.id  # type: ignore[attr-defined]
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
            return right, 2 / 3 * first[-1] ** 3 + 2 * first[-1] ** 2 * columns, prod(right)
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
    ) -> tuple[Shape, float, int]:
        spelled = named.get("axis", args[1] if len(args) > 1 else None)
        shape: Shape = ()
        if spelled is not None and ast.unparse(spelled) != "None":
            axes = ast.literal_eval(spelled)
            gone = {a % len(first) for a in (axes if isinstance(axes, tuple) else (axes,))}
            keep = "keepdims" in named
            shape = tuple(
                1 if k in gone else s for k, s in enumerate(first) if keep or k not in gone
            )
        return shape, REDUCE[word] * prod(first), prod(shape)


def work(text: str, names: Mapping[str, Shape], sizes: Mapping[str, int]) -> tuple[float, int]:
    """(floating-point operations, most memory alive in numbers) of an expression."""
    done = Work(text, names, sizes)
    return done.flops, done.peak
