"""``sg.cost``: operations and bytes of a formula, its gradient and its Hessian, in size letters.

What is counted is the expression after simplification and in the order of products that programs
take, node by node, without the fusion of elementwise operations that XLA does: bytes are an upper
bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.autodiff import gradient, pull_back
from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    SUM,
    constant_value,
    inlined,
    relabelling,
)
from symgrad.core.expr import SYMBOL, Expr, name_of, symbol
from symgrad.core.sizes import Size, size_product
from symgrad.core.traverse import topological
from symgrad.errors import NotationError, UnboundError
from symgrad.foreign.chains import letter_symbol, number_of
from symgrad.simplify import simplify
from symgrad.simplify.cheaper import cheaper
from symgrad.structured.derive import hessian
from symgrad.tensors.tensor import Tensor
from symgrad.transforms.operators import Scope
from symgrad.transforms.orders import TYPICAL, Orders, orders_of

sympy = lazy("sympy")


def _cubic(share: tuple[int, int]) -> Callable[[Expr], Any]:
    def count(node: Expr) -> Any:
        n = number_of(node.args[0].shape[-1])
        batch = number_of(size_product(node.args[0].shape[:-2]))
        columns = number_of(node.shape[-1]) if len(node.args) > 1 else 0
        return batch * (sympy.Rational(*share) * n**3 + 2 * n**2 * columns)

    return count


def _triangular(node: Expr) -> Any:
    return number_of(node.args[0].shape[-1]) * number_of(size_product(node.shape))


_MATRIX: dict[str, Callable[[Expr], Any]] = {
    "inv": _cubic((2, 1)), "solve": _cubic((2, 3)), "det": _cubic((2, 3)),
    "logdet": _cubic((2, 3)), "slogdet": _cubic((2, 3)), "cholesky": _cubic((1, 3)),
    "triangular_solve": _triangular,
}  # fmt: skip
"""Operations of the dense algorithms: Golub and Van Loan, 4th ed. (2013), 3.2 and 4.2."""
_PER_ENTRY = {"softmax": 4, "logsumexp": 3, "amax": 1, "amin": 1, "argmax": 1, "argmin": 1,
              "cumsum": 1, "cumprod": 1, "prod": 1}  # fmt: skip
"""Operations for each entry of the argument."""
_MOVES = frozenset({"reshape", "slice", "place", "concatenate", "flip", "take", "gather", "onehot",
                    "tril", "triu", "arange", "project", "put_add", "scatter_add"})  # fmt: skip
"""Ops that move numbers: bytes only."""


@dataclass(frozen=True)
class Count:
    """``flops``, ``traffic`` (bytes read and written) and ``peak`` (bytes alive at once) in letters.

    ``peak`` is that of the moment which is largest where every letter is 64.  ``orders``: for each
    product of three and more factors the orders that there are, and the one that is taken.
    """

    flops: Any
    traffic: Any
    peak: Any
    orders: tuple[Orders, ...] = ()

    def at(self, **sizes: int) -> tuple[float, float, float]:
        """The three numbers for sizes of the letters."""
        table = {letter_symbol(word): size for word, size in sizes.items()}
        parts = (self.flops, self.traffic, self.peak)
        missing = {str(x) for e in parts for x in e.free_symbols} - {*sizes}
        if missing:
            raise UnboundError(
                f"at(): {', '.join(sorted(missing))} has no value. "
                f"Give every letter: at({', '.join(f'{x}=…' for x in sorted({*missing, *sizes}))})"
            )
        flops, traffic, peak = (float(e.subs(table)) for e in parts)
        return flops, traffic, peak

    def __str__(self) -> str:
        said = f"{self.flops} operations, {self.traffic} bytes moved, {self.peak} bytes at most"
        return "\n".join([said, *map(str, self.orders)])


@dataclass(frozen=True)
class Cost:
    """The counts of the value, and with variables of the gradients and of the dense Hessian."""

    value: Count
    gradient: Count | None = None
    hessian: Count | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = (("value", self.value), ("gradient", self.gradient), ("Hessian", self.hessian))
        lines = [f"{word:9} {count}" for word, count in rows if count is not None]
        return "\n".join([*lines, *self.warnings])

    __repr__ = __str__


def cost(value: Tensor, wrt: Any = None) -> Cost:
    """Operations, bytes moved and memory, as polynomials of SymPy in the size letters.

    A product summed over labels of sizes a, b, c is 2 a b c operations, an elementwise function one
    for each entry, a factorisation its textbook count.  ``wrt``: the variables (a tensor or a list)
    for the gradients (value and all gradients together) and the dense Hessian.

    **Raises:** NotationError for an operation whose count is not known (sorting, convolution, …).

    >>> import symgrad as sg
    >>> X, w, y = sg.symbols("X:n,d  w:d  y:n")
    >>> found = cost(((X @ w - y) ** 2).mean(), w)
    >>> found.value.flops, found.gradient.flops, found.hessian.flops
    (2*d*n + 3*n + 1, 4*d*n + d + 3*n + 1, 2*d**2*n + d**2)
    """
    listed = [] if wrt is None else list(wrt) if isinstance(wrt, (list, tuple)) else [wrt]
    scope = Scope.of(value, listed)
    whole = counted([scope.expr])
    if not listed:
        return Cost(whole)
    slopes = gradient(scope.expr, scope.wanted)
    blocks = hessian(scope.expr, scope.wanted)
    dense = [m.dense() for row in blocks for m in row]
    entries = sympy.Add(*(number_of(size_product(e.shape)) for e in dense))
    both, products = counted([scope.expr, *slopes]), counted(_products(slopes, scope.wanted))
    names = ", ".join(name_of(x) for x in scope.wanted)
    warning = (
        f"warning   the dense Hessian has {entries} entries, quadratic in {names}: "
        f"sg.hvp(value, {names}, v) is a product with it in {products.flops} operations, "
        "sg.hessian(…) an object with .matvec and .solve; neither makes the entries"
    )
    return Cost(whole, both, counted(dense), (warning,))


def _products(slopes: Sequence[Expr], wanted: Sequence[Expr]) -> list[Expr]:
    """Products of the Hessian of all variables with a direction, as ``hvp`` makes them."""
    seeds: dict[Expr, Expr] = {}
    for k, g in enumerate(slopes):
        direction = symbol("v", g.shape, g.dtype, number=-1 - k)
        seeds[g] = seeds[g] + direction if g in seeds else direction
    return [g for g in pull_back(seeds, wanted) if g is not None]


def counted(roots: Sequence[Expr]) -> Count:
    """The count of several expressions that are compiled together."""
    bodies = inlined(roots)
    return computed(cheaper(simplify([bodies[r] for r in roots])))


def with_gradients(value: Expr, wanted: Sequence[Expr]) -> Count:
    """The count of a value and its gradients as one program computes them."""
    return counted([value, *(gradient(value, list(wanted)) if wanted else [])])


def computed(roots: Sequence[Expr]) -> Count:
    """The count of several expressions that are computed together as they are."""
    order = topological(roots)
    made = [e for e in order if e.op is not SYMBOL and not _free(e)]
    read = {e: tuple(dict.fromkeys(x for a in e.args if not _free(x := _held(a)))) for e in made}
    left = Counter(x for e in made for x in read[e])
    left.update(map(_held, roots))  # results stay
    flops, traffic = sympy.Integer(0), sympy.Integer(0)
    alive: Any = sympy.Add(*(_bytes(e) for e in order if e.op is SYMBOL))
    peak, highest = alive, _typical(alive)
    for node in made:
        flops += _operations(node)
        traffic += sympy.Add(_bytes(node), *(_bytes(x) for x in read[node]))
        alive += _bytes(node)
        now = _typical(alive)
        if now > highest:
            peak, highest = alive, now
        for x in read[node]:
            left[x] -= 1
            if not left[x] and x.op is not SYMBOL:
                alive -= _bytes(x)
    flops, traffic, peak = (sympy.expand(e) for e in (flops, traffic, peak))
    return Count(flops, traffic, peak, orders_of(roots))


def _free(e: Expr) -> bool:
    """What programs do not compute: numbers, identities, moves of axes."""
    return e.op is DELTA or constant_value(e) is not None or relabelling(e) is not None


def _held(e: Expr) -> Expr:
    """What is in memory where axes are moved or repeated."""
    while relabelling(e) is not None:
        (e,) = e.args
    return e


def _bytes(e: Expr) -> Any:
    return number_of(size_product(e.shape)) * e.dtype.numpy.itemsize


def _typical(e: Any) -> float:
    return float(e.subs(dict.fromkeys(e.free_symbols, TYPICAL)))


def _operations(node: Expr) -> Any:
    entries = number_of(size_product(node.shape))
    op = node.op
    if op is CONTRACTION:
        return _product(node)
    if op is SUM:
        scaled = sum(1 for c, _ in node.params[0] if abs(c.number) != 1 or c.powers)
        return entries * (len(node.args) - 1 + scaled)
    if op.family == "map":
        return entries if op.name not in ("cast", "detach") else sympy.Integer(0)
    if op.name in _PER_ENTRY:
        return number_of(size_product(node.args[0].shape)) * _PER_ENTRY[op.name]
    if op.name in _MOVES:
        return sympy.Integer(0)
    known = _MATRIX.get(op.name)
    if known is None:
        raise NotationError(
            f"cost: how many operations {op.name} takes is not known here.",
            "Ask for the cost of the parts around it.",
        )
    return known(node)


def _product(node: Expr) -> Any:
    """Multiplications, and additions where labels are summed; a one-hot factor only picks."""
    sizes: dict[int, Size] = dict(enumerate(node.shape))
    real = [(a, ls) for a, ls in zip(node.args, node.params[0], strict=True)
            if a.op.name != "onehot" and a.op is not DELTA]  # fmt: skip
    for a, ls in real:
        sizes.update({x: a.shape[k] for k, x in enumerate(ls) if x >= 0})
    carried = {x for _, ls in real for x in ls if x >= 0} | set(range(node.ndim))
    every = number_of(size_product(tuple(sizes[x] for x in sorted(carried))))
    summed = any(x >= node.ndim for x in carried)
    return every * (max(len(real) - 1, 0) + summed)


__all__ = ["Cost", "Count", "computed", "cost", "counted", "with_gradients"]
