"""A program: typed straight-line instructions whose operations are text with holes.

This is the whole language between mathematics and source. An instruction assigns the value of
an expression to its targets; an operation in an expression is a `Template`, one piece of text
per target language, so a new operation needs no change here. Nothing in this module recurses:
a program may have 100,000 instructions.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

# How strongly a piece of Python text binds: higher holds together more tightly.
ATOM = 100  # a name, a bracketed display
POSTFIX = 90  # call, attribute, index
NUMBER = 85  # an unsigned number: `2 ** x` needs no parentheses, `(2).real` does
POWER = 80
UNARY = 70
PRODUCT = 60  # * / // % @
SUM = 50  # + -
SHIFT = 44  # << >>
BIT_AND = 38
BIT_XOR = 34
BIT_OR = 30
COMPARE = 20  # < <= == != > >=
ANY = 0  # lambda, conditional expression; as a hole: everything fits


class ProgramError(ValueError):
    """A program that cannot be written out: a name used too early, a template without a form."""


@dataclass(frozen=True, slots=True)
class Template:
    """Text with holes, one form for each target language.

    **Arguments:**

    - `forms`: pairs of target and text, such as `("jax", "jnp.tanh({0})")`. `{0}` is a hole for
      operand 0 and may occur more than once. `{*}` stands for all operands that have no hole of
      their own, separated by commas; `{*,}` does the same and adds the comma that makes one
      operand a tuple; `{* + }` separates them by what follows the star.
    - `precedence`: how strongly the resulting text binds.
    - `holes`: for each operand, the weakest binding that needs no parentheses there. The last
      entry also serves all further operands.

    >>> Template((("jax", "{0} - {1}"),), SUM, (SUM, SUM + 1)).form("jax")
    '{0} - {1}'
    """

    forms: tuple[tuple[str, str], ...]
    precedence: int = POSTFIX
    holes: tuple[int, ...] = (ANY,)

    def form(self, target: str) -> str:
        """The text for `target`; raises `ProgramError` where there is none."""
        for name, text in self.forms:
            if name == target:
                return text
        known = ", ".join(f"{name}: {text}" for name, text in self.forms) or "none at all"
        raise ProgramError(
            f"cannot write this operation as {target} source: its template has no form for "
            f"{target!r} (it has {known}). Add one to the row of the operation."
        )

    def hole(self, index: int) -> int:
        """The weakest binding operand `index` may have without parentheses."""
        holes = self.holes
        return holes[index] if index < len(holes) else holes[-1] if holes else ANY


def _forms(jax: str, numpy: str | None) -> tuple[tuple[str, str], ...]:
    """Both forms; where only JAX's is given, NumPy's is the same text with `np` for `jnp`."""
    if numpy is None and ("jax." in jax or "lax." in jax):
        return (("jax", jax),)
    return (("jax", jax), ("numpy", jax.replace("jnp.", "np.") if numpy is None else numpy))


@lru_cache(maxsize=4096)
def text(
    jax: str, numpy: str | None = None, precedence: int = POSTFIX, hole: int = ANY
) -> Template:
    """A template from text alone: all holes alike, NumPy's form derived from JAX's.

    >>> text("jnp.sum({0}, axis=0)").form("numpy")
    'np.sum({0}, axis=0)'
    """
    return Template(_forms(jax, numpy), precedence, (hole,))


@lru_cache(maxsize=4096)
def call(
    jax: str, numpy: str | None = None, arity: int | None = None, keywords: str = ""
) -> Template:
    """A call of a named function with `arity` operands (`None`: as many as there are).

    `numpy=None` gives the JAX name with `np` for `jnp`, or no NumPy form for `jax.` and `lax.`.

    >>> call("jnp.sum", arity=1, keywords="axis=0").forms
    (('jax', 'jnp.sum({0}, axis=0)'), ('numpy', 'np.sum({0}, axis=0)'))
    """
    holes = ["{*}"] if arity is None else [f"{{{i}}}" for i in range(arity)]
    operands = ", ".join([*holes, keywords] if keywords else holes)
    forms = tuple((target, f"{name}({operands})") for target, name in _forms(jax, numpy))
    return Template(forms, POSTFIX, (ANY,))


@lru_cache(maxsize=256)
def infix(symbol: str, precedence: int) -> Template:
    """A binary operator, the same in every target; `**` groups to the right, comparisons never.

    >>> infix("-", SUM).holes
    (50, 51)
    """
    if precedence == POWER:
        holes = (POWER + 1, UNARY)
    elif precedence == COMPARE:
        holes = (COMPARE + 1, COMPARE + 1)  # a < b < c would be a chain
    else:
        holes = (precedence, precedence + 1)
    return Template(_forms(f"{{0}} {symbol} {{1}}", None), precedence, holes)


@lru_cache(maxsize=256)
def prefix(symbol: str, precedence: int = UNARY) -> Template:
    """A unary operator, the same in every target: `-x`, `~mask`."""
    return Template(_forms(f"{symbol}{{0}}", None), precedence, (precedence + 1,))


@lru_cache(maxsize=4096)
def postfix(suffix: str) -> Template:
    """An attribute, method call or index on one operand: `.T`, `.shape[0]`, `[:, None]`."""
    return Template(_forms(f"{{0}}{suffix}", None), POSTFIX, (POSTFIX,))


TUPLE = text("({*,})", precedence=ATOM)
"""All operands as one tuple."""

LIST = text("[{*}]", precedence=ATOM)
"""All operands as one list."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A size known only when the program runs; the source reads it from an input's shape."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A number written by us; infinities, nan and negative numbers are spelled rightly."""

    value: bool | int | float | complex


@dataclass(frozen=True, slots=True)
class Dtype:
    """An element type as an operand: `Dtype("float32")` prints `jnp.float32` or `np.float32`."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A value with a number (its identity in the program), a hint for its name, and a type.

    The `dtype` is a NumPy or ml_dtypes name (`"float32"`, `"bfloat16"`, `"bool"`), `"key"` for
    a random key or `"tuple"` for several values travelling together, as a scan's carry does.
    """

    number: int
    hint: str
    shape: "tuple[Size, ...]"
    dtype: str


@dataclass(frozen=True, slots=True)
class Function:
    """A program used as a value: the body of a scan, or a layer that is called many times.

    It is written once, as a local function; it may use the letters of the main program.
    """

    program: "Program"


@dataclass(frozen=True, slots=True)
class Apply:
    """A template with its operands filled in."""

    template: Template
    operands: "tuple[Operand, ...]"


Size = int | Letter | Apply
Operand = Variable | Letter | Literal | Dtype | Function | Apply


@dataclass(frozen=True, slots=True)
class Instruction:
    """`targets = value`, with the formula it computes as a note."""

    targets: tuple[Variable, ...]
    value: Operand
    note: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A function of arrays as straight-line instructions.

    **Arguments:**

    - `name`: a hint for the function's name.
    - `inputs`, `instructions`, `outputs`: every variable is defined once, before it is used.
    - `summary`, `facts`: the first sentence and further lines of the docstring.
    - `modules`: dotted names of modules that are imported beside those that the text uses.
    - `foreign`: identifiers of functions that are not in the source but handed to `compiled`.
    """

    name: str
    inputs: tuple[Variable, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Variable, ...]
    summary: str = ""
    facts: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    _key: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def key(self) -> str:
        """A digest of everything that shows in the source: equal keys mean equal source."""
        if not self._key:
            for program in (*functions(self), self):
                if not program._key:
                    program._key.append(_digest(program))
        return self._key[0]

    def validate(self) -> None:
        """Raise `ProgramError` where a variable is used undefined, or defined twice."""
        for program in (*functions(self), self):
            _validate(program)


