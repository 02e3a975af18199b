"""Size letters declared equal: ``same("d", "k")`` says that k is another name of d."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from symgrad.core.sizes import Monomial, Size, letter, monomial, normal_size
from symgrad.errors import ShapeError

Equalities: TypeAlias = "Mapping[str, Size]"
"""Letter → the letter or number that stands for it."""

_LOCK = threading.Lock()
_declared: list[Same] = []


class _State:
    """What holds now; the table is replaced as a whole, never changed, so readers take no lock."""

    def __init__(self) -> None:
        self.table: Equalities = {}


state = _State()


class Same:
    """A declaration of :func:`same`: it holds until ``undo()``, or the end of its ``with``."""

    def __init__(self, sizes: tuple[str | int, ...]) -> None:
        self.sizes = sizes

    def undo(self) -> None:
        """Withdraw it.  What was computed under it keeps its sizes; a second call does nothing."""
        with _LOCK:
            if self in _declared:
                _declared.remove(self)
                state.table = _table(_declared)

    def __enter__(self) -> Same:
        return self

    def __exit__(self, *problem: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return " = ".join(map(str, self.sizes))


def same(*sizes: str | int) -> Same:
    """Declare size letters equal, to each other or to a number, for all that is done from now on.

    The first one is the letter that formulas show; a number wins over letters.  It holds in every
    thread, until ``undo()`` of the result, or within ``with same("d", "k"):``.  Raises ShapeError
    where two different numbers would be equal.

    >>> with same("d", "k"):
    ...     united((letter("k"), 3 * letter("k")))
    (d, 3 d)
    """
    if len(sizes) < 2 or not all(isinstance(s, int) or s.isidentifier() for s in sizes):
        raise ShapeError(
            f"same({', '.join(map(repr, sizes))}): this takes two or more size letters, or numbers",
            'Write it like sg.same("d", "k") or sg.same("d", 64).',
        )
    made = Same(sizes)
    with _LOCK:
        state.table = _table([*_declared, made])
        _declared.append(made)
    return made


def _table(declarations: Sequence[Same]) -> Equalities:
    groups: list[list[str | int]] = []
    for declared in declarations:
        joined = [g for g in groups if any(s in g for s in declared.sizes)]
        groups = [g for g in groups if g not in joined]
        groups.append(list(dict.fromkeys([*(s for g in joined for s in g), *declared.sizes])))
    table: dict[str, Size] = {}
    for group in groups:
        words = [s for s in group if isinstance(s, str)]
        numbers = [s for s in group if isinstance(s, int)]
        if len(numbers) > 1:
            raise ShapeError(
                f"same({', '.join(map(repr, declarations[-1].sizes))}): {numbers[0]} and "
                f"{numbers[1]} would be equal",
                "Withdraw one of the declarations with its undo().",
            )
        if numbers:
            table.update(dict.fromkeys(words, numbers[0]))
        else:
            table.update(dict.fromkeys(words[1:], letter(words[0])))
    return table


def united(value: Any, table: Equalities | None = None) -> Any:
    """A size, a shape, or the static arguments of a call, in the letters chosen."""
    table = state.table if table is None else table
    if not table:
        return value
    if isinstance(value, tuple):
        return tuple([united(v, table) for v in cast("tuple[Any, ...]", value)])
    if not isinstance(value, Monomial) or not any(name in table for name, _ in value.powers):
        return value
    found = Monomial(value.number)
    for name, power in value.powers:
        found *= monomial(table.get(name, letter(name))) ** power
    return normal_size(found)


__all__ = ["Equalities", "Same", "same", "state", "united"]
