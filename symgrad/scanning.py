"""A scan as short as can be, and its derivative.

What depends on the inputs alone is computed before the loop, for all steps at once; what no
following state depends on is computed after it, from the states of all steps.  In the loop stays
what one step needs of the last.  The adjoint of a scan is a scan the other way round, whose body is
the derivative of the body; the sums over the steps are products outside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from symgrad.core.build import (
    CONTRACTION,
    SUM,
    add,
    constant_value,
    contract,
    linear,
    permute,
    zeros,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, name_of, symbol
from symgrad.core.sizes import ONE, Monomial, Shape, Size, shape_text
from symgrad.core.traverse import leaves, substitute, topological
from symgrad.errors import ShapeError, SymgradError
from symgrad.ops.outputs import outputs_of, project
from symgrad.ops.scan import Body, delay, operands_of, scan_of
from symgrad.transforms.batching import batched, repeated

Step = Callable[..., tuple[Sequence[Expr], Sequence[Expr]]]
PullBack = Callable[[Mapping[Expr, Expr], Sequence[Expr]], "list[Expr | None]"]


class _Fresh(threading.local):
    """Numbers of the symbols of loops under construction, the same for the same loop every time.

    The order of what is commutative follows the symbols, and so does the printed text.
    """

    depth = 0
    number = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count from the beginning, and on within another loop."""
        self.number *= self.depth > 0
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def following(self) -> int:
        """The next."""
        self.number += 1
        return self.number


_fresh = _Fresh()


@_fresh.counting()
def scan(
    step: Step, states: Mapping[str, Expr], inputs: Mapping[str, Expr], reverse: bool = False
) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """``state, output = step(state, input at t)`` for t = 0, …, T − 1, or the other way round.

    ``step(*states, *inputs)`` gives the following states and the outputs; it may use expressions
    from outside, which all steps share.  ``states``: the first states by name; ``inputs``: at least
    one, with the steps as the first axis.  Returns the last states, the states after all steps, and
    the outputs of all steps, which stand where the inputs of their steps stand.

    Raises ShapeError where a state changes its shape or dtype, or the inputs differ in length.
    """
    first = {_symbol(name, e.shape, e): e for name, e in states.items()}
    given = {_symbol(name, e.shape[1:], e): e for name, e in inputs.items()}
    lengths = {e.shape[0] for e in given.values()}
    if len(lengths) != 1:
        raise ShapeError(
            f"scan: the inputs need one number of steps, not {sorted(map(str, lengths))}"
        )
    following, outputs = step(*first, *given)
    for s, e in zip(first, following, strict=True):
        if s.shape != e.shape or s.dtype is not e.dtype:
            raise ShapeError(
                f"scan: {name_of(s)} is {shape_text(s.shape)} {s.dtype} before a step, but "
                f"{shape_text(e.shape)} {e.dtype} after it"
            )
    loop = _Loop(first, dict(zip(first, following, strict=True)), given, {}, reverse)
    return loop.run(outputs)


def _symbol(name: str, shape: Shape, like: Expr) -> Expr:
    """A symbol that no other expression has."""
    return symbol(name, shape, like.dtype, number=-1000 - _fresh.following())


