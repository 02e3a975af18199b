"""Other spellings of one operation of a text, each an identity of real numbers.

A row takes the operation and the reading of the whole text, and gives an equal operand, or None.
Which spelling is better is measured afterwards, on the whole text.
"""

from __future__ import annotations

from collections.abc import Callable

from symgrad_codegen.program import Apply, Literal, Operand, Template, text

from symgrad.lower.align import COLUMN, MATMUL, MINUS, NEGATIVE, OUTER, OVER, PLUS, TIMES, TURNED
from symgrad.lower.inverses import inverse_for_a_solve, solve_for_an_inverse
from symgrad.lower.meet import exponent
from symgrad.lower.peak import Reading
from symgrad.lower.totals import (
    product_that_is_there,
    total_as_a_mean,
    total_of_a_product,
    total_of_what_is_there,
    total_over_an_outer_product,
    totals_of_terms,
    trace_of_a_product,
    traces_apart,
)
from symgrad.lower.words import is_there, spelled_as, word_of

EVEN = {"abs", "norm", "cos", "cosh"}
"""Functions of a difference that its sign does not change; and even powers."""


def power_of_a_quotient(part: Apply, _: Reading) -> Operand | None:
    """aᵏ / bᵏ = (a / b)ᵏ."""
    if part.template != OVER:
        return None
    a, b = part.operands
    if not (isinstance(a, Apply) and isinstance(b, Apply)) or a.template != b.template:
        return None
    if a.template not in (exponent("2"), exponent("3"), exponent("4")):
        return None
    return Apply(a.template, (Apply(OVER, (a.operands[0], b.operands[0])),))


def turned_difference(part: Apply, reading: Reading) -> Operand | None:
    """(a − b)² = (b − a)², where b − a is there; also of a quotient or multiple, in even functions."""
    if part.template not in (exponent("2"), exponent("4")) and word_of(part) not in EVEN:
        return None
    spine: list[tuple[Apply, int]] = []
    inner = part.operands[0]
    while isinstance(inner, Apply) and inner.template in (TIMES, OVER):
        a, b = inner.operands
        k = 1 if isinstance(b, Apply) and b.template == MINUS and inner.template == TIMES else 0
        spine.append((inner, k))
        inner = (a, b)[k]
    if not isinstance(inner, Apply) or inner.template != MINUS:
        return None
    a, b = inner.operands
    if not is_there(reading, MINUS, b, a):
        return None
    return Apply(part.template, (_rebuilt(spine, Apply(MINUS, (b, a))),))


def _rebuilt(spine: list[tuple[Apply, int]], made: Operand) -> Operand:
    """Operations, from the outside in, with another operand at the place of the next."""
    for outer, k in reversed(spine):
        made = Apply(outer.template, (*outer.operands[:k], made, *outer.operands[k + 1 :]))
    return made


def _spine(part: Operand) -> tuple[Operand, list[Apply]]:
    """The leftmost factor of a chain of matrix products, and the products from the outside in."""
    spine: list[Apply] = []
    while isinstance(part, Apply) and part.template == MATMUL:
        spine.append(part)
        part = part.operands[0]
    return part, spine


def _chain(first: Operand, spine: list[Apply]) -> Operand:
    for outer in reversed(spine):
        first = Apply(MATMUL, (first, outer.operands[1]))
    return first


def number_before_a_product(part: Apply, reading: Reading) -> Operand | None:
    """(c A) B = c (A B) for a number c."""
    first, spine = _spine(part)
    if not spine or not isinstance(first, Apply) or first.template != TIMES:
        return None
    number, matrix = first.operands
    if reading.shapes.get(id(number)) != ():
        return None
    return Apply(TIMES, (number, _chain(matrix, spine)))


def number_on_the_right(part: Apply, reading: Reading) -> Operand | None:
    """(c A) B = A (c B) for a number c and a computed B."""
    first, spine = _spine(part)
    if not spine or not isinstance(first, Apply) or first.template != TIMES:
        return None
    number, matrix = first.operands
    right = spine[0].operands[1]
    if reading.shapes.get(id(number)) != () or not isinstance(right, Apply):
        return None
    inner = _chain(matrix, spine[1:])
    return Apply(MATMUL, (inner, Apply(TIMES, (number, right))))


def to_the_right_first(part: Apply, reading: Reading) -> Operand | None:
    """(A B) C = A (B C)."""
    left = part.operands[0] if part.template == MATMUL else None
    if not isinstance(left, Apply) or left.template != MATMUL:
        return None
    a, b, c = *left.operands, part.operands[1]
    return Apply(MATMUL, (a, Apply(MATMUL, (b, c)))) if _chains(a, b, c, reading) else None


