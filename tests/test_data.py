"""Data sets, samplers and the loader: PyTorch's batches, orders and refusals."""

from typing import NamedTuple

import numpy as np
import pytest

import symgrad as sg
from symgrad.utils import data

torch = pytest.importorskip("torch")


def pairs(n=10):
    return data.TensorDataset(sg.tensor(np.arange(n * 2.0).reshape(n, 2)), sg.arange(n))


def flat(batches):
    return [v for _, y in batches for v in y.tolist()]


class Squares(data.Dataset):
    def __init__(self, n=5):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, k):
        if not 0 <= k < self.n:
            raise IndexError(k)
        return k, float(k * k)


class Stream(data.IterableDataset):
    def __iter__(self):
        return iter(range(5))


# ------------------------------------------------------------------ loader


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 20])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_have_pytorchs_shapes(batch_size, drop_last, workers):
    options = {"batch_size": batch_size, "drop_last": drop_last}
    ours = data.DataLoader(pairs(), num_workers=workers, **options)
    theirs = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(20.0).reshape(10, 2), torch.arange(10)),
        **options,
    )
    assert len(ours) == len(theirs)
    for mine, reference in zip(ours, theirs, strict=True):
        assert type(mine) is list
        for a, b in zip(mine, reference, strict=True):
            np.testing.assert_array_equal(np.asarray(a), b)


def test_shuffling_covers_everything_anew_each_epoch_and_repeats_by_seed():
    loader = data.DataLoader(pairs(40), batch_size=8, shuffle=True)
    sg.manual_seed(0)
    one, two = flat(loader), flat(loader)
    sg.manual_seed(0)
    assert flat(loader) == one
    assert sorted(one) == sorted(two) == list(range(40))
    assert one != two


def test_one_index_per_batch_gives_what_one_per_sample_gives():
    whole, rows = pairs(), data.Subset(pairs(), [7, 1, 3, 2, 9])
    for dataset in (whole, rows):
        quick = list(data.DataLoader(dataset, batch_size=3))
        samples = [dataset[k] for k in range(len(dataset))]
        slow = list(data.DataLoader(samples, batch_size=3))
        for a, b in zip(quick, slow, strict=True):
            assert [t.tolist() for t in a] == [t.tolist() for t in b]
            assert [t.dtype for t in a] == [t.dtype for t in b]


def test_batches_are_copies():
    x = sg.zeros(4, 1)
    (batch,) = next(iter(data.DataLoader(data.TensorDataset(x), batch_size=2)))
    batch += 1
    assert x.sum().item() == 0


def test_gradients_pass_through_a_loader():
    x = sg.ones(4, 1, requires_grad=True)
    for (batch,) in data.DataLoader(data.TensorDataset(x), batch_size=2):
        (batch * 3).sum().backward()
    assert x.grad.tolist() == [[3.0]] * 4


def test_own_datasets_numbers_and_lists():
    (k, v), *_ = data.DataLoader(Squares(), batch_size=3)
    assert k.tolist() == [0, 1, 2]
    assert k.dtype is sg.int64
    assert v.dtype is sg.float64
    assert [b.tolist() for b in data.DataLoader([1.0, 2.0, 3.0], 2)] == [[1.0, 2.0], [3.0]]
    assert list(data.DataLoader(Squares(), batch_size=None))[3] == [3, 9.0]


