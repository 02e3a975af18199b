"""Modules: registration, walks, state dicts, hooks, printing; every layer and loss against PyTorch."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn

torch = pytest.importorskip("torch")


class Net(nn.Module):
    """2 → 8 → 1."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(2, 8)
        self.act = nn.Tanh()
        self.fc2 = nn.Linear(8, 1)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


# ------------------------------------------------------------------ against PyTorch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 4)).astype(np.float32)
IMAGE = RNG.standard_normal((3, 4, 5, 2)).astype(np.float32)
WORDS = np.array([[1, 2, 0], [4, 0, 3]])

LAYERS = [
    (lambda m: m.Linear(4, 3), X),
    (lambda m: m.Linear(4, 3, bias=False), X),
    (lambda m: m.Identity(), X),
    (lambda m: m.Flatten(), IMAGE),
    (lambda m: m.Flatten(0, 1), IMAGE),
    (lambda m: m.Unflatten(1, (2, 2)), X),
    (lambda m: m.Embedding(5, 3, padding_idx=0), WORDS),
    (lambda m: m.Dropout(0.0), X),
    (lambda m: m.ReLU(), X),
    (lambda m: m.ReLU6(), X),
    (lambda m: m.Tanh(), X),
    (lambda m: m.Sigmoid(), X),
    (lambda m: m.LogSigmoid(), X),
    (lambda m: m.GELU(), X),
    (lambda m: m.GELU(approximate="tanh"), X),
    (lambda m: m.SiLU(), X),
    (lambda m: m.Mish(), X),
    (lambda m: m.ELU(0.7), X),
    (lambda m: m.CELU(0.7), X),
    (lambda m: m.SELU(), X),
    (lambda m: m.LeakyReLU(0.2), X),
    (lambda m: m.PReLU(), X),
    (lambda m: m.PReLU(4), IMAGE),
    (lambda m: m.Hardtanh(-0.5, 0.5), X),
    (lambda m: m.Hardsigmoid(), X),
    (lambda m: m.Hardswish(), X),
    (lambda m: m.Softplus(2.0), X),
    (lambda m: m.Softsign(), X),
    (lambda m: m.Tanhshrink(), X),
    (lambda m: m.Softmax(dim=1), X),
    (lambda m: m.LogSoftmax(dim=0), X),
    (lambda m: m.Softmin(dim=1), X),
    (lambda m: m.Softmax2d(), IMAGE),
    (lambda m: m.GLU(), X),
    (lambda m: m.GLU(dim=1), IMAGE),
    (lambda m: m.Threshold(0.1, -2.0), X),
    (lambda m: m.Softshrink(0.3), X),
    (lambda m: m.Hardshrink(0.3), X),
    (lambda m: m.LayerNorm(4), X),
    (lambda m: m.LayerNorm((5, 2), bias=False), IMAGE),
    (lambda m: m.LayerNorm(4, elementwise_affine=False), X),
    (lambda m: m.RMSNorm(4, eps=1e-3), X),
    (lambda m: m.GroupNorm(2, 4), IMAGE),
    (lambda m: m.BatchNorm1d(4), X),
    (lambda m: m.BatchNorm1d(4, affine=False, momentum=None), X),
    (lambda m: m.BatchNorm1d(4, track_running_stats=False), X),
    (lambda m: m.BatchNorm2d(4, eps=1e-3, momentum=0.3), IMAGE),
    (lambda m: m.ZeroPad2d((1, 0, 2, 1)), IMAGE),
    (lambda m: m.ConstantPad2d(1, 0.5), IMAGE),
    (lambda m: m.Upsample(scale_factor=2), IMAGE),
    (lambda m: m.Upsample(size=(3, 5)), IMAGE),
    (lambda m: m.Sequential(m.Linear(4, 5), m.ReLU(), m.Linear(5, 2)), X),
]


