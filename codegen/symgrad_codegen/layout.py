"""Long lines broken where a formatter would break them: at brackets, then at commas or operators.

The input is one logical line of generated source. Strings in it hold no escaped quotes. The work
is a stack of pieces still to be written, so nesting costs no recursion.
"""

import re
from itertools import pairwise

WIDTH = 100
"""The widest line that is written where there is a choice."""

_STEP = "    "
# What is nested this far is left on one line: nobody reads it, and it would take long.
_DEEPEST = 60
# Operators at which an expression may break, weakest first.
_RANKS = (
    ("if", "else"),
    ("or",),
    ("and",),
    ("<", "<=", "==", "!=", ">", ">="),
    ("|",),
    ("^",),
    ("&",),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "//", "%", "@"),
    ("**",),
)
_RANK = {operator: rank for rank, operators in enumerate(_RANKS) for operator in operators}
_TOKEN = re.compile(
    r"\"[^\"]*\"|'[^']*'|\blambda [\w, ]*:|[(\[{]|[)\]}]|,|"
    r"(?<= )(?:\*\*|//|<<|>>|[<>=!]=|[-+*/%@<>|^&]|if|else|or|and)(?= )"
)


def wrap(line: str, indent: str, suffix: str = "") -> list[str]:
    """`line` as one or more lines that start with `indent`; `suffix` follows the last one.

    >>> wrap("x = 1", "    ")
    ['    x = 1']
    """
    if len(indent) + len(line) + len(suffix) <= WIDTH:
        return [f"{indent}{line}{suffix}"]
    match = re.match(r"return |[\w, ]+ = ", line)
    start = match.end() if match else 0
    result: list[str] = []
    # Margin, text before, expression, text after, and whether brackets may be added around it.
    stack = [(indent, line[:start], line[start:], suffix, True)]
    while stack:
        margin, before, text, after, statement = stack.pop()
        fits = len(margin) + len(before) + len(text) + len(after) <= WIDTH
        if fits or len(margin) > _DEEPEST:
            result.append(f"{margin}{before}{text}{after}")
            continue
        marks = _marks(text)
        operators = [
            (at, _RANK[token]) for at, token, depth in marks if not depth and token in _RANK
        ]
        weakest = min((rank for _, rank in operators), default=-1)
        places = [at for at, rank in operators if rank == weakest]
        room = WIDTH - len(margin) - len(before)
        bracket = _bracket(marks, room)
        ends = (
            bracket is not None
            and bracket[1] == len(text) - 1
            and len(places) <= 1
            and bracket[0] < room
        )
        if places and statement and not ends:
            result.append(f"{margin}{before}(")
            stack.append((margin, "", ")", after, False))
            stack.append((margin + _STEP, "", text, "", False))
        elif places and not statement:
            pieces = [text[a:b].strip() for a, b in zip([0, *places], [*places, None], strict=True)]
            for index in range(len(pieces) - 1, -1, -1):
                operator, operand = pieces[index].split(" ", 1) if index else ("", pieces[index])
                lead = f"{operator} " if index else before
                stack.append(
                    (margin, lead, operand, after if index == len(pieces) - 1 else "", False)
                )
        elif bracket is None:
            result.append(f"{margin}{before}{text}{after}")
        else:
            opening, closing = bracket
            result.append(f"{margin}{before}{text[: opening + 1]}")
            stack.append((margin, "", text[closing:], after, False))
            items = _items(text, opening, closing, marks, len(margin) + len(_STEP))
            stack.extend(
                (margin + _STEP, "", item, comma, False) for item, comma in reversed(items)
            )
    return result


def _marks(text: str) -> list[tuple[int, str, int]]:
    """Brackets, commas and operators: position, token, depth (a bracket has its outside's)."""
    marks: list[tuple[int, str, int]] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "([{":
            marks.append((match.start(), token, depth))
            depth += 1
        elif token in ")]}":
            depth -= 1
            marks.append((match.start(), token, depth))
        elif token[0] not in "\"'" and not token.startswith("lambda"):
            marks.append((match.start(), token, depth))
    return marks


def _bracket(marks: list[tuple[int, str, int]], room: int) -> tuple[int, int] | None:
    """The last outermost pair of brackets with something in it that opens in the room there is.

    The first pair where none does.
    """
    found: list[tuple[int, int]] = []
    opening = 0
    for at, token, depth in marks:
        if not depth and token in "([{":
            opening = at
        elif not depth and token in ")]}" and at > opening + 1:
            found.append((opening, at))
    fitting = [pair for pair in found if pair[0] < room]
    return fitting[-1] if fitting else found[0] if found else None


def _items(
    text: str, opening: int, closing: int, marks: list[tuple[int, str, int]], margin: int
) -> list[tuple[str, str]]:
    """What is inside a bracket, as (text, comma) for each line."""
    inside = text[opening + 1 : closing]
    commas = [
        at for at, token, depth in marks if depth == 1 and token == "," and opening < at < closing
    ]
    called = opening > 0 and (text[opening - 1].isalnum() or text[opening - 1] in "_)]")
    alone = not commas and not (called and text[opening] == "(")
    if alone or (called and margin + len(inside) <= WIDTH):
        return [(inside, "")]
    ends = [opening, *commas, closing]
    items = [text[a + 1 : b].strip() for a, b in pairwise(ends)]
    return [(item, ",") for item in items if item]
