"""Printed formulas as expressions again: the tree of the grammar, built bottom-up.

A value carries the letters of its free indices as leading axes: ``X[i,:]`` is a vector with the
letter i.  Products, sums and functions align letters; Σᵢ is a sum over the axis of i.  Nothing is
evaluated as Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from symgrad.autodiff import pull_back
from symgrad.core import dtypes
from symgrad.core.build import (
    cast,
    constant,
    constant_value,
    delta,
    elementwise,
    linear,
    ones,
    power,
    reduce_sum,
    scale,
    zeros,
)
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS
from symgrad.core.sizes import (
    ONE,
    Size,
    monomial,
    normal_size,
    size_product,
    size_total,
)
from symgrad.derivation.ascii import GREEK, to_ascii
from symgrad.derivation.called import DEFAULTS, SIDE_BY_SIDE, side_by_side
from symgrad.derivation.grammar import WORD, Node, defined, parse
from symgrad.derivation.layers import layer_norm
from symgrad.derivation.letters import Algebra, Value, depends_on_data
from symgrad.derivation.ranges import bound_letters, compared_ranges, named_sizes, ranges_of, walked
from symgrad.derivation.tensor_form import INFIX
from symgrad.errors import NotationError, SymgradError
from symgrad.ops.axis import along
from symgrad.ops.convolution import Window
from symgrad.ops.index import onehot
from symgrad.ops.matrix import diagonal
from symgrad.ops.structure import reshape

_SPELLED = {GREEK[c]: c for c in "σψ"}
_EXPONENT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")
_COMPARE = {OPS[name].text: name for name in INFIX}
_LAST_AXIS = {op.text: op for op in OPS.values() if op.family == "axis"}
_CALLED = {
    op.text or op.name: op
    for op in OPS.values()
    if op.family not in ("map", "contraction", "sum") and op.name not in ("symbol", "delta")
    and not (op.family == "axis" and op.text in ("max", "min"))
}  # fmt: skip


@dataclass
class Reader(Algebra):
    """Values of nodes, over symbols and size letters."""

    symbols: Mapping[str, Expr] = field(default_factory=dict[str, Expr])
    sizes: Mapping[str, Size] = field(default_factory=dict[str, Size])
    leaving: int = 0
    """How many indices so far may leave the range of their axis."""

    def value(self, root: Node) -> Value:
        """The value of a tree, children first; its depth is that of the parentheses."""
        return getattr(self, f"_{root.kind}")(root)

    # -------------------------------------------------------------- atoms

    def _number(self, node: Node) -> Value:
        return self.number(monomial(node.data))

    def _name(self, node: Node) -> Value:
        word = node.data
        if word in self.ranges:
            return self.counted(word)
        if word in self.symbols:
            return Value(self.symbols[word])
        if word in self.sizes:
            return self.number(monomial(self.sizes[word]))
        if word in ("π", "pi"):
            return self.number(math.pi)
        known = ", ".join([*self.symbols, *sorted(self.sizes)])
        raise self.fail(f"{word} is not known here; there are {known}")

    # -------------------------------------------------------------- letters

    # -------------------------------------------------------------- sums and products

    def _neg(self, node: Node) -> Value:
        inner = self.value(node.items[0])
        return Value(scale(-1, inner.expr), inner.letters, inner.row)

    def _sum(self, node: Node) -> Value:
        parts = [self.value(x) for x in node.items]
        widest = max(parts, key=lambda p: p.rank)
        for p in parts:
            every_row = (
                widest.rank > 1 and p.rank == 1 and not p.row and p.shape == widest.shape[-1:]
            )
            if p.rank and not every_row and (p.shape != widest.shape or p.row != widest.row):
                raise self.fail(f"a sum of {widest} and {p}")
        letters = self.joined(parts)
        full = (*(self.ranges[x] for x in letters), *widest.shape)
        dtype = self.common([p.expr for p in parts])
        rows: list[Any] = []
        for sign, p in zip(node.data, parts, strict=True):
            labels = [letters.index(x) for x in p.letters]
            labels += range(len(full) - p.rank, len(full))
            rows.append((monomial(sign), cast(p.expr, dtype), tuple(labels)))
        return Value(linear(rows, full, dtype), letters, widest.row)

    def _product(self, node: Node) -> Value:
        before = self.leaving
        total = self.value(node.items[0])
        for item in node.items[1:]:
            total = self.multiplied(total, self.value(item))
        return self.guarded(node.items, total, before)

    def guarded(self, factors: Sequence[Node], total: Value, before: int) -> Value:
        """0 where ``1[i < n − 1]`` is, whatever a factor that leaves its range there is."""
        marks = [x.items[0] for x in factors if x.kind == "indicator"]
        if self.leaving == before or not marks:
            return total
        zero = Value(constant(0, self.dtype))
        for mark in map(self.value, marks):
            if not depends_on_data(mark.expr):
                total = self.applied("where", [mark, total, zero])
        return total

    def _hadamard(self, node: Node) -> Value:
        total = self.value(node.items[0])
        for item in node.items[1:]:
            part = self.value(item)
            reciprocal = node.data == "⊘" and not total.rank and part.rank
            if not reciprocal and (total.shape != part.shape or not part.rank
                                   or total.row != part.row):  # fmt: skip
                raise self.fail(f"{total} {node.data} {part}")
            if node.data == "⊘":
                part = Value(power(part.expr, -1), part.letters, part.row)
            axes = list(range(part.rank))
            made = self.contracted([total, part], [axes[: total.rank], axes], axes)
            total = Value(made.expr, made.letters, part.row)
        return total

    def _kron(self, node: Node) -> Value:
        pair = [self.value(x) for x in node.items]
        ranks = [x.rank for x in pair]
        if not {*ranks} <= {1, 2} or 2 not in ranks:
            raise self.fail("⊗ joins matrices, or a matrix and a vector")
        a, b = (self.matrix(x) for x in pair)
        made = self.contracted([a, b], [[0, 2], [1, 3]], [0, 1, 2, 3])
        front = made.expr.shape[: len(made.letters)]
        m, n, k, l = made.shape  # noqa: E741 - axes
        shape = normal_size(monomial(m) * n), normal_size(monomial(k) * l)
        return Value(reshape(made.expr, (*front, *shape)), made.letters)

    def matrix(self, v: Value) -> Value:
        """A vector as a matrix of one column, or of one row."""
        if v.rank == 2:
            return v
        front = v.expr.shape[: len(v.letters)]
        shape = (1, *v.shape) if v.row else (*v.shape, 1)
        return Value(reshape(v.expr, (*front, *shape)), v.letters)

    def _quotient(self, node: Node) -> Value:
        before = self.leaving
        top, bottom = (self.value(x) for x in node.items)
        if bottom.rank:
            raise self.fail(f"'/' by {bottom}: write ⊘")
        number = constant_value(bottom.expr)
        if number is not None and not number.is_zero:
            return Value(scale(number**-1, top.expr), top.letters, top.row)
        found = self.multiplied(top, Value(power(bottom.expr, -1), bottom.letters))
        first = node.items[0]
        return self.guarded(first.items if first.kind == "product" else [first], found, before)

    def _total(self, node: Node) -> Value:
        word = node.data
        inner = self.value(node.items[0])
        if word not in inner.letters:
            return Value(scale(monomial(self.ranges[word]), inner.expr), inner.letters, inner.row)
        k = inner.letters.index(word)
        kept = (*inner.letters[:k], *inner.letters[k + 1 :])
        return Value(reduce_sum(inner.expr, [k]), kept, inner.row)

    # -------------------------------------------------------------- marks and entries

    def _mark(self, node: Node) -> Value:
        inner = self.value(node.items[0])
        mark = node.data
        if mark == "ᵀ":
            if inner.rank == 1:
                return Value(inner.expr, inner.letters, not inner.row)
            if inner.rank != 2:
                raise self.fail(f"the transpose of {inner}")
            return self.contracted([inner], [[0, 1]], [1, 0])
        if mark in ("⁻¹", "⁻ᵀ"):
            if inner.rank != 2 or inner.shape[0] != inner.shape[1]:
                raise self.fail(f"the inverse of {inner}")
            made = Value(apply(OPS["inv"], (inner.expr,)), inner.letters)
            return made if mark == "⁻¹" else self.contracted([made], [[0, 1]], [1, 0])
        if inner.rank:
            raise self.fail(f"{mark} on {inner}: powers are for scalars, write ⊙")
        text = mark.translate(_EXPONENT).lstrip("^").strip("()")
        exponent = Fraction(text)
        return self.powered(inner, exponent)

    def _index(self, node: Node) -> Value:
        base, *where = node.items
        v = self.value(base)
        if v.row or len(where) > v.rank:
            raise self.fail(f"{len(where)} indices of {v} with {v.rank} axes")
        where += [Node("all")] * (v.rank - len(where))  # h[t] is that of a step
        marks: list[Value] = []
        found = v
        axis = 0  # of the body that is left
        for extent, item in zip(v.shape, where, strict=True):
            steps = self.counts_from_one(item, extent, axis == 0)
            if item.kind == "all":
                axis += 1
            elif item.kind == "name" and item.data in self.ranges and (
                steps or item.data not in self.from_one
            ) and not self.may_leave(item.data, extent):  # fmt: skip
                self.leaving += self.ranges[item.data] != extent
                found = self.moved(found, axis, item.data)
            else:
                self.numbers.append(dtypes.float64)
                at = self.value(item)
                self.numbers.pop()
                at = Value(at.expr - 1, at.letters, at.row) if steps else at
                found, mark = self.taken(found, axis, extent, at)
                self.leaving += len(mark)
                marks += mark
        for mark in marks:
            found = self.multiplied(found, mark)
        return found

    def may_leave(self, word: str, extent: Size) -> bool:
        """Does a letter run below a number where the axis has a letter of entries, or the reverse?"""
        numbers = [isinstance(size, int) for size in (self.ranges[word], extent)]
        return extent != 1 and any(numbers) and not all(numbers)

    def counts_from_one(self, item: Node, extent: Size, first: bool) -> bool:
        """Is an axis of T entries read by a letter that counts 1…T, or its first one by a number?"""
        if extent not in {self.ranges[x] for x in self.from_one}:
            return False
        words = {x.data for x in walked(item) if x.kind == "name"} & {*self.ranges}
        return bool(words & self.from_one) if words else first

    def _compare(self, node: Node) -> Value:
        a, b = (self.value(x) for x in node.items)
        return self.applied("eq" if node.data == "=" else _COMPARE[node.data], [a, b])

    def _not(self, node: Node) -> Value:
        return self.applied("logical_not", [self.value(node.items[0])])

    def _indicator(self, node: Node) -> Value:
        inner = self.value(node.items[0])
        dtype = self.numbers[-1] if self.numbers else self.dtype
        return Value(cast(inner.expr, dtype), inner.letters)

    def inner_ranges(self, root: Node) -> None:
        """The ranges of letters that stand at the axes of what is no name: ``tanh(A)[i,j]``."""
        indexed = [root]
        for node in indexed:
            indexed.extend(node.items)
        for node in reversed(indexed):
            if node.kind != "index" or node.items[0].kind == "name":
                continue
            new = [x.kind == "name" and x.data not in self.ranges for x in node.items[1:]]
            if not any(new):
                continue
            base = self.value(node.items[0])
            for size, item, missing in zip(base.shape, node.items[1:], new, strict=False):
                if missing and item.data not in self.symbols:
                    self.ranges[item.data] = size

    # -------------------------------------------------------------- functions

    def _abs(self, node: Node) -> Value:
        return self.applied("abs", [self.value(node.items[0])])

    def _root(self, node: Node) -> Value:
        return self.powered(self.value(node.items[0]), Fraction(1, 2))

    def _call(self, node: Node) -> Value:
        word: str = node.data
        if self.text.isascii():
            word = _SPELLED.get(word, word)
        given = [x.data for x in node.items if x.kind == "parameter"]
        items = node.items[: len(node.items) - len(given)]
        if word == "I":
            return Value(delta(self.size(items[0]), self.dtype))
        if word in ("zeros", "ones"):
            whole = ones(tuple(self.size(x) for x in items), self.dtype)
            return Value(whole if word == "ones" else scale(0, whole))
        if word == "onehot" and len(items) == 2 and not given:
            rows = self.value(items[0])
            return Value(onehot(rows.expr, self.size(items[1]), self.dtype), rows.letters)
        parts = [self.value(x) for x in items]
        if any(p.row for p in parts):
            raise self.fail("a row vector where a tensor is needed")
        if given:
            return self.operation(word, parts, given)
        if word in ("LN", "LN′", "LN_prime") and parts:
            return Value(self.normalised(word, [p.expr for p in parts]))
        if word == "diag" and len(parts) == 1:
            if parts[0].rank == 1:
                return Value(diagonal(parts[0].expr), parts[0].letters)
            return self.contracted(parts, [[0, 0]], [0])
        if word == "tr" and len(parts) == 1:
            if parts[0].rank != 2 or parts[0].shape[0] != parts[0].shape[1]:
                raise self.fail(f"tr of {parts[0]}")
            return self.contracted(parts, [[0, 0]], [])
        if word == "vec" and len(parts) == 1 and not parts[0].letters and parts[0].rank > 1:
            whole = parts[0].expr
            return Value(reshape(whole, (size_product(whole.shape),)))
        if word in _LAST_AXIS and len(parts) == 1 and parts[0].rank:
            return Value(along(_LAST_AXIS[word].name, parts[0].expr), parts[0].letters)
        if word.rstrip("′") == "ψ" and len(parts) == 1:
            order = word.count("′")
            return Value(
                elementwise("polygamma", parts[0].expr, statics=(order,)), parts[0].letters
            )
        if word == "pow" and len(parts) == 2 and (p := constant_value(parts[1].expr)) is not None:
            return Value(power(parts[0].expr, p), parts[0].letters)
        function = next((op for op in OPS.values() if op.family == "map" and op.text == word), None)
        if function is not None:
            return self.applied(function.name, parts)
        if word in _CALLED:
            return self.operation(word, parts, ())
        raise self.fail(f"{node.data} is not a function of the notation")

    def normalised(self, word: str, given: list[Expr]) -> Expr:
        """LN(x, weight, bias, ε), or LN′(x, weight, ε, δ): its adjoint times δ."""
        seed = given.pop() if word != "LN" else None
        x, *rest = given
        scalars = [e for e in rest if not e.shape]
        made = layer_norm(x, scalars, [e for e in rest if e.shape])
        if seed is None:
            return made
        return pull_back({made: seed}, [x])[0] or zeros(x.shape, x.dtype)

    def operation(self, word: str, parts: Sequence[Value], given: Sequence[Any]) -> Value:
        """``word(arguments; parameters)`` by the row of the operation."""
        op = _CALLED.get(word)
        if op is None:
            raise self.fail(f"{word} is not an operation of the library")
        letters = self.joined(parts)
        if letters and len(parts) > 1:
            raise self.fail(f"{word} of entries: its arguments are whole tensors")
        params = tuple(self.parameter(p) for p in given)
        if not params and op.name in DEFAULTS:
            params = DEFAULTS[op.name](parts[0].rank)
        if len(params) == 1 and op.name in SIDE_BY_SIDE:
            params = side_by_side(params[0])
        try:
            args = tuple(p.expr for p in parts)
            made = op.build(args, params) if op.build is not None else apply(op, args, params)
        except (SymgradError, TypeError, AttributeError, IndexError) as error:
            raise self.fail(f"{word} of {', '.join(map(str, parts))}: {error}") from error
        return Value(made, letters)

    def parameter(self, given: Any) -> Any:
        """A parameter as the rows of operations take it."""
        if isinstance(given, tuple):
            if given and given[0] == "window":
                return Window(*(self.parameter(x) for x in given[1:]))
            return tuple(self.parameter(x) for x in given)
        if not isinstance(given, str):
            return given
        words = {"all": None, "true": True, "false": False}
        if given in words:
            return words[given]
        found = getattr(dtypes, given, None) or getattr(dtypes, f"{given}_", None)
        return found if isinstance(found, DType) else self.size_of(given)

    def size(self, node: Node) -> Size:
        """A number, a letter of a size, products and sums of these."""
        if node.kind == "name" and node.data in self.sizes:
            return self.sizes[node.data]
        if node.kind == "product":
            return size_product(tuple(self.size(x) for x in node.items))
        if node.kind == "sum":
            rows = zip(node.data, node.items, strict=True)
            return normal_size(size_total(*(monomial(self.size(x)) * c for c, x in rows)))
        number = constant_value(self.value(node).expr)
        if number is None or number.number % 1 != 0 or number.number < 0:
            raise self.fail("a size is needed")
        return normal_size(number)

    def size_of(self, text: str) -> Size:
        total = ONE
        for word in text.split():
            if not word.isdigit() and word not in self.sizes:
                raise self.fail(f"{word} is not the letter of a size")
            total = total * monomial(int(word) if word.isdigit() else self.sizes[word])
        return normal_size(total)


def read(
    text: str,
    symbols: Mapping[str, Expr],
    indices: Mapping[str, Size] | None = None,
    at: Sequence[str] = (),
    from_one: Collection[str] = (),
    numbers: Mapping[str, Size] | None = None,
) -> Expr:
    """The expression that a printed formula (or line ``name[i,j] = …``) says.

    ``symbols`` has its names, ``indices`` the ranges of its letters where they are not those of
    the axes they stand at, ``at`` the letters of the left side, ``numbers`` more sizes by their
    names.  Letters ``from_one`` count 1…T:
    so are the T entries of an axis that they stand at; T + 1 entries count from 0.  What stands
    behind ``where`` is read first.  NotationError says what was expected, and where.
    """
    text, definitions = defined(text)
    symbols = dict(symbols)
    sizes = named_sizes(symbols.values(), indices or {}, numbers or {})
    while definitions:
        ready = [w for w, d in definitions.items()
                 if not {*WORD.findall(d.text)} & {*definitions}]  # fmt: skip
        if not ready:
            raise NotationError(f"each of {', '.join(definitions)} is defined by the others")
        d = definitions.pop(ready[0])
        reader = Reader(text, {}, dtypes.float32, sizes=sizes)
        here = {**(indices or {}), **{x: reader.size(parse(y)) for x, y in d.ranges.items()}}
        symbols[ready[0]] = read(d.text, symbols, here, d.letters, from_one, numbers)
    text = re.sub(r"\s+for \w+ = \S+$", "", text)
    left, equals, right = text.partition(" = ")
    balanced = all(left.count(a) == left.count(b) for a, b in ("[]", "()"))
    if equals and balanced and not left.startswith(("1[", "(")):
        text = right.strip()
        if left.strip().endswith("]"):
            at = [x.strip() for x in left.strip()[left.strip().index("[") + 1 : -1].split(",")]
    tree = parse(text)
    bound = {*at, *bound_letters(tree)}
    names = {word: e for word, e in symbols.items() if word not in bound}
    for word, e in list(names.items()) if text.isascii() else ():
        names.setdefault(to_ascii(word), e)
    listed = list(symbols.values())
    floating = [x.dtype for x in listed if x.dtype.differentiable]
    dtype = floating[0] if floating else dtypes.float32
    reader = Reader(text, {}, dtype, symbols=names, sizes=sizes)
    stated = {
        x.data: reader.size(x.items[1]) for x in walked(tree) if x.items[1:] and x.kind == "total"
    }
    ranges = ranges_of(tree, names, stated | dict(indices or {}))
    reader.ranges, reader.from_one = ranges, {*from_one}
    reader.inner_ranges(tree)
    compared_ranges(tree, ranges)
    check_letters(reader, tree, ranges, at)
    found = reader.value(tree)
    if found.row:
        raise reader.fail("a row vector where a tensor is needed")
    missing = [x for x in found.letters if x not in at]
    if missing:
        raise reader.fail(f"the index {missing[0]} is not bound")
    return reader.spread(found, (*at,))


def check_letters(
    reader: Reader, root: Node, ranges: Mapping[str, Size], at: Sequence[str]
) -> None:
    """Every Σ binds a letter with a range that is not bound already; no letter is used unbound."""
    for word in at:
        if word not in ranges:
            raise reader.fail(f"the range of {word} is not known: give it in indices")
    stack: list[tuple[Node, frozenset[str]]] = [(root, frozenset(at))]
    while stack:
        node, bound = stack.pop()
        if node.kind == "total":
            if node.data not in ranges:
                raise reader.fail(f"the range of {node.data} is not known: give it in indices")
            if node.data in bound:
                raise reader.fail(f"Σ over {node.data} shadows an index in use")
            bound |= {node.data}
        elif node.kind == "name" and node.data in ranges and node.data not in bound:
            raise reader.fail(f"the index {node.data} is not bound")
        stack.extend((x, bound) for x in node.items)


__all__ = ["Value", "read"]
