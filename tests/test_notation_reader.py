"""The reader reads the golden derivations right, and refuses what the contract refuses."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from symgrad.derivation.ascii import to_ascii
from tests.golden_cases import CASES, Case
from tests.notation import (
    DEEPEST,
    Block,
    ReadError,
    evaluate_block,
    evaluate_formula,
    planted_errors,
    read_block,
)

SETTINGS = [
    pytest.param(case, which, id=f"{case.name}-{'square' if which else 'distinct'}")
    for case in CASES.values()
    for which in (0, 1)
]


@cache
def drawn(name: str, which: int) -> tuple[dict, dict, dict]:
    """Sizes, inputs and reference values of a case: drawn once."""
    case = CASES[name]
    sizes = case.sizes[which]
    inputs = case.inputs(sizes, seed=3)
    return sizes, inputs, case.expected(inputs, sizes)


def differs(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float
) -> list:
    """Lines whose value is not the reference's."""
    return [
        name for name, value in expected.items()
        if not np.allclose(found[name], value, rtol=tolerance, atol=tolerance * abs(value).max())
    ]  # fmt: skip


# ------------------------------------------------------------------- golden blocks


@pytest.mark.parametrize(("case", "which"), SETTINGS)
@pytest.mark.parametrize("spelling", ["unicode", "ascii"])
def test_every_line_of_a_golden_block_is_jax_grads(case: Case, which: int, spelling: str) -> None:
    sizes, inputs, expected = drawn(case.name, which)
    text, spelled = case.text, str
    if spelling == "ascii":
        text, spelled = to_ascii(case.text), to_ascii
        assert text.isascii()
    block = read_block(text)
    found = evaluate_block(block, {spelled(k): v for k, v in inputs.items()}, sizes,
                           case.functions())  # fmt: skip
    assert {spelled(k) for k in expected} <= set(found)
    for name, value in expected.items():
        line = found[spelled(name)]
        assert line.shape == value.shape
        np.testing.assert_allclose(line, value, rtol=1e-10, atol=1e-10 * abs(value).max())


def mutants(case: Case, block: Block, values: dict[str, np.ndarray]) -> list:
    """Every planted error of every derivative line."""
    matrices = {n for n, v in values.items() if v.ndim == 2} - case.symmetric
    found = []
    for line in block.lines:
        if line.name.startswith(("∂", "δ")) or line.name.endswith("⁺"):
            for planted in planted_errors(line.right_text, matrices):
                if planted.text not in case.equal:
                    found.append((line.name, planted))
    return found


@pytest.mark.parametrize(("case", "which"), SETTINGS)
def test_every_planted_error_is_caught(case: Case, which: int) -> None:
    sizes, inputs, expected = drawn(case.name, which)
    block = read_block(case.text)
    functions = case.functions()
    right = evaluate_block(block, inputs, sizes, functions)
    shapes = {**{k: np.asarray(v) for k, v in inputs.items()}, **right}
    planted = mutants(case, block, shapes)
    expected_kinds = {"sign", "factor"} if case.symmetric else {"sign", "factor", "transpose"}
    assert {p.kind for _, p in planted} == expected_kinds
    missed = []
    for name, error in planted:
        try:
            wrong = block.with_right_side(name, error.text)
            with np.errstate(all="ignore"):
                found = evaluate_block(wrong, inputs, sizes, functions)
        except (ReadError, np.linalg.LinAlgError):
            continue
        if not differs(found, expected, 1e-6):
            missed.append((name, error))
    assert not missed


# ------------------------------------------------------------------- what is read

VALUES = {
    "A": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    "B": np.array([[2.0, -1.0], [0.5, 1.0], [1.0, 3.0]]),
    "S": np.array([[2.0, 1.0], [0.0, 3.0]]),
    "u": np.array([1.0, -2.0, 3.0]),
    "v": np.array([4.0, 5.0]),
    "y": np.array([1, 0, 1]),
    "c": np.array(2.0),
    "λ": np.array(0.5),
}
SIZES = {"n": 3, "d": 2}
A, B, S, u, v, y = (VALUES[k] for k in "ABSuvy")

