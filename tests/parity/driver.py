"""One row of PyTorch's own sample database (OpInfo), run in both libraries and compared.

``torch`` is only the reference; without it nothing here can be imported.
"""

from __future__ import annotations

import functools
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import symgrad as sg
from symgrad.tensors.creation import CAST_DTYPES

if "expecttest" not in sys.modules:  # torch's tables import it for a base class only
    stub: Any = types.ModuleType("expecttest")
    stub.TestCase = unittest.TestCase
    sys.modules["expecttest"] = stub

from torch.testing._internal.common_methods_invocations import op_db

TARGETS = Path(__file__).with_name("targets.txt")
OPEN = Path(__file__).with_name("open.txt")
TOLERANCE = {torch.float64: (1e-7, 1e-7), torch.float32: (1e-4, 2e-5),
             torch.complex128: (1e-7, 1e-7), torch.complex64: (1e-4, 2e-5),
             torch.float16: (2e-3, 2e-3), torch.bfloat16: (2e-2, 2e-2)}  # fmt: skip
"""Relative to the value, and absolute: of halves, relative to the largest value."""
HALVES = (torch.float16, torch.bfloat16)
ORDERS = {"sort": 0, "argsort": 0, "topk": 1}
"""Where equal entries may come in any order → where their dim stands among the arguments."""
RANDOM = {
    "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d", "multinomial",
    "normal", "bernoulli", "randn", "randn_like", "rand_like", "randint", "randint_like",
}  # fmt: skip
"""Only dtypes and shapes are compared: the streams of the two libraries differ."""


DROPS = {"nn.functional.multi_head_attention_forward": 9}
"""Where the probability of dropout stands among the arguments after the first."""


TIED = {"kthvalue": 1, "mode": 0}
"""PyTorch names any of equal entries: its place has to hold the value (where ``dim`` stands)."""


KEPT = {
    "logcumsumexp": "gradients in float32 are off by 3e-7 of 4.7 here, by 2e-3 in PyTorch",
    "nn.functional.layer_norm": "a gradient that is zero but for rounding: 2e-14 here, 8e-6 in PyTorch",
    "nn.functional.ctc_loss": "gradients in float32 are off by 7e-6 of 1.0 here, by 8e-5 in PyTorch",
    "matrix_exp": "gradients in float32 are off by 1.5e-6 of the largest, by 2e-7 in PyTorch",
}
"""Functions whose gradients in float32 differ from PyTorch's by more than the tolerance → why.

What is off is measured from PyTorch's own gradients in float64.
"""
NAN_THERE = {"subgradients_at_zero"}
"""Variants whose second derivatives are NaN in PyTorch, by 0/0, and 0 here: they are not compared."""
TRIANGULAR = {"cholesky_solve": 1, "cholesky_inverse": 0}
"""One triangle of the factor is read: its place among the arguments.  The gradient of the other is zero here, as finite differences
say; PyTorch fills it.  Both are given the triangle, as in PyTorch's own checks of gradients."""

HERMITIAN = {"cholesky", "linalg.cholesky", "linalg.cholesky_ex"}
"""Functions of Hermitian matrices: a gradient's other part means nothing.  Here it is zero, in PyTorch a diagonal in the middle of it
is not; both are given the Hermitian part of the matrix, as in PyTorch's own checks of gradients."""


@dataclass
class Target:
    """One entry of the list: tier, weight, OpInfo's name and variant."""

    tier: str
    weight: int
    name: str
    variant: str

    @property
    def title(self) -> str:
        return f"{self.name}|{self.variant}" if self.variant else self.name


@dataclass
class Found:
    """What came of a target."""

    target: Target
    missing: bool = False
    equal: int = 0
    wrong: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> str:
        if self.missing:
            return "missing"
        if self.wrong and self.target.name in KEPT and all(map(_narrow_gradient, self.wrong)):
            return "kept"
        return "differs" if self.wrong else ("equal" if self.equal else "untested")


def _narrow_gradient(reason: str) -> bool:
    return reason.startswith("float32 gradient")


def targets() -> list[Target]:
    """The list, in its order."""
    made: list[Target] = []
    for line in TARGETS.read_text().splitlines():
        tier, weight, path = line.split()
        name, _, variant = path.partition("|")
        made.append(Target(tier, int(weight), name, variant))
    return made


def open_titles() -> set[str]:
    """Entries known to be missing or to differ: every other one is expected to be equal."""
    return {line.split()[0] for line in OPEN.read_text().splitlines() if line}


@functools.cache
def infos() -> dict[tuple[str, str], Any]:
    """OpInfo by (name, variant)."""
    return {(o.name, o.variant_test_name): o for o in op_db}


