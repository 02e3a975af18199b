"""Identifiers from arbitrary hints are harmless, unique and still readable."""

import builtins
import keyword

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from symgrad_codegen.naming import LONGEST, MODULES, Names, identifier


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        ("δ₂", "delta2"),
        ("∂L/∂W₁", "dL_dW1"),
        ("∂L/∂δ₂", "dL_d_delta2"),
        ("δV", "delta_V"),
        ("αβ", "alpha_beta"),
        ("Σ", "Sigma"),
        ("λ", "lam"),
        ("params.W1", "params_W1"),
        ("fc1.weight[3]", "fc1_weight_3"),
        ("x̂", "x_hat"),
        ("x′", "x_prime"),
        ("Wᵀ", "WT"),
        ("x²", "x2"),
        ("café", "cafe"),
        ("class", "class_"),
        ("match", "match_"),
        ("jnp", "jnp_"),
        ("input", "input_"),
        ("__class__", "class_"),
        ("1x", "v1x"),
        ("", "v"),
        ("😀", "v"),
        ('"x); import os  #"', "x_import_os"),
        ("a\nb", "a_b"),
        ("K", "K"),  # the Kelvin sign
    ],
)
def test_known_hints(hint: str, name: str) -> None:
    assert identifier(hint) == name


@given(st.lists(st.text(max_size=60), max_size=30))
@example(["x" * 10_000, "x" * 10_000, "x_2", "x", "x", "x_2"])
@example(["\u202eabc", "\x00", "ﬁ", "ª", "²", "𝐱"])
def test_any_hints_give_distinct_safe_identifiers(hints: list[str]) -> None:
    names = Names()
    made = [names.new(hint) for hint in hints]
    assert len(set(made)) == len(made)
    for name in made:
        assert name.isascii()
        assert name.isidentifier()
        assert len(name) <= LONGEST
        assert not keyword.iskeyword(name)
        assert not keyword.issoftkeyword(name)
        assert not hasattr(builtins, name)
        assert name not in MODULES


def test_many_equal_hints_are_quick_and_short() -> None:
    names = Names()
    made = {names.new("long name of a value that repeats and repeats") for _ in range(100_000)}
    assert len(made) == 100_000
    assert max(map(len, made)) <= LONGEST