def test_streams():
    assert [b.tolist() for b in data.DataLoader(Stream(), batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert len(list(data.DataLoader(Stream(), batch_size=2, drop_last=True))) == 2
    with pytest.raises(ValueError, match="unspecified shuffle"):
        data.DataLoader(Stream(), shuffle=True)
    assert list(data.ChainDataset([Stream(), Stream()])) == [*range(5), *range(5)]


def test_own_collation_and_samplers():
    loader = data.DataLoader(Squares(), batch_size=2, collate_fn=len)
    assert list(loader) == [2, 2, 1]
    backwards = data.DataLoader(pairs(), batch_size=4, sampler=range(9, -1, -1))
    assert flat(backwards) == list(range(9, -1, -1))
    uneven = data.DataLoader(pairs(), batch_sampler=[[0], [1, 2, 3]])
    assert [len(y) for _, y in uneven] == [1, 3]
    assert len(uneven) == 2


@pytest.mark.parametrize("options", [
    {"shuffle": True, "sampler": [1]},
    {"batch_sampler": [[1]], "batch_size": 2},
    {"batch_size": None, "drop_last": True},
    {"num_workers": -1},
    {"prefetch_factor": 2},
    {"persistent_workers": True},
    {"timeout": -1},
    {"batch_size": 0},
    {"batch_size": 2.5},
])  # fmt: skip
def test_contradictions_are_refused_as_by_pytorch(options):
    with pytest.raises(ValueError):  # noqa: PT011 - the classes are compared, PyTorch's words differ
        torch.utils.data.DataLoader([1, 2], **options)
    with pytest.raises(ValueError):  # noqa: PT011
        data.DataLoader([1, 2], **options)


def test_errors_of_workers_arrive():
    class Broken(Squares):
        def __getitem__(self, k):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(data.DataLoader(Broken(), num_workers=2))


# ------------------------------------------------------------------ collation


class Pair(NamedTuple):
    a: object
    b: object


def test_collation_goes_into_containers():
    rows = [{"x": np.ones(2, np.float32), "y": Pair(k, "t"), "z": [True, (0.5, sg.ones(1))]}
            for k in range(3)]  # fmt: skip
    batch = data.default_collate(rows)
    assert batch["x"].shape == (3, 2)
    assert isinstance(batch["y"], Pair)
    assert batch["y"].a.tolist() == [0, 1, 2]
    assert batch["y"].b == ("t", "t", "t")
    assert batch["z"][0].dtype is sg.bool
    assert batch["z"][1][1].shape == (3, 1)
    assert data.default_convert({"x": np.ones(2)})["x"].dtype is sg.float64


def test_what_cannot_be_collated_is_refused():
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError, match=r"shapes \[\(1,\), \(2,\)\]"):
        data.default_collate([sg.ones(1), sg.ones(2)])
    with pytest.raises(TypeError, match="found <class 'object'>"):
        data.default_collate([object()])


# ------------------------------------------------------------------ datasets and samplers


def test_tensor_dataset_checks_first_sizes():
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        data.TensorDataset(sg.ones(3), sg.ones(4))


def test_concatenation_and_stacking():
    both = Squares(3) + Squares(2)
    assert len(both) == 5
    assert both[3] == (0, 0.0)
    assert both[-1] == (1, 1.0)
    with pytest.raises(ValueError, match="absolute value"):
        both[-6]
    stacked = data.StackDataset(a=[1, 2], b=[3, 4])
    assert stacked[1] == {"a": 2, "b": 4}
    with pytest.raises(ValueError, match="Size mismatch"):
        data.StackDataset([1], [1, 2])


@pytest.mark.parametrize("lengths", [[7, 3], [0.5, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.25, 0.75]])
def test_random_splits_have_pytorchs_lengths(lengths):
    ours = data.random_split(range(10), lengths)
    theirs = torch.utils.data.random_split(range(10), lengths)
    assert [len(part) for part in ours] == [len(part) for part in theirs]
    assert sorted(v for part in ours for v in part) == list(range(10))


def test_a_split_that_does_not_add_up_is_refused():
    with pytest.raises(ValueError, match="does not equal the length"):
        data.random_split(range(10), [5, 6])


def test_samplers():
    assert list(data.SequentialSampler([5, 6])) == [0, 1]
    assert sorted(data.RandomSampler(range(6))) == list(range(6))
    assert len(list(data.RandomSampler(range(3), num_samples=7))) == 7
    drawn = list(data.RandomSampler(range(3), replacement=True, num_samples=50))
    assert set(drawn) == {0, 1, 2}
    assert sorted(data.SubsetRandomSampler([4, 8])) == [4, 8]
    with pytest.raises(ValueError, match="positive integer"):
        data.BatchSampler(range(3), 0, False)
    with pytest.raises(TypeError, match="replacement"):
        data.RandomSampler(range(3), replacement=1)
