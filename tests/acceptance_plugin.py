"""Marks the acceptance tests that are known to miss something, so that the list can only shrink.

Loaded with `-p acceptance_plugin`; the environment variable ACCEPTANCE_MISSING names the list: one
pytest node id per line, `#` for comments; an id without `[…]` stands for all parameters of the test.
A listed test is a strict xfail: it is run, may fail, and fails the run when it passes. An id that
names no test fails the run too, if the run collected the whole file it stands in.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def listed(path: Path) -> list[str]:
    """The node ids of a list, without comments and blank lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [text for line in lines if (text := line.split(" #")[0].strip()) and text[0] != "#"]


@pytest.hookimpl(tryfirst=True)  # before -k and -m take tests away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is listed; complain about ids that name nothing."""
    missing = listed(Path(os.environ["ACCEPTANCE_MISSING"]))
    repeated = sorted({name for name in missing if missing.count(name) > 1})
    left = set(missing)
    for item in items:
        for name in (item.nodeid, item.nodeid.split("[")[0]):
            if name in missing:
                item.add_marker(pytest.mark.xfail(strict=True, reason="known to be missing"))
                left.discard(name)
    if any("::" in argument for argument in config.args):
        return
    files = {item.nodeid.split("::")[0] for item in items}
    unknown = sorted(name for name in left if name.split("::")[0] in files)
    if repeated or unknown:
        raise pytest.UsageError(
            f"{os.environ['ACCEPTANCE_MISSING']}: repeated: {repeated}, naming no test: {unknown}"
        )
