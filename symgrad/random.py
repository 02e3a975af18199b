"""Generators of random numbers: the one of the process, and those that a program makes.

Draws for new tensors are made on the host, by NumPy's PCG64: the same seed gives the same numbers on
every device.  They are not PyTorch's numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.recording.record import modes
from symgrad.tensors.storage import device


class Generator:
    """A stream of random numbers with a seed of its own; mirrors ``torch.Generator``.

    >>> from symgrad import randperm
    >>> a, b = (randperm(5, generator=Generator().manual_seed(3)) for _ in range(2))
    >>> (a == b).all()
    tensor(True)
    """

    def __init__(self, device: Any = "cpu") -> None:
        self._device = device
        self._seed = 67280421310721
        self._stream = np.random.default_rng(self._seed)

    @property
    def device(self) -> device:
        """Where it was asked for; the draws are made on the host."""
        return device(self._device)

    @property
    def stream(self) -> np.random.Generator:
        """NumPy's generator behind it."""
        return self._stream

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of this seed."""
        self._seed = int(seed)
        self._stream = np.random.default_rng(self._seed % 2**64)
        return self

    def seed(self) -> int:
        """Begin the stream of a seed from the system's entropy; returns the seed."""
        chosen = int(np.random.SeedSequence().entropy) % 2**63  # type: ignore[arg-type]
        self.manual_seed(chosen)
        return chosen

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        return self._seed

    def get_state(self) -> dict[str, Any]:
        """Where the stream is."""
        return {"seed": self._seed, "stream": self._stream.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`get_state` gave."""
        self._seed = state["seed"]
        self._stream.bit_generator.state = state["stream"]


default_generator = Generator().manual_seed(0)
"""The generator of every draw that is given none."""


def stream_of(generator: Generator | None) -> np.random.Generator:
    """NumPy's generator behind ``generator``, or behind the default one."""
    if modes.refuse_draws:
        raise RuntimeError(modes.refuse_draws)
    return (default_generator if generator is None else generator).stream


def manual_seed(seed: int) -> Generator:
    """Make the draws from here on repeatable."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Make the draws from here on different from run to run."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> dict[str, Any]:
    """Where the default generator is."""
    return default_generator.get_state()


def set_rng_state(new_state: dict[str, Any]) -> None:
    """Go on from what :func:`get_rng_state` gave."""
    default_generator.set_state(new_state)
