"""Every operation over a batch against the operation example by example, argument by argument."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import symgrad.ops  # noqa: F401  (fills the table)
from symgrad.autodiff import pull_back
from symgrad.core import dtypes
from symgrad.core.build import cast, product, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import letter
from symgrad.errors import SymgradError
from symgrad.evaluate import evaluate
from symgrad.transforms.batching import batched, repeated
from tests.op_rows import ROWS, SIZES, symbols_of, values_of

DRAWS = {"normal", "uniform", "bernoulli", "randint", "permutation", "split", "fold_in"}
NAMES = sorted(ROWS.keys() - DRAWS)
COUNT = 3


def outputs_of(row, symbols):
    made = row.build(*symbols)
    return [made] if isinstance(made, Expr) else list(made)


def check(outputs, symbols, row, inside):
    """The batched outputs, and the same example by example."""
    samples = [values_of(row, seed) for seed in range(COUNT)]
    fronts = {
        x: symbol(f"{x.params[0]}s", (COUNT, *x.shape), x.dtype)
        for x, yes in zip(symbols, inside, strict=True)
        if yes
    }
    others = {x: x for x, yes in zip(symbols, inside, strict=True) if not yes}
    made = [repeated(p, COUNT) for p in batched(outputs, fronts, others, COUNT)]
    feeds = {x: samples[0][k] for k, x in enumerate(symbols) if x in others}
    feeds.update(
        (fronts[x], np.stack([s[k] for s in samples])) for k, x in enumerate(symbols) if x in fronts
    )
    found = evaluate(made, feeds, SIZES)
    one_by_one = [
        evaluate(
            outputs,
            {x: s[k] if x in fronts else samples[0][k] for k, x in enumerate(symbols)},
            SIZES,
        )
        for s in samples
    ]
    for k, value in enumerate(found):
        expected = np.stack([values[k] for values in one_by_one])
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_values_over_a_batch(name):
    row = ROWS[name]
    symbols = symbols_of(row)
    for inside in itertools.product([True, False], repeat=len(symbols)):
        if any(inside):
            check(outputs_of(row, symbols), symbols, row, inside)


@pytest.mark.parametrize("name", [n for n in NAMES if ROWS[n].gradient in ("first", "both orders")])
def test_gradients_over_a_batch(name):
    row = ROWS[name]
    symbols = symbols_of(row)
    outputs = [y for y in outputs_of(row, symbols) if y.dtype.differentiable]
    loss = [
        reduce_sum(product(cast(y, dtypes.float64), cast(y, dtypes.float64)), range(y.ndim))
        for y in outputs
    ]
    wanted = [x for x in symbols if x.dtype.differentiable]
    total = loss[0]
    for part in loss[1:]:
        total = total + part
    found = [p for p in pull_back({total: product(total, total)}, wanted) if p is not None]
    check(found, symbols, row, [True] * len(symbols))


def test_a_batch_of_one_and_of_letters():
    row = ROWS["softmax"]
    (a,) = symbols_of(row)
    (value,) = outputs_of(row, [a])
    for size in (1, letter("B")):
        many = symbol("many", (size, *a.shape), a.dtype)
        ((made, inside),) = batched([value], {a: many}, {}, size)
        assert inside
        assert made.shape == (size, *value.shape)


def test_draws_are_refused():
    row = ROWS["bernoulli"]
    key = symbol("key", (), dtypes.key)
    keys = symbol("keys", (3,), dtypes.key)
    with pytest.raises(SymgradError, match="vmap: bernoulli"):
        batched(outputs_of(row, [key, None]), {key: keys}, {}, 3)
