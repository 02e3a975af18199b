"""``save`` and ``load``: tensors, and containers of them, as safetensors files.

A ``state_dict`` is stored under its own names, so that any reader of safetensors (PyTorch's too)
gets its weights.  Dicts, lists, tuples and numbers around the tensors are described as JSON in the
file's metadata.  Nothing is ever unpickled: loading a file cannot run code.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import ml_dtypes
import numpy as np
from symgrad_codegen.lazy import lazy

from symgrad.core.dtypes import DType, dtype_named, dtype_of_numpy
from symgrad.errors import SymgradError
from symgrad.tensors.tensor import Parameter, Tensor

safetensors = lazy("safetensors")
safetensors_numpy = lazy("safetensors.numpy")

Target: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
Array: TypeAlias = "np.ndarray[Any, Any]"

_KEY = "symgrad.structure"
_NUMPY: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


_PICKLED_NAMES = {".pt", ".pth", ".pkl", ".ckpt"}
"""Endings of files that hold a pickle where PyTorch wrote them."""


class SerializationError(SymgradError, RuntimeError, ValueError):
    """A value that cannot be stored as safetensors, or a file that is not what it should be."""


# ------------------------------------------------------------------ saving


class _Writer:
    """Collects arrays by name while describing the containers around them."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.names: dict[int, str] = {}
        self.alive: list[Any] = []

    def describe(self, value: Any, path: str) -> Any:
        """``value`` as JSON, its arrays set aside under names made of their path."""
        if value is None or isinstance(value, (bool, str)):
            return {"value": value}
        if isinstance(value, int):
            return {"int": str(int(value))}
        if isinstance(value, float):
            return {"float": float(value).hex()}
        if isinstance(value, complex):
            return {"complex": [value.real.hex(), value.imag.hex()]}
        if isinstance(value, DType):
            return {"dtype": value.name}
        if isinstance(value, Tensor):
            kind = "parameter" if isinstance(value, Parameter) else "tensor"
            described = self._array(kind, value, value.__array__(), path)
            if value.requires_grad != (kind == "parameter"):
                described["requires_grad"] = value.requires_grad
            return described
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array("array", value, np.asarray(value), path)
        if isinstance(value, Mapping):
            kind = "ordered" if isinstance(value, OrderedDict) else "dict"
            pairs = []
            for place, (key, item) in enumerate(value.items()):
                name = key if isinstance(key, str) else str(key)
                below = f"{path}.{name}" if path else name
                pairs.append([self.describe(key, f"{path}.key{place}"), self.describe(item, below)])
            return {kind: pairs}
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "tuple"
            items = enumerate(value)
            return {kind: [self.describe(v, f"{path}.{k}" if path else str(k)) for k, v in items]}
        hint = ""
        if hasattr(value, "state_dict"):
            hint = " Save its .state_dict() and load that into a new object."
        raise SerializationError(
            f"save: {path or 'the object'} is a {type(value).__name__}. Only tensors, NumPy arrays, "
            "numbers, text and dicts, lists and tuples of them are stored; other objects would need "
            f"pickle, which runs code when it is loaded.{hint}"
        )

    def _array(self, kind: str, owner: Any, array: Array, path: str) -> dict[str, Any]:
        if array.dtype.kind in "OSUV" and array.dtype != np.dtype(ml_dtypes.bfloat16):
            raise SerializationError(
                f"save: {path or 'the array'} has dtype {array.dtype}; only numbers are stored"
            )
        name = self.names.get(id(owner))
        if name is None:
            name = path or "tensor"
            while name in self.arrays:
                name += "_"
            self.names[id(owner)] = name
            self.alive.append(owner)
            if array.dtype == np.complex128:
                array = np.stack([array.real, array.imag], axis=-1)
            self.arrays[name] = np.array(array, order="C", copy=True)
        described: dict[str, Any] = {kind: name}
        if getattr(owner, "dtype", None) is not None and str(owner.dtype).endswith("complex128"):
            described["complex128"] = True
        return described


def dumps(obj: Any) -> bytes:
    """``obj`` as the bytes of a safetensors file."""
    writer = _Writer()
    structure = json.dumps(writer.describe(obj, ""), ensure_ascii=True, separators=(",", ":"))
    return safetensors_numpy.save(writer.arrays, {"format": "pt", _KEY: structure})


