"""Forward and backward of a user's ``autograd.Function`` under autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from symgrad.amp.autocast_mode import autocast, get_autocast_dtype, is_autocast_enabled
from symgrad.core.dtypes import DType, float64
from symgrad.tensors.tensor import Tensor


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: DType | None = None
) -> Any:
    """Decorator of ``forward``: with ``cast_inputs``, run in that dtype and without autocast.

    Outside of autocast it changes nothing.  Mirrors ``torch.amp.custom_fwd``.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = on and cast_inputs is None
        if not on or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            cast = [_cast(a, cast_inputs) for a in args]
            return fwd(ctx, *cast, **{k: _cast(v, cast_inputs) for k, v in kwargs.items()})

    return run


def _cast(value: Any, dtype: DType) -> Any:
    if isinstance(value, Tensor) and value.dtype.is_floating_point and value.dtype is not float64:
        return value.to(dtype)
    return value


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """Decorator of ``backward``: run with autocast as ``forward`` ran.

    Mirrors ``torch.amp.custom_bwd``.
    """
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def run(ctx: Any, *gradients: Any) -> Any:
        with autocast(device_type, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *gradients)

    return run


__all__ = ["custom_bwd", "custom_fwd"]
