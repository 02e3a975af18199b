"""The library's own parser on a printed block: every line as an expression, evaluated by NumPy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from symgrad.core import dtypes
from symgrad.core.expr import Expr, symbol
from symgrad.core.sizes import Size, monomial, parse_size
from symgrad.derivation.parse import read
from symgrad.evaluate import evaluate
from tests.notation.blocks import Block


def size(text: str) -> Size:
    """``n``, ``3``, ``2 n``, ``⌊(e + 2 q − a)/s⌋ + 1`` as a size."""
    return parse_size(re.sub(r"floor\((.*?/\w+)\)", r"⌊\1⌋", text))


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
        if name in block.steps:
            declare(name, shape, np.zeros([int(monomial(s).value(sizes)) for s in shape]))
        else:
            declare(name, shape, values[name])
    waiting = {re.sub(r"^.*/(?:∂|d)", "", of): name for name, of in block.adjoints.items()}
    ranges = {word: size(block.derived.get(text, text)) for word, text in block.indices.items()}
    found: dict[str, np.ndarray] = {}
    for line in block.order():
        e = read(line.text, names, ranges)
        found[line.name] = np.asarray(evaluate([e], feeds, sizes)[0])
        declare(line.name, e.shape, found[line.name])
        if line.name in waiting:
            declare(waiting[line.name], e.shape, values[waiting[line.name]])
    return found
