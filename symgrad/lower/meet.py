"""Two factors multiplied or divided, and labels summed, as text: ``@``, ``outer``, ``*``, ``sum``, ``mean``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from symgrad_codegen.program import POWER, Apply, Operand, Template, text

from symgrad.core.sizes import ONE, Monomial, Size, monomial
from symgrad.lower.align import MATMUL, OUTER, OVER, TIMES, aligned, permuted
from symgrad.lower.orders import Factor, Name


def exponent(number: str) -> Template:
    """``{0} ** 2``."""
    spelled = f"{{0}} ** {number}"
    return Template((("jax", spelled), ("numpy", spelled)), POWER, (POWER + 1,))


def own_array(value: Operand) -> bool:
    """Does an operation make an array of its own, where no operand was computed for it?"""
    return isinstance(value, Apply) and not isinstance(value.operands[0], Apply)


def next_power(a: Factor, b: Factor) -> tuple[Factor, Operand] | None:
    """x and xᵏ⁺¹ for the factors xᵏ and x."""
    for whole, x in ((a, b), (b, a)):
        value = whole.value
        if a.labels != b.labels or a.under or b.under or not isinstance(value, Apply):
            continue
        for k in range(2, 8):
            if value.template == exponent(str(k)) and x.name == _base(whole.name):
                return x, Apply(exponent(str(k + 1)), (x.value,))
    return None


def _base(power: Name) -> object:
    """x of x · x and of x² · x, the names of powers."""
    one, other = power.parts[:2]
    return one if isinstance(other, Name) and one in other.parts[:2] else other


def multiplied(a: Factor, b: Factor, needed: set[int]) -> tuple[Operand, tuple[int, ...], int]:
    """The product of two, its labels, and the operations it takes."""
    ops = 1
    value_a, la = a.value, a.labels
    value_b, lb = b.value, b.labels
    for _ in range(2):
        lone = [x for x in la if x not in lb and x not in needed]
        if lone:
            value_a, la, _ = summed_out(value_a, la, lone, {}, ONE)
            ops += 1
        (value_a, la), (value_b, lb) = (value_b, lb), (value_a, la)
    summed = [x for x in la if x in lb and x not in needed]
    free_a = [x for x in la if x not in lb]
    free_b = [x for x in lb if x not in la]
    batch = [x for x in la if x in lb and x in needed]
    every = joined(la, lb)
    same = a.name == b.name and value_a is a.value and value_b is b.value
    if not summed:
        if same and la == lb:
            value: Operand = Apply(exponent("2"), (value_a,))
        elif len(la) == 1 and len(lb) == 1 and la != lb:
            first, second = (value_a, value_b) if la < lb else (value_b, value_a)
            value = Apply(OUTER, (first, second))
        else:
            value = Apply(TIMES, _placed(value_a, la, value_b, lb, every))
        return value, tuple(every), ops
    if len(summed) == 1 and not batch and len(free_a) <= 1 and len(free_b) <= 1:
        k = summed[0]
        turns = _turns(a, la, -1, k) + _turns(b, lb, 0, k)
        other = _turns(b, lb, -1, k) + _turns(a, la, 0, k)
        if len(la) < len(lb) or (len(la) == len(lb) and (other, free_b) < (turns, free_a)):
            (a, value_a, la, free_a), (b, value_b, lb, free_b) = (
                (b, value_b, lb, free_b),
                (a, value_a, la, free_a),
            )
        if _turns(a, la, -1, k):
            value_a = permuted(value_a, (1, 0))
        if _turns(b, lb, 0, k):
            value_b = permuted(value_b, (1, 0))
        made = Apply(MATMUL, (value_a, value_b))
        return made, (*free_a, *free_b), ops
    if not free_a and not free_b:
        other = permuted(value_b, [lb.index(x) for x in la])
        square = same and la == lb
        whole = Apply(exponent("2"), (value_a,)) if square else Apply(TIMES, (value_a, other))
        value, labels, _ = summed_out(whole, la, summed, {}, ONE)
        return value, labels, ops + 1
    names = {x: chr(97 + k) for k, x in enumerate(every)}
    labels = tuple(x for x in every if x not in summed)
    spelled = ["".join(names[x] for x in ls) for ls in (la, lb, labels)]
    einsum = text(f"jnp.einsum('{spelled[0]},{spelled[1]}->{spelled[2]}', {{0}}, {{1}})")
    return Apply(einsum, (value_a, value_b)), labels, ops + 2


def joined(la: Sequence[int], lb: Sequence[int]) -> Sequence[int]:
    """The labels of both, in the order in which one of them has them all."""
    for one, two in ((la, lb), (lb, la)):
        if {*one} >= {*two} and len({*one}) == len(one):
            return one
    return sorted({*la, *lb})


def _turns(f: Factor, labels: Sequence[int], at: int, label: int) -> bool:
    """Must a matrix be transposed for its axis ``at`` to carry the label?"""
    return len(labels) == 2 and labels[at] != label and not f.symmetric


def _placed(
    a: Operand, la: Sequence[int], b: Operand, lb: Sequence[int], every: Sequence[int]
) -> tuple[Operand, Operand]:
    """Both values in the axes of ``every``."""
    where = {x: k for k, x in enumerate(every)}
    first, second = (
        aligned(v, (2,) * len(ls), [where[x] for x in ls], len(every))
        for v, ls in ((a, la), (b, lb))
    )
    return first, second


def divided(a: Factor, b: Factor, every: Sequence[int]) -> Operand:
    """``a / b``, or two divisors as one."""
    if a.under and a.name == b.name and a.labels == b.labels:
        return Apply(exponent("2"), (a.value,))
    parts = _placed(a.value, a.labels, b.value, b.labels, every)
    return Apply(TIMES if a.under else OVER, parts)


def pattern(*rows: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Labels by the order in which they appear."""
    number: dict[int, int] = {}
    return tuple(tuple(number.setdefault(x, len(number)) for x in row) for row in rows)


