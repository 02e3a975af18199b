"""``sg.scalar_function``: SymPy's expression as an operation with derivatives of its own."""

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import NotationError
from symgrad.foreign.from_sympy import ROWS
from tests.notation import evaluate_formula
from tests.test_hostile_names import CANARY, NAMES, check_source

sympy = pytest.importorskip("sympy")
x, a = sympy.symbols("x a")
POINTS = np.linspace(0.15, 0.85, 8)
LARGE = np.concatenate([-np.logspace(4, -2, 200), [0], np.logspace(-2, 4, 200)])

EXPRESSIONS = {
    "Add": x + sympy.pi + sympy.sqrt(2) * x**3,
    "Mul": 3 * x * sympy.exp(x) * sympy.sin(x) / 7,
    "Abs": abs(x - 0.5) * x,
    "ceiling": sympy.ceiling(3 * x) * x,
    "floor": sympy.floor(3 * x) * x**2,
    "sign": sympy.sign(x - 0.5) * x**2,
    "atan2": sympy.atan2(x, 1 + x),
    "loggamma": sympy.loggamma(1 + x),
    "Mod": sympy.Mod(3 * x, 1) * x,
    "Max": sympy.Max(x, 1 - x, sympy.Rational(1, 3)) ** 2,
    "Min": sympy.Min(x, 1 - x**2, 0.6) ** 2,
    "acosh": sympy.acosh(1 + x),
    "Heaviside": sympy.Heaviside(x - 0.5) * x**2,
    "sinc": sympy.sinc(x),
    "StrictGreaterThan": sympy.Piecewise((x**2, x > 0.5), (x**3, True)),
    "GreaterThan": sympy.Piecewise((x**2, x >= 0.5), (x**3, True)),
    "StrictLessThan": sympy.Piecewise((x**2, x < 0.5), (2 * x, x < 0.7), (x**3, True)),
    "LessThan": sympy.Piecewise((x**2, x <= 0.5), (x**3, True)),
    "Equality": sympy.Piecewise((x**2, sympy.Eq(x, sympy.Rational(1, 2))), (x**3, True)),
    "Unequality": sympy.Piecewise((x**2, sympy.Ne(x, sympy.Rational(1, 2))), (x**3, True)),
    "And": sympy.Piecewise((x**2, (x > 0.3) & (x < 0.6)), (x**3, True)),
    "Or": sympy.Piecewise((x**2, (x < 0.3) | (x > 0.6)), (x**3, True)),
    "Xor": sympy.Piecewise((x**2, sympy.Xor(x > 0.3, x > 0.6)), (x**3, True)),
    "Not": sympy.Piecewise((x**2, sympy.Not(sympy.Xor(x > 0.3, x > 0.6))), (x**3, True)),
    "Pow": x**2.5 + 2**x + x**x + sympy.sqrt(x) + x ** sympy.Rational(-1, 3) + 1 / (1 + x**2),
    "polygamma": sympy.polygamma(0, x) + sympy.polygamma(2, x),
    "Piecewise": sympy.Piecewise((1, x < 0.5), (x, True)) + x,
}
"""Every function that has a counterpart, used once; the others are used as they are."""


def expression(word):
    made = EXPRESSIONS.get(word)
    return made if made is not None else x * getattr(sympy, word)(x / 2 + sympy.Rational(1, 3))


def swish(name="swish"):
    return sg.scalar_function(name, x / (1 + sympy.exp(-x)))


def exact(e, order):
    """The value or a derivative of ``e`` at the points, by differences in 60 digits."""
    weights = {0: {0: 1}, 1: {-1: -0.5, 1: 0.5}, 2: {-1: 1, 0: -2, 1: 1}}[order]
    h = sympy.Float("1e-15", 60)
    total = 0
    for step, weight in weights.items():
        at = [e.subs(x, sympy.Float(p, 60) + step * h).evalf(60) for p in POINTS]
        total = total + weight * np.array(at)
    return (total / h**order).astype(float)


