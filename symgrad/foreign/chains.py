"""A contraction as a product of SymPy's matrices, where its labels form a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from symgrad_codegen.lazy import lazy

from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial, Size, floor_of_letter, monomial, terms_of_letter

sympy = lazy("sympy")
matrices = lazy("sympy.matrices.expressions")


class Values(Protocol):
    """SymPy's values of the nodes so far."""

    @property
    def values(self) -> Mapping[Expr, Any]:
        """Node → its scalar, or its matrix."""
        ...

    def entry(self, e: Expr, idx: Sequence[Any]) -> Any:
        """The entry of a node's value."""
        ...


def letter_symbol(name: str) -> Any:
    """A size letter as SymPy's symbol."""
    return sympy.Symbol(name, integer=True, positive=True)


def number_of(value: Monomial | Size) -> Any:
    """A size or a coefficient."""
    c = monomial(value)
    n = c.number
    exact = not isinstance(n, float)
    total = sympy.Rational(n.numerator, n.denominator) if exact else sympy.Float(n)
    for name, power in c.powers:
        terms = terms_of_letter(name)
        divided = floor_of_letter(name)
        base = sympy.Add(*map(number_of, terms)) if terms else letter_symbol(name)
        base = sympy.floor(number_of(divided[0]) / number_of(divided[1])) if divided else base
        total *= base ** sympy.Rational(power.numerator, power.denominator)
    return total


END = -1
"""The end of a chain that a vector closes."""


class Chain:
    """The factors of a contraction as products of matrices: ``Xᵀ diag(p) X``, ``tr(A B)``, ``u vᵀ``.

    A label that stands twice joins two factors (or a factor and an axis of the result); a vector at
    a label that two others share is a diagonal between them; a label that stands once is summed
    with a vector of ones.
    """

    def __init__(self, writer: Values, node: Expr) -> None:
        self.writer, self.node = writer, node
        self.front: list[Any] = []
        self.diagonals: dict[int, list[Any]] = {}
        self.edges: list[tuple[int, int, Any]] = []

    def value(self) -> Any:
        """The product; None where it is no chain."""
        if not self._sorted():
            return None
        out = list(range(self.node.ndim))
        if out and self.node.shape[0] == 1:
            return None
        main: Any = None
        if out:
            walked = self._walk(out[0])
            if walked is None:
                return None
            main, end = walked
            if len(out) == 2:
                if end == END:
                    other = self._walk(out[1])
                    if other is None or other[1] != END:
                        return None
                    main = main * other[0].T
                elif end != out[1]:
                    return None
            elif end != END:
                return None
        while self.edges:
            start = END if any(b == END for _, b, _ in self.edges) else self.edges[0][0]
            walked = self._walk(start)
            if walked is None or walked[1] != start:
                return None
            self.front.append(matrices.Trace(walked[0]))
        if self.diagonals:
            return None
        scalar = sympy.Mul(*self.front)
        return scalar if main is None else scalar * main

    def _sorted(self) -> bool:
        """The factors as edges between labels, diagonals at labels, and scalars."""
        node = self.node
        count: dict[int, int] = dict.fromkeys(range(node.ndim), 1)
        sizes: dict[int, Size] = {}
        rows = [[x for x in ls if x >= 0] for ls in node.params[0]]
        for a, ls in zip(node.args, node.params[0], strict=True):
            for axis, x in enumerate(ls):
                if x >= 0:
                    count[x] = count.get(x, 0) + 1
                    sizes[x] = a.shape[axis]
        for a, ls, kept in zip(node.args, node.params[0], rows, strict=True):
            value = self.writer.values[a]
            if not kept:
                self.front.append(self.writer.entry(a, [0] * a.ndim))
                continue
            if len(kept) == 1:
                column = value.T if a.ndim == 2 and ls[0] < 0 else value
                x = kept[0]
                others = sum(1 for row in rows for y in row if y == x and len(row) == 2)
                if count[x] == 3 and others + (x < node.ndim) == 2:
                    self.diagonals.setdefault(x, []).append(matrices.DiagMatrix(column))
                    count[x] = 2
                    continue
                self.edges.append((x, END, column))
            elif kept[0] == kept[1] and count[kept[0]] != 2:
                return False
            else:
                self.edges.append((kept[0], kept[1], value))
        for x, times in count.items():
            if times > 2 or (times == 1 and x < node.ndim):
                return False
            if times == 1:
                self.edges.append((x, END, matrices.OneMatrix(number_of(sizes[x]), 1)))
        return True

    def _walk(self, start: int) -> tuple[Any, int] | None:
        """The product along the factors from a label to the other end of its chain."""
        parts: list[Any] = []
        at, moved = start, False
        while True:
            parts += self.diagonals.pop(at, [])
            if moved and (at in (END, start) or at < self.node.ndim):
                whole = matrices.MatMul(*parts).doit(deep=False) if len(parts) > 1 else parts[0]
                return whole, at
            k = next((k for k, (a, b, _) in enumerate(self.edges) if at in (a, b)), None)
            if k is None:
                return None
            a, b, value = self.edges.pop(k)
            parts.append(value if a == at else value.T)
            at, moved = b if a == at else a, True


__all__ = ["Chain", "letter_symbol", "number_of"]
