"""Wrong calls raise an error of PyTorch's class, so that its ``except`` clauses carry over."""

from __future__ import annotations

import pytest

import symgrad as sg

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
    "unknown keyword": lambda t: t.ones(3).sum(axes_of=1),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_same_class(wrong):
    with pytest.raises(Exception) as there:  # noqa: PT011 - the class is what is compared
        wrong(torch)
    with pytest.raises(there.type):
        wrong(sg)
