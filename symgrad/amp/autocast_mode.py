"""Mixed precision: which public functions run in 16 bits, which in 32, while ``autocast`` is on.

The policy looks at a call before it is recorded and casts its operands; a cast is an operation with
a derivative, so gradients of float32 weights are float32.  The lists are PyTorch's, one set for
each kind of device; what is in no list promotes its operands as it always does.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from symgrad_codegen import arrays

from symgrad.core import dtypes
from symgrad.core.dtypes import DType
from symgrad.functional.table import FUNCTIONS, Function
from symgrad.recording.record import modes
from symgrad.tensors.reading import Reading


def _named(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PRODUCTS = _named(
    "linear matmul mm bmm addmm addbmm baddbmm einsum inner tensordot conv1d conv2d "
    "conv3d conv_transpose1d conv_transpose2d conv_transpose3d prelu bilinear"
)
_LOSSES = _named(
    "binary_cross_entropy hinge_embedding_loss huber_loss kl_div l1_loss mse_loss nll_loss "
    "smooth_l1_loss margin_ranking_loss poisson_nll_loss soft_margin_loss triplet_margin_loss "
    "cosine_embedding_loss multi_margin_loss multilabel_margin_loss"
)
_STATISTICS = frozenset(("batch_norm_train", "batch_norm_eval"))

LOW: Mapping[str, frozenset[str]] = {"cpu": _PRODUCTS, "cuda": _PRODUCTS | {"mv", "addmv", "addr"}}
"""Functions that run in the low precision, for each kind of device."""

WIDE: Mapping[str, frozenset[str]] = {
    "cpu": _LOSSES
    | _named("prod cdist trace cholesky inverse linalg_solve qr_0 qr_1 svd_0 svd_1 svd_2 eigh_0 "
                "eigh_1 cross_entropy binary_cross_entropy_with_logits"),
    "cuda": _LOSSES
    | _named("binary_cross_entropy_with_logits cross_entropy softmax softmin log_softmax "
                "logsumexp softplus layer_norm rms_norm sum norm prod cumsum cumprod dist cdist exp "
                "expm1 log log10 log1p log2 pow square reciprocal rsqrt acos asin cosh sinh tan "
                "erfinv"),
}  # fmt: skip
"""Functions that run in float32 and give float32."""

INSIDE: Mapping[str, frozenset[str]] = {
    "cpu": _STATISTICS | {"layer_norm", "rms_norm"},
    "cuda": _STATISTICS,
}
"""Functions that run in float32 and give the dtype of their first operand."""

_DEFAULTS: dict[str, DType] = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
_SMALL = (dtypes.float16, dtypes.bfloat16)


class Policy:
    """The low dtype of every kind of device for which autocast is on; installed in ``modes``."""

    def __init__(self, low: tuple[tuple[str, DType], ...]) -> None:
        self.low = dict(low)

    def __call__(self, call: Callable[..., Any], function: Function, args: Any, kwargs: Any) -> Any:
        """``call`` with the operands in the dtype that the lists say."""
        first = _first(args)
        kind = "" if first is None else first._now().device.partition(":")[0]
        low = self.low.get(kind)
        name = function.name if FUNCTIONS.get(function.name) is function else ""  # PyTorch's own
        modes.autocast = None
        try:
            if low is None or first is None:
                return call(function, args, kwargs)
            inside = name in INSIDE[kind]
            if name in LOW[kind]:
                change = functools.partial(_cast, low, call)
            elif inside or name in WIDE[kind]:
                change = functools.partial(_widen, call)
            else:
                return call(function, args, kwargs)
            cast_args = [_each(a, change) for a in args]
            made = call(function, cast_args, {k: _each(v, change) for k, v in kwargs.items()})
            return _cast(first.dtype, call, made) if inside else made
        finally:
            modes.autocast = self


def _first(values: Any) -> Any:
    """The first tensor among arguments and their lists."""
    for v in values:
        if isinstance(v, Reading):
            return v
        if isinstance(v, (list, tuple)) and (found := _first(v)) is not None:
            return found
    return None


def _each(v: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(v, Reading):
        return change(v)
    if type(v) in (list, tuple):
        return type(v)([_each(x, change) for x in v])
    return v


def _cast(dtype: DType, call: Callable[..., Any], t: Any) -> Any:
    """A floating tensor in ``dtype``; float64 and integers stay, as in PyTorch."""
    if t.dtype is dtype or not t.dtype.is_floating_point or t.dtype is dtypes.float64:
        return t
    return call(FUNCTIONS["to_dtype"], (t, dtype), {})


def _widen(call: Callable[..., Any], t: Any) -> Any:
    return _cast(dtypes.float32, call, t) if t.dtype in _SMALL else t


@functools.lru_cache(maxsize=64)
def _policy(low: tuple[tuple[str, DType], ...]) -> Policy | None:
    return Policy(low) if low else None


def _known_kind(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ValueError(
            f"Expected `device_type` of type `str`, got: `{type(device_type)}`. For a device write "
            "device.type"
        )
    if device_type not in LOW:
        raise RuntimeError(
            f"User specified an unsupported autocast device_type '{device_type}'; there are "
            f"{' and '.join(LOW)}"
        )
    return device_type


class autocast:
    """Within it, products run in ``dtype`` and what needs range or precision in float32.

    **Arguments:** ``device_type``: ``"cpu"`` or ``"cuda"``, the device of the tensors it is for;
    ``dtype``: float16 or bfloat16 (by default bfloat16 on the CPU, float16 on a GPU); ``enabled``:
    False switches an outer one off.  As a ``with`` block or a decorator.

    >>> import symgrad as sg
    >>> x = sg.ones(2, 2)
    >>> with sg.autocast("cpu"):
    ...     (x @ x).dtype, (x + x).dtype, sg.nn.functional.mse_loss(x @ x, x).dtype
    (torch.bfloat16, torch.float32, torch.float32)

    Mirrors ``torch.autocast``.  Casts of a weight that is used twice are one operation, with or
    without ``cache_enabled``.
    """

    def __init__(
        self,
        device_type: str,
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        del cache_enabled
        self.device = _known_kind(device_type)
        self.fast_dtype = _DEFAULTS[self.device] if dtype is None else dtype
        self._enabled = enabled
        self._before: list[Policy | None] = []
        if enabled and device_type == "cuda" and not arrays.has_gpu():
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling",
                stacklevel=2,
            )
            self._enabled = False
        if enabled and self.fast_dtype not in _SMALL:
            warnings.warn(
                f"In {self.device.upper()} autocast, but the target dtype is not supported. "
                f"Disabling autocast.\n {self.device.upper()} Autocast only supports dtype of "
                "torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            self._enabled = False

    def __enter__(self) -> autocast:
        self._before.append(modes.autocast)
        low = dict(modes.autocast.low) if modes.autocast is not None else {}
        low.pop(self.device, None)
        if self._enabled:
            low[self.device] = self.fast_dtype
        modes.autocast = _policy(tuple(sorted(low.items())))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        modes.autocast = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, always run within this context."""

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return run


def is_autocast_available(device_type: str) -> bool:
    """Is there a list for this kind of device?"""
    return device_type in LOW


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Is autocast on for this kind of device?"""
    return modes.autocast is not None and _known_kind(device_type) in modes.autocast.low


def get_autocast_dtype(device_type: str) -> DType:
    """The low dtype of this kind of device: the one in force, or the default."""
    kind = _known_kind(device_type)
    low = {} if modes.autocast is None else modes.autocast.low
    return low.get(kind, _DEFAULTS[kind])
