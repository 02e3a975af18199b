"""The steps of random programs in one table, and how a program is drawn from it.

Every elementwise operation is drawn by itself; the others have a step each, with the same function
in jnp by hand, or a reason in ``EXCLUDED``.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from symgrad.core.build import elementwise
from symgrad.core.op import OPS
from tests.random_maps import MAP_STEPS
from tests.random_matrices import MATRIX_STEPS
from tests.random_moves import MOVE_STEPS
from tests.random_patterns import PATTERN_STEPS
from tests.random_programs import Plan, Program, RefusedError
from tests.random_scans import SCAN_STEPS
from tests.random_windows import WINDOW_STEPS

EXCLUDED: dict[str, str] = {
    **{
        name: "a draw from a key: constant for derivatives, other numbers in NumPy than in JAX"
        for name, op in OPS.items() if "random" in op.traits
    },
    **dict.fromkeys(
        ("angle", "complex", "conj", "fft", "ifft", "imag", "imaginary", "irfft", "modulus",
         "real", "rfft", "sgn"),
        "of complex numbers, which the programs have none of: checked by their rows alone",
    ),
}  # fmt: skip
"""Operations that no random program has, and why."""

STEPS: dict[str, Plan] = {
    name: plan
    for name, plan in {
        **MAP_STEPS, **MOVE_STEPS, **MATRIX_STEPS, **WINDOW_STEPS, **SCAN_STEPS
    }.items()
    if name not in EXCLUDED
}  # fmt: skip

NAMES = sorted(STEPS)


def typed(seed: int) -> Program:
    """The program with this number in which every other step is one that a rule rewrites."""
    return drawn(seed, [*NAMES, *sorted(PATTERN_STEPS) * (len(NAMES) // len(PATTERN_STEPS))])


def drawn(seed: int, names: Sequence[str] = NAMES) -> Program:
    """The program with this number: 3 to 20 steps, of these."""
    rng = np.random.default_rng(seed)

    def choose(count: int) -> int:
        return int(rng.integers(count))

    program = Program(choose, bool(choose(2)), rng)
    program.new(program.shape())
    for _ in range(3 + choose(18)):
        kept = list(program.nodes)
        name = names[choose(len(names))]
        try:
            (STEPS.get(name) or PATTERN_STEPS[name])(program)
        except RefusedError:
            program.nodes = kept
    if not program.ends:
        k = program.operand()
        program.emit("tanh", lambda x: elementwise("tanh", x), jax.numpy.tanh, k)
    return program
