"""Sizes that follow from others get a letter of their own: ``e2 = ⌊(e + 2 q − a)/s⌋ + 1``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from symgrad.core.sizes import (
    Monomial,
    Size,
    are_plain,
    floor_of_letter,
    letter,
    letters_of,
    monomial,
    normal_size,
    terms_of_letter,
)
from symgrad.derivation.notation import Form, Slot, Step, run


def source(name: str) -> Monomial | None:
    """What a letter follows from, where it is more than a sum: what is divided, or the products."""
    terms = terms_of_letter(name)
    for part in (letter(name), *terms):
        for word, _ in part.powers:
            found = floor_of_letter(word)
            if found is not None:
                return found[0]
    return letter(name) if any(len(t.powers) > 1 for t in terms) else None


def derived_sizes(
    forms: Iterable[Form], sizes: Sequence[Size], taken: Iterable[str]
) -> dict[str, str]:
    """Letters that are more than a sum and what they are called: ``e2`` where e is divided."""
    table: dict[str, str] = {}
    if are_plain():
        return table
    used = set(taken)
    known = letters_of(tuple(sizes))
    for name in _letters(forms):
        whole = None if name in table else source(name)
        if whole is None:
            continue
        inside = letters_of((whole,))
        base = next((x for x in known if x in inside), inside[0] if inside else "n")
        word = next(w for k in count(2) if (w := f"{base}{k}") not in used)
        used.add(word)
        table[name] = word
    return table


def _letters(forms: Iterable[Form]) -> Iterable[str]:
    stack = list(forms)[::-1]
    while stack:
        form = stack.pop()
        for size in _sizes_of(form):
            yield from (word for word, _ in monomial(size).powers)
        stack += reversed(form.items)


def _sizes_of(form: Form) -> Iterable[Size]:
    data = form.data
    if isinstance(data, Slot):
        yield data.size
    elif isinstance(data, Monomial):
        yield data
    elif isinstance(data, tuple):
        for part in data:
            if isinstance(part, (Slot, Monomial)):
                yield part.size if isinstance(part, Slot) else part


def renamed_size(size: Size, table: Mapping[str, str]) -> Size:
    """A size with other letters."""
    if isinstance(size, int) or not any(x in table for x, _ in size.powers):
        return size
    total = Monomial(size.number)
    for x, p in size.powers:
        total = total * letter(table.get(x, x)) ** p
    return normal_size(total)


def renamed(form: Form, table: Mapping[str, str]) -> Form:
    """A form with other size letters."""
    return run(_renamed(form, table)) if table else form


def _renamed(form: Form, table: Mapping[str, str]) -> Step:
    items: list[Form] = []
    for item in form.items:
        items.append((yield _renamed(item, table)))
    return Form(form.kind, tuple(items), _data(form.data, table))


def _data(data: object, table: Mapping[str, str]) -> object:
    if isinstance(data, Slot):
        return Slot(renamed_size(data.size, table), data.number)
    if isinstance(data, Monomial):
        return monomial(renamed_size(data, table))
    if isinstance(data, tuple):
        return tuple(_data(part, table) for part in data)
    return data


def definition(name: str) -> str:
    """The text of a size: ``⌊(e + 2 q − a)/s⌋ + 1``."""
    return name.replace("-", " − ").replace("+", " + ").replace("*", " ")


__all__ = ["definition", "derived_sizes", "renamed", "renamed_size"]