@pytest.mark.parametrize("word", sorted({*ROWS, *EXPRESSIONS}))
def test_values_and_derivatives_are_sympys(word):
    e = expression(word)
    f = sg.scalar_function("f", e)
    t = sg.tensor(POINTS, dtype=sg.float64, requires_grad=True)
    found = f(t)
    for order in range(3):
        np.testing.assert_allclose(found.detach().numpy(), exact(e, order), 1e-11, 1e-12)
        (found,) = sg.autograd.grad(found.sum(), [t], create_graph=True)


def test_names_in_formulas():
    f = swish()
    assert repr(f) == "swish(x) = x σ(x)"
    assert repr(f.derivative()) == "swish′(x) = x σ(x) (1 − σ(x)) + σ(x)"
    z = sg.symbol("z", "n")
    total = f(z).sum()
    slope = sg.grad(total, z)
    assert str(f(z).formula()) == "swish(z)"
    assert str(slope.formula()) == "swish′(z)"
    assert slope.formula().latex() == r"\operatorname{swish}'\left(\mathbf{z}\right)"
    assert slope.formula().ascii == "swish_prime(z)"
    assert str(sg.grad(slope.sum(), z).formula()) == "swish′′(z)"
    number = {"z": POINTS}
    python = slope.formula().python()
    assert "sigmoid(z)" in python
    own = {"swish′": lambda v: 2 * v}
    read = evaluate_formula("swish′(z)", number, {"n": len(POINTS)}, functions=own)
    np.testing.assert_array_equal(read, 2 * POINTS)


def test_derivations():
    X, w, b, t = sg.symbols("X:n,d  w:d,k  b:k  t:n,k")
    loss = ((swish()(X @ w + b) - t) ** 2).mean()
    assert sg.derive(loss, [w, b]).unicode.splitlines() == [
        "sizes    X: n×d   w: d×k   b: k   t: n×k",
        "indices  i < n",
        "Z     = X w + b",
        "R     = swish(Z) − t",
        "L     = (1/(n k)) tr(Rᵀ R)",
        "δZ    = (2/(n k)) (R ⊙ swish′(Z))",
        "∂L/∂w = Xᵀ δZ",
        "∂L/∂b = Σᵢ δZ[i,:]",
    ]


def test_several_arguments():
    e = a * x**2 + sympy.sin(a * x)
    f = sg.scalar_function("f", e, [x, a])
    assert repr(f) == "f(x, a) = a x² + sin(a x)"
    assert repr(f.derivative(1)) == "f′₂(x, a) = x² + x cos(a x)"
    assert f.derivative(0).derivative(1) is f.derivative(1).derivative(0)
    assert f.derivative(1).derivative(0).name == "f′′₁₂"
    assert repr(sg.scalar_function("f", e)) == "f(a, x) = a x² + sin(a x)"
    s, t = sg.symbols("s:n,d  t:d")
    slope = sg.grad(f(s, t).sum(), t)
    assert "f′₂(" in str(slope.formula())
    assert "'_{2}" in slope.formula().latex()
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((3, 4)), rng.standard_normal(4)
    u, v = (sg.tensor(n, requires_grad=True) for n in (one, two))
    f(u, v).sum().backward()
    np.testing.assert_allclose(u.grad.numpy(), 2 * two * one + two * np.cos(one * two))
    np.testing.assert_allclose(v.grad.numpy(), (one**2 + one * np.cos(one * two)).sum(0))
    np.testing.assert_allclose(f(u, 2).detach().numpy(), 2 * one**2 + np.sin(2 * one))
    with pytest.raises(TypeError, match=r"f takes 2 arguments \(x, a\), not 1"):
        f(u)
    with pytest.raises(IndexError, match="counted from 0"):
        f.derivative(2)


def test_constant_derivatives():
    line = sg.scalar_function("line", 3 * x + 5)
    t = sg.tensor(POINTS, requires_grad=True)
    line(t).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full(8, 3.0))
    z = sg.symbol("z", "n")
    assert str(sg.grad(line(z).sum(), z).formula()) == "3"
    same = sg.scalar_function("same", sympy.Integer(2), [x])
    assert same(t).tolist() == [2] * 8


