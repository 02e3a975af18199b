"""The value of a formula: NumPy float64, with vectors as columns and `ᵀ` making rows.

A value is a scalar, a column vector, a row, a matrix or a tensor; an index is a number that a loop
counts up: slow and plain, for arrays of a few entries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from scipy import special

from symgrad.derivation.ascii import GREEK
from symgrad.derivation.grammar import Node
from symgrad.errors import NotationError as ReadError
from tests.notation.blocks import size_value

Functions = Mapping[str, Callable[..., np.ndarray]]


@dataclass(frozen=True)
class Value:
    """An array; `row` marks the transpose of a vector, `nothing` a 0 of whatever shape fits."""

    array: np.ndarray
    row: bool = False
    nothing: bool = False

    @property
    def rank(self) -> int:
        return self.array.ndim

    def __str__(self) -> str:
        if not self.rank:
            return "a scalar"
        return f"{'row ' if self.row else ''}{'×'.join(map(str, self.array.shape))}"


NOTHING = Value(np.zeros(()), nothing=True)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "σ": special.expit,
    "softplus": lambda a: np.logaddexp(a, 0), "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "arsinh": np.arcsinh, "arcosh": np.arccosh,
    "artanh": np.arctanh, "erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv,
    "log Γ": special.gammaln, "ψ": special.psi, "ψ′": lambda a: special.polygamma(1, a),
    "ψ′′": lambda a: special.polygamma(2, a), "relu": lambda a: np.maximum(a, 0),
    "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.round,
    "trunc": np.trunc,
}  # fmt: skip
PAIRS: dict[str, Callable[..., Any]] = {
    "max": np.maximum, "min": np.minimum, "pow": np.power, "atan2": np.arctan2, "where": np.where,
}  # fmt: skip
LAST_AXIS: dict[str, Callable[..., Any]] = {
    "softmax": lambda a: special.softmax(a, axis=-1),
    "logsumexp": lambda a: special.logsumexp(a, axis=-1),
    "max": lambda a: a.max(-1), "min": lambda a: a.min(-1), "cumsum": lambda a: a.cumsum(-1),
    "flip": lambda a: a[..., ::-1], "argmax": lambda a: a.argmax(-1),
    "argmin": lambda a: a.argmin(-1),
}  # fmt: skip
SQUARE: dict[str, Callable[..., Any]] = {
    "tr": np.trace, "det": np.linalg.det, "logdet": lambda a: np.linalg.slogdet(a)[1],
}  # fmt: skip
COMPARE: dict[str, Callable[..., Any]] = {
    "=": np.equal, "≠": np.not_equal, ">": np.greater, "≥": np.greater_equal, "<": np.less,
    "≤": np.less_equal, "∧": np.logical_and, "∨": np.logical_or, "⊻": np.logical_xor,
}  # fmt: skip


def _windows(a: np.ndarray, lengths: Sequence[int], how: tuple, fill: float) -> np.ndarray:
    """Every window of the last axes, its entries in the last axis."""
    _, strides, padding, base, dilation = how
    rank = len(lengths)
    spread_out = list(a.shape[:-rank]) + [
        (n - 1) * b + 1 for n, b in zip(a.shape[-rank:], base, strict=True)
    ]
    wide = np.full(spread_out, fill)
    wide[(..., *(slice(None, None, b) for b in base))] = a
    front = [(0, 0)] * (a.ndim - rank)
    wide = np.pad(wide, [*front, *padding], constant_values=fill)
    places = [
        range(0, n - (k - 1) * d, s)
        for n, k, d, s in zip(wide.shape[-rank:], lengths, dilation, strides, strict=True)
    ]
    result = np.empty([*a.shape[:-rank], *map(len, places), math.prod(lengths)])
    for where in product(*(range(len(p)) for p in places)):
        for number, tap in enumerate(product(*map(range, lengths))):
            at = [p[w] + t * d for p, w, t, d in zip(places, where, tap, dilation, strict=True)]
            result[(..., *where, number)] = wide[(..., *at)]
    return result


def _scatter_add(a: np.ndarray, index: np.ndarray, axis: int, size: int) -> np.ndarray:
    shape = list(a.shape)
    shape[axis] = size
    result = np.zeros(shape)
    for place in np.ndindex(*a.shape):
        to = list(place)
        to[axis] = int(index[place])
        result[tuple(to)] += a[place]
    return result


def _side_by_side(lengths: tuple) -> tuple:
    ones = (1,) * len(lengths)
    return "window", lengths, ((0, 0),) * len(lengths), ones, ones


def _pool(a: np.ndarray, lengths: tuple, how: tuple | None = None) -> np.ndarray:
    how = how or _side_by_side(lengths)
    return _windows(a, lengths, how, -np.inf).max(-1)


def _argpool(a: np.ndarray, lengths: tuple, how: tuple | None = None) -> np.ndarray:
    """Which entry of the axes (flat) is the first largest of every window."""
    how = how or _side_by_side(lengths)
    count = math.prod(a.shape[-len(lengths) :])
    flat = np.arange(float(count)).reshape(a.shape[-len(lengths) :])
    places = _windows(np.broadcast_to(flat, a.shape), lengths, how, -1)
    first = _windows(a, lengths, how, -np.inf).argmax(-1)
    return np.take_along_axis(places, first[..., None], -1)[..., 0].astype(np.int64)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "reshape": lambda a, shape: a.reshape(shape),
    "concat": lambda *given: np.concatenate(given[:-1], given[-1]),
    "maxpool": _pool, "argmaxpool": _argpool,
    "windowsum": lambda a, lengths, how: _windows(a, lengths, how, 0).sum(-1),
    "scatter_add": _scatter_add,
}  # fmt: skip

_SPELLED = {GREEK["σ"]: "σ", GREEK["ψ"]: "ψ"}
_EXPONENT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")


def whole_names(root: Node) -> list[str]:
    """Names that a line reads without an index."""
    found: list[str] = []
    stack = [root]
    while stack:
        node = stack.pop()
        found += [node.data] if node.kind == "name" else []
        stack += node.items[1:] if node.kind == "index" else node.items
    return found


@dataclass
class Evaluator:
    """Values of nodes; `scope` holds the numbers of the bound indices."""

    names: dict[str, Value]
    sizes: Mapping[str, int]
    indices: Mapping[str, str]
    zero_outside: frozenset[str] = frozenset()
    functions: Functions = field(default_factory=dict)
    text: str = ""
    scope: dict[str, int] = field(default_factory=dict)
    from_one: frozenset[str] = frozenset()
    first: dict[str, tuple[int, ...]] = field(default_factory=dict)
    entries: dict[str, dict[int, Value]] = field(default_factory=dict)  # of loops, by step

    def fail(self, why: str) -> ReadError:
        return ReadError(f"{self.text!r}: {why}")

    def size(self, text: str) -> int:
        """The number that a size such as `n`, `n k` or `n − 1` stands for."""
        for word in re.findall(r"[^\W\d]\w*", text):
            if word not in self.sizes:
                raise self.fail(f"the size {word} has no value")
        return size_value(text, self.sizes)

    def range(self, letter: str) -> range:
        """The numbers that a letter counts."""
        start = int(letter in self.from_one)
        return range(start, start + self.size(self.indices[letter]))

    def value(self, node: Node) -> Value:
        return getattr(self, f"_{node.kind}")(node)

    def array(self, node: Node) -> np.ndarray:
        """A value that is no row."""
        found = self.value(node)
        if found.row:
            raise self.fail("a row vector where a tensor is needed")
        return found.array

    def scalar(self, node: Node) -> Any:
        found = self.value(node)
        if found.rank:
            raise self.fail(f"{found} where a scalar is needed")
        return found.array[()]

    def integer(self, node: Node) -> int:
        number = float(self.scalar(node))
        if number != int(number):
            raise self.fail(f"a whole number is needed, not {number}")
        return int(number)

    def _number(self, node: Node) -> Value:
        return Value(np.asarray(node.data))

    def _name(self, node: Node) -> Value:
        name = node.data
        if name in self.scope:
            return Value(np.asarray(self.scope[name]))
        if name in self.names:
            return self.names[name]
        if name in self.sizes:
            return Value(np.asarray(self.sizes[name]))
        if name in ("π", "pi"):
            return Value(np.asarray(math.pi))
        raise self.fail(f"{name} is not known here")

    # ---------------------------------------------------------------- sums and products

    def _neg(self, node: Node) -> Value:
        inner = self.value(node.items[0])
        return Value(-inner.array, inner.row)

    def _sum(self, node: Node) -> Value:
        total = Value(np.zeros(()))
        for k, (sign, item) in enumerate(zip(node.data, node.items, strict=True)):
            part = self.value(item)
            part = Value(sign * part.array, part.row, part.nothing)
            total = self.added(total, part) if k else part
        return total

    def added(self, a: Value, b: Value) -> Value:
        """Equal shapes; a scalar with anything; a vector with every row of a matrix."""
        if a.nothing or b.nothing:
            return b if a.nothing else a
        if a.rank < b.rank:
            a, b = b, a
        same = a.array.shape == b.array.shape and a.row == b.row
        every_row = a.rank > 1 and b.rank == 1 and not b.row and a.array.shape[-1] == len(b.array)
        if not (same or every_row or not b.rank):
            raise self.fail(f"a sum of {a} and {b}")
        return Value(a.array + b.array, a.row)

    def _product(self, node: Node) -> Value:
        if not self._said(node.items):
            return Value(np.zeros(()))
        total = self.value(node.items[0])
        for item in node.items[1:]:
            total = self.multiplied(total, self.value(item))
        return total

    def multiplied(self, a: Value, b: Value) -> Value:
        """A scalar with anything, or the matrix product; v wᵀ is the outer one, vᵀ w a scalar."""
        x, y = a.array, b.array
        if a.nothing or b.nothing:
            return NOTHING
        if not a.rank or not b.rank:
            return Value(x * y, a.row or b.row)
        if a.rank > 2 or b.rank > 2:
            raise self.fail(f"a matrix product of {a} and {b}")
        if a.rank == 1 and not a.row:
            if b.row:
                return Value(np.outer(x, y))
            raise self.fail(f"a column before {b}: vᵀ or ⊙")
        if b.row:
            raise self.fail(f"{a} before a row")
        if x.shape[-1] != y.shape[0]:
            raise self.fail(f"a product of {a} and {b}")
        return Value(np.asarray(x @ y), a.row and b.rank == 2)

    def _hadamard(self, node: Node) -> Value:
        total = self.value(node.items[0])
        for item in node.items[1:]:
            part = self.value(item)
            if total.nothing or part.nothing:
                total = NOTHING
                continue
            same = total.array.shape == part.array.shape and total.row == part.row and part.rank
            reciprocal = node.data == "⊘" and not total.rank and part.rank
            if not (same or reciprocal):
                raise self.fail(f"{total} {node.data} {part}")
            both = total.array * part.array if node.data == "⊙" else total.array / part.array
            total = Value(both, part.row)
        return total

    def _kron(self, node: Node) -> Value:
        a, b = (self.array(x) for x in node.items)
        if a.ndim != 2 or b.ndim != 2:
            raise self.fail("⊗ joins matrices")
        return Value(np.kron(a, b))

    def _said(self, factors: Sequence[Node]) -> bool:
        """Are the marks that compare indices alone true?  A product is 0 where one is not."""
        for mark in [x.items[0] for x in factors if x.kind == "indicator"]:
            parts = [mark]
            for part in parts:
                parts += part.items
            words = {x.data for x in parts if x.kind == "name"}
            if words <= {*self.indices, *self.sizes} and not self.array(mark):
                return False
        return True

    def _quotient(self, node: Node) -> Value:
        first = node.items[0]
        if not self._said(first.items if first.kind == "product" else [first]):
            return Value(np.zeros(()))
        top, bottom = (self.value(x) for x in node.items)
        if bottom.rank:
            raise self.fail(f"'/' by {bottom}: write ⊘")
        return Value(top.array / bottom.array, top.row)

    def _total(self, node: Node) -> Value:
        letter = node.data
        if letter in self.scope:
            raise self.fail(f"Σ over {letter} shadows an index in use")
        parts: list[Value] = []
        for number in self.range(letter):
            self.scope[letter] = number
            parts.append(self.value(node.items[0]))
        self.scope.pop(letter, None)
        if not parts:
            raise self.fail(f"Σ over an empty range of {letter}: its shape is not known")
        parts = [p for p in parts if not p.nothing] or parts[:1]
        return Value(np.sum([p.array for p in parts], axis=0), parts[0].row, parts[0].nothing)

    # ---------------------------------------------------------------- marks and entries

    def _mark(self, node: Node) -> Value:
        inner = self.value(node.items[0])
        if inner.nothing:
            return inner
        if node.data == "ᵀ":
            if inner.rank == 1:
                return Value(inner.array, not inner.row)
            if inner.rank != 2:
                raise self.fail(f"the transpose of {inner}")
            return Value(inner.array.T)
        if node.data in ("⁻¹", "⁻ᵀ"):
            if inner.rank != 2 or inner.array.shape[0] != inner.array.shape[1]:
                raise self.fail(f"the inverse of {inner}")
            inverse = np.linalg.inv(inner.array)
            return Value(inverse if node.data == "⁻¹" else inverse.T)
        if inner.rank:
            raise self.fail(f"{node.data} on {inner}: powers are for scalars, write ⊙")
        top, _, bottom = node.data.translate(_EXPONENT).lstrip("^").strip("()").partition("/")
        return Value(np.float64(inner.array) ** (float(top) / float(bottom or 1)))

    def _index(self, node: Node) -> Value:
        base, *where = node.items
        word = base.data if base.kind == "name" else ""
        first = self.first.get(word, ())
        if not word and any(self.first.get(x, ())[:1] == (1,) for x in whole_names(base)):
            first = (1,)  # made of what has the steps in front
        if word in self.entries:
            step = self.integer(where.pop(0))
            if step not in self.entries[word]:
                if word in self.zero_outside:
                    return NOTHING
                raise self.fail(f"{word}[{step}] is not known")
            found, first = self.entries[word][step], ()
            if found.nothing or not where:
                return found
            array = found.array
        else:
            whole = self.value(base)
            if whole.nothing:
                return whole
            array = self.array(base)
        if len(where) > array.ndim:
            raise self.fail(f"{len(where)} indices of a tensor with {array.ndim} axes")
        where += [Node("all")] * (array.ndim - len(where))  # h[t] is that of a step
        left = [n for n, item in zip(array.shape, where, strict=True) if item.kind == "all"]
        at: list[Any] = []
        for k, (extent, item) in enumerate(zip(array.shape, where, strict=True)):
            if item.kind == "all":
                at.append(slice(None))
                continue
            place = self.integer(item) - (first[k] if k < len(first) else 0)
            if not 0 <= place < extent:
                if base.kind == "name" and base.data in self.zero_outside:
                    return Value(np.zeros(left))
                raise self.fail(f"index {place} of an axis of {extent}")
            at.append(place)
        return Value(np.asarray(array[tuple(at)]))

    def _compare(self, node: Node) -> Value:
        a, b = (self.array(x) for x in node.items)
        if a.shape != b.shape and a.ndim and b.ndim:
            raise self.fail(f"a comparison of {a.shape} with {b.shape}")
        return Value(COMPARE[node.data](a, b))

    def _not(self, node: Node) -> Value:
        return Value(np.logical_not(self.array(node.items[0])))

    def _indicator(self, node: Node) -> Value:
        return Value(np.where(self.array(node.items[0]), 1.0, 0.0))

    # ---------------------------------------------------------------- functions

    def _abs(self, node: Node) -> Value:
        return Value(np.abs(self.array(node.items[0])))

    def _root(self, node: Node) -> Value:
        return Value(np.sqrt(self.array(node.items[0])))

    def _call(self, node: Node) -> Value:
        word = node.data
        count = len(node.items)
        if word in self.functions:
            arguments = [self.array(x) for x in node.items]
            try:
                return Value(np.asarray(self.functions[word](*arguments)))
            except (TypeError, ValueError) as error:
                raise self.fail(
                    f"{word} of {', '.join(map(str, map(Value, arguments)))}"
                ) from error
        if self.text.isascii():
            word = _SPELLED.get(word, word)
        given = [self.parameter(x.data) for x in node.items if x.kind == "parameter"]
        if given:
            if word not in OPERATIONS:
                raise self.fail(f"{word} with parameters is not part of the notation")
            arrays = [self.array(x) for x in node.items if x.kind != "parameter"]
            return Value(np.asarray(OPERATIONS[word](*arrays, *given)))
        if word == "I" and count == 1:
            return Value(np.eye(self.integer(node.items[0])))
        if word == "onehot" and count == 2:
            return Value(self.onehot(self.array(node.items[0]), self.integer(node.items[1])))
        parts = [self.array(x) for x in node.items]
        if word == "diag" and count == 1 and parts[0].ndim in (1, 2):
            return Value(np.diag(parts[0]))
        if word in SQUARE and count == 1:
            if parts[0].ndim != 2 or parts[0].shape[0] != parts[0].shape[1]:
                raise self.fail(f"{word} of {Value(parts[0])}")
            return Value(np.asarray(SQUARE[word](parts[0])))
        if word in LAST_AXIS and count == 1:
            if not parts[0].ndim:
                raise self.fail(f"{word} of a scalar")
            return Value(np.asarray(LAST_AXIS[word](parts[0])))
        if word in ELEMENTWISE and count == 1:
            return Value(np.asarray(ELEMENTWISE[word](parts[0])))
        if word in PAIRS and count == (3 if word == "where" else 2):
            shapes = {p.shape for p in parts if p.ndim}
            if len(shapes) > 1:
                raise self.fail(f"{word} of shapes {', '.join(map(str, shapes))}")
            return Value(np.asarray(PAIRS[word](*parts)))
        raise self.fail(f"{node.data} of {count} arguments is not part of the notation")

    def parameter(self, given: Any) -> Any:
        """Numbers for sizes; tuples stay tuples."""
        if isinstance(given, tuple):
            return tuple(self.parameter(x) for x in given)
        plain = isinstance(given, str) and all(
            w.isdigit() or w in self.sizes for w in given.split()
        )
        return self.size(given) if plain else given

    def onehot(self, rows: np.ndarray, width: int) -> np.ndarray:
        if rows.dtype.kind not in "iu" or ((rows < 0) | (rows >= width)).any():
            raise self.fail(f"onehot of what is no class below {width}")
        return np.eye(width)[rows]
