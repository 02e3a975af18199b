"""Beside JAX: its settings stay as they are, and a traced function lives under its transforms."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim

RNG = np.random.default_rng(0)
PARAMS = {
    "W1": 0.3 * RNG.standard_normal((8, 16), np.float32),
    "b1": np.zeros(16, np.float32),
    "W2": 0.3 * RNG.standard_normal((16, 3), np.float32),
    "b2": np.zeros(3, np.float32),
}
X = RNG.standard_normal((32, 8), np.float32)
Y = RNG.integers(0, 3, 32)


def loss(params, x, y):
    h = sg.tanh(x @ params["W1"] + params["b1"])
    return nn.functional.cross_entropy(h @ params["W2"] + params["b2"], y)


def by_hand(params, x, y):
    z = jnp.tanh(x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()


def make():
    sizes = {"W1": "d,h", "b1": "h", "W2": "h,k", "b2": "k"}
    return sg.trace(loss, params=sizes, x="n,d", y=sg.spec("n", sg.int64))


@pytest.fixture(scope="module")
def f():
    return make()


@pytest.fixture(scope="module")
def expected():
    return jax.value_and_grad(by_hand)(PARAMS, X, Y)


def check_settings():
    assert jnp.arange(3).dtype == jnp.int32
    assert jnp.ones(3).dtype == jnp.float32
    assert jax.config.jax_enable_x64 is False


def close(got, wanted, tolerance=1e-6):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def test_settings_of_jax_stay():
    check_settings()
    f = make()
    check_settings()
    f.compile(gradients=True)(PARAMS, X, Y)
    check_settings()
    step = f.training_step(optim.Adam, lr=1e-2)
    check_settings()
    params, state = step.init(PARAMS)
    check_settings()
    step(params, state, X, Y)
    check_settings()
    model = nn.Linear(8, 3)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    x, y = sg.tensor(X), sg.tensor(Y)
    for _ in range(3):
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(x), y)
        value.backward()
        optimizer.step()
        check_settings()
    assert value.item() > 0
    check_settings()


def test_settings_stay_with_64_bit_values():
    x = sg.tensor([1.0, 2.0], dtype=sg.float64, requires_grad=True)
    for _ in range(3):
        (x * x).sum().backward()
        assert x.grad.numpy().dtype == np.float64
        check_settings()
        x.grad = None


def test_settings_stay_after_an_error(f):
    with pytest.raises(sg.ShapeError):
        f.compile()(PARAMS, X.T, Y)
    with pytest.raises(sg.TraceError):
        sg.trace(lambda x: x.sum() if x.sum() > 0 else -x.sum(), x="n")
    check_settings()


def test_value_and_gradients(f, expected):
    close(f.compile(gradients=True)(PARAMS, X, Y), expected)


def test_grad(f, expected):
    close(jax.grad(f.jax)(PARAMS, X, Y), expected[1])
    close(jax.value_and_grad(f.jax)(PARAMS, X, Y), expected)


def test_grad_of_the_data(f):
    close(jax.grad(f.jax, argnums=1)(PARAMS, X, Y), jax.grad(by_hand, argnums=1)(PARAMS, X, Y))


def test_jit(f, expected):
    close(jax.jit(jax.value_and_grad(f.jax))(PARAMS, X, Y), expected)


def test_vmap(f):
    y = jnp.asarray(Y)[:, None]
    got = jax.vmap(f.jax, (None, 0, 0))(PARAMS, X[:, None], y)
    wanted = jax.vmap(by_hand, (None, 0, 0))(PARAMS, X[:, None], y)
    close(got, wanted)


def test_gradients_of_single_examples(f):
    got = jax.jit(jax.vmap(jax.grad(f.jax), (None, 0, 0)))(PARAMS, X[:, None], Y[:, None])
    close(got, jax.vmap(jax.grad(by_hand), (None, 0, 0))(PARAMS, X[:, None], Y[:, None]))


def test_jvp(f):
    tangent = jax.tree.map(np.ones_like, PARAMS)
    got = jax.jvp(lambda p: f.jax(p, X, Y), (PARAMS,), (tangent,))
    close(got, jax.jvp(lambda p: by_hand(p, X, Y), (PARAMS,), (tangent,)), 2e-6)


def test_checkpoint(f, expected):
    close(jax.grad(jax.checkpoint(f.jax))(PARAMS, X, Y), expected[1])


def test_hessian(f):
    def block(function):
        return jax.hessian(lambda b: function({**PARAMS, "b1": b}, X, Y))(PARAMS["b1"])

    close(block(f.jax), block(by_hand))


def test_within_a_larger_function(f):
    def larger(function, params):
        return jnp.log(function(params, 2 * X, Y)) + sum(jnp.sum(p**2) for p in params.values())

    got = jax.grad(lambda p: larger(f.jax, p))(PARAMS)
    close(got, jax.grad(lambda p: larger(by_hand, p))(PARAMS), 2e-6)


def test_scan(f, expected):
    def body(params, _):
        value, slopes = jax.value_and_grad(f.jax)(params, X, Y)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, slopes), value

    _, losses = jax.lax.scan(body, jax.tree.map(jnp.asarray, PARAMS), None, length=5)
    assert losses[0] == pytest.approx(float(expected[0]), abs=1e-6)
    assert bool((jnp.diff(losses) < 0).all())


def test_equinox(f, expected):
    eqx = pytest.importorskip("equinox")
    value, slopes = eqx.filter_jit(eqx.filter_value_and_grad(f.jax))(PARAMS, X, jnp.asarray(Y))
    close((value, slopes), expected)


def test_optax(f):
    optax = pytest.importorskip("optax")
    ours, theirs = f.training_step(optim.Adam, lr=1e-2), f.training_step(optax.adam(1e-2))
    first, second = ours.init(PARAMS), theirs.init(PARAMS)
    for _ in range(5):
        *first, one = ours(*first, X, Y)
        *second, two = theirs(*second, X, Y)
        assert float(one) == pytest.approx(float(two), abs=1e-6)


def test_compiled_functions_take_tracers(f, expected):
    close(jax.jit(f.compile())(PARAMS, X, Y), expected[0])
    close(jax.jit(f.compile(gradients=True))(PARAMS, X, Y), expected)


def test_names_of_arguments(f, expected):
    close(f.jax(PARAMS, y=Y, x=X), expected[0])
    assert f.jax.__name__ == "loss"


def test_the_source_stands_alone(f, expected):
    space = {}
    exec(compile(f.compile(gradients=True).source, "<generated>", "exec"), space)
    value, *slopes = space["loss"](*(PARAMS[k] for k in sorted(PARAMS)), X, Y)
    close(value, expected[0])
    wanted = dict(zip((a.params[0] for a in f.parameters), slopes, strict=True))
    for key, word in {"W1": "W₁", "b1": "b₁", "W2": "W₂", "b2": "b₂"}.items():
        close(wanted[word], expected[1][key])


SHARDED = """
    import sys
    sys.path[:0] = {paths!r}
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    import symgrad as sg

    assert len(jax.devices()) == 2
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((4, 3), np.float32), rng.standard_normal((6, 4), np.float32)
    f = sg.trace(lambda w, x: (sg.tanh(x @ w) ** 2).mean(), w="d,k", x="n,d")
    xs = jax.device_put(x, NamedSharding(mesh, P("data")))
    ws = jax.device_put(w, NamedSharding(mesh, P()))
    value, slope = jax.jit(jax.value_and_grad(f.jax))(ws, xs)
    wanted, wanted_slope = jax.value_and_grad(lambda w: (jnp.tanh(x @ w) ** 2).mean())(w)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_allclose(slope, wanted_slope, atol=1e-6)
    assert len(slope.sharding.device_set) == 2
    by_row = jax.jit(jax.grad(f.jax, argnums=1))(ws, xs)
    assert by_row.sharding.is_equivalent_to(xs.sharding, 2), by_row.sharding
    print("sharded")
