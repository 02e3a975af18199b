"""Which numbers a function takes in its tensors: positions on an axis, probabilities.

PyTorch's kernels look at every number.  Here numbers that are known when the call is made are
looked at then, and others where a small graph is evaluated by NumPy, the first time it is met;
compiled programs do not look: outside of an axis they read NaN or zero.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from symgrad.errors import PositionError, RangeError, SymgradError
from symgrad.functional.table import FUNCTIONS

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """The numbers that ``argument`` may hold: ``bounds(arguments)``, None where they are open."""

    argument: str
    bounds: Callable[[Arguments], tuple[float, float] | None]
    error: type[SymgradError] = PositionError


def _upto(size: Callable[[Arguments], Any], back: bool = False) -> Any:
    """Positions below a size; from its end too where ``back``."""

    def bounds(given: Arguments) -> tuple[float, float] | None:
        found = size(given)
        return (-found if back else 0, found - 1) if isinstance(found, int) else None

    return bounds


def _along(given: Arguments) -> Any:
    shape, dim = given["a"].shape or (1,), given.get("dim")
    known = isinstance(dim, int) and -len(shape) <= dim < len(shape)
    return shape[dim] if known else None  # type: ignore[index]


def _entries(given: Arguments) -> Any:
    shape = given["a"].shape
    return math.prod(shape) if all(isinstance(s, int) for s in shape) else None


def _rows(given: Arguments) -> Any:
    return given["weight"].shape[0]


RANGES: dict[str, Range] = {
    **dict.fromkeys(
        ("gather", "scatter", "scatter_add", "scatter_reduce", "index_select", "index_add",
         "index_reduce"),
        Range("index", _upto(_along)),
    ),
    "index_fill": Range("index", _upto(_along, back=True)),
    "take_along_dim": Range("indices", _upto(_along, back=True)),
    "take": Range("index", _upto(_entries, back=True)),
    "embedding": Range("indices", _upto(_rows)),
    "embedding_bag_of": Range("indices", _upto(_rows)),
    "one_hot": Range("a", _upto(lambda given: given.get("num_classes"))),
    "binary_cross_entropy": Range("a", lambda given: (0, 1), RangeError),
}  # fmt: skip
"""By the names of the functions."""


@lru_cache
def names_of(name: str) -> tuple[str, ...]:
    """The names of the arguments of a function of the table."""
    return tuple(inspect.signature(FUNCTIONS[name].build).parameters)


def asked(name: str, args: Sequence[Any], kwargs: Arguments) -> tuple[Any, Any]:
    """The argument that has a range in this call, and the range; (None, None) without one."""
    row = RANGES[name]
    given = {**dict(zip(names_of(name), args, strict=False)), **kwargs}
    held = given.get(row.argument)
    if not all(hasattr(given.get(k), "shape") for k in (row.argument, names_of(name)[0])):
        return None, None
    return held, row.bounds(given)


def outside(values: Any, bounds: tuple[float, float]) -> Any:
    """A number out of range, None where there is none."""
    values = np.asarray(values)
    if not values.size:
        return None
    least, most = values.min(), values.max()
    return least if least < bounds[0] else most if most > bounds[1] else None


def refusal(name: str, found: Any, bounds: tuple[float, float]) -> SymgradError:
    """The error that says so."""
    row = RANGES[name]
    if row.error is PositionError:
        low, high = bounds
        return PositionError(
            f"{name}(): index {found} is out of bounds for a dimension of size {int(high) + 1}",
            f"Positions go from {int(low)} to {int(high)}." if high >= 0 else "",
        )
    low, high = bounds
    return row.error(
        f"{name}(): all elements of input should be between {low} and {high}, but one is {found}"
    )
