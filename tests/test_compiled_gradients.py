"""``.grad`` and options of optimizers beside compiled steps: as without compile, or an explained error."""

import numpy as np
import pytest

import symgrad as sg
from symgrad import nn, optim

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def plain(function):
    return function


def parts(rule=optim.SGD, **options):
    sg.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, rule(model.parameters(), **{"lr": 0.1, **options})


def slope(model):
    return None if model.weight.grad is None else model.weight.grad.tolist()


def check(run):
    """``run(wrap)`` gives the same numbers compiled as not."""
    for a, b in zip(run(plain), run(sg.compile), strict=True):
        if a is None or b is None:
            assert a is b
        else:
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("to_none", [True, False])
def test_steps_that_clear_at_the_end(to_none):
    def run(wrap):
        model, optimizer = parts()

        @wrap
        def step(x):
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=to_none)
            return loss

        for k in range(4):
            yield step(sg.tensor(X * (k + 1))).item()
            yield slope(model)

    check(run)


def test_steps_that_never_clear_accumulate():
    def run(wrap):
        model, optimizer = parts()

        @wrap
        def step(x):
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        for k in range(5):
            yield step(sg.tensor(X * (k + 1))).item()
            yield slope(model)

    check(run)


def test_accumulation_over_compiled_calls():
    variants = []

    def run(wrap):
        model, optimizer = parts()

        @wrap
        def micro(x):
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss

        kept = []
        for k in range(12):
            yield micro(sg.tensor(X * (k % 4))).item()
            yield slope(model)
            if k % 3 == 2:
                kept.append(model.weight.grad)
                yield from (g.tolist() for g in kept)
                optimizer.step()
                optimizer.zero_grad()
        if wrap is sg.compile:
            variants.extend(v for group in micro._variants.values() for v in group)

    check(run)
    assert len(variants) <= 8  # one for cleared gradients, one for each that somebody kept


def test_accumulation_settles_on_two_programs():
    model, optimizer = parts()

    @sg.compile
    def micro(x):
        (model(x) ** 2).mean().backward()

    for k in range(12):
        micro(sg.tensor(X))
        if k % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
    assert sum(map(len, micro._variants.values())) == 2


def test_gradients_of_eager_passes_are_added_to():
    def run(wrap):
        model, optimizer = parts()

        @wrap
        def step(x):
            (model(x) ** 2).mean().backward()
            optimizer.step()

        (3 * model.weight).sum().backward()
        step(sg.tensor(X))
        yield slope(model)
        yield model.weight.tolist()

    check(run)


def test_a_gradient_that_stays_inside_says_so():
    model, optimizer = parts()
    weight = model.weight

    @sg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(2):
        step(sg.tensor(X))
        with pytest.raises(sg.TraceError) as problem:
            weight.grad  # noqa: B018
        first, place, remedy = str(problem.value).split("\n  ")
        assert first == (
            "the gradient of weight stayed inside the compiled function step, which clears it first "
            "and so has no need to keep it."
        )
        assert place.startswith("test_compiled_gradients.py:")
        assert remedy == (
            "Return it (weight.grad) from function step, or clear gradients outside of it."
        )
        for use in (optimizer.step, lambda: (model(sg.tensor(X)) ** 2).mean().backward()):
            with pytest.raises(sg.TraceError, match="stayed inside the compiled function step"):
                use()
    model.to(sg.float32)
    model.state_dict()
    optimizer.zero_grad(set_to_none=False)
    assert slope(model) == [[0] * 3] * 2
    step(sg.tensor(X))
    optimizer.zero_grad()
    assert weight.grad is None
    (model(sg.tensor(X)) ** 2).mean().backward()
    assert weight.grad is not None
    step(sg.tensor(X))  # what an eager pass left is cleared by the step
    with pytest.raises(sg.TraceError):
        slope(model)


def test_a_gradient_that_is_returned():
    def run(wrap):
        model, optimizer = parts()

        @wrap
        def step(x):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            return model.weight.grad

        for _ in range(3):
            yield step(sg.tensor(X)).tolist()

    check(run)


def test_an_evaluation_leaves_gradients_alone():
    model, _ = parts()
    (model(sg.tensor(X)) ** 2).mean().backward()
    before = model.weight.grad
    values = before.tolist()
    forward = sg.compile(model)
    forward(sg.tensor(X))
    assert model.weight.grad is before
    assert before.tolist() == values


