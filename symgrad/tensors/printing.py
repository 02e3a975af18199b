"""The text of a tensor, to the character as PyTorch prints it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PrintOptions:
    """Digits after the point, elements before summarising, elements kept at an edge, line width."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}
_options = [PrintOptions()]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors print from now on; ``profile``: "default", "short" or "full"."""
    base = PROFILES[profile] if profile is not None else _options[0]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}  # fmt: skip
    _options[0] = replace(
        base, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode
    )


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """``set_printoptions`` within a ``with`` block."""
    before = _options[0]
    set_printoptions(**options)
    try:
        yield
    finally:
        _options[0] = before


class _Numbers:
    """One width and one notation for all real numbers of a tensor."""

    def __init__(self, values: Array, options: PrintOptions) -> None:
        self.precision = options.precision
        self.floating = values.dtype.kind == "f"
        self.whole = True
        self.scientific = False
        self.width = 1
        flat = values.reshape(-1)
        if not self.floating:
            self.width = max((len(str(v)) for v in flat.tolist()), default=1)
            return
        flat = flat[np.isfinite(flat) & (flat != 0)].astype(np.float64)
        if not flat.size:
            self.scientific = bool(options.sci_mode)
            return
        size = np.abs(flat)
        low, high = float(size.min()), float(size.max())
        self.whole = bool((flat == np.ceil(flat)).all())
        far = high / low > 1000 or high > 1e8
        self.scientific = far or (not self.whole and low < 1e-4)
        if options.sci_mode is not None:
            self.scientific = options.sci_mode
        self.width = max(len(self._bare(v)) for v in flat.tolist())

    def _bare(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{self.precision}e}"
        if self.whole:
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{self.precision}f}"

    def __call__(self, value: Any) -> str:
        return (self._bare(value) if self.floating else str(value)).rjust(self.width)


class _Complex:
    """Real and imaginary parts, each with its own width."""

    def __init__(self, values: Array, options: PrintOptions) -> None:
        self.real = _Numbers(values.real, options)
        self.imaginary = _Numbers(values.imag, options)
        self.width = self.real.width + self.imaginary.width + 1

    def __call__(self, value: complex) -> str:
        imaginary = self.imaginary(value.imag).lstrip()
        sign = "" if imaginary.startswith("-") else "+"
        return f"{self.real(value.real)}{sign}{imaginary}j"


def _edges(values: Array, edge: int) -> Array:
    for axis in range(values.ndim):
        if values.shape[axis] > 2 * edge:
            ends = [*range(edge), *range(values.shape[axis] - edge, values.shape[axis])]
            values = np.take(values, ends, axis)
    return values


def _vector(values: Array, indent: int, cut: bool, show: Any, options: PrintOptions) -> str:
    edge = options.edgeitems
    per_line = max(1, (options.linewidth - indent) // (show.width + 2))
    if cut and not edge:
        words = ["..."]
    elif cut and len(values) > 2 * edge:
        words = [*map(show, values[:edge].tolist()), " ...", *map(show, values[-edge:].tolist())]
    else:
        words = [show(v) for v in values.tolist()]
    lines = [", ".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(values: Array, indent: int, cut: bool, show: Any, options: PrintOptions) -> str:
    if values.ndim == 0:
        return str(show(values.item()))
    if values.ndim == 1:
        return _vector(values, indent, cut, show, options)
    edge = options.edgeitems
    short = cut and len(values) > 2 * edge
    rows = [*values[:edge], *values[-edge:]] if short else list(values)
    parts = [_nested(v, indent + 1, cut, show, options) for v in rows]
    if short:
        parts.insert(edge, "...")
    gap = "," + "\n" * (values.ndim - 1) + " " * (indent + 1)
    return "[" + gap.join(parts) + "]"


def _printable(values: Array, dtype_name: str) -> Array:
    """Narrow floats are shown as float32, which holds each of their values exactly."""
    return values.astype(np.float32) if dtype_name in ("float16", "bfloat16") else values


def tensor_text(
    values: Array,
    dtype_name: str,
    requires_grad: bool = False,
    grad_fn: str | None = None,
    device: str = "cpu",
    default_dtype_name: str = "float32",
) -> str:
    """``tensor([...], dtype=..., grad_fn=<...>)``, with lines broken where PyTorch breaks them."""
    options = _options[0]
    prefix = "tensor("
    indent = len(prefix)
    suffixes: list[str] = []
    if device != "cpu":
        suffixes.append(f"device='{device}'")
    if values.size == 0:
        if values.ndim != 1:
            suffixes.append(f"size={tuple(values.shape)}")
        if dtype_name != default_dtype_name:
            suffixes.append(f"dtype=torch.{dtype_name}")
        body = "[]"
    else:
        double = "complex128" if default_dtype_name == "float64" else "complex64"
        if dtype_name not in (default_dtype_name, double, "int64", "bool"):
            suffixes.append(f"dtype=torch.{dtype_name}")
        shown = _printable(values, dtype_name)
        cut = values.size > options.threshold
        sample = _edges(shown, options.edgeitems) if cut else shown
        kind = _Complex if shown.dtype.kind == "c" else _Numbers
        body = _nested(shown, indent, cut, kind(sample, options), options)
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    parts = [prefix + body]
    line = len(parts[0]) - parts[0].rfind("\n") + 1
    for word in suffixes:
        if line + len(word) + 2 > options.linewidth:
            parts.append(",\n" + " " * indent + word)
            line = indent + len(word)
        else:
            parts.append(", " + word)
            line += len(word) + 2
    return "".join(parts) + ")"


__all__ = ["PrintOptions", "printoptions", "set_printoptions", "tensor_text"]
