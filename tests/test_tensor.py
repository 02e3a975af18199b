"""The public functions as PyTorch has them: values, dtypes and gradients of one row each."""

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

FUNCTIONS = {
    "exp": lambda t, x, y: x.exp(),
    "log2": lambda t, x, y: t.log2(x.abs() + 1),
    "exp2": lambda t, x, y: t.exp2(x),
    "atan2": lambda t, x, y: t.atan2(x, y),
    "logaddexp": lambda t, x, y: t.logaddexp(x, y),
    "hypot": lambda t, x, y: t.hypot(x, y),
    "lerp": lambda t, x, y: t.lerp(x, y, 0.3),
    "clamp": lambda t, x, y: x.clamp(-0.5, 0.5),
    "nan_to_num": lambda t, x, y: t.nan_to_num(x),
    "max": lambda t, x, y: x.max(),
    "max along": lambda t, x, y: x.max(1).values,
    "max of two": lambda t, x, y: t.max(x, y),
    "min along": lambda t, x, y: x.min(dim=0, keepdim=True)[0],
    "median": lambda t, x, y: x.median(),
    "median along": lambda t, x, y: x.median(1)[0],
    "sort": lambda t, x, y: x.sort(0, descending=True).values,
    "topk": lambda t, x, y: x.topk(2, dim=1)[0],
    "prod": lambda t, x, y: x.prod(1),
    "prod of all": lambda t, x, y: x.prod(),
    "cumprod": lambda t, x, y: x.cumprod(1),
    "cumsum": lambda t, x, y: x.cumsum(0),
    "var": lambda t, x, y: x.var(0),
    "std": lambda t, x, y: x.std(),
    "norm": lambda t, x, y: x.norm(dim=1),
    "norm 1": lambda t, x, y: x.norm(p=1),
    "logsumexp": lambda t, x, y: x.logsumexp(1),
    "softmax": lambda t, x, y: x.softmax(0),
    "log_softmax": lambda t, x, y: x.log_softmax(1),
    "cat": lambda t, x, y: t.cat([x, y, x], 1),
    "stack": lambda t, x, y: t.stack([x, y], -1),
    "repeat": lambda t, x, y: x.repeat(2, 3),
    "repeat_interleave": lambda t, x, y: x.repeat_interleave(2, 1),
    "roll": lambda t, x, y: x.roll(1, 1),
    "flip": lambda t, x, y: x.flip((0, 1)),
    "tril": lambda t, x, y: x.tril(1),
    "diagonal": lambda t, x, y: x.diagonal(1),
    "diag": lambda t, x, y: t.diag(x[0], 1),
    "diff": lambda t, x, y: x.diff(),
    "outer": lambda t, x, y: t.outer(x[0], y[1]),
    "einsum": lambda t, x, y: t.einsum("ij,kj->ik", x, y),
    "einsum dots": lambda t, x, y: t.einsum("...i,...i", x, y),
    "kron": lambda t, x, y: t.kron(x, y),
    "matmul": lambda t, x, y: x @ y.T,
    "gather": lambda t, x, y: x.gather(1, t.tensor([[0, 0], [2, 1], [1, 1]])),
    "index_select": lambda t, x, y: x.index_select(1, t.tensor([2, 0, 2])),
    "scatter_add": lambda t, x, y: x.scatter_add(
        1, t.tensor([[0, 0, 1, 2], [2, 1, 3, 3], [1, 1, 0, 0]]), y
    ),
    "index_add": lambda t, x, y: x.index_add(0, t.tensor([1, 1, 0]), y),
    "take": lambda t, x, y: x.take(t.tensor([0, 5])),
    "positions": lambda t, x, y: x[[0, 2, 2], [1, 1, 0]],
    "masked_fill": lambda t, x, y: x.masked_fill(y > 0, 3.0),
    "where": lambda t, x, y: t.where(x > y, x, y * 2),
    "chunk": lambda t, x, y: x.chunk(2, dim=1)[1],
    "split": lambda t, x, y: t.split(x, [1, 3], 1)[1],
    "unbind": lambda t, x, y: x.unbind(1)[2],
    "pad": lambda t, x, y: t.nn.functional.pad(x, (1, 0, 2, 1), value=2.0),
    "cdist": lambda t, x, y: t.cdist(x, y),
    "movedim": lambda t, x, y: x.unsqueeze(0).movedim(0, 2),
    "expand": lambda t, x, y: x.unsqueeze(1).expand(-1, 2, -1),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_values_and_gradients(function):
    rng = np.random.default_rng(3)
    arrays = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    found = []
    for t in (sg, torch):
        x, y = (t.tensor(a, requires_grad=True) for a in arrays)
        out = function(t, x, y)
        weights = t.tensor(np.cos(np.arange(out.numel())).reshape(tuple(out.shape)))
        (out * weights).sum().backward()
        slopes = [None if v.grad is None else v.grad.numpy() for v in (x, y)]
        found.append((out.detach().numpy(), slopes, str(out.dtype)))
    (ours, our_slopes, our_type), (theirs, their_slopes, their_type) = found
    assert our_type == their_type
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    for a, b in zip(our_slopes, their_slopes, strict=True):
        zero = np.zeros((3, 4))
        np.testing.assert_allclose(zero if a is None else a, zero if b is None else b,
                                   rtol=1e-10, atol=1e-12)  # fmt: skip


DATA = {
    "argmax": lambda t, x: t.argmax(x),
    "argsort": lambda t, x: x.argsort(1),
    "nonzero": lambda t, x: (x > 3).nonzero(),
    "unique": lambda t, x: t.unique(x % 3),
    "bincount": lambda t, x: t.bincount(x.reshape(-1)),
    "masked_select": lambda t, x: t.masked_select(x, x > 4),
    "count_nonzero": lambda t, x: t.count_nonzero(x, 1),
    "meshgrid": lambda t, x: t.meshgrid(x[0], x[1], indexing="ij")[1],
    "isin": lambda t, x: t.isin(x, t.tensor([1, 5])),
    "sum": lambda t, x: x.sum(0),
    "floor_divide": lambda t, x: x // 2,
    "divide": lambda t, x: x / 2,
    "promote": lambda t, x: x + 0.5,
    "compare": lambda t, x: (x > 2) & (x < 5),
    "histogram of bytes": lambda t, x: x.to(t.uint8) + 250,
}


@pytest.mark.parametrize("function", DATA.values(), ids=DATA.keys())
def test_integers(function):
    ours, theirs = (function(t, t.tensor([[3, 1, 4], [1, 5, 2]])) for t in (sg, torch))
    assert repr(ours) == repr(theirs)


def test_text_is_pytorchs():
    for make in (
        lambda t: t.arange(2000).view(2, -1),
        lambda t: t.tensor([1e-5, 1.0, float("nan"), float("inf")]),
        lambda t: t.zeros(2, 0, 3),
        lambda t: t.ones(2, dtype=t.float64, requires_grad=True),
        lambda t: t.ones(3, requires_grad=True) * 2,
        lambda t: t.tensor([1 + 2j, 0.5]),
        lambda t: t.full((3, 40), 1 / 3),
    ):
        assert repr(make(sg)) == repr(make(torch))


def test_functional_derivatives():
    x = sg.tensor([1.0, 2.0])
    assert sg.autograd.functional.hessian(lambda v: (v**3).sum(), x).tolist() == [[6, 0], [0, 12]]
    assert sg.autograd.functional.jacobian(lambda v: v * v, x).tolist() == [[2, 0], [0, 4]]


def test_gradcheck_sees_a_wrong_derivative():
    x = sg.tensor([0.3, 1.2], dtype=sg.float64, requires_grad=True)
    assert sg.autograd.gradcheck(lambda v: (v**3).sum(), (x,))
    assert not sg.autograd.gradcheck(lambda v: (v * v.detach()).sum(), (x,), raise_exception=False)


MATRICES = {
    "inv": lambda t, a: t.linalg.inv(a),
    "det": lambda t, a: t.linalg.det(a),
    "solve": lambda t, a: t.linalg.solve(a, a[:, :2] * 2),
    "solve vector": lambda t, a: t.linalg.solve(a, a[0]),
    "cholesky": lambda t, a: t.linalg.cholesky(a @ a.T),
    "slogdet": lambda t, a: t.linalg.slogdet(a)[1],
    "eigvalsh": lambda t, a: t.linalg.eigvalsh(a @ a.T),
    "svdvals": lambda t, a: t.linalg.svdvals(a),
    "norm": lambda t, a: t.linalg.norm(a),
    "power": lambda t, a: t.linalg.matrix_power(a, -2),
}


@pytest.mark.parametrize("function", MATRICES.values(), ids=MATRICES.keys())
def test_matrix_functions(function):
    array = np.random.default_rng(5).standard_normal((3, 3)) + 3 * np.eye(3)
    found = []
    for t in (sg, torch):
        a = t.tensor(array, requires_grad=True)
        out = function(t, a)
        (out * out).sum().backward()
        found.append((out.detach().numpy(), a.grad.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


def test_limits():
    for name in ("float16", "bfloat16", "float32", "float64"):
        ours, theirs = (t.finfo(getattr(t, name)) for t in (sg, torch))
        assert [ours.eps, ours.max, ours.tiny, ours.bits] == [
            theirs.eps, theirs.max, theirs.tiny, theirs.bits,
        ]  # fmt: skip
    assert sg.iinfo(sg.int8).min == -128


def test_products_with_a_zero_expression_have_the_shape_of_all_factors():
    x, y = sg.ones(3, requires_grad=True), sg.ones(2)
    for first, second in ((x - x, y), (y, x - x)):
        made = sg.einsum("i,j->ij", first, second)
        assert made.shape == (first.shape[0], second.shape[0])
        assert not made.any()


@pytest.mark.parametrize("call", [
    lambda l, t: t.new_zeros(3, requires_grad=True, device="cpu"),
    lambda l, t: t.new_ones((2, 3)),
    lambda l, t: t.new_full((2,), 3),
    lambda l, t: l.full((2,), 1j),
    lambda l, t: l.full((2,), True),
    lambda l, t: l.full_like(input=t, fill_value=3, memory_format=None),
    lambda l, t: l.zeros_like(input=t, dtype=l.int64, layout=None),
    lambda l, t: l.ones_like(t, requires_grad=True),
    lambda l, t: l.arange(l.tensor(3)),
    lambda l, t: l.arange(2.5, 7, l.tensor(2)),
])  # fmt: skip
def test_new_tensors_take_what_pytorch_takes(call):
    found, wanted = call(sg, sg.tensor([1.0, 2.0])), call(torch, torch.tensor([1.0, 2.0]))
    assert str(found) == str(wanted)
    assert str(found.dtype) == str(wanted.dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "int8"])
def test_steps_between_two_ends_are_pytorchs_to_the_bit(dtype):
    for start, end in ((0, 1), (-3, 7), (0.5, 9.7), (100, 0), (-2.5, -2.5), (-25, 11)):
        for steps in (1, 2, 3, 7, 10, 31, 33):
            found, wanted = (
                t.linspace(start, end, steps, dtype=getattr(t, dtype)).double().tolist()
                for t in (sg, torch)
            )
            assert found == wanted


def test_new_tensors_refuse_what_pytorch_refuses():
    with pytest.raises(ValueError, match="step must be nonzero"):
        sg.arange(0, 1, 0.1, dtype=sg.int64)
    with pytest.raises(TypeError, match="bogus"):
        sg.ones(2).new_zeros(3, bogus=True)


def test_a_formula_leaves_its_tensors_as_they_were():
    w = sg.tensor([1.0, 2.0], requires_grad=True)
    assert str((w.detach() + 1).formula()) == "w + 1"
    assert (w * 2).requires_grad
    assert repr(w.detach() * 2) == "tensor([2., 4.])"
    labels, x = sg.tensor([0, -100]), sg.randn(2, 3)
    assert str((labels * 1).formula()) == "labels"
    loss = sg.nn.functional.cross_entropy(x, labels).item()
    assert loss == pytest.approx(sg.nn.functional.cross_entropy(x[:1], labels[:1]).item())


@pytest.mark.parametrize("call", [
    lambda l: l.tensor([6, 5, -1]) & l.tensor([3, 1, 7]),
    lambda l: l.tensor([6, 5]) | 1,
    lambda l: 3 ^ l.tensor([6, 5]),
    lambda l: ~l.tensor([6, 5, -3]),
    lambda l: ~l.tensor([True, False]),
    lambda l: l.tensor([True, False]) & l.tensor([True, True]),
    lambda l: l.tensor([True, False]) | 2,
    lambda l: l.bitwise_xor(l.tensor([6, 5], dtype=l.uint8), l.tensor([3, 1], dtype=l.uint8)),
    lambda l: l.tensor([6, 5]).bitwise_not(),
    lambda l: l.tensor([1.5]) & l.tensor([3]),
    lambda l: ~l.tensor([1.5]),
])  # fmt: skip
def test_signs_of_logic_work_on_bits(call):
    try:
        wanted = call(torch)
    except (RuntimeError, TypeError):
        with pytest.raises(NotImplementedError, match="bits are those of integers"):
            call(sg)
    else:
        found = call(sg)
        assert str(found) == str(wanted)
        assert str(found.dtype) == str(wanted.dtype)


def test_a_parameter_that_was_written_to_keeps_its_name():
    x = sg.ones(2, 3)
    layer = sg.nn.Linear(3, 2)
    layer.load_state_dict(sg.nn.Linear(3, 2).state_dict())
    w = sg.nn.Parameter(sg.ones(2))
    with sg.no_grad():
        w -= 0.1 * x.sum()
    block = sg.derive((layer(x) @ w).sum())
    assert str(block).splitlines()[0] == "sizes    x: 2×3   W: 2×3   b: 2   w: 2"
    assert "∂L/∂w = " in str(block)


def test_a_parameter_made_from_symbols_is_known_by_them():
    a = sg.symbol("a", "n")
    w = (2 * a).detach().requires_grad_()
    assert str((w * w).sum().formula()) == "4 aᵀ a"
