"""What PyTorch refuses is refused, by the same class of error and with a remedy."""

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad.derivation.ascii import to_ascii
from tests.notation import evaluate_formula

torch = pytest.importorskip("torch")

CALLS = {
    "targets int32": lambda m, F: F.cross_entropy(m.ones(2, 3), m.zeros(2, dtype=m.int32)),
    "targets int16": lambda m, F: F.nll_loss(m.ones(2, 3), m.zeros(2, dtype=m.int16)),
    "targets bool": lambda m, F: F.cross_entropy(m.ones(2, 3), m.zeros(2, dtype=m.bool)),
    "targets float": lambda m, F: F.cross_entropy(m.ones(2, 3), m.zeros(2)),
    "soft targets": lambda m, F: F.cross_entropy(m.ones(2, 3), m.ones(2, 1)),
    "outer of a matrix": lambda m, F: m.outer(m.ones(2, 3), m.ones(2)),
    "outer with a matrix": lambda m, F: m.outer(m.ones(2), m.ones(2, 3)),
    "outer of a scalar": lambda m, F: m.outer(m.ones(()), m.ones(2)),
    "split": lambda m, F: m.split(m.ones(2, 3), 1, dim=5),
    "split by sizes": lambda m, F: m.ones(2, 3).split([1, 1], dim=-4),
    "split of a scalar": lambda m, F: m.split(m.ones(()), 1),
    "chunk": lambda m, F: m.chunk(m.ones(2, 3), 2, dim=5),
    "chunk of a scalar": lambda m, F: m.chunk(m.ones(()), 2),
    "tensor_split": lambda m, F: m.tensor_split(m.ones(2, 3), 2, dim=5),
    "unbind": lambda m, F: m.unbind(m.ones(2, 3), dim=5),
    "batch_norm in training": lambda m, F: F.batch_norm(m.ones(3), None, None, training=True),
    "batch_norm": lambda m, F: F.batch_norm(m.ones(3), m.zeros(3), m.ones(3)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_pytorch_refuses_it_too(call):
    with pytest.raises((RuntimeError, ValueError, IndexError)) as theirs:
        call(torch, torch.nn.functional)
    with pytest.raises(sg.SymgradError) as ours:
        call(sg, F)
    assert isinstance(ours.value, type(theirs.value))
    assert ours.value.remedy


def test_the_words_of_pytorch():
    with pytest.raises(IndexError, match=r"expected to be in range of \[-2, 1\], but got 5"):
        sg.split(sg.ones(2, 3), 1, dim=5)
    with pytest.raises(
        RuntimeError, match="expected target dtype to be Long or Byte, but got int32"
    ):
        F.cross_entropy(sg.ones(2, 3), sg.zeros(2, dtype=sg.int32))
    with pytest.raises(RuntimeError, match="Expected 1-D argument vec2, but got 2-D"):
        sg.outer(sg.ones(2), sg.ones(2, 3))


def test_what_stays_allowed():
    logits = sg.tensor([[0.5, 1.0, -1.0], [0.0, 2.0, 1.0]])
    by_class = F.cross_entropy(logits, sg.tensor([0, 2]))
    assert F.cross_entropy(logits, sg.tensor([0, 2], dtype=sg.uint8)).item() == by_class.item()
    soft = F.cross_entropy(logits, sg.tensor([[1.0, 0, 0], [0, 0, 1]]))
    assert soft.item() == pytest.approx(by_class.item())
    assert [p.shape for p in sg.ones(2, 3).split(2, dim=-1)] == [(2, 2), (2, 1)]
    assert [p.tolist() for p in sg.tensor([1, 2]).unbind(-1)] == [1, 2]


def test_formulas_of_polygamma_say_which():
    x = sg.symbol("x", "n")
    first = sg.grad(sg.digamma(x).sum(), x)
    assert str(first.formula()) == "ψ′(x)"
    second = sg.grad(first.sum(), x).formula()
    assert str(second) == "ψ′′(x)"
    assert second.latex() == r"\psi''\left(\mathbf{x}\right)"
    values = {"x": np.array([0.5, 2.0])}
    read = evaluate_formula(second.unicode, values, {"n": 2})
    np.testing.assert_allclose(
        read, torch.polygamma(2, torch.tensor([0.5, 2.0])).numpy(), rtol=1e-5
    )


CONDITIONS = {
    "(x > 0) ∧ (y < 1)": lambda x, y: (x > 0) & (y < 1),
    "(x > 0) ∨ (y < 1)": lambda x, y: (x > 0) | (y < 1),
    "(x > 0) ⊻ (y < 1)": lambda x, y: (x > 0) ^ (y < 1),
    "¬(x > 0)": lambda x, y: ~(x > 0),
    "((x > 0) ∧ (y < 1)) ∨ (x > y)": lambda x, y: ((x > 0) & (y < 1)) | (x > y),
    "¬((x > 0) ∨ (y < 1))": lambda x, y: ~((x > 0) | (y < 1)),
    "(x + y) ⊙ x > y": lambda x, y: (x + y) * x > y,
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_are_read_back(text):
    condition = CONDITIONS[text]
    values = {"x": np.array([-1.0, 0.5, 2, 3]), "y": np.array([0.5, -1, 3, 2])}
    wanted = condition(values["x"], values["y"])
    x, y = sg.symbols("x:n  y:n")
    printed = condition(x, y).float().formula().unicode
    assert printed == f"1[{text}]"
    chosen = sg.where(condition(x, y), x, y).formula().unicode
    for spelled in (str, to_ascii):
        found = evaluate_formula(spelled(printed), values, {"n": 4})
        np.testing.assert_array_equal(found, wanted)
        found = evaluate_formula(spelled(chosen), values, {"n": 4})
        np.testing.assert_array_equal(found, np.where(wanted, values["x"], values["y"]))
