"""Schedulers: the rates of PyTorch's, epoch by epoch, and its complaints."""

import math
import warnings

import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

CASES = {
    "StepLR": lambda s, o: s.StepLR(o, step_size=3, gamma=0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, milestones=[2, 5, 5], gamma=0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=4),
    "LinearLR": lambda s, o: s.LinearLR(o, start_factor=0.2, end_factor=0.7, total_iters=5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, gamma=0.7),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=7, power=1.5),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda e: 1 / (1 + e)),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9 + 0.01 * e),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=4, eta_min=0.05),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(
        o, T_0=3, T_mult=2, eta_min=0.01
    ),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, max_lr=2.0, total_steps=14),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(
        o, max_lr=2.0, epochs=7, steps_per_epoch=2, anneal_strategy="linear", three_phase=True
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 1.0, step_size_up=3, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(
        o, 0.1, 1.0, step_size_up=2, step_size_down=3, mode="exp_range", gamma=0.9
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o,
        [s.ConstantLR(o, factor=0.1, total_iters=2), s.ExponentialLR(o, gamma=0.9),
         s.StepLR(o, 2, 0.5)],
        milestones=[3, 6],
    ),
    "SequentialLR warm-up then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 8)], milestones=[4]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, factor=0.1, total_iters=2), s.ExponentialLR(o, gamma=0.9)]
    ),
}  # fmt: skip


def rates(library, make, steps=13):
    """The rates and momenta of two groups, before each of ``steps`` steps."""
    params = [library.nn.Parameter(library.ones(1)) for _ in range(2)]
    optimizer = library.optim.SGD(
        [{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=1.0, momentum=0.9
    )
    schedule = make(library.optim.lr_scheduler, optimizer)
    seen = []
    for _ in range(steps):
        seen.append([(g["lr"], g["momentum"]) for g in optimizer.param_groups])
        optimizer.step()
        schedule.step()
        assert schedule.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return seen


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_the_rates_are_pytorchs(name):
    ours, theirs = rates(sg, CASES[name]), rates(torch, CASES[name])
    for epoch, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        for a, b in zip(mine, reference, strict=True):
            assert a == pytest.approx(b, rel=1e-12, abs=1e-15), (name, epoch)


def test_every_scheduler_has_a_case():
    known = set(sg.optim.lr_scheduler.__all__) - {"LRScheduler", "ReduceLROnPlateau"}
    assert known == {name.split()[0] for name in CASES}


@pytest.mark.parametrize("options", [
    {"patience": 1, "factor": 0.5},
    {"mode": "max", "patience": 0, "cooldown": 2, "min_lr": 0.05},
    {"threshold": 0.1, "threshold_mode": "abs", "patience": 2, "factor": 0.3},
])  # fmt: skip
def test_plateau_is_pytorchs(options):
    measured = [1.0, 0.8, 0.85, 0.79, 0.79, 0.79, 0.9, 1.2, 1.1, 0.5, 0.5, 0.5, 0.5, 0.5]
    seen = []
    for library in (sg, torch):
        optimizer = library.optim.SGD([library.nn.Parameter(library.ones(1))], lr=1.0)
        schedule = library.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        path = []
        for value in measured:
            schedule.step(value)
            path.append(optimizer.param_groups[0]["lr"])
        seen.append(path)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "OneCycleLR", "SequentialLR"])
@pytest.mark.filterwarnings("ignore")
def test_a_schedule_goes_on_from_its_state(name):
    def begin():
        optimizer = sg.optim.SGD([sg.nn.Parameter(sg.ones(1))], lr=1.0, momentum=0.9)
        return optimizer, CASES[name](sg.optim.lr_scheduler, optimizer)

    def go(optimizer, schedule, steps):
        path = []
        for _ in range(steps):
            optimizer.step()
            schedule.step()
            path.append(optimizer.param_groups[0]["lr"])
        return path

    one = begin()
    go(*one, 4)
    states = one[0].state_dict(), one[1].state_dict()
    expected = go(*one, 5)
    two = begin()
    two[0].load_state_dict(states[0])
    two[1].load_state_dict(states[1])
    assert go(*two, 5) == expected


def test_stepping_in_the_wrong_order_warns():
    optimizer = sg.optim.SGD([sg.nn.Parameter(sg.ones(1))], lr=1.0)
    schedule = sg.optim.lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        schedule.step()


def test_what_cannot_be_scheduled_is_refused():
    optimizer = sg.optim.Rprop([sg.nn.Parameter(sg.ones(1))], lr=1.0)
    schedulers = sg.optim.lr_scheduler
    with pytest.raises(TypeError, match="not an Optimizer"):
        schedulers.StepLR([1], 2)
    with pytest.raises(ValueError, match="total_steps OR"):
        schedulers.OneCycleLR(optimizer, 1.0)
    with pytest.raises(ValueError, match="momentum or beta1"):
        schedulers.OneCycleLR(optimizer, 1.0, total_steps=3)
    with pytest.raises(KeyError, match="initial_lr"):
        schedulers.StepLR(optimizer, 2, last_epoch=3)
    with pytest.raises(ValueError, match="Factor should be"):
        schedulers.ReduceLROnPlateau(optimizer, factor=1.5)
    assert math.isclose(optimizer.param_groups[0]["lr"], 1.0)
