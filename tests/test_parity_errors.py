"""Wrong calls raise an error of PyTorch's class, so that its ``except`` clauses carry over."""

from __future__ import annotations

import pytest

import symgrad as sg
from tests.error_calls import CALLS

torch = pytest.importorskip("torch")

WRONG = {
    "sum over a dim out of range": lambda t: t.ones(2, 3).sum(5),
    "softmax over a dim out of range": lambda t: t.softmax(t.ones(2, 3), 2),
    "cat of different sizes": lambda t: t.cat([t.ones(2, 3), t.ones(3, 2)]),
    "cat of nothing": lambda t: t.stack([]),
    "cat along a dim out of range": lambda t: t.cat([t.ones(2), t.ones(2)], 3),
    "product of sizes that differ": lambda t: t.ones(2, 3) @ t.ones(2, 3),
    "product of dtypes": lambda t: t.ones(2, 2) @ t.ones(2, 2, dtype=t.float64),
    "shapes that do not broadcast": lambda t: t.ones(2, 3) + t.ones(2),
    "reshape to another count": lambda t: t.ones(2, 3).reshape(4, 2),
    "expand an axis that is there": lambda t: t.ones(2, 3).expand(4, 3),
    "permute twice": lambda t: t.ones(2, 3).permute(0, 0),
    "unsqueeze out of range": lambda t: t.ones(2).unsqueeze(4),
    "index out of range": lambda t: t.ones(3)[7],
    "too many indices": lambda t: t.ones(3)[0, 0],
    "mean of integers": lambda t: t.ones(3, dtype=t.int64).mean(),
    "gradient of integers": lambda t: t.ones(3, dtype=t.int64).requires_grad_(),
    "minus of truth values": lambda t: t.tensor([True]) - t.tensor([True]),
    "topk of more than there are": lambda t: t.ones(3).topk(5),
    "inverse of a wide matrix": lambda t: t.linalg.inv(t.ones(2, 3)),
    "determinant of a vector": lambda t: t.linalg.det(t.ones(2)),
    "trace of a vector": lambda t: t.trace(t.ones(3)),
    "contracted sizes differ": lambda t: t.tensordot(t.ones(2, 3), t.ones(2, 3), 1),
    "shuffle of a matrix": lambda t: t.nn.functional.pixel_shuffle(t.ones(2, 2), 2),
    "fliplr of a vector": lambda t: t.fliplr(t.ones(2)),
    "narrow beyond the end": lambda t: t.ones(3).narrow(0, 2, 4),
    "gather by floats": lambda t: t.ones(3).gather(0, t.ones(3)),
    "qr in no known mode": lambda t: t.linalg.qr(t.ones(2, 2), mode="half"),
    "item of several": lambda t: t.ones(3).item(),
    "backward of several": lambda t: t.ones(3, requires_grad=True).backward(),
    "quantile beyond 1": lambda t: t.ones(3).quantile(1.5),
    "quantile of integers": lambda t: t.ones(3, dtype=t.int64).quantile(0.5),
    "quantile by another dtype": lambda t: t.ones(3).quantile(t.ones(1, dtype=t.float64)),
    "quantile in no known way": lambda t: t.ones(3).quantile(0.5, interpolation="up"),
    "quantile of nothing": lambda t: t.ones(0).quantile(0.5),
    "kthvalue of more than there are": lambda t: t.ones(3).kthvalue(5),
    "mode of an axis of size 0": lambda t: t.ones(2, 0).mode(1),
    "cummax over a dim out of range": lambda t: t.ones(3).cummax(2),
    "no bins": lambda t: t.ones(3).histc(0),
    "bins backwards": lambda t: t.ones(3).histc(4, 2, 1),
    "covariance of a cube": lambda t: t.ones(2, 2, 2).cov(),
    "covariance with half counts": lambda t: t.ones(2, 2).cov(fweights=t.ones(2)),
    "covariance with too few weights": lambda t: t.ones(2, 3).cov(aweights=t.ones(2)),
    "correlation of a cube": lambda t: t.ones(2, 2, 2).corrcoef(),
    "trapezoid at too few points": lambda t: t.trapezoid(t.ones(2, 3), t.ones(2)),
    "renorm of a vector": lambda t: t.ones(3).renorm(2, 0, 1.0),
    "renorm to less than nothing": lambda t: t.ones(3, 3).renorm(2, 0, -1.0),
    "nanmean of integers": lambda t: t.ones(3, dtype=t.int64).nanmean(),
    "nuclear norm of a vector": lambda t: t.ones(3).norm("nuc"),
    "a reduction that is not there": lambda t: t.ones(3).scatter_reduce(
        0, t.zeros(3, dtype=t.int64), t.ones(3), "most"
    ),
    "scattering another dtype": lambda t: t.ones(3).scatter_reduce(
        0, t.zeros(3, dtype=t.int64), t.ones(3, dtype=t.float64), "sum"
    ),
    "more positions than entries": lambda t: t.ones(3).scatter_reduce(
        0, t.zeros(5, dtype=t.int64), t.ones(3), "sum"
    ),
    "index_reduce with a sum": lambda t: t.ones(3).index_reduce(
        0, t.zeros(3, dtype=t.int64), t.ones(3), "sum"
    ),
    "index_reduce at a matrix": lambda t: t.ones(3).index_reduce(
        0, t.zeros(3, 1, dtype=t.int64), t.ones(3), "mean"
    ),
    "masked_scatter by numbers": lambda t: t.ones(3).masked_scatter(t.ones(3), t.ones(3)),
    "searches in a number": lambda t: t.searchsorted(t.tensor(1.0), t.ones(2)),
    "searches among other batches": lambda t: t.searchsorted(t.ones(2, 3), t.ones(3, 1)),
    "searches on both sides": lambda t: t.searchsorted(
        t.ones(3), t.ones(2), right=True, side="left"
    ),
    "searches on no side": lambda t: t.searchsorted(t.ones(3), t.ones(2), side="up"),
    "buckets of a matrix": lambda t: t.bucketize(t.ones(3), t.ones(2, 2)),
    "unknown keyword": lambda t: t.ones(3).sum(axes_of=1),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_same_class(wrong):
    with pytest.raises(Exception) as there:  # noqa: PT011 - the class is what is compared
        wrong(torch)
    with pytest.raises(there.type):
        wrong(sg)


OPEN: set[str] = set()
"""Calls that raise nothing here, or another class; what is mended leaves the set."""

KEPT = {
    "creation: cuda absent": "PyTorch built without CUDA asserts; built with it, RuntimeError",
    "modules: lstm no pair": "PyTorch takes the pair apart, and stumbles over an index",
}
"""Calls that raise another class here, and why."""

OWN = {torch.linalg.LinAlgError: sg.linalg.LinAlgError}
"""Classes that each library has for itself."""


@pytest.mark.parametrize(("family", "call"), [(f, c) for f, rows in CALLS.items() for c in rows])
def test_the_same_class_by_family(family, call):
    with pytest.raises(Exception) as there:  # noqa: PT011 - the class is what is compared
        CALLS[family][call](torch)
    try:
        made = CALLS[family][call](sg)
        if hasattr(made, "tolist"):
            made.tolist()
    except Exception as here:  # noqa: BLE001 - the class is what is compared
        same = isinstance(here, OWN.get(there.type, there.type))
    else:
        same = False
    assert same == (f"{family}: {call}" not in OPEN | KEPT.keys())


@pytest.mark.parametrize(("call", "message"), [
    (lambda t: t.zeros(2).gather(0, t.tensor([5])), r"index 5 is out of bounds .* of size 2"),
    (lambda t: t.ones(2).index_select(0, t.tensor([-1])), "index -1 is out of bounds"),
    (lambda t: t.nn.functional.embedding(t.tensor([3]), t.ones(3, 2)), "index 3 is out of"),
    (lambda t: t.nn.functional.one_hot(t.tensor([0, -2]), 3), "index -2 is out of bounds"),
    (lambda t: t.take(t.ones(2, 2), t.tensor([-5])), "index -5 is out of bounds"),
])  # fmt: skip
def test_known_positions_are_looked_at_when_the_call_is_made(call, message):
    with pytest.raises(sg.errors.PositionError, match=message):
        call(sg)
    with pytest.raises((IndexError, RuntimeError)):
        call(torch)


def test_computed_numbers_are_looked_at_when_numpy_evaluates():
    index = sg.tensor([1]) * 4
    rows = sg.nn.functional.embedding(index, sg.ones(3, 2))
    with pytest.raises(sg.errors.PositionError, match=r"embedding.*index 4 is out of bounds"):
        rows.tolist()
    loss = sg.nn.functional.binary_cross_entropy(sg.ones(2) * 3, sg.ones(2))
    for _ in range(2):  # not only the first time
        with pytest.raises(RuntimeError, match=r"between 0 and 1, but one is 3\.0"):
            loss.item()


def test_a_singular_matrix_raises_where_numpy_evaluates_and_is_not_finite_compiled():
    with pytest.raises(sg.linalg.LinAlgError, match="inv of 2×2: Singular matrix"):
        sg.linalg.inv(sg.zeros(2, 2)).tolist()
    f = sg.compile(sg.linalg.inv)
    assert not f(sg.zeros(2, 2)).isfinite().any()
