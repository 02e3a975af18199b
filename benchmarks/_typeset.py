"""Does LaTeX compile?  By KaTeX and by pdfLaTeX, where they are installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

KATEX = """
const katex = require('katex');
const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(texts.map(t => {
  try { katex.renderToString(t, {displayMode: true, throwOnError: true, strict: 'error'}); return ''; }
  catch (problem) { return String(problem.message); }
})));
"""
HEAD = "\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\begin{document}\n"


def katex(texts: Sequence[str], folder: Path | None) -> list[str] | None:
    """What KaTeX says of each (empty: nothing); None without Node or KaTeX in ``folder``."""
    node = shutil.which("node")
    if node is None:
        return None
    done = subprocess.run(
        [node, "-e", KATEX], input=json.dumps(list(texts)), cwd=folder, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else None


def pdflatex(texts: Sequence[str]) -> list[str] | None:
    """What pdfLaTeX says of each (empty: nothing), all in one document; None where there is none."""
    program = shutil.which("pdflatex")
    if program is None:
        return None
    rows = [f"\\[ {' '.join(t.split())} \\]\n\n" for t in texts]
    start = HEAD.count("\n") + 1
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.tex").write_text(HEAD + "".join(rows) + "\\end{document}\n")
        done = subprocess.run(
            [program, "-interaction=nonstopmode", "a.tex"], cwd=folder, text=True, errors="replace",
            capture_output=True, check=False,
        )  # fmt: skip
    found = [""] * len(texts)
    for problem, line in re.findall(
        r"^! (.*?)$.*?^l\.(\d+)", done.stdout, re.MULTILINE | re.DOTALL
    ):
        at = min((int(line) - start) // 2, len(texts) - 1)
        found[at] = found[at] or problem
    if done.returncode and not any(found):
        raise RuntimeError(done.stdout[-2000:])
    return found
