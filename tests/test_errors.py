"""What errors say, and that a call that failed has changed nothing."""

import copy

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim
from symgrad.functional.table import public

W = np.array([0.5, -0.25, 1.0], np.float32)
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def loss(params, x):
    return sg.tanh(x @ params["W"]).sum()


@pytest.fixture(scope="module")
def f():
    return sg.trace(loss, params={"W": "d"}, x="n,d")


@pytest.fixture
def p():
    return sg.tensor([1.0, 2.0, 3.0], requires_grad=True)


# ------------------------------------------------------------------------------- symbols


def test_inner_sizes_of_symbols():
    a, b = sg.symbols("A:n,d  b:k")
    with pytest.raises(sg.ShapeError, match=r"the inner sizes d and k are different letters"):
        a @ b
    with pytest.raises(sg.ShapeError, match=r"cannot be multiplied \(2x3 and 4x5\)"):
        sg.symbol("A", "2,3") @ sg.symbol("B", "4,5")


def test_reading_a_symbol():
    w = sg.symbol("w", "k")
    for read in (lambda: (w * w).sum().item(), lambda: float((w * w).sum()), w.tolist):
        with pytest.raises(sg.UnboundError, match=r"w.* is a symbol and no value is bound"):
            read()


def test_numbers_of_symbols():
    n = sg.symbol("n")
    for read in (
        lambda: int(n),
        lambda: float(n),
        n.item,
        lambda: np.asarray(n),
        lambda: n.numpy(force=True),
    ):
        with pytest.raises(sg.UnboundError) as problem:
            read()
        first, place, remedy = str(problem.value).split("\n  ")
        assert first == (
            "n (scalar): its value was asked for, but it is a symbol and no value is bound to it."
        )
        assert place.startswith("test_errors.py:")
        assert remedy == "Compile the expression (sg.compile) and call it with arrays."
    with pytest.raises(
        sg.UnboundError, match=r"n \* 2 \(scalar\): its value was .*, but n is a symbol"
    ):
        float(n * 2)
    for read in (int, float, lambda x: x.item()):
        with pytest.raises(sg.TraceError, match=r"^x \(scalar\): .*, but x has none while tracing"):
            sg.trace(read, x="") if read not in (int, float) else sg.trace(
                lambda x, read=read: read(x), x=""
            )


def test_sizes_of_symbols():
    with pytest.raises(sg.ShapeError, match="'3d' is neither a whole number nor a letter"):
        sg.symbol("w", "n,3d")
    with pytest.raises(sg.ShapeError, match="'X:' is not a name with sizes"):
        sg.symbols("X: n,d")


def test_missing_value_of_a_compiled_symbol():
    a, b = sg.symbols("a:n  b:n")
    program = sg.compile([(a * b).sum()])
    with pytest.raises(TypeError, match="the value of b is missing"):
        program(W)
    with pytest.raises(sg.ShapeError, match=r"b is n but was given an array of shape \(4, 3\)"):
        program(W, X)


# ------------------------------------------------------------------------------- tracing


def branching(x):
    if x.sum() > 0:
        return x.sum()
    return -x.sum()


def test_branches_while_tracing():
    with pytest.raises(
        sg.TraceError, match=r"this 'if' needs the value of x\.sum\(\) .*x has none"
    ):
        sg.trace(branching, x="n")
    with pytest.raises(sg.TraceError, match=r"sg\.where"):
        sg.trace(branching, x="n")


def test_results_of_traced_functions():
    with pytest.raises(sg.TraceError, match="returned tuple; a traced function returns one tensor"):
        sg.trace(lambda x: (x, x), x="n")
    vector = sg.trace(lambda x: 2 * x, x="n")
    with pytest.raises(sg.TraceError, match="only a scalar function carries our derivative"):
        _ = vector.jax


def test_argument_names():
    with pytest.raises(TypeError, match=r"no argument is called z\. Its arguments are params, x"):
        sg.trace(loss, params={"W": "d"}, x="n,d", z="n")
    with pytest.raises(TypeError, match=r"sizes are missing for x\. Its arguments are params, x"):
        sg.trace(loss, params={"W": "d"})
    with pytest.raises(TypeError, match="no argument is called y; sizes are missing for x"):
        sg.trace(loss, params={"W": "d"}, y="n,d")


