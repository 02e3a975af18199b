"""From records to expressions: on a key miss, or when somebody asks for a formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.autodiff import pull_back
from symgrad.core.build import DELTA, add, constant_value, elementwise, ones, zeros
from symgrad.core.equal import united
from symgrad.core.expr import SYMBOL, Expr, symbol
from symgrad.core.traverse import leaves, substitute
from symgrad.ops.structure import select
from symgrad.recording.record import Gradient, Leaf, Part, Record, Update, build
from symgrad.recording.walk import equalities_of

rules = lazy("symgrad.simplify")


class Expansion:
    """Expressions of the nodes of a walk, over given symbols for its ends.

    ``rewritten`` is applied to what is differentiated: the stabilising rules, if nothing else.
    """

    def __init__(
        self,
        order: Sequence[Any],
        ends: Mapping[int, Expr],
        rewritten: Callable[[Sequence[Expr]], list[Expr]] | None = None,
    ) -> None:
        self._rewritten = rewritten or rules.simplify
        self.exprs: dict[int, Any] = dict(ends)
        self.barriers: dict[Expr, Expr] = {}
        self._unrolled: list[Any] = []  # kept, as long as their ids are used
        self._equal = equalities_of(order)
        self._targets = {id(t) for node in order if type(node) is Gradient for t in node.targets}
        for node in order:
            if id(node) not in self.exprs:
                self.exprs[id(node)] = self._expand(node)
            elif id(node) in self._targets and type(node) is Record:
                self.exprs[id(node)] = self._barrier(self.exprs[id(node)])

    def _expand(self, node: Any) -> Any:
        kind = type(node)
        if kind is Leaf:
            inner = self.exprs[id(node.source)] if node.source is not None else node.symbol
            if id(node) in self._targets and not self._is_input(inner):
                return self._barrier(inner)
            return inner
        if kind is Record and node.recalled is not None:
            self._unrolled.append(records := node.recalled.records(node.given))
            for r in records:
                self.exprs[id(r)] = self._expand(r)
            made = self.exprs[id(records[-1])]
            return self._barrier(made) if id(node) in self._targets else made
        if kind is Record:
            statics = united(node.statics, self._equal) if self._equal else node.statics
            made = build(node.function, statics, [self._operand(node, o) for o in node.operands])
            return self._barrier(made) if id(node) in self._targets else made
        if kind is Gradient:
            return self._gradient(node)
        if kind is Update:
            return self._update(node)
        assert kind is Part
        return self.exprs[id(node.operands[0])][node.index]

    def _is_input(self, e: Expr) -> bool:
        return e.op is SYMBOL and e not in self.barriers

    def _operand(self, node: Record, operand: Any) -> Expr:
        """An untracked operand of a tracked record is a constant for derivatives."""
        e = self.exprs[id(operand)]
        if not node.tracked or operand.tracked or not e.dtype.differentiable:
            return e
        if e.op is DELTA or constant_value(e) is not None:
            return e
        if (
            type(operand) is Leaf
            and operand.source is None
            and not any(t is not None for t in self._reads_target(e))
        ):
            return e
        return elementwise("detach", e)

    def _reads_target(self, e: Expr) -> Iterable[Any]:
        return (1 for t in self._targets if self.exprs.get(t) is e)

    def _barrier(self, inner: Expr) -> Expr:
        leaf = symbol(f"b{len(self.barriers)}", inner.shape, inner.dtype, number=-8)
        self.barriers[leaf] = inner
        return leaf

    def _gradient(self, node: Gradient) -> list[Expr]:
        root: Expr = self.exprs[id(node.operands[0])]
        seed: Expr = (
            self.exprs[id(node.operands[-1])] if node.seeded else ones(root.shape, root.dtype)
        )
        wanted = [self.exprs[id(t)] for t in node.targets]
        chain = list(self.barriers)
        every = list(dict.fromkeys([*wanted, *chain]))
        total: dict[Expr, list[Expr]] = {}

        def sweep(output: Expr, adjoint: Expr) -> None:
            (output,) = self._rewritten([output])
            below = set(leaves([output]))
            here = [e for e in every if e in below]
            for e, part in zip(here, pull_back({output: adjoint}, here), strict=True):
                if part is not None:
                    total.setdefault(e, []).append(part)

        if node.partial and root in wanted:  # b · 1, which is written as b
            total[root] = [seed]
        elif node.partial:
            sweep(self.barriers.get(root, root), seed)
        elif root in self.barriers:
            total[root] = [seed]
        else:
            sweep(root, seed)
        for leaf in () if node.partial else reversed(chain):
            if leaf in total:
                sweep(self.barriers[leaf], add(total[leaf]))
        return [add(total[e]) if e in total else zeros(e.shape, e.dtype) for e in wanted]

    def _update(self, node: Update) -> list[Expr]:
        count, hyper, names, captured, bundle = node.statics
        given = [self.exprs[id(o)] for o in node.operands]
        if bundle is not None:
            given[count : count + 1] = [given[count][k] for k in bundle]
        params, gradients = given[:count], given[count : 2 * count]
        states = given[2 * count :]
        options = {**node.row.defaults, **dict(hyper)}
        slots = [node.row.names(p.shape, options) for p in params]
        rest = iter(states)
        states = [{name: next(rest) for name in each} for each in slots]
        numbers = list(rest)
        if not captured:
            numbers = [select(numbers[0], 0, k) for k in range(len(names))]
        scalars = dict(zip(names, numbers, strict=True))
        following: Any = scalars["step"] + 1 if "step" in scalars else 2
        new_params: list[Expr] = []
        new_states: list[Expr] = []
        for p, g, state in zip(params, gradients, states, strict=True):
            if captured:
                made, changed = node.row.update(
                    p, g, state, {**options, "lr": scalars["lr"]}, step=following
                )
            else:
                made, changed = node.row.apply(p, g, state, scalars, options)
            new_params.append(made)
            new_states += [changed[s] for s in state]
        counted = [following] if captured and "step" in scalars else []
        return [*new_params, *new_states, *counted]

    def final(self, exprs: Sequence[Expr]) -> list[Expr]:
        """Expressions without barrier symbols."""
        result = list(exprs)
        for leaf in reversed(list(self.barriers)):
            result = substitute(result, {leaf: self.barriers[leaf]})
        return result
