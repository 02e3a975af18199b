"""SymPy and back: values agree, shapes return, and what has no counterpart says so."""

import math

import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import name_of
from symgrad.core.traverse import leaves, topological
from symgrad.errors import NotationError
from symgrad.evaluate import evaluate
from symgrad.nn import functional as F
from tests.random_formulas import SIZES as RANDOM_SIZES
from tests.random_formulas import drawn, posed, reference

sympy = pytest.importorskip("sympy")

SIZES = {"n": 4, "d": 3, "k": 2}
RNG = np.random.default_rng(5)
AXES = {"X": "nd", "w": "d", "y": "n", "W": "dk", "b": "k", "c": "", "A": "dd", "T": "ndk"}
VALUES = {name: RNG.uniform(0.2, 1.5, tuple(SIZES[s] for s in axes)) for name, axes in AXES.items()}
SYMBOLS = {name: sg.symbol(name, ",".join(axes), sg.float64) for name, axes in AXES.items()}
X, w, y, W, b, c, A, T = SYMBOLS.values()
LOSS = ((X @ w - y) ** 2).mean()
LOGISTIC = F.binary_cross_entropy_with_logits(X @ w, y)

BOTH_WAYS = {
    "X*w - y": X @ w - y,
    "Trace((w.T*X.T - y.T)*(X*w - y))/n": LOSS,
    "(2/n)*X.T*(X*w - y)": sg.grad(LOSS, w),
    "(2/n)*X.T*X": sg.hessian(LOSS, w).dense(),
    "X*W + 1*b.T": X @ W + b,
    "Trace(A**2)": (A @ A).trace(),
    "A**(-1)*w": sg.linalg.inv(A) @ w,
    "log(Determinant(A*A.T))": sg.logdet(A @ A.T),
    "w*y.T": sg.outer(w, y),
    "X.T*1": X.sum(0),
    "Trace(w.T*A*w)": w @ A @ w,
    "c**2 + sin(c)/3": c * c + sg.sin(c) / 3,
    "X.T": X.T,
    "2*X + 1": 2 * X + 1,
    "DiagMatrix(w)": sg.diag(w),
    "HadamardProduct(y*1, X)": y[:, None] * X,
    "Piecewise((c, c > 0), (-c, True))": sg.where(c > 0, c, -c),
}
"""What SymPy prints → the tensor."""

MORE = {
    "the logistic loss": LOGISTIC,
    "its gradient": sg.grad(LOGISTIC, w),
    "its Hessian": sg.hessian(LOGISTIC, w).dense(),
    "softmax": (X @ W + b).softmax(-1),
    "logsumexp": (X @ W).logsumexp(-1).sum(),
    "the sum of all": X.sum(),
    "a sum of squares and rows": X * X + X * w,
    "a diagonal within a product": X.T @ (sg.sigmoid(X @ w)[:, None] * X),
    "solve": sg.linalg.solve(A, w),
    "a divergence": (w * sg.log(w / 2)).sum(),
    "an axis turned around": w.flip(0),
    "a column": X[:, 1],
    "a maximum with a scalar": sg.maximum(X, W.sum()),
    "the diagonal": A.diagonal(),
    "a number at every entry": sg.grad(c * c * w.sum(), w),
    "δ within the entries": sg.func.jacrev(lambda w: sg.cos(sg.exp(w)))(w),
    "three factors at one label": (w * w * w * (A @ w)).sum(),
    "three axes within": (X[:, None, :] * W.T[None]).sum(-1),
    "a tensor of three axes": (T * b).sum(2) @ w,
    "comparisons": (X > 0.5).to(sg.float64) + A.det(),
    "a trace of a product": (A @ A.T @ A).trace() * w,
    "powers": w**-0.5 + w.sqrt() + w**c,
    "special functions": sg.erf(w) + sg.lgamma(w) + sg.digamma(w),
    "activations": F.softplus(w) + F.silu(w) + F.relu(w - 1) + sg.tanh(w),
    "a constant row": 0 * w + 3,
}
ALL = {**BOTH_WAYS, **MORE}


def ours(t):
    e = t.expr()
    return evaluate([e], {x: VALUES[name_of(x)] for x in leaves([e])}, SIZES)[0]


