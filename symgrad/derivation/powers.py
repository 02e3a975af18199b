"""Powers and fraction bars: ``s²`` on scalars only, ``1 / s²``, ``a ⊘ (b ⊙ b)``."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from symgrad.core.expr import Expr
from symgrad.core.sizes import Monomial
from symgrad.derivation.notation import Form, call


def under_fraction(a: Expr) -> Any:
    """The exponent with which a factor stands under a fraction bar; 0 if it stands above."""
    if a.op.name != "power" or not a.params[2][0] < 0:
        return 0
    return -a.params[2][0]


def powered(form: Form, p: Any, tensor: bool) -> Form:
    """A positive power: √, ``²`` on scalars only, ⊙ of a tensor with itself."""
    whole = isinstance(p, Fraction) and p.denominator == 1
    if p == 1:
        return form
    if p == Fraction(1, 2):
        return call("√", form)
    if not tensor and isinstance(p, Fraction):
        return Form("power", (form,), p)
    if whole and p <= 4 and form.kind == "name":
        return Form("hadamard", (form,) * int(p))
    return call("pow", form, Form("number", (), Monomial(p)))


def powers(forms: Sequence[Form]) -> list[Form]:
    """Equal scalar factors become a power."""
    counted: dict[Form, int] = {}
    for form in forms:
        counted[form] = counted.get(form, 0) + 1
    return [f if n == 1 else Form("power", (f,), Fraction(n)) for f, n in counted.items()]


__all__ = ["powered", "powers", "under_fraction"]
