"""Every way to run a function takes the cheap form: compiled, in training steps, in recorded loops."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.nn import functional as F
from symgrad.recording import execute
from symgrad.structured import programs
from symgrad.tracing.symbolic import Compiled

N, D, K = 40, 6, 3
SHAPES = {"P": (N, K), "d": (N,), "y": (N,), "A": (N, N), "B": (N, N), "X": (N, D)}


@dataclass(frozen=True)
class Case:
    """A loss of P and data; what its source has, and what it has not."""

    loss: Callable[..., Any]
    arguments: str
    has: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    step: str = "P"


def _few(xp: Any, P: Any, d: Any) -> Any:
    return xp.diag(d) + P @ P.T


def _apart(P: Any) -> Any:
    return P[:, None, :] - P[None, :, :]


def _covariance(xp: Any, P: Any, d: Any) -> Any:
    return xp.exp(-0.5 * (_apart(P) ** 2).sum(-1)) + xp.diag(d)


WHOLE = f"float64 ({N}, {N})"
CASES = {
    "Woodbury and Sylvester": Case(
        lambda xp, P, d, y: y @ xp.linalg.solve(_few(xp, P, d), y)
        + xp.linalg.slogdet(_few(xp, P, d))[1],
        "Pdy", ("cholesky", f"eye({K}"), ("slogdet", "inv(", f"eye({N}"),
    ),
    "Cholesky of a covariance": Case(
        lambda xp, P, d, y: 0.5 * y @ xp.linalg.inv(_covariance(xp, P, d)) @ y
        + 0.5 * xp.linalg.slogdet(_covariance(xp, P, d))[1],
        "Pdy", ("cholesky",), ("slogdet",),
    ),
    "a chain from the right": Case(
        lambda xp, P, y, A, B: ((A @ B @ P[:, 0] - y) ** 2).sum(), "PyAB", (), ("(A @ B", "A @ B @ ")
    ),
    "the trace of a product": Case(
        lambda xp, P, A, B: xp.trace(A @ B) * (P**2).sum(), "PAB", (), ("A @ B", "B @ A")
    ),
    "all differences": Case(lambda xp, P: (_apart(P) ** 2).sum(), "P", (f"{4 * N} * ",), ()),
    "few columns times a matrix": Case(
        lambda xp, P, A, X: (((A + P @ P.T) @ X[:, :1]) ** 2).sum(), "PAX", (), ("P @ P.T",)
    ),
}  # fmt: skip


def _arrays(case: Case) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    found = {}
    for name in case.arguments:
        drawn = rng.standard_normal(SHAPES[name])
        found[name] = np.abs(drawn) + 0.5 if name == "d" else drawn
    return found


def _reference(case: Case) -> tuple[Any, Any]:
    with jax.enable_x64(True):
        values = {k: jnp.asarray(v) for k, v in _arrays(case).items()}
        value, gradient = jax.value_and_grad(
            lambda P: case.loss(jnp, **{**values, "P": P})
        )(values["P"])  # fmt: skip
    return np.asarray(value), np.asarray(gradient)


def _traced(case: Case) -> Any:
    names = ", ".join(case.arguments)
    specs = {
        k: sg.spec(SHAPES[k], sg.float64, *(["positive"] if k == "d" else []))
        for k in case.arguments
    }
    return sg.trace(
        eval(f"lambda {names}: loss(sg, {names})", {"loss": case.loss, "sg": sg}), **specs
    )


def _check(case: Case, source: str) -> None:
    code = "\n".join(line.partition("#")[0] for line in source.splitlines())
    for word in case.has:
        assert word in code, source
    for word in case.without:
        assert word not in code, source


@pytest.mark.parametrize("name", CASES)
def test_a_traced_function(name: str) -> None:
    case = CASES[name]
    f = _traced(case)
    value, gradient = _reference(case)
    arrays = _arrays(case)
    np.testing.assert_allclose(f.compile()(**arrays), value, rtol=1e-9)
    both = f.compile(gradients=True)
    _check(case, both.source)
    found, gradients = both(**arrays)
    np.testing.assert_allclose(found, value, rtol=1e-9)
    first = gradients[0] if len(arrays) > 1 else gradients
    np.testing.assert_allclose(first, gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_a_training_step(name: str) -> None:
    case = CASES[name]
    f = _traced(case)
    step = f.training_step(sg.optim.SGD, lr=0.1)
    _check(case, step.source)
    value, gradient = _reference(case)
    arrays = _arrays(case)
    params, state = step.init(arrays["P"])
    rest = [v for k, v in arrays.items() if k != "P"]
    params, state, found = step(params, state, *rest)
    np.testing.assert_allclose(found, value, rtol=1e-9)
    np.testing.assert_allclose(params, arrays["P"] - 0.1 * gradient, rtol=1e-8, atol=1e-8)


def _tensors(case: Case) -> tuple[Any, dict[str, Any]]:
    arrays = _arrays(case)
    P = sg.name(sg.nn.Parameter(sg.tensor(arrays.pop("P"), dtype=sg.float64)), "P")
    return P, {k: sg.name(sg.tensor(v, dtype=sg.float64), k) for k, v in arrays.items()}


@pytest.mark.parametrize("name", [k for k in CASES if "d" not in CASES[k].arguments])
def test_a_compiled_step(name: str) -> None:
    case = CASES[name]
    P, rest = _tensors(case)
    optimizer = sg.optim.SGD([P], lr=0.1)

    @sg.compile
    def step() -> Any:
        optimizer.zero_grad()
        loss = case.loss(sg, P=P, **rest)
        loss.backward()
        optimizer.step()
        return loss

    value, gradient = _reference(case)
    np.testing.assert_allclose(step().item(), value, rtol=1e-9)
    _check(case, step.source)
    arrays = _arrays(case)
    np.testing.assert_allclose(P.detach().numpy(), arrays["P"] - 0.1 * gradient, rtol=1e-8)


@pytest.mark.parametrize("name", [k for k in CASES if "d" not in CASES[k].arguments])
def test_a_recorded_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    P, rest = _tensors(case)
    sources: list[str] = []

    def compiled(*args: Any, **options: Any) -> Any:
        made = execute_compiled(*args, **options)
        sources.append(made.source)
        return made

    execute_compiled = execute.compiling.compiled
    monkeypatch.setattr(execute.compiling, "compiled", compiled)
    optimizer = sg.optim.SGD([P], lr=1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        loss = case.loss(sg, P=P, **rest)
        loss.backward()
        optimizer.step()
        loss.item()
    assert sources
    for source in sources:
        _check(Case(case.loss, case.arguments, (), case.without), source)
    assert all(any(word in source for source in sources) for word in case.has)


# ------------------------------------------------------------------ where nothing applies


def _perceptron(params: Any, x: Any, y: Any) -> Any:
    hidden = sg.tanh(x @ params["W"] + params["b"])
    return sg.nn.functional.cross_entropy(hidden @ params["V"] + params["c"], y)


def test_the_program_of_a_perceptron_is_the_same_without_the_rewrites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = {"W": "20,8", "b": "8", "V": "8,4", "c": "4"}
    f = sg.trace(
        _perceptron, params={k: sg.spec(v) for k, v in shapes.items()}, x="16,20",
        y=sg.spec("16", sg.int64),
    )  # fmt: skip
    with_rewrites = f.program(gradients=True)
    monkeypatch.setattr(programs, "_cheaper", lambda lines, asked: lines)
    assert f.program(gradients=True) == with_rewrites


def test_lines_that_are_not_computed_are_said_where_they_would_be_used() -> None:
    """δR and R are never made; their formulas stand before the line that follows from them."""
    source = _traced(CASES["Woodbury and Sylvester"]).compile(gradients=True).source
    assert "R = diag(d) + P Pᵀ; " in source
    assert WHOLE not in source


def test_letters_have_no_size_and_degrees_decide() -> None:
    def loss(X: Any) -> Any:
        return ((X[:, None, :] - X[None, :, :]) ** 2).sum()

    source = sg.trace(loss, X="n,d").compile(gradients=True).source
    assert "4 * n * X" in source


def test_what_is_not_differentiated_hides_nothing() -> None:
    """A product of data is opened, one-hot rows of data are indices."""
    A, B = sg.ones(N, N), sg.ones(N, N)
    p, W = sg.ones(N, requires_grad=True), sg.ones(N, D, requires_grad=True)
    y = sg.symbol("y", str(K), sg.int64)
    rows = F.one_hot(y, N).to(W.dtype)
    source = Compiled([(A @ B) @ p, rows @ W]).source
    assert "A @ (B @ p)" in source
    assert "W[y]" in source
    assert "one_hot" not in source


def test_wide_float64_products_have_rows_on_the_left() -> None:
    """There XLA is up to twice as fast; float32, a thin product and rows already there stay."""
    shapes = {"A": "40,30", "B": "40,50", "C": "40,3", "D": "30,40"}
    for dtype, laid in ((sg.float64, True), (sg.float32, False)):
        a, b, c, d = (sg.symbol(name, sizes, dtype) for name, sizes in shapes.items())
        compiled = Compiled([a.T @ b, a.T @ c, d @ b])
        assert ("optimization_barrier(A.T) @ B" in compiled.source) is laid
        assert compiled.source.count("optimization_barrier") == laid


def test_products_laid_out_are_mapped_and_differentiated_by_jax() -> None:
    a, b = sg.symbol("A", "40,30", sg.float64), sg.symbol("B", "40,50", sg.float64)
    program = Compiled([sg.sin(a.T @ b).sum()], [a, b])
    assert "optimization_barrier" in program.source
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        A, B = (jnp.asarray(rng.standard_normal(s)) for s in ((3, 40, 30), (40, 50)))

        def ours(a: Any, b: Any) -> Any:
            return program.executable.function(a, b)

        found = jax.vmap(jax.grad(ours), (0, None))(A, B)
        expected = jax.vmap(lambda a: B @ jnp.cos(a.T @ B).T)(A)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_slopes_under_sums_come_from_the_value() -> None:
    """A layer's gradient evaluates its function once; a slope that is a result keeps its digits."""
    shapes = {"X": "30,20", "A": "20,10", "b": "10", "T": "30,10"}
    X, A, b, T = symbols = [sg.symbol(n, s, sg.float32) for n, s in shapes.items()]
    loss = ((sg.tanh(X @ A + b) - T) ** 2).sum()
    source = Compiled([loss, *sg.grad(loss, [A, b])], symbols).source
    assert re.search(r"\b1 - (\w+) \* \1\b", source)
    assert "jnp.cosh(" not in source
    x = sg.symbol("x", "30", sg.float32)
    value = sg.tanh(x).sum()
    slope = sg.grad(value, x)
    for found in (slope, slope.sum(), slope + x, sg.sin(slope) @ x):
        source = Compiled([value, found], [x]).source
        assert "jnp.exp(-2 * jnp.abs(x))" in source
        assert "jnp.cosh(" not in source


