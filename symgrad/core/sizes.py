"""Sizes and coefficients: a rational number times a monomial in size letters.

A size is a plain ``int`` or a :class:`Monomial` such as ``n`` or ``n k``; a coefficient is a
Monomial too (``2/n``, ``1/√d``).  Plain integers never leave Python's own arithmetic.  A size that
is a sum is a letter with a formula for its name: ``n-k+1`` (:func:`size_total`, :func:`parse_size`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from symgrad.core.numbers import Exact, Number, number_text, plus, power_of, rational, times, whole
from symgrad.errors import ShapeError

Powers: TypeAlias = "tuple[tuple[str, Exact], ...]"


class Monomial:
    """``number · Π letterᵖ``, immutable; whole numbers and powers are ``int``.

    >>> n = letter("n")
    >>> Monomial(2) / n
    2/n
    """

    __slots__ = ("_hash", "_text", "is_one", "number", "powers")
    number: Number
    powers: Powers
    is_one: bool
    """True for the plain number 1."""

    def __init__(self, number: Number, powers: Powers = ()) -> None:
        self.number = number = whole(number)
        self.powers = powers
        self.is_one = number == 1 and not powers
        self._hash = hash((number, powers))
        self._text = ""

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if other.__class__ is int:
            return self.number == other and not self.powers
        if isinstance(other, Monomial):
            same = self._hash == other._hash and self.powers == other.powers
            a, b = self.number, other.number
            return same and (a == b or (a != a and b != b))  # noqa: PLR0124
        if isinstance(other, Fraction):
            return not self.powers and self.number == other
        return NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __mul__(self, other: Monomial | Number | int) -> Monomial:
        if not isinstance(other, Monomial):
            if not _is_number(other):
                return NotImplemented
            other = monomial(other)
        if other.is_one:
            return self
        if self.is_one:
            return other
        number = times(self.number, other.number)
        if not other.powers:
            return Monomial(number, self.powers)
        if not self.powers:
            return Monomial(number, other.powers)
        merged = dict(self.powers)
        for name, power in other.powers:
            merged[name] = whole(merged.get(name, 0) + power)
        return Monomial(number, tuple(sorted([(k, p) for k, p in merged.items() if p])))

    __rmul__ = __mul__

    def __truediv__(self, other: Monomial | Number | int) -> Monomial:
        if not isinstance(other, Monomial):
            if not _is_number(other):
                return NotImplemented
            other = monomial(other)
        if not other.powers and other.number in (1, -1):
            return self if other.is_one else -self
        made = self * other**-1
        same = self.number == other.number and 0 < abs(self.number) < math.inf
        return Monomial(1, made.powers) if same else made

    def __rtruediv__(self, other: Number | int) -> Monomial:
        return monomial(other) / self if _is_number(other) else NotImplemented

    def __pow__(self, power: Number) -> Monomial:
        power = Fraction(power) if isinstance(power, float) else power
        return Monomial(
            power_of(self.number, power),
            tuple([(name, whole(p * power)) for name, p in self.powers]),
        )

    def __neg__(self) -> Monomial:
        return Monomial(-self.number, self.powers)

    def __add__(self, other: object) -> Size:
        return size_total(self, other) if isinstance(other, (int, Monomial)) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Size:
        return size_total(self, -other) if isinstance(other, (int, Monomial)) else NotImplemented

    def __rsub__(self, other: object) -> Size:
        return size_total(other, -self) if isinstance(other, int) else NotImplemented

    @property
    def is_modest(self) -> bool:
        """May it be merged with other coefficients without danger of overflow?"""
        if isinstance(self.number, float):
            return 1e-18 < abs(self.number) < 1e18 or not self.number
        top, bottom = self.number.numerator, self.number.denominator
        return not top or (abs(top) < 10**18 * bottom and bottom < 10**18 * abs(top))

    @property
    def is_zero(self) -> bool:
        """True for 0."""
        return self.number == 0

    @property
    def letters(self) -> tuple[str, ...]:
        """The size letters in it, sorted; those of a sum in its place."""
        names = [name for name, _ in self.powers]
        if _SUMS.keys().isdisjoint(names) and _FLOORS.keys().isdisjoint(names):
            return tuple(names)
        found = {x for name, _ in self.powers for x in _letters_in(name)}
        return tuple(sorted(found))

    def value(self, sizes: Mapping[str, int]) -> float | int:
        """The number for given sizes; an ``int`` when it is whole.

        >>> (letter("n") * 3).value({"n": 4})
        12
        """
        total: Number = self.number
        exact = not isinstance(total, float)
        for name, power in self.powers:
            size = _letter_value(name, sizes)
            if power.denominator == 1 and exact:
                total = total * Fraction(size) ** power.numerator
            else:
                exact = False
                total = float(total) * float(size) ** float(power)
        total = whole(total)
        return total if isinstance(total, int) else float(total)

    def __repr__(self) -> str:
        if not self._text:
            self._text = self._spell()
        return self._text

    def _spell(self) -> str:
        if not self.powers:
            return number_text(self.number)
        over = [(n, p) for n, p in self.powers if p > 0]
        under = [(n, -p) for n, p in self.powers if p < 0]
        top = " ".join(_letter_text(n, p) for n, p in over)
        bottom = " ".join(_letter_text(n, p) for n, p in under)
        if len(under) == 1 and terms_of_letter(under[0][0]) and under[0][1] == 1:
            bottom = f"({bottom})"
        number = number_text(self.number)
        if bottom and isinstance(self.number, Fraction):
            bottom = f"{self.number.denominator} {bottom}"
            number = str(self.number.numerator)
        head = top if top and number == "1" else f"{number} {top}".strip()
        if not bottom:
            return head
        return f"{head}/({bottom})" if " " in bottom else f"{head}/{bottom}"


def _letters_in(name: str) -> tuple[str, ...]:
    parts = _SUMS.get(name) or _FLOORS.get(name)
    return (name,) if parts is None else tuple(x for t in parts for x in t.letters)


def _letter_value(name: str, sizes: Mapping[str, int]) -> float | int:
    if name in _FLOORS:
        above, below = (t.value(sizes) for t in _FLOORS[name])
        return above // below
    terms = _SUMS.get(name)
    return sizes[name] if terms is None else sum(t.value(sizes) for t in terms)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Fraction))


def _letter_text(name: str, power: Exact) -> str:
    if name in _SUMS and power != 1:
        name = f"({name})"
    if power == 1:
        return name
    return f"√{name}" if power == Fraction(1, 2) else f"{name}^{power}"


_NUMBERS: dict[int, Monomial] = {k: Monomial(k) for k in range(-16, 65)}


def monomial(value: Monomial | Number | int) -> Monomial:
    """``value`` as a Monomial."""
    if isinstance(value, Monomial):
        return value
    if isinstance(value, int):
        known = _NUMBERS.get(value)
        if known is not None:
            return known
    return Monomial(rational(value))


@lru_cache(maxsize=4096)
def letter(name: str) -> Monomial:
    """The size letter ``name``."""
    return Monomial(1, ((name, 1),))


def letter_name(size: Size) -> str:
    """The letter that a size is; "" for a number, a multiple or a power.

    >>> letter_name(letter("n")), letter_name(letter("n") ** 2), letter_name(3)
    ('n', '', '')
    """
    if isinstance(size, int) or len(size.powers) != 1 or size.number != 1:
        return ""
    name, power = size.powers[0]
    return name if power == 1 and name not in _SUMS and name not in _FLOORS else ""


ONE = _NUMBERS[1]
Size: TypeAlias = "int | Monomial"
Shape: TypeAlias = "tuple[Size, ...]"


def normal_size(size: Size) -> Size:
    """A Monomial without letters becomes an int."""
    if isinstance(size, Monomial) and not size.powers and not isinstance(size.number, float):
        return size.number.numerator
    return size


def size_product(shape: Shape) -> Size:
    """Number of elements of a shape."""
    total: Size = 1
    for size in shape:
        total = (
            total * size
            if isinstance(size, int) and isinstance(total, int)
            else (monomial(total) * size)
        )
    return normal_size(total)


def size_sum(*sizes: Size) -> Size | None:
    """Sum of sizes, None where it is no monomial (``n + 1``).

    >>> size_sum(letter("n"), letter("n")), size_sum(letter("n"), 1)
    (2 n, None)
    """
    total = monomial(0)
    for size in map(monomial, sizes):
        if total.is_zero:
            total = size
        elif not size.is_zero:
            if size.powers != total.powers:
                return None
            total = Monomial(plus(total.number, size.number), total.powers)
    return 0 if total.is_zero else normal_size(total)


def size_difference(a: Size, b: Size) -> Size | None:
    """``a − b``, None where it is no monomial."""
    return size_sum(a, -b)


_SUMS: dict[str, tuple[Monomial, ...]] = {}
"""Letters that stand for a sum of monomials, by name."""

_FLOORS: dict[str, tuple[Monomial, Monomial]] = {}
"""Letters that stand for a quotient rounded down, by name: what is divided, and by what."""


def are_plain() -> bool:
    """Is every letter of this process a size of its own?"""
    return not _SUMS and not _FLOORS


def floor_of_letter(name: str) -> tuple[Monomial, Monomial] | None:
    """What a letter divides, and by what; None for any other.

    >>> floor_of_letter(str(size_quotient(parse_size("e-a"), letter("s"))))
    (e-a, s)
    """
    return _FLOORS.get(name)


def size_quotient(size: Size, by: Size) -> Size:
    """``⌊size / by⌋``: a number, a size where ``by`` divides every term, else a letter of its own.

    >>> e, s = letter("e"), letter("s")
    >>> size_quotient(7, 2), size_quotient(4 * e, 2), size_quotient(size_total(e, -1), s)
    (3, 2 e, ⌊(e-1)/s⌋)
    """
    if isinstance(size, int) and isinstance(by, int):
        return size // by
    parts = [t / by for t in _opened(monomial(size))]
    if all(isinstance(t.number, int) and all(p > 0 for _, p in t.powers) for t in parts):
        return size_total(*parts)
    above, below = str(size).replace(" ", "*"), str(by).replace(" ", "*")
    above, below = (f"({x})" if not x.isalnum() else x for x in (above, below))
    text = f"⌊{above}/{below}⌋"
    _FLOORS.setdefault(text, (monomial(size), monomial(by)))
    return letter(text)


def terms_of_letter(name: str) -> tuple[Monomial, ...]:
    """The terms that a letter stands for; none for a letter of its own.

    >>> _ = parse_size("n+k")
    >>> terms_of_letter("k+n"), terms_of_letter("n")
    ((k, n), ())
    """
    return _SUMS.get(name, ())


def size_total(*sizes: Size) -> Size:
    """The sum of sizes, whatever they are; a sum of several monomials is a letter of its own.

    >>> n, k = letter("n"), letter("k")
    >>> size_total(n, -k, 1), size_total(size_total(n, -k, 1), k, -1)
    (n-k+1, n)
    """
    total: dict[Powers, Number] = {}
    for size in sizes:
        for t in _opened(monomial(size)):
            total[t.powers] = plus(total.get(t.powers, 0), t.number)
    terms = [Monomial(c, powers) for powers, c in total.items() if c]
    if len(terms) < 2:
        return normal_size(terms[0]) if terms else 0
    # letters before numbers, added before taken away
    terms.sort(key=lambda t: (not t.powers, t.number < 0, t.powers))
    text = str(terms[0]) + "".join(f"-{-t}" if t.number < 0 else f"+{t}" for t in terms[1:])
    text = text.replace(" ", "*")
    _SUMS.setdefault(text, tuple(terms))
    return letter(text)


def _opened(size: Monomial) -> list[Monomial]:
    """A size as terms without sums in them."""
    found = [Monomial(size.number)]
    for name, power in size.powers:
        terms = _SUMS.get(name)
        if terms is None or power.denominator != 1 or power < 0:
            found = [t * letter(name) ** power for t in found]
            continue
        for _ in range(power.numerator):
            found = [t * s for t in found for s in terms]
    return found


_FLOOR = re.compile(r"⌊\(?([^⌊⌋()/]+)\)?/\(?([^⌊⌋()/]+)\)?⌋")
_SIZE = re.compile(r"\s*([+-]?)\s*((?:\w+)(?:\s*[*]?\s*\w+)*)")


@lru_cache(maxsize=4096)
def parse_size(text: str) -> Size:
    """``n``, ``64``, ``2*n``, ``n-k+1``, ``⌊(n-1)/2⌋`` as a size.

    Raises ValueError for anything else.

    >>> parse_size("n - k + 1"), parse_size("2*n"), parse_size("3"), parse_size("⌊(n + 2 q)/s⌋ + 1")
    (n-k+1, 2 n, 3, ⌊(n+2*q)/s⌋+1)
    """
    text, known = text.replace("−", "-"), dict[str, Size]()
    while (match := _FLOOR.search(text)) is not None:  # from within
        word = f"_{len(known)}"
        known[word] = size_quotient(_parsed(match[1], known), _parsed(match[2], known))
        text = f"{text[: match.start()]}{word}{text[match.end() :]}"
    return _parsed(text, known)


def _parsed(text: str, known: Mapping[str, Size]) -> Size:
    terms: list[Size] = []
    at = 0
    while at < len(text.rstrip()):
        match = _SIZE.match(text, at)
        if match is None or (at and not match[1]):
            raise ValueError(f"{text!r} is not a size")
        term: Monomial = monomial(-1 if match[1] == "-" else 1)
        for word in re.split(r"[\s*]+", match[2]):
            if not (word.isdigit() or word.isidentifier()):
                raise ValueError(f"{text!r} is not a size")
            term = term * monomial(int(word) if word.isdigit() else known.get(word, letter(word)))
        terms.append(term)
        at = match.end()
    if not terms:
        raise ValueError(f"{text!r} is not a size")
    return size_total(*terms)


def shape_text(shape: Shape) -> str:
    """``n×d``; ``scalar`` for a 0-d shape."""
    return "×".join(str(s) for s in shape) if shape else "scalar"


def size_text(shape: Shape) -> str:
    """``torch.Size([n, 3])``, as PyTorch's messages show a shape."""
    return f"torch.Size([{', '.join(map(str, shape))}])"


def letters_of(shape: Shape) -> list[str]:
    """Letters of a shape in order of appearance."""
    found: list[str] = []
    for size in shape:
        if isinstance(size, Monomial):
            found += [name for name in size.letters if name not in found]
    return found


def whole_number(size: Size, what: str) -> int:
    """``size`` as a number; ShapeError where it is a letter, which ``what`` cannot take."""
    if isinstance(size, int):
        return size
    raise ShapeError(
        f"{what} needs a size that is a number, but got the letter {size}",
        "Declare the symbol with a number in place of the letter.",
    )
