"""Wrong signs and factors planted in rules and derivatives: which checks see them.

The rows' own checks must see every one; ``SYMGRAD_PLANTED=all`` plants in every row, the default
in every eighth, and the random programs that have the row are counted beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from symgrad.core.build import scale
from symgrad.core.expr import Expr
from symgrad.core.op import OPS
from symgrad.errors import SymgradError
from symgrad.evaluate import evaluate
from symgrad.simplify import ALL_RULES, Rule
from tests.random_programs import Program, disagreements, operations
from tests.random_steps import drawn
from tests.test_ops import DIFFERENTIATED, check_gradients
from tests.test_rules import SIZES, feeds_of, sides_of

ALL = os.environ.get("SYMGRAD_PLANTED", "") == "all"
FAULTS: dict[str, Callable[[Expr], Expr]] = {
    "sign": lambda e: scale(-1, e),
    "factor": lambda e: scale(2, e),
}
DERIVED = [
    (name, "derivative" if OPS[name].derivative else "vjp")
    for name in DIFFERENTIATED
    if OPS[name].derivative or OPS[name].vjp
]
FLOATING = [r for r in ALL_RULES if sides_of(r)[1].dtype.kind == "f"]


@contextmanager
def planted(owner: Any, attribute: str, fault: Callable[[Expr], Expr]) -> Iterator[None]:
    """What a rule or a derivative gives, changed by a fault for a while."""
    kept = getattr(owner, attribute)

    def wrong(*given: Any) -> Any:
        found = kept(*given)
        if found is None or isinstance(found, Expr):
            return found if found is None else fault(found)
        return tuple(part if part is None else fault(part) for part in found)

    object.__setattr__(owner, attribute, wrong)
    try:
        yield
    finally:
        object.__setattr__(owner, attribute, kept)


def seen_by_the_row(name: str) -> bool:
    """Do differences and ``jax.grad`` of the row of an operation see that its derivative is wrong?"""
    try:
        check_gradients(name, second=False)
    except (AssertionError, SymgradError):
        return True
    return False


def seen_by_the_statement(rule: Any) -> bool:
    """Does the statement of a rule (both sides agree, and it gives the right one) see a fault?"""
    left, right = sides_of(rule)
    if rule.apply(left) is not right:
        return True
    a, b = evaluate([left, right], feeds_of(rule, left), SIZES)
    return not np.allclose(a, b, rtol=1e-11, atol=1e-13)


def seen_by_programs(programs: list[Program]) -> bool:
    """Does one of these random programs see it?"""
    return any(disagreements(program, eager=False) for program in programs)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "attribute"), DERIVED if ALL else DERIVED[::8])
def test_the_row_of_an_operation_sees_a_wrong_derivative(name, attribute, fault):
    assert not seen_by_the_row(name)
    with planted(OPS[name], attribute, FAULTS[fault]):
        assert seen_by_the_row(name)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("rule", FLOATING, ids=lambda r: r.name)
def test_the_statement_of_a_rule_sees_a_wrong_right_side(rule, fault):
    assert not seen_by_the_statement(rule)
    with planted(rule, "right" if isinstance(rule, Rule) else "step", FAULTS[fault]):
        assert seen_by_the_statement(rule)


def test_random_programs_see_wrong_derivatives():
    programs = [drawn(number) for number in range(400 if ALL else 120)]
    having = {name: [p for p in programs if name in operations(p)] for name, _ in DERIVED}
    missed: list[str] = []
    chosen = [row for row in (DERIVED if ALL else DERIVED[4::20]) if having[row[0]]]
    for name, attribute in chosen:
        some = sorted(having[name], key=lambda p: len(p.nodes))[: 6 if ALL else 3]
        with planted(OPS[name], attribute, FAULTS["sign"]):
            if not seen_by_programs(some):
                missed.append(name)
    print(f"of {len(chosen)} planted, random programs missed {missed}")
    assert len(missed) <= len(chosen) // 4
