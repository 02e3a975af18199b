"""Fourier transforms against PyTorch: sizes, axes, norms, errors, gradients; short-time and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg

torch: Any = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((3, 6))
COMPLEX = REAL + 1j * RNG.standard_normal((3, 6))
LONG = RNG.standard_normal((2, 40))
Call = Callable[[Any], Any]

WAYS: dict[str, list[dict[str, Any]]] = {
    "": [{}, {"n": 4}, {"n": 9}, {"dim": 0}, {"norm": "ortho"}, {"norm": "forward", "n": 7}],
    "2": [{}, {"s": (4, 5)}, {"norm": "ortho"}, {"s": (2, -1), "norm": "forward"}],
    "n": [{}, {"s": (4,)}, {"dim": (1, 0)}, {"norm": "forward"}, {"s": (-1, 3)}],
}
CASES = [
    (f"{word}{suffix}", way)
    for word in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
    for suffix, ways in WAYS.items()
    for way in ways
]


def _both(run: Call, *leaves: np.ndarray[Any, Any]) -> None:
    """The same values, dtypes and gradients in both libraries."""
    found: list[Any] = []
    for lib in (torch, sg):
        tensors = [lib.tensor(v, requires_grad=True) for v in leaves]
        made = run(lib, *tensors)  # type: ignore[call-arg]
        flat = lib.view_as_real(made.resolve_conj()) if made.is_complex() else made
        weights = lib.cos(lib.arange(flat.numel(), dtype=flat.dtype)).reshape(flat.shape)
        loss = (weights * flat * flat).sum()
        found.append([made, *lib.autograd.grad(loss, tensors)])
    for a, b in zip(*found, strict=True):
        assert repr(b.dtype) == str(a.dtype)
        assert tuple(b.shape) == tuple(a.shape)
        expected = a.detach().resolve_conj().numpy()
        np.testing.assert_allclose(b.detach().numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "way"), CASES)
def test_a_transform_is_pytorchs_with_its_gradient(name, way):
    given = REAL if name.startswith(("rfft", "ihfft")) else COMPLEX
    _both(lambda lib, x: getattr(lib.fft, name)(x, **way), given)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_more_axes_than_jax_transforms_at_once(name):
    given = RNG.standard_normal((2, 3, 2, 3, 2))
    _both(lambda lib, x: getattr(lib.fft, name)(x), given)


SHORT: dict[str, dict[str, Any]] = {
    "plain": {},
    "hop": {"hop_length": 3},
    "short window": {"win_length": 6},
    "not centered": {"center": False},
    "aligned": {"center": False, "align_to_window": True, "win_length": 6},
    "normalized": {"normalized": True},
    "both sides": {"onesided": False},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("weighted", [True, False])
def test_stft_and_back_is_pytorchs(name, weighted):
    way = dict(SHORT[name])
    length = way.get("win_length", 8)

    def there(lib: Any, x: Any) -> Any:
        window = lib.hamming_window(length, dtype=lib.float64) if weighted else None
        return lib.stft(x, 8, window=window, return_complex=True, **way)

    def back(lib: Any, x: Any) -> Any:
        window = lib.hamming_window(length, dtype=lib.float64) if weighted else None
        return lib.istft(there(lib, x) * 2, 8, window=window, **way)

    _both(there, LONG)
    _both(there, LONG[0])
    if name != "aligned" and (name != "short window" or weighted):
        _both(back, LONG)


@pytest.mark.filterwarnings("ignore")
def test_istft_to_a_length():
    for length in (30, 44):
        for lib in (torch, sg):
            assert lib.istft(lib.ones(5, 11) * (1 + 0j), 8, length=length).shape[-1] == length


def test_istft_inverts_stft():
    x = sg.tensor(LONG)
    window = sg.hann_window(16, dtype=sg.float64)
    z = sg.stft(x, 16, window=window, return_complex=True)
    np.testing.assert_allclose(sg.istft(z, 16, window=window).numpy(), LONG, atol=1e-12)


REFUSED: dict[str, Call] = {
    "norm": lambda lib: lib.fft.fft(lib.ones(3), norm="bad"),
    "no points": lambda lib: lib.fft.fft(lib.ones(3), n=0),
    "empty": lambda lib: lib.fft.fft(lib.zeros(0)),
    "rfft of complex": lambda lib: lib.fft.rfft(lib.ones(3) * 1j),
    "axis": lambda lib: lib.fft.fft2(lib.ones(3)),
    "same axis": lambda lib: lib.fft.fftn(lib.ones(2, 2), dim=(0, 0)),
    "lengths": lambda lib: lib.fft.fftn(lib.ones(2, 2), s=(2,), dim=(0, 1)),
    "half": lambda lib: lib.fft.fft(lib.ones(2, dtype=lib.float16)),
    "scalar": lambda lib: lib.fft.fft(lib.tensor(1.0)),
    "no return_complex": lambda lib: lib.stft(lib.ones(9), 4),
    "onesided": lambda lib: lib.stft(lib.ones(9) * 1j, 4, onesided=True),
    "aligned": lambda lib: lib.stft(lib.ones(9), 4, return_complex=True, align_to_window=True),
    "window": lambda lib: lib.stft(lib.ones(9), 4, window=lib.ones(3), return_complex=True),
    "real istft": lambda lib: lib.istft(lib.ones(3, 9), 4),
    "rows": lambda lib: lib.istft(lib.ones(4, 9) * 1j, 4, onesided=True),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_refuses_raises(name):
    for lib in (torch, sg):
        with pytest.raises((RuntimeError, IndexError)):
            REFUSED[name](lib)


TEXTS: dict[str, Call] = {
    "fftfreq": lambda lib: lib.fft.fftfreq(5, d=0.1),
    "rfftfreq": lambda lib: lib.fft.rfftfreq(6),
    "fftshift": lambda lib: lib.fft.fftshift(lib.arange(5)),
    "ifftshift": lambda lib: lib.fft.ifftshift(lib.arange(20).reshape(4, 5), dim=1),
    "whole numbers": lambda lib: lib.fft.fft(lib.arange(3)),
    "hann_window": lambda lib: lib.hann_window(5, periodic=False),
    "hamming_window": lambda lib: lib.hamming_window(5),
    "grad_fn": lambda lib: lib.fft.irfft(lib.ones(3, requires_grad=True)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_results_print_as_in_pytorch(name):
    assert repr(TEXTS[name](sg)) == repr(TEXTS[name](torch))


def test_formulas_say_the_transform():
    z = sg.symbols("z:n", dtype=sg.complex128)
    loss = sg.fft.fft(z).abs().square().sum()
    assert str(sg.fft.fft(z).formula()) == "fft(z)"
    assert str(sg.fft.ifft(z).formula()) == "ifft(z)"
    (g,) = sg.autograd.grad(loss, [z])
    assert str(g.formula()) == "n ifft(2 (|fft(z)| ⊙ sgn(fft(z))))"
