"""Truth values in a formula to paste: NumPy counts them in products, not in sums and matrices.

The texts of formulas leave casts of conditions out: ``x * (a > 0)`` says what it does.  Where NumPy
would not count, in ``(a > 0) + (b > 0)`` (or), ``-(a > 0)`` (an error), ``exp(a > 0)`` (16 bits),
the text makes a number of them: ``1 * (a > 0)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from symgrad_codegen.program import Apply, Literal, Operand, Template, Variable

from symgrad.core.op import OPS
from symgrad.lower.align import TIMES
from symgrad.ops.row import boolean

_MOVES = re.compile(
    r"\{0\}|\{0\}(\.m?T|\[.*\])|"
    r"(np\.)?(diag|diagonal|vec|reshape|transpose|broadcast_to|take|flip|tril|triu)\(\{0\}.*\)"
)
"""Texts that put entries elsewhere: of truth values they are truth values."""

_COUNTS = re.compile(r"(np\.)?(sum|mean|trace)\(\{0\}.*\)|\{0\} ?/ ?\{1\}")
"""Texts that count truth values as they are."""

_BESIDE = frozenset({"{0} * {1}", "{0} + {1}", "{0} - {1}", "{0} @ {1}"})
"""Texts in which a number beside it makes a number of a truth value."""


@lru_cache(maxsize=1)
def _conditions() -> frozenset[str]:
    """The texts of the operations that give truth values, without their module."""
    rows = (op.template for op in OPS.values() if op.infer is boolean)
    return frozenset(x.form("numpy").removeprefix("np.") for x in rows if isinstance(x, Template))


class Truths:
    """Which operands of a text are truth values; the others are numbers."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._kept: list[Operand] = []  # what an id in use belongs to

    def holds(self, value: Operand) -> bool:
        """Is it a truth value?"""
        if isinstance(value, Variable):
            return value.dtype == "bool"
        return id(value) in self._known

    def applied(self, template: Template, operands: Sequence[Operand]) -> Operand:
        """The operation over operands of which NumPy must count some."""
        text = template.form("numpy")
        flags = [self.holds(x) for x in operands]
        condition = text.removeprefix("np.") in _conditions() or text.endswith(".astype(np.bool_)")
        if not any(flags) or condition or text.startswith("where("):
            made = Apply(template, tuple(operands))
            chosen = flags[1:] if text.startswith("where(") else [condition]
            return self._noted(made) if all(chosen) else made
        if text == "-{0}":
            return Apply(TIMES, (Literal(-1), *operands))
        if _MOVES.fullmatch(text) or (text == "{0} * {1}" and all(flags)):
            return self._noted(Apply(template, tuple(operands)))
        beside = text in _BESIDE
        if (beside and not all(flags)) or _COUNTS.fullmatch(text):
            return Apply(template, tuple(operands))
        first = flags.index(True)
        counted = [
            Apply(TIMES, (Literal(1), x)) if flag and (k == first or not beside) else x
            for k, (x, flag) in enumerate(zip(operands, flags, strict=True))
        ]
        return Apply(template, tuple(counted))

    def _noted(self, value: Operand) -> Operand:
        self._known.add(id(value))
        self._kept.append(value)
        return value


__all__ = ["Truths"]
