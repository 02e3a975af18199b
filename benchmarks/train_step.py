"""One training step: symgrad against hand-written JAX and against PyTorch's eager loop.

    python benchmarks/train_step.py [--device cuda] [--steps 200] [--json FILE] [--check]

Two models (2-8-1 with BCEWithLogits and batch 32; 784-128-10 with cross entropy and batch 64), SGD
and Adam. The batch is on the device already. Every contender starts from the same weights, and its
losses over the first steps must agree with the hand-written ones before anything is timed. The loss
is read every tenth step, and in a second table at every step.

Columns:

- hand-written: `jax.jit` of `jax.value_and_grad` and an optax update, buffers donated
- sg.compile:   a PyTorch training step under `@sg.compile`
- sg loop:      PyTorch's five lines, undecorated; loss, logits and gradients readable afterwards
- torch eager:  the same five lines in PyTorch
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _harness
import numpy as np

RATE = {"SGD": 0.05, "Adam": 1e-3}
AGREE = 20
"""Steps whose losses are compared before timing."""


@dataclass(frozen=True)
class Problem:
    """A two-layer perceptron and one batch for it."""

    sizes: tuple[int, int, int]
    batch: int
    binary: bool
    steps: int

    @property
    def name(self) -> str:
        """Sizes with dashes."""
        return "-".join(map(str, self.sizes))

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """One (inputs × outputs) matrix and a bias per layer."""
        rng = np.random.default_rng(1)
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        return [
            ((rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32), np.zeros(b, np.float32))
            for a, b in pairs
        ]

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs, and labels: float32 columns, or int64 class numbers."""
        rng = np.random.default_rng(2)
        x = rng.normal(size=(self.batch, self.sizes[0])).astype(np.float32)
        if self.binary:
            return x, (x[:, :1] * x[:, 1:] > 0).astype(np.float32)
        return x, rng.integers(0, self.sizes[2], self.batch)


PROBLEMS = [
    Problem((2, 8, 1), batch=32, binary=True, steps=500),
    Problem((784, 128, 10), batch=64, binary=False, steps=50),
]

Step = Callable[[], Any]
"""Does one step and returns its loss, unread."""


def hand_written(problem: Problem, optimizer: str, device: str) -> Step:
    """What a careful JAX user writes."""
    import jax
    import jax.numpy as jnp
    import optax

    update = {"SGD": optax.sgd, "Adam": optax.adam}[optimizer](RATE[optimizer])

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        (w1, b1), (w2, b2) = params
        z = jnp.tanh(x @ w1 + b1) @ w2 + b2
        if problem.binary:
            return optax.sigmoid_binary_cross_entropy(z, y).mean()
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        value, slopes = jax.value_and_grad(loss_of)(params, x, y)
        updates, state = update.update(slopes, state, params)
        return optax.apply_updates(params, updates), state, value

    place = jax.devices(device)[0]
    x, y = (jax.device_put(array, place) for array in problem.data())
    params = jax.device_put([(w.copy(), b.copy()) for w, b in problem.weights()], place)
    state = update.init(params)

    def run() -> Any:
        nonlocal params, state
        params, state, value = step(params, state, x, y)
        return value

    return run


def prepared(
    library: Any, nn: Any, optim: Any, problem: Problem, optimizer: str, device: str
) -> Any:
    """Model, loss, optimizer and batch under PyTorch's names, in whichever library has them."""
    d, h, k = problem.sizes
    model = nn.Sequential(nn.Linear(d, h), nn.Tanh(), nn.Linear(h, k)).to(device)
    (w1, b1), (w2, b2) = problem.weights()
    state = {"0.weight": w1.T, "0.bias": b1, "2.weight": w2.T, "2.bias": b2}
    model.load_state_dict({name: library.tensor(value.tolist()) for name, value in state.items()})
    lossf = nn.BCEWithLogitsLoss() if problem.binary else nn.CrossEntropyLoss()
    x, y = (library.tensor(array).to(device) for array in problem.data())
    return model, lossf, getattr(optim, optimizer)(model.parameters(), lr=RATE[optimizer]), x, y


def five_lines(
    library: Any, nn: Any, optim: Any, problem: Problem, optimizer: str, device: str
) -> Step:
    """PyTorch's loop; what it computed stays readable after every step."""
    model, lossf, optimizer_, x, y = prepared(library, nn, optim, problem, optimizer, device)
    kept: list[Any] = []

    def run() -> Any:
        optimizer_.zero_grad()
        logits = model(x)
        loss = lossf(logits, y)
        loss.backward()
        optimizer_.step()
        kept[:] = [logits, loss]
        return loss

    run.readable = lambda: [  # type: ignore[attr-defined]
        t.detach().cpu().numpy() for t in [*kept, *(p.grad for p in model.parameters())]
    ]
    return run


