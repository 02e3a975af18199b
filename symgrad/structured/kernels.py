"""Matrices that are positive semidefinite by how their entries are made, as covariances are.

A Gram matrix ``Σ w a aᵀ`` with w ≥ 0 is; so is an entrywise product of such matrices (Schur), and
what a power series with no negative coefficient makes of their entries.  ``exp(fᵢ + fⱼ + Gᵢⱼ)`` is
``diag(eᶠ) exp(G) diag(eᶠ)``: the Gaussian kernel, as ``−c Σₖ (xᵢₖ − xⱼₖ)²`` is of that form.

Source: Horn and Johnson, *Matrix Analysis*, 2nd ed. (2013), 7.5; Schoenberg (1938).
"""

from __future__ import annotations

from collections.abc import Callable

from symgrad.core.build import permute
from symgrad.core.expr import Expr
from symgrad.simplify.forms import opened_all
from symgrad.structured.terms import Term, opened

SERIES = frozenset({"exp", "sinh", "cosh"})
"""Functions that are power series without a negative coefficient."""
Judge = Callable[[Term], int]


def semidefinite(e: Expr, judge: Judge) -> bool:
    """Is a function of entries semidefinite?  ``judge`` says it of a single term."""
    if e.ndim != 2 or e.shape[0] != e.shape[1] or e.op.name not in SERIES:
        return False
    exponent = e.args[0]
    if exponent.ndim != 2 or permute(exponent, (1, 0)).shape != exponent.shape:
        return False
    whole = next(opened_all(exponent), exponent)
    rows: list[Term] = []
    columns: list[Term] = []
    for t in opened(whole, 1):
        touched = {x for _, ls in t.factors for x in ls if x in (0, 1)}
        if touched == {0, 1}:
            if not judge(t):
                return False
        elif touched == {0}:
            rows.append(t)
        elif touched == {1}:
            columns.append(t)
    if (rows or columns) and e.op.name != "exp":
        return False
    return sorted(map(_key, rows)) == sorted(map(_key, columns))


def _key(t: Term) -> tuple[object, ...]:
    """A term without regard to which of the two axes it stands at."""
    factors = sorted((f.digest, tuple(0 if x == 1 else x for x in ls)) for f, ls in t.factors)
    return str(t.coefficient), tuple(factors)


__all__ = ["semidefinite"]
