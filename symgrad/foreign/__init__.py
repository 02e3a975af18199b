"""Functions from elsewhere as operations: SymPy's expressions and JAX's functions."""

from symgrad.foreign.jax_function import JaxFunction, jax_function
from symgrad.foreign.scalar_function import ScalarFunction, scalar_function

__all__ = ["JaxFunction", "ScalarFunction", "jax_function", "scalar_function"]
