"""Every op against JAX, finite differences and PyTorch, from one table (``op_examples.py``)."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from symgrad.autodiff import gradient, pull_back
from symgrad.core import dtypes
from symgrad.core.build import cast, contract, product, reduce_sum
from symgrad.core.expr import symbol
from symgrad.core.op import OPS
from symgrad.core.traverse import topological
from symgrad.evaluate import concrete, evaluate
from tests.jax_reference import central_differences, in_jax, scalar_function
from tests.op_examples import ROWS, SIZES, sample

EVERY = [pytest.param(r, id=r.label.replace(" ", "-")) for r in ROWS]
DIFFERENTIABLE = [
    p
    for p in EVERY
    if any(e.dtype.differentiable for e in p.values[0].outputs())
    and any(a.dtype.differentiable for a in p.values[0].arguments)
]


def feeds_of(row, seed=0):
    rng = np.random.default_rng([seed, *row.label.encode()])
    return dict(zip(row.symbols(), (sample(a, rng) for a in row.arguments), strict=True))


def jax_feeds(feeds):
    return {
        leaf: jax.random.key(int(v)) if leaf.dtype is dtypes.key else jax.numpy.asarray(v)
        for leaf, v in feeds.items()
    }


def weighted_sum(outputs, feeds, tag=""):
    """Σ c ⊙ output for fixed random c: a scalar in which every entry counts differently."""
    total = None
    rng = np.random.default_rng(7)
    for k, e in enumerate(outputs):
        if not e.dtype.differentiable:
            continue
        weight = symbol(f"c{tag}{k}", e.shape, dtypes.float64)
        feeds[weight] = rng.uniform(-1, 1, concrete(e.shape, SIZES))
        part = reduce_sum(product(cast(e, dtypes.float64), weight), range(e.ndim))
        total = part if total is None else total + part
    return total


def needed(root, feeds):
    """The feeds that an expression uses, and those that carry its letters."""
    return {leaf: v for leaf, v in feeds.items() if leaf.dtype is not dtypes.key}


def close(found, expected, tolerance, what):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    scale = max(1.0, np.abs(expected).max()) if expected.size else 1.0
    assert np.isfinite(found).all(), what
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale,
                               err_msg=what)  # fmt: skip


def test_every_op_has_a_row():
    assert not OPS.keys() - {row.op for row in ROWS}


def test_every_row_holds_its_op():
    for row in ROWS:
        assert row.op in {e.op.name for e in topological(row.outputs())}, row.label


@pytest.mark.parametrize("row", EVERY)
def test_rebuilding_gives_the_same_node(row):
    for e in topological(row.outputs()):
        assert e.func(*e.args) is e


@pytest.mark.parametrize("row", EVERY)
def test_value(row):
    """NumPy's form equals JAX's; shape and dtype are the inferred ones."""
    feeds = feeds_of(row)
    outputs = row.outputs()
    found = evaluate(outputs, feeds, SIZES)
    with jax.enable_x64(True):
        expected = in_jax(outputs, jax_feeds(feeds), SIZES)
    for e, ours, theirs in zip(outputs, found, expected, strict=True):
        shape = concrete(e.shape, SIZES)
        assert ours.shape == shape
        assert ours.dtype == e.dtype.numpy
        assert theirs.shape == shape
        if e.dtype is dtypes.key:
            assert jax.dtypes.issubdtype(theirs.dtype, jax.dtypes.prng_key)
            continue
        assert theirs.dtype == e.dtype.numpy
        if "random" not in OPS[row.op].traits:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", DIFFERENTIABLE)
def test_derivatives(row):
    """Gradient, Jacobian and second derivative against JAX's own; gradient by differences too."""
    feeds = feeds_of(row)
    outputs = row.outputs()
    wanted = [s for s in row.symbols() if s.dtype.differentiable]
    output = weighted_sum(outputs, feeds)
    first = gradient(output, wanted)
    second_output = weighted_sum(first, feeds, "d")
    second = gradient(second_output, wanted)
    whole = [e for e in outputs if e.dtype.differentiable][0]
    jacobians = pull_back({whole: identity_seed(whole)}, wanted)
    arrays = [feeds[w] for w in wanted]
    ours = evaluate([*first, *second, *[j for j in jacobians if j is not None]], feeds, SIZES)
    count = len(wanted)
    if row.in_jax:
        with jax.enable_x64(True):
            fixed = jax_feeds(feeds)
            scalar = scalar_function(output, wanted, fixed)
            weights = [fixed[s] for s in fixed if s.params[0].startswith("cd")]

            def directed(*xs):
                grads = jax.grad(scalar, tuple(range(count)))(*xs)
                return sum((g * c).sum() for g, c in zip(grads, weights, strict=True))

            def everything(*xs):
                return (
                    jax.grad(scalar, tuple(range(count)))(*xs),
                    jax.grad(directed, tuple(range(count)))(*xs) if row.smooth else (),
                    jax.jacrev(scalar_function(whole, wanted, fixed), tuple(range(count)))(*xs),
                )

            grads, seconds, jacs = jax.jit(everything)(*arrays)
        for k, g in enumerate(grads):
            close(ours[k], g, row.tolerance, f"gradient by argument {k}")
        for k, g in enumerate(seconds):
            close(ours[count + k], g, 100 * row.tolerance, f"second derivative, argument {k}")
        rest = iter(ours[2 * count :])
        for j, theirs in zip(jacobians, jacs, strict=True):
            close(next(rest) if j is not None else np.zeros(theirs.shape), theirs, row.tolerance,
                  "Jacobian")  # fmt: skip
    if row.finite:

        def at(moved):
            return evaluate([output], {**feeds, **dict(zip(wanted, moved, strict=True))}, SIZES)[0]

        for k, slope in enumerate(central_differences(at, arrays)):
            close(ours[k], slope, 1e-6, f"finite differences, argument {k}")