def theirs(e):
    """SymPy's own value, with explicit matrices."""
    sizes = {sympy.Symbol(k, integer=True, positive=True): v for k, v in SIZES.items()}
    e = e.subs(sizes)
    given = {}
    for leaf in e.atoms(sympy.MatrixSymbol):
        value = VALUES[leaf.name]
        given[leaf] = sympy.ImmutableMatrix(value[:, None] if value.ndim == 1 else value)
    for entry in e.atoms(sympy.Indexed):
        assert str(entry.base.label) in VALUES
    given |= {x: float(VALUES[str(x)]) for x in e.free_symbols if str(x) == "c"}
    e = e.xreplace(given)

    def trace(t):
        return t.arg.doit().as_explicit().doit().trace()

    for _ in range(4):  # SymPy leaves traces of functions as they are
        e = e.replace(lambda t: isinstance(t, sympy.Trace), trace)
    e = e.doit()
    if hasattr(e, "as_explicit"):
        e = e.as_explicit().doit()
    table = {}
    for entry in e.atoms(sympy.Indexed):
        table[entry] = float(VALUES[str(entry.base.label)][tuple(map(int, entry.indices))])
    return np.array(e.xreplace(table).evalf(), dtype=float)


@pytest.mark.parametrize(("text", "t"), BOTH_WAYS.items(), ids=BOTH_WAYS)
def test_sympy_prints_the_matrix_algebra(text, t):
    assert str(sg.to_sympy(t)) == text


@pytest.mark.parametrize("t", ALL.values(), ids=ALL)
def test_sympy_computes_the_same(t):
    expected = ours(t)
    np.testing.assert_allclose(theirs(sg.to_sympy(t)).reshape(expected.shape), expected, 1e-9)


@pytest.mark.parametrize("t", ALL.values(), ids=ALL)
def test_what_goes_to_sympy_comes_back(t):
    back = sg.from_sympy(sg.to_sympy(t), list(SYMBOLS.values()))
    assert tuple(back.shape) == tuple(t.shape)
    np.testing.assert_allclose(ours(back), ours(t), 1e-9)


def test_sizes_may_be_sums():
    size = sympy.Symbol("n", integer=True, positive=True)
    B = sympy.MatrixSymbol("B", 2 * size - 1, 3)
    found = sg.from_sympy(B * sympy.ones(3, 1))
    assert str(found.shape[0]) == "2*n-1"
    values = np.arange(15.0, dtype=np.float32).reshape(5, 3)
    (leaf,) = leaves([found.expr()])
    np.testing.assert_allclose(
        evaluate([found.expr()], {leaf: values}, {"n": 3})[0], values.sum(1), 1e-6
    )


def test_sympy_differentiates_an_inner_product():
    n, d = (sympy.Symbol(k, integer=True, positive=True) for k in "nd")
    slope = sg.to_sympy(LOSS).diff(sympy.MatrixSymbol("w", d, 1))
    assert n in slope.free_symbols
    back = sg.from_sympy(slope, list(SYMBOLS.values()))
    np.testing.assert_allclose(ours(back), ours(sg.grad(LOSS, w)), 1e-9)


# ------------------------------------------------------------------ from SymPy

n, d, k = sympy.symbols("n d k")
i, j = sympy.symbols("i j")
MX, MA = sympy.MatrixSymbol("X", n, d), sympy.MatrixSymbol("A", d, d)
Mw, My = sympy.MatrixSymbol("w", d, 1), sympy.MatrixSymbol("y", n, 1)
x, z = sympy.symbols("x z")

