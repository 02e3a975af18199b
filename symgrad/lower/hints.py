"""Names of what a program shares and nobody named: ``relu_Z1``, ``sum_a``, ``delta_W``.

A name says the operation and what it is of, where both are short; it looks at a node, its arguments
and theirs, and no further.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from symgrad_codegen.program import Variable

from symgrad.core.build import CONTRACTION, SUM, constant_value, terms_of
from symgrad.core.expr import Expr

if TYPE_CHECKING:
    from symgrad.lower.state import Lowering

LONGEST = 24
"""Characters of a name; a longer one is the word of its operation alone."""
FEW = 3
"""Arguments whose names a name may hold."""

_POWERS = {
    Fraction(2): "{}_squared",
    Fraction(1, 2): "sqrt_{}",
    Fraction(-1, 2): "rsqrt_{}",
    Fraction(-1): "inverse_{}",
}


def hint(state: Lowering, node: Expr) -> str:
    """A name for the value of a node."""
    found = _name(state, node, 2)
    return found if found and len(found) <= LONGEST else _word(node)


def _word(node: Expr) -> str:
    """The operation alone."""
    if node.op is CONTRACTION:
        return "product" if len(node.args) > 1 else "sum"
    return "total" if node.op is SUM else node.op.name


def _name(state: Lowering, node: Expr, depth: int) -> str:
    """The name of a value, or nothing where it would be long."""
    value = state.values.get(node)
    if isinstance(value, Variable):
        return value.hint
    if not depth or not 0 < len(node.args) <= FEW or constant_value(node) is not None:
        return ""
    parts = [_name(state, a, depth - 1) for a in dict.fromkeys(node.args)]
    if not all(parts):
        return ""
    whole = "_".join(parts)
    op = node.op
    if op is CONTRACTION:
        if len(node.args) > len(parts):
            whole += "_squared" if len(node.args) == 2 else "_powers"
        return f"sum_{whole}" if node.sums and len(parts) == 1 else whole
    if op is SUM:
        terms = terms_of(node)
        if len(terms) == 1:
            return parts[0]
        if len(terms) > len(parts) or any(c.powers or abs(c.number) != 1 for c, _, _ in terms):
            return ""
        signed = sorted(zip([c.number < 0 for c, _, _ in terms], parts, strict=True))
        words = ["_minus_" if below else "_plus_" for below, _ in signed]
        text = "".join(word + part for word, (_, part) in zip(words, signed, strict=True))
        return text.removeprefix("_plus_").removeprefix("_")
    if op.name == "reshape":
        return f"flat_{whole}" if node.ndim < node.args[0].ndim else whole
    if op.name == "power":
        return _POWERS.get(node.params[2][0], "power_{}").format(whole)
    if op.name == "cast":
        return f"{whole}_{node.dtype.name}"
    return f"{op.name}_{whole}"


__all__ = ["hint"]
