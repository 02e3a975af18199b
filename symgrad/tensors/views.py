"""Views: tensors that share the storage of another, and writing through them.

A view is (base, function, arguments); its record is made again when the storage has changed.  A
write rebinds the storage of the base to a record of the whole.  Strides and offsets are those of
the same view of a NumPy array whose memory is never read.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.errors import ShapeError, SymgradError
from symgrad.functional.table import FUNCTIONS, Function
from symgrad.recording.record import SLOT, Leaf, modes, note
from symgrad.tensors.attributes import UntypedStorage
from symgrad.tensors.calls import as_operand, call
from symgrad.tensors.given import fitting
from symgrad.tensors.indexing import WHOLE, Parsed, known_array, numpy_index, parse, same_sizes
from symgrad.tensors.reading import Reading
from symgrad.tensors.storage import strides_of
from symgrad.tensors.wording import index_problem

SAME_ORDER = {"reshape", "view", "flatten", "ravel", "squeeze", "unsqueeze", "unflatten",
              "atleast_3d"}  # fmt: skip
REPEATING = {"expand", "broadcast_to"}
SAME = {"detach", "positive"}
OTHER_PART = {"real": "imag", "imag": "real"}


def origin(t: Any) -> Any:
    """What a tensor was before it was laid out anew in place: its earlier views are views of that."""
    return getattr(t, "_origin", t)


def _base(t: Any) -> Any:
    """The tensor that a view shows a part of."""
    return origin(t._view[0])


def _lasting(t: Any) -> Any:
    """A tensor that stays laid out as this one is."""
    return t if origin(t) is t else copy.copy(t)


def _chain(t: Any) -> list[Any]:
    """The views between a tensor and its storage, the last one first."""
    chain: list[Any] = []
    while t._view is not None:
        chain.append(t._view)
        t = _base(t)
    return chain


def layout(t: Any) -> tuple[np.ndarray[Any, Any], int]:
    """A stand-in of one byte per element with the tensor's strides, and its offset in elements."""
    chain = _chain(t)
    shape = tuple(t._root()._storage.node.shape)
    root = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), shape, strides_of(shape))
    found: Any = root
    for _, function, statics, *_ in reversed(chain):
        found = function.view(found, *statics[1:-1], **dict(statics[-1]))
    return found, found.__array_interface__["data"][0] - root.__array_interface__["data"][0]


