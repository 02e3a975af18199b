"""A scan as a function of one step, and a call that runs it over all steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from symgrad_codegen.program import (
    POSTFIX,
    TUPLE,
    Apply,
    Function,
    Instruction,
    Operand,
    Program,
    Template,
    Variable,
)

from symgrad.core.expr import Expr, name_of
from symgrad.lower.state import Line, Lowering
from symgrad.ops.outputs import projections
from symgrad.ops.scan import Body, operands_of

SHARED = Template((("jax", "functools.partial({*})"), ("numpy", "functools.partial({*})")), POSTFIX)
SCANS = {
    reverse: Template(
        (
            ("jax", f"jax.lax.scan({{0}}, {{1}}, {{2}}{words})"),
            ("numpy", f"scan({{0}}, {{1}}, {{2}}{words})"),
        ),
        POSTFIX,
    )
    for reverse, words in ((False, ""), (True, ", reverse=True"))
}
Lower = Callable[
    [str, Sequence[Expr], Sequence[tuple[str, Expr]], Sequence[Line], Mapping[Expr, str]], Program
]


def lower_scan(state: Lowering, node: Expr, lower: Lower) -> None:
    """One line for the last states and the outputs of all steps; ``lower`` writes the step.

    Outputs that nobody uses are left out; a single one of a kind stands without a tuple around it.
    """
    body, reverse = node.params
    count = len(body.following)
    made = projections(node)
    listed = [k for k in range(len(body.results)) if made[count + k] in state.uses]
    states, inputs, fixed = ([state.array(a) for a in row] for row in operands_of(node))
    words = {s: v.hint for s, v in zip(body.inputs, inputs, strict=True)
             if reverse and isinstance(v, Variable)}  # fmt: skip
    step: Operand = Function(_step(body, listed, lower, words))
    if fixed:
        step = Apply(SHARED, (step, *fixed))
    finals = [state.variable(name_of(s), s) for s in body.states]
    stacks = [state.variable(_several(body, k), made[count + k]) for k in listed]
    targets: list[Variable] = []
    unpacked: list[Instruction] = []
    last = any(p in state.uses for p in made[:count])
    for hint, parts, read in (("state", finals, last), ("outputs", stacks, True)):
        targets.append(state.together(hint) if len(parts) != 1 else parts[0])
        if len(parts) > 1 and read:
            unpacked.append(Instruction(tuple(parts), targets[-1]))
    call = Apply(SCANS[reverse], (step, _packed(states), _packed(inputs)))
    state.instructions += [Instruction(tuple(targets), call), *unpacked]
    state.values.update(zip(made, finals, strict=False))
    state.values.update((made[count + k], v) for k, v in zip(listed, stacks, strict=True))


def _several(body: Body, k: int) -> str:
    """The name of a stack: of the states ``hs``."""
    return f"{name_of(body.states[k])}s" if k < len(body.states) else "steps"


def _packed(parts: Sequence[Operand]) -> Operand:
    return parts[0] if len(parts) == 1 else Apply(TUPLE, tuple(parts))


def _step(body: Body, listed: Sequence[int], lower: Lower, words: Mapping[Expr, str]) -> Program:
    """A step as a function of what all steps share, the state, and the inputs of one step.

    ``words``: inputs of a loop backwards have the names of what the loop before it made.
    """
    results = {e: f"{name_of(s)}_next" for s, e in zip(body.states, body.following, strict=True)}
    results.update((body.results[k], "output") for k in listed if body.results[k] not in results)
    outputs = [(word, e) for e, word in results.items()]
    inner = lower("step", body.symbols, outputs, (), words)
    variables = dict(zip(body.symbols, inner.inputs, strict=True))
    number = max(v.number for v in _defined(inner))
    before: list[Instruction] = []
    arguments = [variables[s] for s in body.fixed]
    for hint, row in (("state", body.states), ("inputs", body.inputs)):
        number += 1
        parts = tuple(variables[s] for s in row)
        if len(parts) == 1:
            arguments += parts
            continue
        arguments.append(Variable(number, hint, (), "tuple"))
        if parts:
            before.append(Instruction(parts, arguments[-1]))
    values = dict(zip(results, inner.outputs, strict=True))
    after: list[Instruction] = []
    returned: list[Variable] = []
    for hint, row in (
        ("state", body.following),
        ("outputs", [body.results[k] for k in listed]),
    ):
        parts = tuple(values[e] for e in row)
        if len(parts) == 1:
            returned += parts
            continue
        number += 1
        returned.append(Variable(number, hint, (), "tuple"))
        after.append(Instruction((returned[-1],), Apply(TUPLE, parts)))
    return Program(
        "step", tuple(arguments), (*before, *inner.instructions, *after), tuple(returned)
    )


def _defined(program: Program) -> list[Variable]:
    return [*program.inputs, *(v for line in program.instructions for v in line.targets)]
