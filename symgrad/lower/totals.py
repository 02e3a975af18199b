"""Sums, means and traces of a text in other spellings, each an identity of real numbers."""

from __future__ import annotations

from symgrad_codegen.program import Apply, Letter, Operand, Template, text

from symgrad.lower.align import COLUMN, MATMUL, MINUS, OUTER, PLUS, TIMES, TURNED
from symgrad.lower.peak import Reading
from symgrad.lower.words import is_there, spelled_as, turned, untransposed, word_of


def _inside(part: Apply, word: str, template: Template) -> Apply | None:
    """The operation ``template`` that a function of this word is taken of."""
    inner = part.operands[0] if part.operands and word_of(part) == word else None
    return inner if isinstance(inner, Apply) and inner.template == template else None


def total_of_a_product(part: Apply, reading: Reading) -> Operand | None:
    """a · b of vectors, where a ⊙ b is there: its sum."""
    if part.template != MATMUL:
        return None
    a, b = part.operands
    if len(reading.shapes.get(id(a), ())) != 1 or len(reading.shapes.get(id(b), ())) != 1:
        return None
    for pair in ((a, b), (b, a)):
        if is_there(reading, TIMES, *pair):
            return Apply(text("jnp.sum({0})"), (Apply(TIMES, pair),))
    return None


def trace_of_a_product(part: Apply, reading: Reading) -> Operand | None:
    """tr(A B) = Σ A ⊙ Bᵀ."""
    inner = _inside(part, "trace", MATMUL)
    if inner is None:
        return None
    a, b = inner.operands
    if any(len(reading.shapes.get(id(x), ())) != 2 for x in (a, b)):
        return None
    return Apply(text("jnp.sum({0})"), (Apply(TIMES, (a, turned(b))),))


def traces_apart(part: Apply, reading: Reading) -> Operand | None:
    """tr(A − B C) = tr A − Σ B ⊙ Cᵀ."""
    inner = _inside(part, "trace", MINUS)
    if inner is None:
        return None
    a, b = (Apply(part.template, (x,)) for x in inner.operands)
    first, second = trace_of_a_product(a, reading), trace_of_a_product(b, reading)
    if first is None and second is None:
        return None
    return Apply(MINUS, (a if first is None else first, b if second is None else second))


def product_that_is_there(part: Apply, reading: Reading) -> Operand | None:
    """Σ A ⊙ Bᵀ = tr(A B), where A B is there."""
    inner = _inside(part, "sum", TIMES)
    if inner is None:
        return None
    rank = len(reading.shapes.get(id(inner.operands[0]), ()))
    if rank != 2 or _broadcasts(inner, reading):
        return None
    for a, b in (inner.operands, inner.operands[::-1]):
        base, other = untransposed(b)
        for pair in ((a, base), (base, a)):
            if other and is_there(reading, MATMUL, *pair):
                return Apply(text("jnp.trace({0})"), (Apply(MATMUL, pair),))
    return None


def total_as_a_mean(part: Apply, reading: Reading) -> Operand | None:
    """Σ x = n mean(x), where the mean is there."""
    if word_of(part) != "sum":
        return None
    (x,) = part.operands
    if not is_there(reading, text("jnp.mean({0})"), x):
        return None
    letters = [reading.letters.get(axis) for axis in reading.shapes.get(id(x), ())]
    if not letters or any(w is None for w in letters):
        return None
    number: Operand = Letter(str(letters[0]))
    for word in letters[1:]:
        number = Apply(TIMES, (number, Letter(str(word))))
    return Apply(TIMES, (number, Apply(text("jnp.mean({0})"), (x,))))


