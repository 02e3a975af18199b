"""``python -m symgrad run script.py [arguments]``: a PyTorch script, unchanged, on this library."""

from __future__ import annotations

import sys

from symgrad.running import run

USAGE = """usage: python -m symgrad run script.py [arguments]

Runs a PyTorch script unchanged: its 'import torch' finds symgrad.
"""


def main(arguments: list[str]) -> int:
    """The exit status of a command line."""
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    if len(arguments) < 2 or arguments[0] != "run":
        sys.stderr.write(USAGE)
        return 2
    return run(arguments[1], arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
