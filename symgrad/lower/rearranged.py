"""Factors and terms of a text in the order that takes the fewest operations, then the least memory.

Only what stands in one product or sum changes places: a number meets numbers before it meets an
array, a divisor may come last, and what needs more beyond its result comes before what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, permutations

from symgrad_codegen.program import Apply, Literal, Operand, Template

from symgrad.lower.align import MINUS, OVER, PLUS, TIMES
from symgrad.lower.inverses import solves_for_all
from symgrad.lower.peak import Measure, Reading, at_most, much_cheaper
from symgrad.lower.spellings import SPELLINGS, USUAL
from symgrad.lower.tally import Shape
from symgrad.lower.words import exchanged

SAVING = 0.85
"""What part of the work a text that is one operation longer may take, where all sizes are equal."""
HARDLY, FAR, HALF = 1.02, 0.25, 0.55
"""How many times as much is hardly more, far less, and about half."""
WIDEST = 4
"""Factors of one kind of which every order is tried."""
TRIES = 48
"""Orders of one chain."""
ROUNDS = 3

Row = tuple[Operand, bool]
"""A factor and whether it divides; a term and whether it is subtracted."""


def rearranged(
    root: Operand,
    read: Callable[[Operand], Reading],
    symmetric: Callable[[Operand], bool] = lambda _: False,
) -> Operand:
    """The text with its parts spelled where and as they take fewer operations or numbers at once.

    ``symmetric`` says of matrices of the text that they are.
    """
    reading = read(root)
    for _ in range(ROUNDS):
        before = root
        for candidate in solves_for_all(root, reading, symmetric):
            found = read(candidate)
            if _less(found.measure, reading.measure):
                root, reading = candidate, found
                break
        number = 0
        while number < len(parts := _parts(root)):
            part = parts[number]
            for other in _others(part, reading):
                candidate = _replaced(root, part, other, reading.numbers)
                found = read(candidate)
                if _less(found.measure, reading.measure):
                    root, reading = candidate, found
                    break
            number += 1
        if root is before:
            break
    for usual in USUAL:
        for part in _parts(root):
            form = usual(part, reading)
            if form is not None:
                found = read(candidate := _replaced(root, part, form, reading.numbers))
                if not _less(reading.measure, found.measure):
                    root, reading = candidate, found
    return root


def _others(part: Apply, reading: Reading) -> Iterator[Operand]:
    """A part of a text in other spellings."""
    yield from islice(_orders(part, reading.shapes), TRIES)
    for spelling in SPELLINGS:
        found = spelling(part, reading)
        if found is not None:
            yield found


def _less(new: Measure, old: Measure) -> bool:
    """As short, nowhere more and somewhere less; longer by one for much less work, by three for half."""
    if new.length < old.length and much_cheaper(new, old):
        return True
    if not (at_most(new.flops, old.flops) and at_most(new.alive, old.alive)):
        return new.length <= old.length and _hardly_more(new, old)
    if new.length > old.length:
        half = all(2 * a <= b for a, b in zip(new.flops, old.flops, strict=True))
        longer = new.length - old.length
        return (longer == 1 and new.flops[0] <= SAVING * old.flops[0]) or (longer <= 3 and half)
    return (new.flops, new.alive) != (old.flops, old.alive)


def _hardly_more(new: Measure, old: Measure) -> bool:
    """Far less work for hardly more numbers at once at every setting, or half of these?"""
    less = at_most(new.flops, old.flops, FAR) and at_most(new.alive, old.alive, HARDLY)
    return less or (at_most(new.alive, old.alive, HALF) and at_most(new.flops, old.flops, HARDLY))


def _parts(root: Operand) -> list[Apply]:
    """Every operation, the outermost first; of a product or sum only the whole."""
    seen: set[tuple[int, bool]] = set()
    found: list[Apply] = []
    stack: list[tuple[Operand, str]] = [(root, "")]
    while stack:
        part, above = stack.pop()
        if not isinstance(part, Apply):
            continue
        kind = _kind(part.template)
        inner = bool(kind) and kind == above
        if (id(part), inner) in seen:
            continue
        seen.add((id(part), inner))
        if not inner:
            found.append(part)
        stack += [(o, kind) for o in reversed(part.operands)]
    return found


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
    """A product or sum in other orders."""
    if not _kind(chain.template):
        return
    rows = _rows(chain)
    if any(id(part) not in shapes for part, _ in rows):
        return
    if _kind(chain.template) == "sum":
        if len(rows) <= WIDEST:
            for order in permutations(rows):
                if not order[0][1]:
                    yield _folded(order, PLUS, MINUS)
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
    number = _product(front)
    yield from _on_a_column(above, below, last)
    yield _folded([(number, False), *last], TIMES, OVER)
    if isinstance(front[0][0], Literal) and len(front) > 1:  # what follows it may be there
        apart = Apply(TIMES, (front[0][0], _product(front[1:])))
        yield _folded([(apart, False), *last], TIMES, OVER)
    if below:
        literal = isinstance(above[0][0], Literal) if above else False
        inverse = Apply(
            OVER, (above[0][0] if literal else Literal(1), _product([(x, False) for x, _ in below]))
        )
        rest = above[1:] if literal else above
        if rest:
            yield _folded([(inverse, False), *rest, *last], TIMES, OVER)
        yield Apply(TIMES, (_folded(last, TIMES, OVER), number))
        start = [(_product(above), False), *last] if above else last
        under = _product([(part, False) for part, _ in below])
        yield Apply(OVER, (_folded(start, TIMES, OVER), under))


def _on_a_column(above: list[Row], below: list[Row], last: list[Row]) -> Iterator[Operand]:
    """The numbers on a computed column or row that the product repeats: ``(v / s)[:, None] * A``."""
    for k, (part, turned) in enumerate(last):
        if len(last) < 2 or not isinstance(part, Apply):
            continue
        spelled = dict(part.template.forms).get("numpy", "")
        if "None" not in spelled or not isinstance(part.operands[0], Apply):
            continue
        rest = [row for j, row in enumerate(last) if j != k]
        divided = turned and not above
        rows = [*above, (part.operands[0], turned), *below]
        if divided:  # A / (s v)[:, None]
            rows = [(x, False) for x, _ in (*below, rows[0])]
        inner = Apply(part.template, (_folded(rows, TIMES, OVER),))
        yield _folded([*rest, (inner, True)] if divided else [(inner, False), *rest], TIMES, OVER)


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


def _replaced(root: Operand, old: Operand, new: Operand, numbers: Mapping[int, int]) -> Operand:
    """The text with one part exchanged wherever it stands; what is above it is built again."""
    alike = numbers.get(id(old), -1)
    places = {name: new for name, number in numbers.items() if number == alike}
    return exchanged(root, {**places, id(old): new}, inside=False)


__all__ = ["rearranged"]