def _twins(make, steps=1):
    """Our module and PyTorch's with the same parameters."""
    ours, theirs = make(nn), make(torch.nn)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(RNG.standard_normal(p.shape), dtype=p.dtype))
    ours.load_state_dict({k: sg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_layers_compute_and_differentiate_as_pytorchs(case):
    make, value = LAYERS[case]
    ours, theirs = _twins(make)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    integer = value.dtype.kind == "i"
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        x, x_ref = sg.tensor(value), torch.tensor(value)
        if not integer:
            x.requires_grad_()
            x_ref.requires_grad_()
        y, y_ref = ours(x), theirs(x_ref)
        np.testing.assert_allclose(y.detach().numpy(), y_ref.detach().numpy(), rtol=2e-5, atol=2e-6)
        if not y_ref.requires_grad:
            continue
        seed = RNG.standard_normal(y_ref.shape).astype(np.float32)
        ours.zero_grad()
        theirs.zero_grad()
        (y * sg.tensor(seed)).sum().backward()
        (y_ref * torch.tensor(seed)).sum().backward()
        if not integer:
            np.testing.assert_allclose(x.grad.numpy(), x_ref.grad.numpy(), rtol=2e-4, atol=2e-5)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=2e-4, atol=2e-5)
        for b, c in zip(ours.buffers(), theirs.buffers(), strict=True):
            np.testing.assert_allclose(b.numpy(), c.numpy(), rtol=1e-5, atol=1e-6)


LOGITS = RNG.standard_normal((5, 3)).astype(np.float32)
TARGET = RNG.standard_normal((5, 3)).astype(np.float32)
SHARE = RNG.random((5, 3)).astype(np.float32)
CLASSES = np.array([0, 2, 1, -100, 2])
WEIGHT = np.array([0.5, 1.0, 2.0], dtype=np.float32)
SIGNS = np.where(TARGET > 0, 1.0, -1.0).astype(np.float32)

LOSSES = [
    (lambda m, t, r: m.MSELoss(reduction=r), LOGITS, TARGET),
    (lambda m, t, r: m.L1Loss(reduction=r), LOGITS, TARGET),
    (lambda m, t, r: m.SmoothL1Loss(reduction=r, beta=0.5), LOGITS, TARGET),
    (lambda m, t, r: m.HuberLoss(reduction=r, delta=0.7), LOGITS, TARGET),
    (lambda m, t, r: m.CrossEntropyLoss(reduction=r), LOGITS, CLASSES),
    (lambda m, t, r: m.CrossEntropyLoss(weight=t(WEIGHT), label_smoothing=0.1, reduction=r),
     LOGITS, CLASSES),
    (lambda m, t, r: m.CrossEntropyLoss(reduction=r), LOGITS, SHARE),
    (lambda m, t, r: m.NLLLoss(weight=t(WEIGHT), reduction=r), LOGITS, CLASSES),
    (lambda m, t, r: m.BCELoss(reduction=r), SHARE, SHARE[::-1].copy()),
    (lambda m, t, r: m.BCEWithLogitsLoss(reduction=r), LOGITS, SHARE),
    (lambda m, t, r: m.BCEWithLogitsLoss(pos_weight=t(WEIGHT), weight=t(WEIGHT), reduction=r),
     LOGITS, SHARE),
    (lambda m, t, r: m.KLDivLoss(reduction=r), LOGITS, SHARE),
    (lambda m, t, r: m.KLDivLoss(reduction=r, log_target=True), LOGITS, TARGET),
    (lambda m, t, r: m.HingeEmbeddingLoss(reduction=r), LOGITS, SIGNS),
]  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", range(len(LOSSES)))
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_losses_are_pytorchs(case, reduction):
    make, value, target = LOSSES[case]
    ours, theirs = make(nn, sg.tensor, reduction), make(torch.nn, torch.tensor, reduction)
    assert repr(ours) == repr(theirs)
    x, x_ref = sg.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
    loss, loss_ref = ours(x, sg.tensor(target)), theirs(x_ref, torch.tensor(target))
    np.testing.assert_allclose(
        loss.detach().numpy(), loss_ref.detach().numpy(), rtol=2e-5, atol=1e-6
    )
    loss.sum().backward()
    loss_ref.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), x_ref.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_old_reduction_flags_warn():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert nn.MSELoss(size_average=False).reduction == "sum"


# ------------------------------------------------------------------ registration


@pytest.mark.parametrize(("value", "what"), [
    (lambda: nn.Linear(1, 1), "module"), (lambda: nn.Parameter(sg.ones(1)), "parameters"),
])  # fmt: skip
def test_assignment_before_init_is_refused(value, what):
    class Bad(nn.Module):
        def __init__(self):
            self.x = value()

    with pytest.raises(AttributeError, match=rf"cannot assign {what} before Module.__init__\(\)"):
        Bad()


