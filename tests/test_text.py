"""How single things are written: powers, fractions, coefficients of optimizers."""

import math
import re

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import optim
from symgrad.derivation.latex import latex_name
from symgrad.derivation.python_form import namespace
from symgrad.optim.row import complement

s, t = sg.symbols("s t")
a = sg.symbol("a", "n")

POWERS = [
    (s**-1, "1 / s", r"\frac{1}{s}", "1 / s"),
    (s**-2, "1 / s²", r"\frac{1}{s^{2}}", "1 / s ** 2"),
    (1 / s**2, "1 / s²", r"\frac{1}{s^{2}}", "1 / s ** 2"),
    (s**3, "s³", "s^{3}", "s ** 3"),
    (s * s * t, "s² t", r"s^{2} \, t", None),
    (s**2.5, "s^(5/2)", "s^{5/2}", "s ** 2.5"),
    (s**-1.5, "1 / s^(3/2)", r"\frac{1}{s^{3/2}}", "1 / s ** 1.5"),
    (s**-0.5, "1 / √s", r"\frac{1}{\sqrt{s}}", "1 / sqrt(s)"),
    ((s + 1) ** -2, "1 / (s + 1)²", r"\frac{1}{\left(s + 1\right)^{2}}", None),
    (t * s**-2, "t / s²", r"\frac{t}{s^{2}}", None),
    (a**-1, "1 ⊘ a", r"1 \oslash \mathbf{a}", "1 / a"),
    (a**-2, "1 ⊘ (a ⊙ a)", r"1 \oslash \left(\mathbf{a} \odot \mathbf{a}\right)", "1 / a ** 2"),
    (a / s**2, "a / s²", r"\frac{\mathbf{a}}{s^{2}}", "a / s ** 2"),
    (a**-1.5, "1 ⊘ pow(a, (3/2))", None, "1 / a ** 1.5"),
]


@pytest.mark.parametrize(("value", "text", "latex", "python"), POWERS, ids=lambda v: str(v)[:20])
def test_powers(value, text, latex, python):
    formula = value.formula()
    assert formula.unicode == text
    assert latex in (None, formula.latex())
    assert python in (None, formula.python())


def test_a_fraction_of_a_coefficient_is_written_tight():
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    slope = sg.grad(((X @ w - y) ** 2).mean(), w)
    assert slope.formula().python() == "2/n * (X.T @ (X @ w - y))"
    assert (w / s).formula().python() == "w / s"


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99, 0.0, 0.1, 0.3, 1, 1 / 3])
def test_the_rest_of_a_decay_rate_is_the_decimal_that_was_meant(beta):
    assert np.float32(complement(beta)) == np.float32(1 - beta)
    assert len(repr(complement(beta))) <= len(repr(float(beta))) + 1


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW, optim.RMSprop, optim.Adadelta])
def test_programs_of_optimizers_show_short_numbers(kind):
    def loss(params, x):
        return sg.tanh(x @ params["w"]).sum()

    f = sg.trace(loss, params={"w": "d"}, x="n,d")
    source = f.training_step(kind, lr=0.1).source
    assert "99999999" not in source
    assert "00000000" not in source


def test_a_training_step_reads_as_written_by_hand():
    """Shared numbers of the rule are lines, what is shared says what it is, decay rates are typed."""

    def loss(params, x, y):
        hidden = F.relu(x @ params["W"] + params["b"])
        return F.mse_loss(hidden @ params["V"], y) + (hidden * hidden).sum() / 8192

    sizes = {"W": "d,h", "b": "h", "V": "h,k"}
    f = sg.trace(loss, params=sizes, x="n,d", y="n,k")
    lines = f.training_step(optim.Adam, lr=0.1).source.splitlines()
    text = "\n".join(line.strip() for line in lines)
    assert "root = jnp.sqrt(-jnp.expm1(math.log(0.999) * new_t_float32))" in text
    assert "# root = √(−expm1(log(0.999) new_t))" in text
    assert "new_V = V - rate * new_exp_avg_V / (jnp.sqrt(new_exp_avg_sq_V) / root + 1e-08)" in text
    assert "# new_V = V − rate (new_exp_avg_V ⊘ (√new_exp_avg_sq_V / root + 1e-08))" in text
    assert "beta2 = 0.999" in text
    assert "/ 8192" in text
    assert not re.search(r"\bt_\d", text)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (math.log(0.9), "math.log(0.9)"),
        (math.sqrt(2 / math.pi), "math.sqrt(2 / math.pi)"),
        (-math.sqrt(2) / 2, "-math.sqrt(2) / 2"),
        (1 / 32, "/ 32"),
        (0.1234567, "0.1234567"),
        (1.6180339887e308, "1.6180339887e+308"),
    ],
)
def test_source_names_known_constants(number, written):
    x = sg.symbol("x", "n", sg.float64)
    program = sg.compile([x * number])
    assert written in program.source
    at = np.array([1.0, 0.25])
    np.testing.assert_array_equal(program(at), at * number)


