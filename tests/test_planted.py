"""Mistakes planted in derivatives and rewrite rules: which checks see them.

The test of the row or of the rule must see every one, and a random program every one that it uses.
``SYMGRAD_PLANTED=all`` plants every mistake of ``tests/faults.py`` in every place and prints who saw
it: the row, the corpus of derivatives (where it lies beside the checkout, or in ``SYMGRAD_CORPUS``),
random programs, random matrix programs.  The default plants in a part.
"""

from __future__ import annotations

import functools
import os
from collections import Counter

import numpy as np
import pytest

from symgrad.errors import SymgradError
from symgrad.evaluate import evaluate
from tests.faults import DERIVATIVES, FAULTS, RULES, WITNESSES, Place, Witness, planted, users
from tests.test_ops import check_gradients
from tests.test_rules import SIZES, feeds_of, sides_of

ALL = os.environ.get("SYMGRAD_PLANTED", "") == "all"
SAME = {("cholesky", "transpose"), ("eigh", "transpose")}
"""No mistakes: the argument is made symmetric, so that its gradient is read symmetrically."""
WITNESS_COUNT = 4
"""How many of the questions that use a place are asked."""


def _seen_by_the_row(place: Place) -> bool:
    """Do differences and ``jax.grad`` of the row of an operation see that its derivative is wrong?"""
    try:
        check_gradients(place.row, second=False)
    except (AssertionError, SymgradError, ValueError):
        return True
    return False


def _seen_by_the_statement(place: Place) -> bool:
    """Do values at random points see that a rule does not give what its left side is?"""
    left, right = sides_of(place.owner)
    try:
        found = place.owner.apply(left)
        a, b = evaluate([left, found or right], feeds_of(place.owner, left), SIZES)
    except SymgradError:
        return True
    return a.shape != b.shape or not np.allclose(a, b, rtol=1e-11, atol=1e-13)


def _seen(place: Place) -> bool:
    return (_seen_by_the_statement if place in RULES else _seen_by_the_row)(place)


@pytest.mark.parametrize(
    "place", DERIVATIVES if ALL else [*DERIVATIVES[::8], *DERIVATIVES[-6:]], ids=str
)
def test_the_row_of_an_operation_sees_a_wrong_derivative(place):
    assert _missed(place) == []


@pytest.mark.parametrize("place", RULES, ids=str)
def test_the_statement_of_a_rule_sees_a_wrong_right_side(place):
    assert _missed(place) == []


def _missed(place: Place) -> list[str]:
    """The mistakes in a place that its own test does not see."""
    assert not _seen(place)
    missed: list[str] = []
    for fault in FAULTS:
        with planted(place, fault) as changes:
            seen = _seen(place)
        if changes and not seen and (place.row, fault) not in SAME:
            missed.append(fault)
    assert not _seen(place)
    return missed


@functools.cache
def _users(witness: Witness) -> dict[Place, list[int]]:
    count = witness.count()
    asked = range(0, count, 1 if ALL else max(count // 40, 1))
    return users([*DERIVATIVES, *RULES], asked, witness.answer)


def _verdict(witness: Witness, place: Place, fault: str) -> str:
    """ "seen" or "missed" by questions that use the place, "unused" by any, "same" if it changes none."""
    changed = False
    for k in _users(witness).get(place, [])[:WITNESS_COUNT]:
        witness.known(k)
        with planted(place, fault) as changes:
            if witness.wrong(k) and changes:
                return "seen"
        changed = changed or bool(changes)
    return "missed" if changed else "same" if _users(witness).get(place) else "unused"


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda w: w.name)
def test_witnesses_see_what_they_use(witness):
    """Of the mistakes in what they use, nine tenths; the table says the others."""
    used = [p for p in [*DERIVATIVES, *RULES] if p in _users(witness)]
    counts: Counter[str] = Counter()
    missed: list[str] = []
    for place in used if ALL else used[::12]:
        for fault in FAULTS if ALL else ("sign", "labels"):
            found = _verdict(witness, place, fault)
            counts[found] += 1
            missed += [f"{place}: {fault}"] * (found == "missed")
    print(f"{witness.name} use {len(used)} of {len(DERIVATIVES) + len(RULES)} places; "
          f"{dict(counts)}; missed {missed}")  # fmt: skip
    assert counts["missed"] <= counts["seen"] // 9