"""


def test_shardings():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment["JAX_PLATFORMS"] = "cpu"
    script = textwrap.dedent(SHARDED).format(paths=[p for p in sys.path if p])
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "sharded", done.stderr[-2000:]


def test_lowered_as_by_jit(f):
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (PARAMS, X, Y))
    compiled = f.compile(gradients=True)
    lowered = compiled.lower(*shapes)
    assert "dot_general" in lowered.as_text()
    with jax.enable_x64(True):  # the labels are int64
        close(lowered.compile()(PARAMS, X, Y), compiled(PARAMS, X, Y))
    with pytest.raises(sg.ShapeError):
        compiled.lower(PARAMS, X.T, Y)


def test_compiled_functions_take_tensors(f, expected):
    tensors = {k: sg.tensor(v) for k, v in PARAMS.items()}
    close(f.compile(gradients=True)(tensors, sg.tensor(X), y=sg.tensor(Y)), expected)


def test_equal_functions_share_one_executable(f):
    assert make().compile()._call is f.compile()._call


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.max(1).values.exp().sum(),
        lambda x: x.min(0).values.exp().sum(),
        lambda x: (sg.argmax(x, 1).float() * x.sum(1)).sum(),
        lambda x: x.sort(1).values[:, 0].exp().sum(),
        lambda x: x.topk(2, 1).values.exp().sum(),
        lambda x: sg.nn.functional.max_pool1d(x[None], 2).exp().sum(),
        lambda x: sg.cumsum(x, 1).exp().sum(),
        lambda x: x.median().exp(),
    ],
)
def test_positions_of_64_bits_within_a_users_jit_of_32(function):
    f = sg.trace(function, x="4,6")
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    close(jax.jit(f.jax)(x), f(x))
    close(jax.jit(jax.grad(f.jax))(x), jax.grad(f.jax)(x))
    assert jnp.arange(3).dtype == jnp.int32
