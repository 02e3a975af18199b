"""Index notation with positional axes: nodes, sizes, dtypes, builders, walks."""
