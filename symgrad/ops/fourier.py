"""Discrete Fourier transforms: linear maps, and each adjoint another of them.

``fft``   Y[k] = Σⱼ exp(−2π i j k / n) x[j], along one to three axes;  adjoint n · ifft
``ifft``  its inverse, with 1/n;  adjoint fft / n
``rfft``  the first n // 2 + 1 entries of fft of real numbers (the others are their conjugates)
``irfft`` the n real numbers that such entries came from

Axes are counted from the end, so that an adjoint with extra leading axes needs no change of rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.core.build import elementwise, scale
from symgrad.core.dtypes import DType, complex_of, real_of
from symgrad.core.expr import Expr, apply
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Monomial, Shape, monomial, size_product, whole_number
from symgrad.ops.row import COMPLEX, Template, form
from symgrad.ops.structure import pad, slice_axis

Inferred = tuple[Shape, DType]
MOST = 3
"""Axes of one transform in JAX."""


def _with_axis(shape: Shape, axis: int, size: int) -> Shape:
    place = axis + len(shape)
    return (*shape[:place], size, *shape[place + 1 :])


def _same(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    return args[0].shape, args[0].dtype


def _half(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    (e,), ((axis,),) = args, params
    n = whole_number(e.shape[axis], "rfft")
    return _with_axis(e.shape, axis, n // 2 + 1), complex_of(e.dtype)


def _whole(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Inferred:
    (e,), ((axis,), n) = args, params
    return _with_axis(e.shape, axis, n), real_of(e.dtype)


def _template(name: str) -> Callable[[Expr], Template]:
    """``jnp.fft.fft({0}, axis=-1)``, or ``fftn`` with ``axes`` where there are several."""

    def template(node: Expr) -> Template:
        axes, *length = node.params
        many = len(axes) > 1
        given = f"axes={axes}" if many else f"axis={axes[0]}"
        text = f"fft.{name}{'n' * many}({{0}}{''.join(f', {n}' for n in length)}, {given})"
        # NumPy computes in double precision
        return form(f"jnp.{text}", f"np.{text}.astype(np.{node.dtype.name})")

    return template


def _count(node: Expr) -> Monomial:
    return monomial(size_product(tuple(node.shape[k] for k in node.params[0])))


def _rfft_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """x̄ = Re(n ifft(ḡ, 0, …)): the entries left out have no part."""
    ((axis,),) = node.params
    n = node.args[0].shape[axis]
    widths = [(0, n - node.shape[axis]), *[(0, 0)] * (-axis - 1)]
    return (scale(n, elementwise("real", ifft(pad(g, widths), (axis,)))),)


def _irfft_vjp(node: Expr, g: Expr) -> tuple[Expr]:
    """z̄ = rfft(ḡ) / n, twice that for the entries that stand for their conjugates, too."""
    (axis,), n = node.params
    all_ = rfft(g, axis)
    stop = (n + 1) // 2
    twice = slice_axis(all_, axis, 1, stop)
    widths = [(1, n // 2 + 1 - stop), *[(0, 0)] * (-axis - 1)]
    return (scale(monomial(n) ** -1, all_ + pad(twice, widths) if stop > 1 else all_),)


Op("fft", "fourier", infer=_same, template=_template("fft"), text="fft", traits=COMPLEX,
   vjp=lambda node, g: (scale(_count(node), ifft(g, node.params[0])),))  # fmt: skip
Op("ifft", "fourier", infer=_same, template=_template("ifft"), text="ifft", traits=COMPLEX,
   vjp=lambda node, g: (scale(_count(node) ** -1, fft(g, node.params[0])),))  # fmt: skip
Op("rfft", "fourier", infer=_half, template=_template("rfft"), text="rfft", traits=COMPLEX,
   vjp=_rfft_vjp)  # fmt: skip
Op("irfft", "fourier", infer=_whole, template=_template("irfft"), text="irfft", traits=COMPLEX,
   vjp=_irfft_vjp)  # fmt: skip


def _several(name: str, e: Expr, axes: Sequence[int]) -> Expr:
    for k in range(0, len(axes), MOST):
        e = apply(OPS[name], (e,), (tuple(sorted(axes[k : k + MOST])),))
    return e


def fft(e: Expr, axes: Sequence[int]) -> Expr:
    """The transform of complex numbers along ``axes``, counted from the end."""
    return _several("fft", e, axes)


def ifft(e: Expr, axes: Sequence[int]) -> Expr:
    """The inverse of :func:`fft`."""
    return _several("ifft", e, axes)


def rfft(e: Expr, axis: int) -> Expr:
    """The first half of the transform of real numbers along an axis, counted from the end."""
    return apply(OPS["rfft"], (e,), ((axis,),))


def irfft(e: Expr, axis: int, n: int) -> Expr:
    """``n`` real numbers whose transform begins with the n // 2 + 1 entries of ``e``."""
    return apply(OPS["irfft"], (e,), ((axis,), n))
