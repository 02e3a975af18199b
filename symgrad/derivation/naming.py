"""Names of intermediate values, by a stated rule (tracing cannot see Python's local names).

affine and fed to an activation or softmax → Z, its activation → H, softmax → P, σ → p, a difference
that is squared or used twice → R, one-hot rows → Y; anything else used twice gets a free letter.
Upper case for matrices, lower case for vectors and scalars; numbered when several.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from symgrad.core.build import CONTRACTION, DELTA, SUM, constant_value, relabelling, single_term
from symgrad.core.expr import SYMBOL, Expr, name_of, one_line
from symgrad.core.traverse import topological
from symgrad.derivation.notation import subscript
from symgrad.derivation.opaque import is_result, opaque_call
from symgrad.derivation.order import Written, bare

ACTIVATIONS = frozenset(
    {"tanh", "relu", "sigmoid", "softplus", "exp", "erf", "sin", "cos", "log", "softmax",
     "logsumexp"}
)  # fmt: skip
FREE = "ABCDEFGMNOQSTUV"
NESTED = 3
"""Sums within sums in which a product is looked for."""


@dataclass(slots=True)
class NameTable:
    """Names already in use; gives a base letter, numbered where it must be."""

    taken: set[str] = field(default_factory=set[str])

    def fresh(self, base: str, number: int = 0) -> str:
        """``base``, or ``base`` with the first free number."""
        word = base + (subscript(number) if number else "")
        count = number
        while word in self.taken:
            count += 1
            word = base + subscript(count)
        self.taken.add(word)
        return word

    def free(self, rank: int) -> str:
        """A letter that nothing has, numbered when all are taken."""
        letters = FREE if rank >= 2 else FREE.lower()
        return self.fresh(next((c for c in letters if c not in self.taken), letters[-4]))


def written_order(roots: Sequence[Expr], written: Written) -> list[Expr]:
    """Topological order that visits operands as they were written."""
    order: list[Expr] = []
    done: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
            continue
        if node in done:
            continue
        done.add(node)
        stack.append((node, True))
        args = list(node.args)
        position = written.positions(node) or {}
        if position:
            last = len(position)
            order_of = {a: position.get(bare(a), last) for a in args}
            args.sort(key=order_of.__getitem__)
        stack.extend((a, False) for a in reversed(args) if a not in done)
    return order


def with_gates(order: Sequence[Expr], chosen: Mapping[Expr, str]) -> list[Expr]:
    """The order with results of scans that only have a name: they stand behind their scan."""
    held = set(order)
    gates: dict[Expr, list[Expr]] = {}
    for e in chosen:
        if is_result(e) and e not in held:
            gates.setdefault(e.args[0], []).append(e)
    return [x for node in order for x in (node, *gates.get(node, ()))] if gates else list(order)


def kinds(
    order: Sequence[Expr], roots: Iterable[Expr], gates: Container[Expr] = ()
) -> dict[Expr, str]:
    """Which nodes deserve a name, and of which kind (``Z H P p R C`` or ``*``).

    ``gates`` have names: an activated sum of what they let through is the state C of a cell.
    """
    users: dict[Expr, list[Expr]] = {}
    times: dict[Expr, int] = {}
    for node in order:
        for a in node.args:
            users.setdefault(a, []).append(node)
            times[a] = times.get(a, 0) + 1
    final = set(roots)
    found: dict[Expr, str] = {}
    for node in order:
        if node in final or not _nameable(node):
            continue
        above = users.get(node, [])
        foreign = any(u.op.function is not None for u in above)
        activated = [u for u in above if _activation(u)]
        if activated and _affine(node):
            attends = any(
                u.op.name == "softmax" and _feeds_product(users.get(u, ())) for u in above
            )
            found[node] = "S" if attends and node.ndim > 1 and _product(bare(node)) else "Z"
        elif node.op is SUM and node.ndim > 1 and any(u.op.name in SOFT for u in above):
            found[node] = "Z"
        elif activated and node.op is SUM and any(b in gates for a in node.args for b in a.args):
            found[node] = "C"
        elif found.get(node.args[0] if node.args else node) == "C" and _activation(node):
            found[node] = "H"
        elif node.op.name == "softmax":
            found[node] = "P"
        elif node.op.name == "sigmoid":
            found[node] = "P" if node.ndim == 2 and _feeds_product(above) else "p"
            if found.get(node.args[0]) == "Z" and _feeds_product(above):
                found[node] = "H"
        elif (
            (inner := _activated(node)) is not None
            and bare(inner) in found
            and (_feeds_product(above) or len(above) > 1)
        ):
            found[node] = "H"
        elif node.op.name == "window_max":
            found[node] = "M"
        elif opaque_call(node) is not None:
            found[node] = _loop_letter(node) if is_result(node) else "Z"
        elif foreign:
            found[node] = "*"
        elif _of_steps(node):
            continue
        elif times.get(node, 0) > 1 and len(node.shape) > 0:
            found[node] = "R" if node.op is SUM else "*"
        elif times.get(node, 0) > 1:
            found[node] = "*"
    found.update((e, kind) for e, kind in attention(order, users).items() if e not in final)
    return {node: found[node] for node in order if node in found}


def _loop_letter(node: Expr) -> str:
    """The letter of a result of a scan: that of its state, a capital where a step makes a matrix.

    An output of the steps has any letter.
    """
    states = node.args[0].params[0].states
    k = node.params[0]
    if k >= 2 * len(states):
        return "*"
    word = name_of(states[k % len(states)])
    word = word if len(word) == 1 else "h"
    return word if node.ndim - (k >= len(states)) < 2 else word.upper()


def _of_steps(node: Expr) -> bool:
    """A difference of two names, one of which a loop makes: as short as its name, ``h[t] − y[t]``."""
    named = all(a.op is SYMBOL or is_result(a) for a in node.args)
    return node.op is SUM and len(node.args) == 2 and named and any(map(is_result, node.args))


SOFT = ("softmax", "logsumexp")
"""Operations whose argument has a name."""


def attention(order: Sequence[Expr], users: Mapping[Expr, list[Expr]]) -> dict[Expr, str]:
    """Q and K, whose product a softmax is taken of, V that it weighs, and O, where it goes on."""
    place = {node: k for k, node in enumerate(order)}
    found: dict[Expr, str] = {}
    for node in order:
        if node.op.name != "softmax":
            continue
        above = [u for u in users.get(node, []) if _product(u) and len(u.args) == 2]
        scores = bare(node.args[0])
        if not above or not _product(scores):
            continue
        parts = sorted({bare(a) for a in scores.args}, key=place.__getitem__)
        if len(parts) == 2:
            pairs = zip(parts, "QK", strict=True)
            found.update((e, word) for e, word in pairs if _affine(e) and _nameable(e))
        for u in above:
            for a in map(bare, u.args):
                if a is not node and _affine(a) and _nameable(a):
                    found[a] = "V"
            if any(_product(reader) for reader in users.get(u, [])):
                found[u] = "O"
    return found


def _activation(node: Expr) -> bool:
    return _activated(node) is not None


def _activated(node: Expr) -> Expr | None:
    """What a node is an activation of: of leaky units that is z in ``where(z > 0, z, a z)``."""
    if node.op.name in ACTIVATIONS or (node.op.body is not None and len(node.args) == 1):
        return node.args[0]
    if node.op.name != "where" or not node.args[0].args:
        return None
    read = {bare(a) for a in (*node.args[0].args, *node.args[1:]) if constant_value(a) is None}
    return read.pop() if len(read) == 1 else None


def _nameable(node: Expr) -> bool:
    if node.op in (SYMBOL, DELTA) or not node.dtype.differentiable or node.op.outputs is not None:
        return False
    if constant_value(node) is not None or relabelling(node) is not None:
        return False
    term = single_term(node)
    if term is not None and term[1].op is SYMBOL:
        return False
    if node.op.name == "inv" and node.args[0].op is SYMBOL:  # as short as a name: S⁻¹
        return False
    return node.op.name != "onehot"


def _affine(node: Expr) -> bool:
    """A product of two factors, or a sum that has one among its terms or theirs."""
    if node.op is not SUM or any(map(_product, node.args)):
        return node.op is SUM or _product(node)
    terms: Sequence[Expr] = (node,)
    for _ in range(NESTED):
        terms = [a for e in terms if e.op is SUM and len(e.args) > 1 for a in e.args]
        if any(map(_product, terms)):
            return True
    return False


def _product(node: Expr) -> bool:
    """A matrix product, a convolution."""
    if node.op is CONTRACTION:
        return node.sums and len(node.args) > 1
    return node.op.name == "convolution"


def _feeds_product(users: Sequence[Expr]) -> bool:
    return any(_product(u) or relabelling(u) is not None for u in users)


def base_letter(kind: str, node: Expr) -> str:
    """The letter of a kind, in the case that fits the rank; axes of size 1 do not count."""
    rank = sum(size != 1 for size in node.shape)
    if kind == "p":
        return "P" if rank == 2 else "p"
    return kind if rank >= 2 else kind.lower()


def assign(
    found: Mapping[Expr, str], table: NameTable, chosen: Mapping[Expr, str]
) -> dict[Expr, str]:
    """Names for the nodes, in program order; ``chosen`` are the user's own."""
    groups: dict[str, list[Expr]] = {}
    for node, kind in found.items():
        if node in chosen:
            continue
        letter = base_letter(kind, node) if kind != "*" else "*"
        groups.setdefault(letter, []).append(node)
    result: dict[Expr, str] = {}
    many = Counter(chosen.values())
    for node, word in chosen.items():
        gate = is_result(node) and word in table.taken
        result[node] = table.fresh(word, many[word] > 1) if many[word] > 1 or gate else word
        table.taken.add(result[node])
    for letter, nodes in groups.items():
        for number, node in enumerate(nodes, start=1):
            if letter == "*":
                result[node] = table.free(node.ndim - is_result(node))
            else:
                other = letter.swapcase() if is_result(node) and letter in table.taken else letter
                result[node] = table.fresh(other, number if len(nodes) > 1 else 0)
    return {node: result[node] for node in [*chosen, *found] if node in result}


