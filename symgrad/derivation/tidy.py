"""Lines after the sweep: what one line reads is dissolved, what is known by a name is reused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from symgrad.core.build import (
    CONTRACTION,
    SUM,
    constant_value,
    contract,
    linear,
    permute,
    relabelling,
    scale,
    single_term,
    terms_of,
)
from symgrad.core.expr import SYMBOL, Expr, Labels, facts_of, name_of
from symgrad.core.sizes import ONE, Monomial, Size
from symgrad.core.traverse import topological
from symgrad.derivation.matrix_form import Recogniser
from symgrad.derivation.notation import Form, name
from symgrad.derivation.opaque import remark
from symgrad.derivation.order import Written

FORWARD, ADJOINT, GRADIENT, GIVEN = "forward", "adjoint", "gradient", "given"
WITHIN = "within"
"""A line of a layer that is called, not opened: it is computed and not printed."""


@dataclass(slots=True)
class Definition:
    """``symbol = expr``: a forward value, an adjoint or a gradient (``of`` which symbol).

    ``form`` is the right side and the indices of the left side, once it is known; ``entries``
    asks for index form.
    """

    symbol: Expr
    expr: Expr
    kind: str
    of: Expr | None = None
    form: tuple[Form, tuple[Form, ...]] | None = None
    entries: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A use of the chain rule: what ``leaf`` receives from the line ``of = expr`` with its seed."""

    rule: str
    of: Expr
    expr: Expr
    leaf: Expr
    seed: Expr
    part: Expr


@dataclass(frozen=True, slots=True)
class Change:
    """A rewrite of a line; ``because`` are the definitions that it follows from."""

    rule: str
    line: Definition
    before: Expr
    after: Expr
    because: tuple[tuple[Expr, Expr], ...] = ()
    cost: str = ""


@dataclass(slots=True)
class Lines:
    """All definitions of a derivation in order, with the names of nodes that stay nodes.

    ``uses`` and ``changes`` are its steps; ``before`` the lines before some of them
    were dissolved.
    """

    definitions: list[Definition] = field(default_factory=list[Definition])
    shown: dict[Expr, Expr] = field(default_factory=dict[Expr, Expr])
    written: Written = field(default_factory=Written)
    outputs: list[Expr] = field(default_factory=list[Expr])
    spelled: dict[Expr, Form] = field(default_factory=dict[Expr, Form])
    uses: list[Use] = field(default_factory=list[Use])
    changes: list[Change] = field(default_factory=list[Change])
    before: list[Definition] = field(default_factory=list[Definition])

    @property
    def output(self) -> Expr:
        """The symbol of the first output."""
        return self.outputs[0]

    def named(self, e: Expr) -> Form | None:
        """Symbols and shown nodes print as their names, values within a layer as its call."""
        if e.op is SYMBOL:
            return self.spelled.get(e) or name(name_of(e), is_symmetric(e))
        found = self.shown.get(e)
        return name(name_of(found)) if found is not None else None


def is_symmetric(leaf: Expr) -> bool:
    """Is a symbol declared (or known) to be its own transpose?"""
    return bool({"symmetric", "spd"} & {*facts_of(leaf)})


def flat(e: Expr) -> Expr:
    """Sums of sums opened, in a line that the sweep made."""
    if e.op is not SUM or len(e.args) < 2:
        return e
    terms = []
    for c, a, ls in terms_of(e):
        if a.op is SUM and len(a.args) > 1 and ls == tuple(range(a.ndim)) == tuple(range(e.ndim)):
            terms += [(c * c2, a2, ls2) for c2, a2, ls2 in terms_of(a)]
        else:
            terms.append((c, a, ls))
    return linear(terms, e.shape, e.dtype)


def opened(e: Expr) -> list[tuple[Monomial, Expr, Labels]]:
    """The terms of an expression, those of scaled sums and sums of sums among them."""
    natural = tuple(range(e.ndim))
    found: list[tuple[Monomial, Expr, Labels]] = []
    stack: list[tuple[Monomial, Expr, Labels]] = [(ONE, e, natural)]
    while stack:
        c, a, ls = stack.pop()
        if a.op is SUM and a.args and ls == natural:
            stack += [(c * k, inner, place) for k, inner, place in reversed(terms_of(a))]
        else:
            found.append((c, a, ls))
    return found


