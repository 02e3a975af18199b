"""Structured derivatives: JAX as a plain user writes it, JAX as an expert does, and ours, derived.

Every row is one function, jitted three times over the same arrays, on one pinned core, in float32
and float64. `plain` is `jax.hessian`, `jax.jacobian` or `jax.grad` of the function as written;
`expert` what somebody who knows the answer writes by hand; `ours` the program that symgrad derives.
All three agree before anything is timed.

    python benchmarks/structured.py --repetitions 15 --check
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _harness import Limit, Spread, duration, finish, interleaved, options, settle, table

ARGUMENTS = options(__doc__, 15)
ARGUMENTS.add_argument("--only", default="", help="rows whose name contains this")
ARGUMENTS.add_argument("--dtype", choices=["float32", "float64"], help="one dtype only")
ARGUMENTS = ARGUMENTS.parse_args()
SETTING = settle(ARGUMENTS)

import jax  # noqa: E402  threads are decided first
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import symgrad as sg  # noqa: E402
from symgrad.tracing.symbolic import Compiled  # noqa: E402

F = sg.nn.functional
Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One function: its arrays, three ways, and what is asked of plain / ours.

    `ours` gets the symbols by name and returns the tensors to compile.
    """

    shapes: Mapping[str, tuple[int, ...]]
    plain: Callable[..., Any]
    expert: Callable[..., Any]
    ours: Callable[..., Any]
    at_least: float
    tolerance: float = 1e-9
    positive: tuple[str, ...] = ()
    symmetric: tuple[str, ...] = ()


def _matrix(h: Any) -> Any:
    return h.dense()


def _logistic(xp: Any, X: Any, w: Any, y: Any) -> Any:
    z = X @ w
    return (jax.nn.softplus(z) - y * z).sum() + 0.5 * (w @ w)


def _logistic_expert(X: Any, w: Any, y: Any) -> Any:
    p = jax.nn.sigmoid(X @ w)
    return (X.T * (p * (1 - p))) @ X + jnp.eye(w.shape[0], dtype=X.dtype)


def _logistic_ours(X: Any, w: Any, y: Any) -> Any:
    z = X @ w
    return [sg.hessian((F.softplus(z) - y * z).sum() + 0.5 * (w @ w), w).dense()]


def _factors(T: Any, U: Any, V: Any) -> Any:
    return ((T - U @ V.T) ** 2).sum()


def _factors_expanded(T: Any, U: Any, V: Any) -> Any:
    n, k = U.shape
    eye = jnp.eye(n, dtype=U.dtype)
    return eye[:, None, :, None] * (2 * (V.T @ V))[None, :, None, :]


def _newton_factors(T: Any, U: Any, V: Any) -> Any:
    g = jax.grad(_factors, 1)(T, U, V)
    h = jax.hessian(_factors, 1)(T, U, V).reshape(U.size, U.size)
    return U - jnp.linalg.solve(h, g.reshape(-1)).reshape(U.shape)


def _newton_factors_expert(T: Any, U: Any, V: Any) -> Any:
    c = jax.scipy.linalg.cho_factor(V.T @ V)
    return jax.scipy.linalg.cho_solve(c, (T @ V).T).T


def _newton_factors_ours(T: Any, U: Any, V: Any) -> Any:
    loss = _factors(T, U, V)
    return [U - sg.hessian(loss, U).solve(sg.grad(loss, U))]


def _separable(x: Any) -> Any:
    return (x**4 + x**2).sum()


def _newton_plain(f: Callable[..., Any], place: int) -> Callable[..., Any]:
    def step(*args: Any) -> Any:
        g, h = jax.grad(f, place)(*args), jax.hessian(f, place)(*args)
        return args[place] - jnp.linalg.solve(h, g)

    return step


def _ridge(X: Any, w: Any, y: Any) -> Any:
    r = X @ w - y
    return (r**2).sum() + 0.3 * (w @ w)


def _ridge_expert(X: Any, w: Any, y: Any) -> Any:
    n = X.shape[0]
    inner = X @ X.T + 0.3 * jnp.eye(n, dtype=X.dtype)
    return X.T @ jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(inner), y)