def to_the_left_first(part: Apply, reading: Reading) -> Operand | None:
    """A (B C) = (A B) C."""
    right = part.operands[1] if part.template == MATMUL else None
    if not isinstance(right, Apply) or right.template != MATMUL:
        return None
    a, b, c = part.operands[0], *right.operands
    return Apply(MATMUL, (Apply(MATMUL, (a, b)), c)) if _chains(a, b, c, reading) else None


def _chains(a: Operand, b: Operand, c: Operand, reading: Reading) -> bool:
    """Is A B C associative: no batches, and a matrix in the middle?"""
    ranks = [len(reading.shapes.get(id(x), ())) for x in (a, b, c)]
    return max(ranks) <= 2 and ranks[1] == 2


def number_into_a_product(part: Apply, reading: Reading) -> Operand | None:
    """c (A (1 / v)) = A (c / v) for a number c."""
    if part.template != TIMES or reading.shapes.get(id(part.operands[0])) != ():
        return None
    number, whole = part.operands
    if not isinstance(whole, Apply) or whole.template != MATMUL:
        return None
    left, right = whole.operands
    if not isinstance(right, Apply) or right.template != OVER or right.operands[0] != Literal(1):
        return None
    return Apply(MATMUL, (left, Apply(OVER, (number, right.operands[1]))))


def scaled_factor_there(part: Apply, reading: Reading) -> Operand | None:
    """(A B) ⊙ v = A (B ⊙ v) for the numbers v of the columns, where B ⊙ v is there."""
    if part.template != TIMES:
        return None
    if reading.shapes.get(id(part.operands[0])) == () and isinstance(part.operands[1], Apply):
        found = scaled_factor_there(part.operands[1], reading)
        return None if found is None else Apply(TIMES, (part.operands[0], found))
    for v, whole in (part.operands, part.operands[::-1]):
        if not isinstance(whole, Apply) or whole.template != MATMUL:
            continue
        left, right = whole.operands
        ranks = [len(reading.shapes.get(id(x), ())) for x in (v, left, right)]
        if ranks != [1, 2, 2]:
            continue
        for pair in ((right, v), (v, right)):
            if is_there(reading, TIMES, *pair):
                return Apply(MATMUL, (left, Apply(TIMES, pair)))
    return None


LINEAR = {"tril", "triu", "diag", "trace", "sum", "mean"}
"""Functions of −x that are minus that of x."""


def _negative_of(part: Operand) -> Operand | None:
    """x of −x, and of f(−x) for linear functions."""
    around: list[Template] = []
    while isinstance(part, Apply) and (part.template == TURNED or word_of(part) in LINEAR):
        around.append(part.template)
        (part,) = part.operands
    if not isinstance(part, Apply) or part.template != NEGATIVE:
        return None
    (found,) = part.operands
    for template in reversed(around):
        found = Apply(template, (found,))
    return found


def difference_of_a_negative(part: Apply, _: Reading) -> Operand | None:
    """−a + b = b − a, a − (−b) = a + b; f(−x) = −f(x) for a linear f."""
    if part.template == PLUS:
        a, b = part.operands
        first, second = _negative_of(a), _negative_of(b)
        if first is not None:
            return Apply(MINUS, (b, first))
        return None if second is None else Apply(MINUS, (a, second))
    if part.template == MINUS:
        second = _negative_of(part.operands[1])
        return None if second is None else Apply(PLUS, (part.operands[0], second))
    return None


def turned_subtraction(part: Apply, _: Reading) -> Operand | None:
    """c − (a − b) S = (b − a) S + c, where the difference is in a product."""
    if part.template != MINUS:
        return None
    first, inner = part.operands
    spine: list[tuple[Apply, int]] = []
    while isinstance(inner, Apply) and inner.template in (TIMES, OVER, MATMUL, TURNED):
        found = [k for k, x in enumerate(inner.operands) if _leads_to_a_difference(x)]
        if not found or (inner.template == OVER and found[0]):
            return None
        spine.append((inner, found[0]))
        inner = inner.operands[found[0]]
    if not spine or not isinstance(inner, Apply):
        return None
    return Apply(PLUS, (_rebuilt(spine, Apply(MINUS, inner.operands[::-1])), first))


def _leads_to_a_difference(part: Operand) -> bool:
    """Is it a difference, or a product with one?"""
    stack = [part]
    while stack:
        part = stack.pop()
        if isinstance(part, Apply) and part.template == MINUS:
            return True
        if isinstance(part, Apply) and part.template in (TIMES, MATMUL, TURNED):
            stack += part.operands
        elif isinstance(part, Apply) and part.template == OVER:
            stack.append(part.operands[0])
    return False