def test_a_rounded_root_squares_to_its_fraction():
    assert str((sg.exp(-((a / math.sqrt(2)) ** 2))).formula()) == "exp(−½ (a ⊙ a))"


def test_logic_stands_between_its_operands():
    b = sg.symbol("b", "n")
    for value, text, latex, ascii_text in (
        ((a > b) & (a < 1), "(a > b) ∧ (a < 1)", r"\land", "(a > b) and (a < 1)"),
        ((a > b) | (b >= 1), "(a > b) ∨ (b ≥ 1)", r"\lor", "(a > b) or (b >= 1)"),
        ((a > b) ^ (a < 1), "(a > b) ⊻ (a < 1)", r"\veebar", "(a > b) xor (a < 1)"),
        (~((a > b) & (a < 1)), "¬((a > b) ∧ (a < 1))", r"\lnot", "not ((a > b) and (a < 1))"),
    ):
        formula = value.formula()
        assert formula.unicode == text
        assert latex in formula.latex()
        assert formula.ascii == ascii_text


def test_functions_print_in_latex_as_their_rows_say():
    x, n = sg.symbols("x:n  n:n")
    for value, latex in (
        (x.sinh(), r"\sinh\left("),
        (x.arcsin(), r"\arcsin\left("),
        (x.erf(), r"\operatorname{erf}\left("),
        (sg.floor_divide(x, n), r"\operatorname{\text{floor\_divide}}\left("),
    ):
        assert value.formula().latex().startswith(latex)


def test_columns_of_an_ascii_derivation_align():
    x, w, y, g = sg.symbols("x:n,d  w:d  y:n  γ")
    block = sg.derive(((g * (x @ w) - y) ** 2).mean(), [w, g])
    lines = block.ascii.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith(("L ", "r ")))
    short = {line.index(" = ") for line in lines[start:] if line.index(" = ") <= 8}
    assert short == {8}


n, d = sg.symbol("X", "n,d").shape
M = sg.symbol("M", "n,n")


@pytest.mark.parametrize(
    ("value", "python"),
    [
        (lambda: s - n - 1, "s - n - 1"),
        (lambda: n - s, "n - s"),
        (lambda: n * s, "n * s"),
        (lambda: s / sg.sqrt(n), "s / n**0.5"),
        (lambda: sg.ones(n, d), "ones(n, d)"),
        (lambda: sg.full((n,), 2.0), "np.full((n,), 2)"),
        (lambda: sg.eye(n) @ M, "M"),
    ],
)
def test_sizes_are_numbers(value, python):
    assert value().formula().python() == python


def test_python_needs_no_matrix_notation():
    x = sg.symbol("x", "n")
    slope = sg.grad(x @ sg.linalg.solve(M, x), x).formula()
    values = {"M": np.eye(3) + 0.1 * np.arange(9.0).reshape(3, 3), "x": np.arange(3.0)}
    inverse = np.linalg.inv(values["M"])
    found = eval(slope.python(), {**namespace(), **values})
    np.testing.assert_allclose(found, (inverse + inverse.T) @ values["x"])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (math.log(2 * math.pi), "log(2 π) x"),
        (-math.log(2 * math.pi) / 2, "−½ log(2 π) x"),
        (1 / math.sqrt(2 * math.pi), "(1/√(2 π)) x"),
        (math.sqrt(2 / math.pi), "√(2 / π) x"),
        (3.14, "3.14 x"),
        (1.8378, "1.8378 x"),
    ],
)
def test_constants_are_written_by_name(number: float, text: str) -> None:
    x = sg.symbols("x:n")
    formula = (number * x).formula()
    assert formula.unicode == text
    again = sg.parse_formula(formula.unicode, [x])
    run = sg.compile([number * x, again])
    one, other = (np.asarray(a) for a in run(x=np.ones(3, np.float32)))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_gradient_within_a_line_is_a_fraction_in_latex() -> None:
    assert latex_name("∂L/∂β", 1) == r"\frac{\partial L}{\partial \boldsymbol{\beta}}"
