"""Calls that cannot be: PyTorch's words, the call with the user's names, his line, a remedy."""

import linecache
import threading

import numpy as np
import pytest

import symgrad as sg
import symgrad.nn.functional as F
from symgrad import nn

torch = pytest.importorskip("torch")

WRONG = {
    "matrices": (lambda x, w: x @ w, (4, 3), (4, 2)),
    "matrix times vector": (lambda x, w: x @ w, (4, 3), (4,)),
    "vector times matrix": (lambda x, w: x @ w, (4,), (3, 2)),
    "vectors": (lambda x, w: x @ w, (4,), (3,)),
    "batch times matrix": (lambda x, w: x @ w, (2, 4, 3), (4, 2)),
    "batch times vector": (lambda x, w: x @ w, (2, 4, 3), (4,)),
    "batches": (lambda x, w: x @ w, (2, 4, 3), (2, 5, 3)),
    "numbers of batches": (lambda x, w: x @ w, (2, 4, 3), (3, 3, 5)),
    "a number": (lambda x, w: x @ w, (), (3,)),
    "mm": (lambda x, w: x.mm(w), (3, 2), (3, 2)),
    "bmm": (lambda x, w: x.bmm(w), (3, 2, 2), (3, 3, 2)),
    "mv": (lambda x, w: x.mv(w), (3, 2), (3,)),
    "sum": (lambda x, w: x + w, (4, 3), (4,)),
    "difference": (lambda x, w: x - w, (4, 3), (5, 3)),
    "product": (lambda x, w: x * w, (2, 4, 3), (5, 3)),
    "quotient": (lambda x, w: x / w, (2, 4, 3), (5, 3)),
    "comparison": (lambda x, w: x > w, (3,), (4,)),
    "reshape": (lambda x, w: (x.reshape(4, 2), w), (2, 3), ()),
    "view": (lambda x, w: (x.view(-1, 4), w), (2, 3), ()),
    "expand": (lambda x, w: (x.expand(3, 5), w), (3, 2), ()),
    "permute": (lambda x, w: (x.permute(0, 0), w), (3, 2), ()),
    "transpose": (lambda x, w: (x.transpose(0, 5), w), (3, 2), ()),
    "sum over an axis": (lambda x, w: (x.sum(2), w), (3,), ()),
    "index": (lambda x, w: (x[5], w), (3,), ()),
    "indices": (lambda x, w: (x[0, 0, 0], w), (3, 2), ()),
    "float index": (lambda x, w: x[w], (3,), (2,)),
    "mask": (lambda x, w: x[w > 0], (3, 2), (4,)),
}
BY_NAME = {
    "cat": (lambda t, x, w: t.cat([x, w]), (2, 3), (2, 4)),
    "cat of ranks": (lambda t, x, w: t.cat([x, w]), (2, 3), (2,)),
    "stack": (lambda t, x, w: t.stack([x, w]), (2, 3), (2,)),
    "dot": (lambda t, x, w: t.dot(x, w), (3,), (4,)),
    "einsum": (lambda t, x, w: t.einsum("ij,jk->ik", x, w), (2, 3), (2, 3)),
    "where": (lambda t, x, w: t.where(x > 0, x, w), (3,), (4,)),
}
BY_FUNCTION = {
    "linear": (lambda f, x, w: f.linear(x, w), (4, 4), (2, 3)),
    "linear of a vector": (lambda f, x, w: f.linear(x, w), (4,), (2, 3)),
    "linear of a batch": (lambda f, x, w: f.linear(x, w), (5, 4, 4), (2, 3)),
    "mse_loss": (lambda f, x, w: f.mse_loss(x, w), (4, 3), (5, 3)),
    "l1_loss": (lambda f, x, w: f.l1_loss(x, w), (4, 3), (5, 3)),
    "binary_cross_entropy": (lambda f, x, w: f.binary_cross_entropy(x, w), (4,), (4, 1)),
    "bce with logits": (lambda f, x, w: f.binary_cross_entropy_with_logits(x, w), (4,), (4, 1)),
    "cross_entropy": (lambda f, x, w: f.cross_entropy(x, w.long()), (4, 3), (5,)),
    "nll_loss": (lambda f, x, w: f.nll_loss(x, w.long()), (4, 3), (5,)),
}


def cases():
    for name, (call, a, b) in WRONG.items():
        yield pytest.param(lambda t, f, x, w, c=call: c(x, w), a, b, id=name)
    for name, (call, a, b) in BY_NAME.items():
        yield pytest.param(lambda t, f, x, w, c=call: c(t, x, w), a, b, id=name)
    for name, (call, a, b) in BY_FUNCTION.items():
        yield pytest.param(lambda t, f, x, w, c=call: c(f, x, w), a, b, id=name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("call", "a", "b"), list(cases()))
def test_numbers_as_sizes(call, a, b):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch, torch.nn.functional, torch.ones(a), torch.ones(b))
    x, w = sg.ones(a), sg.ones(b)
    with pytest.raises(sg.SymgradError) as ours:
        call(sg, F, x, w)
    assert isinstance(ours.value, type(theirs.value))
    lines = str(ours.value).split("\n")
    assert str(theirs.value).rstrip(".") in lines[0]
    problem = ours.value
    assert problem.call
    assert problem.place.startswith("test_call_errors.py:")
    number = int(problem.place.split(":")[1])
    assert problem.place.endswith(linecache.getline(__file__, number).strip())
    assert problem.remedy.endswith(".")
    assert lines[1:] == ["  " + problem.place, "  " + problem.remedy]
    np.testing.assert_array_equal(x.numpy(), np.ones(a))


