"""Arithmetic of indices, and those that are known by another: ``Σₖ A[k] 1[i = k + 1]`` is ``A[i − 1] 1[i ≥ 1]``.

A mark that compares indices is strong: where it is 0 the product is, though another factor leaves
its range there (K. E. Iverson's bracket as in Graham, Knuth, Patashnik, *Concrete Mathematics*, 2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from symgrad.core.expr import Expr
from symgrad.core.sizes import ONE, Monomial, Size, monomial, size_total, terms_of_letter
from symgrad.derivation.form import Form, Slot
from symgrad.derivation.notation import product, scaled
from symgrad.ops.structure import is_selection


def whole(number: Size) -> Form:
    """A whole number or a size as a form."""
    return Form("number", (), monomial(number))


def affine(terms: Sequence[tuple[Size, Form]], constant: Size = 0) -> Form:
    """``2 i + r − 1``: whole multiples of indices, and a constant last; sums of sums are opened."""
    table: dict[Form, Monomial] = {}
    rest: list[Monomial] = []
    for factor, form in terms:
        many = monomial(factor)
        for c, item in _terms(form):
            if item.kind == "scale":
                c, item = c * item.data, item.items[0]
            if item.kind == "number":
                rest.append(many * c * item.data)
            else:
                old = table.get(item)
                step = many * c
                table[item] = step if old is None else Monomial(old.number + step.number)
    rest = _in_terms([*rest, monomial(constant)])
    rows = [(c, f) for f, c in table.items() if not c.is_zero]
    rows.sort(key=lambda row: (row[0].number < 0, not row[0].powers, -abs(row[0].number)))
    plain = sum((c.number for c in rest if not c.powers), Fraction(0))
    rows += [(monomial(-1 if c.number < 0 else 1), Form("number", (), absolute(c)))
             for c in [*(c for c in rest if c.powers), Monomial(plain)] if not c.is_zero]  # fmt: skip
    if rows and rows[0][0].number < 0:  # n − 1 − i
        rows.sort(key=lambda row: row[1].kind != "number")
    if not rows:
        return whole(0)
    if len(rows) == 1:
        return scaled(*rows[0])
    return Form("sum", tuple(f for _, f in rows), tuple(c for c, _ in rows))


def _terms(form: Form) -> list[tuple[Monomial, Form]]:
    """The terms of a sum with what stands in front; anything else is one term."""
    if form.kind == "sum":
        return list(zip(form.data, form.items, strict=True))
    return [(form.data, form.items[0])] if form.kind == "scale" else [(ONE, form)]


def _in_terms(rest: Sequence[Monomial]) -> list[Monomial]:
    """Constants added; a size ``T − 1`` is two terms."""
    total = monomial(size_total(*rest))
    return [t for word, _ in total.powers for t in terms_of_letter(word)] or [total]


def absolute(c: Monomial) -> Monomial:
    """The coefficient without its sign."""
    return -c if c.number < 0 else c


def indicator(left: Form, sign: str, right: Form) -> Form:
    """``1[left = right]``."""
    return Form("indicator", (Form("compare", (left, right), sign),))


def shifted(place: Form) -> tuple[Form, Size] | None:
    """(i, c) of a place ``i + c``; None for any other."""
    rows = _terms(place)
    letters = [row for row in rows if row[1].kind == "slot"]
    numbers = [c * x.data for c, x in rows if x.kind == "number"]
    if len(letters) != 1 or letters[0][0] != ONE or len(numbers) < len(rows) - 1:
        return None
    return letters[0][1], size_total(*numbers)


def moved(place: Form, by: Size) -> Form:
    """``i + c`` moved by a number."""
    return affine([(1, place)], by)


def equal(a: Form, b: Form) -> Form:
    """``1[a = b]``: one letter by a number, or the greater of two by the other."""
    difference = affine([(1, a), (-1, b)])
    rows = _terms(difference)
    letters = [(c, x) for c, x in rows if x.kind == "slot"]
    constant = size_total(*(c * x.data for c, x in rows if x.kind == "number"))
    plain = len(rows) - len(letters) == sum(x.kind == "number" for _, x in rows)
    if plain and len(letters) == 1 and letters[0][0] in (ONE, -ONE):
        ((sign, letter),) = letters
        return indicator(letter, "=", affine([], -monomial(constant) * sign))
    left, right = shifted(a), shifted(b)
    if left is None or right is None:
        return indicator(a, "=", b)
    apart = size_total(right[1], -monomial(left[1]))
    if monomial(apart).number < 0:
        return indicator(right[0], "=", moved(left[0], -monomial(apart)))
    return indicator(left[0], "=", moved(right[0], apart))


def within(place: Form, low: Size, length: Size) -> list[Form]:
    """The marks that say ``low ≤ place < low + length``, but those that are always so."""
    known = shifted(place)
    if known is None:
        end = size_total(low, length)
        return [indicator(place, "≥", affine([], low)), indicator(place, "<", affine([], end))]
    letter, constant = known
    low = size_total(low, -monomial(constant))
    high = size_total(low, length)
    never_less = isinstance(low, int) and low <= 0
    size = letter.data.size
    never_more = high == size or (isinstance(high, int) and isinstance(size, int) and high >= size)
    return [*([] if never_less else [indicator(letter, "≥", affine([], low))]),
            *([] if never_more else [indicator(letter, "<", affine([], high))])]  # fmt: skip


Rows = list[tuple[Monomial, Form]]


def gathered(rows: Rows, total: Callable[[Rows], Form]) -> Rows:
    """``a 1[i < n − 1] + b 1[i < n − 1] = (a + b) 1[i < n − 1]``; what is added comes first."""
    if not any(map(_ranged, (form for _, form in rows))):
        return rows
    rows = sorted(rows, key=lambda row: (row[0].number < 0, repr(row[1])))
    groups: dict[tuple[Form, ...] | int, Rows] = {}
    for k, (c, form) in enumerate(rows):
        c, form = (c * form.data, form.items[0]) if form.kind == "scale" else (c, form)
        items = form.items if form.kind == "product" else (form,)
        marks = tuple(x for x in items if x.kind == "indicator")
        rest = product([x for x in items if x not in marks])
        groups.setdefault(marks if _ranged(form) else k, []).append((c, rest))
    found: Rows = []
    for key, group in groups.items():
        if isinstance(key, tuple) and len(group) > 1:
            found.append((ONE, product([total(group), *key])))
        else:
            c, rest = group[0]
            found.append((c, product([rest, *key])) if isinstance(key, tuple) else rows[key])
    return found


def _ranged(form: Form) -> bool:
    """Does a product say where it is not 0: ``1[i ≥ 1]``, ``1[i = j + 1]``?"""
    form = form.items[0] if form.kind == "scale" else form
    for x in form.items if form.kind == "product" else (form,):
        if x.kind == "indicator" and x.items[0].kind == "compare":
            (left, right), sign = x.items[0].items, x.items[0].data
            if left.kind == "slot" and (
                sign in ("<", "≥") or (sign == "=" and right.kind == "sum")
            ):
                return True
    return False


def needed(marks: Sequence[Form], factors: Sequence[Form]) -> list[Form]:
    """The marks that no ``1[i = j + c]`` among the factors implies, each once."""
    rows: list[tuple[Slot, Size, Slot]] = []  # i = j + c
    for form in factors:
        if (
            form.kind == "indicator"
            and form.items[0].kind == "compare"
            and form.items[0].data == "="
        ):
            a, b = map(shifted, form.items[0].items)
            if a is not None and b is not None:
                apart = size_total(b[1], -monomial(a[1]))
                rows.append((a[0].data, apart, b[0].data))
                rows.append((b[0].data, size_total(-monomial(apart)), a[0].data))
    return [m for m in dict.fromkeys(marks) if not any(_implied(m, row) for row in rows)]


def _implied(mark: Form, row: tuple[Slot, Size, Slot]) -> bool:
    """Does ``i = j + c`` with 0 ≤ j < n say that ``i ≥ low``, or ``i < high``?"""
    (place, bound), sign = mark.items[0].items, mark.items[0].data
    letter, apart, other = row
    if place.kind != "slot" or place.data != letter:
        return False
    end = size_total(*(c * x.data for c, x in _terms(bound)))
    least = (
        (apart, -monomial(end)) if sign == "≥" else (end, -monomial(apart), -monomial(other.size))
    )
    spare = size_total(*least)
    return isinstance(spare, int) and spare >= 0


def _start(e: Expr) -> int | None:
    """c of ``S[k, i] = 1[i = k + c]``, a slice of the rows of δ; None for what is none."""
    if not is_selection(e):
        return None
    start, _, step = e.params[0][0]
    return start if step == 1 and isinstance(start, int) else None


class Shifts:
    """The factors ``1[i = k + c]`` of a product, by which one index is known by the other.

    ``place`` is completed with the indices that are; ``gone`` are the factors that have said so,
    ``marks`` what is left to say of their ranges.
    """

    def __init__(
        self, factors: Sequence[tuple[Expr, Sequence[int]]], place: dict[int, Form],
        sizes: Mapping[int, Size],
    ) -> None:  # fmt: skip
        starts = {k: _start(a) for k, (a, _) in enumerate(factors)}
        self.rows = [(start, k, *factors[k][1]) for k, start in starts.items()
                     if start is not None and min(factors[k][1]) >= 0]  # fmt: skip
        self.rows.sort()
        self.place, self.sizes = place, sizes
        self.gone: set[int] = set()
        self.marks: list[Form] = []
        self.follow()

    def first(self, labels: Sequence[int]) -> int:
        """The label that gets a letter next: a row of a selection says its column."""
        columns = {column for _, _, _, column in self.rows}
        return next((x for x in labels if x not in columns), labels[0])

    def follow(self) -> None:
        """Labels that follow from those that have a place, the least shifts first."""
        found = True
        while found:
            found = False
            for start, k, row, column in self.rows:
                if (row in self.place) == (column in self.place):
                    continue
                found = True
                self.gone.add(k)
                if row in self.place:
                    self.place[column] = moved(self.place[row], start)
                    continue
                self.place[row] = moved(self.place[column], -start)
                self.marks += within(self.place[column], start, self.sizes[row])


__all__ = [
    "Shifts",
    "absolute",
    "affine",
    "equal",
    "gathered",
    "indicator",
    "needed",
    "whole",
    "within",
]
