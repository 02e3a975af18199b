"""What one operation of a text makes: its shape, floating-point operations, and what it keeps alive.

A template is read as Python once; the shapes of its operands then give those of the result.  Shapes
hold the extent of each axis at every setting of the size letters, so that one reading serves tall
and wide arrays.  An operation that is not in the tables counts one for each entry it makes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from symgrad_codegen.program import Template

from symgrad.core.op import OPS
from symgrad.lower.alive import Counts

Shape = tuple[Counts, ...]
"""The extent of each axis, at every setting."""

ELEMENTWISE = {
    "exp", "log", "tanh", "sigmoid", "relu", "sqrt", "abs", "sign", "sin", "cos", "maximum",
    "minimum", "where", "softplus", "square", "pow",
}  # fmt: skip
"""Functions that may write into an operand of their size."""
VIEWS = {"vec", "diagonal", "broadcast_to", "reshape", "transpose", "swapaxes", "astype"}
TOTALS = {"sum": 1, "mean": 1, "prod": 1, "norm": 2, "logsumexp": 3}
"""Operations for each entry that is reduced."""
CUBES = {"inv": 2.0, "det": 2 / 3, "logdet": 2 / 3, "cholesky": 1 / 3}
"""Operations of a matrix of n columns over n³."""
TRIANGLES = {"tril", "triu", "cholesky"}
FILLED = {"eye", "ones", "zeros", "full"}
DEAR = {"softmax": 4, "tril": 0, "triu": 0}


@dataclass(frozen=True, slots=True)
class Part:
    """A value: its shape; a size has its number at every setting; ``word`` is the call it is.

    A ``guessed`` shape is that of the operands of an operation that the tables do not have.
    """

    shape: Shape = ()
    size: Counts | None = None
    word: str = ""
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operation makes: "view", "inside" (into an operand of its size) or "fresh"."""

    part: Part
    flops: tuple[float, ...]
    kind: str


class UnreadError(Exception):
    """A text that the tables do not have."""


def entries(shape: Shape, settings: int) -> Counts:
    """How many, at every setting."""
    return tuple(map(prod, zip(*shape, strict=True))) if shape else (1,) * settings


def broadcast(shapes: list[Shape]) -> Shape:
    """NumPy's common shape."""
    rank = max(map(len, shapes), default=0)
    if all(len(s) == rank and s == shapes[0] for s in shapes):
        return shapes[0] if shapes else ()
    rows = [((),) * (rank - len(s)) + s for s in shapes]
    return tuple([max(column, key=sum) for column in zip(*rows, strict=True)])


@lru_cache(maxsize=4096)
def _tree(template: Template) -> ast.expr | None:
    spelled = dict(template.forms).get("numpy") or template.forms[0][1]
    try:
        return ast.parse(re.sub(r"\{(\d+)\}", r"h\1", spelled).strip(), mode="eval").body
    except SyntaxError:
        return None


@lru_cache(maxsize=16384)
def effect(template: Template, parts: tuple[Part, ...], settings: int) -> Effect:
    """What a template makes of its operands."""
    tree = _tree(template)
    reader = _Reader(parts, settings)
    try:
        found = reader.read(tree or ast.Pass())
    except (UnreadError, IndexError, ValueError, SyntaxError):
        shape = broadcast([p.shape for p in parts])
        work = tuple(map(float, entries(shape, settings)))
        return Effect(Part(shape, guessed=True), work, "fresh")
    if reader.guessed or any(p.guessed for p in parts):
        found = replace(found, guessed=True)
    return Effect(found, tuple(reader.flops), reader.kind)


@lru_cache(maxsize=1)
def _by_entries() -> frozenset[str]:
    """The functions of NumPy that work entry by entry."""
    found = set[str]()
    for op in OPS.values():
        if op.family == "map" and isinstance(op.template, Template):
            found.update(re.findall(r"^(?:\w+\.)*(\w+)\(", op.template.form("numpy")))
    return frozenset(found | ELEMENTWISE)


