"""The formula tree that text, LaTeX and the parser share, and its plain-text form.

A :class:`Form` says *what is printed*; the rules of printing (which products need parentheses, how
a coefficient is written) are the notation contract and live in one place, :class:`Printer`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import GeneratorType
from typing import Any

from symgrad.core.constants import recognised
from symgrad.core.numbers import Exact, number_text
from symgrad.core.sizes import ONE, Monomial, Size, floor_of_letter, monomial, terms_of_letter
from symgrad.derivation.form import Form, Slot, slots_of
from symgrad.derivation.ranges import unsaid

SUPERSCRIPT_T = "ᵀ"
_SUBSCRIPTS = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")


SYMMETRIC = (Form("symmetric"),)
"""What a name carries whose transpose is itself."""


def name(text: str, symmetric: bool = False) -> Form:
    """A name."""
    return Form("name", SYMMETRIC if symmetric else (), text)


def call(function: str, *items: Form) -> Form:
    """``function(items)``."""
    return Form("call", items, function)


def transposed(form: Form) -> Form:
    """The transpose, pushed to the names: (A B)ᵀ = Bᵀ Aᵀ."""
    if form.kind == "transpose":
        return form.items[0]
    if (form.items[0] if form.kind == "inverse" else form).items == SYMMETRIC:
        return form
    if form.kind == "product" and all(f.kind in _CHAIN for f in form.items):
        return Form("product", tuple(transposed(f) for f in reversed(form.items)))
    if form.kind == "scale":
        return Form("scale", (transposed(form.items[0]),), form.data)
    if form.kind == "inverse" and transposed(form.items[0]) == form.items[0]:
        return form
    if form.kind == "sum" and _same_terms(form, [transposed(item) for item in form.items]):
        return form
    if form.kind in ("identity", "number") or (
        form.kind == "call" and form.data in ("diag", "det")
    ):
        return form
    if form.kind == "hadamard" and any(item.kind == "transpose" for item in form.items):
        return Form("hadamard", tuple(transposed(item) for item in form.items))
    return Form("transpose", (form,))


def _same_terms(form: Form, others: Sequence[Form]) -> bool:
    """Has a sum the same terms when ``others`` stand in place of its items?"""
    terms = list(zip(form.data, form.items, strict=True))
    return all(term in terms for term in zip(form.data, others, strict=True))


_CHAIN = {"name", "transpose", "inverse", "call", "diagonal", "identity", "sum", "hadamard", "quotient",
          "indicator", "index"}  # fmt: skip


def scaled(c: Monomial, form: Form) -> Form:
    """``c form``."""
    if c.is_one:
        return form
    if form.kind == "scale":
        return scaled(c * form.data, form.items[0])
    if form.kind == "number":
        return Form("number", (), c * form.data)
    if form.kind == "quotient" and form.items[0].kind == "number" and not form.data:
        sign = -ONE if c.number < 0 else ONE
        made = Form("quotient", (scaled(sign * c, form.items[0]), form.items[1]))
        return made if sign.is_one else Form("scale", (made,), sign)
    if form.kind == "product" and form.items[0].kind == "fraction":
        front, *rest = form.items
        top, bottom = front.items
        below = Monomial(1, tuple((x, -p) for x, p in c.powers if p < 0))
        front = Form("fraction", (top, scaled(below, bottom)))
        c, form = c * below, Form("product", (front, *rest))
        if c.is_one:
            return form
    return Form("scale", (form,), c)


def product(items: Sequence[Form]) -> Form:
    """A product written with spaces; nested products are flattened, coefficients come first."""
    flat: list[Form] = []
    coefficient = ONE
    for item in items:
        if item.kind == "scale":
            coefficient = coefficient * item.data
            item = item.items[0]
        if item.kind == "product":
            flat += item.items
        elif item.kind == "number":
            coefficient = coefficient * item.data
        else:
            flat.append(item)
    if not flat:
        return Form("number", (), coefficient)
    body = flat[0] if len(flat) == 1 else Form("product", tuple(flat))
    return scaled(coefficient, body)


# ------------------------------------------------------------------ running without recursion

Step = Generator[Any, Any, Any]


def run(value: Any) -> Any:
    """Run a generator that yields generators or results, and receives results: recursion on a list."""
    stack: list[Callable[[Any], Any] | None] = []
    send: Callable[[Any], Any] | None = None
    while True:
        if value.__class__ is GeneratorType:
            stack.append(send)
            send, value = value.send, None
        if send is None:
            return value
        try:
            value = send(value)
        except StopIteration as stop:
            send, value = stack.pop(), stop.value


# ------------------------------------------------------------------ plain text

ATOM, POSTFIX, PRODUCT, TOTAL, ADD, COMPARE = 6, 5, 3, 2, 1, 0
_MARKS = {"transpose": "ᵀ", "inverse": "⁻¹"}


@dataclass(slots=True)
class Printer:
    """Text of forms under the notation contract; ``letters`` names the index slots.

    ``sizes`` are the letters of sizes in declared order; ``declared``: a line beside the formula says
    what its indices run over, so that no Σ has to.
    """

    letters: Mapping[Slot, str]
    sizes: Sequence[Size] = ()
    declared: bool = False

    def text(self, form: Form) -> str:
        """The text of a formula."""
        return run(self._text(form))[0]

    def _text(self, form: Form) -> Any:
        """The text and how strongly it binds, or the step to them."""
        return (form.data, ATOM) if form.kind == "name" else self._compound(form)

    def _wrapped(self, form: Form, least: int) -> Step:
        text, level = yield self._text(form)
        return text if level >= least else f"({text})"

    def _compound(self, form: Form) -> Step:
        kind = form.kind
        if kind == "slot":
            return self.letters[form.data], ATOM
        if kind == "all":
            return ":", ATOM
        if kind == "number":
            return number_form(form.data, self.sizes), ATOM if form.data.number >= 0 else ADD
        if kind == "identity":
            return f"I({number_form(monomial(form.data))})", ATOM
        if kind in ("transpose", "inverse", "power"):
            both = kind == "transpose" and form.items[0].kind == "inverse"
            base = yield self._wrapped(form.items[0].items[0] if both else form.items[0], ATOM)
            mark = "⁻ᵀ" if both else _MARKS.get(kind) or superscript(form.data)
            if base.endswith(("ᵀ", "⁻¹")):
                base = f"({base})"
            return base + mark, POSTFIX
        if kind == "product":
            parts: list[str] = []
            for k, item in enumerate(form.items):
                last = k == len(form.items) - 1
                text, level = yield self._text(item)
                fine = level >= POSTFIX or (last and item.kind == "total" and not _sums_rows(item))
                parts.append(text if fine else f"({text})")
            return " ".join(parts), PRODUCT
        if kind == "hadamard":
            parts = []
            for item in form.items:
                parts.append((yield self._wrapped(item, POSTFIX)))
            return " ⊙ ".join(parts), PRODUCT
        if kind == "quotient":
            top, level = yield self._text(form.items[0])
            whole = form.items[0].kind == "product" and form.items[0].items[-1].kind != "total"
            simple = level >= POSTFIX or (form.data is None and whole)
            top = top if simple and not form.data else (top if level >= POSTFIX else f"({top})")
            bottom = yield self._wrapped(form.items[1], POSTFIX)
            return f"{top} {'⊘' if form.data else '/'} {bottom}", PRODUCT
        if kind == "fraction":
            top = yield self._wrapped(form.items[0], PRODUCT)
            bottom = yield self._wrapped(form.items[1], POSTFIX)
            return f"({top}/{bottom})", ATOM
        if kind == "kron":
            parts = []
            for item in form.items:
                parts.append((yield self._wrapped(item, POSTFIX)))
            return " ⊗ ".join(parts), PRODUCT
        if kind == "scale":
            return (yield from self._scale(form))
        if kind == "sum":
            return (yield from self._sum(form))
        if kind in ("call", "diagonal"):  # diag of a vector, which is symmetric; of a matrix
            texts: list[str] = []
            given = [item.data for item in form.items if item.kind == "parameter"]
            for item in form.items[: len(form.items) - len(given)]:
                texts.append((yield self._text(item))[0])
            if given:
                return f"{form.data}({'; '.join([', '.join(texts), *given])})", ATOM
            if form.data == "abs":
                return f"|{texts[0]}|", ATOM
            inner = next((x.items[0] if x.kind == "index" else x for x in form.items), form)
            if form.data == "√" and inner.kind == "name":  # √x, √x[i], but √(f(x)[i])
                return f"√{texts[0]}", POSTFIX
            return f"{form.data}({', '.join(texts)})", ATOM
        if kind == "index":
            base = yield self._wrapped(form.items[0], ATOM)
            where: list[str] = []
            for item in form.items[1:]:
                text, _ = yield self._text(item)
                where.append(text.replace(" ", "") if _of_step(item) else text)
            return f"{base}[{','.join(where)}]", ATOM
        if kind == "total":
            body, level = yield self._text(form.items[0])
            if level < PRODUCT and form.items[0].kind != "total":
                body = f"({body})"
            stated = () if self.declared else unsaid(form)
            marks = [self._sigma(s, s in stated) for s in form.data]
            return f"{' '.join(marks)} {body}", TOTAL
        if kind == "indicator":
            inner, _ = yield self._text(form.items[0])
            return f"1[{inner}]", ATOM
        if kind == "compare":
            left = yield self._wrapped(form.items[0], ADD)
            right = yield self._wrapped(form.items[1], ADD)
            return f"{left} {form.data} {right}", COMPARE
        raise ValueError(f"no text for a {kind}")

    def _sigma(self, slot: Slot, stated: bool) -> str:
        letter = self.letters[slot]
        return f"Σ_{{{letter} < {limit_text(slot.size)}}}" if stated else sigma(letter)

    def _scale(self, form: Form) -> Step:
        c: Monomial = form.data
        body = form.items[0]
        if c.number == -1 and not c.powers:
            text, level = yield self._text(body)
            return "−" + (text if level >= PRODUCT or body.kind == "total" else f"({text})"), ADD
        text, level = yield self._text(body)
        fine = level >= POSTFIX or body.kind in ("product", "total", "kron")
        level = ADD if c.number < 0 else PRODUCT
        return f"{number_form(c, self.sizes)} {text if fine else f'({text})'}", level

    def _sum(self, form: Form) -> Step:
        parts: list[str] = []
        for c, item in zip(form.data, form.items, strict=True):
            negative = c.number < 0
            size = -c if negative else c
            text, level = yield self._text(scaled(size, item))
            if level < TOTAL:
                text = f"({text})"
            if not parts:
                parts.append(f"−{text}" if negative else text)
            else:
                parts.append(f"{'−' if negative else '+'} {text}")
        return " ".join(parts), ADD


def _of_step(form: Form) -> bool:
    return form.kind == "sum" and any(x.kind == "slot" and x.data.number < 0 for x in form.items)


def _sums_rows(form: Form) -> bool:
    """``Σᵢ D[i,:]``, a vector of its own."""
    inner = form.items[0]
    return inner.kind == "index" and any(x.kind == "all" for x in inner.items)


def limit_text(size: Size) -> str:
    """``n − 1``."""
    text = number_form(monomial(size))
    return text[1:-1] if terms_of_letter(str(size)) else text


def superscript(power: Any) -> str:
    """``²`` and the like."""
    table = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    if not isinstance(power, float) and power.denominator == 1:
        return str(power.numerator).translate(table)
    return f"^({number_text(power)})"


def sigma(letter: str) -> str:
    """Σ with its index: a subscript where Unicode has one."""
    small = letter.translate(_SUBSCRIPTS)
    return f"Σ{small}" if small != letter else f"Σ_{letter}"


def subscript(number: int) -> str:
    """``₁₂``."""
    return str(number).translate(_SUBSCRIPTS)


def number_form(c: Monomial, sizes: Sequence[Size] = ()) -> str:
    """A coefficient: ``2``, ``½``, ``(2/n)``, ``(1/√d)``, ``n d log(2 π)``; negative with ``−``.

    The letters stand in the order of ``sizes``, then of the alphabet.
    """
    number = c.number
    sign = "−" if number < 0 or (number == 0 and str(number).startswith("-")) else ""
    powers = declared(c, sizes)
    over = [_letter(n, p) for n, p in powers if p > 0]
    under = [_letter(n, -p) for n, p in powers if p < 0]
    found = recognised(number)
    if found is not None:
        sign = "−" if (number := found[0]) < 0 else ""
        (under if found[2] else over).append(found[1].text)
    number = abs(number)
    if not isinstance(number, float):
        top, bottom = number.numerator, number.denominator
        if not under and number == Fraction(1, 2):
            return sign + " ".join(["½", *over])
        text = number_text(number)
        if bottom != 1 and "/" not in text:
            over.insert(0, text)
        else:
            if top != 1 or not over:
                over.insert(0, str(top))
            if bottom != 1:
                under.insert(0, str(bottom))
    elif number != 1 or not over:
        over.insert(0, number_text(number).replace("inf", "∞"))
    head = " ".join(over)
    if not under:
        return sign + head
    tail = under[0] if len(under) == 1 else f"({' '.join(under)})"
    head = head if len(over) == 1 else f"({head})"
    return f"{sign}({head}/{tail})"


def declared(c: Monomial, sizes: Sequence[Size]) -> list[tuple[str, Exact]]:
    """The letters of a coefficient with their exponents, in the order of ``sizes``."""
    rank = {str(s): k for k, s in enumerate(sizes)}
    return sorted(c.powers, key=lambda pair: rank.get(pair[0], len(rank)))


def _letter(name: str, power: Exact) -> str:
    if terms_of_letter(name) or floor_of_letter(name):
        text = name.replace("-", " − ").replace("+", " + ")
        name = f"({text})" if terms_of_letter(name) else text
    if power == 1:
        return name
    if power == Fraction(1, 2):
        return f"√{name}"
    return name + superscript(power)


def extent(form: Form) -> int:
    """How many parts a formula shows."""
    known: dict[int, int] = {}
    stack: list[tuple[Form, bool]] = [(form, False)]
    while stack:
        part, ready = stack.pop()
        if ready:
            known[id(part)] = 1 + sum(known[id(x)] for x in part.items)
        elif id(part) not in known:
            stack.append((part, True))
            stack += [(x, False) for x in part.items]
    return known[id(form)]


def unshadowed(form: Form, live: Sequence[Slot] = ()) -> Form:
    """The formula with another letter for every Σ over an index that is in use where it stands."""
    stack = [form]
    while stack:
        part = stack.pop()
        if part.kind == "total":
            return run(_unshadowed(form, frozenset(live), {}))
        stack += part.items
    return form


def _unshadowed(form: Form, live: frozenset[Slot], moved: Mapping[Slot, Slot]) -> Step:
    if form.kind == "slot":
        return Form("slot", (), moved[form.data]) if form.data in moved else form
    bound = form.data if form.kind == "total" else ()
    if bound:
        inner = set(slots_of(form.items)) - {*bound}
        table = dict(moved)
        for slot in bound:
            number, used = slot.number, live | inner
            while (other := Slot(slot.size, number)) in used:
                number += 1
            table[slot] = other
            live |= {other}
        moved = table
        bound = tuple(moved[s] for s in bound)
    items: list[Form] = []
    for item in form.items:
        items.append((yield _unshadowed(item, live, moved)))
    same = all(a is b for a, b in zip(items, form.items, strict=True)) and bound in ((), form.data)
    return form if same else Form(form.kind, tuple(items), bound or form.data)


def only_summed(lefts: Iterable[Form], rights: Sequence[Form]) -> set[Slot]:
    """Slots that stand at no left side, nor before one that does: ``k`` of ``Σₖ A[i,k]``."""
    free = set(slots_of(lefts))
    found = set(slots_of(rights)) - free
    stack = list(rights)
    while stack:
        form = stack.pop()
        if form.kind == "index":
            at = [x.data for x in form.items[1:]]
            found -= {s for k, s in enumerate(at) if free.intersection(at[k + 1 :])}
        stack += form.items
    return found


POOL = "ijkalrtuv"
ORDER = POOL + "po"


def assign_letters(
    slots: Sequence[Slot],
    sizes: Sequence[Size],
    taken: Iterable[str],
    last: Iterable[Slot] = (),
    usual: Mapping[Size, str] | None = None,
) -> dict[Slot, str]:
    """Letters for the slots: in order of ``sizes``, from the pool, skipping names in use.

    Those in ``last`` come behind the others; a size with
    ``usual`` letters has these, if no other has them.
    """
    used, behind = set(taken), set(last)
    free = [c for c in POOL if c not in used]
    extra = (f"{c}{n}" for n in range(2, 1000) for c in POOL if f"{c}{n}" not in used)
    rank = {size: k for k, size in enumerate(sizes)}
    ordered = sorted(slots, key=lambda s: (s in behind, rank.get(s.size, len(rank)), s.number))
    result: dict[Slot, str] = {}
    for slot in ordered:
        own = (usual or {}).get(slot.size, "")[slot.number : slot.number + 1]
        if own and own not in used and own not in result.values():
            result[slot] = own
    free = [c for c in free if c not in result.values()]
    for slot in ordered:  # t for T
        if slot in result:
            continue
        own = "t" if slot.number < 0 else str(slot.size).lower()
        if own != str(slot.size) and own in free:
            free.remove(own)
            result[slot] = own
            continue
        result[slot] = free.pop(0) if free else next(extra)
    return dict(sorted(result.items(), key=lambda item: f"{ORDER}{item[1]}".index(item[1])))


Names = Callable[[Any], "Form | None"]