def test_attributes_move_between_the_tables():
    m = nn.Module()
    m.x = 3
    m.x = nn.Parameter(sg.ones(2))
    assert [n for n, _ in m.named_parameters()] == ["x"]
    m.x = None
    assert list(m.parameters()) == []
    m.y = nn.Linear(1, 1)
    with pytest.raises(TypeError, match="as child module 'y'"):
        m.y = 3
    m.register_buffer("b", sg.zeros(1))
    with pytest.raises(TypeError, match="as buffer 'b'"):
        m.b = 3
    m.b = sg.ones(1)
    assert m.state_dict()["b"].item() == 1
    del m.y
    assert not hasattr(m, "y")
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'y'"):
        _ = m.y


def test_names_are_checked():
    m = nn.Linear(1, 1)
    for add in (m.register_parameter, m.register_buffer, m.add_module):
        with pytest.raises(KeyError, match="contain"):
            add("a.b", None)
        with pytest.raises(KeyError, match="empty string"):
            add("", None)
        with pytest.raises(KeyError, match="already exists"):
            add("in_features", None)
    with pytest.raises(TypeError, match="not a Module subclass"):
        m.add_module("x", 3)
    with pytest.raises(TypeError, match="Parameter or None required"):
        m.register_parameter("p", m.weight * 2)


def test_buffer_wrapper_registers_its_tensor():
    m = nn.Module()
    m.a = nn.Buffer(sg.ones(2))
    m.c = nn.Buffer(sg.ones(2), persistent=False)
    assert list(m.state_dict()) == ["a"]
    assert isinstance(m.c, sg.Tensor)


def test_walks_list_shared_things_once():
    m = nn.Module()
    m.a = nn.Linear(2, 2)
    m.b = m.a
    m.c = nn.Linear(2, 2)
    m.c.weight = m.a.weight
    assert [n for n, _ in m.named_modules()] == ["", "a", "c"]
    assert [n for n, _ in m.named_parameters()] == ["a.weight", "a.bias", "c.bias"]
    assert list(m.state_dict()) == [
        "a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias"
    ]  # fmt: skip
    assert m.get_submodule("a") is m.a
    assert m.get_parameter("c.bias") is m.c.bias
    with pytest.raises(AttributeError, match="has no attribute `z`"):
        m.get_submodule("a.z")


def test_forward_is_required():
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)


# ------------------------------------------------------------------ state


def test_load_state_dict_says_everything_and_changes_nothing():
    m = Net()
    before = {k: v.numpy().copy() for k, v in m.state_dict().items()}
    bad = {"fc1.weight": sg.zeros(3, 3), "fc1.bias": sg.zeros(8), "extra": sg.zeros(1)}
    with pytest.raises(RuntimeError) as caught:
        m.load_state_dict(bad)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '\tMissing key(s) in state_dict: "fc2.weight", "fc2.bias". \n'
        '\tUnexpected key(s) in state_dict: "extra". \n'
        "\tsize mismatch for fc1.weight: copying a param with shape torch.Size([3, 3]) from "
        "checkpoint, the shape in current model is torch.Size([8, 2])."
    )
    for key, value in m.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    del bad["fc1.weight"]
    keys = m.load_state_dict(bad, strict=False)
    assert keys.missing_keys == ["fc1.weight", "fc2.weight", "fc2.bias"]
    assert keys.unexpected_keys == ["extra"]
    assert repr(Net().load_state_dict(m.state_dict())) == "<All keys matched successfully>"


def test_state_dict_shows_later_changes_and_assign_takes_tensors():
    m = nn.Linear(2, 1)
    state = m.state_dict()
    with sg.no_grad():
        m.weight.fill_(7.0)
    assert state["weight"].tolist() == [[7.0, 7.0]]
    new = nn.Parameter(sg.ones(1, 2))
    m.load_state_dict({"weight": new, "bias": sg.zeros(1)}, assign=True)
    assert m.weight is new
    assert isinstance(m.bias, nn.Parameter)


