"""Functions and symbols as programs: traced functions, training steps, compiled steps."""
