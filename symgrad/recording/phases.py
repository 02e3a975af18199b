"""Losses that depend on the phases of complex eigenvectors or singular vectors: refused.

V and V diag(e^{iφ}) are eigenvectors alike, so a loss that tells them apart has no derivative.  Before
a gradient is recorded, those that arrive at such vectors are computed: the loss turns with φ where
diag(Vᴴ V̄) has an imaginary part.  PyTorch looks so, too, unless the gradient is differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.errors import UnboundError
from symgrad.recording.execute import execute, value
from symgrad.recording.record import Gradient, Part, Record, modes

VECTORS = {
    "eigh_1": "linalg_eigh_backward: The eigenvectors in the complex case are specified up to "
    "multiplication by e^{i phi}. The specified loss function depends on this quantity, so it is "
    "ill-defined.",
    **dict.fromkeys(
        ("svd_0", "svd_2"),
        "svd_backward: The singular vectors in the complex case are specified up to multiplication "
        "by e^{i phi}. The specified loss function depends on this phase term, making it "
        "ill-defined.",
    ),
}
"""Functions with such vectors as results, and what PyTorch says."""
ROWS = "svd_2"
"""The one whose vectors are conjugated rows."""
TOLERANCE = 1e-2


def turning(nodes: Sequence[Any]) -> list[Any]:
    """The nodes that are vectors up to a phase; none in a graph that holds a gradient.

    There a part of what arrives at them comes from within their own derivative.
    """
    found = [n for n in nodes if n.kind.dtype.is_complex and type(n) is Record
             and n.call.function.name in VECTORS]  # fmt: skip
    return [] if found and any(type(n) is Part for n in nodes) else found


def inspect(root: Any, seed: Any, vectors: Sequence[Any]) -> None:
    """RuntimeError where the loss ``root`` depends on the phases of ``vectors``.

    Under ``compile``, or over symbols, there are no values to look at, and nothing happens.
    """
    if modes.capture is not None or modes.tracing:
        return
    whole = Gradient(root, seed, tuple(v for v in vectors if v is not root), False, True)
    parts = {id(n): whole.part(k) for k, n in enumerate(whole.targets)}
    turns: dict[Any, Any] = {}
    try:
        execute([*vectors, *parts.values()])
    except UnboundError:
        return
    for node in vectors:
        name = node.call.function.name
        v: Any = arrays.to_numpy(value(node))
        g = arrays.to_numpy(value(parts.get(id(node), seed)))
        axis = -1 if name == ROWS else -2
        turn = (v.conj() * g).imag.sum(axis) * (-1 if name == ROWS else 1)
        key = VECTORS[name], id(node.operands[0])  # U and V turn together
        turns[key] = turns.get(key, 0) + turn
    for (told, _), turn in turns.items():
        if not np.all(np.abs(turn) <= TOLERANCE):
            raise RuntimeError(told)
