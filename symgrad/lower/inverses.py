"""Inverses and solves of one text: a solve for each product with an inverse, or the inverse for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import islice, product

from symgrad_codegen.program import Apply, Operand, text

from symgrad.lower.align import MATMUL, TIMES, TURNED
from symgrad.lower.peak import Reading
from symgrad.lower.words import exchanged, is_there, spelled_as, turned, untransposed, word_of

SOLVE, INVERSE = text("solve({0}, {1})"), text("inv({0})")
WAYS = 16
"""Ways to solve in the products of one inverse that are tried."""


def _inverted(part: Operand) -> tuple[Operand, bool] | None:
    """A and False of ``inv(A)``, A and True of ``inv(A).T``."""
    inner, other = untransposed(part)
    if not isinstance(inner, Apply) or word_of(inner) != "inv":
        return None
    return inner.operands[0], other


def solve_for_an_inverse(part: Apply, reading: Reading) -> Operand | None:
    """A⁻¹ B by a solve."""
    if part.template != MATMUL:
        return None
    found = _inverted(part.operands[0])
    ranks = [len(reading.shapes.get(id(x), ())) for x in part.operands]
    if found is None or ranks[0] != 2 or ranks[1] not in (1, 2):  # a batch has other columns
        return None
    return _solved(found, part.operands[1], ranks[1], right=False)


def _solved(inverse: tuple[Operand, bool], b: Operand, rank: int, right: bool) -> Operand:
    """A⁻¹ b, or with the inverse on the ``right`` b A⁻¹ = (A⁻ᵀ bᵀ)ᵀ."""
    a, other = inverse
    matrix = turned(a) if other != right else a
    if not right or rank == 1:
        return Apply(SOLVE, (matrix, b))
    return turned(Apply(SOLVE, (matrix, turned(b))))


def inverse_for_a_solve(part: Apply, reading: Reading) -> Operand | None:
    """The solution of A x = b by A⁻¹, where that is there."""
    if spelled_as(part) != SOLVE.form("numpy"):
        return None
    a, b = part.operands
    if len(reading.shapes.get(id(a), ())) != 2:
        return None
    base, other = untransposed(a)
    if not is_there(reading, INVERSE, base):
        return None
    inverse: Operand = Apply(INVERSE, (base,))
    return Apply(MATMUL, (turned(inverse) if other else inverse, b))


# ------------------------------------------------------------------ all products at once

Factor = tuple[Operand, int]
"""A factor and its number of axes."""
Chain = tuple[list[Operand], list[Factor]]
"""The numbers in front of a product, and its factors."""


def solves_for_all(
    root: Operand, reading: Reading, symmetric: Callable[[Operand], bool]
) -> Iterator[Operand]:
    """The text with a solve for every product with an inverse: of any matrix, or of one.

    One that stands once, in front, remains: ``inv(A) @ b`` is usual.
    """
    inverses: dict[int, dict[int, Chain]] = {}  # of which matrix → where → the product
    for part, chain in _chains(root, reading):
        for f, _ in chain[1]:
            found = _inverted(f)
            if found is not None:
                users = inverses.setdefault(reading.numbers[id(found[0])], {})
                users[reading.numbers[id(part)]] = chain
    if len(inverses) > 1:
        inverses = {-1: {k: c for users in inverses.values() for k, c in users.items()}, **inverses}
    for number, users in inverses.items():

        def is_it(part: Operand, number: int = number) -> bool:
            found = _inverted(part)
            return found is not None and number in (-1, reading.numbers.get(id(found[0])))

        where = [k for _, factors in users.values() for k, (f, _) in enumerate(factors) if is_it(f)]
        if where == [0]:
            continue
        ways = [list(_by_solves(*chain, is_it, symmetric)) for chain in users.values()]
        for chosen in islice(product(*ways), WAYS):
            made = dict(zip(users, chosen, strict=True))
            places = {p: made[k] for p, k in reading.numbers.items() if k in made}
            yield exchanged(root, places, inside=True)


def _chains(root: Operand, reading: Reading) -> Iterator[tuple[Apply, Chain]]:
    """Every product of matrices of a text that no other one contains."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        part = stack.pop()
        if id(part) in seen or not isinstance(part, Apply):
            continue
        seen.add(id(part))
        if part.template == MATMUL:
            numbers, factors = _opened(part, reading)
            yield part, (numbers, factors)
            stack += [*numbers, *(f for f, _ in factors)]
        else:
            stack += part.operands


