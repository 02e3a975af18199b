"""What `derive` and `formula` print is the golden text, says the right numbers, and nothing wrong.

Three questions to every derivation: is the text the golden one; does every printed line, read by the
independent reader, agree with `jax.grad`; and does that comparison notice a planted error?
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import nn
from symgrad.core.sizes import letter
from symgrad.derivation.ascii import to_ascii
from tests.golden_cases import (
    ATTENTION,
    BATCHNORM,
    BLOCK,
    CASES,
    CONV,
    GAUSSIAN,
    LAYERNORM,
    MATFAC,
    MLP,
    NEWTON,
    README,
    VAE,
    Arrays,
    Case,
    gradients,
)
from tests.notation import (
    ReadError,
    evaluate_block,
    evaluate_formula,
    planted_errors,
    read_block,
)
from tests.notation.library import parsed_block
from tests.own_derivations import OWN

TOLERANCE = 1e-10

# ------------------------------------------------------------------------ the programs


def readme() -> Any:
    """The front page's function (DESIGN.md §4)."""

    def loss(params, x, y):
        h = sg.tanh(x @ params["W1"] + params["b1"])
        return F.cross_entropy(h @ params["W2"] + params["b2"], y)

    params = {"W1": "d,h", "b1": "h", "W2": "h,k", "b2": "k"}
    return sg.trace(loss, params=params, x="n,d", y=sg.spec("n", sg.int64))


def logistic(naive: bool) -> tuple[Any, Any]:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    weight = sg.symbol("λ", "", sg.float32, "positive")
    z = X @ w
    if naive:
        p = sg.sigmoid(z)
        data = -(y * sg.log(p) + (1 - y) * sg.log(1 - p)).sum()
    else:
        data = (F.softplus(z) - y * z).sum()
    return data + weight / 2 * (w @ w), w


def factorisation() -> tuple[Any, list[Any]]:
    T, U, V = sg.symbols("T:n,m  U:n,k  V:m,k")
    return ((T - U @ V.T) ** 2).sum(), [U, V]


def newton(loss: Any, wrt: Any) -> Any:
    """The derivation with Hessians, and a step of Newton's for the first variable."""
    return sg.derive(loss, wrt, newton=wrt[0] if isinstance(wrt, list) else wrt)


def stationary(loss: Any, wrt: list[Any]) -> Any:
    """The derivation with the point where the gradients vanish."""
    return sg.derive(loss, wrt, stationary=wrt)


def modules(letters: bool) -> Any:
    """A teacher's Sequential; its layers are made with numbers, `letters` names them again."""
    d, h, k = 3, 4, 6
    model = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, k))
    X, y = sg.symbol("X", f"n,{d}"), sg.symbol("y", "n", sg.int64)
    loss = F.cross_entropy(model(X), y)
    return sg.derive(loss, letters={"d": d, "h": h, "k": k}) if letters else sg.derive(loss)


def layer_norm(by_hand: bool) -> Any:
    X, weight, bias = sg.symbols("X:n,d  γ:d  β:d")
    small = sg.symbol("ε")
    if by_hand:
        centred = X - X.mean(-1, keepdim=True)
        Y = centred / sg.sqrt((centred**2).mean(-1, keepdim=True) + small) * weight + bias
    else:
        Y = F.layer_norm(X, X.shape[-1:], weight, bias, small)
    return sg.derive(Y, [bias, weight, X])


def batch_norm(training: bool) -> Any:
    X, weight, bias, mean, variance = sg.symbols("X:n,d  γ:d  β:d  m:d  v:d")
    small = sg.symbol("ε")
    buffers = (None, None) if training else (mean, variance)
    Y = F.batch_norm(X, *buffers, weight, bias, training=training, eps=small)
    return sg.derive(Y, [bias, weight, X])


def gaussian(*facts: str) -> tuple[Any, list[Any]]:
    X, mean = sg.symbols("X:n,d  μ:d")
    S = sg.symbol("S", "d,d", sg.float32, *facts)
    n, d = X.shape
    D = sg.name(X - mean, "D")
    C = sg.name(D.T @ D, "C")
    quadratic = sg.trace(sg.linalg.inv(S) @ C)
    return -(n * d * math.log(2 * math.pi) + n * sg.logdet(S) + quadratic) / 2, [mean, S]


