"""How derivations of commonly written models read: names for what is used again, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

import symgrad as sg
import symgrad.nn.functional as F


def gated() -> Any:
    x, h, Wz, Uz, Wn, Un = sg.symbols("x:d  h:m  Wz:m,d  Uz:m,m  Wn:m,d  Un:m,m")
    z = sg.sigmoid(Wz @ x + Uz @ h)
    n = sg.tanh(Wn @ x + Un @ h)
    return sg.derive(sg.name((1 - z) * n + z * h, "g"), [Wz, Wn])


def policy() -> Any:
    X, W, R = sg.symbols("X:n,d  W:d,k  R:n")
    action = sg.symbol("a", "n", sg.int64)
    chosen = F.log_softmax(X @ W, -1).gather(1, action[:, None])[:, 0]
    return sg.derive(-(chosen * R).mean(), [W])


def cosine() -> Any:
    u, v = sg.symbols("u:d  v:d")
    return sg.derive(1 - F.cosine_similarity(u, v, dim=0), [u])


def focal() -> Any:
    z, y = sg.symbols("z:n  y:n")
    p = sg.sigmoid(z)
    return sg.derive(-(y * (1 - p) ** 2 * sg.log(p)).mean(), [z])


def heteroscedastic() -> Any:
    m, s, y = sg.symbols("m:n  s:n  y:n")
    return sg.derive(0.5 * (s + (y - m) ** 2 * sg.exp(-s)).sum(), [m, s])


def mixture() -> Any:
    X, M, a = sg.symbols("X:n,d  M:k,d  a:k")
    distances = ((X[:, None, :] - M[None, :, :]) ** 2).sum(-1)
    return sg.derive(-sg.logsumexp(F.log_softmax(a, 0) - distances / 2, -1).mean(), [M, a])


def spread_mixture() -> Any:
    x, m, s, a = sg.symbols("x:n  m:k  s:k  a:k")
    off = (x[:, None] - m[None, :]) / sg.exp(s)
    return sg.derive(sg.logsumexp(F.log_softmax(a, 0) - s - off**2 / 2, -1).sum(), [m, a])


READ = {
    "a mixture": (mixture, "∂L/∂a = p − (1/n) Σᵢ P[i,:]", ("Σᵣ", "softmax(a[")),
    "the argument of a softmax has a name": (
        spread_mixture, "P = softmax(Z) L = Σᵢ logsumexp(Z[i,:]) ∂L/∂a = Σᵢ P[i,:] − n p", ("Σₗ",)),
    "an activation whose slope is needed": (gated, "h₂ = tanh(z₂)", ("tanh(z₂) ⊙",)),
    "one action per row": (policy, "δZ[i,j] = (1/n) (−R[i] 1[a[i] = j]", ("Σᵣ", "r < 1")),
    "a bound is a bound": (cosine, "L = 1 − uᵀ v / (max(a, 1e-08) max(b, 1e-08))", ("where", "√(uᵀ u) −")),
    "one name for one value": (focal, "p = σ(z)", ("p₁",)),
    "a common factor": (heteroscedastic, "∂L/∂s = ½ (1 − r ⊙ r ⊙ exp(−s))", ()),
}  # fmt: skip


@pytest.mark.parametrize("which", READ)
def test_it_reads_as_a_person_writes(which: str) -> None:
    make, line, never = READ[which]
    text = " ".join(make().unicode.split())
    assert line in text
    assert not [word for word in never if word in text]