def _ridge_ours(X: Any, w: Any, y: Any) -> Any:
    loss = _ridge(X, w, y)
    return [w - sg.hessian(loss, w).solve(sg.grad(loss, w))]


LAYERS = 10


def _net_plain(W: Any, x: Any) -> Any:
    def f(v: Any) -> Any:
        for k in range(LAYERS):
            v = jax.nn.relu(W[k] @ v)
        return v

    return jax.jacobian(f)(x)


def _net_expert(W: Any, x: Any) -> Any:
    J = None
    for k in range(LAYERS):
        z = W[k] @ x
        on = (z > 0).astype(x.dtype)
        x = z * on
        J = on[:, None] * (W[k] if J is None else W[k] @ J)
    return J


def _net_ours(W: Any, x: Any) -> Any:
    v = x
    for k in range(LAYERS):
        v = sg.relu(W[k] @ v)
    return [sg.jacobian(v, x).dense()]


def _net_hessian_loss(W: Any, x: Any, relu: Any) -> Any:
    for k in range(LAYERS):
        x = relu(W[k] @ x)
    return (x * x).sum()


def _chain(x: Any) -> Any:
    return ((x[1:] - x[:-1] ** 2) ** 2).sum() + (x**2).sum()


def _chain_expert(x: Any, v: Any) -> Any:
    r = x[1:] - x[:-1] ** 2
    d = 2 * jnp.ones_like(x)
    d = d.at[:-1].add(8 * x[:-1] ** 2 - 4 * r).at[1:].add(2)
    e = -4 * x[:-1]
    return (d * v).at[:-1].add(e * v[1:]).at[1:].add(e * v[:-1])


def _softmax_jacobian_expert(s: Any) -> Any:
    p = jax.nn.softmax(s)
    return jnp.diag(p) - jnp.outer(p, p)


def _layer_plain(A: Any, x: Any) -> Any:
    return jax.jacobian(lambda v: jnp.tanh(A @ v))(x)