@pytest.mark.parametrize("dtype", [sg.float64, sg.float32])
@pytest.mark.parametrize(
    "e",
    [x * sympy.tanh(sympy.log(1 + sympy.exp(x))), x / (1 + sympy.exp(-x)),
     x * sympy.exp(x) / (1 + sympy.exp(x)), sympy.log(1 + sympy.exp(-x)),
     x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2],
    ids=["mish", "swish", "swish by a ratio", "softplus", "gelu"],
)  # fmt: skip
def test_finite_far_out(e, dtype):
    f = sg.scalar_function("f", e)
    for _ in range(2):  # cold, then compiled
        t = sg.tensor(LARGE, dtype=dtype, requires_grad=True)
        found = f(t)
        for _ in range(3):
            assert np.isfinite(found.detach().numpy()).all()
            (found,) = sg.autograd.grad(found.sum(), [t], create_graph=True)


def test_cold_compiled_traced_and_mapped_agree():
    f = swish()

    def loss(w, x):
        return (f(x @ w) ** 2).mean()

    rng = np.random.default_rng(1)
    w, data = rng.standard_normal((4, 3)), rng.standard_normal((5, 4))
    z = data @ w
    s = 1 / (1 + np.exp(-z))
    slope = data.T @ (2 * z * s * (s + z * s * (1 - s))) / z.size
    for _ in range(3):
        p = sg.tensor(w, requires_grad=True)
        loss(p, sg.tensor(data)).backward()
        np.testing.assert_allclose(p.grad.numpy(), slope, rtol=1e-12)
    traced = sg.trace(loss, w=sg.spec("d,k", sg.float64), x=sg.spec("n,d", sg.float64))
    value, (found, _) = traced.compile(gradients=True)(w, data)
    np.testing.assert_allclose(found, slope, rtol=1e-12)
    assert float(value) == pytest.approx(float(((z * s) ** 2).mean()))
    each = sg.func.vmap(sg.func.grad(lambda v: f(v).sum()))(sg.tensor(z))
    np.testing.assert_allclose(each.numpy(), s + z * s * (1 - s), rtol=1e-12)
    inner = sg.func.hessian(lambda v: f(v).sum())(sg.tensor(z[0]))
    twice = f.derivative().derivative()(sg.tensor(z[0]))
    np.testing.assert_allclose(inner.numpy(), np.diag(twice.numpy()), rtol=1e-12)


def test_source_in_both_languages():
    z = sg.symbol("z", "n", sg.float64)
    total = swish()(z).sum()
    program = sg.compile([total, sg.grad(total, z)])
    for target in ("jax", "numpy"):
        source = program.source_for(target)
        assert "swish′(z)" in source  # the formula beside the line
        assert "def swish" not in source
    space = {}
    exec(compile(program.source_for("numpy"), "<generated>", "exec"), space)
    s = 1 / (1 + np.exp(-POINTS))
    np.testing.assert_allclose(space["compiled"](POINTS)[1], s + POINTS * s * (1 - s))


def test_integers_and_equal_declarations():
    f = swish()
    assert swish() is f
    assert f(sg.tensor([0, 1])).dtype is sg.float32
    other = sg.scalar_function("swish", x**2)
    assert (other(sg.tensor(3.0)).item(), f(sg.tensor(0.0)).item()) == (9, 0)
    with sg.autocast("cpu"):  # PyTorch's list of functions does not name this one
        assert swish("linear")(sg.ones(2)).dtype is sg.float32


def test_an_indistinct_symbol():
    one, two = sympy.Symbol("v"), sympy.Symbol("v", positive=True)
    f = sg.scalar_function("f", one - 2 * two, [one, two])
    assert f(sg.tensor(5.0), sg.tensor(1.0)).item() == 3


