"""The list of known-missing acceptance tests only ever shrinks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = """
import pytest

def test_missing():
    assert False

def test_works():
    pass

@pytest.mark.parametrize("k", [1, 2])
def test_several(k):
    raise NotImplementedError
"""


def run(folder: Path, missing: str) -> tuple[int, str]:
    (folder / "test_planted.py").write_text(PLANTED)
    (folder / "missing.txt").write_text(missing)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "acceptance_plugin", "-p", "no:cacheprovider",
         "-p", "no:xdist", "--rootdir", str(folder), "-c", os.devnull, "test_planted.py"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env=dict(os.environ, PYTHONPATH=str(Path(__file__).parent),
                 ACCEPTANCE_MISSING=str(folder / "missing.txt")),
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


ALL = "test_planted.py::test_missing\n# a comment\ntest_planted.py::test_several  # both\n"


@pytest.mark.parametrize(
    ("missing", "code", "says"),
    [
        (ALL, 0, "1 passed, 3 xfailed"),
        (ALL + "test_planted.py::test_works\n", 1, "XPASS(strict)"),
        ("test_planted.py::test_missing\n", 1, "2 failed, 1 passed, 1 xfailed"),
        (ALL + "test_planted.py::test_gone\n", 4, "naming no test"),
        (ALL + ALL, 4, "repeated"),
    ],
    ids=["as-listed", "passes-though-listed", "fails-unlisted", "unknown", "repeated"],
)
def test_the_list_is_kept_honest(tmp_path, missing, code, says):
    got, output = run(tmp_path, missing)
    assert got == code, output
    assert says in output, output
