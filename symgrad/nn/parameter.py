"""Parameter and Buffer: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from symgrad.recording.record import Leaf
from symgrad.tensors.tensor import Parameter, Tensor

__all__ = ["Buffer", "Parameter", "name_tensor"]


class Buffer:
    """A tensor to be registered as a buffer: ``self.mean = Buffer(torch.zeros(3))``.

    The attribute is then the tensor itself.
    """

    def __init__(self, data: Tensor, *, persistent: bool = True) -> None:
        self.data = data
        self.persistent = persistent


def name_tensor(tensor: Tensor, name: str) -> None:
    """Call a tensor by this name in formulas and generated sources."""
    tensor._name = name
    for leaf in (tensor._leaf, tensor._storage.node):
        if type(leaf) is Leaf:
            leaf.name = name
