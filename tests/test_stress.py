"""Many shapes, many threads, many updates: memory comes back, tables stay small, results the same."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from symgrad_codegen import compile as codegen

import symgrad as sg
from symgrad import nn
from symgrad.core.build import elementwise, scale
from symgrad.recording import execute, tracked
from symgrad.recording.settle import DEEP

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
MEGABYTE = 1 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


# ------------------------------------------------------------------ tables

BOUNDED = {
    "symgrad.recording.execute._patterns": "CACHE",
    "symgrad.recording.record._CALLS": "TABLE",
    "symgrad.recording.record._KINDS": "TABLE",
    "symgrad.recording.recall._known": "TABLE",
    "symgrad.recording.tracked._known": "KNOWN",
    "symgrad.autograd.custom._CALLS": "CALLS",
}
"""Table → the constant of its module that says how long it may be."""

OTHERWISE = {
    "symgrad.recording.execute._recent": "of the entries of _patterns",
    "symgrad_codegen.compile._cache": "knows its size",
    "symgrad_codegen.compile._users": "an entry goes with the one of _cache",
    "symgrad.core.expr._TABLE": "weak",
    "symgrad.tensors.leaf_symbols.CHOSEN": "weak",
    "symgrad.recording.sweeps.applied": "weak",
    "symgrad.tensors.leaf_symbols.DECLARED_AS": "weak",
    "symgrad.tracing.symbolic._declared": "weak",
    "symgrad.core.equal._declared": "what the user declared and has not withdrawn",
    "symgrad.core.kinds.LISTENERS": "within a with statement",
    "symgrad.transforms.derivatives._OPEN": "within a with statement",
    "symgrad.core.sizes._SUMS": "one entry per sum of letters that a program writes as a size",
    "symgrad.core.sizes._FLOORS": "one entry per size rounded down that a program writes",
    "symgrad.core.expr._ALGEBRA": "filled at import",
    "symgrad.core.op.OPS": "filled at import",
    "symgrad.functional.table.FUNCTIONS": "filled at import",
    "symgrad.tensors.several.METHODS": "filled at import",
    "symgrad.tensors.surface.CAST_DTYPES": "filled at import",
    "symgrad.recording.grad_fn._GRAD_FNS": "one class per name of a function",
}
"""Table → why it needs no such constant."""

EMPTY = {"OrderedDict", "dict", "list", "set", "WeakKeyDictionary", "WeakValueDictionary"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the library with its text."""
    for top in (ROOT / "symgrad", ROOT / "codegen" / "symgrad_codegen"):
        for path in sorted(top.rglob("*.py")):
            name = ".".join(path.relative_to(top.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"))


def starts_empty(value: ast.expr | None) -> bool:
    """Is this a container that something is put into later?"""
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, (ast.List, ast.Set)):
        return not value.elts
    if not isinstance(value, ast.Call):
        return False
    word = ast.unparse(value.func).rpartition(".")[2]
    return word == "_Cache" or (word in EMPTY and not value.args)


def test_every_table_of_the_library_has_a_bound():
    found: set[str] = set()
    for name, tree in modules():
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", 0)
            if isinstance(target, ast.Name) and starts_empty(getattr(node, "value", None)):
                found.add(f"{name}.{target.id}")
    assert found == {*BOUNDED, *OTHERWISE}


def test_every_memoised_function_has_a_bound():
    for name, tree in modules():
        for node in ast.walk(tree):
            for decorator in getattr(node, "decorator_list", ()):
                text = ast.unparse(decorator)
                if "cached_property" not in text and text.rpartition(".")[2].startswith("cache"):
                    pytest.fail(f"{name}: {text} has no bound; write lru_cache(maxsize=...)")
                assert "lru_cache(None" not in text
                assert "maxsize=None" not in text


class Scaled(sg.autograd.Function):
    """Another number on its context for every call."""

    @staticmethod
    def forward(ctx: Any, x: Any, scale: float) -> Any:
        ctx.scale = scale
        return x * scale

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.scale, None


def visit(size: int) -> float:
    """A graph of its own for every size, with a derivative; the second time it is compiled."""
    x = sg.tensor(np.full((size, 2), 0.5, np.float32), requires_grad=True)
    nn.Sequential(nn.Tanh(), nn.Sigmoid())(x)
    Scaled.apply(x.tanh() + 1, float(size)).sum().backward()
    return x.grad.sum().item()


def test_tables_keep_to_their_bounds(monkeypatch):
    small = 5
    tables: dict[str, Any] = {}
    for name, constant in BOUNDED.items():
        module, _, table = name.rpartition(".")
        monkeypatch.setattr(importlib.import_module(module), constant, small)
        tables[name] = getattr(importlib.import_module(module), table)
        tables[name].clear()
    execute._recent.clear()
    codegen.clear_cache()
    monkeypatch.setattr(codegen._cache, "size", small)
    modules_before = len(codegen._users)
    for size in range(2, 12):
        found = [visit(size) for _ in range(2)]
        assert found == pytest.approx([2 * size**2 * (1 - np.tanh(0.5) ** 2)] * 2, rel=1e-5)
        for name, table in tables.items():
            assert len(table) <= small + 1, name
        assert len(execute._recent) <= small
        assert all(len(listed) <= execute.RECENT for listed in execute._recent.values())
        assert all(len(listed) <= tracked.RECENT for listed in tracked._known.values())
        assert codegen.cache_info()[0] <= small
        assert len(codegen._users) <= modules_before + small


def test_a_compiled_function_forgets_kinds_of_arguments(monkeypatch):
    monkeypatch.setattr("symgrad.tracing.step.VARIANTS", 3)
    double = sg.compile(lambda x: x * 2)
    for size in range(1, 8):
        assert double(sg.ones(size)).sum().item() == 2 * size
        assert len(double._variants) <= 3
    assert double(sg.ones(7)).sum().item() == 14


# ------------------------------------------------------------------ shapes and memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_thousand_shapes_leave_no_memory_behind():
    """600 MB go through one function; what stays is a few kilobytes per shape."""

    def step(size: int) -> float:
        x = sg.tensor(np.ones((size, 256), np.float32), requires_grad=True)
        (x * 2 + 1).sum().backward()
        return x.grad.sum().item()

    step(5)
    step(5)
    gc.collect()
    before = resident()
    for size in range(100, 1100):
        assert step(size) == 512 * size
    gc.collect()
    assert resident() - before < 100 * MEGABYTE


UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "in place": lambda a, x: a.mul_(0.9).add_(x, alpha=0.1),
    "average": lambda a, x: 0.9 * a + 0.1 * x,
    "read every time": lambda a, x: sg.where(read(a) > 2, a, 0.9 * a + 0.1 * x),
    "through a view": lambda a, x: a[:1].mul_(0.5) is None or a.add_(x * 0.1),
}