READ = {
    "A v": A @ v,
    "Aᵀ u": A.T @ u,
    "uᵀ A v": u @ A @ v,
    "uᵀ u": u @ u,
    "u vᵀ": np.outer(u, v),
    "(uᵀ A)ᵀ": A.T @ u,
    "A + v": A + v,
    "v − A": v - A,
    "1 − A ⊙ A": 1 - A * A,
    "1 ⊘ A": 1 / A,
    "(A ⊙ B) ⊘ A": B,
    "(A S) ⊙ B": (A @ S) * B,
    "2 S ⊗ (Aᵀ A)": 2 * np.kron(S, A.T @ A),
    "S⁻¹ v": np.linalg.solve(S, v),
    "S⁻ᵀ v": np.linalg.solve(S.T, v),
    "I(d) + S": np.eye(2) + S,
    "diag(v)": np.diag(v),
    "tr(Aᵀ B)": (A * B).sum(),
    "tr(S) + det(S) + logdet(S)": 5 + 6 + np.log(6),
    "(1/(n d)) A": A / 6,
    "(1/√d) A": A / np.sqrt(2),
    "½ λ vᵀ v": 0.25 * 41,
    "−½ v": -0.5 * v,
    "(uᵀ u)²": 14.0**2,
    "c³ + c⁻² + c^(3/2)": 8 + 0.25 + 2**1.5,
    "√(c + 2) + √c": 2 + np.sqrt(2),
    "A[1,0] v": 3 * v,
    "A[1,:]": A[1],
    "Σᵢ A[i,:]": A.sum(0),
    "S⁻¹ (Σᵢ A[i,:])": np.linalg.solve(S, A.sum(0)),
    "Σᵢ A[i,y[i]]": 2 + 3 + 6,
    "Σᵢ Σⱼ A[i,j] B[i,j]": (A * B).sum(),
    "(1/n) Σᵢ (logsumexp(A[i,:]) − A[i,y[i]])": (np.log(np.exp(A).sum(1)) - [2, 3, 6]).mean(),
    "Σᵢ A[i,0]²": 1 + 9 + 25,
    "Σᵢ A[i,0] / c": 9 / 2,
    "Σᵢ 1[i = 2] u[i]": 3.0,
    "1[A > 2] ⊙ A": A * (A > 2),
    "where(A ≥ 3, A, B)": np.where(A >= 3, A, B),
    "|u|": abs(u),
    "uᵀ |u|": u @ abs(u),
    "max(A, B) − max(u) A": np.maximum(A, B) - 3 * A,
    "onehot(y, d)": np.eye(2)[y],
    "softmax(A)": np.exp(A) / np.exp(A).sum(1, keepdims=True),
    "σ(−u ⊙ (A v))": 1 / (1 + np.exp(u * (A @ v))),
    "log(2 π)": np.log(2 * np.pi),
    "0.25 v": 0.25 * v,
    "(A S)[2,1]": (A @ S)[2, 1],
    "A[i,j] − A[i,0]": A - A[:, :1],
}


def evaluated(text: str) -> np.ndarray:
    at = ("i", "j") if text.startswith("A[i,j]") else ()
    return evaluate_formula(text, VALUES, SIZES, {"i": "n", "j": "d"}, at)


@pytest.mark.parametrize("text", READ)
def test_a_formula_means_what_it_says(text: str) -> None:
    found = evaluated(text)
    assert found.shape == np.shape(READ[text])
    np.testing.assert_allclose(found, READ[text], rtol=1e-13)


@pytest.mark.parametrize("text", READ)
def test_the_ascii_spelling_means_the_same(text: str) -> None:
    plain = to_ascii(text)
    assert plain.isascii()
    values = {to_ascii(k): a for k, a in VALUES.items()}
    at = ("i", "j") if text.startswith("A[i,j]") else ()
    found = evaluate_formula(plain, values, SIZES, {"i": "n", "j": "d"}, at)
    np.testing.assert_allclose(found, evaluated(text), rtol=1e-15)


# ------------------------------------------------------------------- what is refused

REFUSED = {
    "two kinds of product": [
        "A S ⊙ B",
        "A ⊙ B v",
        "A ⊙ B S",
        "S ⊗ A ⊙ B",
        "A ⊙ B ⊗ S",
        "A S ⊗ A",
        "u / c ⊙ u",
    ],
    "'/' divides": ["A / c v", "u / c / c", "u ⊙ u / c"],
    "powers are for scalars": ["A²", "u²", "(A v)²", "S³"],
    "write ⊘": ["c / A", "u / u", "1 / u"],
    "the inverse of": ["A⁻¹", "u⁻¹", "c⁻¹"],
    "is not known here": ["A w", "Z", "A vv", "k v", "σ"],
    "not part of the notation": ["A * B", "A @ v", "A % B", "gauss(u)", "A # v", "exp(u, u)"],
    "a product of": ["A u", "A B"],
    "a column before": ["u v", "A v v", "u A v"],
    "a row vector where": ["uᵀ", "exp(uᵀ)"],
    "a sum of": ["A + u", "A + S", "u + v", "A v + v", "u + uᵀ", "A + vᵀ"],
    "3×2 ⊙": ["A ⊙ S", "A ⊙ v"],
    "a scalar ⊙ 3×2": ["c ⊙ A"],
    "3×2 ⊘ a scalar": ["A ⊘ c"],
    "between spaces": ["A⊙B", "A −B", "A− B", "A+B", "A ⊙B"],
    "next to": ["− A", "−", "√ c", "√√c"],
    "chain of ⊘": ["A ⊘ B ⊘ A"],
    "separated by a space": ["2A", "(c + 1)A", "Aᵀ(A v)"],
    "lone name": ["(A) v", "2 (v)"],
    "one mark": ["Aᵀᵀ", "Sᵀ⁻¹", "A[0,:]ᵀ[0]", "A ᵀ"],
    "range of k is not declared": ["Σₖ A[k,0]"],
    "shadows an index": ["Σᵢ Σᵢ A[i,0]", "Σᵢ (u[i] + Σᵢ u[i])"],
    "is not bound": ["A[i,0]", "(Σᵢ u[i]) u[i]"],
    "indices of a tensor": ["A[0,0,0]", "u[0,0]"],
    "index 3 of an axis": ["u[n]", "A[3,0]"],
    "index -1": ["u[0 − 1]"],
    "whole number": ["u[½]"],
    "expected": ["(A v", "A[0,0", "exp(u", "1[A > 0"],
    "unexpected": ["", "A +", "A v)", "⊙ A", "A − −A", "A ⊙ ", "+ A", ")"],
    "Σ needs": ["Σᵢ", "Σᵢ −u[i]"],
    "needs a comparison": ["1[A]", "where(A, A, A)"],
    "number stands first": ["A 2", "u 3 c"],
    "no class": ["onehot(y, 1)"],
    "logsumexp of a scalar": ["logsumexp(c)"],
    "tr of": ["tr(A)"],
    "nested": ["(" * (DEEPEST + 1) + "A + A" + ")" * (DEEPEST + 1)],
}


