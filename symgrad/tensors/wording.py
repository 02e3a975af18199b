"""How an error speaks of the user's program: the call as written, names, the line it stands on.

All of it is looked up after something has failed; a call that works pays nothing.
"""

from __future__ import annotations

import inspect
import linecache
import re
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from symgrad.core.mismatch import owns
from symgrad.core.sizes import Monomial
from symgrad.errors import SymgradError
from symgrad.functional.arguments import ROLES
from symgrad.functional.table import FUNCTIONS, SLOT

PACKAGE = __file__.rsplit("/", 2)[0] + "/"
INFIX = {
    "matmul": "@", "add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//",
    "remainder": "%", "pow": "**", "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==",
    "ne": "!=", "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
}  # fmt: skip
METHODS = {"to_dtype": "to"}
"""Functions that are written as methods (views are, too)."""

DEPTH, LONGEST = 2, 40
"""How many calls inside each other, and how many characters, restate an operand without a name."""

_PREFIX = re.compile(r"(\w+): ")

# ------------------------------------------------------------------ places


def user_frame() -> FrameType | None:
    """The innermost frame outside this package and the libraries that call it."""
    frame: FrameType | None = sys._getframe(1)
    skip = (PACKAGE, *_folders())
    while frame is not None and frame.f_code.co_filename.startswith(skip):
        frame = frame.f_back
    return frame


LIBRARIES = ("jax", "numpy", "torch")
"""What may stand between the user's line and this package, where it is imported."""


def _folders() -> list[str]:
    """The folders of the libraries, each with a slash behind."""
    files = [getattr(sys.modules.get(word), "__file__", None) or "" for word in LIBRARIES]
    return [file.rpartition("/")[0] + "/" for file in files if "/" in file]


def place_name(file: str, line: int) -> str:
    """``model.py:12``."""
    return f"{file.replace(chr(92), '/').rpartition('/')[2]}:{line}"


def user_place() -> tuple[str, int] | None:
    """File and line of the user's code that is running."""
    frame = user_frame()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str:
    """``model.py:12: r = X @ w - y``; without the text where the source is not to be had."""
    frame = user_frame()
    if frame is None:
        return ""
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line, frame.f_globals).strip()
    return f"{place_name(file, line)}: {text}" if text else place_name(file, line)


# ------------------------------------------------------------------ names


def variables(frame: FrameType | None) -> dict[int, str]:
    """id of the node behind every tensor that a variable of the frame holds → the variable."""
    found: dict[int, str] = {}
    if frame is None:
        return found
    for word, held in [*frame.f_locals.items(), *frame.f_globals.items()]:
        storage = getattr(type(held), "_storage", None)
        if storage is not None and not word.startswith("_"):
            found.setdefault(id(held._now()), word)
    return found


def name_of(node: Any, names: Mapping[int, str]) -> str:
    """What the user calls a node; "" if nothing."""
    owner = node.owner() if getattr(node, "owner", None) is not None else None
    source = getattr(node, "source", None)
    return (
        getattr(node, "name", "")
        or getattr(owner, "_name", "")
        or names.get(id(node), "")
        or (names.get(id(source), "") or getattr(source, "name", "") if source is not None else "")
    )


