"""A JAX function by somebody else as a function of a list of arrays: its types, its derivative.

JAX's own transformations make the derivative (`jax.vjp`) and the batch (`jax.vmap`). The function
is traced with the 64-bit mode that its owner has set, whatever the program around it uses.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from symgrad_codegen import arrays

# JAX annotates these with classes that no type checker can see.
_jax: Any = jax
_asarray: Callable[[Any], Any] = cast(Any, jnp).asarray

Flat = Callable[..., tuple[Any, ...]]
"""A function of arrays that returns a tuple of arrays."""
Type = tuple[tuple[int | str, ...], str]
"""Sizes (numbers, or text over letters such as `2*n`), and the name of a dtype."""


def wide() -> bool:
    """Whether the user has switched JAX's 64-bit mode on."""
    return bool(_jax.config.jax_enable_x64)


class ForeignFunction:
    """A function of arrays and containers of them, called on a flat list of arrays.

    **Arguments:**

    - `function`, `structure`: what is called, and how its arguments `(args, kwargs)` are built.
    - `leaves`: the leaves of the arguments; those at `places` are replaced by the arrays.
    - `x64`: the 64-bit mode under which the function is traced.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        structure: arrays.Structure,
        leaves: Sequence[Any],
        places: Sequence[int],
        x64: bool,
    ) -> None:
        self.function, self.structure = function, structure
        self.leaves, self.places = tuple(leaves), tuple(places)
        self.x64 = x64

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """The leaves of the result."""
        return tuple(arrays.tree_flatten(self._called(values))[0])

    def _called(self, values: Sequence[Any]) -> Any:
        filled = list(self.leaves)
        with jax.enable_x64(self.x64):
            for place, value in zip(self.places, values, strict=True):
                filled[place] = _asarray(value)
            args, kwargs = arrays.tree_unflatten(self.structure, filled)
            return arrays.tree_map(_asarray, self.function(*args, **kwargs))

    def types(self, operands: Sequence[Type]) -> tuple[list[Type], arrays.Structure]:
        """The types of the results, and the structure that holds them (`jax.eval_shape`).

        **Raises:** whatever the function raises for such arguments;
        `jax.errors.InconclusiveDimensionOperation` where it asks for the value of a letter.
        """
        texts = [",".join(map(str, shape)) for shape, _ in operands]
        scope: Any = _jax.export.SymbolicScope()
        given: list[Any] = []
        for text, (_, dtype) in zip(texts, operands, strict=True):
            shape = _jax.export.symbolic_shape(text, scope=scope)
            given.append(_jax.ShapeDtypeStruct(shape, np.dtype(dtype)))
        with jax.enable_x64(self.x64):
            found = _jax.eval_shape(self._called, given)
        leaves, structure = arrays.tree_flatten(found)
        return [(tuple(map(_size, x.shape)), str(x.dtype)) for x in leaves], structure


def _size(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)


def pulled_back(
    function: Flat, count: int, places: Sequence[int], extra: int, shapes_of: Sequence[int]
) -> Flat:
    """The adjoints of the arguments at `places`, from the arguments and one adjoint per result.

    **Arguments:**

    - `count`: how many arguments the function has; the adjoints follow them.
    - `extra`: how many leading axes the adjoints have more than the results.
    - `shapes_of`: the results that are differentiable, whose adjoints are given.
    """

    def adjoints(*values: Any) -> tuple[Any, ...]:
        inputs, seeds = values[:count], values[count:]

        def of_places(*chosen: Any) -> list[Any]:
            filled = list(inputs)
            for place, value in zip(places, chosen, strict=True):
                filled[place] = value
            found = function(*filled)
            return [found[k] for k in shapes_of]

        _, back = _jax.vjp(of_places, *(inputs[k] for k in places))

        def from_seeds(*given: Any) -> tuple[Any, ...]:
            return tuple(back(list(given)))

        for _ in range(extra):
            from_seeds = _jax.vmap(from_seeds)
        return from_seeds(*seeds)

    return adjoints


def mapped(function: Flat) -> Flat:
    """The function over a first axis of all its arguments."""
    return cast(Flat, _jax.vmap(function))


__all__ = ["Flat", "ForeignFunction", "Type", "mapped", "pulled_back", "wide"]
