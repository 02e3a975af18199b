"""An expression as it is taught: what a derivation is made of, in place of what a program computes.

A program stacks the weights of gates in one matrix and slices the product; a textbook names the
gates.  Here slices are taken of parameters, which become several symbols, and every step of a
scan has its activations as results with names of their own.  Values are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from symgrad.core.build import (
    ONE,
    SUM,
    Term,
    constant,
    constant_value,
    contract,
    delta,
    linear,
    ones,
    relabelling,
    terms_of,
    unsqueeze,
)
from symgrad.core.expr import SYMBOL, Expr, apply, facts_of, name_of, symbol
from symgrad.core.sizes import Size, letters_of, size_total
from symgrad.core.traverse import topological, transform, users
from symgrad.derivation.naming import ACTIVATIONS, NameTable, part_words
from symgrad.derivation.opaque import is_result
from symgrad.derivation.order import Written
from symgrad.derivation.parts import OF_LABELS, Cut, Parts, entered, sliced_axis
from symgrad.derivation.rolled import rolled
from symgrad.derivation.split import Stored, split
from symgrad.derivation.tidy import replaced
from symgrad.ops.index import ONEHOT
from symgrad.ops.outputs import project
from symgrad.ops.scan import SCAN, Body, operands_of
from symgrad.ops.structure import slice_axis
from symgrad.simplify import GROUPS, rewrite

MOST_LOOPS = 8
"""Loops that follow one another."""

InParts = tuple[int, list[Expr]]
"""An axis, and the symbols that follow one another along it."""


@dataclass(slots=True)
class Taught:
    """The expression, what to differentiate for, the inputs, and names, all over the new symbols.

    ``parts``: an input → the symbols that stand for it, one after the other along an axis.
    """

    expr: Expr
    wanted: list[Expr]
    inputs: list[Expr]
    chosen: dict[Expr, str]
    parts: dict[Expr, InParts] = field(default_factory=dict[Expr, InParts])
    uses: dict[Expr, str] = field(default_factory=dict[Expr, str])
    """What a part is for, ``i`` of ``Wxi``."""
    stored: dict[Expr, Stored] = field(default_factory=dict[Expr, Stored])
    """Inputs that have other axes here."""

    def renamed(self, table: Mapping[Expr, Sequence[Expr]]) -> None:
        """Inputs that are several symbols from here on."""
        for listed in (self.wanted, self.inputs):
            listed[:] = [x for e in listed for x in table.get(e, [e])]


def taught(
    e: Expr,
    wanted: Sequence[Expr],
    inputs: Sequence[Expr],
    written: Written,
    chosen: Mapping[Expr, str],
) -> Taught:
    """The expression as a textbook writes it."""
    found = Taught(e, list(wanted), list(inputs), dict(chosen))
    _apart_from_sizes(found, written)
    _without_ones(found, written)
    _follow(found, written, _direct)
    if found.expr is not e:
        _simplified(found, written)
    for _ in range(MOST_LOOPS):
        if not _rolled(found):
            break
    _follow(found, written, _direct)
    _in_parts(found, written)
    _gates(found, written)
    _cells(found)
    _split(found, written)
    return found


def _apart_from_sizes(found: Taught, written: Written) -> None:
    """A parameter called like a size letter, a bias b beside n × b, gets a number.

    What a person called so stays (its symbol has no number).
    """
    letters = {x for e in found.inputs for x in letters_of(e.shape)}
    table = NameTable(letters | {name_of(e) for e in found.inputs})
    new: dict[Expr, list[Expr]] = {}
    for e in found.wanted:
        word, *rest = e.params
        if word in letters and e.params[3]:
            new[e] = [symbol(table.fresh(word, 1), *rest)]
    if new:
        moved = {old: made for old, (made,) in new.items()}
        found.expr = replaced(found.expr, moved, written)
        found.chosen = {replaced(k, moved, written): word for k, word in found.chosen.items()}
        found.renamed(new)


def _without_ones(found: Taught, written: Written) -> None:
    """Axes of size 1 of parameters are left out where only products, sums and maps read them."""
    order = topological([found.expr])
    other = {a for e in order if e.op.family not in OF_LABELS for a in e.args}
    new: dict[Expr, list[Expr]] = {}
    moved: dict[Expr, Expr] = {}
    for e in found.wanted:
        ones = [k for k, size in enumerate(e.shape) if size == 1]
        if ones and e not in other and e is not found.expr and not facts_of(e):
            word, shape, *rest = e.params
            made = symbol(word, tuple(s for s in shape if s != 1), *rest)
            new[e], moved[e] = [made], unsqueeze(made, ones)
            kept = tuple(k for k, size in enumerate(shape) if size != 1)
            found.stored[made] = Stored(tuple((size,) for size in shape), kept)
    if any(e.ndim > 1 for e in new):  # a bias alone stays as it is
        found.expr = replaced(found.expr, moved, written)
        found.chosen = {replaced(k, moved, written): word for k, word in found.chosen.items()}
        found.renamed(new)
    else:
        found.stored.clear()


def _follow(found: Taught, written: Written, step: Callable[[Expr], Expr]) -> None:
    """Rewrite every node, the user's names with it."""
    moved: dict[Expr, Expr] = {}
    for node in topological([found.expr]):
        args = tuple(moved[a] for a in node.args)
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        moved[node] = new = step(node if same else node.func(*args))
        if new is not node:
            written.carry(node, new, moved)
    _moved(found, moved)


