"""What `import symgrad` costs against `import jax`: fresh processes, interleaved.

    python benchmarks/import_time.py [--repetitions 15] [--check]

Time is processor time of the process (user + system), which a busy machine disturbs least.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable

import _harness

AT_MOST = 1.15


def start(code: str, cache: str) -> Callable[[], None]:
    """A function that runs the code in a fresh interpreter; raises if it fails.

    Byte code is kept in the folder ``cache``, as an installation has it for every package.
    """
    path = os.pathsep.join([str(_harness.ROOT), str(_harness.ROOT / "codegen")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run() -> None:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    return run


def children_cpu() -> float:
    """Processor seconds of all processes started from here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure and print."""
    arguments = _harness.options(__doc__, repetitions=15).parse_args()
    setting = _harness.settle(arguments)
    with tempfile.TemporaryDirectory() as cache:
        contenders = {name: start(f"import {name}", cache) for name in ("jax", "symgrad")}
        contenders["nothing"] = start("pass", cache)
        for run in contenders.values():
            run()
        times = _harness.interleaved(contenders, arguments.repetitions, clock=children_cpu)
    rows, figures = [], []
    for name in contenders:
        seconds, ratio = times.time(name), times.ratio(name, "jax")
        rows.append([f"import {name}", _harness.duration(seconds.median), _harness.spread(ratio)])
        figures.append({"import": name, "seconds": seconds.median, "ratio": ratio.median})
    print(setting)
    print("\n" + _harness.table(["", "median", "ratio to jax"], rows))
    limit = _harness.Limit(
        "import symgrad / import jax", times.ratio("symgrad", "jax").median, AT_MOST
    )
    return _harness.finish(arguments, setting, figures, [limit], {})


if __name__ == "__main__":
    sys.exit(main())
