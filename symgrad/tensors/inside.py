"""What stands in ``.grad`` where a compiled step kept the gradient to itself."""

from __future__ import annotations

from typing import Any

from symgrad.errors import TraceError
from symgrad.tensors import wording


class Inside:
    """Stands for a gradient that a compiled step computed and did not hand out."""

    def __init__(self, step: str) -> None:
        self.step = step

    def error(self, owner: Any) -> TraceError:
        """What reading such a gradient raises."""
        word = wording.name_of(owner._now(), wording.variables(wording.user_frame())) or "p"
        return TraceError(
            f"the gradient of {word} stayed inside the compiled {self.step}, which clears it first "
            "and so has no need to keep it.",
            f"Return it ({word}.grad) from {self.step}, or clear gradients outside of it.",
            place=wording.user_line(),
        )


__all__ = ["Inside"]
