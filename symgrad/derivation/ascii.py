"""The ASCII spelling of formulas, for streams that cannot encode the notation.

``(2/n) Xᵀ (X w − y)`` becomes ``(2/n) X' (X w - y)``.  :data:`ASCII` is the one table; a reader of
the notation inverts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon",
    "ζ": "zeta", "η": "eta", "θ": "theta", "ϑ": "theta", "ι": "iota", "κ": "kappa",
    "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "ο": "omicron", "π": "pi",
    "ρ": "rho", "σ": "sigma", "ς": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "ϕ": "phi",
    "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon", "Φ": "Phi", "Ψ": "Psi",
    "Ω": "Omega",
}  # fmt: skip

SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789aehijklmnoprstuvx", strict=True))

ASCII = {
    "⊙": ".*", "⊘": "./", "⊗": "(x)", "ᵀ": "'", "−": "-", "×": " x ", "·": ".", "½": "(1/2)",
    "⁻¹": "^-1", "⁻ᵀ": "^-1'", "√": "sqrt", "∂": "d", "≥": ">=", "≤": "<=", "≠": "!=",
    "∞": "inf", "∧": "and", "∨": "or", "⊻": "xor", "¬": "not ", "…": "..", "⁺": "_new", "′": "_prime",
    "⟨": "<", "⟩": ">", "⌊": "floor(", "⌋": ")", "⋆": "[corr]", "∗": "[conv]",
    **GREEK,
    **SUBSCRIPTS,
}  # fmt: skip
"""Character (or pair) → its spelling.

Beside the table: ``Σᵢ`` is ``sum_i`` and ``xᵢ`` is ``x_i`` (digits need no ``_``: ``W₁`` is
``W1``); ``√d`` is ``sqrt(d)``; other superscripts are ``^2``, ``^-3``; what is in no table is its
code point, ``u1f600``.
"""

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))
_MARKS = "".join(_SUPERSCRIPTS) + "½ᵀ"
_TOKEN = re.compile(
    rf"(?P<pair>⁻¹|⁻ᵀ)|(?P<power>[{''.join(_SUPERSCRIPTS)}]+)|(?P<root>√(?!\())"
    rf"|(?P<word>(?:(?![{_MARKS}])\w)+)|(?P<other>.)",
    re.DOTALL,
)
_RESERVED = ("σ", "π", "ψ", "Γ")
"""Words with a meaning of their own: their spelling is never given to another name."""


def to_ascii(text: str) -> str:
    """``text`` in ASCII; two names never get one spelling.

    >>> to_ascii("∂L/∂w = (2/n) Xᵀ (X w − y)")
    "dL/dw = (2/n) X' (X w - y)"
    >>> to_ascii("Σᵢ δ₂[i,:]   −½ S⁻¹ (1/√d)   W₁ W1")
    'sum_i delta2[i,:]   -(1/2) S^-1 (1/sqrt(d))   W1_2 W1'
    """
    if text.isascii():
        return text
    spelled = _spellings(m["word"] for m in _TOKEN.finditer(text) if m["word"])
    parts: list[str] = []
    closing: set[int] = set()
    for m in _TOKEN.finditer(text):
        word = m[0]
        if m["word"]:
            parts.append(spelled[word])
        elif m["power"]:
            parts.append("^" + "".join(_SUPERSCRIPTS[c] for c in word))
        elif m["root"]:
            parts.append("sqrt(")
            closing.add(_end_of_factor(text, m.end()))
        else:
            parts.append(_character(word))
        if m.end() in closing:
            parts.append(")")
    return "".join(parts)


def _spellings(words: Iterable[str]) -> dict[str, str]:
    """A spelling for every word: reserved ones first, then those that are ASCII already."""
    found: dict[str, str] = dict.fromkeys(words, "")
    order = sorted(found, key=lambda w: (w not in _RESERVED and w[0] != "Σ", not w.isascii()))
    taken: set[str] = set()
    for word in order:
        base = spelling = _word(word)
        number = 1
        while spelling in taken:
            number += 1
            spelling = f"{base}_{number}"
        taken.add(spelling)
        found[word] = spelling
    return found


def _word(word: str) -> str:
    head = re.fullmatch(r"Σ(_\w*|[ₐ-ₜᵢᵣᵤᵥⱼ][₀-₉]*)", word)
    if head is not None:
        return "sum_" + "".join(SUBSCRIPTS.get(c, c) for c in head[1].lstrip("_"))
    parts: list[str] = []
    for k, c in enumerate(word):
        letter = c in SUBSCRIPTS and SUBSCRIPTS[c].isalpha()
        parts.append("_" if letter and k and word[k - 1] not in SUBSCRIPTS else "")
        parts.append(_character(c))
    return "".join(parts)


def _character(c: str) -> str:
    if c.isascii():
        return c
    return ASCII[c] if c in ASCII else f"u{ord(c):x}"


def _end_of_factor(text: str, start: int) -> int:
    """Where the factor after a √ ends: its name and its indices."""
    m = _TOKEN.match(text, start)
    end = m.end() if m is not None else start
    if text[end : end + 1] != "[":
        return end
    depth = 0
    for k in range(end, len(text)):
        depth += {"[": 1, "]": -1}.get(text[k], 0)
        if not depth:
            return k + 1
    return end


__all__ = ["ASCII", "GREEK", "SUBSCRIPTS", "to_ascii"]
