"""Values and derivatives of a function beside PyTorch's, in float64; importing needs PyTorch."""

import numpy as np
import torch

import symgrad as sg

RNG = np.random.default_rng(11)


def drawn(*shape):
    return RNG.standard_normal(shape)


def both(ours, theirs, arrays, tolerance=1e-10):
    """Values, gradients and gradients of a squared gradient agree in float64."""
    mine = [sg.tensor(a, requires_grad=True) for a in arrays]
    reference = [torch.tensor(a, requires_grad=True) for a in arrays]
    value, expected = ours(*mine), theirs(*reference)
    assert tuple(value.shape) == tuple(expected.shape)
    np.testing.assert_allclose(value.detach().numpy(), expected.detach().numpy(), tolerance, 1e-11)
    seed = np.random.default_rng(3).standard_normal(expected.shape)
    found = sg.autograd.grad(
        (value * value * sg.tensor(seed)).sum(), mine, create_graph=True, allow_unused=True
    )
    wanted = torch.autograd.grad(
        (expected * expected * torch.tensor(seed)).sum(), reference, create_graph=True
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), tolerance, 1e-10)
    second = sg.autograd.grad(sum((g * g).sum() for g in found), mine)
    again = torch.autograd.grad(sum((g * g).sum() for g in wanted), reference)
    for a, b in zip(second, again, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), tolerance * 10, 1e-8)
