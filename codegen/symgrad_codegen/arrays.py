"""Arrays and devices: the one place where JAX's own array functions are used directly.

Every conversion keeps 64-bit dtypes, by working inside the context that allows them; outside of
these functions JAX's settings are as the user has them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

# JAX annotates these with classes that no type checker can see.
_jax: Any = jax
_tree: Any = jax.tree_util

Array = jax.Array

InconclusiveDimensionOperation = jax.errors.InconclusiveDimensionOperation
"""A traced function asked whether a size that is a letter has some value."""

Structure = Any
"""The structure of a pytree without its leaves: hashable, as JAX defines it."""


class Device(Protocol):
    """One processor with its memory, as JAX describes it."""

    @property
    def id(self) -> int:
        """Its number among the devices of its kind."""
        ...

    @property
    def platform(self) -> str:
        """`"cpu"`, `"gpu"` or `"tpu"`."""
        ...

    @property
    def device_kind(self) -> str:
        """The maker's name for it."""
        ...


def x64() -> Any:
    """The context in which 64-bit dtypes exist; what was set before comes back after it."""
    return jax.enable_x64(True)


def default_device() -> Device:
    """The device on which new arrays are placed."""
    chosen = _jax.config.jax_default_device
    if isinstance(chosen, str):
        return devices(chosen)[0]
    return cast(Device, _jax.local_devices()[0] if chosen is None else chosen)


def devices(kind: str | None = None) -> list[Device]:
    """The devices of a kind (`"cpu"`, `"gpu"`, `"cuda"`, `"tpu"`); none where there are none."""
    try:
        return cast(list[Device], _jax.devices(kind))
    except RuntimeError:  # JAX's way of saying that this backend is not there
        return []


def has_gpu() -> bool:
    """Whether JAX can use at least one GPU."""
    return bool(devices("gpu"))


def is_jax_array(value: object) -> bool:
    """Whether `value` is an array of JAX, traced or not."""
    return isinstance(value, jax.Array)


def is_tracer(value: object) -> bool:
    """Whether `value` is a stand-in for an array while JAX traces a function."""
    return isinstance(value, Tracer)


def is_key(value: object) -> bool:
    """Whether `value` is an array of random keys."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def to_device(value: Any, device: Any = None, dtype: object = None, *, copy: bool = True) -> Array:
    """A JAX array with the value of a NumPy array, JAX array or number.

    **Arguments:**

    - `device`: a device or sharding; where it is missing, a JAX array stays where it is.
    - `dtype`: a dtype or its name; where it is missing, the value keeps its own.
    - `copy`: whether the result shares no memory with `value`. Without it, aligned NumPy memory
      may be shared, and a later change of it would show.
    """
    with x64():
        if isinstance(value, Tracer):
            traced = cast(Any, value)
            return traced if dtype is None else traced.astype(dtype)
        if isinstance(value, jax.Array):
            array = (
                value
                if dtype is None or value.dtype == dtype
                else value.astype(np.dtype(cast(Any, dtype)))
            )
            return _jax.device_put(
                array, device, may_alias=False if copy and array is value else None
            )
        host = np.array(value, dtype=cast(Any, dtype), copy=True if copy else None)
        # A private copy may be aliased freely.
        return _jax.device_put(host, device)


def to_numpy(value: Any, *, copy: bool = False) -> np.ndarray[Any, Any]:
    """The value as a NumPy array; without `copy` it may be a read-only view of JAX's memory.

    Random keys give their raw words.
    """
    if is_key(value):
        value = jax.random.key_data(value)
    with x64():
        return np.array(value, copy=True if copy else None)


def block_until_ready(tree: Any) -> Any:
    """The same tree, once every array in it has been computed."""
    return _jax.block_until_ready(tree)


def prng_key(seed: int) -> Array:
    """A random key for a seed; all 64 bits of the seed count.

    Without the 64-bit context JAX would drop the upper half of a large seed.
    """
    with x64():
        return jax.random.key(np.uint64(seed % 2**64))


def split(key: Array, count: int = 2) -> Array:
    """`count` independent keys, as an array of shape `(count,)`."""
    return jax.random.split(key, count)


def tree_flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of a pytree, and its structure."""
    return _tree.tree_flatten(tree)


