"""Symbols for the leaves of a recorded graph: names from parameters' paths, letters for sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from symgrad.core.equal import Equalities, united
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import letter
from symgrad.derivation.naming import display_names
from symgrad.recording.expand import Expansion
from symgrad.recording.record import Leaf
from symgrad.recording.walk import equalities_of, walk
from symgrad.tensors.reading import Reading
from symgrad.tensors.wording import user_frame

CHOSEN: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""Names that the user gave to intermediate values."""


DECLARED_AS: WeakKeyDictionary[Expr, Expr] = WeakKeyDictionary()
"""Symbols whose letters were declared equal to others → the symbols as they were declared."""


def expanded(
    node: Any,
    letters: Mapping[str, int] | None = None,
    rewritten: Callable[[Sequence[Expr]], list[Expr]] | None = None,
) -> tuple[Expr, dict[Expr, str], set[Expr], dict[int, Any]]:
    """A node's expression, the user's names in it, the symbols of tracked leaves, all by id.

    ``rewritten`` is applied to what is differentiated within it.
    """
    order = walk([node], _held)
    expansion = Expansion(order, leaf_symbols(order, letters), rewritten)
    chosen = {expansion.exprs[id(n)]: CHOSEN[n] for n in order if n in CHOSEN}
    tracked = {
        expansion.exprs[id(n)]
        for n in order
        if type(n) is Leaf and n.tracked and n.source is not None
    }
    found = expansion.final([expansion.exprs[id(node)]])[0]
    return found, chosen, tracked, expansion.exprs


def _held(node: Any) -> bool:
    """Is it a tracked tensor that was written to: a name in formulas, whatever its value came from?

    One made from symbols is no end: its value is known by them only.
    """
    if type(node) is not Leaf or node.source is None or type(node.source) is Leaf:
        return False
    ends = (n for n in walk([node.source], lambda n: False) if type(n) is Leaf and n.source is None)
    return all(n.value is not None for n in ends)


def caller_names() -> dict[int, str]:
    """id of a leaf → the variable that holds its tensor, in the user's frames from the inside."""
    found: dict[int, str] = {}
    frame = user_frame()
    if frame is None:
        return found
    for word, held in [*frame.f_locals.items(), *frame.f_globals.items()]:
        if isinstance(held, Reading) and not word.startswith("_"):
            node = held._storage.node
            if type(node) is not Leaf and held._tracked:  # it was written to
                node = held.node()
            if type(node) is Leaf and not node.name:
                found.setdefault(id(node), word)
    return found


def leaf_symbols(order: Sequence[Any], letters: Mapping[str, int] | None = None) -> dict[int, Expr]:
    """id of every end of a walk → its symbol; ``letters`` writes n for every 64 of ``{"n": 64}``."""
    names = {**caller_names(), **_names(order)}
    equal = equalities_of(order)
    ends: dict[int, Expr] = {}
    for node in order:
        if type(node) is not Leaf or (node.source is not None and not _held(node)):
            continue
        if node.symbol is not None and not letters:
            ends[id(node)] = _renamed(node.symbol, equal) if equal else node.symbol
            continue
        word = names.get(id(node)) or node.name or f"x{len(ends) + 1}"
        sizes: dict[Any, Any] = {extent: letter(name) for name, extent in (letters or {}).items()}
        shape = tuple(sizes.get(s, s) for s in united(node.shape, equal))
        made = symbol(word, shape, node.dtype, number=len(ends) + 1)
        ends[id(node)] = made
        if not letters:
            node.symbol = made
    return ends


def _renamed(leaf: Expr, equal: Equalities) -> Expr:
    """A symbol in the letters that equal letters go by."""
    shape = united(leaf.shape, equal)
    if shape == leaf.shape:
        return leaf
    word, _, dtype, number, facts = leaf.params
    made = symbol(word, shape, dtype, number, facts)
    DECLARED_AS[made] = leaf
    return made


def _names(order: Sequence[Any]) -> dict[int, str]:
    """Names of value leaves: their tensors' own, and W₁ b₁ W₂ b₂ for the weights of layers."""
    words: list[tuple[int, str]] = []
    for node in order:
        if type(node) is Leaf and node.source is not None:
            owner = node.owner() if node.owner is not None else None
            word = node.name if owner is None else owner._name
            if word:
                words.append((id(node if _held(node) else node.source), word))
    shown = display_names([w for _, w in words], ())
    return dict(zip([k for k, _ in words], shown, strict=True))
