"""The update rules of matrices: Adafactor's factored variance, Muon's orthogonal steps.

Letters as in :mod:`symgrad.optim.rules`.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from symgrad.core.build import cast, constant, elementwise, matmul, reduce_sum, transpose
from symgrad.core.dtypes import bfloat16, float32
from symgrad.core.expr import Expr
from symgrad.core.sizes import Shape, whole_number
from symgrad.functional.shape import mean
from symgrad.optim.row import (
    Hyper,
    Row,
    Scalar,
    Scalars,
    Slot,
    State,
    Updated,
    complement,
    raised,
    smaller,
    sqrt,
)

# ------------------------------------------------------------------ Adafactor


def _rows(shape: Shape) -> Shape | None:
    return (*shape[:-1], 1) if len(shape) > 1 else None


def _columns(shape: Shape) -> Shape | None:
    return (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else None


def _vector(shape: Shape) -> Shape | None:
    return shape if len(shape) < 2 else None


def _adafactor_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    named = ("d", "eps1", "eps2")
    new = raised(step, h["beta2_decay"])
    return {name: h[name] for name in named if h[name] is not None} | {
        "new": new,
        "old": 1 - new,
        "rate": smaller(h["lr"], 1 / sqrt(step)),
        "keep": complement(h["lr"] * h["weight_decay"]),
    }


def _at_least(e: Expr, bound: Any) -> Expr:
    return elementwise("maximum", e, bound if isinstance(bound, Expr) else constant(bound, e.dtype))


def _adafactor(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = -g if h["maximize"] else g
    eps = s.get("eps1", float(ml_dtypes.finfo(p.dtype.numpy).eps))
    rate = _at_least(sqrt(mean(p * p)), s["eps2"]) * s["rate"]
    p = s["keep"] * p if h["weight_decay"] else p
    square = g * g
    if p.ndim < 2:
        spread = s["old"] * state["variance"] + s["new"] * square
        new = {"variance": spread}
    else:
        rows = s["old"] * state["row_var"] + s["new"] * mean(square, -1, True)
        columns = s["old"] * state["col_var"] + s["new"] * mean(square, -2, True)
        spread = rows * columns / _at_least(mean(rows, -2, True), eps)
        new = {"row_var": rows, "col_var": columns}
    change = g / sqrt(_at_least(spread, eps * eps))
    return p - rate / _at_least(sqrt(mean(change * change)) / s["d"], 1.0) * change, new


ADAFACTOR = Row(
    "Adafactor",
    {
        "lr": 1e-2,
        "beta2_decay": -0.8,
        "eps1": None,
        "eps2": 1e-3,
        "d": 1.0,
        "weight_decay": 0.0,
        "maximize": False,
    },
    ("weight_decay", "maximize"),
    (
        Slot("row_var", shape=_rows),
        Slot("col_var", shape=_columns),
        Slot("variance", shape=_vector),
    ),
    _adafactor_scalars,
    _adafactor,
    "R, C ← averages of the row and column means of g² with weight t^τ;  v = R C / mean R "
    "(vectors: v ← average of g²);  u = g / max(√v, ε₁);  "
    "p ← p − max(ε₂, rms p) min(η, 1/√t) u / max(1, rms(u) / d)",
    of_complex="not",
)


# ------------------------------------------------------------------ Muon


def _muon_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    del step
    named = ("lr", "momentum", "a", "b", "c", "eps")
    return {name: h[name] for name in named} | {
        "rest": complement(h["momentum"]),
        "keep": complement(h["lr"] * h["weight_decay"]),
    }


def _rounded(e: Expr) -> Expr:
    """To the next number of bfloat16, in float32."""
    return cast(cast(e, bfloat16), float32)


def _orthogonal(g: Expr, s: Scalars, steps: int) -> Expr:
    """Singular values near 1: ``X ← a X + (b A + c A²) X`` with ``A = X Xᵀ``.

    Each line is rounded to bfloat16 where PyTorch's kernels round: small singular values are
    enlarged 480 times, so another place would show in the second digit.
    """
    a, b, c, eps = (cast(v, float32) if isinstance(v := s[k], Expr) else v for k in _NAMES)
    x = _rounded(g)
    x = _rounded(x / _at_least(_rounded(sqrt(reduce_sum(x * x, (0, 1)))), eps))
    for _ in range(steps):
        gram = _rounded(matmul(x, transpose(x)))
        change = _rounded(b * gram + c * matmul(gram, gram))
        x = _rounded(a * x + matmul(change, x))
    return cast(x, g.dtype)


_NAMES = ("a", "b", "c", "eps")


def _adjusted(rows: int, columns: int, how: str | None) -> float:
    """The factor of the learning rate for a matrix of this shape."""
    if how == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def _muon(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    average = s["momentum"] * state["momentum_buffer"] + s["rest"] * g
    ahead = s["rest"] * g + s["momentum"] * average if h["nesterov"] else average
    rows, columns = (whole_number(size, "Muon") for size in p.shape)
    rate = s["lr"] * _adjusted(rows, columns, h["adjust_lr_fn"])
    tall = rows > columns
    change = _orthogonal(transpose(ahead) if tall else ahead, s, h["ns_steps"])
    change = transpose(change) if tall else change
    p = s["keep"] * p if h["weight_decay"] else p
    return p - rate * change, {"momentum_buffer": average}


MUON = Row(
    "Muon",
    {
        "lr": 1e-3,
        "weight_decay": 0.1,
        "momentum": 0.95,
        "nesterov": True,
        "a": 3.4445,
        "b": -4.775,
        "c": 2.0315,
        "eps": 1e-7,
        "ns_steps": 5,
        "adjust_lr_fn": None,
    },
    ("weight_decay", "nesterov"),
    (Slot("momentum_buffer"),),
    _muon_scalars,
    _muon,
    "m ← μ m + (1 − μ) g;  X = n / ‖n‖ with n = (1 − μ) g + μ m, or m;  k times "
    "X ← a X + (b A + c A²) X with A = X Xᵀ;  p ← (1 − η λ) p − η √max(1, rows/columns) X",
    counts=False,
    choices=("ns_steps", "adjust_lr_fn"),
    of_complex="not",
)