def summed_out(
    value: Operand,
    labels: Sequence[int],
    gone: Sequence[int],
    sizes: Mapping[int, Size],
    c: Monomial,
) -> tuple[Operand, tuple[int, ...], Monomial]:
    """The sum over some labels; a mean where the coefficient divides by their number."""
    kept = tuple(x for x in labels if x not in gone)
    word = "sum"
    if sizes and not c.is_one:
        number = ONE
        for x in gone:
            number = number * monomial(sizes[x])
        if number.powers and _divides(c, number):
            c, word = c * number, "mean"
    if not kept:
        if (
            word == "sum"
            and isinstance(value, Apply)
            and value.template.form("jax") == "jnp.diagonal({0})"
        ):
            return Apply(text("jnp.trace({0})"), value.operands), (), c
        return Apply(text(f"jnp.{word}({{0}})"), (value,)), (), c
    axes = [k for k, x in enumerate(labels) if x in gone]
    spelled = str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    return Apply(text(f"jnp.{word}({{0}}, axis={spelled})"), (value,)), kept, c


def averaged(value: Operand, gone: Sequence[Size], c: Monomial) -> tuple[Operand, Monomial]:
    """A total over axes of these sizes as a mean where the coefficient divides by their number."""
    spelled = value.template.form("jax") if isinstance(value, Apply) else ""
    number = prod((monomial(s) for s in gone), start=ONE)
    if not spelled.startswith("jnp.sum({0}") or not number.powers or not _divides(c, number):
        return value, c
    assert isinstance(value, Apply)
    return Apply(text(spelled.replace("jnp.sum", "jnp.mean", 1)), value.operands), c * number


def _divides(c: Monomial, number: Monomial) -> bool:
    """Does the coefficient hold every letter of the number, to its power, below the bar?"""
    have = dict(c.powers)
    return all(have.get(name, 0) == -power for name, power in number.powers)


__all__ = [
    "averaged",
    "divided",
    "exponent",
    "joined",
    "multiplied",
    "next_power",
    "own_array",
    "pattern",
    "summed_out",
]
