"""Anomaly detection: the operation and the line that PyTorch names, or none."""

import linecache
import warnings

import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

PROGRAMS = {
    "root of zero": lambda t: (t.sqrt(t.zeros(2, requires_grad=True)) * 0).sum(),
    "root of −1": lambda t: t.sqrt(t.tensor(-1.0, requires_grad=True)),
    "log of −1": lambda t: t.log(t.tensor(-1.0, requires_grad=True)),
    "0 / 0": lambda t: t.zeros(1, requires_grad=True) / t.zeros(1),
    "divided by 0 / 0": lambda t: (t.zeros(1) / t.zeros(1, requires_grad=True)).sum(),
    "power": lambda t: (t.tensor([-1.0], requires_grad=True) ** 0.5).sum(),
    "inf − inf": lambda t: (t.exp(t.tensor([1e4], requires_grad=True)) * 0).sum(),
    "below a view": lambda t: (t.sqrt(t.zeros(2, 2, requires_grad=True).t()[0]) * 0).sum(),
    "layer": lambda t: (t.nn.Linear(2, 2)(t.ones(1, 2) * float("inf")) * 0).sum(),
    "sound": lambda t: t.tanh(t.ones(3, requires_grad=True)).sum(),
    "selected": lambda t: t.where(
        t.tensor([True, False]), t.ones(2), t.log(t.zeros(2, requires_grad=True)) * 0
    ).sum(),
}  # fmt: skip


def outcome(t, program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with t.autograd.set_detect_anomaly(True):
            loss = program(t)
            try:
                loss.backward()
            except RuntimeError as error:
                return str(error).split(" The forward")[0].split(" No forward")[0]
    return "sound"


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_the_first_nan_is_where_pytorch_finds_it(program):
    ours, theirs = outcome(sg, program), outcome(torch, program)
    if "Addmm" in theirs:  # PyTorch counts the bias first, as addmm does; a layer has it last
        ours, theirs = ours.partition(" in its")[0], theirs.partition(" in its")[0]
    assert ours == theirs


def test_the_message_shows_the_line_of_the_forward_call():
    x = sg.zeros(3, requires_grad=True)
    with sg.autograd.set_detect_anomaly(True):
        y = sg.sqrt(x)  # here
        loss = (y * 0).sum()
        with pytest.raises(RuntimeError, match="SqrtBackward0' returned nan") as caught:
            loss.backward()
    assert __file__ in str(caught.value)
    line = int(str(caught.value).split("line ")[1].split("\n")[0])
    assert linecache.getline(__file__, line).strip().endswith("# here")


def test_a_forward_pass_before_says_so():
    x = sg.zeros(3, requires_grad=True)
    loss = (sg.sqrt(x) * 0).sum()
    with (
        sg.autograd.set_detect_anomaly(True),
        pytest.raises(RuntimeError, match="No forward pass information available"),
    ):
        loss.backward()


def test_switches():
    assert not sg.is_anomaly_enabled()
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        block = sg.autograd.detect_anomaly(check_nan=False)
    assert not sg.is_anomaly_enabled()
    with block:
        assert sg.is_anomaly_enabled()
        assert not sg.is_anomaly_check_nan_enabled()
        x = sg.zeros(3, requires_grad=True)
        (sg.sqrt(x) * 0).sum().backward()
        assert x.grad is not None
        assert x.grad.isnan().all()
    assert not sg.is_anomaly_enabled()
    sg.autograd.set_detect_anomaly(True)
    assert sg.is_anomaly_enabled()
    sg.autograd.set_detect_anomaly(False)
    assert not sg.is_anomaly_enabled()


def test_gradients_are_the_same_with_it():
    def run(on):
        sg.manual_seed(0)
        net = sg.nn.Sequential(sg.nn.Linear(3, 4), sg.nn.Tanh(), sg.nn.Linear(4, 1))
        x = sg.randn(5, 3)
        with sg.autograd.set_detect_anomaly(on):
            net(x).square().mean().backward()
        return [
            v for p in net.parameters() if p.grad is not None for v in p.grad.flatten().tolist()
        ]

    assert run(True) == pytest.approx(run(False), rel=1e-5)


def test_a_gradient_of_a_gradient_is_looked_at():
    def run(t):
        x = t.tensor([0.0], requires_grad=True)
        with t.autograd.set_detect_anomaly(True):
            (slope,) = t.autograd.grad((x**1.5).sum(), [x], create_graph=True)
            (slope * 0).sum().backward()

    with pytest.raises(RuntimeError, match="returned nan values"):
        run(sg)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(RuntimeError, match="returned nan values"),
    ):
        run(torch)


def test_autograd_grad_is_looked_at():
    x = sg.zeros(1, requires_grad=True)
    with (
        sg.autograd.set_detect_anomaly(True),
        pytest.raises(RuntimeError, match="SqrtBackward0"),
    ):
        sg.autograd.grad((sg.sqrt(x) * 0).sum(), [x])