def test_weights_move_to_pytorch_and_back():
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    ours = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    ours.load_state_dict({k: sg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    back = OrderedDict((k, torch.tensor(v.numpy())) for k, v in ours.state_dict().items())
    theirs.load_state_dict(back)
    np.testing.assert_allclose(
        ours(sg.tensor(X)).detach().numpy(), theirs(torch.tensor(X)).detach(), rtol=1e-4, atol=1e-5
    )


def test_conversions_keep_the_parameters_themselves():
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weight = m[0].weight
    m(sg.ones(3, 2)).sum().backward()
    assert m.double() is m
    assert m[0].weight is weight
    assert weight.dtype is sg.float64
    assert weight.grad.dtype is sg.float64
    assert m[1].num_batches_tracked.dtype is sg.int64
    assert m.to(sg.float32)[1].running_mean.dtype is sg.float32
    with pytest.raises(TypeError, match="floating point"):
        m.to(sg.int64)


def test_deepcopy_and_apply():
    m = Net()
    twin = copy.deepcopy(m)
    twin.apply(lambda layer: nn.init.zeros_(layer.weight) if isinstance(layer, nn.Linear) else None)
    assert twin.fc1.weight.abs().sum().item() == 0
    assert m.fc1.weight.abs().sum().item() > 0


# ------------------------------------------------------------------ hooks


def test_forward_hooks_see_and_replace():
    m = nn.Linear(2, 1, bias=False)
    seen = []
    first = m.register_forward_pre_hook(lambda mod, args: (args[0] * 2,))
    second = m.register_forward_hook(lambda mod, args, out: seen.append(args[0].sum().item()))
    third = m.register_forward_hook(lambda mod, args, out: out + 1, prepend=True)
    x = sg.ones(1, 2)
    y = m(x)
    assert seen == [4.0]
    assert y.item() == pytest.approx(2 * m.weight.sum().item() + 1, rel=1e-5)
    for handle in (first, second, third):
        handle.remove()
    assert m(x).item() == pytest.approx(m.weight.sum().item(), rel=1e-5)


def test_hooks_with_keywords_and_after_errors():
    class Scaled(nn.Module):
        def forward(self, x, scale=1.0):
            if scale is None:
                raise ZeroDivisionError
            return x * scale

    m, seen = Scaled(), []
    with m.register_forward_pre_hook(lambda mod, a, k: (a, {"scale": 3.0}), with_kwargs=True):
        assert m(sg.ones(1)).item() == 3
    m.register_forward_hook(lambda mod, a, out: seen.append(out), always_call=True)
    with pytest.raises(ZeroDivisionError):
        m(sg.ones(1), scale=None)
    assert seen == [None]


def test_full_backward_hook_sees_both_gradients():
    m, seen = nn.Linear(2, 1), []
    m.register_full_backward_hook(lambda mod, gin, gout: seen.append((gin, gout)))
    x = sg.ones(3, 2, requires_grad=True)
    (m(x) * 2).sum().backward()
    (grad_in,), (grad_out,) = seen[0]
    assert grad_out.tolist() == [[2.0]] * 3
    np.testing.assert_allclose(grad_in.numpy(), np.tile(2 * m.weight.detach().numpy(), (3, 1)))
    np.testing.assert_allclose(x.grad.numpy(), grad_in.numpy())


# ------------------------------------------------------------------ containers


@pytest.mark.parametrize("make", [
    lambda m: m.Sequential(OrderedDict(a=m.Linear(1, 2), b=m.ReLU())),
    lambda m: m.ModuleList([m.Linear(2, 2), m.Linear(2, 2), m.ReLU()]),
    lambda m: m.ModuleList(),
    lambda m: m.ModuleDict({"x": m.Linear(1, 1), "y": m.Sequential(m.Tanh())}),
    lambda m: m.Sequential(),
])  # fmt: skip
def test_containers_print_as_pytorchs(make):
    assert repr(make(nn)) == repr(make(torch.nn))


def test_sequences_of_modules_behave_as_lists():
    m = nn.ModuleList([nn.Linear(1, k + 1) for k in range(3)])
    m.insert(1, nn.ReLU())
    m.extend([nn.Tanh()])
    assert [type(x).__name__ for x in m] == ["Linear", "ReLU", "Linear", "Linear", "Tanh"]
    assert m.pop(-1).__class__ is nn.Tanh
    del m[1]
    assert [x.out_features for x in m[1:]] == [2, 3]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        m[9]
    s = nn.Sequential(nn.ReLU(), nn.Tanh()) + nn.Sequential(nn.Sigmoid())
    s[0] = nn.GELU()
    s.append(nn.ReLU())
    assert [type(x).__name__ for x in s] == ["GELU", "Tanh", "Sigmoid", "ReLU"]
    del s[1:3]
    assert list(s.state_dict()) == []
    assert [n for n, _ in s.named_children()] == ["0", "1"]


def test_parameter_containers():
    m = nn.ParameterList([sg.ones(2), nn.Parameter(sg.zeros(3))])
    m.append(sg.ones(1))
    assert [n for n, _ in m.named_parameters()] == ["0", "1", "2"]
    assert len(m[:2]) == 2
    d = nn.ParameterDict({"a": sg.ones(2)})
    d["b"] = sg.zeros(1)
    assert list(d.state_dict()) == ["a", "b"]
    assert "a" in d
    assert (d.get("a").shape, d.get("c"), d.get("c", 3)) == ((2,), None, 3)
    assert d.pop("a").shape == (2,)
    assert list(d.keys()) == ["b"]


# ------------------------------------------------------------------ initial values, clipping


@pytest.mark.parametrize(("fill", "bound", "std"), [
    (lambda w: nn.init.kaiming_uniform_(w, a=5**0.5), 0.1, 0.1 / 3**0.5),
    (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu", mode="fan_out"), None, 0.1),
    (nn.init.xavier_uniform_, (6 / 300) ** 0.5, (2 / 300) ** 0.5),
    (lambda w: nn.init.xavier_normal_(w, gain=2.0), None, 2 * (2 / 300) ** 0.5),
    (lambda w: nn.init.uniform_(w, -2, 2), 2.0, 4 / 12**0.5),
    (lambda w: nn.init.trunc_normal_(w, std=0.5, a=-0.5, b=0.5), 0.5, 0.27),
])  # fmt: skip
def test_initial_values_have_their_bounds_and_spread(fill, bound, std):
    sg.manual_seed(0)
    w = fill(sg.empty(200, 100)).numpy()
    assert bound is None or np.abs(w).max() <= bound + 1e-6
    assert w.std() == pytest.approx(std, rel=0.05)
    assert abs(w.mean()) < 0.03 * max(1, std)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 3, 2)])