def number_on_the_diagonal(part: Apply, reading: Reading) -> Operand | None:
    """c diag(x) = diag(c x) for a number c."""
    if part.template != TIMES or reading.shapes.get(id(part.operands[0])) != ():
        return None
    c, whole = part.operands
    if word_of(whole) != "diag" or not isinstance(whole, Apply):
        return None
    if len(reading.shapes.get(id(whole.operands[0]), ())) != 1:
        return None
    return Apply(whole.template, (Apply(TIMES, (c, *whole.operands)),))


def turned_product(part: Apply, reading: Reading) -> Operand | None:
    """(a[:, None] * B.T).T = a * B."""
    inner = part.operands[0] if part.template == TURNED else None
    if not isinstance(inner, Apply) or inner.template not in (TIMES, OVER):
        return None
    made: list[Operand] = []
    for x in inner.operands:
        if isinstance(x, Apply) and x.template in (TURNED, COLUMN):
            made.append(x.operands[0])
        elif reading.shapes.get(id(x)) == ():
            made.append(x)
        else:
            return None
    return Apply(inner.template, tuple(made))


def row_first(part: Apply, reading: Reading) -> Operand | None:
    """Aᵀ x · y as the form xᵀ A y, from left to right."""
    if part.template != MATMUL or len(reading.shapes.get(id(part.operands[1]), ())) != 1:
        return None
    left, y = part.operands
    if not isinstance(left, Apply) or left.template != MATMUL:
        return None
    matrix, x = left.operands
    if not isinstance(matrix, Apply) or spelled_as(matrix) != "{0}.T":
        return None
    if len(reading.shapes.get(id(x), ())) != 1:
        return None
    return Apply(MATMUL, (Apply(MATMUL, (x, matrix.operands[0])), y))


def number_into_an_outer_product(part: Apply, reading: Reading) -> Operand | None:
    """c (a bᵀ) = (c a) bᵀ for a number c; a bᵀ / c = (a / c) bᵀ."""
    if part.template not in (TIMES, OVER):
        return None
    c, outer = part.operands if part.template == TIMES else part.operands[::-1]
    if not isinstance(outer, Apply) or spelled_as(outer) != OUTER.form("numpy"):
        return None
    if reading.shapes.get(id(c)) != ():
        return None
    a, b = outer.operands
    first = (c, a) if part.template == TIMES else (a, c)
    return Apply(outer.template, (Apply(part.template, first), b))


def ones_beside_an_identity(part: Apply, reading: Reading) -> Operand | None:
    """(I + c 1 1ᵀ) B = B + c 1 (1ᵀ B), for a number c at all entries; in front, a number."""
    if part.template != MATMUL:
        return None
    matrix, b = part.operands
    front: Operand | None = None
    if isinstance(matrix, Apply) and matrix.template == TIMES:
        front, matrix = matrix.operands
        if reading.shapes.get(id(front)) != ():
            return None
    if not isinstance(matrix, Apply) or matrix.template not in (PLUS, MINUS):
        return None
    eye, c = matrix.operands
    if (
        not spelled_as(eye).removeprefix("np.").startswith("eye(")
        or reading.shapes.get(id(c)) != ()
    ):
        return None
    rank = len(reading.shapes.get(id(b), ()))
    if rank not in (1, 2):
        return None
    total = Apply(text("jnp.sum({0}, axis=0)") if rank == 2 else text("jnp.sum({0})"), (b,))
    under = c.operands[1] if isinstance(c, Apply) and c.template == OVER else None
    one = under is not None and isinstance(c, Apply) and c.operands[0] == Literal(1)
    rows = Apply(OVER, (total, under)) if one and under else Apply(TIMES, (c, total))
    made = Apply(matrix.template, (b, rows))
    return made if front is None else Apply(TIMES, (front, made))


Spelling = Callable[[Apply, Reading], Operand | None]

SPELLINGS: tuple[Spelling, ...] = (
    total_of_a_product,
    power_of_a_quotient,
    turned_difference,
    number_before_a_product,
    number_on_the_right,
    number_into_a_product,
    scaled_factor_there,
    difference_of_a_negative,
    to_the_right_first,
    to_the_left_first,
    trace_of_a_product,
    traces_apart,
    product_that_is_there,
    total_as_a_mean,
    totals_of_terms,
    number_into_an_outer_product,
    total_over_an_outer_product,
    number_on_the_diagonal,
    turned_subtraction,
    total_of_what_is_there,
    solve_for_an_inverse,
    inverse_for_a_solve,
    ones_beside_an_identity,
)

USUAL: tuple[Spelling, ...] = (row_first, turned_product)
"""Spellings that are taken where they are no worse."""

__all__ = ["SPELLINGS", "USUAL", "Spelling"]
