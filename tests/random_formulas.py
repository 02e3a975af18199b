"""Random matrix programs in the language of derivative collections, and what is said of them.

A program is a list of statements over declared leaves (positive, symmetric, …; sizes are letters),
each a line of text that both symgrad and JAX evaluate with functions of their own.  It is drawn with
the values in hand, so that every function is far from its kinks and every matrix well conditioned.
``disagreements`` prints value, first derivatives and one second derivative, and compares with JAX
in float64: the Python text, the Unicode and the ASCII text read back, and the compiled source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from symgrad_codegen.template import ProgramError

import symgrad as sg
from benchmarks._corpus import FUNCTIONS
from symgrad.core.expr import Expr
from symgrad.core.traverse import leaves
from symgrad.derivation.python_form import namespace
from symgrad.errors import NotationError
from symgrad.evaluate import evaluate
from tests.jaxpr_numbers import with_numpy

Array = np.ndarray[Any, Any]
SIZES = {"n": 3, "m": 2, "d": 4}
TOLERANCE = 1e-9
LARGEST = 8.0
CLEAR = 0.02

NUMERIC: dict[str, Any] = {
    **{word: getattr(jnp, word) for word in (
        "sum", "mean", "trace", "exp", "log", "tanh", "diag", "outer", "kron", "maximum", "where",
        "sqrt", "abs", "sign", "sin", "cos", "tril", "eye",
    )},
    "inv": jnp.linalg.inv, "det": jnp.linalg.det, "solve": jnp.linalg.solve,
    "logdet": lambda a: jnp.linalg.slogdet(a)[1], "cholesky": jnp.linalg.cholesky,
    "norm": lambda a: jnp.sqrt(jnp.sum(a * a)), "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu,
    "softmax": lambda a: jax.nn.softmax(a, axis=-1), "logsumexp": jax.scipy.special.logsumexp,
    "vec": lambda a: jnp.reshape(a, -1),
    "ones": lambda *s: jnp.ones(s), "zeros": lambda *s: jnp.zeros(s),
    "concat": lambda *a: jnp.concatenate(a),
}  # fmt: skip
"""The functions of the language in JAX."""
OURS = {**FUNCTIONS, "concat": lambda *a: sg.cat(a)}
"""The same in symgrad."""

DOMAINS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "real": lambda z, rng: z,
    "positive": lambda z, rng: rng.uniform(0.5, 2.0, z.shape),
    "symmetric": lambda z, rng: (z + z.T) / 2,
    "spd": lambda z, rng: z @ z.T / len(z) + np.eye(len(z)),
    "orthogonal": lambda z, rng: np.linalg.qr(z)[0],
    "diagonal": lambda z, rng: np.diag(rng.uniform(0.5, 2.0, len(z))),
}
"""A point of each domain that a leaf may declare; all but the first two are of square matrices."""


@dataclass(frozen=True)
class Line:
    """``name = text``, with its letters of sizes and its value at the drawn point."""

    name: str
    text: str
    shape: tuple[str, ...]
    value: Array
    domain: str = ""
    uses: tuple[str, ...] = ()


class RefusedError(Exception):
    """This statement is not possible here; another one is drawn."""


@dataclass
class MatrixProgram:
    """Declared leaves, and statements over them; the last one is the result."""

    rng: np.random.Generator
    lines: list[Line] = field(default_factory=list[Line])

    @property
    def declared(self) -> list[Line]:
        """The leaves."""
        return [line for line in self.lines if line.domain]

    def run(self, functions: dict[str, Any], leaves: dict[str, Any], sizes: dict[str, Any]) -> Any:
        """The result over these leaves."""
        scope = {**functions, **sizes, **leaves}
        for line in self.lines:
            if not line.domain:
                scope[line.name] = eval(line.text, scope)
        return scope[self.lines[-1].name]

    def ending(self, k: int) -> MatrixProgram:
        """Line ``k`` and what it is made of."""
        wanted: set[str] = set()
        kept: list[Line] = []
        for line in reversed(self.lines[: k + 1]):
            if not kept or line.name in wanted:
                kept.append(line)
                wanted.update(line.uses)
        return MatrixProgram(self.rng, sorted(kept, key=self.lines.index))

    def __repr__(self) -> str:
        return "\n".join(
            f"{line.name}: {line.domain} [{', '.join(line.shape)}]" if line.domain
            else f"{line.name} = {line.text}" for line in self.lines
        )  # fmt: skip

    # -------------------------------------------------------------- drawing

    def pick(self, options: Sequence[Any]) -> Any:
        """One of these; RefusedError where there is none."""
        if not options:
            raise RefusedError
        return options[int(self.rng.integers(len(options)))]

    def leaf(self, shape: Sequence[str], domain: str = "real") -> Line:
        """A new leaf."""
        name = "abcpqrstuvwxyz"[len(self.lines)]
        name = name.upper() if len(shape) == 2 else name
        drawn = self.rng.standard_normal([int(eval(s, {}, SIZES)) for s in shape])
        value = DOMAINS[domain](drawn, self.rng)
        self.lines.append(Line(name, "", tuple(shape), value, domain))
        return self.lines[-1]

    def find(self, fits: Callable[[Line], bool], shape: Sequence[str] | None = None) -> Line:
        """A value that fits, the newest more often; or a new leaf of ``shape``."""
        found = [line for line in reversed(self.lines) if fits(line)]
        if shape is not None and (not found or self.rng.random() < 0.15):
            return self.leaf(shape)
        return found[0] if found and self.rng.random() < 0.5 else self.pick(found)

    def say(self, text: str, shape: Sequence[str], *uses: Line) -> Line:
        """A statement; RefusedError where its value is large, not finite, or constant 0."""
        scope = {**NUMERIC, **SIZES, **{line.name: line.value for line in self.lines}}
        with jax.enable_x64(True), np.errstate(all="ignore"):
            value = with_numpy(lambda: eval(text, scope))
        value = np.asarray(value)
        assert value.shape == tuple(eval(s, {}, SIZES) for s in shape)
        if not np.isfinite(value).all() or np.abs(value).max() > (
            LARGEST if value.shape else LARGEST**2
        ):
            raise RefusedError
        name = f"v{len(self.lines)}"
        self.lines.append(
            Line(name, text, tuple(shape), value, "", tuple(line.name for line in uses))
        )
        return self.lines[-1]


# ------------------------------------------------------------------ statements

Plan = Callable[[MatrixProgram], object]


def _any(line: Line) -> bool:
    return True


def _map(function: str, clear: Callable[[Array], bool] = lambda x: True, text: str = "") -> Plan:
    def plan(program: MatrixProgram) -> None:
        a = program.find(lambda line: clear(line.value))
        program.say((text or f"{function}(_)").replace("_", a.name), a.shape, a)

    return plan


def _apart(x: Array) -> bool:
    return bool(np.abs(x).min() > CLEAR)


def _small(x: Array) -> bool:
    return bool(np.abs(x).max() < 3)


def _above(x: Array) -> bool:
    return bool(x.min() > 0.2)


def _pair(text: str, clear: Callable[[Array, Array], bool] = lambda a, b: True) -> Plan:
    """Two values of one shape, or one that is spread over the other."""

    def plan(program: MatrixProgram) -> None:
        a = program.find(_any)

        def fits(line: Line) -> bool:
            tail = a.shape[len(a.shape) - len(line.shape) :]
            return line.shape == tail and clear(a.value, line.value)

        b = program.find(fits, a.shape)
        if not clear(a.value, b.value):
            raise RefusedError
        program.say(text.replace("_", a.name).replace("?", b.name), a.shape, a, b)

    return plan


def _matmul(program: MatrixProgram) -> None:
    a = program.find(lambda line: bool(line.shape))
    columns = program.pick([[], [program.pick(list(SIZES))]])

    def fits(line: Line) -> bool:
        return bool(line.shape) and line.shape[0] == a.shape[-1]

    b = program.find(fits, (a.shape[-1], *columns))
    program.say(f"{a.name} @ {b.name}", (*a.shape[:-1], *b.shape[1:]), a, b)


def _square(line: Line) -> bool:
    if len(line.shape) != 2 or line.shape[0] != line.shape[1]:
        return False
    s = np.linalg.svd(line.value, compute_uv=False)
    return bool(s.min() > 0.3 and s.max() < 8)


def _definite(line: Line) -> bool:
    if not _square(line) or not np.allclose(line.value, line.value.T):
        return False
    return bool(np.linalg.eigvalsh(line.value).min() > 0.3)


def _of_square(function: str, out: Callable[[Line], Sequence[str]], definite: bool = False) -> Plan:
    def plan(program: MatrixProgram) -> None:
        a = program.find(_definite if definite else _square)
        program.say(f"{function}({a.name})", out(a), a)

    return plan


def _solve(program: MatrixProgram) -> None:
    a = program.find(_square)
    b = program.find(lambda line: line.shape[:1] == a.shape[:1], (a.shape[0],))
    program.say(f"solve({a.name}, {b.name})", b.shape, a, b)


def _gram(program: MatrixProgram) -> None:
    a = program.find(lambda line: len(line.shape) == 2, ("n", "m"))
    n = a.shape[0]
    program.say(f"{a.name} @ {a.name}.T + eye({n})", (n, n), a)


def _reduction(function: str) -> Plan:
    def plan(program: MatrixProgram) -> None:
        a = program.find(lambda line: bool(line.shape))
        if len(a.shape) == 2 and program.rng.random() < 0.6:
            axis = int(program.rng.integers(2))
            program.say(f"{function}({a.name}, axis={axis})", a.shape[1 - axis : 2 - axis], a)
        else:
            program.say(f"{function}({a.name})", (), a)

    return plan


def _norm(program: MatrixProgram) -> None:
    a = program.find(lambda line: bool(line.shape) and float(np.linalg.norm(line.value)) > 0.3)
    program.say(f"norm({a.name})", (), a)


def _transpose(program: MatrixProgram) -> None:
    a = program.find(lambda line: len(line.shape) == 2)
    program.say(f"{a.name}.T", a.shape[::-1], a)


def _outer(program: MatrixProgram) -> None:
    a, b = (program.find(lambda line: len(line.shape) == 1, (s,)) for s in ("n", "m"))
    program.say(f"outer({a.name}, {b.name})", a.shape + b.shape, a, b)


def _diag(program: MatrixProgram) -> None:
    a = program.find(lambda line: len(line.shape) == 1 or len(set(line.shape)) == 1)
    program.say(f"diag({a.name})", a.shape * 2 if len(a.shape) == 1 else a.shape[:1], a)


def _tril(program: MatrixProgram) -> None:
    a = program.find(lambda line: len(line.shape) == 2 and len(set(line.shape)) == 1)
    program.say(f"tril({a.name})", a.shape, a)


def _with_constant(program: MatrixProgram) -> None:
    """Ones, zeros and identities; of a fixed size they would be data."""
    a = program.find(lambda line: bool(line.shape) and {*line.shape} <= {*SIZES})
    sizes = ", ".join(a.shape)
    options = [f"ones({sizes}) - _", f"_ + 2 * ones({sizes})", f"zeros({sizes}) + _"]
    if len(a.shape) == 2 and len(set(a.shape)) == 1:
        options += [f"_ + eye({a.shape[0]})", f"2 * eye({a.shape[0]}) - _"]
    program.say(program.pick(options).replace("_", a.name), a.shape, a)


def _vec(program: MatrixProgram) -> None:
    """vec and kron, joined with their likes so that the sizes are those of leaves."""
    a = program.find(lambda line: len(line.shape) == 2)
    same = program.find(lambda line: line.shape == a.shape, a.shape)
    options = [f"vec({a.name}) @ vec({same.name})", f"sum(kron({a.name}, {same.name}))"]
    program.say(program.pick(options), (), a, same)


PLANS: dict[str, Plan] = {
    "exp": _map("exp", _small), "log": _map("log", _above), "tanh": _map("tanh", _small),
    "sigmoid": _map("sigmoid", _small), "relu": _map("relu", _apart), "abs": _map("abs", _apart),
    "sign": _map("sign", _apart, "sign(_) * _"), "sqrt": _map("sqrt", _above),
    "sin": _map("sin"), "cos": _map("cos"), "square": _map("", text="_ ** 2"),
    "cube": _map("", _small, "_ ** 3"), "negative": _map("", text="-_"),
    "half": _map("", text="_ / 2"), "inverse": _map("", _above, "1 / _"),
    "softmax": _map("softmax", lambda x: x.ndim > 0),
    "add": _pair("_ + ?"), "subtract": _pair("_ - ?"), "multiply": _pair("_ * ?"),
    "divide": _pair("_ / ?", lambda a, b: float(np.abs(b).min()) > 0.3),
    "maximum": _pair("maximum(_, ?)", lambda a, b: _apart(a - b)),
    "where": _pair("where(_ > ?, _, ?)", lambda a, b: _apart(a - b)),
    "matmul": _matmul, "matmul again": _matmul, "gram": _gram, "transpose": _transpose,
    "trace": _of_square("trace", lambda a: ()), "det": _of_square("det", lambda a: ()),
    "logdet": _of_square("logdet", lambda a: ()), "inv": _of_square("inv", lambda a: a.shape),
    "cholesky": _of_square("cholesky", lambda a: a.shape, True), "solve": _solve,
    "sum": _reduction("sum"), "mean": _reduction("mean"), "logsumexp": _reduction("logsumexp"),
    "norm": _norm, "outer": _outer, "diag": _diag, "tril": _tril, "vec": _vec,
    "constant": _with_constant,
}  # fmt: skip


def _column(text: str, clear: Callable[[Array], bool] = lambda x: True) -> Plan:
    """A matrix and a number for each of its rows."""

    def plan(program: MatrixProgram) -> None:
        a = program.find(lambda line: len(line.shape) == 2)
        b = program.find(lambda x: x.shape == a.shape[:1] and clear(x.value), a.shape[:1])
        if not clear(b.value):
            raise RefusedError
        program.say(text.replace("_", a.name).replace("?", b.name), a.shape, a, b)

    return plan


def _totals(axis: int) -> Plan:
    """What is summed keeps its axis, of size 1."""

    def plan(program: MatrixProgram) -> None:
        a = program.find(lambda line: len(line.shape) == 2)
        shape = (a.shape[0], "1") if axis else ("1", a.shape[1])
        index = ":, None" if axis else "None, :"
        program.say(f"sum({a.name}, axis={axis})[{index}]", shape, a)

    return plan


def _with_one(program: MatrixProgram) -> None:
    """A matrix and one with a single row or column."""
    a = program.find(lambda line: len(line.shape) == 2 and "1" not in line.shape)
    shape = program.pick([(a.shape[0], "1"), ("1", a.shape[1])])
    b = program.find(lambda line: line.shape == shape, shape)
    program.say(f"{a.name} {program.pick('+-*')} {b.name}", a.shape, a, b)


def _cut(text: str, size: str = "? - 1") -> Plan:
    """A part of the first axis, which is longer than 1; or two of them joined."""

    def plan(program: MatrixProgram) -> None:
        a = program.find(lambda line: bool({*line.shape[:1]} & {*SIZES, "5"}))
        shape = (size.replace("?", a.shape[0]), *a.shape[1:])
        program.say(text.replace("_", a.name), shape, a)

    return plan


def _first(program: MatrixProgram) -> None:
    a = program.find(lambda line: bool(line.shape))
    program.say(f"{a.name}[{program.pick([0, -1])}]", a.shape[1:], a)


def _beside(text: str) -> Plan:
    """A number of one array, where the same or a similar one stands more than once."""

    def plan(program: MatrixProgram) -> None:
        a = program.find(lambda line: bool(line.shape))
        program.say(text.replace("_", a.name), (), a)

    return plan


VIEWS: dict[str, Plan] = PLANS | {
    "add column": _column("_ + ?[:, None]"), "take column": _column("_ - ?[:, None]"),
    "times column": _column("_ * ?[:, None]"), "over column": _column("_ / ?[:, None]", _apart),
    "total of rows": _totals(1), "total of columns": _totals(0), "with one": _with_one,
    "after the first": _cut("_[1:]"), "before the last": _cut("_[:-1]"),
    "neighbours": _cut("_[1:] - _[:-1]"), "product of neighbours": _cut("_[1:] * _[:-1]"),
    "joined": _cut("concat(_, _)", "2 * ?"), "first": _first,
    "sum and mean": _beside("sum(_) * mean(_)"), "from the mean": _beside("sum((_ - mean(_)) ** 2)"),
}  # fmt: skip
"""Columns and rows of size 1, parts of an axis, axes of fixed sizes."""


def drawn(number: int, plans: dict[str, Plan] = PLANS) -> MatrixProgram:
    """The program with this number: 2 to 7 statements, the last one a scalar three times of four."""
    rng = np.random.default_rng(number)
    while True:
        try:
            return _drawn(rng, plans)
        except RefusedError:
            continue


def _drawn(rng: np.random.Generator, plans: dict[str, Plan]) -> MatrixProgram:
    program = MatrixProgram(rng)
    shapes = [("n", "n"), ("n",), ("n", "m"), ("d", "n"), ("m",), ("n", "n")]
    if plans is VIEWS:
        shapes += [("n", "5"), ("5",), ("n", "1"), ("1", "m"), ("n", "m")]
    for _ in range(1 + int(rng.integers(2))):
        shape = program.pick(shapes)
        square = len(shape) == 2 and shape[0] == shape[1]
        program.leaf(shape, program.pick(list(DOMAINS) if square else ["real", "positive"]))
    names = sorted(plans)
    wanted = len(program.lines) + 2 + int(rng.integers(5))
    while len(program.lines) < wanted or program.lines[-1].domain:
        kept = list(program.lines)
        try:
            plans[program.pick(names)](program)
        except RefusedError:
            program.lines = kept
    last = program.lines[-1]
    if last.shape and rng.random() < 0.75:
        total = program.pick(["sum(_ * _)", "mean(_ * _)", "mean(_)", "sum(sin(_))"])
        program.say(total.replace("_", last.name), (), last)
    return program.ending(len(program.lines) - 1)


# ------------------------------------------------------------------ the comparison


@dataclass(frozen=True)
class Question:
    """Tensors with their names, the symbols they are of, and the numbers of these."""

    symbols: dict[str, Any]
    tensors: dict[str, Any]
    values: dict[str, Array]


def posed(program: MatrixProgram) -> Question:
    """Value, derivative for each leaf, and the second derivative for the first of a scalar."""
    sizes = {s: sg.symbol(f"size_{s}", s).shape[0] for s in SIZES}
    symbols = {
        line.name: sg.symbol(line.name, ",".join(line.shape), sg.float64, line.domain)
        for line in program.declared
    }

    def result(word: str, at: Any) -> Any:
        return program.run(OURS, {**symbols, word: at}, sizes)

    value = program.run(OURS, symbols, sizes)
    tensors = {"value": value}
    for word, x in symbols.items():
        of = partial(result, word)
        if value.ndim:
            tensors[f"Jacobian for {word}"] = sg.func.jacrev(of)(x)
        else:
            tensors[f"gradient for {word}"] = sg.grad(value, x)
            if len(tensors) == 2:
                tensors[f"Hessian for {word}"] = sg.func.hessian(of)(x)
    return Question(symbols, tensors, {line.name: line.value for line in program.declared})


def reference(program: MatrixProgram, question: Question, eager: bool = False) -> dict[str, Array]:
    """The same by JAX's automatic differentiation."""
    takes = {"value": lambda f: f, "gradient": jax.grad, "Jacobian": jax.jacrev,
             "Hessian": jax.hessian}  # fmt: skip
    found: dict[str, Array] = {}
    first = next(iter(question.values))
    with jax.enable_x64(True):
        for what in question.tensors:
            kind, _, word = what.partition(" for ")

            def f(at: Any, word: str = word or first) -> Any:
                given = {k: jnp.asarray(v) for k, v in question.values.items()}
                return program.run(NUMERIC, {**given, word: at}, SIZES)

            derivative, at = takes[kind](f), jnp.asarray(question.values[word or first])
            found[what] = np.asarray(derivative(at) if eager else with_numpy(derivative, at))
    return found