def test_orthogonal_rows_or_columns(shape):
    w = nn.init.orthogonal_(sg.empty(*shape), gain=2.0).reshape(shape[0], -1).numpy()
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize(("shape", "groups"), [((4, 2, 3), 1), ((4, 2, 3, 3), 2), ((2, 5, 3), 1)])
def test_dirac_is_pytorchs(shape, groups):
    ours, theirs = (t.nn.init.dirac_(t.ones(*shape), groups).numpy() for t in (sg, torch))
    np.testing.assert_array_equal(ours, theirs)


def test_sparse_columns_have_their_zeros():
    w = nn.init.sparse_(sg.empty(10, 4), 0.25).numpy()
    assert ((w == 0).sum(0) == 3).all()


def test_initialisers_refuse_vectors():
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(sg.empty(3))
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("none")


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_clipping_by_norm_is_pytorchs(p):
    grads = [RNG.standard_normal(s).astype(np.float32) for s in [(3,), (2, 2)]]
    norms = []
    for library in (sg, torch):
        params = [library.nn.Parameter(library.tensor(g * 0)) for g in grads]
        for q, g in zip(params, grads, strict=True):
            q.grad = library.tensor(g)
        norms.append(float(library.nn.utils.clip_grad_norm_(params, 0.5, norm_type=p)))
        norms.append([q.grad.numpy() for q in params])
    assert norms[0] == pytest.approx(norms[2], rel=1e-5)
    for a, b in zip(norms[1], norms[3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_clipping_by_value_and_vectors():
    p = nn.Parameter(sg.zeros(3))
    p.grad = sg.tensor([-2.0, 0.5, 3.0])
    nn.utils.clip_grad_value_([p], 1.0)
    assert p.grad.tolist() == [-1.0, 0.5, 1.0]
    m = nn.Linear(2, 1)
    flat = nn.utils.parameters_to_vector(m.parameters())
    assert flat.shape == (3,)
    nn.utils.vector_to_parameters(flat * 0 + 2, m.parameters())
    assert m.weight.tolist() == [[2.0, 2.0]]
    p.grad = sg.tensor([float("nan"), 0.0, 0.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


# ------------------------------------------------------------------ formulas and compiled steps


def test_parameters_are_called_by_their_paths():
    model = nn.Sequential(OrderedDict(fc1=nn.Linear(4, 3), act=nn.Tanh(), fc2=nn.Linear(3, 2)))
    loss = (model(sg.ones(5, 4)) ** 2).sum()
    assert "tanh(" in str(loss.formula())
    assert "W₁ᵀ + b₁" in str(loss.formula())
    assert "∂L/∂W₂" in str(sg.derive(loss))


def test_a_compiled_step_draws_anew_and_moves_running_statistics():
    sg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer = sg.optim.SGD(model.parameters(), lr=0.0)
    x, y = sg.randn(16, 4), sg.tensor([0, 1, 2, -100] * 4)

    @sg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x, y).item() for _ in range(4)]
    assert len(set(losses)) == 4
    assert int(model[1].num_batches_tracked) == 4
    assert "v0_weight" in step.source
    model.eval()
    same = [step(x, y).item() for _ in range(2)]
    assert same[0] == pytest.approx(same[1])
    want = nn.functional.cross_entropy(model(x), y).item()
    assert same[0] == pytest.approx(want, rel=1e-5)


def test_dropout_keeps_the_mean_and_its_gradient():
    sg.manual_seed(0)
    x = sg.ones(100, 100, requires_grad=True)
    y = nn.functional.dropout(x, 0.3)
    values = y.detach().numpy()
    assert values.mean() == pytest.approx(1, abs=0.02)
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.02)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), values)
    maps = nn.functional.dropout2d(sg.ones(20, 20, 2, 3), 0.5).numpy()
    assert np.ptp(maps, axis=(2, 3)).max() == 0
    assert nn.functional.dropout(sg.ones(3), 1.0).tolist() == [0.0] * 3
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