def walk(operand: Operand) -> Iterator[Operand]:
    """Every node of an expression, parents first, left to right."""
    stack = [operand]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Apply):
            stack.extend(reversed(node.operands))


def functions(program: Program) -> list[Program]:
    """The programs used as values inside `program`, each once, those used by others first."""
    order: list[Program] = []
    done: set[int] = set()
    stack: list[tuple[Program, bool]] = [(program, False)]
    while stack:
        current, expanded = stack.pop()
        if expanded:
            order.append(current)
            continue
        if id(current) in done:
            continue
        done.add(id(current))
        stack.append((current, True))
        inner = [
            (node.program, False)
            for instruction in current.instructions
            for node in walk(instruction.value)
            if isinstance(node, Function)
        ]
        stack.extend(reversed(inner))
    return order[:-1]


def _validate(program: Program) -> None:
    defined: set[int] = set()

    def define(variable: Variable, where: str) -> None:
        if variable.number in defined:
            raise ProgramError(
                f"program {program.name!r}: variable {variable.number} ({variable.hint!r}) is "
                f"defined a second time by {where}. Every definition needs a new number."
            )
        defined.add(variable.number)

    def use(variable: Variable, where: str) -> None:
        if variable.number not in defined:
            raise ProgramError(
                f"program {program.name!r}: {where} uses variable {variable.number} "
                f"({variable.hint!r}, {variable.dtype} of shape {variable.shape}) before it is "
                f"defined. Add it to the inputs or define it by an earlier instruction."
            )

    for name in (*program.modules, *program.foreign):
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name, re.ASCII):
            raise ProgramError(f"program {program.name!r}: {name!r} is no module or function name")
    for variable in program.inputs:
        define(variable, "the inputs")
    for index, instruction in enumerate(program.instructions):
        if not instruction.targets:
            raise ProgramError(f"program {program.name!r}: instruction {index} has no target")
        for node in walk(instruction.value):
            if isinstance(node, Variable):
                use(node, f"instruction {index}")
        for variable in instruction.targets:
            define(variable, f"instruction {index}")
    for variable in program.outputs:
        use(variable, "the outputs")


