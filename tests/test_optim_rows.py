"""Update rows: PyTorch's own trajectories to 1e-12 in float64, and optax's where it has the rule."""

import numpy as np
import pytest

from symgrad.core import dtypes
from symgrad.core.expr import symbol
from symgrad.evaluate import evaluate
from symgrad.optim import rules

torch = pytest.importorskip("torch")

START = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -0.125]])


def gradients(steps):
    """A fixed stream of gradients, with a zero and a change of sign in it."""
    rng = np.random.default_rng(7)
    stream = rng.standard_normal((steps, *START.shape))
    stream[1, 0, 0] = 0.0
    stream[2] *= -1
    return stream


def flat(options):
    """PyTorch's keyword arguments as a row's hyper-parameters."""
    flat_options = {}
    for key, value in options.items():
        names = {"betas": ("beta1", "beta2"), "etas": ("etaminus", "etaplus"),
                 "step_sizes": ("smallest", "largest"), "ns_coefficients": ("a", "b", "c"),
                 "eps": ("eps1", "eps2") if isinstance(value, tuple) else None}.get(key)  # fmt: skip
        flat_options.update(zip(names, value, strict=True) if names else {key: value})
    return flat_options


def row_trajectory(row, options, steps=6, dtype=dtypes.float64, symbolic=()):
    """Run a row by NumPy; ``symbolic`` hyper-parameters and the step enter as inputs."""
    hyper = {**row.defaults, **flat(options)}
    p, g = (symbol(n, START.shape, dtype) for n in "pg")
    count = symbol("t", (), dtypes.int64)
    state = {k: symbol(k, s, dtype) for k, (s, _) in row.init(START.shape, hyper).items()}
    inputs = {k: symbol(k, (), dtypes.float64) for k in symbolic}
    new_p, new_state = row.update(p, g, state, {**hyper, **inputs}, count)
    value = START.astype(dtype.numpy)
    memory = {k: np.full(s, v) for k, (s, v) in row.init(START.shape, hyper).items()}
    path = []
    for t, grad in enumerate(gradients(steps), start=1):
        feeds = {p: value, g: grad, count: np.array(t)}
        feeds |= {state[k]: memory[k] for k in state}
        feeds |= {inputs[k]: np.array(float(hyper[k])) for k in symbolic}
        value, *rest = evaluate([new_p, *new_state.values()], feeds)
        memory = dict(zip(new_state, rest, strict=True))
        path.append(value)
    return np.array(path), memory


def torch_trajectory(make, steps=6, dtype="float64"):
    torch.set_default_dtype(getattr(torch, dtype))  # of the numbers in its state
    try:
        w = torch.nn.Parameter(torch.tensor(START, dtype=getattr(torch, dtype)))
        opt = make([w])
        path = []
        for grad in gradients(steps):
            w.grad = torch.tensor(grad, dtype=w.dtype)
            opt.step()
            path.append(w.detach().numpy().copy())
    finally:
        torch.set_default_dtype(torch.float32)
    return np.array(path), opt.state[w]


CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "dampening": 0.1, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.9)}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.9, "beta2_decay": -0.5, "eps": (0.5, 0.1), "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.3, "d": 2.0, "maximize": True}),
    ("Muon", {}),
    ("Muon", {"lr": 0.1, "nesterov": False, "weight_decay": 0.0, "ns_steps": 2}),
    ("Muon", {"lr": 0.1, "momentum": 0.5, "adjust_lr_fn": "match_rms_adamw"}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.2, "amsgrad": True, "maximize": True}),
    ("ASGD", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.05, "alpha": 0.5, "t0": 2, "weight_decay": 0.1}),
    ("ASGD", {"lr": 0.1, "t0": 0, "maximize": True}),
    ("RMSprop", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "maximize": True}),
    ("Adagrad", {"lr": 0.05}),
    ("Adagrad", {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1,
                 "initial_accumulator_value": 0.5, "maximize": True}),
    ("Adadelta", {"lr": 0.5}),
    ("Adadelta", {"rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"momentum_decay": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("NAdam", {"betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Rprop", {"lr": 0.05}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.05, 0.2), "maximize": True}),
]  # fmt: skip
ROWS = {row.name: row for row in rules.ROWS}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_row_takes_pytorchs_path(name, options):
    steps = 12 if name == "RAdam" else 6
    ours, memory = row_trajectory(ROWS[name], options, steps)
    theirs, state = torch_trajectory(lambda p: getattr(torch.optim, name)(p, **options), steps)
    # torch keeps `step` and `mu_product` in float32, the rest in float64
    tolerance = 1e-7 if name == "NAdam" else 1e-12
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    names = {k for k in state if k != "step"}
    assert names == set(memory)
    for key in names:
        np.testing.assert_allclose(memory[key], state[key], rtol=tolerance, atol=tolerance)


def test_every_row_has_a_case():
    assert {name for name, _ in CASES} == set(ROWS)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_hyper_parameters_may_be_inputs(name, options):
    row = ROWS[name]
    moving = [
        k for k, v in row.defaults.items()
        if not isinstance(v, bool | None) and k not in (*row.switches, *row.choices, "initial_accumulator_value")
    ]  # fmt: skip
    fixed, _ = row_trajectory(row, options)
    given, _ = row_trajectory(row, options, symbolic=moving)
    np.testing.assert_allclose(given, fixed, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam"])
def test_bias_corrections_keep_single_precision(name):
    """1 − 0.999ᵗ in float32 as typed would be wrong in the fifth digit."""
    ours, _ = row_trajectory(ROWS[name], {"lr": 0.1}, dtype=dtypes.float32)
    theirs, _ = torch_trajectory(lambda p: getattr(torch.optim, name)(p, lr=0.1), dtype="float32")
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("name", "alias", "options"), [
    ("SGD", "sgd", {"momentum": 0.9, "nesterov": True}),
    ("SGD", "sgd", {"momentum": 0.9}),
    ("Adam", "adam", {}),
    ("AdamW", "adamw", {"weight_decay": 0.1}),
    ("Adamax", "adamax", {}),
])  # fmt: skip
def test_the_row_takes_optaxs_path(name, alias, options):
    optax = pytest.importorskip("optax")
    import jax

    renamed = {{"betas": "b"}.get(k, k): v for k, v in options.items()}
    with jax.enable_x64(True):
        tx = getattr(optax, alias)(0.1, **renamed)
        value = jax.numpy.asarray(START)
        memory = tx.init(value)
        path = []
        for grad in gradients(6):
            change, memory = tx.update(jax.numpy.asarray(grad), memory, value)
            value = optax.apply_updates(value, change)
            path.append(np.asarray(value))
    ours, _ = row_trajectory(ROWS[name], {"lr": 0.1, **options})
    np.testing.assert_allclose(ours, path, rtol=1e-7, atol=1e-7)
