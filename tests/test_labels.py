"""Products whose labels are numbered at once are the nodes that the long way makes."""

import random

import pytest

from symgrad.core import dtypes, kinds
from symgrad.core.build import elementwise, power
from symgrad.core.expr import symbol
from symgrad.core.sizes import letter
from symgrad.errors import DTypeError, ShapeError

SIZES = [letter("n"), letter("m"), 3, 1]


def drawn(seed):
    """Factors, labels, result labels and sizes; some of them wrong or with more to do."""
    rng = random.Random(seed)
    size = {x: rng.choice(SIZES[: rng.choice([2, 3, 4])]) for x in range(5)}
    factors, labels = [], []
    for _ in range(rng.randint(1, 3)):
        ls = [rng.randrange(5) for _ in range(rng.randint(0, 3))]
        shape = tuple(size[x] if rng.random() < 0.98 else rng.choice(SIZES) for x in ls)
        leaf = symbol(rng.choice("ABC"), shape, dtypes.float64, rng.randrange(2))
        form = rng.choice([lambda e: e] * 3 + [lambda e: elementwise("tanh", e), lambda e: 2 * e,
                           lambda e: e * e, lambda e: power(e, -1), lambda e: e.T])  # fmt: skip
        made = form(leaf)
        factors.append(made)
        labels.append(ls[::-1] if made.shape != leaf.shape else ls)
    free = sorted({x for ls in labels for x in ls})
    out = rng.sample(free, rng.randint(0, min(len(free), 3)))
    out += [rng.choice(range(5))] * (rng.random() < 0.1)
    extra = {x: size[x] for x in range(6) if x in size and (x in out or rng.random() < 0.05)}
    return factors, labels, out, extra if rng.random() < 0.7 else None


def made(case):
    factors, labels, out, sizes = case
    try:
        return kinds.contract(factors, [list(ls) for ls in labels], out, sizes)
    except (ShapeError, DTypeError, KeyError) as error:
        return type(error), str(error)


def test_labels_numbered_at_once_are_those_of_the_long_way(monkeypatch):
    at_once = 0
    short = kinds._plain
    for seed in range(4000):
        case = drawn(seed)
        got = made(case)
        monkeypatch.setattr(kinds, "_plain", lambda *_: None)
        want = made(case)
        monkeypatch.setattr(kinds, "_plain", short)
        assert got is want or got == want, (seed, case)
        if not isinstance(want, tuple):
            assert getattr(got, "sums", None) == want.sums
            at_once += short(*case, None) is not None
    assert at_once > 1000


@pytest.mark.parametrize(("labels", "out"), [([[0, 1], [1, 2]], [0, 2]), ([[0, 1]], [1, 0])])
def test_products_of_different_dtypes_are_refused(labels, out):
    n = letter("n")
    leaves = [symbol("A", (n, n), dtypes.float64), symbol("B", (n, n), dtypes.float32)]
    if len(labels) == 2:
        with pytest.raises(DTypeError):
            kinds.contract(leaves, labels, out)
    else:
        with pytest.raises(DTypeError):
            kinds.contract(leaves[:1], labels, out, None, dtypes.float32)
