"""Numbers in a program are the numbers that were typed, however small or large they are."""

import math

import numpy as np
import pytest

import symgrad as sg

NUMBERS = [1e-20, -1e-20, 1e-30, 3e9, 2**31, 2**40, -(10**10), 1e10, 2.5e15, 1e25, 1e30, -1e30,
           10**25, math.inf, -math.inf, math.nan]  # fmt: skip
FORMS = {
    "added": lambda x, c: x * x + c,
    "added to a number": lambda x, c: (x * x + 1) + c,
    "taken from": lambda x, c: c - x,
    "factor": lambda x, c: x * c,
    "of a sum": lambda x, c: (x + c) * x,
    "divisor": lambda x, c: (x + 1) / c,
    "shared": lambda x, c: (x * x) * c + c * x,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_a_compiled_program_has_the_numbers_that_were_typed(form, dtype):
    def all_of(x):
        return [FORMS[form](x, c) for c in NUMBERS]

    x = np.array([0.0, 2.0, -1.5, 1e-3], dtype)
    with np.errstate(all="ignore"):
        want = all_of(x)
    got = sg.compile(all_of)(sg.from_numpy(x))
    recorded = all_of(sg.from_numpy(x))
    for c, w, g, r in zip(NUMBERS, want, got, recorded, strict=True):
        np.testing.assert_allclose(g.numpy(), w, rtol=4e-7, err_msg=f"{form} of {c}")
        np.testing.assert_allclose(r.numpy(), w, rtol=4e-7, err_msg=f"{form} of {c}, recorded")


@pytest.mark.parametrize("form", ["added", "added to a number", "taken from", "factor"])
@pytest.mark.parametrize(
    "c", [1e308, 1.7e308, float(np.finfo("float64").max), float(np.finfo("float64").min)]
)
def test_the_largest_numbers_stay_finite(form, c):
    x = np.array([0.0, 0.5, -0.25, 1e-3])
    got = sg.compile(lambda x: FORMS[form](x, c))(sg.from_numpy(x))
    np.testing.assert_allclose(got.numpy(), FORMS[form](x, c), rtol=1e-15)


@pytest.mark.parametrize("c", [1e-20, 1e-30, 1e10, 1e30, 10**25])
def test_a_formula_has_the_number_that_was_typed(c):
    x = sg.symbol("x", "n")
    text = (x * x + c).formula().python()
    assert eval(text, {"x": np.zeros(2)}).tolist() == [float(c)] * 2
    assert str((x * x + 1e30).formula()) == "x ⊙ x + 1e+30"


def test_a_common_number_leaves_ones():
    x = sg.symbol("x", "n")
    f = (1e30 * x * x + 1e30).formula()
    assert str(f) == "1e+30 (x ⊙ x + 1)"
    assert f.latex() == r"10^{30} \left(\mathbf{x} \odot \mathbf{x} + 1\right)"
    assert (2.5e-8 * x).formula().latex() == r"2.5 \cdot 10^{-8} \mathbf{x}"
