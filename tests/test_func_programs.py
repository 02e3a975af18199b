"""Random programs under vmap, grad, Jacobians and Hessians against ``torch.func``."""

import random
import warnings

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

# Steps on a vector of 4, in a library t.
STEPS = [
    lambda t, a: a.sin(),
    lambda t, a: a.tanh(),
    lambda t, a: t.softmax(a, -1),
    lambda t, a: a.cumsum(-1),
    lambda t, a: a.flip(-1),
    lambda t, a: a - a.mean(-1, keepdim=True),
    lambda t, a: a.sort(-1)[0],
    lambda t, a: a.roll(1, -1),
    lambda t, a: t.nn.functional.layer_norm(a, (a.shape[-1],)),
    lambda t, a: a * a.sum(),
    lambda t, a: a.square() + 1,
    lambda t, a: t.where(a > 0, a, a * 0.1),
    lambda t, a: a.clamp(-0.5, 0.5),
    lambda t, a: t.cat([a[1:], a[:1]]),
    lambda t, a: a.logsumexp(-1, keepdim=True) + a,
    lambda t, a: t.outer(a, a).sum(0),
    lambda t, a: (t.outer(a, a) + t.eye(4) * 20).inverse() @ a,
    lambda t, a: a.index_select(0, t.tensor([3, 1, 1, 0])),
    lambda t, a: a.view(2, 2).T.reshape(-1),
    lambda t, a: t.stack([a, a * 2]).prod(0),
    lambda t, a: t.nn.functional.pad(a, (1, 1))[1:-1] * 2,
    lambda t, a: a.gather(0, a.argsort()),
    lambda t, a: t.diag(a).sum(0),
    lambda t, a: t.einsum("i,j->ij", a, a).diagonal(),
    lambda t, a: a.unsqueeze(0).expand(3, 4).sum(0),
    lambda t, a: t.nn.functional.gelu(a),
    lambda t, a: a.max() + a,
]
PAIRS = [
    lambda t, a, b: a + b,
    lambda t, a, b: a * b,
    lambda t, a, b: a / (1 + b * b),
    lambda t, a, b: t.maximum(a, b),
    lambda t, a, b: (a @ b) * a,
]


def program(seed):
    """A function of two vectors; the same for every library."""
    draw = random.Random(seed)
    plan = [
        (draw.choice(STEPS), draw.choice(PAIRS), draw.random() < 0.4, draw.random())
        for _ in range(draw.randint(2, 5))
    ]

    def run(t, x, w):
        values = [x, w]
        for step, pair, two, pick in plan:
            a = values[int(pick * len(values))]
            values.append(pair(t, a, values[-1]) if two else step(t, a))
        return values[-1]

    return run


@pytest.mark.parametrize("seed", range(24))
def test_random_programs(seed):
    body = program(seed)
    rng = np.random.default_rng(seed)
    xs, ws = rng.standard_normal((3, 4)).tolist(), rng.standard_normal(4).tolist()

    def results(t):
        x, w = t.tensor(xs, dtype=t.float64), t.tensor(ws, dtype=t.float64)
        func = t.func
        return [
            t.vmap(lambda v: body(t, v, w))(x),
            t.vmap(func.grad(lambda v: body(t, v, w).square().sum()))(x),
            func.jacrev(lambda v: body(t, v, w))(x[0]),
            func.grad(lambda u: t.vmap(lambda v: body(t, v, u).sum())(x).square().sum())(w),
            func.jvp(lambda v: body(t, v, w), (x[0],), (w,))[1],
            func.hessian(lambda v: body(t, v, w).sum())(x[1]),
        ]

    before = torch.get_default_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.set_default_dtype(torch.float64)
            sg.set_default_dtype(sg.float64)
            theirs = [r.numpy() for r in results(torch)]
            ours = [r.numpy() for r in results(sg)]
        finally:
            torch.set_default_dtype(before)
            sg.set_default_dtype(sg.float32)
    for a, b in zip(ours, theirs, strict=True):
        size = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9 * size)
