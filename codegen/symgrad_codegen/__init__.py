"""Programs as readable source: JAX (or NumPy) modules that look written by hand, and run.

A `Program` is a list of typed instructions whose operations are text with holes. `source` writes
it out as a standalone module, `compiled` runs exactly that text through `jax.jit`.
"""

from symgrad_codegen.program import (
    Apply,
    Dtype,
    Function,
    Instruction,
    Letter,
    Literal,
    Operand,
    Program,
    ProgramError,
    Size,
    Template,
    Variable,
)
from symgrad_codegen.source import TARGETS, source

__all__ = [
    "TARGETS",
    "Apply",
    "Dtype",
    "Function",
    "Instruction",
    "Letter",
    "Literal",
    "Operand",
    "Program",
    "ProgramError",
    "Size",
    "Template",
    "Variable",
    "source",
]
