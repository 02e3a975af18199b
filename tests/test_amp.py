"""Mixed precision: the lists against PyTorch's, gradients in float32, the scaler's bookkeeping."""

import warnings

import pytest

import symgrad as sg
from symgrad.amp.autocast_mode import INSIDE, LOW, WIDE
from symgrad.functional.table import FUNCTIONS

torch = pytest.importorskip("torch")
F = sg.nn.functional

# Each row: what to call, on x (3×3, float32 or the low dtype), of a library t.
CALLS = {
    "linear": lambda t, x: t.nn.functional.linear(x, t.ones(2, 3), t.ones(2)),
    "matmul": lambda t, x: x @ t.ones(3, 3),
    "mm": lambda t, x: t.mm(x, x),
    "bmm": lambda t, x: t.bmm(x.unsqueeze(0), x.unsqueeze(0)),
    "mv": lambda t, x: t.mv(x, x.sum(0).to(x.dtype)),
    "addmm": lambda t, x: t.addmm(t.ones(3, 3), x, x),
    "einsum": lambda t, x: t.einsum("ij,jk->ik", x, t.ones(3, 3)),
    "conv2d": lambda t, x: t.nn.functional.conv2d(x.reshape(1, 1, 3, 3), t.ones(2, 1, 2, 2)),
    "conv1d": lambda t, x: t.nn.functional.conv1d(x.reshape(1, 3, 3), t.ones(2, 3, 2), t.ones(2)),
    "conv_transpose1d": lambda t, x: t.nn.functional.conv_transpose1d(
        x.reshape(1, 3, 3), t.ones(3, 2, 2)
    ),
    "prelu": lambda t, x: t.nn.functional.prelu(x, t.ones(1)),
    "softmax": lambda t, x: t.softmax(x, 0),
    "log_softmax": lambda t, x: t.log_softmax(x, 0),
    "softmin": lambda t, x: t.nn.functional.softmin(x, 0),
    "logsumexp": lambda t, x: t.logsumexp(x, 0),
    "softplus": lambda t, x: t.nn.functional.softplus(x),
    "sum": lambda t, x: x.sum(),
    "sum of an axis": lambda t, x: x.sum(0),
    "mean": lambda t, x: x.mean(),
    "prod": lambda t, x: x.prod(),
    "cumsum": lambda t, x: x.cumsum(0),
    "cumprod": lambda t, x: x.cumprod(0),
    "norm": lambda t, x: x.norm(),
    "dist": lambda t, x: t.dist(x, x + 1),
    "trace": lambda t, x: t.trace(x),
    "exp": lambda t, x: x.exp(),
    "expm1": lambda t, x: x.expm1(),
    "log": lambda t, x: x.log(),
    "log2": lambda t, x: x.log2(),
    "log10": lambda t, x: x.log10(),
    "log1p": lambda t, x: x.log1p(),
    "pow": lambda t, x: x**2,
    "square": lambda t, x: x.square(),
    "reciprocal": lambda t, x: x.reciprocal(),
    "rsqrt": lambda t, x: x.rsqrt(),
    "sqrt": lambda t, x: x.sqrt(),
    "acos": lambda t, x: x.acos(),
    "asin": lambda t, x: x.asin(),
    "atan": lambda t, x: x.atan(),
    "cosh": lambda t, x: x.cosh(),
    "sinh": lambda t, x: x.sinh(),
    "tan": lambda t, x: x.tan(),
    "tanh": lambda t, x: x.tanh(),
    "erfinv": lambda t, x: x.erfinv(),
    "sigmoid": lambda t, x: x.sigmoid(),
    "relu": lambda t, x: x.relu(),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "add": lambda t, x: x + t.ones(3, 3),
    "mul": lambda t, x: x * x,
    "div": lambda t, x: x / 3,
    "cat": lambda t, x: t.cat([x, t.ones(3, 3)]),
    "stack": lambda t, x: t.stack([x, x]),
    "where": lambda t, x: t.where(x > 0, x, x),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, (3,), t.ones(3), t.ones(3)),
    "batch_norm": lambda t, x: t.nn.functional.batch_norm(x, t.ones(3), t.ones(3), t.ones(3)),
    "batch_norm in training": lambda t, x: t.nn.functional.batch_norm(
        x, None, None, t.ones(3), t.ones(3), True
    ),
    "mse_loss": lambda t, x: t.nn.functional.mse_loss(x, t.ones(3, 3)),
    "l1_loss": lambda t, x: t.nn.functional.l1_loss(x, x),
    "smooth_l1_loss": lambda t, x: t.nn.functional.smooth_l1_loss(x, x),
    "huber_loss": lambda t, x: t.nn.functional.huber_loss(x, x),
    "kl_div": lambda t, x: t.nn.functional.kl_div(x, x, reduction="sum"),
    "nll_loss": lambda t, x: t.nn.functional.nll_loss(x, t.tensor([0, 1, 2])),
    "cross_entropy": lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([0, 1, 2])),
    "binary_cross_entropy": lambda t, x: t.nn.functional.binary_cross_entropy(x, x),
    "binary_cross_entropy_with_logits": lambda t, x: (
        t.nn.functional.binary_cross_entropy_with_logits(x, x)
    ),
    "scaled_dot_product_attention": lambda t, x: t.nn.functional.scaled_dot_product_attention(
        x, x, x
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("start", ["float32", "bfloat16", "float64"])
def test_dtypes_on_the_cpu_are_those_of_pytorch(name, start):
    def run(t):
        x = t.full((3, 3), 0.5).to(getattr(t, start))
        with t.autocast("cpu", dtype=t.bfloat16):
            try:
                return str(CALLS[name](t, x).dtype)
            except (RuntimeError, TypeError, ValueError):
                return "error"

    theirs = run(torch)
    if theirs == "error":
        pytest.skip("PyTorch refuses this dtype here")
    assert run(sg) == theirs


def names_of(table):
    return {name for kinds in table.values() for name in kinds}


def test_no_function_is_in_two_lists():
    for kind in LOW:
        lists = [table[kind] for table in (LOW, WIDE, INSIDE)]
        assert sum(map(len, lists)) == len(frozenset().union(*lists))
    assert {"linear", "matmul"} <= names_of(LOW) & FUNCTIONS.keys()


def result_dtype_on_cuda(name, call, start):
    """What the lists for GPUs say of a call with operands of one dtype."""
    word = {"sum of an axis": "sum"}.get(name, name)
    if word in LOW["cuda"]:
        return "torch.float16"
    return "torch.float32" if word in WIDE["cuda"] else str(start)


# Python compositions of several rows: their dtype follows from the rows.
COMPOSED = {"scaled_dot_product_attention", "batch_norm", "batch_norm in training"}
MIXED = {"add", "cat"}  # of their two operands one is float32
REFUSED = {"binary_cross_entropy"}  # PyTorch raises on a GPU; float32 is safe


@pytest.mark.parametrize("name", sorted(CALLS.keys() - COMPOSED - MIXED - REFUSED))
@pytest.mark.parametrize("start", [torch.float32, torch.float16], ids=str)
def test_the_lists_for_gpus_are_those_of_pytorch(name, start):
    """On tensors without memory, as PyTorch makes them for a GPU that is not there."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        with FakeTensorMode(), torch.device("cuda"):
            theirs = str(CALLS[name](torch, torch.full((3, 3), 0.5, dtype=start)).dtype)
    finally:
        torch.set_autocast_enabled("cuda", before)
    assert result_dtype_on_cuda(name, CALLS[name], start) == theirs


def test_numbers_are_those_of_pytorch_with_gradients_in_float32():
    def run(t):
        x = t.linspace(-1, 1, 12).reshape(4, 3)
        w = (t.arange(6.0).reshape(2, 3) / 7).requires_grad_()
        with t.autocast("cpu", dtype=t.bfloat16):
            hidden = t.nn.functional.linear(x, w)
            loss = t.nn.functional.mse_loss(t.tanh(hidden) @ w, x)
        loss.backward()
        return hidden.dtype, loss.item(), w.grad

    ours, theirs = run(sg), run(torch)
    assert str(ours[0]) == str(theirs[0]) == "torch.bfloat16"
    assert ours[1] == pytest.approx(theirs[1], rel=2e-2)
    assert str(ours[2].dtype) == "torch.float32"
    for a, b in zip(ours[2].flatten().tolist(), theirs[2].flatten().tolist(), strict=True):
        assert a == pytest.approx(b, abs=2e-2)


def test_decorator_nesting_and_state():
    x = sg.ones(2, 2)

    @sg.autocast("cpu", dtype=sg.float16)
    def product(v):
        assert sg.is_autocast_enabled("cpu")
        assert sg.get_autocast_dtype("cpu") is sg.float16
        with sg.autocast("cpu", enabled=False):
            assert not sg.is_autocast_enabled("cpu")
            assert (v @ v).dtype is sg.float32
        return v @ v

    assert product(x).dtype is sg.float16
    assert not sg.is_autocast_enabled("cpu")
    assert (x @ x).dtype is sg.float32
    with pytest.raises(ZeroDivisionError), sg.autocast("cpu"):
        raise ZeroDivisionError
    assert (x @ x).dtype is sg.float32
    with sg.cpu.amp.autocast():
        assert (x @ x).dtype is sg.bfloat16


def test_an_error_within_leaves_it_on():
    x = sg.ones(2, 2)
    with sg.autocast("cpu"):
        with pytest.raises(sg.ShapeError):
            x.matmul(sg.ones(3, 3))
        assert (x @ x).dtype is sg.bfloat16


def test_what_there_is_no_autocast_for():
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'tpu'"):
        sg.autocast("tpu")
    with pytest.raises(ValueError, match="`device_type` of type `str`"):
        sg.autocast(sg.device("cpu"))  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        off = sg.autocast("cpu", dtype=sg.float32)
    with off:
        assert (sg.ones(2, 2) @ sg.ones(2, 2)).dtype is sg.float32
    if not sg.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"):
            sg.autocast("cuda")
        with pytest.warns(UserWarning, match="CUDA is not available"):
            assert not sg.cuda.amp.GradScaler().is_enabled()


def test_a_compiled_step_knows_the_mode():
    @sg.compile
    def product(v):
        return v @ v

    x = sg.ones(2, 2)
    assert product(x).dtype is sg.float32
    with sg.autocast("cpu"):
        assert product(x).dtype is sg.bfloat16
    assert product(x).dtype is sg.float32


# ------------------------------------------------------------------ the scaler


def test_scale_grows_and_backs_off_as_in_pytorch():
    def run(t):
        w = t.nn.Parameter(t.tensor([1.0, 2.0]))
        opt = t.optim.SGD([w], lr=0.1, momentum=0.9)
        scaler = t.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        seen = []
        for factor in (1.0, 2.0, float("inf"), 3.0, float("nan"), 1.0, 1.0):
            opt.zero_grad()
            scaler.scale((w * w * factor).sum()).backward()
            scaler.step(opt)
            scaler.update()
            seen.append((scaler.get_scale(), w.detach().tolist()))
        return seen, scaler.state_dict()

    ours, theirs = run(sg), run(torch)
    assert ours[1] == theirs[1]
    for (scale, w), (their_scale, their_w) in zip(ours[0], theirs[0], strict=True):
        assert scale == their_scale
        assert w == pytest.approx(their_w, rel=1e-6)


def test_several_losses_and_new_scale():
    scaler = sg.amp.GradScaler("cpu", init_scale=4.0)
    a, b = scaler.scale([sg.tensor(1.0), sg.tensor(2.0)])
    assert (a.item(), b.item()) == (4.0, 8.0)
    scaler.update(2.0)
    assert scaler.get_scale() == 2.0
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        scaler.load_state_dict(sg.amp.GradScaler("cpu", enabled=False).state_dict())


def test_wrong_order_is_an_error():
    w = sg.nn.Parameter(sg.ones(2))
    opt = sg.optim.SGD([w], lr=0.1)
    scaler = sg.amp.GradScaler("cpu")
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.step(opt)
    scaler.scale(w.sum()).backward()
    scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(opt)
    scaler.step(opt)
    with pytest.raises(RuntimeError, match="step\\(\\) has already been called"):
        scaler.step(opt)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(opt)
    half = sg.nn.Parameter(sg.ones(2).half())
    scaler = sg.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(half.sum()).backward()
    with pytest.raises(ValueError, match="FP16 gradients"):
        scaler.step(sg.optim.SGD([half], lr=0.1))


def test_a_scale_that_changes_makes_no_new_program():
    w = sg.nn.Parameter(sg.ones(3))
    opt = sg.optim.SGD([w], lr=1e-3)
    scaler = sg.amp.GradScaler("cpu", init_scale=2.0, growth_interval=1)
    from symgrad.recording.execute import _patterns

    counts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6):
            opt.zero_grad()
            scaler.scale((w * w).sum()).backward()
            scaler.step(opt)
            scaler.update()
            counts.append(len(_patterns))
    assert counts[-1] == counts[2], counts


def test_convolutions_are_products():
    made = {name for name in FUNCTIONS if name.startswith("conv")}
    assert made <= LOW["cpu"]


@pytest.mark.parametrize("make", [
    lambda p: sg.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: sg.optim.Adam(p, lr=0.1),
], ids=["SGD", "Adam"])  # fmt: skip
def test_a_compiled_step_scales_skips_and_grows(make):
    """The same losses, weights and scales as step by step, with one program."""

    def run(compiled):
        w = sg.nn.Parameter(sg.tensor([1.0, 2.0]))
        opt = make([w])
        scaler = sg.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

        def step(factor):
            opt.zero_grad()
            with sg.autocast("cpu", dtype=sg.float16):
                loss = sg.nn.functional.mse_loss(w * factor, w * 0)
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
            return loss

        once = sg.compile(step) if compiled else step
        seen = []
        for factor in (1.0, 2.0, float("inf"), 3.0, float("nan"), 1.0, 1.0):
            once(sg.tensor(factor))
            seen += [*w.detach().tolist(), scaler.get_scale()]
        return seen, scaler.state_dict(), [len(v) for v in getattr(once, "_variants", {}).values()]

    eager, compiled = run(False), run(True)
    assert compiled[0] == pytest.approx(eager[0], rel=1e-5)
    assert compiled[1] == eager[1]
    assert sum(compiled[2]) == 1


@pytest.mark.parametrize("cast", [None, "float32"])
def test_custom_functions_cast_their_inputs(cast):
    def run(t):
        amp = t.amp
        seen = []

        class Product(t.autograd.Function):
            @staticmethod
            @amp.custom_fwd(device_type="cpu", cast_inputs=cast and getattr(t, cast))
            def forward(ctx, a, b):
                ctx.save_for_backward(a, b)
                out = a @ b
                seen.append((str(a.dtype), str(out.dtype)))
                return out

            @staticmethod
            @amp.custom_bwd(device_type="cpu")
            def backward(ctx, g):
                a, b = ctx.saved_tensors
                found = g.to(a.dtype) @ b.T, a.T @ g.to(a.dtype)
                seen.append(str(found[0].dtype))
                return found

        x = (t.arange(4.0).reshape(2, 2) / 3).requires_grad_()
        with t.autocast("cpu", dtype=t.bfloat16):
            out = Product.apply(x, x.detach().bfloat16() if cast else x.detach())
        out.float().sum().backward()
        assert x.grad is not None
        slope = x.grad.tolist()
        return seen[0], seen[-1], str(out.dtype), slope

    ours, theirs = run(sg), run(torch)
    assert ours[:3] == theirs[:3]
    for a, b in zip(ours[3], theirs[3], strict=True):
        assert a == pytest.approx(b, rel=2e-2)
