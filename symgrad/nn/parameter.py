"""Parameter and Buffer: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from symgrad.tensor import Parameter, Tensor

__all__ = ["Buffer", "Parameter"]


class Buffer:
    """A tensor to be registered as a buffer: ``self.mean = Buffer(torch.zeros(3))``.

    The attribute is then the tensor itself.
    """

    def __init__(self, data: Tensor, *, persistent: bool = True) -> None:
        self.data = data
        self.persistent = persistent