def info_of(target: Target) -> Any:
    """The OpInfo of a target."""
    name = target.name.removeprefix("Tensor.")
    return infos().get((name, target.variant)) or infos()[(target.name, target.variant)]


# ------------------------------------------------------------------ our function of a name


ADAPTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("meshgrid", "variadic_tensors"): lambda first, *rest, **k: sg.meshgrid(
        *([first] if isinstance(first, sg.Tensor) else first), *rest, **k),
    ("einsum", ""): lambda tensors, equation: sg.einsum(equation, tensors),
    ("nn.functional.embedding", ""): lambda weight, idx, **k: sg.nn.functional.embedding(
        idx, weight, **k),
    ("nn.functional.embedding_bag", ""): lambda weight, idx, **k: sg.nn.functional.embedding_bag(
        idx, weight, **k),
    ("polygamma", "polygamma_n_0"): lambda x, n, **k: sg.polygamma(n, x, **k),
    ("polygamma", "polygamma_n_1"): lambda x, n, **k: sg.polygamma(n, x, **k),
    ("where", ""): lambda self, condition, other: sg.where(condition, self, other),
    ("linalg.lstsq", "grad_oriented"): lambda a, b, driver: sg.linalg.lstsq(
        a, b, driver=driver)[:2],
    ("linalg.pinv", "singular"): lambda a, b: sg.linalg.pinv(a @ b.mT),
}  # fmt: skip
"""Samples whose arguments stand in another order than the function's."""

PROPERTIES = {"T", "mT"}


def ours(target: Target) -> Callable[..., Any] | None:
    """The function of this name, or the method, or None."""
    name = target.name.removeprefix("Tensor.")
    if (name, target.variant) in ADAPTED:
        probe: Any = sg
        for word in name.split("."):
            probe = getattr(probe, word, None)
        return ADAPTED[name, target.variant] if probe is not None else None
    if name in PROPERTIES:
        return lambda t: getattr(t, name)
    if target.name.startswith("Tensor."):
        return getattr(sg.Tensor, name, None)
    place: Any = sg
    for word in name.split("."):
        place = getattr(place, word, None)
        if place is None:
            return None if "." in name else getattr(sg.Tensor, name, None)
    return place


# ------------------------------------------------------------------ arguments there and here


def dtype_here(d: torch.dtype) -> Any:
    """The dtype of the same name."""
    return getattr(sg, str(d).removeprefix("torch."), None) or CAST_DTYPES[str(d)[6:]]


def here(v: Any, leaves: list[Any]) -> Any:
    """A torch argument as ours; tracked tensors are noted in ``leaves`` as pairs."""
    if isinstance(v, torch.Tensor):
        plain = v.detach().resolve_conj()
        if v.dtype is torch.bfloat16:
            made = sg.tensor(plain.float().numpy()).to(sg.bfloat16)
        else:
            made = sg.tensor(plain.contiguous().numpy().copy())
        if v.requires_grad:
            made.requires_grad_()
            leaves.append((v, made))
        return made
    if isinstance(v, torch.dtype):
        return dtype_here(v)
    if isinstance(v, torch.Size):
        return tuple(v)
    if isinstance(v, torch.device):
        return "cpu"
    if isinstance(v, (list, tuple)):
        made = [here(x, leaves) for x in v]
        return tuple(made) if isinstance(v, tuple) else made
    if isinstance(v, dict):
        return {k: here(x, leaves) for k, x in v.items()}
    if callable(v) and getattr(v, "__module__", "").startswith("torch"):
        return getattr(sg.nn.functional, getattr(v, "__name__", ""), None) or (
            getattr(sg.nn, type(v).__name__)()
        )
    return v


def flat(v: Any) -> list[Any]:
    """The results as a list."""
    if isinstance(v, (list, tuple)):
        return [x for e in v for x in flat(e)]
    return [v]


def _numpy(t: Any) -> Any:
    if isinstance(t, torch.Tensor):
        t = t.detach()
        t = torch.zeros(t.shape, dtype=t.dtype) if t._is_zerotensor() else t
        return (t.float() if t.dtype is torch.bfloat16 else t).resolve_conj().numpy()
    if isinstance(t, sg.Tensor):
        t = t.detach()
        return np.asarray((t.float() if t.dtype is sg.bfloat16 else t).numpy())
    return np.asarray(t)


class Difference(AssertionError):  # noqa: N818 - a finding
    """The libraries do not agree."""


