"""A program as the Python module somebody would have written by hand.

The text stands alone: it imports what it uses, reads its sizes from the shapes of its arguments,
and says in its docstring what goes in and what comes out. A further target language is a row of
`TARGETS` and a form in each template.
"""

import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from symgrad_codegen.comment import quotable, shortened, with_note
from symgrad_codegen.depth import shallow
from symgrad_codegen.expression import Named, Target, render, roots_of
from symgrad_codegen.helpers import HELPERS
from symgrad_codegen.layout import WIDTH, wrap
from symgrad_codegen.naming import Names
from symgrad_codegen.program import (
    Foreign,
    Letter,
    Operand,
    Program,
    ProgramError,
    Size,
    Variable,
    walk,
)

_IMPORTS = (
    ("functools", "import functools"),
    ("math", "import math"),
    ("jax", "import jax"),
    ("jnp", "import jax.numpy as jnp"),
    ("ml_dtypes", "import ml_dtypes"),
    ("np", "import numpy as np"),
    ("optax", "import optax"),
    ("lax", "from jax import lax"),
    ("scipy", "import scipy"),
    ("special", "from scipy import special"),
)

TARGETS = {
    "jax": Target(
        "jax",
        "JAX",
        "jnp",
        _IMPORTS,
        (("bool", "jnp.bool_"),),
        "jax.enable_x64(True)",
        HELPERS["jax"],
    ),
    "numpy": Target(
        "numpy",
        "NumPy",
        "np",
        _IMPORTS,
        (("bool", "np.bool_"), ("bfloat16", "ml_dtypes.bfloat16")),
        helpers=HELPERS["numpy"],
    ),
}
"""The languages that source can be written in."""

_STANDARD = ("import functools", "import math")
_WIDE = re.compile(r"(float|u?int)64|complex128")
_STEP = "    "


def is_wide(program: Program) -> bool:
    """Whether any value of the program has a 64-bit dtype (JAX has these only when told so)."""
    forms: set[str] = set()
    for part in (*program.inner, program):
        forms.update([v.dtype for v in (*part.inputs, *part.outputs)])
        forms.update([v.dtype for line in part.instructions for v in line.targets])
        forms |= part.uses.dtypes
        for template in part.uses.templates.values():
            forms.update([text for name, text in template.forms if name == "jax"])
    return any(_WIDE.search(text) for text in forms)


def function_name(program: Program) -> str:
    """The name of the program's function in its source."""
    names, _ = _foreign_names(program)
    return names.new(program.name)


def foreign_functions(program: Program) -> dict[str, Callable[..., Any]]:
    """Identifier in the source → the function from elsewhere that it stands for."""
    _, named = _foreign_names(program)
    return {named[id(f.function)]: f.function for f in program.foreign}


def _foreign_names(program: Program) -> tuple[Names, dict[int, str]]:
    """A table of names that begins with those of the functions from elsewhere, by their ids."""
    names = Names()
    return names, {id(f.function): names.new(f.name) for f in program.foreign}


def source(program: Program, target: str = "jax") -> str:
    """The program as a module with one public function, whose name is `function_name(program)`.

    **Arguments:** `target` is a key of `TARGETS`.

    **Raises:** `ProgramError` where a template has no form for the target, or the program uses
    a variable before its definition or a letter that is no axis of an input.
    """
    row = TARGETS.get(target)
    if row is None:
        raise ProgramError(f"no target {target!r}: there are {', '.join(TARGETS)}")
    program.validate()
    return _Writer(program, row).module()


