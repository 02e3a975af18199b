"""The losses of ``torch.nn.functional``: two old flags, weights, and checks of class numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.functional import FUNCTIONS, margin
from symgrad.recording.execute import value
from symgrad.recording.record import Leaf, modes
from symgrad.tensors.tensor import Tensor, call

_ROOMS = (margin,)  # importing it fills the table


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """``reduction``, or what PyTorch's two old flags said."""
    if size_average is None and reduce is None:
        return reduction
    average = True if size_average is None else size_average
    chosen = "none" if reduce is False else ("mean" if average else "sum")
    warnings.warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{chosen}' instead.",
        stacklevel=4,
    )
    return chosen


def _loss(name: str) -> Callable[..., Tensor]:
    """The row as ``f(input, target, …, reduction="mean")`` with PyTorch's old flags.

    Options that are as by default are left out.
    """
    row = FUNCTIONS[name]
    defaults = {k: p.default for k, p in signature(row.build).parameters.items()}

    def function(
        input: Tensor,
        target: Tensor,
        *,
        size_average: bool | None = None,
        reduce: bool | None = None,
        **options: Any,
    ) -> Tensor:
        if size_average is not None or reduce is not None:
            options["reduction"] = reduction_of(size_average, reduce, "mean")
        said = {k: v for k, v in options.items() if v is not defaults.get(k, options)}
        return call(row, (input, target), said)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = row.build.__doc__
    return function


def _weighted_loss(name: str) -> Callable[..., Tensor]:
    run = _loss(name)

    def function(
        input: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any
    ) -> Tensor:
        if weight is not None:
            options["weight"] = weight
        return run(input, target, **options)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = run.__doc__
    return function


l1_loss = _loss("l1_loss")
huber_loss = _loss("huber_loss")
smooth_l1_loss = _loss("smooth_l1_loss")
nll_loss = _weighted_loss("nll_loss")
binary_cross_entropy = _weighted_loss("binary_cross_entropy")
binary_cross_entropy_with_logits = _weighted_loss("binary_cross_entropy_with_logits")
hinge_embedding_loss = _loss("hinge_embedding_loss")
_squared = _loss("mse_loss")
_divergence = _loss("kl_div")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``logsumexp(z) − z[y]``: logits ``(N, C, …)``, class numbers ``(N, …)`` or probabilities.

    **Raises:** IndexError where a class number that is known now is out of range.
    """
    options: dict[str, Any] = {}
    if weight is not None:
        options["weight"] = weight
    if ignore_index != -100:
        options["ignore_index"] = ignore_index
    if size_average is not None or reduce is not None:
        reduction = reduction_of(size_average, reduce, reduction)
    if reduction != "mean":
        options["reduction"] = reduction
    if label_smoothing:
        options["label_smoothing"] = label_smoothing
    if not target._now().dtype.differentiable:
        shape = input._now().shape
        if _ignores(target, shape[1 if len(shape) > 1 else 0], ignore_index):
            options["masked"] = True
    return call(_CROSS_ENTROPY, (input, target), options)


_CROSS_ENTROPY = FUNCTIONS["cross_entropy"]


def _ignores(target: Tensor, classes: Any, ignore_index: int) -> bool:
    """Whether some class numbers say that they do not count; symbols never do.

    Where that is not known without waiting, it may be so.
    """
    node = target._now()
    if type(node) is Leaf and node.symbol is not None and node.value is None:
        return False
    held = target._storage.shared if target._view is None else None
    if held is None and getattr(node, "value", None) is not None:
        held = value(node)
    if held is None or node.device != "cpu" or modes.capture is not None:
        return True
    if type(node) is not Leaf or target._storage.shared is not None:
        return _some_ignored(arrays.to_numpy(held), classes, ignore_index)
    if node.checked is None or node.checked[:2] != (classes, ignore_index):
        found = _some_ignored(arrays.to_numpy(held), classes, ignore_index)
        node.checked = classes, ignore_index, found
    return node.checked[2]


def _some_ignored(values: np.ndarray[Any, Any], classes: Any, ignore_index: int) -> bool:
    """Whether ``ignore_index`` is among class numbers; IndexError where one is out of range."""
    ignored = values == ignore_index
    if isinstance(classes, int):
        wrong = values[~ignored & ((values < 0) | (values >= classes))]
        if wrong.size:
            raise IndexError(
                f"Target {wrong.flat[0]} is out of bounds: the logits have {classes} classes, "
                f"numbered from 0"
            )
    return bool(ignored.any())


def mse_loss(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    """``(ŷ − y)²``; a warning where the sizes differ and are broadcast."""
    if tuple(input.shape) != tuple(target.shape):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=2,
        )
    return _squared(input, target, **options)


def kl_div(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    """``y (log y − x)``; ``reduction="batchmean"`` is the mathematical definition."""
    if options.get("reduction", "mean") == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.",
            stacklevel=2,
        )
    return _divergence(input, target, **options)


__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "reduction_of",
    "smooth_l1_loss",
]
