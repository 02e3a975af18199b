"""Functions of functions: derivatives, vmap, checks."""
