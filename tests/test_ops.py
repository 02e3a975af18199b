"""Every operation against two witnesses: the compiled JAX program, and central differences.

The table of examples is ``tests/op_rows.py``; an operation without a row fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest
from symgrad_codegen.compile import compiled

import symgrad as sg
import symgrad.ops
from symgrad.autodiff import gradient, pull_back
from symgrad.core import dtypes
from symgrad.core.build import add, cast, product, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.core.op import OPS
from symgrad.core.traverse import topological
from symgrad.errors import DerivativeError
from symgrad.evaluate import evaluate
from symgrad.lower import lower
from tests.op_rows import ROWS, SIZES, Array, Row, symbols_of, values_of

RANDOM = sorted(name for name, op in OPS.items() if "random" in op.traits)
COMPUTED = sorted(ROWS.keys() - set(RANDOM))
DIFFERENTIATED = sorted(n for n, row in ROWS.items() if row.gradient in ("first", "both orders"))
Feeds = dict[Expr, Array]
CONCATENATE_VJP: Any = OPS["concatenate"].vjp


def _outputs(row: Row, symbols: Sequence[Expr]) -> list[Expr]:
    made = row.build(*symbols)
    return [made] if isinstance(made, Expr) else list(made)


def _loss(outputs: Sequence[Expr], feeds: Feeds, tag: str) -> Expr:
    """Σ c ⊙ (y + y²) with a random c for each differentiable output y, bound in ``feeds``."""
    rng = np.random.default_rng(len(feeds) + 17)
    parts: list[Expr] = []
    for k, y in enumerate(outputs):
        if not y.dtype.differentiable:
            continue
        weight = symbol(f"w{tag}{k}", y.shape, dtypes.float64)
        feeds[weight] = rng.standard_normal(_lettered(y.shape))
        y = cast(y, dtypes.float64)
        parts.append(reduce_sum(product(weight, y + product(y, y)), range(y.ndim)))
    return add(parts)


def _lettered(shape: Sequence[Any]) -> list[int]:
    """A shape as plain numbers."""
    return [s if isinstance(s, int) else int(s.value(SIZES)) for s in shape]


def _run(outputs: Sequence[Expr], feeds: Feeds) -> list[Array]:
    """Values by the compiled JAX program."""
    inputs = list(feeds)
    program = lower("example", inputs, [(f"y{k}", e) for k, e in enumerate(outputs)])
    found = compiled(program)(*[_given(e, feeds[e]) for e in inputs])
    return [np.asarray(v) for v in (found if len(outputs) > 1 else [found])]


def _given(leaf: Expr, value: Array) -> Any:
    if leaf.dtype is dtypes.key:
        return jax.random.key(int(value) % 2**31)
    return value


def _close(found: Any, expected: Any, tolerance: float, what: str) -> None:
    size = float(np.max(np.abs(expected), initial=1.0))
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=tolerance * max(size, 1), err_msg=what
    )


def _central(e: Expr, leaf: Expr, feeds: Feeds, step: float) -> Array:
    """The gradient of a scalar by central differences."""
    value = feeds[leaf]
    result = np.zeros(value.shape)
    for at in np.ndindex(value.shape):
        ends: list[float] = []
        for sign in (1, -1):
            moved = value.copy()
            moved[at] += sign * step
            ends.append(float(evaluate([e], {**feeds, leaf: moved}, SIZES)[0]))
        result[at] = (ends[0] - ends[1]) / (2 * step)
    return result


def _jax_gradients(loss: Expr, wanted: Sequence[Expr], feeds: Feeds) -> list[Array]:
    """``jax.grad`` of the function that the program was compiled from."""
    inputs = list(feeds)
    function = compiled(lower("loss", inputs, [("loss", loss)])).function
    positions = tuple(inputs.index(w) for w in wanted)
    with jax.enable_x64(True):
        found = jax.grad(function, positions)(*[jax.numpy.asarray(feeds[e]) for e in inputs])
    return [np.asarray(g) for g in found]


def check_gradients(name: str, second: bool) -> None:
    """Raises AssertionError where the derivative of a row is not the derivative of its value."""
    row = ROWS[name]
    symbols = symbols_of(row)
    feeds: Feeds = dict(zip(symbols, values_of(row), strict=True))
    loss = _loss(_outputs(row, symbols), feeds, "")
    wanted = [s for s in symbols if s.dtype.differentiable]
    found = gradient(loss, wanted)
    if second:
        loss = _loss(found, feeds, "g")
        found = gradient(loss, wanted)
    values = evaluate(found, feeds, SIZES)
    if not second:
        for leaf, mine, theirs in zip(
            wanted, values, _jax_gradients(loss, wanted, feeds), strict=True
        ):
            _close(mine, theirs, max(1e-9, row.tolerance * 1e-3), f"{leaf}: jax.grad")
    for leaf, mine, compiled_value in zip(wanted, values, _run(found, feeds), strict=True):
        _close(compiled_value, mine, max(1e-9, row.tolerance * 1e-2), f"{leaf}: compiled")
        assert mine.shape == feeds[leaf].shape
        _close(mine, _central(loss, leaf, feeds, row.step), row.tolerance, f"{leaf}: differences")


def test_every_operation_has_a_row_and_every_row_an_operation():
    assert sorted(OPS) == sorted(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_the_example_of_a_row_uses_the_operation(name):
    row = ROWS[name]
    outputs = _outputs(row, symbols_of(row))
    assert OPS[name] in {e.op for e in topological(outputs)}


@pytest.mark.parametrize("name", ROWS)
def test_a_derivative_is_promised_exactly_where_there_is_a_rule(name):
    op = OPS[name]
    ruled = op.derivative is not None or op.vjp is not None or op.family in (
        "leaf", "contraction", "sum", "projection", "scan",
    )  # fmt: skip
    assert ruled or ROWS[name].gradient == "none" or name == "onehot"


@pytest.mark.parametrize("name", COMPUTED)
def test_numpy_evaluation_and_the_compiled_program_agree(name):
    row = ROWS[name]
    symbols = symbols_of(row)
    outputs = _outputs(row, symbols)
    for seed in (0, 1):
        feeds: Feeds = dict(zip(symbols, values_of(row, seed), strict=True))
        expected = evaluate(outputs, feeds, SIZES)
        for e, mine, theirs in zip(outputs, _run(outputs, feeds), expected, strict=True):
            assert list(theirs.shape) == _lettered(e.shape)
            assert mine.dtype == theirs.dtype == e.dtype.numpy
            _close(mine, theirs, 1e-9, f"seed {seed}")


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradient_is_central_differences_and_jax_grad(name):
    check_gradients(name, second=False)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIATED if ROWS[n].gradient == "both orders"])
def test_second_order_gradient_is_central_differences(name):
    check_gradients(name, second=True)


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_adjoints_with_extra_leading_axes_give_one_gradient_per_entry(name):
    row = ROWS[name]
    symbols = symbols_of(row)
    outputs = [y for y in _outputs(row, symbols) if y.dtype.differentiable]
    wanted = [s for s in symbols if s.dtype.differentiable]
    feeds: Feeds = dict(zip(symbols, values_of(row), strict=True))
    rng = np.random.default_rng(5)
    for y in outputs:
        stacked = symbol("s", (2, 5, *y.shape), y.dtype)
        single = symbol("t", y.shape, y.dtype)
        drawn = rng.standard_normal((2, 5, *_lettered(y.shape))).astype(y.dtype.numpy)
        both = pull_back({y: stacked}, wanted)
        alone = pull_back({y: single}, wanted)
        for leaf, many, one in zip(wanted, both, alone, strict=True):
            assert (many is None) == (one is None)
            if many is None or one is None:
                continue
            assert many.shape == (2, 5, *leaf.shape)
            (found,) = evaluate([many], {**feeds, stacked: drawn}, SIZES)
            for at in ((0, 0), (1, 4)):
                (expected,) = evaluate([one], {**feeds, single: drawn[at]}, SIZES)
                _close(found[at], expected, max(1e-9, row.tolerance * 1e-2), f"{leaf} at {at}")


def test_detach_has_derivative_zero_by_definition():
    row = ROWS["detach"]
    (x,) = symbols_of(row)
    feeds: Feeds = {x: values_of(row)[0]}
    found = gradient(_loss(_outputs(row, [x]), feeds, ""), [x])
    assert not evaluate(found, feeds, SIZES)[0].any()


@pytest.mark.parametrize("name", RANDOM)
def test_a_draw_is_a_function_of_its_key(name):
    row = ROWS[name]
    symbols = symbols_of(row)
    outputs = _outputs(row, symbols)
    feeds: Feeds = dict(zip(symbols, values_of(row), strict=True))
    other: Feeds = {**feeds, symbols[0]: np.asarray(7, dtype=np.uint64)}
    for run in (lambda f: evaluate(outputs, f, SIZES), lambda f: _run(outputs, f)):
        first, again, differ = run(feeds), run(feeds), run(other)
        for e, a, b, c in zip(outputs, first, again, differ, strict=True):
            assert a.dtype == e.dtype.numpy
            assert list(a.shape) == _lettered(e.shape)
            np.testing.assert_array_equal(a, b)
            assert (a != c).any()
            _in_range(name, a)


def _in_range(name: str, drawn: Array) -> None:
    if name == "uniform":
        assert ((drawn >= 0) & (drawn < 1)).all()
    elif name == "randint":
        assert ((drawn >= -2) & (drawn < 5)).all()
    elif name == "permutation":
        assert sorted(drawn) == list(range(7))


def test_draws_from_split_keys_differ():
    row = ROWS["split"]
    (key,) = symbols_of(row)
    drawn = evaluate(_outputs(row, [key]), {key: values_of(row)[0]}, SIZES)
    assert len({tuple(d) for d in drawn}) == 3


@contextmanager
def _planted(name: str, rule: str, wrong: Callable[..., Any]) -> Iterator[None]:
    """An operation with another derivative for a while."""
    op = OPS[name]
    kept = getattr(op, rule)
    object.__setattr__(op, rule, wrong)
    try:
        yield
    finally:
        object.__setattr__(op, rule, kept)


@pytest.mark.parametrize(
    ("name", "rule", "wrong"),
    [
        ("tanh", "derivative", lambda x, y: (1 + y * y,)),
        ("softmax", "vjp", lambda node, g: (product(g, node),)),
        ("concatenate", "vjp", lambda node, g: CONCATENATE_VJP(node, g)[::-1]),
        ("cumsum", "vjp", lambda node, g: (g,)),
    ],
)
@pytest.mark.parametrize("second", [False, True])
def test_a_planted_wrong_derivative_is_caught(name, rule, wrong, second):
    with _planted(name, rule, wrong), pytest.raises(AssertionError):
        check_gradients(name, second)
    check_gradients(name, second)


def test_an_operation_without_a_rule_is_an_error_not_zero():
    row = ROWS["tanh"]
    (x,) = symbols_of(row)
    feeds: Feeds = {x: values_of(row)[0]}
    with (
        _planted("tanh", "derivative", None),  # type: ignore[arg-type]
        pytest.raises(DerivativeError, match="tanh has no derivative rule"),
    ):
        gradient(_loss(_outputs(row, [x]), feeds, ""), [x])


def test_a_quotient_is_one_division():
    """49 · (1/49) is a little less than 1: cold graphs divide as programs do."""
    for _ in range(2):
        a = sg.arange(1.0, 400.0, dtype=sg.float64)
        assert (a / a).eq(1).all().item()
        n = sg.arange(1, 400)
        assert sg.div(n, n, rounding_mode="trunc").eq(1).all().item()