ROWS: dict[str, Row] = {
    "Hessian of xᵀAx, n=300": Row(
        {"A": (300, 300), "x": (300,)},
        lambda A, x: jax.hessian(lambda v: v @ A @ v)(x),
        lambda A, x: A + A.T,
        lambda A, x: [sg.hessian(x @ A @ x, x).dense()],
        8,
    ),
    "Hessian of logistic, n=300, d=50": Row(
        {"X": (300, 50), "w": (50,), "y": (300,)},
        lambda X, w, y: jax.hessian(lambda v: _logistic(jnp, X, v, y))(w),
        _logistic_expert, _logistic_ours, 1.8,
    ),
    "matrix factorisation k=5, n=100, expanded": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5)},
        jax.hessian(_factors, 1), _factors_expanded,
        lambda T, U, V: [sg.hessian(_factors(T, U, V), U).dense()], 60,
    ),
    "matrix factorisation k=5, n=100, H v": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5), "D": (100, 5)},
        lambda T, U, V, D: jnp.einsum("iajb,jb->ia", jax.hessian(_factors, 1)(T, U, V), D),
        lambda T, U, V, D: 2 * (D @ (V.T @ V)),
        lambda T, U, V, D: [sg.hessian(_factors(T, U, V), U).matvec(D)], 500,
    ),
    "Newton step, matrix factorisation": Row(
        {"T": (100, 100), "U": (100, 5), "V": (100, 5)},
        _newton_factors, _newton_factors_expert, _newton_factors_ours, 150, 1e-8,
    ),
    "Newton step, separable, n=500": Row(
        {"x": (500,)},
        _newton_plain(_separable, 0),
        lambda x: x - (4 * x**3 + 2 * x) / (12 * x**2 + 2),
        lambda x: [x - sg.hessian(_separable(x), x).solve(sg.grad(_separable(x), x))], 300, 1e-8,
    ),
    "Newton step, ridge, n=30, d=300": Row(
        {"X": (30, 300), "w": (300,), "y": (30,)},
        _newton_plain(_ridge, 1), _ridge_expert, _ridge_ours, 50, 1e-7,
    ),
    "softmax Jacobian times a vector, n=500": Row(
        {"s": (500,), "v": (500,)},
        lambda s, v: jax.jacobian(jax.nn.softmax)(s) @ v,
        lambda s, v: (lambda p: p * (v - p @ v))(jax.nn.softmax(s)),
        lambda s, v: [sg.jacobian(sg.softmax(s, -1), s).matvec(v)], 30,
    ),
    "softmax Jacobian, dense, n=500": Row(
        {"s": (500,)},
        jax.jacobian(jax.nn.softmax), _softmax_jacobian_expert,
        lambda s: [sg.jacobian(sg.softmax(s, -1), s).dense()], 1,
    ),
    "elementwise Jacobian as diagonal, n=500": Row(
        {"x": (500,)},
        lambda x: jnp.diagonal(jax.jacobian(lambda v: jnp.tanh(v) * v)(x)),
        lambda x: (lambda h: h + x * (1 - h * h))(jnp.tanh(x)),
        lambda x: [sg.jacobian(sg.tanh(x) * x, x).diag()], 10,
    ),
    "10-layer ReLU net n=20, Jacobian": Row(
        {"W": (LAYERS, 20, 20), "x": (20,)}, _net_plain, _net_expert, _net_ours, 1,
    ),
    "10-layer ReLU net n=20, Hessian": Row(
        {"W": (LAYERS, 20, 20), "x": (20,)},
        lambda W, x: jax.hessian(lambda v: _net_hessian_loss(W, v, jax.nn.relu))(x),
        lambda W, x: (lambda J: 2 * J.T @ J)(_net_expert(W, x)),
        lambda W, x: [sg.hessian(_net_hessian_loss(W, x, sg.relu), x).dense()], 9,
    ),
    "layer tanh(A x), Jacobian, n=300": Row(
        {"A": (300, 300), "x": (300,)}, _layer_plain,
        lambda A, x: (1 - jnp.tanh(A @ x) ** 2)[:, None] * A,
        lambda A, x: [sg.jacobian(sg.tanh(A @ x), x).dense()], 1,
    ),
    "chain objective n=2000, H v": Row(
        {"x": (2000,), "v": (2000,)},
        lambda x, v: jax.jvp(jax.grad(_chain), (x,), (v,))[1], _chain_expert,
        lambda x, v: [sg.hessian(_chain(x), x).matvec(v)], 0.95,
    ),
    "chain objective n=1000, banded diagonal": Row(
        {"x": (1000,)},
        lambda x: jnp.diagonal(jax.hessian(_chain)(x)),
        lambda x: (2 * jnp.ones_like(x)).at[:-1].add(12 * x[:-1] ** 2 - 4 * x[1:]).at[1:].add(2),
        lambda x: [sg.hessian(_chain(x), x).diag()], 100,
    ),
    "Hessian-vector product, logistic": Row(
        {"X": (300, 50), "w": (50,), "y": (300,), "v": (50,)},
        lambda X, w, y, v: jax.jvp(jax.grad(lambda u: _logistic(jnp, X, u, y)), (w,), (v,))[1],
        lambda X, w, y, v: (lambda p: X.T @ (p * (1 - p) * (X @ v)) + v)(jax.nn.sigmoid(X @ w)),
        lambda X, w, y, v: [sg.hvp((F.softplus(X @ w) - y * (X @ w)).sum() + 0.5 * (w @ w), w, v)],
        0.95,
    ),
    "trace of the Hessian of logistic": Row(
        {"X": (300, 50), "w": (50,), "y": (300,)},
        lambda X, w, y: jnp.trace(jax.hessian(lambda u: _logistic(jnp, X, u, y))(w)),
        lambda X, w, y: (
            lambda p: (p * (1 - p)) @ (X * X).sum(1) + w.shape[0]
        )(jax.nn.sigmoid(X @ w)),
        lambda X, w, y: [
            sg.hessian((F.softplus(X @ w) - y * (X @ w)).sum() + 0.5 * (w @ w), w).trace()
        ], 5,
    ),
}  # fmt: skip


