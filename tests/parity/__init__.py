"""The same calls in PyTorch and in symgrad: values, dtypes, shapes, gradients, second order."""