def tree_unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The pytree with this structure and these leaves."""
    return _tree.tree_unflatten(structure, leaves)


def tree_ordered(tree: Any, made: Any) -> Any:
    """A pytree with its dicts in the order of those of another."""
    if isinstance(tree, dict) and type(made) is dict:
        there, here = cast("dict[Any, Any]", tree), cast("dict[Any, Any]", made)
        return {k: tree_ordered(v, here[k]) for k, v in there.items()}
    whole = cast("Sequence[Any]", tree)
    if type(whole) not in (list, tuple):
        return made
    found = [tree_ordered(*both) for both in zip(whole, made, strict=True)]
    return tuple(found) if isinstance(whole, tuple) else found


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """The pytree of the function's values on the leaves."""
    return _tree.tree_map(function, tree, *rest)


def flatten_with_names(tree: Any, root: str = "") -> tuple[list[tuple[str, Any]], Structure]:
    """The leaves of a pytree with dotted names, and its structure.

    >>> flatten_with_names({"W1": 1.0, "layers": [2.0, 3.0]}, "params")[0]
    [('params.W1', 1.0), ('params.layers.0', 2.0), ('params.layers.1', 3.0)]
    """
    leaves: list[tuple[tuple[object, ...], Any]]
    leaves, structure = _tree.tree_flatten_with_path(tree)
    named = [(".".join(filter(None, (root, *map(_step, path)))), leaf) for path, leaf in leaves]
    return named, structure


def _step(key: Any) -> str:
    """One key of a path as text."""
    if isinstance(key, (DictKey, FlattenedIndexKey)):
        return str(key.key)
    if isinstance(key, SequenceKey):
        return str(key.idx)
    if isinstance(key, GetAttrKey):
        return str(key.name)
    return str(key).strip(".[]'\"")


def with_derivative(
    value: Callable[..., Any],
    forward: Callable[..., tuple[Any, Any]],
    backward: Callable[[Any, Any], tuple[Any, ...]],
) -> Callable[..., Any]:
    """A JAX function that carries its own derivative (`jax.custom_vjp`).

    **Arguments:**

    - `value(*arguments)`: the outputs, where no derivative is asked for.
    - `forward(*arguments)`: the outputs, and a pytree of what the derivative needs of them.
    - `backward(saved, cotangents)`: the cotangent of every argument as a tuple; `None` stands
      for zero.
    """
    function = _jax.custom_vjp(value)
    function.defvjp(forward, backward)
    return function


def with_tangent(
    value: Callable[..., Any],
    value_and_gradients: Callable[..., tuple[Any, tuple[Any, ...]]],
) -> Callable[..., Any]:
    """A scalar JAX function that carries its own gradients (`jax.custom_jvp`).

    The tangent is `Σ gradient · tangent`, linear in the tangents: JAX transposes it for reverse
    mode, pushes it forward for `jax.jvp`, and differentiates the gradients' source for higher
    derivatives. Integer arguments have no tangent.

    **Arguments:**

    - `value(*arguments)`: the scalar.
    - `value_and_gradients(*arguments)`: the scalar and one gradient per argument (`None` for an
      argument that has none).
    """
    function = _jax.custom_jvp(value)

    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        result, gradients = value_and_gradients(*primals)
        total: Any = cast(Any, jnp).zeros_like(result)
        for gradient, tangent in zip(gradients, tangents, strict=True):
            if gradient is not None:
                total = total + jnp.sum(gradient * tangent)
        return result, total

    function.defjvp(rule)
    return function