def _differs(found: Any, expected: Array) -> str:
    found = np.asarray(found)
    if not found.shape:  # a number is said of every entry
        found = np.broadcast_to(found, expected.shape)
    if found.shape != expected.shape:
        return f"shape {found.shape} for {expected.shape}"
    error = np.abs(found - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0))
    return "" if error <= TOLERANCE else f"{error:.1e} apart"


def disagreements(
    program: MatrixProgram, jitted: bool = False, refused: list[str] | None = None
) -> list[str]:
    """What differs from JAX, with the text that does; ``refused`` gets what has no formula."""
    refused = [] if refused is None else refused
    question = posed(program)
    expected = reference(program, question)
    feeds: dict[Expr, Array] = {
        question.symbols[word].expr(): value for word, value in question.values.items()
    }
    scope = {**namespace(), **SIZES, **question.values}
    wrong: list[str] = []

    def compare(how: str, what: str, text: str, number: Callable[[], Any]) -> None:
        try:
            with np.errstate(all="ignore"):
                problem = _differs(number(), expected[what])
        except Exception as refusal:  # noqa: BLE001 - of the text that is judged
            problem = f"{type(refusal).__name__}: {refusal}"
        if problem:
            wrong.append(f"{what}, {how}: {problem}: {text}")

    for what, tensor in question.tensors.items():
        compare("expression", what, "", lambda t=tensor: evaluate([t.expr()], feeds, SIZES)[0])
        formula = tensor.formula()
        python = formula.python()
        compare("python", what, python, lambda p=python: eval(p, dict(scope)))
        try:
            ranges = {formula.letters[x.data]: x.data.size for x in formula.indices}
            texts = {"unicode": formula.unicode, "ascii": formula.ascii}
        except NotationError:  # says what the notation has no words for
            refused.append(what)
            continue
        for spelling, text in texts.items():

            def read(text: str = text, ranges: Any = ranges) -> Any:
                parsed = sg.parse_formula(text, question.symbols, ranges, list(ranges)).expr()
                here = set(leaves([parsed]))
                return evaluate([parsed], {e: v for e, v in feeds.items() if e in here}, SIZES)[0]

            compare(spelling, what, text, read)
    try:
        compiled = sg.compile(list(question.tensors.values()))
    except ProgramError:  # a constant, of a size that no symbol in it has
        refused.append("generated source")
        return wrong
    given = [feeds[e] for e in compiled.inputs]
    with jax.enable_x64(True):
        function = compiled.executable.function
        found = compiled(*given) if jitted else with_numpy(function, *map(jnp.asarray, given))
    found = found if isinstance(found, tuple) else (found,)
    for (what, _), number in zip(question.tensors.items(), found, strict=True):
        compare("generated source", what, "", lambda v=number: v)
    return wrong


def smallest(program: MatrixProgram, wrong: Callable[[MatrixProgram], list[str]]) -> MatrixProgram:
    """The first statement that is wrong by itself; else the whole program."""
    for k, line in enumerate(program.lines):
        if not line.domain:
            part = program.ending(k)
            if wrong(part):
                return part
    return program


__all__ = [
    "PLANS",
    "SIZES",
    "VIEWS",
    "MatrixProgram",
    "disagreements",
    "drawn",
    "posed",
    "reference",
    "smallest",
]
