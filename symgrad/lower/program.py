"""Expressions to a program: one instruction per named line, shared value or large expression.

Lowering owns layout and order.  A contraction becomes ``@``, a sum of products, indexing or, last,
``einsum``; a factor with a negative power becomes a division; integer data is indexed, not expanded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad_codegen.program import (
    Apply,
    Foreign,
    Literal,
    Operand,
    Program,
    Template,
    Variable,
    walk,
)

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    SUM,
    constant_value,
    inlined,
    relabelling,
)
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.sizes import letters_of
from symgrad.core.traverse import many_nodes, topological, users
from symgrad.errors import LoweringError, UnboundError
from symgrad.lower.align import (
    FRONT,
    aligned,
    in_shape,
    plain,
    readable_template,
    size_operands,
    spans,
    typed,
    with_shape,
)
from symgrad.lower.convolved import written_convolution
from symgrad.lower.hints import hint
from symgrad.lower.loops import lower_scan
from symgrad.lower.orders import Orders
from symgrad.lower.products import is_reciprocal, lower_contraction
from symgrad.lower.squares import number_and_tensor, squared_entries
from symgrad.lower.state import Line, Lowering
from symgrad.lower.terms import lower_sum
from symgrad.lower.written import (
    written_power,
    written_product,
    written_reshape,
    written_result,
    written_sum,
)
from symgrad.ops.outputs import PROJECT
from symgrad.ops.scan import SCAN

EXPRESSION_LIMIT = 7
"""Operations in one source line; a larger expression is cut at its arguments."""


TEXT_LIMIT = 60
"""Characters of an operation that has a line of its own."""


def lower(
    name: str,
    inputs: Sequence[Expr],
    outputs: Sequence[tuple[str, Expr]],
    lines: Sequence[Line] = (),
    names: Mapping[Expr, str] | None = None,
    summary: str = "",
    facts: Sequence[str] = (),
) -> Program:
    """A program computing ``outputs`` (name, expression) from ``inputs`` (symbols, in call order).

    ``lines`` are definitions in order whose symbols later expressions use; ``names`` suggests names
    for other nodes.  Raises UnboundError for a symbol that is neither input nor line.
    """
    roots = [line.expr for line in lines] + [e for _, e in outputs]
    order = topological(roots)
    if any(node.op.body is not None for node in order):
        bodies = inlined(order)
        lines = [Line(x.symbol, bodies[x.expr], x.note) for x in lines]
        outputs = [(word, bodies[e]) for word, e in outputs]
        names = {bodies.get(e, e): word for e, word in (names or {}).items()}
        order = topological([bodies[r] for r in roots])
    with many_nodes(len(order)):
        return _lowered(name, inputs, outputs, lines, names or {}, (summary, tuple(facts)), order)


def _lowered(
    name: str,
    inputs: Sequence[Expr],
    outputs: Sequence[tuple[str, Expr]],
    lines: Sequence[Line],
    names: Mapping[Expr, str],
    words: tuple[str, tuple[str, ...]],
    order: Sequence[Expr],
) -> Program:
    state = Lowering()
    parameters: list[Variable] = []
    for leaf in inputs:
        parameters.append(state.variable(names.get(leaf) or name_of(leaf), leaf))
        state.values[leaf] = parameters[-1]
    defined = {line.symbol for line in lines}
    roots = [line.expr for line in lines] + [e for _, e in outputs]
    state.uses = users(order)
    for root in roots:
        state.uses[root] = state.uses.get(root, 0) + 1
    for node in order:
        if node.op is SYMBOL and node not in state.values and node not in defined:
            known = ", ".join(name_of(i) for i in inputs)
            raise UnboundError(
                f"{name_of(node)} is used but is not an input of {name!r} (inputs: {known}). "
                "Pass it, or bind it to a value."
            )
    done: set[Expr] = set(state.values)
    for line in lines:
        _lower_nodes(state, line.expr, done, names)
        value = state.values.get(line.expr)
        if value is None:
            value = state.value(line.expr)
        if isinstance(value, Variable) and line.expr.op is not SYMBOL and line.note:
            state.values[line.symbol] = value
        else:
            target = state.emit(
                line.symbol, typed(value, line.expr), name_of(line.symbol), line.note
            )
            if line.expr.op is not SYMBOL and not isinstance(value, Variable):
                state.values[line.expr] = target
        done.add(line.symbol)
    results: list[Variable] = []
    taken: set[int] = set()
    for word, e in outputs:
        _lower_nodes(state, e, done, names)
        value = state.value(e)
        if not isinstance(value, Variable) or value.number in taken or value in parameters:
            value = state.emit(e, typed(value, e), word)
        taken.add(value.number)
        results.append(value)
    return Program(
        name,
        tuple(parameters),
        tuple(state.instructions),
        tuple(results),
        summary=words[0],
        facts=words[1],
    )


def _lower_nodes(state: Lowering, root: Expr, done: set[Expr], names: Mapping[Expr, str]) -> None:
    for node in topological([root], done.__contains__) if root not in done else ():
        if node in done:
            continue
        done.add(node)
        value = lower_node(state, node)
        if value is None:
            continue
        state.values[node] = value
        if node is root or isinstance(value, Variable):
            continue
        word = names.get(node)
        shared = state.uses.get(node, 0) > 1 and not _trivial(node)
        if word or shared or _is_long(value):
            state.emit(node, typed(value, node), word or hint(state, node))


def _trivial(node: Expr) -> bool:
    """Cheap enough to write again: constants, transposes, ``1 / s`` of a number s."""
    if constant_value(node) is not None or is_reciprocal(node):
        return True
    return relabelling(node) is not None and node.args[0].op is SYMBOL


def _is_long(value: Operand) -> bool:
    """Does it fill a line: many operations, or a last one of many words?"""
    if isinstance(value, Apply) and len(value.template.forms[0][1]) > TEXT_LIMIT:
        return True
    return sum(isinstance(part, Apply) for part in walk(value)) > EXPRESSION_LIMIT


WRITTEN = {
    "contraction": written_product,
    "sum_of_terms": written_sum,
    "power": written_power,
    "project": written_result,
    "reshape": written_reshape,
    "convolution": written_convolution,
}
"""Nodes that a formula to read writes in its own way."""


def lower_node(state: Lowering, node: Expr) -> Operand | None:
    """The operand of one node over the operands of its arguments; None for a virtual node."""
    op = node.op
    if op is SYMBOL:
        raise UnboundError(f"{name_of(node)} is not defined here")
    if op is PROJECT and node in state.values:
        return state.values[node]
    if op is SCAN:
        return lower_scan(state, node, lower)
    if state.readable:
        written = WRITTEN.get(op.name)
        if written is not None:
            return written(state, node)
    if op is CONTRACTION:
        return lower_contraction(state, node)
    if op is SUM:
        return lower_sum(state, node)
    if op is DELTA:
        size = size_operands(node.shape[:1])
        text = f"eye({{0}}, dtype=%s.{node.dtype.name})"
        forms = (("jax", "jnp." + text % "jnp"), ("numpy", "np." + text % "np"))
        return Apply(Template(forms), tuple(size))
    if op.name == "onehot":
        return None
    if op.family == "map":
        return _lower_map(state, node)
    if op.function is not None:
        operands = [typed(state.value(a), a) for a in node.args]
        return Apply(op.template, (Foreign(*op.function), *operands))
    return state.dense(node)


def _lower_map(state: Lowering, node: Expr) -> Operand:
    labels, shape, _ = node.params
    rank = len(shape)
    template = node.op.template
    if template is None:
        raise LoweringError(f"{node.op.name} has no source template in its row")
    if not isinstance(template, Template):
        template = template(node)
    if state.readable:
        template = readable_template(node, template)
    image = state.readable and shape[:2] == (1, 1)
    if len(node.args) == 1:
        operand = state.array(node.args[0])
        if image and isinstance(operand, Apply) and operand.template == FRONT:
            return Apply(FRONT, (Apply(template, operand.operands),))
        if isinstance(operand, Apply) and not state.readable and template.repeats(0):
            operand = state.emit(
                node.args[0], typed(operand, node.args[0]), hint(state, node.args[0])
            )
        return Apply(template, (operand,))
    operands: list[Operand] = []
    carried: set[int] = set()
    full = False
    for a, ls in zip(node.args, labels, strict=True):
        value, row = _scalar(state, a), ls
        if image:
            value, row = plain(value, a.shape, ls)
        operands.append(aligned(value, a.shape, row, rank))
        carried.update(x for x in ls if x >= 0)
        full = full or spans(row, rank)
    chosen = operands[1:] if node.op.name == "where" else operands
    if all(isinstance(v, Literal) for v in chosen):
        where = len(operands) - len(chosen)
        operands[where] = with_shape(operands[where], node, scalar=True)
    value: Operand = Apply(template, tuple(operands))
    if any(s != 1 and k not in carried for k, s in enumerate(shape)) or (rank and not full):
        return in_shape(value, sorted(carried), node) if image else with_shape(value, node)
    return value


def _scalar(state: Lowering, node: Expr) -> Operand:
    """A 0-d constant as a number, anything else as its operand."""
    number = constant_value(node)
    if number is not None and not node.shape and not number.powers:
        return _literal(number.number, node)
    return state.value(node)


def _literal(number: Any, node: Expr) -> Literal:
    if node.dtype.kind in "iu":
        return Literal(int(number))
    if node.dtype.kind == "b":
        return Literal(bool(number))
    as_float = float(number)
    return Literal(int(as_float) if as_float.is_integer() and abs(as_float) < 1e6 else as_float)


def expression(e: Expr, values: Mapping[Expr, Operand]) -> Operand:
    """One expression as a tree of templates for reading: no cuts, functions by their plain names."""
    return reading(e, values)[0]


def reading(
    e: Expr, values: Mapping[Expr, Operand], orders: Orders | None = None
) -> tuple[Operand, Lowering]:
    """The same, with the state that knows the work it takes; ``orders`` chooses among equal ones."""
    state = Lowering(values=dict(values), readable=True, orders=orders or Orders())
    root = inlined([e])[e]
    order = topological([root], state.values.__contains__)
    state.uses = users(order)
    state.rooted = {e.args[0] for e in order if e.op.name == "power" and e.params[2][0] % 1 == 0.5}
    state.squared = {x for node in order for x in squared_entries(node)}
    state.scaled = {pair: node for node in order for pair in number_and_tensor(node)}
    sized = state.orders.sized
    for node in order:
        if node not in state.values:
            value = lower_node(state, node)
            if value is not None:
                state.values[node] = value
        if isinstance(value := state.values.get(node), Variable):
            sized[id(value)] = value, tuple([state.orders.extents(s) for s in node.shape])
    return state.value(root), state


def free_letters(exprs: Sequence[Expr]) -> list[str]:
    """Size letters of shapes, in order of appearance."""
    found: list[str] = []
    for e in exprs:
        found += [x for x in letters_of(e.shape) if x not in found]
    return found
