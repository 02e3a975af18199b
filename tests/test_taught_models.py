"""Derivations of models of the literature: every line against `jax.grad`, and what they read like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import nn
from symgrad.evaluate import evaluate
from tests.test_taught import DOUBLE, check, labels, symbols


def test_a_graph_convolution() -> None:
    A, X, W, V = symbols("A:n,n X:n,d W:d,h V:h,k")
    found = check(F.cross_entropy(A @ F.relu(A @ X @ W) @ V, labels("y:n")), [W, V])
    assert "∂L/∂W = Xᵀ Aᵀ (1[Z₁ > 0] ⊙ (Aᵀ δ₂ Vᵀ))" in found


def test_a_discriminator_has_vectors_for_its_last_layer() -> None:
    D = nn.Sequential(nn.Linear(6, 5, **DOUBLE), nn.LeakyReLU(0.2), nn.Linear(5, 1, **DOUBLE))
    G = nn.Sequential(nn.Linear(2, 5, **DOUBLE), nn.ReLU(), nn.Linear(5, 6, **DOUBLE))
    x, z = symbols("x:n,6 z:n,2")
    real, fake = D(x), D(G(z).detach())
    loss = F.binary_cross_entropy_with_logits(real, sg.ones_like(real))
    found = check(loss + F.binary_cross_entropy_with_logits(fake, sg.zeros_like(fake)))
    assert "H₁ = where(Z₁ > 0, Z₁, (1/5) Z₁)" in found
    assert "z₁[i] = (H₁ W₂)[i] + b₂" in found
    assert any(row.startswith("δH₁ = ") and row.endswith(" W₂ᵀ") for row in found)
    assert not any(row.endswith("= 0") for row in found)  # the generator receives nothing


def test_a_contrastive_loss() -> None:
    A, B, t = symbols("A:n,d B:n,d τ")
    scores = F.normalize(A, dim=1) @ F.normalize(B, dim=1).T / t
    found = check(F.cross_entropy(scores, sg.arange(A.shape[0])), [A, B])
    assert "L = (1/n) Σᵢ (logsumexp(C[i,:]) − C[i,i])" in found
    assert "δC = (1/n) (P − I(n))" in found


def test_word_vectors() -> None:
    U, V = symbols("U:p,d V:p,d")
    u, v, w = (F.embedding(at, E) for at, E in zip((labels("c:n"), labels("o:n"), labels("N:n,k")),
                                                   (U, V, V), strict=True))  # fmt: skip
    near = F.logsigmoid((u * v).sum(-1))
    far = F.logsigmoid(-(w @ u.unsqueeze(-1)).squeeze(-1)).sum(-1)
    check(-(near + far).mean(), [U, V])


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 5, **DOUBLE)
        self.share, self.mean, self.width = (nn.Linear(5, 4, **DOUBLE) for _ in range(3))

    def forward(self, x: Any, y: Any) -> Any:
        h = sg.tanh(self.hidden(x))
        s = self.width(h).exp()
        each = F.log_softmax(self.share(h), -1) - ((y[:, None] - self.mean(h)) / s) ** 2 / 2
        return -sg.logsumexp(each - sg.log(s), -1).mean()


def test_a_mixture_density_network() -> None:
    x, y = symbols("x:n,3 y:n")
    net = Mixture()
    assert "P = softmax(Z₄)" in check(net(x, y))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.m, self.s = (nn.Linear(a, b, **DOUBLE) for a, b in ((6, 5), (5, 2), (5, 2)))
        self.d, self.o = nn.Linear(2, 5, **DOUBLE), nn.Linear(5, 6, **DOUBLE)

    def forward(self, x: Any, noise: Any) -> Any:
        h = F.relu(self.e(x))
        m, s = self.m(h), self.s(h)
        a = self.o(F.relu(self.d(m + sg.exp(s / 2) * noise)))
        loss = F.binary_cross_entropy_with_logits(a, x, reduction="sum")
        return loss - (1 + s - m**2 - s.exp()).sum() / 2


def test_an_autoencoder() -> None:
    net = Autoencoder()
    assert "δ₄ = σ(Z₄) − x" in check(net(*symbols("x:n,6 ε:n,2")))


@pytest.mark.parametrize("rank", [1, 2])
def test_a_network_of_convolutions(rank: int) -> None:
    """What is joined for the last layer is read by channel and place."""
    conv, norm, pool = [
        (nn.Conv1d, nn.BatchNorm1d, F.max_pool1d), (nn.Conv2d, nn.BatchNorm2d, F.max_pool2d)
    ][rank - 1]  # fmt: skip
    first, second = conv(2, 3, 3, padding=1, **DOUBLE), norm(3, **DOUBLE)
    last = nn.Linear(3 * 2**rank, 5, **DOUBLE)
    x = symbols("x:n,2," + ",".join("4" * rank))
    found = check(
        F.cross_entropy(last(pool(F.relu(second(first(x))), 2).flatten(1)), labels("y:n"))
    )
    assert not any("reshape" in row for row in found if row.startswith(("Z", "∂L/∂W₃")))


def test_a_single_cell_names_its_gates() -> None:
    x, h, c = symbols("x:n,3 h:n,4 c:n,4")
    found = check(nn.LSTMCell(3, 4, **DOUBLE)(x, (h, c))[0])
    assert {"o = σ(Z₁)", "C = f ⊙ c + i ⊙ g", "H = tanh(C)", "∂L/∂Wxg = δ₄ᵀ x"} <= {*found}
    found = check(nn.GRUCell(3, 4, **DOUBLE)(x, h))
    assert {"r = σ(Z₁)", "n₁ = tanh(Z₂)", "∂L/∂Wxr = δ₁ᵀ x"} <= {*found}  # n is a size


def test_a_gradient_by_the_name_of_its_parameter() -> None:
    x, h = symbols("x:n,3 h:n,4")
    derivation = sg.derive((nn.GRUCell(3, 4, **DOUBLE)(x, h) ** 2).sum())
    assert str(derivation["Wx"]) == "concat(δ₁ᵀ x, δ₃ᵀ x, δ₂ᵀ x; −2)"
    assert str(derivation["Wxr"]) == "δ₁ᵀ x"
    X, W1 = symbols("X:n,3 W₁:3,2")
    assert str(sg.derive(((X @ W1) ** 2).sum())["W1"]) == "2 Xᵀ A"
    with pytest.raises(KeyError, match="no gradient for 'W'; there are gradients for X, W₁"):
        sg.derive(((X @ W1) ** 2).sum())["W"]


def test_max_pooling_of_letters() -> None:
    x = symbols("x:n,c,h,k")
    check(F.max_pool2d(x, 2))
    check((F.max_pool2d(x, 2, 2) ** 2).sum())


def test_the_slope_of_a_power_is_0_where_the_exponent_is() -> None:
    A, B = sg.symbols("A:n B:n")
    slope = sg.grad((A**B).sum(), A)
    formula = slope.formula()
    assert str(formula) == "where(B = 0, 0, B ⊙ pow(A, B − 1))"
    read = sg.parse_formula(str(formula), [A, B]).expr()
    values = {A.expr(): np.array([0.0, 2.0, 0.0]), B.expr(): np.array([0.0, 3.0, 2.0])}
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluate([read], values, {"n": 3})[0], [0.0, 12.0, 0.0])
