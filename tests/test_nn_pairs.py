"""Modules of several inputs (pairs, triples, targets, lengths) against PyTorch's."""

import numpy as np
import pytest

import symgrad as sg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(1)


def real(*shape):
    return RNG.standard_normal(shape)


SIGN = np.where(real(5) > 0, 1.0, -1.0)
LABELS = np.array([[2, 0, -1, 1], [-1, 0, 1, 2], [3, 1, 0, 2]])
CLASSES = np.array([0, 3, 1])
WEIGHT = np.array([0.5, 1.0, 2.0, 1.5])

BAGS = np.array([[1, 2, 2], [0, 5, 1]])
STARTS = np.array([0, 2, 2, 5])

CASES = [
    (lambda m, t, r: m.MarginRankingLoss(0.3, reduction=r), (real(5), real(5), SIGN)),
    (lambda m, t, r: m.CosineEmbeddingLoss(0.1, reduction=r), (real(5, 3), real(5, 3), SIGN)),
    (lambda m, t, r: m.SoftMarginLoss(reduction=r), (real(5), SIGN.astype(int))),
    (lambda m, t, r: m.MultiMarginLoss(reduction=r), (real(3, 4), CLASSES)),
    (lambda m, t, r: m.MultiMarginLoss(2, 0.7, t(WEIGHT), reduction=r), (real(3, 4), CLASSES)),
    (lambda m, t, r: m.MultiLabelMarginLoss(reduction=r), (real(3, 4), LABELS)),
    (lambda m, t, r: m.MultiLabelSoftMarginLoss(t(WEIGHT), reduction=r),
     (real(3, 4), (real(3, 4) > 0) * 1.0)),
    (lambda m, t, r: m.TripletMarginLoss(0.8, swap=True, reduction=r),
     (real(5, 3), real(5, 3), real(5, 3))),
    (lambda m, t, r: m.TripletMarginWithDistanceLoss(reduction=r),
     (real(5, 3), real(5, 3), real(5, 3))),
    (lambda m, t, r: m.TripletMarginWithDistanceLoss(
        distance_function=lambda a, b: (a - b).abs().sum(-1), swap=True, reduction=r),
     (real(5, 3), real(5, 3), real(5, 3))),
    (lambda m, t, r: m.PoissonNLLLoss(reduction=r), (real(5), np.arange(5.0))),
    (lambda m, t, r: m.PoissonNLLLoss(False, True, reduction=r),
     (np.abs(real(5)), np.arange(1.0, 6.0))),
    (lambda m, t, r: m.GaussianNLLLoss(full=True, eps=0.2, reduction=r),
     (real(4, 3), real(4, 3), np.abs(real(4)))),
    (lambda m, t, r: m.PairwiseDistance(1.5, keepdim=True), (real(5, 3), real(5, 3))),
    (lambda m, t, r: m.CosineSimilarity(), (real(5, 3), real(5, 3))),
    (lambda m, t, r: m.EmbeddingBag(6, 3), (BAGS,)),
    (lambda m, t, r: m.EmbeddingBag(6, 3, mode="max", padding_idx=2), (BAGS,)),
    (lambda m, t, r: m.EmbeddingBag(6, 3, mode="sum"), (BAGS.reshape(-1), STARTS, real(6))),
    (lambda m, t, r: m.EmbeddingBag(6, 3, max_norm=1.0, include_last_offset=True, norm_type=1.0),
     (BAGS.reshape(-1), STARTS)),
    (lambda m, t, r: m.Embedding(6, 3, max_norm=1.0, scale_grad_by_freq=True), (BAGS,)),
    (lambda m, t, r: m.CTCLoss(reduction=r),
     (np.log(RNG.dirichlet(np.ones(4), (5, 2))), np.array([[1, 1, 3], [2, 1, 0]]),
      np.array([5, 4]), np.array([3, 2]))),
    (lambda m, t, r: m.CTCLoss(blank=2, reduction=r, zero_infinity=True),
     (np.log(RNG.dirichlet(np.ones(4), (3, 2))), np.array([1, 1, 3, 3, 0]),
      np.array([3, 3]), np.array([4, 1]))),
    (lambda m, t, r: m.TransformerDecoderLayer(4, 2, 5, 0.0), (real(3, 2, 4), real(5, 2, 4))),
    (lambda m, t, r: m.TransformerDecoderLayer(
        4, 2, 5, 0.0, "gelu", batch_first=True, norm_first=True, bias=False),
     (real(3, 2, 4), real(3, 6, 4), np.triu(np.ones((2, 2), bool), 1))),
    (lambda m, t, r: m.TransformerDecoder(m.TransformerDecoderLayer(4, 2, 5, 0.0), 2,
                                          m.LayerNorm(4)), (real(3, 2, 4), real(5, 2, 4))),
    (lambda m, t, r: m.Transformer(4, 2, 1, 2, 5, 0.0), (real(3, 2, 4), real(5, 2, 4))),
    (lambda m, t, r: m.Bilinear(3, 2, 4), (real(5, 3), real(5, 2))),
    (lambda m, t, r: m.Bilinear(3, 2, 4, bias=False), (real(5, 3), real(5, 2))),
]  # fmt: skip


def run(library, make, reduction, inputs, state):
    """Module, value, gradients of inputs and parameters."""
    module = make(library.nn, library.tensor, reduction).double()
    if state is not None:
        module.load_state_dict({k: library.tensor(v.numpy()) for k, v in state.items()})
    leaves = [library.tensor(v) for v in inputs]
    for leaf in leaves:
        if leaf.is_floating_point():
            leaf.requires_grad_()
    made = module(*leaves)
    (made * made).sum().backward()
    tracked = [*leaves, *module.parameters()]
    return module, made, [t.grad for t in tracked]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_modules_of_several_inputs_are_pytorchs(case, reduction):
    make, inputs = CASES[case]
    theirs, expected, slopes = run(torch, make, reduction, inputs, None)
    ours, found, gradients = run(sg, make, reduction, inputs, theirs.state_dict())
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert tuple(found.shape) == tuple(expected.shape)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 1e-9, 1e-12)
    for g, h in zip(gradients, slopes, strict=True):
        if h is not None:  # PyTorch has no rule for some targets
            np.testing.assert_allclose(g.numpy(), h.numpy(), 1e-8, 1e-11)


WRONG = [
    (ValueError, lambda m, t: m.TripletMarginLoss(margin=0)),
    (ValueError, lambda m, t: m.MultiMarginLoss(p=3)),
    (ValueError, lambda m, t: m.MultiMarginLoss(weight=t([[1.0]]))),
    (ValueError, lambda m, t: m.Softmax2d()(t([1.0, 2.0]))),
    (RuntimeError, lambda m, t: m.GLU()(t([1.0, 2.0, 3.0]))),
    (RuntimeError, lambda m, t: m.MarginRankingLoss()(t([1.0]), t([1.0]), t(1.0))),
    (ValueError, lambda m, t: m.GaussianNLLLoss()(t([1.0, 2.0]), t([1.0, 2.0]), -1.0)),
    (ValueError, lambda m, t: m.GaussianNLLLoss()(t([1.0, 2.0]), t([1.0, 2.0]), t([[1.0]]))),
    (ValueError, lambda m, t: m.SoftMarginLoss(reduction="all")(t([1.0]), t([1.0]))),
    (RuntimeError, lambda m, t: m.functional.softshrink(t([1.0]), -1)),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_wrong_calls_raise_pytorchs_class(case):
    kind, wrong = WRONG[case]
    for library in (torch, sg):
        with pytest.raises(kind):
            np.asarray(wrong(library.nn, library.tensor))
