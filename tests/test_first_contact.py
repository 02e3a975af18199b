"""What a person sees in the first hour, to the letter."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, serialization

ROOT = Path(__file__).parent.parent


def run(tmp_path, text, line=1, name="model.py", **given):
    """Run a program as the file ``model.py``, its first line at ``line``; what it defined."""
    path = tmp_path / name
    path.write_text("\n" * (line - 1) + text, encoding="utf-8")
    space = {"sg": sg, "torch": sg, **given}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    return space


# ------------------------------------------------------------------ 3: a function of one's own


def test_the_derivative_of_a_declared_function():
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x")
    mish = sg.scalar_function("mish", x * sympy.tanh(sympy.log(1 + sympy.exp(x))))
    text = "tanh(s) + x σ(x) (1 − tanh(s)²)   where s = softplus(x)"
    assert str(mish.derivative().formula()) == text
    for dtype in (sg.float32, sg.float64):
        t = sg.linspace(-1e4, 1e4, 4001, dtype=dtype, requires_grad=True)
        mish(t).sum().backward()
        assert np.isfinite(t.grad.numpy()).all()
        assert (t.grad[0].item(), t.grad[-1].item()) == (0, 1)


# ------------------------------------------------------------------ 4: sizes


def test_inner_sizes_that_are_different_letters(tmp_path):
    X, w, y = sg.symbols("X:n,d  w:k  y:n")
    with pytest.raises(sg.ShapeError) as problem:
        run(tmp_path, "r = X @ w - y", 12, X=X, w=w, y=y)
    assert str(problem.value) == (
        "X @ w: X is n×d but w has k entries; the inner sizes d and k are different letters.\n"
        "  model.py:12: r = X @ w - y\n"
        '  Declare w with size d (sg.symbols("w:d")), or say d = k with sg.same("d", "k").'
    )
    assert isinstance(problem.value, RuntimeError)
    with sg.same("d", "k"):
        assert (X @ w).shape == (X @ w - y).shape


def test_a_module_of_the_installed_pytorch(tmp_path):
    text = "import symgrad as torch\nimport torch.nn as nn\nx = torch.ones(4, 3)\nnn.{}\n"
    advice = (
        " is a symgrad tensor. Write 'import symgrad.nn as nn', or run the script unchanged with "
        "'python -m symgrad run script.py'."
    )
    torch = pytest.importorskip("torch")
    for call, who in (
        ("Linear(3, 2)(x)", "torch.nn.functional.linear is PyTorch's, but the input x"),
        ("ReLU()(x)", "torch.nn.functional.relu is PyTorch's, but the input x"),
        ("functional.cross_entropy(torch.ones(4), target=x)",
         "torch.nn.functional.cross_entropy is PyTorch's, but the input"),
    ):  # fmt: skip
        with pytest.raises(TypeError) as problem:
            run(tmp_path, text.format(call), nn=torch.nn)
        assert str(problem.value) == who + advice


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_stream_that_cannot_say_it(tmp_path, encoding):
    path = tmp_path / "print.py"
    path.write_text(
        "import symgrad as sg\n"
        'X, w, y = sg.symbols("X:n,d  w:d  y:n")\n'
        "loss = ((X @ w - y) ** 2).mean()\n"
        "g = sg.grad(loss, w)\n"
        "print(g.formula())\n"
        "print(sg.derive(loss, w))\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding,
                   "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "codegen")])}  # fmt: skip
    shown = subprocess.run([sys.executable, path], env=environment, capture_output=True,
                           check=True).stdout.decode(encoding)  # fmt: skip
    assert shown.splitlines() == [
        "(2/n) X' (X w - y)",
        "sizes    X: n x d   w: d   y: n",
        "r     = X w - y",
        "L     = (1/n) r' r",
        "dL/dw = (2/n) X' r",
    ]


BRANCH = """def model(x):
    loss = (x * x).sum()
    if loss > 0.1:
        return loss
    return 2 * loss