def autoencoder() -> Any:
    X, M, s, E, W, bias = sg.symbols("X:n,d  M:n,q  s:n,q  E:n,q  W:d,q  β:d")
    A = sg.name(sg.name(M + sg.exp(s / 2) * E, "Z") @ W.T + bias, "A")
    likelihood = (F.softplus(A) - X * A).sum(1)
    divergence = (M**2 + sg.exp(s) - s - 1).sum(1) / 2
    return sg.derive((likelihood + divergence).mean(), [M, s])


def attention() -> Any:
    Q, K, V = sg.symbols("Q:n,d  K:m,d  V:m,p")
    return sg.derive(sg.name(F.scaled_dot_product_attention(Q, K, V), "O"), [V, Q, K])


def block() -> Any:
    """A pre-norm attention block; its author's variables have names."""
    X, Wq, Wk, Wv, Wo = sg.symbols("X:n,d  Wq:p,d  Wk:p,d  Wv:p,d  Wo:d,p")
    weight, bias, small = sg.symbols("γ:d  β:d  ε")
    N = F.layer_norm(X, X.shape[-1:], weight, bias, small)
    Q, K, V = sg.name(N @ Wq.T, "Q"), sg.name(N @ Wk.T, "K"), sg.name(N @ Wv.T, "V")
    O = sg.name(F.scaled_dot_product_attention(Q, K, V), "O")
    return sg.derive(X + O @ Wo.T, [Wo, Wq, Wk, Wv, X])


def convolution() -> Any:
    X, W, bias = sg.symbols("X:n,c,e,g  W:f,c,a,b  β:f")
    made = F.conv2d(X, W, bias, stride=letter("s"), padding=letter("q"))
    return sg.derive(sg.name(made, "Z"), [bias, W, X])


@dataclass(frozen=True)
class Printed:
    """A derivation, its golden block, and the declarations that are compared."""

    case: Case
    derive: Callable[[], Any]
    headers: tuple[str, ...] = ("sizes", "indices", "given", "layout")


PRINTED = {
    "readme": Printed(README, lambda: readme().derive()),
    "newton": Printed(NEWTON, lambda: newton(*logistic(naive=False))),
    "newton naively": Printed(NEWTON, lambda: newton(*logistic(naive=True))),
    "matfac": Printed(MATFAC, lambda: newton(*factorisation())),
    "layer norm": Printed(LAYERNORM, lambda: layer_norm(by_hand=False)),
    "layer norm by hand": Printed(LAYERNORM, lambda: layer_norm(by_hand=True)),
    "batch norm": Printed(BATCHNORM, lambda: batch_norm(training=True)),
    "gaussian": Printed(GAUSSIAN, lambda: stationary(*gaussian("spd"))),
    "autoencoder": Printed(VAE, autoencoder),
    "attention": Printed(ATTENTION, attention),
    "block": Printed(BLOCK, block),
    "convolution": Printed(CONV, convolution),
    **{word: Printed(case, derive) for word, (case, derive) in OWN.items()},
    "mlp of modules": Printed(MLP, lambda: modules(letters=True)),
}


@cache
def printed(which: str) -> str:
    return PRINTED[which].derive().unicode


def lines(text: str, row: Printed) -> list[str]:
    """Rows of a block that are compared, with single spaces."""
    found: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        word = line.split()[0]
        if word in ("sizes", "indices", "given", "layout"):
            kept = word in row.headers
            line = re.sub(r"   \w+ = [^:]*$", "", line) if word == "sizes" else line
        else:
            kept = True
        if kept:
            found.append(" ".join(line.split()))
    return found


# ------------------------------------------------------------------------ three questions


@pytest.mark.parametrize(
    "which",
    [pytest.param(p) for p in PRINTED],
)
def test_the_text_is_the_golden_text(which: str) -> None:
    row = PRINTED[which]
    found, golden = lines(printed(which), row), lines(row.case.text, row)
    assert found == golden


