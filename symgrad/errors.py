"""The kinds of error a user can meet, each also a subclass of what PyTorch raises there.

Every message says four things: what was asked, the shapes or dtypes with the user's own names,
why it cannot be, and what to try.
"""


class SymgradError(Exception):
    """Base of every error that symgrad raises on purpose."""


class ShapeError(SymgradError, RuntimeError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(SymgradError, RuntimeError, TypeError):
    """A dtype the operation does not take."""


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


class NotationError(SymgradError, ValueError):
    """Text that is not in the notation contract, or a formula that it cannot say."""


class LoweringError(SymgradError, NotImplementedError):
    """An operation without a form in the language asked for."""
