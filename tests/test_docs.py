"""Every block of code in the README and in docs/ runs, and prints what the page says it prints.

The ```python blocks of one page share a namespace and run in order. A ```text block that follows
one directly (blank lines apart) must equal what that block printed. A block whose opening line is
```python no-run is shown and not run; each needs its place in NOT_RUN below.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from symgrad.core.op import OPS
from symgrad.functional.table import FUNCTIONS
from symgrad.nn import functional as _  # noqa: F401 - its rows are in the table from here on

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN: dict[str, int] = {}
"""Page → how many of its blocks are shown only."""

BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>python)(?P<rest>[^\n]*)\n(?P<code>.*?)^(?P=indent)```[ ]*\n"
    r"(?:\s*?^(?P=indent)```text[^\n]*\n(?P<output>.*?)^(?P=indent)```[ ]*$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of code of a page: where it starts, its text, and what it must print."""

    line: int
    code: str
    output: str | None
    runs: bool


def blocks(text: str) -> list[Block]:
    """The python blocks of a page, in order."""
    found = []
    for match in BLOCK.finditer(text):
        indent = len(match["indent"])
        strip = re.compile(rf"^ {{0,{indent}}}", re.MULTILINE)
        found.append(
            Block(
                line=text.count("\n", 0, match.start("code")) + 1,
                code=strip.sub("", match["code"]),
                output=None if match["output"] is None else strip.sub("", match["output"]),
                runs="no-run" not in match["rest"],
            )
        )
    return found


def tidy(printed: str) -> str:
    """Text without trailing blanks and blank ends, which Markdown does not keep."""
    return "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())


def run_page(text: str, name: str) -> None:
    """Run a page's blocks in one namespace; AssertionError where one prints something else."""
    module = types.ModuleType("__docs__")
    sys.modules[module.__name__] = module
    try:
        for block in blocks(text):
            if not block.runs:
                continue
            # Padded, so that a traceback's line number is the page's.
            code = compile("\n" * (block.line - 1) + block.code, name, "exec", dont_inherit=True)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, module.__dict__)
            if block.output is not None:
                assert tidy(printed.getvalue()) == tidy(block.output), f"{name}:{block.line}"
    finally:
        del sys.modules[module.__name__]


@pytest.fixture
def tables():
    """What a page adds to the tables of ops and functions is gone after it."""
    kept = [(table, dict(table)) for table in (OPS, FUNCTIONS)]
    yield
    for table, rows in kept:
        table.clear()
        table.update(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
@pytest.mark.usefixtures("tables")
def test_every_block_runs_and_prints_what_the_page_says(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), str(page))


def test_blocks_that_do_not_run_are_declared():
    shown = {
        str(page.relative_to(ROOT)): count
        for page in PAGES
        if (count := sum(not b.runs for b in blocks(page.read_text(encoding="utf-8"))))
    }
    assert shown == NOT_RUN


LINK = re.compile(r"\]\((?!https?://|#|mailto:)(?P<target>[^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("C*.md")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    prose = re.sub(
        r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    targets = [m["target"] for m in LINK.finditer(prose)]
    assert [t for t in targets if not (page.parent / t).exists()] == []


def script(name):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_what_symgrad_prints():
    module = script("three_faces")
    assert module.drawn() == module.PICTURE.read_text(encoding="utf-8"), (
        "stale: python docs/three_faces.py"
    )


def test_the_generated_pages_are_those_of_the_tables():
    for path, text in script("generate").pages().items():
        assert text == path.read_text(encoding="utf-8"), (
            f"{path.name} is stale: python docs/generate.py"
        )


GOOD = """\
# A page

```python
x = 2
print(x + 1)
```

```text
3
```

Words between: the next text is an illustration, no output.

```python
def twice(k):
    return k * 2
```

And so on.

```text
whatever
```

1. In a list:

    ```python
    for k in range(2):
        print(twice(k) + x)
    ```

    ```text
    2
    4
    ```

```python no-run
import a_module_that_does_not_exist
```
"""


def test_a_page_is_read_as_written():
    found = blocks(GOOD)
    assert [b.runs for b in found] == [True, True, True, False]
    assert [b.output for b in found] == ["3\n", None, "2\n4\n", None]
    assert found[2].code == "for k in range(2):\n    print(twice(k) + x)\n"
    run_page(GOOD, "good.md")


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("3\n```", "4\n```", AssertionError),
        ("    2\n    4", "    2\n    5", AssertionError),
        ("x = 2", "x = 2\nprint('more')", AssertionError),
        ("x = 2", "x = unknown", NameError),
        ("```python no-run", "```python", ModuleNotFoundError),
    ],
)
def test_planted_mistakes_are_seen(right, wrong, error):
    assert right in GOOD
    with pytest.raises(error):
        run_page(GOOD.replace(right, wrong, 1), "planted.md")


def test_an_error_names_the_line_of_the_page():
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("words\n\n```python\nx = 1\n1 / 0\n```\n", "page.md")
    assert caught.traceback[-1].lineno + 1 == 5
