"""An independent reader of the notation: what the printer may write, parsed and evaluated by NumPy.

It knows nothing of the library but its ASCII table, accepts nothing outside the notation contract,
and computes in float64. So a printed line that evaluates to the right numbers here says the right
thing to a person.

    block = read_block(text)                             # sizes, indices, given, layout, lines
    values = evaluate_block(block, {"X": X, …}, {"n": 5, "d": 3})    # {"Z₁": …, "∂L/∂W₁": …}
    evaluate_formula("(2/n) Xᵀ (X w − y)", {"X": X, …}, {"n": 5})

ASCII text (`dL/dW1 = delta1' X`) is read by the same grammar; its names are the ASCII ones.
"""

from tests.notation.blocks import Block, Line, read_block
from tests.notation.grammar import DEEPEST, Node, ReadError, parse
from tests.notation.planting import Planted, planted_errors
from tests.notation.values import Value, evaluate_block, evaluate_formula

__all__ = [
    "DEEPEST",
    "Block",
    "Line",
    "Node",
    "Planted",
    "ReadError",
    "Value",
    "evaluate_block",
    "evaluate_formula",
    "parse",
    "planted_errors",
    "read_block",
]