class _Loop:
    """A scan over symbols of its states, its inputs and what is fixed, each with its value.

    ``inside`` are the nodes that every step computes, ``stacks`` symbols of their values in all
    steps; ``inputs`` and ``fixed`` grow by what they use from outside.
    """

    def __init__(
        self,
        first: Mapping[Expr, Expr],
        following: Mapping[Expr, Expr],
        inputs: Mapping[Expr, Expr],
        fixed: Mapping[Expr, Expr],
        reverse: bool,
    ) -> None:
        self.first, self.following = first, following
        self.inputs, self.fixed = dict(inputs), dict(fixed)
        self.reverse = reverse
        self.size: Size = next(iter(inputs.values())).shape[0]
        self.inside: set[Expr] = set()
        self.stacks: dict[Expr, Expr] = {}
        self.ends: dict[Expr, Expr] = {}
        self._moving: set[Expr] = set(first)
        self._varying: set[Expr] = set(inputs)

    def run(self, outputs: Sequence[Expr]) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """Last states, states after all steps, outputs of all steps."""
        results = list(self.following.values())
        for node in topological([*results, *outputs]):
            for marked in (self._moving, self._varying):
                if any(a in marked for a in node.args):
                    marked.add(node)
        given, shared = dict(self.inputs), dict(self.fixed)
        self._enter(results, given, shared)
        before = {s: _symbol(name_of(s), (self.size, *s.shape), s) for s in self.first}
        after = [self._after(e, before, given, shared) for e in outputs]
        read = set(leaves(after))
        kept = [e for e, stack in self.stacks.items() if stack in read and e not in set(results)]
        n = len(results)
        found = self._made(results, kept) if n or kept else ()
        made = dict(zip((*results, *kept), found[n:], strict=True))
        table = {self.stacks[e]: x for e, x in made.items() if e in self.stacks}
        for s, e in self.following.items():
            table[before[s]] = delay(made[e], self.first[s], -e.ndim - 1, self.reverse)
        return list(found[:n]), [made[e] for e in results], substitute(after, table)

    def _enter(
        self, roots: Sequence[Expr], given: Mapping[Expr, Expr], shared: Mapping[Expr, Expr]
    ) -> None:
        """Let every step compute these; what they need from outside becomes an operand."""
        queue = list(roots)
        while queue:
            node = queue.pop()
            if node in self.inside or node in self.ends or node in self.first:
                continue
            if node not in self._moving and self._outside(node, given, shared):
                continue
            self.inside.add(node)
            if node.op.outputs is None:
                self.stacks[node] = _symbol("stack", (self.size, *node.shape), node)
            queue += node.args

    def _outside(self, node: Expr, given: Mapping[Expr, Expr], shared: Mapping[Expr, Expr]) -> bool:
        """Make a node that no state reaches an operand; False where every step has to compute it."""
        if node.op.outputs is not None:
            return False
        if node in self._varying:
            try:
                ((value, _),) = batched([node], given, shared, self.size)
            except SymgradError:
                return False
            self.ends[node] = _symbol(_name(node), node.shape, node)
            self.inputs[self.ends[node]] = value
            return True
        if constant_value(node) is not None or not (node.args or node.op is SYMBOL):
            return False
        self.ends[node] = _symbol(_name(node), node.shape, node)
        self.fixed[self.ends[node]] = substitute([node], shared)[0]
        return True

    def _after(
        self,
        output: Expr,
        before: Mapping[Expr, Expr],
        given: Mapping[Expr, Expr],
        shared: Mapping[Expr, Expr],
    ) -> Expr:
        """An output of all steps from what the loop leaves; what cannot be batched enters it."""
        known = self._of_product(output)
        if known is not None:
            return known
        for _ in range(2):
            try:
                (part,) = batched([output], {**given, **before, **self.stacks}, shared, self.size)
            except SymgradError:
                self._enter([output], given, shared)
            else:
                return repeated(part, self.size)
        raise AssertionError("a stack needs no rule")

    def _of_product(self, e: Expr) -> Expr | None:
        """A sum over a product that every step computes, as the sum over its stack."""
        if e.op is not CONTRACTION or not e.sums:
            return None
        every = {x for row in e.params[0] for x in row if x >= 0}
        row = next((r for r in e.params[0] if set(r) == every and len(r) == len(every)), None)
        if row is None:
            return None
        stack = self.stacks.get(contract(e.args, e.params[0], row, dtype=e.dtype))
        if stack is None:
            return None
        full = (self.size, *e.shape)
        labels = [0, *(x + 1 for x in row)]
        return contract([stack], [labels], range(len(full)), dict(enumerate(full)), e.dtype)

    def _made(self, results: Sequence[Expr], kept: Sequence[Expr]) -> tuple[Expr, ...]:
        """The node: its symbols are numbered, so that equal loops are one."""
        over = substitute([*results, *kept], self.ends)
        read = set(leaves(over))
        inputs = [s for s in self.inputs if s in read] or list(self.inputs)[:1]
        fixed = [s for s in self.fixed if s in read]
        old = [*self.first, *inputs, *fixed]
        new = [symbol(name_of(s), s.shape, s.dtype, number=-k) for k, s in enumerate(old, 1)]
        over = substitute(over, dict(zip(old, new, strict=True)))
        a, b, n = len(self.first), len(self.first) + len(inputs), len(results)
        body = Body(
            tuple(new[:a]), tuple(new[a:b]), tuple(new[b:]), tuple(over[:n]), tuple(over[n:])
        )
        return scan_of(
            body,
            list(self.first.values()),
            [self.inputs[s] for s in inputs],
            [self.fixed[s] for s in fixed],
            self.reverse,
        )


