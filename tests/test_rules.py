"""Every rewrite rule as a statement: both sides agree, the right one holds at the edges, it fires."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from symgrad.autodiff import gradient
from symgrad.core import dtypes
from symgrad.core.build import product, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import letter
from symgrad.core.traverse import leaves
from symgrad.evaluate import evaluate
from symgrad.simplify import ALL_RULES, Procedure, Rule, rewrite, stabilised

Array = np.ndarray[Any, Any]
SIZES = {"n": 5, "d": 3, "k": 2, "m": 4}
NAMES = [r.name for r in ALL_RULES]
# exp overflows at 710; beyond ±37 the logistic function rounds to 0 or 1 in float64
LARGE = (-800.0, -50.0, 50.0, 800.0)


def sides_of(rule: Rule | Procedure) -> tuple[Expr, Expr]:
    """An example of the left side, and what the rule says it is."""
    if isinstance(rule, Procedure):
        return rule.example()
    x = symbol("x", tuple(letter(s) for s in ("n", "d", "k", "m")[: rule.rank]), dtypes.float64)
    return rule.left(x), rule.right(x)


def feeds_of(rule: Rule | Procedure, left: Expr, at: float | None = None) -> dict[Expr, Array]:
    """Random points of the rule's domain; or one value everywhere, or along the last axis."""
    rng = np.random.default_rng(3)
    found: dict[Expr, Array] = {}
    for leaf in leaves([left]):
        shape = tuple(SIZES[str(s)] for s in leaf.shape)
        drawn = rng.standard_normal(shape) * 3
        if not leaf.dtype.differentiable:
            drawn = rng.integers(0, min(SIZES.values()), shape)
        if getattr(rule, "domain", "real") == "positive":
            drawn = np.abs(drawn)
        if getattr(rule, "domain", "real") == "unit":
            drawn = np.tanh(drawn)
        if getattr(rule, "domain", "real") == "above one":
            drawn = 1.3 + np.abs(drawn)
        found[leaf] = drawn
    if at is not None:
        moved = next(iter(found)) if len(found) == 1 else _argument(found)
        value = found[moved]
        found[moved] = np.full(value.shape, at)
        if value.ndim > 1:  # one row with ordinary entries beside the edge
            found[moved][0, 1:] = value[0, 1:]
    return found


def _argument(found: dict[Expr, Array]) -> Expr:
    return next(leaf for leaf in found if leaf.params[0] in ("x", "z"))


def _by_name(name: str) -> Rule | Procedure:
    return next(r for r in ALL_RULES if r.name == name)


def test_names_of_rules_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_agree_on_the_domain(name):
    rule = _by_name(name)
    left, right = sides_of(rule)
    assert left.shape == right.shape
    assert left.dtype is right.dtype
    a, b = evaluate([left, right], feeds_of(rule, left), SIZES)
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_have_one_gradient(name):
    rule = _by_name(name)
    left, right = sides_of(rule)
    found: list[Expr] = []
    for side in (left, right):
        total = reduce_sum(product(side, side), range(side.ndim))
        found += gradient(total, [x for x in leaves([left]) if x.dtype.differentiable])
    values = evaluate(found, feeds_of(rule, left), SIZES)
    half = len(values) // 2
    for a, b in zip(values[:half], values[half:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_fires_on_its_own_left_side(name):
    rule = _by_name(name)
    left, right = sides_of(rule)
    assert left is not right
    assert rule.apply(left) is right
    rewritten, steps = rewrite([left], [[rule]])
    assert rewritten == [right]
    assert [s.rule for s in steps] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_does_not_fire_on_its_right_side(name):
    rule = _by_name(name)
    _, right = sides_of(rule)
    assert rewrite([right], [[rule]])[1] == []


@pytest.mark.parametrize(
    ("name", "at"), [(r.name, at) for r in ALL_RULES for at in (*r.edges, *LARGE) if r.edges]
)
def test_the_right_side_is_finite_at_the_edges(name, at):
    rule = _by_name(name)
    left, right = sides_of(rule)
    feeds = feeds_of(rule, left, at)
    (value,) = evaluate([right], feeds, SIZES)
    assert np.isfinite(value).all()


@pytest.mark.parametrize("name", [r.name for r in ALL_RULES if "finite" in r.states])
def test_a_rule_that_claims_to_be_finite_is_needed(name):
    """At one edge the left side is not finite (or 0 where the right side is not)."""
    rule = _by_name(name)
    left, right = sides_of(rule)
    gained = False
    for at in rule.edges:
        typed, stable = evaluate([left, right], feeds_of(rule, left, at), SIZES)
        gained = (
            gained or not np.isfinite(typed).all() or bool(((typed == 0) != (stable == 0)).any())
        )
    assert gained


@pytest.mark.parametrize("name", NAMES)
def test_gradients_after_simplification_are_finite_at_the_edges(name):
    rule = _by_name(name)
    left, _ = sides_of(rule)
    stable = stabilised([left])[0]
    wanted = [x for x in leaves([left]) if x.dtype.differentiable]
    found = stabilised(gradient(reduce_sum(stable, range(stable.ndim)), wanted))
    for at in rule.edges:
        for value in evaluate(found, feeds_of(rule, left, at), SIZES):
            assert np.isfinite(value).all(), at


def test_a_false_rule_is_caught():
    """The comparison above has teeth: softplus with the wrong sign is no identity."""
    true = _by_name("softplus")
    assert isinstance(true, Rule)
    left, right = sides_of(Rule("false", true.left, lambda x: true.right(-x)))
    a, b = evaluate([left, right], feeds_of(true, left), SIZES)
    assert not np.allclose(a, b)
