"""Optimizers on tensors: PyTorch's trajectories in the five-line loop, groups, state, refusals."""

import copy

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim

torch = pytest.importorskip("torch")

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "centered": True}),
    ("Adagrad", {"lr": 0.05, "initial_accumulator_value": 0.5, "lr_decay": 0.1}),
    ("Adadelta", {"lr": 0.5}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05}),
    ("Rprop", {"lr": 0.05}),
]
X = np.random.default_rng(0).standard_normal((6, 2))
Y = np.random.default_rng(1).standard_normal((6, 1))


def train(library, name, options, steps=6, groups=False):
    """A tanh network in float64; the path of all parameters, and the optimizer."""
    rng = np.random.default_rng(3)
    model = library.nn.Sequential(
        library.nn.Linear(2, 3), library.nn.Tanh(), library.nn.Linear(3, 1)
    ).to(library.float64)
    with library.no_grad():
        for p in model.parameters():
            p.copy_(library.tensor(rng.standard_normal(tuple(p.shape))))
    params = list(model.parameters())
    given = [{"params": params[:2]}, {"params": params[2:], "lr": 0.02}] if groups else params
    optimizer = getattr(library.optim, name)(given, **options)
    x, y = library.tensor(X), library.tensor(Y)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = library.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        path.append([np.array(p.detach().tolist()) for p in params])
    return path, params, optimizer


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_five_line_loop_takes_pytorchs_path(name, options):
    ours, params, mine = train(sg, name, options)
    theirs, references, reference = train(torch, name, options)
    tolerance = 1e-6 if name == "NAdam" else 1e-9  # PyTorch keeps mu_product in float32
    for a, b in zip(ours, theirs, strict=True):
        for p, q in zip(a, b, strict=True):
            np.testing.assert_allclose(p, q, rtol=tolerance, atol=tolerance)
    for p, q in zip(params, references, strict=True):
        assert set(mine.state[p]) == set(reference.state[q])
        for key, value in reference.state[q].items():
            np.testing.assert_allclose(
                mine.state[p][key].tolist(), value.tolist(), rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("whole", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(("name", "options"), [
    ("Adafactor", {}), ("Adafactor", {"lr": 0.3, "weight_decay": 0.1}),
    ("Muon", {}), ("Muon", {"lr": 0.1, "adjust_lr_fn": "match_rms_adamw"}),
    ("Muon", {"momentum": 0.5, "nesterov": False, "ns_steps": 3}),
])  # fmt: skip
def test_twenty_steps_on_matrices(name, options, whole):
    """Tall and wide matrices; Muon enlarges what is lost in one product of bfloat16 480 times."""
    ends = []
    for library in (sg, torch):
        rng = np.random.default_rng(5)
        first, last = (
            library.nn.Parameter(library.tensor(rng.standard_normal(s))) for s in ((4, 7), (7, 2))
        )
        optimizer = getattr(library.optim, name)([first, last], **options)
        x = library.tensor(rng.standard_normal((5, 4)))

        def step():
            optimizer.zero_grad()  # noqa: B023
            loss = (library.tanh(x @ first) @ last).square().mean()  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return loss

        go = sg.compile(step) if whole and library is sg else step
        losses = [go().item() for _ in range(20)]
        ends.append([losses, first.detach().tolist(), last.detach().tolist()])
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_groups_have_their_own_options():
    ours, _, _ = train(sg, "Adam", {"lr": 0.1}, groups=True)
    theirs, _, _ = train(torch, "Adam", {"lr": 0.1}, groups=True)
    for p, q in zip(ours[-1], theirs[-1], strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_printing_and_group_keys_are_pytorchs(name):
    ours = getattr(optim, name)([nn.Parameter(sg.ones(1))], lr=0.1)
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    assert repr(ours) == repr(theirs)
    assert set(ours.state_dict()["param_groups"][0]) == set(theirs.state_dict()["param_groups"][0])


def test_parameters_of_different_age_keep_their_own_count():
    seen = []
    for library in (sg, torch):
        a, b = (library.nn.Parameter(library.ones(1, dtype=library.float64)) for _ in range(2))
        optimizer = library.optim.Adam([a, b], lr=0.1)
        for k in range(4):
            optimizer.zero_grad()
            loss = (a * 2).sum() if k < 2 else (a * 2 + b * b).sum()
            loss.backward()
            optimizer.step()
        seen.append([a.item(), b.item(), float(optimizer.state[a]["step"]),
                     float(optimizer.state[b]["step"])])  # fmt: skip
    assert seen[0] == pytest.approx(seen[1], rel=1e-12)


def test_a_schedule_needs_no_new_program():
    from symgrad_codegen.compile import cache_info

    p = nn.Parameter(sg.ones(3))
    optimizer = optim.Adam([p], lr=0.1)
    sizes = []
    for k in range(12):
        optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
        optimizer.param_groups[0]["betas"] = (0.9 - 0.01 * k, 0.999)
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
        sizes.append(cache_info()[0])
    assert sizes[4] == sizes[-1]


def test_state_goes_on_after_loading_and_copying():
    _, params, optimizer = train(sg, "Adam", {"lr": 0.1}, steps=3)
    state = copy.deepcopy(optimizer.state_dict())
    values = [p.detach().clone() for p in params]

    def go(params, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            sum((p * p).sum() for p in params).backward()
            optimizer.step()
        return [p.tolist() for p in params]

    expected = go(params, optimizer)
    twins = [nn.Parameter(v.clone()) for v in values]
    other = optim.Adam(twins, lr=0.5)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.1
    assert go(twins, other) == expected
    with pytest.raises(ValueError, match="different number of parameter groups"):
        other.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size"):
        optim.Adam(twins[:1]).load_state_dict(state)


def test_closures_and_hooks():
    p, seen = nn.Parameter(sg.ones(1)), []
    optimizer = optim.SGD([p], lr=0.1)
    before = optimizer.register_step_pre_hook(lambda o, a, k: seen.append("before"))
    optimizer.register_step_post_hook(lambda o, a, k: seen.append("after"))

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert p.item() == pytest.approx(0.8)
    before.remove()
    optimizer.step(closure)
    assert seen == ["before", "after", "after"]


def test_readings_after_the_step_are_those_of_before():
    p = nn.Parameter(sg.tensor([1.0, 2.0]))
    optimizer = optim.SGD([p], lr=0.5)
    for _ in range(4):
        old = np.array(p.tolist())
        optimizer.zero_grad()
        out = p * 3
        aside = p + 1  # not part of the loss, and not read before the step
        loss = (out * out).sum()
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(out.tolist(), old * 3, rtol=1e-6)
        np.testing.assert_allclose(aside.tolist(), old + 1, rtol=1e-6)
        np.testing.assert_allclose(p.grad.tolist(), 18 * old, rtol=1e-6)
        np.testing.assert_allclose(p.tolist(), old - 9 * old, rtol=1e-5)


def test_the_same_optimizer_serves_every_dtype():
    for dtype in (sg.float32, sg.float64, sg.float16, sg.bfloat16):
        p = nn.Parameter(sg.ones(2, dtype=dtype))
        optimizer = optim.Adam([p], lr=0.25)
        for _ in range(3):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        assert p.dtype is dtype
        assert optimizer.state[p]["exp_avg"].dtype is dtype
        assert p.tolist() == pytest.approx([0.26, 0.26], abs=0.03)


# ------------------------------------------------------------------ refusals


def test_bad_parameters_are_refused():
    w = nn.Parameter(sg.ones(1))
    with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts"):
        optim.SGD(w)
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([])
    with pytest.raises(TypeError, match="can only optimize Tensors, but one of the params is int"):
        optim.SGD([3])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([w * 2])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [w]}, {"params": [w]}])
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {w}}])


