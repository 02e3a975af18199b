"""Errors to plant in a line: a test that cannot fail is a defect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from symgrad.derivation.grammar import Token, tokens


@dataclass(frozen=True)
class Planted:
    """A wrong right-hand side and what is wrong with it: sign, transpose or factor."""

    kind: str
    text: str


def planted_errors(right: str, matrices: Iterable[str] = ()) -> Iterator[Planted]:
    """Every single wrong sign, transpose and factor in a right-hand side (Unicode text).

    A transpose is taken away wherever one stands, and set on each of `matrices`; neighbouring
    index letters change places; ⊙ becomes ⊘; a number changes; a coefficient is doubled or halved.
    """
    known = set(matrices)
    found = tokens(right)
    yield Planted("sign", f"−({right})")
    yield Planted("factor", f"2 ({right})")
    yield Planted("factor", f"½ ({right})")

    def changed(token: Token, to: str) -> str:
        return right[: token.start] + to + right[token.end :]

    brackets = 0
    for k, token in enumerate(found[:-1]):
        following = found[k + 1]
        brackets += (token.kind == "[") - (token.kind == "]" and brackets > 0)
        if token.kind == "+":
            yield Planted("sign", changed(token, "−"))
        elif token.kind == "−":
            leading = k == 0 or found[k - 1].kind in ("(", ",")
            yield Planted("sign", changed(token, "" if leading else "+"))
        elif token.kind == "mark" and token.text == "ᵀ":
            yield Planted("transpose", changed(token, ""))
        elif token.kind == "⊙":
            yield Planted("factor", changed(token, "⊘"))
        elif token.kind == "number" and not brackets:
            yield Planted("factor", changed(token, "3" if token.text in ("½", "1") else "1"))
        elif token.kind == "name" and token.text in known and following.kind not in ("[", "mark"):
            yield Planted("transpose", changed(token, f"{token.text}ᵀ"))
        elif brackets and token.kind == "," and k + 2 < len(found):
            before, first, second, after = found[k - 2], found[k - 1], following, found[k + 2]
            letters = first.kind == second.kind == "name"
            if letters and before.kind in ("[", ",") and after.kind in (",", "]"):
                swapped = f"{second.text},{first.text}"
                text = right[: first.start] + swapped + right[second.end :]
                yield Planted("transpose", text)
