"""Can the stream say it?  Text falls back to ASCII where standard output cannot encode it."""

from __future__ import annotations

import sys


def fits_stdout(text: str) -> bool:
    """True where ``sys.stdout`` can encode ``text``."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
