"""Normalisations and the rarer activations: PyTorch's values, and gradients."""

import numpy as np
import pytest

from symgrad.autodiff import gradient
from symgrad.core import dtypes
from symgrad.core.build import product, reduce_sum
from symgrad.core.expr import symbol
from symgrad.evaluate import evaluate
from symgrad.functional import activation, normalization

torch = pytest.importorskip("torch")
TF = torch.nn.functional
RNG = np.random.default_rng(3)
X, IMAGE = RNG.standard_normal((5, 3)) * 2, RNG.standard_normal((2, 3, 4, 2)) * 2
GAMMA, BETA = RNG.standard_normal(3), RNG.standard_normal(3)
MEAN, VARIANCE = RNG.standard_normal(3), RNG.random(3) + 0.5


def _batch_norm(x, *rest):
    return TF.batch_norm(x, None, None, *rest, training=True)


def _eval_norm(x, mean, variance, gamma, beta):
    """PyTorch's own refuses gradients for the statistics."""
    mean, variance, gamma, beta = (v[None, :, None, None] for v in (mean, variance, gamma, beta))
    return (x - mean) / (variance + 1e-5).sqrt() * gamma + beta


# PyTorch's hardsigmoid and celu hold 1/6 and 1/α in float32 even for float64 inputs
CASES = {
    "batch_norm_train": (normalization.batch_norm_train, _batch_norm, (X, GAMMA, BETA)),
    "batch_norm_train 2d": (normalization.batch_norm_train, _batch_norm, (IMAGE, GAMMA, BETA)),
    "batch_norm_train plain": (normalization.batch_norm_train, _batch_norm, (X,)),
    "batch_norm_eval": (
        normalization.batch_norm_eval, _eval_norm, (IMAGE, MEAN, VARIANCE, GAMMA, BETA)),
    "batch_mean": (normalization.batch_mean, lambda x: x.mean((0, 2, 3)), (IMAGE,)),
    "batch_variance": (normalization.batch_variance, lambda x: x.var((0, 2, 3)), (IMAGE,)),
    "rms_norm": (
        lambda x, w: normalization.rms_norm(x, (3,), w, 1e-3),
        lambda x, w: TF.rms_norm(x, (3,), w, 1e-3), (X, GAMMA)),
    "rms_norm default": (
        lambda x: normalization.rms_norm(x, (4, 2)), lambda x: TF.rms_norm(x, (4, 2)), (IMAGE,)),
    "hardtanh": (
        lambda x: activation.hardtanh(x, -0.5, 1.5), lambda x: TF.hardtanh(x, -0.5, 1.5), (X,)),
    "relu6": (lambda x: activation.relu6(x * 4), lambda x: TF.relu6(x * 4), (X,)),
    "hardsigmoid": (activation.hardsigmoid, lambda x: (x / 6 + 0.5).clamp(0, 1), (X,)),
    "hardswish": (activation.hardswish, TF.hardswish, (X,)),
    "celu": (lambda x: activation.celu(x, 0.7), lambda x: TF.elu(x / 0.7) * 0.7, (X,)),
    "prelu": (activation.prelu, TF.prelu, (X, np.array([0.3]))),
    "prelu by channel": (activation.prelu, TF.prelu, (IMAGE, GAMMA)),
    "softsign": (activation.softsign, TF.softsign, (X,)),
    "tanhshrink": (activation.tanhshrink, TF.tanhshrink, (X,)),
    "softmin": (lambda x: activation.softmin(x, 1), lambda x: TF.softmin(x, 1), (X,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_pytorchs(name):
    ours, theirs, arrays = CASES[name]
    leaves = [symbol(f"x{k}", a.shape, dtypes.float64) for k, a in enumerate(arrays)]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    value, expected = ours(*leaves), theirs(*tensors)
    seed = RNG.standard_normal(expected.shape)
    weight = symbol("w", value.shape, dtypes.float64)
    loss = reduce_sum(product(value, weight), range(value.ndim))
    feeds = {**dict(zip(leaves, arrays, strict=True)), weight: seed}
    got, *slopes = evaluate([value, *gradient(loss, leaves)], feeds)
    np.testing.assert_allclose(got, expected.detach(), rtol=1e-10, atol=1e-12)
    wanted = torch.autograd.grad(expected, tensors, torch.tensor(seed))
    for mine, reference in zip(slopes, wanted, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-10)
