"""Reading a tensor computes it: numbers, arrays, text, truth."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import numpy as np
from symgrad_codegen import arrays

from symgrad.core.dtypes import dtype_of_numpy
from symgrad.core.sizes import shape_text, whole_number
from symgrad.errors import ShapeError, TraceError, UnboundError
from symgrad.functional.promotion import default_dtype
from symgrad.recording.execute import value
from symgrad.recording.record import Leaf, leaf_like, modes
from symgrad.recording.walk import walk
from symgrad.tensors.attributes import Attributes
from symgrad.tensors.conditions import condition_of
from symgrad.tensors.printing import tensor_text
from symgrad.tensors.wording import (
    ABSTRACTING,
    jax_call,
    name_of,
    place_name,
    spoken_of,
    user_frame,
    user_line,
    variables,
)

REMEDIES = {
    "while": "Use a for loop over a fixed number of steps, with sg.where inside",
    "assert": "Check numbers before the call",
    "and": "Use & between tensors",
    "or": "Use | between tensors",
    "not": "Use ~ on a tensor",
}
"""What to write in place of a condition; sg.where in place of all others."""


class Reading(Attributes):
    """The part of Tensor that needs its value."""

    __slots__ = ()
    base: ClassVar[Any]
    """Tensor itself, for code on lower floors that makes new ones."""

    def array(self) -> Any:
        """The value as it lies on its device (a JAX or NumPy array)."""
        if self._storage.shared is not None and self._view is None:
            return self._storage.shared
        node = self._now()
        if modes.capture is not None:
            raise TraceError(
                "a compiled step read the value of a tensor (item, print, if, numpy); the function "
                "is recorded once, so values do not exist yet. Return the tensor and read it after."
            )
        try:
            return value(node)
        except UnboundError:
            unknown = self._symbols()
            if unknown:
                raise self._no_value(unknown[0]) from None
            raise

    def _symbols(self) -> list[Any]:
        """The symbols that this tensor depends on."""
        ends = walk([self._now()], lambda n: getattr(n, "value", None) is not None)
        return [n for n in ends if type(n) is Leaf and n.value is None and n.source is None]

    def _no_value(self, symbol: Any) -> TraceError | UnboundError:
        """Why this tensor cannot be read."""
        frame = user_frame()
        names = variables(frame)
        word = spoken_of(self._now(), names)
        asked = f"{word} ({shape_text(tuple(self.shape))}): its value was asked for"
        held = name_of(symbol, names)
        if modes.tracing:
            return TraceError(
                f"{asked}, but {held} has none while tracing.",
                "Return the tensor and read it after the call, or call the function on numbers.",
                place=user_line(),
            )
        which = "it" if symbol is self._now() else held
        return UnboundError(
            f"{asked}, but {which} is a symbol and no value is bound to it.",
            "Compile the expression (sg.compile) and call it with arrays.",
            place=user_line(),
        )

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """The value as a NumPy array that shares memory with this tensor."""
        if self.requires_grad and not force:
            if unknown := self._symbols():
                raise self._no_value(unknown[0])
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        if self._view is not None:
            return np.array(arrays.to_numpy(self.array()))
        storage = self._storage
        old = storage.node
        if old.tracked and type(old) is not Leaf:  # it stays in its graph, its value is shared
            flags = old.value.flags if isinstance(old.value, np.ndarray) else None
            if flags is None or not (flags.writeable and flags.c_contiguous):
                old.value = np.array(arrays.to_numpy(self.array()), order="C")
            return old.value
        if storage.shared is None:
            storage.shared = np.array(arrays.to_numpy(self.array()), order="C")
            storage.node = leaf_like(old, storage.shared)
        return storage.shared

    @property
    def __jax_array__(self) -> Any:
        """Absent; but a function of JAX that asks for it, to compute with, is told what to do."""
        if sys._getframe(1).f_code.co_name in ABSTRACTING:
            raise jax_call(self._now())
        raise AttributeError("__jax_array__")

    __array_priority__ = 1000
    """Operators with NumPy's numbers and arrays on their left are ours: they keep the graph."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        found = np.array(arrays.to_numpy(self.array()))
        return found if dtype is None else found.astype(dtype)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """A tensor of what a function of NumPy made of this one."""
        kind = dtype_of_numpy(array.dtype)
        del context, return_scalar  # a number is a tensor, too
        return array if kind is None else Reading.base.from_value(np.asarray(array), kind)

    def item(self) -> Any:
        """The number in a tensor with one element."""
        if self.numel() != 1:
            raise ShapeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return self.array().item()

    def tolist(self) -> Any:
        """Nested lists of numbers."""
        return arrays.to_numpy(self.array()).tolist()

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise RuntimeError(f"Boolean value of Tensor with {self.numel()} values is ambiguous")
        if getattr(self._now(), "value", None) is None:
            unknown = self._symbols()
            if unknown:
                raise self._undecided(unknown[0])
        return bool(self.item())

    def _undecided(self, symbol: Any) -> TraceError | UnboundError:
        """Why a condition cannot be decided, at the line that decides it."""
        frame = user_frame()
        names = variables(frame)
        found = condition_of(frame)
        word = found.word if found else "if"
        test = found.test if found else "condition"
        subject = found.subject if found else spoken_of(self._now(), names)
        where = f" ({place_name(frame.f_code.co_filename, frame.f_lineno)})" if frame else ""
        needs = f"this '{word}' needs the value of {subject}{where}, but {name_of(symbol, names)}"
        remedy = REMEDIES.get(word, f"Use sg.where({test}, a, b) or sg.cond")
        if modes.tracing:
            return TraceError(
                f"{needs} has none while tracing. {remedy}, or call the function on numbers."
            )
        return UnboundError(
            f"{needs} is a symbol and no value is bound to it. {remedy}, or compute with numbers."
        )

    def __complex__(self) -> complex:
        return complex(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "biu":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return whole_number(self.shape[0], "len()")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        if any(n.symbol is not None for n in self._symbols()):
            return f"{self.formula()}  ({shape_text(tuple(self.shape))} {self.dtype.name})"
        name = type(self.grad_fn).__name__ if self.grad_fn is not None else None
        return tensor_text(
            arrays.to_numpy(self.array()),
            self.dtype.name,
            requires_grad=self.is_leaf and self.requires_grad,
            grad_fn=name,
            device=str(self.device),
            default_dtype_name=default_dtype().name,
        )

    def __format__(self, spec: str) -> str:
        if self.ndim == 0 and type(self) is Reading.base and (spec or not self._symbols()):
            return format(self.item(), spec)
        return object.__format__(self, spec)
