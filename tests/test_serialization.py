"""Checkpoints: what goes in comes out, in PyTorch's names; pickles and damage are refused."""

import io
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import symgrad as sg
from symgrad import nn
from symgrad.core import dtypes
from symgrad.serialization import SerializationError, dumps, load, loads, save


def through(value):
    return loads(dumps(value))


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d is not dtypes.key],
                         ids=lambda d: d.name)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_every_dtype_and_shape_comes_back(dtype, shape):
    values = (np.random.default_rng(0).standard_normal(shape) * 5).astype(dtype.numpy)
    back = through(sg.Tensor.from_value(values, dtype))
    assert back.dtype is dtype
    assert tuple(back.shape) == shape
    np.testing.assert_array_equal(np.asarray(back), values)


def test_containers_and_numbers_come_back():
    t = sg.arange(3)
    value = {
        "epoch": 3,
        "lr": 0.1,
        "names": ["a", "b"],
        "none": None,
        "flag": True,
        "big": 2**70,
        "pair": (1, 2.5),
        "nan": float("inf"),
        7: {"deep": [t, {"x": t}]},
        "order": OrderedDict(b=1, a=2),
        "dtype": sg.float16,
        "array": np.ones((2, 2)),
        "complex": 1 + 2j,
        "a.b": sg.ones(1),
        "a": {"b": sg.zeros(1)},
    }
    back = through(value)
    assert list(back) == list(value)
    for key in ("epoch", "lr", "names", "none", "flag", "big", "pair", "nan", "order", "dtype",
                "complex"):  # fmt: skip
        assert back[key] == value[key]
        assert type(back[key]) is type(value[key])
    assert back[7]["deep"][0].tolist() == [0, 1, 2]
    assert back[7]["deep"][0] is back[7]["deep"][1]["x"]
    assert isinstance(back["array"], np.ndarray)
    assert back["a.b"].item() == 1
    assert back["a"]["b"].item() == 0


def test_parameters_stay_parameters():
    frozen = nn.Parameter(sg.ones(2), requires_grad=False)
    back = through([nn.Parameter(sg.ones(2)), frozen, sg.ones(1, requires_grad=True), sg.ones(1)])
    assert [type(t).__name__ for t in back] == ["Parameter", "Parameter", "Tensor", "Tensor"]
    assert [t.requires_grad for t in back] == [True, False, True, False]


def test_a_state_dict_is_stored_under_its_own_names(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    path = tmp_path / "model.safetensors"
    save(model.state_dict(), path)
    plain = safetensors.numpy.load_file(path)
    assert set(plain) == set(model.state_dict())
    np.testing.assert_array_equal(plain["0.weight"], np.asarray(model[0].weight))
    twin = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin.load_state_dict(load(path))
    np.testing.assert_array_equal(np.asarray(twin[0].weight), np.asarray(model[0].weight))
    assert list(load(path)) == list(model.state_dict())


def test_weights_go_to_pytorch_and_come_back(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save(ours.state_dict(), tmp_path / "a")
    theirs.load_state_dict(load_file(tmp_path / "a"))
    np.testing.assert_array_equal(theirs.weight.detach(), np.asarray(ours.weight))
    bf16 = {"w": torch.ones(2, dtype=torch.bfloat16) * 1.5}
    save_file(bf16, tmp_path / "b")
    back = load(tmp_path / "b")
    assert back["w"].dtype is sg.bfloat16
    assert np.asarray(back["w"]).astype(ml_dtypes.bfloat16)[0] == 1.5


def test_training_goes_on_from_a_file(tmp_path):
    def begin():
        sg.manual_seed(0)
        model = nn.Linear(2, 1)
        return model, sg.optim.Adam(model.parameters(), lr=0.1)

    def go(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (model(sg.ones(4, 2)) ** 2).mean().backward()
            optimizer.step()

    model, optimizer = begin()
    go(model, optimizer, 3)
    save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
         tmp_path / "c")  # fmt: skip
    go(model, optimizer, 3)
    twin, other = begin()
    state = load(tmp_path / "c")
    assert state["epoch"] == 3
    twin.load_state_dict(state["model"])
    other.load_state_dict(state["optimizer"])
    go(twin, other, 3)
    np.testing.assert_allclose(np.asarray(twin.weight), np.asarray(model.weight), rtol=1e-6)


def test_a_crash_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "m"
    save(sg.ones(2), path)
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        save(sg.zeros(2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    save(sg.ones(1), tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_buffers_and_keyword_arguments_of_pytorch():
    memory = io.BytesIO()
    save(sg.arange(4), memory, pickle_protocol=4)
    memory.seek(0)
    assert load(memory, map_location="cpu", weights_only=True).tolist() == [0, 1, 2, 3]


class Trap:
    """Pickled, it would run a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch /tmp/symgrad_was_here",)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_are_refused_unread(protocol, tmp_path):
    path = tmp_path / "trap.pt"
    path.write_bytes(pickle.dumps(Trap(), protocol))
    with pytest.raises(SerializationError, match=r"(?s)runs the code in it.*safetensors\.torch"):
        load(path)
    assert not Path("/tmp/symgrad_was_here").exists()


def test_pytorchs_own_files_are_refused_with_the_lines_that_convert_them(tmp_path):
    torch = pytest.importorskip("torch")
    weights = {"w": torch.tensor([1.0, 2.0])}
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(SerializationError, match="is a pickle") as refused:
        load(tmp_path / "w.pt")
    told, first, second = str(refused.value).splitlines()
    assert told.endswith("Convert it once, where PyTorch is installed:")
    exec(f"{first.strip()}\n{second.strip()}", {})  # the lines do what they say
    assert load(tmp_path / "w.safetensors")["w"].tolist() == [1.0, 2.0]


def test_a_name_of_pytorchs_pickles_is_taken_with_one_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"m.pt is written as safetensors") as told:
        save({"w": sg.ones(2)}, tmp_path / "m.pt")
    assert len(told) == 1
    assert told[0].filename == __file__
    assert load(tmp_path / "m.pt")["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [object(), lambda: 0, {1, 2}, np.array(["a"]), [Trap()]])
def test_what_would_need_a_pickle_is_refused(value):
    with pytest.raises(SerializationError, match="save:"):
        dumps(value)


def test_a_module_is_refused_with_a_hint():
    with pytest.raises(SerializationError, match=r"\.state_dict\(\)"):
        dumps({"model": nn.Linear(1, 1)})


def test_damaged_files_are_refused():
    good = dumps({"w": sg.ones(2)})
    for bad in (b"", b"hello", good[:20], good[:-1], b"\xff" * 40):
        with pytest.raises(SerializationError, match="is not a safetensors file"):
            loads(bad)
    for structure in ({"dict": 3}, {"tensor": "missing"}, {"code": "x"}, [], {}, {"dict": [[1]]}):
        data = safetensors.numpy.save(
            {"w": np.ones(1)}, {"symgrad.structure": json.dumps(structure)}
        )
        with pytest.raises(SerializationError, match="description of containers"):
            loads(data)
