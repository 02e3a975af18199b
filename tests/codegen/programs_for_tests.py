"""Small programs and operations that the tests of this folder share."""

import itertools

from symgrad_codegen.program import (
    POSTFIX,
    POWER,
    PRODUCT,
    SUM,
    Apply,
    Dtype,
    Instruction,
    Letter,
    Literal,
    Operand,
    Program,
    Template,
    Variable,
    call,
    infix,
    postfix,
    text,
)

ADD, SUBTRACT = infix("+", SUM), infix("-", SUM)
MULTIPLY, DIVIDE, MATMUL = infix("*", PRODUCT), infix("/", PRODUCT), infix("@", PRODUCT)
POW = infix("**", POWER)
TRANSPOSE = postfix(".T")
TOTAL = call("jnp.sum", arity=1)
TANH = call("jnp.tanh", arity=1)

N, D = Letter("n"), Letter("d")


def variable(number: int, hint: str, *shape: int | Letter, dtype: str = "float32") -> Variable:
    """A variable; float32 where nothing else is said."""
    return Variable(number, hint, shape, dtype)


def apply(template: Template, *operands: Operand) -> Apply:
    """A template with its operands."""
    return Apply(template, operands)


def least_squares(dtype: str = "float32", name: str = "least_squares") -> Program:
    """Mean squared error and its gradient for a linear model."""
    x, w, y = (
        variable(0, "X", N, D, dtype=dtype),
        variable(1, "w", D, dtype=dtype),
        variable(2, "y", N, dtype=dtype),
    )
    r = variable(3, "r", N, dtype=dtype)
    loss = variable(4, "loss", dtype=dtype)
    gradient = variable(5, "∂L/∂w", D, dtype=dtype)
    squares = apply(TOTAL, apply(POW, r, Literal(2)))
    scale = apply(DIVIDE, Literal(2), N)
    return Program(
        name,
        (x, w, y),
        (
            Instruction((r,), apply(SUBTRACT, apply(MATMUL, x, w), y), "r = X w − y"),
            Instruction((loss,), apply(DIVIDE, squares, N), "L = (1/n) Σᵢ rᵢ²"),
            Instruction(
                (gradient,),
                apply(MULTIPLY, scale, apply(MATMUL, apply(TRANSPOSE, x), r)),
                "∂L/∂w = (2/n) Xᵀ r",
            ),
        ),
        (loss, gradient),
        "Mean squared error and its gradient.",
        ("4 n d + 3 n operations.",),
    )


def chain(length: int, hint: str = "h") -> Program:
    """`length` instructions, each using the one before."""
    values = [variable(i, hint, N) for i in range(length + 1)]
    instructions = tuple(
        Instruction((new,), apply(SUBTRACT, old, values[0]), "next")
        for old, new in itertools.pairwise(values)
    )
    return Program("chain", (values[0],), instructions, (values[-1],))


def ranges(count: int) -> Program:
    """A program with a dtype of 64 bits that shows nowhere in its inputs and outputs."""
    x, i, y = (
        variable(0, "x", N),
        variable(1, "i", N, dtype="int64"),
        variable(2, "y", N),
    )
    return Program(
        f"ranges {count}",
        (x,),
        (
            Instruction((i,), apply(call("jnp.full", arity=3), N, Literal(2**40), Dtype("int64"))),
            Instruction(
                (y,),
                apply(
                    text("{0}.astype({1})", hole=POSTFIX),
                    apply(ADD, x, apply(DIVIDE, i, Literal(2**40 * count))),
                    Dtype("float32"),
                ),
            ),
        ),
        (y,),
    )
