"""An expression as text for one target: parentheses where the reader and the parser need them.

Whether an operand needs parentheses follows from numbers alone (how strongly it binds, how weak
the hole lets it be), so the text is written front to back in one pass with an explicit stack.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from symgrad_codegen.program import (
    ANY,
    ATOM,
    NUMBER,
    POSTFIX,
    PRODUCT,
    UNARY,
    Apply,
    Dtype,
    Foreign,
    Function,
    Letter,
    Literal,
    Operand,
    ProgramError,
    Template,
    Variable,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a target language spells differently; all else is in the templates' forms.

    **Arguments:**

    - `name`: the target's column in the forms of a `Template`.
    - `title`: for the docstring.
    - `arrays`: the module of the array functions and dtypes, as imported.
    - `imports`: what a root such as `jnp` in a form's text means, as import statements.
    - `dtypes`: dtypes that are not spelled `arrays.name`.
    - `wide_context`: the context that makes 64-bit dtypes available, or nothing.
    - `helpers`: functions by name that the source states where a form calls them.
    """

    name: str
    title: str
    arrays: str
    imports: tuple[tuple[str, str], ...]
    dtypes: tuple[tuple[str, str], ...] = (("bool", "bool"),)
    wide_context: str = ""
    helpers: tuple[tuple[str, str], ...] = ()
    true: str = "True"
    false: str = "False"
    complex_form: str = "complex({0}, {1})"

    def real(self, value: float) -> str:
        """The text of a number without its sign."""
        if math.isfinite(value):
            return float.__repr__(value)
        return f"{self.arrays}.{'nan' if math.isnan(value) else 'inf'}"

    def signed(self, value: float) -> str:
        """The text of a number with its sign."""
        negative = math.copysign(1.0, value) < 0 and not math.isnan(value)
        return f"{'-' if negative else ''}{self.real(abs(value))}"

    def literal(self, value: complex) -> tuple[str, int]:
        """The text of a bool, int, float or complex, and how strongly it binds."""
        if isinstance(value, bool):
            return (self.true if value else self.false), ATOM
        if isinstance(value, int):
            return int.__repr__(value), NUMBER if value >= 0 else UNARY
        if isinstance(value, float):
            spelled = self.signed(value)
            if spelled.startswith("-"):
                return spelled, UNARY
            return spelled, NUMBER if math.isfinite(value) else POSTFIX
        if not isinstance(cast(object, value), complex):
            raise ProgramError(
                f"a literal is a bool, int, float or complex of Python, but this is a "
                f"{type(value).__name__}: convert it, or make it an input of the program"
            )
        parts = self.signed(value.real), self.signed(value.imag)
        return self.complex_form.format(*parts), POSTFIX

    def dtype(self, name: str) -> str:
        """The text of a dtype."""
        for known, spelled in self.dtypes:
            if known == name:
                return spelled
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ProgramError(f"{name!r} is no dtype")
        return f"{self.arrays}.{name}"


Named = Variable | Letter | Function | Foreign
Namer = Callable[[Named], str]


def render(operand: Operand, target: Target, name: Namer, roots: set[str]) -> str:
    """The text of an expression; module roots that it uses (`jnp`) are added to `roots`."""
    written: list[str] = []
    stack: list[str | tuple[Operand, int]] = [(operand, 0)]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            written.append(item)
            continue
        node, hole = item
        if isinstance(node, Apply):
            form = node.template.form(target.name)
            roots |= roots_of(form)
            pieces = _fill(node.template, form, target.name, node.operands)
            if node.template.precedence < hole:
                written.append("(")
                stack.append(")")
            stack.extend(reversed(pieces))
        else:
            spelled, precedence = leaf(node, target, name)
            plain = isinstance(node, Literal) and not node.computed and spelled[-1].isdigit()
            if not plain and not isinstance(node, Named):
                roots |= roots_of(spelled)
            written.append(spelled if precedence >= hole else f"({spelled})")
    return "".join(written)


