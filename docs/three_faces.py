"""Draws docs/three_faces.svg, the README's picture: one gradient as formula, as source, and run.

Everything in the picture is what symgrad printed while it was drawn: `python docs/three_faces.py`
writes it, and a test draws it again and compares.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

import numpy as np

import symgrad as sg

PICTURE = Path(__file__).parent / "three_faces.svg"
STYLE = """\
text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2933 }
.title { font-family: system-ui, sans-serif; font-size: 13px; fill: #627d98; font-weight: 600 }
.formula { font-family: "STIX Two Text", Cambria, "DejaVu Serif", serif; font-size: 26px }
.code { font-size: 13px; white-space: pre }
.comment { fill: #829ab1 }
.card { fill: #ffffff; stroke: #cbd2d9 }
.ground { fill: #f5f7fa }
.arrow { stroke: #829ab1; stroke-width: 1.5; fill: none; marker-end: url(#tip) }"""
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#829ab1"/></marker></defs>'
)


def body_of(source: str) -> list[str]:
    """The lines of the first function in a source text, without its docstring."""
    function = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))
    lines = source.splitlines()
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    hidden = range(docstring.lineno, docstring.end_lineno + 1) if docstring else range(0)
    numbers = range(function.lineno, function.end_lineno + 1)
    return [lines[k - 1] for k in numbers if k not in hidden]


def code(lines: list[str], x: int, y: int) -> str:
    """Lines of code, their comments paler."""
    out = []
    for row, line in enumerate(lines):
        text, hash_sign, comment = line.partition("  # ")
        paler = f'<tspan class="comment">{escape(hash_sign + comment)}</tspan>' if comment else ""
        out.append(
            f'<text class="code" xml:space="preserve" x="{x}" y="{y + 20 * row}">'
            f"{escape(text)}{paler}</text>"
        )
    return "\n".join(out)


def picture(typed: list[str], formula: str, source: list[str], ran: list[str]) -> str:
    """The SVG: what was typed on the left, its three faces on the right."""
    left, right = 20 + card_width(typed), 90 + card_width(typed)
    wide = max(420, card_width(source), card_width(ran))
    width = right + wide + 20
    second = 130
    third = second + 60 + 20 * len(source)
    height = third + 60 + 20 * len(ran)
    middle = height // 2
    cards = [
        (20, middle - 25 - 10 * len(typed), left - 20, 50 + 20 * len(typed), "you write"),
        (right, 20, wide, 90, "read it as a formula"),
        (right, second, wide, 40 + 20 * len(source), "read it as source: plain JAX"),
        (right, third, wide, 40 + 20 * len(ran), "run it: one XLA executable, CPU or GPU"),
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        '     aria-label="One gradient: as a formula, as JAX source, and run">',
        f"<style>\n{STYLE}\n</style>",
        TIP,
        f'<rect class="ground" width="{width}" height="{height}" rx="10"/>',
    ]
    for x, y, w, h, title in cards:
        parts.append(f'<rect class="card" x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>')
        parts.append(f'<text class="title" x="{x + 16}" y="{y + 24}">{escape(title)}</text>')
    for _, y, _, h, _ in cards[1:]:
        curve = f"M{left} {middle} C{left + 40} {middle} {left + 25} {y + h // 2} {right - 2} {y + h // 2}"
        parts.append(f'<path class="arrow" d="{curve}"/>')
    parts.append(code(typed, 36, cards[0][1] + 48))
    parts.append(f'<text class="formula" x="{right + 16}" y="86">{escape(formula)}</text>')
    parts.append(code(source, right + 16, second + 46))
    parts.append(code(ran, right + 16, third + 46))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def card_width(lines: list[str]) -> int:
    """Room for the longest line of code."""
    return 40 + 8 * max(map(len, lines))


def drawn() -> str:
    """The picture of the gradient of least squares."""
    X, w, y = sg.symbols("X:n,d  w:d  y:n")
    loss = ((X @ w - y) ** 2).mean()
    gradient = sg.grad(loss, w)
    step = sg.compile(gradient)
    rows = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    value = step(rows, np.zeros(2, np.float32), np.array([1, 2, 3], np.float32))
    return picture(
        ['X, w, y = sg.symbols("X:n,d  w:d  y:n")', "loss = ((X @ w - y) ** 2).mean()",
         "g = sg.grad(loss, w)"],
        f"∂L/∂w = {gradient.formula()}",
        body_of(step.source),
        [">>> step(X, w, y)", np.array2string(np.asarray(value), precision=4)],
    )  # fmt: skip


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
