"""Triangles of triangular matrices: what is zero for certain is not written, and nothing else goes."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import SYMBOL
from symgrad.core.traverse import topological
from symgrad.derivation.formula import formula
from symgrad.evaluate import evaluate
from symgrad.simplify.algebra import Normal


def square(name, *facts):
    return sg.symbol(name, "n,n", sg.float64, *facts)


_FIRST, _SECOND = np.random.default_rng(3).normal(size=(2, 4, 4))
DATA = {"A": _FIRST @ _FIRST.T + 4 * np.eye(4), "B": _SECOND}

A, B = square("A", "spd"), square("B")
L = sg.linalg.cholesky(A)
FORMS = {
    "lower of lower": (sg.tril(L), "cholesky(A)"),
    "upper of upper": (sg.triu(L.T), "cholesky(A)ᵀ"),
    "one above": (sg.tril(sg.triu(B), 1), "tril(triu(B); 1)"),
    "nothing below": (sg.tril(sg.triu(B), -1), "0"),
    "nothing above": (sg.triu(sg.tril(B) @ L, 1), "0"),
    "lower times lower": (sg.tril(sg.tril(B) @ L), "tril(B) cholesky(A)"),
    "lower times upper": (sg.tril(L @ sg.triu(B)), "tril(cholesky(A) triu(B))"),
    "the diagonal": (sg.triu(L), "diag(diag(cholesky(A)))"),
    "entry by entry": (sg.triu(L * B, 1), "0"),
    "a sum of both": (sg.tril(L + sg.triu(B)), "tril(cholesky(A) + triu(B))"),
}


def value(e):
    """By NumPy, for the matrices of :data:`DATA`."""
    leaves = {n: DATA[n.params[0]] for n in topological([e]) if n.op is SYMBOL}
    return np.asarray(evaluate([e], leaves)[0])


@pytest.mark.parametrize("name", FORMS)
def test_a_triangle_of_a_triangle(name):
    typed, text = FORMS[name]
    e = typed.expr()
    (made,) = Normal().of([e])
    assert str(formula(made)) == text
    got = 0 if text == "0" else value(made)
    np.testing.assert_allclose(got, value(e), atol=1e-12)


def test_the_slope_of_a_log_determinant_by_its_factor():
    (g,) = sg.grad(2 * L.diagonal().log().sum(), [A])
    assert str(g.formula()) == "A⁻¹"
    assert g.formula().python() == "inv(A)"
    np.testing.assert_allclose(value(g.expr()), np.linalg.inv(DATA["A"]), rtol=1e-12)
    (g,) = sg.grad(-L.diagonal().log().mean(), [A])
    np.testing.assert_allclose(value(g.expr()), -np.linalg.inv(DATA["A"]) / 8, rtol=1e-12)
    assert "cholesky" not in str(g.formula())


def test_of_what_may_not_be_symmetric_the_factor_reads_one_half():
    (g,) = sg.grad(2 * sg.linalg.cholesky(B @ B).diagonal().log().sum(), [B])
    assert "cholesky" in str(g.formula())


def test_other_slopes_of_a_factor_keep_their_value():
    for loss in ((L * B).sum(), L.diagonal().square().sum(), (sg.tril(L @ B) * B).sum()):
        (g,) = sg.grad(loss, [A])
        e = g.expr()
        (made,) = Normal().of([e])
        np.testing.assert_allclose(value(made), value(e), rtol=1e-10, atol=1e-12)