def _opened(whole: Apply, reading: Reading) -> Chain:
    """A, B, … of ``c * A @ (B @ …)``, as far as there is an inverse in it.

    What comes to stand inside is a matrix.
    """

    def ranked(operands: Sequence[Operand]) -> list[Factor]:
        return [(x, len(reading.shapes.get(id(x), ()))) for x in operands]

    numbers: list[Operand] = []
    factors = ranked(whole.operands)
    k = 0
    while k < len(factors):
        f, rank = factors[k]
        if (
            isinstance(f, Apply)
            and f.template == TIMES
            and reading.shapes.get(id(f.operands[0])) == ()
        ):
            numbers.append(f.operands[0])
            factors[k] = f.operands[1], rank
            continue
        inner, other = untransposed(f) if rank == 2 else (f, False)
        parts: list[Factor] = []
        if isinstance(inner, Apply) and inner.template == MATMUL and _has_an_inverse(inner):
            parts = ranked(inner.operands)
        if _opens(parts, k == 0, k == len(factors) - 1):
            factors[k : k + 1] = [(turned(x), r) for x, r in parts[::-1]] if other else parts
        else:
            k += 1
    return numbers, factors


def _has_an_inverse(part: Operand) -> bool:
    """Is there one among the factors of this product?"""
    stack = [part]
    while stack:
        part = stack.pop()
        if _inverted(part) is not None:
            return True
        if isinstance(part, Apply) and part.template in (MATMUL, TURNED, TIMES):
            stack += part.operands
    return False


def _opens(parts: Sequence[Factor], first: bool, last: bool) -> bool:
    """Are these matrices, but for a vector at an end of the whole product?"""
    ranks = [rank for _, rank in parts]
    if not ranks or not {*ranks} <= {1, 2} or sum(ranks) < 3:
        return False
    return (ranks[0] == 2 or first) and (ranks[-1] == 2 or last)


def _by_solves(
    numbers: Sequence[Operand],
    factors: Sequence[Factor],
    is_it: Callable[[Operand], bool],
    symmetric: Callable[[Operand], bool],
) -> Iterator[Operand]:
    """The product with solves: from the right, from the left, and for a neighbour first."""

    def solved(at: int, other: Factor, right: bool) -> Factor:
        found = _inverted(factors[at][0])
        assert found is not None
        known = (found[0], right) if symmetric(found[0]) else found
        return _solved(known, *other, right), other[1]

    def multiplied(a: Factor, b: Factor) -> Factor:
        return Apply(MATMUL, (a[0], b[0])), a[1] + b[1] - 2

    count = len(factors)
    where = [k for k, (f, _) in enumerate(factors) if is_it(f)]
    sandwich = {0, count - 1} <= {*where}  # A⁻¹ B A⁻¹ is usual
    if {rank for _, rank in factors} <= {1, 2} and not sandwich:
        found: list[Factor] = []
        for right in (False, True):
            first, *rest = range(count) if right else range(count)[::-1]
            made = factors[first]
            if first in where:  # one at this end takes its neighbour
                if rest[0] in where:
                    continue
                made = solved(first, factors[rest.pop(0)], not right)
            for k in rest:
                pair = (made, factors[k]) if right else (factors[k], made)
                made = solved(k, made, right) if k in where else multiplied(*pair)
            found.append(made)
        if len(where) == 1 and count > 2:
            (k,) = where
            for other in {k - 1, k + 1} & {*range(count)}:
                made = solved(k, factors[other], other < k)
                rows = [made if x == k else f for x, f in enumerate(factors) if x != other]
                found.append(reduce(multiplied, rows))
        for made, _ in found:
            yield reduce(lambda whole, c: Apply(TIMES, (c, whole)), reversed(numbers), made)


__all__ = ["inverse_for_a_solve", "solve_for_an_inverse", "solves_for_all"]