def test_a_slope_keeps_its_digits() -> None:
    """4 e / (1 + e)² where 1 − tanh² is 0."""
    x = sg.symbol("x", "7", sg.float32)
    at = np.array([-40, -10, -1e-4, 0, 0.5, 9, np.inf], np.float32)
    found = np.asarray(Compiled([sg.grad(sg.tanh(x).sum(), x)], [x])(at))
    wide = at.astype(np.float64)
    np.testing.assert_allclose(found, 1 / np.cosh(wide) ** 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "exponentials"),
    [
        (lambda xp, x: xp.tanh(x) * x, 0),
        (lambda xp, x: -2 * x * xp.tanh(x), 0),
        (lambda xp, x: xp.tanh(x) * x * x, 1),
        (lambda xp, x: xp.tanh(x) * (x - 3), 1),
        (lambda xp, x: (xp.tanh(x) - 1) * x, 1),
    ],
)
def test_a_slope_beside_its_value(function: Any, exponentials: int) -> None:
    """tanh x + x tanh′ x needs no digits of the second term that the first has not."""
    x = sg.symbol("x", "801", sg.float64)
    program = Compiled([sg.jacobian(function(sg, x), x).diag()], [x])
    assert program.source.count("jnp.exp(") == exponentials
    at = np.linspace(-20, 20, 801)
    with jax.enable_x64(True):
        slope = jax.vmap(jax.grad(lambda v: function(jnp, v)))(jnp.asarray(at))
    np.testing.assert_allclose(program(at), slope, rtol=1e-12, atol=1e-12)