def _digest(program: Program) -> str:
    """A blake2b digest over length-prefixed words, so that no two programs share a spelling."""
    templates: dict[int, str] = {}
    words: list[str] = ["program", program.name, program.summary, str(len(program.facts))]
    words += [*program.facts, str(len(program.modules)), *program.modules]
    words += [str(len(program.foreign)), *program.foreign]

    def expression(operand: Operand | int) -> None:
        if isinstance(operand, int):
            words.append(f"#{operand}")
            return
        for node in walk(operand):
            if isinstance(node, Variable):
                words.append(f"v{node.number}")
            elif isinstance(node, Apply):
                template = node.template
                spelled = templates.get(id(template))
                if spelled is None:
                    spelled = repr((template.forms, template.precedence, template.holes))
                    templates[id(template)] = spelled
                words.append(f"a{len(node.operands)}")
                words.append(spelled)
            elif isinstance(node, Literal):
                words.append(f"l{type(node.value).__name__} {node.value!r}")
            elif isinstance(node, Letter):
                words.append(f"n{node.name}")
            elif isinstance(node, Dtype):
                words.append(f"d{node.name}")
            else:
                words.append(f"f{node.program.key}")

    def define(variable: Variable) -> None:
        words.extend((str(variable.number), variable.hint, variable.dtype))
        words.append(str(len(variable.shape)))
        for size in variable.shape:
            expression(size)

    for group in (program.inputs, program.outputs):
        words.append(str(len(group)))
        for variable in group:
            define(variable)
    for instruction in program.instructions:
        words.append(str(len(instruction.targets)))
        for variable in instruction.targets:
            define(variable)
        expression(instruction.value)
        words.append(instruction.note)
    joined = "".join(f"{len(word)}:{word}" for word in words)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