def display_names(paths: Sequence[str], roots: Sequence[str]) -> list[str]:
    """Names for formulas: the path without its root where that is unambiguous, ``W1`` → ``W₁``.

    ``….weight`` and ``….bias`` of several layers become W₁ b₁ W₂ b₂, those of recurrent ones Wx Wh.
    """
    short = [p.split(".", 1)[1] if "." in p and p.split(".", 1)[0] in roots else p for p in paths]
    if len(set(short)) != len(short):
        short = list(paths)
    layers: dict[tuple[str, int], int] = {}
    repeated = {**_repeated(short), **_recurrent(short)}
    owners: list[tuple[str, int]] = []  # two networks may have a layer "0"
    seen: Counter[str] = Counter()
    for p in short:
        head, _, tail = p.rpartition(".")
        owners.append((head, seen[p]))
        seen[p] += 1
        if tail in ("weight", "bias") and p not in repeated:
            layers.setdefault(owners[-1], len(layers) + 1)
    result: list[str] = []
    for p, owner in zip(short, owners, strict=True):
        tail = p.rpartition(".")[2]
        if p in repeated:
            word = repeated[p]
        elif tail in ("weight", "bias"):
            number = layers[owner] if len(layers) > 1 else 0
            word = ("W" if tail == "weight" else "b") + (subscript(number) if number else "")
        else:
            match = re.fullmatch(r"([A-Za-zͰ-Ͽ]+)_?([0-9]+)", p)
            word = match.group(1) + subscript(int(match.group(2))) if match else p
        word = one_line(word if word not in result else p)
        base, count = word, 1
        while word in result:
            count += 1
            word = f"{base}_{count}"
        result.append(word)
    return result