def _name(node: Expr) -> str:
    return name_of(node) if node.op is SYMBOL else "x"


@_fresh.counting()
def adjoint(
    node: Expr, adjoints: Sequence[Expr | None], pull_back: PullBack
) -> tuple[Expr | None, ...]:
    """What the operands of a scan receive; ``pull_back`` differentiates its body, once.

    With the adjoints s̄ₜ of the states, x̄ₜ and s̄ₜ₋₁ are those of one step; an operand that all steps
    share receives the sum over them.
    """
    body, reverse = node.params
    n = len(body.states)
    states, inputs, fixed = operands_of(node)
    rows = zip(adjoints, outputs_of(node), strict=True)
    front = next((a.shape[: a.ndim - len(shape)] for a, (shape, _) in rows if a is not None), ())
    bars = {
        s: _symbol(f"{name_of(s)}\u0304", (*front, *s.shape), s)
        for s in body.states
        if s.dtype.differentiable
    }
    seeds: dict[Expr, list[Expr]] = {}
    given: dict[Expr, Expr] = {}
    for s, e in zip(body.states, body.following, strict=True):
        if s in bars:
            seeds.setdefault(e, []).append(bars[s])
    for e, a in zip(body.results, adjoints[n:], strict=True):
        if a is not None:
            incoming = _symbol("g", (*front, *e.shape), e)
            given[incoming] = _turned(a, len(front), 0)
            seeds.setdefault(e, []).append(incoming)
    wanted = [s for s in body.symbols if s.dtype.differentiable]
    pulled = pull_back({e: add(g) for e, g in seeds.items()}, wanted)
    known: dict[Expr, Expr] = {}
    for k, e in enumerate(body.results):
        if e.args and e not in known:
            known[e] = _symbol("y", e.shape, e)
            given[known[e]] = project(node, n + k)
    found = {s: e and substitute([e], known)[0] for s, e in zip(wanted, pulled, strict=True)}
    for k, s in enumerate(body.states):
        given[s] = delay(project(node, n + k), states[k], -s.ndim - 1, reverse)
    given.update(zip(body.inputs, inputs, strict=True))
    places = {s: k for k, s in enumerate(body.states)}
    first: dict[Expr, Expr] = {}
    following: dict[Expr, Expr] = {}
    for s, bar in bars.items():
        first[bar] = adjoints[places[s]] or zeros(bar.shape, bar.dtype)
        following[bar] = found[s] or zeros(bar.shape, bar.dtype)
    shared = dict(zip(body.fixed, fixed, strict=True))
    loop = _Loop(first, following, given, shared, not reverse)
    asked = [s for s in (*body.inputs, *body.fixed) if found.get(s) is not None]
    last, _, outputs = loop.run([e for s in asked if (e := found[s]) is not None])
    made = dict(zip(bars, last, strict=True))
    for s, e in zip(asked, outputs, strict=True):
        made[s] = _turned(e, 0, len(front)) if s in body.inputs else _summed(e)
    return tuple(made.get(s) for s in body.symbols)


def _turned(e: Expr, old: int, new: int) -> Expr:
    """The axis ``old`` put at ``new``."""
    order = [k for k in range(e.ndim) if k != old]
    return permute(e, [*order[:new], old, *order[new:]])


def _summed(e: Expr) -> Expr:
    """Σ over the first axis, in one product with what it multiplies."""
    rank = e.ndim
    terms: list[tuple[Monomial, Expr, Labels]] = []
    queue: list[tuple[Monomial, Expr, Labels]] = [(ONE, e, tuple(range(rank)))]
    while queue:
        c, x, labels = queue.pop()
        if x.op is SUM:
            queue += [
                (c * k, a, tuple(labels[j] if j >= 0 else -1 for j in row))
                for a, (k, row) in zip(x.args, x.params[0], strict=True)
            ]
            continue
        factors, inner = ([x], [range(x.ndim)])
        if x.op is CONTRACTION:
            factors, inner = list(x.args), x.params[0]
        table = dict(enumerate(labels))
        rows = [[table.get(j, rank + j) if j >= 0 else -1 for j in row] for row in inner]
        if not any(0 in row for row in rows):
            c = c * e.shape[0]
        out = range(1, rank)
        sizes = {j: e.shape[j] for j in out}
        terms.append((c, contract(factors, rows, out, sizes, e.dtype), tuple(range(rank - 1))))
    return linear(terms, e.shape[1:], e.dtype)


__all__ = ["adjoint", "scan"]
