"""The kinds of error a user can meet, each also a subclass of what PyTorch raises there.

Every message says four things: what was asked, the shapes or dtypes with the user's own names,
why it cannot be, and what to try.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class SymgradError(Exception):
    """Base of every error that symgrad raises on purpose.

    ``problem`` says why it cannot be, ``remedy`` what to try; ``call`` restates what was asked, and
    ``place`` is the user's line that asked for it.  The text is theirs, a line each::

        X @ w: X is n×d but w has k entries; the inner sizes d and k are different letters.
          model.py:12: r = X @ w - y
          Declare w with size d (sg.symbols("w:d")), or say d = k with sg.same("d", "k").
    """

    sizes: tuple[Any, ...] = ()
    """The sizes that differ, where two do."""

    def __init__(
        self, problem: str = "", remedy: str = "", call: str = "", place: str = ""
    ) -> None:
        self.problem, self.remedy, self.call, self.place = problem, remedy, call, place
        head = f"{call}: {problem}" if call else problem
        super().__init__("\n  ".join(filter(None, (head, place, remedy))))


class ShapeError(SymgradError, RuntimeError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(SymgradError, NotImplementedError, TypeError):
    """A dtype the operation does not take; PyTorch raises one of these, or RuntimeError, for it."""


class ComplexError(DTypeError, NotImplementedError):
    """Complex numbers, which the operation does not take."""


class DeviceError(SymgradError, RuntimeError):
    """Tensors on different devices, or a device that is not there."""


class DerivativeError(SymgradError, RuntimeError):
    """A derivative that does not exist or that nobody has written."""


class UnboundError(SymgradError, RuntimeError):
    """The value of a symbol was asked for, but nothing is bound to it."""


class TraceError(SymgradError, RuntimeError, TypeError):
    """A traced function needed a value that does not exist while tracing."""


class AxisError(SymgradError, IndexError):
    """A dimension out of range."""


class AxisSizeError(ShapeError, IndexError):
    """A shape for which PyTorch raises IndexError: an axis of size 0, an index that does not fit."""


class AssertedError(ShapeError, AssertionError):
    """Shapes or options that do not fit a layer, where PyTorch asserts that they do."""


class PositionError(AxisError, RuntimeError):
    """A position outside its axis in a tensor of positions."""


class RangeError(SymgradError, RuntimeError, ValueError):
    """A number outside the range that an argument has."""


class LinAlgError(SymgradError, RuntimeError, np.linalg.LinAlgError):
    """A matrix that is singular, not positive definite, or without convergence."""


class NotationError(SymgradError, ValueError):
    """Text that is not in the notation contract, or a formula that it cannot say.

    ``parts`` are the expressions that would need a name for it.
    """

    parts: tuple[Any, ...] = ()


class LoweringError(SymgradError, NotImplementedError):
    """An operation without a form in the language asked for."""
