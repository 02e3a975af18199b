"""Declared properties of symbols: what each says, which shapes it needs, and whether values have it.

Formulas use them; a program checks the values it is given where it was compiled with ``validate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.core.expr import Expr, facts_of
from symgrad.core.sizes import Shape

Array = np.ndarray[Any, Any]
CLOSE = 64
"""How many units in the last place of the largest entry equal entries may differ by."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A property: whether values have it, and the least number of axes; ``square``: the last two."""

    holds: Callable[[Array], bool]
    axes: int = 0
    square: bool = False


def _close(a: Array, b: Array) -> bool:
    """Equal up to rounding, in sums of as many terms as ``a`` has columns."""
    unit = float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else 0.0
    most = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)))
    return bool((np.abs(a - b) <= CLOSE * max(a.shape[-1], 1) * unit * most).all())


def _symmetric(a: Array) -> bool:
    return _close(a, a.swapaxes(-1, -2))


def _definite(a: Array) -> bool:
    if not _symmetric(a):
        return False
    try:
        np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return False
    return True


def _rows_sum_to_one(a: Array) -> bool:
    return bool((a >= 0).all()) and _close(a.sum(-1, keepdims=True), np.ones_like(a[..., :1]))


def _one_of(*values: int) -> Callable[[Array], bool]:
    return lambda a: bool(np.isin(a, values).all())


def _regular(a: Array) -> bool:
    finite = bool(np.isfinite(a).all())
    return finite and bool((np.linalg.matrix_rank(a) == a.shape[-1]).all())


FACTS: dict[str, Fact] = {
    "real": Fact(lambda a: a.dtype.kind != "c"),
    "positive": Fact(lambda a: bool((a > 0).all())),
    "nonzero": Fact(lambda a: bool((a != 0).all())),
    "sign": Fact(_one_of(-1, 1)),
    "binary": Fact(_one_of(0, 1)),
    "onehot": Fact(lambda a: _one_of(0, 1)(a) and bool((a.sum(-1) == 1).all()), axes=1),
    "prob": Fact(_rows_sum_to_one, axes=1),
    "symmetric": Fact(_symmetric, axes=2, square=True),
    "spd": Fact(_definite, axes=2, square=True),
    "diagonal": Fact(
        lambda a: not a[..., ~np.eye(a.shape[-1], dtype=bool)].any(), axes=2, square=True
    ),
    "orthogonal": Fact(
        lambda a: _close(a.swapaxes(-1, -2) @ a, np.eye(a.shape[-1], dtype=a.dtype)),
        axes=2, square=True,
    ),
    "invertible": Fact(_regular, axes=2, square=True),
}  # fmt: skip
"""Every property that may be declared."""

SYMMETRIC = frozenset({"symmetric", "spd", "diagonal"})
"""Those of matrices that equal their transpose."""


def is_symmetric(leaf: Expr) -> bool:
    """Is a symbol declared to be its own transpose?"""
    return not SYMMETRIC.isdisjoint(facts_of(leaf))


def among_symmetric(leaf: Expr) -> bool:
    """Is a derivation's gradient in a symbol that among the symmetric matrices?"""
    return is_symmetric(leaf) and "diagonal" not in facts_of(leaf)


def problem_of(shape: Shape, facts: Sequence[str]) -> str:
    """Why these cannot be declared of this shape; nothing where they can."""
    for word in facts:
        fact = FACTS.get(word)
        if fact is None:
            return f"{word!r} is not a property that is known: {', '.join(FACTS)}"
        if len(shape) < fact.axes or (fact.square and shape[-1] != shape[-2]):
            return f"{word!r} is said of {'square matrices' if fact.square else 'rows'}"
    return ""


def refuted(facts: Sequence[str], value: Array) -> str:
    """The first of these properties that a value has not; nothing where it has all."""
    wide = value.astype(np.float32) if value.dtype.itemsize < 4 else value
    return next((f for f in facts if wide.size and not FACTS[f].holds(wide)), "")


__all__ = ["FACTS", "SYMMETRIC", "Fact", "among_symmetric", "is_symmetric", "problem_of", "refuted"]
