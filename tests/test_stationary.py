"""Stationary points in closed form: their text, and the gradients that vanish there."""

import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import name_of
from symgrad.core.traverse import leaves
from symgrad.errors import DerivativeError, NotationError
from symgrad.evaluate import evaluate
from symgrad.nn import functional as F
from tests.notation import evaluate_block, read_block

SIZES = {"n": 7, "d": 3, "k": 2, "m": 6}
AXES = {"X": "nd", "w": "d", "y": "n", "b": "", "λ": "", "U": "nk", "V": "mk", "M": "nm",
        "μ": "d", "s": "d", "r": "", "x": "n", "c": "", "W": "dk", "Y": "nk", "p": "n", "P": "nd", "e": "",
        "h": "d"}  # fmt: skip
RNG = np.random.default_rng(2)
VALUES = {w: RNG.uniform(0.5, 2.0, tuple(SIZES[s] for s in axes)) for w, axes in AXES.items()}
VALUES["S"] = np.eye(3)
VALUES["Q"] = np.diag([1.0, 2.0, 3.0]) + 0.5
VALUES.update({w: VALUES[w] / 2.5 for w in "pPeh"})  # between 0 and 1
T = {w: sg.symbol(w, ",".join(axes), sg.float64) for w, axes in AXES.items()}
T["S"] = sg.symbol("S", "d,d", sg.float64, "symmetric")
X, w, y, b, lam, U, V, M, mu, s, r, x, c, W, Y, p, P, e, h, S = T.values()
Q = sg.symbol("Q", "d,d", sg.float64, "spd")
D = X - mu
GAUSS = -0.5 * (sg.linalg.inv(S) @ (D.T @ D)).trace() - 0.5 * (sg.logdet(S) + 0 * x).sum()
FACTORS = ((U @ V.T - M) ** 2).sum()


@pytest.fixture(autouse=True)
def declared():
    """Symbols stand in the order of their last declaration, which other tests may have changed."""
    for word, axes in AXES.items():
        sg.symbol(word, ",".join(axes), sg.float64)