def read(a: Any) -> Any:
    """The tensor, after its value was asked for."""
    a.sum().item()
    return a


@pytest.mark.parametrize("name", UPDATES)
def test_updates_without_end_stay_bounded(name):
    count = {"in place": 50_000, "average": 50_000}.get(name, 2_000)
    x, total = sg.ones(3), sg.zeros(3)
    expected = UPDATES[name](sg.zeros(3), x)
    deepest = 0
    for k in range(count):
        total = UPDATES[name](total, x)
        deepest = max(deepest, total._storage.node.depth)
        if k == 1000:
            begun = resident()
    assert deepest <= 2 * DEEP
    assert resident() - begun < 60 * MEGABYTE
    assert expected.shape == total.shape
    if "view" not in name:
        np.testing.assert_allclose(total.numpy(), 1, rtol=1e-4)


def test_a_large_state_forgets_its_past():
    state = sg.ones(1_000_000)
    state = state * 1
    begun, most = resident(), 0
    for _ in range(300):
        state = 0.5 * state + 0.5
        assert state[0].item() == 1
        most = max(most, resident() - begun)
    assert most < 400 * MEGABYTE  # the values of all steps are 1.2 GB


def test_gradients_that_add_up_unread_stay_bounded():
    w, x = sg.ones(3, requires_grad=True), sg.ones(3)
    for _ in range(3 * DEEP):
        (w * x).sum().backward()
        assert w.grad._storage.node.depth <= 2 * DEEP
    assert w.grad.tolist() == [3 * DEEP] * 3


def test_symbols_without_values_may_go_deep():
    n = sg.symbols("n", sg.int64)
    deep = n
    for _ in range(3 * DEEP):
        deep = deep + 1
    assert deep._storage.node.depth == 3 * DEEP
    assert str(deep.formula()) == f"n + {3 * DEEP}"


# ------------------------------------------------------------------ threads

X = RNG.standard_normal((16, 4), np.float32)
Y = RNG.integers(0, 3, 16)