def totals_of_terms(part: Apply, reading: Reading) -> Operand | None:
    """Σⱼ (R − U Vᵀ − b 1ᵀ) = Σⱼ R − U Σⱼ Vᵀ − m b, where a product of matrices is among the terms."""
    axis = next((k for k in (0, 1) if part.template == text(f"jnp.sum({{0}}, axis={k})")), None)
    if axis is None:
        return None
    terms: list[tuple[Operand, bool]] = []
    stack = [(part.operands[0], False)]
    while stack:
        term, turned = stack.pop()
        if isinstance(term, Apply) and term.template in (PLUS, MINUS):
            a, b = term.operands
            stack += [(b, turned != (term.template == MINUS)), (a, turned)]
        else:
            terms.append((term, turned))
    shape = reading.shapes.get(id(part.operands[0]), ())
    if len(shape) != 2 or len(terms) < 2 or terms[0][1]:
        return None
    if not any(isinstance(t, Apply) and t.template == MATMUL for t, _ in terms):
        return None
    found: Operand | None = None
    for term, turned in terms:
        rows = reading.shapes.get(id(term), ())
        if len(rows) == 2 and rows != shape and spelled_as(term) != COLUMN.form("numpy"):
            return None  # it has one row or column for all
        total = _total_of_rows(term, axis, reading.letters.get(shape[axis]), reading)
        if total is None:
            return None
        found = total if found is None else Apply(MINUS if turned else PLUS, (found, total))
    return found


def _total_of_rows(
    term: Operand, axis: int, letter: str | None, reading: Reading
) -> Operand | None:
    """The sum of a term of a matrix over an axis of the matrix, which is ``letter`` long."""
    shape = reading.shapes.get(id(term))
    many = Letter(letter) if letter is not None else None
    if shape == () and many is not None:
        return Apply(TIMES, (many, term))
    if isinstance(term, Apply) and spelled_as(term) == COLUMN.form("numpy"):
        total = Apply(text("jnp.sum({0})"), term.operands)
        rows = Apply(TIMES, (many, *term.operands)) if many is not None else None
        return rows if axis else total
    if shape is not None and len(shape) == 1:
        rows = Apply(TIMES, (many, term)) if many is not None else None
        return Apply(text("jnp.sum({0})"), (term,)) if axis else rows
    if shape is None or len(shape) != 2:
        return None
    if isinstance(term, Apply) and term.template == MATMUL:
        a, b = term.operands
        ends = _total(b, 1) if axis else _total(a, 0)
        return Apply(MATMUL, (a, ends) if axis else (ends, b))
    return _total(term, axis)


def _total(matrix: Operand, axis: int) -> Operand:
    """The sum over an axis, of a transpose over the other axis of what is turned."""
    if isinstance(matrix, Apply) and matrix.template == TURNED:
        matrix, axis = matrix.operands[0], 1 - axis
    return Apply(text(f"jnp.sum({{0}}, axis={axis})"), (matrix,))


def total_over_an_outer_product(part: Apply, reading: Reading) -> Operand | None:
    """Σ (u vᵀ) ⊙ R = uᵀ R v."""
    inner = _inside(part, "sum", TIMES)
    if inner is None:
        return None
    for outer, matrix in (inner.operands, inner.operands[::-1]):
        if spelled_as(outer) != OUTER.form("numpy") or not isinstance(outer, Apply):
            continue
        if len(reading.shapes.get(id(matrix), ())) == 2 and not _broadcasts(inner, reading):
            u, v = outer.operands
            return Apply(MATMUL, (Apply(MATMUL, (u, matrix)), v))
    return None


def _broadcasts(part: Apply, reading: Reading) -> bool:
    """Have its operands other shapes?"""
    return len({reading.shapes.get(id(x)) for x in part.operands}) > 1


def total_of_what_is_there(part: Apply, reading: Reading) -> Operand | None:
    """x · (1ᵀ A) = 1ᵀ (A x), where A x is there."""
    if part.template != MATMUL:
        return None
    for x, rows in (part.operands, part.operands[::-1]):
        if isinstance(rows, Apply) and rows.template == text("jnp.sum({0}, axis=0)"):
            (a,) = rows.operands
            if len(reading.shapes.get(id(x), ())) == 1 and is_there(reading, MATMUL, a, x):
                return Apply(text("jnp.sum({0})"), (Apply(MATMUL, (a, x)),))
    return None


__all__ = [
    "product_that_is_there",
    "total_as_a_mean",
    "total_of_a_product",
    "total_of_what_is_there",
    "total_over_an_outer_product",
    "totals_of_terms",
    "trace_of_a_product",
    "traces_apart",
]
