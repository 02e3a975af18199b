"""The words of users in generated source: comments and docstrings, never code.

A note or summary may hold anything at all, so before it is written it becomes one line of visible
characters. Control, direction and line-separating characters could end a comment early or make
it read as code.
"""

import re
import textwrap
import unicodedata

from symgrad_codegen.layout import WIDTH

_BLANK = frozenset(("Cc", "Zs", "Zl", "Zp"))
_DROPPED = frozenset(("Cf", "Cs", "Co", "Cn"))
_LONGEST = 2000
_LINES = 3
"""A longer note ends in an ellipsis."""


def clean(text: str) -> str:
    r"""One line without control, direction or other invisible characters.

    >>> clean("a\n  b\u202e")
    'a b'
    """
    if text.isprintable() and "  " not in text and len(text) < _LONGEST:
        return text.strip()
    kept = "".join(
        " " if unicodedata.category(c) in _BLANK else c
        for c in text[:_LONGEST]
        if unicodedata.category(c) not in _DROPPED
    )
    return re.sub(" +", " ", kept).strip()


def quotable(text: str) -> str:
    """Text that can stand in a docstring: one line, no double quotes, no backslashes."""
    return clean(text).replace('"', "'").replace("\\", "/")


def shortened(text: str, room: int) -> str:
    """At most `room` characters of the text."""
    return text if len(text) <= room else f"{text[: room - 2].rstrip()} …"


def with_note(lines: list[str], note: str, indent: str) -> list[str]:
    """The lines with a note as a comment: at the end where it fits, else above it."""
    note = clean(note)
    if not note or note == lines[0].strip():
        return lines
    if len(lines) == 1 and len(lines[0]) + len("  # ") + len(note) <= WIDTH:
        return [f"{lines[0]}  # {note}"]
    begin = f"{indent}# "
    above = textwrap.wrap(
        note, WIDTH - len(begin), max_lines=_LINES, placeholder=" …", break_on_hyphens=False
    )
    return [*(begin + line for line in above), *lines]