READ = {
    "a transposed row": (Mw.T, lambda: VALUES["w"][None]),
    "a whole power": (MA**3 * Mw, lambda: np.linalg.matrix_power(VALUES["A"], 3) @ VALUES["w"]),
    "a negative power": (MA**-2, lambda: np.linalg.inv(VALUES["A"] @ VALUES["A"])),
    "a power of 0": (MA**0 * Mw, lambda: VALUES["w"]),
    "Kronecker": (sympy.KroneckerProduct(MX, MA), lambda: np.kron(VALUES["X"], VALUES["A"])),
    "determinant": (sympy.Determinant(MA) / n, lambda: np.linalg.det(VALUES["A"]) / 4),
    "identity and zeros": (MA + 2 * sympy.Identity(d) + sympy.ZeroMatrix(d, d),
                           lambda: VALUES["A"] + 2 * np.eye(3)),
    "applyfunc": (MX.applyfunc(sympy.Lambda(x, x * sympy.exp(-x))),
                  lambda: VALUES["X"] * np.exp(-VALUES["X"])),
    "a constant function": (MX.applyfunc(sympy.Lambda(x, sympy.Integer(3))),
                            lambda: np.full((4, 3), 3.0)),
    "HadamardPower": (sympy.HadamardPower(Mw, sympy.Rational(3, 2)), lambda: VALUES["w"] ** 1.5),
    "entries": (MX[1, 2] * Mw[0, 0], lambda: VALUES["X"][1, 2] * VALUES["w"][0]),
    "sums of entries": (sympy.Sum(MX[i, j] * Mw[j, 0] * i, (j, 0, d - 1), (i, 0, n - 1)),
                        lambda: np.arange(4) @ VALUES["X"] @ VALUES["w"]),
    "a sum from 1": (sympy.Sum(i**2, (i, 1, n)), lambda: 30.0),
    "a sum of a constant": (sympy.Sum(z, (i, 1, n)).subs(z, Mw[0, 0]),
                            lambda: 4 * VALUES["w"][0]),
    "a delta of Kronecker": (
        sympy.Sum(MA[i, j] * sympy.KroneckerDelta(i, j), (i, 0, d - 1), (j, 0, d - 1)),
        lambda: np.trace(VALUES["A"])),
    "a matrix by entries": (sympy.FunctionMatrix(n, d, sympy.Lambda((i, j), MX[i, j] + i * 10 + j)),
                            lambda: VALUES["X"] + 10 * np.arange(4)[:, None] + np.arange(3)),
    "an explicit matrix": (sympy.Matrix([[Mw[0, 0], 1, 0], [2, Mw[1, 0] ** 2, 0]]) @ sympy.ones(3, 1),
                           lambda: [VALUES["w"][0] + 1, 2 + VALUES["w"][1] ** 2]),
    "blocks": (
        sympy.BlockMatrix([[MA, Mw], [MX, My]]),
        lambda: np.block([[VALUES["A"], VALUES["w"][:, None]], [VALUES["X"], VALUES["y"][:, None]]])),
    "a row of blocks": (sympy.BlockMatrix([[Mw.T, My.T]]),
                        lambda: np.concatenate([VALUES["w"], VALUES["y"]])[None]),
    "a part of a matrix": (MX[1:, :2] * sympy.ones(2, 1), lambda: VALUES["X"][1:, :2].sum(1)),
    "an adjoint": (sympy.Adjoint(MX) * My, lambda: VALUES["X"].T @ VALUES["y"]),
    "Γ and factorials": (sympy.gamma(Mw[0, 0] - 2) + sympy.factorial(Mw[1, 0]),
                         lambda: math.gamma(VALUES["w"][0] - 2) + math.gamma(VALUES["w"][1] + 1)),
    "a size as a number": (n * d + Mw[0, 0], lambda: 12 + VALUES["w"][0]),
}  # fmt: skip


@pytest.mark.parametrize(("e", "expected"), READ.values(), ids=READ)
def test_expressions_of_sympy(e, expected):
    found = sg.from_sympy(e, list(SYMBOLS.values()))
    value = ours(found)
    np.testing.assert_allclose(value, np.asarray(expected()), 1e-6)


def test_new_symbols_have_the_names_and_sizes_of_sympys():
    r = sg.from_sympy(MX * Mw - My)
    assert str(r.formula()) == "X w − y"
    assert tuple(map(str, r.shape)) == ("n",)
    assert r.dtype is sg.float32
    out = sg.compile([r])(np.ones((2, 3)), np.ones(3), np.ones(2))
    np.testing.assert_array_equal(out, [2.0, 2.0])


