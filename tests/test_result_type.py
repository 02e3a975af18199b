"""The dtype of an operation on two values, against PyTorch's."""

import itertools

import pytest

import symgrad as sg

torch = pytest.importorskip("torch")
NAMES = ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64")


def values(t):
    numbers = [1, 2.5, True]
    return [
        *numbers,
        *(t.ones(2, dtype=getattr(t, n)) for n in NAMES),
        *(t.tensor(1, dtype=getattr(t, n)) for n in NAMES),
    ]


def test_all_pairs_of_values_and_of_dtypes():
    for (a, b), (c, d) in zip(
        itertools.product(values(sg), values(sg)),
        itertools.product(values(torch), values(torch)),
        strict=True,
    ):
        assert str(sg.result_type(a, b)) == str(torch.result_type(c, d)), (c, d)
    for a, b in itertools.product(NAMES, NAMES):
        ours = sg.promote_types(getattr(sg, a), getattr(sg, b))
        assert str(ours) == str(torch.promote_types(getattr(torch, a), getattr(torch, b)))


def test_what_may_be_cast_is_what_pytorch_says():
    torch = pytest.importorskip("torch")
    names = ("bool", "uint8", "int8", "int64", "float16", "float32", "float64", "complex64")
    for a in names:
        for b in names:
            there = torch.can_cast(getattr(torch, a), getattr(torch, b))
            assert sg.can_cast(getattr(sg, a), getattr(sg, b)) is there, (a, b)


def test_a_number_formats_as_a_number():
    assert f"{sg.tensor(1.5)} {sg.tensor(3)} {sg.tensor(2.0):.2f}" == "1.5 3 2.00"
    assert f"{sg.tensor([1.5])}" == "tensor([1.5000])"
    with pytest.raises(TypeError, match=r"Tensor\.__format__"):
        f"{sg.ones(2):.2f}"
