"""Names from users are text, never code: what they say cannot run, collide or break a line."""

import ast
import builtins
import keyword

import numpy as np
import pytest

import symgrad as sg

CANARY = "hostile_name_ran"
NAMES = {
    "call": 'x"); import builtins; builtins.hostile_name_ran = 1  #',
    "import": 'x"); import os  #',
    "docstring": '"""\nimport builtins; builtins.hostile_name_ran = 1\n"""',
    "newline": "a\nimport builtins\nbuiltins.hostile_name_ran = 1\n",
    "other breaks": "a\r\nb\u2028c\x0bd\x85e",
    "comment end": "x  # y\n    builtins.hostile_name_ran = 1",
    "keyword": "lambda",
    "constant": "None",
    "soft keyword": "match",
    "jnp": "jnp",
    "jax": "jax",
    "builtin": "len",
    "dunder": "__import__",
    "long": "w" * 10_000,
    "long words": "ab " * 3_333,
    "emoji": "🦊",
    "other script": "重み",
    "ligature": "ﬁ",
    "quotes": 'it\'s "q" \\',
    "format": "{x!r}%s{0}",
    "tex": "\\input{y}$ & %",
    "digit": "1x",
    "empty": "",
    "blank": " ",
    "null": "a\x00b",
    "size letter": "n",
    "own output": "L",
}
every_name = pytest.mark.parametrize("word", NAMES.values(), ids=NAMES.keys())


@pytest.fixture(autouse=True)
def canary():
    yield
    ran = hasattr(builtins, CANARY)
    if ran:
        delattr(builtins, CANARY)
    assert not ran


def check_source(source):
    compile(source, "<generated>", "exec")
    words = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.arg):
            words.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            words.add(node.name)
            given = [a.arg for a in node.args.args]
            assert len(set(given)) == len(given)
            assert not {"jnp", "jax", "len"} & set(given)
    for word in words:
        assert word.isascii(), word
        assert word.isidentifier(), word
        assert len(word) <= 40, word
        assert not keyword.iskeyword(word), word
    modules = [
        a.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for a in node.names
    ]
    assert set(modules) <= {"jax", "jax.numpy"}


def check_text(derivation, lines):
    text = str(derivation)
    assert len(text.splitlines()) == lines
    assert "\x00" not in text
    latex = derivation.latex()
    plain_lines = latex.splitlines()
    assert plain_lines[0] == r"\begin{aligned}"
    assert plain_lines[-1] == r"\end{aligned}"
    assert len(plain_lines) <= lines + 2
    assert r"\input" not in latex


def symbol_program(first, second):
    w, v = sg.symbol(first, "n"), sg.symbol(second, "n")
    total = (sg.tanh(w) * v).sum()
    return sg.compile([total, *sg.grad(total, [w, v])]), sg.derive(total)


@every_name
def test_symbol_names(word):
    x, y = np.linspace(-1, 1, 3, dtype=np.float32), np.arange(3, dtype=np.float32)
    plain, plain_text = symbol_program("w", "v")
    program, derivation = symbol_program(word, "v")
    check_source(program.source)
    check_text(derivation, len(str(plain_text).splitlines()))
    for got, expected in zip(program(x, y), plain(x, y), strict=True):
        np.testing.assert_array_equal(got, expected)


@every_name
def test_symbols_of_one_name(word):
    """Of one shape they are one symbol, as in SymPy; of two shapes they stay two inputs."""
    assert sg.symbol(word, "n").expr() is sg.symbol(word, "n").expr()
    a, b = sg.symbol(word, "n,d"), sg.symbol(word, "d")
    total = sg.tanh(a @ b).sum()
    program = sg.compile([total, *sg.grad(total, [a, b])])
    check_source(program.source)
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    y = np.array([0.5, 1, 2], np.float32)
    slope = 1 - np.tanh(x @ y) ** 2
    value, da, db = program(x, y)
    np.testing.assert_allclose(value, np.tanh(x @ y).sum(), rtol=1e-5)
    np.testing.assert_allclose(da, np.outer(slope, y), rtol=1e-5)
    np.testing.assert_allclose(db, x.T @ slope, rtol=1e-5)


def traced(key, name="loss", other="c"):
    def loss(params, x):
        return sg.tanh(x @ params[key] + params[other]).sum()

    loss.__name__ = name
    return sg.trace(loss, params={key: "d", other: ""}, x="n,d")


X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
W, C = np.array([0.5, -0.25], np.float32), np.float32(0.125)


def results(f, key, other="c"):
    value, gradients = f.compile(gradients=True)({key: W, other: C}, X)
    assert set(gradients) == {key, other}
    step = f.training_step(sg.optim.SGD, lr=0.1)
    check_source(step.source)
    params, state = step.init({key: W, other: C})
    params, state, _ = step(params, state, X)
    return [np.asarray(a) for a in (value, gradients[key], gradients[other], params[key])]


@every_name
def test_parameter_keys(word):
    plain, f = traced("W"), traced(word)
    check_source(f.compile(gradients=True).source)
    check_text(f.derive(), len(str(plain.derive()).splitlines()))
    for got, expected in zip(results(f, word), results(plain, "W"), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert f.jax({word: W, "c": C}, X) == pytest.approx(float(plain({"W": W, "c": C}, X)))


@every_name
def test_function_names(word):
    plain, f = traced("W"), traced("W", word)
    check_source(f.compile(gradients=True).source)
    check_source(f.compile().source)
    check_text(f.derive(), len(str(plain.derive()).splitlines()))
    for got, expected in zip(results(f, "W"), results(plain, "W"), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a b", "a_b"), ("w" * 10_000, "w" * 9_999), ("🦊", "🐻"), ("x\ny", "x y"), ("W1", "W₁")],
    ids=["blank", "long", "emoji", "newline", "subscript"],
)
def test_keys_that_would_share_an_identifier(first, second):
    f = traced(first, other=second)
    check_source(f.compile(gradients=True).source)
    expected = results(traced("W"), "W")
    for got, wanted in zip(results(f, first, second), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@every_name
def test_the_numpy_source_compiles_too(word):
    compile(traced(word, word).compile(gradients=True).source_for("numpy"), "<generated>", "exec")
