"""Forms of whole tensors of any rank: elementwise functions, sums, ⊙, calls, and picked slices.

``form`` is the caller's step for an argument; each function is a step that returns the Form, or
None where only index form can say it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.core.build import CONTRACTION, SUM, constant_value, contract
from symgrad.core.expr import Expr, Labels
from symgrad.core.numbers import Number, plus
from symgrad.core.sizes import ONE, Monomial, Shape, monomial
from symgrad.derivation.called import called
from symgrad.derivation.factored import SOLVES, inverted
from symgrad.derivation.notation import Form, Step, call, name, product, scaled
from symgrad.derivation.order import Written, content, ordered_terms
from symgrad.derivation.powers import powered
from symgrad.derivation.shifts import absolute, whole
from symgrad.ops.convolution import window

FormOf = Callable[[Expr], Step]


def tensor_form(form: FormOf, e: Expr, written: Written) -> Step:
    """A tensor of three axes or more: what never mixes axes, softmax and its kind, calls."""
    natural = places(e.shape)
    if constant_value(e) is not None:
        return None
    if e.op is SUM:
        rows: list[tuple[Monomial, Form]] = []
        full = False
        for c, a, ls in ordered_terms(e, written):
            if ls not in (natural, (), (len(natural) - 1,)):
                return None
            full = full or (ls == natural)
            inner = yield form(a)
            if inner is None:
                return None
            rows.append((c, inner))
        return sum_form(rows) if full else None
    if e.op is CONTRACTION:
        if e.sums or any(ls not in (natural, ()) for ls in e.params[0]):
            return None
        numbers: list[Form] = []
        factors: list[Form] = []
        for a, ls in zip(e.args, e.params[0], strict=True):
            inner = yield form(a)
            if inner is None:
                return None
            (factors if ls else numbers).append(inner)
        if not factors or len(e.args) == 1:
            return None
        body = Form("hadamard", tuple(factors)) if len(factors) > 1 else factors[0]
        return product([*numbers, body]) if numbers else body
    if e.op.family == "map":
        parts: list[Form] = []
        for a, ls in zip(e.args, e.params[0], strict=True):
            inner = (yield form(a)) if ls in (natural, ()) else None
            if inner is None:
                return None
            parts.append(inner)
        return map_form(e, parts, True)
    if e.op.family == "axis" and e.params[0] == -1 and len(e.args) == 1:
        inner = yield form(e.args[0])
        return None if inner is None or "reduces" in e.op.traits else called(e, [inner])
    return (yield call_form(form, e))


def places(shape: Shape) -> Labels:
    """The labels of a tensor at its own place: an axis of size 1 carries none."""
    return tuple(-1 if s == 1 else k for k, s in enumerate(shape))


ENTRYWISE = frozenset(
    {"slice", "place", "take", "put_add", "gather", "arange", "cumsum", "delay", "flip"}
)
"""Operations that read better entry by entry."""


def call_form(form: FormOf, e: Expr) -> Step:
    """``word(arguments; parameters)`` for an operation that has no sign of its own."""
    if e.op.build is not None and e.op.name in ("contraction", "sum_of_terms", "delta"):
        return None
    if e.op.family == "leaf" and not e.shape:
        return name(e.op.text)
    if e.op.family in ("map", "leaf") or e.op.name in ENTRYWISE or _moves(e):
        return None
    parts: list[Form] = []
    for a in e.args:
        inner = yield form(a)
        if inner is None:
            return None
        parts.append(inner)
    return called(e, parts)


def _moves(e: Expr) -> bool:
    """Is it a sum over windows that do not simply stand at every place, or what receives by place?"""
    if e.op.name == "window_sum" or (e.op.name == "reshape" and e.args[0].op.name == "scatter_add"):
        return True
    return e.op.name == "convolution" and e.params[1] == 1 and e.params[0] != window(e.ndim - 2)


def picked_form(form: FormOf, e: Expr, labels: Labels) -> Step:
    """An operand at its labels; at fixed places of the axes without one: ``X[:,2,:]``."""
    if min(labels, default=0) >= 0:
        return (yield form(e))
    start = [0] * e.ndim
    base = e
    if e.op.name == "slice":
        spec = e.params[0]
        parts = [None] * (e.ndim - len(spec)) + list(spec)
        if all(p is None or x < 0 for p, x in zip(parts, labels, strict=True)):
            base = e.args[0]
            start = [0 if p is None else p[0] for p in parts]
    if e.op.name in SOLVES and e.ndim == 2 and labels[1] < 0:
        b = e.args[1]
        return (yield form(contract([inverted(e), b], [[0, 1], [1, -1]], [0], {}, b.dtype)))
    inner = yield form(base)
    if inner is None or inner.kind != "name":
        return None
    at = [whole(s) if x < 0 else Form("all") for s, x in zip(start, labels, strict=True)]
    return Form("index", (inner, *at))


INFIX = ("gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or", "logical_xor")
"""Elementwise ops that stand between their operands."""


def map_form(e: Expr, parts: list[Form], tensor: bool) -> Form | None:
    """The form of an elementwise op over the forms of its arguments."""
    op = e.op
    if op.name in INFIX:
        return Form("compare", tuple(parts), op.text)
    if op.name == "cast":
        return Form("indicator", tuple(parts)) if e.args[0].dtype.kind == "b" else parts[0]
    if op.name == "power":
        p = e.params[2][0]
        if p < 0:
            one = Form("number", (), ONE)
            below = powered(parts[0], -p, tensor)
            return Form("quotient", (one, below), True if tensor else None)
        return powered(parts[0], p, tensor)
    if op.name == "detach":
        return parts[0]
    if op.name == "where" and _is_clamped(*e.args):
        return parts[2]
    if op.name == "polygamma":  # ψ, its derivative ψ′, …
        return call(op.text + "′" * e.params[2][0], *parts)
    return call(op.text or op.name, *parts)


def _is_clamped(condition: Expr, x: Expr, other: Expr) -> bool:
    """where(x ≥ a, x, max(x, a)), and with a bound above: the last argument is the value."""
    bounds: list[Expr] = []
    inner = other.args[0] if other.op.name == "detach" else other
    while inner is not x and inner.op.name in ("maximum", "minimum"):
        first, second = inner.args
        inside = second if first.op.name not in ("maximum", "minimum") and first is not x else first
        bounds.append(second if inside is first else first)
        inner = inside
    tests = condition.args if condition.op.name == "logical_and" else (condition,)
    compared = [a for c in tests if c.op.name in ("ge", "le") for a in c.args if a is not x]
    return inner is x and bool(bounds) and len(compared) == len(tests) and (
        set(compared) == set(bounds)
    )  # fmt: skip


def sum_form(rows: list[tuple[Monomial, Form]]) -> Form:
    """A sum, with the content that all coefficients share in front."""
    flat: list[tuple[Monomial, Form]] = []
    for c, form in rows:
        if form.kind == "scale":
            c, form = c * form.data, form.items[0]
        if form.kind == "number":
            flat.append((c * form.data, Form("number", (), ONE)))
        elif form.kind == "sum" and c.is_one:
            flat += [_split(k, f) for k, f in zip(form.data, form.items, strict=True)]
        else:
            flat.append((c, form))
    flat = _merged(flat)
    if len(flat) == 1:
        return scaled(*flat[0])
    common = content([c for c, _ in flat])
    if common.is_one:
        flat = _grouped(flat)
    return scaled(common, _sum([(c / common, f) for c, f in flat]))


def _merged(terms: list[tuple[Monomial, Form]]) -> list[tuple[Monomial, Form]]:
    """Terms of one form as one term: 1 − h − h = 1 − 2 h."""
    totals: dict[tuple[Form, Any], Number] = {}
    for c, form in terms:
        key = form, c.powers
        totals[key] = plus(totals[key], c.number) if key in totals else c.number
    if len(totals) == len(terms):
        return terms
    return [(Monomial(c, powers), form) for (form, powers), c in totals.items() if c] or [
        (Monomial(0), Form("number", (), ONE))
    ]


def _split(c: Monomial, form: Form) -> tuple[Monomial, Form]:
    """A term of a finished sum with the whole coefficient in front."""
    return (c * form.data, Form("number", (), ONE)) if form.kind == "number" else (c, form)


def _sum(terms: list[tuple[Monomial, Form]]) -> Form:
    """The sum of terms: a number carries its size, the coefficient its sign."""
    forms = [Form("number", (), absolute(c)) if f.kind == "number" else f for c, f in terms]
    signs = [sign_of(c) if f.kind == "number" else c for c, f in terms]
    return Form("sum", tuple(forms), tuple(signs))


def _grouped(terms: list[tuple[Monomial, Form]]) -> list[tuple[Monomial, Form]]:
    """Terms over one size, ``exp(s) / (2 n) − 1 / (2 n)``, as one: ``(1/(2 n)) (exp(s) − 1)``."""
    groups: list[tuple[Monomial, list[tuple[Monomial, Form]]]] = []
    for c, form in terms:
        size = absolute(c)
        over = any(p < 0 for _, p in c.powers)
        for common, group in groups if over else ():
            if common == size:
                group.append((c, form))
                break
        else:
            groups.append((size, [(c, form)]))
    found: list[tuple[Monomial, Form]] = []
    for common, group in groups:
        sign = common if any(c == common for c, _ in group) else -common
        whole = (sign, _sum([(c / sign, f) for c, f in group]))
        found.append(whole if len(group) > 1 else group[0])
    return found


def sign_of(c: Monomial) -> Monomial:
    """+1 or −1."""
    return monomial(-1 if c.number < 0 else 1)


__all__ = ["call_form", "map_form", "picked_form", "places", "sum_form", "tensor_form"]
