"""Methods that make new tensors like this one, fill this one, or lay it out anew in place."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.core.dtypes import DType
from symgrad.errors import RangeError
from symgrad.functional.shape import axis_of
from symgrad.random import stream_of
from symgrad.recording.record import modes
from symgrad.tensors.creation import full, tensor
from symgrad.tensors.given import shape_of
from symgrad.tensors.keywords import keyworded
from symgrad.tensors.limits import finfo, iinfo
from symgrad.tensors.tensor import Tensor
from symgrad.tensors.views import origin

# ------------------------------------------------------------------ new ones


def new_tensor(
    self: Tensor, data: Any, *, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``data`` in this tensor's dtype and on its device."""
    return tensor(data, dtype or self.dtype, device or self.device, requires_grad)


def new_zeros(
    self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0 everywhere, in this tensor's dtype and on its device."""
    return new_full(self, shape_of(size), 0, dtype, device, requires_grad)


def new_ones(
    self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """1 everywhere, in this tensor's dtype and on its device."""
    return new_full(self, shape_of(size), 1, dtype, device, requires_grad)


def new_full(
    self: Tensor, size: Any, fill_value: Any, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``fill_value`` everywhere, in this tensor's dtype and on its device."""
    return full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device,
                requires_grad=requires_grad)  # fmt: skip


# ------------------------------------------------------------------ draws


def uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with uniform draws on [from, to)."""
    return _drawn(self, stream_of(generator).uniform(from_, to, _shape(self)))


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with normal draws."""
    return _drawn(self, stream_of(generator).normal(mean, std, _shape(self)))


def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    """Fill with exp of normal draws."""
    return _drawn(self, stream_of(generator).lognormal(mean, std, _shape(self)))


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with draws from λ exp(−λ x)."""
    return _drawn(self, stream_of(generator).exponential(1 / lambd, _shape(self)))


def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fill with the numbers of trials up to the first success."""
    return _drawn(self, stream_of(generator).geometric(p, _shape(self)))


def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
) -> Tensor:
    """Fill with draws from the Cauchy distribution."""
    return _drawn(self, median + sigma * stream_of(generator).standard_cauchy(_shape(self)))


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with 1 with probability ``p``, a number or one for each entry, else 0."""
    likely = np.asarray(p.detach().numpy() if isinstance(p, Tensor) else p)
    if not ((likely >= 0) & (likely <= 1)).all():
        raise RangeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return _drawn(self, stream_of(generator).random(_shape(self)) < likely)


def random_(
    self: Tensor, from_: int = 0, to: int | None = None, *, generator: Any = None
) -> Tensor:
    """Fill with whole numbers from ``from`` below ``to``; one bound is ``to``."""
    low, high = (0, from_) if to is None else (from_, to)
    if not high:  # all that the dtype holds exactly
        kind = self.dtype
        digits = 1 - int(math.log2(finfo(kind).eps)) if kind.is_floating_point else 0
        high = 2**digits if digits else 2 if kind.kind == "b" else int(iinfo(kind).max)
    return _drawn(self, stream_of(generator).integers(low, high, _shape(self)))


def view_as(self: Tensor, other: Tensor) -> Tensor:
    """The same memory in the shape of another tensor."""
    return self.view(other.shape)


def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """The same memory, repeated to the shape of another tensor."""
    return self.expand(other.shape)


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """In the shape of another tensor; the same memory where that allows it."""
    return self.reshape(other.shape)


def _shape(t: Tensor) -> tuple[int, ...]:
    return tuple(t.shape)


def _drawn(t: Tensor, numbers: np.ndarray[Any, Any]) -> Tensor:
    return t._set(Tensor.from_value(numbers.astype(t.dtype.numpy), t.dtype))


# ------------------------------------------------------------------ in place


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """One number on the diagonal; beyond the square part again where ``wrap``."""
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    held = np.zeros(_shape(self), np.bool_)
    np.fill_diagonal(held, True, wrap)
    return self.masked_fill_(tensor(held), fill_value)


def index_copy_(self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """The slices of ``source`` where ``index`` says."""
    axis = axis_of(dim, self.ndim)
    self[(slice(None),) * axis + (index,)] = source
    return self


def detach_(self: Tensor) -> Tensor:
    """Stop tracking this tensor."""
    return _laid(self, "detach", (), {})


def _laid(self: Tensor, name: str, args: Any, kwargs: Any) -> Tensor:
    """Show what a view of this tensor shows; earlier views of it stay views of what it was."""
    tracked = self.is_leaf and self._tracked and name != "detach"
    if tracked and modes.grad:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    base = copy.copy(self)
    base._tracked = base._tracked and not self.is_leaf
    made = getattr(base, name)(*args, **kwargs)
    self._origin = base if origin(self) is self else self._origin
    self._storage, self._view, self._tracked, self._leaf = made._storage, made._view, tracked, None
    return self


def _in_place(name: str) -> Callable[..., Tensor]:
    def relay(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _laid(self, name, args, kwargs)

    relay.__name__ = f"{name}_"
    relay.__doc__ = f"{name} in place: the same memory, laid out anew."
    return relay


LAYOUTS = ("squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims")
METHODS = (
    new_tensor, new_zeros, new_ones, new_full, uniform_, normal_, log_normal_, exponential_,
    geometric_, cauchy_, bernoulli_, random_, fill_diagonal_, index_copy_, detach_,
    view_as, expand_as, reshape_as, *map(_in_place, LAYOUTS),
)  # fmt: skip
for _method in METHODS:
    setattr(Tensor, _method.__name__, keyworded(_method))
Tensor.new_empty = new_zeros  # type: ignore[attr-defined]

__all__ = ["METHODS"]
