"""Functions from elsewhere as operations: SymPy's expressions and JAX's functions."""

from symgrad.foreign.scalar_function import ScalarFunction, scalar_function

__all__ = ["ScalarFunction", "scalar_function"]
