"""Index form: every entry written out, Σ over bound indices; what matrix form cannot say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from symgrad.core.build import CONTRACTION, DELTA, SUM, constant_value, contract, relabelling
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.sizes import ONE, Monomial, Size, monomial
from symgrad.derivation.called import called, of_shape
from symgrad.derivation.entries import ENTRIES
from symgrad.derivation.factored import SOLVES, flatten
from symgrad.derivation.form import OUTSIDE
from symgrad.derivation.matrix_form import Recogniser, map_form, sum_form
from symgrad.derivation.notation import Form, Slot, Step, call, product, run, scaled, slots_of
from symgrad.derivation.order import Written, ordered_terms
from symgrad.derivation.powers import powered, powers, under_fraction
from symgrad.derivation.ranges import entry, summed
from symgrad.derivation.shifts import Shifts, equal, gathered, needed, whole
from symgrad.errors import NotationError

ALL = Form("all")


@dataclass(slots=True)
class Indexer:
    """Index forms under given names."""

    named: Callable[[Expr], Form | None]
    written: Written
    recogniser: Recogniser
    scope: list[Slot] = field(default_factory=list)

    def form(self, e: Expr, indices: tuple[Form, ...]) -> Form:
        """``e[indices]``."""
        self.scope = _live(indices)
        return run(self._form(e, indices))

    def _form(self, e: Expr, at: tuple[Form, ...]) -> Step:
        given = self.named(e)
        if given is not None:
            return entry(given, at, e.shape) if at else given
        number = constant_value(e)
        if number is not None:
            return Form("number", (), number)
        if e.op is SUM:
            rows: list[tuple[Monomial, Form]] = []
            for c, a, ls in ordered_terms(e, self.written):
                rows.append((c, (yield self._best(a, tuple(_at(at, x) for x in ls)))))
            return sum_form(gathered(rows, sum_form))
        if e.op.name in SOLVES and e.ndim == 2 and e.shape[1] == 1:
            e, at = contract([e], [[0, -1]], [0], {0: e.shape[0]}, e.dtype), at[:1]
        if e.op is CONTRACTION:
            opens = e.sums or any(a.op.name in SOLVES for a in e.args)
            if at and opens and not any(a.op.name == "onehot" for a in e.args):
                made = self.recogniser.form(e)
                if made is not None and made.kind in ("product", "scale"):
                    return entry(made, at, e.shape)
            return (yield self._contraction(e, at))
        if e.op is DELTA:
            return equal(*at)
        if e.op.family == "map":
            parts: list[Form] = []
            for a, ls in zip(e.args, e.params[0], strict=True):
                parts.append((yield self._form(a, tuple(_at(at, x) for x in ls))))
            made = map_form(e, parts, False)
            if made is not None:
                whole = self.recogniser.form(e) if at and _of_identities(e) else None
                return made if whole is None else entry(whole, at, e.shape)
        if e.op.family == "axis" and len(e.args) == 1:
            return (yield self._axis(e, at))
        if e.op.name == "onehot":
            index = yield self._form(e.args[0], at[:-1])
            return Form("indicator", (Form("compare", (index, at[-1]), "="),))
        rule = ENTRIES.get(e.op.name)
        if rule is not None:
            depth = len(self.scope)
            made = yield rule(self, e, at)
            del self.scope[depth:]
            return made
        return (yield self.outside(e, at, ""))

    def entry(self, e: Expr, at: tuple[Form, ...]) -> Step:
        """``e[at]``."""
        return (yield self._best(e, at))

    def outside(self, e: Expr, at: tuple[Form, ...], mark: str = OUTSIDE) -> Step:
        """``e[at]`` of a name or a call; marked where the indices may leave its range.

        NotationError with the ``parts`` that need a name, where it is neither.
        """
        moved = relabelling(e) if mark else None
        while moved is not None and self.named(e) is None:
            (e,), at = e.args, tuple(_at(at, x) for x in moved)
            moved = relabelling(e)
        made = self.recogniser.form(e)
        unmarked = not mark or (made is not None and made.kind == "name")
        if made is None or not unmarked:
            parts = (e,) if mark else operands(e)
            raise unnamed(e.op.name, *(a for a in parts if mark or self.recogniser.form(a) is None))
        return entry(made, at, e.shape, bool(mark)) if at else made
        yield  # a generator like the others

    def bound(self, sizes: Sequence[Size], at: tuple[Form, ...]) -> list[Slot]:
        """New letters for a Σ over ``sizes``, in scope until the entry is complete."""
        live = _live(at)
        self.scope += [s for s in live if s not in self.scope]
        found: list[Slot] = []
        for size in sizes:
            slot = Slot(size, sum(1 for s in self.scope if s.size == size))
            self.scope.append(slot)
            found.append(slot)
        return found

    def _best(self, e: Expr, at: tuple[Form, ...]) -> Step:
        """Scalars choose matrix form where they have one."""
        if not at and self.named(e) is None:
            made = self.recogniser.form(e)
            if made is not None:
                return made
        return (yield self._form(e, at))

    def _axis(self, e: Expr, at: tuple[Form, ...]) -> Step:
        axis = len(e.args[0].shape) + e.params[0]
        argument = e.args[0]
        number = constant_value(argument)
        inner: Form | None = self.named(argument)
        if inner is None:
            inner = self.recogniser.form(argument)
        if inner is None and number is not None:
            inner = Form("number", (), number)
        if inner is None and e.op.name in OF_EXPONENTIALS:
            return (yield self._of_exponentials(e, axis, at))
        if e.op.name in ENTRIES:
            return (yield ENTRIES[e.op.name](self, e, at))
        if inner is None:
            raise unnamed(e.op.name, argument)
        inner = of_shape(inner, argument.shape)
        if "reduces" in e.op.traits:
            row = (*at[:axis], ALL, *at[axis:])
            return call(
                e.op.text, inner if argument.ndim == 1 else entry(inner, row, argument.shape)
            )
        return entry(called(e, [inner]), at, e.shape)
        yield  # a generator like the others

    def _of_exponentials(self, e: Expr, axis: int, at: tuple[Form, ...]) -> Step:
        """exp(z[i]) / Σ[k] exp(z[k]), or log Σ[k] exp(z[k]): z has no form but by its entries."""
        z = e.args[0]
        depth = len(self.scope)
        here = None if e.op.name == "logsumexp" else call("exp", (yield self._best(z, at)))
        (slot,) = self.bound([z.shape[axis]], at)
        rest = at[axis + (here is not None) :]
        each = yield self._best(z, (*at[:axis], Form("slot", (), slot), *rest))
        total = call("exp", each)
        if slot in slots_of([each]):
            total = summed(total, (slot,))
        else:  # as many times the same
            total = scaled(monomial(slot.size), total)
        del self.scope[depth:]
        return call("log", total) if here is None else Form("quotient", (here, total))

    def _contraction(self, e: Expr, at: tuple[Form, ...]) -> Step:
        factors, coefficient, typed = flatten(e, self.written, self.named, keep_totals=True)
        factors = factors if typed else self.written.side_by_side(factors)
        place: dict[int, Form] = dict(enumerate(at))
        sizes: dict[int, Size] = {}
        for a, ls in factors:
            for k, x in enumerate(ls):
                if x >= 0:
                    sizes.setdefault(x, a.shape[k])
        picked: list[int] = []
        for k, (a, ls) in enumerate(factors):
            if a.op.name == "onehot" and ls[-1] >= len(at):
                users = [j for j, (_, other) in enumerate(factors) if j != k and ls[-1] in other]
                if users:
                    picked.append(k)
        live = [*_live(at), *(s for s in self.scope if s not in _live(at))]
        bound: list[Slot] = []
        columns = {factors[k][1][-1] for k in picked}
        shifts = Shifts(factors, place, sizes)
        while rest := [x for x in sorted(sizes) if x not in place and x not in columns]:
            x = shifts.first(rest)
            slot = Slot(sizes[x], sum(1 for s in [*live, *bound] if s.size == sizes[x]))
            bound.append(slot)
            place[x] = Form("slot", (), slot)
            shifts.follow()
        for k in picked:
            a, ls = factors[k]
            index = yield self._form(a.args[0], tuple(place[x] for x in ls[:-1]))
            place[ls[-1]] = index
        over: list[Form] = []
        under: list[Form] = []
        depth = len(self.scope)
        self.scope += [*live, *bound]
        for k, (a, ls) in enumerate(factors):
            if k in picked or k in shifts.gone:
                continue
            inverse = under_fraction(a)
            source = a.args[0] if inverse else a
            inner = yield self._best(source, tuple(place[x] if x >= 0 else whole(0) for x in ls))
            if inverse:
                inner = powered(inner, inverse, False)
            if inner.kind == "scale" and not inverse:
                coefficient = coefficient * inner.data
                inner = inner.items[0]
            (under if inverse else over).append(inner)
        del self.scope[depth:]
        over, under = powers(over), powers(under)
        over.sort(key=precedence)
        marks = needed(shifts.marks, over)
        if marks:  # beside a fraction, which may not be read outside of its range
            marks = [*filter(_is_delta, over), *marks]
            over = [f for f in over if f not in marks]
        body = product(over) if over else Form("number", (), ONE)
        if under:
            body = fraction(over, under, set(_live(at)))
        if marks:
            body = product([*([body] if over or under else []), *marks])
        if bound:
            if body.kind == "scale":
                coefficient = coefficient * body.data
                body = body.items[0]
            there = set(slots_of([body]))
            for slot in bound:
                if slot not in there:  # n times what does not count it
                    coefficient = coefficient * monomial(slot.size)
            kept = tuple(slot for slot in bound if slot in there)
            body = summed(body, kept)
        return scaled(coefficient, body)


OF_EXPONENTIALS = {"softmax", "logsumexp"}
"""What is written by exponentials of entries where its argument has no matrix form."""
POINTWISE = {"name", "symmetric", "number", "scale", "sum", "hadamard", "call"}
"""Kinds of a form that says the same of every entry."""


def ambiguous(e: Expr, form: Form) -> bool:
    """Is a matrix pointwise, with a function as a factor?

    ``exp(S)`` may be read as a matrix's; f′ is always that of each entry.
    """
    found, stack = False, [form]
    if e.ndim != 2:
        return False
    while stack:
        part = stack.pop()
        if part.kind not in POINTWISE:
            return False
        functions = [x.data for x in part.items if x.kind == "call"]
        found = found or (part.kind == "hadamard" and not all(f.endswith("′") for f in functions))
        stack += part.items
    return found


def precedence(form: Form) -> tuple[bool, bool, bool, int, bool]:
    """Few indices first, adjoints before values, then gradients, sums, and 1[i = j] last."""
    plain = form.kind == "index" and form.items[0].kind == "name"
    adjoint = plain and form.items[0].data.startswith("δ")
    gradient = plain and form.items[0].data.startswith("∂")
    rank = len(form.items) - 1 if plain else len(_inside(form)) if form.kind == "call" else 9
    return _is_delta(form), form.kind in ("sum", "total"), gradient, rank, not adjoint


def fraction(over: Sequence[Form], under: Sequence[Form], free: set[Slot]) -> Form:
    """``(γ[j]/s[j]) (…)``: what has no more indices than the denominator goes in front.

    ``free`` are the indices that no Σ binds: only a fraction in these is a coefficient.
    """
    below = {x for f in under for x in _inside(f)}
    front = [f for f in over if f.kind == "index" and _inside(f) <= below]
    rest = [f for f in over if f not in front]
    if not front or not rest or not below or not below <= free:
        whole = product(over) if over else Form("number", (), ONE)
        return Form("quotient", (whole, product(under)))
    return product([Form("fraction", (product(front), product(under))), *rest])


def _inside(form: Form) -> set[Slot]:
    """The letters that a factor is read at."""
    return set(_live((form,)))


def unnamed(word: str, *parts: Expr) -> NotationError:
    """What has no formula until ``parts`` have names."""
    error = NotationError(f"{word} of an unnamed tensor has no formula",
                          "Name it with sg.name(t, …).")  # fmt: skip
    error.parts = parts
    return error


def operands(e: Expr) -> tuple[Expr, ...]:
    """The arguments of a call, those of a tuple in place of the tuple."""
    return tuple(x for a in e.args for x in (a.args if a.op.outputs is not None else (a,)))


def _of_identities(e: Expr) -> bool:
    """A function of identities alone: its entries do not say what their indices run over."""
    terms = [b for a in e.args for b in (a.args if a.op is SUM else (a,))]
    found = [b.op is DELTA for b in terms if constant_value(b) is None]
    return bool(found) and all(found)


def _is_delta(form: Form) -> bool:
    """Is it 1[i = j] of two indices?"""
    return form.kind == "indicator" and all(x.kind == "slot" for x in form.items[0].items)


def _at(at: tuple[Form, ...], label: int) -> Form:
    return at[label] if label >= 0 else whole(0)


def _live(at: tuple[Form, ...]) -> list[Slot]:
    found: list[Slot] = []
    stack = list(at)
    while stack:
        form = stack.pop()
        if form.kind == "slot":
            found.append(form.data)
        stack.extend(form.items)
    return found


__all__ = ["SYMBOL", "Indexer", "ambiguous"]