RECURRENT = {"weight_ih": "Wx", "weight_hh": "Wh", "weight_hr": "Wr", "bias_ih": "bx",
             "bias_hh": "bh"}  # fmt: skip
"""Parameters of recurrent layers: what an input is multiplied by, and what a state is."""


PARTS = {
    ("Wx", 4): "ifgo", ("Wh", 4): "ifgo", ("bx", 4): "ifgo", ("bh", 4): "ifgo",
    ("Wx", 3): "rzn", ("Wh", 3): "rzn", ("bx", 3): "rzn", ("bh", 3): "rzn",
    ("in_proj_weight", 3): "qkv", ("in_proj_bias", 3): "qkv",
}  # fmt: skip
"""What the equal parts of a parameter are for: gates, and maps of attention."""


def part_words(word: str, count: int, taken: Container[str]) -> list[tuple[str, str]]:
    """(name, what it is for) of the parts of a parameter: ``Wxi``, or ``W₁`` of which nothing is known."""
    stem = word.rstrip("₀₁₂₃₄₅₆₇₈₉")
    number, last = word[len(stem) :], stem.rpartition(".")[2]
    use = PARTS.get((last, count), "")
    base = {"in_proj_weight": "W", "in_proj_bias": "b"}.get(last, last)
    made = [(f"{base}{c}{number}", c + number) for c in use] or [
        (f"{word}{subscript(k)}", "") for k in range(1, count + 1)
    ]
    table = NameTable({w for w, _ in made if w in taken})
    return [(table.fresh(w), c) for w, c in made]


def _recurrent(paths: Sequence[str]) -> dict[str, str]:
    """``weight_ih_l0`` → ``Wx``, or ``Wx₁`` where there are several layers."""
    found = {p: m for p in paths if (m := re.fullmatch(r"(.*?)(\w+_[ih][hr])((?:_l\d+)?(?:_reverse)?)", p))
             and m[2] in RECURRENT}  # fmt: skip
    layers = list(dict.fromkeys((m[1], m[3]) for m in found.values()))
    return {
        p: RECURRENT[m[2]] + (subscript(layers.index((m[1], m[3])) + 1) if layers[1:] else "")
        for p, m in found.items()
    }


def _repeated(paths: Sequence[str]) -> dict[str, str]:
    """``blocks.3.q.weight`` → ``Wq₄`` where there are several such blocks."""
    found: dict[str, tuple[str, str]] = {}
    for p in paths:
        match = re.fullmatch(r"(?:.*\.)?(\d+)\.((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)\.(weight|bias)", p)
        if match is not None:
            where = match[2].replace(".", "_")
            base = {"weight": "W", "bias": "b"}[match[3]]
            found[p] = (base + (where if len(where) == 1 else f"_{where}"), match[1])
    many = Counter(base for base, _ in found.values())
    return {
        p: base + subscript(int(number) + 1)
        for p, (base, number) in found.items()
        if many[base] > 1 and not base[-1].isdigit()
    } | {
        p: base + "_" + subscript(int(number) + 1)
        for p, (base, number) in found.items()
        if many[base] > 1 and base[-1].isdigit()
    }


__all__ = [
    "NameTable",
    "assign",
    "base_letter",
    "display_names",
    "kinds",
    "part_words",
    "topological",
    "with_gates",
    "written_order",
]