def training(seed: int, x: Any, y: Any, frozen: Any) -> list[float]:
    """A model of its own over shared data and a shared matrix; its losses."""
    rng = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    with sg.no_grad():
        for p in model.parameters():
            p.copy_(sg.tensor(0.5 * rng.standard_normal(tuple(p.shape)).astype(np.float32)))
    kind = [sg.optim.Adam, sg.optim.SGD][seed % 2]
    optimizer = kind(model.parameters(), lr=0.05)
    losses: list[float] = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x @ frozen), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def slopes(seed: int, x: Any, y: Any, frozen: Any) -> list[float]:
    """Gradients with respect to a leaf that other threads differentiate for, too."""
    found: list[float] = []
    for k in range(1, 12):
        value = ((x[: k + seed] @ frozen).tanh() ** 2).sum()
        (slope,) = sg.autograd.grad(value, [frozen], create_graph=True)
        (curve,) = sg.autograd.grad((slope**2).sum(), [frozen])
        found += [value.item(), slope.sum().item(), curve.sum().item()]
    return found


def modes(seed: int, x: Any, y: Any, frozen: Any) -> list[float]:
    """What one thread switches is not switched in another."""
    found: list[float] = []
    for _ in range(50):
        with sg.no_grad():
            found.append(float((x @ frozen).requires_grad))
        found.append(float((x @ frozen).requires_grad))
    return found


def averages(seed: int, x: Any, y: Any, frozen: Any) -> list[float]:
    """Updates in place, without a derivative."""
    total = sg.zeros(4)
    for _ in range(3 * DEEP):
        total.mul_(0.9).add_(frozen.detach()[0] * (seed % 2))
    return total.tolist()


def shown(seed: int, x: Any, y: Any, frozen: Any) -> list[float]:
    """Formulas, and batches by vmap."""
    given = frozen.detach() + seed
    assert "tanh" in str((given @ given).tanh().sum().formula())
    by_row = sg.func.vmap(sg.func.grad(lambda v: (v.sin() * v).sum()))
    return [by_row(x * k).sum().item() for k in range(5)]


def together(work: Callable[[int], Any]) -> list[Any]:
    """What eight threads that start at once and change turns often return."""
    found: dict[int, Any] = {}
    ready = threading.Barrier(8)

    def run(k: int) -> None:
        ready.wait()
        try:
            found[k] = work(k)
        except BaseException as problem:  # noqa: BLE001 - raised below
            found[k] = problem

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for result in found.values():
        if isinstance(result, BaseException):
            raise result
    return [found[k] for k in range(8)]


@pytest.mark.parametrize("job", [training, slopes, modes, averages, shown, "mixed"])
def test_eight_threads_find_what_one_finds(job):
    jobs = [training, slopes, modes, averages, shown] if job == "mixed" else [job]
    half = sg.tensor(np.eye(4, dtype=np.float32) / 2, requires_grad=True)
    shared = sg.tensor(X), sg.tensor(Y), half
    found = together(lambda k: jobs[k % len(jobs)](k, *shared))
    for k in range(8):
        alone = jobs[k % len(jobs)](k, *shared)
        np.testing.assert_allclose(found[k], alone, rtol=2e-4, atol=1e-5)


def test_threads_make_and_drop_one_node(monkeypatch):
    """Nodes with the same parts are one, while other threads forget them."""
    problems, twins = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda a: problems.append(a.exc_value))
    x = sg.symbol("x", "4", sg.float64).expr()

    def work(_: int) -> None:
        for k in range(6000):
            number = 0.5 + k % 50 / 1000  # compared in Python, where threads change
            first, second = scale(number, x), scale(number, x)
            twins.extend([k] * (first is not second))

    together(work)
    assert (problems, twins) == ([], [])


def test_threads_add_to_one_gradient():
    w, x = sg.ones(3, requires_grad=True), sg.ones(3)

    def work(_: int) -> None:
        for _ in range(50):
            (w * x).sum().backward()

    together(work)
    assert w.grad.tolist() == [400, 400, 400]


def test_a_model_is_read_while_it_is_trained():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x, y = sg.tensor(X), sg.tensor(Y)
    done = threading.Event()

    def train() -> None:
        optimizer = sg.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    def work(k: int) -> None:
        if k == 0:
            try:
                train()
            finally:
                done.set()
        while not done.is_set():
            with sg.no_grad():
                assert np.isfinite(model(x).sum().item())

    together(work)


def test_threads_that_build_the_same_expression_get_the_same_node():
    for k in range(60):
        x = sg.symbol("x", f"{k + 2}").expr()

        def build(_: int, x: Any = x) -> Any:
            e = x
            for _ in range(20):
                e = elementwise("tanh", e)
            return e

        assert len({id(e) for e in together(build)}) == 1
