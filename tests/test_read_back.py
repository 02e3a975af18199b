"""Whatever is printed can be read back: derivations of many small programs against `jax.grad`.

Each row is one program, written once and run twice: on symbols to print its derivation, and on JAX
arrays for the reference. `m` is the module of functions it uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad.core.sizes import ONE, letter, monomial
from symgrad.core.traverse import leaves
from symgrad.derivation.ascii import to_ascii
from symgrad.derivation.form import Form, Slot
from symgrad.derivation.python_form import namespace
from symgrad.derivation.ranges import unsaid
from symgrad.errors import NotationError
from symgrad.evaluate import evaluate
from tests.notation import evaluate_block, evaluate_formula, read_block
from tests.notation.library import parsed_block

SYMBOLIC = SimpleNamespace(
    tanh=sg.tanh, exp=sg.exp, log=sg.log, sqrt=sg.sqrt, sigmoid=sg.sigmoid, relu=F.relu,
    softplus=F.softplus, softmax=sg.softmax, log_softmax=F.log_softmax, logsumexp=sg.logsumexp,
    maximum=sg.maximum, where=sg.where, sum=lambda a: a.sum(), mean=lambda a: a.mean(),
    row_mean=lambda a: a.mean(-1, keepdim=True), trace=lambda a: a.trace(), sin=sg.sin,
)  # fmt: skip
NUMERIC = SimpleNamespace(
    tanh=jnp.tanh, exp=jnp.exp, log=jnp.log, sqrt=jnp.sqrt, sigmoid=jax.nn.sigmoid,
    relu=jax.nn.relu, softplus=jax.nn.softplus, softmax=jax.nn.softmax,
    log_softmax=jax.nn.log_softmax, logsumexp=jax.nn.logsumexp, maximum=jnp.maximum,
    where=jnp.where, sum=jnp.sum, mean=jnp.mean, row_mean=lambda a: a.mean(-1, keepdims=True),
    trace=jnp.trace, sin=jnp.sin,
)  # fmt: skip


def layer_norm(m: Any, X: Any, g: Any, b: Any) -> Any:
    centred = X - m.row_mean(X)
    return m.sum(m.tanh(centred / m.sqrt(m.row_mean(centred**2) + 0.5) * g + b))


def residual(m: Any, X: Any, W: Any, V: Any) -> Any:
    H = X + m.tanh(X @ W)
    return m.sum((H + m.tanh(H @ V)) ** 2)


def attention(m: Any, Q: Any, K: Any, V: Any, T: Any) -> Any:
    return m.sum((m.softmax(Q @ K.T / 2, -1) @ V - T) ** 2)


PROGRAMS: dict[str, tuple[str, Callable[..., Any]]] = {
    "quadratic form": ("x:n A:n,n", lambda m, x, A: x @ (A @ x)),
    "trace of three": ("A:n,d B:d,k C:k,n", lambda m, A, B, C: m.trace(A @ B @ C)),
    "square of a matrix": ("W:n,d", lambda m, W: m.sum(W * W)),
    "mean of tanh": ("X:n,d W:d,k", lambda m, X, W: m.mean(m.tanh(X @ W))),
    "gated": ("X:n,d W:d,k V:d,k", lambda m, X, W, V: m.sum(m.sigmoid(X @ W) * m.tanh(X @ V))),
    "three layers": (
        "X:n,d W:d,h V:h,k U:k,m Y:n,m",
        lambda m, X, W, V, U, Y: m.mean((m.tanh(m.tanh(X @ W) @ V) @ U - Y) ** 2),
    ),
    "tied weights": ("X:n,d W:d,d", lambda m, X, W: m.sum(m.tanh(m.tanh(X @ W) @ W.T))),
    "residual": ("X:n,d W:d,d V:d,d", residual),
    "attention": ("Q:n,d K:m,d V:m,p T:n,p", attention),
    "soft labels": ("X:n,d W:d,k Y:n,k", lambda m, X, W, Y: -m.sum(Y * m.log_softmax(X @ W, -1))),
    "layer norm by hand": ("X:n,d g:d b:d", layer_norm),
    "cubes": ("x:n", lambda m, x: m.sum(x**3)),
    "powers": ("x:n", lambda m, x: m.sum(x**1.5) + m.sum(x**-2)),
    "quotients": ("x:n y:n", lambda m, x, y: m.sum(x / y)),
    "unit vector": ("x:n", lambda m, x: m.sum(x / m.sqrt(m.sum(x * x)))),
    "larger": ("x:n y:n", lambda m, x, y: m.sum(m.maximum(x, y) * x)),
    "chosen": ("x:n y:n", lambda m, x, y: m.sum(m.where(x > y, x * x, y))),
    "exp log": ("x:n", lambda m, x: m.sum(m.exp(x) * m.log(x))),
    "logsumexp": ("x:n", lambda m, x: m.logsumexp(x, -1)),
    "product of three, summed": ("X:n,d W:d,k c:k", lambda m, X, W, c: m.sum((X @ W) * c)),
    "bilinear": ("x:n A:n,d y:d", lambda m, x, A, y: m.sin(x @ A @ y)),
    "ridge": (
        "X:n,d w:d y:n λ",
        lambda m, X, w, y, c: m.mean((X @ w - y) ** 2) + c / 2 * m.sum(w * w),
    ),
    "poisson": ("X:n,d w:d y:n", lambda m, X, w, y: m.sum(m.exp(X @ w) - y * (X @ w))),
    "hinge": ("X:n,d w:d y:n", lambda m, X, w, y: m.mean(m.relu(1 - y * (X @ w)))),
}
SIZES = {"n": 5, "d": 3, "k": 4, "m": 2, "p": 6, "h": 3}


def symbols_of(which: str) -> dict[str, Any]:
    declared = PROGRAMS[which][0]
    made = sg.symbols(declared)
    names = [word.partition(":")[0] for word in declared.split()]
    return dict(zip(names, made if isinstance(made, tuple) else (made,), strict=True))


def drawn(which: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(13)
    shapes = {word.partition(":")[0]: word.partition(":")[2] for word in PROGRAMS[which][0].split()}
    return {
        name: rng.uniform(0.3, 1.5, [SIZES[s] for s in shape.split(",") if s])
        for name, shape in shapes.items()
    }


@cache
def reference(which: str) -> dict[str, np.ndarray]:
    """`L` and `∂L/∂…` by JAX, in float64."""
    program = PROGRAMS[which][1]
    values = drawn(which)
    with jax.enable_x64(True):
        given = [jnp.asarray(v) for v in values.values()]
        both = jax.value_and_grad(lambda *a: program(NUMERIC, *a), tuple(range(len(given))))
        value, slopes = jax.jit(both)(*given)
        found = {f"∂L/∂{n}": np.asarray(g) for n, g in zip(values, slopes, strict=True)}
        return {"L": np.asarray(value), **found}


def agree(found: Any, expected: np.ndarray) -> None:
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("which", PROGRAMS)
def test_a_printed_derivation_reads_back_as_jax_grad(which: str) -> None:
    derivation = sg.derive(PROGRAMS[which][1](SYMBOLIC, *symbols_of(which).values()))
    values = drawn(which)
    found = evaluate_block(read_block(derivation.unicode), values, SIZES)
    plain = evaluate_block(
        read_block(derivation.ascii), {to_ascii(n): v for n, v in values.items()}, SIZES
    )
    for name, expected in reference(which).items():
        agree(found[name], expected)
        agree(plain[to_ascii(name)], expected)


@pytest.mark.parametrize("which", PROGRAMS)
def test_the_librarys_parser_reads_every_line_as_jax_grad(which: str) -> None:
    derivation = sg.derive(PROGRAMS[which][1](SYMBOLIC, *symbols_of(which).values()))
    for text, spelled in ((derivation.unicode, str), (derivation.ascii, to_ascii)):
        values = {spelled(n): v for n, v in drawn(which).items()}
        found = parsed_block(read_block(text), values, SIZES)
        for name, expected in reference(which).items():
            agree(found[spelled(name)], expected)


@pytest.mark.parametrize("which", PROGRAMS)
def test_a_parsed_gradient_is_the_gradient(which: str) -> None:
    given = symbols_of(which)
    loss = PROGRAMS[which][1](SYMBOLIC, *given.values())
    for tensor in given.values():
        gradient = sg.grad(loss, tensor)
        formula = gradient.formula()
        indices = {letter: str(slot.size) for slot, letter in formula.letters.items()}
        at = [formula.letters[form.data] for form in formula.indices]
        both = [gradient, *(sg.parse_formula(text, list(given.values()), indices, at)
                            for text in (formula.unicode, formula.ascii))]  # fmt: skip
        feeds = dict(zip([t.expr() for t in given.values()], drawn(which).values(), strict=True))
        one, *rest = evaluate([t.expr() for t in both], feeds, SIZES)
        for other in rest:
            np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X w − ", "column 7: unexpected end"),
        ("X w ⊙ y", "column 5: two kinds of product meet without parentheses"),
        ("(X w", "column 5: expected )"),
        ("X v", "v is not known here; there are X, w, y, d, n"),
        ("w X", "a column before n×d"),
        ("X w − w", "a sum of n and d"),
        ("Σᵢ X[i,j]", "the index j is not bound"),
        ("Σₖ 2", "the range of k is not known: give it in indices"),
        ("__import__(w)", "__import__ is not a function of the notation"),
        ("reshape(X; (e, 2))", "e is not the letter of a size"),
    ],
)
def test_text_that_is_no_formula_says_why(text: str, message: str) -> None:
    with pytest.raises(NotationError, match=re.escape(message)):
        sg.parse_formula(text, sg.symbols("X:n,d  w:d  y:n"))


def test_a_formula_is_read_with_names_of_ones_own() -> None:
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    found = sg.parse_formula("(2/n) Aᵀ (A b − c)", {"A": X, "b": w, "c": y})
    assert found.formula().unicode == "(2/n) Xᵀ (X w − y)"
    assert found.expr() is sg.grad(((X @ w - y) ** 2).mean(), w).expr()


def test_what_is_hard_to_read_is_read() -> None:
    """A number as a whole argument, an index called as a symbol that is gone, orders in calls."""
    a, b, A, B = sg.symbols("a:n  b:n  A:n,n  B:n,n")
    for tensor, text in (
        (sg.softmax(a - a, -1), "softmax(zeros(n))"),
        (sg.softmax(A - A, -1).diagonal(), None),
        (sg.func.jacrev(lambda x: sg.outer(B.sum(1), x))(a), None),
        ((A > B).diagonal() * b, None),
        (sg.sqrt(sg.softmax(a, -1)).sum(), None),
        (
            sg.cos(a - a) @ sg.where(sg.exp(a - a) > sg.cos(a - a), sg.exp(a - a), sg.cos(a - a)),
            None,
        ),
        ((sg.diag(b) > A).diagonal().double().float() * b, None),
    ):
        formula = tensor.formula()
        assert text in (None, formula.unicode)
        ranges = {formula.letters[x.data]: str(x.data.size) for x in formula.indices}
        feeds = {
            t.expr(): np.random.default_rng(1).normal(size=(3,) * t.ndim) for t in (a, b, A, B)
        }
        (want,) = evaluate([tensor.expr()], feeds, {"n": 3})
        for spelled in (formula.unicode, formula.ascii):
            found = sg.parse_formula(spelled, [a, b, A, B], ranges, list(ranges)).expr()
            np.testing.assert_allclose(evaluate([found], feeds, {"n": 3})[0], want, err_msg=spelled)


@pytest.mark.parametrize("which", PROGRAMS)
def test_a_formula_pasted_as_python_agrees_with_jax_grad(which: str) -> None:
    given = symbols_of(which)
    loss = PROGRAMS[which][1](SYMBOLIC, *given.values())
    scope = {**namespace(), **SIZES, **drawn(which)}
    agree(eval(loss.formula().python(), scope), reference(which)["L"])
    for name, tensor in given.items():
        text = sg.grad(loss, tensor).formula().python()
        agree(eval(text, scope), reference(which)[f"∂L/∂{name}"])


@pytest.mark.parametrize("which", PROGRAMS)
def test_a_printed_formula_reads_back_as_jax_grad(which: str) -> None:
    given = symbols_of(which)
    loss = PROGRAMS[which][1](SYMBOLIC, *given.values())
    formulas = {"L": loss.formula()}
    formulas.update({f"∂L/∂{n}": sg.grad(loss, t).formula() for n, t in given.items()})
    for name, formula in formulas.items():
        letters = formula.letters
        ranges = {letter: str(slot.size) for slot, letter in letters.items()}
        at = [letters[form.data] for form in formula.indices]
        found = evaluate_formula(formula.unicode, drawn(which), SIZES, ranges, at)
        agree(found, reference(which)[name])


def test_an_index_that_stands_at_no_axis_says_how_far_it_runs():
    A, B = sg.symbols("A:n,m B:n,n")
    row = sg.tril(sg.ones_like(B)).sum(1)
    assert row.formula().unicode == "Σⱼ 1[j ≤ i]"
    wide = sg.tril(sg.ones_like(A)).sum(1)
    assert wide.formula().unicode == "Σ_{j < m} 1[j ≤ i]"
    for tensor, sizes in ((row, {"n": 3}), (wide, {"n": 3, "m": 2})):
        formula = tensor.formula()
        ranges = {formula.letters[x.data]: x.data.size for x in formula.indices}
        read = sg.parse_formula(formula.unicode, [A, B], ranges, list(ranges))
        found, expected = (evaluate([t.expr()], {}, sizes)[0] for t in (read, tensor))
        np.testing.assert_array_equal(found, expected)


PARTS: dict[str, tuple[Callable[[sg.Tensor, sg.Tensor], sg.Tensor], str]] = {
    "a part of an axis": (lambda x, A: sg.sin(x[:-1]).sum(), "Σ_{i < n − 1} sin(x[i])"),
    "a part moved on": (lambda x, A: sg.sin(x[1:]).sum(), "Σ_{i < n − 1} sin(x[i + 1])"),
    "of two axes": (
        lambda x, A: sg.sqrt(A[:-1]).mean(), "(1/(d (n − 1))) Σ_{j < n − 1} Σᵢ √A[j,i]"),
    "its gradient": (lambda x, A: sg.grad(sg.sin(x[:-1]).sum(), x), "cos(x[i]) 1[i < n − 1]"),
    "its gradient, moved on": (lambda x, A: sg.grad(sg.sin(x[1:]).sum(), x), "cos(x[i]) 1[i ≥ 1]"),
    "a square": (lambda x, A: sg.grad((x[:-1] ** 2).sum(), x), "2 x[i] 1[i < n − 1]"),
    "neighbours": (
        lambda x, A: ((x[1:] - x[:-1]) ** 2).sum(), "Σ_{i < n − 1} (x[i + 1] − x[i])²"),
    "gradient of neighbours": (
        lambda x, A: sg.grad(((x[1:] - x[:-1]) ** 2).sum(), x),
        "2 (x[i] − x[i − 1]) 1[i ≥ 1] − 2 (x[i + 1] − x[i]) 1[i < n − 1]"),
    "gradient of rows": (
        lambda x, A: sg.grad((sg.sin(A[1:]) * A[:-1]).sum(), A),
        "cos(A[i,j]) A[i − 1,j] 1[i ≥ 1] + sin(A[i + 1,j]) 1[i < n − 1]"),
    "where it would divide by nothing": (
        lambda x, A: sg.grad((x[:-1] / x[1:]).sum(), x),
        "(1 / x[i + 1]) 1[i < n − 1] − (x[i − 1] / x[i]²) 1[i ≥ 1]"),
    "where its logarithm would be none": (
        lambda x, A: sg.grad((x[:-1] * sg.log(x[1:])).sum(), x),
        "log(x[i + 1]) 1[i < n − 1] + (x[i − 1] / x[i]) 1[i ≥ 1]"),
    "between both ends": (
        lambda x, A: sg.grad((sg.exp(x[1:-1]) * x[2:]).sum(), x), ""),
    "one entry": (lambda x, A: sg.grad(x[-1] ** 3, x), "3 x[n − 1]² 1[i = n − 1]"),
    "the least entry": (lambda x, A: sg.grad(A.min(), A), ""),
    "one row": (lambda x, A: A[:1].T.sum(1).mean(), "(1/d) Σᵢ A[0,i]"),
    "a letter that a function's axis gives": (
        lambda x, A: sg.func.jacrev(lambda z: sg.softmax(z, -1)[1:] * sg.softmax(z, -1)[:-1])(x), ""),
    "zeros have a shape": (lambda x, A: sg.cat([A - A, sg.exp(A)]), ""),
    "a range that is a number": (lambda x, A: sg.exp(A[:2]).sum(), "Σ_{j < 2} Σᵢ exp(A[j,i])"),
    "a size in a place": (lambda x, A: sg.exp(sg.cat([x, x])).sum(), ""),
}  # fmt: skip


@pytest.mark.parametrize("which", PARTS)
def test_parts_of_axes_read_back(which: str) -> None:
    x, A = sg.symbol("x", "n", sg.float64), sg.symbol("A", "n,d", sg.float64)
    tensor = PARTS[which][0](x, A)
    formula = tensor.formula()
    assert not PARTS[which][1] or formula.unicode == PARTS[which][1]
    ranges = {formula.letters[s.data]: s.data.size for s in formula.indices}
    rng = np.random.default_rng(0)
    feeds = {x.expr(): rng.random(4), A.expr(): rng.random((4, 3))}
    for text in (formula.unicode, formula.ascii):
        read = sg.parse_formula(text, [x, A], ranges, list(ranges))
        for n in (2, 4):
            here = {x.expr(): feeds[x.expr()][:n], A.expr(): feeds[A.expr()][:n]}
            found, expected = (
                evaluate([t.expr()], {e: v for e, v in here.items() if e in leaves([t.expr()])},
                         {"n": n, "d": 3})[0] for t in (read, tensor)
            )  # fmt: skip
            np.testing.assert_allclose(found, expected, 1e-12)
    assert r"\sum_{i < n - 1}" in formula.latex() or "Σ_{i" not in formula.unicode


def test_a_stated_range_is_a_size():
    x = sg.symbol("x", "n")
    for text in ("Σ_{i < x} x[i]", "Σ_{i < 1/2} x[i]", "Σ_{i} x[i]", "Σ_{i < n x[i]"):
        with pytest.raises(NotationError):
            sg.parse_formula(text, [x])


def test_jacobians_over_pairs_of_axes_read_back():
    x, A = sg.symbol("x", "p", sg.float64), sg.symbol("A", "m,p", sg.float64)
    B, m = sg.symbol("B", "p,d", sg.float64), A.shape[0]
    p, d = B.shape
    eye = sg.eye(m, dtype=sg.float64)
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=4), "A": rng.normal(size=(2, 4)), "B": rng.normal(size=(4, 3))}
    sizes = {"m": 2, "p": 4, "d": 3}
    AB = (A @ B)[:, :, None, None]
    for t, text in (
        ((eye[:, :, None] * (B.T @ x)).reshape(m, -1), "kron(eye(m), B.T @ x)"),
        ((AB * eye[:, None, :, None] * B.T[None, :, None, :]).reshape(m * d, m * p),
         "kron(eye(m), B.T) * vec(A @ B)[:, None]"),
        ((AB * A[None, None]).reshape(m * d, m * p), "outer(vec(A @ B), vec(A))"),
    ):  # fmt: skip
        symbols = {"x": x, "A": A, "B": B}
        feeds = {s.expr(): values[w] for w, s in symbols.items()}
        expected = evaluate([t.expr()], feeds, sizes)[0]
        formula = t.formula()
        assert formula.python() == text
        np.testing.assert_allclose(eval(text, {**namespace(), **values, **sizes}), expected)
        ranges = {formula.letters[i.data]: i.data.size for i in formula.indices}
        for spelled in (formula.unicode, formula.ascii):
            read = sg.parse_formula(spelled, symbols, ranges, list(ranges)).expr()
            np.testing.assert_allclose(evaluate([read], feeds, sizes)[0], expected, 1e-12)


def test_a_size_that_is_no_tensors_is_given_by_its_name():
    S, n = sg.symbol("S", "d,d", sg.float64), sg.symbol("x", "n").shape[0]
    assert sg.parse_formula("½ n S", {"S": S, "n": n}).formula().unicode == "½ n S"
    assert sg.parse_formula("k I(k)", {"S": S, "k": S.shape[0]}).formula().unicode == "d I(d)"
    assert sg.parse_formula("n S", {"S": S, "n": 5}).formula().unicode == "5 S"
    with pytest.raises(NotationError, match="n is not known here"):
        sg.parse_formula("n S", [S])
    with pytest.raises(TypeError, match="n must be a tensor, or a size"):
        sg.parse_formula("n S", {"S": S, "n": "5"})


def test_a_kronecker_product_with_a_vector_reads_back():
    x, A = sg.symbol("x", "n", sg.float64), sg.symbol("A", "m,p", sg.float64)
    n, m = x.shape[0], A.shape[0]
    values = {"x": np.arange(1.0, 4), "A": np.arange(8.0).reshape(2, 4)}
    for t, text in (
        ((x[:, None, None] * A).reshape(n * m, -1), "x ⊗ A"),
        ((A[:, None, :] * x[:, None]).reshape(m, -1), "xᵀ ⊗ A"),
        ((A[:, :, None] * x).reshape(m, -1), "A ⊗ xᵀ"),
        ((2 * A[:, None, :] * x[:, None]).reshape(m * n, -1), "2 A ⊗ x"),
    ):
        feeds = {x.expr(): values["x"], A.expr(): values["A"]}
        expected = evaluate([t.expr()], feeds, {"n": 3, "m": 2, "p": 4})[0]
        assert t.formula().unicode == text
        for spelled in (text, t.formula().ascii):
            read = sg.parse_formula(spelled, [x, A]).expr()
            found = evaluate([read], feeds, {"n": 3, "m": 2, "p": 4})[0]
            np.testing.assert_allclose(found, expected, 1e-12)
        np.testing.assert_allclose(eval(t.formula().python(), {**namespace(), **values}), expected)


def test_places_of_other_letters_do_not_say_a_range():
    n = letter("n")
    i, k, j = (Form("slot", (), Slot(n, number)) for number in range(3))
    one = Form("number", (), monomial(1))
    places = [Form("sum", pair, (ONE, ONE)) for pair in ((i, k), (j, one))]
    total = Form("total", (Form("index", (Form("name", (), "A"), *places)),), (j.data, k.data))
    assert unsaid(total) == {j.data}