@pytest.mark.parametrize(("name", "options", "match"), [
    ("SGD", {"lr": -1}, "Invalid learning rate: -1"),
    ("SGD", {"momentum": -1}, "Invalid momentum value: -1"),
    ("SGD", {"nesterov": True}, "Nesterov momentum requires"),
    ("Adam", {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
    ("Adam", {"eps": -1}, "Invalid epsilon value: -1"),
    ("AdamW", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ("Rprop", {"etas": (2, 3)}, "Invalid eta values: 2, 3"),
    ("Adadelta", {"rho": 2}, "Invalid rho value: 2"),
    ("Adafactor", {"d": 0.5}, "Clipping threshold d should be >= 1 but is: 0.5"),
    ("Adafactor", {"beta2_decay": 0.5}, "beta2_decay should be <= 0 but is: 0.5"),
    ("Adafactor", {"eps": (-1.0, 0.1)}, "epsilon1 should be >= 0 but is: -1.0"),
    ("Muon", {}, "Muon only supports 2D parameters whereas we found a parameter with size"),
    ("Muon", {"momentum": -1}, "momentum should be >= 0 but is: -1"),
    ("Muon", {"adjust_lr_fn": "x"}, "Adjust learning rate function x is not supported"),
])  # fmt: skip
def test_bad_options_are_refused_with_pytorchs_words(name, options, match):
    for library in (sg, torch):
        with pytest.raises(ValueError, match=match):
            getattr(library.optim, name)([library.nn.Parameter(library.ones(1))], **options)


def test_options_of_a_class():
    assert optim.Adam.hyper_of(lr=0.1)["lr"] == 0.1
    assert optim.AdamW.hyper_of()["decoupled_weight_decay"] is True
    with pytest.raises(TypeError, match="Adam has no option rate"):
        optim.Adam.hyper_of(rate=0.1)


# ------------------------------------------------------------------ optax

optax = pytest.importorskip("optax")


@pytest.mark.parametrize(("tx", "name", "options"), [
    (lambda: optax.sgd(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    (lambda: optax.adamw(0.1, weight_decay=0.05), "AdamW", {"lr": 0.1, "weight_decay": 0.05}),
])  # fmt: skip
def test_optax_transformations_drive_the_loop(tx, name, options):
    """The same path as the row of the same rule; the state can be saved and taken back."""
    ends = []
    for kind in ("row", "optax"):
        p = nn.Parameter(sg.tensor([1.0, -2.0], dtype=sg.float64))
        make = (lambda q: getattr(optim, name)(q, **options)) if kind == "row" else (
            lambda q: optim.Optax(q, tx())
        )  # fmt: skip
        optimizer = make([p])
        for k in range(6):
            if k == 3:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = make([p])
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            (p * p * p).sum().backward()
            optimizer.step()
        ends.append(p.tolist())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6)


def test_optax_takes_chains_and_missing_gradients_and_refuses_others():
    a, b = nn.Parameter(sg.ones(2)), nn.Parameter(sg.ones(3))
    optimizer = optim.Optax([a, b], optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)))
    (a * 10).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(a.tolist(), [1 - 0.5**0.5] * 2, rtol=1e-5)
    assert b.tolist() == [1.0] * 3
    with pytest.raises(TypeError, match="expected an optax transformation"):
        optim.Optax([a], 0.1)


# ------------------------------------------------------------------ small states in one array


def _loop(library, steps, touch=None):
    """Losses of Adam on a small model, with something done to its state after every step."""
    w = [[0.3, -0.2], [0.1, 0.5]]
    layer = library.nn.Linear(2, 2)
    layer.load_state_dict({"weight": library.tensor(w), "bias": library.tensor([0.1, -0.1])})
    optimizer = library.optim.Adam(layer.parameters(), lr=0.1)
    x = library.tensor([[1.0, 2.0], [-0.5, 0.3], [0.2, -1.0]])
    losses, kept = [], []
    for k in range(steps):
        optimizer.zero_grad()
        loss = (layer(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if touch is not None:
            kept.append(touch(k, optimizer.state[layer.weight], optimizer))
    return losses, kept


def _read(k, state, optimizer):
    return state["exp_avg"].tolist(), state["exp_avg_sq"].sum().item(), state["step"].item()


def _write(k, state, optimizer):
    if k == 2:
        state["exp_avg"].zero_()
    return state["exp_avg"].tolist()


def _replace(k, state, optimizer):
    if k == 2:
        state["exp_avg_sq"] = state["exp_avg_sq"] * 4
    return state["exp_avg_sq"].tolist()


def _hold(k, state, optimizer):
    if k == 1:
        _hold.pending = state["exp_avg"] + 1
        _hold.shown = state["exp_avg"].clone()
    if k == 4:
        return _hold.pending.tolist(), _hold.shown.tolist()
    return None


def _alias(k, state, optimizer):
    if k == 1:
        _alias.seen = state["exp_avg"].detach()
    return _alias.seen.tolist() if k >= 1 else None


def _reload(k, state, optimizer):
    if k == 2:
        optimizer.load_state_dict(optimizer.state_dict())


def _share(k, state, optimizer):
    if k == 1:
        _share.array = state["exp_avg"].numpy()
    return _share.array.tolist() if k >= 1 else None


@pytest.mark.parametrize("touch", [_read, _write, _replace, _hold, _alias, _reload, _share])
def test_states_in_one_array_are_tensors_like_others(touch):
    torch = pytest.importorskip("torch")
    ours, theirs = _loop(sg, 7, touch), _loop(torch, 7, touch)
    for a, b in zip(ours, theirs, strict=True):
        for u, v in zip(a, b, strict=True):
            np.testing.assert_allclose(np.array(_flat(u)), np.array(_flat(v)), rtol=1e-4, atol=1e-6)


def _flat(value):
    if isinstance(value, (list, tuple)):
        return [x for v in value for x in _flat(v)]
    return [] if value is None else [value]


def test_small_parameters_and_states_lie_in_one_array():
    layer = sg.nn.Linear(2, 2)
    optimizer = sg.optim.Adam(layer.parameters())
    layer(sg.ones(1, 2)).sum().backward()
    optimizer.step()
    states = [optimizer.state[p][name] for p in layer.parameters()
              for name in ("exp_avg", "exp_avg_sq")]  # fmt: skip
    held = [t._storage.node.value for t in (*layer.parameters(), *states)]
    assert [v[1] for v in held] == [(0, 4, (2, 2)), (4, 6, (2,)), (6, 10, (2, 2)),
                                    (10, 14, (2, 2)), (14, 16, (2,)), (16, 18, (2,))]  # fmt: skip
    assert len({id(v[0]) for v in held}) == 1


def test_a_compiled_step_renews_the_same_array():
    layer = sg.nn.Linear(2, 2)
    optimizer = sg.optim.Adam(layer.parameters(), lr=0.1)
    twin = sg.nn.Linear(2, 2)
    twin.load_state_dict(layer.state_dict())
    other = sg.optim.Adam(twin.parameters(), lr=0.1)
    x = sg.arange(6.0).reshape(3, 2)

    @sg.compile
    def step(x):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()

    for k in range(6):
        step(x)
        other.zero_grad()
        twin(x).square().sum().backward()
        other.step()
        if k == 3:  # a value from elsewhere, and one that the user holds
            with sg.no_grad():
                for m in (layer, twin):
                    m.bias.copy_(sg.tensor([1.0, 2.0]))
            kept = layer.weight.detach().clone()
            shown = kept.tolist()
    whole = {id(p._storage.node.value[0]) for p in layer.parameters()}
    assert len(whole) == 1
    assert kept.tolist() == shown
    for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
        assert sg.allclose(p, q, atol=1e-6)
