"""Elementwise ops of whole numbers and of signs, one row each; none has a derivative."""

from __future__ import annotations

from symgrad_codegen.template import BIT_AND, BIT_OR, BIT_XOR, SHIFT, UNARY

from symgrad.ops.row import boolean, call, elementwise_row, form, infix

for _name, _symbol, _strength in (
    ("bitwise_and", "&", BIT_AND), ("bitwise_or", "|", BIT_OR), ("bitwise_xor", "^", BIT_XOR),
    ("left_shift", "<<", SHIFT), ("right_shift", ">>", SHIFT),
):  # fmt: skip
    elementwise_row(_name, infix(_symbol, _strength), None, domain="below 3")
elementwise_row("bitwise_not", form("~{0}", "~{0}", 1, UNARY, UNARY), None, domain="below 3")
elementwise_row("gcd", call("jnp.gcd", arity=2), None, latex=r"\gcd", domain="below 3")
elementwise_row("lcm", call("jnp.lcm", arity=2), None, domain="below 3")
elementwise_row("signbit", call("jnp.signbit"), None, infer=boolean, domain="special")
