"""``torch.utils.checkpoint``: what a backward pass keeps and what it computes again.

A backward pass here is a program of its own, made from the expressions of the forward pass; what it
keeps is the compiler's choice.  So a checkpointed function is called, and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Any = None,
    determinism_check: str = "default",
    debug: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``."""
    del use_reentrant, context_fn, determinism_check, debug, preserve_rng_state
    return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions of a list or an ``nn.Sequential``, one after the other."""
    del use_reentrant, kwargs
    listed: Sequence[Callable[[Any], Any]] = list(functions)
    if not 0 < segments <= len(listed):
        raise ValueError(f"expected between 1 and {len(listed)} segments, not {segments}")
    for f in listed:
        input = f(input)
    return input


__all__ = ["checkpoint", "checkpoint_sequential"]
