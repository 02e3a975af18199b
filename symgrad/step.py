"""``compile``: a training step as one executable, or symbolic tensors as one program."""

from __future__ import annotations

from typing import Any

from symgrad.symbolic import compile_tensors


def compile(target: Any = None, **options: Any) -> Any:
    """Compile a function, a module, or a list of symbolic tensors."""
    if isinstance(target, (list, tuple)):
        return compile_tensors(target)
    raise NotImplementedError