@cache
def drawn(name: str, which: int) -> tuple[dict, dict, dict]:
    case = {**CASES, **{c.name: c for c, _ in OWN.values()}}[name]
    sizes = case.sizes[which]
    inputs = case.inputs(sizes, seed=7)
    return sizes, inputs, case.expected(inputs, sizes)


def wrong_lines(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    """Lines of the reference that were printed and have another value."""
    wrong = []
    for name, value in expected.items():
        if name in found:
            scale = TOLERANCE * float(abs(value).max())
            if not np.allclose(found[name], value, rtol=TOLERANCE, atol=scale):
                wrong.append(name)
    return wrong


@pytest.mark.parametrize("square", [0, 1], ids=["distinct", "square"])
@pytest.mark.parametrize("which", PRINTED)
def test_every_printed_line_agrees_with_jax_grad(which: str, square: int) -> None:
    row = PRINTED[which]
    sizes, inputs, expected = drawn(row.case.name, square)
    if which == "mlp of modules" and square:
        pytest.skip("its layers have numbers for sizes; letters may not name one number twice")
    block = read_block(printed(which))
    found = evaluate_block(block, inputs, sizes, row.case.functions())
    wanted = set(expected)
    assert wanted <= set(found)
    assert not wrong_lines(found, expected)


@pytest.mark.parametrize("which", PRINTED)
def test_the_ascii_block_says_the_same(which: str) -> None:
    row = PRINTED[which]
    sizes, inputs, expected = drawn(row.case.name, 0)
    text = row.derive().ascii
    assert text.isascii()
    given = {to_ascii(k): v for k, v in inputs.items()}
    found = evaluate_block(read_block(text), given, sizes, row.case.functions())
    assert {to_ascii(k) for k in set(expected)} <= set(found)
    assert not wrong_lines(found, {to_ascii(k): v for k, v in expected.items()})


@pytest.mark.parametrize("which", PRINTED)
def test_the_librarys_parser_reads_the_block(which: str) -> None:
    row = PRINTED[which]
    sizes, inputs, expected = drawn(row.case.name, 0)
    found = parsed_block(read_block(printed(which)), inputs, sizes)
    assert set(expected) <= set(found)
    assert not wrong_lines(found, expected)


@pytest.mark.parametrize("square", [0, 1], ids=["distinct", "square"])
@pytest.mark.parametrize("which", PRINTED)
def test_planted_errors_are_caught(which: str, square: int) -> None:
    row = PRINTED[which]
    if which == "mlp of modules" and square:
        pytest.skip("its layers have numbers for sizes")
    sizes, inputs, expected = drawn(row.case.name, square)
    block = read_block(printed(which))
    functions = row.case.functions()
    right = evaluate_block(block, inputs, sizes, functions)
    matrices = {n for n, v in {**inputs, **right}.items() if np.ndim(v) == 2} - row.case.symmetric
    derivative = [x for x in block.lines if x.name.startswith(("∂", "δ")) or x.name.endswith("⁺")]
    planted = [(x.name, p) for x in derivative for p in planted_errors(x.right_text, matrices)]
    transposes = {"transpose"} if not row.case.symmetric else set()
    assert {p.kind for _, p in planted} >= {"sign", "factor", *transposes}
    missed = []
    for name, error in planted:
        try:
            with np.errstate(all="ignore"):
                wrong = block.with_right_side(name, error.text)
                found = evaluate_block(wrong, inputs, sizes, functions)
        except ReadError:
            continue
        if error.text not in row.case.equal and not wrong_lines(found, expected):
            missed.append((name, error))
    assert not missed


@pytest.mark.parametrize("which", ["newton naively", "declared order"])
def test_the_text_does_not_depend_on_what_ran_before(which: str) -> None:
    def fresh() -> str:
        if which == "newton naively":
            return PRINTED[which].derive().unicode
        X, w, y = sg.symbols("X:n,d  w:d  y:n")
        return sg.derive(((X @ w - y) ** 2).sum(), w).unicode

    kept: list[Any] = []  # interned nodes live as long as somebody holds them
    texts: set[str] = set()
    for k in range(12):
        y, w, X = sg.symbols(f"y:n  w:d  X:n,d{'' if k % 2 else '  u:n'}")[:3]
        kept += [sg.derive((y * (X @ w)).sum()), y, w]
        texts.add(fresh())
    assert len(texts) == 1
    assert " ".join(texts.pop().split()).startswith("sizes X: n×d w: d y: n")


# ------------------------------------------------------------------------ a convolution layer


def numbered_convolution(stride: int, padding: int, sizes: dict[str, int]) -> Any:
    """The layer with numbers for its sizes."""
    n, c, e, g, f, a, b = (sizes[s] for s in "ncegfab")
    X, W = sg.symbol("X", (n, c, e, g)), sg.symbol("W", (f, c, a, b))
    bias = sg.symbol("β", (f,))
    return sg.derive(sg.name(F.conv2d(X, W, bias, stride=stride, padding=padding), "Z"))


@pytest.mark.parametrize("which", [0, 1])
def test_a_convolution_layer_of_numbers_agrees_with_jax_grad(which: int) -> None:
    sizes, inputs, expected = drawn("conv", which)
    block = read_block(numbered_convolution(sizes["s"], sizes["q"], sizes).unicode)
    found = evaluate_block(block, inputs, sizes)
    assert set(expected) <= set(found)
    assert not wrong_lines(found, expected)


def test_sizes_that_follow_from_others_are_defined() -> None:
    text = " ".join(printed("convolution").split())
    assert "e2 = ⌊(e + 2 q − a)/s⌋ + 1 g2 = ⌊(g + 2 q − b)/s⌋ + 1 indices" in text


def test_a_convolution_of_letters_runs_as_three_convolutions() -> None:
    X, W = sg.symbols("X:n,c,e,g  W:f,c,a,b")
    y = F.conv2d(X, W, stride=2, padding=1)
    run = sg.compile([y, *sg.grad((y * y).sum(), [X, W])])
    assert run.source.count("lax.conv_general_dilated") == 3
    rng = np.random.default_rng(5)
    for e, g, a, b in ((7, 8, 3, 3), (8, 5, 2, 3), (5, 5, 1, 1)):
        x = rng.normal(size=(2, 3, e, g)).astype(np.float32)
        w = rng.normal(size=(4, 3, a, b)).astype(np.float32)

        def layer(x: Any, w: Any) -> Any:
            return jax.lax.conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)])

        slopes = jax.grad(lambda x, w: (layer(x, w) ** 2).sum(), (0, 1))(x, w)
        for found, expected in zip(run(X=x, W=w), (layer(x, w), *slopes), strict=True):
            assert np.asarray(found) == pytest.approx(np.asarray(expected), rel=1e-4, abs=1e-4)


