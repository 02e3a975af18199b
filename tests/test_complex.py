"""Complex tensors against PyTorch: values, dtypes, text, gradients, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.core.build import imaginary
from symgrad.core.expr import name_of
from symgrad.derivation.python_form import namespace
from symgrad.ops.complex import conj
from symgrad.simplify import GROUPS, rewrite

torch: Any = pytest.importorskip("torch")
Function = Callable[[Any, Any], Any]

UNARY: dict[str, Function] = {
    "exp": lambda lib, z: lib.exp(z * 0.3),
    "sin": lambda lib, z: lib.sin(z),
    "tanh": lambda lib, z: lib.tanh(z * 0.5),
    "sqrt": lambda lib, z: lib.sqrt(z * z + 3),
    "log": lambda lib, z: lib.log(z * z + 5),
    "sigmoid": lambda lib, z: lib.sigmoid(z * 0.5),
    "reciprocal": lambda lib, z: 1 / (z + 4),
    "cube": lambda lib, z: z**3 * 0.1,
    "whole power": lambda lib, z: (z + 4) ** -2,
    "power": lambda lib, z: (z * 0.2 + 3) ** 1.5,
    "conj": lambda lib, z: z.conj(),
    "conj of a product": lambda lib, z: (z * 1j * z).conj(),
    "turned": lambda lib, z: z * (0.6 - 0.8j),
    "shifted": lambda lib, z: (2 - 1j) - z,
    "abs": lambda lib, z: z.abs() * (1 + 0j),
    "sgn": lambda lib, z: z.sgn(),
    "angle": lambda lib, z: lib.polar(z.abs(), z.angle() * 0.5),
    "parts": lambda lib, z: lib.complex(z.imag, z.real * z.real),
    "view": lambda lib, z: lib.view_as_complex(lib.view_as_real(z) * 2),
    "transpose": lambda lib, z: z.mH.contiguous() + 1,
    "reshape": lambda lib, z: z.reshape(9)[::2].repeat(9)[:9].reshape(3, 3),
    "flip": lambda lib, z: z.flip(0).cumsum(1),
    "roll": lambda lib, z: lib.cat([z[1:], z[:1] * 1j]),
    "rows": lambda lib, z: z.index_select(0, lib.tensor([2, 0, 2])),
    "sum": lambda lib, z: z - z.mean(0),
    "prod": lambda lib, z: z * z.prod(1, keepdim=True) * 0.1,
    "triangle": lambda lib, z: lib.tril(z) + lib.triu(z, 1).conj(),
    "where": lambda lib, z: lib.where(z.real > 0, z * z * 0.3, z.conj()),
    "mask": lambda lib, z: z.masked_fill(z.imag > 0.5, 2j),
    "var": lambda lib, z: z / z.var(),
}  # fmt: skip
BINARY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda lib, a, b: a + b,
    "mul": lambda lib, a, b: a * b * 0.4,
    "matmul": lambda lib, a, b: a @ (b + 1j) * 0.3,
    "adjoint": lambda lib, a, b: a @ (b * 1j).mH * 0.3,
    "div": lambda lib, a, b: a / (b + 5),
    "outer": lambda lib, a, b: lib.einsum("ij,kj->ik", a, (b + 1j).conj()) * 0.3,
    "pow": lambda lib, a, b: (a * 0.2 + 3) ** (b * 0.3),
    "scaled": lambda lib, a, b: a * b.abs().mean(),
}  # fmt: skip


def program(seed: int, lib: Any, leaves: list[Any]) -> Any:
    """A random program of complex and real numbers, ending in a real loss; the same in both."""
    rng = random.Random(seed)
    pool = list(leaves)
    for _ in range(rng.randint(2, 6)):
        if rng.random() < 0.6:
            made = UNARY[rng.choice(sorted(UNARY))](lib, _complex(rng.choice(pool)))
        else:
            a, b = rng.choice(pool), rng.choice(pool)
            made = BINARY[rng.choice(sorted(BINARY))](lib, _complex(a), b)
        pool.append(made)
    z = pool[-1]
    end = rng.choice(("abs", "real", "imag", "square"))
    if end == "square":
        return z, (z.conj() * z).real.mean()
    return z, (z.abs() if end == "abs" else z.real if end == "real" else z.imag).mean()


def _complex(t: Any) -> Any:
    return t if t.is_complex() else t * (1 + 0.5j)


def leaves_of(seed: int) -> list[np.ndarray[Any, Any]]:
    """Two complex matrices and a real one."""
    rng = np.random.default_rng(seed)
    made = [rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)) for _ in range(2)]
    return [*made, rng.standard_normal((3, 3))]


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_have_pytorchs_values_and_gradients(seed):
    values = leaves_of(seed)
    found: list[Any] = []
    for lib in (torch, sg):
        leaves = [lib.tensor(v, requires_grad=True) for v in values]
        z, loss = program(seed, lib, leaves)
        grads = lib.autograd.grad(loss, leaves, allow_unused=True, create_graph=True)
        again: Any = sum(
            ((g * g.conj()).real.sum() for g in grads if g is not None), lib.tensor(0.0)
        )
        second: Any = [None] * 3
        if again.requires_grad:
            second = lib.autograd.grad(again, leaves, allow_unused=True)
        found.append([z, loss, *grads, *second])
    for a, b in zip(*found, strict=True):
        if a is None or b is None:
            known = b if a is None else a
            assert known is None or not np.any(np.asarray(known.detach()))
            continue
        assert repr(b.dtype) == str(a.dtype)
        expected = a.detach().resolve_conj().numpy()
        np.testing.assert_allclose(b.detach().numpy(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_formula_of_a_complex_program_runs(seed):
    values = leaves_of(seed)
    numbers = dict(zip("zwx", values, strict=True))
    symbols = [sg.tensor(v) for v in values]
    _, loss = program(seed, sg, symbols)
    kinds = (sg.complex128, sg.complex128, sg.float64)
    named = [sg.symbols(f"{w}:3,3", dtype=d) for w, d in zip("zwx", kinds, strict=True)]
    _, written = program(seed, sg, named)
    function = sg.compile(written)
    given = [numbers[name_of(e)] for e in function.inputs]
    np.testing.assert_allclose(np.asarray(function(*given)), loss.item(), rtol=1e-9)
    spoken = eval(written.formula().python(), {**namespace(), **numbers})
    np.testing.assert_allclose(spoken, loss.item(), rtol=1e-9)


def test_rules_of_real_numbers_are_not_tried_on_complex_ones():
    x, z = (sg.symbols(w, dtype=d) for w, d in (("x:n", sg.float64), ("z:n", sg.complex128)))
    softplus, same = ((1 + v.exp()).log().expr() for v in (x, z))
    assert rewrite([softplus], GROUPS)[1]
    assert not rewrite([same], GROUPS)[1]


def test_conjugates_cancel_and_move_inwards():
    z = sg.symbols("z:n", dtype=sg.complex128).expr()
    i = imaginary(z.dtype)
    assert conj(conj(z)) is z
    assert conj(2 * z) is 2 * conj(z)
    assert conj(i) is -1 * i
    assert conj(2 * conj(z) + i) is 2 * z - i


def test_parts_can_be_written():
    found: list[Any] = []
    for lib in (torch, sg):
        z = lib.tensor([1 + 2j, 3])
        z.real = lib.tensor([5.0, 6.0])
        z.imag = z.real * 2
        found.append(repr(z))
    assert found[0] == found[1]


def test_steps_of_complex_parameters():
    found: list[Any] = []
    for lib in (torch, sg):
        z = lib.tensor([1 + 1j, 2 - 1j], requires_grad=True)
        optimizer = lib.optim.SGD([z], lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (z - (3 + 1j)).abs().square().sum().backward()
            optimizer.step()
        found.append(z.detach().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "lt": lambda lib, z: z < 1j,
    "ge": lambda lib, z: z >= 1j,
    "max": lambda lib, z: z.max(),
    "argmax": lambda lib, z: z.argmax(),
    "floor": lambda lib, z: z.floor(),
    "round": lambda lib, z: z.round(),
    "relu": lambda lib, z: lib.relu(z),
    "clamp": lambda lib, z: z.clamp(0),
    "sign": lambda lib, z: z.sign(),
    "sort": lambda lib, z: z.sort(),
    "atan2": lambda lib, z: lib.atan2(z, z),
    "erf": lambda lib, z: lib.erf(z),
    "remainder": lambda lib, z: z % 2,
    "maximum": lambda lib, z: lib.maximum(z, z),
    "imag": lambda lib, z: z.real.imag,
    "mse_loss": lambda lib, z: lib.nn.functional.mse_loss(z, z * 2),
    "layer_norm": lambda lib, z: lib.nn.functional.layer_norm(z, (2,)),
    "softmax of a row": lambda lib, z: z.softmax(0).max(),
    "hypot": lambda lib, z: lib.hypot(z, z),
    "real fill": lambda lib, z: z.real.masked_fill(z == z[0], 1j),
    "complex of complex": lambda lib, z: lib.complex(z, z),
    "entry": lambda lib, z: lib.ones(2).__setitem__(0, 1j),
    "in place": lambda lib, z: lib.ones(2).mul_(z),
    "backward": lambda lib, z: (z.requires_grad_() * 2).sum().backward(),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_for_complex_numbers_raises(name):
    for lib in (torch, sg):
        with pytest.raises((RuntimeError, NotImplementedError)):
            REFUSED[name](lib, lib.tensor([1 + 2j, 3]))


TEXTS: dict[str, Callable[[Any], Any]] = {
    "matrix": lambda lib: lib.tensor([[1 + 2j, -3], [0.5j, 1e-3]]),
    "double": lambda lib: lib.tensor(1 - 2j, dtype=lib.complex128),
    "empty": lambda lib: lib.zeros(0, dtype=lib.complex64),
    "wide": lambda lib: lib.tensor([1e10 + 1e-3j, 1]),
    "not finite": lambda lib: lib.tensor([complex(1, float("nan")), complex(float("-inf"), 0)]),
    "tracked": lambda lib: lib.tensor([1j], requires_grad=True) * 2,
    "conjugate": lambda lib: lib.tensor([1j], requires_grad=True).conj(),
    "parts": lambda lib: lib.view_as_real(lib.tensor([1j, 2])),
    "promoted": lambda lib: lib.arange(3, dtype=lib.float64) + 1j,
    "promoted by a scalar tensor": lambda lib: lib.ones(2) * lib.tensor(1j, dtype=lib.complex128),
    "whole numbers": lambda lib: lib.arange(2) * 1j,
    "number": lambda lib: lib.tensor([2 + 1j])[0].item(),
    "list": lambda lib: lib.tensor([2 + 1j]).tolist(),
    "type": lambda lib: lib.tensor([2 + 1j]).type(),
    "kind": lambda lib: (lib.tensor(1j).is_complex(), lib.is_complex(lib.tensor(1.0))),
    "cast": lambda lib: lib.tensor([2.5 + 1j]).cdouble().real.long(),
    "truth": lambda lib: lib.tensor([1j, 0]).bool(),
    "equal": lambda lib: lib.tensor([1j, 0]) == 1j,
    "linspace": lambda lib: lib.linspace(0, 1j, 3),
    "isreal": lambda lib: lib.isreal(lib.tensor([1j, 2])),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_complex_tensor_prints_as_in_pytorch(name):
    assert repr(TEXTS[name](sg)) == repr(TEXTS[name](torch))


HOLOMORPHIC: dict[str, Function] = {
    "inv": lambda lib, z: lib.linalg.inv(z),
    "det": lambda lib, z: lib.linalg.det(z),
    "logdet": lambda lib, z: lib.logdet(z),
    "solve": lambda lib, z: lib.linalg.solve(z, z.conj() * 2j),
    "triangular": lambda lib, z: lib.linalg.solve_triangular(z + 3 * lib.eye(3), z, upper=True),
    "power": lambda lib, z: lib.linalg.matrix_power(z, -2),
    "cumprod": lambda lib, z: lib.cumprod(z, 0),
    "convolution": lambda lib, z: lib.nn.functional.conv1d(z[None] * 1j, z[None]),
    "norm": lambda lib, z: lib.linalg.norm(z) * z,
    "3-norm": lambda lib, z: lib.linalg.vector_norm(z, 3) * z,
    "logsumexp": lambda lib, z: lib.logsumexp(z, 1),
    "logaddexp": lambda lib, z: lib.logaddexp(z, z.mT * 2j),
    "logcumsumexp": lambda lib, z: lib.logcumsumexp(z, 0) + lib.logcumsumexp(z, 1),
    "corrcoef": lambda lib, z: lib.corrcoef(z),
    "cov": lambda lib, z: lib.cov(z),
    "vdot": lambda lib, z: lib.vdot(z[0], z[1]),
    "std": lambda lib, z: z.std(),
    "padding": lambda lib, z: lib.nn.functional.pad(z, (1, 2), mode="reflect"),
    "fill": lambda lib, z: z.index_fill(0, lib.tensor([1]), 3j),
    "addmm": lambda lib, z: lib.addmm(z, z, z.conj(), alpha=2j, beta=1 - 1j),
    "l1_loss": lambda lib, z: lib.nn.functional.l1_loss(z, z.mT),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_functions_of_complex_matrices_and_their_gradients(name):
    value = leaves_of(7)[0]
    found: list[Any] = []
    for lib in (torch, sg):
        z = lib.tensor(value, requires_grad=True)
        made = HOLOMORPHIC[name](lib, z)
        (g,) = lib.autograd.grad((made * made * (1 - 2j)).real.sum(), z, create_graph=True)
        (h,) = lib.autograd.grad((g * g.conj()).real.sum(), z)
        found.append([made, g, h])
    for a, b in zip(*found, strict=True):
        assert repr(b.dtype) == str(a.dtype)
        expected = a.detach().resolve_conj().numpy()
        np.testing.assert_allclose(b.detach().numpy(), expected, rtol=1e-7, atol=1e-7)


def _hermitian(z: Any) -> Any:
    return z @ z.mH + z.mH @ z


MATRICES: dict[str, Function] = {
    "inv": lambda lib, z: lib.linalg.inv(z),
    "det": lambda lib, z: lib.linalg.det(z),
    "logdet": lambda lib, z: lib.logdet(z),
    "slogdet": lambda lib, z: sum(lib.linalg.slogdet(z)),
    "solve": lambda lib, z: lib.linalg.solve(z, z.mH[:, :2]),
    "triangle": lambda lib, z: lib.linalg.solve_triangular(z, z.mH, upper=True, left=False),
    "cholesky": lambda lib, z: lib.linalg.cholesky(_hermitian(z)),
    "upper cholesky": lambda lib, z: lib.linalg.cholesky(_hermitian(z), upper=True),
    "cholesky_solve": lambda lib, z: lib.cholesky_solve(z, z.tril(-1) + 2 * lib.eye(3)),
    "eigenvalues": lambda lib, z: lib.linalg.eigvalsh(_hermitian(z), "U"),
    "projection": lambda lib, z: _projection(lib.linalg.eigh(_hermitian(z))[1]),
    "qr": lambda lib, z: lib.linalg.qr(z[:, :2]).Q @ lib.linalg.qr(z[:2]).R[:, :3],
    "singular values": lambda lib, z: lib.linalg.svdvals(z),
    "low rank": lambda lib, z: _low_rank(*lib.linalg.svd(z[:, :2], full_matrices=False)),
    "lu": lambda lib, z: lib.linalg.lu(z).L @ lib.linalg.lu(z).U.mH,
    "lu_solve": lambda lib, z: lib.linalg.lu_solve(*lib.linalg.lu_factor(z), z.mH, adjoint=True),
    "matrix_exp": lambda lib, z: lib.linalg.matrix_exp(0.3 * z),
    "pinv": lambda lib, z: lib.linalg.pinv(z[:2]),
    "lstsq": lambda lib, z: lib.linalg.lstsq(z[:, :2], z[:, 2:]).solution,
    "norms": lambda lib, z: sum(lib.linalg.matrix_norm(z, p) for p in ("fro", "nuc", 1, 2)),
    "power": lambda lib, z: lib.linalg.matrix_power(z, -2),
    "renorm": lambda lib, z: lib.renorm(z, 2, 0, 1.0),
}  # fmt: skip


def _projection(v: Any) -> Any:
    return v[:, :1] @ v[:, :1].mH


def _low_rank(u: Any, s: Any, vh: Any) -> Any:
    return s[0] * u[:, :1] @ vh[:1]


@pytest.mark.parametrize("name", MATRICES)
def test_functions_of_complex_matrices_are_pytorchs(name):
    value = leaves_of(7)[0]
    found: list[Any] = []
    for lib in (torch, sg):
        z = lib.tensor(value, requires_grad=True)
        made = MATRICES[name](lib, z)
        grad = lib.autograd.grad((made * (0.7 - 0.4j)).abs().square().sum() + made.real.sum(), z,
                                 create_graph=True)[0]  # fmt: skip
        second = lib.autograd.grad((grad * (1 + 2j)).real.sum(), z)[0]
        found.append([made.detach(), grad.detach(), second])
    for a, b in zip(*found, strict=True):
        assert repr(b.dtype) == str(a.dtype)
        np.testing.assert_allclose(b.numpy(), a.resolve_conj().numpy(), rtol=1e-8, atol=1e-8)


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9}, "Adam": {"amsgrad": True}, "AdamW": {}, "Adagrad": {"initial_accumulator_value": 0.5},
    "Adadelta": {}, "Adamax": {}, "NAdam": {}, "RAdam": {}, "RMSprop": {"centered": True}, "Rprop": {}, "ASGD": {},
    "LBFGS": {"line_search_fn": "strong_wolfe"},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_complex_parameters_go_as_pytorchs(name):
    found: list[Any] = []
    for lib in (torch, sg):
        p = lib.nn.Parameter(lib.tensor([[1 + 2j, 3 - 1j], [0.5j, -1 + 1j]], dtype=lib.complex128))
        q = lib.nn.Parameter(lib.tensor(2 - 1j, dtype=lib.complex128))
        optimizer = getattr(lib.optim, name)([p, q], lr=0.1, **OPTIMIZERS[name])

        def closure(p=p, q=q, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (p * p.conj() * (1 + 0.1 * p.real) + q * p).abs().sum()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        found.append([p.detach().numpy(), q.detach().numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9)


def test_optimizers_of_matrices_refuse_complex_parameters():
    p = sg.nn.Parameter(sg.ones(2, 2, dtype=sg.complex64))
    with pytest.raises(RuntimeError, match="Adafactor does not support complex parameters"):
        sg.optim.Adafactor([p])


PHASES: dict[str, Function] = {
    "eigh": lambda lib, z: lib.linalg.eigh(_hermitian(z))[1].real.sum(),
    "eigh imag": lambda lib, z: (lib.linalg.eigh(_hermitian(z))[1] * (1 + 2j)).imag.sum(),
    "left": lambda lib, z: lib.linalg.svd(z)[0].real.sum(),
    "right": lambda lib, z: lib.linalg.svd(z[:, :2], full_matrices=False)[2].real.sum(),
}
PHASELESS: dict[str, Function] = {
    "lengths": lambda lib, z: lib.linalg.eigh(_hermitian(z))[1].abs()[0, 1],
    "values": lambda lib, z: lib.linalg.eigh(_hermitian(z))[0].sum(),
    "product": lambda lib, z: (lib.linalg.svd(z)[0] @ lib.linalg.svd(z)[2]).real.sum(),
    "polar": lambda lib, z: _low_rank(*lib.linalg.svd(z)).real.sum(),
}


@pytest.mark.parametrize("name", {**PHASES, **PHASELESS})
def test_a_loss_that_depends_on_phases_has_no_derivative(name):
    for lib in (torch, sg):
        if lib is torch and name == "product":  # two calls are two choices of phases there
            continue
        loss = {**PHASES, **PHASELESS}[name]
        z = lib.tensor(leaves_of(7)[0], requires_grad=True)
        if name in PHASELESS:
            loss(lib, z).backward()
            lib.autograd.grad(loss(lib, z), z)
            continue
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"e\^{i phi}"):
                loss(lib, z).backward()
        with pytest.raises(RuntimeError, match=r"e\^{i phi}"):
            lib.autograd.grad(loss(lib, z), z)
