"""Attention: PyTorch's values, gradients, state dicts and printing."""

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5, 8)).astype(np.float32)
LATER = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1]], bool)


def _twins(make):
    ours, theirs = make(nn), make(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(RNG.standard_normal(p.shape), dtype=p.dtype))
    ours.load_state_dict({k: sg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def _compare(ours, theirs, call):
    x, x_ref = sg.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, y_ref = call(ours, x, sg.tensor), call(theirs, x_ref, torch.tensor)
    np.testing.assert_allclose(y.detach().numpy(), y_ref.detach(), rtol=1e-4, atol=1e-5)
    seed = RNG.standard_normal(y_ref.shape).astype(np.float32)
    (y * sg.tensor(seed)).sum().backward()
    (y_ref * torch.tensor(seed)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), x_ref.grad, rtol=2e-3, atol=2e-4)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", [
    lambda t: {}, lambda t: {"attn_mask": t(LATER)}, lambda t: {"key_padding_mask": t(PADDING)},
], ids=["open", "causal", "padded"])  # fmt: skip
def test_multihead_attention_is_pytorchs(batch_first, masks):
    ours, theirs = _twins(lambda m: m.MultiheadAttention(8, 2, batch_first=batch_first))

    def call(module, x, tensor):
        x = x if batch_first else x.transpose(0, 1)
        out, weights = module(x, x, x, **masks(tensor))
        return out.sum() * 0.1 + (weights * weights).sum() if not batch_first else out

    _compare(ours, theirs, call)


@pytest.mark.parametrize("norm_first", [True, False])
def test_encoders_are_pytorchs(norm_first):
    def make(m):
        layer = m.TransformerEncoderLayer(
            8, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        return m.TransformerEncoder(layer, 2, m.LayerNorm(8), enable_nested_tensor=False)

    _compare(*_twins(make), lambda module, x, tensor: module(x, mask=tensor(LATER)))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="7 is not by 2"):
        nn.MultiheadAttention(7, 2)
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(4, 2, activation="tanh")
