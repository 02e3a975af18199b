"""Expressions nested deeper than Python's parser allows, cut into several instructions.

Python refuses about 100 nested brackets and crashes on sums of some thousand terms, so an
expression that grew too tall is given names for its lower storeys.
"""

from collections.abc import Callable

from symgrad_codegen.program import Apply, Instruction, Operand, Variable

TALLEST = 40
"""How many templates may be nested in one line."""


def shallow(instruction: Instruction, fresh: Callable[[], Variable]) -> list[Instruction]:
    """The instruction, after those that compute the parts which `fresh` variables now hold."""
    value = instruction.value
    if not isinstance(value, Apply) or _height_within(value, TALLEST):
        return [instruction]
    before: list[Instruction] = []
    done: list[tuple[Operand, int]] = []
    stack: list[Operand | None] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, Apply):
            stack += (node, None)  # after its operands
            stack += node.operands[::-1]
            continue
        if node is not None:
            done.append((node, 0))
            continue
        node = stack.pop()
        assert isinstance(node, Apply)
        start = len(done) - len(node.operands)
        operands = tuple([operand for operand, _ in done[start:]])
        height = 1 + max([height for _, height in done[start:]], default=0)
        del done[start:]
        same = all(a is b for a, b in zip(operands, node.operands, strict=True))
        built = node if same else Apply(node.template, operands)
        if height >= TALLEST and stack:
            part = fresh()
            before.append(Instruction((part,), built))
            done.append((part, 0))
        else:
            done.append((built, height))
    return [*before, Instruction(instruction.targets, done[0][0], instruction.note)]


def _height_within(value: Apply, most: int) -> bool:
    """Whether no path through the expression has more than `most` templates."""
    level: list[Apply] = [value]
    for _ in range(most):
        level = [x for node in level for x in node.operands if isinstance(x, Apply)]
        if not level:
            return True
    return False
