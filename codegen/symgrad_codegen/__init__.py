"""Programs as readable source: JAX (or NumPy) modules that look written by hand, and run.

A `program.Program` is a list of typed instructions whose operations are text with holes.
`source.source` writes it out as a standalone module, `compile.compiled` runs exactly that text
through `jax.jit`.
"""