def _moved(found: Taught, moved: Mapping[Expr, Expr]) -> None:
    found.expr = moved[found.expr]
    found.chosen = {moved.get(k, k): word for k, word in found.chosen.items()}


def _direct(e: Expr) -> Expr:
    """Slices of what is joined or turned round, and of loops' operands, as slices of the operands.

    What is multiplied by a typed 0 is left out.
    """
    terms = terms_of(e) if e.op is SUM else []
    if len(terms) > 1 and any(c.is_zero for c, _, _ in terms):
        return linear([t for t in terms if not t[0].is_zero], e.shape, e.dtype)
    if e.op is SCAN:
        return entered(e)
    if e.op is ONEHOT and e.args[0].op.name == "arange" and e.args[0].shape == e.shape[1:]:
        return delta(e.params[0], e.dtype)
    if e.op.name == "cast" and _never_is(e.args[0]):
        return ones(e.shape, e.dtype)
    if e.op.name == "power":
        number = constant_value(e.args[0])
        if number is not None and not number.is_zero and e.params[2][0] == -1:
            return constant(ONE / number, e.dtype, e.shape)
    part = sliced_axis(e)
    if part is None:
        return e
    inner = e.args[0]
    axis, (start, stop) = part
    if inner.op.name == "flip" and inner.params[0] + inner.ndim == axis:
        size = inner.shape[axis]
        if isinstance(start, int) and isinstance(stop, int) and stop - start == 1:
            low, high = (size_total(size, -x) for x in (stop, start))
            return slice_axis(inner.args[0], axis, low, high)
    moved = relabelling(inner)
    if moved is not None and moved.count(axis) == 1:
        taken = slice_axis(inner.args[0], moved.index(axis), start, stop)
        sizes = dict(enumerate(e.shape))
        return contract([_direct(taken)], [moved], range(e.ndim), sizes, e.dtype)
    if inner.op.name == "concatenate" and inner.params[0] + inner.ndim == axis:
        place: Size = 0
        for a in inner.args:
            after = size_total(place, a.shape[axis])
            if (place, after) == (start, stop):
                return a
            place = after
    return e


def _simplified(found: Taught, written: Written) -> None:
    """By the rules once more: what became a number may go."""
    moved: dict[Expr, Expr] = {}

    def carry(before: Expr, after: Expr, table: dict[Expr, Expr]) -> None:
        written.carry(before, after, table)
        moved[before] = after

    (made,), _ = rewrite([found.expr], GROUPS, carry)
    _moved(found, {**moved, found.expr: made})


def _never_is(e: Expr) -> bool:
    """Is it i ≠ c of places i = 0, 1, … and a number c below them?"""
    if e.op.name != "ne" or e.args[0].op.name != "arange":
        return False
    number = constant_value(e.args[1])
    return number is not None and not number.powers and number.number < 0


def _rolled(found: Taught) -> bool:
    """One loop that was unrolled as a scan; what it adds up is one sum."""
    read = users(topological([found.expr]))

    def flat(e: Expr) -> Expr:
        if e.op is not SUM or len(e.args) < 2:
            return e
        natural, terms = tuple(range(e.ndim)), list[Term]()
        for c, a, labels in terms_of(e):
            if a.op is SUM and len(a.args) > 1 and labels == natural and read.get(a, 0) < 2:
                terms += [(c * k, x, row) for k, x, row in terms_of(a)]
            else:
                terms.append((c, a, labels))
        return linear(terms, e.shape, e.dtype)

    for before in ({e: e for e in read}, transform([found.expr], flat)):
        known = rolled(before[found.expr])
        if known:
            _moved(found, {k: known.get(e, e) for k, e in before.items()})
            return True
    return False


