"""The traps between an index-notation gradient and textbook lines: each with the text that shows it.

1 a trace's repeated label · 2 sums spliced into their users · 3 coefficients that hide equal products ·
4 scalars that float through named adjoints · 5 content · 6, 7 names that hide Σⱼ Y = 1 · 8 written
order · 9 transposes · 10 index form that spreads · 11 bound letters · 12 collisions of names ·
13 reuse that costs more · 14 symbols made before · 15 powers that have no notation.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F


def block(derivation: Any) -> list[str]:
    return [" ".join(line.split()) for line in derivation.unicode.split("\n")]


def products(tensors: list[Any]) -> int:
    tree = ast.parse(sg.compile(tensors).source)
    return sum(isinstance(node, ast.MatMult) for node in ast.walk(tree))


def test_1_a_repeated_label_becomes_an_identity() -> None:
    A, B, C, S, v = sg.symbols("A:n,m  B:m,k  C:k,n  S:n,n  v:n")
    assert sg.grad(sg.trace(A @ B @ C), A).formula().unicode == "Cᵀ Bᵀ"
    assert sg.grad(sg.einsum("ii,i->", S, v), S).formula().unicode == "diag(v)"
    found = sg.compile([sg.grad((sg.diagonal(S) ** 2).sum(), S)])(S=np.arange(9.0).reshape(3, 3))
    np.testing.assert_allclose(found, np.diag([0.0, 8.0, 16.0]))


def test_2_a_row_sum_stays_a_value_and_a_transpose_a_relabelling() -> None:
    Y, P, A, B = sg.symbols("Y:n,k  P:n,k  A:n,m  B:m,k")
    assert sg.compile([(Y.sum(1, keepdim=True) * P).sum(0)]).source.count("jnp.sum(") == 1
    assert products([(A @ B).T, A @ B]) == 1


def test_3_multiples_of_a_product_share_it_and_counts_may_be_sums() -> None:
    A, B, x = sg.symbols("A:n,m  B:m,k  x:n")
    assert products([A @ B, 2 * (A @ B), sg.tanh(A @ B)]) == 1
    assert sg.grad(x.var(), x).formula().unicode == "(2/(n − 1)) (x − (1/n) Σᵢ x[i])"


def classifier(make: Any) -> list[str]:
    Z, y = sg.symbol("Z", "n,k"), sg.symbol("y", "n", sg.int64)
    return block(sg.derive(make(Z, y)))


def test_4_a_named_adjoint_keeps_its_scalar_and_takes_no_other() -> None:
    X, W, V = sg.symbols("X:n,d  W:d,k  V:k,k")
    y = sg.symbol("y", "n", sg.int64)
    found = block(sg.derive(F.cross_entropy(sg.tanh(X @ W) @ V, y)))
    assert "δ₂ = (1/n) (P − Y)" in found
    Q, K, U = sg.symbols("Q:n,d  K:m,d  U:m,p")
    found = block(sg.derive(sg.name(F.scaled_dot_product_attention(Q, K, U), "O"), [Q]))
    assert "δS[i,j] = P[i,j] (δP[i,j] − r[i])" in found
    assert "∂L/∂Q = (1/√d) δS K" in found


def test_5_letters_go_in_front_only_with_a_common_factor() -> None:
    M, E, W, T = sg.symbols("M:n,q  E:n,q  W:d,q  T:n,d")
    Z = sg.name(M + sg.exp(E / 2) * E, "Z")
    loss = ((F.softplus(Z @ W.T) - T).sum(1) + (M**2 + E**2).sum(1) / 2).mean()
    assert "∂L/∂M = δZ + (1/n) M" in block(sg.derive(loss, [M, E]))


ONE_HOT = {
    "by hand": lambda Z, y: -(F.one_hot(y, Z.shape[1]).float() * F.log_softmax(Z, -1)).sum(1).mean(),
    "log of softmax": lambda Z, y: -(
        F.one_hot(y, Z.shape[1]).float() * sg.log(F.softmax(Z, -1))).sum(1).mean(),
    "whole": F.cross_entropy,
}  # fmt: skip


@pytest.mark.parametrize("how", ONE_HOT)
def test_6_names_hide_no_facts(how: str) -> None:
    assert "∂L/∂Z = (1/n) (P − Y)" in classifier(ONE_HOT[how])


def test_7_the_likelihood_of_log_probabilities_needs_no_rule_of_its_own() -> None:
    found = classifier(lambda Z, y: F.nll_loss(F.log_softmax(Z, -1), y))
    assert any(line.endswith("(P[i,j] − Y[i,j])") for line in found)


def test_8_operands_stand_as_they_were_written() -> None:
    X, W, b = sg.symbols("X:n,d  W:d,k  b:k")
    assert (b + X @ W).formula().unicode == "b + X W"
    assert (X @ W + b).formula().unicode == "X W + b"


def test_9_a_scalar_chain_has_as_few_transposes_as_it_can() -> None:
    X, u, v = sg.symbols("X:n,d  u:n  v:d")
    A, B, C = sg.symbols("A:n,m  B:m,k  C:k,n")
    assert (v @ X.T @ u).formula().unicode == "uᵀ X v"
    assert sg.trace(A @ B @ C).formula().unicode == "tr(A B C)"


def test_10_index_form_stays_in_its_lines() -> None:
    X, W, g, b = sg.symbols("X:n,d  W:d,k  γ:k  β:k")
    found = block(sg.derive((F.layer_norm(X @ W, (W.shape[1],), g, b) ** 2).sum(), [W]))
    assert found[-1] == "∂L/∂W = Xᵀ δA"


def test_11_a_bound_letter_shadows_no_free_one() -> None:
    Z, Y = sg.symbols("Z:n,k  Y:n,k")
    found = block(sg.derive(F.cross_entropy(Z, Y), [Z]))[-1]
    assert "Σₐ Y[i,a]" in found
    assert found.startswith("∂L/∂Z[i,j]")


def test_12_names_of_inputs_and_sizes_are_taken() -> None:
    h, Z, H, P = sg.symbols("h:n,h  Z:h,k  H:k  P:k")
    y = sg.symbol("y", "n", sg.int64)
    found = block(sg.derive(F.cross_entropy(sg.tanh(h @ Z) * H + P, y)))
    assert "Z₁ = h Z" in found
    assert "H₁ = tanh(Z₁)" in found
    assert "∂L/∂Z = hᵀ δ₁" in found


def test_13_a_known_sum_is_reused_where_it_costs_less() -> None:
    def lines(p: int) -> list[str]:
        Q, K, V = (sg.symbol(w, s) for w, s in (("Q", (5, 3)), ("K", (20, 3)), ("V", (20, p))))
        return block(sg.derive(sg.name(F.scaled_dot_product_attention(Q, K, V), "O"), [Q]))

    assert any(x.startswith("r[i] =") and "δP" not in x for x in lines(2))
    assert any(x.startswith("r[i] =") and "δP" in x for x in lines(50))


def test_14_symbols_made_before_do_not_hide_a_reuse() -> None:
    bias, weight, X = sg.symbols("β:d  γ:d  X:n,d")
    Y = F.batch_norm(X, None, None, weight, bias, training=True)
    last = block(sg.derive(Y, [bias, weight, X]))[-1]
    assert "n δY[j,i] − ∂L/∂β[i] − N[j,i] ∂L/∂γ[i]" in last


@pytest.mark.parametrize("power", [1.5, -1, -0.5, -1.5, 0.3, 3])
def test_15_every_power_of_a_vector_is_read_back(power: float) -> None:
    x = sg.symbol("x", "n", sg.float64)
    text = (x**power).formula().unicode
    at = np.array([0.5, 2.0, 3.0])
    read = sg.compile([sg.parse_formula(text, [x])])(x=at)
    np.testing.assert_allclose(np.asarray(read), at**power, rtol=1e-12)
