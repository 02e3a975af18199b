"""A program: typed straight-line instructions whose operations are text with holes.

This is the whole language between mathematics and source. An instruction assigns the value of
an expression to its targets; an operation in an expression is a `Template`, one piece of text
per target language, so a new operation needs no change here. Nothing in this module recurses:
a program may have 100,000 instructions.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from symgrad_codegen.template import (
    ANY,
    ATOM,
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    COMPARE,
    LIST,
    NUMBER,
    POSTFIX,
    POWER,
    PRODUCT,
    SHIFT,
    SUM,
    TUPLE,
    UNARY,
    ProgramError,
    Template,
    call,
    infix,
    postfix,
    prefix,
    text,
)

__all__ = [
    "ANY",
    "ATOM",
    "BIT_AND",
    "BIT_OR",
    "BIT_XOR",
    "COMPARE",
    "LIST",
    "NUMBER",
    "POSTFIX",
    "POWER",
    "PRODUCT",
    "SHIFT",
    "SUM",
    "TUPLE",
    "UNARY",
    "Apply",
    "Dtype",
    "Foreign",
    "Function",
    "Instruction",
    "Letter",
    "Literal",
    "Operand",
    "Program",
    "ProgramError",
    "Size",
    "Template",
    "Variable",
    "call",
    "infix",
    "postfix",
    "prefix",
    "text",
    "walk",
]


@dataclass(slots=True, unsafe_hash=True)
class Letter:
    """A size known only when the program runs; the source reads it from an input's shape."""

    name: str


@dataclass(slots=True, unsafe_hash=True)
class Literal:
    """A number written by us; infinities, nan and negative numbers are spelled rightly.

    `computed` is a Python expression over `math` that gives it, written in its place.
    """

    value: bool | int | float | complex
    computed: str = ""


@dataclass(frozen=True, slots=True)
class Dtype:
    """An element type as an operand: `Dtype("float32")` prints `jnp.float32` or `np.float32`."""

    name: str


@dataclass(slots=True, unsafe_hash=True)
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
class Foreign:
    """A Python function of arrays used as a value: the source calls it by a name it does not define."""

    name: str
    function: Callable[..., Any]


@dataclass(slots=True, unsafe_hash=True)
class Apply:
    """A template with its operands filled in."""

    template: Template
    operands: "tuple[Operand, ...]"


Size = int | Letter | Apply
Operand = Variable | Letter | Literal | Dtype | Function | Foreign | Apply


@dataclass(slots=True, unsafe_hash=True)
class Instruction:
    """`targets = value`, with the formula it computes as a note."""

    targets: tuple[Variable, ...]
    value: Operand
    note: str = ""


@dataclass(slots=True)
class Uses:
    """What the instructions of a program use, each once, in the order of first use."""

    variables: set[int] = field(default_factory=set[int])
    letters: "dict[Letter, None]" = field(default_factory=dict["Letter", None])
    programs: "dict[int, Program]" = field(default_factory=dict[int, "Program"])
    foreign: "dict[int, Foreign]" = field(default_factory=dict[int, "Foreign"])
    templates: dict[int, Template] = field(default_factory=dict[int, Template])
    dtypes: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class Program:
    """A function of arrays as straight-line instructions.

    **Arguments:**

    - `name`: a hint for the function's name.
    - `inputs`, `instructions`, `outputs`: every variable is defined once, before it is used.
    - `summary`, `facts`: the first sentence and further lines of the docstring.
    - `modules`: dotted names of modules that are imported beside those that the text uses.
    """

    name: str
    inputs: tuple[Variable, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Variable, ...]
    summary: str = ""
    facts: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    _key: list[str] = field(default_factory=list[str], init=False, repr=False, compare=False)
    _uses: list[Uses] = field(default_factory=list[Uses], init=False, repr=False, compare=False)
    _inner: list[tuple["Program", ...]] = field(
        default_factory=list[tuple["Program", ...]], init=False, repr=False, compare=False
    )

    @property
    def uses(self) -> Uses:
        """What its own instructions use.

        **Raises:** `ProgramError` where a variable is used undefined, or defined twice.
        """
        if not self._uses:
            self._uses.append(_uses(self))
        return self._uses[0]

    @property
    def inner(self) -> tuple["Program", ...]:
        """The programs that it uses as values, each once, those used by others first."""
        if not self._inner:
            self._inner.append(_functions(self))
        return self._inner[0]

    @property
    def key(self) -> str:
        """A digest of everything that shows in the source: equal keys mean equal source.

        Foreign functions show by their names only.
        """
        if not self._key:
            for program in (*self.inner, self):
                if not program._key:
                    program._key.append(_digest(program))
        return self._key[0]

    @property
    def foreign(self) -> tuple[Foreign, ...]:
        """The functions from elsewhere that it uses, each once, in the order of their use."""
        found: dict[int, Foreign] = {}
        for program in (*self.inner, self):
            for number, node in program.uses.foreign.items():
                found.setdefault(number, node)
        return tuple(found.values())

    def validate(self) -> None:
        """Raise `ProgramError` where a variable is used undefined, or defined twice."""
        for program in (*self.inner, self):
            _ = program.uses


