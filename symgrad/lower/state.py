"""The state of one lowering: what each node became, and the instructions so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from symgrad_codegen.program import Apply, Instruction, Operand, Template, Variable, walk

from symgrad.core.expr import Expr
from symgrad.errors import LoweringError
from symgrad.lower.align import program_shape, readable_template, size_operands, typed
from symgrad.lower.orders import Orders


@dataclass(slots=True, unsafe_hash=True)
class Line:
    """A definition: ``symbol = expr``; the symbol's name and ``note`` show in the source."""

    symbol: Expr
    expr: Expr
    note: str = ""


@dataclass(slots=True)
class Lowering:
    """The state of one lowering: what each node became, and the instructions so far."""

    values: dict[Expr, Operand] = field(default_factory=dict)
    uses: dict[Expr, int] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    count: int = 0
    readable: bool = False
    orders: Orders = field(default_factory=Orders)
    rooted: set[Expr] = field(default_factory=set)  # of which a root is written too
    scaled: dict[tuple[Expr, Expr], Expr] = field(default_factory=dict)  # a x of a number a and x
    squared: set[Expr] = field(default_factory=set)  # of which the square is written too

    def variable(self, hint: str, node: Expr) -> Variable:
        """A new variable with the type of ``node``."""
        if node.op.outputs is not None:
            return self.together(hint)
        self.count += 1
        return Variable(self.count, hint, program_shape(node.shape), node.dtype.name)

    def together(self, hint: str) -> Variable:
        """A new variable for several values as one tuple."""
        self.count += 1
        return Variable(self.count, hint, (), "tuple")

    def emit(self, node: Expr, value: Operand, hint: str = "t", note: str = "") -> Variable:
        """Assign ``value`` to a new variable; it now stands for ``node``."""
        target = self.variable(hint, node)
        self.instructions.append(Instruction((target,), value, note))
        self.values[node] = target
        return target

    def value(self, node: Expr) -> Operand:
        """The operand of a node; a virtual one (one-hot) is made dense here."""
        found = self.values.get(node)
        if found is None:
            found = self.values[node] = self.dense(node)
        return found

    def array(self, node: Expr) -> Operand:
        """The operand of a node as an array of its dtype and shape, where it is a bare number."""
        return typed(self.value(node), node)

    def age(self, node: Expr) -> int:
        """The number of the oldest variable in the operand of a node: equal lines read equally."""
        value = self.value(node)
        if isinstance(value, Variable):
            return value.number
        return min([x.number for x in walk(value) if isinstance(x, Variable)], default=0)

    def once(self, node: Expr) -> bool:
        """Is the node used once, and not a variable?"""
        return self.uses.get(node, 0) <= 1 and not isinstance(self.values.get(node), Variable)

    def dense(self, node: Expr) -> Operand:
        """A node by its row's template."""
        template = node.op.template
        if template is None:
            raise LoweringError(
                f"{node.op.name} has no source template in its row, so it cannot be compiled"
            )
        if not isinstance(template, Template):
            template = template(node)
        if self.readable:
            template = readable_template(node, template)
        operands = [self.value(a) for a in node.args]
        listed = node.op.size_operands
        if listed is not None:
            operands += size_operands(listed(node))
        made = Apply(template, tuple(operands))
        if self.readable and node.op.outputs is None:
            self.orders.sized[id(made)] = made, tuple(map(self.orders.extents, node.shape))
        return made