@pytest.mark.parametrize(
    ("why", "text"), [(why, text) for why, texts in REFUSED.items() for text in texts]
)
def test_what_the_contract_does_not_allow_is_refused(why: str, text: str) -> None:
    with pytest.raises(ReadError, match=re.escape(why)):
        evaluated(text)


HEAD = "sizes    A: n×d   v: d\nindices  i < n   j < d\n"
REFUSED_BLOCKS = {
    "opens with its sizes": "Z = A v",
    "declarations come first": "indices  i < n\nsizes    A: n×d\nZ = A",
    "neither a declaration": HEAD + "Z: A v",
    "defined twice": HEAD + "Z = A v\nZ = A v",
    "name of a size": "sizes    n: n×d\nZ = n",
    "letter of a size": "sizes    A: n×d\nindices  n < n\nZ = A",
    "range of k": HEAD + "Z[k] = A[k,0]",
    "appears twice": HEAD + "Z[i,i] = A[i,0]",
    "without a layout": HEAD + "Z = I(n) ⊗ A",
    "for A, which is": HEAD + "∂L/∂A = v",
    "for v, which is": HEAD + "∂L/∂v = A",
    "for Z₁, which is": HEAD + "Z₁ = A v\nδ₁ = A",
    "for H, which is": HEAD + "H = A v\nδH = A",
    "the loss is": HEAD + "L = A v",
    "not known here": HEAD + "Z = B v\nB = A",
    "is not 'letter < size'": "sizes    A: n×d\nindices  i in n\nZ = A",
}


@pytest.mark.parametrize("why", REFUSED_BLOCKS)
def test_blocks_that_break_the_contract_are_refused(why: str) -> None:
    values = {"A": VALUES["A"], "v": VALUES["v"], "n": VALUES["A"]}
    with pytest.raises(ReadError, match=why):
        evaluate_block(read_block(REFUSED_BLOCKS[why]), values, SIZES)


def test_inputs_are_checked_against_the_declared_sizes() -> None:
    block = read_block(HEAD + "Z = A v")
    with pytest.raises(ReadError, match="no value for v"):
        evaluate_block(block, {"A": A}, SIZES)
    with pytest.raises(ReadError, match="declared"):
        evaluate_block(block, {"A": A.T, "v": v}, SIZES)
    with pytest.raises(ReadError, match="size d has no value"):
        evaluate_block(block, {"A": A, "v": v}, {"n": 3})


def test_sizes_may_be_numbers_and_products() -> None:
    block = read_block("sizes    A: 3×2   g: 2 n\nZ = (1/3) A")
    found = evaluate_block(block, {"A": A, "g": np.zeros(6)}, {"n": 3})
    np.testing.assert_allclose(found["Z"], A / 3)


# ------------------------------------------------------------------- ASCII spellings


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("(2/n) Xᵀ (X w − y)", "(2/n) X' (X w - y)"),
        ("∂L/∂W₁ = δ₁ᵀ X", "dL/dW1 = delta1' X"),
        ("(δ₂ W₂) ⊙ 1[Z₁ ≥ 0]", "(delta2 W2) .* 1[Z1 >= 0]"),
        ("(1/n) Σᵢ Z₂[i,y[i]]", "(1/n) sum_i Z2[i,y[i]]"),
        ("½ S⁻ᵀ (C − n S) S⁻¹", "(1/2) S^-1' (C - n S) S^-1"),
        ("(1/√d) √x[i,y[i]] √(a + b)", "(1/sqrt(d)) sqrt(x[i,y[i]]) sqrt(a + b)"),
        ("I(n) ⊗ A ⊘ B", "I(n) (x) A ./ B"),
        ("Σ_c x_c + xᵢ", "sum_c x_c + x_i"),
        ("σ(λ) γ³", "sigma(lambda) gamma^3"),
        ("W₁ + W1 + W₁", "W1_2 + W1 + W1_2"),
        ("σ(sigma) + μ + mu", "sigma(sigma_2) + mu_2 + mu"),
        ("é 🙂 Ж", "ue9 u1f642 u416"),
    ],
)
def test_ascii_spelling(text: str, plain: str) -> None:
    assert to_ascii(text) == plain
    assert to_ascii(plain) == plain