def walk(operand: Operand) -> list[Operand]:
    """Every node of an expression, parents first, left to right."""
    if not isinstance(operand, Apply):
        return [operand]
    found: list[Operand] = []
    stack: list[Operand] = [operand]
    while stack:
        node = stack.pop()
        found.append(node)
        if isinstance(node, Apply):
            stack.extend(node.operands[::-1])
    return found


def _functions(program: Program) -> tuple[Program, ...]:
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
        stack.extend((inner, False) for inner in reversed(current.uses.programs.values()))
    return tuple(order[:-1])


def _uses(program: Program) -> Uses:
    found = Uses()
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

    for name in program.modules:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name, re.ASCII):
            raise ProgramError(f"program {program.name!r}: {name!r} is no module name")
    for variable in program.inputs:
        define(variable, "the inputs")
    for index, instruction in enumerate(program.instructions):
        if not instruction.targets:
            raise ProgramError(f"program {program.name!r}: instruction {index} has no target")
        stack: list[Operand] = [instruction.value]
        while stack:
            node = stack.pop()
            if isinstance(node, Variable):
                if node.number not in defined:
                    use(node, f"instruction {index}")
                found.variables.add(node.number)
            elif isinstance(node, Apply):
                found.templates[id(node.template)] = node.template
                stack += node.operands[::-1]
            elif isinstance(node, Letter):
                found.letters[node] = None
            elif isinstance(node, Function):
                found.programs.setdefault(id(node.program), node.program)
            elif isinstance(node, Foreign):
                found.foreign.setdefault(id(node.function), node)
            elif isinstance(node, Dtype):
                found.dtypes.add(node.name)
        for variable in instruction.targets:
            define(variable, f"instruction {index}")
    for variable in program.outputs:
        use(variable, "the outputs")
    return found


@lru_cache(maxsize=4096)
def _spelled(template: Template) -> str:
    """The text of a template in a digest."""
    return repr((template.forms, template.precedence, template.holes))


def _digest(program: Program) -> str:
    """A blake2b digest over quoted words, so that no two programs share a spelling."""
    templates: dict[int, str] = {}
    words: list[str | int] = ["program", program.name, program.summary, str(len(program.facts))]
    words += [*program.facts, str(len(program.modules)), *program.modules]
    foreign: dict[int, int] = {}

    def expression(root: Operand) -> None:
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, Variable):
                words.append(node.number)
            elif isinstance(node, Apply):
                template = node.template
                spelled = templates.get(id(template))
                if spelled is None:
                    templates[id(template)] = spelled = _spelled(template)
                words.append(f"a{len(node.operands)}")
                words.append(spelled)
                stack += node.operands[::-1]
            elif isinstance(node, Literal):
                words.append(f"l{type(node.value).__name__} {node.value!r} {node.computed}")
            elif isinstance(node, Letter):
                words.append(f"n{node.name}")
            elif isinstance(node, Dtype):
                words.append(f"d{node.name}")
            elif isinstance(node, Foreign):
                number = foreign.setdefault(id(node.function), len(foreign))
                words.append(f"e{number} {node.name}")
            else:
                words.append(f"f{node.program.key}")

    def define(variable: Variable) -> None:
        words.extend((str(variable.number), variable.hint, variable.dtype))
        words.append(str(len(variable.shape)))
        for size in variable.shape:
            if isinstance(size, int):
                words.append(f"#{size}")
            else:
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
    spelled = repr(words).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(spelled, digest_size=16).hexdigest()
