"""The losses of ``torch.nn.functional``: two old flags, weights, and checks of class numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.errors import RangeError
from symgrad.functional import FUNCTIONS, margin
from symgrad.recording.execute import value
from symgrad.recording.record import Leaf, modes
from symgrad.tensors import creation
from symgrad.tensors.ranges import ranged
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


def _loss(name: str, order: str) -> Callable[..., Tensor]:
    """The row with PyTorch's ``order`` of arguments, among them its old flags.

    Options that are as by default are left out.
    """
    row = FUNCTIONS[name]
    names = order.split()
    parameters = list(signature(row.build).parameters.values())
    operands = [k for k, p in zip(names, parameters, strict=False) if p.default is Parameter.empty]
    defaults = {p.name: p.default for p in parameters} | dict.fromkeys(("size_average", "reduce"))

    record = ranged(row, call)

    count = len(operands)

    def function(*args: Any, **options: Any) -> Tensor:
        if len(args) == count:
            for k, v in options.items():
                if k not in defaults or v is not defaults[k]:
                    break
            else:
                return record(row, args, {})
        given = dict(zip(names, args, strict=False))
        if len(args) > len(names) or given.keys() & options.keys():
            raise TypeError(f"{name}() takes each of ({', '.join(names)}) once")
        given |= options
        if missing := [k for k in operands if k not in given]:
            raise TypeError(f"{name}() missing required arguments: {', '.join(missing)}")
        old = given.pop("size_average", None), given.pop("reduce", None)
        if old != (None, None):
            given["reduction"] = reduction_of(*old, "mean")
        values = [given.pop(k) for k in operands]
        said = {k: v for k, v in given.items() if v is not defaults.get(k, given)}
        return record(row, values, said)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = row.build.__doc__
    function.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter(k, Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(k, Parameter.empty))
            for k in names
        ]
    )
    return function


l1_loss = _loss("l1_loss", "input target size_average reduce reduction")
huber_loss = _loss("huber_loss", "input target reduction delta")
smooth_l1_loss = _loss("smooth_l1_loss", "input target size_average reduce reduction beta")
_nll_loss = _loss("nll_loss", "input target weight size_average ignore_index reduce reduction")
binary_cross_entropy = _loss(
    "binary_cross_entropy", "input target weight size_average reduce reduction"
)
binary_cross_entropy_with_logits = _loss(
    "binary_cross_entropy_with_logits",
    "input target weight size_average reduce reduction pos_weight",
)
hinge_embedding_loss = _loss(
    "hinge_embedding_loss", "input target margin size_average reduce reduction"
)
soft_margin_loss = _loss("soft_margin_loss", "input target size_average reduce reduction")
margin_ranking_loss = _loss(
    "margin_ranking_loss", "input1 input2 target margin size_average reduce reduction"
)
cosine_embedding_loss = _loss(
    "cosine_embedding_loss", "input1 input2 target margin size_average reduce reduction"
)
multi_margin_loss = _loss(
    "multi_margin_loss", "input target p margin weight size_average reduce reduction"
)
multilabel_margin_loss = _loss(
    "multilabel_margin_loss", "input target size_average reduce reduction"
)
multilabel_soft_margin_loss = _loss(
    "multilabel_soft_margin_loss", "input target weight size_average reduce reduction"
)
triplet_margin_loss = _loss(
    "triplet_margin_loss",
    "anchor positive negative margin p eps swap size_average reduce reduction",
)
poisson_nll_loss = _loss(
    "poisson_nll_loss", "input target log_input full size_average eps reduce reduction"
)
_squared = _loss("mse_loss", "input target size_average reduce reduction")
_divergence = _loss("kl_div", "input target size_average reduce reduction log_target")
_gaussian = _loss("gaussian_nll_loss", "input target var full eps reduction")
_triplet = FUNCTIONS["triplet_margin"]


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(a, p) − d(a, n) + margin)`` with a distance of one's own."""
    if distance_function is None:
        return triplet_margin_loss(anchor, positive, negative, margin, swap=swap,
                                   reduction=reduction)  # fmt: skip
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    far = distance_function(anchor, negative)
    if swap:
        far = far.minimum(distance_function(positive, negative))
    return call(_triplet, (distance_function(anchor, positive), far, margin, reduction), {})


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``½ (log v + (x − t)² / v)`` with ``v = max(var, ε)``; ``full`` adds ``½ log 2π``."""
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = creation.full(tuple(input.shape), var, dtype=input.dtype)
    return _gaussian(input, target, var, full, eps, reduction)


_CTC = FUNCTIONS["ctc_loss_of"]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """−log of the probability of each target, over all alignments (Graves et al., 2006).

    log_probs ``(T, N, C)`` or ``(T, C)``; targets ``(N, S)``, or one after the other.
    """
    several = log_probs.dim() == 3
    if not several:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.reshape(1, -1)
    steps, count = (int(s) for s in log_probs.shape[:2])
    inputs, labels = _lengths(input_lengths), _lengths(target_lengths)
    for name, given in (("input", inputs), ("target", labels)):
        if len(given) != count:
            raise RuntimeError(f"{name}_lengths must be of size batch_size")
    if given_too_long := [n for n in inputs if n > steps]:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value "
            f"{given_too_long[0]}"
        )
    if targets.dim() == 1:
        ends = np.cumsum([0, *labels])
        width = max(labels, default=0)
        place = np.minimum(ends[:-1, None] + np.arange(width), max(int(targets.shape[0]) - 1, 0))
        if ends[-1] != targets.shape[0]:
            raise RuntimeError(
                f"Expected tensor to have size {ends[-1]} at dimension 0, but got size "
                f"{targets.shape[0]} for argument #2 'targets'"
            )
        targets = targets[creation.tensor(place.astype(np.int64))]
    elif max(labels, default=0) > targets.shape[1]:
        raise RuntimeError(
            f"Expected tensor to have size at least {max(labels)} at dimension 1, but got size "
            f"{list(targets.shape)} for argument #2 'targets'"
        )
    lengths = (creation.tensor(np.asarray(n, np.int64)) for n in (inputs, labels))
    made = call(_CTC, (log_probs, targets, *lengths, blank, reduction, zero_infinity), {})
    return made if several or reduction != "none" else made.reshape(())


def _lengths(given: Any) -> list[int]:
    listed = given.reshape(-1).tolist() if isinstance(given, Tensor) else given
    return [int(n) for n in (listed if isinstance(listed, (list, tuple)) else [listed])]


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
    if not 0 <= label_smoothing <= 1:
        raise RangeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
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


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``−z[y]`` for log-probabilities ``(N, C, …)`` and class numbers ``(N, …)``.

    **Raises:** IndexError where a class number that is known now is out of range.
    """
    if isinstance(target, Tensor) and target.dtype.kind in "iu" and input.ndim:
        _ignores(target, input._now().shape[1 if input.ndim > 1 else 0], ignore_index)
    return _nll_loss(input, target, weight, size_average, ignore_index, reduce, reduction)


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


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``(ŷ − y)²``; a warning where the sizes differ and are broadcast."""
    if tuple(input.shape) != tuple(target.shape):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=2,
        )
    return _squared(input, target, size_average, reduce, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """``y (log y − x)``; ``reduction="batchmean"`` is the mathematical definition."""
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.",
            stacklevel=2,
        )
    return _divergence(input, target, size_average, reduce, reduction, log_target)


__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "reduction_of",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
