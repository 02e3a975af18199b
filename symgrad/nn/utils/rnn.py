"""Sequences of different lengths in one batch: padded, or packed step by step as PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from symgrad.core import dtypes
from symgrad.errors import ShapeError
from symgrad.functional import FUNCTIONS
from symgrad.tensors.surface import function_of
from symgrad.tensors.tensor import Tensor

_cat = function_of(FUNCTIONS["cat"])
_stack = function_of(FUNCTIONS["stack"])
_pad = function_of(FUNCTIONS["pad"])


class PackedSequence(NamedTuple):
    """The entries of all sequences, step by step, longest sequences first.

    ``data`` ``(Σ lengths, …)``, ``batch_sizes`` how many sequences have a step, and the order that
    sorted the sequences by length (None where they were sorted) with its inverse.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


def _integers(values: Any) -> Tensor:
    return Tensor.from_value(np.asarray(values, np.int64), dtypes.int64)


def _numbers(lengths: Any) -> np.ndarray[Any, Any]:
    values = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    return np.asarray(values, np.int64)


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:  # fmt: skip
    """Sequences ``(Lᵢ, …)`` as one tensor ``(T, N, …)``, the shorter ones padded."""
    if padding_side not in ("left", "right"):
        raise RuntimeError("padding_side should be either 'right' or 'left'")
    if not sequences:
        raise ShapeError("pad_sequence: received an empty list of sequences")
    longest = max(int(s.shape[0]) for s in sequences)
    padded = []
    for s in sequences:
        more = longest - int(s.shape[0])
        sides = (0, more) if padding_side == "right" else (more, 0)
        padded.append(_pad(s, (*(0, 0) * (s.ndim - 1), *sides), "constant", padding_value))
    return _stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[k, : int(n)] for k, n in enumerate(_numbers(lengths))]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch ``(T, N, …)`` without its padding."""
    numbers = _numbers(lengths)
    if (numbers <= 0).any():
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element "
                           "in 'lengths' that is <= 0")  # fmt: skip
    x = input.transpose(0, 1) if batch_first else input
    if len(numbers) != int(x.shape[1]):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(numbers)} "
            f"(batch_size={x.shape[1]})"
        )
    order = back = None
    if enforce_sorted:
        if (np.diff(numbers) > 0).any():
            raise RuntimeError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
                "You can pass `enforce_sorted=False` to pack_padded_sequence."
            )
    else:
        by_length = np.argsort(-numbers, kind="stable")
        order, back = _integers(by_length), _integers(np.argsort(by_length))
        x, numbers = x.index_select(1, order), numbers[by_length]
    sizes = [int((numbers > t).sum()) for t in range(int(numbers[0]))]
    data = _cat([x[t, :n] for t, n in enumerate(sizes)], 0)
    return PackedSequence(data, _integers(sizes), order, back)


def padded_with_lengths(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """(padded ``(T, N, …)``, lengths) in the order of the packing."""
    sizes = _numbers(packed.batch_sizes)
    starts = np.cumsum(sizes) - sizes
    width = int(sizes[0])
    steps = []
    for start, n in zip(starts, sizes, strict=True):
        step = packed.data[int(start) : int(start + n)]
        sides = (*(0, 0) * (step.ndim - 1), 0, width - int(n))
        steps.append(_pad(step, sides) if n < width else step)
    lengths = [(sizes > k).sum() for k in range(width)]
    return _stack(steps, 0), _integers(lengths)


def packed_as(x: Tensor, packed: PackedSequence) -> PackedSequence:
    """Padded ``(T, N, …)`` packed as another."""
    sizes = _numbers(packed.batch_sizes)
    data = _cat([x[t, : int(n)] for t, n in enumerate(sizes)], 0)
    return packed._replace(data=data)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(padded batch, lengths): the inverse of pack_padded_sequence."""
    x, lengths = padded_with_lengths(sequence)
    steps, rest = int(x.shape[0]), x.ndim - 2
    going = _integers(np.arange(steps)[:, None]) < lengths
    if padding_value:
        x = x.masked_fill(going.logical_not().reshape(steps, -1, *(1,) * rest), padding_value)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                f"Expected total_length to be at least the length of the longest sequence in "
                f"input, but got total_length={total_length} and max sequence length being {steps}"
            )
        sides = (*(0, 0) * (x.ndim - 1), 0, total_length - steps)
        x = _pad(x, sides, "constant", padding_value)
    if sequence.unsorted_indices is not None:
        x = x.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return (x.transpose(0, 1) if batch_first else x), lengths


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences ``(Lᵢ, …)`` packed."""
    lengths = [int(s.shape[0]) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch."""
    x, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(x, lengths, batch_first=True)


__all__ = [
    "PackedSequence", "pack_padded_sequence", "pack_sequence", "packed_as", "pad_packed_sequence",
    "pad_sequence", "padded_with_lengths", "unpack_sequence", "unpad_sequence",
]  # fmt: skip