def leaf(node: Named | Literal | Dtype, target: Target, name: Namer) -> tuple[str, int]:
    """The text of an operand without operands, and how strongly it binds."""
    if isinstance(node, Named):
        return name(node), ATOM
    if isinstance(node, Dtype):
        return target.dtype(node.name), POSTFIX
    if node.computed:
        return node.computed, _strength(node.computed)
    return target.literal(node.value)


@lru_cache(maxsize=1024)
def _strength(computed: str) -> int:
    """How strongly the expression of a constant binds: a call or name, with a sign, a product."""
    alone = re.fullmatch(r"(-?)[\w.]+(\([^()]*\))?", computed)
    return PRODUCT if alone is None else UNARY if alone[1] else POSTFIX


def _fill(
    template: Template, form: str, target: str, operands: tuple[Operand, ...]
) -> list[str | tuple[Operand, int]]:
    """The form's text with each hole replaced by its operand and that hole's strength."""
    pieces, named = parse(form)
    if named > len(operands) or (named < len(operands) and not any(p[0] == "*" for p in pieces)):
        raise ProgramError(
            f"the template {form!r} has {named} holes but was given {len(operands)} operands"
        )
    power = len(pieces) == 3 and pieces[1][1] == " ** "
    if power and _is_simple(operands[0], target, "") and _is_simple(operands[1], target, "-?"):
        # As formatters have it: x**2, x**-2, but f(x) ** 2.
        pieces = (pieces[0], ("text", "**", ANY), pieces[2])
    filled: list[str | tuple[Operand, int]] = []
    for kind, value, least in pieces:
        if kind == "text":
            filled.append(value)
        elif kind == "hole":
            index = int(value)
            filled.append((operands[index], max(least, template.hole(index))))
        else:
            rest = range(named, len(operands))
            comma = value.strip() == ","
            for index in rest:
                if index > named:
                    filled.append(", " if comma or not value else value)
                filled.append((operands[index], template.hole(index)))
            if comma and len(rest) == 1:
                filled.append(",")
    return filled


def _is_simple(node: Operand, target: str, sign: str) -> bool:
    """Whether formatters set `**` tight beside this operand: a name, a number, an attribute."""
    while isinstance(node, Apply):
        text = node.template.form(target)
        if not re.fullmatch(sign + r"\{0\}(\.[A-Za-z_]\w*)*", text) or not node.operands:
            return False
        node = node.operands[0]
    if isinstance(node, Literal) and not isinstance(node.value, bool):
        value = node.value
        return not isinstance(value, complex) and (bool(sign) or math.copysign(1, value) > 0)
    return True


@lru_cache(maxsize=8192)
def parse(form: str) -> tuple[tuple[tuple[str, str, int], ...], int]:
    """A form as pieces, and the number of operands that have holes of their own.

    A piece is `text`, a `hole` with its index, or a `*` with its separator; and how strongly a
    hole wants its operand bound for what follows it, whatever the template says.
    """
    pieces: list[tuple[str, str]] = []
    named = 0
    end = 0
    for match in re.finditer(r"\{(?:(\d+)|\*([^{}]*))\}", form):
        if match.start() > end:
            pieces.append(("text", form[end : match.start()]))
        end = match.end()
        if match[1] is None:
            pieces.append(("*", match[2]))
        else:
            pieces.append(("hole", match[1]))
            named = max(named, int(match[1]) + 1)
    if end < len(form):
        pieces.append(("text", form[end:]))
    texts = [value if kind == "text" else "" for kind, value in pieces[1:]] + [""]
    least = [POSTFIX if after.startswith(("[", ".", "(")) else ANY for after in texts]
    return tuple([(*piece, x) for piece, x in zip(pieces, least, strict=True)]), named


@lru_cache(maxsize=8192)
def roots_of(text: str) -> frozenset[str]:
    """The names that an expression needs: `jnp` in `jnp.sum({0})`, `scan` in `scan({0})`."""
    without_strings = re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)
    found = re.findall(r"(?<![\w.}\])])([A-Za-z_]\w*)\s*\.", without_strings)
    return frozenset([*found, *re.findall(r"^([A-Za-z_]\w*)\(", without_strings)])