# ------------------------------------------------------------------------ single formulas


def least_squares() -> tuple[Any, Any]:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    return ((X @ w - y) ** 2).mean(), w


def naive_logistic() -> tuple[Any, Any]:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    return sg.log(1 + sg.exp(-y * (X @ w))).sum(), w


def _squares(a: Arrays) -> Any:
    return ((a["X"] @ a["w"] - a["y"]) ** 2).mean()


def _logistic(a: Arrays) -> Any:
    return jax.nn.softplus(-a["y"] * (a["X"] @ a["w"])).sum()


FORMULAS = {
    "least squares": (least_squares, "(2/n) Xᵀ (X w − y)", _squares),
    "naive logistic": (naive_logistic, "−Xᵀ (y ⊙ σ(−y ⊙ (X w)))", _logistic),
}


def data(n: int, d: int) -> Arrays:
    rng = np.random.default_rng(11)
    return {"X": rng.normal(size=(n, d)), "w": rng.normal(size=d), "y": rng.normal(size=n)}


@pytest.mark.parametrize("which", FORMULAS)
def test_a_gradient_is_the_textbook_formula(which: str) -> None:
    make, text, _ = FORMULAS[which]
    loss, w = make()
    assert sg.grad(loss, w).formula().unicode == text


@pytest.mark.parametrize(("n", "d"), [(5, 3), (4, 4)])
@pytest.mark.parametrize("which", FORMULAS)
def test_the_formula_agrees_with_jax_grad_and_planted_errors_do_not(
    which: str, n: int, d: int
) -> None:
    make, _, reference = FORMULAS[which]
    loss, w = make()
    formula = sg.grad(loss, w).formula()
    values, sizes = data(n, d), {"n": n, "d": d}
    with jax.enable_x64(True):
        there = {k: jnp.asarray(v) for k, v in values.items()}
        expected = {"w": np.asarray(gradients(reference, there, "w")["∂L/∂w"])}
    for text in (formula.unicode, formula.ascii):
        assert not wrong_lines({"w": evaluate_formula(text, values, sizes)}, expected)
    planted = list(planted_errors(formula.unicode, {"X"}))
    assert {p.kind for p in planted} >= {"sign", "transpose", "factor"}
    for error in planted:
        try:
            found = evaluate_formula(error.text, values, sizes)
        except ReadError:
            continue
        assert found.shape != (d,) or wrong_lines({"w": found}, expected), error