def save(
    obj: Any,
    f: Target,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write tensors, or nested dicts, lists, tuples and numbers around them, as safetensors.

    A path is written to a temporary file beside it, which then takes its place: a crash leaves the
    old file whole.  A name that ends like PyTorch's pickles brings a warning.  The ``pickle`` arguments of PyTorch are taken and mean nothing.

    >>> import io, symgrad as sg
    >>> memory = io.BytesIO()
    >>> sg.save({"epoch": 3, "w": sg.ones(2)}, memory)
    >>> sg.load(io.BytesIO(memory.getvalue()))
    {'epoch': 3, 'w': tensor([1., 1.])}
    """
    del pickle_module, pickle_protocol, _use_new_zipfile_serialization
    data = dumps(obj)
    if not isinstance(f, (str, os.PathLike)):
        f.write(data)
        return
    target = Path(f)
    if target.suffix.lower() in _PICKLED_NAMES:
        warnings.warn(
            f"{target.name} is written as safetensors, not as a pickle; PyTorch reads it by "
            f"safetensors.torch.load_file({target.name!r})",
            stacklevel=2,
        )
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent or None)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _mode(target: Path) -> int:
    """Permission bits of the file replaced, or those of a new file."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


# ------------------------------------------------------------------ loading


def load(
    f: Target,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what :func:`save` wrote, or the tensors of any safetensors file as a dict.

    **Arguments:** ``map_location``: the device of the tensors (a device, its name, a dict of names,
    or a function of tensor and name).

    **Raises:** SerializationError for pickles (PyTorch's own files) and damaged files.
    """
    del pickle_module, weights_only, mmap, pickle_load_args
    if isinstance(f, (str, os.PathLike)):
        data, name = Path(f).read_bytes(), str(f)
    else:
        data, name = f.read(), "the file"
    return loads(data, map_location, name)


def loads(data: bytes, map_location: Any = None, name: str = "the data") -> Any:
    """What the bytes of a safetensors file hold."""
    if data.startswith(_PICKLES):
        raise SerializationError(
            f"load: {name} is a pickle (torch.save's format). Loading one runs the code in it, so it "
            "is refused. Convert it once, where PyTorch is installed:\n"
            "  import torch, safetensors.torch\n"
            f"  safetensors.torch.save_file(torch.load({name!r}, weights_only=True), "
            f"{_converted(name)!r})"
        )
    try:
        entries = safetensors.deserialize(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError) as problem:
        raise SerializationError(f"load: {name} is not a safetensors file: {problem}") from problem
    arrays: dict[str, Array] = {}
    for key, entry in entries:
        if entry["dtype"] not in _NUMPY:
            raise SerializationError(
                f"load: {key} in {name} has dtype {entry['dtype']}, which does not exist here"
            )
        flat = np.frombuffer(entry["data"], dtype=_NUMPY[entry["dtype"]])
        arrays[key] = flat.reshape(entry["shape"]).copy()
    place = _placement(map_location)
    if _KEY not in metadata:
        return {key: place(_tensor(key, array)) for key, array in sorted(arrays.items())}
    try:
        return _Reader(arrays, place).value(json.loads(metadata[_KEY]))
    except SerializationError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration,
            RecursionError) as problem:  # fmt: skip
        raise SerializationError(
            f"load: the description of containers in {name} is damaged: {problem!r}"
        ) from problem


def _converted(name: str) -> str:
    """The name that a converted file would have."""
    stem = Path(name).stem if Path(name).suffix else "weights"
    return str(Path(name).with_name(f"{stem}.safetensors"))


def _tensor(name: str, array: Array) -> Tensor:
    dtype = dtype_of_numpy(array.dtype)
    if dtype is None:
        raise SerializationError(f"load: {name} has dtype {array.dtype}, which no tensor has")
    return Tensor.from_value(array, dtype)


def _placement(map_location: Any) -> Callable[[Tensor], Tensor]:
    if map_location is None:
        return lambda t: t
    if isinstance(map_location, dict):
        target = map_location.get("cpu")
        return (lambda t: t) if target is None else (lambda t: t.to(target))
    if callable(map_location):

        def placed(tensor: Tensor) -> Tensor:
            moved: Any = map_location(tensor, "cpu")
            return tensor if moved is None else moved

        return placed
    return lambda t: t.to(map_location)


class _Reader:
    """Rebuilds containers from their description; a tensor stored once is one tensor again."""

    def __init__(self, arrays: dict[str, Array], place: Callable[[Tensor], Tensor]) -> None:
        self.arrays = arrays
        self.place = place
        self.made: dict[tuple[str, str], Any] = {}

    def value(self, described: Any) -> Any:
        """The object described."""
        kind, content = next(iter(described.items()))
        if kind == "value":
            return content
        if kind == "int":
            return int(content)
        if kind == "float":
            return float.fromhex(content)
        if kind == "complex":
            return complex(float.fromhex(content[0]), float.fromhex(content[1]))
        if kind == "dtype":
            return dtype_named(content)
        if kind in {"tensor", "parameter", "array"}:
            known = self.made.get((kind, content))
            if known is None:
                known = self.made[kind, content] = self._array(kind, content, described)
            return known
        if kind in {"dict", "ordered"}:
            pairs = ((self.value(key), self.value(item)) for key, item in content)
            return OrderedDict(pairs) if kind == "ordered" else dict(pairs)
        if kind in {"list", "tuple"}:
            items = (self.value(item) for item in content)
            return list(items) if kind == "list" else tuple(items)
        raise KeyError(kind)

    def _array(self, kind: str, name: str, described: Mapping[str, Any]) -> Any:
        array = self.arrays[name]
        if described.get("complex128"):
            array = array[..., 0] + 1j * array[..., 1]
        if kind == "array":
            return array
        tensor = self.place(_tensor(name, array))
        if kind == "parameter":
            return Parameter(tensor, requires_grad=described.get("requires_grad", True))
        return tensor.requires_grad_() if described.get("requires_grad") else tensor
