"""LaTeX of a formula: bold lower-case vectors, bold upper-case matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from symgrad.core.constants import recognised
from symgrad.core.numbers import Exact, number_text
from symgrad.core.op import OPS
from symgrad.core.sizes import Monomial, Size, floor_of_letter, monomial, terms_of_letter
from symgrad.derivation.notation import (
    ADD,
    ATOM,
    COMPARE,
    POSTFIX,
    PRODUCT,
    TOTAL,
    Form,
    Slot,
    Step,
    declared,
    run,
    scaled,
)
from symgrad.derivation.ranges import unsaid

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi",
    "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_MARKS = {"transpose": r"\top", "inverse": "-1"}
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def latex_name(text: str, rank: int | None = None) -> str:
    """A name: Greek letters, subscripts, bold for vectors and matrices; special signs escaped.

    ``∂L/∂β`` and ``∂²L/∂U∂V`` are fractions and ``U⁺`` keeps its mark.
    """
    second = re.fullmatch(r"∂²(\w+)/∂(.+?)(?:²|∂(.+))", text)
    if second is not None:
        top, x, y = (word and latex_name(word, rank) for word in second.groups())
        below = rf"\partial {x} \partial {y}" if y else rf"\partial {x}^2"
        return rf"\frac{{\partial^2 {top}}}{{{below}}}"
    first = re.fullmatch(r"∂(\w+)/∂(.+)", text)
    if first is not None:
        return rf"\frac{{\partial {latex_name(first[1])}}}{{\partial {latex_name(first[2], rank)}}}"
    if text.endswith("⁺"):
        return latex_name(text[:-1], rank) + "^{+}"
    if terms_of_letter(text) or floor_of_letter(text):
        spelled = text.replace("-", " - ").replace("+", " + ").replace("*", r" \, ")
        spelled = spelled.replace("⌊", r"\lfloor ").replace("⌋", r" \rfloor")
        return f"({spelled})" if terms_of_letter(text) else spelled
    match = re.fullmatch(r"([A-Za-zͰ-Ͽ]+)_?([0-9₀-₉]*)", text)
    if match is None:
        return r"\text{" + escaped(text) + "}"
    letters, digits = match.group(1), match.group(2).translate(_SUBSCRIPTS)
    lead = ""
    while len(letters) > 1 and letters[0] == "δ":
        lead += r"\delta "
        letters = letters[1:]
    spelled = "".join(f"\\{_GREEK[c]} " if c in _GREEK else c for c in letters).strip()
    if len(letters) > 1 and not spelled.startswith("\\"):
        spelled = rf"\mathrm{{{spelled}}}"
    if rank in (1, 2):
        spelled = rf"\boldsymbol{{{spelled}}}" if "\\" in spelled else rf"\mathbf{{{spelled}}}"
    return lead + spelled + (f"_{{{digits}}}" if digits else "")


def latex_function(text: str, commands: Mapping[str, str]) -> str:
    """A function: known ones by their commands, others upright, primes as marks."""
    match = re.fullmatch(r"(.*?)(?:(′+)([₀-₉]*))?", text, re.DOTALL)
    assert match is not None
    head, primes, places = match.groups(default="")
    upright = head if re.fullmatch(r"[A-Za-z0-9]+", head) else r"\text{" + escaped(head) + "}"
    name = commands.get(head, rf"\operatorname{{{upright}}}")
    marks = "'" * len(primes) + (f"_{{{places.translate(_SUBSCRIPTS)}}}" if places else "")
    return name + marks


_ESCAPES = {
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    **{c: "\\" + c for c in "#$%&_{}"},
}  # fmt: skip


def escaped(text: str) -> str:
    r"""User text that is no mathematical name, harmless inside ``\text{}``."""
    return "".join(_ESCAPES.get(c, c if c.isprintable() else " ") for c in text[:60])


def latex_of(
    form: Form,
    letters: Mapping[Slot, str],
    ranks: Mapping[str, int] | None = None,
    sizes: Sequence[Size] = (),
) -> str:
    """The LaTeX text of a form."""
    return run(_Latex(letters, ranks or {}, sizes).spell(form))[0]


class _Latex:
    def __init__(
        self, letters: Mapping[Slot, str], ranks: Mapping[str, int], sizes: Sequence[Size]
    ) -> None:
        self.letters = letters
        self.ranks = ranks
        self.sizes = sizes
        self.functions = {op.text: op.latex for op in OPS.values() if op.latex}

    def wrapped(self, form: Form, least: int) -> Step:
        text, level = yield self.spell(form)
        return text if level >= least else rf"\left({text}\right)"

    def spell(self, form: Form) -> Step:
        kind = form.kind
        if kind == "name":
            return latex_name(form.data, self.ranks.get(form.data)), ATOM
        if kind == "slot":
            return self.letters[form.data], ATOM
        if kind == "all":
            return ":", ATOM
        if kind == "number":
            return coefficient(form.data, self.sizes), ATOM if form.data.number >= 0 else ADD
        if kind == "identity":
            return rf"\mathbf{{I}}_{{{form.data}}}", ATOM
        if kind in ("transpose", "inverse", "power"):
            both = kind == "transpose" and form.items[0].kind == "inverse"
            base = yield self.wrapped(form.items[0].items[0] if both else form.items[0], ATOM)
            if base.endswith("}") and "^{" in base[-12:]:
                base = rf"\left({base}\right)"
            mark = r"-\top" if both else _MARKS.get(kind) or number_text(form.data)
            return f"{base}^{{{mark}}}", POSTFIX
        if kind == "product":
            parts: list[str] = []
            for k, item in enumerate(form.items):
                text, level = yield self.spell(item)
                fine = level >= POSTFIX or (item.kind == "total" and k == len(form.items) - 1)
                parts.append(text if fine else rf"\left({text}\right)")
            return r" \, ".join(parts), PRODUCT
        if kind in ("hadamard", "kron"):
            parts = []
            for item in form.items:
                parts.append((yield self.wrapped(item, POSTFIX)))
            return (r" \odot " if kind == "hadamard" else r" \otimes ").join(parts), PRODUCT
        if kind in ("quotient", "fraction"):
            if form.data:
                top = yield self.wrapped(form.items[0], POSTFIX)
                bottom = yield self.wrapped(form.items[1], POSTFIX)
                return rf"{top} \oslash {bottom}", PRODUCT
            top, _ = yield self.spell(form.items[0])
            bottom, _ = yield self.spell(form.items[1])
            return rf"\frac{{{top}}}{{{bottom}}}", POSTFIX
        if kind == "scale":
            return (yield from self.scale(form))
        if kind == "sum":
            return (yield from self.sum(form))
        if kind in ("call", "diagonal"):
            texts: list[str] = []
            for item in form.items:
                texts.append((yield self.spell(item))[0])
            if form.data == "√":
                return rf"\sqrt{{{texts[0]}}}", ATOM
            if form.data == "abs":
                return rf"\left|{texts[0]}\right|", ATOM
            function = latex_function(form.data, self.functions)
            return rf"{function}\left({', '.join(texts)}\right)", ATOM
        if kind == "parameter":
            return r"\text{" + escaped(form.data.replace("−", "-")) + "}", ATOM
        if kind == "index":
            base = yield self.wrapped(form.items[0], ATOM)
            where: list[str] = []
            for item in form.items[1:]:
                where.append((yield self.spell(item))[0])
            return f"{{{base}}}_{{[{','.join(where)}]}}", ATOM
        if kind == "total":
            body, level = yield self.spell(form.items[0])
            if level < PRODUCT and form.items[0].kind != "total":
                body = rf"\left({body}\right)"
            stated = unsaid(form)
            limits = [f" < {limit_latex(s.size)}" if s in stated else "" for s in form.data]
            pairs = zip(form.data, limits, strict=True)
            marks = " ".join(rf"\sum_{{{self.letters[s]}{limit}}}" for s, limit in pairs)
            return f"{marks} {body}", TOTAL
        if kind == "indicator":
            inner, _ = yield self.spell(form.items[0])
            return rf"\mathbf{{1}}\left[{inner}\right]", ATOM
        if kind == "compare":
            left = yield self.wrapped(form.items[0], ADD)
            right = yield self.wrapped(form.items[1], ADD)
            return f"{left} {self.functions[form.data]} {right}", COMPARE
        raise ValueError(f"no LaTeX for a {kind}")

    def scale(self, form: Form) -> Step:
        c: Monomial = form.data
        body = form.items[0]
        text, level = yield self.spell(body)
        if c.number == -1 and not c.powers:
            return "-" + (text if level >= TOTAL else rf"\left({text}\right)"), ADD
        fine = level >= POSTFIX or body.kind in ("product", "total", "kron")
        inner = text if fine else rf"\left({text}\right)"
        return f"{coefficient(c, self.sizes)} {inner}", ADD if c.number < 0 else PRODUCT

    def sum(self, form: Form) -> Step:
        parts: list[str] = []
        for c, item in zip(form.data, form.items, strict=True):
            negative = c.number < 0
            text, level = yield self.spell(scaled(-c if negative else c, item))
            if level < TOTAL:
                text = rf"\left({text}\right)"
            sign = "-" if negative else "+" if parts else ""
            parts.append(f"{sign} {text}" if parts else f"{sign}{text}")
        return " ".join(parts), ADD


def coefficient(c: Monomial, sizes: Sequence[Size] = ()) -> str:
    """A coefficient as a fraction, its letters in the order of ``sizes``."""
    number = abs(c.number)
    sign = "-" if c.number < 0 else ""
    powers = declared(c, sizes)
    over = [_letter(n, p) for n, p in powers if p > 0]
    under = [_letter(n, -p) for n, p in powers if p < 0]
    found = recognised(number)
    if found is not None:
        number = found[0]
        (under if found[2] else over).append(found[1].latex)
    if isinstance(number, Fraction) and "/" in number_text(number):
        if number.numerator != 1 or not over:
            over.insert(0, str(number.numerator))
        under.insert(0, str(number.denominator))
    elif not isinstance(number, float) and number == 1:
        if not over:
            over.append("1")
    else:
        text = number_text(number).replace("inf", r"\infty")
        text = re.sub(r"e\+?(-?)0*(\d+)", r" \\cdot 10^{\1\2}", text).removeprefix(r"1 \cdot ")
        over.insert(0, text)
    head = r" \, ".join(over)
    tail = r" \, ".join(under)
    return rf"{sign}\frac{{{head}}}{{{tail}}}" if under else sign + head


def limit_latex(size: Size) -> str:
    """``n - 1``."""
    text = coefficient(monomial(size))
    return text[1:-1] if terms_of_letter(str(size)) else text


def _letter(name: str, power: Exact) -> str:
    base = latex_name(name)
    if power == 1:
        return base
    if power == Fraction(1, 2):
        return rf"\sqrt{{{base}}}"
    return f"{base}^{{{number_text(power)}}}"