def test_unknown_inputs(f):
    with pytest.raises(KeyError, match=r"loss has no input 'V'; it has params\.W, x"):
        f.grad("V")


# ------------------------------------------------------------------------------- compiled calls


def test_shapes_of_arrays(f):
    before = W.copy(), X.copy()
    for call in (f.compile(), f.compile(gradients=True), f.jax, jax.jit(f.jax), jax.grad(f.jax)):
        with pytest.raises(sg.ShapeError, match=r"x has shape \(3, 4\), declared n×d, but d is 3"):
            call({"W": W}, X.T)
        with pytest.raises(sg.ShapeError, match=r"x has shape \(4,\) but was declared n×d"):
            call({"W": W}, X[:, 0])
    np.testing.assert_array_equal(W, before[0])
    np.testing.assert_array_equal(X, before[1])


def test_containers(f):
    for wrong in ({"V": W}, [W], W, {"W": W, "V": W}):
        for call in (f.compile(), f.compile(gradients=True), f.jax):
            with pytest.raises(sg.ShapeError, match=r"loss\(params=…\): the containers differ"):
                call(wrong, X)


def test_missing_arguments(f):
    with pytest.raises(TypeError, match=r"loss\(\) misses the argument 'x'"):
        f.compile()({"W": W})


def test_too_many_arguments(f):
    with pytest.raises(TypeError, match=r"loss\(\) takes 2 arguments: params, x; it was given 3"):
        f.compile()({"W": W}, X, X)
    with pytest.raises(TypeError, match=r"loss\(\) has no argument 'z'"):
        f.compile()({"W": W}, X, z=X)
    with pytest.raises(TypeError, match=r"loss\(\) has two values for the argument 'x'"):
        f.compile()({"W": W}, X, x=X)


def held(tree):
    return jax.tree.map(np.array, tree)


def same(tree, before):
    assert jax.tree.structure(tree) == jax.tree.structure(before)
    jax.tree.map(np.testing.assert_array_equal, tree, before)


@pytest.mark.parametrize("kind", ["row", "optax"])
def test_training_steps(f, kind):
    if kind == "row":
        step = f.training_step(optim.Adam, lr=0.1)
    else:
        step = f.training_step(pytest.importorskip("optax").adam(0.1))
    params, state = step.init({"W": W})
    before = held((params, state))
    with pytest.raises(sg.ShapeError, match=r"x has shape \(3, 4\), declared n×d, but d is 3"):
        step(params, state, X.T)
    with pytest.raises(sg.ShapeError, match=r"x has shape \(4,\) but was declared n×d"):
        step(params, state, X[:, 0])
    with pytest.raises(TypeError, match=r"loss\(\) misses the argument 'x'"):
        step(params, state)
    for wrong in ({"V": params["W"]}, [params["W"]], {**params, "V": params["W"]}):
        with pytest.raises(sg.ShapeError, match=r"loss\(params=…\): the containers differ"):
            step(wrong, state, X)
    same((params, state), before)
    step(params, state, X)


def test_first_parameters(f):
    step = f.training_step(optim.Adam, lr=0.1)
    with pytest.raises(sg.ShapeError, match=r"params.W has shape \(4, 3\) but was declared d"):
        step.init({"W": X})
    with pytest.raises(sg.ShapeError, match=r"loss\(params=…\): the containers differ"):
        step.init({"V": W})


def test_optimizers(f):
    with pytest.raises(TypeError, match=r"expected an optimizer class such as optim\.Adam"):
        f.training_step(3)


# ------------------------------------------------------------------------------- devices


def test_devices(f, p):
    with pytest.raises(sg.DeviceError, match="expected one of cpu, cuda device type"):
        sg.ones(3, device="tpux")
    with pytest.raises(sg.DeviceError, match="expected one of cpu, cuda device type"):
        p.to("nowhere")
    with pytest.raises(sg.DeviceError, match=r"device cuda:99: this machine has \d+ CUDA devices"):
        sg.ones(3, device="cuda:99")
    with pytest.raises(sg.DeviceError, match="this machine has no such device"):
        f.training_step(optim.SGD, lr=0.1, device="quux")
    with pytest.raises(sg.DeviceError, match="this machine has no such device"):
        f.training_step(optim.SGD, lr=0.1, device="cpu:99")


