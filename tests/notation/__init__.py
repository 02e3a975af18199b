"""An independent reader of the notation: what the printer may write, parsed and evaluated by NumPy.

It shares the library's grammar and nothing else of it: values are NumPy's, in float64, entry by
entry. So a printed line that evaluates to the right numbers here says the right
thing to a person.

    block = read_block(text)                             # sizes, indices, given, layout, lines
    values = evaluate_block(block, {"X": X, …}, {"n": 5, "d": 3})    # {"Z₁": …, "∂L/∂W₁": …}
    evaluate_formula("(2/n) Xᵀ (X w − y)", {"X": X, …}, {"n": 5})

ASCII text (`dL/dW1 = delta1' X`) is read by the same grammar; its names are the ASCII ones.
"""

from symgrad.derivation.grammar import DEEPEST, Node, parse
from symgrad.errors import NotationError as ReadError
from tests.notation.blocks import Block, Line, read_block
from tests.notation.planting import Planted, planted_errors
from tests.notation.running import evaluate_block, evaluate_formula
from tests.notation.values import Value

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
