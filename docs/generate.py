"""Writes docs/ops.md, docs/functions.md and docs/rules.md from the tables: `python docs/generate.py`.

A test writes them again and compares, so the pages are never stale.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import symgrad as sg
from symgrad.autodiff import gradient
from symgrad.core.build import elementwise, is_zero, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import letter
from symgrad.derivation.formula import Formula, form_of, formula
from symgrad.functional.table import FUNCTIONS, Function
from symgrad.simplify import Procedure, Rule, simplify
from symgrad.simplify.rules import BINARY, MACHINE, STABLE

DOCS = Path(__file__).parent
LETTERS = "xyz"


def cell(text: str, code: bool = True) -> str:
    """Text as a cell of a table."""
    text = text.replace("|", "\\|")
    return f"`{text}`" if code and text else text


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scalar(name: str) -> Expr:
    """A number called ``name``."""
    return symbol(name, (), sg.float32)


def printed(e: Expr) -> str:
    """An expression as it was built, in Unicode."""
    return Formula(e, lambda: form_of(e)).unicode


PARAMETERS = {"power": (Fraction(3),), "flat_power": (Fraction(1, 3),), "zero_power": (Fraction(1, 3),),
              "polygamma": (1,), "cast": (sg.float64,)}  # fmt: skip
"""Parameters with which the ops that have some are shown."""


def partials(op: Op) -> str:
    """The derivative of an elementwise op, as its row states it."""
    assert op.derivative is not None
    statics = PARAMETERS.get(op.name, ())
    count = len(inspect.signature(op.derivative).parameters) - 1 - len(statics)
    arguments = [scalar(name) for name in LETTERS[:count]]
    if op.name == "where":
        arguments[0] = symbol("x", (), sg.bool)
    found = op.derivative(*arguments, elementwise(op, *arguments, statics=statics), *statics)
    return ", ".join("none" if p is None else "0" if is_zero(p) else printed(p) for p in found)


def adjoint(op: Op) -> str:
    """What an adjoint g becomes, for an elementwise op that has a rule of its own."""
    if op.vjp is None:
        return "not differentiable"
    node = elementwise(op, symbol("z", (), sg.complex128))
    (found,) = op.vjp(node, symbol("g", (), node.dtype))
    return f"g → {cell(printed(found))}" if found is not None else "none"


def maps() -> list[list[str]]:
    """A row per elementwise op."""
    rows = []
    for name, op in sorted(OPS.items()):
        if op.family == "map":
            with_parameters = f" with {PARAMETERS[name][0]}" if name in PARAMETERS else ""
            shown = cell(partials(op)) if op.derivative else adjoint(op)
            rows.append([cell(name) + with_parameters, shown, op.domain])
    return rows


def others() -> list[list[str]]:
    """A row per other op."""
    rows = []
    for name, op in sorted(OPS.items(), key=lambda item: (item[1].family, item[0])):
        if op.family != "map":
            rows.append([cell(name), op.family, ", ".join(sorted(op.traits))])
    return rows


def ops_page() -> str:
    """docs/ops.md."""
    return f"""# Every op

Printed from the rows in `symgrad/ops/` and `symgrad/core/build.py` by `docs/generate.py`. A public function is a composition of these; most need no op of their own.

## Elementwise

The derivative is the one of the row, for arguments x, y, z; "none" stands where an argument has no derivative by definition. An op of complex numbers z that has no complex derivative says what the gradient g becomes. The domain is where the tests sample arguments.

{table(["op", "derivative", "domain"], maps())}

## The others

{table(["op", "family", "traits"], others())}
"""


ROOMS = {"": sg, "nn.functional.": sg.nn.functional, "linalg.": sg.linalg, "fft.": sg.fft, "special.": sg.special,
         "Tensor.": sg.Tensor}  # fmt: skip
"""Where PyTorch's functions are."""
INNER = ("_values", "_indices", "_states", "_layer")
"""Endings of rows that are one result of a function."""
WIDE = 72
"""Longer formulas are left out: the words say more."""
SHAPES = ("A:n,n B:n,n C:n,n", "x:n y:n z:n", "A:n,n x:n y:n")
"""Arguments on which a function is shown: the first that it takes."""


REFUSALS = (sg.SymgradError, TypeError, ValueError, IndexError, RuntimeError)
"""How a function says that it takes other arguments."""


def shown_on(row: Function, spec: str) -> tuple[str, str]:
    """The formula of a function of symbols, and of the gradient of its sum in the first."""
    parameters = list(inspect.signature(row.build).parameters.values())
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if not needed or any(str(p.annotation) not in ("Expr", "Any") for p in needed):
        return "", ""
    arguments = [t.expr() for t in sg.symbols(spec)[: len(needed)]]
    value = row.build(*arguments)
    text = printed(value)
    if not value.dtype.differentiable:
        return text, ""
    try:
        (slope,) = gradient(reduce_sum(value, range(value.ndim)), arguments[:1])
        return text, formula(simplify([slope])[0]).unicode
    except sg.SymgradError:
        return text, ""


def functions() -> list[list[str]]:
    """A row per public function."""
    rows = []
    for name, row in sorted(FUNCTIONS.items()):
        room = next((r for r, holder in ROOMS.items() if hasattr(holder, name)), None)
        if room is None or name.endswith(INNER):
            continue
        text = slope = ""
        for spec in SHAPES:
            with contextlib.suppress(*REFUSALS):
                text, slope = shown_on(row, spec)
                break
        words = (row.build.__doc__ or "").partition("\n")[0]
        short = [cell(t) if len(t) <= WIDE else "" for t in (text, slope)]
        rows.append([cell(room + name), cell(words, code=False), *short])
    return rows


def functions_page() -> str:
    """docs/functions.md."""
    return f"""# Every function under PyTorch's name

Printed from the table of public functions by `docs/generate.py`: names as in `torch`, the value on symbols with the options left as they are, and the gradient of the sum of the result with respect to the first argument. Where a formula is longer than the words, the words stand alone.

{table(["function", "what it is", "value", "gradient"], functions())}
"""


def sides(rule: Rule | Procedure) -> tuple[Expr, Expr]:
    """An example of a rule: before and after."""
    if isinstance(rule, Procedure):
        return rule.example()
    x = symbol("x", tuple(map(letter, "nd"[: rule.rank])), sg.float64, number=-1)
    return rule.left(x), rule.right(x)


def rewrites(rules: Iterable[Rule | Procedure]) -> list[list[str]]:
    """A row per rule."""
    rows = []
    for rule in rules:
        before, after = sides(rule)
        rows.append([rule.name, cell(printed(before)), cell(printed(after)), rule.states])
    return rows


def rules_page() -> str:
    """docs/rules.md."""
    head = ["rule", "before", "after", "what changes"]
    return f"""# Every rewrite rule

Printed from the tables in `symgrad/simplify/rules.py` by `docs/generate.py`. Each rule is a named value and its own test: both sides agree to rounding where the rule says so, and the right side is finite at points where the left is not. What is not listed is never rewritten; sums and products are in normal form from the moment they are built.

## For formulas and programs

Before and after differentiation, jointly over everything that is compiled together.

{table(head, rewrites((*STABLE, *BINARY)))}

## For programs only

Just before source is written; formulas keep the textbook's form.

{table(head, rewrites(MACHINE))}
"""


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    return {
        DOCS / "ops.md": ops_page(),
        DOCS / "functions.md": functions_page(),
        DOCS / "rules.md": rules_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
