"""Axes of size 1 that move, in compiled programs: shape and value as by NumPy."""

import itertools

import numpy as np
import pytest
from symgrad_codegen.compile import compiled

from symgrad.core import dtypes
from symgrad.core.build import elementwise, permute, product
from symgrad.core.expr import symbol
from symgrad.evaluate import evaluate
from symgrad.lower import lower
from symgrad.ops.axis import along
from symgrad.ops.join import concatenate

SHAPES = [(4, 1, 3), (1, 4, 3), (1, 1, 3), (2, 1, 1)]
USES = {
    "moved": lambda x: x,
    "scaled": lambda x: 2 * x,
    "in a sum": lambda x: x + along("flip", x, 0),
    "in a product": lambda x: product(x, x + 1),
    "in a map": lambda x: elementwise("maximum", x, along("flip", x, 0)),
    "compared": lambda x: elementwise("where", elementwise("gt", x, 0 * x), x, x * x),
    "joined": lambda x: concatenate([x, x], 0),
    "added up": lambda x: along("cumsum", x, 0),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_axes_of_size_one_move(shape, use):
    x = symbol("x", shape, dtypes.float32)
    value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 2
    for order in itertools.permutations(range(3)):
        e = use(permute(x, order))
        found = compiled(lower("moved", [x], [("y", e)]))(value)
        (expected,) = evaluate([e], {x: value})
        assert found.shape == e.shape == expected.shape, order
        np.testing.assert_array_equal(found, expected)