CASES = {
    "normal equations": (((X @ w - y) ** 2).mean(), [w], "w⁺ = (Xᵀ X)⁻¹ Xᵀ y"),
    "several outputs": (((X @ W - Y) ** 2).sum(), [W], "W⁺ = (Xᵀ X)⁻¹ Xᵀ Y"),
    "ridge": (((X @ w - y) ** 2).sum() + lam * (w @ w), [w], "w⁺ = (λ I(d) + Xᵀ X)⁻¹ Xᵀ y"),
    "weights": ((x * (X @ w - y) ** 2).sum(), [w], "w⁺ = (Xᵀ diag(x) X)⁻¹ Xᵀ (x ⊙ y)"),
    "an intercept": (((X @ w + b - y) ** 2).sum(), [w, b], "w⁺ = (Xᵀ X)⁻¹ Xᵀ (y − b⁺)"),
    "the intercept first": (((X @ w + b - y) ** 2).sum(), [b, w],
                            "b⁺ = (1/n) Σᵢ (y[i] − (X w⁺)[i])"),
    "one factor": (FACTORS, [U], "U⁺ = M V (Vᵀ V)⁻¹"),
    "the other": (FACTORS, [V], "V⁺ = Mᵀ U (Uᵀ U)⁻¹"),
    "one factor, with a penalty": (FACTORS + lam * (U * U).sum(), [U],
                                   "U⁺ = M V (λ I(k) + Vᵀ V)⁻¹"),
    "a Gaussian": (GAUSS, [mu, S], "μ⁺ = (1/n) Σᵢ X[i,:]\nS⁺ = (1/n) (X − μ⁺)ᵀ (X − μ⁺)"),
    "variances": ((-0.5 * sg.log(s) - (X - mu) ** 2 / (2 * s)).sum(), [mu, s],
                  "μ⁺ = (1/n) Σᵢ X[i,:]\ns⁺ = (1/n) Σⱼ (X[j,i] − μ⁺[i])²"),
    "a variance": ((-0.5 * sg.log(r) - (x - c) ** 2 / (2 * r)).sum(), [c, r],
                   "c⁺ = (1/n) Σᵢ x[i]\nr⁺ = (1/n) (x − c⁺)ᵀ (x − c⁺)"),
    "a standard deviation": ((-sg.log(r) - (x - c) ** 2 / (2 * r**2)).sum(), [c, r],
                             "c⁺ = (1/n) Σᵢ x[i]\nr⁺ = √((1/n) (x − c⁺)ᵀ (x − c⁺))"),
    "a weighted covariance": (
        -0.5 * (sg.linalg.inv(S) @ (X.T @ (x[:, None] * X))).trace() - 0.5 * c * sg.logdet(S), [S],
        "S⁺ = Xᵀ diag(x) X / c"),
    "a rate (Poisson)": ((x * sg.log(r) - r).sum(), [r], "r⁺ = (1/n) Σᵢ x[i]"),
    "a rate (exponential)": ((sg.log(3 * r) - r * x).sum(), [r], "r⁺ = n / (Σᵢ x[i])"),
    "a standard score": ((sg.log(r) + ((x - c) / r) ** 2 / 2).sum(), [c, r],
                         "c⁺ = (1/n) Σᵢ x[i]\nr⁺ = √((1/n) (x − c⁺)ᵀ (x − c⁺))"),
    "standard scores": ((sg.log(s) + (D / s) ** 2 / 2).sum(), [mu, s],
                        "μ⁺ = (1/n) Σᵢ X[i,:]\ns⁺ = √((1/n) Σⱼ (X[j,i] − μ⁺[i])²)"),
    "precisions": ((s * D**2 - sg.log(s)).sum(), [s], "s⁺ = n / (Σᵢ (X[i,j] − μ[j])²)"),
    "a logarithm of a variance": ((r + (x - c) ** 2 * sg.exp(-r)).sum(), [c, r],
                                  "c⁺ = (1/n) Σᵢ x[i]\nr⁺ = log((1/n) (x − c⁺)ᵀ (x − c⁺))"),
    "logarithms of deviations": ((s + (D / sg.exp(s)) ** 2 / 2).sum(), [mu, s],
                                 "μ⁺ = (1/n) Σᵢ X[i,:]\ns⁺ = ½ log((1/n) Σⱼ (X[j,i] − μ⁺[i])²)"),
    "a probability": ((p * sg.log(e) + (1 - p) * sg.log(1 - e)).sum(), [e], "e⁺ = (1/n) Σᵢ p[i]"),
    "probabilities": ((P * sg.log(h) + (1 - P) * sg.log(1 - h)).sum(), [h],
                      "h⁺ = (1/n) Σᵢ P[i,:]"),
    "a geometric probability": ((sg.log(e) + p * sg.log(1 - e)).sum(), [e],
                                "e⁺ = n / (Σᵢ p[i] + n)"),
    "a logit": ((sg.log(1 + sg.exp(r)) - p * r).sum(), [r],
                "r⁺ = log((Σᵢ p[i]) / (n − Σᵢ p[i]))"),
    "logits": (F.softplus(s).sum() - (s * P).mean(0).sum(), [s],
               "s⁺ = log((Σᵢ P[i,:]) ⊘ (n − Σᵢ P[i,:]))"),
    "a logarithm of a rate": ((sg.exp(r + x) - p * r).sum(), [r],
                              "r⁺ = log((Σᵢ p[i]) / (Σᵢ exp(x[i])))"),
    "a mean by rows, with its weights": (((D @ sg.linalg.inv(Q)) * D).sum(), [mu],
                                         "μ⁺ = (1/n) Σᵢ X[i,:]"),
    "a mean behind a solve": ((D * sg.linalg.solve(Q, D.T).T).sum(), [mu], "μ⁺ = (1/n) Σᵢ X[i,:]"),
    "a line": (((x - r * y - c) ** 2).sum(), [c, r], "c⁺ = (1/n) Σᵢ (x[i] − y[i] r⁺)\nr⁺ = (Σᵢ"),
    "a balance": (b * r + lam / r, [r], "r⁺ = √(λ / b)"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "wrt", "text"), CASES.values(), ids=CASES)
