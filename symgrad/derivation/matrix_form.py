"""Matrix form of an expression: chains, transposes, ⊙, outer products, traces, row sums.

A product over labels is a graph: a matrix is an edge, a vector a weight on a label.  Series and
parallel reduction of that graph gives the textbook's products, whatever way they were nested
(series-parallel reduction: Duffin, "Topology of series-parallel networks", 1965).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from symgrad.core.build import (
    CONTRACTION,
    DELTA,
    SUM,
    constant_value,
    contract,
    delta,
    elementwise,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr
from symgrad.core.sizes import ONE, Monomial, Size
from symgrad.derivation.called import called, of_shape
from symgrad.derivation.factored import SOLVES, flatten
from symgrad.derivation.form import indexed
from symgrad.derivation.notation import (
    Form,
    Slot,
    Step,
    call,
    name,
    number_form,
    product,
    run,
    scaled,
    transposed,
)
from symgrad.derivation.opaque import opaque_call, opaque_form
from symgrad.derivation.order import Written, ordered_terms, weight
from symgrad.derivation.powers import powered, powers, under_fraction
from symgrad.derivation.tensor_form import call_form, map_form, picked_form, sum_form, tensor_form
from symgrad.lower.kronecker import identity_pairs, kronecker, vector_of
from symgrad.ops.matrix import det
from symgrad.ops.outputs import PROJECT
from symgrad.ops.structure import reshape


@dataclass(slots=True)
class Edge:
    """A matrix between two labels."""

    start: int
    end: int
    form: Form

    def towards(self, label: int) -> Form:
        """The matrix with its second axis at ``label``."""
        return self.form if self.end == label else transposed(self.form)

    def away(self, label: int) -> Form:
        """The matrix with its first axis at ``label``."""
        return self.form if self.start == label else transposed(self.form)

    def other(self, label: int) -> int:
        """The label at the other end."""
        return self.end if self.start == label else self.start


@dataclass(slots=True)
class Recogniser:
    """Matrix forms under given names; ``None`` where only index form can say it.

    ``diagonals``: also ``diag(v) A`` and ``diag(A B)``, which read better entry by entry.
    """

    named: Callable[[Expr], Form | None]
    written: Written
    diagonals: bool = False
    memo: dict[Expr, Form | None] = field(default_factory=dict)

    def form(self, e: Expr) -> Form | None:
        """The matrix form of ``e``, or None."""
        return run(self._form(e))

    def _form(self, e: Expr) -> Any:
        """The form, or the step to it."""
        if e in self.memo:
            return self.memo[e]
        given = self.named(e)
        if given is None:
            return self._remembered(e)
        self.memo[e] = given
        return given

    def _remembered(self, e: Expr) -> Step:
        self.memo[e] = made = yield self._compound(e)
        return made

    def _compound(self, e: Expr) -> Step:
        if opaque_call(e) is not None:
            return (yield self._opaque(e))
        if len(e.shape) > 2:
            return (yield tensor_form(self._form, e, self.written))
        if 1 in e.shape:
            return (yield call_form(self._form, e))
        number = constant_value(e)
        if number is not None:
            return Form("number", (), number) if not e.shape or number.is_zero else None
        if e.op is SUM:
            return (yield self._terms(e))
        if e.op is CONTRACTION:
            return (yield self._contraction(e))
        if e.op is DELTA:
            return Form("identity", (), e.params[0])
        if e.op is PROJECT and e.args[0].op.name == "slogdet":
            whole = det(e.args[0].args[0])
            size = elementwise("log", elementwise("abs", whole))
            return (yield self._form(size if e.params[0] else elementwise("sign", whole)))
        if e.op.family == "map":
            return (yield self._map(e))
        if e.op.family == "axis" and e.params[0] == -1 and len(e.args) == 1:
            inner = yield self._form(e.args[0])
            reduces = "reduces" in e.op.traits
            if inner is None or (reduces and e.args[0].ndim == 2 and e.op.name != "logsumexp"):
                return None
            return called(e, [inner])
        if e.op.name in SOLVES:
            return (yield self._contraction(e))
        if e.op.family == "matrix" and e.op.text:
            parts: list[Form] = []
            for a in e.args:
                inner = yield self._form(a)
                if inner is None:
                    return None
                parts.append(inner)
            if e.op.name == "inv":
                turned = parts[0].kind == "transpose"
                inverse = Form("inverse", parts[0].items if turned else (parts[0],))
                return transposed(inverse) if turned else inverse
            return called(e, parts)
        if e.op.name == "onehot" and len(e.shape) == 2:
            inner = yield self._form(e.args[0])
            if inner is None:
                return None
            return call("onehot", inner, Form("name", (), str(e.params[0])))
        if e.op.name == "reshape":
            return (yield self._pairs(e))
        return (yield call_form(self._form, e))

    def _pairs(self, e: Expr) -> Step:
        """A ⊗ B, or the diagonal of vec A; else as a call."""
        whole = identity_pairs(e)
        if whole is not None:
            if constant_value(whole) is not None:
                return Form("identity", (), e.shape[0])
            if whole.op is CONTRACTION and not any(whole.params[0]):
                rows = [*whole.params[0], (0, 1)]
                return (
                    yield self._form(
                        contract([*whole.args, delta(e.shape[0], e.dtype)], rows, range(2))
                    )
                )
            flat = yield self._form(reshape(whole, e.shape[:1]))
            return None if flat is None else call("diag", flat)
        sides = kronecker(e)
        if sides is None:
            return (yield call_form(self._form, e))
        parts: list[Form] = []
        for a in sides:
            vector, row = vector_of(a) or (a, False)
            inner = yield self._form(vector)
            if inner is None:
                return None
            parts.append(transposed(inner) if row else inner)
        numbers = product(
            [x for p in parts for x in (Form("number", (), p.data),) if p.kind == "scale"]
        )
        made = Form("kron", tuple(p.items[0] if p.kind == "scale" else p for p in parts))
        return product([numbers, made]) if any(p.kind == "scale" for p in parts) else made

    def _opaque(self, e: Expr) -> Step:
        parts: list[Form] = []
        for a in (opaque_call(e) or e).args:
            number = constant_value(a)
            # A number stays an operand of its own, where a product would take it as coefficient.
            inner = name(number_form(number)) if number is not None else (yield self._form(a))
            if inner is None:
                return None
            parts.append(inner)
        return opaque_form(e, parts)

    def _map(self, e: Expr) -> Step:
        labels, shape, _statics = e.params
        natural = tuple(range(len(shape)))
        parts: list[Form] = []
        for a, ls in zip(e.args, labels, strict=True):
            if ls not in (natural, ()) and not (len(shape) == 2 and ls == (1, 0)):
                return None
            inner = yield self._form(a)
            if inner is None:
                return None
            parts.append(transposed(inner) if ls == (1, 0) and len(shape) == 2 else inner)
        if shape and not any(labels):  # numbers alone: one of them says of which shape the value is
            first = next((k for k, part in enumerate(parts) if part.kind == "number"), None)
            if first is None:
                return None
            parts[first] = of_shape(parts[first], shape)
        return map_form(e, parts, bool(shape))

    def _terms(self, e: Expr) -> Step:
        shape = e.shape
        natural = tuple(range(len(shape)))
        rows: list[tuple[Monomial, Form]] = []
        full = not shape
        terms = ordered_terms(e, self.written)
        for c, a, ls in terms:
            inner = yield picked_form(self._form, a, ls)
            ls = tuple(x for x in ls if x >= 0)
            if inner is None:
                return None
            if ls == natural:
                full = full or bool(ls)
            elif len(shape) == 2 and ls == (1, 0):
                inner = transposed(inner)
                full = True
            elif ls != () and not (len(shape) == 2 and ls == (1,)):
                return None
            rows.append((c, inner))
        if not full:
            return None
        return sum_form(rows)

    def _contraction(self, e: Expr) -> Step:
        rank = len(e.shape)
        if rank == 0 and any(a.op.name == "onehot" for a in e.args):
            return None
        factors, coefficient, typed = flatten(e, self.written, self.named)
        scalars: list[Form] = []
        edges: list[Edge] = []
        weights: dict[int, list[Form]] = {}
        under: dict[int, list[Form]] = {}
        below: list[Form] = []
        matrices_below: list[tuple[int, int, Form]] = []
        extents = {x: a.shape[k] for a, ls in factors for k, x in enumerate(ls)}
        for a, ls in factors:
            inverse = under_fraction(a)
            source = a.args[0] if inverse else a
            inner = yield picked_form(self._form, source, ls)
            ls = tuple(x for x in ls if x >= 0)
            if inverse and inner is not None:
                inner = powered(inner, inverse, bool(ls))
            if inner is None or len(ls) > 2:
                return None
            if inner.kind == "scale" and not inverse:
                coefficient = coefficient * inner.data
                inner = inner.items[0]
            if not ls:
                (below if inverse else scalars).append(inner)
            elif len(ls) == 1:
                (under if inverse else weights).setdefault(ls[0], []).append(inner)
            elif ls[0] == ls[1]:
                diagonal = Form("diagonal", (inner,), "diag")
                (under if inverse else weights).setdefault(ls[0], []).append(diagonal)
            elif inverse:
                matrices_below.append((ls[0], ls[1], inner))
            else:
                edges.append(Edge(ls[0], ls[1], inner))
        for label, forms in under.items():
            top = weights.pop(label, [])
            weights[label] = [
                Form("quotient", (hadamard(top, typed), hadamard(forms, typed)), True)
            ]
        for start, end, inner in matrices_below:
            match = [x for x in edges if {x.start, x.end} == {start, end}]
            top = hadamard(
                [x.form if x.start == start else transposed(x.form) for x in match], typed
            )
            edges = [x for x in edges if x not in match]
            edges.append(Edge(start, end, Form("quotient", (top, inner), True)))
        body = reduce_graph(
            rank, edges, weights, extents, partial(hadamard, typed=typed), self.diagonals
        )
        if body is None:
            return None
        if not typed:
            scalars, below = sorted(scalars, key=weight), sorted(below, key=weight)
        scalars, below = powers(scalars), powers(below)
        if body.kind == "number" and scalars:
            body = product(scalars)
        elif scalars:
            body = product([*scalars, body])
        if below:
            bottom = product(below)
            if body.kind == "scale":
                coefficient = coefficient * body.data
                body = body.items[0]
            body = Form("quotient", (body, bottom))
        return scaled(coefficient, body)


def _reciprocal(form: Form) -> bool:
    """``1 ⊘ u``."""
    return form.kind == "quotient" and bool(form.data) and form.items[0] == Form("number", (), ONE)


def hadamard(forms: list[Form], typed: bool) -> Form:
    """⊙ of forms: as typed, or products, names, calls, sums in this order; reciprocals divide."""
    if not forms:
        return Form("number", (), ONE)
    below = [f.items[1] for f in forms if _reciprocal(f)]
    if 0 < len(below) < len(forms):
        top = hadamard([f for f in forms if not _reciprocal(f)], typed)
        return Form("quotient", (top, hadamard(below, typed)), True)
    if len(forms) == 1:
        return forms[0]
    flat: list[Form] = []
    for f in forms if typed else sorted(forms, key=weight):
        flat += f.items if f.kind == "hadamard" else (f,)
    return Form("hadamard", tuple(flat))


def reduce_graph(
    rank: int,
    edges: list[Edge],
    weights: dict[int, list[Form]],
    extents: dict[int, Size],
    _had: Callable[[list[Form]], Form],
    diagonals: bool = False,
) -> Form | None:
    """Series-parallel reduction to one matrix, vector or scalar; None if it does not reduce."""
    scalars: list[Form] = []
    changed = True
    while changed:
        changed = False
        pairs: dict[tuple[int, int], list[Edge]] = {}
        for edge in edges if len(edges) > 1 else ():
            low, high = sorted((edge.start, edge.end))
            pairs.setdefault((low, high), []).append(edge)
        labels = {x for edge in edges for x in (edge.start, edge.end)} | set(weights)
        for (low, high), group in pairs.items():
            if len(group) < 2:
                continue
            closed = low >= rank and not weights.get(low) and not weights.get(high)
            lone = all(
                edge in group
                or (low not in (edge.start, edge.end) and high not in (edge.start, edge.end))
                for edge in edges
            )
            edges = [x for x in edges if x not in group]
            if closed and lone:
                first, rest = group[0], group[1:]
                other = _had([r.away(first.start) for r in rest])
                scalars.append(_trace(first.form, other))
            else:
                forward = sum(
                    _marks(g.form if g.start == low else transposed(g.form)) for g in group
                )
                backward = sum(
                    _marks(g.form if g.start == high else transposed(g.form)) for g in group
                )
                start, end = (low, high) if forward <= backward else (high, low)
                edges.append(Edge(start, end, _had([g.away(start) for g in group])))
            changed = True
            break
        if changed or all(x < rank for x in labels):
            continue
        rows = {x.start for x in edges if x.form.kind in ("name", "index", "sum")}
        ends = [x for edge in edges for x in (edge.start, edge.end)]
        summed = [x for x in labels if x in rows and ends.count(x) == 1 and not weights.get(x)]
        for label in sorted(labels, key=lambda x: (x in summed, x), reverse=True):
            if label < rank:
                continue
            touching = [x for x in edges if label in (x.start, x.end)]
            here = weights.get(label, [])
            if not touching:
                if len(here) == 1 and here[0].kind not in ("name", "product", "index", "transpose"):
                    return None
                scalars.append(_inner(here, extents[label], _had))
            elif len(touching) == 1 and here:
                edge = touching[0]
                edges = [x for x in edges if x is not edge]
                vector = product([edge.towards(label), _had(here)])
                weights.setdefault(edge.other(label), []).append(vector)
            elif len(touching) == 1:
                edge = touching[0]
                if edge.start != label or edge.form.kind not in ("name", "index", "sum"):
                    return None
                edges = [x for x in edges if x is not edge]
                slot = Slot(extents[label], 0)
                row = indexed(edge.form, (Form("slot", (), slot), Form("all")))
                total = Form("total", (row,), (slot,))
                weights.setdefault(edge.other(label), []).append(total)
            elif len(touching) == 2:
                left, right = touching
                if left.other(label) > right.other(label):
                    left, right = right, left
                low, high = left.other(label), right.other(label)
                if low == high and not diagonals:
                    return None
                middle = [call("diag", _had(here))] if here else []
                form = product([left.towards(label), *middle, right.away(label)])
                edges = [x for x in edges if x is not left and x is not right]
                if low == high:
                    weights.setdefault(low, []).append(Form("diagonal", (form,), "diag"))
                else:
                    edges.append(Edge(low, high, form))
            else:
                return None
            weights.pop(label, None)
            changed = True
            break
    left_over = {k for k, v in weights.items() if v}
    body: list[Form] = []
    if rank == 0:
        if edges or left_over:
            return None
    elif rank == 1:
        if edges or left_over != {0}:
            return None
        body = [_had(weights[0])]
    elif len(edges) == 1 and not left_over:
        body = [edges[0].away(0)]
    elif len(edges) == 1 and edges[0].form.kind == "identity":
        body = [call("diag", _had([*weights.get(0, []), *weights.get(1, [])]))]
    elif len(edges) == 1 and diagonals and {edges[0].start, edges[0].end} == {0, 1}:
        at = ([call("diag", _had(weights[k]))] if k in left_over else [] for k in (0, 1))
        rows, columns = at
        body = [product([*rows, edges[0].away(0), *columns])]
    elif not edges and left_over == {0, 1}:
        body = [product([_had(weights[0]), transposed(_had(weights[1]))])]
    else:
        return None
    if not body and not scalars:
        return Form("number", (), ONE)
    return product([*scalars, *body]) if scalars else body[0]


def _trace(first: Form, second: Form) -> Form:
    """Σ A[a,b] B[a,b] = tr(Aᵀ B)."""
    readings = [
        product([transposed(first), second]),
        product([second, transposed(first)]),
        product([transposed(second), first]),
        product([first, transposed(second)]),
    ]
    return call("tr", min(readings, key=_marks))


def _marks(form: Form) -> int:
    """How many transposes a form shows."""
    count = 0
    stack = [form]
    while stack:
        part = stack.pop()
        count += part.kind == "transpose"
        if part.kind in ("transpose", "product", "scale"):
            stack.extend(part.items)
    return count


def _inner(weights: list[Form], size: Size, _had: Callable[[list[Form]], Form]) -> Form:
    """A summed label with vectors only: uᵀ v."""
    if len(weights) == 1:
        slot = Slot(size, 0)
        return Form("total", (indexed(weights[0], (Form("slot", (), slot),)),), (slot,))
    first, rest = weights[0], weights[1:]
    if first.kind == "product" and rest[0].kind != "product":
        first, rest = rest[0], [first, *rest[1:]]
    return product([transposed(first), _had(rest)])


__all__ = ["SYMBOL", "Recogniser", "flatten", "map_form", "sum_form", "terms_of"]
