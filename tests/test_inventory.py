"""What introductions to PyTorch teach, row by row: symgrad prints what PyTorch prints.

``inventory.txt`` holds the rows: an id in the first column (a letter for the subject, a number),
then code, continued in lines that are indented as far. Row 00 of a letter runs before every other
row of it. Random values differ between the two, so a row that draws prints properties of the draw.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

INDENT = 5
TEXT = (Path(__file__).parent / "inventory.txt").read_text(encoding="utf-8")
FOUND = dict(re.findall(r"^([A-Z]\d\d)(  .*\n(?: .*\n)*)", TEXT, re.MULTILINE))
CODE = {
    name: "".join(line[INDENT:] for line in f"   {text}".splitlines(keepends=True))
    for name, text in FOUND.items()
}
ROWS = [name for name in CODE if not name.endswith("00")]


def refused(kind: type[Exception], call: Callable[[], object], *said: str) -> None:
    """Print that ``call`` raises ``kind`` with these words in its message, or what happens."""
    try:
        print("gives", call())
    except kind as error:
        print("refused", [word for word in said if word not in str(error)])


def printed(library: str, row: str) -> str:
    """Return what a row prints with ``library`` in the place of ``torch``."""
    modules = {"torch": "", "nn": ".nn", "F": ".nn.functional", "amp": ".amp"}
    scope = {name: importlib.import_module(library + path) for name, path in modules.items()}
    scope |= {"autocast": scope["amp"].autocast, "GradScaler": scope["amp"].GradScaler}
    scope |= {"np": np, "math": math, "time": time, "refused": refused}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(CODE.get(f"{row[0]}00", "") + CODE[row], row, "exec"), scope)
    return out.getvalue()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_prints_what_pytorch_prints(row):
    pytest.importorskip("torch")
    assert printed("symgrad", row) == printed("torch", row)


def test_every_line_belongs_to_a_row():
    lines = sum(name.count("\n") for name in FOUND.values())
    assert lines == TEXT.count("\n")
