"""Arrays keep their dtype and their own memory, wherever they go."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from symgrad_codegen import arrays


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex128", "bool", "float16"])
def test_dtypes_survive_the_round_trip(dtype: str) -> None:
    host = np.arange(5).astype(dtype)
    there = arrays.to_device(host)
    assert there.dtype == dtype
    back = arrays.to_numpy(there)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, host)
    assert arrays.to_device(there, copy=True).dtype == dtype
    assert arrays.to_device(host, dtype="bfloat16").dtype == jnp.bfloat16
    assert arrays.to_device(there, dtype="complex128").dtype == "complex128"
    assert jnp.arange(3).dtype == "int32"


def test_numbers_and_big_integers() -> None:
    assert arrays.to_device(2**40).item() == 2**40
    assert arrays.to_device(1.5, dtype="float32").dtype == "float32"
    assert arrays.to_device([[1, 2]]).shape == (1, 2)


def test_a_copy_is_a_copy() -> None:
    raw = np.zeros(1 << 14 | 64, np.uint8)
    start = -raw.ctypes.data % 64
    host = raw[start : start + (1 << 14)].view(np.float32)  # aligned, so JAX could share it
    snapshot = arrays.to_device(host, dtype="float32")
    host[:] = 7
    assert float(snapshot.max()) == 0
    array = arrays.to_device(host)
    twin = arrays.to_device(array)
    assert twin.unsafe_buffer_pointer() != array.unsafe_buffer_pointer()
    assert arrays.to_device(array, copy=False) is array or (
        arrays.to_device(array, copy=False).unsafe_buffer_pointer() == array.unsafe_buffer_pointer()
    )
    there = arrays.to_device(array, arrays.default_device())
    assert there.unsafe_buffer_pointer() != array.unsafe_buffer_pointer()
    back = arrays.to_numpy(array, copy=True)
    back[:] = 1
    assert float(array.max()) == 7


def test_devices() -> None:
    assert arrays.default_device() in arrays.devices()
    assert arrays.devices("cpu")[0].platform == "cpu"
    assert arrays.devices("no such kind") == []
    assert arrays.has_gpu() == bool(arrays.devices("cuda"))
    with jax.default_device(arrays.devices("cpu")[0]):
        assert arrays.default_device() == arrays.devices("cpu")[0]


def test_kinds_of_values() -> None:
    seen = []
    jax.jit(lambda x: seen.append((arrays.is_tracer(x), arrays.is_jax_array(x))) or x)(1.0)
    assert seen == [(True, True)]
    assert not arrays.is_tracer(jnp.ones(2))
    assert not arrays.is_jax_array(np.ones(2))
    assert arrays.is_key(arrays.prng_key(0))
    assert not arrays.is_key(jnp.ones(2))
    assert arrays.to_device(arrays.prng_key(3)).shape == ()


def test_every_bit_of_a_seed_counts() -> None:
    words = {
        tuple(arrays.to_numpy(arrays.prng_key(seed))) for seed in (0, 1, 2**32, 2**40, -1, 2**63)
    }
    assert len(words) == 6
    same = jax.random.key_data(jax.random.key(5))
    np.testing.assert_array_equal(arrays.to_numpy(arrays.prng_key(5)), same)
    assert arrays.split(arrays.prng_key(0), 3).shape == (3,)


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    """A container with attributes."""

    weight: float
    bias: float


def test_names_of_leaves() -> None:
    tree = {"b": (1.0, [2.0]), "a": Layer(3.0, 4.0), "none": None}
    named, structure = arrays.flatten_with_names(tree, "params")
    assert named == [
        ("params.a.weight", 3.0),
        ("params.a.bias", 4.0),
        ("params.b.0", 1.0),
        ("params.b.1.0", 2.0),
    ]
    assert arrays.tree_unflatten(structure, [leaf for _, leaf in named]) == tree
    assert arrays.tree_flatten(tree)[1] == structure
    assert arrays.flatten_with_names(1.0, "x")[0] == [("x", 1.0)]
    assert arrays.flatten_with_names([1.0])[0] == [("0", 1.0)]
    assert arrays.tree_map(lambda x: x + 1, {"a": 1}) == {"a": 2}


def test_own_derivatives() -> None:
    function = arrays.with_derivative(
        lambda x, _: x**3, lambda x, _: (x**3, x), lambda x, g: (g * 100 * x, None)
    )
    assert function(2.0, 1) == 8
    assert jax.jit(jax.grad(function))(2.0, 1) == 200
    np.testing.assert_array_equal(
        jax.vmap(jax.grad(function), in_axes=(0, None))(jnp.arange(2.0), 1), [0, 100]
    )
    assert arrays.block_until_ready({"a": function(1.0, 1)}) == {"a": 1}
