"""The functions of ``torch.nn.functional``, by name from the one table."""

from __future__ import annotations

from typing import Any

from symgrad.creation import FUNCTIONS


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    close = [n for n in FUNCTIONS if name.strip("_") in n or n in name]
    raise AttributeError(
        f"symgrad.nn.functional has no {name!r}"
        + (f"; near it: {', '.join(sorted(close)[:5])}" if close else "")
    )


def __dir__() -> list[str]:
    return sorted(FUNCTIONS)