class _Reader:
    """Reads one template; ``kind`` is that of its outermost operation."""

    def __init__(self, parts: tuple[Part, ...], settings: int) -> None:
        self.parts, self.settings = parts, settings
        self.flops = [0.0] * settings
        self.kind = "view"
        self.guessed = False

    def count(self, times: float, *shapes: Shape) -> None:
        """So many operations for each entry over the axes of all shapes."""
        for k in range(self.settings):
            self.flops[k] += times * prod(axis[k] for shape in shapes for axis in shape)

    def read(self, node: ast.AST) -> Part:
        """The value of a piece of text."""
        match node:
            case ast.Name(id=word) if word[1:].isdigit():
                return self.parts[int(word[1:])]
            case ast.Constant(value=int() as number):
                return Part((), (number,) * self.settings)
            case ast.Constant():
                return Part()
            case ast.UnaryOp(operand=operand):
                below = self.read(operand)
                return below if below.size else self._entrywise([below])
            case ast.BinOp(left=left, op=ast.MatMult(), right=right):
                return self._matmul(self.read(left).shape, self.read(right).shape)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(self.read(left), op, self.read(right))
            case ast.Compare(left=left, comparators=[right]):
                return self._entrywise([self.read(left), self.read(right)])
            case ast.Attribute(value=value, attr="T"):
                below = self.read(value)
                self.kind = "view"
                return Part(below.shape[::-1])
            case ast.Subscript(value=value, slice=index):
                return self._indexed(self.read(value).shape, index)
            case ast.Call():
                return self._call(node)
            case _:
                raise UnreadError

    def _entrywise(self, parts: list[Part]) -> Part:
        shape = broadcast([p.shape for p in parts])
        self.count(1, shape)
        self.kind = "inside"
        return Part(shape)

    def _binary(self, a: Part, op: ast.operator, b: Part) -> Part:
        made = self._entrywise([a, b])
        if a.size is None or b.size is None:
            return made
        pairs = list(zip(a.size, b.size, strict=True))
        table: dict[type[ast.operator], Callable[[int, int], float]] = {
            ast.Add: lambda x, y: x + y, ast.Sub: lambda x, y: x - y, ast.Mult: lambda x, y: x * y,
            ast.FloorDiv: lambda x, y: x // max(y, 1), ast.Pow: lambda x, y: x**y,
        }  # fmt: skip
        if type(op) not in table:
            return made
        return Part((), tuple([max(int(table[type(op)](x, y)), 1) for x, y in pairs]))

    def _matmul(self, a: Shape, b: Shape) -> Part:
        batch = broadcast([a[:-2], b[:-2]])
        shape = (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
        self.count(2, shape, a[-1:])
        self.kind = "fresh"
        return Part(shape)

    def _indexed(self, shape: Shape, index: ast.expr) -> Part:
        found: list[Counts] = []
        axis = 0
        for part in index.elts if isinstance(index, ast.Tuple) else [index]:
            if isinstance(part, ast.Constant) and part.value is None:
                found.append((1,) * self.settings)
                continue
            if isinstance(part, ast.Slice):
                self.guessed |= (part.lower, part.upper, part.step) != (None, None, None)
                found.append(shape[axis])
            elif not isinstance(part, ast.Constant):
                raise UnreadError
            axis += 1
        self.kind = "view"
        return Part((*found, *shape[axis:]))

    def _sizes(self, nodes: list[ast.expr]) -> Shape:
        if len(nodes) == 1 and isinstance(nodes[0], ast.Tuple):
            nodes = nodes[0].elts
        found = [self.read(n).size for n in nodes]
        if any(s is None for s in found):
            raise UnreadError
        return tuple([s for s in found if s is not None])

    def _call(self, node: ast.Call) -> Part:
        function = node.func
        word = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = function.value if isinstance(function, ast.Attribute) else None
        if owner is not None and not ast.unparse(owner).startswith(("np", "jnp", "special")):
            return self._method(word, self.read(owner), node.args)
        if word in FILLED:
            before = list(self.flops)
            sizes = self._sizes(node.args[:1] if word in ("full", "eye") else node.args)
            self.flops, self.kind = before, "fresh"
            return Part(sizes * 2 if word == "eye" else sizes)
        if word == "broadcast_to":
            self.read(node.args[0])
            self.kind = "view"
            return Part(self._sizes([node.args[1]]))
        if word == "einsum":
            return self._einsum(str(ast.literal_eval(node.args[0])), node.args[1:])
        parts = [self.read(a) for a in node.args if not isinstance(a, ast.Constant)]
        if not parts:
            raise UnreadError
        made = self._named(word, parts, node)
        return Part(made.shape, made.size, word)

    def _method(self, word: str, below: Part, args: list[ast.expr]) -> Part:
        self.kind = "view"
        if word == "reshape":
            kept = list(self.flops)
            made = Part(self._sizes(args))
            self.flops, self.kind = kept, "view"
            return made
        if word == "transpose":
            return Part(tuple([below.shape[ast.literal_eval(a)] for a in args]))
        if word == "astype":
            return below
        raise UnreadError

    def _einsum(self, spelled: str, args: list[ast.expr]) -> Part:
        source, target = spelled.split("->")
        table: dict[str, Counts] = {}
        for row, a in zip(source.split(","), args, strict=True):
            table.update(zip(row, self.read(a).shape, strict=True))
        self.count(2, tuple(table.values()))
        self.kind = "fresh"
        return Part(tuple([table[c] for c in target]))

    def _named(self, word: str, parts: list[Part], node: ast.Call) -> Part:
        first = parts[0].shape
        shape = first
        kind = "fresh"
        if word in TOTALS:
            shape = self._reduced(word, first, node)
        elif word == "trace":
            shape = ()
            self.count(1, first[:1])
        elif word in CUBES:
            shape = first if word in ("inv", "cholesky") else first[:-2]
            self.count(CUBES[word], first[-1:], first[-1:], first[-1:])
        elif word == "solve":
            shape = parts[1].shape
            columns = shape[1:]
            if parts[0].word in TRIANGLES:
                self.count(1, first, columns)
            else:
                self.count(CUBES["det"], first, first[-1:])
                self.count(2, first, columns)
        elif word == "outer":
            shape = (entries(first, self.settings), entries(parts[1].shape, self.settings))
            self.count(1, shape)
        elif word == "kron":
            rows = [((),) * (2 - len(p.shape)) + p.shape for p in parts]
            pairs = zip(*rows, strict=True)
            shape = tuple([entries(tuple(s for s in x if s), self.settings) for x in pairs])
            self.count(1, shape)
        elif word in ("correlate", "convolve"):
            sign = 1 if word == "convolve" else -1
            pairs = zip(first, parts[1].shape, strict=True)
            shape = tuple(
                [
                    tuple(max(x + sign * (y - 1), 1) for x, y in zip(a, b, strict=True))
                    for a, b in pairs
                ]
            )
            self.count(2, shape, parts[1].shape)
        elif word == "diag":
            kind = "fresh" if len(first) == 1 else "view"
            shape = first * 2 if len(first) == 1 else first[:1]
        elif word == "vec":
            shape, kind = (entries(first, self.settings),), "view"
        elif word == "diagonal":
            shape, kind = first[:1], "view"
        else:
            shape = broadcast([p.shape for p in parts])
            self.guessed |= word not in _by_entries() and word not in DEAR
            kind = "inside" if word in ELEMENTWISE else "view" if word in VIEWS else "fresh"
            self.count(DEAR.get(word, 0 if kind == "view" else 1), shape)
        self.kind = kind
        return Part(shape)

    def _reduced(self, word: str, first: Shape, node: ast.Call) -> Shape:
        named = {k.arg: k.value for k in node.keywords}
        spelled = named.get("axis")
        if spelled is None and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            spelled = node.args[1]
        shape: Shape = ()
        if spelled is not None and ast.unparse(spelled) != "None":
            axes = ast.literal_eval(spelled)
            gone = {a % len(first) for a in (axes if isinstance(axes, tuple) else (axes,))}
            one = (1,) * self.settings
            keep = "keepdims" in named
            shape = tuple(
                one if k in gone else s for k, s in enumerate(first) if keep or k not in gone
            )
        self.count(TOTALS[word], first)
        if word == "mean":
            self.count(1, shape)
        return shape


__all__ = ["Effect", "Part", "Shape", "broadcast", "effect", "entries"]
