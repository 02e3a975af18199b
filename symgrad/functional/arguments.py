"""Arguments of a kind that a composition does not take: TypeError, in PyTorch's words.

The signatures of the compositions say what each takes; a call is looked at when it is met first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from symgrad.core.sizes import Monomial
from symgrad.functional.table import SLOT, Function

ROLES = {"a": "input", "b": "other"}
"""PyTorch's names for the operands of our compositions."""


def _whole(v: Any) -> bool:
    return hasattr(v, "__index__") or isinstance(v, Monomial)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Expr": ("Tensor", lambda v: v is SLOT or isinstance(v, Monomial)),
    "int": ("int", lambda v: v is SLOT or _whole(v)),
    "str": ("str", lambda v: isinstance(v, str)),
}
"""What is written in a signature: PyTorch's word for it, and whether a value is one."""


@lru_cache(4096)
def _signature(build: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(build)


def check_kinds(function: Function, statics: tuple[Any, ...]) -> None:
    """Raise TypeError for the first argument that is no tensor, int or text where one must be."""
    try:
        bound = _signature(function.build).bind(*statics[:-1], **dict(statics[-1]))
    except TypeError as wrong:
        raise TypeError(f"{function.name}(): {wrong}") from None
    for place, (name, value) in enumerate(bound.arguments.items(), 1):
        kind, _, rest = str(bound.signature.parameters[name].annotation).partition(" | ")
        if kind not in KINDS or (value is None and rest == "None"):
            continue
        word, fits = KINDS[kind]
        listed = bound.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        values: Any = value if listed else (value,)
        for v in values:
            if not fits(v):
                given = "Tensor" if v is SLOT else type(v).__name__
                raise TypeError(
                    f"{function.name}(): argument '{ROLES.get(name, name)}' (position {place}) "
                    f"must be {word}, not {given}"
                )
