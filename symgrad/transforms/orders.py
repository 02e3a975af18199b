"""The orders in which a product of several factors can be taken, with the operations of each.

A matrix product is associative, and its order decides what it costs: Godbole, "On efficient
computation of matrix chain products" (1973).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.core.build import CONTRACTION, DELTA, factors_at, relabelling
from symgrad.core.expr import SYMBOL, Expr, Labels, name_of
from symgrad.core.sizes import Size
from symgrad.core.traverse import topological, users
from symgrad.derivation.formula import formula
from symgrad.errors import NotationError
from symgrad.foreign.chains import number_of

sympy = lazy("sympy")

TYPICAL = 64
"""What a letter counts as where orders, and moments, are compared."""
EVERY = 4
"""Factors up to which every order is compared; of more, those from either end."""
SHOWN = 3
"""Orders of one product that are printed."""
LONG = 16
"""Characters up to which a factor is printed in full."""

Tree = Any
"""The place of a factor, or a tuple of trees whose product is taken."""


@dataclass(frozen=True)
class Order:
    """One order of a product, ``A (B v)``, and its operations in the size letters."""

    text: str
    flops: Any
    chosen: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.flops}{' (chosen)' if self.chosen else ''}"


@dataclass(frozen=True)
class Orders:
    """The orders of one product, the cheapest where every letter is 64 first, and why one is taken."""

    product: str
    compared: tuple[Order, ...]
    reason: str

    def __str__(self) -> str:
        others = [o for o in self.compared if not o.chosen]
        rows = [*(o for o in self.compared if o.chosen), *others[: SHOWN - 1]]
        more = f", and {len(others) + 1 - SHOWN} more" if len(others) >= SHOWN else ""
        listed = ", ".join(map(str, rows))
        return f"order     {self.product}: {listed}{more}; {self.reason}"


def orders_of(roots: Sequence[Expr]) -> tuple[Orders, ...]:
    """The orders of every product of three and more factors in what is computed."""
    order = topological(roots)
    counts = users(order)
    inner = {a for e in order if e.op is CONTRACTION for a in map(_bare, e.args) if counts[a] == 1}
    found: list[Orders] = []
    for e in order:
        if e.op is CONTRACTION and e not in inner:
            factors, tree = _opened(e, counts)
            carried = {x for _, ls in factors for x in ls}
            if len(factors) > 2 and len(carried) > e.ndim:
                found.append(_compared(e, factors, tree))
    return tuple(found)


def _bare(e: Expr) -> Expr:
    return e.args[0] if relabelling(e) is not None else e


def _opened(e: Expr, counts: dict[Expr, int]) -> tuple[list[tuple[Expr, Labels]], Tree]:
    """The factors of a product with the products that only it uses opened, and its order."""
    factors: list[tuple[Expr, Labels]] = []
    fresh = count(1000)
    done: list[Tree] = []
    stack: list[tuple[Expr, Labels] | int] = [(e, tuple(range(e.ndim)))]
    while stack:
        top = stack.pop()
        if isinstance(top, int):
            parts = done[-top:]
            done[-top:] = [tuple(parts) if top > 1 else parts[0]]
            continue
        node, place = top
        bare = node is e or (counts[node] == 1 and node.op is CONTRACTION)
        if not bare or any(a.op is DELTA for a in node.args) or not node.args:
            done.append(len(factors))
            factors.append((node, place))
            continue
        rows = factors_at(node, place, lambda _: next(fresh))
        stack += [len(rows), *rows[::-1]]
    return factors, done[0]


def _compared(e: Expr, factors: list[tuple[Expr, Labels]], tree: Tree) -> Orders:
    sizes: dict[int, Size] = dict(enumerate(e.shape))
    for a, ls in factors:
        sizes.update({x: a.shape[k] for k, x in enumerate(ls) if x >= 0})
    labels = [frozenset(ls) - {-1} for _, ls in factors]
    out = frozenset(range(e.ndim))
    chain = _chain(factors, e.ndim)
    words = [_word(a, ls, k, chain, factors) for k, (a, ls) in enumerate(factors)]
    trees = [tree, *(t for t in _trees(chain, labels, out) if _key(t) != _key(tree))]
    rows = [Order(_text(t, words, chain), _flops(t, labels, out, sizes), t is tree) for t in trees]
    chosen = rows[0]
    rows.sort(key=lambda o: (_typical(o.flops), not o.chosen))
    reason = f"no order takes fewer operations where every letter is {TYPICAL}"
    if _typical(rows[0].flops) < _typical(chosen.flops):
        reason = f"as written: {rows[0].text} takes more than half as many"
    return Orders(" ".join(words[k] for k in chain), tuple(rows), reason)


def _chain(factors: list[tuple[Expr, Labels]], rank: int) -> list[int]:
    """The factors along their summed labels, from the first axis of the result."""
    left = list(range(len(factors)))
    chain: list[int] = []
    while left:
        ends = set(factors[chain[-1]][1]) if chain else {0} if rank else set[int]()
        near = [k for k in left if ends & set(factors[k][1])]
        chosen = min(
            near or left, key=lambda k: (len(factors[k][1]) if not chain and not rank else 0, k)
        )
        chain.append(chosen)
        left.remove(chosen)
    return chain


def _word(
    e: Expr, labels: Labels, at: int, chain: list[int], factors: list[tuple[Expr, Labels]]
) -> str:
    """A factor as it is printed, with a mark where it stands transposed in the chain."""
    k = chain.index(at)
    before = set(factors[chain[k - 1]][1]) if k else set[int]()
    after = set(factors[chain[k + 1]][1]) if k + 1 < len(chain) else set[int]()
    turned = len(labels) == 2 and (labels[1] in before - after or labels[0] in after - before)
    bare = _bare(e)
    turned = turned != (bare is not e and relabelling(e) == (1, 0))
    try:
        text = name_of(bare) if bare.op is SYMBOL else formula(bare).unicode
    except NotationError:
        text = "…"
    text = text if len(text) <= LONG else "…"
    text = f"({text})" if " " in text or text == "…" else text
    return text + ("ᵀ" if turned else "")


def _trees(chain: list[int], labels: Sequence[frozenset[int]], out: frozenset[int]) -> list[Tree]:
    """Orders: all in which the factors of a pair share a label, or those from either end."""
    if len(chain) > EVERY:
        first: Tree = chain[0]
        last: Tree = chain[-1]
        for k in chain[1:]:
            first = (first, k)
        for k in chain[-2::-1]:
            last = (k, last)
        return [first, last]
    found: dict[Any, Tree] = {}
    stack: list[tuple[Tree, ...]] = [tuple(chain)]
    while stack:
        forest = stack.pop()
        if len(forest) == 1:
            found.setdefault(_key(forest[0]), forest[0])
        for j in range(len(forest)):
            for i in range(j):
                if _leaves(forest[i], labels) & _leaves(forest[j], labels):
                    stack.append(
                        (*forest[:i], (forest[i], forest[j]), *forest[i + 1 : j], *forest[j + 1 :])
                    )
    return list(found.values())


def _members(tree: Tree) -> list[int]:
    """The factors in a tree."""
    found: list[int] = []
    stack = [tree]
    while stack:
        part = stack.pop()
        if isinstance(part, tuple):
            stack += part
        else:
            found.append(part)
    return found


def _leaves(tree: Tree, labels: Sequence[frozenset[int]]) -> frozenset[int]:
    return frozenset().union(*(labels[k] for k in _members(tree)))


def _parts(tree: Tree) -> list[Tree]:
    """The products in a tree, operands first."""
    found: list[Tree] = []
    stack = [tree]
    while stack:
        part = stack.pop()
        if isinstance(part, tuple):
            found.append(part)
            stack += part
    return found[::-1]


def _key(tree: Tree) -> frozenset[frozenset[int]]:
    """What is multiplied with what, whichever stands first."""
    return frozenset(frozenset(_members(part)) for part in _parts(tree))


def _flops(
    tree: Tree, labels: Sequence[frozenset[int]], out: frozenset[int], sizes: dict[int, Size]
) -> Any:
    """Operations in an order: multiplications, and additions where labels are summed."""
    every = frozenset(range(len(labels)))
    total = sympy.Integer(0)
    for part in _parts(tree):
        inside = frozenset(_members(part))
        needed = out.union(*(labels[k] for k in every - inside))
        carried = frozenset[int]()
        for operand in part:
            own = frozenset(_members(operand))
            kept = out.union(*(labels[k] for k in every - own))
            carried |= (
                _leaves(operand, labels) if len(own) == 1 else _leaves(operand, labels) & kept
            )
        volume = sympy.Mul(*(number_of(sizes[x]) for x in sorted(carried)))
        total += volume * (len(part) - 1 + (not carried <= needed))
    return sympy.expand(total)


def _text(tree: Tree, words: list[str], chain: list[int]) -> str:
    """``A (B v)``: the factors from left to right, a bracket around each product in the product."""
    texts: dict[Any, str] = dict(enumerate(words))
    for part in _parts(tree):
        operands = sorted(part, key=lambda t: min(chain.index(k) for k in _members(t)))
        pieces = [f"({texts[t]})" if isinstance(t, tuple) else texts[t] for t in operands]
        texts[part] = " ".join(pieces)
    return texts[tree]


def _typical(flops: Any) -> float:
    return float(flops.subs(dict.fromkeys(flops.free_symbols, TYPICAL)))


__all__ = ["TYPICAL", "Order", "Orders", "orders_of"]
