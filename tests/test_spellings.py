"""Texts of formulas: measured as an independent reader measures them, and spelled in other ways."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from symgrad_codegen.expression import render
from symgrad_codegen.program import Apply, Letter, Literal, Operand, Variable, postfix, text
from symgrad_codegen.source import TARGETS

import symgrad as sg
from benchmarks._work import Work, letters
from symgrad.core.expr import Expr, name_of
from symgrad.core.sizes import letter, letters_of
from symgrad.core.traverse import leaves
from symgrad.derivation.concise import concise, length, shortest
from symgrad.derivation.python_form import _rewritten, namespace
from symgrad.lower.align import MATMUL, MINUS, NEGATIVE, OVER, PLUS, TIMES
from symgrad.lower.meet import exponent
from symgrad.lower.orders import Orders, settings_of
from symgrad.lower.peak import Reading, measured
from symgrad.lower.rearranged import rearranged
from symgrad.lower.spellings import SPELLINGS
from tests.random_texts import WORDS, drawn
from tests.test_known_cases import CASES, found

SIZES = {"n": 5, "d": 3, "k": 2, "1": 1}
LETTERS = ("n", "d", "k")
SHAPES = {w: axes for axes, words in WORDS.items() for w in words}
BINARY = {ast.Add: PLUS, ast.Sub: MINUS, ast.Mult: TIMES, ast.Div: OVER, ast.MatMult: MATMUL}


def word(part: Any) -> str:
    """The word of a variable or a letter."""
    return part.hint if isinstance(part, Variable) else part.name


class Text:
    """A text read into operands, its variables and what it takes."""

    def __init__(self, spelled: str) -> None:
        self.variables: dict[str, Variable] = {}
        self.root = self.read(ast.parse(spelled, mode="eval").body)
        orders = Orders(settings=settings_of(LETTERS))
        extents = orders.extents
        ones = (1,) * len(orders.settings)
        self.sized = {
            id(v): (v, tuple(ones if c == "1" else extents(letter(c)) for c in SHAPES[w]))
            for w, v in self.variables.items()
        }
        self.letters = {extents(letter(w)): w for w in LETTERS}
        self.extents, self.many = extents, len(orders.settings)

    def read(self, node: ast.expr) -> Operand:
        """An operand; each word is one variable."""
        match node:
            case ast.Constant(value=int() as value):
                return Literal(value)
            case ast.Name(id=word) if word in LETTERS:
                return Letter(word)
            case ast.Name(id=word):
                number = len(self.variables)
                return self.variables.setdefault(word, Variable(number, word, (), "float64"))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=k)):
                return Apply(exponent(str(k)), (self.read(left),))
            case ast.BinOp(left=left, op=op, right=right):
                return Apply(BINARY[type(op)], (self.read(left), self.read(right)))
            case ast.UnaryOp(operand=operand):
                return Apply(NEGATIVE, (self.read(operand),))
            case ast.Attribute(value=value):
                return Apply(postfix(".T"), (self.read(value),))
            case ast.Subscript(value=value, slice=index):
                return Apply(postfix(f"[{ast.unparse(index)[1:-1]}]"), (self.read(value),))
            case ast.Call(func=ast.Name(id=word), args=args, keywords=[]) if not (
                word == "sum" and len(args) > 1
            ):
                module = "jnp." if word in ("sum", "mean", "trace") else ""
                holes = ", ".join(f"{{{k}}}" for k in range(len(args)))
                return Apply(text(f"{module}{word}({holes})"), tuple(map(self.read, args)))
            case ast.Call(args=[arg, ast.Constant(value=k)]):
                return Apply(text(f"jnp.sum({{0}}, axis={k})"), (self.read(arg),))
            case ast.Call(args=[arg], keywords=[ast.keyword(value=ast.Constant(value=k))]):
                return Apply(text(f"jnp.sum({{0}}, axis={k})"), (self.read(arg),))
            case _:
                raise ValueError(ast.dump(node))

    def reading(self, root: Operand) -> Reading:
        """What a text over these variables takes."""
        return measured(root, self.sized, self.extents, self.many, self.letters)

    def spelled(self, root: Operand) -> str:
        """The text of an operand."""
        return render(_rewritten(root), TARGETS["numpy"], word, set())


def value(spelled: str) -> np.ndarray:
    """A text evaluated; square matrices are regular."""
    rng = np.random.default_rng(0)
    env = {w: rng.uniform(0.5, 1.5, [SIZES[c] for c in s]) for w, s in SHAPES.items()}
    env |= {
        w: v + 3 * np.eye(len(v)) for w, v in env.items() if v.ndim == 2 and len({*v.shape}) < 2
    }
    with np.errstate(all="ignore"):
        return eval(spelled, {**namespace(), **SIZES, **env})


ROWS = {
    "total_of_a_product": ("x @ y * (x * y)", "x @ y", "sum(x * y)"),
    "power_of_a_quotient": ("x ** 2 / s ** 2", "x ** 2 / s ** 2", "(x / s) ** 2"),
    "turned_difference": ("((x - y) / s) ** 2 + (y - x)", "((x - y) / s) ** 2", "((y - x) / s) ** 2"),
    "number_before_a_product": ("s * A @ C", "s * A @ C", "s * (A @ C)"),
    "number_on_the_right": ("s * A @ exp(w)", "s * A @ exp(w)", "A @ (s * exp(w))"),
    "number_into_a_product": ("s * (A @ (1 / w))", "s * (A @ (1 / w))", "A @ (s / w)"),
    "scaled_factor_there": ("w * (A @ C) + sum(C * w)", "w * (A @ C)", "A @ (C * w)"),
    "difference_of_a_negative": ("tril(-C) + D", "tril(-C) + D", "D - tril(C)"),
    "to_the_right_first": ("A @ C @ w", "A @ C @ w", "A @ (C @ w)"),
    "to_the_left_first": ("A @ (C @ D)", "A @ (C @ D)", "A @ C @ D"),
    "trace_of_a_product": ("trace(C @ D)", "trace(C @ D)", "sum(C * D.T)"),
    "traces_apart": ("trace(C - C @ D)", "trace(C - C @ D)", "trace(C) - sum(C * D.T)"),
    "product_that_is_there": ("sum(C * D.T) * sum(C @ D)", "sum(C * D.T)", "trace(C @ D)"),
    "total_as_a_mean": ("sum(A) * mean(A)", "sum(A)", "n * d * mean(A)"),
    "totals_of_terms": (
        "sum(A - B @ C - x[:, None], 0)", "sum(A - B @ C - x[:, None], axis=0)",
        "sum(A, axis=0) - sum(B, axis=0) @ C - sum(x)",
    ),
    "number_into_an_outer_product": ("s * t * outer(x, y)", "s * t * outer(x, y)", "outer(s * t * x, y)"),
    "total_over_an_outer_product": ("sum(outer(x, w) * A)", "sum(outer(x, w) * A)", "x @ A @ w"),
    "number_on_the_diagonal": ("s * diag(w)", "s * diag(w)", "diag(s * w)"),
    "turned_subtraction": ("s * A - (B - A) * w @ C", "s * A - (B - A) * w @ C", "(A - B) * w @ C + s * A"),
    "total_of_what_is_there": ("A @ w * (w @ sum(A, 0))", "w @ sum(A, axis=0)", "sum(A @ w)"),
    "solve_for_an_inverse": ("inv(M) @ A", "inv(M) @ A", "solve(M, A)"),
    "inverse_for_a_solve": ("solve(M, A) * sum(inv(M))", "solve(M, A)", "inv(M) @ A"),
    "ones_beside_an_identity": ("(eye(n) + s) @ A", "(eye(n) + s) @ A", "A + s * sum(A, axis=0)"),
}  # fmt: skip
"""Each spelling: a text, a part of it, and what becomes of the part."""


def test_each_spelling_has_its_row():
    assert list(ROWS) == [s.__name__ for s in SPELLINGS]


@pytest.mark.parametrize("which", ROWS)
def test_a_spelling_is_an_identity(which: str):
    whole, part, wanted = ROWS[which]
    t = Text(whole)
    spelling = next(s for s in SPELLINGS if s.__name__ == which)
    reading = t.reading(t.root)
    stack, seen = [t.root], list[str]()
    while stack:
        found_here = stack.pop()
        if isinstance(found_here, Apply):
            stack += found_here.operands
            made = spelling(found_here, reading)
            if made is not None:
                assert t.spelled(found_here) == part
                seen.append(t.spelled(made))
    assert seen == [wanted]
    np.testing.assert_allclose(value(wanted), value(part), 1e-12)


@pytest.mark.parametrize(
    ("spelled", "wanted"),
    [
        ("inv(M) @ N @ inv(M) @ x", "solve(M, N @ solve(M, x))"),
        ("A.T @ inv(M)", "solve(M.T, A).T"),
        ("2 * inv(M) @ A", "2 * inv(M) @ A"),  # once and in front, as it is usually written
        ("s * (inv(M) @ x) * (y @ inv(M))", "s * solve(M, x) * solve(M.T, y)"),
        ("inv(M) @ inv(N) @ A", "solve(M, solve(N, A))"),
        ("-s * inv(M) @ A @ inv(C)", "-s * solve(M, solve(C.T, A.T).T)"),
    ],
)
def test_products_with_one_inverse_become_solves(spelled: str, wanted: str):
    t = Text(spelled)
    assert t.spelled(rearranged(t.root, t.reading)) == wanted
    np.testing.assert_allclose(value(wanted), value(spelled), 1e-12)


def test_what_is_symmetric_is_not_turned():
    t = Text("x @ inv(M) @ N @ inv(M)")
    after = rearranged(t.root, t.reading, lambda part: t.spelled(part) == "M")
    assert t.spelled(after) == "solve(M, solve(M, x) @ N)"


def test_a_turned_product_is_one_of_what_it_turns():
    t = Text("(x[:, None] * solve(C, A.T).T).T")
    assert t.spelled(rearranged(t.root, t.reading)) == "x * solve(C, A.T)"


def respelled(t: Text) -> Iterator[tuple[str, str, str]]:
    """Every part that has another spelling: the name of the spelling, before, after."""
    reading, seen, stack = t.reading(t.root), set[int](), [t.root]
    while stack:
        part = stack.pop()
        if not isinstance(part, Apply) or id(part) in seen:
            continue
        seen.add(id(part))
        stack += part.operands
        for spelling in SPELLINGS:
            made = spelling(part, reading)
            if made is not None:
                yield spelling.__name__, t.spelled(part), t.spelled(made)


@pytest.mark.parametrize("chunk", range(10))
def test_random_texts_keep_their_value(chunk: int):
    for number in range(25 * chunk, 25 * (chunk + 1)):
        t = Text(drawn(number))
        for which, before, after in respelled(t):
            same(after, before, f"{which} in text {number}")
        whole = t.spelled(rearranged(t.root, t.reading))
        same(whole, t.spelled(t.root), f"text {number}")


def same(after: str, before: str, where: str) -> None:
    """Have two texts one value, wherever the first has one, up to the rounding of its entries?"""
    new, old = value(after), value(before)
    assert new.shape == old.shape, f"{where}: {before} became {after}"
    real = np.isfinite(old)
    scale = np.max(np.abs(old[real]), initial=1e-3)
    new, old = new[real], old[real]
    np.testing.assert_allclose(
        new, old, 1e-8, 1e-8 * scale, err_msg=f"{where}: {before} -> {after}"
    )


@pytest.mark.parametrize(
    "spelled",
    [
        "A @ C + sum(A, 0) @ C",  # the sums of rows times a matrix are no total
        "C @ w * (C @ sum(A, 0)) + sum(A @ C)",
        "sum(A - B @ C - c, axis=1) * x",  # a column for all has to be counted
        "sum(A - B @ C - w, axis=1) * x",
        "inv(M) @ x @ A + sum(inv(M)) * w",
    ],
)
def test_a_text_has_its_value_however_it_is_spelled(spelled: str):
    t = Text(spelled)
    after = t.spelled(rearranged(t.root, t.reading))
    np.testing.assert_allclose(value(after), value(spelled), 1e-12)


def _moved() -> tuple[sg.Tensor, dict[str, np.ndarray]]:
    x = sg.symbol("x", ("n",))
    return x[1:].sum() * x[1:].mean(), {"x": np.arange(1.0, 6)}


def _twice() -> tuple[sg.Tensor, dict[str, np.ndarray]]:
    x = sg.symbol("x", ("n",))
    both = sg.cat([x, x])
    return both.sum() * both.mean(), {"x": np.arange(1.0, 6)}


def _of_64_columns() -> tuple[sg.Tensor, dict[str, np.ndarray]]:
    a, b = sg.symbol("a", ("n", 64)), sg.symbol("b", ("n", 8))
    v, y = sg.symbol("v", (8, 64)), sg.symbol("y", ("n",))
    rng = np.random.default_rng(0)
    values = {"a": rng.random((5, 64)), "b": rng.random((5, 8)), "v": rng.random((8, 64))}
    return (a - b @ v - y[:, None]).sum(1), {**values, "y": rng.random(5)}


@pytest.mark.parametrize("made", [_moved, _twice, _of_64_columns])
def test_a_size_is_never_guessed(made: Callable[[], tuple[sg.Tensor, dict[str, np.ndarray]]]):
    total, values = made()
    spelled = eval(total.formula().python(), {**namespace(), "n": 5, **values})
    np.testing.assert_allclose(spelled, sg.compile(total)(**values), 1e-6)


@pytest.mark.parametrize(
    ("spelled", "wanted"),
    [
        ("A * s * 2", "2 * s * A"),
        ("2 * A / s", "2 / s * A"),
        ("exp(x) * s * t", "s * t * exp(x)"),
        ("exp(s * x)[:, None] * A / t", "(exp(s * x) / t)[:, None] * A"),
        ("A / exp(x)[:, None] / t", "A / (t * exp(x))[:, None]"),
        ("s * A / exp(x)[:, None] / t", "(s / exp(x) / t)[:, None] * A"),
        ("s * w - (y - A @ w) @ A", "(A @ w - y) @ A + s * w"),
        ("x + s - t", "s - t + x"),
        ("sum(exp(A), axis=1)[:, None] * B", "sum(exp(A), axis=1)[:, None] * B"),
        ("exp(B) * sum(exp(A), axis=1)[:, None]", "sum(exp(A), axis=1)[:, None] * exp(B)"),
    ],
)
def test_numbers_meet_numbers_first(spelled: str, wanted: str):
    t = Text(spelled)
    after = rearranged(t.root, t.reading)
    old, new = t.reading(t.root).measure, t.reading(after).measure
    assert all(
        a <= b for a, b in zip((*new.flops, *new.alive), (*old.flops, *old.alive), strict=True)
    )
    assert t.spelled(after) == wanted
    np.testing.assert_allclose(value(t.spelled(after)), value(spelled), 1e-12)


def test_much_less_work_is_worth_a_few_more_numbers_at_once():
    t, other = Text("6 * diag(w)"), Text("s * outer(x, w)")
    assert t.spelled(rearranged(t.root, t.reading)) == "diag(6 * w)"
    assert other.spelled(rearranged(other.root, other.reading)) == "s * outer(x, w)"


def test_a_form_is_read_from_left_to_right():
    t = Text("A.T @ x @ w")
    assert t.spelled(rearranged(t.root, t.reading)) == "x @ A @ w"
    shared = Text("A.T @ x @ w * (A.T @ x)")
    assert shared.spelled(rearranged(shared.root, shared.reading)) == "A.T @ x @ w * (A.T @ x)"


PLAIN = [w for w, c in CASES.items()
         if all(str(s).isidentifier() for v in c["variables"].values() for s in v["shape"])]  # fmt: skip


@pytest.mark.parametrize("which", PLAIN[::7])
def test_a_text_is_measured_as_the_benchmark_does(which: str):
    case, e = CASES[which], concise(found(which)[0].expr)
    symbols = leaves([e])
    values: dict[Expr, Operand] = {
        leaf: Variable(k, name_of(leaf), (), leaf.dtype.name) for k, leaf in enumerate(symbols)
    }
    root = shortest(e, values)
    orders = Orders(
        settings=settings_of(list(dict.fromkeys(x for s in symbols for x in letters_of(s.shape))))
    )
    sized = {id(values[s]): (values[s], tuple(map(orders.extents, s.shape))) for s in symbols}
    ours = measured(root, sized, orders.extents, len(orders.settings)).measure
    table = letters(case["dims"])
    shapes = {w: tuple(eval(str(s), {}, dict(table)) for s in spec["shape"])
              for w, spec in case["variables"].items()}  # fmt: skip
    other = Work(found(which)[2], shapes, table)
    for k, setting in enumerate(orders.settings):
        sizes = {w: setting.get(w, 64) for w in table}
        flops, alive = other.at(sizes)
        assert ours.flops[k] == pytest.approx(flops, rel=1e-6)
        if "+" not in found(which)[2]:  # A + Aᵀ of an input counts as an input with us
            assert ours.alive[k] == alive


def test_a_solve_by_a_triangle_takes_no_factorisation():
    A, b = sg.symbol("A", "n,n", sg.float64, "spd"), sg.symbol("b", "n,m", sg.float64)
    found = length(sg.linalg.solve(sg.linalg.cholesky(A), b).expr())
    assert found.flops[0] / 64**3 == pytest.approx(1 / 3 + 1)
