"""Factors and terms of a text in the order that takes the fewest operations, then the least memory.

Only what stands in one product or sum changes places: a number meets numbers before it meets an
array, a divisor may come last, and what needs more beyond its result comes before what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, permutations

from symgrad_codegen.program import Apply, Literal, Operand, Template

from symgrad.lower.align import MINUS, OVER, PLUS, TIMES
from symgrad.lower.peak import Measure
from symgrad.lower.tally import Shape

WIDEST = 4
"""Factors of one kind of which every order is tried."""
TRIES = 48
"""Orders of one chain."""
ROUNDS = 3

Row = tuple[Operand, bool]
"""A factor and whether it divides; a term and whether it is subtracted."""
Measured = Callable[[Operand], tuple[Measure, Mapping[int, Shape]]]


def rearranged(root: Operand, measure: Measured) -> Operand:
    """The text with factors and terms where they take fewer operations or numbers at once."""
    least, shapes = measure(root)
    for _ in range(ROUNDS):
        before = root
        number = 0
        while number < len(chains := list(_chains(root))):
            for other in islice(_orders(chains[number], shapes), TRIES):
                candidate = _replaced(root, chains[number], other)
                found, seen = measure(candidate)
                if _less(found, least):
                    root, least, shapes = candidate, found, seen
                    break
            number += 1
        if root is before:
            break
    return root


def _less(new: Measure, old: Measure) -> bool:
    rows = [*zip(new.flops, old.flops, strict=True), *zip(new.alive, old.alive, strict=True)]
    return (
        new.length <= old.length and all(a <= b for a, b in rows) and any(a < b for a, b in rows)
    )


def _chains(root: Operand) -> Iterator[Apply]:
    """The outermost products and sums."""
    seen: set[tuple[int, bool]] = set()
    stack: list[tuple[Operand, str]] = [(root, "")]
    while stack:
        part, above = stack.pop()
        if not isinstance(part, Apply):
            continue
        kind = _kind(part.template)
        if (id(part), kind == above) in seen:
            continue
        seen.add((id(part), kind == above))
        if kind and kind != above:
            yield part
        stack += [(o, kind) for o in reversed(part.operands)]


def _kind(template: Template) -> str:
    return "product" if template in (TIMES, OVER) else "sum" if template in (PLUS, MINUS) else ""


def _rows(chain: Apply) -> list[Row]:
    """Its factors or terms from left to right."""
    kind = _kind(chain.template)
    found: list[Row] = []
    stack: list[Row] = [(chain, False)]
    while stack:
        part, turned = stack.pop()
        if isinstance(part, Apply) and _kind(part.template) == kind:
            a, b = part.operands
            stack += [(b, turned != (part.template in (OVER, MINUS))), (a, turned)]
        else:
            found.append((part, turned))
    return found


def _orders(chain: Apply, shapes: Mapping[int, Shape]) -> Iterator[Operand]:
    """The chain in other orders."""
    rows = _rows(chain)
    if any(id(part) not in shapes for part, _ in rows):
        return
    if _kind(chain.template) == "sum":
        if len(rows) <= WIDEST:
            small = [r for r in rows if len(shapes[id(r[0])]) < len(shapes[id(chain)])]
            for order in permutations(rows):
                if not order[0][1]:
                    yield _folded(order, PLUS, MINUS)
            large = [r for r in rows if r not in small]
            if len(small) > 1 and large and not small[0][1] and not large[0][1]:
                yield Apply(PLUS, (_folded(large, PLUS, MINUS), _folded(small, PLUS, MINUS)))
        return
    numbers = [r for r in rows if not shapes[id(r[0])]]
    arrays = [r for r in rows if shapes[id(r[0])]]
    if len(numbers) > WIDEST or len(arrays) > WIDEST:
        return
    literal = [r for r in numbers if isinstance(r[0], Literal)]
    others = [r for r in numbers if not isinstance(r[0], Literal)]
    for first in permutations(others):
        for last in permutations(arrays):
            front = [*literal, *first]
            if not last:
                yield _product(front)
            elif last[0][1]:
                continue
            elif not front:
                yield _folded(last, TIMES, OVER)
            else:
                yield from _with_numbers(front, list(last))


def _with_numbers(front: list[Row], last: list[Row]) -> Iterator[Operand]:
    above = [r for r in front if not r[1]]
    below = [r for r in front if r[1]]
    if above:
        yield _folded([(_product(front), False), *last], TIMES, OVER)
    if below:
        start = [(_product(above), False), *last] if above else last
        under = _product([(part, False) for part, _ in below])
        yield Apply(OVER, (_folded(start, TIMES, OVER), under))


def _product(rows: list[Row]) -> Operand:
    """Numbers multiplied, over numbers multiplied."""
    above = [(part, False) for part, turned in rows if not turned]
    below = [(part, False) for part, turned in rows if turned]
    value = _folded(above, TIMES, OVER) if above else Literal(1)
    return Apply(OVER, (value, _folded(below, TIMES, OVER))) if below else value


def _folded(rows: list[Row] | tuple[Row, ...], plain: Template, turned: Template) -> Operand:
    made = rows[0][0]
    for part, other in rows[1:]:
        made = Apply(turned if other else plain, (made, part))
    return made


def _replaced(root: Operand, old: Operand, new: Operand) -> Operand:
    """The text with one part exchanged; what is above it is built again."""
    done: dict[int, Operand] = {id(old): new}
    stack: list[tuple[Operand, bool]] = [(root, False)]
    while stack:
        part, ready = stack.pop()
        if id(part) in done:
            continue
        if not isinstance(part, Apply):
            done[id(part)] = part
        elif ready:
            below = tuple(done[id(o)] for o in part.operands)
            same = all(a is b for a, b in zip(below, part.operands, strict=True))
            done[id(part)] = part if same else Apply(part.template, below)
        else:
            stack.append((part, True))
            stack += [(o, False) for o in part.operands]
    return done[id(root)]


__all__ = ["rearranged"]
