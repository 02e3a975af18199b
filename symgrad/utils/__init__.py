"""PyTorch's ``torch.utils``: here, data sets and loaders, and checkpoints."""

from symgrad.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
