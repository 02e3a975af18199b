"""Conditions in formulas to paste: NumPy counts them where it would not by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.core.traverse import leaves
from symgrad.derivation import python_form
from symgrad.derivation.python_form import namespace
from symgrad.evaluate import evaluate


def number(x: Any) -> Any:
    return x.to(sg.float64)


CASES: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "1 * (B > 0) + (A > 0)": lambda A, B, a, M: number(A > 0) + number(B > 0),
    "1 * (A > 0) - (B > 0)": lambda A, B, a, M: number(A > 0) - number(B > 0),
    "1 - (A > 0)": lambda A, B, a, M: 1 - number(A > 0),
    "-1 * (A > 0)": lambda A, B, a, M: -number(A > 0),
    "-1 * diag(a > 0)": lambda A, B, a, M: -sg.diag(number(a > 0)),
    "-1 * M": lambda A, B, a, M: -number(M),
    "1 * M @ M": lambda A, B, a, M: number(M) @ number(M),
    "A @ M": lambda A, B, a, M: A @ number(M),
    "exp(1 * (A > 0))": lambda A, B, a, M: sg.exp(number(A > 0)),
    "sqrt(1 * (A > 0))": lambda A, B, a, M: number(A > 0) ** 0.5,
    "sum(A > 0, axis=0) - 1": lambda A, B, a, M: number(A > 0).sum(0) - 1,
    "mean(A > 0)": lambda A, B, a, M: number(A > 0).mean(),
    "trace(A > 0)": lambda A, B, a, M: sg.trace(number(A > 0)),
    "1 * ((B > 0) * (A > 0)) + (B > 1)": lambda A, B, a, M: (
        number(A > 0) * number(B > 0) + number(B > 1)
    ),
    "1 * where(A > 1, (A > 0), (B > 0)) + (B > 1)": lambda A, B, a, M: (
        sg.where(A > 1, number(A > 0), number(B > 0)) + number(B > 1)
    ),
    "1 * logical_and(A > 0, B > 0) + (A > 0)": lambda A, B, a, M: (
        number(sg.logical_and(A > 0, B > 0)) + number(A > 0)
    ),
    "cumsum(1 * (A > 0), axis=-2)": lambda A, B, a, M: number(A > 0).cumsum(0),
}


def found(case: str, text: str | None = None) -> tuple[Any, Any]:
    """The value that the text of a case has, and the one that it should have."""
    A, B = sg.symbol("A", "n,n", sg.float64), sg.symbol("B", "n,n", sg.float64)
    a, M = sg.symbol("a", "n", sg.float64), sg.symbol("M", "n,n", sg.bool)
    tensor = CASES[case](A, B, a, M)
    rng = np.random.default_rng(0)
    values = {
        "A": rng.standard_normal((3, 3)), "B": rng.standard_normal((3, 3)),
        "a": rng.standard_normal(3), "M": rng.random((3, 3)) > 0.5,
    }  # fmt: skip
    here = leaves([tensor.expr()])
    feeds = {x.expr(): values[w] for w, x in (("A", A), ("B", B), ("a", a), ("M", M))}
    (expected,) = evaluate([tensor.expr()], {e: v for e, v in feeds.items() if e in here}, {"n": 3})
    text = tensor.formula().python() if text is None else text
    assert text == case
    return eval(text, {**namespace(), **values, "n": 3}), expected


@pytest.mark.parametrize("case", CASES)
def test_conditions_are_counted(case):
    value, expected = found(case)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert np.asarray(value).dtype.kind != "b"


def test_without_it_numpy_would_say_or(monkeypatch):
    monkeypatch.setattr(python_form.Truths, "holds", lambda self, value: False)
    with pytest.raises(AssertionError):
        found("1 * (B > 0) + (A > 0)")