def test_slopes_of_layers_below_each_other() -> None:
    """A product of the Hessian of two layers with a matrix: two tanh and nothing else."""
    shapes = {"X": "9,8", "A": "8,7", "B": "7,6", "v": "6", "D": "8,7"}
    X, A, B, v, D = symbols = [sg.symbol(n, s, sg.float64) for n, s in shapes.items()]
    loss = (sg.tanh(sg.tanh(X @ A) @ B) @ v).sum()
    program = Compiled([loss, *sg.grad(loss, [A, B]), sg.hvp(loss, A, D)], symbols)
    assert program.source.count("jnp.tanh(") == 2
    assert "jnp.cosh(" not in program.source

    def by_hand(A: Any, B: Any) -> Any:
        return (jnp.tanh(jnp.tanh(arrays["X"] @ A) @ B) @ arrays["v"]).sum()

    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        arrays = {
            n: jnp.asarray(rng.standard_normal([*map(int, s.split(","))]))
            for n, s in shapes.items()
        }
        found = program.executable.function(*arrays.values())
        slopes = jax.grad(by_hand, (0, 1))
        at = arrays["A"], arrays["B"]
        turned = jax.jvp(lambda A: slopes(A, at[1])[0], at[:1], (arrays["D"],))[1]
        expected = [by_hand(*at), *slopes(*at), turned]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_what_others_use_too_is_not_opened() -> None:
    """O p needs O, which O Oᵀ makes anyway, and no chain of its own."""
    A, B, C, p = (sg.symbol(n, s) for n, s in
                  (("A", "20,20"), ("B", "20,20"), ("C", "20,20"), ("p", "20")))  # fmt: skip
    O = sg.exp(A) @ B @ C
    source = Compiled([O @ O.T, O @ p], [A, B, C, p]).source
    assert len(re.findall(r" @ ", re.sub(r"#.*", "", source))) == 4
    assert "@ p" in source
    alone = Compiled([O @ p], [A, B, C, p]).source
    assert "@ (B @ (C @ p))" in alone


def test_the_hessian_of_a_network_makes_its_jacobian_once() -> None:
    """J (diag(p) − p pᵀ) Jᵀ: J p is made of J, not along the layers again."""
    first, W, V, x = (sg.symbol(n, s) for n, s in
                      (("first", "9,9"), ("W", "9,9"), ("V", "9,9"), ("x", "9")))  # fmt: skip
    z = V @ sg.relu(W @ sg.relu(first @ x))
    hessian = sg.hessian(sg.logsumexp(z, -1) - z[0], first).dense()
    source = Compiled([hessian], [first, W, V, x]).source
    # three layers, V diag W, J p, J diag(p) Jᵀ
    assert len(re.findall(r" @ ", re.sub(r"#.*", "", source))) == 6


@pytest.mark.parametrize(("columns", "written"), [("30", "v @ A"), ("5", "A.T @ v")])
def test_a_vector_stands_left_of_a_wide_matrix(columns: str, written: str) -> None:
    A, B, v = sg.symbol("A", f"40,{columns}"), sg.symbol("B", f"{columns},40"), sg.symbol("v", "40")
    source = Compiled([v @ A, A.T @ v, B @ v]).source
    assert source.count(written) == 1
    assert "B @ v" in source
