"""A printed derivation: declarations and lines, and the rules that need no numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from symgrad.derivation.grammar import Node, parse, tokens
from symgrad.errors import NotationError as ReadError


@dataclass(frozen=True)
class Line:
    """`name[at] = right`, at steps that run `up` or `down` in a loop."""

    name: str
    at: tuple[str, ...]
    right: Node
    text: str
    runs: str = ""

    @property
    def right_text(self) -> str:
        return split(self.text)[1]


@dataclass(frozen=True)
class Block:
    """A derivation: declarations, and lines in order."""

    sizes: dict[str, tuple[str, ...]]
    indices: dict[str, str]
    given: list[str]
    layout: str | None
    lines: list[Line]
    adjoints: dict[str, str] = field(default_factory=dict)
    zero_outside: frozenset[str] = frozenset()
    derived: dict[str, str] = field(default_factory=dict)  # sizes that follow from others
    from_one: frozenset[str] = frozenset()  # letters of steps
    first: dict[str, tuple[int, ...]] = field(default_factory=dict)  # index of the first entry
    starts: dict[tuple[str, str], str] = field(default_factory=dict)  # given entries of loops
    states: dict[str, tuple[str, ...]] = field(default_factory=dict)  # that are declared

    @property
    def letters(self) -> set[str]:
        """Size letters that the declarations use."""
        texts = [s for shape in self.sizes.values() for s in shape] + list(self.indices.values())
        return {w for text in texts for w in re.findall(r"[^\W\d]\w*", text)}

    @property
    def groups(self) -> list[tuple[str, list[Line]]]:
        """Lines that are computed one after the other, and those of a loop at every step."""
        return [(runs, list(group)) for runs, group in groupby(self.lines, lambda x: x.runs)]

    def line(self, name: str) -> Line:
        return next(x for x in self.lines if x.name == name)

    def with_right_side(self, name: str, right: str) -> Block:
        """The same block with one right-hand side replaced."""
        changed = replace(self.line(name), right=parse(right),
                          text=f"{split(self.line(name).text)[0]} = {right}")  # fmt: skip
        return replace(self, lines=[changed if x.name == name else x for x in self.lines])


RANGE = re.compile(r"\((\d)(?:…|\.\.)(.*)(?=\))")
"""`(1…T)`: an axis and the index of its first entry."""
HEADERS = ("sizes", "indices", "given", "layout")


def split(line: str) -> tuple[str, str]:
    """Left and right of the ` = ` that defines."""
    left, sign, right = line.partition(" = ")
    if not sign:
        raise ReadError(f"{line!r}: neither a declaration nor a definition")
    return left.strip(), right.strip()


def read_block(text: str) -> Block:
    """A printed derivation; what the contract asks of names and letters is checked here."""
    sizes: dict[str, tuple[str, ...]] = {}
    derived: dict[str, str] = {}
    indices: dict[str, str] = {}
    given: list[str] = []
    layout: str | None = None
    lines: list[Line] = []
    first: dict[str, tuple[int, ...]] = {}
    from_one: frozenset[str] = frozenset()
    starts: dict[tuple[str, str], str] = {}
    last = -1
    for row in filter(str.strip, text.splitlines()):
        word, _, rest = row.partition(" ")
        if word not in HEADERS or rest.lstrip().startswith("= "):
            lines.append(_line(row))
            continue
        if lines or HEADERS.index(word) <= last:
            raise ReadError(f"{row!r}: declarations come first: sizes, indices, given, layout")
        last = HEADERS.index(word)
        entries = re.split(r"\s{2,}", rest.strip())
        if word == "sizes":
            derived = _table(tuple(e.split(" = ", 1)) for e in entries if " = " in e)
            sizes = _table(pair for e in entries if " = " not in e for pair in _size_entries(e))
            first = {x: tuple(int(m[1]) if (m := RANGE.match(e)) else 0 for e in row)
                     for x, row in sizes.items()}  # fmt: skip
        elif word == "indices":
            from_one = frozenset(e.split()[0] for e in entries if " = 1" in e)
            indices = _table(_index_entry(e) for e in entries)
        elif word == "given":
            given = [x.strip() for x in re.split(r",(?![^⟨<]*[⟩>])", rest.strip())]
        else:
            layout = rest.strip()
    if not sizes:
        raise ReadError("a block opens with its sizes")
    adjoints: dict[str, str] = {}
    zero_outside: set[str] = set()
    for entry in given:
        name, sign, meaning = entry.partition(" = ")
        if sign and re.match(r"(?:∂|d)\w*/(?:∂|d)", meaning):
            adjoints[name] = meaning
        elif meaning == "0 outside its range":
            zero_outside.add(name)
        elif m := re.fullmatch(r"([^\[\s]+)\[([\w+]+)\]", name):
            starts[m[1], m[2]] = meaning
    looped = {x.name for x in lines if x.runs}
    sizes = {x: tuple(RANGE.sub(r"\2", e).rstrip(")") for e in row) for x, row in sizes.items()}
    states = {x: row for x, row in sizes.items() if x in looped}
    sizes = {x: row for x, row in sizes.items() if x not in looped}
    block = Block(sizes, indices, given, layout, lines, adjoints, frozenset(zero_outside), derived,
                  from_one, first, starts, states)  # fmt: skip
    _check(block)
    return block


def _table(entries):
    found = {}
    for name, value in entries:
        if name in found:
            raise ReadError(f"{name} is declared twice")
        found[name] = value
    return found


def size_value(text: str, sizes: Mapping[str, int]) -> int:
    """The number that ``⌊(e + 2 q − a)/s⌋ + 1`` is."""
    text = text.replace("⌊", "floor(").replace("⌋", ")").replace("−", "-")
    text = re.sub(r"(?<=\w) (?=\w)", " * ", text)
    return int(eval(text, {"__builtins__": {}, "floor": math.floor}, dict(sizes)))


def _size_entries(entry: str) -> list[tuple[str, tuple[str, ...]]]:
    names, sign, shape = entry.partition(": ")
    if not sign:
        raise ReadError(f"sizes: {entry!r} is not 'name: sizes'")
    sizes = () if shape == "scalar" else tuple(re.split(r"×| x ", shape))
    return [(name, sizes) for name in names.split(", ")]


def _index_entry(entry: str) -> tuple[str, str]:
    m = re.fullmatch(r"([A-Za-z]\w*) (?:<|= 1(?:…|\.\.)) ?(\S.*)", entry)
    if m is None:
        raise ReadError(f"indices: {entry!r} is not 'letter < size'")
    return m[1], m[2]


def _line(row: str) -> Line:
    row, tail, places = row.partition("   for ")
    row = row.rstrip()
    left, right = split(row)
    m = re.fullmatch(r"([^\[\]\s]+)(?:\[(\w+(?:,\w+)*)\])?", left)
    if m is None:
        raise ReadError(f"{left!r}: the left side is a name, or a name with index letters")
    found = tokens(m[1])
    if len(found) != 2 or found[0].kind != "name":
        raise ReadError(f"{left!r}: {m[1]!r} is not a name")
    at = tuple(m[2].split(",")) if m[2] else ()
    if len(set(at)) != len(at):
        raise ReadError(f"{left!r}: an index appears twice")
    runs = ("up" if " = 1," in places else "down") if tail else ""
    return Line(m[1], at, parse(right), row, runs)


def _check(block: Block) -> None:
    """Contract rules on declarations, letters and names."""
    names = [*block.sizes, *block.adjoints, *(x.name for x in block.lines)]
    for name in names:
        if names.count(name) > 1:
            raise ReadError(f"{name} is defined twice")
    clash = block.letters & set(names)
    if clash:
        raise ReadError(f"{', '.join(sorted(clash))}: the name of a size and of a tensor")
    wrong = set(block.indices) & (block.letters | set(names))
    if wrong:
        raise ReadError(f"{', '.join(sorted(wrong))}: an index has the letter of a size or a name")
    for line in block.lines:
        for letter in line.at:
            if letter not in block.indices:
                raise ReadError(f"{line.text!r}: the range of {letter} is not declared")
        check_indices(line.right, set(line.at), block.indices, line.text)
        if block.layout is None and _has(line.right, "kron"):
            raise ReadError(f"{line.text!r}: ⊗ without a layout line")


def _has(root: Node, kind: str) -> bool:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind == kind:
            return True
        stack.extend(node.items)
    return False


def check_indices(root: Node, free: set[str], declared: Mapping[str, str], text: str) -> None:
    """Every Σ binds a declared letter that is not bound already; no letter is used unbound."""
    stack: list[tuple[Node, frozenset[str]]] = [(root, frozenset(free))]
    while stack:
        node, bound = stack.pop()
        if node.kind == "total":
            if node.data not in declared:
                raise ReadError(f"{text!r}: the range of {node.data} is not declared")
            if node.data in bound:
                raise ReadError(f"{text!r}: Σ over {node.data} shadows an index in use")
            bound |= {node.data}
        elif node.kind == "name" and node.data in declared and node.data not in bound:
            raise ReadError(f"{text!r}: the index {node.data} is not bound")
        stack.extend((x, bound) for x in node.items)