def inputs(row: Row, dtype: str) -> dict[str, Any]:
    """Random arrays, the same for everybody."""
    rng = np.random.default_rng(0)
    found = {}
    for name, shape in row.shapes.items():
        values = rng.normal(size=shape)
        if len(shape) == 3:
            values *= np.sqrt(2 / shape[-1])
        found[name] = jnp.asarray(values, dtype)
    return found


def contenders(row: Row, arrays: Arrays, dtype: str) -> dict[str, Callable[[], Any]]:
    """Three jitted functions of no arguments that wait for their value."""
    symbols = {
        n: sg.symbol(n, ",".join(map(str, a.shape)), getattr(sg, dtype)) for n, a in arrays.items()
    }
    program = Compiled(row.ours(**symbols), list(symbols.values()))
    ours = jax.jit(program.executable.function)
    plain, expert = jax.jit(row.plain), jax.jit(row.expert)
    values = list(arrays.values())
    calls = {"plain": plain, "expert": expert, "ours": ours}
    return {
        name: (lambda f=f.lower(*values).compile(): jax.block_until_ready(f(*values)))
        for name, f in calls.items()
    }


def agree(runs: Mapping[str, Callable[[], Any]], row: Row, dtype: str) -> None:
    """All three say the same, or AssertionError."""
    results = {name: np.asarray(run(), np.float64) for name, run in runs.items()}
    reference = results["plain"]
    scale = float(np.abs(reference).max()) or 1.0
    bound = row.tolerance if dtype == "float64" else 2e-3
    for name, found in results.items():
        worst = float(np.abs(found.reshape(reference.shape) - reference).max()) / scale
        assert worst <= bound, f"{name} is off by {worst:.1e}"


def times_of(run: Callable[[], Any]) -> int:
    """How many calls one timing takes, so that it lasts about 2 ms."""
    import time

    run()
    began = time.perf_counter()
    for _ in range(5):
        run()
    taken = (time.perf_counter() - began) / 5
    return max(1, min(200, int(2e-3 / taken)))


def repeated(run: Callable[[], Any], count: int) -> Callable[[], None]:
    """``count`` calls."""

    def several() -> None:
        for _ in range(count):
            run()

    return several


def main() -> int:
    """Time all rows and print the table."""
    print(SETTING)
    figures: list[dict[str, object]] = []
    limits: list[Limit] = []
    for dtype in [ARGUMENTS.dtype] if ARGUMENTS.dtype else ["float32", "float64"]:
        shown: list[list[str]] = []
        for name, row in ROWS.items():
            if ARGUMENTS.only not in name:
                continue
            with jax.enable_x64(dtype == "float64"):
                runs = contenders(row, inputs(row, dtype), dtype)
                agree(runs, row, dtype)
                counts = {k: times_of(run) for k, run in runs.items()}
                found = interleaved(
                    {k: repeated(run, counts[k]) for k, run in runs.items()}, ARGUMENTS.repetitions
                )
            each = {k: found.time(k).median / counts[k] for k in runs}
            to_plain = _scaled(found.ratio("plain", "ours"), counts["ours"] / counts["plain"])
            to_expert = _scaled(found.ratio("ours", "expert"), counts["expert"] / counts["ours"])
            shown.append([
                name, *(duration(each[k]) for k in ("plain", "expert", "ours")),
                f"×{to_plain.median:.3g}", f"×{row.at_least:g}", f"{to_expert.median:.2f}",
            ])  # fmt: skip
            figures.append({"row": name, "dtype": dtype, **each, "plain/ours": to_plain.median,
                            "ours/expert": to_expert.median})  # fmt: skip
            limits.append(Limit(f"{name}, {dtype}: ours/expert", to_expert.median, 1.1))
            limits.append(
                Limit(f"{name}, {dtype}: asked/found", row.at_least / to_plain.median, 1.0)
            )
        head = [dtype, "plain", "expert", "ours", "plain/ours", "asked", "ours/expert"]
        print("\n" + table(head, shown), flush=True)
    return finish(ARGUMENTS, SETTING, figures, limits, {})


def _scaled(ratio: Spread, by: float) -> Spread:
    return Spread(ratio.median * by, ratio.low * by, ratio.high * by)


if __name__ == "__main__":
    raise SystemExit(main())