def identity_seed(e):
    """δ over the axes of ``e`` twice: the seed whose pull-back is the whole Jacobian."""
    axes = list(range(e.ndim))
    return contract([], [], [*axes, *axes], dict(enumerate(e.shape)), e.dtype)


def test_detach_stops_the_gradient():
    (row,) = [r for r in ROWS if r.op == "detach"]
    feeds = feeds_of(row)
    (x,) = row.symbols()
    (g,) = gradient(reduce_sum(row.outputs()[0], range(2)), [x])
    np.testing.assert_array_equal(evaluate([g], feeds)[0], feeds[x])


@pytest.mark.parametrize("row", [p for p in EVERY if "random" in OPS[p.values[0].op].traits])
def test_draws_are_functions_of_the_key(row):
    """The same key gives the same numbers, another key others; two keys never merge."""
    outputs = row.outputs()
    feeds = feeds_of(row)
    once, twice = evaluate(outputs, feeds, SIZES), evaluate(outputs, feeds, SIZES)
    other = evaluate(outputs, {**feeds, row.symbols()[0]: np.uint64(5)}, SIZES)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a, b)
    if row.op != "bernoulli":
        assert any((a != b).any() for a, b in zip(once, other, strict=True))
    assert len({id(e) for e in outputs}) == len(outputs)


# ------------------------------------------------------------------ PyTorch

TORCH = {
    "sigmoid": "sigmoid", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "lgamma": "lgamma",
    "atan2": "atan2", "remainder": "remainder", "fmod": "fmod", "floor_divide": "floor_divide",
    **{n: n for n in (
        "exp", "log", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
        "tanh", "asinh", "acosh", "atanh", "relu", "maximum", "minimum", "abs", "sign", "floor",
        "ceil", "round", "trunc", "pow",
    )},
}  # fmt: skip


@pytest.mark.parametrize(
    "row", [p for p in EVERY if p.values[0].op in TORCH and not p.values[0].note]
)
def test_values_and_gradients_are_those_of_pytorch(row):
    torch = pytest.importorskip("torch")
    feeds = feeds_of(row)
    output = weighted_sum(row.outputs(), feeds)
    wanted = list(row.symbols())
    weight = next(v for s, v in feeds.items() if s.params[0] == "c0")
    inputs = [torch.tensor(feeds[w], requires_grad=True) for w in wanted]
    value = getattr(torch, TORCH[row.op])(*inputs)
    ours = evaluate([*row.outputs(), *gradient(output, wanted)], feeds)
    np.testing.assert_allclose(ours[0], value.detach().numpy(), rtol=1e-12)
    if not value.requires_grad:
        return
    value.backward(torch.tensor(weight))
    for found, given in zip(ours[1:], inputs, strict=True):
        expected = given.grad.numpy() if given.grad is not None else np.zeros(given.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------ errors


def _x(*shape):
    return symbol("x", shape, dtypes.float64)