def close(a: Any, b: Any, dtype: torch.dtype, what: str) -> None:
    """Raise Difference where values differ beyond the dtype's tolerance."""
    rtol, atol = TOLERANCE.get(dtype, (1e-6, 1e-6))
    first, second = _numpy(a), _numpy(b)
    if first.shape != second.shape:
        raise Difference(f"{what}: shape {first.shape} is {second.shape} here")
    if dtype in HALVES:
        largest = np.max(np.abs(first), initial=0, where=np.isfinite(first))
        atol *= max(float(largest), 1e-3)
    if not np.allclose(first, second, rtol, atol, equal_nan=True):
        raise Difference(f"{what}: values")


def same(a: Any, b: Any, dtype: torch.dtype, what: str, random: bool) -> None:
    """Raise Difference where one result is not the other."""
    if isinstance(a, torch.Tensor) != isinstance(b, sg.Tensor):
        raise Difference(f"{what}: type {type(b).__name__}")
    if not isinstance(a, torch.Tensor):
        if (
            isinstance(a, (bool, int, float))
            and not random
            and not np.allclose(a, b, 1e-5, 1e-6, equal_nan=True)
        ):
            raise Difference(f"{what}: number")
        return
    if str(a.dtype) != repr(b.dtype):
        raise Difference(f"{what}: dtype {a.dtype} is {b.dtype!r} here")
    if tuple(a.shape) != tuple(b.shape):
        raise Difference(f"{what}: shape {tuple(a.shape)} is {tuple(b.shape)} here")
    if not random:
        close(a, b, a.dtype if a.dtype in TOLERANCE else dtype, what)


# ------------------------------------------------------------------ gradients