def test_a_tensor_in_the_place_of_a_scalar_is_read_entry_by_entry():
    huber = sympy.Piecewise((x**2 / 2, sympy.Abs(x) < 1), (sympy.Abs(x) - 0.5, True))
    t = sg.tensor([0.5, -2.0], requires_grad=True)
    value = sg.from_sympy(huber, {x: t})
    value.sum().backward()
    assert value.tolist() == [0.125, 1.5]
    assert t.grad.tolist() == [0.5, -1.0]


def test_a_given_tensor_fixes_the_letters():
    t = sg.tensor(np.ones((2, 3)), dtype=sg.float32)
    assert sg.from_sympy(sympy.Trace(MX.T * MX) / n, {"X": t}).item() == 3.0


def test_indexed_of_three_axes():
    base = sympy.IndexedBase("T", shape=(n, d, k))
    total = sympy.Sum(base[i, j, 1] ** 2, (i, 0, n - 1), (j, 0, d - 1))
    found = sg.from_sympy(total, [T])
    np.testing.assert_allclose(ours(found), (VALUES["T"][:, :, 1] ** 2).sum())


def test_a_name_is_never_evaluated():
    hostile = '__import__("os").abort()'
    t = sg.symbol(hostile, "n")
    e = sg.to_sympy(t.sum())
    assert hostile in str(e)
    assert sg.from_sympy(e, [t]).shape == ()


def test_random_programs_come_back():
    """What SymPy has words for, read again; of programs whose derivatives are short, these too."""
    count = 0
    for number in range(25):
        program = drawn(number)
        question = posed(program)
        expected = reference(program, question)
        for what, t in question.tensors.items():
            if len(topological([t.expr()])) > (40 if what == "value" else 16):
                continue  # SymPy takes long
            try:
                told = sg.to_sympy(t)
            except NotationError:
                continue
            back = sg.from_sympy(told, list(question.symbols.values())).expr()
            feeds = {question.symbols[n].expr(): v for n, v in question.values.items()}
            feeds = {e: v for e, v in feeds.items() if e in leaves([back])}
            if not feeds and back.dtype is not sg.float64:  # a number has the default dtype
                continue
            found = evaluate([back], feeds, RANDOM_SIZES)[0]
            np.testing.assert_allclose(
                found, expected[what], 1e-9, 1e-9, err_msg=f"{number}: {what}"
            )
            count += 1
    assert count > 20


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(("e", "kind", "says"), [
    ("x + 1", TypeError, "text is never evaluated"),
    (3.0, TypeError, "float is no expression"),
    (sympy.airyai(x), NotationError, "airyai has no counterpart"),
    (sympy.Sum(x**i, (i, 0, sympy.oo)), NotationError, "sizes are numbers, letters"),
    (MA ** sympy.Rational(1, 2), NotationError, "whole powers only"),
    (sympy.IndexedBase("u")[i], NotationError, "u has no shape"),
    (sympy.MatrixSymbol("B", n ** sympy.Rational(1, 2), 2), NotationError, "the size sqrt"),
    (MX[::2, :], NotationError, "a step of 2"),
    (x * sympy.I, NotationError, "not real and finite"),
    (sympy.Piecewise((x, x > 0)), NotationError, "no value where none"),
])  # fmt: skip
def test_what_cannot_be_read(e, kind, says):
    with pytest.raises(kind, match=says):
        sg.from_sympy(e)


def test_a_tensor_that_does_not_fit_its_symbol():
    with pytest.raises(sg.ShapeError, match="w is d by 1, but the tensor given is 2×3"):
        sg.from_sympy(Mw, {"w": sg.ones(2, 3)})


@pytest.mark.parametrize(("t", "says"), [
    (w.sort().values, "SymPy has no counterpart of sort"),
    (X.cumprod(0), "SymPy has no counterpart of cumprod"),
    (T * 2, "a tensor of 3 axes is no matrix"),
    (X > 0, "a matrix of truth values"),
])  # fmt: skip
def test_what_sympy_does_not_have(t, says):
    with pytest.raises(NotationError, match=says):
        sg.to_sympy(t)


def test_to_sympy_takes_tensors():
    with pytest.raises(TypeError, match="to_sympy takes a tensor, not int"):
        sg.to_sympy(3)