def inline(lines: Lines, finish: Callable[[Expr], Expr]) -> None:
    """From the last adjoint to the first: drop the unused, dissolve what one line reads.

    ``finish`` is applied to every line that something was put into.
    """
    definitions = lines.definitions
    lines.before = list(definitions)
    readers: dict[Expr, dict[int, int]] = {}
    for k, line in enumerate(definitions):
        for s, times in _reads(line.expr).items():
            readers.setdefault(s, {})[k] = times
    gone: set[int] = set()
    for k in range(len(definitions) - 1, -1, -1):
        line = definitions[k]
        if line.kind != ADJOINT:
            continue
        uses = readers.get(line.symbol, {})
        total = sum(uses.values())
        if total == 0:
            gone.add(k)
            _unread(readers, k, line.expr)
            continue
        trivial = _trivial(line.expr) and line.expr not in lines.spelled
        if not (trivial or total == 1):
            continue
        # A derivative from elsewhere takes names and gives one.
        if constant_value(line.expr) is None and any(
            remark(e) for e in (line.expr, *(definitions[reader].expr for reader in uses))
        ):
            continue
        if not trivial and not _may_inline(lines, line, definitions[next(iter(uses))]):
            continue
        for reader in list(uses):
            target = definitions[reader]
            _unread(readers, reader, target.expr)
            old, target.expr = target.expr, finish(flat(_replaced(lines, target.expr, line)))
            why = ((line.symbol, line.expr),)
            lines.changes.append(Change("substitution", target, old, target.expr, why))
            for s, times in _reads(target.expr).items():
                readers.setdefault(s, {})[reader] = times
        gone.add(k)
        _unread(readers, k, line.expr)
    lines.definitions = [d for k, d in enumerate(definitions) if k not in gone]


def _unread(readers: dict[Expr, dict[int, int]], k: int, expr: Expr) -> None:
    for s in _reads(expr):
        readers.get(s, {}).pop(k, None)


def _replaced(lines: Lines, expr: Expr, line: Definition) -> Expr:
    return replaced(expr, {line.symbol: line.expr}, lines.written)


def _may_inline(lines: Lines, line: Definition, reader: Definition) -> bool:
    """Not where the reader would leave matrix form, nor a Σ into an index-form line."""
    before = Recogniser(lines.named, lines.written).form(reader.expr)
    after_expr = _replaced(lines, reader.expr, line)
    after = Recogniser(lines.named, lines.written).form(after_expr)
    if before is not None:
        return after is not None
    return not any(e.op is CONTRACTION and e.sums for e in topological([line.expr]))


def replaced(expr: Expr, table: Mapping[Expr, Expr], written: Written) -> Expr:
    """``expr`` with the nodes of ``table`` replaced, in the order it was written."""
    if not table:
        return expr
    moved = dict(table)
    for node in topological([expr], moved.__contains__):
        if node in moved:
            continue
        args = tuple(moved[a] for a in node.args)
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        moved[node] = node if same else node.func(*args)
        if not same:
            written.carry(node, moved[node], moved)
    return moved[expr]


def _reads(e: Expr) -> dict[Expr, int]:
    """Symbols of an expression with the number of places that read them."""
    count: dict[Expr, int] = {}
    if e.op is SYMBOL:
        return {e: 1}
    for node in topological([e]):
        for a in node.args:
            if a.op is SYMBOL:
                count[a] = count.get(a, 0) + 1
    return count


def _trivial(e: Expr) -> bool:
    """A symbol, scaled or with its axes moved; a number."""
    if e.op is SYMBOL or (relabelling(e) is not None and e.args[0].op is SYMBOL):
        return True
    term = single_term(e)
    return (term is not None and term[1].op is SYMBOL) or (
        not topological([e])[0].args and (len(e.args) == 0)
    )


# ------------------------------------------------------------------ reuse

Factor = tuple[Expr, Labels]