class _Writer:
    """Writes one program; holds the names and the modules used so far."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program = program
        self.target = target
        self.roots: set[str] = set()
        self.inner = program.inner
        names, self.foreign = _foreign_names(program)
        self.name = names.new(program.name)
        # Letters come first, so that sizes keep their names.
        parts = (program, *self.inner)
        self.letters = {letter: names.new(letter.name) for letter in _letters(parts)}
        self.functions = {id(part): names.new(part.name) for part in self.inner}
        self.taken = names.taken

    def module(self) -> str:
        """The whole text."""
        program, target = self.program, self.target
        wide = target.wide_context if is_wide(program) else ""
        names = self.variables(program)
        indent = _STEP * 2 if wide else _STEP
        bound: set[Letter] = set()
        body = self.read_sizes(program, names, indent, bound, (program, *self.inner))
        body += [""] if self.inner else []
        for part in self.inner:
            body += self.function(part, indent, bound)
        body += self.lines(program, names, indent)
        if wide:
            body[:0] = with_note([f"{_STEP}with {wide}:"], self.why_wide(names), _STEP)
            self.roots.add(wide.partition(".")[0])
        unbound = next((x for x in self.used(program, *self.inner) if x not in bound), None)
        if unbound is not None:
            raise ProgramError(
                f"program {program.name!r} uses the size {unbound.name!r}, but no input has an "
                f"axis of exactly that size to read it from; make it an input"
            )
        arguments = ", ".join(names[v.number] for v in program.inputs)
        helpers = [text for name, text in target.helpers if name in self.roots]
        for text in helpers:
            self.roots |= roots_of(text)
        imports = self.imports()
        lines = [
            f'"""{_title(program, self.name)}"""',
            *([""] if imports else []),
            *imports,
            *(line for text in helpers for line in f"\n{text}".splitlines()),
            "",
            "",
        ]
        lines += wrap(f"def {self.name}({arguments}):", "")
        lines += [*self.docstring(names), *body]
        return "\n".join(lines) + "\n"

    def why_wide(self, names: dict[int, str]) -> str:
        """The first value of 64 bits, among inputs where there is one."""
        program = self.program
        made = (v for line in program.instructions for v in line.targets)
        wide = next((v for v in (*program.inputs, *made) if _WIDE.fullmatch(v.dtype)), None)
        return "" if wide is None else f"{names[wide.number]} is {wide.dtype}"

    def function(self, part: Program, indent: str, bound: set[Letter]) -> list[str]:
        """A local function for a program that is used as a value."""
        names = self.variables(part)
        arguments = ", ".join(names[v.number] for v in part.inputs)
        own: set[Letter] = set(bound)
        deeper = indent + _STEP
        sizes = self.read_sizes(part, names, deeper, own, (part,))
        missing = [letter for letter in self.used(part) if letter not in own]
        if missing:
            raise ProgramError(
                f"function {part.name!r} of program {self.program.name!r} uses the size "
                f"{missing[0].name!r}, which no input has as an axis"
            )
        head = wrap(f"def {self.functions[id(part)]}({arguments}):", indent)
        blank = [""]
        return [*head, *sizes, *self.lines(part, names, deeper), *blank]

    def variables(self, part: Program) -> dict[int, str]:
        """A name for every variable of one function."""
        scope = Names(self.taken)
        names = {v.number: scope.new(v.hint) for v in part.inputs}
        read = {v.number for v in part.outputs} | part.uses.variables
        for instruction in part.instructions:
            several = len(instruction.targets) > 1
            for v in instruction.targets:
                names[v.number] = scope.new(v.hint) if v.number in read or not several else "_"
        return names

    def lines(self, part: Program, names: dict[int, str], indent: str) -> list[str]:
        """The instructions and the return."""
        written: list[str] = []
        scope = Names(self.taken.union(names.values()))

        def fresh() -> Variable:
            number = -1 - len(names)
            names[number] = scope.new("part")
            return Variable(number, "part", (), "")

        short = (x for line in part.instructions for x in shallow(line, fresh))
        for instruction in short:
            targets = ", ".join(names[v.number] for v in instruction.targets)
            value = self.expression(instruction.value, names)
            line = wrap(f"{targets} = {value}", indent)
            if len(instruction.targets) > 1 and len(line[0]) > WIDTH:
                line = wrap(f"({targets})", indent, f" = {value}")
            written += with_note(line, instruction.note, indent)
        results = ", ".join(names[v.number] for v in part.outputs)
        if not part.outputs:
            results = "()"
        elif len(indent) + len("return ") + len(results) > WIDTH:
            results = f"({results})"
        return [*written, *wrap(f"return {results}", indent)]

    def expression(self, operand: Operand, names: dict[int, str]) -> str:
        def name(node: Named) -> str:
            if isinstance(node, Variable):
                return names[node.number]
            if isinstance(node, Foreign):
                return self.foreign[id(node.function)]
            return (
                self.letters[node] if isinstance(node, Letter) else self.functions[id(node.program)]
            )

        return render(operand, self.target, name, self.roots)

    def used(self, *parts: Program) -> dict[Letter, None]:
        """The letters that instructions use, in order."""
        return dict.fromkeys(letter for part in parts for letter in part.uses.letters)

    def read_sizes(
        self,
        part: Program,
        names: dict[int, str],
        indent: str,
        bound: set[Letter],
        users: tuple[Program, ...],
    ) -> list[str]:
        """`n, d = X.shape` for the letters in use that are not bound yet."""
        wanted = set(self.used(*users)) - bound
        lines: list[str] = []
        for v in part.inputs:
            new = [x if isinstance(x, Letter) and x in wanted else None for x in v.shape]
            # A letter that occurs twice in one shape is read at its first axis.
            new = [
                x if x is not None and new.index(x) == axis else None for axis, x in enumerate(new)
            ]
            found = [x for x in new if x is not None]
            if not found:
                continue
            name = names[v.number]
            if len(found) == 1:
                lines.append(
                    f"{indent}{self.letters[found[0]]} = {name}.shape[{new.index(found[0])}]"
                )
            else:
                axes = ", ".join("_" if x is None else self.letters[x] for x in new)
                lines.append(f"{indent}{axes} = {name}.shape")
            wanted -= set(found)
            bound |= set(found)
        return lines

    def imports(self) -> list[str]:
        """Only what the body uses, in the order a formatter wants."""
        used = {line: None for root, line in self.target.imports if root in self.roots}
        for module in self.program.modules:
            used[f"import {module}"] = None
        standard = [line for line in used if line in _STANDARD]
        others = [line for line in used if line not in _STANDARD]
        plain = sorted(line for line in others if line.startswith("import "))
        named = [line for line in others if not line.startswith("import ")]
        blank = [""] if standard and others else []
        return [*standard, *blank, *plain, *named]

    def docstring(self, names: dict[int, str]) -> list[str]:
        """What goes in, what comes out, and the facts."""
        program = self.program
        lines = [f'{_STEP}"""{_title(program, self.name)}']
        for title, group in (("Arguments", program.inputs), ("Returns", program.outputs)):
            lines += ["", f"{_STEP}{title}:"] if group else []
            for v in group:
                text = f"{names[v.number]}: {quotable(f'{v.dtype} {self.shape(v.shape)}')}"
                lines.append(f"{_STEP}{_STEP}{text}")
        if self.foreign:
            lines += ["", f"{_STEP}Functions from elsewhere: {', '.join(self.foreign.values())}"]
        if program.facts:
            lines.append("")
            for fact in program.facts:
                lines += textwrap.wrap(
                    quotable(fact),
                    WIDTH,
                    initial_indent=_STEP,
                    subsequent_indent=_STEP,
                    break_on_hyphens=False,
                )
        return [*lines, f'{_STEP}"""']

    def shape(self, shape: tuple[Size, ...]) -> str:
        """A shape as text, with the letters' names."""
        used = set(self.roots)
        sizes = [str(x) if isinstance(x, int) else self.expression(x, {}) for x in shape]
        self.roots = used  # a docstring needs no imports
        return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def _letters(parts: Iterable[Program]) -> dict[Letter, None]:
    """Every letter of the programs, in order of appearance."""
    found: dict[Letter, None] = {}
    for part in parts:
        for size in (size for v in (*part.inputs, *part.outputs) for size in v.shape):
            if not isinstance(size, int):
                found.update((n, None) for n in walk(size) if isinstance(n, Letter))
        found |= part.uses.letters
    return found


def _title(program: Program, name: str) -> str:
    """The first line of the docstring."""
    return shortened(quotable(program.summary) or f"The function {name}.", WIDTH - 10)
