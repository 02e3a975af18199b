"""Tokens and the grammar of one formula: text → tree, by recursive descent of bounded depth."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.derivation.ascii import ASCII, SUBSCRIPTS
from symgrad.errors import NotationError

DEEPEST = 60
"""Parentheses within parentheses; more is not a formula for people."""

# ------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True)
class Token:
    """kind: number name sum indicator mark, or the symbol itself; `glued`: no space before it."""

    kind: str
    text: str
    glued: bool
    start: int
    end: int


_SUB = "".join(c for c, plain in SUBSCRIPTS.items() if plain.isalpha())
_DIGITS = "".join(c for c, plain in SUBSCRIPTS.items() if plain.isdigit())
_SUPER = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_NAME = rf"(?:(?![{_SUPER}⁺⁻ᵀ½{_DIGITS}])[^\W\d])(?:(?![{_SUPER}⁺⁻ᵀ½])\w)*(?:\.\w+)*(?:⁺|′+[{_DIGITS}]*)?"
_PLAIN = r"[A-Za-z_]\w*(?:\.\w+)*"

UNICODE_TOKENS = [
    ("skip", r" +"),
    ("indicator", r"1\["),
    ("number", r"\d+(?:\.\d+)?(?:e[+-]?\d+)?|½|∞"),
    ("sum", rf"Σ(?:[{_SUB}][{_DIGITS}]*|_[A-Za-z]\w*|_(?={{))"),
    ("function", r"log Γ(?=\()"),
    ("name", rf"∂²?{_NAME}/∂{_NAME}²?(?:∂{_NAME}²?)?|{_NAME}"),
    ("mark", rf"ᵀ|⁻¹|⁻ᵀ|⁻?[{_SUPER}]+|\^\(−?[\d.]+(?:/\d+)?\)"),
    ("symbol", r"[⊙⊘⊗+−/()\[\]{},:;√|>≥<≤=≠∧∨⊻¬]"),
]
ASCII_TOKENS = [
    ("skip", r" +"),
    ("indicator", r"1\["),
    ("number", r"\d+(?:\.\d+)?(?:e[+-]?\d+)?|\(1/2\)|inf\b"),
    ("sum", r"sum_(?:[A-Za-z]\w*|(?={))"),
    ("function", r"log Gamma(?=\()"),
    ("name", rf"d(?:\^2)?{_PLAIN}/d{_PLAIN}(?:\^2)?|{_PLAIN}"),
    ("mark", r"'|\^-1'|\^-?\d+|\^\(-?[\d.]+(?:/\d+)?\)"),
    ("symbol", r"(?<= )\(x\)(?= )|\.\*|\./|>=|<=|!=|[+\-/()\[\]{},:;|><=]"),
]


def _matcher(table: Sequence[tuple[str, str]]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in table))


_MATCHERS = {False: _matcher(UNICODE_TOKENS), True: _matcher(ASCII_TOKENS)}
_BACK = {ASCII[c]: c for c in ("⊙", "⊘", "⊗", "−", "≥", "≤", "≠", "ᵀ", "⁻¹", "⁻ᵀ", "∞", "½")}
_WORDS = {ASCII[c].strip(): c for c in "∧∨⊻¬"}


def tokens(text: str) -> list[Token]:
    """The tokens of one formula, spelled as in Unicode wherever they are not names."""
    plain = text.isascii()
    found: list[Token] = []
    place, glued = 0, False
    while place < len(text):
        m = _MATCHERS[plain].match(text, place)
        if m is None:
            raise NotationError(f"{text!r}: {text[place]!r} is not part of the notation")
        kind, word = str(m.lastgroup), m[0]
        if kind == "skip":
            glued = False
        else:
            if plain and kind in ("symbol", "mark", "number"):
                word = _BACK.get(word, word)
            if plain and kind == "name" and word in _WORDS:
                kind, word = "symbol", _WORDS[word]
            if plain and kind == "name" and word == "sqrt" and text[m.end() : m.end() + 1] == "(":
                kind, word = "symbol", "√"
            if kind == "function":
                kind, word = "name", "log Γ"
            if kind == "sum":
                word = word[4:] if plain else "".join(SUBSCRIPTS.get(c, c) for c in word[1:])
                word = word.lstrip("_")
            found.append(Token(word if kind == "symbol" else kind, word, glued, place, m.end()))
            glued = True
        place = m.end()
    found.append(Token("end", "", False, place, place))
    return found


# ------------------------------------------------------------------------------------- grammar


@dataclass(frozen=True)
class Node:
    """One node of a formula; `data` is a number, a name, signs or a mark.

    Kinds: number name neg sum product hadamard kron quotient total mark index all call parameter
    indicator compare not abs root.  The data of a parameter is a whole number, a word (a size such as
    ``2 n``, ``all``, a dtype) or a tuple of these; a window is a tuple that begins with its word.
    """

    kind: str
    items: tuple[Node, ...] = ()
    data: Any = None


_STARTS = {"number", "name", "sum", "indicator", "(", "√", "|"}
_COMPARISONS = ("=", "≠", ">", "≥", "<", "≤")
_CONNECTIVES = ("∧", "∨", "⊻")
_TWO_KINDS = "two kinds of product meet without parentheses"


class _Parser:
    """Recursive descent, as deep as the parentheses, which :data:`DEEPEST` bounds."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0
        self.bars = 0
        self.index = False
        """Between the brackets of an index."""

    def fail(self, why: str) -> NotationError:
        return NotationError(f"{self.text!r}, column {self.next.start + 1}: {why}")

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self, kind: str | None = None) -> Token:
        token = self.next
        if kind is not None and token.kind != kind:
            raise self.fail(f"expected {kind}, found {token.text or 'the end'}")
        self.at += 1
        return token

    def touches(self, kind: str) -> bool:
        return self.next.kind == kind and self.next.glued

    def whole(self) -> Node:
        node = self.expression()
        if self.next.kind != "end":
            raise self.fail(f"unexpected {self.next.text!r}")
        return node

    def expression(self) -> Node:
        """[−] term (± term)*."""
        self.deeper()
        signs = [1]
        if self.next.kind == "−":
            self.take()
            signs = [-1]
            if not self.next.glued:
                raise self.fail("a sign stands next to its term")
        terms = [self.term()]
        while self.next.kind in ("+", "−"):
            sign = self.take()
            step = self.index and sign.glued and self.next.glued  # h[t−1]
            if not step and (sign.glued or self.next.glued):
                raise self.fail("+ and − between terms stand between spaces")
            signs.append(1 if sign.kind == "+" else -1)
            terms.append(self.term())
        self.depth -= 1
        if len(terms) == 1:
            return terms[0] if signs[0] == 1 else Node("neg", (terms[0],))
        return Node("sum", tuple(terms), tuple(signs))

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.fail("nested too deep")

    def condition(self) -> Node:
        """clause [connective clause]."""
        left = self.clause()
        if self.next.kind not in _CONNECTIVES:
            return left
        sign = self.take()
        if sign.glued or self.next.glued:
            raise self.fail(f"{sign.kind} stands between spaces")
        return Node("compare", (left, self.clause()), sign.kind)

    def clause(self) -> Node:
        """¬(condition), (condition), or a comparison."""
        if self.next.kind == "¬":
            self.take()
            return Node("not", (self.grouped(),))
        if self.next.kind == "(":
            start = self.at, self.depth, self.bars
            try:
                found = self.grouped()
            except NotationError:
                found = None
            if found is not None and self.next.kind in (*_CONNECTIVES, "]", ",", ")"):
                return found
            self.at, self.depth, self.bars = start  # it was an expression in parentheses
        return self.comparison()

    def grouped(self) -> Node:
        """(condition)."""
        self.take("(")
        self.deeper()
        inner = self.condition()
        self.take(")")
        self.depth -= 1
        return inner

    def comparison(self) -> Node:
        """expression comparison expression, or a call of one: ``diag(A > B)``."""
        left = self.expression()
        if self.next.kind not in _COMPARISONS:
            if left.kind == "call" and any(x.kind == "compare" for x in left.items):
                return left
            raise self.fail("a condition needs a comparison")
        sign = self.take().kind
        return Node("compare", (left, self.expression()), sign)

    def term(self) -> Node:
        """Factors joined by one kind of product; Σ takes what is to its right, / ends."""
        if self.next.kind == "sum":
            return self.total()
        factors = [self.factor()]
        joiner = ""
        while True:
            token = self.next
            kind = token.kind
            if kind in ("⊙", "⊘"):
                if joiner not in ("", kind):
                    raise self.fail(_TWO_KINDS)
                if joiner == "⊘":
                    raise self.fail("set parentheses in a chain of ⊘")
                joiner = kind
                self.spaced()
                factors.append(self.factor())
            elif kind == "⊗":
                if joiner != "⊗" and not all(_is_coefficient(f) for f in factors[:-1]):
                    raise self.fail(_TWO_KINDS)
                if joiner not in ("", " ", "⊗"):
                    raise self.fail(_TWO_KINDS)
                joiner = kind
                self.spaced()
                factors[-1] = Node("kron", (factors[-1], self.factor()))
            elif kind == "/":
                if joiner not in ("", " "):
                    raise self.fail("'/' divides one product by one factor: set parentheses")
                joiner = kind
                self.take()
                factors = [Node("quotient", (_product(factors), self.factor()))]
            elif kind in _STARTS and not (kind == "|" and self.bars):
                if joiner == "/":
                    raise self.fail("'/' divides by one factor: set parentheses")
                if joiner not in ("", " "):
                    raise self.fail(_TWO_KINDS)
                if token.glued:
                    raise self.fail("factors are separated by a space")
                if kind == "number":
                    raise self.fail("a number stands first in its product")
                joiner = " "
                if kind == "sum":
                    factors.append(self.total())
                    break
                factors.append(self.factor())
            else:
                break
        if joiner in ("⊙", "⊘"):
            return Node("hadamard", tuple(factors), joiner)
        return _product(factors)

    def spaced(self) -> None:
        """Take an operator that stands between spaces."""
        if self.take().glued or self.next.glued:
            raise self.fail("⊙ ⊘ ⊗ stand between spaces")

    def total(self) -> Node:
        """Σᵢ, or Σ_{i < n}, and the product to its right."""
        letter = self.take("sum").text
        limit: tuple[Node, ...] = ()
        if not letter:
            self.take("{")
            letter = self.take("name").text
            self.take("<")
            limit = (self.expression(),)
            self.take("}")
        self.deeper()
        if self.next.kind not in _STARTS:
            raise self.fail("Σ needs a product to its right")
        body = self.term()
        self.depth -= 1
        return Node("total", (body, *limit), letter)

    def factor(self) -> Node:
        """An atom with its indices and one mark (ᵀ ⁻¹ ²)."""
        node = self.indexed(self.atom())
        if self.touches("mark"):
            node = Node("mark", (node,), self.take().text)
        if self.next.kind in ("mark", "["):
            raise self.fail("one mark and one pair of brackets at most: set parentheses")
        return node

    def indexed(self, node: Node) -> Node:
        if not self.touches("["):
            return node
        return Node("index", (node, *self.listed("[", "]")))

    def atom(self) -> Node:
        token = self.take()
        if token.kind == "number":
            number = {"½": 0.5, "∞": math.inf}.get(token.text)
            return Node("number", (), float(token.text) if number is None else number)
        if token.kind == "name":
            if self.touches("("):
                return Node("call", self.listed("(", ")", token.text), token.text)
            return Node("name", (), token.text)
        if token.kind == "indicator":
            inner = self.condition()
            self.take("]")
            return Node("indicator", (inner,))
        if token.kind == "(":
            return self.group()
        if token.kind == "√":
            if self.touches("("):
                self.take()
                return Node("root", (self.group(lone=True),))
            if not self.next.glued or self.next.kind not in ("name", "number"):
                raise self.fail("√ stands next to a name or to parentheses")
            return Node("root", (self.indexed(self.atom()),))
        if token.kind == "|":
            self.bars += 1
            node = self.expression()
            self.bars -= 1
            self.take("|")
            return Node("abs", (node,))
        self.at -= 1
        raise self.fail(f"unexpected {token.text or 'end'}")

    def group(self, lone: bool = False) -> Node:
        """The inside of parentheses, which a lone name does not need."""
        bars, self.bars = self.bars, 0
        node = self.expression()
        self.take(")")
        self.bars = bars
        if node.kind == "name" and not lone:
            raise self.fail("parentheses around a lone name")
        return node

    def listed(self, left: str, right: str, function: str = "") -> tuple[Node, ...]:
        """Items between brackets, separated by commas."""
        self.take(left)
        bars, self.bars = self.bars, 0
        index, self.index = self.index, left == "["
        items: list[Node] = []
        while True:
            if left == "[" and self.next.kind == ":":
                self.take()
                items.append(Node("all"))
            elif function == "where" and not items:
                items.append(self.condition())
            else:
                items.append(self.expression())
                if function and self.next.kind in _COMPARISONS:
                    sign = self.take().kind
                    items[-1] = Node("compare", (items[-1], self.expression()), sign)
            if self.next.kind != ",":
                break
            self.take()
        while self.next.kind == ";" and left == "(":
            self.take()
            items.append(Node("parameter", (), self.parameter()))
        self.take(right)
        self.bars, self.index = bars, index
        return tuple(items)

    def parameter(self) -> Any:
        """A number, a size, a word, or a tuple of these."""
        self.deeper()
        sign = 1
        if self.next.kind == "−":
            self.take()
            sign = -1
        words: list[str] = []
        while self.next.kind in ("number", "name", "."):
            words.append(self.take().text)
        if self.next.kind == "(" and (not words or words == ["window"]):
            made: Any = self.entries(words)
        elif not words:
            raise self.fail(f"expected a parameter, found {self.next.text or 'the end'}")
        else:
            text = " ".join(words)
            made = sign * (float(text) if "." in text or "e" in text[1:] else int(text)) if (
                text[0].isdigit() and len(words) == 1) else text  # fmt: skip
        self.depth -= 1
        return made

    def entries(self, words: list[str]) -> tuple[Any, ...]:
        """``(a, b)`` as a tuple; ``window(…)`` as one that begins with the word."""
        self.take("(")
        found: list[Any] = list(words)
        while self.next.kind != ")":
            found.append(self.parameter())
            if self.next.kind != ",":
                break
            self.take()
        self.take(")")
        return tuple(found)


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Node("product", tuple(factors))


