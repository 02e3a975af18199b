"""Rewrite rules where their parts stand at other axes: transposed, repeated along rows or columns.

A rule recognises functions and equal arguments; that these stand at the axes it assumes is what it
may forget, and with equal sizes only the value shows it.  ``SYMGRAD_RANDOM_AXES`` is how many of
the texts of ``tests/random_patterns.py`` are drawn over transposed and repeated parts.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from symgrad.autodiff import gradient
from symgrad.core import dtypes
from symgrad.core.build import constant, elementwise, matmul, placed, power, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.errors import SymgradError
from symgrad.evaluate import evaluate
from symgrad.simplify import stabilised
from tests.random_patterns import SYMBOLIC, TEXTS

COUNT = int(os.environ.get("SYMGRAD_RANDOM_AXES", "800"))
CHUNKS = 4
A, P = (symbol(s, (3, 3), dtypes.float64) for s in "AP")
R, S = (symbol(s, (3,), dtypes.float64) for s in "rs")
rng = np.random.default_rng(0)
FEEDS = {
    A: rng.uniform(-1.5, 1.5, (3, 3)), P: rng.uniform(0.5, 2, (3, 3)),
    R: rng.uniform(-1.5, 1.5, 3), S: rng.uniform(0.5, 2, 3),
}  # fmt: skip


def _row(e: Expr) -> Expr:
    return placed(e, (1,), (3, 3))


def _column(e: Expr) -> Expr:
    return placed(e, (0,), (3, 3))


PARTS: dict[str, list[Expr]] = {
    "x": [A, A, A.T, -A.T, A + 1, A.T + 1, 2 * A, _column(R), _row(R), R],
    "y": [P, P.T, A, A.T, _column(R), _row(R), R],
    "p": [P, P, P.T, _column(S), _row(S), S],
    "q": [P, P, P.T, _column(S), _row(S), S],
}


def _drawn(rng: np.random.Generator) -> tuple[str, Expr]:
    """One text over parts that may differ from place to place, perhaps within something."""
    text = TEXTS[rng.integers(len(TEXTS))]
    usual = {w: found[rng.integers(len(found))] for w, found in PARTS.items()}
    scope: dict[str, Any] = dict(SYMBOLIC)

    def part(match: re.Match[str]) -> str:
        found = PARTS[match[0]]
        other = rng.random() < 0.3
        scope[f"v{len(scope)}"] = found[rng.integers(len(found))] if other else usual[match[0]]
        return f"v{len(scope) - 1}"

    e = eval(re.sub(r"\b[xypq]\b", part, text), scope)
    outside = rng.integers(7)
    if e.dtype is not dtypes.float64 or e.shape[-1:] != (3,) or outside == 0:
        return text, e
    if outside == 1:
        e = e + PARTS["x"][rng.integers(10)]
    elif outside == 2:
        e = elementwise("log", e * e + 1)
    elif outside == 3:
        weights = P if e.ndim == 2 else S
        e = gradient(reduce_sum(weights * e, range(e.ndim)), [A])[0]
    elif e.ndim == 2:
        e = (e.T * A, reduce_sum(e, [0]), matmul(e.T, e))[outside - 4]
    return text, e


def _agree(e: Expr) -> bool:
    with np.errstate(all="ignore"):
        typed, made = evaluate([e, *stabilised([e])], FEEDS)
    if not np.isfinite(typed).all():
        return True
    return typed.shape == made.shape and np.allclose(typed, made, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_rules_keep_the_axes_of_their_parts(chunk):
    rng = np.random.default_rng(chunk)
    wrong: list[str] = []
    for number in range(COUNT // CHUNKS):
        try:
            text, e = _drawn(rng)
        except SymgradError:  # sizes that do not broadcast
            continue
        if not _agree(e):
            wrong.append(f"{number}: {text}")
    assert wrong == []


ONE = constant(1, dtypes.float64)
HALF = Fraction(1, 2)


@pytest.mark.parametrize("e", [
    power(A.T * A.T + 1, HALF),
    power(A.T * A.T + A * A, HALF),
    elementwise("hypot", A.T, 2 * ONE) - A,
    elementwise("maximum", A, _column(R)) + elementwise("softplus", -elementwise("abs", A - R)),
    elementwise("exp", A) / (elementwise("exp", A) + elementwise("exp", A.T)),
], ids=["root", "root of two", "beside a length", "larger of two", "exponentials"])  # fmt: skip
def test_a_part_that_is_transposed_is_another_part(e):
    """√((Aᵀ)² + 1) was √(A² + 1), and the like."""
    assert _agree(e)


def test_a_sum_over_what_no_factor_carries_counts_it():
    """Pᵀ P for P with equal rows: the sum over its rows had become 1."""
    e = elementwise("exp", _row(R))
    share = e / placed(reduce_sum(elementwise("exp", R), [0]), (), (3, 3))
    assert _agree(matmul(share.T, share))
