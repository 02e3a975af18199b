"""L-BFGS against PyTorch's: the same path, the same numbers of evaluations."""

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

START = np.array([-1.2, 1.0, 0.5])

CASES = [
    {"lr": 0.2},
    {"lr": 0.5, "history_size": 2, "max_iter": 7},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 1, "max_eval": 9},
    {"line_search_fn": "strong_wolfe", "lr": 3.0},
]


def path(library, options):
    """Losses and parameters of five steps on Rosenbrock's function, and the state."""
    p = library.nn.Parameter(library.tensor(START[:2]))
    q = library.nn.Parameter(library.tensor(START[2:]))
    optimizer = library.optim.LBFGS([p, q], **options)

    def closure():
        optimizer.zero_grad()
        loss = 100 * (p[1] - p[0] ** 2) ** 2 + (1 - p[0]) ** 2 + (q - p[1]).cosh().sum()
        loss.backward()
        return loss

    found = []
    for _ in range(5):
        loss = optimizer.step(closure)
        found.append([float(loss.detach()), *p.detach().numpy(), *q.detach().numpy()])
    return np.array(found), optimizer.state_dict()


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_path_is_pytorchs(options):
    expected, there = path(torch, options)
    found, here = path(sg, options)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert set(here["state"][0]) <= set(there["state"][0])
    for word in ("n_iter", "func_evals"):
        assert here["state"][0][word] == there["state"][0][word]


def test_wrong_calls():
    p = sg.nn.Parameter(sg.ones(2))
    with pytest.raises(ValueError, match="per-parameter options"):
        sg.optim.LBFGS([{"params": [p]}, {"params": [sg.nn.Parameter(sg.ones(1))]}])
    with pytest.raises(TypeError, match="closure"):
        sg.optim.LBFGS([p]).step()
