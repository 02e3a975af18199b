"""PyTorch's ``torch.utils``: here, data sets and loaders."""

from symgrad.utils import data

__all__ = ["data"]
