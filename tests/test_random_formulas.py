"""Random matrix programs: what is printed, what is read back and what is compiled are JAX's.

``SYMGRAD_RANDOM_FORMULAS`` is how many of each kind are drawn; 5000 is the acceptance count, the default keeps
the suite short.  A program takes longer the larger its Hessian: ``SYMGRAD_RANDOM_FORMULAS_FROM``
starts at another number.
"""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import symgrad as sg
from benchmarks._corpus import FUNCTIONS
from symgrad.core.build import contract, delta, scale
from symgrad.core.op import OPS
from symgrad.errors import NotationError
from symgrad.evaluate import evaluate
from symgrad.ops.structure import reshape
from symgrad.simplify.algebra import Normal
from tests.notation import evaluate_block, read_block
from tests.notation.library import parsed_block
from tests.random_formulas import (
    PLANS,
    SIZES,
    VIEWS,
    disagreements,
    drawn,
    posed,
    reference,
    smallest,
)

CHUNKS = 4
COUNT = int(os.environ.get("SYMGRAD_RANDOM_FORMULAS", "32"))
FIRST = int(os.environ.get("SYMGRAD_RANDOM_FORMULAS_FROM", "0"))


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("plans", [PLANS, VIEWS], ids=["matrices", "views"])
def test_formulas_and_source_are_those_of_jax(plans, chunk):
    refused: list[str] = []
    for number in range(FIRST + chunk, FIRST + COUNT, CHUNKS):
        program = drawn(number, plans)
        wrong = disagreements(program, jitted=number % 10 == 0, refused=refused)
        if wrong:
            part = smallest(program, disagreements)
            pytest.fail("\n".join([f"program {number}", repr(part), *disagreements(part), *wrong]))
    print(f"{len(refused)} without a formula")


UNREAD = re.compile("not part of the notation|a scalar for")
"""A function that only the library's reader knows; 0 for the whole of a tensor."""


@pytest.mark.parametrize("plans", [PLANS, VIEWS], ids=["matrices", "views"])
def test_lines_of_derivations_are_those_of_jax(plans):
    """Read by a reader of the notation that shares nothing with the library, and by the library."""
    read = 0
    for number in range(FIRST, FIRST + 4 * COUNT):
        program = drawn(number, plans)
        if program.lines[-1].shape:
            continue
        asked = posed(program)
        expected = reference(program, asked)
        derivation = sg.derive(sg.name(asked.tensors["value"], "L"), list(asked.symbols.values()))
        for text in (derivation.unicode, derivation.ascii):
            for reader in (evaluate_block, parsed_block):
                try:
                    lines = reader(read_block(text), asked.values, SIZES)
                except NotationError as problem:
                    if UNREAD.search(str(problem)):
                        continue
                    raise
                read += 1
                for line in program.declared:
                    found = np.asarray(lines.get(f"∂L/∂{line.name}", lines.get(f"dL/d{line.name}")))
                    wanted = expected[f"gradient for {line.name}"]
                    if line.domain in ("symmetric", "spd"):  # among the symmetric
                        wanted = (wanted + wanted.T) / 2
                    found = found.reshape(wanted.shape) if found.size == wanted.size else found
                    scale = max(1, np.abs(wanted).max(initial=0))
                    np.testing.assert_allclose(found, wanted, 1e-9, 1e-9 * scale, err_msg=text)
    assert read > COUNT


def test_every_function_is_drawn():
    texts = " ".join(line.text for number in range(150) for line in drawn(number).lines)
    assert {word for word in FUNCTIONS if f"{word}(" not in texts} == {"correlate", "convolve"}


@pytest.mark.parametrize("name", ["tanh", "sin", "inv"])
def test_a_planted_wrong_rule_is_found(name):
    """A derivative with the wrong sign."""
    having = [p for p in map(drawn, range(120)) if any(f"{name}(" in x.text for x in p.lines)]
    program = min(having, key=lambda p: len(p.lines))
    assert not disagreements(program)
    op = OPS[name]
    rule = "derivative" if op.derivative else "vjp"
    right = getattr(op, rule)
    object.__setattr__(op, rule, lambda *given: tuple(-d for d in right(*given)))
    try:
        assert disagreements(program)
    finally:
        object.__setattr__(op, rule, right)


# ------------------------------------------------------------------ what random formulas found