def test_class_numbers_out_of_range_are_refused():
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        nn.functional.cross_entropy(sg.zeros(2, 3), sg.tensor([0, 3]))


def test_padding_row_of_an_embedding_is_zero_and_stays():
    layer = nn.Embedding(4, 2, padding_idx=1)
    assert layer.weight.tolist()[1] == [0.0, 0.0]
    layer(sg.tensor([1, 1, 2])).sum().backward()
    assert layer.weight.grad.tolist() == [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]


def test_reading_a_result_leaves_its_graph():
    w = sg.ones(2, requires_grad=True)
    y = w * 3
    values = y.detach().numpy()
    values[0] = 5
    assert y.tolist() == [5.0, 3.0]
    (y * 2).sum().backward()
    assert w.grad.tolist() == [6.0, 6.0]


def test_a_saved_state_keeps_its_type_and_values_when_the_model_changes_type():
    layer = nn.Linear(2, 1)
    saved = layer.state_dict()
    before = saved["weight"].tolist()
    with sg.no_grad():
        layer.bias.fill_(2.0)
    assert saved["bias"].tolist() == [2.0]  # the memory is shared
    layer.double()
    with sg.no_grad():
        layer.weight.fill_(7.0)
    assert layer.weight.tolist() == [[7.0, 7.0]]
    assert layer.weight.dtype is sg.float64
    assert saved["weight"].tolist() == before
    assert saved["weight"].dtype is sg.float32
    x = sg.ones(3, 2, requires_grad=True)
    (x @ saved["weight"].T).sum().backward()
    assert x.grad.tolist() == before * 3


def test_a_compiled_step_goes_on_in_another_type():
    layer = nn.Linear(2, 1)
    x = sg.ones(3, 2)

    @sg.compile
    def step(x):
        layer.zero_grad()
        loss = (layer(x) ** 2).sum()
        loss.backward()
        return loss

    first = step(x).item()
    layer.double()
    second = step(x.double())
    assert second.dtype is sg.float64
    assert second.item() == pytest.approx(first, rel=1e-6)