def _weights(shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    n = int(np.prod(shape, dtype=np.int64))
    return np.cos(0.7 * np.arange(n) + 0.3).reshape(tuple(shape)).astype(dtype)


def _weighted(results: list[Any], lib: Any, make: Callable[[Any], Any]) -> Any:
    total = None
    for r in results:
        r = lib.view_as_real(r.resolve_conj()) if r.is_complex() else r
        kind = "float64" if "64" in repr(r.dtype) else "float32"
        part = (r * make(_weights(r.shape, kind)).to(r.dtype)).sum()
        total = part if total is None else total + part
    return total


def gradients(
    results: tuple[list[Any], list[Any]], leaves: list[Any], dtype: Any, second: bool
) -> None:
    """Compare the gradients of a weighted sum, and their gradients."""
    pairs = [
        (a, b)
        for a, b in zip(*results, strict=True)
        if isinstance(a, torch.Tensor) and a.requires_grad
    ]
    if not pairs or not leaves:
        return
    for _, b in pairs:
        if not b.requires_grad:
            raise Difference("gradient: the result is not tracked")
    xs, ys = [a for a, _ in leaves], [b for _, b in leaves]
    there = _weighted([a for a, _ in pairs], torch, torch.from_numpy)
    here_ = _weighted([b for _, b in pairs], sg, sg.tensor)
    g1 = torch.autograd.grad(there, xs, create_graph=second, allow_unused=True)
    g2 = sg.autograd.grad(here_, ys, create_graph=second, allow_unused=True)
    for a, b in zip(g1, g2, strict=True):
        _gradient_close(a, b, dtype, "gradient")
    tracked = [
        (a, b)
        for a, b in zip(g1, g2, strict=True)
        if a is not None and b is not None and a.requires_grad
    ]
    if not second or not tracked:
        return
    there = _weighted([a for a, _ in tracked], torch, torch.from_numpy)
    try:
        h1 = torch.autograd.grad(there, xs, allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return
    here_ = _weighted([b for _, b in tracked], sg, sg.tensor)
    if not here_.requires_grad:
        h2: Any = [None] * len(ys)
    else:
        h2 = sg.autograd.grad(here_, ys, allow_unused=True)
    for a, b in zip(h1, h2, strict=True):
        _gradient_close(a, b, dtype, "second gradient")


def _gradient_close(a: Any, b: Any, dtype: Any, what: str) -> None:
    if a is None or b is None:
        known = b if a is None else a
        if known is not None and np.any(_numpy(known) != 0):
            raise Difference(f"{what}: None on one side")
        return
    close(a, b, a.dtype if a.dtype in TOLERANCE else dtype, what)


# ------------------------------------------------------------------ a whole target


def samples(info: Any, dtype: torch.dtype, limit: int) -> Iterator[Any]:
    """Samples of an OpInfo in one dtype, spread over all it has."""
    tracked = (dtype.is_floating_point or dtype.is_complex) and info.supports_autograd
    torch.manual_seed(0)
    made = list(info.sample_inputs("cpu", dtype, requires_grad=tracked))
    step = max(1, -(-len(made) // limit))
    return iter(made[::step])


def dtypes_of(info: Any, wanted: tuple[torch.dtype, ...]) -> list[torch.dtype]:
    """Those of the wanted dtypes that PyTorch supports."""
    known = info.supported_dtypes("cpu")
    return [d for d in wanted if d in known]


def _there(info: Any, sample: Any, wrap: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrap(info.op, sample.input, *sample.args, **sample.kwargs)


def _wrapped(name: str) -> Callable[..., Any]:
    """Call a function with the triangle of the factor, or the Hermitian part, that it reads."""

    def call(run: Any, *args: Any, **kwargs: Any) -> Any:
        if name in TRIANGULAR:
            k = TRIANGULAR[name]
            read = args[k].triu() if kwargs.get("upper") else args[k].tril()
            args = (*args[:k], read, *args[k + 1 :])
        if name in HERMITIAN:
            args = ((args[0] + args[0].mH) / 2, *args[1:])
        return run(*args, **kwargs)

    return call


def _by_value(name: str, sample: Any, there: list[Any], here_: list[Any]) -> None:
    """Positions, the last result, as the values that stand there."""
    at = ORDERS[name]
    dim = sample.args[at] if len(sample.args) > at else sample.kwargs.get("dim", -1)
    if sample.input.ndim and repr(here_[-1].dtype) == str(there[-1].dtype):
        held = sample.input.detach()
        there[-1] = held.gather(dim, there[-1])
        here_[-1] = here(held.gather(dim, torch.from_numpy(np.array(_numpy(here_[-1])))), [])


def compare(info: Any, run: Any, sample: Any, dtype: torch.dtype, second: bool) -> str | None:
    """None where the libraries agree on a sample, else the reason; "skip" where torch raises."""
    leaves: list[Any] = []
    wrap = _wrapped(info.name)
    try:
        expected = _there(info, sample, wrap)
    except Exception:  # noqa: BLE001 - the reference does not take this sample
        return "skip"
    try:
        first = here(sample.input, leaves)
        args, kwargs = here(sample.args, leaves), here(sample.kwargs, leaves)
        found = wrap(run, first, *args, **kwargs)
        process = sample.output_process_fn_grad
        expected, found = process(expected), process(found)
        a, b = flat(expected), flat(found)
        if len(a) != len(b):
            raise Difference(f"{len(a)} results are {len(b)} here")  # noqa: TRY301
        if info.name in ORDERS and not sample.kwargs.get("stable"):
            _by_value(info.name, sample, a, b)
        random = info.name in RANDOM or sample.kwargs.get("dropout_p", 0) > 0
        random = random or (info.name in DROPS and sample.args[DROPS[info.name]] > 0)
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, dtype, "result", random or (k == 1 and info.name in TIED))
        if info.name in TIED:
            _places(sample, TIED[info.name], *b)
        if not random:
            second = second and info.variant_test_name not in NAN_THERE
            gradients((a, b), leaves, dtype, second and info.supports_gradgrad)
    except Difference as wrong:
        return f"{str(dtype)[6:]} {wrong}"
    except Exception as wrong:  # noqa: BLE001 - the reason is the result
        text = str(wrong).splitlines()[0][:110] if str(wrong) else ""
        return f"{str(dtype)[6:]} {type(wrong).__name__}: {text}"
    return None


def _places(sample: Any, at: int, values: Any, places: Any) -> None:
    """Raise Difference where the input has not the values at these places."""
    dim = sample.args[at] if len(sample.args) > at else sample.kwargs.get("dim", -1)
    entries, wanted, index = (_numpy(t) for t in (sample.input, values, places))
    if entries.ndim:
        if index.ndim < entries.ndim:
            wanted, index = (np.expand_dims(t, dim) for t in (wanted, index))
        entries = np.take_along_axis(entries, index, dim)
    if not np.array_equal(entries, wanted, equal_nan=entries.dtype.kind == "f"):
        raise Difference("result: places")


WANTED = (torch.float64, torch.float32, torch.int64, torch.bool)


def check(target: Target, limit: int = 8, wanted: tuple[Any, ...] = WANTED) -> Found:
    """Run the samples of a target through both libraries."""
    found = Found(target)
    info, run = info_of(target), ours(target)
    if run is None:
        found.missing = True
        return found
    for dtype in dtypes_of(info, wanted):
        for k, sample in enumerate(samples(info, dtype, limit)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reason = compare(
                    info, run, sample, dtype, dtype in (torch.float64, torch.complex128) and k < 4
                )
            if reason is None:
                found.equal += 1
            elif reason != "skip":
                found.wrong[reason] = found.wrong.get(reason, 0) + 1
    return found


__all__ = ["Found", "Target", "check", "compare", "info_of", "open_titles", "ours", "targets"]
