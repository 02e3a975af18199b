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


@pytest.mark.parametrize(("more", "zero", "separate", "mask", "weights"), [
    (True, True, False, "bool", True), (False, True, True, "float", False),
    (True, False, True, "heads", True), (False, False, False, None, True),
])  # fmt: skip
def test_the_function_behind_it_is_pytorchs(more, zero, separate, mask, weights):
    rng = np.random.default_rng(0)
    t, s, n, e, h = 3, 4, 2, 6, 2
    given = {k: rng.standard_normal(shape) for k, shape in {
        "query": (t, n, e), "key": (s, n, e), "value": (s, n, e), "packed": (3 * e, e),
        "bias": (3 * e,), "bias_k": (1, 1, e), "bias_v": (1, 1, e), "out": (e, e), "last": (e,),
    }.items()}  # fmt: skip
    masks = {"bool": rng.random((t, s)) < 0.3, "float": rng.standard_normal((t, s)),
             "heads": rng.standard_normal((n * h, t, s)), None: None}  # fmt: skip
    hidden = np.array([[False, False, False, True], [False, True, False, False]])
    ends = []
    for library in (torch, sg):
        tensors = {k: library.tensor(v, requires_grad=True) for k, v in given.items()}
        q, k, v, packed, bias, bias_k, bias_v, out, last = tensors.values()
        parts = dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), packed.chunk(3),
                         strict=True)) if separate else {}  # fmt: skip
        found, shares = library.nn.functional.multi_head_attention_forward(
            q, k, v, e, h, None if separate else packed, bias, bias_k if more else None,
            bias_v if more else None, zero, 0.0, out, last, need_weights=weights,
            key_padding_mask=library.tensor(hidden) if mask in ("bool", None) else None,
            attn_mask=None if mask is None else library.tensor(masks[mask]),
            use_separate_proj_weight=separate, average_attn_weights=False, **parts,
        )  # fmt: skip
        (found * found).sum().backward()
        grads = [x.grad.numpy() for x in tensors.values() if x.grad is not None]
        ends.append(
            [found.detach().numpy(), *grads, *([shares.detach().numpy()] if weights else [])]
        )
        assert (shares is not None) == weights
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_hint_of_a_causal_mask_needs_the_mask():
    for library in (torch, sg):
        x = library.ones(3, 1, 4)
        layer = library.nn.TransformerEncoderLayer(4, 2, 8)
        with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
            layer(x, is_causal=True)
        decoder = library.nn.TransformerDecoderLayer(4, 2, 8)
        with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
            decoder(x, x, tgt_is_causal=True)
