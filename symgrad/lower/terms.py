"""Sums of terms: ``a + 2 * b - c / n``, with integer data written by scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symgrad_codegen.program import POSTFIX, Apply, Operand, Template, Variable

from symgrad.core.build import constant_value, terms_of
from symgrad.core.expr import Expr, Labels
from symgrad.core.sizes import ONE, Monomial, monomial
from symgrad.lower.align import (
    MINUS,
    NEGATIVE,
    PLUS,
    aligned,
    coefficient_operand,
    scaled,
    spans,
    with_shape,
)

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering


def lower_sum(state: Lowering, node: Expr) -> Operand:
    """The operand of a sum of terms."""
    rank = len(node.shape)
    terms = terms_of(node)
    if not terms:
        return with_shape(scaled(monomial(0), None), node)
    common = common_content([c for c, _, _ in terms])
    spread = [t for t in terms if _scatters(t[1], t[2], rank)]
    if len(spread) == len(terms) or len(terms) == 1:
        spread = []
    plain_terms = [t for t in terms if t not in spread]
    plain_terms.sort(
        key=lambda t: (
            not _positive(t[0] / common),
            _place_of_number(t[0] / common, t[1]),
            0 if state.readable else state.age(t[1]),
        )
    )
    total: Operand | None = None
    carried: set[int] = set()
    full = rank == 0
    for coefficient, e, labels in plain_terms:
        c = coefficient / common
        negative = not _positive(c)
        if negative and total is None and abs(c.number) != 1:
            negative = False
        size = -c if negative else c
        if constant_value(e) is not None:
            value = coefficient_operand(size)
        else:
            value = scaled(size, aligned(state.value(e), e.shape, labels, rank))
            full = full or spans(labels, rank)
        carried.update(x for x in labels if x >= 0)
        if total is None:
            total = Apply(NEGATIVE, (value,)) if negative else value
        else:
            total = Apply(MINUS if negative else PLUS, (total, value))
    assert total is not None
    missing = any(s != 1 and k not in carried for k, s in enumerate(node.shape))
    constant = all(constant_value(e) is not None for _, e, _ in plain_terms)
    if (missing or not full) and not (constant and not node.shape):
        total = with_shape(total, node)
    for coefficient, e, _ in spread:
        total = _scatter(state, total, coefficient / common, e)
    return scaled(common, total) if not common.is_one else total


def _place_of_number(c: Monomial, e: Expr) -> int:
    """A number stands last, ``x + 1e-5``; of floats 1 stands first, ``1 + exp(x)``."""
    if constant_value(e) is None:
        return 0
    return -1 if c.is_one and e.dtype.kind == "f" else 1


def _positive(c: Monomial) -> bool:
    return not c.number < 0


def _scatters(e: Expr, labels: Labels, rank: int) -> bool:
    return e.op.name == "onehot" and labels == tuple(range(rank)) and rank == 2


def _scatter(state: Lowering, base: Operand, c: Monomial, e: Expr) -> Operand:
    """``base`` with ``c`` added at the marked entries."""
    if not isinstance(base, Variable):
        base = state.emit(e, base, "total")
        del state.values[e]
    index = state.value(e.args[0])
    if (-c).is_one:
        return Apply(_LESS_ONE, (base, index))
    return Apply(_ADDED, (base, index, coefficient_operand(c)))


_ADDED = Template(
    (
        ("jax", "{0}.at[jnp.arange(len({1})), {1}].add({2})"),
        ("numpy", "({0} + {2} * ({1}[:, None] == np.arange({0}.shape[1])))"),
    ),
    POSTFIX,
    (90, 90, 60),
)
_LESS_ONE = Template(
    (
        ("jax", "{0}.at[jnp.arange(len({1})), {1}].add(-1)"),
        ("numpy", "({0} - ({1}[:, None] == np.arange({0}.shape[1])))"),
    ),
    POSTFIX,
    (90, 90),
)


def common_content(coefficients: list[Monomial]) -> Monomial:
    """What all coefficients share and is worth writing once: equal size, or equal letters."""
    first = coefficients[0]
    if len(coefficients) == 1:
        return ONE
    size = abs(first.number)
    if any(c.powers != first.powers for c in coefficients):
        return ONE
    if all(abs(c.number) == size for c in coefficients) and size not in (0, 1):
        negative = all(c.number < 0 for c in coefficients)
        return Monomial(-size if negative else size, first.powers)
    return Monomial(1, first.powers) if first.powers else ONE