@pytest.mark.parametrize(
    ("rule", "first", "then"),
    [
        (optim.SGD, {"weight_decay": 0.0}, {"weight_decay": 0.5}),
        (optim.SGD, {"momentum": 0.9}, {"momentum": 0.1}),
        (optim.Adam, {"betas": (0.9, 0.999)}, {"betas": (0.5, 0.9)}),
        (optim.Adam, {"eps": 1e-8}, {"eps": 1e-1}),
        (optim.AdamW, {"weight_decay": 0.01}, {"weight_decay": 0.5, "lr": 0.01}),
    ],
)
def test_options_that_change_after_compilation(rule, first, then):
    def run(wrap):
        model, optimizer = parts(rule, **first)

        @wrap
        def step(x):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()

        for changed in (first, then, first, then):
            optimizer.param_groups[0].update(changed)
            for _ in range(2):
                step(sg.tensor(X))
                yield model.weight.tolist()
        if wrap is sg.compile:
            assert sum(map(len, step._variants.values())) == 2

    check(run)


def test_an_argument_that_requires_grad():
    weight = sg.ones(3, requires_grad=True)
    data = sg.ones(3, requires_grad=True)

    @sg.compile
    def step(x):
        loss = (weight * x).sum()
        loss.backward()
        return loss

    step(sg.ones(3))
    before = weight.grad.tolist()
    for given in (data, 2 * data):
        with pytest.raises(sg.TraceError, match=r"requires grad, and step runs backward\(\)"):
            step(given)
    assert weight.grad.tolist() == before

    @sg.compile
    def outside():
        loss = (weight * data).sum()
        loss.backward()
        return loss

    outside()
    assert data.grad.tolist() == [1, 1, 1]
    forward = sg.compile(lambda x: (weight * x).sum())
    assert forward(data).item() == 3


def test_backward_goes_through_what_a_compiled_model_returns():
    """PyTorch's usual loop: the model is compiled, loss and step are not."""

    def run(wrap):
        model, optimizer = parts()
        forward = wrap(model)
        for _ in range(4):
            optimizer.zero_grad()
            loss = (forward(sg.tensor(X)) ** 2).mean()
            loss.backward()
            optimizer.step()
            yield loss.item()
            yield model.weight.tolist()

    check(run)
    square = sg.compile(lambda x: (x * x).sum())
    x = sg.ones(3, requires_grad=True)
    for _ in range(3):
        x.grad = None
        square(x).backward()
        assert x.grad.tolist() == [2, 2, 2]
    assert not square(sg.ones(3)).requires_grad
    with sg.no_grad():
        assert not square(x).requires_grad


def test_a_compiled_module_has_what_the_module_has():
    model = sg.nn.Linear(2, 1)
    compiled = sg.compile(model)
    assert next(iter(compiled.parameters())) is model.weight
    assert compiled.weight is model.weight
    compiled.eval()
    assert (model.training, compiled.training) == (False, False)
    assert set(compiled.state_dict()) == {"weight", "bias"}
    with pytest.raises(AttributeError, match="wieght"):
        compiled.wieght  # noqa: B018 - the attribute is what is tested


def test_a_compiled_module_runs_its_forward_once_a_call():
    class Counting(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = Counting(3, 2)
    compiled = sg.compile(model)
    for k in range(1, 4):
        compiled(sg.ones(4, 3)).sum().backward()
        assert model.calls == k
    assert "def " in compiled.source


def test_a_recorded_function_runs_once_a_call():
    """The capture of the first call is that call: hooks and statistics see one forward pass."""
    found = []
    for wrap in (sg.compile, lambda f: f):
        sg.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        runs = []
        model[0].register_forward_hook(lambda *_, runs=runs: runs.append(1))
        scores = wrap(lambda x, k, model=model: model(x) * k)
        x = sg.randn(6, 3)
        for size in (6, 6, 4):
            scores(x[:size], 2.0).sum().backward()
        found.append((len(runs), model[1].running_mean.tolist(), model[0].weight.grad.tolist()))
    assert found[0][0] == found[1][0] == 3
    np.testing.assert_allclose(found[0][1], found[1][1], 1e-5)
    np.testing.assert_allclose(found[0][2], found[1][2], 1e-4, 1e-6)