def torch_eager(problem: Problem, optimizer: str, device: str) -> Step:
    """The five lines in PyTorch, one thread."""
    import torch

    torch.set_num_threads(1)
    return five_lines(torch, torch.nn, torch.optim, problem, optimizer, device)


def symgrad_loop(problem: Problem, optimizer: str, device: str) -> Step:
    """The five lines in symgrad, undecorated."""
    import symgrad as sg
    from symgrad import nn, optim

    return five_lines(sg, nn, optim, problem, optimizer, device)


def symgrad_compiled(problem: Problem, optimizer: str, device: str) -> Step:
    """The five lines as one compiled function."""
    import symgrad as sg
    from symgrad import nn, optim

    model, lossf, optimizer_, x, y = prepared(sg, nn, optim, problem, optimizer, device)

    @sg.compile
    def step(x: Any, y: Any) -> Any:
        optimizer_.zero_grad()
        loss = lossf(model(x), y)
        loss.backward()
        optimizer_.step()
        return loss

    return lambda: step(x, y)


BASE = "hand-written"
COLUMNS = {
    BASE: hand_written,
    "sg.compile": symgrad_compiled,
    "sg loop": symgrad_loop,
    "torch eager": torch_eager,
}


def built(problem: Problem, optimizer: str, device: str) -> tuple[dict[str, Step], dict[str, str]]:
    """The contenders that run and agree, and why the others do not."""
    steps: dict[str, Step] = {}
    absent: dict[str, str] = {}
    expected: list[float] = []
    for name, column in COLUMNS.items():
        try:
            step = column(problem, optimizer, device)
            losses = [step().item() for _ in range(AGREE)]
            expected = expected or losses
            np.testing.assert_allclose(losses, expected, rtol=1e-3)
            if hasattr(step, "readable"):
                assert all(np.isfinite(value).all() for value in step.readable())
        except Exception as error:  # a column that cannot run is reported as such
            if name == BASE:
                raise
            absent[f"{problem.name} {optimizer}, {name}"] = f"{type(error).__name__}: {error}"
            continue
        steps[name] = step
    return steps, absent


def reading(step: Step, steps: int, every: int) -> Callable[[], None]:
    """`steps` steps, the loss read at every `every`-th and at the last."""

    def run() -> None:
        for k in range(1, steps + 1):
            loss = step()
            if k % every == 0 or k == steps:
                loss.item()

    return run


def limits_of(problem: Problem, optimizer: str, times: _harness.Times) -> list[_harness.Limit]:
    """What issue and README promise, for the columns that ran."""
    small = problem.binary
    wanted = [
        ("sg.compile", BASE, 1.15 if small else 1.05),
        *([] if small else [("sg loop", BASE, 1.30)]),
        ("sg loop", "torch eager", 1 / 2.5 if small else 1 / 2),
    ]
    return [
        _harness.Limit(f"{problem.name} {optimizer}: {a} / {b}", times.ratio(a, b).median, most)
        for a, b, most in wanted
        if {a, b} <= times.seconds.keys()
    ]


def main() -> int:
    """Measure and print."""
    parser = _harness.options(__doc__, repetitions=25)
    parser.add_argument(
        "--steps", type=int, help="steps per timing; by default as the model is big"
    )
    arguments = parser.parse_args()
    setting = _harness.settle(arguments)
    print(setting)
    figures: list[dict[str, object]] = []
    limits: list[_harness.Limit] = []
    absent: dict[str, str] = {}
    rows: dict[int, list[list[str]]] = {10: [], 1: []}
    for problem in PROBLEMS:
        for optimizer in RATE:
            steps, missing = built(problem, optimizer, arguments.device)
            absent |= missing
            count = arguments.steps or problem.steps
            for every, lines in rows.items():
                runs = {name: reading(step, count, every) for name, step in steps.items()}
                times = _harness.interleaved(runs, arguments.repetitions, units=count)
                line = [f"{problem.name} {optimizer}", _harness.duration(times.time(BASE).median)]
                for name in COLUMNS:
                    if name not in steps:
                        line.append("-")
                        continue
                    ratio = times.ratio(name, BASE)
                    if name != BASE:
                        line.append(_harness.spread(ratio))
                    figures.append(
                        {"model": problem.name, "optimizer": optimizer, "loss read every": every,
                         "column": name, "seconds": times.time(name).median,
                         "ratio": ratio.median, "quartiles": [ratio.low, ratio.high]}
                    )  # fmt: skip
                lines.append(line)
                if every == 10:
                    limits += limits_of(problem, optimizer, times)
    others = [f"{name} /" for name in COLUMNS if name != BASE]
    for every, lines in rows.items():
        title = "loss read every step" if every == 1 else f"loss read every {every}th step"
        print("\n" + _harness.table([title, BASE, *others], lines))
    return _harness.finish(arguments, setting, figures, limits, absent)


if __name__ == "__main__":
    sys.exit(main())