class Function(sympy.Function):
    """Somebody's own class of SymPy."""


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (sympy.besselj(0, x), "SymPy's besselj has no counterpart here, in besselj(0, x)."),
        (sympy.Function("exp")(x), "SymPy's exp has no counterpart here, in exp(x)."),
        (Function(x) + 1, "SymPy's Function has no counterpart here, in Function(x)."),
        (sympy.polygamma(a, x), "SymPy's polygamma has no counterpart here, in polygamma(a, x)."),
        (sympy.Integral(sympy.exp(-(x**2)), x), "SymPy's Integral has no counterpart here"),
        (sympy.I * x, "the number I is not real and finite."),
        (x + sympy.oo * a, "the number oo is not real and finite."),
        (sympy.Piecewise((x, x > 0)), "has no value where none of its conditions holds."),
    ],
    ids=str,
)
def test_what_has_no_counterpart(expr, text):
    with pytest.raises(NotationError) as problem:
        sg.scalar_function("f", expr)
    assert str(problem.value).startswith("scalar_function('f'): ")
    assert text in str(problem.value)
    assert problem.value.remedy


def test_text_is_never_evaluated():
    for word in ("x**2", f"__import__('builtins').{CANARY}", NAMES["call"]):
        with pytest.raises(TypeError, match="text is never evaluated"):
            sg.scalar_function("f", word)
    assert not hasattr(builtins, CANARY)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("f", lambda v: v), "the expression is a function"),
        (("f", sympy.Matrix([x])), "give a scalar expression of SymPy"),
        (("f", sympy.Integer(2)), "has no symbol"),
        (("f", a * x, [x]), "the symbols a, x; name each once"),
        (("f", x, [x, x]), "name each once"),
        ((1, x), "the name is a text"),
        (("", x), "the name is a text"),
    ],
)
def test_wrong_declarations(args, text):
    with pytest.raises(TypeError, match=text):
        sg.scalar_function(*args)


@pytest.mark.parametrize("word", ["exp", "σ", "diag", "tr", "where"])
def test_names_that_formulas_have(word):
    with pytest.raises(ValueError, match="a function of their own; choose another"):
        sg.scalar_function(word, x**2)


@pytest.mark.parametrize("word", NAMES.values(), ids=NAMES.keys())
def test_hostile_names(word):
    if not word.strip() or not "".join(c for c in word if c.isprintable()).strip():
        return
    strange = sympy.Symbol(word)
    f = sg.scalar_function(word, strange / (1 + sympy.exp(-strange)))
    z = sg.symbol("z", "n")
    total = f(z).sum()
    program = sg.compile([total, sg.grad(total, z)])
    check_source(program.source)
    value, slope = program(np.zeros(2, np.float32))
    assert (float(value), slope.tolist()) == (0, [0.5, 0.5])
    derivation = sg.derive(total)
    assert len(str(derivation).splitlines()) == 4
    assert r"\input" not in derivation.latex()
    assert len(repr(f).splitlines()) == 1
    t = sg.zeros(2, requires_grad=True)
    f(t).sum().backward()
    assert t.grad.tolist() == [0.5, 0.5]
    assert not hasattr(builtins, CANARY)


def test_sympy_is_imported_when_called():
    root = Path(__file__).parent.parent
    code = (
        f"import sys; sys.path[:0] = {[str(root), str(root / 'codegen')]!r}\n"
        "import symgrad as sg; sg.scalar_function\n"
        "assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_half_of_a_number_is_exact():
    f = sg.scalar_function("f", x / 3 + sympy.sqrt(2))
    assert repr(f) == "f(x) = (1/3) x + √2"


def test_in_a_compiled_step_and_an_optimizer():
    def train(wrap):
        sg.manual_seed(0)
        model = sg.nn.Linear(4, 3)
        optimizer = sg.optim.Adam(model.parameters(), lr=0.05)
        f = swish()

        @wrap
        def step(data):
            optimizer.zero_grad()
            value = (f(model(data)) ** 2).mean()
            value.backward()
            optimizer.step()
            return value

        data = sg.tensor(np.linspace(-2, 2, 20, dtype=np.float32).reshape(5, 4))
        return [step(data).item() for _ in range(5)]

    np.testing.assert_allclose(train(sg.compile), train(lambda g: g), rtol=1e-5)


def test_what_is_remembered_has_a_bound():
    f = swish()
    for n in range(1, 100):
        f(sg.ones(n, requires_grad=True)).sum().backward()
    assert f.body.cache_info().maxsize == 64
