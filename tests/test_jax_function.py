"""``sg.jax_function``: a function written in JAX as an operation, its derivative by jax.vjp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from symgrad_codegen.program import ProgramError

import symgrad as sg
from symgrad import nn, optim
from tests.test_hostile_names import NAMES, check_source

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4)).astype(np.float32)
W = RNG.standard_normal((4, 3)).astype(np.float32)


def plain(u):
    return jnp.log(jnp.cosh(u))


def scaled(u, v, *, power=2, words=("a",)):
    """Containers in and out; several results of several shapes."""
    (v,) = v["inner"]
    return {"rows": (jnp.tanh(u) * v**power).sum(1), "all": jnp.sum(u * v), "count": len(words)}


soft = sg.jax_function(plain, "soft")
several = sg.jax_function(scaled)


def loss(w, x):
    return (soft(x @ w) ** 2).mean()


def by_jax(w, x):
    return (plain(x @ w) ** 2).mean()


def close(got, wanted, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=tolerance, atol=1e-6)


def test_values_and_gradients_cold_and_compiled():
    value, slope = jax.value_and_grad(by_jax)(W, X)
    for _ in range(3):
        w = sg.tensor(W, requires_grad=True)
        found = loss(w, sg.tensor(X))
        found.backward()
        close(found.item(), value)
        close(w.grad.numpy(), slope)
    assert type(found.grad_fn).__name__ == "MeanBackward0"
    assert type(soft(w).grad_fn).__name__ == "softBackward"


def test_derivatives_of_second_order():
    v = jnp.asarray(W[:, 0])
    wanted = jax.hessian(lambda v: by_jax(v, X))(v)
    close(
        sg.func.hessian(lambda v: loss(v, sg.tensor(X)))(sg.tensor(np.asarray(v))).numpy(), wanted
    )
    w = sg.tensor(W, requires_grad=True)
    (slope,) = sg.autograd.grad(loss(w, sg.tensor(X)), [w], create_graph=True)
    (twice,) = sg.autograd.grad((slope**2).sum(), [w])
    close(twice.numpy(), jax.grad(lambda w: (jax.grad(by_jax)(w, X) ** 2).sum())(W))


def test_jacobians_and_batches():
    t, many = sg.tensor(X[0]), sg.tensor(X)
    rows = sg.jax_function(lambda u: jnp.cumsum(jnp.sin(u)))
    close(sg.func.jacrev(rows)(t).numpy(), jax.jacrev(lambda u: jnp.cumsum(jnp.sin(u)))(X[0]))
    close(sg.func.vmap(rows)(many).numpy(), np.cumsum(np.sin(X), 1))
    per_row = sg.func.vmap(sg.func.grad(lambda u: rows(u)[-1]))(many)
    close(per_row.numpy(), np.cos(X))
    nested = sg.func.vmap(sg.func.vmap(rows))(many.reshape(5, 2, 2))
    close(nested.numpy(), np.cumsum(np.sin(X.reshape(5, 2, 2)), 2))
    weights = sg.tensor(W[:, 0])
    mixed = sg.func.vmap(lambda u: sg.jax_function(jnp.multiply)(u, weights))(many)
    close(mixed.numpy(), X * W[:, 0])


def test_containers_keywords_and_several_results():
    def total(found):
        return (found["rows"] ** 2).sum() + found["all"]

    u, v = sg.tensor(X, requires_grad=True), sg.tensor(2 * X, requires_grad=True)
    for power in (2, 3):
        wanted = jax.grad(
            lambda a, b, power=power: total(scaled(a, {"inner": [b]}, power=power)), (0, 1)
        )(X, 2 * X)
        for _ in range(2):
            u.grad = v.grad = None
            found = several(u, {"inner": [v]}, power=power)
            assert (found["rows"].shape, found["all"].shape) == ((5,), ())
            assert found["count"].item() == 1
            total(found).backward()
            close(u.grad.numpy(), wanted[0])
            close(v.grad.numpy(), wanted[1])
    found = several(u, {"inner": [X]})  # arrays are operands without a gradient
    found["all"].backward()


def test_integers_have_no_gradient():
    pick = sg.jax_function(lambda u, k: jnp.take(u, k, axis=0))
    u, k = sg.tensor(X, requires_grad=True), sg.tensor([3, 1])
    pick(u, k).sum().backward()
    wanted = np.zeros_like(X)
    wanted[[3, 1]] = 1
    close(u.grad.numpy(), wanted)
    assert sg.jax_function(jnp.argmax)(u).dtype is sg.int32  # JAX's own, 64 bits being off


def test_complex_numbers_stay_inside():
    square = sg.jax_function(jnp.square)
    with pytest.raises(sg.DTypeError, match="a complex64 tensor: JAX and PyTorch differ"):
        square(sg.tensor(np.array([1 + 2j], np.complex64)))
    with pytest.raises(sg.DTypeError, match="a result is an array of complex64"):
        sg.jax_function(jnp.fft.fft)(sg.tensor(X))
    power = sg.jax_function(lambda u: jnp.abs(jnp.fft.fft(u)) ** 2)
    u = sg.tensor(X, requires_grad=True)
    power(u).sum().backward()
    close(u.grad.numpy(), 2 * X.shape[1] * X)  # Parseval


def test_traced_with_letters():
    f = sg.trace(loss, w="d,k", x="n,d")
    value, (first, second) = f.compile(gradients=True)(W, X)
    wanted, slopes = jax.value_and_grad(by_jax, (0, 1))(W, X)
    close(value, wanted)
    close(first, slopes[0])
    close(second, slopes[1])
    close(jax.grad(f.jax)(W, X), slopes[0])
    close(
        jax.jit(jax.vmap(f.jax, (None, 0)))(W, X[:, None]),
        jax.vmap(by_jax, (None, 0))(W, X[:, None]),
    )
    assert "vjp[jax:soft]" in str(f.derive())


def test_sizes_of_results():
    u, v = sg.symbols("u:n,d  v:m,d")
    assert sg.jax_function(lambda a: a.reshape(-1))(u).shape == (u.shape[0] * u.shape[1],)
    assert sg.jax_function(lambda a, b: jnp.einsum("nd,md->mn", a, b))(u, v).shape == (
        v.shape[0],
        u.shape[0],
    )
    assert sg.jax_function(lambda a: jnp.stack([a, a], 1))(u).shape == (u.shape[0], 2, u.shape[1])
    assert sg.jax_function(lambda a: jnp.concatenate([a, a]))(u).shape == (
        2 * u.shape[0],
        u.shape[1],
    )
    with pytest.raises(sg.ShapeError, match=r"a result has n - 1 entries along an axis"):
        sg.jax_function(lambda a: a[1:])(u)
    with pytest.raises(sg.ShapeError, match="asks for more about the sizes n, d than their names"):
        sg.jax_function(lambda a: a if a.shape[0] > 3 else 2 * a)(u)
    assert sg.jax_function(lambda a: a[1:])(sg.tensor(X)).shape == (4, 4)
    with pytest.raises(TypeError, match="incompatible shapes"):  # JAX's own words
        sg.jax_function(jnp.add)(sg.ones(2), sg.ones(3))


def test_sixty_four_bits_are_the_users():
    t = sg.tensor(X.astype(np.float64), requires_grad=True)
    with pytest.raises(sg.DTypeError) as problem:
        soft(t)
    assert str(problem.value) == (
        "jax:soft: a float64 tensor reaches JAX, which computes in 32 bits now.\n"
        '  Give it t.float(), or switch on 64 bits first: jax.config.update("jax_enable_x64", True).'
    )
    with jax.enable_x64(True):
        for _ in range(2):
            t.grad = None
            soft(t).sum().backward()
            close(t.grad.numpy(), np.tanh(X.astype(np.float64)), 1e-12)
    assert jnp.ones(2).dtype == jnp.float32
    w, k = sg.tensor(W, requires_grad=True), sg.tensor([2, 1, 0])  # labels make the program wide
    chosen = sg.jax_function(lambda u, k: (u * k + jnp.arange(3)).sum())
    for _ in range(3):
        w.grad = None
        (chosen(w, k) + (w.double().sum()).float()).backward()
        close(w.grad.numpy(), np.broadcast_to([3.0, 2, 1], (4, 3)))


def test_in_a_compiled_step():
    def train(wrap):
        sg.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            value = (soft(model(x)) ** 2).mean()
            value.backward()
            optimizer.step()
            return value

        run = wrap(step)
        return [run(sg.tensor(X)).item() for _ in range(4)], model.weight.detach().numpy()

    eager, compiled = train(lambda f: f), train(sg.compile)
    close(eager[0], compiled[0])
    close(eager[1], compiled[1])
    assert eager[0][-1] < eager[0][0]


def test_formulas_are_marked():
    u = sg.symbol("u", "n")
    z = soft(u)
    assert str(z.formula()) == "jax:soft(u)"
    slope = sg.grad((z**2).sum(), u).formula()
    assert str(slope) == "2 vjp[jax:soft](u)ᵀ jax:soft(u)   (not symbolic: derivative by jax.vjp)"
    assert slope.latex().endswith(r"\quad\text{(not symbolic: derivative by jax.vjp)}")
    A, B = sg.symbols("A:n,d  B:n,d")
    both = sg.jax_function(lambda a, b: a * b, "both")
    text = sg.derive((both(A, B) ** 2).sum()).unicode.splitlines()
    assert text[1:] == [
        "Z     = jax:both(A, B)",
        "L     = tr(Zᵀ Z)",
        "δZ    = 2 Z",
        "∂L/∂A = vjp[jax:both]₁(A, B)ᵀ δZ   (not symbolic: derivative by jax.vjp)",
        "∂L/∂B = vjp[jax:both]₂(A, B)ᵀ δZ   (not symbolic: derivative by jax.vjp)",
    ]


def test_source():
    u = sg.symbol("u", "n")
    total = soft(u).sum()
    program = sg.compile([total, sg.grad(total, u)])
    assert "Functions from elsewhere: soft, vjp_soft" in program.source
    assert "soft(u)  # z = jax:soft(u)" in program.source
    with pytest.raises(ProgramError, match="cannot write this operation as numpy source"):
        program.source_for("numpy")
    (value, slope) = program(X[0])
    close(value, plain(X[0]).sum())
    close(slope, np.tanh(X[0]))


def test_there_is_no_python_form():
    with pytest.raises(
        sg.SymgradError, match="jax:soft is a function written in JAX, so there is no"
    ):
        soft(sg.symbol("u", "n")).formula().python()


def test_one_trace_for_equal_calls():
    traced = []

    def counted(u):
        traced.append(u)
        return u * 2

    f = sg.jax_function(counted)
    assert sg.jax_function(counted) is f
    for _ in range(5):
        t = sg.tensor(X, requires_grad=True)
        f(t).sum().backward()
        t.grad.numpy()
    settled = len(traced)
    for _ in range(5):
        t = sg.tensor(X, requires_grad=True)
        f(t).sum().backward()
        t.grad.numpy()
    assert len(traced) == settled


def test_wrong_calls():
    with pytest.raises(TypeError, match="jax_function takes a function written in JAX, not a int"):
        sg.jax_function(3)
    with pytest.raises(TypeError, match="jax:soft was called without a tensor"):
        soft(1.0)
    with pytest.raises(TypeError, match="an argument that is no tensor must be hashable"):
        several(sg.tensor(X), {"inner": [sg.tensor(X)]}, words=bytearray(b"a"))


class Unhashable:
    __hash__ = None

    def __call__(self, u):
        return u + 1


def test_a_callable_that_cannot_be_hashed():
    f = sg.jax_function(Unhashable())
    assert repr(f) == "jax:Unhashable"
    close(f(sg.tensor(X)).numpy(), X + 1)


@pytest.mark.parametrize("word", NAMES.values(), ids=NAMES.keys())
def test_hostile_names(word):
    f = sg.jax_function(plain, word)
    u = sg.symbol("u", "n")
    total = f(u).sum()
    program = sg.compile([total, sg.grad(total, u)])
    check_source(program.source)
    close(program(X[0])[1], np.tanh(X[0]))
    derivation = sg.derive(total)
    assert len(str(derivation).splitlines()) == 5
    assert r"\input" not in derivation.latex()


# ------------------------------------------------------------------ tensors that reach JAX


@pytest.mark.parametrize(
    "call",
    [jnp.tanh, jnp.sum, jax.jit(lambda a: a), lambda a: jnp.dot(a, a), jnp.linalg.norm],
    ids=["tanh", "sum", "jit", "dot", "norm"],
)
@pytest.mark.parametrize("kind", ["value", "tracked", "symbol"])
def test_a_tensor_in_a_function_of_jax(call, kind):
    x = {
        "value": sg.ones(3),
        "tracked": sg.ones(3, requires_grad=True),
        "symbol": sg.symbol("x", 3),
    }[kind]
    with pytest.raises(sg.SymgradError) as problem:
        call(x)
    first, place, remedy = str(problem.value).split("\n  ")
    assert first.endswith(" is a symgrad tensor, but the function is JAX's.")
    assert place.startswith("test_jax_function.py:")
    assert "f = sg.jax_function(f), or give it the value alone, " in remedy


def test_what_goes_on_working_beside_jax():
    x = sg.ones(3, requires_grad=True)
    for found in (x + jnp.ones(3), jnp.ones(3) + x, jnp.ones(3) * x):
        assert isinstance(found, sg.Tensor)
    assert isinstance(jnp.asarray(x.detach()), jax.Array)
    assert not hasattr(x, "__jax_array__")


def test_what_is_remembered_has_a_bound():
    f = sg.jax_function(lambda u, k: u * k)
    for k in range(100):
        f(sg.ones(2), k)
    assert len(f._calls) == 64
    assert f(sg.ones(2), 3).tolist() == [3, 3]