def test_text(value, wrt, text):
    assert str(sg.stationary(value, wrt)).startswith(text)


@pytest.mark.parametrize(("value", "wrt", "text"), CASES.values(), ids=CASES)
def test_the_gradients_vanish_there(value, wrt, text):
    found = sg.stationary(value, wrt)
    feeds = dict(VALUES)
    for t, point in zip(wrt, found, strict=True):
        e = point.expr()
        names = {name_of(leaf) for leaf in leaves([e])}
        assert not names & {name_of(t.expr()) for t in wrt}
        feeds[name_of(t.expr())] = evaluate([e], {q: VALUES[name_of(q)] for q in leaves([e])})[0]
    for g in sg.grad(value, list(wrt)):
        e = g.expr()
        (at,) = evaluate([e], {q: feeds[name_of(q)] for q in leaves([e])}, SIZES)
        (before,) = evaluate([e], {q: VALUES[name_of(q)] for q in leaves([e])}, SIZES)
        np.testing.assert_allclose(at, np.zeros(at.shape), atol=1e-9)
        assert np.abs(before).max() > 1e-3


# ------------------------------------------------------------------ as lines of a derivation

LINES = {
    "an intercept": ["w⁺ = (Xᵀ X)⁻¹ Xᵀ (y − b)", "b⁺ = (1/n) Σᵢ (y[i] − (X w)[i])"],
    "a Gaussian": ["μ⁺ = (1/n) Σᵢ X[i,:]", "S⁺ = (1/n) Rᵀ R"],
    "variances": ["μ⁺ = (1/n) Σᵢ X[i,:]", "s⁺[j] = (1/n) Σᵢ R[i,j]²"],
    "a standard deviation": ["c⁺ = (1/n) Σᵢ x[i]", "r⁺ = √((1/n) r₁ᵀ r₁)"],
    "a weighted covariance": ["S⁺ = Xᵀ diag(x) X / c"],
}  # fmt: skip
"""What the lines say over the names of the lines before them, each with the others as they stand."""


@pytest.mark.parametrize("which", CASES)
def test_every_gradient_vanishes_where_the_lines_of_the_derivation_say(which):
    value, wrt, _ = CASES[which]
    derivation = sg.derive(value, wrt, stationary=wrt)
    text = derivation.unicode
    rows = [" ".join(row.split()) for row in text.split("\n")]
    assert rows[-len(wrt) :] == LINES.get(which, rows[-len(wrt) :])
    names = [name_of(t.expr()) for t in wrt]
    inputs = {name_of(leaf) for leaf in leaves([value.expr()])}
    found = evaluate_block(read_block(text), {w: VALUES[w] for w in inputs}, SIZES)
    for word, g in zip(names, sg.grad(value, list(wrt)), strict=True):
        e = g.expr()
        feeds = {**VALUES, word: found[f"{word}⁺"]}
        (at,) = evaluate([e], {q: feeds[name_of(q)] for q in leaves([e])}, SIZES)
        np.testing.assert_allclose(at, np.zeros(at.shape), atol=1e-9)
        assert abs(feeds[word] - VALUES[word]).max() > 1e-3
    assert derivation.latex().count("^{+}") == len(wrt)


def test_the_steps_say_that_the_gradient_vanishes():
    value, wrt, _ = CASES["an intercept"]
    steps = sg.derive(value, wrt, stationary=wrt).steps[-2:]
    assert [s.before for s in steps] == ["∂L/∂w at w⁺", "∂L/∂b at b⁺"]
    assert [s.rule for s in steps] == ["stationary point"] * 2
    assert max(s.error for s in steps) < 1e-10
    assert steps[0].latex().startswith(r"\left.\frac{\partial L}{\partial ")


def test_a_derivation_without_a_closed_form_says_so():
    value = F.binary_cross_entropy_with_logits(X @ w, y)
    with pytest.raises(NotationError, match=r"of ∂/∂w = 0"):
        sg.derive(value, [w], stationary=w)


