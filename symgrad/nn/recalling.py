"""A chain of layers that records the same operations at each call, as one record.

What a chain records is learned at a call; later calls with a tensor of the same kind, in the same
modes, make one record in its place (:mod:`symgrad.recording.recall`).  Anything that could change
what is recorded, an attribute, a layer, a hook, another mode, makes it learn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.nn import activation, linear, normalization
from symgrad.nn.hooks import changes
from symgrad.nn.module import Module
from symgrad.recording.recall import Recalled, recalled
from symgrad.recording.record import modes
from symgrad.recording.tracked import saved_by
from symgrad.tensors.storage import Storage
from symgrad.tensors.tensor import Parameter, Tensor

STEADY = {
    *(getattr(linear, name) for name in ("Identity", "Linear", "Bilinear", "Flatten")),
    *(getattr(activation, name) for name in (
        "CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid",
        "LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax",
        "Softmin", "Softplus", "Softsign", "Tanh", "Tanhshrink")),
    normalization.LayerNorm, normalization.RMSNorm,
}  # fmt: skip
"""Layers that record the same operations for all values of their input, and do nothing besides."""
ATTEMPTS = 16
"""How often a chain is learned; one that changes all the time is recorded layer by layer."""
VARIANTS = 4
"""Kinds of inputs and modes that are remembered for a chain."""


class Recall:
    """What a chain knows about its own records; a copy of the chain begins anew."""

    def __init__(self) -> None:
        self.known: list[tuple[Recalled, bool, list[tuple[dict[str, Any], str, Parameter]]]] = []
        self.when = -1
        self.left = ATTEMPTS

    def __deepcopy__(self, memo: dict[int, Any]) -> Recall:
        return Recall()

    def __reduce__(self) -> tuple[type[Recall], tuple[()]]:
        return Recall, ()

    def result(self, x: Tensor) -> Tensor | None:
        """The result for an input, or None where it is not known what would be recorded."""
        if self.when != changes.count or not self.known or not _plain():
            return None
        node = x.node()
        for calls, grad, parameters in self.known:
            if grad is modes.grad and calls.kinds[0] is node.kind:
                given = [node]
                for table, name, p in parameters:
                    if table.get(name) is not p:
                        break
                    given.append(p.node())
                else:
                    record = calls.record(tuple(given))
                    if record is not None:
                        return Tensor(Storage(record))
        return None

    def learn(self, chain: Module, x: Any, result: Any) -> None:
        """Remember what the layers recorded between an input and their result."""
        if type(x) not in _TENSORS or type(result) is not Tensor or result._view is not None:
            return
        if self.when != changes.count:
            self.known.clear()
            self.when = changes.count
        if not self.left or not _plain() or not _steady(chain):
            return
        self.left -= 1
        node, root = x.node(), result.node()
        slots = {id(p.node()): (m._parameters, name, p) for m in chain.modules()
                 for name, p in m._parameters.items() if p is not None}  # fmt: skip
        slots.pop(id(node), None)
        parameters = list(slots.values())
        given = (node, *(p.node() for _, _, p in parameters))
        found = recalled(root, given, saved_by)
        if found is not None:
            found.roll_up(root, given)
            self.known.insert(0, (found, modes.grad, parameters))
            del self.known[VARIANTS:]


_TENSORS = (Tensor, Parameter)


def _plain() -> bool:
    """Is nothing watching what is recorded?"""
    return (
        modes.capture is None
        and modes.autocast is None
        and not modes.tracing
        and not modes.anomaly
        and modes.changed is None
    )


def _steady(chain: Module) -> bool:
    """Do all layers of a chain, and the chains in it, record what they always do?"""
    for module in chain.modules():
        own = module.__dict__
        if type(module) not in STEADY and type(module) is not type(chain):
            return False
        if "forward" in own or own.get("inplace") or any(own[table] for table in _WATCHED):
            return False
    return True


_WATCHED: Sequence[str] = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip

__all__ = ["Recall"]
