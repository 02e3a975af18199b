"""Text with holes: what is written evaluates to what was meant."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs_for_tests import ADD, MULTIPLY, POW, SUBTRACT, TANH, TRANSPOSE, apply, variable
from symgrad_codegen.expression import render
from symgrad_codegen.program import (
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    COMPARE,
    LIST,
    PRODUCT,
    SHIFT,
    SUM,
    TUPLE,
    Apply,
    Dtype,
    Literal,
    Operand,
    ProgramError,
    Template,
    call,
    infix,
    postfix,
    prefix,
    text,
)
from symgrad_codegen.source import TARGETS

# Matrices of numbers would hide mistakes in grouping; these operations on a free term do not.
OPERATIONS: list[tuple[Template, int, Callable[..., Any]]] = [
    (infix("+", SUM), 2, operator.add),
    (infix("-", SUM), 2, operator.sub),
    (infix("*", PRODUCT), 2, operator.mul),
    (infix("/", PRODUCT), 2, operator.truediv),
    (infix("//", PRODUCT), 2, operator.floordiv),
    (infix("%", PRODUCT), 2, operator.mod),
    (infix("@", PRODUCT), 2, operator.matmul),
    (POW, 2, operator.pow),
    (infix("<<", SHIFT), 2, operator.lshift),
    (infix("&", BIT_AND), 2, operator.and_),
    (infix("^", BIT_XOR), 2, operator.xor),
    (infix("|", BIT_OR), 2, operator.or_),
    (infix("<", COMPARE), 2, operator.lt),
    (infix("==", COMPARE), 2, operator.eq),
    (prefix("-"), 1, operator.neg),
    (prefix("~"), 1, operator.invert),
    (postfix(".T"), 1, lambda x: x.T),
    (postfix("[0]"), 1, lambda x: x[0]),
    (text("f({0}[0], {0}.T)"), 1, lambda x: Term("f", (x[0], x.T))),
    (call("f", arity=2), 2, lambda x, y: Term("f", (x, y))),
    (text("{0} if {1} else {2}", precedence=5, hole=6), 3, lambda x, c, y: Term("if", (x, c, y))),
]


class Term:
    """A free term: every operation builds a bigger one, so grouping stays visible."""

    def __init__(self, head: str, parts: tuple[Any, ...] = ()) -> None:
        self.text = f"{head}({','.join(p.text if isinstance(p, Term) else repr(p) for p in parts)})"

    @property
    def T(self) -> "Term":
        return Term("T", (self,))

    def __getitem__(self, index: int) -> "Term":
        return Term("item", (self, index))


for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "matmul",
    "pow",
    "lshift",
    "and",
    "or",
    "xor",
]:
    setattr(Term, f"__{_name}__", lambda a, b, n=_name: Term(n, (a, b)))
    setattr(Term, f"__r{_name}__", lambda a, b, n=_name: Term(n, (b, a)))
for _name in ["lt", "gt", "eq", "neg", "invert"]:
    setattr(Term, f"__{_name}__", lambda *parts, n=_name: Term(n, parts))
Term.__hash__ = object.__hash__  # type: ignore[method-assign]


class Leaf(Term):
    """A variable of the expression."""

    def __init__(self, name: str) -> None:
        self.text = name


LEAVES = {name: Leaf(name) for name in "abc"}
# `x if c else y` asks for the truth of a term; the test's table knows all three operands.
LITERALS = [2, -3, 0.5, -1e-30, 1e300, True, 2j, complex(-1, -0.0), float("inf"), float("-inf")]


def _trees() -> st.SearchStrategy[tuple[Operand, Any]]:
    variables = st.sampled_from(
        [(variable(i, name), LEAVES[name]) for i, name in enumerate(LEAVES)]
    )

    def grow(inner: st.SearchStrategy[tuple[Operand, Any]]) -> st.SearchStrategy[Any]:
        def build(operation: tuple[Template, int, Callable[..., Any]]) -> st.SearchStrategy[Any]:
            template, arity, function = operation
            # One operand of two may be a number, so that Python always meets a term.
            columns = [st.tuples(*[inner] * arity)]
            columns += [
                st.tuples(*[literals if i == j else inner for j in range(arity)])
                for i in range(arity if arity > 1 else 0)
            ]
            operands = st.one_of(columns)
            return operands.map(
                lambda pairs: (
                    Apply(template, tuple(p[0] for p in pairs)),
                    function(*(p[1] for p in pairs)),
                )
            )

        return st.sampled_from(OPERATIONS[:-1]).flatmap(build)

    literals = st.sampled_from([(Literal(value), value) for value in LITERALS])
    return st.recursive(variables, grow, max_leaves=25)


def write(operand: Operand, target: str = "numpy") -> str:
    """The text of an expression whose variables are called by their hints."""
    return render(operand, TARGETS[target], lambda node: getattr(node, "hint", "n"), set())


@settings(max_examples=400, deadline=None)
@given(_trees())
def test_text_groups_as_the_tree_does(tree: tuple[Operand, Term]) -> None:
    operand, meant = tree
    scope = {**LEAVES, "np": np, "f": lambda x, y: Term("f", (x, y))}
    assert eval(write(operand), scope).text == meant.text


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.complex_numbers()))
def test_literals_come_back_exactly(value: complex) -> None:
    back = eval(write(Literal(value)), {"np": np})
    assert type(back) is type(value)
    assert repr(back) == repr(value)
    if isinstance(value, int):
        assert eval(write(apply(POW, Literal(value), Literal(2)))) == value**2


def test_parentheses_only_where_needed() -> None:
    a, b, c = variable(0, "a"), variable(1, "b"), variable(2, "c")
    assert write(apply(ADD, apply(ADD, a, b), c)) == "a + b + c"
    assert write(apply(SUBTRACT, a, apply(SUBTRACT, b, c))) == "a - (b - c)"
    assert write(apply(POW, apply(POW, a, b), c)) == "(a**b) ** c"
    assert write(apply(POW, a, apply(POW, b, c))) == "a ** b**c"
    assert write(apply(POW, Literal(-2.0), a)) == "(-2.0) ** a"
    assert write(apply(POW, a, Literal(-2))) == "a**-2"
    assert write(apply(prefix("-"), apply(POW, a, Literal(2)))) == "-(a**2)"
    assert write(apply(TRANSPOSE, apply(ADD, a, b))) == "(a + b).T"
    assert write(apply(postfix(".real"), Literal(2))) == "(2).real"
    assert write(apply(TANH, apply(MULTIPLY, a, b))) == "np.tanh(a * b)"
    assert write(Literal(np.float64(0.5))) == "0.5"
    assert write(Dtype("bfloat16")) == "ml_dtypes.bfloat16"
    assert write(Dtype("bool"), "jax") == "jnp.bool_"


def test_holes_for_any_number_of_operands() -> None:
    a, b = variable(0, "a"), variable(1, "b")
    assert write(apply(TUPLE)) == "()"
    assert write(apply(TUPLE, a)) == "(a,)"
    assert write(apply(TUPLE, a, b)) == "(a, b)"
    assert write(apply(LIST, a)) == "[a]"
    assert write(apply(text("{0}({*})"), a, b, b)) == "a(b, b)"
    assert write(apply(text("{* + }", precedence=SUM, hole=SUM), a, b, a)) == "a + b + a"
    assert write(apply(text("where({0} > 0, {0}, {1})"), a, b)) == "where(a > 0, a, b)"


def test_mistakes_are_named() -> None:
    a = variable(0, "a")
    with pytest.raises(ProgramError, match=r"no form for 'numpy'.*jax: lax\.cumsum"):
        write(apply(call("lax.cumsum", arity=1), a))
    with pytest.raises(ProgramError, match="2 holes but was given 1 operands"):
        write(apply(ADD, a))
    with pytest.raises(ProgramError, match="1 holes but was given 2 operands"):
        write(apply(TANH, a, a))
    with pytest.raises(ProgramError, match="this is a ndarray"):
        write(Literal(np.zeros(2)))  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match="no dtype"):
        write(Dtype("float32); import os"))


def test_deep_expressions_do_not_recurse() -> None:
    value: Operand = variable(0, "a")
    for _ in range(50_000):
        value = apply(TANH, value)
    assert write(value).count("np.tanh(") == 50_000
