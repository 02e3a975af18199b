"""Writes docs/ops.md, docs/functions.md and docs/rules.md from the tables: `python docs/generate.py`.

A test writes them again and compares, so the pages are never stale.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import symgrad as sg
from symgrad.autodiff import gradient
from symgrad.core.build import elementwise, is_zero, reduce_sum
from symgrad.core.expr import Expr, symbol
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import letter
from symgrad.core.traverse import substitute
from symgrad.derivation.formula import Formula, form_of, formula
from symgrad.errors import NotationError
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
    """An expression as it was built, in Unicode; what has to have a name for that follows it."""
    lines = [("", e)]
    written: list[str] = []
    named = dict[Expr, Expr]()
    while lines:
        left, e = lines.pop(0)
        try:
            written.append(left + Formula(e, lambda e=e: form_of(e)).unicode)
        except NotationError as error:
            part = next(iter(error.parts), None)
            if part is None or (part not in named and len(named) == len(NAMES)):
                raise
            if part not in named:
                word = NAMES[len(named)]
                named[part] = symbol(word, part.shape, part.dtype, number=len(named) + 1)
                lines.append((f"{word} = ", part))
            lines.insert(0, (left, substitute([e], {part: named[part]})[0]))
    return "; ".join(written)


NAMES = "TUVPQR"
"""Names of values within a formula."""


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
WIDE = 240
"""Longer formulas are left out: the words say more."""
SHAPES = ("A:n,n B:n,n C:n,n", "x:n y:n z:n", "A:n,n x:n y:n")
"""Arguments on which a function is shown: the first that it takes."""


REFUSALS = (sg.SymgradError, TypeError, ValueError, IndexError, RuntimeError)
"""How a function says that it takes other arguments."""


Call = Callable[..., Any]
Example = tuple[str, str, Call]

_POOLED: dict[str, Example] = {
    f"{kind}_pool{rank}d": (f"X:b,c,{','.join('6' * rank)}", "", call)
    for rank in (1, 2, 3)
    for kind, call in {
        "avg": lambda f, x: f(x, 2),
        "max": lambda f, x: f(x, 2),
        "lp": lambda f, x: f(x, 2.0, 2),
        "adaptive_avg": lambda f, x: f(x, 3),
        "adaptive_max": lambda f, x: f(x, 3),
    }.items()
}
_BITS: dict[str, Example] = {
    f"bitwise_{word}": ("", "i:n j:n", lambda f, i, j: f(i, j))
    for word in ("and", "or", "xor", "left_shift", "right_shift")
}

EXAMPLES: dict[str, Example] = {
    **_POOLED,
    **_BITS,
    "bitwise_not": ("", "i:n", lambda f, i: f(i)),
    "gcd": ("", "i:n j:n", lambda f, i, j: f(i, j)),
    "lcm": ("", "i:n j:n", lambda f, i, j: f(i, j)),
    "bilinear": ("x:m y:n W:k,m,n", "", lambda f, x, y, w: f(x, y, w)),
    "bmm": ("A:b,n,m B:b,m,k", "", lambda f, a, b: f(a, b)),
    "cat": ("x:2 y:3", "", lambda f, x, y: f([x, y])),
    "hstack": ("x:2 y:3", "", lambda f, x, y: f([x, y])),
    "clamp": ("A:n,n", "", lambda f, a: f(a, -1.0, 1.0)),
    "constant_pad_nd": ("x:n", "", lambda f, x: f(x, (1, 2))),
    "pad": ("x:n", "", lambda f, x: f(x, (1, 2))),
    "conv1d": ("X:b,c,t W:o,c,3", "", lambda f, x, w: f(x, w)),
    "conv2d": ("X:b,c,h,w W:o,c,3,3", "", lambda f, x, w: f(x, w)),
    "conv_transpose1d": ("X:b,c,t W:c,o,3", "", lambda f, x, w: f(x, w)),
    "cumprod": ("x:n", "", lambda f, x: f(x, 0)),
    "cumsum": ("x:n", "", lambda f, x: f(x, 0)),
    "logcumsumexp": ("x:n", "", lambda f, x: f(x, 0)),
    "logsumexp": ("A:n,m", "", lambda f, a: f(a, -1)),
    "diagonal_scatter": ("A:3,3 x:3", "", lambda f, a, x: f(a, x)),
    "einsum": ("A:n,m B:m,k", "", lambda f, a, b: f("ij,jk->ik", a, b)),
    "embedding": ("W:v,d", "i:n", lambda f, w, i: f(i, w)),
    "fill": ("A:n,n", "", lambda f, a: f(a, 2.0)),
    "flip": ("x:n", "", lambda f, x: f(x, (0,))),
    "gather": ("A:n,m", "K:n,k", lambda f, a, k: f(a, 1, k)),
    "take_along_dim": ("A:n,m", "K:n,k", lambda f, a, k: f(a, k, 1)),
    "glu": ("x:6", "", lambda f, x: f(x)),
    "index_add": ("A:n,d B:k,d", "i:k", lambda f, a, b, i: f(a, 0, i, b)),
    "index_fill": ("A:n,d", "i:k", lambda f, a, i: f(a, 0, i, 2.0)),
    "index_select": ("A:n,d", "i:k", lambda f, a, i: f(a, 0, i)),
    "take": ("A:n,d", "i:k", lambda f, a, i: f(a, i)),
    "rms_norm": ("X:n,d", "", lambda f, x: f(x, (x.shape[-1],), None, 1e-5)),
    "nll_loss": ("A:n,c", "y:n", lambda f, a, y: f(a, y)),
    "multi_margin_loss": ("A:n,c", "y:n", lambda f, a, y: f(a, y)),
    "one_hot": ("", "y:n", lambda f, y: f(y, 3)),
    "transpose": ("A:n,m", "", lambda f, a: f(a, 0, 1)),
    "select": ("A:n,m", "", lambda f, a: f(a, 0, 2)),
    "narrow": ("x:n", "", lambda f, x: f(x, 0, 1, 2)),
    "reshape": ("A:2,3", "", lambda f, a: f(a, (3, 2))),
    "view": ("A:2,3", "", lambda f, a: f(a, 3, 2)),
    "unflatten": ("x:6", "", lambda f, x: f(x, 0, (2, 3))),
    "unfold": ("x:6", "", lambda f, x: f(x, 0, 3, 1)),
    "polygamma": ("A:n,n", "", lambda f, a: f(1, a)),
    "renorm": ("A:n,d", "", lambda f, a: f(a, 2, 0, 1.0)),
    "scatter_add": ("A:3,4 B:3,2", "K:3,2", lambda f, a, b, k: f(a, 1, k, b)),
    "select_scatter": ("A:3,4 x:4", "", lambda f, a, x: f(a, x, 0, 1)),
    "slice_scatter": ("x:5 y:2", "", lambda f, x, y: f(x, y, 0, 1, 3)),
    "softmin": ("x:n", "", lambda f, x: f(x, -1)),
    "threshold": ("A:n,n", "", lambda f, a: f(a, 1.0, 0.0)),
    "masked_fill": ("A:n,n", "M:n,n", lambda f, a, m: f(a, m, 2.0)),
    "where": ("A:n,n B:n,n", "M:n,n", lambda f, a, b, m: f(m, a, b)),
    "amax": ("x:n", "", lambda f, x: f(x)),
    "amin": ("x:n", "", lambda f, x: f(x)),
    "imag": ("z:n", "", lambda f, z: f(z)),
    "view_as_real": ("z:n", "", lambda f, z: f(z)),
    "view_as_complex": ("X:n,2", "", lambda f, x: f(x)),
    "stack": ("x:n y:n", "", lambda f, x, y: f([x, y])),
    "vstack": ("x:n y:n", "", lambda f, x, y: f([x, y])),
    "dstack": ("x:n y:n", "", lambda f, x, y: f([x, y])),
    "column_stack": ("x:n y:n", "", lambda f, x, y: f([x, y])),
    "block_diag": ("A:2,2 B:3,3", "", lambda f, a, b: f([a, b])),
    "cross": ("x:3 y:3", "", lambda f, x, y: f(x, y)),
    "roll": ("x:4", "", lambda f, x: f(x, 1)),
    "repeat_interleave": ("x:3", "", lambda f, x: f(x, 2)),
    "channel_shuffle": ("X:b,4,h,w", "", lambda f, x: f(x, 2)),
    "pixel_shuffle": ("X:b,4,h,w", "", lambda f, x: f(x, 2)),
    "pixel_unshuffle": ("X:b,c,4,4", "", lambda f, x: f(x, 2)),
    "cumulative_trapezoid": ("x:n", "", lambda f, x: f(x)),
    "local_response_norm": ("X:b,4,w", "", lambda f, x: f(x, 2)),
    "lu_solve": ("B:3,3 A:3,3", "i:3", lambda f, b, a, i: f(b, a, i)),
    "index_reduce": ("A:n,d B:k,d", "i:k", lambda f, a, b, i: f(a, 0, i, b, "prod")),
    "scatter": ("A:3,4 B:3,2", "K:3,2", lambda f, a, b, k: f(a, 1, k, b)),
    "scatter_reduce": ("A:3,4 B:3,2", "K:3,2", lambda f, a, b, k: f(a, 1, k, b, "amax")),
    "broadcast_to": ("x:n", "", lambda f, x: f(x, (2, *x.shape))),
    "expand": ("x:n", "", lambda f, x: f(x, (2, *x.shape))),
    "conv3d": ("X:b,c,t,h,w W:o,c,3,3,3", "", lambda f, x, w: f(x, w)),
    "conv_transpose2d": ("X:b,c,h,w W:c,o,3,3", "", lambda f, x, w: f(x, w)),
    "conv_transpose3d": ("X:b,c,t,h,w W:c,o,3,3,3", "", lambda f, x, w: f(x, w)),
    "cosine_embedding_loss": ("A:n,d B:n,d y:n", "", lambda f, a, b, y: f(a, b, y)),
    "grid_sample": ("X:1,1,2,2 G:1,1,1,2", "", lambda f, x, g: f(x, g)),
    "interpolate": ("X:b,c,4", "", lambda f, x: f(x, scale_factor=2)),
    "layer_norm": ("X:n,d", "", lambda f, x: f(x, (x.shape[-1],), None, None, 1e-5)),
    "masked_scatter": ("A:3 B:3", "M:3", lambda f, a, b, m: f(a, m, b)),
    "movedim": ("A:n,m", "", lambda f, a: f(a, 0, 1)),
    "permute": ("A:n,m", "", lambda f, a: f(a, (1, 0))),
    "nan_to_num": ("x:n", "", lambda f, x: f(x)),
    "quantile": ("x:5", "", lambda f, x: f(x, 0.5)),
    "nanquantile": ("x:5", "", lambda f, x: f(x, 0.5)),
    "pdist": ("A:3,d", "", lambda f, a: f(a)),
    "repeat": ("x:n", "", lambda f, x: f(x, (2, 1))),
    "tile": ("x:n", "", lambda f, x: f(x, (2, 1))),
    "unsqueeze": ("x:n", "", lambda f, x: f(x, 0)),
    "triplet_margin_loss": ("A:n,d B:n,d C:n,d", "", lambda f, a, b, c: f(a, b, c)),
    "multilabel_margin_loss": ("x:4", "y:4", lambda f, x, y: f(x, y)),
    "histc": ("x:n", "", lambda f, x: f(x, 4, 0.0, 1.0)),
}
"""Name of a row → the real operands, the whole-number ones (truth values under the name M), the call on
them; the others are shown on SHAPES.  z is complex."""


def shown(value: Expr, arguments: list[Expr]) -> tuple[str, str]:
    """The formula of a value, and of the gradient of its sum in the first argument."""
    text = printed(value)
    if not value.dtype.differentiable or not arguments:
        return text, ""
    try:
        (slope,) = gradient(reduce_sum(value, range(value.ndim)), arguments[:1])
        slope = simplify([slope])[0]
        try:
            return text, formula(slope).unicode
        except NotationError:
            return text, printed(slope)
    except sg.SymgradError:
        return text, ""


def example(row: Function) -> tuple[str, str]:
    """The same for a function with arguments of its own."""
    reals, wholes, call = EXAMPLES[row.name]
    arguments = [
        symbol_of(word, sg.complex64 if word[0] == "z" else sg.float32) for word in reals.split()
    ]
    others = [symbol_of(word, sg.bool if word[0] == "M" else sg.int64) for word in wholes.split()]
    return shown(call(row.build, *arguments, *others), arguments)


def symbol_of(word: str, dtype: sg.dtype) -> Expr:
    """``"A:n,m"`` as a symbol."""
    name, _, sizes = word.partition(":")
    return sg.symbol(name, sizes, dtype).expr()


def shown_on(row: Function, spec: str) -> tuple[str, str]:
    """The same for a function of symbols, as many as it needs."""
    parameters = list(inspect.signature(row.build).parameters.values())
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if not needed or any(str(p.annotation) not in ("Expr", "Any") for p in needed):
        return "", ""
    arguments = [t.expr() for t in sg.symbols(spec)[: len(needed)]]
    return shown(row.build(*arguments), arguments)


def functions() -> list[list[str]]:
    """A row per public function."""
    rows = []
    for name, row in sorted(FUNCTIONS.items()):
        room = next((r for r, holder in ROOMS.items() if hasattr(holder, name)), None)
        if room is None or name.endswith(INNER):
            continue
        text = slope = ""
        if name in EXAMPLES:
            text, slope = example(row)
        for spec in () if text else SHAPES:
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

Printed from the table of public functions by `docs/generate.py`: names as in `torch`, the value on symbols with the options left as they are, and the gradient of the sum of the result with respect to the first argument. What has a name only within a formula (T, U) follows it. Where a formula is longer than a line, the words stand alone.

{table(["function", "what it is", "value", "gradient"], functions())}
"""


def sides(rule: Rule | Procedure) -> tuple[Expr, Expr]:
    """An example of a rule: before and after."""
    if isinstance(rule, Procedure):
        return rule.example()
    x = symbol("x", tuple(map(letter, "nd"[: rule.rank])), sg.float64, number=-1)
    return rule.left(x), rule.right(x)


LONGEST = 160
"""Characters of a right side that a page shows: series are longer."""


def rewrites(rules: Iterable[Rule | Procedure]) -> list[list[str]]:
    """A row per rule."""
    rows = []
    for rule in rules:
        before, after = sides(rule)
        made = printed(after)
        made = made if len(made) <= LONGEST else f"{made[:LONGEST]} …"
        rows.append([rule.name, cell(printed(before)), cell(made), rule.states])
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