def call_text(function: Any, statics: tuple[Any, ...], words: Sequence[str]) -> str:
    """A call as it is written: ``X @ w``, ``cat([a, b], dim=1)``, ``x.reshape(3, 4)``."""
    supply = iter(words)
    parts = [_spelled(v, supply) for v in statics[:-1]]
    named = [(k, v, _spelled(v, supply)) for k, v in statics[-1]]
    symbol = INFIX.get(function.name)
    if symbol and len(parts) == 2 and not named:
        left, right = (f"({t})" if " " in t else t for t in parts)
        return f"{left} {symbol} {right}"
    if function.name == "basic_index" and len(parts) == 2:
        return f"{parts[0]}[{entries_text(statics[1])}]"
    known = inspect.signature(function.build).parameters
    defaults = [p.default for p in known.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    end = len(parts)
    while 0 < end <= len(defaults) and _is_default(statics[end - 1], defaults[end - 1]):
        end -= 1
    texts = parts[:end]
    texts += [
        f"{k}={t}" for k, v, t in named if k not in known or not _is_default(v, known[k].default)
    ]
    if parts and (function.view is not None or function.name in METHODS):
        return f"{texts[0]}.{METHODS.get(function.name, function.name)}({', '.join(texts[1:])})"
    return f"{function.name}({', '.join(texts)})"


def _is_default(value: Any, default: Any) -> bool:
    return value is None or (type(value) is type(default) and value == default)


def _spelled(value: Any, supply: Any) -> str:
    if value is SLOT:
        return next(supply)
    if isinstance(value, tuple):
        inside = ", ".join([_spelled(v, supply) for v in value])
        if SLOT in value:
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return str(value) if isinstance(value, Monomial) else repr(value)


def entries_text(entries: Sequence[tuple[Any, ...]]) -> str:
    """What stands between brackets: ``0, :5, None``."""
    texts = []
    for kind, *rest in entries:
        if kind == "i":
            texts.append(str(rest[0]))
        elif kind == "n":
            texts.append("None")
        else:
            start, stop, step = ("" if v is None else str(v) for v in rest)
            texts.append(f"{start}:{stop}" + (f":{step}" if step != "1" else ""))
    return ", ".join(texts)


def _roles(function: Any, statics: tuple[Any, ...]) -> list[str]:
    """The argument's name for every operand of a call, in order."""
    known = list(inspect.signature(function.build).parameters.values())
    found: list[str] = []
    given = [(known[min(k, len(known) - 1)], v) for k, v in enumerate(statics[:-1])]
    pairs = [("" if p.kind is p.VAR_POSITIONAL else p.name, v) for p, v in given]
    for word, value in [*pairs, *statics[-1]]:
        if value is SLOT:
            found.append(ROLES.get(word, word) or f"tensor {len(found) + 1}")
        elif isinstance(value, tuple):
            found += [f"{word or 'tensors'}[{k}]" for k, v in enumerate(value) if v is SLOT]
    return found


def words_for(
    function: Any,
    statics: tuple[Any, ...],
    operands: Sequence[Any],
    names: Mapping[int, str],
    depth: int = DEPTH,
) -> list[str]:
    """A word for every operand: its name, the call that made it, or the argument's name."""
    roles = _roles(function, statics)
    words: list[str] = []
    for k, node in enumerate(operands):
        word = name_of(node, names)
        made = getattr(node, "function", None)
        if not word and made is not None and depth:
            inner = words_for(made, node.statics, node.operands, names, depth - 1)
            word = call_text(made, node.statics, inner)
            word = word if len(word) <= LONGEST else ""
        words.append(word or (roles[k] if k < len(roles) else f"tensor {k + 1}"))
    return words


# ------------------------------------------------------------------ errors


def restated(
    problem: SymgradError, call: str, words: Sequence[str], shapes: Sequence[Any]
) -> SymgradError:
    """The error with the call, the operands' shapes and the user's line added to its text."""
    why = problem.problem
    opening = _PREFIX.match(why)
    if opening and opening[1] in FUNCTIONS:
        why = why[opening.end() :]
    owned: dict[str, str] = {}
    for word, shape in zip(words, shapes, strict=False):
        owned.setdefault(word, owns(word, tuple(shape)))
    telling = [t for w, t in owned.items() if f"{w} is " not in why and f"{w} has " not in why]
    if telling:
        why = f"{why.rstrip('.')} ({', '.join(telling)})"
    told = type(problem)(why, problem.remedy, call, user_line())
    told.sizes = problem.sizes
    return told


def index_problem(problem: SymgradError, node: Any, index: Any) -> SymgradError:
    """The error of ``t[index]``, restated."""
    names = variables(user_frame())
    word = name_of(node, names) or "input"
    items = [_item(i, names) for i in (index if isinstance(index, tuple) else (index,))]
    return restated(problem, f"{word}[{', '.join(items)}]", [word], [node.shape])


def _item(item: Any, names: Mapping[int, str]) -> str:
    if isinstance(item, slice):
        ends = ["" if v is None else str(v) for v in (item.start, item.stop)]
        return ":".join([*ends, str(item.step)] if item.step is not None else ends)
    if item is Ellipsis:
        return "..."
    if hasattr(type(item), "_storage"):
        return name_of(item._now(), names) or "index"
    text = repr(item)
    return text if len(text) <= LONGEST else type(item).__name__


# ------------------------------------------------------------------ PyTorch itself

_OPENING = re.compile(r"\w+\(([^()]*)")


def foreign_call(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tensor: type[Any]
) -> TypeError:
    """PyTorch's own function was called with a tensor of this library."""
    overrides = sys.modules.get("torch.overrides")
    resolved = overrides.resolve_name(func) if overrides is not None else None
    plain = f"{getattr(func, '__module__', 'torch')}.{getattr(func, '__name__', func)}"
    known = _argument_names(func)
    given = [*(("" if k >= len(known) else known[k], a) for k, a in enumerate(args)),
             *kwargs.items()]  # fmt: skip
    role, held = next(((r, a) for r, a in given if isinstance(a, tensor)), ("", None))
    if role in ("", "self"):
        role = "input"
    names = variables(user_frame())
    word = name_of(held._now(), names) if held is not None else ""
    shown = f"the {role} {word}" if word and word != role else f"the {role}"
    return TypeError(
        f"{resolved or plain} is PyTorch's, but {shown} is a symgrad tensor. Write 'import "
        "symgrad.nn as nn', or run the script unchanged with 'python -m symgrad run script.py'."
    )


ABSTRACTING = frozenset({"shaped_abstractify", "canonicalize_value", "_arraylike"})
"""Where JAX takes an argument of its functions in; operators and conversions are elsewhere."""


def jax_call(node: Any) -> SymgradError:
    """A function of JAX was called with a tensor of this library."""
    word = name_of(node, variables(user_frame()))
    return SymgradError(
        f"{word or 'an argument'} is a symgrad tensor, but the function is JAX's.",
        "Make the function an operation, f = sg.jax_function(f), or give it the value alone, "
        f"{word or 'x'}.detach().numpy().",
        place=user_line(),
    )


def _argument_names(func: Any) -> list[str]:
    """Names of a function's arguments, from its signature or from the first line of its text."""
    try:
        return list(inspect.signature(func).parameters)
    except (TypeError, ValueError):
        opening = _OPENING.search(getattr(func, "__doc__", None) or "")
        listed = opening[1].split(",") if opening else []
        return [re.split(r"[=:\s]", w.strip())[0] for w in listed if w.strip() != "*"]


def spoken_of(node: Any, names: Mapping[int, str]) -> str:
    """A node's name, or the call that made it; "this tensor" where both say too little."""
    word = name_of(node, names)
    made = getattr(node, "function", None)
    if not word and made is not None:
        inner = words_for(made, node.statics, node.operands, names, DEPTH - 1)
        word = call_text(made, node.statics, inner)
    return word if 0 < len(word) <= LONGEST else "this tensor"


__all__ = [
    "ABSTRACTING",
    "call_text",
    "entries_text",
    "foreign_call",
    "index_problem",
    "jax_call",
    "name_of",
    "place_name",
    "restated",
    "spoken_of",
    "user_frame",
    "user_line",
    "user_place",
    "variables",
    "words_for",
]
