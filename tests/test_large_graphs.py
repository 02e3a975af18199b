"""Graphs of 20,000 nodes go through gradient, lowering and source: nothing recurses over them."""

import sys
from pathlib import Path

import pytest
from symgrad_codegen.source import source

from symgrad.autodiff import gradient
from symgrad.core import dtypes
from symgrad.core.build import reduce_sum
from symgrad.core.expr import symbol
from symgrad.core.sizes import letter
from symgrad.lower import lower

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import scaling


@pytest.mark.parametrize("graph", ["chain", "balanced"])
def test_many_nodes(graph):
    x = symbol("x", (letter("n"),), dtypes.float64)
    total = reduce_sum(scaling.GRAPHS[graph](x, 20_000), [0])
    (slope,) = gradient(total, [x])
    text = source(lower("f", [x], [("value", total), ("slope", slope)]))
    compile(text, "<generated>", "exec")