def reuse(lines: Lines) -> None:
    """Sums that an earlier line has computed under another name, found and replaced.

    Σⱼ P[i,j] δP[i,j] with δP = δO Vᵀ contains Σⱼ P[i,j] V[j,k], which is O: the sum becomes
    Σₖ δO[i,k] O[i,k].
    """
    known: dict[Expr, Expr] = {}
    opened: dict[Expr, Expr] = {}
    for line in lines.definitions:
        if line.kind in (ADJOINT, WITHIN):
            found = _reused(line.expr, opened, known)
            if found is not None and found[0] is not line.expr:
                new, why, cost = found
                lines.changes.append(
                    Change("a sum that has a name", line, line.expr, new, why, cost)
                )
                line.expr = new
            opened[line.symbol] = line.expr
        if line.kind != GIVEN:
            known.setdefault(line.expr, line.symbol)


Found = tuple[Expr, tuple[tuple[Expr, Expr], ...], str]


def _reused(e: Expr, opened: Mapping[Expr, Expr], known: Mapping[Expr, Expr]) -> Found | None:
    term = single_term(e)
    c, body = (term[0], term[1]) if term is not None else (ONE, e)
    if body.op is not CONTRACTION or not body.sums or len(body.args) != 2:
        return None
    if term is not None and term[2] != tuple(range(e.ndim)):
        return None
    for k in (0, 1):
        inner = opened.get(body.args[k])
        if inner is None or inner.op is not CONTRACTION or not inner.sums:
            continue
        new = _regrouped(body, k, inner, known)
        if new is not None:
            made, hit, cost = new
            why = ((body.args[k], inner), hit)
            return (made if c.is_one else scale(c, made)), why, cost
    return None


def _regrouped(
    body: Expr, k: int, inner: Expr, known: Mapping[Expr, Expr]
) -> tuple[Expr, tuple[Expr, Expr], str] | None:
    """``body`` with its factor ``k`` opened, where a group of factors has a name."""
    table: dict[int, int] = dict(enumerate(body.params[0][k]))
    fresh = 1 + max(x for ls in body.params[0] for x in ls)
    factors: list[Factor] = [(body.args[1 - k], body.params[0][1 - k])]
    for a, ls in zip(inner.args, inner.params[0], strict=True):
        row: list[int] = []
        for x in ls:
            if x >= 0 and x not in table:
                table[x] = fresh
                fresh += 1
            row.append(table[x] if x >= 0 else -1)
        factors.append((a, tuple(row)))
    rank = body.ndim
    sizes: dict[int, Size] = {x: a.shape[j] for a, ls in factors for j, x in enumerate(ls)}
    for label in sorted({x for _, ls in factors for x in ls if x >= rank}):
        group = [f for f in factors if label in f[1]]
        rest = [f for f in factors if label not in f[1]]
        if len(group) < 2 or not rest:
            continue
        outside = {x for _, ls in rest for x in ls} | set(range(rank))
        kept = sorted({x for _, ls in group for x in ls if x in outside and x >= 0})
        hit = _named(group, kept, known)
        if hit is None:
            continue
        whole = [*rest, hit]
        new = contract([a for a, _ in whole], [ls for _, ls in whole], range(rank))
        counts = _counts(whole, sizes)
        before = _counts(list(zip(body.args, body.params[0], strict=True)), {})
        letters = counts.powers or before.powers
        if new is not body and (letters or counts.number <= before.number):
            expr = next(e for e, s in known.items() if s is hit[0])
            return new, (hit[0], expr), f"{before} → {counts}"
    return None


def _named(group: list[Factor], kept: list[int], known: Mapping[Expr, Expr]) -> Factor | None:
    made = contract([a for a, _ in group], [ls for _, ls in group], kept)
    if made in known:
        return known[made], tuple(kept)
    if len(kept) == 2 and (turned := permute(made, (1, 0))) in known:
        return known[turned], (kept[1], kept[0])
    return None


def _counts(factors: list[Factor], sizes: Mapping[int, Size]) -> Monomial:
    """How many products a sum takes; where letters cannot tell, a value that exists is worth it."""
    extents = dict(sizes) or {x: a.shape[j] for a, ls in factors for j, x in enumerate(ls)}
    total = Monomial(ONE.number)
    for x in {x for _, ls in factors for x in ls if x >= 0}:
        total = total * extents[x]
    return total


__all__ = [
    "ADJOINT", "FORWARD", "GIVEN", "GRADIENT", "WITHIN", "Definition", "Lines", "Use", "flat",
    "inline", "is_symmetric", "opened", "replaced", "reuse",
]  # fmt: skip