"""


def test_a_branch_while_tracing(tmp_path):
    model = run(tmp_path, BRANCH, 5)["model"]
    with pytest.raises(sg.TraceError) as problem:
        sg.trace(model, x="n")
    assert str(problem.value) == (
        "this 'if' needs the value of loss (model.py:7), but x has none while tracing. Use "
        "sg.where(loss > 0.1, a, b) or sg.cond, or call the function on numbers."
    )
    assert model(sg.ones(2)).item() == 2
    with pytest.raises(sg.UnboundError) as plain:
        model(sg.symbol("x", "n"))
    assert str(plain.value) == (
        "this 'if' needs the value of loss (model.py:7), but x is a symbol and no value is bound to "
        "it. Use sg.where(loss > 0.1, a, b) or sg.cond, or compute with numbers."
    )


def test_cond_takes_both_branches_of_a_symbol():
    def model(x):
        return sg.cond(x.sum() > 0, lambda t: (2 * t).sum(), lambda t: t.sum(), (x,))

    f = sg.trace(model, x="n")
    for sign in (1, -1):
        values = sign * np.ones(3, np.float32)
        assert float(f(values)) == model(sg.tensor(values)).item()
    first, second = sg.cond(sg.symbol("c") > 0, lambda: (sg.ones(2), 1), lambda: (sg.zeros(2), 2))
    assert (first.shape, second.ndim) == ((2,), 0)
    with pytest.raises(TypeError, match="the same number of tensors"):
        sg.cond(sg.symbol("c") > 0, lambda: (1, 2), lambda: (1,))


# ------------------------------------------------------------------ 6: a function written in JAX


def test_a_foreign_function_is_marked():
    jnp = pytest.importorskip("jax.numpy")

    def my_fn(u):
        return jnp.log(jnp.cosh(u))

    u, y = sg.symbols("u:n  y:n")
    loss = ((sg.jax_function(my_fn)(u) - y) ** 2).mean()
    assert sg.derive(loss, u).unicode.splitlines()[1:] == [
        "z     = jax:my_fn(u)",
        "r     = z − y",
        "L     = (1/n) rᵀ r",
        "δz    = (2/n) r",
        "∂L/∂u = vjp[jax:my_fn](u)ᵀ δz   (not symbolic: derivative by jax.vjp)",
    ]


def test_the_last_line_of_every_tutorial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(3, 2)
    with pytest.warns(UserWarning, match="safetensors") as told:
        run(tmp_path, 'torch.save(model.state_dict(), "m.pt")', 9, model=model)
    (warning,) = told
    assert str(warning.message) == (
        "m.pt is written as safetensors, not as a pickle; PyTorch reads it by "
        "safetensors.torch.load_file('m.pt')"
    )
    assert (Path(warning.filename).name, warning.lineno) == ("model.py", 9)
    back = sg.load("m.pt")
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(back[key].numpy(), value.detach().numpy())


def test_a_file_of_pytorch_itself(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(2)}, "m.pt")
    with pytest.raises(serialization.SerializationError) as problem:
        sg.load("m.pt")
    first, *convert = str(problem.value).split("\n  ")
    assert first == (
        "load: m.pt is a pickle (torch.save's format). Loading one runs the code in it, so it is "
        "refused. Convert it once, where PyTorch is installed:"
    )
    assert convert == [
        "import torch, safetensors.torch",
        "safetensors.torch.save_file(torch.load('m.pt', weights_only=True), 'm.safetensors')",
    ]
    exec("\n".join(convert), {})
    assert sg.load("m.safetensors")["w"].tolist() == [1, 1]


# ------------------------------------------------------------------ 8: long compilations


def test_a_long_compilation_says_so_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    def program(scale):
        x = sg.full((3,), scale, requires_grad=True)
        y = x
        for _ in range(60):
            y = sg.sin(y) * y + sg.exp(-y)
        y.sum().backward()
        return x.grad.sum().item(), y.sum().item()

    shown, hidden = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    for _ in range(2):  # cold, then compiled
        program(0.25)
    assert re.fullmatch(r"(compiling loss\+gradients \(\d+ instructions\)…\n)+", shown.getvalue())
    monkeypatch.setattr(sys, "stderr", hidden)
    for _ in range(2):
        program(0.5)
    assert hidden.getvalue() == ""


def test_the_tests_are_collected_without_pytorch():
    code = """
import sys
sys.modules["torch"] = None
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, encoding="utf-8", cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-2000:]