def view_of(function: Function, base: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A view where the memory allows one; else a new tensor, or for ``view`` an error.

    Its parameters are numbers: a tensor of one is read.
    """
    args = [int(a) if _is_whole(a) else a for a in args]
    base = _lasting(base)
    made = call(function, (base, *args), kwargs)
    if not all(type(s) is int for s in base._now().shape):
        return made
    record = made._storage.node
    if base._view is not None and function.name in SAME_ORDER:
        try:
            function.view(layout(base)[0], *args, **kwargs)  # type: ignore[misc]
        except ValueError:
            if function.name != "view":
                return made
            raise ShapeError(
                "view size is not compatible with input tensor's size and stride (at least one "
                "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
            ) from None
    made._storage = base._storage
    made._view = (base, function, record.statics, base._storage.version, record)
    return made


def _is_whole(a: Any) -> bool:
    return isinstance(a, Reading) and not a.ndim and a.dtype.kind in "iu"


def _back(function: Function, base: Any, new: Any, statics: tuple[Any, ...]) -> Any:
    """The whole base with ``new`` where the view shows it."""
    args, name = statics[1:-1], function.name
    if name in SAME_ORDER or (name in REPEATING and new.numel() == base.numel()):
        return call(FUNCTIONS["reshape"], (new, tuple(base.shape)), {})
    if name in SAME or (name in OTHER_PART and not base.dtype.is_complex):
        return new
    if name in OTHER_PART:
        parts = {name: new, OTHER_PART[name]: call(FUNCTIONS[OTHER_PART[name]], (base,), {})}
        return call(FUNCTIONS["complex"], (parts["real"], parts["imag"]), {})
    if name == "movedim":
        return call(function, (new, args[1], args[0]), {})
    if name == "diagonal":
        return call(FUNCTIONS["diagonal_scatter"], (base, new, *args), dict(statics[-1]))
    if name in ("t", "transpose"):
        return call(function, (new, *args), dict(statics[-1]))
    if name == "permute":
        rank = base.ndim
        order = [k % rank for k in (args[0] if isinstance(args[0], tuple) else args)]
        return call(function, (new, *(order.index(k) for k in range(rank))), {})
    if name == "basic_index":
        return call(FUNCTIONS["basic_put"], (base, new, args[0]), {})
    if name in ("select", "narrow"):
        given = {**dict(zip(("dim", "start" if name == "narrow" else "index", "length"), args,
                            strict=False)), **dict(statics[-1])}  # fmt: skip
        axis = given["dim"] % base.ndim
        entry: tuple[Any, ...] = ("i", given.get("index"))
        if name == "narrow":
            entry = ("s", given["start"], given["start"] + given["length"], 1)
        return call(FUNCTIONS["basic_put"], (base, new, (*(WHOLE,) * axis, entry)), {})
    raise RuntimeError(
        "unsupported operation: more than one element of the written-to tensor refers to a single "
        "memory location. Please clone() the tensor before performing the operation."
    )


def _parsed(t: Any, index: Any) -> Parsed:
    """What stands in the brackets; errors restate them."""
    try:
        return parse(t, index)
    except SymgradError as problem:
        raise index_problem(problem, t._now(), index) from None


class Viewing(Reading):
    """The part of Tensor that shares storage: indexing, layout, writes through views."""

    __slots__ = ()

    def _view_node(self) -> Any:
        _, function, statics, version, cached = self._view
        base = _base(self)
        storage = base._storage
        if cached is not None and version == storage.version and storage.shared is None:
            return cached
        node = note(function, statics, (base.node(),))
        node.handle = weakref.ref(self)
        self._view = (base, function, statics, storage.version, node)
        return node

    def _write_through(self, new: Any) -> None:
        t: Any = self
        before = modes.grad
        try:
            while t._view is not None:
                _, function, statics, *_ = t._view
                base = _base(t)
                new = _back(function, base, new, statics)
                modes.grad = modes.grad and function.name != "detach"
                t = base
            t._set(new)
        finally:
            modes.grad = before

    def _root(self) -> Any:
        t: Any = self
        while t._view is not None:
            t = _base(t)
        return t

    def __getitem__(self, index: Any) -> Any:
        entries, dims, picks = _parsed(self, index)
        known = None if modes.capture is not None else known_array(self)
        shown: Any = self
        if entries:
            shown = self._cut(entries, known)
            known = known[numpy_index(entries)] if known is not None else None
        elif not dims:
            shown = view_of(FUNCTIONS["basic_index"], self, (entries,), {})
        if not dims:
            return shown
        values = [known_array(p) for p in picks] if known is not None else [None]
        if known is not None and all(v is not None for v in values):
            return Reading.base.from_value(
                np.array(known[numpy_index((), dims, values)]), self.dtype
            )
        return call(FUNCTIONS["index"], (shown, tuple(dims), *picks), {})

    def _cut(self, entries: tuple[tuple[Any, ...], ...], known: Any) -> Any:
        """A view.

        Of data that is known it is taken at once, so that no program depends on where a batch
        begins.
        """
        if known is None:
            return view_of(FUNCTIONS["basic_index"], self, (entries,), {})
        part = known[numpy_index(entries)]
        if self._storage.shared is not None:
            part = np.array(part)
        node = Leaf(part, part.shape, self.dtype)
        made = Reading.base(self._storage)
        statics = (SLOT, entries, ())
        made._view = (
            _lasting(self),
            FUNCTIONS["basic_index"],
            statics,
            self._storage.version,
            node,
        )
        return made

    def __setitem__(self, index: Any, value: Any) -> None:
        value = as_operand(value)
        mask = index if isinstance(index, Reading) and index.dtype.name == "bool" else None
        if mask is not None and not isinstance(value, Reading):
            if tuple(mask.shape) != tuple(self.shape):
                same_sizes(mask, self.shape, 0)
                mask = mask.reshape((*mask.shape, *(1,) * (self.ndim - mask.ndim)))
            self._set(call(FUNCTIONS["masked_fill"], (self, mask, value), {}))
            return
        entries, dims, picks = _parsed(self, index)
        shared = self._storage.shared
        if (
            shared is not None
            and self._view is None
            and not dims
            and not (isinstance(value, Reading) and value.requires_grad)
        ):
            shared[numpy_index(entries)] = (
                arrays.to_numpy(value.array()) if isinstance(value, Reading) else value
            )
            self._storage.version += 1
            return
        target: Any = view_of(FUNCTIONS["basic_index"], self, (entries,), {})
        if not isinstance(value, Reading):
            value = fitting(value, self.dtype)
            value = Reading.base.from_value(np.asarray(value).astype(self.dtype.numpy), self.dtype)
        if dims:
            target._set(
                call(FUNCTIONS["index_put_at"], (target, value, False, tuple(dims), *picks), {})
            )
            return
        shape = tuple(target.shape)
        if value.ndim > len(shape):
            value = value.reshape(tuple(value.shape)[value.ndim - len(shape) :])
        target.copy_(value)

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any().item())

    # -------------------------------------------------------------- layout

    def stride(self, dim: int | None = None) -> Any:
        """Steps in elements along every axis."""
        found = layout(self)[0].strides if self._view is not None else strides_of(self.shape)
        return found if dim is None else found[dim]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Does the last axis run fastest, without gaps?"""
        del memory_format  # there is one
        if self._view is None:
            return True
        pairs = zip(self.stride(), strides_of(self.shape), self.shape, strict=True)
        return all(a == b for a, b, size in pairs if size > 1)

    def contiguous(self, memory_format: Any = None) -> Any:
        """Itself if contiguous, else a copy."""
        del memory_format  # there is one
        return self if self.is_contiguous() else call(FUNCTIONS["clone"], (self,), {})

    def storage_offset(self) -> int:
        """Where it begins in its storage, in elements."""
        return layout(self)[1] if self._view is not None else 0

    def untyped_storage(self) -> UntypedStorage:
        """The memory that it shares with its views."""
        root = self._root()
        return UntypedStorage(root.nbytes, root.data_ptr())

    def data_ptr(self) -> int:
        """A number that equal places in one memory share."""
        shared = self._storage.shared
        start = shared.ctypes.data if shared is not None else id(self._storage) * 16
        return start + self.storage_offset() * self.dtype.itemsize

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """The value as a NumPy array that shares memory with this tensor."""
        if self._view is None or (self.requires_grad and not force):
            return Reading.numpy(self, force=force)
        found: Any = Reading.numpy(self._root(), force=True)
        for _, function, statics, *_ in reversed(_chain(self)):
            found = function.view(found, *statics[1:-1], **dict(statics[-1]))
        return found
