"""The library's own parser on a printed block: every line as an expression, evaluated by NumPy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import Size, parse_size, size_total
from symgrad.derivation.parse import read
from symgrad.evaluate import evaluate
from tests.notation.blocks import Block, size_value
from tests.notation.running import evaluate_block


def size(text: str) -> Size:
    """``n``, ``3``, ``2 n``, ``⌊(e + 2 q − a)/s⌋ + 1`` as a size."""
    return parse_size(re.sub(r"floor\((.*?/\w+)\)", r"⌊\1⌋", text))


LONGEST = 20
"""More than the lines of a loop times its steps."""


def plus_one(n: Size) -> Size:
    """n + 1."""
    return size_total(n, 1)


def _start(block: Block, name: str, values: Mapping[str, Any], made: Mapping[str, Any]) -> Any:
    """The entry of a state before its steps, as an array of one."""
    meaning = block.starts[name, "0"]
    if meaning == "0":
        return np.zeros_like(made[name][:1])
    given = values.get(meaning or f"{name}0", made.get(meaning))
    return np.asarray(given)[None]


def parsed_block(
    block: Block, values: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The value of every line as the library reads it; each may use the lines before it."""
    shapes = {name: tuple(map(size, row)) for name, row in block.sizes.items()}
    names: dict[str, Expr] = {}
    feeds: dict[Expr, np.ndarray] = {}

    def declare(name: str, shape: tuple[Size, ...], value: Any) -> None:
        array = np.asarray(value)
        whole = array.dtype.kind in "iu"
        leaf = symbol(name, shape, dtypes.int64 if whole else dtypes.float64, len(names) + 1)
        names[name] = leaf
        feeds[leaf] = array.astype(np.int64 if whole else np.float64)

    for name, shape in shapes.items():
        declare(name, shape, values[name])
    looped = {x.name for x in block.lines if x.runs}
    made = evaluate_block(block, values, sizes) if looped else {}
    before = {name for name, place in block.starts if place == "0"}
    for name in looped:  # what a step reads of the one before is 0 until it is known
        states = np.zeros_like(made[name])
        if name in before:
            states = np.concatenate([_start(block, name, values, made), states])
        one = list(next(iter(block.states.values()), ()))
        known = [int(size_value(x, sizes)) for x in one]
        one = [
            x if n == k else str(n) for x, k, n in zip(one, known, made[name].shape, strict=False)
        ]
        one += list(map(str, made[name].shape[len(one) :]))
        steps, *rest = map(size, one)
        declare(name, (plus_one(steps) if name in before else steps, *rest), states)
    waiting = {re.sub(r"^.*/(?:∂|d)", "", of): name for name, of in block.adjoints.items()}
    ranges = {word: size(block.derived.get(text, text)) for word, text in block.indices.items()}
    found: dict[str, np.ndarray] = {}
    lines = [x for runs, group in block.groups for x in group * (LONGEST if runs else 1)]
    for line in lines:
        e = read(line.text, names, ranges, from_one=block.from_one)
        found[line.name] = np.asarray(evaluate([e], feeds, sizes)[0])
        value = found[line.name]
        if line.name in before:
            value = np.concatenate([_start(block, line.name, values, found), value])
        shape = e.shape if value is found[line.name] else (plus_one(e.shape[0]), *e.shape[1:])
        declare(line.name, shape, value)
        if line.name in waiting:
            declare(waiting[line.name], e.shape, values[waiting[line.name]])
    return found