def _in_parts(found: Taught, written: Written) -> None:
    held = dict.fromkeys(found.wanted)
    words = {name_of(x) for x in found.inputs}
    parts: dict[Expr, list[Expr]] = {}

    def part(leaf: Expr, cut: Cut) -> list[Expr]:
        word, shape, dtype, number, facts = leaf.params
        ranges = sorted(cut.ranges)
        named = part_words(word, len(ranges), words)
        found.parts[leaf] = cut.axis, []
        made: dict[object, Expr] = {}
        for (start, stop), (name, suffix) in zip(ranges, named, strict=True):
            extent = (*shape[: cut.axis], stop - start, *shape[cut.axis + 1 :])
            new = symbol(name, extent, dtype, number, facts)
            words.add(name)
            made[start, stop] = new
            found.parts[leaf][1].append(new)
            if suffix:
                found.uses[new] = suffix
        parts[leaf] = list(made.values())
        return [made[r] for r in cut.ranges]

    known = Parts([found.expr], held.__contains__, part, written.carry)
    if parts:
        _moved(found, {**known.new, found.expr: known.roots[0]})
        found.renamed(parts)
        found.parts = {e: found.parts[e] for e in held if e in found.parts}


def _split(found: Taught, written: Written) -> None:
    """Axes that reshapes split or join are several axes."""
    new: dict[Expr, list[Expr]] = {}

    def part(leaf: Expr, stored: Stored) -> Expr:
        word, _, dtype, number, facts = leaf.params
        made = symbol(word, stored.shape, dtype, number, facts)
        new[leaf] = [made]
        found.stored[made] = stored
        return made

    known = split(found.expr, part, written.carry)
    if known:
        _moved(found, known)
        found.renamed(new)
        moved = {old: made for old, (made,) in new.items()}
        found.uses = {moved.get(e, e): word for e, word in found.uses.items()}
        found.parts = {e: (axis, [moved.get(x, x) for x in row])
                       for e, (axis, row) in found.parts.items()}  # fmt: skip


def _gates(found: Taught, written: Written) -> None:
    """The activations within the steps of a scan are results of it, called as their weights are."""
    table: dict[Expr, tuple[Body, list[Expr]]] = {}
    named: dict[Expr, str] = {}
    rank = {word: k for k, word in enumerate(dict.fromkeys(found.uses.values()))}
    for node in topological([found.expr]):
        if node.op is not SCAN:
            continue
        gates = list(_activations(node))
        if not gates:
            continue
        words = {e: _word(node, e, found.uses) for e in gates}
        gates.sort(key=lambda e: rank.get(words[e], len(rank)))
        body: Body = node.params[0]
        outputs = [e for e in gates if e not in body.results]
        new = body.over([*body.results, *outputs])
        table[node] = new, gates
    if not table:
        return
    moved: dict[Expr, Expr] = {}
    for node in topological([found.expr]):
        args = tuple(moved[a] for a in node.args)
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        new = node if same else node.func(*args)
        if node in table:
            body, gates = table[node]
            new = apply(SCAN, new.args, (body, new.params[1]))
            count = len(body.states)
            named.update((project(new, k), "") for k in range(count, 2 * count))
            for e in gates:
                k = count + body.results.index(e)
                named[project(new, k)] = _word(new, e, found.uses)
        moved[node] = new
        if new is not node:
            written.carry(node, new, moved)
    _moved(found, moved)
    found.chosen.update(named)


def _cells(found: Taught) -> None:
    """The gates of a single step are called as their weights are, too."""
    if not found.uses:
        return
    letters = {x for e in found.inputs for x in letters_of(e.shape)}
    table = NameTable(letters | {name_of(e) for e in found.inputs})
    for e in topological([found.expr]):
        if _is_gate(e) and e not in found.chosen:
            inner = topological([e], lambda a, e=e: a is not e and (_is_gate(a) or is_result(a)))
            words = {found.uses.get(x, "") for x in inner if x.op is SYMBOL} - {""}
            if len(words) == 1:
                (word,) = words
                found.chosen[e] = table.fresh(word, 1) if word in table.taken else word


def _is_gate(e: Expr) -> bool:
    return e.op.name in ACTIVATIONS and e.op.family == "map"


def _activations(node: Expr) -> Iterator[Expr]:
    """Activations that every step computes of more than a result of the step."""
    body: Body = node.params[0]
    results = set(body.results)
    moving: set[Expr] = set(body.states)
    for e in topological(body.results):
        if not moving.isdisjoint(e.args):
            moving.add(e)
            if _is_gate(e) and e not in results and e.args[0] not in results:
                yield e


def _word(node: Expr, gate: Expr, suffix: Mapping[Expr, str]) -> str:
    """The word that all the parts of parameters have in common which a gate reads; "" for none."""
    body: Body = node.params[0]
    _, inputs, fixed = operands_of(node)
    inner = topological([gate], lambda e: e is not gate and e.op.name in ACTIVATIONS)
    operands = dict(zip((*body.inputs, *body.fixed), (*inputs, *fixed), strict=True))
    read = topological([operands[e] for e in inner if e in operands], is_result)
    words = {suffix.get(x, "") for x in read if x.op is SYMBOL and x in suffix}
    return words.pop() if len(words) == 1 else ""
