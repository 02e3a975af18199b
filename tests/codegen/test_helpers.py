"""What generated source states for itself: functions that a line calls by name."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from symgrad_codegen.eager import helper
from symgrad_codegen.helpers import LARGEST_AT, SINE

_scope = {"jax": jax, "jnp": jnp, "lax": lax, "math": math}
exec(SINE + LARGEST_AT, _scope)
sine, largest_at = _scope["sine"], _scope["largest_at"]
EDGES = np.array([0.0, -0.0, 1e-40, -1e-40, 1e-20, np.pi / 2, np.pi, 8191.9, -8191.9], np.float32)
FAR = np.array([8192, -1e6, 3e38, np.inf, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize("quarters", [0, 1])
@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    "numbers",
    [*(np.linspace(-a, a, 20001, dtype=np.float32) for a in (1e-3, 2, 40, 8000)), EDGES, FAR],
)
def test_the_nearest_number(numbers, jitted, quarters):
    found = (jax.jit(sine, static_argnums=1) if jitted else sine)(jnp.asarray(numbers), quarters)
    with np.errstate(invalid="ignore"):
        exact = (np.cos if quarters else np.sin)(numbers.astype(np.float64))
    assert found.dtype == jnp.float32
    np.testing.assert_array_max_ulp(np.asarray(found), exact.astype(np.float32), 1)
    found, exact = (a[~np.isnan(exact)] for a in (np.asarray(found), exact))
    assert np.array_equal(np.signbit(found), np.signbit(exact))


def test_special_values():
    assert sine(jnp.zeros(4, jnp.float32), 1).tolist() == [1] * 4
    assert np.isnan(np.asarray(sine(jnp.asarray(FAR))))[3:].all()


def test_what_jax_does_with_functions():
    x = jnp.linspace(-50, 50, 1001, dtype=jnp.float32)
    exact = np.asarray(x, np.float64)
    first = jax.vmap(jax.grad(sine))(x)
    np.testing.assert_allclose(first, np.cos(exact), atol=2e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(sine)))(x), -np.sin(exact), atol=3e-6)
    assert jnp.arange(3).dtype == jnp.int32


def test_the_first_largest_of_each_window():
    """A place in the last two axes taken as one; of several largest the first, NaN before all."""
    x = jnp.asarray([[1.0, 2, 2, 0], [1, 2, np.nan, 5]], jnp.float32)
    found = largest_at(x, 2, jnp.float32(-jnp.inf), (2, 2), (1, 1), ((0, 0), (0, 0)))
    assert found.tolist() == [[1, 6, 6]]
    apart = largest_at(x, 2, jnp.float32(-jnp.inf), (1, 2), (1, 1), ((0, 0), (0, 0)),
                       window_dilation=(1, 2))  # fmt: skip
    assert apart.tolist() == [[2, 1], [6, 7]]


def test_a_sum_at_places_counts_each_one():
    assert helper("sum_at")((3,), np.s_[np.array([2, 2, 0])], 1).tolist() == [1, 0, 2]