def _is_coefficient(node: Node) -> bool:
    """A number, ½, or a fraction of numbers and names in parentheses."""
    return node.kind == "number" or (
        node.kind == "quotient" and all(_is_plain(x) for x in node.items)
    )


def _is_plain(node: Node) -> bool:
    if node.kind == "product":
        return all(_is_plain(x) for x in node.items)
    return node.kind in ("number", "name", "root")


def parse(text: str) -> Node:
    """The tree of one formula."""
    return _Parser(text).whole()


WORD = re.compile(_NAME)
"""A name, or the letter of an index."""


@dataclass(frozen=True, slots=True)
class Defined:
    """``a[k] = x[k + 1] for k < n − 1``: the letters of a name, its text, and stated ranges."""

    letters: list[str]
    text: str
    ranges: dict[str, str]


def defined(text: str) -> tuple[str, dict[str, Defined]]:
    """A formula without its remarks, and the names behind ``where``.

    A matrix of ones, ``1 1ᵀ``, is the number that is spread over a matrix.
    """
    text = re.sub(r"(?<![\w.])1 1(?:ᵀ|')", "(1)", text)
    text, _, behind = re.sub(r"\s+\(vec by rows\)$", "", text).partition("   where ")
    found: dict[str, Defined] = {}
    start = depth = 0
    for k, c in enumerate(f"{behind}," if behind else ""):
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            left, equals, right = behind[start:k].partition(" = ")
            words = WORD.findall(left)
            if not equals or not words:
                raise NotationError(f"{behind[start:k]!r}: a name and what it stands for is needed")
            right, _, said = right.partition(" for ")
            ranges = dict(part.split(" < ", 1) for part in said.split(" and ") if " < " in part)
            found[words[0]] = Defined(words[1:], right, ranges)
            start = k + 1
    return text, found