def test_a_sum_over_entries_that_cancel_is_their_number():
    """Σⱼ b[j] / b[j] was 1: the gradient was n times too small."""
    b = sg.symbol("b", "n", sg.float64, "positive")
    gradient = sg.grad(sg.log(sg.outer(b, b)).mean(), b)
    assert gradient.formula().unicode == "(2/n) (1 ⊘ b)"


def test_a_softmax_over_columns_says_so():
    """The axis was lost, in the formula and in the sum of a derivation."""
    A, Y = sg.symbols("A:n,m Y:n,m")
    text = sg.func.jacrev(lambda a: sg.logsumexp(a, 0))(A).formula()
    assert text.unicode == "softmax(A; −2)[i,k] 1[j = k]"
    lines = str(sg.derive((sg.softmax(A, 0) * Y).sum()))
    assert "r[j]  = Σᵢ Y[i,j] P[i,j]" in lines


def test_the_diagonal_of_a_matrix_is_a_column():
    (B,) = (sg.symbol("B", "n,n"),)
    assert (sg.diag(B) ** 2).sum().formula().unicode == "diag(B)ᵀ diag(B)"


def test_a_triangular_solve_says_which_triangle():
    L, b = sg.symbols("L:n,n b:n,m")
    upper, lower = (
        sg.linalg.solve_triangular(L, b, upper=u).formula().unicode for u in (True, False)
    )
    assert upper != lower


def test_a_total_over_a_total_reads_back():
    a = sg.symbol("a", "n")
    total = a.sum()
    formula = (2 * total * total / a.sum()).formula()

    read = sg.parse_formula(formula.unicode, [a])
    values = np.array([1.0, 2.0, 4.0], np.float32)
    (found,) = (sg.compile([read])(values),)
    assert float(found) == pytest.approx(14.0)


def test_the_square_of_a_transpose_is_turned():
    """Two equal factors with their axes in the other order had lost the turn."""
    A, P = sg.symbols("A:n,n P:n,m")
    assert ((A.T**2) @ P).formula().python() == "(A ** 2).T @ P"
    assert ((1 / A.T**2) @ P).formula().python() == "(1 / A ** 2).T @ P"


def test_what_divides_an_identity_stands_at_its_own_axes():
    A, Q = sg.symbols("A:n,m Q:m,d")
    text = sg.func.jacrev(lambda q: (1 / A) @ q)(Q).formula().python()
    assert text == "eye(d)[:, None, :] / A[:, None, :, None]"


def test_a_sum_reshaped_there_and_back_is_itself():
    """Its terms had become identities, which cancelled."""
    A = sg.symbol("A", "n,n", sg.float64).expr()
    n = A.shape[0]
    same = delta(n, A.dtype)
    parts = [contract(row, labels, range(4)) for row, labels in (
        ([same, same, A], [(0, 2), (1, 3), (2, 3)]), ([same, A, A], [(0, 2), (2, 1), (2, 3)]),
    )]  # fmt: skip
    e = reshape(scale(2, reshape(parts[0] - parts[1], (n, n, n * n))), (n, n, n, n))
    values = evaluate([e, *Normal().of([e])], {A: np.array([[0.1, 0.5], [-0.3, 1.0]])})
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


def test_a_sum_of_conditions_counts_them():
    """The sum of two truth values is true, of two ones is two."""
    B = sg.symbol("B", "n,n", sg.float64, "diagonal")
    hessian = sg.func.hessian(lambda x: sg.relu(sg.kron(x.T, x.T).sum()))(B)
    assert hessian.formula().python().startswith("(1 * np.broadcast_to(")


@pytest.mark.parametrize(
    "number",
    [
        338,
        488,
        533,
        10032,
        10144,
        12586,
        20126,
        20188,
        20483,
        21388,
        22824,
        23344,
        24184,
        24299,
        24556,
        24652,
    ],
)
def test_programs_that_went_wrong(number):
    """Conditions without a cast in a sum; a batch of right sides; a bound in a quotient; a softmax
    of a number; the sign of a diagonal of conditions; a scalar in the middle of a chain; two forms
    of which each was better than the other, for ever; a vector made of numbers; a function of I;
    a function of a negative number; x³ · x² was taken for a power of x²;
    a total of equal terms; the transpose of a determinant; a text without one of the sizes; a sum
    over a triangle of numbers; a comparison with I.
    """
    assert disagreements(drawn(number)) == []