def test_one_matrix_after_the_other_of_a_product_of_two():
    text = sg.derive(FACTORS, [U, V], stationary=[U, V]).unicode.split("\n")
    assert text[-2:] == ["U⁺    = M V (Vᵀ V)⁻¹", "V⁺    = Mᵀ U (Uᵀ U)⁻¹"]


def test_terms_that_are_transposes_of_one_another_are_one():
    value, wrt, _ = CASES["a Gaussian"]
    assert "∂L/∂S = ½ S⁻¹ (Rᵀ R − n S) S⁻¹" in sg.derive(value, wrt).unicode


def test_numbers_stand_in_front_of_reciprocals():
    loss = (-0.5 * sg.log(3 * s) - (x.sum() - s) ** 2 / (2 * s)).sum()
    text = sg.derive(1 / (2 * r), [r]).unicode
    assert text.endswith("= −½ / r²")
    assert "(2 s" not in sg.derive(loss, [s]).unicode.split("∂L")[1]


# ------------------------------------------------------------------ tensors, errors


def test_a_stationary_value_is_a_tensor_like_any_other():
    found = sg.stationary(((X @ w - y) ** 2).mean(), w)
    assert found[w] is found[0]
    assert len(found) == 1
    solve = sg.compile([found[w]])
    rows, target = RNG.normal(size=(9, 3)), RNG.normal(size=9)
    expected = np.linalg.lstsq(rows, target, rcond=None)[0]
    np.testing.assert_allclose(solve(X=rows, y=target), expected, 1e-8)
    assert "inv(" not in solve.source


def test_values_of_data():
    rows = sg.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    target = sg.tensor([1.0, 3.0, 5.0])
    at = sg.zeros(2, requires_grad=True)
    (found,) = sg.stationary(((rows @ at - target) ** 2).sum(), at)
    np.testing.assert_allclose(found.detach().numpy(), [1.0, 2.0], 1e-5)


QUADRATIC = {
    "c": {
        "fit": ("((A @ _ - b) ** 2).sum()", "A:n,d b:n"),
        "weighted fit": ("(w * (A @ _ - b) ** 2).mean()", "A:n,d b:n w:n+"),
        "form": ("_ @ S @ _", "S:d,d*"), "linear": ("-(u @ _)", "u:d"),
        "ridge": ("l * (_ @ _)", "l:+"), "distance": ("(_ - u) @ solve(S, _ - u)", "u:d S:d,d*"),
        "diagonal": ("(w * _ * _).sum()", "w:d+"), "total": ("(_.sum() - 1) ** 2", ""),
    },
    "W": {
        "fit": ("((A @ _ - C) ** 2).sum()", "A:n,d C:n,k"), "linear": ("-(C * _).sum()", "C:d,k"),
        "right fit": ("((_ @ B - C) ** 2).sum()", "B:k,n C:d,n"), "ridge": ("l * (_ * _).sum()", "l:+"),
        "both sides": ("((A @ _ @ B - C) ** 2).sum()", "A:n,d B:k,n C:n,n"),
        "form": ("(_.T @ S @ _).trace()", "S:d,d*"), "rows": ("(w[:, None] * _ * _).sum()", "w:d+"),
        "entries": ("(V * (_ - C) ** 2).sum()", "C:d,k V:d,k+"),
        "right form": ("((_ - C) @ S @ (_ - C).T).trace()", "C:d,k S:k,k*"),
    },
}  # fmt: skip
"""Terms of a vector and of a matrix, with their own symbols: ``+`` positive, ``*`` SPD."""