LETTERS = {
    "X @ w": (
        lambda x, w: x @ w, "n,d", "k,m",
        "x @ w: x is n×d but w is k×m; the inner sizes d and k are different letters.",
        'Declare w with sizes d,m (sg.symbols("w:d,m")), or say d = k with sg.same("d", "k").',
    ),
    "a number": (
        lambda x, w: x @ w, "n,d", "4",
        "x @ w: x is n×d but w has 4 entries; the inner sizes d and 4 differ.",
        'Declare w with size d (sg.symbols("w:d")), or say d = 4 with sg.same("d", 4).',
    ),
    "transposed": (
        lambda x, w: x @ w, "n,d", "n,k",
        "x @ w: x is n×d but w is n×k; the inner sizes d and n are different letters.",
        'Transpose x: x.T is d×n, or say d = n with sg.same("d", "n").',
    ),
    "of results": (
        lambda x, w: (2 * x) @ w, "n,d", "k",
        ("(2 * x) @ w: 2 * x is n×d but w has k entries; the inner sizes d and k are different "
        "letters."),
        'Declare w with size d (sg.symbols("w:d")), or say d = k with sg.same("d", "k").',
    ),
    "sum": (
        lambda x, w: x + w, "n,d", "k",
        "x + w: x is n×d but w has k entries; the sizes d and k are different letters.",
        'Declare w with size d (sg.symbols("w:d")), or say d = k with sg.same("d", "k").',
    ),
    "sum of columns": (
        lambda x, w: x + w, "n,d", "n",
        "x + w: x is n×d but w has n entries; the sizes d and n are different letters.",
        "Line w up with the first axes: w[..., None].",
    ),
    "linear": (
        F.linear, "n,d", "h,k",
        "linear(x, w): x is n×d but w is h×k; the inner sizes d and k are different letters.",
        'Declare w with sizes h,d (sg.symbols("w:h,d")), or say d = k with sg.same("d", "k").',
    ),
    "cat": (
        lambda x, w: sg.cat([x, w]), "n,d", "n,k",
        ("cat([x, w]): Sizes of tensors must match except in dimension 0. Expected size d but got "
        "size k for tensor number 1 in the list (x is n×d, w is n×k)"),
        "Join them along the axis in which they differ: dim=1.",
    ),
    "loss": (
        F.mse_loss, "n,d", "n,k",
        "mse_loss(x, w): x is n×d but w is n×k; the sizes d and k are different letters.",
        'Declare w with sizes n,d (sg.symbols("w:n,d")), or say d = k with sg.same("d", "k").',
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", LETTERS)
def test_letters_as_sizes(name):
    call, a, b, first, remedy = LETTERS[name]
    x, w = sg.symbol("x", a), sg.symbol("w", b)
    with pytest.raises(sg.ShapeError) as problem:
        call(x, w)
    lines = str(problem.value).split("\n")
    assert lines[0] == first
    assert lines[2] == "  " + remedy


def test_names_of_parameters():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(4, 2))
    data = sg.ones(7, 3)
    with pytest.raises(sg.ShapeError) as problem:
        model(data)
    assert "mat1 and mat2 shapes cannot be multiplied (7x5 and 4x2)" in str(problem.value)
    assert "1.weight is 2×4" in str(problem.value)
    assert "model(data)" in problem.value.place


# ------------------------------------------------------------------------------- equal letters


def test_equal_letters():
    X, w = sg.symbols("X:n,d  w:k")
    values = np.arange(6.0).reshape(2, 3).astype(np.float32), np.ones(3, np.float32)
    with sg.same("d", "k"):
        value = (X @ w).pow(2).sum()
    for _ in range(2):  # what was computed under a declaration keeps it
        assert str(sg.grad(value, w).formula()) == "2 Xᵀ X w"
        assert "w: d" in str(sg.derive(value))
        found = sg.compile([value])(*values)
        np.testing.assert_allclose(np.asarray(found[0] if isinstance(found, tuple) else found), 153)
    with pytest.raises(sg.ShapeError, match="d and k are different letters"):
        X @ w


def test_equal_letters_of_later_symbols_and_numbers():
    declared = sg.same("d", "k"), sg.same("k", 3)
    try:
        assert tuple(sg.symbol("v", "k,m,d").shape)[0::2] == (3, 3)
        with pytest.raises(sg.ShapeError, match=r"same\('d', 4\): 3 and 4 would be equal"):
            sg.same("d", 4)
        assert (sg.symbol("X", "n,d") @ sg.ones(3)).ndim == 1
    finally:
        for each in (*declared, *declared):
            each.undo()
    assert str(sg.symbol("v", "k").shape) == "torch.Size([k])"


def test_equal_letters_in_threads():
    problems = []

    def work(a, b):
        try:
            for _ in range(200):
                with sg.same(a, b):
                    assert (sg.symbol("X", f"n,{a}") @ sg.symbol("w", b)).ndim == 1
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(f"a{k}", f"b{k}")) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems


def test_what_same_takes():
    for wrong in (("d",), ("d", "n k"), ()):
        with pytest.raises(sg.ShapeError, match="two or more size letters"):
            sg.same(*wrong)