# ------------------------------------------------------------------------------- autograd


def test_gradients_of_vectors(p):
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar output"):
        (p * 2).backward()
    assert p.grad is None
    assert p.tolist() == [1, 2, 3]


def test_shape_of_the_incoming_gradient(p):
    with pytest.raises(RuntimeError, match=r"grad_output has a shape of \[2\]"):
        (p * 2).backward(sg.ones(2))
    assert p.grad is None


def test_gradients_of_integers():
    with pytest.raises(sg.DTypeError, match="only Tensors of floating point and complex dtype"):
        sg.tensor([1, 2], requires_grad=True)
    t = sg.tensor([1, 2])
    with pytest.raises(sg.DTypeError, match="only Tensors of floating point and complex dtype"):
        t.requires_grad_()
    assert not t.requires_grad
    assert t.tolist() == [1, 2]


def test_backward_twice(p):
    value = (p * p).sum()
    value.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        value.backward()
    assert p.grad.tolist() == [2, 4, 6]


def test_backward_without_parameters():
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
        sg.ones(3).sum().backward()


def test_in_place_on_leaves(p):
    def assign():
        p[0] = 7

    for change in (lambda: p.add_(1), p.zero_, lambda: p.mul_(2), assign):
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used"):
            change()
    assert p.tolist() == [1, 2, 3]
    assert p.requires_grad
    assert p.is_leaf


def test_values_changed_after_they_were_saved(p):
    h = p * 2
    value = (h * h).sum()
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()
    assert p.grad is None


def test_in_place_shapes():
    t = sg.ones(3)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        t.add_(sg.ones(2, 3))
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
        sg.tensor([1, 2]).add_(0.5)
    assert t.tolist() == [1, 1, 1]


def test_failed_steps_of_a_loop_change_nothing():
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    model(sg.tensor(X)).pow(2).mean().backward()
    optimizer.step()
    weights = [q.detach().numpy().copy() for q in model.parameters()]
    slopes = [q.grad.numpy().copy() for q in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(sg.ShapeError, match=r"cannot be multiplied \(3x4 and 3x2\)"):
        model(sg.tensor(X.T))
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        model(sg.tensor(X)).backward()
    for q, weight, slope in zip(model.parameters(), weights, slopes, strict=True):
        np.testing.assert_array_equal(q.detach().numpy(), weight)
        np.testing.assert_array_equal(q.grad.numpy(), slope)
    assert repr(optimizer.state_dict()) == repr(state)


def test_failed_compiled_steps_change_nothing():
    sg.manual_seed(0)  # a step from small weights would go too far
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    @sg.compile
    def step(x):
        optimizer.zero_grad()
        value = model(x).pow(2).mean()
        value.backward()
        optimizer.step()
        return value

    first = step(sg.tensor(X)).item()
    weights = [q.detach().numpy().copy() for q in model.parameters()]
    state = repr(optimizer.state_dict())
    with pytest.raises(sg.ShapeError, match=r"cannot be multiplied \(3x4 and 3x2\)"):
        step(sg.tensor(X.T))
    for q, weight in zip(model.parameters(), weights, strict=True):
        np.testing.assert_array_equal(q.detach().numpy(), weight)
        with pytest.raises(sg.TraceError, match="stayed inside the compiled function step"):
            q.grad  # noqa: B018
    assert repr(optimizer.state_dict()) == state
    assert step(sg.tensor(X)).item() < first


@pytest.mark.parametrize(("call", "what"), [
    (lambda x: x.roll(1, 0), "roll"),
    (lambda x: x.diagonal(1), "diagonal"),
    (len, r"len\(\)"),
    (list, "iteration"),
])  # fmt: skip
def test_a_letter_where_a_number_is_needed(call, what):
    with pytest.raises(sg.ShapeError, match=rf"{what} needs a size that is a number, but got the"):
        call(sg.symbol("x", "n,4"))


def test_a_public_function_is_declared_once():
    with pytest.raises(ValueError, match="'add' is declared twice"):
        public("add")(lambda a: a)


def test_a_symbol_has_no_array():
    with pytest.raises(sg.UnboundError, match="it is a symbol"):
        sg.symbol("x", "n").numpy()
    with pytest.raises(RuntimeError, match="requires grad"):
        sg.ones(2, requires_grad=True).numpy()