def quadratic(number):
    """A sum of one to three terms, where, and the values of its symbols."""
    rng = np.random.default_rng(number)
    which = "cW"[number % 2]
    at = sg.symbol("z", "d" if which == "c" else "d,k", sg.float64)
    names = list(QUADRATIC[which])
    drawn = [names[rng.integers(len(names))] for _ in range(1 + rng.integers(3))]
    total, values = 0, {}
    for k, name in enumerate(drawn):
        text, symbols = QUADRATIC[which][name]
        scope = {"_": at, "solve": sg.linalg.solve}
        for word in symbols.split():
            letter, _, axes = word.partition(":")
            kind = {"+": "positive", "*": "spd"}.get(axes[-1:], "")
            axes = axes.rstrip("+*")
            value = rng.normal(size=[SIZES[a] for a in axes.split(",") if a])
            value = np.abs(value) + 0.5 if kind == "positive" else value
            value = value @ value.T + np.eye(len(value)) if kind == "spd" else value
            scope[letter] = sg.symbol(f"{letter}{k}", axes, sg.float64, *([kind] if kind else []))
            values[scope[letter].expr()] = value
        total = total + rng.choice([0.1, 1.0, 2.0]) * eval(text, scope)
    return drawn, total, at, values


@pytest.mark.parametrize("chunk", range(4))
def test_gradients_of_random_quadratics_vanish(chunk):
    solved = 0
    for number in range(chunk, 80, 4):
        drawn, total, at, values = quadratic(number)
        try:
            found = sg.stationary(total, at)
        except NotationError:
            assert set(drawn) <= {"linear", "total"}
            continue
        assert str(found).startswith("z⁺ = ") or str(found).endswith(" = 0")
        slope = sg.grad(total, at).expr()
        known = {e: v for e, v in values.items() if e in leaves([found[0].expr()])}
        point = evaluate([found[0].expr()], known, SIZES)[0]
        feeds = {e: v for e, v in {**values, at.expr(): point}.items() if e in leaves([slope])}
        left = evaluate([slope], feeds, SIZES)[0]
        assert np.abs(left).max() <= 1e-7 * max(1, np.abs(point).max()), drawn
        solved += 1
    assert solved > 15


def test_an_equation_is_shown_where_its_solution_has_no_words():
    A, B, C = (sg.symbol(n, a, sg.float64) for n, a in (("A", "n,d"), ("B", "k,m"), ("C", "d,m")))
    Z = sg.symbol("Z", "d,k", sg.float64)
    found = sg.stationary(((A @ Z) ** 2).sum() + ((Z @ B - C) ** 2).sum(), Z)
    terms = str(found).removeprefix("Z⁺ solves ").removesuffix(" = 0").split(" + ")
    assert sorted(terms) == ["2 (Z⁺ B − C) Bᵀ", "2 Aᵀ A Z⁺"]


@pytest.mark.parametrize(("value", "wrt", "rank"), [
    ((w.sum() - 1) ** 2, w, "rank at most 1 along an axis of size d"),
    ((mu @ w - b) ** 2 + (s @ w) ** 2, w, "rank at most 2 along an axis of size d"),
    (((W @ sg.symbol("u", "k", sg.float64) - s) ** 2).sum(), W, "rank at most 1 along an axis of size k"),
])  # fmt: skip
def test_many_stationary_points_are_refused(value, wrt, rank):
    with pytest.raises(NotationError, match=rank):
        sg.stationary(value, wrt)


@pytest.mark.parametrize(("value", "wrt", "says"), [
    (F.binary_cross_entropy_with_logits(X @ w, y), [w], "of ∂/∂w = 0"),
    (FACTORS, [U, V], r"of ∂/∂V = 0 \(with U at their own\)"),
    ((X @ w).sum(), [w], "of ∂/∂w = 0"),
    (y.sum() + 0 * w.sum(), [w], "of ∂/∂w = 0"),
    (sg.log(r) + r * r + r, [r], "of ∂/∂r = 0"),
    (sg.exp(r) - r * r, [r], "of ∂/∂r = 0"),
    ((sg.log(s + x.sum()) - s * s).sum(), [s], "of ∂/∂s = 0"),
])  # fmt: skip
def test_no_closed_form(value, wrt, says):
    with pytest.raises(NotationError, match=says):
        sg.stationary(value, wrt)


def test_only_a_scalar_has_stationary_points():
    with pytest.raises(DerivativeError, match="only a scalar has them"):
        sg.stationary(X @ w, w)