def test_every_gradient_of_a_traced_function_has_its_formula() -> None:
    f = readme()
    assert f.grad("params.W2").formula().unicode == "Hᵀ δ₂"
    assert f.grad("params.b1").formula().unicode == "Σᵢ δ₁[i,:]"
    derivation = f.derive()
    for name in ("W₁", "b₁", "W₂", "b₂"):
        assert derivation[name].unicode == derivation.grad(name).unicode


# ------------------------------------------------------------------------ under "Also"


def test_a_covariance_that_is_not_declared_symmetric_keeps_its_transposes() -> None:
    text = sg.derive(*gaussian()).unicode
    assert "∂L/∂S = ½ S⁻ᵀ (C − n Sᵀ) S⁻ᵀ" in text
    assert "symmetric" not in text


def test_batch_norm_in_eval_mode_has_its_statistics_as_numbers() -> None:
    found = lines(batch_norm(training=False).unicode, PRINTED["batch norm"])
    assert "s[j] = √(v[j] + ε)" in found
    assert "∂L/∂X[i,j] = (γ[j]/s[j]) δY[i,j]" in found


def products(source: str) -> int:
    """How many `@` a generated source computes."""
    return sum(isinstance(node, ast.MatMult) for node in ast.walk(ast.parse(source)))


def test_the_source_has_the_five_products_of_the_formula_and_no_dense_one_hot() -> None:
    source = readme().compile(gradients=True).source
    assert products(source) == 5
    code = ast.unparse(ast.parse(source))
    assert "one_hot" not in code
    assert ".at[" in code


def test_soft_labels_keep_the_sum_of_their_rows() -> None:
    def loss(params, x, Y):
        return F.cross_entropy(x @ params["W"] + params["b"], Y)

    f = sg.trace(loss, params={"W": "d,k", "b": "k"}, x="n,d", Y="n,k")
    text = " ".join(f.derive().unicode.split())
    sums_first, sums_last = "(Σₐ Y[i,a]) P[i,j]", "P[i,j] Σₐ Y[i,a]"
    assert any(f"δZ[i,j] = (1/n) ({x} − Y[i,j])" in text for x in (sums_first, sums_last))


@pytest.mark.parametrize("naive", [False, True])
def test_the_logistic_loss_stays_finite_far_out(naive: bool) -> None:
    loss, w = logistic(naive)
    run = sg.compile([loss, sg.grad(loss, w)])
    X = np.array([[1.0], [-1.0], [1.0], [-1.0]], np.float32)
    y = np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    value, gradient = (
        np.asarray(v) for v in run(X=X, w=np.array([1e4], np.float32), y=y, λ=np.float32(0))
    )
    assert value == pytest.approx(2e4)
    assert gradient == pytest.approx(np.array([2.0]))


def test_concrete_tensors_print_their_sizes_as_numbers() -> None:
    text = modules(letters=False).unicode
    assert "W₁: 4×3" in text
    block = read_block(text)
    sizes, inputs, expected = drawn("mlp", 0)
    assert sizes == {"n": 5, "d": 3, "h": 4, "k": 6}
    found = evaluate_block(block, inputs, {"n": 5})
    assert not wrong_lines(found, expected)
    assert set(expected) <= set(found)
